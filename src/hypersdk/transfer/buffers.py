"""Reused memory for bytes on their way: a fixed number of buffers, aligned for direct writes.

Fresh memory costs a page fault per 4 KiB (about 1 s per GiB, `bench/transfer.py`), so buffers are kept; their number is
the bound of a transfer's memory.
"""

from __future__ import annotations

import mmap
import queue

BUFFER = 1024 * 1024
"""Bytes of a buffer. A mapping of its own starts at a page, as O_DIRECT wants it (open(2))."""


class Buffer:
    """A piece of memory. `view` is all of it; slices of the view keep it alive, so they are released before reuse."""

    __slots__ = ("view",)

    def __init__(self) -> None:
        self.view = memoryview(mmap.mmap(-1, BUFFER))


class BufferPool:
    """So many buffers, made when first needed; safe to use from several threads.

    Args:
        count: how many there may be.
    """

    def __init__(self, count: int) -> None:
        self._free: queue.SimpleQueue[Buffer] = queue.SimpleQueue()
        self._unmade = count

    def take(self, timeout: float) -> Buffer | None:
        """A buffer for the caller alone; None = none became free in `timeout` seconds. Only one thread may take."""
        try:
            return self._free.get_nowait()
        except queue.Empty:
            if self._unmade:
                self._unmade -= 1
                return Buffer()
        try:
            return self._free.get(timeout=timeout)
        except queue.Empty:
            return None

    def give(self, buffer: Buffer) -> None:
        """Back for others."""
        self._free.put(buffer)
