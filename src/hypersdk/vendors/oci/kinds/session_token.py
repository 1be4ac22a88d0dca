"""Session tokens as `oci session authenticate` leaves them in a file, and `oci session refresh` replaces them there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from hypersdk import errors
from hypersdk.vendors.oci.credentials import SECURITY_TOKEN, OciSettings, demand, places
from hypersdk.vendors.oci.keys import fingerprint, load_private_key, read_file
from hypersdk.vendors.oci.kinds import jwt
from hypersdk.vendors.oci.kinds.grant import Grant, Who, renew_before_end


@dataclass(frozen=True)
class SessionToken:
    """A user's token and the key that it was made for; only a person can renew it, for hours but not for ever.

    Attributes:
        settings: where both lie.
        now: this machine's clock.
    """

    settings: OciSettings
    now: Callable[[], datetime]
    kind = SECURITY_TOKEN
    renewable = False

    def obtain(self) -> Grant:
        """Read token and key, as `oci session refresh` may have replaced both."""
        tenancy = demand("tenancy_ocid", self.settings)
        token = self._read()
        claims = self._claims(token)
        expires, now = jwt.expiry(claims), self.now().timestamp()
        life = None if expires is None else expires - now
        if life is not None and life <= 0:
            raise self._expired(expires or now)
        key = load_private_key(self.settings)
        from oci.auth.signers import SecurityTokenSigner

        return Grant(
            SecurityTokenSigner(token, key),
            Who(tenancy, principal=jwt.text_claim(claims, "sub")),
            mark=jwt.mark_of(token),
            fingerprint=fingerprint(key),
            expires=expires,
            life=life,
            renew_after=renew_before_end(life),
        )

    def _read(self) -> str:
        settings = self.settings
        if settings.security_token_file is None:
            raise errors.ConfigError(
                f"auth is security_token ({settings.where('auth')}) and no token file is named",
                hint="sign in: oci session authenticate; or name the file by "
                f"{places('security_token_file', settings)}",
            )
        data = read_file(settings.security_token_file, settings.where("security_token_file"), "session token")
        return data.decode("ascii", "replace").strip()

    def _claims(self, token: str) -> jwt.Claims:
        try:
            return jwt.read_claims(token)
        except ValueError as error:
            raise errors.AuthError(
                f"{self.settings.where('security_token_file')}: {self.settings.security_token_file} does not hold "
                "a session token",
                resource=self.settings.security_token_file,
                hint=self._renewal(),
            ) from error

    def _expired(self, end: float) -> errors.AuthError:
        return errors.AuthError(
            f"{self.settings.where('security_token_file')}: the session token expired at {_shown(end)}",
            resource=self.settings.security_token_file,
            hint=self._renewal(),
        )

    def _renewal(self) -> str:
        return f"log in with `{self._authenticate}`; before it ends `{self._refresh}` is enough"

    @property
    def _authenticate(self) -> str:
        return f"oci session authenticate --profile-name {self.settings.profile}"

    @property
    def _refresh(self) -> str:
        return f"oci session refresh --profile {self.settings.profile}"

    @property
    def files(self) -> tuple[str, ...]:
        """Token, key, and the profile that names them: `oci session` writes all three."""
        settings = self.settings
        named = (settings.security_token_file, settings.private_key_path, settings.config_file)
        return tuple(path for path in named if path is not None)

    def ask(self, grant: Grant, when: datetime) -> str:
        """A new login; OCI refreshes no session that has ended (`oci session refresh` answers so itself)."""
        if grant.expires is not None and when.timestamp() >= grant.expires:
            why = f"the session expired at {_shown(grant.expires)}, too late for `{self._refresh}`"
        else:
            why = f"the service no longer accepts the session; `{self._refresh}` will not do"
        return f"log in with `{self._authenticate}` ({why})"

    def why_refused(self, grant: Grant, when: datetime) -> str:
        """It ended by the service's clock, or was ended."""
        if grant.expires is not None and when.timestamp() >= grant.expires:
            return f"the session token expired at {_shown(grant.expires)}; {self._renewal()}"
        return (
            f"the session of profile [{self.settings.profile}] was ended, or its key and token do not belong together; "
            f"{self._renewal()}"
        )


def _shown(timestamp: float) -> str:
    return f"{datetime.fromtimestamp(timestamp, UTC):%Y-%m-%d %H:%M:%S} UTC"
