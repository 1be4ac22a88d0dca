"""Why the service may have answered 401: it never says, so the clocks are compared. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

MAX_SKEW = timedelta(minutes=5)
"""Difference of clocks that the service tolerates (docs.oracle.com, "Request Signatures", "Clock skew")."""


def explain_skew(theirs: datetime, ours: datetime) -> str | None:
    """Say in one line that the clocks are too far apart; None if they are not.

    Args:
        theirs: the reply's `Date`.
        ours: this machine's clock when the reply came.
    """
    apart = abs(theirs - ours)
    if apart <= MAX_SKEW:
        return None
    minutes = apart.total_seconds() / 60
    return (
        f"clock skew: this machine says {_shown(ours)}, Oracle says {_shown(theirs)}, {minutes:.0f} minutes apart "
        f"(5 are allowed); set this machine's clock"
    )


def _shown(when: datetime) -> str:
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
