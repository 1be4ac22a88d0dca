"""JSON web tokens (RFC 7519) as OCI issues them, read without checking: only the service can check them. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

_TOKEN = re.compile(r"[A-Za-z0-9_=-]+(\.[A-Za-z0-9_=-]+){2}")

Claims = Mapping[str, Any]
"""What a token says of itself."""


def read_claims(token: str) -> Claims:
    """The claims of a token.

    Raises:
        ValueError: not a token.
    """
    if not _TOKEN.fullmatch(token):
        # A blank or a line end in it would break a header later, and the HTTP library's error would quote that header.
        raise ValueError("not a token")
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, binascii.Error, RecursionError) as error:
        raise ValueError("not a token") from error
    if not isinstance(claims, dict):
        raise ValueError("not a token")  # noqa: TRY004 - a wrong value in a text, not a wrong Python type
    return claims


def expiry(claims: Claims) -> float | None:
    """Its end in seconds since the epoch; None if it does not say."""
    return _number(claims, "exp")


def length_of_life(claims: Claims, now: float) -> float | None:
    """Seconds that a token lives from its issue on, which is just now; None if it does not end.

    Issue and end are both the issuer's time, so a clock of ours that is wrong does not matter.

    Args:
        claims: of the token.
        now: this machine's time in seconds since the epoch, for tokens that do not say when they were issued.
    """
    end, issued = expiry(claims), _number(claims, "iat")
    return None if end is None else end - (now if issued is None else issued)


def text_claim(claims: Claims, *names: str) -> str | None:
    """The first of these claims that is a text."""
    return next((claims[name] for name in names if isinstance(claims.get(name), str) and claims[name]), None)


def mark_of(token: str) -> str:
    """A mark that tells a token from another one and cannot be turned back into it."""
    return hashlib.sha256(token.encode()).hexdigest()[:16]


def _number(claims: Claims, name: str) -> float | None:
    value = claims.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
