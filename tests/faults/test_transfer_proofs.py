"""What is proven of a fetched file, and what that costs: nothing is read back unless somebody needs it."""

from __future__ import annotations

import builtins
import hashlib
import os
import random
from dataclasses import replace
from pathlib import Path

import blake3
import pytest
from http_store import REF, HttpStore, new_wire, retrier
from raw_server import OneObject, RawServer, send

from hypersdk import errors, events
from hypersdk.model import Checksum, ObjectInfo, Proof
from hypersdk.storage import kernel, oci_headers
from hypersdk.transfer import files, partial, readback
from hypersdk.transfer.checksums import as_checksum, crc32c
from hypersdk.transfer.options import TransferOptions
from hypersdk.waiting import Waiter

PART = 64 * 1024
BODY = random.Random(5).randbytes(9 * PART + 1)
OPTIONS = TransferOptions(part_size=PART, parallel=3)
CRC = as_checksum(crc32c(BODY))


class Headed(HttpStore):
    """A store that answers `head` from a list; the last answer stays."""

    def __init__(self, url: str, *infos: ObjectInfo) -> None:
        super().__init__(url)
        self.infos = list(infos)

    def head(self, _ref) -> ObjectInfo:
        return self.infos.pop(0) if len(self.infos) > 1 else self.infos[0]


def info_of(*checksums: Checksum, etag: str = "etag-1", body: bytes = BODY, **fields) -> ObjectInfo:
    return ObjectInfo(REF, len(body), etag, checksums, **fields)


def fetch(server: RawServer, path: Path, *infos: ObjectInfo, waiter: Waiter | None = None, **options) -> Proof:
    with new_wire() as wire:
        return files.fetch_file(
            Headed(server.url, *infos),
            REF,
            str(path),
            wire=wire,
            retrier=retrier(waiter=waiter),
            options=replace(OPTIONS, **options),
        )


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """Files that were read whole."""
    seen: list[str] = []
    for module in ("hypersdk.transfer.checksums",):
        monkeypatch.setattr(
            f"{module}.read_through",
            lambda path, *args, **kw: seen.append(path) or readback.read_through(path, *args, **kw),
        )
    return seen


def test_nothing_is_read_back_where_crc32c_is_known(tmp_path, reads):
    """The CRC32C of all bytes as received, equal to the service's, proves the file without one read."""
    with RawServer(OneObject(BODY)) as server:
        proof = fetch(server, tmp_path / "disk", info_of(CRC, Checksum("sha256", "00")))
    assert (tmp_path / "disk").read_bytes() == BODY
    assert proof.checksums == (CRC,)
    assert "crc32c is the service's" in proof.structure[-1]
    assert reads == []


@pytest.mark.parametrize("algorithm", ["md5", "sha256", "sha384"])
def test_other_checksum_of_the_service_is_compared_by_one_read(tmp_path, reads, algorithm):
    """An object that only has an MD5 or SHA of the service's own is read once for it; wrong bytes get no name."""
    right = Checksum(algorithm, hashlib.new(algorithm, BODY).hexdigest())
    with RawServer(OneObject(BODY)) as server:
        proof = fetch(server, tmp_path / "disk", info_of(right))
        assert right in proof.checksums
        assert len(reads) == 1
        with pytest.raises(errors.VerificationError, match=algorithm):
            fetch(server, tmp_path / "bad", info_of(replace(right, value="0" * len(right.value))))
    assert [path.name for path in tmp_path.iterdir()] == ["disk"]


def composite(part_size: int) -> str:
    pieces = [BODY[at : at + part_size] for at in range(0, len(BODY), part_size)]
    whole = hashlib.md5(b"".join(hashlib.md5(piece).digest() for piece in pieces)).hexdigest()
    return f"{whole}-{len(pieces)}"


