"""`hyperexport runs`: list, show, cancel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from hypersdk import errors
from hypersdk.cli.context import open_context
from hypersdk.cli.options import connection_options, output_options
from hypersdk.cli.output import Output, moment, printable
from hypersdk.exports import api
from hypersdk.exports.cleanup import leftovers
from hypersdk.runs.records import ACTIVE, INTERRUPTED, Run
from hypersdk.runs.store import RunStore

COLUMNS = ("run_id", "instance_name", "state", "created", "updated", "detail")


@click.group()
def command() -> None:
    """What ran, what runs, and how to end it. RUN is a run's id, or its beginning."""


@command.command("list")
@connection_options()
@output_options
@click.pass_context
def list_command(ctx: click.Context) -> None:
    """List all runs, newest first."""
    with open_context(ctx) as context:
        runs = context.wiring.runs
        rows = [_facts(runs, run) for run in runs.runs()]
        context.out.table("runs", rows, COLUMNS)
        if not rows:
            context.out.note(f"no runs in {context.config.state}")


@command.command()
@click.argument("run")
@connection_options()
@output_options
@click.pass_context
def show(ctx: click.Context, run: str) -> None:
    """Show one run: its steps, and what it may have left in the tenancy."""
    with open_context(ctx) as context:
        runs = context.wiring.runs
        found = runs.run(run)
        _show(context.out, runs, found)


@command.command()
@click.argument("run")
@connection_options()
@output_options
@click.pass_context
def cancel(ctx: click.Context, run: str) -> None:
    """Stop a run and take away what it made in the tenancy.

    A run that another process drives is asked to stop; it cleans up by itself.
    """
    with open_context(ctx) as context:
        runs = context.wiring.runs
        found = runs.run(run)
        if not found.unfinished and not leftovers(runs, found.run_id):
            raise errors.UsageError(f"run {found.run_id} is {found.state}: nothing to cancel", resource=found.run_id)
        if runs.is_driven(found.run_id):
            runs.request_cancel(found.run_id)
            context.out.note(f"the process that drives run {found.run_id} was asked to stop and clean up")
            if context.out.as_json:
                _show(context.out, runs, found)
            return
        failed = api.cancel_run(context.wiring.export_rooms, found.run_id)
        context.out.note(f"run {found.run_id} is cancelled")
        if failed:
            raise errors.OperationFailed("not everything could be deleted: " + "; ".join(failed))
        if context.out.as_json:
            _show(context.out, runs, runs.run(found.run_id))


def _show(out: Output, runs: RunStore, run: Run) -> None:
    left = [str(one) for one in leftovers(runs, run.run_id)]
    steps = [
        {"name": step.name, "state": step.state, "started": moment(step.started), "finished": moment(step.finished)}
        for step in runs.steps(run.run_id)
    ]
    facts = _facts(runs, run)
    if out.as_json:
        out.json({"run": {**facts, "steps": steps, "stays_in_tenancy": left}})
        return
    out.facts("run", facts)
    out.table("steps", steps, ("name", "state", "started", "finished"))
    for line in left:
        out.line(printable(f"stays in the tenancy: {line}"))


def _facts(runs: RunStore, run: Run) -> Mapping[str, Any]:
    state = run.state
    if state == ACTIVE and not runs.is_driven(run.run_id):
        state = INTERRUPTED  # its process died without a word
    return {
        "run_id": run.run_id,
        "instance_id": run.plan["instance_id"],
        "instance_name": run.subject,
        "state": state,
        "detail": run.detail,
        "created": moment(run.created),
        "updated": moment(run.updated),
        "generation": run.generation,
        "destinations": list(api.destinations(run)),
        "host": run.host,
        "tool_version": run.tool_version,
    }
