"""What is known of a fleet that runs: where each export stands, and what all of them come to. Time is passed in."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from hypersdk import events
from hypersdk.cli.rate import Rate, format_left
from hypersdk.exports.plan import ExportPlan
from hypersdk.exports.telling.position import Facts, Position
from hypersdk.fleet.nouns import OUTCOMES, Outcome
from hypersdk.fleet.queue import Turn
from hypersdk.model import format_size

_NUMBERS = re.compile(r",? ?\d+(\.\d+)? ?%")


@dataclass
class Row:
    """One export that runs.

    Attributes:
        turn: which.
        facts: where it stands.
        since: when it began, monotonic seconds.
        rate: of its bytes on the wire.
    """

    turn: Turn
    facts: Facts
    since: float
    rate: Rate = field(repr=False)


class Board:
    """Follows a fleet by its events; all threads may call it.

    Args:
        numbers: of the fleet's items.
        plan_of: a run id to its plan.
        expected: seconds that an item may take, by number, where something is known.
        clock: monotonic seconds.
        now: time of day.
    """

    def __init__(
        self,
        numbers: Sequence[int],
        plan_of: Callable[[str], ExportPlan],
        expected: Mapping[int, float],
        *,
        clock: Callable[[], float],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.total = len(numbers)
        self._numbers = numbers
        self.outcomes: list[Outcome] = []
        self.waiting = 0
        self.why: str | None = None
        self.clock = clock
        self._plan_of = plan_of
        self._expected = expected
        self._now = now
        self._lock = threading.RLock()
        self._rows: dict[int, tuple[Row, Position]] = {}
        self._took: dict[int, float] = {}
        self._wire_ended = 0
        self._rate = Rate(clock())

    def begins(self, turn: Turn) -> events.Reporter:
        """An export begins; the reporter that follows it."""
        with self._lock:
            position = Position(self._plan_of(turn.run_id), "", None, self._now)
            row = Row(turn, position.facts, self.clock(), Rate(self.clock()))
            self._rows[turn.number] = (row, position)

        def report(event: events.Event, /) -> None:
            with self._lock:
                position(event)

        return report

    def ends(self, outcome: Outcome) -> None:
        """An item has its outcome."""
        with self._lock:
            self.outcomes.append(outcome)
            found = self._rows.pop(outcome.number, None)
            if found is not None:
                self._wire_ended += found[0].facts.wire
                if outcome.kind == "done":
                    self._took[outcome.number] = self.clock() - found[0].since

    def waits(self, waiting: int, reason: str | None) -> None:
        """So many wait for their turn, and why."""
        with self._lock:
            self.waiting, self.why = waiting, reason

    def rows(self) -> list[Row]:
        """The exports that run, the oldest first."""
        with self._lock:
            return [row for row, _ in sorted(self._rows.values(), key=lambda pair: pair[0].since)]

    def measure(self) -> None:
        """Note how many bytes have moved; called now and then."""
        with self._lock:
            now = self.clock()
            for row, _ in self._rows.values():
                row.rate.note(now, row.facts.wire)
            self._rate.note(now, self.wire)

    @property
    def wire(self) -> int:
        """Bytes on the wire so far."""
        with self._lock:
            return self._wire_ended + sum(row.facts.wire for row, _ in self._rows.values())

    def rate_of(self, row: Row) -> float | None:
        """Bytes per second of an export; None while unknown."""
        return row.rate.at(self.clock())

    def rate(self) -> float | None:
        """Bytes per second of all of them; None while unknown."""
        return self._rate.at(self.clock())

    def left(self) -> float | None:
        """Seconds to the end, as far as plan and what exports took tell; None while nothing is known."""
        with self._lock:
            ended = {outcome.number for outcome in self.outcomes}
            work = 0.0
            for number in self._numbers:
                if number in ended:
                    continue
                needs = self._needs(number)
                if needs is None:
                    return None
                row = self._rows.get(number)
                work += needs if row is None else max(0.0, needs - (self.clock() - row[0].since))
            return work / max(1, len(self._rows))

    def _needs(self, number: int) -> float | None:
        """Seconds that an export may take: what the plan expects, corrected by how wrong that was so far."""
        took = sum(self._took.values())
        foreseen = sum(self._expected.get(each, 0.0) for each in self._took)
        if number in self._expected:
            return self._expected[number] * (took / foreseen if foreseen else 1.0)
        return took / len(self._took) if self._took else None

    def line(self) -> str:
        """All of it in one line for people."""
        with self._lock:
            counts = Counter(outcome.kind for outcome in self.outcomes)
            said = [f"{counts[kind]} {kind}" for kind in OUTCOMES if counts[kind]]
            said.append(f"{len(self._rows)} running")
            if self.waiting:
                said.append(f"{self.waiting} waiting" + (f" ({self.why})" if self.why else ""))
            rate = self.rate()
            moved = format_size(self.wire) + ("" if rate is None else f", {format_size(rate)}/s")
            return f"{len(self.outcomes)} of {self.total}: {', '.join(said)}; {moved}, ETA {format_left(self.left())}"

    def reasons(self, most: int = 2) -> list[str]:
        """What most exports wait for, with how many; percentages differ and say nothing about all of them."""
        with self._lock:
            waiting = [row for row, _ in self._rows.values() if row.facts.waiting is not None]
            found = Counter(_NUMBERS.sub("", state_of(row).removeprefix("waiting: ")) for row in waiting)
        return [f"{reason} ({count})" if count > 1 else reason for reason, count in found.most_common(most)]


def state_of(row: Row) -> str:
    """What an export does at this moment, in words."""
    facts = row.facts
    if facts.stalled:
        return facts.stalled
    if facts.waiting:
        # The row says whose image it is; its name would fill the line.
        own = rf"image \S*-hypersdk-{row.turn.run_id}"
        return "waiting: " + re.sub(own, "image", facts.waiting)
    if facts.done is None:
        return facts.title or ""
    if facts.unit == "percent":
        return f"{facts.title}, {facts.done:.0f} %"
    return format_size(facts.done) + ("" if not facts.total else f" of {format_size(facts.total)}")


def outcome_line(outcome: Outcome, total: int) -> str:
    """How an item ended, in one line."""
    said = f"{outcome.name}: {outcome.kind}" + (f": {outcome.detail}" if outcome.detail else "")
    return f"[{outcome.number}/{total}] {said}"
