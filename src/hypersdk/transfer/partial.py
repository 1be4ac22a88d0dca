"""The file that a download fills, with its journal; two short-named siblings of the final name.

Rules of this file:
- Names are fixed and short (`.hx-<12 hex of the final name>`), so that a final name of 255 bytes works; links are not
  followed; one process at a time (flock). Modes are 0666 & ~umask, so that the result has them too.
- Without a journal that names exactly this object, what is in the partial file counts for nothing.
- Zero blocks are not written where the file has a hole already, or where only this object's bytes can stand because we
  began the file ourselves; anywhere else they are.
- A file that has two names is a published one: it is never written to.
- Whole blocks are written past the page cache where the file system allows (O_DIRECT): copying into the cache costs
  more than receiving, and dirty pages that pile up stall everything. The rest goes through it; they share no block.
- No room left is `DiskFull`, and what is finished stays.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from hypersdk import errors
from hypersdk.model import ByteRange, Checksum
from hypersdk.storage import kernel, local
from hypersdk.transfer.checksums import as_checksum, crc32c, crc32c_of_parts
from hypersdk.transfer.journal import Identity, Journal, current_boot_id, parse
from hypersdk.transfer.ranges import split

ZERO_BLOCK = 64 * 1024
READ_BACK = 1024 * 1024

DIRECT_BLOCK = 4096
"""Alignment of direct writes in bytes: no common disk or file system asks for more (open(2), O_DIRECT)."""

_ZEROS = bytes(ZERO_BLOCK)
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})
_OPEN = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class SealedPartial:
    """A whole download that is on the disk but has no final name yet; `publish` gives it one.

    Attributes:
        path: the partial file.
        size: bytes.
        checksums: of the bytes as received.
        mark: what `mark_of` said when the file was sealed, or later proven; "" = it was not noted.
    """

    path: str
    size: int
    checksums: tuple[Checksum, ...]
    mark: str = ""


def mark_of(path: str) -> str:
    """Which file stands at a path and when it was last written to; another mark means other bytes, perhaps.

    Raises:
        FileError: it cannot be looked at.
    """
    with local.file_errors(path):
        return mark(Path(path).lstat())


def mark(facts: os.stat_result) -> str:
    """The mark of a file with these facts. Pure."""
    return f"{facts.st_dev}:{facts.st_ino}:{facts.st_mtime_ns}"


def partial_name(name: str) -> str:
    """Name of the partial file for a final name, in the same directory."""
    return _own_name(name, "partial")


def journal_name(name: str) -> str:
    """Name of the journal for a final name, in the same directory."""
    return _own_name(name, "journal")


def discard(destination: str, *, only_of: str | None = None) -> None:
    """Delete partial file and journal of a destination; absent is fine.

    Args:
        destination: final path.
        only_of: object name; they stay if their journal is not about this object.

    Raises:
        FileError: they cannot be deleted.
    """
    directory, name = os.path.split(destination)
    with suppress(errors.NotFoundError), local.file_errors(destination), local.directory(directory) as handle:
        if only_of is not None and _object_name(handle, journal_name(name)) != only_of:
            return
        for own in (partial_name(name), journal_name(name)):
            with suppress(FileNotFoundError):
                os.unlink(own, dir_fd=handle)


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A download without a final name: bytes that it takes on the disk, and when it last moved, seconds since 1970."""

    path: str
    size: int
    changed: float


def unfinished(destination: str, *, of: str) -> Unfinished | None:
    """The download that was begun for a destination.

    Args:
        destination: final path.
        of: object name; a download of another object is not looked at.

    Returns:
        None: there is none, or it cannot be seen.
    """
    directory, name = os.path.split(destination)
    size, changed = 0, 0.0
    with suppress(errors.HypersdkError), local.file_errors(destination), local.directory(directory) as handle:
        if _object_name(handle, journal_name(name)) != of:
            return None
        for own in (partial_name(name), journal_name(name)):
            with suppress(FileNotFoundError):
                found = os.stat(own, dir_fd=handle, follow_symlinks=False)
                size += found.st_blocks * 512  # what stat(2) counts in
                changed = max(changed, found.st_mtime)
        return Unfinished(str(Path(directory) / partial_name(name)), size, changed)
    return None


def sweep(destination: str) -> None:
    """Delete what a process left that died while it published this file; a download under way is left alone.

    Args:
        destination: final path; the file is there.

    Raises:
        FileError: it cannot be deleted.
    """
    directory, name = os.path.split(destination)
    with suppress(errors.NotFoundError), local.file_errors(destination), local.directory(directory) as handle:
        own = partial_name(name)
        try:
            published = os.stat(name, dir_fd=handle, follow_symlinks=False)
            if not os.path.samestat(os.stat(own, dir_fd=handle, follow_symlinks=False), published):
                return
            os.unlink(own, dir_fd=handle)
        except FileNotFoundError:
            pass  # what is left then is a journal without a file: a download makes the file first
        with suppress(FileNotFoundError):
            os.unlink(journal_name(name), dir_fd=handle)


