"""Objects that go from one store to another, under faults of either side: right bytes or the right error, no trace."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from raw_server import OneObject, RawServer, send
from transfers import fork, wait_until
from two_buckets import HERE, PART, THERE, TwoBuckets, settings, two_buckets

import hypersdk
from hypersdk import errors
from hypersdk.model import Checksum, ObjectInfo
from hypersdk.storage import url
from hypersdk.storage.backends.web import WebStore
from hypersdk.storage.protocol import PutCondition, PutOptions
from hypersdk.transfer.checksums import as_checksum, crc32c
from hypersdk.transfer.flows import pipe
from hypersdk.transfer.flows.relay import relay
from hypersdk.transfer.options import TransferOptions

BODY = random.Random(11).randbytes(9 * PART + 1)
SIZES = [0, 1, PART - 1, PART, PART + 1, 4 * PART - 1, 4 * PART, 4 * PART + 1]
ABSENT = PutOptions(PutCondition(if_absent=True))


@pytest.fixture
def cloud(oci_emulator, tmp_path) -> Iterator[TwoBuckets]:
    with two_buckets(oci_emulator, tmp_path) as cloud:
        yield cloud


def copy(cloud: TwoBuckets, body: bytes = BODY, info: ObjectInfo | None = None, **fields: Any) -> ObjectInfo:
    """Copy an object from bucket to bucket."""
    if info is None:
        info = cloud.store.head(cloud.put("disk", body))
    fields = cloud.means | {"put": ABSENT} | fields
    return relay(cloud.store, info, cloud.store, cloud.ref("copy"), **fields)


def expect_copied(cloud: TwoBuckets, made: ObjectInfo, body: bytes = BODY) -> None:
    assert cloud.body("copy") == body
    assert made.size == len(body)
    assert cloud.store.head(made.ref).etag == made.etag
    assert cloud.uploads() == []


def expect_nothing(cloud: TwoBuckets) -> None:
    assert cloud.names() == []
    assert cloud.uploads() == []


@pytest.mark.parametrize("size", SIZES)
def test_every_size_is_copied(cloud, size):
    """C015: sizes around multiples of a part arrive whole, with the CRC32C that the service found, too."""
    seen: list[tuple[int, int]] = []
    made = copy(cloud, BODY[:size], advanced=lambda *now: seen.append(now))
    expect_copied(cloud, made, BODY[:size])
    assert as_checksum(crc32c(BODY[:size])) in made.checksums
    assert seen[-1] == (size, size)
    assert seen == sorted(seen)


@pytest.mark.parametrize(("size", "reads", "writes"), [(0, 0, 1), (1, 1, 1), (PART, 1, 1), (PART + 1, 2, 2)])
def test_requests_of_a_copy(cloud, size, reads, writes):
    """A small object costs one GET and one PUT, a large one a GET and a PUT for each part."""
    copy(cloud, BODY[:size])
    assert len(cloud.asked("GetObject")) == reads
    asked = cloud.asked("UploadPart") or [each for each in cloud.asked("PutObject") if "/there/" in each["path"]]
    assert len(asked) == writes


@pytest.mark.parametrize("size", [PART, 3 * PART])
def test_what_stands_with_an_object_travels(cloud, size):
    """C022: metadata and content headers of the source stand with the copy, unless the caller states others."""
    kept = {
        "content_type": "application/x-qemu-disk",
        "content_encoding": "gzip",
        "content_language": "en",
        "content_disposition": "attachment",
        "cache_control": "no-store",
    }
    source = cloud.put("disk", BODY[:size], opc_meta={"run": "r1", "who": "me"}, **kept)
    copy(cloud, info=cloud.store.head(source), put=replace(ABSENT, metadata={"who": "you"}))
    expect_copied(cloud, cloud.store.head(cloud.ref("copy")), BODY[:size])
    found = cloud.sdk.head_object(cloud.emulator.namespace, THERE, "copy").headers
    assert {name: found[name.replace("_", "-")] for name in kept} == kept
    assert found["opc-meta-run"] == "r1"
    assert found["opc-meta-who"] == "you"
    assert ("opc-meta-hypersdk-part-size" in found) == (size > PART)


def test_listing_is_looked_at_again(cloud):
    """An entry of a listing, which knows no metadata, is copied with its metadata."""
    cloud.put("disk", BODY, opc_meta={"run": "r1"})
    (listed,) = cloud.store.list(cloud.ref("", HERE))
    copy(cloud, info=listed)
    assert cloud.store.head(cloud.ref("copy")).metadata["run"] == "r1"


PASSING = [
    ("GetObject", "cut-body", {"afterBytes": 1000}),
    ("GetObject", "error", {"status": 503, "code": "ServiceUnavailable"}),
    ("GetObject", "error", {"status": 429, "code": "TooManyRequests"}),
    ("GetObject", "error", {"status": 401, "code": "NotAuthenticated"}),
    ("GetObject", "short-body", {"afterBytes": 1000}),
    ("GetObject", "shifted-range", {}),
    ("GetObject", "short-range", {}),
    ("GetObject", "whole-body", {}),
    ("GetObject", "stale-etag", {}),
    ("GetObject", "html", {}),
    ("GetObject", "gzip", {}),
    ("GetObject", "reset", {}),
    ("GetObject", "reset", {"afterBytes": 1000}),
    ("GetObject", "drip", {"bytesPerSecond": 1_000_000}),
    ("UploadPart", "error", {"status": 503, "code": "ServiceUnavailable"}),
    ("UploadPart", "error", {"status": 401, "code": "NotAuthenticated"}),
    ("UploadPart", "early-refusal", {"status": 503, "code": "ServiceUnavailable", "afterBytes": 1000}),
    ("UploadPart", "cut-request", {"afterBytes": 1000}),
    ("UploadPart", "lost-response", {}),
    ("UploadPart", "flip-request", {"at": 500}),
    ("UploadPart", "store-flipped", {"at": 500}),
    ("UploadPart", "html", {}),
    ("UploadPart", "reset", {}),
    ("UploadPart", "drip-request", {"bytesPerSecond": 1_000_000}),
    ("CreateMultipartUpload", "error", {"status": 503, "code": "ServiceUnavailable"}),
    ("CommitMultipartUpload", "error", {"status": 503, "code": "ServiceUnavailable"}),
    ("CommitMultipartUpload", "lost-response", {}),
]


@pytest.mark.parametrize(("operation", "effect", "fields"), PASSING)
def test_passing_faults_are_outlasted(cloud, operation, effect, fields):
    """C013: whatever either side does for a while, the copy has the right bytes and no upload is left."""
    info = cloud.store.head(cloud.put("disk", BODY))
    once = effect in {"flip-request", "drip"} or fields.get("status") == 401  # a second 401 in a row is final
    times = 1 if once or operation not in {"GetObject", "UploadPart"} else 2
    cloud.emulator.fault(operation, effect, times=times, **fields)
    cloud.wiring.session.refresh = lambda: True
    expect_copied(cloud, copy(cloud, info=info))


@pytest.mark.parametrize(
    ("operation", "effect"), [("GetObject", "stall"), ("UploadPart", "stall-request"), ("UploadPart", "hold")]
)
def test_silence_on_either_side_is_outlasted(oci_emulator, tmp_path, operation, effect):
    """A side that says nothing more ends the try after the read time-out, and the part is passed anew."""
    with two_buckets(oci_emulator, tmp_path, HYPEREXPORT_NETWORK_READ_TIMEOUT="1s") as cloud:
        info = cloud.store.head(cloud.put("disk", BODY))
        fields = {} if effect == "hold" else {"afterBytes": 1000}
        cloud.emulator.fault(operation, effect, **fields)
        expect_copied(cloud, copy(cloud, info=info))
        cloud.emulator.drop_faults()


LASTING = [
    ("GetObject", "error", {"status": 503, "code": "ServiceUnavailable"}, errors.ServiceError),
    ("GetObject", "error", {"status": 403, "code": "NotAllowed"}, errors.PermissionDenied),
    ("GetObject", "error", {"status": 404, "code": "ObjectNotFound"}, errors.NotFoundError),
    ("GetObject", "error", {"status": 412, "code": "IfMatchFailed"}, errors.ObjectChanged),
    ("GetObject", "error", {"status": 401, "code": "NotAuthenticated"}, errors.NotAuthenticated),
    ("GetObject", "cut-body", {"afterBytes": 1000}, errors.NetworkError),
    ("GetObject", "whole-body", {}, errors.ReplyRefused),
    ("UploadPart", "error", {"status": 503, "code": "ServiceUnavailable"}, errors.ServiceError),
    ("UploadPart", "error", {"status": 400, "code": "InvalidParameter"}, errors.RequestRefused),
    ("UploadPart", "early-refusal", {"status": 400, "code": "X", "afterBytes": 1000}, errors.RequestRefused),
    ("UploadPart", "store-flipped", {"at": 5}, errors.ReplyRefused),
    ("UploadPart", "cut-request", {"afterBytes": 1000}, errors.NetworkError),
    ("CommitMultipartUpload", "error", {"status": 403, "code": "NotAllowed"}, errors.PermissionDenied),
]


@pytest.mark.parametrize(("operation", "effect", "fields", "error"), LASTING)
def test_faults_that_stay_leave_nothing(cloud, operation, effect, fields, error):
    """C085: a copy that fails for good leaves neither an object nor an unfinished upload."""
    info = cloud.store.head(cloud.put("disk", BODY))
    cloud.emulator.fault(operation, effect, times="any", **fields)
    cloud.wiring.session.refresh = lambda: True
    cloud.wiring.retrier.login = None  # nobody can log in: a refusal that stays is not waited for
    with pytest.raises(error):
        copy(cloud, info=info)
    cloud.emulator.drop_faults()
    expect_nothing(cloud)


@pytest.mark.parametrize("size", [PART, len(BODY)])
def test_source_that_is_replaced_ends_it(cloud, size):
    """An object that is replaced in mid-copy is never mixed: the copy ends as "changed", and nothing was written."""
    info = cloud.store.head(cloud.put("disk", BODY[:size]))
    cloud.put("disk", BODY[:size][::-1])
    with pytest.raises(errors.ObjectChanged, match="replaced"):
        copy(cloud, info=info)
    expect_nothing(cloud)


@pytest.mark.parametrize("size", [PART, len(BODY)])
def test_bytes_that_the_source_does_not_vouch_for_are_not_written(cloud, size):
    """A source whose own checksum is not that of its bytes as read is not copied."""
    info = cloud.store.head(cloud.put("disk", BODY[:size]))
    wrong = replace(info, checksums=(Checksum("crc32c", "00000000"),))
    with pytest.raises(errors.VerificationError, match="disk: checksums differ"):
        copy(cloud, info=wrong)
    expect_nothing(cloud)


@pytest.mark.parametrize("size", [PART, len(BODY)])
def test_taken_name_is_kept(cloud, size):
    """C016: a copy that asks for absence never replaces an object."""
    cloud.put("copy", b"old", THERE)
    with pytest.raises(errors.AlreadyExists):
        copy(cloud, BODY[:size])
    assert cloud.body("copy") == b"old"
    assert cloud.uploads() == []


def test_stop_ends_it_at_once(cloud):
    """An interrupted copy ends at once and leaves nothing."""

    def advanced(done: int, _total: int) -> None:
        if done > 2 * PART:
            cloud.wiring.waiter.stop.set()

    with pytest.raises(errors.Interrupted):
        copy(cloud, advanced=advanced)
    cloud.wiring.waiter.stop.clear()
    expect_nothing(cloud)


def stopped(cloud: TwoBuckets, info: ObjectInfo, parts: int, **fields: Any) -> errors.HypersdkError:
    """Interrupt a copy after so many parts."""

    def advanced(done: int, _total: int) -> None:
        if done > parts * PART:
            cloud.wiring.waiter.stop.set()

    with pytest.raises(errors.Interrupted) as caught:
        copy(cloud, info=info, advanced=advanced, **fields)
    cloud.wiring.waiter.stop.clear()
    return caught.value


def parts_sent(cloud: TwoBuckets) -> list[str]:
    return [each["path"].rpartition("uploadPartNum=")[2] for each in cloud.asked("UploadPart") if each["status"] == 200]


def test_interrupted_copy_is_gone_on_with(cloud, tmp_path):
    """With a journal an interrupted copy is kept and said so; the same call passes only what the target has not."""
    info, journal = cloud.store.head(cloud.put("disk", BODY)), str(tmp_path / "uploads")
    error = stopped(cloud, info, 3, journal=journal)
    assert cloud.uploads() == ["copy"]
    (note,) = error.__notes__
    assert "the same command goes on with it" in note
    assert "oci os multipart abort" in note
    kept, seen = int(note.partition(" of 10 parts")[0]), []
    assert 0 < kept < 10
    made = copy(cloud, info=info, journal=journal, advanced=lambda *now: seen.append(now))
    expect_copied(cloud, made)
    assert seen[0][0] == kept * PART
    again = [number for number in parts_sent(cloud) if parts_sent(cloud).count(number) > 1]
    assert len(set(again)) <= 3, "at most the parts in flight are passed again"
    assert list((tmp_path / "uploads").iterdir()) == []


def test_copy_of_another_source_begins_anew(cloud, tmp_path):
    """What was kept of a source that has been replaced since is dropped, and never mixed."""
    info, journal = cloud.store.head(cloud.put("disk", BODY)), str(tmp_path / "uploads")
    stopped(cloud, info, 3, journal=journal)
    other = cloud.store.head(cloud.put("disk", BODY[::-1]))
    expect_copied(cloud, copy(cloud, info=other, journal=journal), BODY[::-1])


def test_upload_that_is_dropped_in_mid_copy_begins_anew(cloud):
    """A copy whose upload somebody aborts while it runs is begun anew once, and is whole."""
    dropped = []

    def drop(done: int, _total: int) -> None:
        if done > 2 * PART and not dropped:
            (found,) = cloud.sdk.list_multipart_uploads(cloud.emulator.namespace, THERE).data
            dropped.append(found.upload_id)
            cloud.sdk.abort_multipart_upload(cloud.emulator.namespace, THERE, "copy", found.upload_id)

    expect_copied(cloud, copy(cloud, info=cloud.store.head(cloud.put("disk", BODY)), advanced=drop))
    assert dropped


def test_kept_upload_that_somebody_dropped_begins_anew(cloud, tmp_path):
    """An upload that was kept and dropped by somebody else is begun anew, whatever the journal says."""
    info, journal = cloud.store.head(cloud.put("disk", BODY)), str(tmp_path / "uploads")
    stopped(cloud, info, 3, journal=journal)
    (kept,) = cloud.store.list_multipart_uploads(cloud.ref("copy"))
    cloud.store.abort(kept)
    expect_copied(cloud, copy(cloud, info=info, journal=journal))


def test_failed_copy_is_not_kept(cloud, tmp_path):
    """A copy that no repetition can help is dropped in spite of its journal; one that a passing fault ended is kept."""
    info, journal = cloud.store.head(cloud.put("disk", BODY)), str(tmp_path / "uploads")
    fault = {"code": "X", "times": "any", "skip": 3}
    cloud.emulator.fault("GetObject", "error", status=503, **fault)
    with pytest.raises(errors.ServiceError):
        copy(cloud, info=info, journal=journal)
    assert cloud.uploads() == ["copy"]
    cloud.emulator.drop_faults()
    cloud.emulator.fault("GetObject", "error", status=403, **fault | {"skip": 1})
    with pytest.raises(errors.PermissionDenied):
        copy(cloud, info=info, journal=journal)
    cloud.emulator.drop_faults()
    expect_nothing(cloud)
    assert list((tmp_path / "uploads").iterdir()) == []


KILLS = [
    ("CreateMultipartUpload", "hold-before", {}),
    ("CreateMultipartUpload", "hold", {}),
    ("GetObject", "hold", {"nth": 5}),
    ("UploadPart", "hold-before", {"partNumber": 1}),
    ("UploadPart", "hold", {"partNumber": 4}),
    ("UploadPart", "hold", {"partNumber": 10}),
    ("CommitMultipartUpload", "hold-before", {}),
    ("CommitMultipartUpload", "hold", {}),
]


@pytest.mark.parametrize(("operation", "effect", "fields"), KILLS)
def test_killed_copy_is_gone_on_with(cloud, tmp_path, operation, effect, fields):
    """Wherever a copy is killed, the same call ends it: the right object, no second upload, few parts passed twice."""
    source, config = cloud.put("disk", BODY, opc_checksum_algorithm="CRC32C"), settings(cloud.emulator, tmp_path)
    source, target = str(source), str(cloud.ref("copy"))
    cloud.emulator.fault(operation, effect, **fields)
    child = fork(lambda: hypersdk.copy(source, target, config), tmp_path)
    wait_until(lambda: any(each["holding"] for each in cloud.emulator.faults()), "the copy never came so far")
    child.kill()
    cloud.emulator.release()
    made = hypersdk.copy(source, target, config)
    expect_copied(cloud, made)
    assert len(cloud.asked("CreateMultipartUpload")) <= 2
    passed = [each for each in cloud.asked("UploadPart") if each["status"] == 200]
    assert len(passed) <= 10 + 4


def test_upload_whose_reply_was_lost_is_found(cloud):
    """An upload that was created although its reply was lost is not created twice."""
    cloud.emulator.fault("CreateMultipartUpload", "lost-response")
    expect_copied(cloud, copy(cloud))
    assert len(cloud.asked("CreateMultipartUpload")) == 1


def test_copy_within_one_name(cloud):
    """An object is copied over itself only as it was read, pinned on both sides."""
    info = cloud.store.head(cloud.put("copy", BODY, THERE))
    made = copy(cloud, info=info, put=PutOptions(PutCondition(if_match=info.etag)))
    expect_copied(cloud, made)
    assert made.etag != info.etag


def web(server: RawServer, wire) -> tuple[WebStore, Any]:
    address = url.parse(f"{server.url}/disk.raw?signature=secret")
    return WebStore(address, wire), address.ref


@pytest.mark.parametrize("size", [0, 1, PART, 3 * PART + 1])
def test_from_a_plain_server(cloud, size):
    """An object behind a plain address goes into Object Storage, with what the server says of its kind."""
    good = OneObject(BODY[:size])

    def answer(asked, peer):
        if asked.method == "HEAD":
            return send(
                peer,
                200,
                etag='"e"',
                content_length=str(size),
                accept_ranges="bytes",
                content_type="application/x-raw-disk",
            )
        if asked.range and not size:
            return send(peer, 416, content_range="bytes */0")
        good.etag = '"e"'
        return good(asked, peer)

    with RawServer(answer) as server:
        store, ref = web(server, cloud.wiring.wire)
        made = relay(store, store.head(ref), cloud.store, cloud.ref("copy"), **cloud.means)
    expect_copied(cloud, made, BODY[:size])
    if size:
        assert cloud.store.head(made.ref).headers["content-type"] == "application/x-raw-disk"


@pytest.mark.parametrize("size", [1, PART, 3 * PART + 1])
def test_to_a_plain_server(cloud, size):
    """An object goes to an address that takes PUT by one request, however large, and passes faults."""
    got: list[bytes] = []

    def answer(asked, peer):
        if len(got) == 0 and size > PART:
            got.append(b"refused")
            return send(peer, 503)
        got.append(asked.body)
        return send(peer, 201, etag="new")

    info = cloud.store.head(cloud.put("disk", BODY[:size]))
    with RawServer(answer) as server:
        store, ref = web(server, cloud.wiring.wire)
        made = relay(cloud.store, info, store, ref, **cloud.means)
    assert got[-1] == BODY[:size]
    assert (made.size, made.etag) == (size, "new")


@pytest.mark.parametrize("size", [1, PART, len(BODY)])
@pytest.mark.parametrize("sides", ["from", "to", "both"])
def test_links_on_either_side(cloud, tmp_path, size, sides):
    """Pre-authenticated requests are a source and a target like any other; an interrupted copy resumes there, too."""
    cloud.put("disk", BODY[:size])
    reads = url.parse(f"{cloud.link(HERE)}disk" if sides != "to" else str(cloud.ref("disk", HERE)))
    writes = url.parse(f"{cloud.link(THERE)}copy" if sides != "from" else str(cloud.ref("copy")))
    source, target = cloud.wiring.store(reads), cloud.wiring.store(writes)
    info, journal = source.head(reads.ref), str(tmp_path / "uploads")

    def advanced(done: int, _total: int) -> None:
        if done > 3 * PART and not cloud.wiring.waiter.stop.is_set():
            cloud.wiring.waiter.stop.set()

    means = cloud.means | {"journal": journal}
    if size > PART:
        with pytest.raises(errors.Interrupted):
            relay(source, info, target, writes.ref, advanced=advanced, **means)
        cloud.wiring.waiter.stop.clear()
    made = relay(source, info, target, writes.ref, **means)
    assert cloud.body("copy") == BODY[:size]
    assert made.size == size
    assert cloud.uploads() == []
    numbers = [each["path"].rpartition("uploadPartNum=")[2] for each in cloud.asked("UploadPart")]
    assert len(numbers) <= 10 + 3


def test_many_pairs_hold_little(cloud, monkeypatch):
    """However large the parts and however slow the target, a pair holds less than a mebibyte."""
    most: list[int] = []
    real = pipe.Pipe.take
    monkeypatch.setattr(pipe, "ROOM", 32 * 1024)
    monkeypatch.setattr(pipe.Pipe, "take", lambda pipe, data: most.append(pipe._held) or real(pipe, data))
    cloud.emulator.fault("UploadPart", "drip-request", bytesPerSecond=4_000_000, times=2)
    body = BODY * 4
    made = copy(cloud, body, options=TransferOptions(len(body) // 2 + 1, 2))
    expect_copied(cloud, made, body)
    assert max(most) < 32 * 1024 + 17 * 1024


def test_local_stores_are_refused(cloud, tmp_path: Path):
    """A file is not relayed; it is uploaded or downloaded."""
    from hypersdk.storage.backends.file import FileStore

    info = cloud.store.head(cloud.put("disk", BODY))
    target = url.parse(f"{tmp_path}/disk").ref
    with pytest.raises(errors.UsageError, match="relayed"):
        relay(cloud.store, info, FileStore(), target, **cloud.means)
    assert not list(tmp_path.glob("disk*"))
