"""A run store in PostgreSQL, for any number of machines: a row that is kept fresh is the lease.

Rules of this file: the database's clock is the only one that counts; psycopg is imported here and in `presence` only;
a password is nowhere but in what psycopg gets; no session stands still in a transaction, so that a suspended process
holds no row for long.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from hypersdk import errors
from hypersdk.runs import schema
from hypersdk.runs.backend import BUSY_TIMEOUT, Lease, reason_of, unusable
from hypersdk.runs.lease import BEAT_EVERY, LEASE_SECONDS, Keeper, KeptLease, surely_dead, this_process

SCHEMES = ("postgresql://", "postgres://")
"""What libpq calls its URLs (PostgreSQL: "Connection URIs"); everything else in them is libpq's, too."""

INSTALL = "pip install 'hypersdk[fleet]'"

CONNECTING = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "application_name": "hyperexport",
}
"""Seconds (the last time: milliseconds) after which a server that vanished without a word is given up; what the URL
says of them wins."""

SESSION = {
    "TimeZone": "UTC",
    "idle_in_transaction_session_timeout": "10s",
    "lock_timeout": f"{BUSY_TIMEOUT:.0f}s",
}
"""Our transactions take milliseconds: one that stands still belongs to a process that was suspended in it."""

BEATS = 10
"""At least so many beats may be missed before a lease ends."""

SILENT = 2.0
"""Seconds without an answer after which nobody in a hurry asks any more."""

POOL = 2
MORE = 14
"""Connections that are kept, and that may be opened beyond when many threads ask at once."""

PASSING = ("08", "40", "53", "55P03", "57", "25006", "25P03")
"""Beginnings of SQLSTATEs that pass: connection, serialization, resources, lock time-out, shutdown, standby, idle
transaction (PostgreSQL: "PostgreSQL Error Codes")."""

NO_ROOM = "53100"

_LOCKS = 0x68797065
"""First half of our advisory locks ("hype"); the second half says what is to be done alone."""

_NOW = "to_char(({}) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"+00:00\"')"
NOW = sa.literal_column(_NOW.format("clock_timestamp()"), sa.String)
"""Now, as the store writes times. They sort as text."""


