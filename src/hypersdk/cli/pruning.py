"""Forgets runs that ended long ago, and their logs."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypersdk import errors
from hypersdk.cli.context import CliContext
from hypersdk.cli.output import moment
from hypersdk.exports.telling.logbook import logs_of
from hypersdk.readers.units import parse_duration
from hypersdk.runs.pruning import forget, prunable

SHORTEST = 86400.0
"""Seconds: OCI remembers a retry token for 24 hours, and a run that is begun anew under the same number has the same
tokens (reference: durable.md, "Rules for steps")."""

COLUMNS = ("run_id", "instance_name", "state", "updated")


def prune_runs(context: CliContext, older_than: str, *, dry_run: bool) -> None:
    """Forget runs.

    Args:
        context: output and run store.
        older_than: "30d".
        dry_run: only name them.

    Raises:
        UsageError: not a time, or too short.
    """
    try:
        seconds = parse_duration(older_than)
    except ValueError as error:
        raise errors.UsageError(f"--older-than: {error}") from None
    if seconds < SHORTEST:
        raise errors.UsageError(
            f"--older-than {older_than} is less than a day, for which OCI remembers what a run asked for",
            hint="at least 1d",
        )
    runs, out = context.wiring.runs, context.out
    gone, kept = prunable(runs, datetime.now(UTC) - timedelta(seconds=seconds))
    rows = [
        {
            "run_id": run.run_id,
            "instance_name": run.subject,
            "state": run.state,
            "updated": moment(run.updated),
        }
        for run in gone
    ]
    if not dry_run:
        for run in gone:
            with runs.drive(run.run_id) as drive:
                forget(drive)
            runs.forget([run.run_id])
            _forget_logs(context, run.run_id)
    out.table("pruned", rows, COLUMNS)
    for run in kept:
        out.note(
            f"run {run.run_id} stays: it may have left something in the tenancy: hyperexport runs cancel {run.run_id}"
        )
    out.note(f"{len(gone)} runs {'would be' if dry_run else 'are'} forgotten")


def _forget_logs(context: CliContext, run_id: str) -> None:
    if context.config.logs is not None:
        for path in logs_of(Path(context.config.logs), run_id):
            with suppress(OSError):
                path.unlink()
