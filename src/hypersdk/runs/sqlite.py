"""A run store in one SQLite file, for one machine: the lock of a file per run is the lease.

Rules of this file: the files are for their owner only; a transaction that writes begins as a writer; the file that is
written is the file that the path names.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from hypersdk import errors
from hypersdk.runs import schema
from hypersdk.runs.backend import BUSY_TIMEOUT, Lease, reason_of, unusable
from hypersdk.runs.lease import RunLock, lost

_SLICE = 1.0
"""Seconds that SQLite waits for a lock before Python can hear a signal again; also what a hasty transaction waits."""

_TRIES = 30
"""To find a new file free for a moment."""


class SqliteBackend:
    """One SQLite file.

    Args:
        path: made with mode 0600 in a directory with mode 0700 if absent.

    Raises:
        ConfigError: the file cannot be made, or its directory cannot hold locks.
    """

    personal = True

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()
        self.place = str(self.path)
        self._locks = self.path.with_name(self.path.name + ".locks")
        try:
            self._file = self._make_files()
        except OSError as error:
            raise unusable(self.place, error) from error
        with self._lock("probe") as probe:
            probe.take()
        self.engine = _engine(self.path)

    def close(self) -> None:
        """See `Backend`."""
        self.engine.dispose()

    def now(self) -> datetime:
        """See `Backend`."""
        return datetime.now(UTC)

    @contextlib.contextmanager
    def begin(self, *, reading: bool, hasty: bool = False) -> Iterator[sa.Connection]:
        """See `Backend`."""
        if not reading:
            self._demand_same_file()
        options = {"reading": reading, "patience": _SLICE if hasty else BUSY_TIMEOUT}
        with self.engine.connect().execution_options(**options) as connection, connection.begin():
            yield connection

    def demand_reachable(self) -> None:
        """See `Backend`; a file is there or is not, and says so when it is used."""

    def alone(self, connection: sa.Connection, what: str) -> None:
        """See `Backend`; a transaction that writes is alone anyway."""

    def driven(self, run_ids: Collection[str], connection: sa.Connection) -> set[str]:  # noqa: ARG002 - the lock is outside the database
        """See `Backend`."""
        return {run_id for run_id in run_ids if self._is_locked(run_id)}

    def _is_locked(self, run_id: str) -> bool:
        if not (self._locks / run_id).exists():
            return False
        with self._lock(run_id) as lock:
            return not lock.take()

    def take(self, run_id: str, owner: str, nonce: str) -> Lease | None:  # noqa: ARG002 - a lock of a file is never half taken
        """See `Backend`."""
        lock = self._lock(run_id)
        if not lock.take():
            return None
        try:
            return _FileLease(self, run_id, lock, owner)
        except BaseException:
            lock.release()
            raise

    def forget(self, run_ids: Collection[str]) -> None:
        """See `Backend`."""
        for run_id in run_ids:
            (self._locks / run_id).unlink(missing_ok=True)

    def explain(self, error: Exception) -> errors.HypersdkError:
        """See `Backend`."""
        cause = error.__cause__ if isinstance(error, sa.exc.SQLAlchemyError) else error
        # The low byte is the error, the rest tells its kinds apart (SQLite: "Result and Error Codes").
        code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            return errors.DiskFull(
                f"no room left for the run store {self.place}",
                resource=self.place,
                hint="make room, then the same command resumes",
            )
        if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            return errors.StoreUnreachable(
                f"another program has the run store {self.place} locked", resource=self.place, hint="try again"
            )
        return unusable(self.place, reason_of(error))

    def _lock(self, run_id: str) -> RunLock:
        return RunLock(self._locks / run_id)

    def _make_files(self) -> tuple[int, int]:
        if not self.path.parent.is_dir():
            self.path.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
        # SQLite would create it with the umask's mode, and its -wal and -shm files take over the mode of this one.
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            return _identity(os.fstat(descriptor))
        finally:
            os.close(descriptor)

    def _demand_same_file(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if _identity(self.path.stat()) == self._file:
                return
        # SQLite would go on writing into a file that nobody finds any more.
        raise errors.FileError(
            f"the run store {self.place} was deleted or replaced while it was in use",
            resource=self.place,
            hint="what this run made stays in the tenancy; put the file back, or look with: hyperexport gc",
        )


class _FileLease:
    def __init__(self, backend: SqliteBackend, run_id: str, lock: RunLock, owner: str) -> None:
        self._backend = backend
        self._run_id = run_id
        self._lock = lock
        self._cancel = False
        leases = schema.LEASES
        with backend.begin(reading=False) as connection:
            epoch = connection.execute(sa.select(leases.c.epoch).where(self._ours())).scalar()
            self.epoch = (epoch or 0) + 1
            values = {"owner": owner, "epoch": self.epoch, "heartbeat": schema.iso(backend.now())}
            if epoch is None:
                connection.execute(leases.insert().values(run_id=run_id, **values))
            else:
                connection.execute(leases.update().where(self._ours()).values(**values))

    def beat(self, progress: Mapping[str, Any] | None) -> bool:
        leases, runs = schema.LEASES, schema.RUNS
        beating = self._backend.begin(reading=False, hasty=True)
        values = {"heartbeat": schema.iso(self._backend.now()), "progress": progress}
        try:
            with beating as connection:
                epoch, owner = connection.execute(sa.select(leases.c.epoch, leases.c.owner).where(self._ours())).one()
                if epoch != self.epoch:
                    raise lost(self._run_id, owner)
                connection.execute(leases.update().where(self._ours()).values(**values))
                query = sa.select(runs.c.cancel).where(runs.c.run_id == self._run_id)
                self._cancel = bool(connection.execute(query).scalar())
        except sa.exc.OperationalError:
            # Full or locked: the lock on the file is the lease, and whoever writes a step next says what is wrong.
            return self._cancel
        return self._cancel

    def release(self) -> None:
        self._lock.release()

    def _ours(self) -> sa.ColumnElement[bool]:
        return schema.LEASES.c.run_id == self._run_id


def _engine(path: Path) -> sa.Engine:
    # The connection stays open: closing the last one writes the whole log back (a checkpoint), with two more syncs.
    engine = sa.create_engine(sa.URL.create("sqlite", database=str(path)), connect_args={"timeout": _SLICE})

    @sa.event.listens_for(engine, "connect")
    def prepare(raw: sqlite3.Connection, _record: object) -> None:
        raw.isolation_level = None  # transactions begin where `begin` below says so
        _log_ahead(raw)
        for pragma in ("synchronous=FULL", "foreign_keys=ON"):
            raw.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        options = connection.get_execution_options()
        if options["reading"]:
            connection.exec_driver_sql("BEGIN")
            return
        left = options["patience"]
        while True:
            try:
                # IMMEDIATE: a transaction that reads first and writes later would fail when another one wrote between.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            except sa.exc.OperationalError as error:
                left -= _SLICE
                if getattr(error.__cause__, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY or left <= 0:
                    raise
            else:
                return

    return engine


def _log_ahead(raw: sqlite3.Connection) -> None:
    for left in reversed(range(_TRIES)):
        try:
            raw.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            # A new file that two processes open at once: this does not wait for the other one, a transaction does.
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or not left:
                raise
            raw.execute("BEGIN IMMEDIATE")
            raw.execute("COMMIT")
        else:
            return


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
