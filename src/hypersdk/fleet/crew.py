"""Carries out a fleet on this machine: a thread for each export that runs, one that looks after them.

Rules of this file: the only shared things are the stop flag's message, the reporter and what `open_rooms` shares on
purpose; each export has its own rooms, its own flag and its own end; whatever happens, every thread is joined before
`work` returns, and every item has exactly one outcome.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from hypersdk import errors, events
from hypersdk.exports.context import ExportRooms
from hypersdk.fleet import windows
from hypersdk.fleet.nouns import Limits, Outcome
from hypersdk.fleet.queue import Turn, may_begin, why_not
from hypersdk.fleet.windows import Window
from hypersdk.fleet.work import carry_out, end_queued, outcome_of, recorded, write_down
from hypersdk.runs import fleets
from hypersdk.runs.enrolment import OPEN_OUTCOMES, Standing, plans_of, standings
from hypersdk.runs.records import FleetItem
from hypersdk.runs.store import RunStore
from hypersdk.waiting import StopFlag

LOOK_EVERY = 2.0
"""Seconds between two looks into the run store: for what others ended, and for who wants to cancel."""

WAKE_EVERY = 0.2
"""Seconds between two looks at the stop flag."""

NOT_BEGUN = "not begun"

OpenRooms = Callable[[Turn, StopFlag, events.Reporter], AbstractContextManager[ExportRooms]]
"""Opens the rooms of one export, of its account and region, for the thread that calls it."""


class Watch(Protocol):
    """Somebody who watches a fleet. Called from every thread; must not raise and must return quickly."""

    def begins(self, turn: Turn, /) -> events.Reporter:
        """An export begins; who is told what happens in it."""

    def ends(self, outcome: Outcome, /) -> None:
        """An item of the fleet has its outcome."""

    def waits(self, waiting: int, reason: str | None, /) -> None:
        """So many exports wait for their turn, and why."""


class _Unwatched:
    """Watches nothing."""

    def begins(self, _turn: Turn, /) -> events.Reporter:
        """Nobody is told."""
        return events.null_reporter

    def ends(self, _outcome: Outcome, /) -> None:
        """Nobody is told."""

    def waits(self, _waiting: int, _reason: str | None, /) -> None:
        """Nobody is told."""


def unwatched() -> Watch:
    """Somebody who watches nothing."""
    return _Unwatched()


@dataclass(frozen=True)
class Orders:
    """How a fleet is carried out here.

    Attributes:
        runs: the run store.
        open_rooms: opens the rooms of an export.
        watch: who watches.
        stop: ends everything; the same command goes on.
        limits: how many at once.
        windows: when exports may begin; none = always.
        now: time of day.
        clock: monotonic seconds.
    """

    runs: RunStore
    open_rooms: OpenRooms
    watch: Watch
    stop: StopFlag
    limits: Limits
    windows: tuple[Window, ...]
    now: Callable[[], datetime]
    clock: Callable[[], float]


def work(fleet_id: str, orders: Orders) -> list[Outcome]:
    """Carry out what is left of a fleet, until every item has its outcome or somebody asks to stop.

    Args:
        fleet_id: from `begin_runs`.
        orders: how.

    Returns:
        How each item ended, in the order of the plan.

    Raises:
        ConfigError: the run store cannot be used any more.
    """
    crew = _Crew(fleet_id, orders)
    with crew.joined():
        while not crew.finished():
            crew.step()
    return crew.outcomes()


@dataclass(frozen=True)
class _Message:
    """What a thread leaves behind: an outcome, nothing because another process drives the run, or a fatal error."""

    turn: Turn
    outcome: Outcome | None = None
    fatal: BaseException | None = None


class _Crew:
    """Everything that changes while a fleet is carried out; belongs to the thread that calls `work`."""

    def __init__(self, fleet_id: str, orders: Orders) -> None:
        self._fleet_id = fleet_id
        self._orders = orders
        self._waiting: dict[str, Turn] = {}
        self._elsewhere: dict[str, Turn] = {}
        self._running: dict[str, tuple[Turn, StopFlag, threading.Thread]] = {}
        self._begun: Counter[str] = Counter()
        self._outcomes: dict[int, Outcome] = {}
        self._messages: SimpleQueue[_Message] = SimpleQueue()
        self._looked_at = orders.clock()
        self._items = [standing.item for standing in standings(orders.runs, fleet_id)]
        plans = plans_of(orders.runs, fleet_id)
        for item in self._items:
            if item.outcome is not None:
                self._end(recorded(item))
            elif item.run_id is not None:
                self._waiting[item.run_id] = _turn(item, plans[item.run_id])

    def finished(self) -> bool:
        """Whether nothing is left to do here."""
        stopped = self._orders.stop.is_set()
        return not self._running and (stopped or not (self._waiting or self._elsewhere))

    def step(self) -> None:
        """Begin what may begin, and wait for something to happen."""
        if self._orders.stop.is_set():
            self._stop_all()
        else:
            self._begin()
            if self._orders.clock() - self._looked_at >= LOOK_EVERY:
                self._look()
        try:
            self._take(self._messages.get(timeout=WAKE_EVERY))
        except Empty:
            return

    def outcomes(self) -> list[Outcome]:
        """One outcome for each item; what was not begun counts as interrupted."""
        for turn in (*self._waiting.values(), *self._elsewhere.values()):
            error = errors.Interrupted(NOT_BEGUN)
            self._end(outcome_of(turn.number, turn.name, turn.run_id, error))
        return [self._outcomes[item.number] for item in self._items]

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Joins every thread at the end, also of an error."""
        try:
            yield
        finally:
            # By now they have ended, unless an error leads here.
            self._stop_all()
            for _, _, thread in list(self._running.values()):
                thread.join()

    def _begin(self) -> None:
        orders = self._orders
        waiting = list(self._waiting.values())
        if waiting and not windows.any_open(orders.windows, orders.now()):
            opens = windows.opens(orders.windows, orders.now())
            when = "never" if opens is None else f"{opens.astimezone():%a %H:%M}"
            orders.watch.waits(len(waiting), f"the window opens {when}")
            return
        running = [turn for turn, _, _ in self._running.values()]
        for turn in may_begin(waiting, running, orders.limits, self._begun):
            self._start(turn)
        left = list(self._waiting.values())
        running = [turn for turn, _, _ in self._running.values()]
        orders.watch.waits(len(left), why_not(left, running, orders.limits))

    def _start(self, turn: Turn) -> None:
        flag = StopFlag()
        thread = threading.Thread(target=self._drive, args=(turn, flag), name=f"export-{turn.run_id}")
        thread.start()
        del self._waiting[turn.run_id]
        self._running[turn.run_id] = (turn, flag, thread)
        self._begun[turn.region] += 1

    def _drive(self, turn: Turn, flag: StopFlag) -> None:
        """What a thread does."""
        try:
            self._messages.put(_Message(turn, self._carry_out(turn, flag)))
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that looks after all of them
            self._messages.put(_Message(turn, fatal=error))

    def _carry_out(self, turn: Turn, flag: StopFlag) -> Outcome | None:
        orders = self._orders
        try:
            with orders.open_rooms(turn, flag, orders.watch.begins(turn)) as rooms:
                return carry_out(turn.run_id, rooms)
        except errors.HypersdkError as error:
            # If it is the run store that cannot be used, this fails too, and ends everything.
            return write_down(orders.runs, outcome_of(turn.number, turn.name, turn.run_id, error))

    def _take(self, message: _Message) -> None:
        turn = message.turn
        _, _, thread = self._running.pop(turn.run_id)
        thread.join()
        if message.fatal is not None:
            raise message.fatal
        if message.outcome is None:
            self._elsewhere[turn.run_id] = turn
        else:
            self._end(replace(message.outcome, number=turn.number, name=turn.name))

    def _end(self, outcome: Outcome) -> None:
        self._outcomes[outcome.number] = outcome
        self._orders.watch.ends(outcome)

    def _stop_all(self) -> None:
        for _, flag, _ in self._running.values():
            if not flag.is_set():
                flag.set()

    def _look(self) -> None:
        """Hear of what others did: exports that they ended, and wishes to cancel."""
        runs, self._looked_at = self._orders.runs, self._orders.clock()
        cancelled = fleets.fleet(runs, self._fleet_id).cancel
        for standing in standings(runs, self._fleet_id):
            run_id = standing.item.run_id
            if run_id is None:
                continue
            if run_id in self._elsewhere:
                self._look_elsewhere(run_id, standing)
            elif run_id in self._waiting and (cancelled or standing.cancel):
                self._cancel(self._waiting[run_id])

    def _cancel(self, turn: Turn) -> None:
        outcome = end_queued(self._orders.runs, turn.run_id)
        if outcome is None:
            self._start(turn)  # to clean up, which waits for no turn and no window
        else:
            del self._waiting[turn.run_id]
            self._end(outcome)

    def _look_elsewhere(self, run_id: str, standing: Standing) -> None:
        if standing.item.outcome not in OPEN_OUTCOMES:
            del self._elsewhere[run_id]
            self._end(recorded(standing.item))
        elif not self._orders.runs.is_driven(run_id):
            # Its process has died or was stopped, or was an export of its own: we go on with it, or find it done.
            self._waiting[run_id] = self._elsewhere.pop(run_id)


def _turn(item: FleetItem, plan: Mapping[str, Any]) -> Turn:
    assert item.run_id is not None
    staging = plan["targets"][0]["staging"]
    bucket = f"{staging['namespace']}/{staging['bucket']}"
    return Turn(item.number, item.run_id, item.name, plan["region"], bucket, item.priority)
