"""Why the service may have answered 401: it never says, so the facts at hand are compared. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypersdk.readers.http import read_date
from hypersdk.vendors.oci.credentials import SECURITY_TOKEN, OciSettings
from hypersdk.vendors.oci.tokens import refresh_hint

MAX_SKEW = timedelta(minutes=5)
"""Difference of clocks that the service tolerates (docs.oracle.com, "Request Signatures", "Clock skew")."""


def explain_not_authenticated(
    settings: OciSettings, reply_date: str | None, now: datetime, *, key_fingerprint: str, expires: float | None = None
) -> str:
    """Say in one line what most likely made the service answer 401, and what to do.

    Args:
        settings: what we signed in with.
        reply_date: the reply's `Date` header.
        now: this machine's clock when the reply came.
        key_fingerprint: fingerprint of the key that signed.
        expires: when the session token ends, in seconds since the epoch.
    """
    theirs = read_date(reply_date)
    if theirs is not None and abs(theirs - now) > MAX_SKEW:
        minutes = abs(theirs - now).total_seconds() / 60
        return (
            f"clock skew: this machine says {_shown(now)}, Oracle says {_shown(theirs)}, {minutes:.0f} minutes apart "
            f"(5 are allowed); set this machine's clock"
        )
    if settings.auth == SECURITY_TOKEN:
        if expires is not None and (theirs or now).timestamp() >= expires:
            ended = _shown(datetime.fromtimestamp(expires, UTC))
            return f"the session token expired at {ended}; {refresh_hint(settings)}"
        return (
            f"the session of profile [{settings.profile}] was ended, or its key and token do not belong together; "
            f"{refresh_hint(settings)}"
        )
    return (
        f"is the public key with fingerprint {key_fingerprint} ({settings.where('private_key_path')}) "
        f"among the API keys of user {settings.user_ocid} ({settings.where('user_ocid')}) "
        f"in tenancy {settings.tenancy_ocid}? "
        f"A new key takes a minute to be known in every region"
    )


def _shown(when: datetime) -> str:
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
