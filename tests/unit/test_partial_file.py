"""The partial file and its publication: names, modes, holes, locks, and nobody's file is harmed."""

from __future__ import annotations

import errno
import os
import random
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypersdk import errors
from hypersdk.model import ByteRange, Checksum, ObjectInfo, ObjectRef, Proof
from hypersdk.transfer import partial as partial_module
from hypersdk.transfer.checksums import crc32c, file_digests
from hypersdk.transfer.journal import Identity
from hypersdk.transfer.partial import Partial, SealedPartial, data_runs, discard, journal_name, partial_name
from hypersdk.transfer.publish import publish

BLOCK = 64 * 1024
BODY = random.Random(2).randbytes(3 * BLOCK)


def identity(size: int = len(BODY)) -> Identity:
    return Identity.of(ObjectInfo(ObjectRef("oci", "ns", "b", "disk"), size, "etag"))


def sealed_at(destination: Path, body: bytes = BODY) -> SealedPartial:
    with Partial(str(destination)) as partial:
        partial.resume(identity(len(body)))
        partial.write(0, memoryview(body), skip_zeros=True)
        partial.record(ByteRange(0, len(body)), crc32c(body))
        return partial.seal()


def proof_of(sealed: SealedPartial) -> Proof:
    return Proof(sealed.size, file_digests(sealed.path), ("tested",))


def names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


@settings(deadline=None)
@given(st.binary(max_size=40), st.lists(st.sampled_from([b"\0" * 8, b"\0" * 7 + b"x", b"x" * 8]), max_size=12))
def test_runs_are_exactly_the_data(tail, blocks):
    """Writing only the runs into zeros gives back the bytes, and no run has a zero block at its edge."""
    body = b"".join(blocks) + tail
    written = bytearray(len(body))
    for start, stop in data_runs(memoryview(body), 8):
        written[start:stop] = body[start:stop]
        assert any(body[start : start + 8])
        assert any(body[(stop - 1) // 8 * 8 : stop])
    assert written == body


def test_zero_blocks_become_holes(tmp_path):
    """Zero blocks take no room on the disk, unless they overwrite something."""
    body = BODY[:BLOCK] + bytes(100 * BLOCK) + BODY[:BLOCK]
    sealed = sealed_at(tmp_path / "disk", body)
    assert Path(sealed.path).read_bytes() == body
    assert Path(sealed.path).stat().st_blocks * 512 < 10 * BLOCK
    with Partial(str(tmp_path / "disk")) as partial:
        partial.resume(identity(len(body)))
        assert not partial.is_hole(ByteRange(0, 2 * BLOCK))
        assert partial.is_hole(ByteRange(50 * BLOCK, 52 * BLOCK))
        partial.write(0, memoryview(bytes(BLOCK)), skip_zeros=partial.is_hole(ByteRange(0, BLOCK)))
    assert Path(sealed.path).read_bytes() == bytes(101 * BLOCK) + BODY[:BLOCK]


@pytest.mark.parametrize("length", [240, 241, 250, 254, 255])
def test_long_names_work(tmp_path, length):
    """C024: final names up to the file system's 255 bytes work, and two long names never share a partial."""
    first, second = tmp_path / ("ü" + "n" * (length - 2)), tmp_path / ("ü" + "n" * (length - 3) + "m")
    for destination in (first, second):
        sealed = sealed_at(destination)
        publish(sealed, proof_of(sealed), str(destination))
        assert destination.read_bytes() == BODY
    assert names(tmp_path) == sorted([first.name, second.name])


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664), (0o027, 0o640)])
def test_modes_follow_the_umask(tmp_path, umask, mode):
    """C018: partial, journal and result have mode 0666 less the umask."""
    before = os.umask(umask)
    try:
        sealed = sealed_at(tmp_path / "disk")
        for own in (partial_name("disk"), journal_name("disk")):
            assert stat.S_IMODE((tmp_path / own).stat().st_mode) == mode
        publish(sealed, proof_of(sealed), str(tmp_path / "disk"))
        assert stat.S_IMODE((tmp_path / "disk").stat().st_mode) == mode
    finally:
        os.umask(before)


