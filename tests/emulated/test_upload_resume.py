"""Uploads that end in the middle and go on: what is sent again, what is kept, what is dropped, what is said."""

from __future__ import annotations

import errno
import os
import random
import shutil
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from emulator import Emulator
from http_store import retrier
from own_bucket import own_bucket, running_emulator

from hypersdk import errors
from hypersdk.events import Event, Note
from hypersdk.model import ConnectionSettings, ObjectInfo, ObjectRef
from hypersdk.storage import url
from hypersdk.storage.backends.web import LinkStore
from hypersdk.storage.protocol import PutCondition, PutOptions, Store, Upload
from hypersdk.transfer.checksums import as_checksum, crc32c
from hypersdk.transfer.options import TransferOptions
from hypersdk.transfer.uploads import uploadjournal
from hypersdk.transfer.uploads.upload import upload
from hypersdk.waiting import StopFlag, Waiter
from hypersdk.wire.loop import Wire

PART = 64 * 1024
PARTS = 10
BODY = random.Random(5).randbytes((PARTS - 1) * PART + 1)


@dataclass
class Desk:
    """A bucket, a file to send there, and a directory of journals."""

    emulator: Emulator
    store: Store
    wire: Wire
    bucket: str
    folder: Path
    told: list[Event] = field(default_factory=list)

    @property
    def source(self) -> Path:
        return self.folder / "disk.qcow2"

    @property
    def journals(self) -> Path:
        return self.folder / "state/uploads"

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef("oci", self.emulator.namespace, self.bucket, "dir/disk.qcow2")

    @property
    def notes(self) -> str:
        return "\n".join(event.text for event in self.told if isinstance(event, Note))

    def send(self, *, stop: StopFlag | None = None, parallel: int = 1, attempts: int = 5, **fields) -> ObjectInfo:
        """Upload the file."""
        waiter = Waiter(stop or StopFlag(), report=self.told.append)
        means = {
            "wire": self.wire,
            "retrier": retrier(attempts=attempts, waiter=waiter),
            "options": TransferOptions(PART, parallel),
            "journal": str(self.journals),
        }
        return upload(str(self.source), self.store, self.ref, **(means | fields))

    def broken(self, after: int = 4, **fields) -> errors.HypersdkError:
        """Upload the file, which ends after so many parts because nobody is patient; says how."""
        self.emulator.fault("UploadPart", "error", status=503, code="ServiceUnavailable", skip=after)
        with pytest.raises(errors.ServiceError) as caught:
            self.send(attempts=1, **fields)
        return caught.value

    def sent(self, act: Callable[[], object]) -> list[int]:
        """Numbers of the parts that are sent while something is done."""
        before = len(self.emulator.log())
        act()
        calls = [call for call in self.emulator.log()[before:] if call["operation"] == "UploadPart"]
        return [int(call["path"].replace("uploadPartNum=", "/").rpartition("/")[2]) for call in calls]

    def uploads(self) -> list[Upload]:
        """Unfinished uploads."""
        return list(self.store.list_multipart_uploads(self.ref))

    def journal(self) -> Path:
        """The one journal that is there."""
        (found,) = self.journals.iterdir()
        return found

    def expect_stored(self, info: ObjectInfo) -> None:
        """The object is right; for a store that cannot list uploads."""
        assert self.emulator.get(self.bucket, self.ref.name).body == BODY
        assert info.checksums == (as_checksum(crc32c(BODY)),)
        assert list(self.journals.iterdir()) == []

    def expect_done(self, info: ObjectInfo, body: bytes = BODY) -> None:
        """The object is right, and nothing else is left."""
        assert self.emulator.get(self.bucket, self.ref.name).body == body
        assert info.checksums == (as_checksum(crc32c(body)),)
        assert self.uploads() == []
        assert list(self.journals.iterdir()) == []


@pytest.fixture(scope="module")
def emulator(tmp_path_factory) -> Iterator[Emulator]:
    with running_emulator(tmp_path_factory) as emulator:
        yield emulator


