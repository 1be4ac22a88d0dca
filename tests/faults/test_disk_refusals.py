"""Disks that refuse: full, over quota, read-only, broken, pulled out. Finished parts are kept, the end is quick."""

from __future__ import annotations

import fcntl
import os
import random
import resource
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from filesystems import BTRFS, EXFAT, EXT4, TMPFS, XFS, Kind, mounted, run_as_root
from hyperexport import Ended, Hyperexport, Running
from own_bucket import running_emulator
from transfers import Cloud, fork, journaled, leftovers, wait_until

import hypersdk
from hypersdk import errors
from hypersdk.model import ByteRange
from hypersdk.transfer import partial

PART = 64 * 1024
BODY = random.Random(8).randbytes(48 * PART)
ROOM = 20 * PART
"""Bytes that fit before the disk is full."""

QUICK = 5.0
FULL, BROKEN = errors.DiskFull.exit_code, errors.FileError.exit_code

SMALL = replace(EXT4, make=EXT4.make.replace("mkfs.ext4 -q", "mkfs.ext4 -q -m 0"))
ERRORS_REMOUNT = replace(EXT4, make=EXT4.make.replace("-o loop", "-o loop,errors=remount-ro"))
SMALL_EXFAT = replace(EXFAT, make=EXFAT.make.replace("96M", "16M"))
QUOTA = replace(
    BTRFS,
    make=f"""{BTRFS.make}
btrfs quota enable "$at"
btrfs subvolume create "$at/home" >/dev/null
chown "$owner" "$at/home"
""",
)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with running_emulator(tmp_path_factory) as emulator:
        yield Cloud(emulator, tmp_path_factory.mktemp("home"))


@pytest.fixture
def name(request: pytest.FixtureRequest, cloud: Cloud) -> str:
    cloud.put(request.node.name, BODY)
    return request.node.name


def quickly(child: Running) -> Ended:
    """How a child ends, which must not take long."""
    began = time.monotonic()
    ended = child.wait()
    assert time.monotonic() - began < QUICK
    return ended


def finish(cloud: Cloud, name: str, destination: Path, kept: dict[ByteRange, int]) -> None:
    """The same command again, once the disk takes it: only what is not in the journal is fetched."""
    mark = cloud.mark()
    cloud.download(name, destination, overwrite=True)
    assert destination.read_bytes() == BODY
    assert leftovers(destination.parent) == []
    fetched = cloud.fetched(name, mark)
    assert sum(each.length for each in fetched) == len(BODY) - sum(each.length for each in kept)
    assert not [each for each in fetched for have in kept if each.start < have.stop and have.start < each.stop]


def fill(place: Path, room: int) -> Path:
    """Take all room but so much."""
    filler, facts = place / "filler", os.statvfs(place)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, facts.f_bavail * facts.f_frsize - room)
    return filler


@pytest.mark.parametrize("kind", [SMALL, XFS, BTRFS, TMPFS], ids=lambda kind: kind.name)
def test_full_disk(cloud: Cloud, tmp_path: Path, kind: Kind, name: str) -> None:
    """No room in mid-download ends it at once with exit 8; with room, only the rest is fetched."""
    with mounted(kind, tmp_path) as at:
        (at / "disk").write_bytes(b"old")
        filler = fill(at, ROOM)
        ended = quickly(fork(lambda: cloud.download(name, at / "disk", overwrite=True), cloud.folder))
        assert ended.code == FULL, ended.err
        assert "disk-full" in ended.err
        assert (at / "disk").read_bytes() == b"old"
        kept = journaled(at / "disk")
        assert sum(each.length for each in kept) >= ROOM / 2
        filler.unlink()
        finish(cloud, name, at / "disk", kept)


@pytest.mark.parametrize("kind", [SMALL, XFS, BTRFS, TMPFS], ids=lambda kind: kind.name)
def test_room_that_cannot_be_reserved(cloud: Cloud, tmp_path: Path, kind: Kind, name: str) -> None:
    """With `preallocate` a disk without room for the whole is told before anything is fetched, and is not filled."""
    config = replace(cloud.config, transfer=replace(cloud.config.transfer, preallocate=True))
    with mounted(kind, tmp_path) as at:
        fill(at, ROOM)
        with pytest.raises(errors.DiskFull):
            hypersdk.download(cloud.address(name), str(at / "disk"), config)
        assert cloud.fetched(name) == []
        assert not (at / "disk").exists()
        assert os.statvfs(at).f_bavail > 0


