"""Session tokens as `oci session authenticate` leaves them in a file: a JWT (RFC 7519) that the service signed."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import UTC, datetime

from hypersdk import errors
from hypersdk.model import Secret
from hypersdk.vendors.oci.credentials import OciSettings, places
from hypersdk.vendors.oci.keys import read_file


@dataclass(frozen=True, slots=True)
class SessionToken:
    """A token; `expires` is seconds since the epoch, None if the token does not say."""

    text: Secret
    expires: float | None


def read_session_token(settings: OciSettings) -> SessionToken:
    """Read the token file of the settings.

    Raises:
        ConfigError: no file named, absent or unreadable.
        AuthError: the file holds no token.
    """
    if settings.security_token_file is None:
        raise errors.ConfigError(
            f"auth is security_token ({settings.where('auth')}) and no token file is named",
            hint=f"sign in: oci session authenticate; or name the file by {places('security_token_file', settings)}",
        )
    where, path = settings.where("security_token_file"), settings.security_token_file
    text = read_file(path, where, "session token").decode("ascii", "replace").strip()
    try:
        payload = text.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        expires = claims.get("exp")
    except (IndexError, ValueError, binascii.Error, AttributeError) as error:
        raise errors.AuthError(
            f"{where}: {path} does not hold a session token", resource=path, hint=refresh_hint(settings)
        ) from error
    return SessionToken(Secret(text), float(expires) if isinstance(expires, int | float) else None)


def check_not_expired(token: SessionToken, settings: OciSettings, now: datetime) -> None:
    """Refuse a token whose time is over, before the service does.

    Raises:
        AuthError: expired; says when.
    """
    if token.expires is not None and now.timestamp() >= token.expires:
        when = datetime.fromtimestamp(token.expires, UTC)
        raise errors.AuthError(
            f"{settings.where('security_token_file')}: the session token expired at {when:%Y-%m-%d %H:%M:%S} UTC",
            resource=settings.security_token_file,
            hint=refresh_hint(settings),
        )


def refresh_hint(settings: OciSettings) -> str:
    """What to do about an old session."""
    profile = settings.profile
    return f"oci session refresh --profile {profile}, or oci session authenticate --profile {profile}"
