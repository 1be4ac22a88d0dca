"""Times in HTTP headers (RFC 9110, 5.6.7 and 10.2.3); header names are in lower case."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_RETRY_AFTER = 3600.0
"""Seconds. A longer Retry-After than an hour is taken for an hour: nobody sees what such a wait waits for."""


def read_date(text: str | None) -> datetime | None:
    """A time as headers write it; None if there is none or it cannot be read."""
    try:
        read = parsedate_to_datetime(text) if text else None
    except ValueError:
        return None
    # A date without a zone is UTC: HTTP knows no other (RFC 9110, 5.6.7).
    return read.replace(tzinfo=UTC) if read is not None and read.tzinfo is None else read


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a reply asks to wait, from its `Retry-After` (seconds or a date).

    A date is held against the reply's own `Date`, so that our clock does not matter. None if absent or not understood.
    """
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value), LONGEST_RETRY_AFTER)
    until, now = read_date(value), read_date(headers.get("date"))
    if until is None or now is None:
        return None
    return min(max((until - now).total_seconds(), 0.0), LONGEST_RETRY_AFTER)
