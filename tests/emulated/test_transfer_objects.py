"""Transfers between files and the emulated Object Storage, and between files and local stores, under faults."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from emulator import Emulator
from http_store import retrier
from own_bucket import running_emulator

from hypersdk import errors
from hypersdk.config import load_config
from hypersdk.events import Waiting
from hypersdk.model import ConnectionSettings, ObjectInfo, ObjectRef
from hypersdk.storage import url
from hypersdk.storage.backends.file import FileStore
from hypersdk.storage.backends.memory import MemoryStore
from hypersdk.storage.backends.oci import OciStore
from hypersdk.storage.protocol import PutCondition, PutOptions, Store
from hypersdk.transfer.engine import download, verify_object
from hypersdk.transfer.options import TransferOptions
from hypersdk.transfer.uploads.upload import upload
from hypersdk.vendors.oci.errors import translate_reply
from hypersdk.vendors.oci.session import open_session
from hypersdk.waiting import StopFlag, Waiter
from hypersdk.wire.loop import Wire
from hypersdk.wire.probe import probe

PART = 64 * 1024
BODY = random.Random(3).randbytes(9 * PART + 1)
ABSENT = PutOptions(PutCondition(if_absent=True), metadata={"run": "r1"})


@dataclass
class Place:
    """A store with one bucket or directory, and a file to send."""

    store: Store
    root: ObjectRef
    wire: Wire
    source: Path
    emulator: Emulator | None = None

    @property
    def means(self) -> dict[str, object]:
        return {"wire": self.wire, "retrier": retrier(), "options": TransferOptions(PART, 3)}

    def ref(self, name: str) -> ObjectRef:
        return ObjectRef(self.root.scheme, self.root.namespace, self.root.bucket, self.root.name + name)

    def send(self, name: str, body: bytes = BODY, **fields) -> ObjectInfo:
        self.source.write_bytes(body)
        return upload(str(self.source), self.store, self.ref(name), **(self.means | {"put": ABSENT} | fields))

    def fetch(self, info: ObjectInfo, destination: Path, **fields) -> bytes:
        sealed = download(self.store, info, str(destination), **(self.means | fields))
        return Path(sealed.path).read_bytes()


@pytest.fixture(scope="module")
def running(tmp_path_factory) -> Iterator[Emulator]:
    with running_emulator(tmp_path_factory) as emulator:
        yield emulator


@pytest.fixture
def cloud(running, tmp_path) -> Iterator[Place]:
    flags = {"config_file": str(running.config_file), "endpoint": running.endpoint}
    session = open_session(load_config(flags, environ={}, cwd=str(tmp_path), home=str(tmp_path)).oci)
    explain = lambda request, status, headers, body: translate_reply(  # noqa: E731 - as wiring does it
        status, headers, body, resource=request.resource, what=request.method
    )
    name = f"bucket-{tmp_path.name}"
    details = {"name": name, "compartmentId": running.seed.compartment}
    assert running.call("POST", f"/n/{running.namespace}/b", details).status == 200
    with Wire(session.connection, explain=explain) as wire:
        root = ObjectRef("oci", running.namespace, name, "prefix/")
        yield Place(OciStore(session, wire), root, wire, tmp_path / "source", running)
    assert running.unconsumed() == []


@pytest.fixture(params=["oci", "file", "memory"])
def place(request, tmp_path) -> Iterator[Place]:
    if request.param == "oci":
        yield request.getfixturevalue("cloud")
        return
    (tmp_path / "store").mkdir()
    store = FileStore() if request.param == "file" else MemoryStore()
    root = url.parse(f"{tmp_path}/store/").ref if request.param == "file" else ObjectRef("memory", "", "b", "")
    with Wire(load_config({}, environ={}, cwd=str(tmp_path), home=str(tmp_path)).oci.connection) as wire:
        yield Place(store, root, wire, tmp_path / "source")
    if isinstance(store, MemoryStore):
        store.close()


@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1, 4 * PART - 1, 4 * PART, 4 * PART + 1])
def test_there_and_back(place, tmp_path, size):
    """C015: a file of any size goes into any store and comes back byte for byte; what is read is what was sent."""
    body, seen = BODY[:size], []
    info = place.send("disk", body, advanced=lambda *now: seen.append(now))
    assert info.size == size
    assert seen == sorted(seen)
    found = place.store.head(place.ref("disk"))
    assert place.fetch(found, tmp_path / "back") == body
    checksums = verify_object(place.store, found, expected=info.checksums, **place.means)
    assert [each.algorithm for each in checksums] == ["crc32c"]


def test_taken_name_is_kept(place):
    """C016: an upload that asks for absence never replaces an object, and leaves no unfinished upload."""
    place.send("disk", b"old")
    with pytest.raises((errors.AlreadyExists, errors.PreconditionFailed)):
        place.send("disk")
    assert place.store.head(place.ref("disk")).size == 3
    assert list(place.store.list_multipart_uploads(place.ref(""))) == []


def test_source_that_changes_is_never_committed(place):
    """A file that is written to while it is uploaded becomes no object."""

    def advanced(done: int, _total: int) -> None:
        if done > 3 * PART and place.source.stat().st_size == len(BODY):
            place.source.write_bytes(BODY + b"more")

    with pytest.raises(errors.FileError, match="changed"):
        place.send("disk", advanced=advanced)
    assert not place.store.exists(place.ref("disk"))
    assert list(place.store.list_multipart_uploads(place.ref(""))) == []


def test_stopped_upload_leaves_nothing(place):
    """C085: an upload that is stopped and was recorded nowhere is aborted, because its parts would cost money."""
    stop = StopFlag()

    def advanced(done: int, _total: int) -> None:
        if done:
            stop.set()

    with pytest.raises(errors.Interrupted):
        place.send("disk", advanced=advanced, retrier=retrier(waiter=Waiter(stop)))
    assert list(place.store.list_multipart_uploads(place.ref(""))) == []


@pytest.mark.parametrize(
    ("effect", "fields"),
    [
        ("error", {"status": 503, "code": "ServiceUnavailable"}),
        ("error", {"status": 429, "code": "TooManyRequests"}),
        ("cut-body", {"afterBytes": 1000}),
        ("whole-body", {}),
        ("shifted-range", {}),
        ("html", {}),
        ("reset", {}),
    ],
)
def test_faults_of_ranged_reads(cloud, tmp_path, effect, fields):
    """C013: whatever the service or a box between does to single ranges, the file comes out right."""
    info = cloud.send("disk")
    cloud.emulator.fault("GetObject", effect, times=3, skip=2, **fields)
    assert cloud.fetch(info, tmp_path / "back") == BODY


def test_flipped_bit_is_found(cloud, tmp_path):
    """A bit that flips on the way is found by the service's CRC32C; the bytes are not kept."""
    info = cloud.send("disk")
    cloud.emulator.fault("GetObject", "flip-byte", at=100, skip=2)
    with pytest.raises(errors.VerificationError, match="checksums differ"):
        cloud.fetch(info, tmp_path / "back")
    assert cloud.fetch(info, tmp_path / "back") == BODY