def test_full_disk_ends_the_command(cloud: Cloud, tmp_path: Path, name: str) -> None:
    """`cp` to a full disk ends with exit 8, says what is full, and the same command goes on once there is room."""
    home = tmp_path / "home"
    home.mkdir()
    hyper = Hyperexport(cloud.emulator, home)
    with mounted(TMPFS, tmp_path) as at:
        filler = fill(at, ROOM)
        command = ("cp", cloud.address(name), str(at / "disk"))
        settings = {"HYPEREXPORT_TRANSFER_PART_SIZE": str(PART)}
        ended = quickly(hyper.start(*command, environ=settings))
        assert ended.code == FULL, ended.err
        assert "no room" in ended.err
        assert not (at / "disk").exists()
        kept, mark = journaled(at / "disk"), cloud.mark()
        filler.unlink()
        assert hyper.run(*command, environ=settings).code == 0
        assert (at / "disk").read_bytes() == BODY
        fetched = cloud.fetched(name, mark)
        assert sum(each.length for each in fetched) == len(BODY) - sum(each.length for each in kept)


def test_full_disk_that_cannot_be_sparse(cloud: Cloud, tmp_path: Path, name: str) -> None:
    """Where a file takes all its room at once, a full disk is told before anything is fetched."""
    with mounted(SMALL_EXFAT, tmp_path) as at:
        (at / "filler").write_bytes(bytes(os.statvfs(at).f_bavail * os.statvfs(at).f_frsize - ROOM))
        ended = quickly(fork(lambda: cloud.download(name, at / "disk"), cloud.folder))
        assert ended.code == FULL, ended.err
        assert cloud.fetched(name) == []
        assert not (at / "disk").exists()
        (at / "filler").unlink()
        finish(cloud, name, at / "disk", {})


def test_quota(cloud: Cloud, tmp_path: Path, name: str) -> None:
    """A quota that is used up is a full disk; once it is raised, only the rest is fetched."""
    with mounted(QUOTA, tmp_path) as at:
        home = at / "home"
        (home / "disk").write_bytes(b"old")
        run_as_root("btrfs", "qgroup", "limit", str(ROOM), str(home))
        ended = quickly(fork(lambda: cloud.download(name, home / "disk", overwrite=True), cloud.folder))
        assert ended.code == FULL, ended.err
        assert "quota" in ended.err.lower()
        assert (home / "disk").read_bytes() == b"old"
        kept = journaled(home / "disk")
        run_as_root("btrfs", "qgroup", "limit", "none", str(home))
        finish(cloud, name, home / "disk", kept)


def test_file_size_limit(cloud: Cloud, tmp_path: Path, name: str) -> None:
    """A limit on file sizes (`ulimit -f`) is a full disk, no signal that kills, told before the first byte."""
    (tmp_path / "disk").write_bytes(b"old")

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, ROOM))
        cloud.download(name, tmp_path / "disk", overwrite=True)

    ended = quickly(fork(limited, cloud.folder))
    assert ended.code == FULL
    assert "disk-full" in ended.err
    assert (tmp_path / "disk").read_bytes() == b"old"
    assert cloud.fetched(name) == []
    finish(cloud, name, tmp_path / "disk", {})


def held_while(cloud: Cloud, name: str, destination: Path, parts: int, happens: Callable[[], None]) -> Ended:
    """Let something happen once so many parts are finished; how the download ends."""
    fault = cloud.emulator.fault("GetObject", "hold", objectName=name, skip=parts + 3, times=1)
    child = fork(lambda: cloud.download(name, destination, overwrite=True), cloud.folder)
    wait_until(
        lambda: child.ended() or (cloud.held(fault) and len(journaled(destination)) >= parts),
        f"no part was held: {child.err}",
    )
    assert not child.ended(), child.err
    child.signal(signal.SIGSTOP)  # nothing moves while the disk goes away
    happens()
    cloud.emulator.control("POST", "release", {"id": fault["id"]})
    child.signal(signal.SIGCONT)
    return quickly(child)