class PostgresBackend:
    """One PostgreSQL database.

    Args:
        url: libpq's: postgresql://user:password@host:port/database?sslmode=verify-full
        lease_seconds: how long a lease holds without a beat.

    Raises:
        ConfigError: psycopg is not installed, or the URL is not one.
    """

    personal = False

    def __init__(self, url: str, lease_seconds: float = LEASE_SECONDS) -> None:
        self.place, self._parameters = _read(url)
        self._lease_seconds = lease_seconds
        self._offset = timedelta()
        self._cut = False
        self._steady_at = 0.0
        self.engine = self._engine()
        self._keeper = Keeper(self._beat, min(BEAT_EVERY, lease_seconds / BEATS))

    def close(self) -> None:
        """See `Backend`."""
        self._keeper.close()
        self.engine.dispose()

    def now(self) -> datetime:
        """See `Backend`; our own clock, as far off as it was when a connection was made."""
        return datetime.now(UTC) + self._offset

    @contextmanager
    def begin(self, *, reading: bool, hasty: bool = False) -> Iterator[sa.Connection]:  # noqa: ARG002 - all are the same here
        """See `Backend`."""
        with self.engine.begin() as connection:
            yield connection

    def demand_reachable(self) -> None:
        """See `Backend`; the thread that keeps leases fresh knows."""
        if self._keeper.trouble is not None:
            raise self._keeper.trouble
        if self._keeper.silent_for() > SILENT:
            raise errors.StoreUnreachable(f"the run store {self.place} does not answer", resource=self.place)

    def alone(self, connection: sa.Connection, what: str) -> None:
        """See `Backend`."""
        key = int.from_bytes(hashlib.sha256(what.encode()).digest()[:4], "big", signed=True)
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.cast(_LOCKS, sa.Integer), key)))

    def driven(self, run_ids: Collection[str], connection: sa.Connection) -> set[str]:
        """See `Backend`."""
        leases = schema.LEASES
        query = sa.select(leases.c.run_id, leases.c.process, self._fresh()).where(leases.c.run_id.in_(run_ids))
        return {run_id for run_id, process, fresh in connection.execute(query) if fresh and not surely_dead(process)}

    def take(self, run_id: str, owner: str, nonce: str) -> Lease | None:
        """See `Backend`."""
        process = this_process(nonce)
        leases = schema.LEASES
        mine = leases.c.run_id == run_id
        with self.engine.begin() as connection:
            # Whoever comes first has the row; the other one waits here for the end of that transaction.
            self.alone(connection, f"lease {run_id}")
            query = sa.select(leases.c.epoch, leases.c.process, self._fresh()).where(mine).with_for_update()
            row = connection.execute(query).one_or_none()
            # Our own: it was taken, and the answer got lost.
            if row is not None and row[2] and row.process != process and not surely_dead(row.process):
                return None
            epoch = 1 if row is None else row.epoch + 1
            values = {"owner": owner, "epoch": epoch, "heartbeat": NOW, "process": process, "held": True}
            if row is None:
                connection.execute(leases.insert().values(run_id=run_id, **values))
            else:
                connection.execute(leases.update().where(mine).values(**values))
            query = sa.select(schema.RUNS.c.cancel).where(schema.RUNS.c.run_id == run_id)
            cancel = bool(connection.execute(query).scalar())
        lease = KeptLease(run_id, epoch, self._release, cancel=cancel)
        self._keeper.add(lease)
        return lease

    def forget(self, run_ids: Collection[str]) -> None:
        """See `Backend`; everything is in the database."""

    def explain(self, error: Exception) -> errors.HypersdkError:
        """See `Backend`."""
        reason = reason_of(error)
        cause = error.__cause__ if isinstance(error, sa.exc.SQLAlchemyError) else error
        state = getattr(cause, "sqlstate", None)
        if state == NO_ROOM:
            return errors.DiskFull(f"the run store {self.place} has no room left: {reason}", resource=self.place)
        passing = (
            state.startswith(PASSING) if state else isinstance(error, sa.exc.OperationalError | sa.exc.TimeoutError)
        )
        if passing or getattr(error, "connection_invalidated", False):
            return errors.StoreUnreachable(
                f"the run store {self.place} cannot be reached: {reason}",
                resource=self.place,
                hint="HYPEREXPORT_STATE names it; try again",
            )
        return unusable(self.place, reason, _RIGHTS if state == "42501" else "HYPEREXPORT_STATE names it")

    def _release(self, lease: KeptLease) -> None:
        away = self._keeper.trouble is not None
        self._keeper.remove(lease)
        if away:
            return  # nobody waits at the end of a run: its lease ends by its time, or with this process
        leases = schema.LEASES
        ours = sa.and_(leases.c.run_id == lease.run_id, leases.c.epoch == lease.epoch)
        # What was said last, how the run ended, is not left to a beat that does not come any more.
        last = {} if lease.progress is None else {"progress": lease.progress}
        try:
            with self.engine.begin() as connection:
                connection.execute(leases.update().where(ours).values(held=False, heartbeat=NOW, **last))
        except sa.exc.SQLAlchemyError:
            return  # it ends by its time, or with this process

    def _beat(self, kept: Sequence[KeptLease]) -> None:
        try:
            with self.engine.begin() as connection:
                for lease in kept:
                    self._beat_one(connection, lease)
                runs = schema.RUNS
                query = sa.select(runs.c.run_id).where(runs.c.run_id.in_([each.run_id for each in kept]), runs.c.cancel)
                cancelled = set(connection.execute(query).scalars())
        except sa.exc.SQLAlchemyError as error:
            raise self.explain(error) from error
        for lease in kept:
            lease.cancel = lease.run_id in cancelled

    @staticmethod
    def _beat_one(connection: sa.Connection, lease: KeptLease) -> None:
        leases = schema.LEASES
        mine = leases.c.run_id == lease.run_id
        values = {"heartbeat": NOW, "progress": lease.progress}
        changed = connection.execute(leases.update().where(mine, leases.c.epoch == lease.epoch).values(**values))
        if not changed.rowcount:
            owner = connection.execute(sa.select(leases.c.owner).where(mine)).scalar()
            lease.lost_to = owner or "nobody"

    def _fresh(self) -> sa.ColumnElement[bool]:
        """Whether a lease holds: its owner was heard of in time.

        Nobody could be heard while the server was down, or while we could not reach it ourselves: all get their time
        once more.
        """
        if time.monotonic() < self._steady_at:
            return schema.LEASES.c.held
        seconds = self._lease_seconds
        oldest = f"clock_timestamp() - interval '{seconds} s'"
        young = sa.text(f"pg_postmaster_start_time() > {oldest}")
        heard = schema.LEASES.c.heartbeat > sa.literal_column(_NOW.format(oldest), sa.String)
        return sa.and_(schema.LEASES.c.held, sa.or_(heard, young))

    def _engine(self) -> sa.Engine:
        import psycopg

        def connect() -> psycopg.Connection[Any]:
            with ExitStack() as undo:
                try:
                    # No prepared statements: poolers lose them, and a migration makes them invalid.
                    raw = undo.enter_context(closing(psycopg.connect(**self._parameters, prepare_threshold=None)))
                    self._greet(raw)
                except psycopg.Error:
                    self._cut = True
                    raise
                undo.pop_all()
            return raw

        engine = sa.create_engine(
            "postgresql+psycopg://",
            creator=connect,
            pool_size=POOL,
            max_overflow=MORE,
            pool_pre_ping=True,
            pool_use_lifo=True,
            hide_parameters=True,
        )

        @sa.event.listens_for(engine, "handle_error")
        def note_cut(context: sa.engine.ExceptionContext) -> None:
            if context.is_disconnect:
                self._cut = True

        return engine

    def _greet(self, raw: Any) -> None:
        for name, value in SESSION.items():
            raw.execute("SELECT set_config(%s, %s, false)", (name, value))
        began = datetime.now(UTC)
        (theirs,) = raw.execute("SELECT clock_timestamp()").fetchone()
        self._offset = theirs - (began + (datetime.now(UTC) - began) / 2)
        raw.commit()
        if self._cut:
            self._cut = False
            self._steady_at = time.monotonic() + self._lease_seconds


