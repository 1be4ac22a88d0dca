"""OpenMetrics for Prometheus: what a run, a copy, a fleet or a worker does, at an address of its own.

Rules of this file: names follow the Prometheus conventions (base units, `_total`, `_seconds`, `_bytes`); every label
has a small fixed set of values - never an instance, an object, an address, a message - so that a fleet of thousands
costs as many series as one export; nobody is served but this machine unless a person names another address; what
watches must not fail the work, so nothing here raises once it serves.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import click

import hypersdk
from hypersdk import errors, events

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from hypersdk.fleet.nouns import Outcome
    from hypersdk.fleet.queue import Turn

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

EXTRA = "hypersdk[metrics]"
LOOPBACK = "127.0.0.1"
MOST_PORT = 65535

STEP_SECONDS = (1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 14400, 43200)
"""Bounds of the histogram of steps: from a look at a small object to a disk of terabytes on a slow line."""

CALL_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Bounds of the histogram of calls to the cloud."""

OTHER = "other"

OUTCOMES = ("done", "skipped", "refused", "failed", "interrupted", "cancelled")
"""How exports end (`fleet.nouns`)."""

STATES = ("queued", "active", "interrupted", "cancelled", "done", "failed", "refused")
"""States of runs (`runs.records`)."""

STEPS = frozenset(
    {
        "preflight",
        "create-image",
        "await-image",
        "export-image",
        "await-object",
        "download",
        "verify",
        "verify-object",
        "publish",
        "rename",
        "write-manifest",
        "clean-up",
    }
)
"""Kinds of steps; a test compares them with those of exports. A new one is counted as "other" until it is named."""


def metrics_option(function: F) -> F:
    """Add --metrics."""
    return click.option(
        "--metrics",
        metavar="[HOST]:PORT",
        help="Serve OpenMetrics for Prometheus while it runs; :9464 is for this machine only.",
    )(function)


def parse_address(text: str) -> tuple[str, int]:
    """Read `:9464` (this machine only), `9464`, `0.0.0.0:9464`, `[::1]:9464`; port 0 = any that is free.

    Raises:
        UsageError: not an address.
    """
    host, _, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        port = ""  # an IPv6 address without its brackets
    if not port.isascii() or not port.isdigit() or int(port) > MOST_PORT:
        raise errors.UsageError(
            f"--metrics: not an address: {text!r}", hint=":9464 for this machine, 0.0.0.0:9464 for all, [::1]:9464"
        )
    return host or LOOPBACK, int(port)


class Metrics:
    """Everything that is counted in this process.

    Args:
        clock: monotonic seconds.
        now: seconds since 1970.
        runs: number of runs by state, of all workers of the store, asked for at each scrape; None = there is no store.

    Raises:
        ToolMissing: prometheus_client is not installed.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        runs: Callable[[], Mapping[str, int]] | None = None,
    ) -> None:
        try:
            import prometheus_client as prometheus
        except ImportError as error:
            raise errors.ToolMissing(
                "--metrics needs prometheus-client, which is not installed", hint=f"pip install '{EXTRA}'"
            ) from error
        self.registry = prometheus.CollectorRegistry()
        self.clock = clock
        self.now = now
        count = partial(prometheus.Counter, registry=self.registry)
        gauge = partial(prometheus.Gauge, registry=self.registry)
        histogram = partial(prometheus.Histogram, registry=self.registry)
        about = prometheus.Info("hyperexport_build", "This program.", registry=self.registry)
        about.info({"version": hypersdk.__version__})
        self.bytes = count(
            "hyperexport_transferred_bytes", "Bytes on the wire, and written to a disk of this machine.", ["direction"]
        )
        self.parts = count("hyperexport_parts", "Parts of objects that were moved whole.")
        self.retries = count("hyperexport_retries", "Calls that are tried again, by code of the error.", ["code"])
        self.wait_seconds = count("hyperexport_wait_seconds", "Seconds that work waited, by what for.", ["kind"])
        self.waiting = gauge("hyperexport_waiting", "Waits that last now, by what for.", ["kind"])
        self.calls = histogram(
            "hyperexport_call_duration_seconds", "Calls to the cloud that were answered.", buckets=CALL_SECONDS
        )
        self.steps = histogram(
            "hyperexport_step_duration_seconds", "Steps that ended.", ["step", "outcome"], buckets=STEP_SECONDS
        )
        self.running = gauge("hyperexport_steps_running", "Steps that run now.", ["step"])
        self.stalls = count("hyperexport_stalls", "Steps that did not move for long.", ["step"])
        self.exports = count("hyperexport_exports", "Exports that ended in this process.", ["outcome"])
        self.moved = gauge("hyperexport_last_moved_timestamp_seconds", "When bytes or a step moved last.")
        # CPU, memory, open files: what every exporter serves of its own process.
        prometheus.ProcessCollector(registry=self.registry)
        if runs is not None:
            self.registry.register(_Runs(runs))
        # Series that are there from the start: from nothing to one is no increase for Prometheus.
        self.wire, self.disk = self.bytes.labels("wire"), self.bytes.labels("disk")
        for kind in events.WAITS:
            self.wait_seconds.labels(kind)
            self.waiting.labels(kind)
        for outcome in OUTCOMES:
            self.exports.labels(outcome)

    def reporter(self) -> Watch:
        """A watcher of one run after another; each thread needs its own."""
        return Watch(self)

    def ended(self, outcome: str) -> None:
        """An export ended, as one of `OUTCOMES`."""
        self.exports.labels(outcome if outcome in OUTCOMES else OTHER).inc()


class _Runs:
    """Asks the run store at each scrape; one that cannot be reached has no series, and the rest is served."""

    def __init__(self, runs: Callable[[], Mapping[str, int]]) -> None:
        self._runs = runs

    def collect(self) -> Iterator[Metric]:
        """The gauge."""
        from prometheus_client.core import GaugeMetricFamily

        family = GaugeMetricFamily("hyperexport_runs", "Runs of the store, of all its workers.", labels=["state"])
        with suppress(errors.HypersdkError):
            found = self._runs()
            for state in STATES:
                family.add_metric([state], found.get(state, 0))
        yield family


class Watch:
    """Turns the events of one thread into counts; `close` it when its last run has ended."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._step: tuple[str, float] | None = None
        self._wait: tuple[str, float] | None = None

    def __call__(self, event: events.Event, /) -> None:
        """Count one event."""
        metrics = self._metrics
        match event:
            case events.Bytes():
                self._moved(event)
            case events.Called():
                metrics.calls.observe(event.seconds)
            case events.Retried():
                metrics.retries.labels(event.code).inc()
            case events.Waiting():
                self._waits(event)
            case events.StepStarted():
                self._end_step("failed")  # it never said that it was done
                self._begin_step(step_kind(event.step))
            case events.StepFinished() if not event.reused:
                self._end_step("done")
            case events.Stalled():
                metrics.stalls.labels(step_kind(event.step)).inc()

    def close(self) -> None:
        """The run has ended: a step that still runs did not end well."""
        self._end_step("failed")
        self._end_wait()

    def _moved(self, event: events.Bytes) -> None:
        metrics = self._metrics
        if event.wire:
            metrics.wire.inc(event.wire)
        if event.disk:
            metrics.disk.inc(event.disk)
        if event.parts:
            metrics.parts.inc(event.parts)
        metrics.moved.set(metrics.now())

    def _waits(self, event: events.Waiting) -> None:
        self._end_wait()
        if event.reason is not None:
            kind = event.kind if event.kind in events.WAITS else OTHER
            self._metrics.waiting.labels(kind).inc()
            self._wait = (kind, self._metrics.clock())

    def _end_wait(self) -> None:
        if self._wait is not None:
            kind, since = self._wait
            self._wait = None
            self._metrics.waiting.labels(kind).dec()
            self._metrics.wait_seconds.labels(kind).inc(max(0.0, self._metrics.clock() - since))

    def _begin_step(self, kind: str) -> None:
        self._metrics.running.labels(kind).inc()
        self._step = (kind, self._metrics.clock())

    def _end_step(self, outcome: str) -> None:
        if self._step is not None:
            kind, since = self._step
            self._step = None
            self._metrics.running.labels(kind).dec()
            self._metrics.steps.labels(kind, outcome).observe(self._metrics.clock() - since)
            self._metrics.moved.set(self._metrics.now())


