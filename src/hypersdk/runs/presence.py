"""Which workers live: each holds a lock of its own in the database of the run store (Postgres only).

Rules of this file: the lock is of the session, so it falls with its connection, and so with its process or machine; a
lost connection is never opened again, because somebody else may have taken our runs over meanwhile; a worker that was
not heard of for `SILENT` seconds by the database's clock (suspended, swapped out, cut off) loses its connection to
whoever notices, and with it the right to go on; nothing here goes through a transaction pooler.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self

from hypersdk import errors

if TYPE_CHECKING:
    import psycopg

SILENT = 40.0
"""Seconds without a word after which a worker counts as dead; it speaks every few seconds."""

MOST_SEATS = 64
"""Worker processes of one host."""

_NAME = "hypersdk worker"
_NAMESPACE = 0x6878
"""First 16 bits of our advisory locks ("hx"), so that they can be told from others of the same database."""

_KEEPALIVE: Mapping[str, Any] = {
    "connect_timeout": 10,
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
"""How soon a connection whose other end vanished without a word is given up (libpq's parameters; seconds, the last one
in milliseconds)."""


class Seat:
    """The place of a living worker, among all workers of a run store; made by `take_seat`.

    Attributes:
        host: name of this machine.
        executor_id: host and number, the same again for the next process that takes this seat.
    """

    def __init__(self, host: str, executor_id: str, connection: psycopg.Connection) -> None:
        self.host = host
        self.executor_id = executor_id
        self._connection = connection

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_details: object) -> None:
        self.leave()

    def leave(self) -> None:
        """Give the seat back."""
        self._connection.close()

    def speak(self) -> None:
        """Say that we live.

        Raises:
            Exception: the seat is lost, whatever the reason: end the process at once.
        """
        self._connection.execute("SELECT 1")

    @contextmanager
    def burying(self, executor_id: str) -> Iterator[bool]:
        """Whether that worker is dead; inside nobody else takes its seat or its runs.

        Args:
            executor_id: of another worker.
        """
        key = _key(executor_id)
        self._hang_up_on_silent(key)
        with self._locked(key) as dead:
            yield dead

    @contextmanager
    def alone(self, what: str) -> Iterator[bool]:
        """Whether nobody else does the same now; inside nobody begins to."""
        with self._locked(_key(f"\0{what}")) as free:
            yield free

    @contextmanager
    def _locked(self, key: int) -> Iterator[bool]:
        if not self._ask("SELECT pg_try_advisory_lock(%s)", key):
            yield False
            return
        try:
            yield True
        finally:
            with suppress(Exception):  # a lost connection is noticed where we speak next
                self._ask("SELECT pg_advisory_unlock(%s)", key)

    def _hang_up_on_silent(self, key: int) -> None:
        self._connection.execute(_HANG_UP, (key >> 32, key & 0xFFFFFFFF, SILENT))

    def _ask(self, question: str, key: int) -> bool:
        row = self._connection.execute(question, (key,)).fetchone()
        return bool(row and row[0])


_HANG_UP = """
    SELECT pg_terminate_backend(lock.pid) FROM pg_locks AS lock JOIN pg_stat_activity AS session USING (pid)
    WHERE lock.locktype = 'advisory' AND lock.granted AND lock.objsubid = 1
    AND lock.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND lock.classid::bigint = %s AND lock.objid::bigint = %s
    AND session.state_change < clock_timestamp() - make_interval(secs => %s)
"""
"""`objsubid` 1 is a key of 64 bits, whose halves are the two ids (docs: PostgreSQL, "pg_locks")."""

_COUNT = """
    SELECT count(DISTINCT session.pid) FROM pg_locks AS lock JOIN pg_stat_activity AS session USING (pid)
    WHERE lock.locktype = 'advisory' AND lock.granted AND lock.objsubid = 1
    AND lock.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND lock.classid::bigint >> 16 = %s AND session.application_name LIKE %s
    AND session.state_change > clock_timestamp() - make_interval(secs => %s)
"""


def take_seat(url: str, host: str) -> Seat:
    """Take the first free seat of this host.

    Args:
        url: of the run store: postgresql://...
        host: name of this machine.

    Raises:
        ConfigError: the database cannot be reached, or this host has too many workers.
    """
    connection = _connect(url)
    for number in range(1, MOST_SEATS + 1):
        executor_id = f"{host}#{number}"
        row = connection.execute("SELECT pg_try_advisory_lock(%s)", (_key(executor_id),)).fetchone()
        if row and row[0]:
            connection.execute("SELECT set_config('application_name', %s, false)", (f"{_NAME} {executor_id}",))
            return Seat(host, executor_id, connection)
    connection.close()
    raise errors.ConfigError(f"{MOST_SEATS} workers run on {host} already", resource=host)


@contextmanager
def alone(url: str, what: str) -> Iterator[None]:
    """Wait until nobody does the same; inside nobody begins to.

    Args:
        url: of the run store: postgresql://...
        what: as workers call it in `Seat.alone`.

    Raises:
        ConfigError: the database cannot be reached.
    """
    with _connect(url) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (_key(f"\0{what}"),))
        yield  # the lock falls with the connection


def count_workers(url: str) -> int:
    """How many workers live and were heard of.

    Args:
        url: of the run store: postgresql://...

    Raises:
        ConfigError: the database cannot be reached.
    """
    with _connect(url) as connection:
        row = connection.execute(_COUNT, (_NAMESPACE, f"{_NAME} %", SILENT)).fetchone()
    return int(row[0]) if row else 0


def _key(executor_id: str) -> int:
    digest = hashlib.sha256(executor_id.encode()).digest()
    return _NAMESPACE << 48 | int.from_bytes(digest[:6], "big")


def _connect(url: str) -> psycopg.Connection:
    try:
        import psycopg
    except ImportError as error:
        raise errors.ConfigError("workers need Postgres", hint="pip install 'hypersdk[fleet]'") from error
    try:
        return psycopg.connect(url, autocommit=True, application_name=_NAME, **_KEEPALIVE)
    except psycopg.Error as error:
        # Its text holds host and role, never the password (libpq).
        raise errors.ConfigError(f"the run store's database cannot be reached: {error}") from error
