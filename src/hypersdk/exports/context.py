"""What every step of an export works with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from hypersdk import errors, events
from hypersdk.exports.options import CloudLimits, ExportOptions
from hypersdk.exports.plan import ExportPlan, Step
from hypersdk.exports.states import PACE, Pace
from hypersdk.exports.whereabouts import HOST_GRACE
from hypersdk.providers.protocol import Provider
from hypersdk.retry import Retrier
from hypersdk.runs.drive import Drive
from hypersdk.runs.records import Intent
from hypersdk.runs.store import RunStore
from hypersdk.storage.protocol import BucketStore
from hypersdk.transfer.options import TransferOptions
from hypersdk.waiting import Waiter
from hypersdk.wire.loop import Wire

T = TypeVar("T")


NOT_DONE = (
    errors.AuthError,
    errors.NotFoundError,
    errors.RequestRefused,
    errors.AlreadyExists,
    errors.PreconditionFailed,
)
"""Answers that say for sure that a create took no effect; after any other error it may have.

A conflict is none of them: the other operation may be our own create, whose reply was lost.
"""


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class ExportRooms:
    """The rooms that an export needs, joined by wiring.

    Attributes:
        provider: the cloud that owns the instance.
        store: Object Storage of the same account.
        wire: moves bodies.
        runs: the run store.
        retrier: runs every control call; holds clock, stop flag and reporter.
        transfer: how bodies are cut.
        now: time of day, UTC.
        logs: directory of the runs' log files; None = none are written.
        command: what was called, for people, without secrets.
        host_grace: seconds that another machine has to come back to what it has fetched, before that is fetched anew.
        limits: how much of OCI's exporter is used at once.
    """

    provider: Provider
    store: BucketStore
    wire: Wire
    runs: RunStore
    retrier: Retrier
    transfer: TransferOptions = field(default_factory=TransferOptions)
    now: Callable[[], datetime] = _utc_now
    logs: Path | None = None
    command: str = "a program"
    host_grace: float = HOST_GRACE
    limits: CloudLimits = CloudLimits()  # noqa: RUF009 - frozen, so one for all is fine

    @property
    def waiter(self) -> Waiter:
        """Where all waiting happens."""
        return self.retrier.waiter

    @contextmanager
    def needing(self, *instances: str, bucket: tuple[str, ...] = ()) -> Iterator[None]:
        """What happens inside needs these permissions: a refusal says which sentences to ask an administrator for.

        Args:
            instances: verbs and resources, in the compartment of the instance (reference: oci-api.md, section 7).
            bucket: the same in the compartment of the bucket.
        """
        try:
            yield
        except (errors.NotFoundError, errors.PermissionDenied) as error:
            sentences = [self.provider.allow(what, "C") for what in instances]
            sentences += [self.provider.allow(what, "B") for what in bucket]
            error.hint = f"it may be absent, or a permission is missing; ask for: {'; '.join(sentences)}"
            raise

    def note(self, text: str) -> None:
        """Tell a person one line."""
        self.waiter.report(events.Note(text))

    @property
    def pace(self) -> Pace:
        """How often the cloud is asked for a state; a retry policy with shorter delays asks more often."""
        policy = self.retrier.policy
        first = min(PACE.first, policy.initial_delay * _LOOKS_PER_DELAY)
        return Pace(first, max(first, min(PACE.longest, policy.max_delay)))


_LOOKS_PER_DELAY = 2.5
"""The policy's own default of 2 s stands for the 5 s of design section 1."""


@dataclass
class Context:
    """One run, being driven.

    Attributes:
        rooms: everything outside.
        plan: what to do.
        options: how this command asks for it; may differ from the command that began the run.
        drive: the right to write the run's steps and intents.
        results: stored results by step name.
    """

    rooms: ExportRooms
    plan: ExportPlan
    options: ExportOptions
    drive: Drive
    results: dict[str, Mapping[str, Any]]

    def call(self, what: str, function: Callable[[], T], *, grace: float = 0.0) -> T:
        """One control call, repeated as the policy says."""
        return self.rooms.retrier.call(what, function, grace=grace)

    def poll(
        self, reason: Callable[[], str], question: Callable[[], T | None], *, longest: float | None = None
    ) -> T | None:
        """Ask until the answer is not None, at growing distances; gives up after `longest` seconds (None = never).

        Raises:
            Stopped: somebody asked to stop.
        """
        waiter = self.rooms.waiter
        end = None if longest is None else waiter.clock() + longest
        for seconds in self.rooms.pace.seconds():
            if (answer := question()) is not None or (end is not None and waiter.clock() >= end):
                return answer
            waiter.pause(seconds, reason())
        raise AssertionError("a pace has no end")

    def result(self, kind: str, disk_format: str | None = None) -> Mapping[str, Any]:
        """Stored result of the step of this kind; empty if it has none yet."""
        for step in self.plan.steps:
            if step.kind == kind and step.format == disk_format:
                return self.results.get(step.name, {})
        return {}

    def store_result(self, step: Step, result: Mapping[str, Any]) -> None:
        """Commit the result of a step."""
        self.drive.finish_step(step.name, result)
        self.results[step.name] = result

    @contextmanager
    def intended(self, intent: Intent) -> Iterator[None]:
        """Record an intent around the create that it is for; a definite refusal closes it again."""
        self.drive.intend(intent)
        try:
            yield
        except NOT_DONE as refusal:
            if not refusal.doubtful:
                self.drive.close_intent(intent.kind, intent.name)
            raise

    def percent(self, step: Step) -> Callable[[float], None]:
        """Tells watchers how far the cloud's own work for a step is."""
        report = self.rooms.waiter.report
        return lambda done: report(events.StepAdvanced(self.plan.run_id, step.name, done, 100.0, "percent"))
