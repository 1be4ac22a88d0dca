"""The right to write one run's steps and intents, while this process drives it.

Rules of this file: every write happens in one transaction that first reads the lease's epoch, and depends on nothing
else: a late owner that nobody replaced goes on; a write that was cut may have happened, so each is safe to do twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any, TypeVar

import sqlalchemy as sa

from hypersdk.runs import schema
from hypersdk.runs.backend import Lease
from hypersdk.runs.database import Database
from hypersdk.runs.lease import lost
from hypersdk.runs.records import UNFINISHED, Intent

T = TypeVar("T")


class Drive:
    """The right to write one run's steps and intents; made by `RunStore.drive`.

    Every method raises LeaseLost as soon as another process has taken the run over. Where the store is a patient one
    they wait while it cannot be reached; else StoreUnreachable.
    """

    def __init__(self, store: Database, run_id: str, lease: Lease) -> None:
        self.store = store
        self.run_id = run_id
        self._lease = lease

    @property
    def taken_over(self) -> bool:
        """Whether somebody drove the run before."""
        return self._lease.epoch > 1

    def results(self) -> dict[str, Mapping[str, Any]]:
        """Stored results of the finished steps, by name."""
        table = schema.STEPS
        query = sa.select(table.c.name, table.c.result).where(table.c.run_id == self.run_id).order_by(table.c.started)
        rows = self.store.read(lambda connection: connection.execute(query).all())
        return {row.name: row.result for row in rows if row.result is not None}

    def start_step(self, name: str) -> None:
        """Note that a step begins (again)."""
        values = {"state": "started", "host": self.store.host}
        fresh = {**values, "run_id": self.run_id, "name": name, "started": self.store.time()}

        def start(connection: sa.Connection) -> None:
            if not _update(connection, schema.STEPS, self._step(name), **values):
                connection.execute(schema.STEPS.insert().values(**fresh))

        self.write(start)

    def finish_step(self, name: str, result: Mapping[str, Any]) -> None:
        """Store the result of a step; small JSON values without secrets."""
        values = {"state": "done", "result": dict(result), "finished": self.store.time()}
        self._change(schema.STEPS, self._step(name), **values)

    def forget_steps(self, names: Iterable[str]) -> None:
        """Let steps run again as if they had never begun."""
        table = schema.STEPS
        these = sa.and_(table.c.run_id == self.run_id, table.c.name.in_(list(names)))
        self.write(lambda connection: connection.execute(table.delete().where(these)))

    def intend(self, intent: Intent) -> None:
        """Record a thing before it is created; recording it again opens it again and forgets its former identity."""
        table = schema.INTENTS
        values = {**asdict(intent), "place": dict(intent.place), "created": self.store.time(), "run_id": self.run_id}

        def record(connection: sa.Connection) -> None:
            connection.execute(table.delete().where(self._intent(intent.kind, intent.name)))
            connection.execute(table.insert().values(**values))

        self.write(record)

    def know(self, kind: str, name: str, **facts: str | int | None) -> None:
        """Add what became known of an intended thing: resource_id, etag, size."""
        self._change(schema.INTENTS, self._intent(kind, name), **facts)

    def close_intent(self, kind: str, name: str) -> None:
        """Note that a thing is gone, or now belongs to the user."""
        self._change(schema.INTENTS, self._intent(kind, name), removed=self.store.time())

    def set_state(self, state: str, detail: str | None = None) -> None:
        """Note where the run stands; a finished run's cancel flag is dropped."""
        values: dict[str, Any] = {"state": state, "detail": detail, "updated": self.store.time()}
        if state not in UNFINISHED:
            values["cancel"] = False
        self._change(schema.RUNS, schema.RUNS.c.run_id == self.run_id, **values)

    def beat(self, progress: Mapping[str, Any] | None = None) -> bool:
        """Note that we live; never waits, not even for a store that cannot be reached.

        Args:
            progress: how far the run is, for `runs attach` and a fleet's table; small JSON values without secrets.

        Returns:
            Whether somebody asked to cancel the run, as far as is known: in Postgres a few seconds late.
        """
        return self._lease.beat(progress)

    def check(self) -> None:
        """Make sure that the lease is still ours, just before something is deleted.

        Raises:
            LeaseLost: it is not.
        """
        self.write(lambda _connection: None)

    def write(self, function: Callable[[sa.Connection], T], *, patient: bool = True) -> T:
        """Run a function in a transaction that has seen that the lease is still ours.

        Args:
            function: may be called again if the connection is cut, even in the moment of the commit.
            patient: wait for a store that cannot be reached, where it is such a one; hooks of a wait must not.
        """

        def fenced(connection: sa.Connection) -> T:
            leases = schema.LEASES
            query = sa.select(leases.c.epoch, leases.c.owner).where(leases.c.run_id == self.run_id).with_for_update()
            row = connection.execute(query).one_or_none()
            if row is None or row.epoch != self._lease.epoch:
                raise lost(self.run_id, row.owner if row else "nobody")
            return function(connection)

        store = self.store if patient else self.store.now_or_never()
        return store.write(fenced)

    def _change(self, table: sa.Table, where: sa.ColumnElement[bool], **values: object) -> None:
        self.write(lambda connection: _update(connection, table, where, **values))

    def _step(self, name: str) -> sa.ColumnElement[bool]:
        return sa.and_(schema.STEPS.c.run_id == self.run_id, schema.STEPS.c.name == name)

    def _intent(self, kind: str, name: str) -> sa.ColumnElement[bool]:
        table = schema.INTENTS
        return sa.and_(table.c.run_id == self.run_id, table.c.kind == kind, table.c.name == name)


def _update(connection: sa.Connection, table: sa.Table, where: sa.ColumnElement[bool], **values: object) -> bool:
    return bool(connection.execute(table.update().where(where).values(**values)).rowcount)