SMALL = random.Random(4).randbytes(8 * 512)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_power_cut_loses_time_but_no_truth(tmp_path_factory, data):
    """Whatever unsynced writes a power cut takes from file and journal, every range that still counts is right."""
    folder = tmp_path_factory.mktemp("cut")
    parts = [ByteRange(start, start + 512) for start in range(0, len(SMALL), 512)]
    with Partial(str(folder / "disk")) as partial, pytest.MonkeyPatch.context() as patch:
        patch.setattr(partial_module, "current_boot_id", lambda: "boot-0")
        partial.resume(identity(len(SMALL)))
        for part in data.draw(st.lists(st.sampled_from(parts), unique=True)):
            body = SMALL[part.start : part.stop]
            partial.write(part.start, memoryview(body), skip_zeros=False)
            partial.record(part, crc32c(body))
    for boot in range(1, data.draw(st.integers(2, 3))):
        _lose_unsynced(folder, data)
        with Partial(str(folder / "disk")) as partial, pytest.MonkeyPatch.context() as patch:
            patch.setattr(partial_module, "current_boot_id", lambda boot=boot: f"boot-{boot}")
            partial.resume(identity(len(SMALL)))
            there = Path(partial.path).read_bytes()
            assert all(there[part.start : part.stop] == SMALL[part.start : part.stop] for part in partial.verified)
            for part in parts:
                if part not in partial.verified:
                    partial.write(part.start, memoryview(SMALL)[part.start : part.stop], skip_zeros=False)
                    partial.record(part, crc32c(SMALL[part.start : part.stop]))


