"""Progress of copies for people and for programs: a bar, a line every 30 seconds, or JSON lines.

Three counts, because they differ: content (bytes of the objects, holes included; what a guest sees), wire (bytes that
came or went over the network), disk (bytes really written). The rate is that of content that moved in this run: what an
earlier run fetched, or what stood there already, makes nothing look fast.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from hypersdk import events
from hypersdk.cli.output import Output, printable
from hypersdk.cli.progress import LINE_EVERY, retried
from hypersdk.cli.rate import Rate, format_left, seconds_left
from hypersdk.model import format_size

SAMPLE_EVERY = 0.5
"""Seconds between two measurements of the rate."""

JSON_EVERY = 1.0
"""Seconds between two progress lines for programs."""

REFRESH = 4
"""Pictures of the bar per second."""


@dataclass
class Counts:
    """How far a copy is.

    Attributes:
        remote_sides: how many of the two sides are remote: so often each byte goes over the wire.
        items: objects to copy; None while they are being listed.
        items_done: of these, that ended, however.
        total: bytes of all items; None = nobody knows.
        done: bytes of content that are done, those of items that need not move included.
        wire: bytes that came or went over the network.
        disk: bytes written to the disk.
        waiting: why nothing moves; None = it does.
    """

    remote_sides: int
    items: int | None = None
    items_done: int = 0
    total: int | None = 0
    done: int = 0
    wire: int = 0
    disk: int = 0
    waiting: str | None = None

    @property
    def moved(self) -> float:
        """Bytes of content that moved in this run."""
        return min(self.done, self.wire / self.remote_sides) if self.remote_sides else self.done


class CopyProgress:
    """Follows a copy by its events.

    Args:
        remote_sides: how many of the two sides are remote.
        clock: monotonic seconds.
    """

    def __init__(self, remote_sides: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.counts = Counts(remote_sides)
        self.watchers: list[Callable[[], None]] = []
        self.told: list[Callable[[events.Event], None]] = []
        self.clock = clock
        self._rate = Rate(clock())
        self._sampled = clock()

    def planned(self, items: int, total: int | None) -> None:
        """What is to be copied is known."""
        self.counts.items, self.counts.total = items, total
        self._rate, self._sampled = Rate(self.clock()), self.clock()

    def ended(self) -> None:
        """One more item ended."""
        self.counts.items_done += 1
        self.tick()

    def advanced(self, done: int, _total: int) -> None:
        """Take note of bytes of content that are done."""
        self.counts.done = done
        self.tick()

    def __call__(self, event: events.Event, /) -> None:
        """Take one event."""
        if isinstance(event, events.Bytes):
            self.counts.wire += event.wire
            self.counts.disk += event.disk
        elif isinstance(event, events.Waiting):
            self.counts.waiting = event.reason
        for told in self.told:
            told(event)
        self.tick()

    def tick(self) -> None:
        """Measure, and let the watchers look; called at least every second of any wait."""
        if self.clock() - self._sampled >= SAMPLE_EVERY:
            self._sampled = self.clock()
            self._rate.note(self._sampled, self.counts.moved)
        for watcher in self.watchers:
            watcher()

    def rate(self) -> float | None:
        """Bytes of content per second at this moment; None while unknown."""
        return self._rate.at(self.clock())

    def left(self) -> float | None:
        """Seconds to the end at this rate; None while unknown."""
        if self.counts.items is None or self.counts.total is None:
            return None
        return seconds_left(self.counts.total - self.counts.done, self.rate())

    def line(self) -> str:
        """How far it is, in words."""
        counts, rate = self.counts, self.rate()
        if counts.items is None:
            return f"waiting: {counts.waiting}" if counts.waiting else "looking at what is to be copied"
        parts = [
            f"{counts.items_done} of {counts.items}",
            format_size(counts.done) + ("" if counts.total is None else f" of {format_size(counts.total)}"),
            "-" if rate is None else f"{format_size(rate)}/s",
            f"ETA {format_left(self.left())}",
        ]
        if counts.remote_sides:
            parts.append(f"wire {format_size(counts.wire)}")
        if counts.remote_sides < 2:  # noqa: PLR2004 - both
            parts.append(f"disk {format_size(counts.disk)}")
        if counts.waiting:
            parts.append(f"waiting: {counts.waiting}")
        return ", ".join(parts)

    def facts(self) -> dict[str, Any]:
        """How far it is, for programs."""
        counts, rate, left = self.counts, self.rate(), self.left()
        return {
            "items": counts.items,
            "items_done": counts.items_done,
            "bytes": counts.total,
            "bytes_done": counts.done,
            "wire": counts.wire,
            "disk": counts.disk,
            "rate": None if rate is None else round(rate),
            "seconds_left": None if left is None else round(left, 1),
            "waiting": counts.waiting,
        }


@contextmanager
def shown(
    progress: CopyProgress, out: Output, *, terminal: bool, emit: Callable[[str, Mapping[str, Any]], None] | None
) -> Iterator[None]:
    """Show a copy's progress while it runs.

    Args:
        progress: follows it.
        out: where notes go; a quiet output shows nothing.
        terminal: whether stderr can show a bar.
        emit: takes events for programs, by name; None = nobody asked.
    """
    if emit is not None:
        progress.told.append(_Telling(emit))
        progress.watchers.append(_Every(JSON_EVERY, progress.clock, lambda: emit("progress", progress.facts())))
    if out.quiet:
        yield
    elif terminal:
        with _bar(progress, out):
            yield
    else:
        notes = _Notes(out, out.note)
        progress.told.append(notes)
        progress.watchers.append(_Every(LINE_EVERY, progress.clock, lambda: out.note(printable(progress.line()))))
        yield


class _Every:
    """Does something, but not more often than every so many seconds, and not at the start."""

    def __init__(self, seconds: float, clock: Callable[[], float], act: Callable[[], None]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._act = act
        self._last = clock()

    def __call__(self) -> None:
        if self._clock() - self._last >= self._seconds:
            self._last = self._clock()
            self._act()


@dataclass
class _Notes:
    """Tells what a person must see, each reason to wait once."""

    out: Output
    write: Callable[[str], None]
    reason: str | None = field(default=None)
    waits: bool = True

    def __call__(self, event: events.Event) -> None:
        if isinstance(event, events.Note):
            if not isinstance(event, events.LeftOut):  # it comes as an outcome
                self.write(printable(event.text))
        elif isinstance(event, events.Called):
            self.out.called(event.what, event.seconds)
        elif isinstance(event, events.Retried):
            self.out.detail(retried(event))
        elif isinstance(event, events.Waiting) and self.waits and event.reason not in (None, self.reason):
            self.reason = event.reason
            self.write(printable(f"waiting: {event.reason}"))


@dataclass
class _Telling:
    """Passes waits and notes on to programs."""

    emit: Callable[[str, Mapping[str, Any]], None]

    def __call__(self, event: events.Event) -> None:
        if isinstance(event, events.Waiting):
            self.emit("waiting", {"reason": event.reason})
        elif isinstance(event, events.Note) and not isinstance(event, events.LeftOut):
            self.emit("note", {"text": event.text})


@contextmanager
def _bar(progress: CopyProgress, out: Output) -> Iterator[None]:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    # Rich honours NO_COLOR and a dumb TERM by itself.
    console = Console(stderr=True)

    def picture() -> Text:
        width = max(20, console.width)
        return Text("\n".join(bar(progress, width)), no_wrap=False)

    def write(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    progress.told.append(_Notes(out, write, waits=False))
    with Live(console=console, get_renderable=picture, refresh_per_second=REFRESH, transient=True):
        yield


def bar(progress: CopyProgress, width: int) -> list[str]:
    """The picture of a copy: a bar, and what the counts say below it. Pure but for the clock."""
    counts = progress.counts
    if counts.items is None or not counts.total:
        return [printable(progress.line())]
    share = min(1.0, counts.done / counts.total)
    percent = f" {100 * share:3.0f} %"
    cells = width - len(percent) - 1
    filled = int(cells * share)
    return ["\u2501" * filled + "\u2500" * (cells - filled) + percent, printable(progress.line())]
