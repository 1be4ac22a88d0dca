"""What everybody who works on a fleet calls: put it into the store, and carry out one of its exports.

Rules of this file: every item ends as exactly one outcome (design rule 6); who does not drive a run writes no outcome
for it; nothing here knows how many work at the same time.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

from hypersdk import errors
from hypersdk.exports import api, manifests
from hypersdk.exports.context import ExportRooms
from hypersdk.exports.plan import ExportPlan, Surroundings, make_plan, run_key
from hypersdk.exports.result import ExportResult
from hypersdk.fleet.nouns import CANCELLED, DONE, FAILED, INTERRUPTED, REFUSED, SKIPPED, FleetPlan, Item, Outcome
from hypersdk.model import format_size
from hypersdk.runs import fleets, records
from hypersdk.runs.enrolment import Draft, Entry, enrol, latest_of
from hypersdk.runs.records import Fleet, FleetItem, Run
from hypersdk.runs.store import RunStore

REFUSED_CODE = errors.PreflightRefused.code
INTERNAL_CODE = "internal"
"""Code of an export that a fault of the program ended."""

_STATES: Mapping[str, frozenset[str]] = {
    DONE: frozenset({records.DONE}),
    CANCELLED: frozenset({records.CANCELLED, records.INTERRUPTED}),
    INTERRUPTED: frozenset({records.QUEUED, records.INTERRUPTED}),
    REFUSED: frozenset({records.QUEUED, records.INTERRUPTED, records.REFUSED}),
    FAILED: frozenset({records.QUEUED, records.INTERRUPTED, records.REFUSED, records.FAILED}),
}
"""States of a run that an outcome goes with: in any other one, somebody else has gone on with it meanwhile."""

_ENDED_BADLY: Mapping[str, tuple[str, str]] = {
    records.CANCELLED: (CANCELLED, errors.Cancelled.code),
    records.REFUSED: (REFUSED, REFUSED_CODE),
    records.FAILED: (FAILED, errors.OperationFailed.code),
}
"""States in which nobody can drive a run any more; the outcome that each means, and its code where none is known."""


def begin_runs(
    plan: FleetPlan,
    runs: RunStore,
    around_of: Callable[[Item], Surroundings],
    rooms_of: Callable[[Item], ExportRooms],
) -> Fleet:
    """Record a fleet, its items and their runs, which then wait for their turn.

    An unfinished run of the same export is taken over; one whose disks are still there ends its item at once; a refused
    item is recorded with its reason. Disks that are there are not read: size, manifest and etag must do.

    Args:
        plan: what to do.
        runs: the run store.
        around_of: where the plan of an item is made.
        rooms_of: the cloud of an item: asked whether disks are still there, and to clean up after a run that was told
            to cancel.

    Raises:
        UsageError: a template is wrong.
        HypersdkError: the store cannot be used, or a cancelled run could not be cleaned up.
    """
    arounds = {item.number: around_of(item) for item in plan.items if item.refused is None}
    keys = {
        item.number: run_key(item.instance.id, item.options, arounds[item.number])
        for item in plan.items
        if item.refused is None
    }
    latest = latest_of(runs, list(keys.values()))
    entries = []
    for item in plan.items:
        if item.refused is not None:
            entries.append(Entry(_item(item, outcome=REFUSED, code=REFUSED_CODE, detail=item.refused)))
            continue
        found = latest.get(keys[item.number])
        entries.append(_entry(runs, item, found, arounds[item.number], rooms_of))
    # A refused item has no run that would remember how it was asked for.
    refused = {
        str(item.number): {"options": item.options.to_json(), "region": item.region}
        for item in plan.items
        if item.refused is not None
    }
    how = {"limits": asdict(plan.limits), "windows": list(plan.windows), "refused": refused}
    return enrol(runs, plan.subject, how, entries)


def _item(item: Item, **ended: Any) -> FleetItem:
    facts = {"run_id": None, **ended}
    return FleetItem(item.number, item.instance.id, item.instance.name, priority=item.priority, **facts)


def _entry(
    runs: RunStore,
    item: Item,
    found: Run | None,
    around: Surroundings,
    rooms_of: Callable[[Item], ExportRooms],
) -> Entry:
    options, key = item.options, run_key(item.instance.id, item.options, around)
    if found is not None and found.unfinished and (options.new or found.cancel):
        api.cancel_run(rooms_of(item), found.run_id)
        found = runs.run(found.run_id)
    asked = api.settled(options, around).to_json()
    if found is not None and found.unfinished:
        return Entry(_item(item), Draft(key, found.generation, found.plan, asked))
    generation = 1 if found is None else found.generation + 1
    run_id = runs.run_id(key, generation)
    wanted = make_plan(item.instance, options, around, run_id=run_id, generation=generation)
    anew = options.overwrite or options.new
    if found is not None and not anew and found.state == records.DONE and _still_holds(rooms_of(item), found, wanted):
        when = f"{datetime.fromisoformat(found.updated).astimezone():%Y-%m-%d %H:%M}"
        return Entry(_item(item, run_id=found.run_id, outcome=SKIPPED, detail=f"already exported at {when}"))
    return Entry(_item(item), Draft(key, generation, wanted.to_json(), asked))


def _still_holds(rooms: ExportRooms, run: Run, wanted: ExportPlan) -> bool:
    plan = api.plan_of(run)
    # With {date} in a name, today's export is another one than yesterday's although the command is the same.
    if plan.destinations != wanted.destinations:
        return False
    results = {step.name: step.result for step in rooms.runs.steps(run.run_id) if step.result is not None}
    return manifests.still_there(rooms, plan, results, read=False)


def _ends_here() -> bool:
    return False


def carry_out(run_id: str, rooms: ExportRooms, *, goes_on: Callable[[], bool] = _ends_here) -> Outcome | None:
    """Drive one run of a fleet to its end, and write down how it ended.

    Args:
        run_id: the run.
        rooms: of the account and region that it belongs to.
        goes_on: whether a run that was interrupted goes on elsewhere at once, so that this is no end of it.

    Returns:
        How it ended; None = another process drives it, which writes down its end.

    Raises:
        ConfigError: the run store cannot be used.
    """
    outcome = _driven(run_id, rooms)
    if outcome is None or (outcome.kind == INTERRUPTED and goes_on()):
        return outcome
    return write_down(rooms.runs, outcome)


def write_down(runs: RunStore, outcome: Outcome) -> Outcome | None:
    """Record how the run of an item ended.

    Returns:
        The outcome; None = another process has gone on with the run meanwhile, and writes down its end.
    """
    assert outcome.run_id is not None
    states, facts = _STATES[outcome.kind], {"code": outcome.code, "detail": outcome.detail}
    if outcome.kind != DONE and not runs.is_driven(outcome.run_id):
        states |= {records.ACTIVE}  # its process was killed, and who wanted to go on with it could not
    noted = fleets.end_item(runs, outcome.run_id, outcome.kind, states=states, **facts)
    return outcome if noted else None


def end_queued(runs: RunStore, run_id: str) -> Outcome | None:
    """Cancel a run that has not begun: nothing was made, so nothing needs the cloud.

    Returns:
        Its outcome; None = it has begun, or is being driven.
    """
    try:
        with runs.drive(run_id) as held:
            if runs.run(run_id).state != records.QUEUED or runs.steps(run_id):
                return None
            held.set_state(records.CANCELLED, "cancelled before it began")
    except errors.RunDriven:
        return None
    item = fleets.item_of_run(runs, run_id)
    number, name = (item.number, item.name) if item else (0, run_id)
    return write_down(runs, outcome_of(number, name, run_id, errors.Cancelled("cancelled before it began")))


def _driven(run_id: str, rooms: ExportRooms) -> Outcome | None:
    item, run = fleets.item_of_run(rooms.runs, run_id), rooms.runs.run(run_id)
    number, name = (item.number, item.name) if item else (0, run.subject)
    if run.state in _ENDED_BADLY:
        return _ended_elsewhere(number, run, item)
    try:
        result = api.drive_run(rooms, run_id)
    except (errors.LeaseLost, errors.RunDriven):
        return None
    except errors.HypersdkError as error:
        for line in getattr(error, "__notes__", ()):
            rooms.note(line)
        return outcome_of(number, name, run_id, error)
    except Exception as error:  # noqa: BLE001 - a fault of the program in one export must not end all others
        return _after_fault(rooms, Outcome(number, name, run_id, FAILED), item, error)
    return Outcome(number, name, run_id, DONE, detail=result_line(result))


def _after_fault(rooms: ExportRooms, failed: Outcome, item: FleetItem | None, error: Exception) -> Outcome:
    """The outcome of a run whose thread was ended by a fault of the program."""
    run = rooms.runs.run(str(failed.run_id))
    if run.state in _ENDED_BADLY:
        return _ended_elsewhere(failed.number, run, item)
    if run.state == records.DONE:
        return replace(failed, kind=DONE, detail="; ".join(api.destinations(run)))
    rooms.note("".join(traceback.format_exception(error)).rstrip())
    detail = f"{type(error).__name__}: {error}"
    return replace(failed, code=INTERNAL_CODE, exit_code=errors.HypersdkError.exit_code, detail=detail)


def _ended_elsewhere(number: int, run: Run, item: FleetItem | None) -> Outcome:
    """The outcome of a run that another process has ended meanwhile."""
    kind, usual = _ENDED_BADLY[run.state]
    code = (item.code if item else None) or usual
    return Outcome(number, run.subject, run.run_id, kind, code, _exit_code(code), run.detail or run.state)


def outcome_of(number: int, name: str, run_id: str | None, error: errors.HypersdkError) -> Outcome:
    """The one outcome that an error means.

    Args:
        number: of the item.
        name: of the instance.
        run_id: its run, if one began.
        error: how it ended.
    """
    kind = FAILED
    if isinstance(error, errors.Cancelled):
        kind = CANCELLED
    elif isinstance(error, errors.Stopped):
        kind = INTERRUPTED
    elif error.exit_code == errors.PreflightRefused.exit_code:
        kind = REFUSED
    return Outcome(number, name, run_id, kind, error.code, error.exit_code, str(error))


def recorded(item: FleetItem) -> Outcome:
    """The outcome of an item that has ended, as it was written down."""
    assert item.outcome is not None
    exit_code = 0 if item.code is None else _exit_code(item.code)
    return Outcome(item.number, item.name, item.run_id, item.outcome, item.code, exit_code, item.detail or "")


def _exit_code(code: str) -> int:
    left: list[type[errors.HypersdkError]] = [errors.HypersdkError]
    while left:
        kind = left.pop()
        if kind.code == code:
            return kind.exit_code
        left += kind.__subclasses__()
    return errors.HypersdkError.exit_code  # a fault of the program, or an error of another version


def result_line(result: ExportResult) -> str:
    """What came out of an export, in one line."""
    places = [f"{disk.path or disk.object_url} ({format_size(disk.size)})" for disk in result.disks]
    left = [f"stays in the tenancy: {line}" for line in result.left]
    return "; ".join((*places, *left))
