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
from hypersdk.storage import kernel, local
from hypersdk.transfer.checksums import crc32c, file_digests
from hypersdk.transfer.journal import Identity
from hypersdk.transfer.partial import Partial, SealedPartial, data_runs, discard, journal_name, partial_name, sweep
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


@pytest.mark.parametrize("renames", [True, False], ids=["renameat2", "neither"])
def test_file_systems_without_links(tmp_path, monkeypatch, renames):
    """Where hard links are not supported the name is still never taken from another file."""

    def unsupported(*_args: object, **_fields: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", unsupported)
    if not renames:
        monkeypatch.setattr(kernel, "rename_if_absent", lambda *_: False)
    sealed = sealed_at(tmp_path / "disk")
    publish(sealed, proof_of(sealed), str(tmp_path / "disk"))
    assert names(tmp_path) == ["disk"]
    sealed = sealed_at(tmp_path / "disk")
    with pytest.raises(errors.DestinationExists):
        publish(sealed, proof_of(sealed), str(tmp_path / "disk"))


def test_rename_if_absent_is_one_step(tmp_path):
    """A rename that must not replace gives the name, or says that it is taken and leaves both files as they were."""
    (tmp_path / "new").write_bytes(b"new")
    with local.directory(str(tmp_path)) as handle:
        assert kernel.rename_if_absent(handle, "new", handle, "name")
        (tmp_path / "newer").write_bytes(b"newer")
        with pytest.raises(FileExistsError):
            kernel.rename_if_absent(handle, "newer", handle, "name")
    assert (tmp_path / "name").read_bytes() == b"new"
    assert (tmp_path / "newer").read_bytes() == b"newer"


@pytest.mark.parametrize(("mount", "trusted"), [("the same", True), ("another", False), ("", False)])
def test_journal_is_believed_on_its_mount_only(tmp_path, monkeypatch, mount, trusted):
    """On another mount, or where the kernel does not tell mounts apart, bytes are read back before they count."""
    monkeypatch.setattr(kernel, "mount_of", lambda _: mount and "the same")
    with Partial(str(tmp_path / "disk")) as partial:
        partial.resume(identity())
        partial.record(ByteRange(0, BLOCK), crc32c(BODY[:BLOCK]))  # and nothing was written
    monkeypatch.setattr(kernel, "mount_of", lambda _: mount)
    with Partial(str(tmp_path / "disk")) as partial:
        partial.resume(identity())
        assert bool(partial.verified) is trusted


def test_sweep_takes_what_a_killed_publisher_left(tmp_path):
    """The second name of a published file and a journal without its file go; a download under way stays."""
    sealed = sealed_at(tmp_path / "disk")
    (tmp_path / "disk").write_bytes(b"another file")
    before = names(tmp_path)
    sweep(str(tmp_path / "disk"))
    assert names(tmp_path) == before
    (tmp_path / "disk").unlink()
    (tmp_path / "disk").hardlink_to(sealed.path)
    sweep(str(tmp_path / "disk"))
    assert names(tmp_path) == ["disk"]
    (tmp_path / journal_name("disk")).write_bytes(b"lines")
    sweep(str(tmp_path / "disk"))
    assert names(tmp_path) == ["disk"]


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
