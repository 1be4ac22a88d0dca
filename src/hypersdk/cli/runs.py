"""`hyperexport runs`: list, show, attach, cancel, retry, prune."""

from __future__ import annotations

import click

from hypersdk import errors
from hypersdk.cli import story
from hypersdk.cli.context import CliContext, open_context
from hypersdk.cli.options import connection_options, output_options, setting_option
from hypersdk.cli.runshow import show_run, to_rows
from hypersdk.exports import api
from hypersdk.exports.cleanup import leftovers
from hypersdk.runs import fleets, records
from hypersdk.runs.records import ACTIVE, Run
from hypersdk.runs.store import RunStore

COLUMNS = ("run_id", "instance_name", "state", "percent", "created", "updated", "detail")
STATES = (
    records.QUEUED,
    records.ACTIVE,
    records.INTERRUPTED,
    records.DONE,
    records.FAILED,
    records.REFUSED,
    records.CANCELLED,
)
NEWEST = 100
"""Runs that `runs list` shows without --all."""


@click.group()
def command() -> None:
    """What ran, what runs, and what to do about it. RUN is a run's id, or its beginning."""


@command.command("list")
@click.option("--state", "states", multiple=True, type=click.Choice(STATES), help="Only these; may be repeated.")
@click.option("--fleet", metavar="FLEET", help="Only runs of this fleet (its id, or its beginning).")
@click.option("--all", "every", is_flag=True, help=f"All of them; default: the newest {NEWEST}.")
@connection_options()
@output_options
@click.pass_context
def list_command(ctx: click.Context, states: tuple[str, ...], fleet: str | None, every: bool) -> None:
    """List runs, newest first."""
    with open_context(ctx) as context:
        runs = context.wiring.runs
        found = runs.runs()
        if fleet is not None:
            members = {item.run_id for item in fleets.items(runs, fleets.fleet(runs, fleet).fleet_id)}
            found = [run for run in found if run.run_id in members]
        driven = runs.driven([run.run_id for run in found if run.state == ACTIVE])
        chosen = [run for run in found if not states or story.state_of(run, alive=run.run_id in driven) in states]
        rows = to_rows(runs, chosen if every else chosen[:NEWEST])
        context.out.table("runs", rows, COLUMNS)
        if len(rows) < len(chosen):
            context.out.note(f"and {len(chosen) - len(rows)} older ones: --all")
        if not rows:
            context.out.note(f"no {' or '.join(states)} runs" if states else f"no runs in {_shown(context)}")


@command.command()
@click.argument("run")
@connection_options()
@output_options
@click.pass_context
def show(ctx: click.Context, run: str) -> None:
    """Tell the story of a run.

    Who began it, what each step took, what it waited for and how long, how it ended, what it left.
    """
    with open_context(ctx) as context:
        runs = context.wiring.runs
        show_run(context.out, runs, runs.run(run))


@command.command()
@click.argument("run")
@connection_options()
@output_options
@click.pass_context
def attach(ctx: click.Context, run: str) -> int:
    """Watch a run that another process drives, to its end. Ctrl-C ends only the watching.

    The exit code is the run's own.
    """
    from hypersdk.cli.attaching import attach_to

    with open_context(ctx) as context:
        return attach_to(context, context.wiring.runs.run(run).run_id)


@command.command()
@click.argument("run")
@connection_options()
@output_options
@click.pass_context
def cancel(ctx: click.Context, run: str) -> None:
    """Stop a run, or a fleet, and clean up.

    What it made in the tenancy is taken away. RUN may also be a fleet's id. What another process drives is asked to
    stop; that process cleans up.
    """
    with open_context(ctx) as context:
        runs = context.wiring.runs
        try:
            found = runs.run(run)
        except errors.NotFoundError:
            _cancel_fleet(context, runs, run)
            return
        _cancel(context, runs, found)


