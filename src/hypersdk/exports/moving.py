"""What of a run counts on this machine: looks at the files, waits for the machine that has them, or begins anew.

Rules of this file: the decision is `whereabouts.course`; image and object are used again; what is begun anew is taken
out of the store first, so that a crash in between decides the same way.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from hypersdk import events
from hypersdk.exports.context import ExportRooms
from hypersdk.exports.plan import ExportPlan
from hypersdk.exports.whereabouts import Course, Lying, course, lying, to_forget, until
from hypersdk.runs.drive import Drive
from hypersdk.runs.records import Holder, Run
from hypersdk.runs.store import RunStore
from hypersdk.transfer.partial import discard, partial_name


def course_here(runs: RunStore, plan: ExportPlan, former: Holder | None, grace: float) -> tuple[Course, Lying | None]:
    """How this machine goes on with a run, as things stand now.

    Args:
        runs: the run store.
        plan: of the run.
        former: who drove it last; None = nobody did.
        grace: seconds that another machine has to come back.
    """
    lies = lying(plan, runs.steps(plan.run_id))
    if lies is None or lies.host == runs.host or former is None:
        return Course.GO_ON, lies
    return course(lies, runs.host, seen=_seen(plan, lies), over=_over(runs, former, grace)), lies


def results_here(
    rooms: ExportRooms, plan: ExportPlan, held: Drive, former: Holder | None
) -> dict[str, Mapping[str, Any]]:
    """The results of a run's steps that count here; waits first for a machine that may come back.

    Args:
        rooms: everything outside.
        plan: of the run.
        held: the run.
        former: who drove it before.

    Raises:
        Stopped: somebody asked to stop.
    """

    def settled() -> tuple[Course, Lying | None] | None:
        how, lies = course_here(rooms.runs, plan, former, rooms.host_grace)
        return None if how is Course.WAIT else (how, lies)

    found = settled()
    if found is None:
        found = rooms.waiter.wait_for(_why_wait(rooms, plan, former), settled, kind=events.HOST)
        assert found is not None
    how, lies = found
    if lies is not None and (names := to_forget(plan, lies, how)):
        rooms.note(_sentence(plan, lies, how))
        held.forget_steps(names)
    return held.results()


def discard_left(runs: Iterable[Run]) -> list[str]:
    """Delete what ended runs have left half fetched on this machine, because another one fetched it anew.

    Args:
        runs: of the run store.

    Returns:
        The destinations of what was deleted.
    """
    found = []
    for run in runs:
        if run.unfinished:
            continue
        for target in ExportPlan.from_json(run.plan, any_version=True).targets:
            path = None if target.path is None else Path(target.path)
            if path is not None and os.path.lexists(path.with_name(partial_name(path.name))):
                # Only if its journal is about this very run's object.
                discard(str(path), only_of=target.staging.name)
                found.append(str(path))
    return found


def _why_wait(rooms: ExportRooms, plan: ExportPlan, former: Holder | None) -> str:
    lies = lying(plan, rooms.runs.steps(plan.run_id))
    assert lies is not None
    assert former is not None
    end = until(former.heartbeat, rooms.host_grace).astimezone()
    return f"what run {plan.run_id} has fetched lies on {lies.host}, which has until {end:%H:%M} to come back"


def _sentence(plan: ExportPlan, lies: Lying, how: Course) -> str:
    if how is Course.SHARED:
        return f"run {plan.run_id} goes on with the files of {lies.host}, which are here too; they are proven again"
    paths = ", ".join(str(target.path) for target in plan.targets if target.path is not None)
    return f"{lies.host} did not come back: run {plan.run_id} fetches the disk anew; what lies there is left: {paths}"


def _seen(plan: ExportPlan, lies: Lying) -> bool:
    """Whether the files of every disk that was begun there are here as well."""
    for step in plan.steps:
        if step.kind != "download" or step.name not in lies.steps:
            continue
        path = Path(str(plan.target(step).path))
        published = plan.step("publish", step.format).name in lies.done
        if not (path if published else path.with_name(partial_name(path.name))).exists():
            return False
    return True


def _over(runs: RunStore, former: Holder, grace: float) -> bool:
    return datetime.fromisoformat(runs.time()) >= until(former.heartbeat, grace)
