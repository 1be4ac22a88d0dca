"""A fleet on many machines: queues its runs for workers, and watches them from the run store.

Rules of this file: nothing is carried out here; who watches may go away and come back, the workers go on; every item
has exactly one outcome, written down by the worker that drove its run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hypersdk import errors, events
from hypersdk.exports.telling.retelling import retold
from hypersdk.fleet import windows
from hypersdk.fleet.crew import LOOK_EVERY, Watch
from hypersdk.fleet.engine import Job, JobQueue, part_of, prepare
from hypersdk.fleet.nouns import Limits, Outcome
from hypersdk.fleet.queue import Turn
from hypersdk.fleet.work import end_queued, outcome_of, recorded
from hypersdk.runs import fleets
from hypersdk.runs.enrolment import Standing, plans_of, standings
from hypersdk.runs.presence import alone, count_workers
from hypersdk.runs.records import QUEUED, Fleet, FleetItem, Holder
from hypersdk.runs.store import RunStore
from hypersdk.waiting import Waiter

COUNT_EVERY = 10.0
"""Seconds between two counts of the living workers."""

GOES_ON = "the workers go on with it"


def _utc_now() -> datetime:
    return datetime.now(UTC)


def queue_up(fleet: Fleet, runs: RunStore, url: str, limits: Limits, now: Callable[[], datetime] = _utc_now) -> int:
    """Queue what is left of a fleet for workers; what is queued already, or being worked on, stays as it is.

    Args:
        fleet: recorded by `begin`.
        runs: the run store.
        url: of the run store: postgresql://...
        limits: how many at once.
        now: time of day.

    Returns:
        How many runs were queued.

    Raises:
        ConfigError: the database cannot be used.
    """
    open_items = [item for item in fleets.items(runs, fleet.fleet_id) if item.outcome is None and item.run_id]
    if not open_items:
        return 0
    at = now()
    opens = windows.opens([windows.parse(text) for text in fleet.plan["windows"]], at)
    delay = 0.0 if opens is None else (opens - at).total_seconds()
    jobs = _jobs(open_items, plans_of(runs, fleet.fleet_id), limits, delay)
    prepare(url)
    with JobQueue(url) as queue, alone(url, "queues"):
        return queue.put(fleet.fleet_id, jobs, limits)


def _jobs(
    items: Sequence[FleetItem], plans: Mapping[str, Mapping[str, Any]], limits: Limits, delay: float
) -> list[Job]:
    jobs = []
    for rank, item in enumerate(sorted(items, key=lambda item: (item.priority, item.number)), 1):
        turn = _turn(item, plans[str(item.run_id)])
        jobs.append(Job(turn.run_id, part_of(limits, turn.region, turn.bucket), rank, delay))
    return jobs


def watch_over(fleet: Fleet, runs: RunStore, url: str, watch: Watch, waiter: Waiter) -> list[Outcome]:
    """Watch workers carry out a fleet, until every item has its outcome or somebody asks to stop watching.

    Args:
        fleet: queued by `queue_up`.
        runs: the run store.
        url: of the run store.
        watch: who watches.
        waiter: where this thread waits.

    Returns:
        How each item ended, in the order of the plan; what has not ended is called interrupted.

    Raises:
        ConfigError: the database cannot be used any more.
    """
    watched = _Watched(fleet, runs, url, watch, waiter.clock)
    while not watched.look() and not waiter.stop.wait(LOOK_EVERY):
        pass
    return watched.outcomes()


@dataclass
class _Seen:
    """A run that a worker drives: who is told, and what was told last."""

    report: events.Reporter
    told: Mapping[str, Any]


class _Watched:
    """What is known of a fleet that others carry out."""

    def __init__(self, fleet: Fleet, runs: RunStore, url: str, watch: Watch, clock: Callable[[], float]) -> None:
        self._fleet_id = fleet.fleet_id
        self._runs = runs
        self._url = url
        self._watch = watch
        self._clock = clock
        self._plans = plans_of(runs, fleet.fleet_id)
        self._outcomes: dict[int, Outcome] = {}
        self._open: list[FleetItem] = []
        self._seen: dict[str, _Seen] = {}
        self._workers = 0
        self._count_at = clock()

    def look(self) -> bool:
        """Look around once; whether every item has its outcome."""
        found = standings(self._runs, self._fleet_id)
        cancelled = fleets.fleet(self._runs, self._fleet_id).cancel
        self._open = []
        for standing in found:
            item = standing.item
            if item.outcome is not None:
                self._end(recorded(item))
            elif standing.state == QUEUED and (cancelled or standing.cancel) and self._cancel(item):
                continue
            else:
                self._open.append(item)
                self._follow(standing)
        waiting = sum(1 for item in self._open if item.run_id not in self._seen)
        self._watch.waits(waiting, self._why(waiting))
        return not self._open

    def outcomes(self) -> list[Outcome]:
        """One outcome for each item."""
        for item in self._open:
            self._end(outcome_of(item.number, item.name, item.run_id, errors.Interrupted(GOES_ON)))
        return [self._outcomes[number] for number in sorted(self._outcomes)]

    def _end(self, outcome: Outcome) -> None:
        if outcome.number not in self._outcomes:
            self._outcomes[outcome.number] = outcome
            self._seen.pop(str(outcome.run_id), None)
            self._watch.ends(outcome)

    def _cancel(self, item: FleetItem) -> bool:
        """End a run that has not begun; one that a worker has just begun hears of it there."""
        outcome = end_queued(self._runs, str(item.run_id))
        if outcome is not None:
            self._end(Outcome(item.number, item.name, item.run_id, outcome.kind, outcome.code, outcome.exit_code))
        return outcome is not None

    def _follow(self, standing: Standing) -> None:
        run_id = standing.item.run_id
        if run_id is None or standing.state == QUEUED:
            return
        holder = self._runs.holder(run_id)
        if holder is None:
            return
        if run_id not in self._seen:
            if not holder.alive:
                return
            self._seen[run_id] = _Seen(self._watch.begins(_turn(standing.item, self._plans[run_id])), {})
        self._retell(run_id, holder)

    def _retell(self, run_id: str, holder: Holder) -> None:
        seen, told = self._seen[run_id], holder.progress or {}
        if not holder.alive:
            told = {**told, "waiting": "its worker is not heard of"}
        for event in retold(run_id, told, seen.told):
            seen.report(event)
        seen.told = told

    def _why(self, waiting: int) -> str | None:
        """Why nothing more begins, for people."""
        if self._clock() >= self._count_at:
            with suppress(errors.ConfigError):  # whether the database is there is the run store's matter
                self._workers = count_workers(self._url)
            self._count_at = self._clock() + COUNT_EVERY
        if self._open and not self._workers:
            return "no worker is alive: start some with `hyperexport worker`"
        return f"{self._workers} workers" if waiting else None


def _turn(item: FleetItem, plan: Mapping[str, Any]) -> Turn:
    staging = plan["targets"][0]["staging"]
    bucket = f"{staging['namespace']}/{staging['bucket']}"
    return Turn(item.number, str(item.run_id), item.name, plan["region"], bucket, item.priority)
