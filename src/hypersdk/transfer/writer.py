"""Writes that overlap with receiving: the loop hands over full buffers, a few threads write them.

Rules of this file: who hands a buffer over no longer touches it; it comes back to its pool whatever happens; after a
write that failed nothing more is written, and the error is raised where the loop asks. No file is known here.
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from hypersdk import errors
from hypersdk.transfer.buffers import Buffer, BufferPool


@dataclass(frozen=True, slots=True)
class Piece:
    """The first `length` bytes of a buffer, to stand at `offset`; `owner` is told when they do."""

    owner: object
    buffer: Buffer
    length: int
    offset: int
    skip_zeros: bool


class Write(Protocol):
    """Takes bytes for a place; says how many were really written."""

    def __call__(self, offset: int, view: memoryview, *, skip_zeros: bool) -> int:
        """Write."""


class Running(Protocol):
    """What is left of a started thread."""

    def join(self) -> None:
        """Wait for its end."""


Start = Callable[[Callable[[], None]], Running]
"""Runs a function beside the caller."""


class Writer:
    """Writes pieces in other threads.

    Args:
        write: writes; called by several threads at once, for different offsets.
        pool: where buffers go afterwards.
        start: starts a thread.
        threads: how many write at once; two keep a disk busy while one of them counts zeros.
    """

    def __init__(self, write: Write, pool: BufferPool, start: Start, threads: int = 2) -> None:
        self._write = write
        self._pool = pool
        self._queue: queue.SimpleQueue[Piece | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[tuple[Piece, int | None]] = queue.SimpleQueue()
        self._pending = 0
        self._failure: BaseException | None = None
        self._threads = [start(self._work) for _ in range(threads)]

    def put(self, piece: Piece) -> None:
        """Hand a piece over."""
        self._pending += 1
        self._queue.put(piece)

    def done(self, timeout: float | None = None) -> list[tuple[Piece, int]]:
        """Pieces whose turn is over since the last call, each with the bytes really written.

        Args:
            timeout: seconds to wait for the first of them, if any is under way; None = do not wait.
        """
        found = []
        try:
            if timeout is not None and self._pending:
                found.append(self._done.get(timeout=timeout))
            while True:
                found.append(self._done.get_nowait())
        except queue.Empty:
            pass
        self._pending -= len(found)
        return [(piece, written) for piece, written in found if written is not None]

    def check(self) -> None:
        """Raise what made a write fail.

        Raises:
            HypersdkError: it failed.
        """
        if self._failure is not None:
            raise self._failure

    @property
    def pending(self) -> int:
        """Pieces handed over and not yet given back by `done`."""
        return self._pending

    def leave(self) -> None:
        """End the threads without waiting for a write that may never end; nothing that is queued is written."""
        self._failure = self._failure or errors.Stopped("nobody waits for this any more")
        for _ in self._threads:
            self._queue.put(None)

    def close(self) -> None:
        """End the threads, once what is queued is written."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (piece := self._queue.get()) is not None:
            written = None
            if self._failure is None:
                try:
                    with piece.buffer.view[: piece.length] as view:
                        written = self._write(piece.offset, view, skip_zeros=piece.skip_zeros)
                except BaseException as error:  # noqa: BLE001 - a thread has nobody to raise it to: `check` does
                    self._failure = error
            self._pool.give(piece.buffer)
            self._done.put((piece, written))
