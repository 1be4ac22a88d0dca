"""`--jsonl`: events for programs, one JSON document per line on stdout; their form is `schemas/event.schema.json`.

The last line is always `ended`: the result, or the error that a script decides by.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import click

from hypersdk import errors, events
from hypersdk.cli.output import JSON_VERSION
from hypersdk.exports.telling.chronicle import Lull
from hypersdk.waiting import StopFlag

Emit = Callable[[str, Mapping[str, Any]], None]

PROGRESS_EVERY = 1.0
"""Seconds between two progress lines of one step, or two lines about the same wait."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class JsonLines:
    """Prints events, each with its time.

    Args:
        now: time of day.

    Attributes:
        ended: whether the last line was printed.
    """

    def __init__(self, now: Callable[[], datetime] = _utc_now) -> None:
        self.ended = False
        self._now = now

    def __call__(self, event: str, facts: Mapping[str, Any]) -> None:
        """Print one event."""
        self.ended = self.ended or event == "ended"
        time = self._now().astimezone(UTC).isoformat(timespec="milliseconds")
        click.echo(json.dumps({"version": JSON_VERSION, "event": event, "time": time, **facts}))


class RunLines:
    """A reporter that prints the events of a run.

    A reader that goes away does not break the run: it is asked to stop, which keeps everything for the same command.

    Args:
        emit: prints.
        stop: asked to stop when nobody reads any more.
        clock: monotonic seconds.
        run_id: the run, if it is known; else it becomes known with its first step.
    """

    def __init__(self, emit: Emit, stop: StopFlag, clock: Callable[[], float], run_id: str | None = None) -> None:
        self.broken: OSError | None = None
        self._emit = emit
        self._stop = stop
        self._clock = clock
        self._run_id = run_id
        self._bytes = {"wire": 0, "disk": 0}
        self._advanced_at = clock() - PROGRESS_EVERY
        self._lull = Lull(clock, PROGRESS_EVERY)

    def __call__(self, event: events.Event, /) -> None:
        """Take one event."""
        self._run_id = getattr(event, "run_id", self._run_id)
        if isinstance(event, events.Bytes):
            self._bytes["wire"] += event.wire
            self._bytes["disk"] += event.disk
            return
        if isinstance(event, events.StepAdvanced):
            if self._clock() - self._advanced_at < PROGRESS_EVERY:
                return
            self._advanced_at = self._clock()
        if isinstance(event, events.Waiting) and not self._lull.worth(event):
            return
        if type(event) in _KINDS:
            kind, names = _KINDS[type(event)]
            more = self._bytes if kind == "progress" else {}
            self.emit(kind, {"run_id": self._run_id, **{name: getattr(event, name) for name in names}, **more})

    def emit(self, kind: str, facts: Mapping[str, Any]) -> None:
        """Print one line, unless nobody reads any more."""
        if self.broken is not None:
            return
        try:
            self._emit(kind, facts)
        except OSError as error:
            self.broken = error
            self._stop.set()


_KINDS: Mapping[type[events.Event], tuple[str, tuple[str, ...]]] = {
    events.StepStarted: ("step_started", ("step", "title")),
    events.StepAdvanced: ("progress", ("step", "done", "total", "unit")),
    events.StepFinished: ("step_finished", ("step", "detail", "reused")),
    events.Waiting: ("waiting", ("reason",)),
    events.Note: ("note", ("text",)),
    events.Retried: ("retried", ("what", "code", "request_id")),
    events.Stalled: ("stalled", ("step", "idle", "usual", "text")),
}
"""Event -> its name in a line, and what the line says of it."""


def error_facts(error: errors.HypersdkError) -> dict[str, Any]:
    """An error as JSON values: what scripts decide by, and what people are told."""
    return {
        "code": error.code,
        "exit_code": error.exit_code,
        "message": error.message,
        "resource": error.resource,
        "request_id": error.request_id,
        "hint": error.hint,
        "notes": [line for note in getattr(error, "__notes__", ()) for line in note.splitlines()],
    }


def ended_facts(result: Mapping[str, Any] | None, error: errors.HypersdkError | None = None) -> dict[str, Any]:
    """The last line of a run: its result, or its error."""
    return {
        "exit_code": 0 if error is None else error.exit_code,
        "result": result,
        "error": None if error is None else error_facts(error),
    }


@contextmanager
def last_line(lines: JsonLines | None) -> Iterator[None]:
    """What fails inside ends the output with a line `ended`, unless that was printed already.

    Args:
        lines: prints; None = nobody asked for lines.
    """
    try:
        yield
    except errors.HypersdkError as error:
        if lines is not None and not lines.ended:
            lines("ended", ended_facts(None, error))
        raise
