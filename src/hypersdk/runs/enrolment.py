"""Puts a fleet into the run store: fleet, items and the runs that wait for their turn, in one transaction.

Rules of this file: either all of a fleet is recorded or nothing; an unfinished run of the same key is taken over, never
doubled; a fleet that is asked for again before it ended goes on under its id.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import sqlalchemy as sa

from hypersdk.runs import schema
from hypersdk.runs.fleets import fleet, new_fleet_id
from hypersdk.runs.records import DONE, INTERRUPTED, QUEUED, UNFINISHED, Fleet, FleetItem, Run
from hypersdk.runs.store import BEGINNING, RunStore

OPEN_OUTCOMES = (None, INTERRUPTED)
"""Outcomes of items that the same command takes up again."""

_KEYS_AT_ONCE = 500
"""Keys in one query: SQLite takes 32,766 variables, older ones 999 (sqlite.org/limits.html)."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A run that an item of a fleet needs.

    Attributes:
        key: what makes two commands the same export.
        generation: how often this key was started anew, from 1.
        plan: as JSON.
        options: how it is asked for, as JSON.
    """

    key: str
    generation: int
    plan: Mapping[str, Any]
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """An item and the run that it needs; `draft` None = none: it was refused, or is exported already."""

    item: FleetItem
    draft: Draft | None = None


def latest_of(store: RunStore, keys: Sequence[str]) -> dict[str, Run]:
    """The newest run of each key that has one."""
    return store.read(lambda connection: _latest_of(connection, keys))


def enrol(store: RunStore, subject: str, plan: Mapping[str, Any], entries: Sequence[Entry]) -> Fleet:
    """Record a fleet, or let the one that was asked for in the same way go on.

    Args:
        store: where.
        subject: the file or filter that was given.
        plan: limits, windows and what else the one who drives it needs, as JSON.
        entries: one for each instance.
    """

    def record(connection: sa.Connection) -> str:
        store.alone(connection, BEGINNING)
        going = _going(connection, subject, [entry.item for entry in entries])
        fleet_id = new_fleet_id() if going is None else going
        _record_fleet(store, connection, fleet_id, subject, plan)
        taken = _latest_of(connection, [entry.draft.key for entry in entries if entry.draft])
        former = _former(connection, fleet_id)
        rows = []
        for entry in entries:
            item = _with_run(store, connection, fleet_id, entry, taken)
            rows.append({"fleet_id": fleet_id, **asdict(_told(item, former.get(item.number)))})
        connection.execute(schema.FLEET_ITEMS.delete().where(schema.FLEET_ITEMS.c.fleet_id == fleet_id))
        if rows:
            connection.execute(schema.FLEET_ITEMS.insert(), rows)
        return fleet_id

    return fleet(store, store.write(record))


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an item of a fleet stands, and its run, if it has one."""

    item: FleetItem
    state: str | None = None
    cancel: bool = False


def standings(store: RunStore, fleet_id: str) -> list[Standing]:
    """Where every item of a fleet stands, in the order of its plan; one small question however many there are."""
    table, runs = schema.FLEET_ITEMS, schema.RUNS
    columns = [column for column in table.c if column.name != "fleet_id"]
    query = sa.select(*columns, runs.c.state, runs.c.cancel).outerjoin(runs, runs.c.run_id == table.c.run_id)
    query = query.where(table.c.fleet_id == fleet_id).order_by(table.c.number)
    found = []
    for row in store.rows(query):
        values = dict(row)
        state, cancel = values.pop("state"), bool(values.pop("cancel"))
        found.append(Standing(FleetItem(**values), state, cancel))
    return found


def plans_of(store: RunStore, fleet_id: str) -> dict[str, Mapping[str, Any]]:
    """The plans of a fleet's runs, by run id."""
    table, runs = schema.FLEET_ITEMS, schema.RUNS
    query = sa.select(runs.c.run_id, runs.c.plan).join(table, runs.c.run_id == table.c.run_id)
    return {row["run_id"]: row["plan"] for row in store.rows(query.where(table.c.fleet_id == fleet_id))}


def _latest_of(connection: sa.Connection, keys: Sequence[str]) -> dict[str, Run]:
    found: dict[str, Run] = {}
    for at in range(0, len(keys), _KEYS_AT_ONCE):
        runs = schema.RUNS
        query = sa.select(runs).where(runs.c.key.in_(keys[at : at + _KEYS_AT_ONCE])).order_by(runs.c.generation)
        found |= {row["key"]: Run(**row) for row in connection.execute(query).mappings()}
    return found


def _going(connection: sa.Connection, subject: str, items: Iterable[FleetItem]) -> str | None:
    """The newest fleet, if it was asked for in the same way and has not ended."""
    fleets, table = schema.FLEETS, schema.FLEET_ITEMS
    query = sa.select(fleets.c.fleet_id).where(fleets.c.subject == subject).order_by(fleets.c.created.desc()).limit(1)
    fleet_id = connection.execute(query).scalar()
    if fleet_id is None:
        return None
    rows = connection.execute(
        sa.select(table.c.number, table.c.instance_id, table.c.outcome).where(table.c.fleet_id == fleet_id)
    ).all()
    same = {(row.number, row.instance_id) for row in rows} == {(item.number, item.instance_id) for item in items}
    return str(fleet_id) if same and any(row.outcome in OPEN_OUTCOMES for row in rows) else None


def _record_fleet(
    store: RunStore, connection: sa.Connection, fleet_id: str, subject: str, plan: Mapping[str, Any]
) -> None:
    table = schema.FLEETS
    values = {"subject": subject, "plan": dict(plan), "cancel": False}
    if not connection.execute(table.update().where(table.c.fleet_id == fleet_id).values(**values)).rowcount:
        about = {"created": store.time(), "host": store.host, "tool_version": store.version}
        connection.execute(table.insert().values(fleet_id=fleet_id, **values, **about))


def _former(connection: sa.Connection, fleet_id: str) -> dict[int, FleetItem]:
    table = schema.FLEET_ITEMS
    columns = [column for column in table.c if column.name != "fleet_id"]
    rows = connection.execute(sa.select(*columns).where(table.c.fleet_id == fleet_id)).mappings()
    return {row["number"]: FleetItem(**row) for row in rows}


def _told(item: FleetItem, former: FleetItem | None) -> FleetItem:
    # What this very fleet exported before it was interrupted is its own work, not something found done.
    mine = former is not None and former.outcome == DONE and former.run_id == item.run_id
    return former if mine and former is not None and item.outcome is not None else item


def _with_run(
    store: RunStore, connection: sa.Connection, fleet_id: str, entry: Entry, taken: Mapping[str, Run]
) -> FleetItem:
    draft, runs = entry.draft, schema.RUNS
    if draft is None:
        return entry.item
    asked = {"options": dict(draft.options), "fleet_id": fleet_id, "priority": entry.item.priority}
    former = taken.get(draft.key)
    if former is not None and former.state in UNFINISHED:
        connection.execute(runs.update().where(runs.c.run_id == former.run_id).values(**asked))
        return replace(entry.item, run_id=former.run_id)
    time, run_id = store.time(), str(draft.plan["run_id"])
    values = {
        "run_id": run_id,
        "key": draft.key,
        "generation": draft.generation,
        "subject": entry.item.name,
        "plan": dict(draft.plan),
        "state": QUEUED,
        "cancel": False,
        "created": time,
        "updated": time,
        "host": store.host,
        "tool_version": store.version,
    }
    connection.execute(runs.insert().values(**values, **asked))
    return replace(entry.item, run_id=run_id)
