"""Small files: one request each, checked by the service, whatever happens to the request or its reply."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from emulator import Emulator
from http_store import retrier
from own_bucket import own_bucket, running_emulator

from hypersdk import errors
from hypersdk.model import ObjectInfo, ObjectRef
from hypersdk.storage.backends.oci import OciStore
from hypersdk.storage.protocol import PutCondition, PutOptions
from hypersdk.transfer.checksums import as_checksum, crc32c
from hypersdk.transfer.options import TransferOptions
from hypersdk.transfer.parts import PartLoop
from hypersdk.transfer.uploads.sending import PutPart
from hypersdk.transfer.uploads.upload import upload
from hypersdk.wire.loop import Wire
from hypersdk.wire.request import Source

MIB = 1 << 20
BODY = random.Random(6).randbytes(3 * MIB)
ABSENT = PutOptions(PutCondition(if_absent=True), metadata={"run": "r1"})


@dataclass
class Desk:
    """A bucket and a file to send there."""

    emulator: Emulator
    store: OciStore
    wire: Wire
    root: ObjectRef
    source: Path

    def send(self, body: bytes = BODY, put: PutOptions = ABSENT, attempts: int = 5, **fields) -> ObjectInfo:
        """Upload the file."""
        self.source.write_bytes(body)
        means = {"wire": self.wire, "retrier": retrier(attempts=attempts), "options": TransferOptions(4 * MIB, 4)}
        return upload(str(self.source), self.store, self.ref, put=put, **(means | fields))

    @property
    def ref(self) -> ObjectRef:
        return replace(self.root, name="small")

    def stored(self) -> bytes:
        """What stands there."""
        return self.emulator.get(self.root.bucket, "small").body

    def calls(self, before: int) -> list[str]:
        """What was asked of the service since."""
        return [call["operation"] for call in self.emulator.log()[before:]]


@pytest.fixture(scope="module")
def emulator(tmp_path_factory) -> Iterator[Emulator]:
    with running_emulator(tmp_path_factory) as emulator:
        yield emulator


@pytest.fixture
def desk(emulator, tmp_path) -> Iterator[Desk]:
    with own_bucket(emulator, tmp_path) as (store, wire, root):
        yield Desk(emulator, store, wire, root, tmp_path / "source")


@pytest.mark.parametrize("size", [0, 1, MIB, MIB + 1, 3 * MIB])
def test_one_request(desk, size):
    """A file of at most one part is one PUT, with its checksum and metadata; nothing else is asked."""
    before, seen = len(desk.emulator.log()), []
    info = desk.send(BODY[:size], advanced=lambda *now: seen.append(now))
    assert desk.calls(before) == ["PutObject"]
    assert desk.stored() == BODY[:size]
    assert info.checksums == (as_checksum(crc32c(BODY[:size])),)
    found = desk.store.head(desk.ref)
    assert (found.etag, found.metadata) == (info.etag, {"run": "r1"})
    assert set(info.checksums) <= set(found.checksums)
    assert seen[-1] == (size, size)
    assert seen == sorted(seen)


@pytest.mark.parametrize("size", [100, 3 * MIB])
@pytest.mark.parametrize(
    ("effect", "fields"),
    [
        ("error", {"status": 503, "code": "ServiceUnavailable"}),
        ("error", {"status": 429, "code": "TooManyRequests"}),
        ("reset", {}),
        ("lost-response", {}),
        ("flip-request", {"at": 50}),
        ("store-flipped", {"at": 50}),
        ("cut-request", {"afterBytes": 60}),
        ("early-refusal", {"status": 503, "code": "ServiceUnavailable", "afterBytes": 10}),
        ("html", {}),
    ],
)
def test_faults_that_pass(desk, effect, fields, size):
    """Whatever happens to one try, the object comes out right, even where its name had to be free."""
    desk.emulator.fault("PutObject", effect, **fields)
    info = desk.send(BODY[:size])
    assert desk.stored() == BODY[:size]
    assert desk.store.head(desk.ref).etag == info.etag


def test_expired_credentials_are_refreshed_once(desk):
    """A 401 refreshes the credentials and sends the file again."""
    desk.emulator.fault("PutObject", "error", status=401, code="NotAuthenticated")
    refreshed = []
    desk.send(retrier=retrier(refresh=lambda: refreshed.append(1) or True))
    assert refreshed == [1]
    assert desk.stored() == BODY


def test_taken_name_is_kept(desk):
    """C016: a name that is taken is said to be taken, and what stands there stays."""
    desk.send(b"old")
    with pytest.raises(errors.AlreadyExists):
        desk.send()
    assert desk.stored() == b"old"


def test_taken_name_with_the_same_bytes_of_others(desk):
    """The same bytes that somebody else has put there are not taken for ours: their metadata differs."""
    desk.send(put=PutOptions())
    with pytest.raises(errors.AlreadyExists):
        desk.send()


def test_only_over_the_object_that_was_seen(desk):
    """A write over a pinned etag replaces exactly that object, and one that came between stays."""
    first = desk.send(b"first")
    second = desk.send(b"second", PutOptions(PutCondition(if_match=first.etag)))
    with pytest.raises(errors.PreconditionFailed):
        desk.send(b"third", PutOptions(PutCondition(if_match=first.etag)))
    assert desk.store.head(desk.ref).etag == second.etag


@pytest.mark.parametrize("size", [100, 3 * MIB])
def test_changed_while_it_is_sent(desk, size, monkeypatch):
    """A file that changes before its last byte went out becomes no object."""
    pread, seen = os.pread, []

    def writing(file: int, count: int, offset: int) -> bytes:
        data = pread(file, count, offset)
        if not seen:
            seen.append(os.utime(desk.source, ns=(1, 1)))
        return data

    monkeypatch.setattr("hypersdk.transfer.uploads.localsource.os.pread", writing)
    with pytest.raises(errors.FileError, match="changed while it was uploaded"):
        desk.send(BODY[:size])
    assert not desk.store.exists(desk.ref)


@pytest.mark.parametrize("kind", ["directory", "pipe", "nothing"])
def test_what_is_no_file(desk, kind):
    """A directory and a pipe are refused at once, and what is absent is not found."""
    path = desk.source.with_name("odd")
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    expected = errors.NotFoundError if kind == "nothing" else errors.FileError
    with pytest.raises(expected, match="odd"):
        upload(str(path), desk.store, desk.ref, wire=desk.wire, retrier=retrier())


def test_many_in_flight(desk):
    """Fifty objects in one loop stand all, although each tenth try fails and two are stored wrong."""
    desk.emulator.fault("PutObject", "error", status=503, code="ServiceUnavailable", times=5, skip=3)
    desk.emulator.fault("PutObject", "store-flipped", at=3, times=2, skip=20)
    bodies = {f"many/{number}": random.Random(number).randbytes(1000 + number) for number in range(50)}
    made: dict[str, ObjectInfo] = {}
    parts = [
        PutPart(
            desk.store,
            replace(desk.root, name=name),
            Source(len(body), lambda offset, size, body=body: body[offset : offset + size]),
            ABSENT,
            counted=lambda _: None,
            done=lambda info: made.update({info.ref.name: info}),
        )
        for name, body in bodies.items()
    ]
    PartLoop(desk.wire, retrier(), "upload many", 8).run(iter(parts), lambda: None)
    assert {name: desk.emulator.get(desk.root.bucket, name).body for name in bodies} == bodies
    assert made.keys() == bodies.keys()


WATCHED = """
import sys
from hypersdk.cli import run
code = run(sys.argv[1:])
print(code, sorted(name for name in sys.modules if name.partition(".")[0] == "oci"), file=sys.stderr)
"""


@pytest.mark.parametrize("size", [100, 3 * MIB], ids=["whole", "in parts"])
def test_no_sdk_is_loaded(desk, tmp_path, size):
    """With an API key a copy into a bucket, looks and lists included, loads nothing of Oracle's SDK."""
    desk.source.write_bytes(BODY[:size])
    flags = ["--config-file", str(desk.emulator.config_file), "--endpoint", desk.emulator.endpoint]
    target = f"oci://{desk.root.namespace}/{desk.root.bucket}/dir/"
    environ = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "HYPEREXPORT_TRANSFER_PART_SIZE": "1MiB"}
    for command in (["cp", *flags, str(desk.source), target], ["ls", *flags, target]):
        done = subprocess.run(
            [sys.executable, "-c", WATCHED, *command], env=environ, capture_output=True, text=True, check=False
        )
        assert done.stderr.splitlines()[-1] == "0 []", done.stderr
    assert desk.emulator.get(desk.root.bucket, "dir/source").body == BODY[:size]
