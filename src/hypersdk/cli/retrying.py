"""Goes on with runs by their ids: unfinished ones where they stopped, failed ones anew."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from hypersdk import errors
from hypersdk.cli.context import CliContext
from hypersdk.cli.exportresult import print_result
from hypersdk.cli.outcomes import code_of
from hypersdk.cli.output import printable
from hypersdk.cli.progress import progress
from hypersdk.cli.runshow import to_rows
from hypersdk.exports import api
from hypersdk.exports.result import ExportResult
from hypersdk.runs.records import Run

COLUMNS = ("run_id", "instance_name", "state", "detail")


def retry_all(context: CliContext, wanted: Sequence[str]) -> int:
    """Drive runs one after the other; one that fails stops no other.

    Args:
        context: output and rooms.
        wanted: ids of runs, or their beginnings.

    Returns:
        The exit code of design section 3.
    """
    runs = [context.wiring.runs.run(text) for text in wanted]
    if len(runs) == 1:
        print_result(context.out, _retry(context, runs[0]))
        return 0
    runs = list({run.run_id: run for run in runs}.values())
    ends = [_ended(context, run.run_id) for run in runs]
    latest = [context.wiring.runs.latest(run.key) or run for run in runs]
    context.out.table("runs", to_rows(context.wiring.runs, latest), COLUMNS)
    return code_of(ends)


def _ended(context: CliContext, run_id: str) -> tuple[str, int]:
    try:
        _retry(context, context.wiring.runs.run(run_id))
    except errors.HypersdkError as error:
        context.wiring.advise(error)
        click.echo(printable(f"hyperexport: run {run_id}: {error}"), err=True)
        for note in getattr(error, "__notes__", ()):
            for line in note.splitlines():
                click.echo(printable(line), err=True)
        if isinstance(error, errors.Interrupted):
            raise
        return "failed", error.exit_code
    return "done", 0


def _retry(context: CliContext, run: Run) -> ExportResult:
    wiring = context.wiring
    rooms = wiring.in_region(str(run.plan["region"])).export_rooms
    with progress(context.out, terminal=sys.stderr.isatty()) as shown:
        wiring.waiter.report = shown
        if run.fleet_id is None or not run.unfinished:
            return api.retry_run(rooms, run.run_id)
        return _retry_of_fleet(rooms, run)


def _retry_of_fleet(rooms: Any, run: Run) -> ExportResult:
    """Its fleet learns how it ended."""
    from hypersdk.fleet.nouns import DONE, Outcome
    from hypersdk.fleet.work import outcome_of, result_line, write_down

    try:
        result = api.retry_run(rooms, run.run_id)
    except errors.HypersdkError as error:
        if not isinstance(error, errors.LeaseLost | errors.RunDriven):
            write_down(rooms.runs, outcome_of(0, run.subject, run.run_id, error))
        raise
    write_down(rooms.runs, Outcome(0, run.subject, run.run_id, DONE, detail=result_line(result)))
    return result
