"""Turns the events of a run into its story: what the run store keeps, and `runs show` tells from there alone.

Rules of this file: thousands of short waits become a few lines (waits for the same thing within a step are one, figures
in their reason do not make them different); what is not listed is counted; nothing here writes, waits or fails.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from hypersdk import events
from hypersdk.model import format_seconds
from hypersdk.runs.records import Happening

SHORT = 1.0
"""Seconds; shorter waits are only counted."""

GAP = 60.0
"""Seconds between two waits for the same thing that still make them one: looks at a state are 30 s apart at most."""

MOST = 500
"""Lines of one kind that one process writes about a run."""

LONGEST = 600
"""Characters of a line."""

HELD = frozenset({events.NETWORK, events.LOGIN, events.PLACE, events.STORE, events.HOST})
"""Waits that are no part of what a step usually takes: for something that is missing, not for its own work."""

_FIGURES = re.compile(r"\d+(?:[.:,]\d+)*")


def iso(when: datetime) -> str:
    """A time as the run store writes it: UTC, ISO 8601, milliseconds."""
    return when.astimezone(UTC).isoformat(timespec="milliseconds")


def gist(reason: str) -> str:
    """What a reason says besides its figures: "image web is PROVISIONING, 40 %" is the same wait at 50 %."""
    return _FIGURES.sub("#", reason)


class Lull:
    """Tells the waits that are worth a line: another reason, or the same one after a while.

    Args:
        clock: monotonic seconds.
        every: seconds between two lines about the same wait.
    """

    def __init__(self, clock: Callable[[], float], every: float) -> None:
        self._clock = clock
        self._every = every
        self._last: tuple[str, float] | None = None
        self._told = False

    def worth(self, event: events.Waiting) -> bool:
        """Whether this one is; the end of a wait is, if its beginning was."""
        now = self._clock()
        if event.reason is None:
            told, self._told = self._told, False
            return told
        about = gist(event.reason)
        self._told = self._last is None or self._last[0] != about or now - self._last[1] >= self._every
        if self._told:
            self._last = (about, now)
        return self._told


@dataclass
class _Wait:
    """Waits for the same thing. `seconds` of those that ended; `began` of the one that has not; `last`: its end."""

    at: str
    reason: str
    kind: str
    count: int = 0
    seconds: float = 0.0
    began: float | None = None
    last: float = 0.0


class Chronicle:
    """Follows the events of a run.

    Args:
        now: time of day.
        clock: monotonic seconds.
    """

    def __init__(self, now: Callable[[], datetime], clock: Callable[[], float]) -> None:
        self._now = now
        self._clock = clock
        self._ready: list[Happening] = []
        self._told: Counter[str] = Counter()
        self._hidden: Counter[str] = Counter()
        self._step: events.StepStarted | None = None
        self._step_at, self._step_began = "", 0.0
        self._waits: dict[str, _Wait] = {}
        self._short = [0, 0.0]
        self._retries: Counter[str] = Counter()
        self._retried_at, self._last_retry = "", ""

    def __call__(self, event: events.Event, /) -> None:
        """Take one event."""
        if isinstance(event, events.Waiting):
            self._wait(event)
        elif isinstance(event, events.StepStarted):
            self._leave_step()
            self._step, self._step_at, self._step_began = event, self.at(), self._clock()
        elif isinstance(event, events.StepFinished):
            if not event.reused:
                self._finish_step(event)
        elif isinstance(event, events.Retried):
            self._retry(event)
        elif isinstance(event, events.Stalled):
            self._add("stall", event.text)
        elif isinstance(event, events.Note):
            self._add("note", event.text)

    def at(self) -> str:
        """Now, as it is written."""
        return iso(self._now())

    def begin(self, text: str) -> None:
        """A process takes the run into its hands."""
        self._add("began", text)

    def end(self, text: str) -> None:
        """It lets go of it."""
        self._leave_step()
        for kind, count in self._hidden.items():
            self._ready.append(Happening(self.at(), "note", f"{count} more of kind {kind!r} are not listed"))
        self._hidden.clear()
        self._ready.append(Happening(self.at(), "ended", _one_line(text)))

    def take(self) -> list[Happening]:
        """What can be written now; it is forgotten here."""
        now = self._clock()
        for about in [each for each, wait in self._waits.items() if wait.began is None and now - wait.last > GAP]:
            self._end_wait(self._waits.pop(about))
        ready, self._ready = self._ready, []
        return ready

    def put_back(self, happenings: list[Happening]) -> None:
        """They could not be written: they are kept for the next time, the oldest ones."""
        self._ready = [*happenings, *self._ready][: 4 * MOST]

    def _add(self, kind: str, text: str, at: str | None = None, seconds: float | None = None) -> None:
        if self._told[kind] >= MOST:
            self._hidden[kind] += 1
            return
        self._told[kind] += 1
        step = self._step.step if self._step else None
        self._ready.append(Happening(at or self.at(), kind, _one_line(text), seconds, step))

    def _wait(self, event: events.Waiting) -> None:
        now, reason = self._clock(), event.reason
        for wait in self._waits.values():
            if wait.began is not None:
                wait.seconds += now - wait.began
                wait.began, wait.last = None, now
        if reason is None:
            return
        kind = "held" if event.kind in HELD else "wait"
        about = gist(reason)
        wait = self._waits.setdefault(about, _Wait(self.at(), reason, kind))
        if wait.count and now - wait.last > GAP:
            self._end_wait(wait)
            wait = self._waits[about] = _Wait(self.at(), reason, kind)
        wait.reason, wait.began = reason, now
        wait.count += 1

    def _end_wait(self, wait: _Wait) -> None:
        if wait.seconds < SHORT:
            self._short[0] += wait.count
            self._short[1] += wait.seconds
            return
        times = f" ({wait.count} times)" if wait.count > 1 else ""
        self._add(wait.kind, f"{wait.reason}{times}", wait.at, wait.seconds)

    def _retry(self, event: events.Retried) -> None:
        if not self._retries:
            self._retried_at = self.at()
        self._retries[event.code] += 1
        self._last_retry = event.what + (f", opc-request-id {event.request_id}" if event.request_id else "")

    def _end_waits_and_retries(self) -> None:
        self._wait(events.Waiting(None))
        for wait in self._waits.values():
            self._end_wait(wait)
        self._waits.clear()
        if self._retries:
            codes = ", ".join(f"{count} {code}" for code, count in self._retries.most_common())
            total = self._retries.total()
            what = "one call was tried again" if total == 1 else f"{total} tries were repeated"
            self._add("retry", f"{what}: {codes} (the last: {self._last_retry})", self._retried_at)
            self._retries.clear()

    def _finish_step(self, event: events.StepFinished) -> None:
        self._end_waits_and_retries()
        title = self._step.title if self._step else event.step
        self._step_line("step", f"{title}: {event.detail}" if event.detail else title)

    def _leave_step(self) -> None:
        """What waits before the first step, or in a step that will not end."""
        self._end_waits_and_retries()
        if self._step is not None:
            self._step_line("cut", f"{self._step.title}: not finished")

    def _step_line(self, kind: str, text: str) -> None:
        count, seconds = self._short
        if count:
            text += f" ({count} short waits, {format_seconds(seconds)} in all)"
        self._short = [0, 0.0]
        took = self._clock() - self._step_began if self._step else None
        self._add(kind, text, self._step_at or None, took)
        self._step = None


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 3]}..."