@command.command()
@click.argument("wanted", metavar="RUN...", nargs=-1, required=True)
@setting_option("--parallel", "parallel", "Most parts of the disk in flight at once; default: 16.", metavar="N")
@setting_option("--bwlimit", "bandwidth_limit", "Bytes per second, or '08:00,20M 19:00,off'.", metavar="RATE")
@connection_options()
@output_options
@click.pass_context
def retry(ctx: click.Context, wanted: tuple[str, ...]) -> int:
    """Go on with unfinished runs, begin failed ones anew.

    They are given the options that they were asked for with, wherever this command is given.
    """
    from hypersdk.cli.retrying import retry_all

    with open_context(ctx) as context:
        return retry_all(context, wanted)


@command.command()
@click.option("--older-than", metavar="TIME", default="30d", show_default=True, help="Such as 7d; at least 1d.")
@click.option("--dry-run", is_flag=True, help="Name them; forget nothing.")
@connection_options()
@output_options
@click.pass_context
def prune(ctx: click.Context, older_than: str, dry_run: bool) -> None:
    """Forget runs that ended long ago, with their logs.

    Unfinished runs stay, and those that left something in the tenancy. An export that is forgotten is no longer known
    as done: its command then says that the file exists.
    """
    from hypersdk.cli.pruning import prune_runs

    with open_context(ctx) as context:
        prune_runs(context, older_than, dry_run=dry_run)


def _cancel(context: CliContext, runs: RunStore, run: Run) -> None:
    from hypersdk.fleet.work import end_queued

    if not run.unfinished and not leftovers(runs, run.run_id):
        raise errors.UsageError(f"run {run.run_id} is {run.state}: nothing to cancel", resource=run.run_id)
    if run.state == records.QUEUED and end_queued(runs, run.run_id) is not None:
        context.out.note(f"run {run.run_id} is cancelled before it began")
    elif runs.is_driven(run.run_id):
        runs.request_cancel(run.run_id)
        context.out.note(f"the process that drives run {run.run_id} was asked to stop and clean up")
    else:
        region = str(run.plan["region"])
        failed = api.cancel_run(context.wiring.in_region(region).export_rooms, run.run_id)
        context.out.note(f"run {run.run_id} is cancelled")
        if failed:
            raise errors.OperationFailed("not everything could be deleted: " + "; ".join(failed))
    if context.out.as_json:
        show_run(context.out, runs, runs.run(run.run_id))


def _cancel_fleet(context: CliContext, runs: RunStore, text: str) -> None:
    from hypersdk.fleet.work import end_queued

    try:
        found = fleets.fleet(runs, text)
    except errors.NotFoundError:
        hint = "hyperexport runs list"
        raise errors.NotFoundError(f"no run and no fleet {text!r}", resource=text, hint=hint) from None
    fleets.cancel_fleet(runs, found.fleet_id)
    open_runs = [item.run_id for item in fleets.items(runs, found.fleet_id) if item.run_id and item.outcome is None]
    queued = sum(end_queued(runs, run_id) is not None for run_id in open_runs)
    left = [runs.run(run_id) for run_id in open_runs]
    idle = [run for run in left if run.unfinished and not runs.is_driven(run.run_id)]
    driven = sum(run.unfinished for run in left) - len(idle)
    said = f"{queued} waited for their turn, {driven} were asked to stop"
    context.out.note(f"fleet {found.fleet_id} of {found.subject} is cancelled: {said}")
    failures = []
    for run in idle:
        rooms = context.wiring.in_region(str(run.plan["region"])).export_rooms
        failures += api.cancel_run(rooms, run.run_id)
    if context.out.as_json:
        context.out.json({"runs": to_rows(runs, [runs.run(run_id) for run_id in open_runs])})
    if failures:
        raise errors.OperationFailed("not everything could be deleted: " + "; ".join(failures))


def _shown(context: CliContext) -> str:
    # A database's URL holds a password.
    state = context.config.state
    return f"{state.partition('://')[0]}://***" if "://" in state else state
