"""Tables of the run store and their numbered migrations (design section 4; SQLAlchemy Core, SQLite or Postgres).

Rules of this file: a migration that has been released is never changed, a new one is appended; JSON columns hold small
values without secrets; times are UTC in ISO 8601.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import sqlalchemy as sa

METADATA = sa.MetaData()


class Words(sa.TypeDecorator[str]):
    """Text for people that may quote a name of the cloud or of a file: no database takes every character of those."""

    impl = sa.String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:  # noqa: ARG002 - SQLAlchemy's
        """What can be stored of it."""
        return None if value is None else value.replace("\0", "\ufffd").encode(errors="replace").decode()


ABOUT = sa.Table(
    "about",
    METADATA,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("value", sa.String, nullable=False),
)
"""Facts about the store itself; `id` makes run ids differ between stores."""

MIGRATIONS = sa.Table(
    "migrations",
    METADATA,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("applied", sa.String, nullable=False),
    sa.Column("tool_version", sa.String),
)
"""`tool_version` of the program that brought the store to this version; absent for the first one."""

RUNS = sa.Table(
    "runs",
    METADATA,
    sa.Column("run_id", sa.String, primary_key=True),
    sa.Column("key", sa.String, nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("subject", Words, nullable=False),
    sa.Column("plan", sa.JSON, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("detail", Words),
    sa.Column("cancel", sa.Boolean, nullable=False, default=False),
    sa.Column("created", sa.String, nullable=False),
    sa.Column("updated", sa.String, nullable=False),
    sa.Column("host", sa.String, nullable=False),
    sa.Column("tool_version", sa.String, nullable=False),
    sa.Column("options", sa.JSON, nullable=False, server_default="{}"),
    sa.Column("fleet_id", sa.String),
    sa.Column("priority", sa.Integer, nullable=False, server_default="0"),
    sa.UniqueConstraint("key", "generation", name="runs_key_generation"),
)
"""One row per run. `subject` names what is exported; `detail` is one line about how the run ended."""

STEPS = sa.Table(
    "steps",
    METADATA,
    sa.Column("run_id", sa.String, sa.ForeignKey("runs.run_id"), primary_key=True),
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("result", sa.JSON),
    sa.Column("started", sa.String, nullable=False),
    sa.Column("finished", sa.String),
    sa.Column("host", sa.String),
)
"""`host` began the step last: what it left half done lies there."""

INTENTS = sa.Table(
    "intents",
    METADATA,
    sa.Column("run_id", sa.String, sa.ForeignKey("runs.run_id"), primary_key=True),
    sa.Column("kind", sa.String, primary_key=True),
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("place", sa.JSON, nullable=False),
    sa.Column("resource_id", sa.String),
    sa.Column("etag", sa.String),
    sa.Column("size", sa.BigInteger),
    sa.Column("created", sa.String, nullable=False),
    sa.Column("removed", sa.String),
)
"""The ledger: every temporary thing, recorded before it is created and closed once it is gone."""

LEASES = sa.Table(
    "leases",
    METADATA,
    sa.Column("run_id", sa.String, sa.ForeignKey("runs.run_id"), primary_key=True),
    sa.Column("owner", Words, nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("heartbeat", sa.String, nullable=False),
    sa.Column("progress", sa.JSON),
    sa.Column("process", sa.String),
    sa.Column("held", sa.Boolean, nullable=False, server_default=sa.false()),
)
"""Who drives a run; every write of steps and intents is conditional on the epoch.

`process` and `held` (not given back yet) are of leases in Postgres; on SQLite the lock of a file says the same.
"""

HISTORY = sa.Table(
    "history",
    METADATA,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("run_id", sa.String, sa.ForeignKey("runs.run_id"), nullable=False, index=True),
    sa.Column("at", sa.String, nullable=False),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("text", Words, nullable=False),
    sa.Column("seconds", sa.Float),
    sa.Column("step", sa.String),
)
"""What happened to a run, in its order: `runs show` tells a finished run's story from here alone."""

FLEETS = sa.Table(
    "fleets",
    METADATA,
    sa.Column("fleet_id", sa.String, primary_key=True),
    sa.Column("subject", Words, nullable=False),
    sa.Column("plan", sa.JSON, nullable=False),
    sa.Column("cancel", sa.Boolean, nullable=False, default=False),
    sa.Column("created", sa.String, nullable=False),
    sa.Column("host", sa.String, nullable=False),
    sa.Column("tool_version", sa.String, nullable=False),
)