_RIGHTS = "the role needs CREATE on the schema once, then SELECT, INSERT, UPDATE, DELETE on its tables"


def _read(url: str) -> tuple[str, dict[str, Any]]:
    """A URL without its password, and what psycopg is to be given."""
    if not url.startswith(SCHEMES):
        scheme = url.partition("://")[0]
        raise unusable(f"{scheme}://...", "no such kind of database", "a path, or postgresql://user@host/database")
    try:
        import psycopg
        from psycopg.conninfo import conninfo_to_dict
    except ImportError as error:
        place = url.partition("://")[0] + "://..."
        raise unusable(place, "PostgreSQL needs the package psycopg", INSTALL) from error
    try:
        found = conninfo_to_dict(url)
    except psycopg.Error:
        # libpq quotes what it could not read, which may be the password.
        found = {}
    # A password with "@" or "/" in it ends too early, and the rest of it would count as a place.
    torn = any("@" in str(found.get(part, "")) for part in ("user", "host", "port", "dbname"))
    if not found or torn or re.search(r"[^0-9,]", str(found.get("port", ""))):
        hint = "postgresql://user:password@host:port/database; write special characters as %XX"
        raise unusable(SCHEMES[0] + "...", "it is no URL that PostgreSQL understands", hint)
    host = found.get("host") or found.get("hostaddr") or "localhost"
    port = f":{found['port']}" if "port" in found else ""
    user = f"{found['user']}@" if "user" in found else ""
    return f"postgresql://{user}{host}{port}/{found.get('dbname', '')}", {**CONNECTING, **found}
