"""How many bytes a second may move: a rate, or a timetable of rates, and the bucket that keeps to it. Pure.

The timetable is rclone's (rclone.org/docs, "--bwlimit"): `08:00,20M 19:00,off`, times local, each entry valid until the
next one; with days `Mon-08:00,512K Fri-19:00,off` it spans the week.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from hypersdk.readers.units import parse_size

OFF = "off"
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MINUTES = 24 * 60
WEEK_MINUTES = 7 * DAY_MINUTES
BURST_SECONDS = 0.1
"""What may move at once after a pause, in seconds at the rate; more would show in any window of some seconds."""

_ENTRY = re.compile(r"(?:([A-Za-z]{3})-)?(\d{1,2}):(\d{2}),(\S+)\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Timetable:
    """Rates by the minute of the week, Monday 00:00 = 0.

    Attributes:
        entries: (minute of the week, bytes per second or None = no limit), in order, at least one.
    """

    entries: tuple[tuple[int, int | None], ...]

    @classmethod
    def parse(cls, text: str) -> Timetable:
        """Read a rate ("50M", "off") or a timetable.

        Raises:
            ValueError: neither; says which part and what is expected.
        """
        words = text.split()
        if len(words) == 1 and "," not in words[0]:
            return cls(((0, _rate(words[0])),))
        found: dict[int, int | None] = {}
        for word in words:
            for minute, rate in _entry(word):
                if minute in found:
                    raise ValueError(f"{word!r}: this time stands twice in the timetable")
                found[minute] = rate
        if not found:
            raise ValueError("an empty timetable (expected a rate such as 50M, off, or '08:00,20M 19:00,off')")
        return cls(tuple(sorted(found.items())))

    def at(self, minute: int) -> int | None:
        """The rate in bytes per second at a minute of the week; None = no limit."""
        past = [rate for start, rate in self.entries if start <= minute]
        return past[-1] if past else self.entries[-1][1]  # before the first entry the week's last one still holds


class Bucket:
    """Says how long to wait so that a rate is kept, whichever thread moves the bytes. Bytes that moved are a debt.

    Args:
        rate: the rate now, in bytes per second; None = no limit.
        clock: monotonic seconds.
        rest: waits up to so many seconds; for who keeps to the rate.
    """

    def __init__(
        self,
        rate: Callable[[], int | None],
        clock: Callable[[], float],
        rest: Callable[[float], object] = lambda _seconds: None,
    ) -> None:
        self.rate = rate
        self.rest = rest
        self._clock = clock
        self._filled = clock()
        self._left = 0.0
        self._lock = threading.Lock()

    def took(self, count: int) -> float:
        """Note bytes that moved; the seconds to wait before more may."""
        with self._lock:
            now, rate = self._clock(), self.rate()
            if rate is None:
                self._filled, self._left = now, 0.0
                return 0.0
            self._left = min(self._left + (now - self._filled) * rate, rate * BURST_SECONDS) - count
            self._filled = now
            return max(0.0, -self._left / rate)


def minute_of_week(now: datetime) -> int:
    """Minutes since Monday 00:00 of a local time."""
    return now.weekday() * DAY_MINUTES + now.hour * 60 + now.minute


def _entry(word: str) -> list[tuple[int, int | None]]:
    match = _ENTRY.match(word)
    if not match:
        raise ValueError(f"{word!r} is not an entry of a timetable (expected HH:MM,RATE or Mon-HH:MM,RATE)")
    day, hour, minute = (match[1] or "").lower(), int(match[2]), int(match[3])
    if hour * 60 + minute >= DAY_MINUTES or minute >= 60:  # noqa: PLR2004 - minutes of an hour
        raise ValueError(f"{word!r}: {match[2]}:{match[3]} is not a time of day")
    if day and day not in DAYS:
        raise ValueError(f"{word!r}: {match[1]!r} is not a day (expected {', '.join(DAYS).title()})")
    days = [DAYS.index(day)] if day else range(len(DAYS))
    rate = _rate(match[4])
    return [(each * DAY_MINUTES + hour * 60 + minute, rate) for each in days]


def _rate(text: str) -> int | None:
    if text.lower() == OFF:
        return None
    try:
        rate = parse_size(text)
    except ValueError as error:
        raise ValueError(f"not a rate: {text!r} (expected bytes per second such as 50M, or off)") from error
    if rate == 0:
        return None  # as in rclone
    return rate
