"""Notices that a step has not moved for longer than such a step usually takes. Pure: the time is passed in.

What moves a step differs by its kind. One that moves bytes has stalled after a minute without any, however long all of
it takes. One that waits for the cloud's own work may have nothing to show until the end: it is measured by what such a
step took in earlier runs.
"""

from __future__ import annotations

from collections.abc import Callable

from hypersdk import events
from hypersdk.model import format_seconds
from hypersdk.runs.records import Usual

SHORTEST = 60.0
"""Seconds without movement that are never called a stall."""

FACTOR = 1.5
"""So many times what the slowest tenth of earlier steps took is unusual."""

UNKNOWN = 30 * 60.0
"""Seconds for a step of which nothing is known: OCI needs 17 to 19 minutes for an image of 47 GB (oci-api.md, 3)."""


TOLD_ANYWAY = frozenset({events.PLACE, events.LOGIN, events.HOST})
"""Waits that have their own end and are shown as what they are: a queue is no stall."""


def longest_idle(usual: Usual | None, *, moves_bytes: bool) -> float:
    """Seconds without movement after which a step has stalled.

    Args:
        usual: what such steps took so far; None = too few are known.
        moves_bytes: it has moved bytes already.
    """
    if moves_bytes:
        return SHORTEST
    return UNKNOWN if usual is None else max(SHORTEST, FACTOR * usual.slow)


def sentence(step: str, idle: float, usual: Usual | None, waiting: str | None) -> str:
    """A stall in words."""
    parts = [f"{step} has not moved for {format_seconds(idle)}"]
    if usual is not None:
        parts.append(
            f"usually {format_seconds(usual.median)}, slowest tenth {format_seconds(usual.slow)}"
            f" (from {usual.count} runs)"
        )
    if waiting is not None:
        parts.append(f"waiting: {waiting}")
    return "; ".join(parts)


class StallDetector:
    """Follows the steps of one run.

    Args:
        usual: what steps of a name took in earlier runs; asked when a step begins.
        now: monotonic seconds at the start.
    """

    def __init__(self, usual: Callable[[str], Usual | None], now: float) -> None:
        self._ask = usual
        self._run_id = ""
        self._step: str | None = None
        self._usual: Usual | None = None
        self._moved_at = now
        self._done: float | None = None
        self._moves_bytes = False
        self._waiting: str | None = None
        self._told = False
        self._queued = False

    def take(self, event: events.Event, now: float) -> None:
        """Take one event, and the time when it came."""
        if isinstance(event, events.StepStarted):
            self._run_id, self._step = event.run_id, event.step
            self._usual = self._ask(event.step)
            self._done, self._moves_bytes = None, False
            self._move(now)
        elif isinstance(event, events.StepFinished):
            self._step = None
        elif isinstance(event, events.Bytes):
            if event.wire or event.disk:
                self._moves_bytes = True
                self._move(now)
        elif isinstance(event, events.StepAdvanced):
            if event.done != self._done:
                self._done = event.done
                self._moves_bytes = self._moves_bytes or event.unit == "bytes"
                self._move(now)
        elif isinstance(event, events.Waiting):
            self._waiting = event.reason or self._waiting
            self._queued = event.reason is not None and event.kind in TOLD_ANYWAY
            if self._queued:
                self._moved_at = now

    def look(self, now: float) -> events.Stalled | None:
        """The stall of the step that runs, told once."""
        if self._queued:
            self._moved_at = now
        idle = now - self._moved_at
        if self._step is None or self._told or idle < longest_idle(self._usual, moves_bytes=self._moves_bytes):
            return None
        self._told = True
        text = sentence(self._step, idle, self._usual, self._waiting)
        return events.Stalled(self._run_id, self._step, idle, None if self._usual is None else self._usual.median, text)

    def forgive(self, now: float) -> None:
        """Nobody could move for a while: it counts from now."""
        self._move(now)

    def _move(self, now: float) -> None:
        self._moved_at = now
        self._told = False
        self._waiting = None
