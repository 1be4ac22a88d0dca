"""How many jobs a worker takes: no more than it has slots for, over all queues, and none that waits for another host.

A queue's limits lie in the database and hold for every worker alike; how much this one can do is known here alone. The
engine looks at each queue in a thread of its own and knows no such limit, so this goes between it and its database.
Rules of this file: the engine's private names stand here and nowhere else; tests fail when one of them changes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

FLEET = "fleet-"
HOST = "host-"
"""Queues: one for each fleet, and one for each host whose disk holds what a run has fetched so far."""

BEGINS_WITHIN = 10.0
"""Seconds after which a job that was taken and is not at work counts as one that could not begin."""

_MANY = 1_000_000

_RUNNING = 3
"""Place of the number of running jobs of a queue among the engine's arguments."""


class Claims:
    """What a worker has taken.

    Args:
        slots: how many jobs at once.
        own: the queue of this host.
        active: ids of the jobs that are at work.
        clock: monotonic seconds.

    Attributes:
        full: nothing more is taken.
        lock: held while something is taken.
    """

    def __init__(
        self,
        slots: int,
        own: str,
        active: Callable[[], Iterable[str]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.full = False
        self.lock = threading.Lock()
        self._slots = slots
        self._own = own
        self._active = active
        self._clock = clock
        self._taken: dict[str, float] = {}

    def free(self, queue: str) -> int:
        """How many jobs of a queue may be taken now; under the lock."""
        if not queue.startswith((FLEET, HOST)):
            return _MANY
        if self.full or (queue.startswith(HOST) and queue != self._own):
            return 0
        # What was taken is not at work at once; what cannot begin never is.
        active, young = set(self._active()), self._clock() - BEGINS_WITHIN
        self._taken = {job_id: at for job_id, at in self._taken.items() if job_id in active or at > young}
        return max(0, self._slots - len(self._taken))

    def took(self, job_ids: Iterable[str]) -> None:
        """Note what was taken; under the lock."""
        self._taken.update(dict.fromkeys(job_ids, self._clock()))

    def ended(self, job_id: str) -> None:
        """Note that a job has ended."""
        with self.lock:
            self._taken.pop(job_id, None)


def keep_to(claims: Claims, database: Any) -> None:
    """Let the engine take no more than that.

    Args:
        claims: of this process.
        database: the class with which the engine asks its database.
    """
    claim, claim_of_partitions = database.start_queued_workflows, database.start_queued_partitioned_workflows

    def start_queued_workflows(self: Any, queue: Any, *place: Any, **named: Any) -> tuple[list[str], Any]:
        running = place[_RUNNING] if len(place) > _RUNNING else 0
        with claims.lock:
            free, limit = claims.free(queue.name), queue._worker_concurrency  # noqa: SLF001 - see the rules
            if not free:
                return [], "worker_concurrency"
            queue._worker_concurrency = min(_MANY if limit is None else limit, running + free)  # noqa: SLF001
            try:
                taken, reason = claim(self, queue, *place, **named)
            finally:
                queue._worker_concurrency = limit  # noqa: SLF001 - see the rules
            claims.took(taken)
            return taken, reason

    def start_queued_partitioned_workflows(
        self: Any, queue: Any, executor: str, version: str, most: int = _MANY, **named: Any
    ) -> list[str]:
        with claims.lock:
            free = claims.free(queue.name)
            if not free:
                return []
            taken: list[str] = claim_of_partitions(self, queue, executor, version, min(most, free), **named)
            claims.took(taken)
            return taken

    database.start_queued_workflows = start_queued_workflows
    database.start_queued_partitioned_workflows = start_queued_partitioned_workflows
