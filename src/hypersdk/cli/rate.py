"""How fast something moves and when it will be done: smoothed, honest about stalls. Pure: time is passed in."""

from __future__ import annotations

import math

SMOOTHING = 15.0
"""Seconds after which what was measured counts for 1/e: long enough for parts that end in bursts."""

KNOWN_AFTER = 2.0
"""Seconds of measurement before a rate is told."""

LONGEST = 100 * 86400.0
"""An estimate beyond 100 days says nothing."""


class Rate:
    """An average that forgets: bytes per second over the recent past, in which a stall counts as zero.

    Args:
        now: monotonic seconds at the start.
    """

    def __init__(self, now: float) -> None:
        self._at = now
        self._moved = 0.0
        self._bytes = 0.0
        self._seconds = 0.0

    def note(self, now: float, moved: float) -> None:
        """Take a measurement: bytes moved in all, at this moment."""
        step = now - self._at
        if step <= 0:
            return
        kept, share = self._weights(step)
        self._bytes = self._bytes * kept + (moved - self._moved) * share / step
        self._seconds = self._seconds * kept + share
        self._at, self._moved = now, moved

    def at(self, now: float) -> float | None:
        """Bytes per second as they look at this moment if nothing moved since the last measurement; None = unknown."""
        kept, share = self._weights(max(0.0, now - self._at))
        seconds = self._seconds * kept + share
        return None if seconds < KNOWN_AFTER else max(0.0, self._bytes * kept / seconds)

    @staticmethod
    def _weights(step: float) -> tuple[float, float]:
        """What is left of the weight of what came before, and the weighted seconds of this step."""
        kept = math.exp(-step / SMOOTHING)
        return kept, (1 - kept) * SMOOTHING


def seconds_left(remaining: float, rate: float | None) -> float | None:
    """When the rest will be done at this rate; None = nobody knows."""
    if remaining <= 0:
        return 0.0
    if not rate or remaining / rate > LONGEST:
        return None
    return remaining / rate


def format_left(seconds: float | None) -> str:
    """A time to come, for people: "0:24", "1:02:03", "3 d 4 h", "-" while unknown."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, day_hours = divmod(hours, 24)
    if days:
        return f"{days} d {day_hours} h"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