def _lose_unsynced(folder: Path, data: st.DataObject) -> None:
    """Zero blocks of the file and lines of the journal, except its head, which was synced when it was begun."""
    place, journal = folder / partial_name("disk"), folder / journal_name("disk")
    body = bytearray(place.read_bytes())
    for block in data.draw(st.sets(st.integers(0, len(SMALL) // 256 - 1))):
        body[block * 256 : block * 256 + 256] = bytes(256)
    place.write_bytes(body)
    head, *lines = journal.read_bytes().splitlines(keepends=True)
    synced = 1 + max((at for at, line in enumerate(lines) if b'"drop"' in line), default=-1)
    kept = [
        line if at < synced or data.draw(st.booleans()) else bytes(data.draw(st.integers(0, len(line))))
        for at, line in enumerate(lines)
    ]
    journal.write_bytes(head + b"".join(kept))


def test_links_are_not_followed(tmp_path):
    """A link that waits at the partial's name is refused; its target keeps its bytes."""
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / partial_name("disk")).symlink_to(tmp_path / "victim")
    with pytest.raises(errors.FileError, match="link"):
        Partial(str(tmp_path / "disk"))
    assert (tmp_path / "victim").read_bytes() == b"precious"


def test_published_file_is_never_written_to(tmp_path):
    """If we died between giving the name and dropping the partial's, a new download leaves the result alone."""
    sealed = sealed_at(tmp_path / "disk")
    (tmp_path / "disk").hardlink_to(sealed.path)
    with Partial(str(tmp_path / "disk")) as partial:
        partial.resume(identity())
        partial.reset(identity())
    assert (tmp_path / "disk").read_bytes() == BODY


def test_missing_directory_is_named(tmp_path):
    """A destination in a directory that does not exist is an error that names it."""
    with pytest.raises(errors.NotFoundError, match="nowhere"):
        Partial(str(tmp_path / "nowhere" / "disk"))


def test_relative_destination(tmp_path, monkeypatch):
    """A bare file name means the current directory."""
    monkeypatch.chdir(tmp_path)
    sealed = sealed_at(Path("disk"))
    publish(sealed, proof_of(sealed), "disk")
    assert names(tmp_path) == ["disk"]


def test_whole_or_not_sealed(tmp_path):
    """A file with a missing range cannot be sealed."""
    with Partial(str(tmp_path / "disk")) as partial:
        partial.resume(identity())
        partial.record(ByteRange(0, 5), 1)
        with pytest.raises(errors.VerificationError):
            partial.seal()


def test_failed_write_back_is_not_trusted(tmp_path, monkeypatch):
    """If the disk refuses the data at sync, nothing of it counts in the next run without being read."""
    with Partial(str(tmp_path / "disk")) as partial:
        partial.resume(identity())
        partial.record(ByteRange(0, len(BODY)), crc32c(BODY))

        def broken(_: int) -> None:
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(os, "fdatasync", broken)
        with pytest.raises(errors.FileError, match="Input/output"):
            partial.seal()
    with Partial(str(tmp_path / "disk")) as partial:
        partial.resume(identity())
        assert partial.verified == {}, "the bytes were never there"


def test_discard_leaves_nothing(tmp_path):
    """A cancelled download's partial and journal can be dropped, twice too."""
    sealed_at(tmp_path / "disk")
    (tmp_path / "other").write_bytes(b"stays")
    for _ in range(2):
        discard(str(tmp_path / "disk"))
        assert names(tmp_path) == ["other"]
    discard(str(tmp_path / "nowhere" / "disk"))


def test_discard_can_spare_the_download_of_another_object(tmp_path):
    """Who cleans up after one object leaves files of another object, or without a journal, alone."""
    sealed_at(tmp_path / "disk")
    before = names(tmp_path)
    discard(str(tmp_path / "disk"), only_of="another")
    assert names(tmp_path) == before
    discard(str(tmp_path / "disk"), only_of=identity().name)
    assert names(tmp_path) == []
    (tmp_path / partial_name("disk")).write_bytes(b"?")
    discard(str(tmp_path / "disk"), only_of="any")
    assert names(tmp_path) == [partial_name("disk")]


def test_existing_file_is_kept_or_replaced_whole(tmp_path):
    """C016: an existing file stays as it was unless overwriting was asked for; then it is replaced in one step."""
    destination = tmp_path / "disk"
    destination.write_bytes(b"old")
    sealed = sealed_at(destination)
    with pytest.raises(errors.DestinationExists, match="--overwrite"):
        publish(sealed, proof_of(sealed), str(destination))
    assert destination.read_bytes() == b"old"
    publish(sealed, proof_of(sealed), str(destination), overwrite=True)
    assert destination.read_bytes() == BODY
    assert names(tmp_path) == ["disk"]


def test_directory_is_never_replaced(tmp_path):
    """A directory of the final name is kept, overwriting or not."""
    (tmp_path / "disk").mkdir()
    sealed = sealed_at(tmp_path / "disk")
    for overwrite in (False, True):
        with pytest.raises(errors.DestinationExists):
            publish(sealed, proof_of(sealed), str(tmp_path / "disk"), overwrite=overwrite)


@pytest.mark.parametrize("overwrite", [False, True])
def test_published_twice_is_published_once(tmp_path, overwrite):
    """Publishing again after a crash succeeds if exactly the proven bytes are there, and only then."""
    destination = tmp_path / "disk"
    sealed = sealed_at(destination)
    proof = proof_of(sealed)
    destination.hardlink_to(sealed.path)  # died before the partial's name was dropped
    publish(sealed, proof, str(destination), overwrite=overwrite)
    assert names(tmp_path) == ["disk"]
    publish(sealed, proof, str(destination), overwrite=overwrite)  # died before it was noted
    assert destination.read_bytes() == BODY
    destination.write_bytes(b"x" * len(BODY))
    with pytest.raises(errors.DestinationExists):
        publish(sealed, proof, str(destination), overwrite=overwrite)
    destination.unlink()
    with pytest.raises(errors.FileError, match="nothing to publish"):
        publish(sealed, proof, str(destination), overwrite=overwrite)


def test_file_systems_without_links(tmp_path, monkeypatch):
    """Where hard links are not supported the name is still never taken from another file."""

    def unsupported(*_args: object, **_fields: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", unsupported)
    sealed = sealed_at(tmp_path / "disk")
    publish(sealed, proof_of(sealed), str(tmp_path / "disk"))
    assert names(tmp_path) == ["disk"]
    sealed = sealed_at(tmp_path / "disk")
    with pytest.raises(errors.DestinationExists):
        publish(sealed, proof_of(sealed), str(tmp_path / "disk"))


def test_only_the_proven_file_is_published(tmp_path):
    """C015: a proof of another size gives no name, and equal size alone is no proof of what is there."""
    sealed = sealed_at(tmp_path / "disk")
    with pytest.raises(errors.VerificationError):
        publish(sealed, Proof(5, (), ()), str(tmp_path / "disk"))
    Path(sealed.path).unlink()
    (tmp_path / "disk").write_bytes(BODY)
    for checksums in ((), (Checksum("sha256", "00"),)):
        with pytest.raises(errors.DestinationExists):
            publish(sealed, Proof(len(BODY), checksums, ()), str(tmp_path / "disk"))
