"""`hyperexport worker`: carries out runs of fleets, with any number of other workers on one database."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, NoReturn

import click

from hypersdk import errors, events
from hypersdk.cli.context import CliContext, open_context
from hypersdk.cli.metrics import Metrics, Watch, metrics_option, serving
from hypersdk.cli.options import connection_options, output_options, setting_option
from hypersdk.cli.output import Output, printable
from hypersdk.exports.context import ExportRooms
from hypersdk.exports.whereabouts import HOST_GRACE
from hypersdk.fleet.nouns import Outcome
from hypersdk.fleet.queue import Turn
from hypersdk.readers.units import parse_duration
from hypersdk.runs.census import census
from hypersdk.waiting import StopFlag

SLOTS = 4


class _Duration(click.ParamType[float]):
    """Seconds, as people write them."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return parse_duration(value) if isinstance(value, str) else float(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command()
@click.option("--slots", type=click.IntRange(1, 64), default=SLOTS, show_default=True, help="Exports at once.")
@click.option(
    "--host-grace",
    type=_Duration(),
    default=HOST_GRACE,
    metavar="TIME",
    help="How long another machine may be gone before what it has fetched is fetched anew here; default: 10m.",
)
@metrics_option
@setting_option("--parallel", "parallel", "Most parts of a disk in flight at once; default: 16.", metavar="N")
@setting_option("--bwlimit", "bandwidth_limit", "Bytes per second, or '08:00,20M 19:00,off'.", metavar="RATE")
@connection_options()
@output_options
@click.pass_context
def command(ctx: click.Context, /, slots: int, host_grace: float, metrics: str | None) -> None:
    """Take exports of fleets from the database that HYPEREXPORT_STATE names, and carry them out.

    Each worker uses its own credentials and settings. It runs until SIGTERM or Ctrl-C; its exports then stop within
    seconds and go on with other workers. The exports of a worker that dies are taken over within a minute.
    """
    with open_context(ctx) as context:
        _work(context, slots, host_grace, metrics)
    _leave()


def _work(context: CliContext, slots: int, grace: float, address: str | None) -> None:
    url = context.config.state
    if "://" not in url:
        raise errors.ConfigError(
            f"workers share a run store in Postgres, not the file {url}",
            resource=url,
            hint="HYPEREXPORT_STATE=postgresql://user@host/database",
        )
    from hypersdk.fleet import engine, worker
    from hypersdk.runs.presence import take_seat

    wiring, out = context.wiring, context.out
    runs = wiring.runs
    engine.prepare(url)
    with serving(address, out.note, partial(census, runs)) as counted, take_seat(url, runs.host) as seat:
        post = worker.Post(
            url=url,
            runs=runs,
            seat=seat,
            slots=slots,
            open_rooms=_Opener(context).open_rooms,
            watch=_Lines(out, counted),
            note=lambda text: out.note(printable(text)),
            tenancy_id=wiring.provider.tenancy_id,
            now=lambda: datetime.now(UTC),
            grace=grace,
        )
        out.note(f"worker {seat.executor_id}: {slots} exports at once")
        worker.serve(post, wiring.waiter.stop)
        out.note(f"worker {seat.executor_id}: stopped, what ran goes on with other workers")


def _leave() -> NoReturn:
    # Threads of the engine wait for what others carry out now; they end with the process.
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)


class _Opener:
    """Opens the rooms of an export for the thread that carries it out."""

    def __init__(self, context: CliContext) -> None:
        self._wiring = context.wiring
        self._lock = threading.Lock()
        self._wiring.share()

    @contextmanager
    def open_rooms(self, turn: Turn, stop: StopFlag, report: events.Reporter) -> Iterator[ExportRooms]:
        """Rooms in the region of an export."""
        from hypersdk.fleet import local

        with self._lock:
            self._wiring.in_region(turn.region).monitor  # noqa: B018 - likewise
        with local.opener(self._wiring)(turn, stop, report) as rooms:
            yield rooms


class _Lines:
    """Tells a worker's log what begins, what ends, and what a person must see."""

    def __init__(self, out: Output, metrics: Metrics | None) -> None:
        self._out = out
        self._metrics = metrics
        self._counting: dict[str, Watch] = {}

    def begins(self, turn: Turn, /) -> events.Reporter:
        """An export begins, or goes on."""
        self._say(f"{turn.name}: run {turn.run_id} begins")
        waits: list[str | None] = [None]

        def report(event: events.Event, /) -> None:
            if isinstance(event, events.Note | events.Stalled):
                self._say(f"{turn.name}: {event.text}")
            elif isinstance(event, events.Waiting) and event.reason not in (None, waits[0]):
                waits[0] = event.reason
                self._out.detail(f"{turn.name}: waiting: {event.reason}")
            elif isinstance(event, events.Called):
                self._out.called(f"{turn.name}: {event.what}", event.seconds)

        if self._metrics is None:
            return report
        self._counting[turn.run_id] = counting = self._metrics.reporter()
        return events.several(report, counting)

    def ends(self, outcome: Outcome, /) -> None:
        """An export has its outcome."""
        self._say(f"{outcome.name}: run {outcome.run_id} {outcome.kind}: {outcome.detail}")
        if self._metrics is not None:
            self._metrics.ended(outcome.kind)
        if counting := self._counting.pop(str(outcome.run_id), None):
            counting.close()

    def waits(self, _waiting: int, _reason: str | None, /) -> None:
        """Workers take what there is."""

    def _say(self, text: str) -> None:
        for line in text.splitlines():
            self._out.note(printable(line))
