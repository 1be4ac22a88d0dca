"""On which machine a run's files lie, and what that means for another one that goes on with it. Pure.

Rules of this file: steps in the cloud (image, object) are never begun anew because a machine is gone; a step that works
on local files counts on the machine that did it, and on one that sees the same files; a machine that may come back is
waited for, because what it has fetched need not be fetched twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from hypersdk.exports.plan import ExportPlan, Step
from hypersdk.runs.records import StepRecord

HOST_GRACE = 600.0
"""Seconds that a machine has to come back before what it has fetched is fetched anew elsewhere."""

LOCAL = ("download", "verify", "publish", "write-manifest")
"""Kinds of steps that work on local files."""


class Course(Enum):
    """How a machine goes on with a run."""

    GO_ON = "go on"
    """Nothing lies elsewhere."""
    SHARED = "go on with the files of another machine, which are seen here; prove them again"
    WAIT = "wait for the other machine"
    ANEW = "fetch anew what the other machine has"


@dataclass(frozen=True, slots=True)
class Lying:
    """What a run has on a machine.

    Attributes:
        host: the machine.
        steps: names of the local steps that have begun, in the order of the plan.
        done: names of those that have ended.
    """

    host: str
    steps: tuple[str, ...]
    done: frozenset[str] = frozenset()


def lying(plan: ExportPlan, records: Iterable[StepRecord]) -> Lying | None:
    """Where the files of a run lie; None = it has none, or needs them no more."""
    found = {record.name: record for record in records}
    begun = [step for step in plan.steps if is_local(plan, step) and step.name in found]
    if not begun or found[begun[-1].name].host is None:
        return None
    last = begun[-1]
    if last.kind == "write-manifest" and found[last.name].result is not None:
        return None
    done = frozenset(step.name for step in begun if found[step.name].result is not None)
    return Lying(str(found[last.name].host), tuple(step.name for step in begun), done)


def is_local(plan: ExportPlan, step: Step) -> bool:
    """Whether a step works on local files."""
    if step.kind not in LOCAL:
        return False
    return any(target.path is not None for target in plan.targets if step.format in (None, target.format))


def until(heard: str, grace: float) -> datetime:
    """When a machine that was heard of at that time (ISO 8601) is waited for no more."""
    return datetime.fromisoformat(heard) + timedelta(seconds=grace)


def course(lies: Lying | None, here: str, *, seen: bool, over: bool) -> Course:
    """How a machine goes on with a run.

    Args:
        lies: where its files lie.
        here: name of the machine that asks.
        seen: whether those very files are there on this machine, too.
        over: whether the other machine had its time to come back.
    """
    if lies is None or lies.host == here:
        return Course.GO_ON
    if seen:
        return Course.SHARED
    return Course.ANEW if over else Course.WAIT


def to_forget(plan: ExportPlan, lies: Lying, how: Course) -> tuple[str, ...]:
    """Names of the steps whose results do not count here."""
    if how is Course.ANEW:
        return lies.steps
    if how is not Course.SHARED:
        return ()
    # What marks a file as the proven one is this machine's view of it (device, inode); another one proves it again.
    published = {step.format for step in plan.steps if step.kind == "publish" and step.name in lies.done}
    proven = [step for step in plan.steps if step.kind == "verify" and step.name in lies.steps]
    return tuple(step.name for step in proven if step.format not in published)
