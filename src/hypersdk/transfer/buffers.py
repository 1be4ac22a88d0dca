"""Reused memory for bytes on their way: a fixed number of buffers, aligned for direct writes.

Fresh memory costs a page fault per 4 KiB (about 1 s per GiB), so buffers are kept; their number is the bound of a
transfer's memory. A pool's buffers lie side by side in private memory for which huge pages are asked: the kernel then
pins and hands to the disk a few large pieces per write, a quarter of the work (docs/decisions/0006-engine.md).
"""

from __future__ import annotations

import mmap
import queue
from contextlib import suppress

BUFFER = 1024 * 1024
"""Bytes of a buffer. A mapping of its own starts at a page, as O_DIRECT wants it (open(2))."""


class Buffer:
    """A piece of memory. `view` is all of it; slices of the view keep it alive, so they are released before reuse.

    Args:
        view: the memory; None = some of its own, of `BUFFER` bytes.
    """

    __slots__ = ("view",)

    def __init__(self, view: memoryview | None = None) -> None:
        self.view = memoryview(mmap.mmap(-1, BUFFER)) if view is None else view


class BufferPool:
    """So many buffers, made when first needed; safe to use from several threads.

    Args:
        count: how many there may be.
        size: bytes of each.
    """

    def __init__(self, count: int, size: int = BUFFER) -> None:
        self.size = size
        self._free: queue.SimpleQueue[Buffer] = queue.SimpleQueue()
        self._memory = memoryview(_side_by_side(count * size))
        self._unmade = count

    def take(self, timeout: float) -> Buffer | None:
        """A buffer for the caller alone; None = none became free in `timeout` seconds. Only one thread may take."""
        try:
            return self._free.get_nowait()
        except queue.Empty:
            if self._unmade:
                self._unmade -= 1
                return Buffer(self._memory[self._unmade * self.size : (self._unmade + 1) * self.size])
        try:
            return self._free.get(timeout=timeout)
        except queue.Empty:
            return None

    def give(self, buffer: Buffer) -> None:
        """Back for others."""
        self._free.put(buffer)


def _side_by_side(size: int) -> mmap.mmap:
    """Private memory of which nothing is used yet; no page of it exists before it is touched."""
    if not hasattr(mmap, "MAP_PRIVATE"):  # another operating system than Unix
        return mmap.mmap(-1, size)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(AttributeError, OSError):  # a kernel without huge pages
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memory
