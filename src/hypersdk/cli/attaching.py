"""Watches a run that another process drives, and ends as it ended."""

from __future__ import annotations

import sys

import click

from hypersdk import errors, events
from hypersdk.cli import story
from hypersdk.cli.context import CliContext
from hypersdk.cli.exportresult import print_result
from hypersdk.cli.following import Follower
from hypersdk.cli.output import printable
from hypersdk.cli.progress import progress
from hypersdk.exports import api
from hypersdk.exports.cleanup import stays
from hypersdk.exports.plan import ExportPlan
from hypersdk.exports.telling.position import owner_words, told_by
from hypersdk.runs.records import ACTIVE, CANCELLED, DONE, FAILED, INTERRUPTED, QUEUED, REFUSED, Run

EXIT_CODES = {
    DONE: 0,
    FAILED: errors.HypersdkError.exit_code,
    CANCELLED: errors.Cancelled.exit_code,
    REFUSED: errors.PreflightRefused.exit_code,
    INTERRUPTED: errors.Interrupted.exit_code,
    ACTIVE: errors.Interrupted.exit_code,
}
"""Of a state, where the process that drove the run did not leave its own."""


def attach_to(context: CliContext, run_id: str) -> int:
    """Follow a run to its end.

    Args:
        context: output and run store.
        run_id: the run.

    Returns:
        The run's own exit code; 130 if only the watching ended.
    """
    runs, out, waiter = context.wiring.runs, context.out, context.wiring.waiter
    run = runs.run(run_id)
    if run.state == QUEUED:
        out.note(f"run {run_id} of {run.subject} waits for its turn in fleet {run.fleet_id}")
    elif (line := story.now_line(story.facts(run, runs.holder(run_id)))) is not None:
        out.note(printable(f"run {run_id} of {run.subject}: {line}"))
    waiter.report = events.null_reporter
    try:
        with progress(out, terminal=sys.stderr.isatty()) as shown:
            ended = Follower(runs, run_id, shown).follow(waiter)
    except errors.Stopped:
        out.note(f"detached; the run goes on: hyperexport runs attach {run_id}")
        return errors.Interrupted.exit_code
    return _tell_end(context, ended)


def _tell_end(context: CliContext, run: Run) -> int:
    runs, out = context.wiring.runs, context.out
    plan = ExportPlan.from_json(run.plan, any_version=True)
    if run.state == DONE:
        print_result(out, api.result_of(runs, plan))
        return 0
    holder = runs.holder(run.run_id)
    ended = told_by(holder).get("ending")
    state = story.state_of(run, alive=False)
    if run.state == ACTIVE or ended is None:
        known = f"run {run.run_id} is {state}" + (f": {run.detail}" if run.detail and run.state != ACTIVE else "")
        last = "" if holder is None else f"; {owner_words(holder.owner)} was last heard of {holder.heartbeat}"
        click.echo(printable(f"hyperexport: {known}{last if run.state == ACTIVE else ''}"), err=True)
    else:
        hint = f" - {ended['hint']}" if ended["hint"] else ""
        request = f" (opc-request-id {ended['request_id']})" if ended["request_id"] else ""
        text = f"run {run.run_id} is {state}: {ended['message']}{request}{hint}"
        click.echo(printable(f"hyperexport: {text}"), err=True)
    for line in stays(runs, plan, resumable=False):
        click.echo(printable(line), err=True)
    if run.unfinished:
        click.echo(f"go on with it: hyperexport runs retry {run.run_id}", err=True)
    code = EXIT_CODES[run.state] if run.state == ACTIVE or ended is None else ended["exit_code"]
    return int(code)
