"""Counted limits that hold over all workers of a store: exports of a region, of a bucket, of an image.

Rules of this file: a place is taken and counted in one transaction; a place of a run that nobody drives any more is
free, so that a dead worker blocks nobody.
"""

from __future__ import annotations

import sqlalchemy as sa

from hypersdk.runs import schema
from hypersdk.runs.drive import Drive
from hypersdk.runs.store import RunStore


def take_slot(drive: Drive, scope: str, limit: int) -> bool:
    """Try to take one of the `limit` places of a scope ("export us-ashburn-1"); True if we have it (already).

    Raises:
        LeaseLost: another process drives the run.
    """
    table, store = schema.SLOTS, drive.store
    mine = {"scope": scope, "run_id": drive.run_id, "taken": store.time()}

    def take(connection: sa.Connection) -> bool:
        store.alone(connection, f"slots {scope}")
        holders = set(connection.execute(sa.select(table.c.run_id).where(table.c.scope == scope)).scalars())
        if drive.run_id in holders:
            return True
        alive = store.driven(holders, connection)
        if len(alive) >= limit:
            return False
        if dead := holders - alive:
            connection.execute(table.delete().where(table.c.scope == scope, table.c.run_id.in_(dead)))
        connection.execute(table.insert().values(**mine))
        return True

    return drive.write(take)


def leave_slot(drive: Drive, scope: str) -> None:
    """Give a place back; harmless if it is not held."""
    table = schema.SLOTS
    mine = sa.and_(table.c.scope == scope, table.c.run_id == drive.run_id)
    drive.write(lambda connection: connection.execute(table.delete().where(mine)))


def leave_all(drive: Drive) -> None:
    """Give back what a run that ends still holds; a store that cannot be reached just now is not waited for.

    Raises:
        LeaseLost: another process drives the run.
        StoreUnreachable: the store cannot be reached; the places are free anyway, once nobody drives the run.
    """
    table = schema.SLOTS
    mine = table.c.run_id == drive.run_id
    drive.write(lambda connection: connection.execute(table.delete().where(mine)), patient=False)


def taken(store: RunStore) -> dict[str, list[str]]:
    """Scopes and the runs that hold their places."""
    found: dict[str, list[str]] = {}
    for row in store.rows(sa.select(schema.SLOTS.c.scope, schema.SLOTS.c.run_id)):
        found.setdefault(row["scope"], []).append(row["run_id"])
    return found