def test_file_system_that_turns_read_only(cloud: Cloud, tmp_path: Path, name: str) -> None:
    """A file system that turns read-only because of errors ends the download at once; the old file stays."""
    with mounted(ERRORS_REMOUNT, tmp_path) as at:
        (at / "disk").write_bytes(b"old")
        trigger = f"echo test >/sys/fs/ext4/$(basename $(findmnt -no SOURCE {at}))/trigger_fs_error"
        ended = held_while(cloud, name, at / "disk", 10, lambda: run_as_root("sh", "-c", trigger))
        assert ended.code == BROKEN, ended.err
        assert (at / "disk").read_bytes() == b"old"
        run_as_root("umount", str(at))
        run_as_root("sh", "-c", f"e2fsck -fy {tmp_path}/image >/dev/null || [ $? -lt 4 ]")
        run_as_root("mount", "-o", "loop", str(tmp_path / "image"), str(at))
        cloud.download(name, at / "disk", overwrite=True)
        assert (at / "disk").read_bytes() == BODY


@pytest.mark.parametrize("kind", [EXT4, XFS], ids=lambda kind: kind.name)
def test_disk_that_is_pulled_out(cloud: Cloud, tmp_path: Path, kind: Kind, name: str) -> None:
    """A disk that goes away loses what was not synced; mounted again in the same boot, nothing of it is believed."""
    with mounted(kind, tmp_path) as at:
        (at / "disk").write_bytes(b"old")
        run_as_root("sync", "-f", str(at))
        pulled = ("xfs_io", "-x", "-c", "shutdown", str(at))
        ended = held_while(cloud, name, at / "disk", 10, lambda: run_as_root(*pulled))
        assert ended.code == BROKEN, ended.err
        assert "Input/output error" in ended.err
        run_as_root("umount", str(at))
        run_as_root("mount", "-o", "loop", str(tmp_path / "image"), str(at))
        assert (at / "disk").read_bytes() == b"old"
        cloud.download(name, at / "disk", overwrite=True)
        assert (at / "disk").read_bytes() == BODY
        assert leftovers(at) == []


def test_disk_that_refuses_writes(cloud: Cloud, tmp_path: Path, name: str) -> None:
    """Writes that the device refuses (EIO) end the download at once with the path and the reason."""
    disk = os.memfd_create("disk", os.MFD_ALLOW_SEALING)
    os.ftruncate(disk, 64 << 20)
    sealed = Kind(
        "sealed ext4",
        f"""mkfs.ext4 -q -F /proc/{os.getpid()}/fd/{disk}
dev=$(losetup --find --show /proc/{os.getpid()}/fd/{disk})
mount "$dev" "$at"
""",
        'losetup -d "$dev"',
    )
    try:
        with mounted(sealed, tmp_path) as at:
            (at / "disk").write_bytes(b"old")
            run_as_root("sync", "-f", str(at))
            seal = lambda: fcntl.fcntl(disk, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)  # noqa: E731
            ended = held_while(cloud, name, at / "disk", 10, lambda: seal() and None)
            assert ended.code == BROKEN, ended.err
            assert "Input/output error" in ended.err
            assert (at / "disk").read_bytes() == b"old"
    finally:
        os.close(disk)


@pytest.mark.parametrize("kind", [EXT4, XFS, BTRFS], ids=lambda kind: kind.name)
def test_disk_that_comes_back_in_the_same_boot(cloud: Cloud, tmp_path: Path, kind: Kind, name: str) -> None:
    """A journal that reached the disk although its bytes did not is not believed on another mount of the same boot."""
    image, before = tmp_path / "image", tmp_path / "before"
    with mounted(kind, tmp_path) as at:

        def lose_the_rest() -> None:
            with (at / partial.journal_name("disk")).open("rb") as lines:
                os.fsync(lines.fileno())
            run_as_root("cp", "--sparse=always", str(image), str(before))

        fault = cloud.emulator.fault("GetObject", "hold", objectName=name, skip=12, times=4)
        child = fork(lambda: buffered(cloud, name, at / "disk"), cloud.folder)
        wait_until(lambda: child.ended() or (cloud.held(fault) and len(journaled(at / "disk")) >= 10), "never held")
        lose_the_rest()
        child.kill()
        cloud.emulator.control("DELETE", "faults")
        run_as_root("umount", str(at))
        run_as_root("mv", str(before), str(image))
        run_as_root("mount", "-o", "loop", str(image), str(at))
        promised = journaled(at / "disk")
        there = (at / partial.partial_name("disk")).read_bytes()
        assert [each for each in promised if there[each.start : each.stop] != BODY[each.start : each.stop]]
        cloud.download(name, at / "disk")
        assert (at / "disk").read_bytes() == BODY


def buffered(cloud: Cloud, name: str, destination: Path) -> None:
    """A download that writes through the page cache, as where there is no O_DIRECT."""
    partial.Partial._open_direct = lambda *_: None
    cloud.download(name, destination)