@pytest.mark.parametrize("part_size", [PART, 100_000, len(BODY)])
def test_multipart_md5_is_compared_where_the_part_size_is_recorded(tmp_path, reads, part_size):
    """Without CRC32C the MD5 over the parts is compared if the object says its part size; other bytes get no name."""
    noted = {oci_headers.PART_SIZE: str(part_size)}
    info = info_of(metadata=noted, multipart_md5=composite(part_size))
    with RawServer(OneObject(BODY)) as server:
        proof = fetch(server, tmp_path / "disk", info)
        assert len(reads) == 1
        assert "multipart-md5 is the service's" in proof.structure[-1]
        assert proof.checksums == (CRC,)
        with pytest.raises(errors.VerificationError, match="multipart-md5"):
            fetch(server, tmp_path / "bad", replace(info, multipart_md5="0" * 32 + composite(part_size)[32:]))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"metadata": {"md5chksum": "d41d8cd98f00b204e9800998ecf8427e", "sha256": "00"}},
        {"multipart_md5": composite(PART)},
        {"multipart_md5": composite(PART), "metadata": {oci_headers.PART_SIZE: str(PART * 2)}},
        {"multipart_md5": composite(PART), "metadata": {oci_headers.PART_SIZE: "a lot"}},
    ],
    ids=["nothing", "user's own", "no part size", "another's part size", "no number"],
)
def test_proof_says_when_nothing_could_be_compared(tmp_path, reads, fields):
    """What users wrote into metadata is never the service's checksum; a proof without comparison says so in words."""
    with RawServer(OneObject(BODY)) as server:
        proof = fetch(server, tmp_path / "disk", info_of(**fields))
    assert "knows no checksum" in proof.structure[-1]
    assert proof.checksums == (CRC,)
    assert reads == []


def test_asked_digests_come_from_one_read(tmp_path, reads):
    """However many digests are asked for, with the device or without, the file is read once."""
    with RawServer(OneObject(BODY)) as server:
        proof = fetch(server, tmp_path / "disk", info_of(CRC), digests=("sha256", "md5", "blake3"), reread=True)
    assert {each.algorithm: each.value for each in proof.checksums} == {
        "crc32c": CRC.value,
        "sha256": hashlib.sha256(BODY).hexdigest(),
        "md5": hashlib.md5(BODY).hexdigest(),
        "blake3": blake3.blake3(BODY).hexdigest(),
    }
    assert any("read back from the device" in sentence for sentence in proof.structure)
    assert len(reads) == 1


def test_disk_that_keeps_other_bytes_is_found(tmp_path, monkeypatch):
    """`reread` notices that the device holds other bytes than were received: no name, and nothing is kept of them."""
    real = partial.Partial.seal

    def seal(self, *args):
        sealed = real(self, *args)
        with Path(sealed.path).open("r+b") as file:
            file.seek(5 * PART)
            file.write(b"!")
        return replace(sealed, mark=partial.mark_of(sealed.path))

    with RawServer(OneObject(BODY)) as server:
        monkeypatch.setattr(partial.Partial, "seal", seal)
        with pytest.raises(errors.VerificationError, match="reads back as"):
            fetch(server, tmp_path / "disk", info_of(CRC), reread=True)
        assert list(tmp_path.iterdir()) == []
        monkeypatch.undo()
        fetch(server, tmp_path / "disk", info_of(CRC), reread=True)
    assert (tmp_path / "disk").read_bytes() == BODY


def test_file_written_to_after_its_seal_gets_no_name(tmp_path, monkeypatch):
    """A file that changed between its seal and its name is not the one that was proven."""
    real = files.prove

    def prove(sealed, *args):
        os.utime(sealed.path, ns=(1, 1))
        return real(sealed, *args)

    monkeypatch.setattr(files, "prove", prove)
    with RawServer(OneObject(BODY)) as server, pytest.raises(errors.VerificationError, match="written to after"):
        fetch(server, tmp_path / "disk", info_of(CRC))
    assert not (tmp_path / "disk").exists()