def test_replaced_object_is_never_mixed(cloud, tmp_path):
    """An object that is replaced while it is read ends the transfer as changed; the new one starts from scratch."""
    info = cloud.send("disk")
    cloud.emulator.fault("GetObject", "object-replaced", skip=3)
    with pytest.raises(errors.ObjectChanged) as caught:
        cloud.fetch(info, tmp_path / "back")
    assert caught.value.request_id
    after = cloud.store.head(info.ref)
    assert after.etag != info.etag
    assert len(cloud.fetch(after, tmp_path / "back")) == after.size


def test_outage_is_waited_for(cloud, tmp_path):
    """A service that is away in mid-download is waited for; not one attempt is spent, and finished parts stay."""
    info = cloud.send("disk")
    shown = []
    reachable = lambda: probe(ConnectionSettings(), cloud.emulator.endpoint)  # noqa: E731 - as wiring does it
    patient = retrier(attempts=1, probe=reachable, waiter=Waiter(report=shown.append))
    cloud.emulator.fault("GetObject", "outage", seconds=1, skip=4)
    assert cloud.fetch(info, tmp_path / "back", retrier=patient) == BODY
    assert "network down since" in next(event.reason for event in shown if isinstance(event, Waiting))


@pytest.mark.parametrize(
    ("operation", "effect", "fields"),
    [
        ("UploadPart", "error", {"status": 503, "code": "ServiceUnavailable"}),
        ("UploadPart", "reset", {}),
        ("UploadPart", "lost-response", {}),
        ("CommitMultipartUpload", "error", {"status": 500, "code": "InternalServerError"}),
        ("CommitMultipartUpload", "lost-response", {}),
        ("CreateMultipartUpload", "error", {"status": 500, "code": "InternalServerError"}),
    ],
)
def test_faults_of_uploads(cloud, tmp_path, operation, effect, fields):
    """Faults that pass do not harm an upload, not even a commit that was carried out without its reply arriving."""
    cloud.emulator.fault(operation, effect, times=1, **fields)
    info = cloud.send("disk")
    assert cloud.fetch(info, tmp_path / "back") == BODY
    assert list(cloud.store.list_multipart_uploads(cloud.ref(""))) == []


def test_failed_upload_is_aborted(cloud):
    """An upload that fails for good leaves no parts behind and no object."""
    cloud.emulator.fault("UploadPart", "error", status=403, code="NotAllowed", skip=2)
    with pytest.raises(errors.PermissionDenied):
        cloud.send("disk")
    assert list(cloud.store.list_multipart_uploads(cloud.ref(""))) == []
    assert not cloud.store.exists(cloud.ref("disk"))


def test_metadata_goes_along(cloud):
    """Metadata of an upload is what the object has; one in parts tells their size, which its composite MD5 needs."""
    cloud.send("disk")
    assert cloud.store.head(cloud.ref("disk")).metadata == {"run": "r1", "hypersdk-part-size": str(PART)}
    cloud.send("small", b"x")
    assert cloud.store.head(cloud.ref("small")).metadata == {"run": "r1"}
