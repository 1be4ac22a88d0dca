"""A run store as a database: opened and brought up to date, transactions in it, and waiting until it is there again.

Rules of this file: a store that cannot be reached is told apart from one that cannot be used; a patient one waits, and
spends no attempt.
"""

from __future__ import annotations

import contextlib
import copy
import secrets
from collections.abc import Callable, Collection, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Self, TypeVar

import sqlalchemy as sa

from hypersdk import errors, events
from hypersdk.runs import schema
from hypersdk.runs.backend import Backend, unusable
from hypersdk.runs.lease import LEASE_SECONDS
from hypersdk.runs.sqlite import SqliteBackend
from hypersdk.waiting import Waiter

T = TypeVar("T")


class Database:
    """The database of a run store.

    Args:
        place: path of the SQLite file, made with mode 0600 in a directory with mode 0700 if absent; or postgresql://...
        host: name of this machine, written into runs.
        version: version of this program, written into runs.
        now: time of day, UTC; None = the store's own clock.
        lease_seconds: how long a lease in Postgres holds without a word of its owner.

    Raises:
        ConfigError: the store cannot be used; names HYPEREXPORT_STATE.
    """

    def __init__(
        self,
        place: str | Path,
        *,
        host: str,
        version: str,
        now: Callable[[], datetime] | None = None,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self.host = host
        self.version = version
        self._waiter: Waiter | None = None
        self._hasty = False
        self._backend = _open(place, lease_seconds)
        self._now = now or self._backend.now
        try:
            self._id = self._prepare()
        except LookupError as error:
            raise unusable(self.place, error, "upgrade hypersdk, or set HYPEREXPORT_STATE to another store") from error
        except (errors.StoreUnreachable, errors.FileError) as error:
            raise errors.ConfigError(error.message, resource=self.place, hint="HYPEREXPORT_STATE names it") from error

    def _prepare(self) -> str:
        if self.read(schema.version) != schema.VERSION:
            self.write(self._migrate)
        about = schema.ABOUT
        return str(self.rows(sa.select(about.c.value).where(about.c.name == "id"))[0]["value"])

    def _migrate(self, connection: sa.Connection) -> None:
        self.alone(connection, "migrate")
        if not schema.version(connection):
            schema.METADATA.create_all(connection, tables=[schema.ABOUT])
            connection.execute(schema.ABOUT.insert().values(name="id", value=secrets.token_hex(8)))
        schema.migrate(connection, self.time(), self.version)

    @property
    def place(self) -> str:
        """Where it is, for people: a path, or a URL without its password."""
        return self._backend.place

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_details: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database."""
        self._backend.close()

    def patient(self, waiter: Waiter) -> Self:
        """The same store, which waits while it cannot be reached instead of raising StoreUnreachable.

        Args:
            waiter: waits, and tells people why.
        """
        return self._twin(waiter)

    def now_or_never(self) -> Self:
        """The same store for those who must not be kept waiting, such as the hooks of a wait.

        Raises:
            StoreUnreachable: it was not there when this process last wanted something of it.
        """
        self._backend.demand_reachable()
        return self._twin(None)

    def _twin(self, waiter: Waiter | None) -> Self:
        twin = copy.copy(self)
        # The waiter waits, if anybody does: it runs hooks and hears signals meanwhile, a database does not.
        twin._waiter, twin._hasty = waiter, True  # noqa: SLF001 - a twin of ours
        return twin

    def is_driven(self, run_id: str, connection: sa.Connection | None = None) -> bool:
        """Whether a living process drives the run now.

        Args:
            run_id: the run.
            connection: a transaction to look in; None = one of its own.
        """
        return run_id in self.driven([run_id], connection)

    def driven(self, run_ids: Collection[str], connection: sa.Connection | None = None) -> set[str]:
        """Which of these runs a living process drives now; arguments as in `is_driven`."""
        if connection is not None:
            return self._backend.driven(run_ids, connection)
        return self.read(lambda own: self._backend.driven(run_ids, own))

    def alone(self, connection: sa.Connection, what: str) -> None:
        """Within this transaction nobody else does the same; a writing transaction of SQLite is alone anyway."""
        self._backend.alone(connection, what)

    def time(self) -> str:
        """Now by the store's clock, UTC, ISO 8601."""
        return schema.iso(self._now())

    def rows(self, query: sa.Select[Any]) -> list[dict[str, Any]]:
        """Ask one question."""
        return self.read(lambda connection: [row._asdict() for row in connection.execute(query)])

    def read(self, function: Callable[[sa.Connection], T]) -> T:
        """Run a function in a transaction that only reads; a patient store repeats it when the connection is cut."""
        return self._trying(lambda: self._once(function, reading=True))

    def write(self, function: Callable[[sa.Connection], T]) -> T:
        """Run a function in a transaction that writes.

        Args:
            function: a patient store calls it again if the connection is cut, even in the moment of the commit.
        """
        return self._trying(lambda: self._once(function, reading=False))

    def _once(self, function: Callable[[sa.Connection], T], *, reading: bool) -> T:
        with self._explaining(), self._backend.begin(reading=reading, hasty=self._hasty) as connection:
            return function(connection)

    @contextlib.contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.SQLAlchemyError as error:
            raise self._backend.explain(error) from error

    def _trying(self, attempt: Callable[[], T]) -> T:
        try:
            return attempt()
        except errors.StoreUnreachable as error:
            if self._waiter is None:
                raise
            message = error.message

        def again() -> tuple[T] | None:
            with contextlib.suppress(errors.StoreUnreachable):
                return (attempt(),)
            return None

        since = datetime.now().astimezone()
        found = self._waiter.wait_for(f"{message} (since {since:%H:%M:%S})", again, kind=events.STORE)
        assert found is not None  # it waits without end
        return found[0]


def _open(place: str | Path, lease_seconds: float) -> Backend:
    if "://" not in str(place):
        return SqliteBackend(place)
    from hypersdk.runs.postgres import PostgresBackend

    return PostgresBackend(str(place), lease_seconds)