FLEET_ITEMS = sa.Table(
    "fleet_items",
    METADATA,
    sa.Column("fleet_id", sa.String, sa.ForeignKey("fleets.fleet_id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("instance_id", sa.String, nullable=False),
    sa.Column("name", Words, nullable=False),
    sa.Column("run_id", sa.String, sa.ForeignKey("runs.run_id")),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("outcome", sa.String),
    sa.Column("code", sa.String),
    sa.Column("detail", Words),
)

SLOTS = sa.Table(
    "slots",
    METADATA,
    sa.Column("scope", sa.String, primary_key=True),
    sa.Column("run_id", sa.String, sa.ForeignKey("runs.run_id"), primary_key=True),
    sa.Column("taken", sa.String, nullable=False),
)
"""Counted limits over all workers: who holds one of the few places of a region, a bucket, an image."""


INDEXES = (
    sa.Index("runs_created", RUNS.c.created),
    sa.Index("runs_fleet", RUNS.c.fleet_id, RUNS.c.state),
    sa.Index("intents_kind", INTENTS.c.kind, INTENTS.c.created),
    sa.Index("history_step", HISTORY.c.step, HISTORY.c.kind, HISTORY.c.number),
    sa.Index("fleet_items_run", FLEET_ITEMS.c.run_id),
)


def _first(connection: sa.Connection) -> None:
    METADATA.create_all(connection, tables=[ABOUT, RUNS, STEPS, INTENTS, LEASES])


def _fleets(connection: sa.Connection) -> None:
    _add_column(connection, "migrations", "tool_version", "VARCHAR")
    _add_column(connection, "runs", "options", "JSON NOT NULL DEFAULT '{}'")
    _add_column(connection, "runs", "fleet_id", "VARCHAR")
    _add_column(connection, "runs", "priority", "INTEGER NOT NULL DEFAULT 0")
    _add_column(connection, "leases", "progress", "JSON")
    _add_column(connection, "leases", "process", "VARCHAR")
    _add_column(connection, "leases", "held", "BOOLEAN NOT NULL DEFAULT false")
    _add_column(connection, "steps", "host", "VARCHAR")
    METADATA.create_all(connection, tables=[HISTORY, FLEETS, FLEET_ITEMS, SLOTS])
    for index in INDEXES:
        index.create(connection, checkfirst=True)


def _add_column(connection: sa.Connection, table: str, name: str, kind: str) -> None:
    # A new database has the column already: the first migration makes the tables as they are now.
    if name not in {column["name"] for column in sa.inspect(connection).get_columns(table)}:
        connection.exec_driver_sql(f"ALTER TABLE {table} ADD COLUMN {name} {kind}")


STEPS_TO_NOW: tuple[Callable[[sa.Connection], None], ...] = (_first, _fleets)
"""Migration n is entry n - 1."""

VERSION = len(STEPS_TO_NOW)


def version(connection: sa.Connection) -> int:
    """The version of a database; 0 = it is empty.

    Raises:
        LookupError: it was written by a newer version of this program.
    """
    if not sa.inspect(connection).has_table(MIGRATIONS.name):
        return 0
    table = MIGRATIONS
    found: int = connection.execute(sa.select(sa.func.max(table.c.number))).scalar() or 0
    if found > VERSION:
        row = connection.execute(sa.select(table).where(table.c.number == found)).one()
        raise LookupError(
            f"hypersdk {row.tool_version} made it version {found} on {row.applied[:10]}, this one knows {VERSION}"
        )
    return found


def migrate(connection: sa.Connection, now: str, tool_version: str) -> None:
    """Bring a database of any earlier version to this one.

    Args:
        connection: inside a write transaction, in which nobody else migrates.
        now: time to note.
        tool_version: version of this program, to note.

    Raises:
        LookupError: the database was written by a newer version.
    """
    METADATA.create_all(connection, tables=[MIGRATIONS])
    for number in range(version(connection) + 1, VERSION + 1):
        STEPS_TO_NOW[number - 1](connection)
        connection.execute(MIGRATIONS.insert().values(number=number, applied=now, tool_version=tool_version))


def iso(when: datetime) -> str:
    """A time as the store writes it: UTC, ISO 8601, milliseconds. They sort as text."""
    return when.astimezone(UTC).isoformat(timespec="milliseconds")
