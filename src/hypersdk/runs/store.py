"""The run store: runs, steps and the ledger of temporary things, in a SQLite file or in PostgreSQL.

Rules of this file: one code for both, what differs is in `sqlite` and `postgres`; what a step did is committed before
the next step begins; a store that cannot be reached is told apart from one that cannot be used, and a patient one waits
for it; nothing here knows what a step does.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy as sa

from hypersdk import errors
from hypersdk.runs import schema
from hypersdk.runs.backend import Lease
from hypersdk.runs.database import Database
from hypersdk.runs.drive import Drive
from hypersdk.runs.records import INTERRUPTED, QUEUED, Holder, Intent, Run, StepRecord

_RUN_ID_LENGTH = 12

BEGINNING = "begin runs"
"""What only one process at a time does: two would begin the same run."""

T = TypeVar("T")


class RunStore(Database):
    """All runs of one user on one machine, or of all machines that share a database; see `Database` for arguments."""

    def run_id(self, key: str, generation: int) -> str:
        """The id of a run: the same for the same question to the same store, another one everywhere else."""
        machine = self.host if self._backend.personal else ""
        text = "\0".join((self._id, machine, key, str(generation)))
        return hashlib.sha256(text.encode()).hexdigest()[:_RUN_ID_LENGTH]

    def latest(self, key: str) -> Run | None:
        """The newest run of this key."""
        runs = schema.RUNS
        query = sa.select(runs).where(runs.c.key == key).order_by(runs.c.generation.desc()).limit(1)
        return next((Run(**row) for row in self.rows(query)), None)

    def run(self, text: str) -> Run:
        """The run with this id, or whose id alone begins with it.

        Raises:
            NotFoundError: none.
            UsageError: several.
        """
        runs = schema.RUNS
        query = sa.select(runs).where(runs.c.run_id.startswith(text, autoescape=True))
        found = [Run(**row) for row in self.rows(query)]
        exact = [run for run in found if run.run_id == text] or found
        if not exact or not text:
            raise errors.NotFoundError(f"no run {text!r}", resource=text, hint="hyperexport runs list")
        if len(exact) > 1:
            raise errors.UsageError(f"{len(exact)} runs begin with {text!r}", resource=text, hint="write more of it")
        return exact[0]

    def runs(
        self, *, states: Collection[str] | None = None, fleet_id: str | None = None, limit: int | None = None
    ) -> list[Run]:
        """Runs, newest first.

        Args:
            states: only those in one of these.
            fleet_id: only those that this fleet began.
            limit: at most so many.
        """
        table = schema.RUNS
        query = sa.select(table).order_by(table.c.created.desc(), table.c.run_id).limit(limit)
        query = query if states is None else query.where(table.c.state.in_(states))
        query = query if fleet_id is None else query.where(table.c.fleet_id == fleet_id)
        return [Run(**row) for row in self.rows(query)]

    def steps(self, run_id: str) -> list[StepRecord]:
        """The steps of a run that began, oldest first."""
        table = schema.STEPS
        columns = [column for column in table.c if column.name != "run_id"]
        query = sa.select(*columns).where(table.c.run_id == run_id).order_by(table.c.started)
        return [StepRecord(**row) for row in self.rows(query)]

    def intents(self, run_id: str, *, open_only: bool = False) -> list[Intent]:
        """The ledger of a run, oldest first; `open_only` = what may still exist."""
        table = schema.INTENTS
        query = sa.select(table).where(table.c.run_id == run_id).order_by(table.c.created)
        query = query.where(table.c.removed.is_(None)) if open_only else query
        return [intent for _, intent in map(_intent, self.rows(query))]

    def intents_of_kind(self, kind: str, *, since: datetime) -> list[tuple[str, Intent]]:
        """What any run recorded of this kind since a time, with the run's id; gone things included."""
        table = schema.INTENTS
        query = sa.select(table).where(table.c.kind == kind, table.c.created >= schema.iso(since))
        return [_intent(row) for row in self.rows(query.order_by(table.c.created))]

    def begin(
        self,
        key: str,
        generation: int,
        subject: str,
        plan: Mapping[str, Any],
        *,
        options: Mapping[str, Any] | None = None,
        fleet_id: str | None = None,
        priority: int = 0,
    ) -> Run:
        """Record a new run. The same key and generation again answers the run that is already there.

        Args:
            key: what makes two commands the same export.
            generation: how often this key was started anew, from 1.
            subject: what is exported, for people.
            plan: as JSON.
            options: how it was asked for, as JSON.
            fleet_id: the fleet whose queue it waits in; None = it begins at once.
            priority: in that queue.
        """
        time, runs = self.time(), schema.RUNS
        values = {
            "run_id": self.run_id(key, generation),
            "key": key,
            "generation": generation,
            "subject": subject,
            "plan": dict(plan),
            "state": INTERRUPTED if fleet_id is None else QUEUED,
            "options": dict(options or {}),
            "fleet_id": fleet_id,
            "priority": priority,
            "cancel": False,
            "created": time,
            "updated": time,
            "host": self.host,
            "tool_version": self.version,
        }
        query = sa.select(runs).where(runs.c.key == key, runs.c.generation == generation)

        def record(connection: sa.Connection) -> Run:
            self.alone(connection, BEGINNING)
            if connection.execute(query).first() is None:
                connection.execute(runs.insert().values(**values))
            return Run(**connection.execute(query).mappings().one())

        return self.write(record)

    def request_cancel(self, run_id: str) -> None:
        """Ask whoever drives the run to stop and clean up."""
        query = schema.RUNS.update().where(schema.RUNS.c.run_id == run_id).values(cancel=True)
        self.write(lambda connection: connection.execute(query))

    def holder(self, run_id: str) -> Holder | None:
        """Who drives the run, or drove it last; None = nobody ever did."""
        return self.holders([run_id]).get(run_id)

    def holders(self, run_ids: Collection[str]) -> dict[str, Holder]:
        """Who drives these runs, or drove them last, in one question; runs that nobody ever drove are absent."""
        leases = schema.LEASES
        columns = (leases.c.run_id, leases.c.owner, leases.c.epoch, leases.c.heartbeat, leases.c.progress)
        query = sa.select(*columns).where(leases.c.run_id.in_(run_ids))

        def look(connection: sa.Connection) -> dict[str, Holder]:
            driven = self._backend.driven(run_ids, connection)
            rows = connection.execute(query).all()
            return {row.run_id: Holder(*row[1:4], row.run_id in driven, row.progress) for row in rows}

        return self.read(look)

    @contextlib.contextmanager
    def drive(self, run_id: str) -> Iterator[Drive]:
        """Take the run's lease for the time of the `with` block.

        Raises:
            RunDriven: another process drives the run.
        """
        owner, nonce = f"{self.host}:{os.getpid()}", secrets.token_hex(4)

        def take() -> Lease | None:
            with self._explaining():
                return self._backend.take(run_id, owner, nonce)

        lease = self._trying(take)
        if lease is None:
            raise errors.RunDriven(
                f"another process drives run {run_id} already",
                resource=run_id,
                hint=f"watch it with: hyperexport runs attach {run_id}",
            )
        try:
            yield Drive(self, run_id, lease)
        finally:
            lease.release()

    def forget(self, run_ids: Collection[str]) -> None:
        """Take away what lies outside the database for runs that are deleted."""
        self._backend.forget(run_ids)


def _intent(row: Mapping[str, Any]) -> tuple[str, Intent]:
    values = dict(row)
    return values.pop("run_id"), Intent(**values)
