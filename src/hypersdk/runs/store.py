"""The run store: runs, steps and the ledger of temporary things, in one SQLite file.

Rules of this file: every write of a step or an intent happens in one transaction that first reads the lease's epoch;
what a step did is committed before the next step begins (`synchronous=FULL`); nothing here knows what a step does.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa

from hypersdk import errors
from hypersdk.runs import schema
from hypersdk.runs.lease import RunLock, unusable
from hypersdk.runs.records import INTERRUPTED, QUEUED, UNFINISHED, Holder, Intent, Run, StepRecord

BUSY_TIMEOUT = 30.0
"""Seconds to wait for another process's write transaction (reference: durable.md, "Run store")."""

_RUN_ID_LENGTH = 12


def _utc_now() -> datetime:
    return datetime.now(UTC)


class RunStore:
    """All runs of one user on one machine.

    Args:
        path: the SQLite file; made with mode 0600 in a directory with mode 0700 if absent.
        host: name of this machine, written into runs.
        version: version of this program, written into runs.
        now: time of day, UTC.

    Raises:
        ConfigError: the store cannot be used; names HYPEREXPORT_STATE.
    """

    def __init__(self, path: str | Path, *, host: str, version: str, now: Callable[[], datetime] = _utc_now) -> None:
        if "://" in str(path):
            raise unusable(path, "only a file on this machine can be used")
        self.path = Path(path).absolute()
        self.host = host
        self.version = version
        self._now = now
        try:
            self._make_files()
            self._engine = _engine(self.path)
            with self.writing() as connection:
                schema.migrate(connection, self.time())
                self._id = _store_id(connection)
        except (OSError, sa.exc.SQLAlchemyError, LookupError) as error:
            raise unusable(self.path, _reason(error)) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_details: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database."""
        self._engine.dispose()

    def run_id(self, key: str, generation: int) -> str:
        """The id of a run: the same for the same question to the same store, another one everywhere else."""
        text = "\0".join((self._id, self.host, key, str(generation)))
        return hashlib.sha256(text.encode()).hexdigest()[:_RUN_ID_LENGTH]

    def latest(self, key: str) -> Run | None:
        """The newest run of this key."""
        runs = schema.RUNS
        query = sa.select(runs).where(runs.c.key == key).order_by(runs.c.generation.desc()).limit(1)
        with self.reading() as connection:
            row = connection.execute(query).mappings().first()
        return Run(**row) if row else None

    def run(self, text: str) -> Run:
        """The run with this id, or whose id alone begins with it.

        Raises:
            NotFoundError: none.
            UsageError: several.
        """
        runs = schema.RUNS
        query = sa.select(runs).where(runs.c.run_id.startswith(text, autoescape=True))
        with self.reading() as connection:
            found = [Run(**row) for row in connection.execute(query).mappings()]
        exact = [run for run in found if run.run_id == text] or found
        if not exact or not text:
            raise errors.NotFoundError(f"no run {text!r}", resource=text, hint="hyperexport runs list")
        if len(exact) > 1:
            raise errors.UsageError(f"{len(exact)} runs begin with {text!r}", resource=text, hint="write more of it")
        return exact[0]

    def runs(self) -> list[Run]:
        """All runs, newest first."""
        query = sa.select(schema.RUNS).order_by(schema.RUNS.c.created.desc(), schema.RUNS.c.run_id)
        with self.reading() as connection:
            return [Run(**row) for row in connection.execute(query).mappings()]

    def steps(self, run_id: str) -> list[StepRecord]:
        """The steps of a run that began, oldest first."""
        table = schema.STEPS
        columns = [column for column in table.c if column.name != "run_id"]
        query = sa.select(*columns).where(table.c.run_id == run_id).order_by(table.c.started)
        with self.reading() as connection:
            return [StepRecord(**row) for row in connection.execute(query).mappings()]

    def intents(self, run_id: str, *, open_only: bool = False) -> list[Intent]:
        """The ledger of a run, oldest first; `open_only` = what may still exist."""
        with self.reading() as connection:
            return [intent for _, intent in _intents(connection, run_id=run_id, open_only=open_only)]

    def intents_of_kind(self, kind: str, *, since: datetime) -> list[tuple[str, Intent]]:
        """What any run recorded of this kind since a time, with the run's id; gone things included."""
        with self.reading() as connection:
            return list(_intents(connection, kind=kind, since=_iso(since)))

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
        time = self.time()
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
        with self.writing() as connection:
            runs = schema.RUNS
            row = connection.execute(sa.select(runs).where(runs.c.run_id == values["run_id"])).mappings().first()
            if row is None:
                connection.execute(runs.insert().values(**values))
        return self.run(str(values["run_id"]))

    def request_cancel(self, run_id: str) -> None:
        """Ask whoever drives the run to stop and clean up."""
        with self.writing() as connection:
            connection.execute(schema.RUNS.update().where(schema.RUNS.c.run_id == run_id).values(cancel=True))

    def is_driven(self, run_id: str, _connection: sa.Connection | None = None) -> bool:
        """Whether a living process drives the run now.

        Args:
            run_id: the run.
            connection: a transaction to look in; None = one of its own.
        """
        with self._lock(run_id) as lock:
            return not lock.take()

    def holder(self, run_id: str) -> Holder | None:
        """Who drives the run, or drove it last; None = nobody ever did."""
        leases = schema.LEASES
        query = sa.select(leases.c.owner, leases.c.epoch, leases.c.heartbeat, leases.c.progress).where(
            leases.c.run_id == run_id
        )
        with self.reading() as connection:
            row = connection.execute(query).mappings().first()
        return Holder(**row, alive=self.is_driven(run_id)) if row else None

    def alone(self, _connection: sa.Connection, _what: str) -> None:
        """Within this transaction nobody else does the same; a writing transaction of SQLite is alone anyway."""

    @contextlib.contextmanager
    def drive(self, run_id: str) -> Iterator[Drive]:
        """Take the run's lease for the time of the `with` block.

        Raises:
            RunDriven: another process drives the run.
        """
        with self._lock(run_id) as lock:
            if not lock.take():
                raise errors.RunDriven(
                    f"another process drives run {run_id} already",
                    resource=run_id,
                    hint=f"watch it with: hyperexport runs show {run_id}",
                )
            yield Drive(self, run_id, self._take_lease(run_id))

    def _take_lease(self, run_id: str) -> int:
        leases = schema.LEASES
        owner = f"{self.host}:{os.getpid()}"
        with self.writing() as connection:
            epoch = connection.execute(sa.select(leases.c.epoch).where(leases.c.run_id == run_id)).scalar()
            values = {"owner": owner, "epoch": (epoch or 0) + 1, "heartbeat": self.time()}
            if epoch is None:
                connection.execute(leases.insert().values(run_id=run_id, **values))
            else:
                connection.execute(leases.update().where(leases.c.run_id == run_id).values(**values))
        return (epoch or 0) + 1

    def _lock(self, run_id: str) -> RunLock:
        return RunLock(self.path.with_name(self.path.name + ".locks") / run_id)

    def _make_files(self) -> None:
        if not self.path.parent.is_dir():
            self.path.parent.mkdir(parents=True, mode=0o700)
        # SQLite would create it with the umask's mode, and its -wal and -shm files take over the mode of this one.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))

    def time(self) -> str:
        """Now, UTC, ISO 8601."""
        return _iso(self._now())

    @contextlib.contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A transaction that only reads."""
        try:
            with self._engine.connect() as connection:
                yield connection
        except sa.exc.SQLAlchemyError as error:
            raise unusable(self.path, _reason(error)) from error

    @contextlib.contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that writes; committed at its end."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except sa.exc.SQLAlchemyError as error:
            raise unusable(self.path, _reason(error)) from error


class Drive:
    """The right to write one run's steps and intents; made by `RunStore.drive`.

    Every method raises LeaseLost as soon as another process has taken the run over.
    """

    def __init__(self, store: RunStore, run_id: str, epoch: int) -> None:
        self.store = store
        self.run_id = run_id
        self._epoch = epoch

    def results(self) -> dict[str, Mapping[str, Any]]:
        """Stored results of the finished steps, by name."""
        return {step.name: step.result for step in self.store.steps(self.run_id) if step.result is not None}

    def start_step(self, name: str) -> None:
        """Note that a step begins (again)."""
        with self.writing() as connection:
            values = {"state": "started", "host": self.store.host}
            if not _update(connection, schema.STEPS, self._step(name), **values):
                values |= {"run_id": self.run_id, "name": name, "started": self.store.time()}
                connection.execute(schema.STEPS.insert().values(**values))

    def finish_step(self, name: str, result: Mapping[str, Any]) -> None:
        """Store the result of a step; small JSON values without secrets."""
        with self.writing() as connection:
            values = {"state": "done", "result": dict(result), "finished": self.store.time()}
            _update(connection, schema.STEPS, self._step(name), **values)

    def forget_steps(self, names: Iterable[str]) -> None:
        """Let steps run again as if they had never begun."""
        with self.writing() as connection:
            table = schema.STEPS
            connection.execute(table.delete().where(table.c.run_id == self.run_id, table.c.name.in_(list(names))))

    def intend(self, intent: Intent) -> None:
        """Record a thing before it is created; recording it again opens it again and forgets its former identity."""
        with self.writing() as connection:
            table = schema.INTENTS
            values = {**asdict(intent), "place": dict(intent.place), "created": self.store.time()}
            connection.execute(table.delete().where(self._intent(intent.kind, intent.name)))
            connection.execute(table.insert().values(run_id=self.run_id, **values))

    def know(self, kind: str, name: str, **facts: str | int | None) -> None:
        """Add what became known of an intended thing: resource_id, etag, size."""
        with self.writing() as connection:
            _update(connection, schema.INTENTS, self._intent(kind, name), **facts)

    def close_intent(self, kind: str, name: str) -> None:
        """Note that a thing is gone, or now belongs to the user."""
        with self.writing() as connection:
            _update(connection, schema.INTENTS, self._intent(kind, name), removed=self.store.time())

    def set_state(self, state: str, detail: str | None = None) -> None:
        """Note where the run stands; a finished run's cancel flag is dropped."""
        with self.writing() as connection:
            values: dict[str, Any] = {"state": state, "detail": detail, "updated": self.store.time()}
            if state not in UNFINISHED:
                values["cancel"] = False
            _update(connection, schema.RUNS, schema.RUNS.c.run_id == self.run_id, **values)

    def beat(self, progress: Mapping[str, Any] | None = None) -> bool:
        """Note that we live.

        Args:
            progress: how far the run is, for `runs attach` and a fleet's table; small JSON values without secrets.

        Returns:
            Whether somebody asked to cancel the run.
        """
        with self.writing() as connection:
            leases, runs = schema.LEASES, schema.RUNS
            _update(connection, leases, leases.c.run_id == self.run_id, heartbeat=self.store.time(), progress=progress)
            return bool(connection.execute(sa.select(runs.c.cancel).where(runs.c.run_id == self.run_id)).scalar())

    def check(self) -> None:
        """Make sure that the lease is still ours, just before something is deleted.

        Raises:
            LeaseLost: it is not.
        """
        with self.writing():
            pass

    def _step(self, name: str) -> sa.ColumnElement[bool]:
        return sa.and_(schema.STEPS.c.run_id == self.run_id, schema.STEPS.c.name == name)

    def _intent(self, kind: str, name: str) -> sa.ColumnElement[bool]:
        table = schema.INTENTS
        return sa.and_(table.c.run_id == self.run_id, table.c.kind == kind, table.c.name == name)

    @contextlib.contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that has seen that the lease is still ours."""
        leases = schema.LEASES
        with self.store.writing() as connection:
            query = sa.select(leases.c.epoch, leases.c.owner).where(leases.c.run_id == self.run_id).with_for_update()
            epoch, owner = connection.execute(query).one()
            if epoch != self._epoch:
                raise errors.LeaseLost(f"run {self.run_id} is driven by {owner} now", resource=self.run_id)
            yield connection


def _engine(path: Path) -> sa.Engine:
    # The connection stays open: closing the last one writes the whole log back (a checkpoint), with two more syncs.
    engine = sa.create_engine(sa.URL.create("sqlite", database=str(path)), connect_args={"timeout": BUSY_TIMEOUT})

    @sa.event.listens_for(engine, "connect")
    def prepare(raw: sqlite3.Connection, _record: object) -> None:
        raw.isolation_level = None  # transactions begin where `begin` below says so
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            raw.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        # IMMEDIATE: a transaction that reads first and writes later would fail when another one wrote in between.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _store_id(connection: sa.Connection) -> str:
    about = schema.ABOUT
    found = connection.execute(sa.select(about.c.value).where(about.c.name == "id")).scalar()
    if found is None:
        found = secrets.token_hex(8)
        connection.execute(about.insert().values(name="id", value=found))
    return str(found)


def _intents(
    connection: sa.Connection,
    *,
    run_id: str | None = None,
    kind: str | None = None,
    since: str | None = None,
    open_only: bool = False,
) -> Iterator[tuple[str, Intent]]:
    table = schema.INTENTS
    query = sa.select(table).order_by(table.c.created)
    query = query if run_id is None else query.where(table.c.run_id == run_id)
    query = query if kind is None else query.where(table.c.kind == kind)
    query = query if since is None else query.where(table.c.created >= since)
    query = query.where(table.c.removed.is_(None)) if open_only else query
    for row in connection.execute(query).mappings():
        values = dict(row)
        yield values.pop("run_id"), Intent(**values)


def _update(connection: sa.Connection, table: sa.Table, where: sa.ColumnElement[bool], **values: object) -> bool:
    return bool(connection.execute(table.update().where(where).values(**values)).rowcount)


def _iso(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="milliseconds")


def _reason(error: Exception) -> str:
    return str(error.__cause__ or error) if isinstance(error, sa.exc.SQLAlchemyError) else str(error)
