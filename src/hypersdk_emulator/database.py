"""The metadata store: one SQLite file in WAL mode, one connection, used on the event loop only.

A statement takes microseconds, so calls are made inline. What a committed transaction says survives kill -9.
"""

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypersdk_emulator import schema
from hypersdk_emulator.errors import ServiceError, invalid_parameter

RETRY_TOKEN_SECONDS = 24 * 3600  # API reference of the services: a retry token expires after 24 hours
RETRY_TOKEN_LENGTH = 64
_CACHE_KIB = 8192  # pages that SQLite keeps; the system's file cache holds the rest, so more buys no speed
_STATEMENTS = 512  # compiled statements that are kept; the whole emulator has about 300

Row = sqlite3.Row


class Database:
    """Open (or make) the database file and its tables.

    Args:
        path: The file; `:memory:` works too.
    """

    def __init__(self, path: Path | str) -> None:
        self._connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, cached_statements=_STATEMENTS
        )
        self._connection.row_factory = sqlite3.Row
        self._depth = 0
        for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=NORMAL", f"PRAGMA cache_size=-{_CACHE_KIB}"):
            self._connection.execute(statement)
        for tables in schema.ALL:
            self._connection.executescript(tables)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def clear(self, keep: Collection[str]) -> None:
        """Delete every row of every table, but for the settings of these names."""
        tables = self.all("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        kept = {name: self.setting(name) for name in keep}
        with self.transaction():
            for table in tables:
                self.execute(f'DELETE FROM "{table["name"]}"')  # noqa: S608 - names of our own tables
            for name, value in kept.items():
                if value is not None:
                    self.set_setting(name, value)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of the block or nothing of it; blocks may nest (the outermost one commits). Never await inside."""
        if self._depth:
            yield
            return
        self._connection.execute("BEGIN IMMEDIATE")
        self._depth += 1
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:  # SQLite has rolled back already when its disk is full
                self._connection.execute("ROLLBACK")
            raise
        finally:
            self._depth -= 1

    def execute(self, statement: str, *values: object) -> sqlite3.Cursor:
        """Run one statement with positional values.

        Raises:
            ServiceError: 400 for a value that no column can hold: a list, more than 64 bits, half a character.
        """
        try:
            return self._connection.execute(statement, values)
        except (OverflowError, UnicodeEncodeError, sqlite3.ProgrammingError) as error:
            if isinstance(error, sqlite3.ProgrammingError) and "binding parameter" not in str(error):
                raise
            raise invalid_parameter(f"A value cannot be stored: {error}") from None

    def executemany(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        """Run one statement for each row of values."""
        self._connection.executemany(statement, rows)

    def one(self, statement: str, *values: object) -> Row | None:
        """The first row of a query, or None."""
        row: Row | None = self.execute(statement, *values).fetchone()
        return row

    def all(self, statement: str, *values: object) -> list[Row]:
        """All rows of a query."""
        return self.execute(statement, *values).fetchall()

    def setting(self, name: str) -> Any:
        """A stored JSON value by name, or None."""
        row = self.one("SELECT value FROM settings WHERE name = ?", name)
        return None if row is None else json.loads(row["value"])

    def set_setting(self, name: str, value: object) -> None:
        """Store a JSON value under a name."""
        self.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", name, json.dumps(value))

    def recall(self, scope: str, token: str | None, digest: str, now: float) -> str | None:
        """The resource that an `opc-retry-token` made before, or None.

        Args:
            scope: The operation (and caller) in which tokens are unique.
            token: The header's value; None or empty means no token.
            digest: Digest of the request's body.
            now: Virtual now.

        Raises:
            ServiceError: 400 when the token is too long or came with another request before.
        """
        if not token:
            return None
        if len(token) > RETRY_TOKEN_LENGTH:
            raise invalid_parameter("opc-retry-token is longer than 64 characters")
        row = self.one("SELECT * FROM retry_tokens WHERE scope = ? AND token = ?", scope, token)
        if row is None or now - float(row["created"]) >= RETRY_TOKEN_SECONDS:
            return None
        if row["digest"] != digest:
            raise invalid_parameter("opc-retry-token was used before with other parameters")
        return str(row["resource"])

    def remember(self, scope: str, token: str | None, digest: str, resource: str, now: float) -> None:
        """Keep what a retry token made; call it in the transaction that makes the resource."""
        if token:
            self.execute(
                "INSERT OR REPLACE INTO retry_tokens VALUES (?, ?, ?, ?, ?)", scope, token, digest, resource, now
            )


def invalidated_retry_token() -> ServiceError:
    """409 for a token whose resource is gone."""
    return ServiceError(409, "InvalidatedRetryToken", "The resource that this retry token made was deleted.")
