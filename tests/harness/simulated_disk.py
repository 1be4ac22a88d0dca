"""A disk for tests that forgets at a power cut whatever was not synced: file data, sizes, names, torn lines.

It stands in for the module `os` in the rooms that write files. Everything really happens in one real directory, which
plays the page cache; beside it the disk keeps what is durable, and the operations that are not yet. The rules are those
of POSIX, not of a kind file system: fsync of a file makes its bytes and size durable, not its name; fsync of the
directory makes names durable; of the rest any subset survives, in any mixture. A rename survives whole or not at all.
A sync that fails may have dropped what it should have written, while the cache still shows it.
"""

from __future__ import annotations

import errno
import os
import random
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

SECTOR = 256
"""The disk writes so many bytes whole or not at all."""


class Killed(BaseException):
    """The process ended here; nothing after it takes effect."""


@dataclass(frozen=True)
class Write:
    """Bytes at an offset."""

    offset: int
    data: bytes

    def apply(self, content: bytearray) -> None:
        """Take effect whole."""
        if len(content) < self.offset + len(self.data):
            content.extend(bytes(self.offset + len(self.data) - len(content)))
        content[self.offset : self.offset + len(self.data)] = self.data

    def tear(self, content: bytearray, chance: random.Random) -> None:
        """Take effect in some sectors only; the size may have grown although the bytes have not."""
        at = self.offset
        while at < self.offset + len(self.data):
            stop = min((at // SECTOR + 1) * SECTOR, self.offset + len(self.data))
            if chance.random() < 0.5:
                Write(at, self.data[at - self.offset : stop - self.offset]).apply(content)
            at = stop
        if chance.random() < 0.5 and len(content) < at:
            content.extend(bytes(at - len(content)))


@dataclass(frozen=True)
class Resize:
    """A new size."""

    size: int

    def apply(self, content: bytearray) -> None:
        """Take effect."""
        del content[self.size :]
        content.extend(bytes(self.size - len(content)))

    def tear(self, content: bytearray, chance: random.Random) -> None:
        """It takes effect whole or not at all."""
        if chance.random() < 0.5:
            self.apply(content)


@dataclass(frozen=True)
class Names:
    """A change of the directory: names that are taken away, names that are given."""

    gone: tuple[str, ...] = ()
    given: tuple[tuple[str, int], ...] = ()

    def apply(self, names: dict[str, int]) -> None:
        """Take effect."""
        for name in self.gone:
            names.pop(name, None)
        names.update(self.given)


@dataclass
class Inode:
    """What of a file is durable, and what is not yet."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[Write | Resize] = field(default_factory=list)

    def survivor(self, chance: random.Random) -> bytearray:
        """Its content after a power cut."""
        content = bytearray(self.durable)
        for each in self.pending:
            fate = chance.randrange(3)
            if fate == 1:
                each.apply(content)
            elif fate == 2:
                each.tear(content, chance)
        return content

    def lose_data(self, chance: random.Random) -> None:
        """A sync fails: what could not be written counts as clean from then on (fsync(2), NOTES), sizes are kept."""
        for each in self.pending:
            if isinstance(each, Resize) or chance.random() < 0.5:
                each.apply(self.durable)
            else:
                each.tear(self.durable, chance)
                self.durable.extend(bytes(max(0, each.offset + len(each.data) - len(self.durable))))
        self.pending = []


class SimulatedDisk:
    """One directory on a disk that forgets; stands in for `os` while a process runs on it.

    Args:
        folder: a directory of our own.

    Attributes:
        root: the directory, for the code under test.
        budget: operations until the process is killed; None = it lives.
        failing_sync: syncs of a file until one fails; None = none does.
        steps: operations so far.
    """

    def __init__(self, folder: Path) -> None:
        self.root = folder / "disk"
        self.budget: int | None = None
        self.failing_sync: int | None = None
        self.steps = 0
        self._attic = folder / "attic"
        self.root.mkdir()
        self._attic.mkdir()
        self._inodes: dict[int, Inode] = {}
        self._names: dict[str, int] = {}
        self._pending: list[Names] = []
        self._dead = False
        self._chance = random.Random(0)

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    # -- a process on it

    @contextmanager
    def running(self, *modules: Any, chance: random.Random) -> Iterator[None]:
        """Stand in for `os` in these modules; a kill within is over at the end of the block."""
        self._chance, self._dead = chance, False
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(threading, "excepthook", lambda _: None)  # a thread of a killed process
            for module in modules:
                patch.setattr(module, "os", self)
            with suppress(Killed):
                yield
        self.budget = self.failing_sync = None

    @property
    def killed(self) -> bool:
        """Whether the process that ran last was killed."""
        return self._dead

    def put(self, name: str, content: bytes) -> None:
        """A file that is there, durably."""
        path = self.root / name
        path.write_bytes(content)
        self._names[name] = path.stat().st_ino
        self._inodes[path.stat().st_ino] = Inode(bytearray(content))

    # -- what happens to it

    def cut_power(self, chance: random.Random) -> None:
        """Everything that was not synced is lost, kept or torn."""
        contents = {number: inode.survivor(chance) for number, inode in self._inodes.items()}
        names = dict(self._names)
        for change in self._pending:
            if chance.random() < 0.5:
                change.apply(names)
        self._rebuild(names, contents)

    def _rebuild(self, names: dict[str, int], contents: dict[int, bytearray]) -> None:
        for path in list(self.root.iterdir()):
            with suppress(FileExistsError):
                (self._attic / str(path.stat().st_ino)).hardlink_to(path)
            path.unlink()
        for name, number in names.items():
            (self.root / name).hardlink_to(self._attic / str(number))
            (self.root / name).write_bytes(contents[number])
        for path in self._attic.iterdir():
            path.unlink()
        self._names, self._pending = names, []
        self._inodes = {number: Inode(contents[number]) for number in names.values()}

    def _step(self) -> None:
        """Before each operation: is this where the process is killed?"""
        if self._dead:
            raise Killed
        self.steps += 1
        if self.budget is not None:
            self.budget -= 1
            if self.budget < 0:
                self._dead = True
                raise Killed

    def _inode(self, file: int) -> Inode:
        return self._inodes[os.fstat(file).st_ino]

    # -- the operations of `os`

    def open(self, path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        """Open; direct writes are refused, as many file systems do."""
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        name = Path(path).name
        makes = bool(flags & os.O_CREAT) and not os.path.lexists(self.root / name)
        if makes:
            self._step()
        file = os.open(path, flags, mode, dir_fd=dir_fd)
        if makes:
            number = os.fstat(file).st_ino
            self._inodes[number] = Inode()
            self._pending.append(Names(given=((name, number),)))
        return file

    def pwrite(self, file: int, data: Any, offset: int) -> int:
        """Write into the cache; a kill may leave some of it."""
        data, alive = bytes(data), not self._dead
        try:
            self._step()
        except Killed:
            if alive:
                self._write(file, data[: self._chance.randrange(len(data) + 1)], offset)
            raise
        return self._write(file, data, offset)

    def _write(self, file: int, data: bytes, offset: int) -> int:
        self._inode(file).pending.append(Write(offset, data))
        return os.pwrite(file, data, offset)

    def write(self, file: int, data: bytes) -> int:
        """Append."""
        return self.pwrite(file, data, os.fstat(file).st_size)

    def ftruncate(self, file: int, size: int) -> None:
        """Resize."""
        self._step()
        self._inode(file).pending.append(Resize(size))
        os.ftruncate(file, size)

    def fsync(self, file: int) -> None:
        """Make a file's bytes, or the directory's names, durable."""
        self._step()
        if stat.S_ISDIR(os.fstat(file).st_mode):
            for change in self._pending:
                change.apply(self._names)
            self._pending = []
            return
        inode = self._inode(file)
        if self.failing_sync is not None:
            self.failing_sync -= 1
            if self.failing_sync < 0:
                self.failing_sync = None
                inode.lose_data(self._chance)
                raise OSError(errno.EIO, os.strerror(errno.EIO))
        for each in inode.pending:
            each.apply(inode.durable)
        inode.pending = []

    fdatasync = fsync

    def posix_fadvise(self, file: int, _offset: int, _length: int, advice: int) -> None:
        """Drop clean pages: what is read next comes from the disk."""
        if advice == os.POSIX_FADV_DONTNEED:
            inode = self._inode(file)
            content = bytearray(inode.durable)
            for each in inode.pending:
                each.apply(content)
            os.ftruncate(file, len(content))
            os.pwrite(file, content, 0)

    def unlink(self, name: str, *, dir_fd: int) -> None:
        """Take a name away; the last one stays in the attic, because a power cut may bring it back."""
        number = os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_ino
        self._step()
        self._keep(name, number, dir_fd)
        self._pending.append(Names(gone=(name,)))

    def _keep(self, name: str, number: int, dir_fd: int) -> None:
        if os.stat(name, dir_fd=dir_fd).st_nlink == 1:
            os.rename(name, self._attic / str(number), src_dir_fd=dir_fd)
        else:
            os.unlink(name, dir_fd=dir_fd)

    def link(self, name: str, new: str, *, src_dir_fd: int, dst_dir_fd: int, follow_symlinks: bool) -> None:
        """Give a second name."""
        self._step()
        os.link(name, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, follow_symlinks=follow_symlinks)
        self._pending.append(Names(given=((new, os.stat(name, dir_fd=src_dir_fd).st_ino),)))

    def rename(self, name: str, new: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        """Rename in one step."""
        self._step()
        with suppress(FileNotFoundError):
            self._keep(new, os.stat(new, dir_fd=dst_dir_fd).st_ino, dst_dir_fd)
        os.rename(name, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        self._pending.append(Names((name,), ((new, os.stat(new, dir_fd=dst_dir_fd).st_ino),)))
