"""A small file lands: it has no name before it is whole, on the disk and proven; then it gets its own in one step.

Rules of this file (design rule 7, as in `publish`, without a journal): bytes are written, synced, read back, compared
with what was received and with what the service says, before there is a name; nothing is replaced unless that was
asked for; a file without a name (O_TMPFILE, open(2)) leaves nothing behind when we die, and where the file system has
none, a name of our own kind does that nobody takes for the result. Whoever calls syncs the directory.
"""

from __future__ import annotations

import errno
import os
import secrets
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hypersdk import errors
from hypersdk.model import Checksum, ObjectRef
from hypersdk.storage import local
from hypersdk.transfer.checksums import Digest, agree, as_checksum, new_digest, read_digests
from hypersdk.transfer.options import DEFAULTS, TransferOptions
from hypersdk.transfer.partial import data_runs, journal_name, partial_name
from hypersdk.transfer.proving import COSTS, expect_as_received
from hypersdk.transfer.publish import taken

KEPT_OPEN = 64
"""Directories; each costs a file descriptor."""

_BLOCK = 1024 * 1024
_NAMED = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NAMELESS_REFUSED = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL})
"""What open(2) answers to O_TMPFILE where the file system, or an old kernel, does not know it."""


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a file lands: an open directory, the name in it, and the whole path for people."""

    directory: int
    name: str
    path: str


class Directories:
    """Directories below roots, links below them not followed; the latest few are kept open."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], int] = {}

    def spot(self, target: ObjectRef) -> Spot:
        """The place of a file, its directory made if it is missing; the caller closes the spot's directory.

        Raises:
            UsageError: no file can have this name.
            FileError: a directory cannot be opened, or is a link.
        """
        above, _, name = target.name.rpartition("/")
        components = above.split("/") if above else []
        if any(each in {"", ".", ".."} or "\0" in each for each in (*components, name)):
            raise errors.UsageError(f"no file can have this name: {target.name!r}", resource=str(target))
        key = (target.bucket, above)
        with local.file_errors(str(target)):
            if key not in self._open:
                if len(self._open) >= KEPT_OPEN:
                    self.close()
                with local.directory(target.bucket, components, create=True) as handle:
                    self._open[key] = os.dup(handle)
            return Spot(os.dup(self._open[key]), name, str(target))

    def close(self) -> None:
        """Close those that are kept open."""
        for handle in self._open.values():
            os.close(handle)
        self._open.clear()


def sync(spots: Iterable[Spot]) -> None:
    """Make the names durable that files got in these places: each directory once.

    Raises:
        FileError: a disk did not take them.
    """
    done = set()
    for spot in spots:
        with local.file_errors(spot.path):
            facts = os.fstat(spot.directory)
            if (place := (facts.st_dev, facts.st_ino)) not in done:
                os.fsync(spot.directory)
                done.add(place)


@dataclass(frozen=True, slots=True)
class Received:
    """What is known of a file's bytes before they are read back.

    Attributes:
        size: how many.
        crc: their CRC32C as received.
        vouched: what the service says of them.
    """

    size: int
    crc: int
    vouched: tuple[Checksum, ...] = ()


