"""The log file of a run: every event with its time (UTC), for whoever has to find out what happened.

Rules of this file: it never fails the run and never slows it (bytes on the wire are not logged, movement every ten
seconds); it is bounded; what goes in has no secrets, because no event has.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from hypersdk import errors, events
from hypersdk.exports.telling.chronicle import Lull
from hypersdk.model import format_size

MOST_BYTES = 4 << 20
"""Size at which a log becomes `<run id>.log.1`, in place of an earlier one: a run has 8 MiB of logs at most."""

ADVANCED_EVERY = 10.0
"""Seconds between two lines about how far a step is, or about the same wait."""


def log_path(folder: Path, run_id: str) -> Path:
    """Where the log of a run is."""
    return folder / f"{run_id}.log"


def logs_of(folder: Path, run_id: str) -> list[Path]:
    """All log files of a run that may exist."""
    path = log_path(folder, run_id)
    return [path, _former(path)]


def _former(path: Path) -> Path:
    return path.with_name(f"{path.name}.1")


class Logbook:
    """Writes the events of a run into its log; a log that cannot be written is left alone.

    Args:
        path: the file; made with mode 0600, its directory with 0700.
        now: time of day.
        clock: monotonic seconds.
    """

    def __init__(self, path: Path, now: Callable[[], datetime], clock: Callable[[], float]) -> None:
        self.path = path
        self._now = now
        self._clock = clock
        self._advanced_at = clock() - ADVANCED_EVERY
        self._lull = Lull(clock, ADVANCED_EVERY)
        self._descriptor: int | None = None
        with suppress(OSError):
            path.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
            self._open()

    @property
    def usable(self) -> bool:
        """Whether lines are written."""
        return self._descriptor is not None

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __call__(self, event: events.Event, /) -> None:
        """Take one event."""
        if isinstance(event, events.StepAdvanced):
            if self._clock() - self._advanced_at < ADVANCED_EVERY:
                return
            self._advanced_at = self._clock()
        if isinstance(event, events.Waiting) and not self._lull.worth(event):
            return
        text = _words(event)
        if text is not None:
            self.line(text)

    def line(self, text: str) -> None:
        """Write one line with its time."""
        if self._descriptor is None:
            return
        when = self._now().astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        try:
            os.write(self._descriptor, f"{when} {_printable(text)}\n".encode())
            if os.fstat(self._descriptor).st_size >= MOST_BYTES:
                self._turn()
        except OSError:  # no room for logs: the export matters more
            self.close()

    def failed(self, error: BaseException) -> None:
        """Write down how the run ended, if not well, with all that is known of it."""
        code = error.code if isinstance(error, errors.HypersdkError) else type(error).__name__
        self.line(f"ended: {code}: {error}")
        for note in getattr(error, "__notes__", ()):
            for line in note.splitlines():
                self.line(f"ended: {line}")
        if not isinstance(error, errors.HypersdkError):
            for line in "".join(traceback.format_exception(error)).splitlines():
                self.line(line)

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(self.path, flags, 0o600)

    def _turn(self) -> None:
        self.close()
        self.path.replace(_former(self.path))
        self._open()


def _words(event: events.Event) -> str | None:
    text = None
    match event:
        case events.StepStarted():
            text = f"{event.step}: begins: {event.title}"
        case events.StepFinished():
            text = f"{event.step}: {event.detail or 'done'}" + (" (already done)" if event.reused else "")
        case events.StepAdvanced(unit="percent"):
            text = f"{event.step}: {event.done:.0f} %"
        case events.StepAdvanced():
            text = f"{event.step}: {format_size(event.done)}" + (
                f" of {format_size(event.total)}" if event.total else ""
            )
        case events.Waiting():
            text = "wait over" if event.reason is None else f"waiting: {event.reason}"
        case events.Note():
            text = f"note: {event.text}"
        case events.Called():
            text = f"called: {event.what}: {1000 * event.seconds:.0f} ms"
        case events.Retried():
            known = f" (opc-request-id {event.request_id})" if event.request_id else ""
            text = f"retried: {event.what}: {event.code}{known}"
        case events.Stalled():
            text = f"stalled: {event.text}"
    return text


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)
