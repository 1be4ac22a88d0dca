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
from hypersdk.cli.fleetlines import FleetLines
from hypersdk.cli.fleetview import shown
from hypersdk.cli.jsonl import JsonLines
from hypersdk.cli.outcomes import WELL, code_of
from hypersdk.cli.output import Output, printable
from hypersdk.exports.api import plan_of
from hypersdk.exports.cleanup import Leftover, leftovers
from hypersdk.fleet import dispatch, local
from hypersdk.fleet.crew import Watch
from hypersdk.fleet.nouns import INTERRUPTED, OUTCOMES, FleetPlan, Item, Outcome
from hypersdk.model import format_size
from hypersdk.runs.records import Fleet
from hypersdk.runs.store import RunStore

COLUMNS = ("number", "instance_name", "outcome", "code", "detail")


def execute(
    context: CliContext,
    plan: FleetPlan,
    *,
    allow_empty: bool = False,
    told: tuple[Watch, ...] = (),
    detach: bool = False,
    lines: JsonLines | None = None,
) -> int:
    """Record a fleet, carry it out on this machine or watch workers do it, and print how each instance ended.

    Args:
        context: configuration, rooms, output.
        plan: what to do.
        allow_empty: that nothing was selected is fine.
        told: further watchers, such as one that counts.
        detach: leave it to the workers.
        lines: prints what happens for programs; None = nobody asked.

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
    items = {item.number: item for item in plan.items}
    if lines is not None:
        lines("fleet_started", {"fleet_id": fleet.fleet_id, "subject": fleet.subject, "items": len(items)})
    outcomes = _watched(context, fleet, items, told, lines)
    code = code_of([(each.kind, each.exit_code) for each in outcomes], allow_empty=allow_empty)
    result = _result(fleet, [_row(items[each.number], each) for each in outcomes])
    left = _left(wiring.runs, outcomes)
    result |= {"stays_in_tenancy": [str(one) for one in left]}
    result |= {"seconds": round(time.monotonic() - began, 3), "exit_code": code}
    if lines is not None:
        lines("ended", {"exit_code": code, "result": result, "error": None})
    _print(out, result, left, as_lines=lines is not None)
    return code


def _watched(
    context: CliContext, fleet: Fleet, items: Mapping[int, Item], told: tuple[Watch, ...], lines: JsonLines | None
) -> list[Outcome]:
    """Carry a fleet out, or watch workers do it, while people and programs are told.

    Raises:
        OSError: who reads the lines went away; everything is kept for the same command.
    """
    wiring = context.wiring
    runs, waiter, url = wiring.runs, wiring.waiter, context.config.state
    expected = {number: item.seconds for number, item in items.items() if item.seconds is not None}
    board = Board(list(items), lambda run_id: plan_of(runs.run(run_id)), expected, clock=waiter.clock)
    printed = lines and FleetLines(lines, board, waiter.stop, lambda outcome: _row(items[outcome.number], outcome))
    told = (*told, printed) if printed else told
    with shown(board, context.out, terminal=sys.stderr.isatty(), told=told) as watch:
        if "://" in url:
            outcomes = dispatch.watch_over(fleet, runs, url, watch, waiter)
        else:
            outcomes = local.go_on(fleet, wiring, watch)
    if printed and printed.broken is not None:
        raise printed.broken
    return outcomes


def retry_command(fleet_id: str) -> str:
    """The command that exports what a fleet did not export."""
    return f"hyperexport fleet --retry {fleet_id}"


def _result(fleet: Fleet, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How a fleet ended, as JSON values; its form is `schemas/fleet.schema.json`."""
    counts = {kind: sum(row["outcome"] == kind for row in rows) for kind in OUTCOMES}
    retry = retry_command(fleet.fleet_id) if any(row["outcome"] not in WELL for row in rows) else None
    return {
        "fleet_id": fleet.fleet_id,
        "subject": fleet.subject,
        "items": list(rows),
        "counts": counts,
        "retry": retry,
    }


def _left(runs: RunStore, outcomes: Sequence[Outcome]) -> list[Leftover]:
    unfinished = [each.run_id for each in outcomes if each.kind not in WELL and each.run_id is not None]
    return [one for run_id in unfinished for one in leftovers(runs, run_id)]


def _print(out: Output, result: Mapping[str, Any], left: Sequence[Leftover], *, as_lines: bool) -> None:
    rows, counts, retry = result["items"], result["counts"], result["retry"]
    if out.as_json:
        out.json({"fleet": result})
    elif not as_lines:
        out.table("items", [row for row in rows if out.verbose or row["outcome"] not in WELL], COLUMNS)
    said = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count) or "nothing was selected"
    _tell(out, f"fleet {result['fleet_id']}: {said}", loud=retry is not None or not rows)
    if left:
        size = format_size(sum(one.size or 0 for one in left))
        out.note(f"stays in the tenancy for them: {len(left)} things of {size}, listed by hyperexport gc")
        out.note(f"clean up: hyperexport runs cancel {result['fleet_id']}")
    if counts[INTERRUPTED]:
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
