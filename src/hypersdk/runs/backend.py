"""What differs between the databases of a run store: how it is opened, who holds a lease, what its errors mean."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol

import sqlalchemy as sa

from hypersdk import errors

BUSY_TIMEOUT = 30.0
"""Seconds to wait for another process's write transaction (reference: durable.md, "Run store")."""


class Lease(Protocol):
    """The right of this process to drive one run, until it is released or somebody else takes it over.

    Attributes:
        epoch: grows by one whenever the run changes hands; every write is conditional on it.
    """

    epoch: int

    def beat(self, progress: Mapping[str, Any] | None) -> bool:
        """Say that we live and how far we are; never waits for a store that cannot be reached.

        Returns:
            Whether somebody asked to cancel the run, as far as is known.

        Raises:
            LeaseLost: somebody else drives the run.
        """

    def release(self) -> None:
        """Give the run back; harmless if it is not ours any more, or the store cannot be reached."""


class Backend(Protocol):
    """One database.

    Attributes:
        engine: SQLAlchemy's.
        place: where the store is, for people: a path, or a URL without password.
        personal: the store belongs to one machine; copied to another one, its runs need other ids.
    """

    engine: sa.Engine
    place: str
    personal: bool

    def close(self) -> None:
        """Close every connection."""

    def now(self) -> datetime:
        """Time of day, UTC, by the clock that all users of the store share."""

    def begin(self, *, reading: bool, hasty: bool = False) -> AbstractContextManager[sa.Connection]:
        """One transaction, committed at its end.

        Args:
            reading: it only reads.
            hasty: do not wait for long until somebody else's transaction has ended.
        """

    def demand_reachable(self) -> None:
        """Raise StoreUnreachable at once if it could not be reached a moment ago; asks nobody."""

    def alone(self, connection: sa.Connection, what: str) -> None:
        """Within this transaction nobody else does the same."""

    def driven(self, run_ids: Collection[str], connection: sa.Connection) -> set[str]:
        """Which of these runs a living process drives now."""

    def take(self, run_id: str, owner: str, nonce: str) -> Lease | None:
        """Take the lease of a run; None if somebody holds it.

        Args:
            run_id: a run that exists.
            owner: who we are, for people.
            nonce: of this attempt; asked again with it after a lost answer, we get what we took.
        """

    def forget(self, run_ids: Collection[str]) -> None:
        """Take away what lies outside the database for runs that exist no more."""

    def explain(self, error: Exception) -> errors.HypersdkError:
        """What an error of the database means to us."""


def unusable(place: object, reason: object, hint: str | None = None) -> errors.ConfigError:
    """The error of a run store that cannot be used: names it and the setting."""
    return errors.ConfigError(
        f"the run store {place} cannot be used: {reason}",
        resource=str(place),
        hint=hint or "set HYPEREXPORT_STATE to a file in a local directory that you may write",
    )


def reason_of(error: BaseException) -> str:
    """The first line of what a driver said, without the statement that it failed at."""
    cause = error.__cause__ if isinstance(error, sa.exc.SQLAlchemyError) else None
    lines = str(cause or error).strip().splitlines()
    return lines[0] if lines else type(cause or error).__name__
