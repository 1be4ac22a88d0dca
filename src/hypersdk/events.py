"""Progress is events: the worker does not know who watches (style.md, "Progress is events")."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from hypersdk import errors
from hypersdk.model import ObjectRef


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A step of a run began. `title` is one line for people."""

    run_id: str
    step: str
    title: str


@dataclass(frozen=True, slots=True)
class StepAdvanced:
    """A step moved. `done`/`total` in `unit` ("bytes" or "percent"); total None while unknown."""

    run_id: str
    step: str
    done: float
    total: float | None
    unit: str = "bytes"


@dataclass(frozen=True, slots=True)
class StepFinished:
    """A step ended well. `detail` is one line for people; `reused` = its result was already stored."""

    run_id: str
    step: str
    detail: str = ""
    reused: bool = False


@dataclass(frozen=True, slots=True)
class Bytes:
    """Moved since the last event of this kind: bytes on the wire, bytes written to disk, and whole parts."""

    wire: int = 0
    disk: int = 0
    parts: int = 0


CLOUD, NETWORK, RETRY, LOGIN, PLACE, STORE, HOST = "cloud", "network", "retry", "login", "place", "store", "host"
WAITS = (CLOUD, NETWORK, RETRY, LOGIN, PLACE, STORE, HOST)
"""What waits are for: the cloud's own work, the network, a call's next try, fresh credentials, a free place under a
limit, the run store, another machine that may come back."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """We wait and spend no attempt; `reason` None = the wait is over. `kind` is one of `WAITS`."""

    reason: str | None
    kind: str = CLOUD


@dataclass(frozen=True, slots=True)
class Note:
    """One line that a person must see (a warning, a decision we took)."""

    text: str


@dataclass(frozen=True, slots=True)
class LeftOut(Note):
    """A listing leaves out an entry that is neither a file nor a directory, and why."""

    ref: ObjectRef
    error: errors.HypersdkError


@dataclass(frozen=True, slots=True)
class Called:
    """A call to the cloud got its answer. `what` for people, `seconds` for the last try."""

    what: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Retried:
    """A call failed in a way that passes and will be tried again.

    Attributes:
        what: the call, for people.
        code: the error's stable code.
        request_id: of the reply, if there was one.
    """

    what: str
    code: str
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Stalled:
    """A step has not moved for a long time. It is told once, until it moves again.

    Attributes:
        run_id: the run.
        step: its step.
        idle: seconds since it moved last.
        usual: seconds that such a step takes as a rule (the median); None = too few are known.
        text: all of it in one line for people.
    """

    run_id: str
    step: str
    idle: float
    usual: float | None
    text: str = ""


Event = StepStarted | StepAdvanced | StepFinished | Bytes | Waiting | Note | Called | Retried | Stalled


class Reporter(Protocol):
    """Somebody who watches. Called from the thread that works; must not raise and must return quickly."""

    def __call__(self, event: Event, /) -> None:
        """Take one event."""


def null_reporter(_event: Event, /) -> None:
    """Watch nothing."""


def several(*reporters: Reporter) -> Reporter:
    """One reporter that tells several."""

    def report(event: Event, /) -> None:
        for each in reporters:
            each(event)

    return report


def callback_reporter(callback: Callable[[int, int | None], None]) -> Reporter:
    """Turn events into `callback(done, total)` in bytes, for the steps that move bytes."""

    def report(event: Event, /) -> None:
        if isinstance(event, StepAdvanced) and event.unit == "bytes":
            callback(int(event.done), None if event.total is None else int(event.total))

    return report
