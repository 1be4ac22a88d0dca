"""Resource principals: what OCI's own services (functions, jobs, containers) hand to the code that they run.

Facts (the SDK's `resource_principals_signer.py` and `ephemeral_resource_principals_signer.py`): everything stands in
environment variables; version 2.2 gives token and key themselves, or absolute paths of files that the service renews;
version 3.0 gives the same for a leaf resource and the addresses of its parents (`nested.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from hypersdk import errors
from hypersdk.model import Secret
from hypersdk.vendors.oci import regions
from hypersdk.vendors.oci.credentials import RESOURCE_PRINCIPAL, OciSettings
from hypersdk.vendors.oci.keys import PemPlace, open_private_key, read_file
from hypersdk.vendors.oci.kinds import jwt, tokens
from hypersdk.vendors.oci.kinds.grant import Credentials, Grant, Who
from hypersdk.vendors.oci.kinds.nested import Nested

PREFIX = "OCI_RESOURCE_PRINCIPAL_"
VERSION = PREFIX + "VERSION"
LEAF = "_FOR_LEAF_RESOURCE"


def resource_principal(settings: OciSettings, now: Callable[[], datetime]) -> Credentials:
    """The kind that the version in the environment asks for.

    Args:
        settings: environment and connection.
        now: this machine's clock.

    Raises:
        ConfigError: no version, or one that is not spoken here.
    """
    version = _version(settings, VERSION, ("2.2", "3.0"))
    if version == "2.2":
        return ResourcePrincipal(settings, now)
    _version(settings, VERSION + LEAF, ("2.2",))
    return Nested(settings, now, ResourcePrincipal(settings, now, LEAF))


def _version(settings: OciSettings, variable: str, spoken: tuple[str, ...]) -> str:
    given = settings.environment.get(variable)
    expected = " or ".join(spoken)
    if given is None:
        raise errors.ConfigError(
            f"auth is resource_principal ({settings.where('auth')}), and the environment has no {variable} "
            f"(expected {expected})",
            hint="OCI sets it where it runs your code: in functions, jobs and container instances that have one",
        )
    version = given.reveal().strip()
    if version not in spoken:
        raise errors.ConfigError(
            f"environment {variable}: version {version} of resource principals is not spoken here "
            f"(expected {expected})",
            hint="use another kind of credentials, such as --auth instance_principal",
        )
    return version


@dataclass(frozen=True)
class ResourcePrincipal:
    """Token and key of version 2.2.

    Attributes:
        settings: environment.
        now: this machine's clock.
        suffix: of the variables' names, for the leaf of version 3.0.
    """

    settings: OciSettings
    now: Callable[[], datetime]
    suffix: str = ""
    kind = RESOURCE_PRINCIPAL
    renewable = False

    def obtain(self) -> Grant:
        """Take token and key as they are now."""
        where, token = self._text("RPST", "token")
        try:
            claims = jwt.read_claims(token)
        except ValueError as error:
            raise errors.AuthError(f"environment {where} does not hold a resource principal's token") from error
        expires, now = jwt.expiry(claims), self.now().timestamp()
        if expires is not None and now >= expires:
            raise errors.AuthError(
                f"environment {where}: the token expired at {datetime.fromtimestamp(expires, UTC):%Y-%m-%d %H:%M:%S} "
                "UTC, and nobody has put a new one there",
                hint="a token that is named by its path is read again; one that stands there itself cannot be renewed",
            )
        life = None if expires is None else expires - now
        return tokens.grant_of(token, self._key(), self._who(claims, where), claims=claims, life=life)

    def _who(self, claims: jwt.Claims, where: str) -> Who:
        tenancy = jwt.text_claim(claims, "res_tenant") or self.settings.tenancy_ocid
        if tenancy is None:
            raise errors.AuthError(f"environment {where}: the token names no tenancy (claim res_tenant)")
        return tokens.resource(claims, tenancy, self._region())

    def _region(self) -> str | None:
        given = self.settings.environment.get(f"{PREFIX}REGION{self.suffix}")
        return regions.expand(given.reveal()) if given else None

    def _key(self) -> RSAPrivateKey:
        where, pem = self._text("PRIVATE_PEM", "private key")
        phrase = self._phrase()
        # Secret stores often keep a PEM on one line with "\n" spelled out.
        data = (pem if "\n" in pem.strip() else pem.replace("\\n", "\n")).encode()
        phrase_where = f"environment {PREFIX}PRIVATE_PEM_PASSPHRASE{self.suffix}"
        return open_private_key(data, PemPlace(f"environment {where}", "the key", phrase, phrase_where, phrase_where))

    def _phrase(self) -> Secret | None:
        """The pass phrase; it stands in a file only if the key does, as in the SDK."""
        variable = f"{PREFIX}PRIVATE_PEM_PASSPHRASE{self.suffix}"
        given = self.settings.environment.get(variable)
        key = self.settings.environment[f"{PREFIX}PRIVATE_PEM{self.suffix}"].reveal()
        if given is None or not (_is_path(given.reveal()) and _is_path(key)):
            return given
        try:
            return Secret(Path(given.reveal()).read_text().strip())
        except (OSError, ValueError):
            # Its name is not told: it may be the pass phrase itself.
            raise errors.ConfigError(f"environment {variable}: no pass phrase can be read from that file") from None

    def _text(self, name: str, what: str) -> tuple[str, str]:
        """Name of a variable and its text, or that of the file whose absolute path it is."""
        variable = f"{PREFIX}{name}{self.suffix}"
        given = self.settings.environment.get(variable)
        if given is None:
            needed = ", ".join(f"{PREFIX}{each}{self.suffix}" for each in ("RPST", "PRIVATE_PEM", "REGION"))
            raise errors.ConfigError(
                f"auth is resource_principal ({self.settings.where('auth')}), and the environment has no {variable}",
                hint=f"version 2.2 needs {needed}",
            )
        text = given.reveal()
        if _is_path(text):
            text = read_file(text, f"environment {variable}", what).decode("utf-8", "replace")
        return variable, text.strip()

    def why_refused(self, grant: Grant, _when: datetime) -> str:
        """Nothing is known of it but the token."""
        return (
            f"the token of {grant.who.principal or 'this resource'} in {PREFIX}RPST{self.suffix} is not accepted: "
            "is it of this region, and is the key beside it its own?"
        )

    @property
    def files(self) -> tuple[str, ...]:
        """Token and key, where the service that runs this keeps them in files."""
        given = (self.settings.environment.get(f"{PREFIX}{name}{self.suffix}") for name in ("RPST", "PRIVATE_PEM"))
        texts = [value.reveal() for value in given if value is not None]
        return tuple(text for text in texts if _is_path(text))

    def ask(self, _grant: Grant, _when: datetime) -> str:
        """Nobody logs in: the service that runs this writes the files anew."""
        return f"the service that runs this resource has to renew its token in {', '.join(self.files)}"


def _is_path(text: str) -> bool:
    return text.startswith("/")
