"""When exports may begin: windows of wall-clock time, with days and a time zone. Pure.

Rules of this file: a window is open at every instant at which a clock on the wall of its zone shows a time inside it
("22:00-06:00": 22:00 is inside, 06:00 no more). That defines the two odd nights of a year as well: times that a wall
clock skips are never shown, so a window that lies wholly in the gap does not open that night; times that it shows twice
are inside twice. A day is the one on which the window opens: `fri 22:00-06:00` lasts until Saturday morning. Only
beginnings are held back; an export that has begun goes on.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from hypersdk import errors

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

FORM = "[DAYS] HH:MM-HH:MM [ZONE], such as '22:00-06:00' or 'mon-fri 22:00-06:00 Europe/Berlin'"

LOOKAHEAD = 15
"""Days within which the next change is looked for: a week, one more if the window fell into a gap, and the ends."""

_DAY = 24 * 60
_SPAN = re.compile(r"(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Window:
    """One window of each of its days.

    Attributes:
        start: minutes after midnight at which it opens.
        stop: minutes after midnight at which it closes; not after `start` = on the next day.
        days: those on which it opens; 0 = Monday.
        zone: name of the time zone; None = this machine's own.
    """

    start: int
    stop: int
    days: frozenset[int] = frozenset(range(7))
    zone: str | None = None

    def shows(self, wall: datetime) -> bool:
        """Whether a time that a wall clock of the zone shows is inside."""
        minute, day = wall.hour * 60 + wall.minute, wall.weekday()
        if self.start < self.stop:
            return self.start <= minute < self.stop and day in self.days
        return (minute >= self.start and day in self.days) or (minute < self.stop and (day - 1) % 7 in self.days)

    def wall(self, when: datetime) -> datetime:
        """What a wall clock of the zone shows at an instant."""
        return when.astimezone(None if self.zone is None else ZoneInfo(self.zone))

    def is_open(self, when: datetime) -> bool:
        """Whether it is open at an instant."""
        return self.shows(self.wall(when))

    def __str__(self) -> str:
        return " ".join(
            part for part in (_days_text(self.days), f"{_clock(self.start)}-{_clock(self.stop)}", self.zone) if part
        )


def parse(text: str) -> Window:
    """Read a window.

    Raises:
        UsageError: says what is wrong, what is expected, and the nearest zone's name.
    """
    words = text.split()
    span = next((number for number, word in enumerate(words) if ":" in word), None)
    if span is None:
        raise _refused(text, "no times of day")
    # "22:00 - 06:00" is one span in three words.
    end = span + 1
    while end < len(words) and (words[end - 1].endswith("-") or words[end].startswith("-")):
        end += 1
    start, stop = _span(text, "".join(words[span:end]))
    if len(words) > end + 1:
        raise _refused(text, f"{' '.join(words[end:])!r} is more than a zone")
    zone = words[end] if len(words) > end else None
    if zone is not None:
        _check_zone(text, zone)
    return Window(start, stop, _days(text, words[:span]), zone)


def in_zone(window: Window, zone: str | None) -> Window:
    """A window with its zone named, if it named none."""
    return window if window.zone is not None else replace(window, zone=zone)


def any_open(windows: Sequence[Window], when: datetime) -> bool:
    """Whether an export may begin at an instant; without windows it always may."""
    return not windows or any(window.is_open(when) for window in windows)


def next_change(windows: Sequence[Window], when: datetime) -> datetime | None:
    """The first instant after `when` at which `any_open` is another; None = it stays as it is."""
    now = any_open(windows, when)
    return next((at for at in _changes(windows, when) if any_open(windows, at) != now), None)


def opens(windows: Sequence[Window], when: datetime) -> datetime | None:
    """The first instant from `when` on at which an export may begin; None = never."""
    return when if any_open(windows, when) else next_change(windows, when)


def _changes(windows: Sequence[Window], when: datetime) -> Iterator[datetime]:
    """The instants after `when` at which something may change, in their order."""
    found: set[datetime] = set()
    for window in windows:
        first = window.wall(when).date() - timedelta(days=1)
        for number in range(LOOKAHEAD + 2):
            found.update(_instants(window, first + timedelta(days=number)))
    yield from sorted(at for at in found if at > when)


def _instants(window: Window, day: date) -> Iterator[datetime]:
    """When a wall clock shows the window's times on a day; in a gap, when it jumps."""
    for minute in (window.start, window.stop, 0, _DAY):
        wall = datetime.combine(day, time()) + timedelta(minutes=minute)
        for fold in (0, 1):
            yield from _instant(window, wall.replace(fold=fold))


def _instant(window: Window, wall: datetime) -> Iterator[datetime]:
    at = wall.replace(tzinfo=None if window.zone is None else ZoneInfo(window.zone)).astimezone(UTC)
    if window.wall(at).replace(tzinfo=None, fold=0) == wall.replace(fold=0):
        yield at
    yield from _jump(window, at)


def _jump(window: Window, near: datetime) -> Iterator[datetime]:
    """The minute in the hours around an instant at which the zone's clock is set forward or back, if there is one."""
    low, high = near - timedelta(hours=3), near + timedelta(hours=3)
    before = window.wall(low).utcoffset()
    if window.wall(high).utcoffset() == before:
        return
    while high - low > timedelta(minutes=1):
        # On whole minutes, as `low` and `high` are: clocks are set at whole minutes.
        middle = low + timedelta(minutes=(high - low) // timedelta(minutes=2))
        if window.wall(middle).utcoffset() == before:
            low = middle
        else:
            high = middle
    yield high


def _span(text: str, span: str) -> tuple[int, int]:
    match = _SPAN.match(span)
    if not match:
        raise _refused(text, f"not a span of time: {span!r}")
    start, stop = (60 * int(match[1]) + int(match[2]), 60 * int(match[3]) + int(match[4]))
    if int(match[2]) > 59 or int(match[4]) > 59 or start >= _DAY or stop > _DAY:  # noqa: PLR2004 - minutes of an hour
        raise _refused(text, f"no clock shows {span!r}")
    return start, stop % _DAY if stop == _DAY and start == 0 else stop


def _days(text: str, words: Sequence[str]) -> frozenset[int]:
    if not words:
        return frozenset(range(7))
    found: set[int] = set()
    for part in filter(None, ",".join(words).lower().split(",")):
        first, dash, last = part.partition("-")
        ends = [_day(text, first), _day(text, last if dash else first)]
        found.update((ends[0] + step) % 7 for step in range((ends[1] - ends[0]) % 7 + 1))
    return frozenset(found)


def _day(text: str, word: str) -> int:
    # "monday" is read too.
    if len(word) < 3 or word[:3] not in DAYS or not _FULL[word[:3]].startswith(word):  # noqa: PLR2004 - "mon"
        raise _refused(text, f"not a day: {word!r}")
    return DAYS.index(word[:3])


_FULL = dict(zip(DAYS, ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"), strict=True))


def _check_zone(text: str, zone: str) -> None:
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        near = difflib.get_close_matches(zone, sorted(available_timezones()), n=1)
        raise _refused(text, f"no time zone {zone!r}" + (f"; did you mean {near[0]!r}?" if near else "")) from None


def _refused(text: str, why: str) -> errors.UsageError:
    return errors.UsageError(f"not a window: {text!r}: {why}", resource=text, hint=FORM)


def _days_text(days: frozenset[int]) -> str:
    return "" if len(days) == len(DAYS) else ",".join(DAYS[day] for day in sorted(days))


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"