@pytest.fixture
def desk(emulator, tmp_path) -> Iterator[Desk]:
    with own_bucket(emulator, tmp_path) as (store, wire, root):
        desk = Desk(emulator, store, wire, root.bucket, tmp_path)
        desk.source.write_bytes(BODY)
        yield desk


def test_broken_upload_goes_on(desk):
    """C085: what an upload has sent when it gave up is kept, said, and not sent again by the next process."""
    error = desk.broken()
    (begun,) = desk.uploads()
    (note,) = error.__notes__
    assert f"4 of {PARTS} parts (256.0 KiB)" in note
    assert begun.upload_id in note
    assert str(desk.ref) in note
    assert desk.journal().stat().st_mode & 0o777 == 0o600
    assert desk.sent(lambda: desk.expect_done(desk.send())) == list(range(5, PARTS + 1))


def test_stopped_upload_goes_on(desk):
    """C085: an upload that is stopped by Ctrl-C keeps what it has sent."""
    stop = StopFlag()

    def advanced(done: int, _total: int) -> None:
        if done > 4 * PART:
            stop.set()

    with pytest.raises(errors.Interrupted) as caught:
        desk.send(stop=stop, advanced=advanced)
    assert "the same command goes on" in caught.value.__notes__[0]
    assert set(desk.sent(lambda: desk.expect_done(desk.send()))) <= set(range(5, PARTS + 1))


def test_cancelled_upload_is_dropped(desk):
    """An upload that somebody cancels for good leaves neither parts nor a journal."""
    stop = StopFlag()
    with pytest.raises(errors.Cancelled):
        desk.send(stop=stop, advanced=lambda done, _: stop.set(cancelled=True) if done > PART else None)
    assert desk.uploads() == []
    assert list(desk.journals.iterdir()) == []


def test_broken_three_times(desk):
    """However often it ends, each part is sent once more at most; another part size of a later call changes nothing."""
    numbers = desk.sent(lambda: desk.broken(4))
    numbers += desk.sent(lambda: desk.broken(2, options=TransferOptions(2 * PART, 1)))
    numbers += desk.sent(lambda: desk.broken(0))
    numbers += desk.sent(lambda: desk.expect_done(desk.send()))
    assert numbers == [1, 2, 3, 4, 5, 5, 6, 7, 7, 7, 8, 9, 10]
    assert desk.store.head(desk.ref).metadata == {"hypersdk-part-size": str(PART)}


def test_progress_goes_on(desk):
    """A resumed upload counts what is there already, never goes back, and ends at all of it."""
    desk.broken()
    seen = []
    desk.send(advanced=lambda *now: seen.append(now))
    assert seen[0] == (4 * PART, len(BODY))
    assert seen[-1] == (len(BODY), len(BODY))
    assert seen == sorted(seen)


def test_service_knows_best(desk):
    """A part that the service does not have, or has with other bytes than ours, is sent again."""
    desk.broken()
    (begun,) = desk.uploads()
    other = desk.store.part_request(begun, 2, PART, None)
    desk.wire.call(other, b"x" * PART)
    lines = desk.journal().read_bytes().splitlines(keepends=True)
    assert desk.sent(lambda: desk.expect_done(desk.send())) == [2, *range(5, PARTS + 1)]
    assert len(lines) == 6


def test_lost_journal_lines_cost_no_bytes(desk):
    """Lines that a power cut took, or that were torn, are made up for by the MD5 that the service lists."""
    desk.broken()
    journal = desk.journal()
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:3]) + lines[3][:20])
    assert desk.sent(lambda: desk.expect_done(desk.send())) == list(range(5, PARTS + 1))


