"""Progress for people: bars on a terminal, else one line per step and one every 30 seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hypersdk import events
from hypersdk.cli.output import Output, printable
from hypersdk.model import format_size

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

LINE_EVERY = 30.0
"""Seconds between two lines of a step that moves, without a terminal (design section 3)."""


@contextmanager
def progress(out: Output, *, terminal: bool) -> Iterator[events.Reporter]:
    """Show the events of a run on stderr.

    Args:
        out: where notes go; a quiet output shows nothing at all.
        terminal: whether stderr can show bars.

    Yields:
        The reporter to hand to the run.
    """
    if out.quiet:
        yield events.null_reporter
    elif terminal:
        with _bars(out) as shown:
            yield shown
    else:
        yield Lines(out.note, called=out.called, detail=out.detail)


class Lines:
    """One line when a step starts or ends, and one every 30 seconds while it moves.

    Args:
        write: takes a line.
        clock: monotonic seconds.
        called: takes each call to the cloud and its seconds; None = nobody asked.
        detail: takes lines for those who asked for more; None = nobody did.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        called: Callable[[str, float], None] | None = None,
        detail: Callable[[str], None] | None = None,
    ) -> None:
        self._write = write
        self._detail = detail
        self._called = called
        self._clock = clock
        self._last = clock()
        self._reason: str | None = None

    def __call__(self, event: events.Event, /) -> None:
        """Take one event."""
        if isinstance(event, events.StepStarted):
            self._last = self._clock()
            self._write(f"{event.step}: {event.title}")
        elif isinstance(event, events.StepFinished):
            self._write(finished(event))
        elif isinstance(event, events.StepAdvanced):
            if self._clock() - self._last >= LINE_EVERY:
                self._last = self._clock()
                self._write(f"{event.step}: {moved(event)}")
        elif isinstance(event, events.Waiting):
            if event.reason not in (None, self._reason):
                self._write(f"waiting: {event.reason}")
            self._reason = event.reason or self._reason
        elif isinstance(event, events.Note | events.Stalled):
            self._write(event.text)
        elif isinstance(event, events.Called) and self._called is not None:
            self._called(event.what, event.seconds)
        elif isinstance(event, events.Retried) and self._detail is not None:
            self._detail(retried(event))


def finished(event: events.StepFinished) -> str:
    """How a step ended, in words."""
    return f"{event.step}: {event.detail or 'done'}" + (" (already done)" if event.reused else "")


def retried(event: events.Retried) -> str:
    """A call that is tried again, in words."""
    known = f" (opc-request-id {event.request_id})" if event.request_id else ""
    return f"{event.what}: {event.code}{known}: tried again"


def moved(event: events.StepAdvanced) -> str:
    """How far a step is, in words: "1.5 GiB of 4.0 GiB (37 %)"."""
    if event.unit == "percent":
        return f"{event.done:.0f} %"
    if not event.total:
        return format_size(event.done)
    return f"{format_size(event.done)} of {format_size(event.total)} ({100 * event.done / event.total:.0f} %)"


@contextmanager
def _bars(out: Output) -> Iterator[events.Reporter]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.table import Column

    columns = (
        SpinnerColumn(),
        # What a wait is for may be long; it goes on in the next line rather than being cut.
        TextColumn("{task.description}", table_column=Column(ratio=1), markup=False),
        BarColumn(bar_width=16),
        TextColumn("{task.fields[moved]}", markup=False),
        TimeElapsedColumn(),
    )
    # Rich honours NO_COLOR and a dumb TERM by itself.
    with Progress(*columns, console=Console(stderr=True), expand=True) as shown:
        yield _Bars(shown, out)


class _Bars:
    """A bar for the step that runs, and what a wait is for beside it; a line above for each step that is done."""

    def __init__(self, shown: Progress, out: Output) -> None:
        self._shown = shown
        self._out = out
        self._task: TaskID | None = None
        self._title = ""

    def __call__(self, event: events.Event, /) -> None:
        if isinstance(event, events.StepStarted):
            self._clear()
            self._title = event.title
            self._task = self._shown.add_task(printable(event.title), total=None, moved="")
        elif isinstance(event, events.StepFinished):
            self._clear()
            self._print(finished(event))
        elif isinstance(event, events.Note | events.Stalled):
            self._print(event.text)
        elif isinstance(event, events.Called):
            self._out.called(event.what, event.seconds)
        elif isinstance(event, events.Retried):
            self._out.detail(retried(event))
        elif self._task is not None:
            self._update(self._task, event)

    def _clear(self) -> None:
        if self._task is not None:
            self._shown.remove_task(self._task)
            self._task = None

    def _print(self, text: str) -> None:
        self._shown.console.print(printable(text), markup=False, highlight=False, soft_wrap=True)

    def _update(self, task: TaskID, event: events.Event) -> None:
        if isinstance(event, events.StepAdvanced):
            total = 100.0 if event.unit == "percent" else event.total
            self._shown.update(task, completed=event.done, total=total, moved=moved(event))
        elif isinstance(event, events.Waiting):
            text = self._title if event.reason is None else f"{self._title}: {event.reason}"
            self._shown.update(task, description=printable(text))
