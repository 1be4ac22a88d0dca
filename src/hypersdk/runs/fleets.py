"""Fleets in the run store: what was asked for together, and how each instance of it ended."""

from __future__ import annotations

import secrets
from collections.abc import Collection

import sqlalchemy as sa

from hypersdk import errors
from hypersdk.runs import schema
from hypersdk.runs.records import Fleet, FleetItem
from hypersdk.runs.store import RunStore


def new_fleet_id() -> str:
    """An id that no other fleet has."""
    return secrets.token_hex(6)


def fleet(store: RunStore, text: str) -> Fleet:
    """The fleet with this id, or whose id alone begins with it.

    Raises:
        NotFoundError: none.
        UsageError: several.
    """
    table = schema.FLEETS
    query = sa.select(table).where(table.c.fleet_id.startswith(text, autoescape=True))
    found = [Fleet(**row) for row in store.rows(query)]
    if not found or not text:
        raise errors.NotFoundError(f"no fleet {text!r}", resource=text, hint="hyperexport runs list")
    if len(found) > 1:
        raise errors.UsageError(f"{len(found)} fleets begin with {text!r}", resource=text, hint="write more of it")
    return found[0]


def fleets(store: RunStore) -> list[Fleet]:
    """All fleets, newest first."""
    query = sa.select(schema.FLEETS).order_by(schema.FLEETS.c.created.desc())
    return [Fleet(**row) for row in store.rows(query)]


def items(store: RunStore, fleet_id: str) -> list[FleetItem]:
    """The items of a fleet in the order of its plan."""
    table = schema.FLEET_ITEMS
    columns = [column for column in table.c if column.name != "fleet_id"]
    query = sa.select(*columns).where(table.c.fleet_id == fleet_id).order_by(table.c.number)
    return [FleetItem(**row) for row in store.rows(query)]


def item_of_run(store: RunStore, run_id: str) -> FleetItem | None:
    """The item that a run belongs to, of the newest fleet that waits for it; None = it belongs to none."""
    table, fleet_table = schema.FLEET_ITEMS, schema.FLEETS
    columns = [column for column in table.c if column.name != "fleet_id"]
    query = sa.select(*columns).join(fleet_table, fleet_table.c.fleet_id == table.c.fleet_id)
    query = query.where(table.c.run_id == run_id).order_by(fleet_table.c.created.desc()).limit(1)
    return next((FleetItem(**row) for row in store.rows(query)), None)


def end_item(
    store: RunStore,
    run_id: str,
    outcome: str,
    *,
    code: str | None = None,
    detail: str | None = None,
    states: Collection[str] | None = None,
) -> bool:
    """Note how the run of an item ended, in every fleet that waits for it.

    Args:
        store: where.
        run_id: the run.
        outcome: see `FleetItem`.
        code: the error's stable code, if it did not end well.
        detail: one line about it.
        states: the run must be in one of them, else somebody else has gone on with it; None = in any.

    Returns:
        Whether it was noted.
    """
    table, runs = schema.FLEET_ITEMS, schema.RUNS
    values = {"outcome": outcome, "code": code, "detail": detail}

    def end(connection: sa.Connection) -> bool:
        state = connection.execute(sa.select(runs.c.state).where(runs.c.run_id == run_id).with_for_update()).scalar()
        if states is not None and state not in states:
            return False
        connection.execute(table.update().where(table.c.run_id == run_id).values(**values))
        return True

    return store.write(end)


def cancel_fleet(store: RunStore, fleet_id: str) -> None:
    """Ask everybody who works on a fleet to stop; the cancel flags of its unfinished runs are set too."""
    runs, table = schema.RUNS, schema.FLEET_ITEMS
    of_fleet = sa.select(table.c.run_id).where(table.c.fleet_id == fleet_id, table.c.outcome.is_(None))

    def cancel(connection: sa.Connection) -> None:
        connection.execute(schema.FLEETS.update().where(schema.FLEETS.c.fleet_id == fleet_id).values(cancel=True))
        connection.execute(runs.update().where(runs.c.run_id.in_(of_fleet)).values(cancel=True))

    store.write(cancel)
