"""Forgets runs that ended long ago."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from hypersdk.runs import schema
from hypersdk.runs.drive import Drive
from hypersdk.runs.records import UNFINISHED, Run
from hypersdk.runs.store import RunStore


def prunable(store: RunStore, before: datetime) -> tuple[list[Run], list[Run]]:
    """Runs that ended before a time.

    Returns:
        Those that can be forgotten, and those that cannot, because they may have left something in the tenancy.
    """
    ended = [
        run for run in store.runs() if run.state not in UNFINISHED and datetime.fromisoformat(run.updated) < before
    ]
    left = {run.run_id for run in ended if store.intents(run.run_id, open_only=True)}
    return [run for run in ended if run.run_id not in left], [run for run in ended if run.run_id in left]


def forget(drive: Drive) -> None:
    """Forget a run: itself, its steps, ledger, story and lease. A fleet goes with the last of its runs.

    Raises:
        LeaseLost: another process drives it.
    """
    run_id = drive.run_id

    def erase(connection: sa.Connection) -> None:
        items = schema.FLEET_ITEMS
        fleets = list(connection.execute(sa.select(items.c.fleet_id).where(items.c.run_id == run_id)).scalars())
        connection.execute(items.update().where(items.c.run_id == run_id).values(run_id=None))
        for table in (schema.STEPS, schema.INTENTS, schema.HISTORY, schema.SLOTS, schema.LEASES):
            connection.execute(table.delete().where(table.c.run_id == run_id))
        connection.execute(schema.RUNS.delete().where(schema.RUNS.c.run_id == run_id))
        for fleet_id in fleets:
            _forget_fleet(connection, fleet_id)

    drive.write(erase)


def _forget_fleet(connection: sa.Connection, fleet_id: str) -> None:
    items = schema.FLEET_ITEMS
    open_items = sa.select(items.c.number).where(items.c.fleet_id == fleet_id)
    open_items = open_items.where(sa.or_(items.c.run_id.is_not(None), items.c.outcome.is_(None)))
    if connection.execute(open_items.limit(1)).first() is None:
        connection.execute(items.delete().where(items.c.fleet_id == fleet_id))
        connection.execute(schema.FLEETS.delete().where(schema.FLEETS.c.fleet_id == fleet_id))