def _object_name(handle: int, journal: str) -> str | None:
    try:
        descriptor = os.open(journal, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=handle)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        contents = parse(file.read())
    return None if contents is None else contents.identity.name


def data_runs(view: memoryview, block: int = ZERO_BLOCK) -> Iterator[tuple[int, int]]:
    """Start and stop of the runs of blocks that are not all zero. Pure."""
    start = None
    for offset in range(0, len(view), block):
        if _ZEROS.startswith(view[offset : offset + block]):
            if start is not None:
                yield start, offset
                start = None
        elif start is None:
            start = offset
    if start is not None:
        yield start, len(view)


class Partial:
    """An open partial file with its journal, locked against other processes.

    Args:
        destination: final path; its directory must exist.
        preallocate: reserve the object's whole size before its first byte.

    Raises:
        FileError: it cannot be opened, is a link, or another process writes it.
    """

    def __init__(self, destination: str, *, preallocate: bool = False) -> None:
        self._preallocate = preallocate
        self._directory, self._name = os.path.split(destination)
        self.path = str(Path(self._directory, partial_name(self._name)))
        self.verified: dict[ByteRange, int] = {}
        self._size = 0
        self._begun = False
        with ExitStack() as stack, local.file_errors(self.path):
            self._handle = stack.enter_context(local.directory(self._directory))
            self._file = self._open_locked(stack)
            journal = os.open(journal_name(self._name), _OPEN | os.O_APPEND, 0o666, dir_fd=self._handle)
            stack.callback(os.close, journal)
            self._journal = Journal(journal)
            self._direct = self._open_direct(stack)
            self._stack = stack.pop_all()

    def resume(self, identity: Identity, tick: Callable[[int], None] | None = None) -> None:
        """Take over what earlier runs finished of exactly this object; otherwise start anew.

        Args:
            identity: the object.
            tick: called with the bytes read back so far, when a reading-back is needed.

        Raises:
            DiskFull: the file system has no room for a file of this size.
            FileError: the file system refuses otherwise.
        """
        with local.file_errors(self.path):
            contents = self._journal.load()
            facts = os.fstat(self._file)
            place, boot_id = (facts.st_dev, facts.st_ino), self._boot_id()
            self._size = identity.size
            if contents is None or contents.identity != identity or facts.st_size != identity.size:
                self._begin(identity, boot_id, place)
                return
            self.verified = dict(contents.ranges)
            if not contents.trusted(boot_id, place):
                bad = [known for known, done in self._read_back(tick) if not done]
                for known in bad:
                    del self.verified[known]
                self._journal.readmit(bad, boot_id, place)
            self._reserve()

    def reset(self, identity: Identity) -> None:
        """Forget all bytes: they were proven bad."""
        with local.file_errors(self.path):
            facts = os.fstat(self._file)
            self._begin(identity, self._boot_id(), (facts.st_dev, facts.st_ino))

    def is_hole(self, place: ByteRange) -> bool:
        """Whether nothing but this object's bytes was ever written there, so that zeros need not be."""
        if self._begun:
            return True  # many file systems cannot tell: FUSE without SEEK_DATA says that data is everywhere
        try:
            return os.lseek(self._file, place.start, os.SEEK_DATA) >= place.stop
        except OSError as error:
            return error.errno == errno.ENXIO  # no data from there to the end; else the file system cannot tell

    def write(self, offset: int, view: memoryview, *, skip_zeros: bool) -> int:
        """Write bytes at an offset.

        Args:
            offset: where.
            view: what.
            skip_zeros: leave zero blocks as they are; only right where `is_hole`.

        Returns:
            Bytes really written.

        Raises:
            DiskFull: no room, quota, or file size limit.
            FileError: the file system refuses otherwise.
        """
        written = 0
        with local.file_errors(self.path):
            for start, stop in data_runs(view) if skip_zeros else [(0, len(view))]:
                self._put(offset + start, view[start:stop])
                written += stop - start
        return written

    def _put(self, offset: int, view: memoryview) -> None:
        done = 0
        if self._direct is not None and offset % DIRECT_BLOCK == 0:
            done = self._put_directly(self._direct, offset, view[: len(view) // DIRECT_BLOCK * DIRECT_BLOCK])
        while done < len(view):
            done += os.pwrite(self._file, view[done:], offset + done)

    def _put_directly(self, file: int, offset: int, view: memoryview) -> int:
        done = 0
        try:
            while done < len(view):
                done += os.pwrite(file, view[done:], offset + done)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self._direct = None  # opened, yet refused: by this file system, or for memory that is not aligned
        return done

    def record(self, done: ByteRange, crc: int) -> None:
        """Note a range whose bytes are all written."""
        with local.file_errors(self.path):
            self._journal.record(done, crc)
        self.verified[done] = crc

    def end(self, size: int) -> None:
        """Note the size of an object that had told none: the file ends there."""
        with local.file_errors(self.path):
            os.ftruncate(self._file, size)
        self._size = size

    def seal(self, wait: Callable[[Callable[[], None]], None] | None = None) -> SealedPartial:
        """Sync a whole file and say so in the journal.

        Args:
            wait: runs the function that syncs, which may take minutes; None = it is called here and now.

        Raises:
            VerificationError: a range is missing.
            FileError: the disk did not take the data.
        """
        whole = crc32c_of_parts(self.verified.items(), self._size)
        with local.file_errors(self.path):
            # Said before: who dies between a sync that fails and saying so leaves a cache that shows what was lost.
            self._journal.distrust()
            (wait or _at_once)(_Sync(os.dup(self._file)))
            self._journal.seal()
            found = mark(os.fstat(self._file))
        return SealedPartial(self.path, self._size, (as_checksum(whole),), found)

    def close(self) -> None:
        """Close and unlock; the files stay."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open_locked(self, stack: ExitStack) -> int:
        name = partial_name(self._name)
        while True:
            file = os.open(name, _OPEN, 0o666, dir_fd=self._handle)
            with ExitStack() as opened:
                opened.callback(os.close, file)
                self._lock(file, opened)
                facts = os.fstat(file)
                if facts.st_nlink == 1:
                    stack.push(opened.pop_all())
                    return file
                # 0: another process published it before we had the lock. 2: one died while publishing it.
                if facts.st_nlink > 1:
                    os.unlink(name, dir_fd=self._handle)

    def _open_direct(self, stack: ExitStack) -> int | None:
        if not (flag := getattr(os, "O_DIRECT", 0)):  # an operating system without it
            return None
        try:
            name = partial_name(self._name)
            file = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flag, dir_fd=self._handle)
        except OSError:
            return None  # a file system without it
        stack.callback(os.close, file)
        return file if os.path.sameopenfile(file, self._file) else None

    def _lock(self, file: int, opened: ExitStack) -> None:
        import fcntl  # Unix only; commands that download nothing do without

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Said aloud, because a sync that outlives us holds the same open file.
            opened.callback(fcntl.flock, file, fcntl.LOCK_UN)
        except BlockingIOError:
            raise errors.FileInUse(
                f"another process is writing {self.path}",
                resource=self.path,
                hint="wait for it, or stop it; two processes never write one file",
            ) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise

    def _boot_id(self) -> str:
        """This boot and this mount: a disk that was pulled out and came back lost what was not synced, too.

        "" = the kernel does not tell one of them; then nothing is trusted without being read back.
        """
        boot_id, mount = current_boot_id(), kernel.mount_of(self._file)
        return f"{boot_id}/{mount}" if boot_id and mount else ""

    def _begin(self, identity: Identity, boot_id: str, place: tuple[int, int]) -> None:
        self.verified = {}
        self._size = identity.size
        # The journal goes first: in no moment does it promise bytes that are no longer there.
        self._journal.begin(identity, boot_id, place)
        os.ftruncate(self._file, 0)
        os.ftruncate(self._file, identity.size)
        try:
            self._reserve()
        except OSError:
            os.ftruncate(self._file, 0)  # else what was reserved so far would keep the disk full
            raise
        os.fsync(self._handle)
        self._begun = True

    def _reserve(self) -> None:
        if self._preallocate and self._size > 0:
            # Reserved blocks read as zeros and still count as holes (lseek(2)): zeros need not be written here either.
            os.posix_fallocate(self._file, 0, self._size)

    def _read_back(self, tick: Callable[[int], None] | None) -> Iterator[tuple[ByteRange, bool]]:
        buffer, done = bytearray(READ_BACK), 0
        if hasattr(os, "posix_fadvise"):
            # After a failed write-back the cache goes on showing what never reached the disk (fsync(2), NOTES).
            os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_DONTNEED)
        for known, expected in self.verified.items():
            crc = 0
            for piece in split(known, READ_BACK):
                view = memoryview(buffer)[: piece.length]
                count = os.preadv(self._file, [view], piece.start)
                crc = crc32c(view[:count], crc)
                done += piece.length
                if tick:
                    tick(done)
            yield known, crc == expected


class _Sync:
    """Syncs a file by its own descriptor, so that it may outlive whoever asked for it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __call__(self) -> None:
        try:
            os.fdatasync(self._descriptor)
        finally:
            os.close(self._descriptor)


def _at_once(function: Callable[[], None]) -> None:
    function()


def _own_name(name: str, kind: str) -> str:
    return f".hx-{hashlib.sha256(os.fsencode(name)).hexdigest()[:12]}.{kind}"