def test_edited_source_is_never_mixed(desk):
    """Bytes that changed between two calls are sent as they are now, even if size and time say that nothing changed."""
    desk.broken()
    before = desk.source.stat()
    body = BODY[:10] + b"edited" + BODY[16:]
    desk.source.write_bytes(body)
    os.utime(desk.source, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert desk.sent(lambda: desk.expect_done(desk.send(), body)) == [1, *range(5, PARTS + 1)]


def test_touched_source_keeps_its_parts(desk):
    """A file that was only touched or copied back is told of, and its parts count."""
    desk.broken()
    os.utime(desk.source, ns=(1, 1))
    assert desk.sent(lambda: desk.expect_done(desk.send())) == list(range(5, PARTS + 1))
    assert "was written to since its upload began" in desk.notes


def test_another_file_begins_anew(desk):
    """A file of another size is another file: the old upload is dropped, and nothing of it is used."""
    desk.broken()
    (old,) = desk.uploads()
    desk.source.write_bytes(BODY + b"more")
    assert desk.sent(lambda: desk.expect_done(desk.send(), BODY + b"more")) == list(range(1, PARTS + 1))
    assert "is another than when its upload began" in desk.notes
    with pytest.raises(errors.NotFoundError):
        list(desk.store.list_parts(old))


def test_other_metadata_begin_anew(desk):
    """Metadata is fixed when an upload is created: a call with other metadata does not go on with it."""
    desk.broken()
    info = desk.send(put=PutOptions(metadata={"run": "r2"}))
    desk.expect_done(info)
    assert desk.store.head(desk.ref).metadata["run"] == "r2"


def test_changed_while_it_is_sent(desk):
    """A file that is written to while it is sent becomes no object, and nothing is kept of it."""

    def advanced(done: int, _total: int) -> None:
        if done > 3 * PART:
            os.utime(desk.source, ns=(1, 1))

    with pytest.raises(errors.FileError, match="changed while it was uploaded"):
        desk.send(advanced=advanced)
    assert desk.uploads() == []
    assert list(desk.journals.iterdir()) == []
    assert not desk.store.exists(desk.ref)


def test_replaced_while_it_is_sent(desk):
    """A file that another one takes the name of in mid-upload is not committed under that name."""

    def advanced(done: int, _total: int) -> None:
        if done > 3 * PART and not (desk.folder / "old").exists():
            desk.source.rename(desk.folder / "old")
            desk.source.write_bytes(BODY)

    with pytest.raises(errors.FileError, match="changed while it was uploaded"):
        desk.send(advanced=advanced)
    assert not desk.store.exists(desk.ref)


def test_lost_create_is_found(desk):
    """A create whose reply was lost is taken over by the next try: one upload is made, not two."""
    desk.emulator.fault("CreateMultipartUpload", "lost-response")
    before = len(desk.emulator.log())
    desk.expect_done(desk.send())
    made = [call for call in desk.emulator.log()[before:] if call["operation"] == "CreateMultipartUpload"]
    assert len(made) == 1


def test_lost_create_is_found_by_the_next_process(desk):
    """A process that died between create and its reply leaves an upload that the next one takes over."""
    desk.emulator.fault("CreateMultipartUpload", "lost-response")
    with pytest.raises(errors.NetworkError):
        desk.send(attempts=1)
    (begun,) = desk.uploads()
    foreign = desk.store.create_multipart_upload(replace(desk.ref, name=desk.ref.name + ".other"))
    desk.broken()
    assert begun.upload_id in desk.journal().read_text()
    desk.store.abort(foreign)
    desk.expect_done(desk.send())


def test_an_upload_with_parts_is_not_ours(desk):
    """An upload of our name that somebody has sent parts of is not taken over for a lost create."""
    desk.emulator.fault("CreateMultipartUpload", "lost-response")
    with pytest.raises(errors.NetworkError):
        desk.send(attempts=1)
    (begun,) = desk.uploads()
    desk.wire.call(desk.store.part_request(begun, 1, 1, None), b"x")
    assert desk.sent(desk.send) == list(range(1, PARTS + 1))
    assert desk.uploads() == [begun]
    assert desk.emulator.get(desk.bucket, desk.ref.name).body == BODY


def test_refused_create_leaves_no_journal(desk):
    """A create that is refused for good leaves nothing, here or there."""
    desk.emulator.put(desk.bucket, desk.ref.name, b"taken")
    with pytest.raises((errors.AlreadyExists, errors.PreconditionFailed)):
        desk.send(put=PutOptions(PutCondition(if_absent=True)))
    assert list(desk.journals.iterdir()) == []
    assert desk.uploads() == []


def test_lost_commit_is_found_by_the_next_process(desk):
    """A process that died after its commit was carried out finds the object, and sends nothing."""
    desk.broken()
    journal = desk.journal()
    saved = desk.folder / "saved"
    shutil.copy(journal, saved)
    first = desk.send()
    shutil.copy(saved, journal)
    info = None

    def again() -> None:
        nonlocal info
        info = desk.send()

    assert desk.sent(again) == []
    assert info.etag == first.etag
    desk.expect_done(info)


def test_upload_that_somebody_aborted_begins_anew(desk):
    """An upload that is gone when it is to go on is begun again, and so is one that goes away in the middle."""
    desk.broken()
    for begun in desk.uploads():
        desk.store.abort(begun)
    assert desk.sent(lambda: desk.expect_done(desk.send())) == list(range(1, PARTS + 1))

    def advanced(done: int, _total: int) -> None:
        if done > 3 * PART and "begun anew" not in desk.notes:
            for begun in desk.uploads():
                desk.store.abort(begun)

    desk.expect_done(desk.send(advanced=advanced))
    assert "aborted by somebody else" in desk.notes


def test_one_process_at_a_time(desk):
    """Two processes never drive one upload: the second is told so at once, and another target does not matter."""
    refused = []

    def advanced(done: int, _total: int) -> None:
        if done > PART and not refused:
            with pytest.raises(errors.BusyError, match="another process uploads"):
                desk.send()
            refused.append(done)

    desk.expect_done(desk.send(advanced=advanced))
    assert refused


def test_no_place_for_journals(desk):
    """Without a place for journals an upload is done all the same, and one line says what that means."""
    desk.journals.parent.write_bytes(b"a file, no directory")
    info = desk.send()
    assert info.size == len(BODY)
    assert desk.notes.count("cannot be resumed") == 1
    desk.broken()
    assert desk.uploads() == []


def test_disk_full_for_journals(desk, monkeypatch):
    """A journal that the disk takes no more lines of harms no upload; what it says stays true."""

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def advanced(done: int, _total: int) -> None:
        if done > 2 * PART:
            monkeypatch.setattr(uploadjournal.os, "write", full)

    desk.broken(advanced=advanced)
    monkeypatch.undo()
    assert desk.notes.count("No space left on device") == 1
    assert desk.sent(lambda: desk.expect_done(desk.send())) == list(range(5, PARTS + 1))


def test_lost_lease_touches_nothing(desk):
    """An upload whose run another process drives now is left as it is, journal and all."""

    def lost() -> None:
        raise errors.LeaseLost("another process drives this run")

    stop_after = []
    waiter = Waiter(report=desk.told.append)

    def advanced(done: int, _total: int) -> None:
        if done > 3 * PART and not stop_after:
            stop_after.append(done)
            waiter.hooks.append(lost)
            waiter.tick()

    with pytest.raises(errors.LeaseLost) as caught:
        desk.send(retrier=retrier(waiter=waiter), advanced=advanced)
    assert len(desk.uploads()) == 1
    assert not hasattr(caught.value, "__notes__")
    desk.expect_done(desk.send())


def test_refusal_that_the_abort_outlives(desk):
    """A failed upload that cannot even be aborted is said to be there, and the next call finds it."""
    desk.emulator.fault("UploadPart", "error", status=403, code="NotAllowed", skip=2)
    desk.emulator.fault("AbortMultipartUpload", "error", status=500, code="InternalServerError")
    with pytest.raises(errors.PermissionDenied) as caught:
        desk.send()
    assert "unfinished upload" in caught.value.__notes__[0]
    assert desk.sent(lambda: desk.expect_done(desk.send())) == list(range(3, PARTS + 1))


def test_journal_holds_no_secret(desk):
    """A journal names file and target, and holds nothing that authorizes anything."""
    desk.broken()
    text = desk.journal().read_text()
    assert str(desk.source) in text
    for secret in ("signature", "Authorization", "http", desk.emulator.token):
        assert secret not in text


def test_stopped_before_the_commit(desk):
    """An upload that is stopped when all was sent only needs its commit."""
    stop = StopFlag()
    with pytest.raises(errors.Interrupted) as caught:
        desk.send(stop=stop, advanced=lambda done, _: stop.set() if done == len(BODY) else None)
    resumed = desk.sent(lambda: desk.expect_done(desk.send()))
    # the last part may have been on its way still
    assert resumed in ([], [PARTS])
    assert f"of {PARTS} parts" in caught.value.__notes__[0]


def test_stopped_while_it_compares(desk):
    """An upload that is stopped while it compares what is there keeps all of it, and says so."""
    desk.broken()
    stop = StopFlag()
    waiter = Waiter(stop, report=lambda event: stop.set() if "goes on" in str(event) else None)
    with pytest.raises(errors.Interrupted) as caught:
        desk.send(retrier=retrier(waiter=waiter))
    assert f"4 of {PARTS} parts" in caught.value.__notes__[0]
    assert desk.sent(lambda: desk.expect_done(desk.send())) == list(range(5, PARTS + 1))


@pytest.mark.parametrize("code", ["NotAuthorizedOrNotFound", "BucketNotFound"])
def test_lost_right_to_list_keeps_all(desk, code):
    """An upload whose parts we may not see any more is neither taken for gone nor forgotten."""
    desk.broken()
    (begun,) = desk.uploads()
    desk.emulator.fault("ListMultipartUploadParts", "error", status=404, code=code)
    desk.emulator.fault("AbortMultipartUpload", "error", status=404, code=code)
    with pytest.raises(errors.NotFoundError) as caught:
        desk.send()
    assert begun.upload_id in caught.value.__notes__[0]
    assert desk.sent(lambda: desk.expect_done(desk.send())) == list(range(5, PARTS + 1))


def test_old_upload_that_cannot_be_aborted_is_named(desk):
    """The upload of a file that is another one now is named if it cannot be dropped: nothing is left in silence."""
    desk.broken()
    (begun,) = desk.uploads()
    desk.source.write_bytes(BODY + b"more")
    desk.emulator.fault("AbortMultipartUpload", "error", status=403, code="NotAllowed")
    desk.send()
    assert begun.upload_id in desk.notes
    assert desk.uploads() == [begun]


def test_name_that_is_taken_meanwhile(desk):
    """C016: an object that somebody puts there while parts travel is not replaced, and nothing of ours is left."""
    put = PutOptions(PutCondition(if_absent=True))

    def advanced(done: int, _total: int) -> None:
        if done > 3 * PART:
            desk.emulator.put(desk.bucket, desk.ref.name, b"theirs")

    with pytest.raises(errors.AlreadyExists):
        desk.send(put=put, advanced=advanced)
    assert desk.emulator.get(desk.bucket, desk.ref.name).body == b"theirs"
    assert desk.uploads() == []
    assert list(desk.journals.iterdir()) == []


def test_only_over_the_object_that_was_seen(desk):
    """An upload over a pinned etag replaces exactly that object, resumed or not; another one is refused."""
    desk.emulator.put(desk.bucket, desk.ref.name, b"old")
    put = PutOptions(PutCondition(if_match=desk.store.head(desk.ref).etag))
    desk.broken(put=put)
    desk.expect_done(desk.send(put=put))
    with pytest.raises(errors.PreconditionFailed):
        desk.send(put=put)
    assert desk.emulator.get(desk.bucket, desk.ref.name).body == BODY


@pytest.mark.parametrize(
    ("effect", "fields"),
    [
        ("flip-request", {"at": 50}),
        ("store-flipped", {"at": 50}),
        ("cut-request", {"afterBytes": 600}),
        ("early-refusal", {"status": 503, "code": "ServiceUnavailable", "afterBytes": 10}),
        ("html", {}),
        ("lost-response", {}),
        ("error", {"status": 429, "code": "TooManyRequests", "headers": {"retry-after": "0"}}),
        ("error", {"status": 409, "code": "ConcurrentObjectUpdate"}),
    ],
)
def test_faults_of_parts_that_pass(desk, effect, fields):
    """Whatever happens to single parts, bits that flip on the way or at the service included, the object is right."""
    desk.emulator.fault("UploadPart", effect, times=3, skip=2, **fields)
    desk.expect_done(desk.send(parallel=4))


def test_part_that_is_always_wrong(desk):
    """A part that never arrives as it was sent ends the upload, which can go on later; nothing is committed."""
    desk.emulator.fault("UploadPart", "store-flipped", at=5, partNumber=3, times=5)
    with pytest.raises(errors.ReplyRefused, match=r"part 3 .*sent was crc32c"):
        desk.send()
    assert not desk.store.exists(desk.ref)
    desk.expect_done(desk.send())


def link_to(desk: Desk) -> LinkStore:
    """A new link to the object."""
    expires = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    details = {"name": "link", "accessType": "ObjectReadWrite", "timeExpires": expires, "objectName": desk.ref.name}
    made = desk.emulator.call("POST", f"/n/{desk.emulator.namespace}/b/{desk.bucket}/p", details).json
    return LinkStore(url.parse(made["fullPath"]), desk.wire)


def test_upload_through_a_link_goes_on(desk):
    """C085: through a link nobody can list parts: the journal is believed, and the whole is compared at the end."""
    desk.store = link_to(desk)
    desk.broken()
    assert desk.sent(lambda: desk.expect_stored(desk.send())) == list(range(5, PARTS + 1))


def test_upload_goes_on_with_a_new_link(desk):
    """A link that ends in mid-upload keeps what was sent; the same call with a new link goes on with it."""
    desk.store = link_to(desk)
    (made,) = desk.emulator.call("GET", f"/n/{desk.emulator.namespace}/b/{desk.bucket}/p").json

    def advanced(done: int, _total: int) -> None:
        if done == 4 * PART:
            path = f"/n/{desk.emulator.namespace}/b/{desk.bucket}/p/{made['id']}"
            assert desk.emulator.call("DELETE", urllib.parse.quote(path)).status == 204

    with pytest.raises(errors.HypersdkError, match="get a new one") as caught:
        desk.send(advanced=advanced)
    assert "unfinished upload" in caught.value.__notes__[0]
    desk.store = link_to(desk)
    assert set(desk.sent(lambda: desk.expect_stored(desk.send()))) == set(range(5, PARTS + 1))


def test_lie_of_a_journal_through_a_link_is_found(desk):
    """A part that the service no longer has as the journal says is found by the checksum of the whole."""
    desk.store = link_to(desk)
    desk.broken()
    upload_id = uploadjournal.parse(desk.journal().read_bytes()).upload_id
    desk.wire.call(desk.store.part_request(Upload(desk.ref, upload_id), 2, PART, None), b"x" * PART)
    with pytest.raises(errors.VerificationError):
        desk.send()
    assert list(desk.journals.iterdir()) == []


def test_link_that_ended_before_the_commit(desk):
    """A commit that was carried out and whose reply was lost is found through a link, too."""
    desk.store = link_to(desk)
    desk.emulator.fault("CommitMultipartUpload", "lost-response")
    desk.expect_stored(desk.send())


def test_stopped_through_a_link_without_a_journal(desk):
    """C085: somebody has asked to stop, and the clean-up is done all the same: through a link, too, nothing is left."""
    own, stop = desk.store, StopFlag()
    with Wire(ConnectionSettings(), tick=stop.check) as desk.wire:
        desk.store = link_to(desk)
        with pytest.raises(errors.Interrupted):
            desk.send(stop=stop, journal=None, advanced=lambda done, _: stop.set() if done > PART else None)
    assert list(own.list_multipart_uploads(desk.ref)) == []


def test_an_upload_of_another_name_is_not_ours(desk):
    """A create that did not take place is repeated, whatever uploads of longer names there are."""
    foreign = desk.store.create_multipart_upload(replace(desk.ref, name=desk.ref.name + ".other"))
    desk.emulator.fault("CreateMultipartUpload", "error", status=503, code="ServiceUnavailable")
    with pytest.raises(errors.ServiceError):
        desk.send(attempts=1)
    assert desk.sent(desk.send) == list(range(1, PARTS + 1))
    assert desk.uploads() == [foreign]
    assert list(desk.store.list_parts(foreign)) == []
