"""A few threads that do jobs which would hold up the loop: writes with their syncs, for the most part.

Rules of this file: each job's end is told exactly once, where the loop asks; an error of our tree is told with its job,
any other is raised there, because it is a bug. No file is known here.
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import Generic, TypeVar

from hypersdk import errors
from hypersdk.transfer.writer import Running, Start

T = TypeVar("T")


class Crew(Generic[T]):
    """Threads, started with the first jobs.

    Args:
        start: starts a thread.
        size: how many at most.
    """

    def __init__(self, start: Start, size: int) -> None:
        self._start = start
        self._size = size
        self._threads: list[Running] = []
        self._jobs: queue.SimpleQueue[tuple[T, Callable[[], None]] | None] = queue.SimpleQueue()
        self._ended: queue.SimpleQueue[tuple[T, BaseException | None]] = queue.SimpleQueue()
        self.pending = 0

    def do(self, owner: T, job: Callable[[], None]) -> None:
        """Have a job done; `owner` is told by `ended`."""
        self.pending += 1
        self._jobs.put((owner, job))
        if len(self._threads) < min(self._size, self.pending):
            self._threads.append(self._start(self._work))

    def ended(self, timeout: float | None = None) -> list[tuple[T, errors.HypersdkError | None]]:
        """Jobs that ended since the last call, each with its error.

        Args:
            timeout: seconds to wait for the first of them, if any is under way; None = do not wait.
        """
        found: list[tuple[T, errors.HypersdkError | None]] = []
        try:
            if timeout is not None and self.pending:
                found.append(self._take(self._ended.get(timeout=timeout)))
            while self.pending:
                found.append(self._take(self._ended.get_nowait()))
        except queue.Empty:
            pass
        return found

    def close(self) -> None:
        """End the threads, once all jobs are done."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def _take(self, one: tuple[T, BaseException | None]) -> tuple[T, errors.HypersdkError | None]:
        self.pending -= 1
        owner, error = one
        if error is not None and not isinstance(error, errors.HypersdkError):
            raise error
        return owner, error

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job[1]()
            except BaseException as error:  # noqa: BLE001 - a thread has nobody to raise it to: `ended` does
                self._ended.put((job[0], error))
            else:
                self._ended.put((job[0], None))
