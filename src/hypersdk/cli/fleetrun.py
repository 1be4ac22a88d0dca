"""Carries out the plan of a fleet for the command, and prints how it ended."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import click

from hypersdk import errors
from hypersdk.cli.context import CliContext
from hypersdk.cli.fleetboard import Board
from hypersdk.cli.fleetview import shown
from hypersdk.cli.outcomes import WELL, code_of
from hypersdk.cli.output import Output, printable
from hypersdk.exports.api import plan_of
from hypersdk.fleet import dispatch, local
from hypersdk.fleet.crew import Watch
from hypersdk.fleet.nouns import INTERRUPTED, OUTCOMES, FleetPlan, Item, Outcome
from hypersdk.model import Instance
from hypersdk.runs import fleets
from hypersdk.runs.records import Fleet

COLUMNS = ("number", "instance_name", "outcome", "code", "detail")


def execute(
    context: CliContext,
    plan: FleetPlan,
    *,
    allow_empty: bool = False,
    told: tuple[Watch, ...] = (),
    detach: bool = False,
) -> int:
    """Record a fleet, carry it out on this machine or watch workers do it, and print how each instance ended.

    Args:
        context: configuration, rooms, output.
        plan: what to do.
        allow_empty: that nothing was selected is fine.
        told: further watchers, such as one that writes JSON lines.
        detach: leave it to the workers.

    Returns:
        The exit code.

    Raises:
        UsageError: it cannot be left to workers.
    """
    wiring, out, began = context.wiring, context.out, time.monotonic()
    url = context.config.state if "://" in context.config.state else None
    if detach and url is None:
        raise errors.UsageError(
            "--detach leaves the fleet to workers, and they share a run store in Postgres",
            hint="HYPEREXPORT_STATE=postgresql://user@host/database",
        )
    fleet = local.begin(plan, wiring)
    out.note(f"fleet {fleet.fleet_id}: {len(plan.items)} instances")
    if url is not None:
        dispatch.queue_up(fleet, wiring.runs, url, plan.limits)
        if detach:
            out.note(f"left to the workers; end it: hyperexport runs cancel {fleet.fleet_id}")
            return 0
    expected = {item.number: item.seconds for item in plan.items if item.seconds is not None}
    board = Board(
        [item.number for item in plan.items],
        lambda run_id: plan_of(wiring.runs.run(run_id)),
        expected,
        clock=wiring.waiter.clock,
    )
    with shown(board, out, terminal=sys.stderr.isatty(), told=told) as watch:
        if url is None:
            outcomes = local.go_on(fleet, wiring, watch)
        else:
            outcomes = dispatch.watch_over(fleet, wiring.runs, url, watch, wiring.waiter)
    code = code_of([(each.kind, each.exit_code) for each in outcomes], allow_empty=allow_empty)
    _print(out, fleet, plan, outcomes, {"seconds": round(time.monotonic() - began, 3), "exit_code": code})
    return code


def retry_plan(context: CliContext, fleet_id: str) -> FleetPlan:
    """The plan that exports again what a fleet did not export; `fleet_id` may be the beginning of an id.

    Raises:
        NotFoundError: there is no such fleet, or an instance of it is gone.
        UsageError: the fleet has no failures.
    """
    wiring = context.wiring

    def instance_of(region: str, instance_id: str) -> Instance:
        rooms = wiring.in_region(region).export_rooms
        return rooms.retrier.call("get instance", lambda: rooms.provider.instance(instance_id))

    return local.retry_plan(wiring.runs, fleets.fleet(wiring.runs, fleet_id), instance_of)


def retry_command(fleet_id: str) -> str:
    """The command that exports what a fleet did not export."""
    return f"hyperexport fleet --retry {fleet_id}"


def _print(out: Output, fleet: Fleet, plan: FleetPlan, outcomes: Sequence[Outcome], ended: Mapping[str, Any]) -> None:
    items = {item.number: item for item in plan.items}
    bad = [outcome for outcome in outcomes if outcome.kind not in WELL]
    rows = [_row(items[outcome.number], outcome) for outcome in outcomes]
    counts = {kind: sum(outcome.kind == kind for outcome in outcomes) for kind in OUTCOMES}
    retry = retry_command(fleet.fleet_id) if bad else None
    if out.as_json:
        about = {"fleet_id": fleet.fleet_id, "subject": fleet.subject, "items": rows, "counts": counts}
        out.json({"fleet": {**about, "retry": retry, **ended}})
    else:
        out.table("items", [row for row in rows if out.verbose or row["outcome"] not in WELL], COLUMNS)
    said = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count) or "nothing was selected"
    _tell(out, f"fleet {fleet.fleet_id}: {said}", loud=bool(bad) or not outcomes)
    if any(outcome.kind == INTERRUPTED for outcome in outcomes):
        out.note("the same command goes on with it")
    elif retry is not None:
        out.note(f"again with those that were not exported: {retry}")


def _tell(out: Output, text: str, *, loud: bool) -> None:
    if loud:
        click.echo(printable(f"hyperexport: {text}"), err=True)
    else:
        out.note(text)


def _row(item: Item, outcome: Outcome) -> dict[str, Any]:
    return {
        "number": outcome.number,
        "instance_id": item.instance.id,
        "instance_name": outcome.name,
        "region": item.region,
        "outcome": outcome.kind,
        "code": outcome.code,
        "exit_code": outcome.exit_code,
        "detail": outcome.detail or None,
        "run_id": outcome.run_id,
        "destinations": list(item.destinations),
    }
