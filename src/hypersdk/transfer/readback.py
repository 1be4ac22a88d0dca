"""A finished file, read once from start to end; from the device itself where that is asked for.

Rules of this file: a file that was just written is still in the page cache, and reading that proves nothing of the
disk: `from_device` reads with O_DIRECT where the file system allows, else drops its pages first (posix_fadvise, after
the sync that the caller did). A large file that is not in the cache is read past it, too: fresh pages cost more than
the reading (0006-engine.md), and nobody else's are pushed out. Every reading can be watched and stopped.
"""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from hypersdk import errors
from hypersdk.storage import kernel
from hypersdk.transfer.buffers import BUFFER, Buffer, BufferPool

_READ = 2 * BUFFER
_LARGE = 16 * BUFFER
"""Bytes from which on it matters how a file is read."""
_OPEN = os.O_RDONLY | os.O_CLOEXEC


def read_through(
    path: str,
    take: Callable[[memoryview], None],
    *,
    tick: Callable[[int], None] | None = None,
    from_device: bool = False,
) -> bool:
    """Read a file whole.

    Args:
        path: the file; synced before, if it is to be read from the device.
        take: given the bytes in order; the view is good only during the call.
        tick: called with the bytes read so far, every few MiB at most (stop flag, heartbeats, progress).
        from_device: not what the page cache holds of it.

    Returns:
        Whether every byte came past the page cache.

    Raises:
        FileError: the file cannot be read.
    """
    done = 0
    try:
        with ExitStack() as stack:
            file = _open(path, _OPEN, stack)
            large = os.fstat(file).st_size >= _LARGE
            buffer = (BufferPool(1, _READ).take(0) if large else None) or Buffer()
            view = buffer.view
            direct = None
            if from_device or (large and not kernel.is_cached(file, _LARGE)):
                direct = _open_direct(path, file, stack)
            if from_device and direct is None and hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            for count in _counts(file, direct, view):
                take(view[:count])
                done += count
                if tick:
                    tick(done)
            size = os.fstat(file).st_size
    except OSError as error:
        raise errors.FileError(f"cannot read {path}: {error.strerror}", resource=path) from error
    if done < size:
        raise errors.FileError(f"{path} ends after {done} of its {size} bytes", resource=path)
    return direct is not None


def how_read(*, past_cache: bool) -> str:
    """What was proven by reading a file back from the device, as one sentence for people."""
    where = "from the device" if past_cache else "through the page cache, past which this file system lets nobody"
    return f"read back {where}, as it was received"


def _counts(file: int, direct: int | None, buffer: memoryview) -> Iterator[int]:
    """Fill the buffer again and again; says with how many bytes."""
    offset = 0
    while count := os.preadv(file if direct is None else direct, [buffer], offset):
        yield count
        offset += count
        if count < len(buffer) and direct is not None:
            return  # the end; a direct read from where no block starts would be refused


def _open(path: str, flags: int, stack: ExitStack) -> int:
    file = os.open(path, flags)
    stack.callback(os.close, file)
    return file


def _open_direct(path: str, file: int, stack: ExitStack) -> int | None:
    if not (flag := getattr(os, "O_DIRECT", 0)):  # an operating system without it
        return None
    try:
        direct = _open(path, _OPEN | flag, stack)
        os.preadv(direct, [memoryview(mmap.mmap(-1, mmap.PAGESIZE))], 0)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.EOPNOTSUPP}:
            raise
        return None  # a file system without it, or one that opens and then refuses
    return direct if os.path.sameopenfile(direct, file) else None
