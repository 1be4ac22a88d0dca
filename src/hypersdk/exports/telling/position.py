"""How far a run is, as its heartbeat tells it: for `runs attach`, `runs list` and a fleet's table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from hypersdk import events
from hypersdk.exports.plan import ExportPlan
from hypersdk.exports.telling.chronicle import iso
from hypersdk.exports.telling.percent import PercentReporter
from hypersdk.runs.records import Holder


def owner_words(owner: str) -> str:
    """Who holds a lease, for people: "host:12" is "host, process 12"."""
    host, _, process = owner.rpartition(":")
    return f"{host}, process {process}"


def told_by(holder: Holder | None) -> Mapping[str, Any]:
    """What the one who holds a lease, or held it last, said of the run; nothing if it is the word of one before him."""
    if holder is None or holder.progress is None or holder.progress.get("owner") != owner_words(holder.owner):
        return {}
    return holder.progress


@dataclass
class Facts:
    """What a heartbeat says. Times are UTC, ISO 8601.

    Attributes:
        owner: host and process, for people.
        began: when this process took the run.
        at: when this was said.
        percent: of the whole plan, never falling.
        step: the step that runs; None = none yet.
        title: what it does, for people.
        step_since: when it began.
        done: how far it is, in `unit`; None = it has not said.
        total: in `unit`; None = unknown.
        unit: "bytes" or "percent".
        wire: bytes on the wire since `began`.
        disk: bytes written to the disk since `began`.
        waiting: why nothing moves; None = it does.
        waiting_since: since when.
        stalled: the stall in words, until the step moves again.
        log: the run's log file on the owner's host.
        ending: how the run ended for this process: code, exit_code, message, request_id, hint; None = it has not.
    """

    owner: str
    began: str
    at: str = ""
    percent: float = 0.0
    step: str | None = None
    title: str | None = None
    step_since: str | None = None
    done: float | None = None
    total: float | None = None
    unit: str = "bytes"
    wire: int = 0
    disk: int = 0
    waiting: str | None = None
    waiting_since: str | None = None
    stalled: str | None = None
    log: str | None = None
    ending: dict[str, Any] | None = None


class Position:
    """Follows the events of a run.

    Args:
        plan: the run's.
        owner: host and process, for people.
        log: the log file; None = there is none.
        now: time of day.
    """

    def __init__(self, plan: ExportPlan, owner: str, log: str | None, now: Callable[[], datetime]) -> None:
        self._now = now
        self._percent = PercentReporter(plan, self._grow)
        self.facts = Facts(owner, iso(now()), log=log)

    def __call__(self, event: events.Event, /) -> None:
        """Take one event."""
        facts = self.facts
        self._percent(event)
        if isinstance(event, events.Bytes):
            facts.wire += event.wire
            facts.disk += event.disk
            facts.stalled = None
        elif isinstance(event, events.StepAdvanced):
            # The same percent again, from another look, is no movement.
            facts.stalled = facts.stalled if event.done == facts.done else None
            facts.done, facts.total, facts.unit = event.done, event.total, event.unit
        elif isinstance(event, events.Waiting):
            facts.waiting = event.reason
            facts.waiting_since = None if event.reason is None else iso(self._now())
        elif isinstance(event, events.StepStarted):
            facts.step, facts.title, facts.step_since = event.step, event.title, iso(self._now())
            facts.done = facts.total = facts.stalled = None
            facts.unit = "bytes"
        elif isinstance(event, events.Stalled):
            facts.stalled = event.text

    def told(self) -> dict[str, Any]:
        """All of it as JSON values."""
        self.facts.at = iso(self._now())
        return asdict(self.facts)

    def _grow(self, percent: float) -> None:
        self.facts.percent = round(percent, 1)
