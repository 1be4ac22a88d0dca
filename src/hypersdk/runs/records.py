"""What the run store remembers, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

QUEUED = "queued"
"""Belongs to a fleet and waits for its turn; nothing was created yet."""
ACTIVE = "active"
"""Somebody drives it, or was killed while driving it."""
INTERRUPTED = "interrupted"
"""Ended in a way that the same command resumes; image and object are kept."""
CANCELLED = "cancelled"
DONE = "done"
FAILED = "failed"
REFUSED = "refused"
"""Preflight said no; nothing was created."""

UNFINISHED = frozenset({QUEUED, ACTIVE, INTERRUPTED})


@dataclass(frozen=True, slots=True)
class Run:
    """One run. Times are UTC, ISO 8601.

    Attributes:
        plan: the plan as JSON.
        options: how it was asked for, as JSON: what another process needs to drive it.
        fleet_id: the fleet that began it; None = a command of its own.
        priority: among the queued runs of a fleet, a smaller number goes first.
    """

    run_id: str
    key: str
    generation: int
    subject: str
    plan: Mapping[str, Any]
    state: str
    detail: str | None
    cancel: bool
    created: str
    updated: str
    host: str
    tool_version: str
    options: Mapping[str, Any] = field(default_factory=dict)
    fleet_id: str | None = None
    priority: int = 0

    @property
    def unfinished(self) -> bool:
        """Whether the same command resumes it."""
        return self.state in UNFINISHED


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step of a run; `result` is None until it is done, `host` began it last."""

    name: str
    state: str
    result: Mapping[str, Any] | None
    started: str
    finished: str | None
    host: str | None = None


@dataclass(frozen=True, slots=True)
class Intent:
    """A temporary thing that may exist in the cloud.

    Attributes:
        kind: "image", "object", "par" (pre-authenticated request).
        name: its display name or object name, unique per run and kind.
        place: where: region, compartment, namespace, bucket, as far as the kind needs them.
        resource_id: the cloud's identifier, once known.
        etag: its version mark, once known; a delete is conditional on it.
        size: bytes, once known.
        created: when the intent was recorded.
        removed: when it was seen to be gone, or was handed over to the user; None = it may exist.
    """

    kind: str
    name: str
    place: Mapping[str, Any] = field(default_factory=dict)
    resource_id: str | None = None
    etag: str | None = None
    size: int | None = None
    created: str = ""
    removed: str | None = None


@dataclass(frozen=True, slots=True)
class Holder:
    """Who drives a run.

    Attributes:
        owner: host and process, for people.
        epoch: grows by one whenever the run changes hands.
        heartbeat: when the owner was last heard of.
        alive: whether the lease holds: nobody else may drive the run.
        progress: how far the owner said the run is; see `Drive.beat`.
    """

    owner: str
    epoch: int
    heartbeat: str
    alive: bool
    progress: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that happened to a run, for `runs show`.

    Attributes:
        at: when it began, UTC, ISO 8601.
        kind: "began", "step", "cut" (a step that did not end), "wait", "held" (a wait for what was missing),
            "retry", "note", "stall", "ended".
        text: one line for people, without secrets.
        seconds: how long it took; None = it has no length, or has not ended.
        step: the step that it happened in; None = in none.
    """

    at: str
    kind: str
    text: str
    seconds: float | None = None
    step: str | None = None


@dataclass(frozen=True, slots=True)
class Usual:
    """What steps of one kind took so far: seconds of the median and of the slowest tenth, and of how many."""

    median: float
    slow: float
    count: int


@dataclass(frozen=True, slots=True)
class Fleet:
    """Many exports that were asked for together. `subject`: the file or filter; `plan`: how, as JSON."""

    fleet_id: str
    subject: str
    plan: Mapping[str, Any]
    cancel: bool
    created: str
    host: str
    tool_version: str


@dataclass(frozen=True, slots=True)
class FleetItem:
    """One instance of a fleet.

    Attributes:
        number: its place in the plan, from 1.
        instance_id: what is exported.
        name: of the instance.
        run_id: the run that exports it; None = refused before a run began.
        priority: a smaller number goes first.
        outcome: "done", "skipped", "refused", "failed", "interrupted", "cancelled"; None = not ended yet.
        code: the error's stable code, if it did not end well.
        detail: one line about how it ended.
    """

    number: int
    instance_id: str
    name: str
    run_id: str | None
    priority: int = 0
    outcome: str | None = None
    code: str | None = None
    detail: str | None = None
