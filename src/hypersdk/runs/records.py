"""What the run store remembers, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ACTIVE = "active"
"""Somebody drives it, or was killed while driving it."""
INTERRUPTED = "interrupted"
"""Ended in a way that the same command resumes; image and object are kept."""
CANCELLED = "cancelled"
DONE = "done"
FAILED = "failed"
REFUSED = "refused"
"""Preflight said no; nothing was created."""

UNFINISHED = frozenset({ACTIVE, INTERRUPTED})


@dataclass(frozen=True, slots=True)
class Run:
    """One run. Times are UTC, ISO 8601; `plan` is the plan as JSON."""

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

    @property
    def unfinished(self) -> bool:
        """Whether the same command resumes it."""
        return self.state in UNFINISHED


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step of a run; `result` is None until it is done."""

    name: str
    state: str
    result: Mapping[str, Any] | None
    started: str
    finished: str | None


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