def step_kind(name: str) -> str:
    """The kind of a step, without the format that several exports of one image add to its name."""
    kind = name if name in STEPS else name.rpartition("-")[0]
    return kind if kind in STEPS else OTHER


def watched(reporter: events.Reporter, metrics: Metrics | None) -> events.Reporter:
    """A reporter that is also counted."""
    return reporter if metrics is None else events.several(reporter, metrics.reporter())


class FleetCounts:
    """Watches a fleet, or a worker, and counts what its exports do (`fleet.crew.Watch`)."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._watches: dict[str, Watch] = {}

    def begins(self, turn: Turn, /) -> events.Reporter:
        """An export begins, or goes on."""
        self._watches[turn.run_id] = watch = self._metrics.reporter()
        return watch

    def ends(self, outcome: Outcome, /) -> None:
        """An item has its outcome."""
        self._metrics.ended(outcome.kind)
        if watch := self._watches.pop(str(outcome.run_id), None):
            watch.close()

    def waits(self, _waiting: int, _reason: str | None, /) -> None:
        """How many wait is told by the run store."""


def counting(drive: Callable[[], T], metrics: Metrics | None) -> T:
    """Drive one export, and count how it ended."""
    if metrics is None:
        return drive()
    from hypersdk.fleet.work import outcome_of

    try:
        result = drive()
    except errors.HypersdkError as error:
        metrics.ended(outcome_of(0, "", None, error).kind)
        raise
    metrics.ended("done")
    return result


@contextmanager
def serving(
    address: str | None, note: Callable[[str], None], runs: Callable[[], Mapping[str, int]] | None = None
) -> Iterator[Metrics | None]:
    """Serve metrics for the time of the `with` block.

    Args:
        address: as `--metrics` takes it; None = nobody asked.
        note: told where they are served.
        runs: number of runs by state.

    Yields:
        What counts; None if nobody asked.

    Raises:
        UsageError: not an address, or it cannot be served at.
        ToolMissing: prometheus_client is not installed.
    """
    if address is None:
        yield None
        return
    host, port = parse_address(address)
    metrics = Metrics(runs=runs)
    from prometheus_client import start_http_server

    try:
        server, thread = start_http_server(port, host, registry=metrics.registry)
    except OSError as error:
        raise errors.UsageError(
            f"--metrics: nothing can be served at {address}: {error.strerror or error}", resource=address
        ) from error
    try:
        shown = f"[{host}]" if ":" in host else host
        note(f"metrics: http://{shown}:{server.server_port}/metrics")
        yield metrics
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
