"""Reads many lists at once: a few threads, each with connections of its own.

Rules of this file: what a thread may not read is an answer (design rule 9), anything else that fails ends all of them;
every thread has ended before `read_all` returns; the thread that calls it is the only one that hears of progress.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from hypersdk import errors
from hypersdk.providers.protocol import Provider
from hypersdk.retry import Retrier
from hypersdk.waiting import StopFlag

T = TypeVar("T")

THREADS = 8
"""Lists that are read at the same time. One list takes OCI some 0.2 s; 8 keep far below what it answers 429 to [U]."""

LISTS_PER_THREAD = 4
"""A thread that reads fewer would spend more time on opening its connections than it saves."""

WAKE_EVERY = 0.2
"""Seconds between two looks at the caller's stop flag."""


@dataclass(frozen=True)
class Cloud:
    """A region as one thread sees it. `retrier` repeats single calls; lists of `provider` repeat their own pages."""

    provider: Provider
    retrier: Retrier


Connect = Callable[[str, StopFlag], AbstractContextManager[Cloud]]
"""Opens a region for the thread that calls it."""


@dataclass(frozen=True)
class Job(Generic[T]):
    """One list: the region that has it, and what reads it."""

    region: str
    read: Callable[[Cloud], T]


Denied = errors.NotFoundError | errors.PermissionDenied
"""Why a list could not be read, when that is an answer: absent, or not allowed."""


def read_all(
    jobs: Sequence[Job[T]],
    connect: Connect,
    stop: StopFlag,
    *,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
    threads: int = THREADS,
) -> list[T | Denied]:
    """Do all jobs.

    Args:
        jobs: what to read.
        connect: opens a region.
        stop: ends everything.
        progress: told how many jobs of how many are done; several times a second, also when none ended.
        threads: most at the same time.

    Returns:
        For each job what it read, or why it must not.

    Raises:
        HypersdkError: of the first job that failed in another way.
        Stopped: somebody asked to stop.
    """
    crew = _Crew(jobs, connect)
    count = min(threads, -(-len(jobs) // LISTS_PER_THREAD))
    workers = [threading.Thread(target=crew.work, name=f"lists-{n}") for n in range(count)]
    for worker in workers:
        worker.start()
    try:
        crew.wait(len(workers), stop, progress)
    finally:
        crew.quit.set()
        for worker in workers:
            worker.join()
    stop.check()
    if crew.failure is not None:
        raise crew.failure
    return [crew.answers[number] for number in range(len(jobs))]


class _Crew(Generic[T]):
    """What the threads share. Each answer and each end of a thread is a message to the one who waits."""

    def __init__(self, jobs: Sequence[Job[T]], connect: Connect) -> None:
        self.quit = StopFlag()
        self.answers: dict[int, T | Denied] = {}
        self.failure: BaseException | None = None
        self._connect = connect
        self._jobs: SimpleQueue[tuple[int, Job[T]]] = SimpleQueue()
        self._messages: SimpleQueue[BaseException | tuple[int, T | Denied] | None] = SimpleQueue()
        self._count = len(jobs)
        for each in enumerate(jobs):
            self._jobs.put(each)

    def work(self) -> None:
        """What a thread does."""
        clouds: dict[str, Cloud] = {}
        try:
            with ExitStack() as opened:
                while not self.quit.is_set():
                    number, job = self._jobs.get_nowait()
                    if job.region not in clouds:
                        clouds[job.region] = opened.enter_context(self._connect(job.region, self.quit))
                    self._messages.put((number, self._answer(job, clouds[job.region])))
        except Empty:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
            self._messages.put(error)
        self._messages.put(None)

    def _answer(self, job: Job[T], cloud: Cloud) -> T | Denied:
        try:
            return job.read(cloud)
        except (errors.NotFoundError, errors.PermissionDenied) as error:
            return error

    def wait(self, threads: int, stop: StopFlag, progress: Callable[[int, int], None]) -> None:
        """Take the messages until every thread has ended."""
        while threads:
            if stop.is_set():
                self.quit.set()
            try:
                message = self._messages.get(timeout=WAKE_EVERY)
            except Empty:
                progress(len(self.answers), self._count)
                continue
            if message is None:
                threads -= 1
            elif isinstance(message, BaseException):
                # What the others end with, when they are asked to stop, says nothing.
                self.failure = self.failure or message
                self.quit.set()
            else:
                number, answer = message
                self.answers[number] = answer
                progress(len(self.answers), self._count)