def test_missing_package_is_told_before_anything(tmp_path, monkeypatch):
    """A digest whose package is absent ends it with the line to install it, before the first request."""
    real = builtins.__import__

    def no_blake3(name, *args, **kw):
        if name == "blake3":
            raise ImportError(name)
        return real(name, *args, **kw)

    monkeypatch.setattr(builtins, "__import__", no_blake3)
    with RawServer(OneObject(BODY)) as server, pytest.raises(errors.ToolMissing) as caught:
        fetch(server, tmp_path / "disk", info_of(CRC), digests=("blake3",))
    assert caught.value.hint == "pip install 'hypersdk[blake3]'"
    assert (server.asked, list(tmp_path.iterdir())) == ([], [])


def test_replaced_object_is_started_again_once(tmp_path):
    """An object that is replaced in mid-download is fetched anew after a new look, no byte of the old one stays."""
    new, notes = BODY[::-1], []
    served = OneObject(BODY, faults=[None, None, None])

    def answer(asked, peer):
        if not served.faults:
            served.body, served.etag = new, "etag-2"
        return served(asked, peer)

    with RawServer(answer) as server:
        infos = (info_of(), info_of(etag="etag-2"))
        proof = fetch(server, tmp_path / "disk", *infos, waiter=Waiter(report=notes.append))
    assert (tmp_path / "disk").read_bytes() == new
    assert proof.checksums == (as_checksum(crc32c(new)),)
    assert ["started again" in event.text for event in notes if isinstance(event, events.Note)] == [True]


def test_object_that_never_stands_still_is_an_error(tmp_path):
    """An object that is replaced again during the second try ends as "changed"; nothing gets the name."""
    with RawServer(lambda _, peer: send(peer, 412)) as server, pytest.raises(errors.ObjectChanged, match="replaced"):
        fetch(server, tmp_path / "disk", info_of())
    assert not (tmp_path / "disk").exists()


def test_empty_file_can_be_read_back(tmp_path):
    """An empty object has the digests of no bytes, also from the device."""
    with RawServer(OneObject(b"")) as server:
        proof = fetch(server, tmp_path / "disk", info_of(body=b""), digests=("sha256",), reread=True)
    assert Checksum("sha256", hashlib.sha256(b"").hexdigest()) in proof.checksums


def test_large_file_outside_the_cache_is_read_past_it(tmp_path):
    """A large file that the page cache does not hold is read past it, and left out of it; one that it holds is not."""
    path, body = tmp_path / "file", random.Random(3).randbytes(readback._LARGE + 1)
    path.write_bytes(body)
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        found = bytearray()
        cold = readback.read_through(str(path), found.extend)
        assert cold == readback.read_through(str(path), lambda _: None, from_device=True)
        assert found == body
        assert kernel.is_cached(file.fileno(), len(body)) != cold
        file.read()
    assert not readback.read_through(str(path), lambda _: None)


@pytest.mark.parametrize(
    "size", [0, 1, 4096, readback._READ - 1, readback._READ, readback._READ + 1, 3 * readback._READ]
)
@pytest.mark.parametrize("from_device", [False, True])
def test_every_byte_is_read_once(tmp_path, size, from_device):
    """Sizes around blocks and buffers are read whole and in order, past the page cache too."""
    body = random.Random(size).randbytes(size)
    path, found, ticks = tmp_path / "file", bytearray(), []
    path.write_bytes(body)
    direct = readback.read_through(str(path), found.extend, tick=ticks.append, from_device=from_device)
    assert bytes(found) == body
    assert ticks[-1:] == ([size] if size else [])
    assert direct <= from_device


def test_file_system_without_direct_reads(tmp_path, monkeypatch):
    """Where O_DIRECT is refused the file is read all the same, and the proof does not claim more."""
    path, found = tmp_path / "file", bytearray()
    path.write_bytes(BODY)
    monkeypatch.setattr(readback, "_open_direct", lambda *_: None)
    assert readback.read_through(str(path), found.extend, from_device=True) is False
    assert bytes(found) == BODY
    assert "page cache" in readback.how_read(past_cache=False)
