"""What happened to a run, and what its steps usually take: read by people, and by the stall detector."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from statistics import median, quantiles
from typing import Any

import sqlalchemy as sa

from hypersdk.runs import schema
from hypersdk.runs.drive import Drive
from hypersdk.runs.records import Happening, Usual
from hypersdk.runs.store import RunStore

MOST_SAMPLES = 500
"""Finished steps of a kind that are looked at, newest first: what is usual changes."""

FEWEST_SAMPLES = 3
"""Fewer say nothing of what is usual."""


def note(drive: Drive, kind: str, text: str, *, at: str | None = None, seconds: float | None = None) -> None:
    """Write down that something happened.

    Args:
        drive: the right to write for the run.
        kind: see `Happening`.
        text: one line without secrets.
        at: when it began; None = now.
        seconds: how long it took, if it has a length.

    Raises:
        LeaseLost: another process drives the run.
    """
    write(drive, [Happening(at or drive.store.time(), kind, text, seconds)])


def write(drive: Drive, happenings: Iterable[Happening], *, patient: bool = True) -> None:
    """Write down several things at once, in their order.

    Args:
        drive: the right to write for the run.
        happenings: what happened.
        patient: wait for a store that cannot be reached, where it is such a one.

    Raises:
        LeaseLost: another process drives the run.
    """
    rows = [{"run_id": drive.run_id, **asdict(each)} for each in happenings]
    table = schema.HISTORY

    def append(connection: sa.Connection) -> None:
        if not connection.execute(sa.select(table.c.number).where(*_same(rows[-1]))).first():
            connection.execute(table.insert(), rows)

    # Of rows that were written in one transaction, whose answer got lost, the last one is there if all are.
    if rows:
        drive.write(append, patient=patient)


def _same(row: Mapping[str, Any]) -> list[sa.ColumnElement[bool]]:
    table = schema.HISTORY
    return [table.c[name] == value for name, value in row.items() if value is not None]


def history(store: RunStore, run_id: str) -> list[Happening]:
    """All that happened to a run, in its order."""
    table = schema.HISTORY
    query = sa.select(table.c.at, table.c.kind, table.c.text, table.c.seconds, table.c.step)
    query = query.where(table.c.run_id == run_id).order_by(table.c.at, table.c.number)
    return [Happening(**row) for row in store.rows(query)]


def usual(store: RunStore, step: str) -> Usual | None:
    """What steps of this name took in earlier runs; None = too few are known.

    Only runs that one process did without a break count: half a step, or the night before its second half, says little.
    Nor does the time for which a step was held up by a queue, the network or a login.
    """
    table = schema.HISTORY
    query = sa.select(table.c.run_id, table.c.seconds).where(table.c.step == step, table.c.kind == "step")
    resumed = sa.select(table.c.run_id).where(table.c.kind == "began").group_by(table.c.run_id)
    query = query.where(table.c.run_id.not_in(resumed.having(sa.func.count() > 1)))
    query = query.where(table.c.seconds.is_not(None)).order_by(table.c.number.desc()).limit(MOST_SAMPLES)
    held = sa.select(table.c.run_id, sa.func.sum(table.c.seconds).label("held")).where(
        table.c.step == step, table.c.kind == "held"
    )
    queued = {row["run_id"]: row["held"] for row in store.rows(held.group_by(table.c.run_id))}
    took = [max(0.0, row["seconds"] - queued.get(row["run_id"], 0.0)) for row in store.rows(query)]
    if len(took) < FEWEST_SAMPLES:
        return None
    return Usual(median(took), min(quantiles(took, n=10)[-1], max(took)), len(took))
