"""`fleet --jsonl`: what happens in a fleet, one JSON document per line on stdout."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from hypersdk import events
from hypersdk.cli.fleetboard import Board
from hypersdk.cli.jsonl import Emit, RunLines
from hypersdk.fleet.nouns import OUTCOMES, Outcome
from hypersdk.fleet.queue import Turn
from hypersdk.waiting import StopFlag

PROGRESS_EVERY = 5.0
"""Seconds between two lines about the whole fleet."""


class FleetLines:
    """A watcher that prints. A reader that goes away ends the fleet as Ctrl-C does; the same command goes on with it.

    Args:
        emit: prints one line.
        board: follows the fleet.
        stop: asked to stop when nobody reads any more.
        row_of: an outcome as JSON values.
    """

    def __init__(
        self, emit: Emit, board: Board, stop: StopFlag, row_of: Callable[[Outcome], Mapping[str, Any]]
    ) -> None:
        self._lock = threading.Lock()
        self._emit = emit
        self._board = board
        self._stop = stop
        self._row_of = row_of
        self._told_at = board.clock()
        self._why: str | None = None
        self.broken: OSError | None = None

    def begins(self, turn: Turn, /) -> events.Reporter:
        """An export begins."""
        about = {"number": turn.number, "instance_name": turn.name, "region": turn.region, "run_id": turn.run_id}
        self.emit("item_started", about)
        return RunLines(self.emit, self._stop, self._board.clock, turn.run_id)

    def ends(self, outcome: Outcome, /) -> None:
        """An item has its outcome."""
        self.emit("item_ended", self._row_of(outcome))

    def waits(self, waiting: int, reason: str | None, /) -> None:
        """Called several times a second: tells now and then where the fleet stands, and each new reason at once."""
        board, now = self._board, self._board.clock()
        if now - self._told_at < PROGRESS_EVERY and reason == self._why:
            return
        self._told_at, self._why = now, reason
        left, rate = board.left(), board.rate()
        counts = {kind: sum(each.kind == kind for each in list(board.outcomes)) for kind in OUTCOMES}
        self.emit(
            "fleet_progress",
            {
                "items": board.total,
                "running": len(board.rows()),
                "queued": waiting,
                "queued_because": reason,
                "counts": counts,
                "wire": board.wire,
                "rate": None if rate is None else round(rate),
                "seconds_left": None if left is None else round(left, 1),
            },
        )

    def emit(self, event: str, facts: Mapping[str, Any]) -> None:
        """Print one line, whole, unless nobody reads any more."""
        with self._lock:
            if self.broken is not None:
                return
            try:
                self._emit(event, facts)
            except OSError as error:
                self.broken = error
                self._stop.set()