class Landing:
    """A file that is being written and has no name yet.

    Its methods are called by one thread at a time, but for `write`: several at once, for different offsets.

    Args:
        spot: its place.

    Attributes:
        spot: as above.
        pending: writes that were handed to other threads and have not ended; whoever hands them counts them.
        error: what made one of them fail.
        written: bytes really written so far.
    """

    def __init__(self, spot: Spot) -> None:
        self.spot = spot
        self.pending = 0
        self.error: errors.HypersdkError | None = None
        self.written = 0
        self._lock = threading.Lock()
        self._file: int | None = None
        self._temporary: str | None = None
        self._abandoned = False

    def write(self, offset: int, view: memoryview) -> None:
        """Write bytes, zeros as holes.

        Raises:
            DiskFull: no room.
            FileError: the file system refuses otherwise.
        """
        with local.file_errors(self.spot.path):
            file = self._opened()
            count = 0
            for start, stop in data_runs(view):
                done = start
                while done < stop:
                    done += os.pwrite(file, view[done:stop], offset + done)
                count += stop - start
        with self._lock:
            self.written += count

    def finish(
        self, received: Received, options: TransferOptions = DEFAULTS, *, overwrite: bool = False
    ) -> tuple[Checksum, ...]:
        """Sync the file, prove it, name it. The directory is still to be synced.

        Args:
            received: what its bytes must be.
            options: which digests are wanted, and whether the device is read.
            overwrite: replace what is there.

        Returns:
            The digests of what stands there now, from reading it back.

        Raises:
            DestinationExists: the name is taken.
            VerificationError: what was written is not what was received, or that not what the service says.
            DiskFull: no room.
            FileError: the file system refuses otherwise.
        """
        spot = self.spot
        with local.file_errors(spot.path):
            file = self._opened()
            os.ftruncate(file, received.size)
            os.fsync(file)
            digests = _prove(file, self._path(file), received, options)
            _name(file, self._temporary, spot, overwrite=overwrite)
            _sweep(spot)
            self._close_file()
        return digests

    def wrote(self, error: errors.HypersdkError | None) -> None:
        """Take note that a pending write ended."""
        self.pending -= 1
        self.error = self.error or error
        if self._abandoned and not self.pending:
            self.close()

    def abandon(self) -> None:
        """Nobody needs it any more: it is closed once nobody writes to it."""
        self._abandoned = True
        if not self.pending:
            self.close()

    def close(self) -> None:
        """Close file and directory; a file without a name is gone then."""
        self._close_file()
        if self._temporary is not None:
            with suppress(FileNotFoundError):
                os.unlink(self._temporary, dir_fd=self.spot.directory)
            self._temporary = None
        os.close(self.spot.directory)

    def _close_file(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _opened(self) -> int:
        with self._lock:
            if self._file is None:
                self._file, self._temporary = _open(self.spot.directory)
            return self._file

    def _path(self, file: int) -> str:
        if self._temporary is None:
            return f"/proc/self/fd/{file}"
        return str(Path(self.spot.path).with_name(self._temporary))


def _open(directory: int) -> tuple[int, str | None]:
    """A new file and its temporary name, if it needs one."""
    if (nameless := getattr(os, "O_TMPFILE", 0)) and _can_name():
        try:
            return os.open(".", os.O_RDWR | os.O_CLOEXEC | nameless, 0o666, dir_fd=directory), None
        except OSError as error:
            if error.errno not in _NAMELESS_REFUSED:
                raise
    name = _temporary_name()
    return os.open(name, _NAMED, 0o666, dir_fd=directory), name


def _can_name() -> bool:
    """Whether a file without a name can be given one later (linkat(2): through /proc)."""
    return Path("/proc/self/fd").is_dir()


def _temporary_name() -> str:
    return f".hx-{secrets.token_hex(6)}.tmp"


def _prove(file: int, path: str, received: Received, options: TransferOptions) -> tuple[Checksum, ...]:
    """Read it back; of what the service says, the cheapest is compared, ours always."""
    names = {"crc32c": None} | dict.fromkeys(options.digests)
    theirs = sorted(
        (each.algorithm for each in received.vouched if each.algorithm in COSTS), key=lambda name: COSTS[name]
    )
    if theirs and not set(theirs).intersection(names):
        names[theirs[0]] = None
    running = {name: new_digest(name) for name in names}
    if options.reread:
        found, _ = read_digests(path, running, from_device=True)
    else:
        found = _digests(file, running)
    expect_as_received(path, found, [as_checksum(received.crc)])
    agree(found, received.vouched)
    return found


def _digests(file: int, running: Mapping[str, Digest]) -> tuple[Checksum, ...]:
    offset = 0
    while block := os.pread(file, _BLOCK, offset):
        with memoryview(block) as view:
            for digest in running.values():
                digest.update(view)
        offset += len(block)
    return tuple(Checksum(name, digest.hexdigest()) for name, digest in running.items())


def _name(file: int, temporary: str | None, spot: Spot, *, overwrite: bool) -> None:
    try:
        if temporary is not None:
            local.place(spot.directory, temporary, spot.directory, spot.name, if_absent=not overwrite)
        elif overwrite:
            _replace(file, spot)
        else:
            _link(file, spot.name, spot.directory)
    except FileExistsError:
        raise taken(spot.path) from None
    except IsADirectoryError:
        raise errors.DestinationExists(f"{spot.path} is a directory", resource=spot.path) from None


def _replace(file: int, spot: Spot) -> None:
    name = _temporary_name()
    _link(file, name, spot.directory)
    try:
        os.rename(name, spot.name, src_dir_fd=spot.directory, dst_dir_fd=spot.directory)
    except BaseException:
        os.unlink(name, dir_fd=spot.directory)
        raise


def _sweep(spot: Spot) -> None:
    """Delete what an earlier copy left when the object was large; one that is under way is left alone."""
    try:
        partial = os.open(partial_name(spot.name), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=spot.directory)
    except FileNotFoundError:
        pass
    else:
        import fcntl  # as in `partial`

        try:
            fcntl.flock(partial, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(partial_name(spot.name), dir_fd=spot.directory)
        except OSError:
            return  # another process has it, or this file system has no locks
        finally:
            os.close(partial)
    with suppress(FileNotFoundError):
        os.unlink(journal_name(spot.name), dir_fd=spot.directory)


def _link(file: int, name: str, directory: int) -> None:
    os.link(f"/proc/self/fd/{file}", name, dst_dir_fd=directory, follow_symlinks=True)
