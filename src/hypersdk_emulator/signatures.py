"""Checks HTTP signatures as OCI's services do: API keys, session tokens, tokens of principals.

Scheme: draft-cavage-http-signatures-08 with OCI's rules ("Request Signatures" in OCI's documentation): `version="1"`,
`rsa-sha256`, at most 5 minutes of clock skew by the real clock, `x-date` before `date`, and on calls whose body is
signed also `content-length`, `content-type` and `x-content-sha256`.
"""

import base64
import email.utils
import functools
import json
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

MAX_SKEW_SECONDS = 300
BODY_HEADERS = frozenset({"content-length", "content-type", "x-content-sha256"})
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


class SignatureRefused(Exception):
    """The signature does not hold; the text says why (for the emulator's log, never for the client)."""


@dataclass(frozen=True)
class Principal:
    """Who signed a request.

    Args:
        kind: `api_key`, `session_token`, `instance_principal`, `resource_principal`, `workload_identity`, `par` or
            `anonymous`.
        user_id: OCID of the user, or of the instance or resource that signed.
        federated: Needs a PAR for exports and imports.
        denied: Operation names that are refused.
        denied_compartments: Where nothing (or, with `denied`, none of those operations) is allowed.
        facts: What policies and dynamic groups may ask about the signer, by their own names (`instance.id`).
    """

    kind: str
    user_id: str = ""
    federated: bool = False
    denied: frozenset[str] = frozenset()
    denied_compartments: frozenset[str] = frozenset()
    facts: Mapping[str, str] = field(default_factory=dict)

    def may(self, operation: str, compartment: str | None) -> bool:
        """True if the operation is allowed, in this compartment if one is named."""
        if self.denied_compartments:
            if compartment not in self.denied_compartments:
                return True
            return bool(self.denied) and operation not in self.denied
        return operation not in self.denied


@dataclass(frozen=True)
class Signed:
    """The parts of a request that a signature covers. Header names are lower-case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body_signed: bool
    host_signed: bool = True


@dataclass(frozen=True)
class _Authorization:
    key_id: str
    names: tuple[str, ...]
    signature: bytes


def _parse(header: str) -> _Authorization:
    scheme, _, rest = header.partition(" ")
    values = dict(_PARAMETER.findall(rest))
    if scheme.lower() != "signature" or values.get("algorithm") != "rsa-sha256" or values.get("version", "1") != "1":
        raise SignatureRefused("not an rsa-sha256 signature of version 1")
    try:
        signature = base64.b64decode(values["signature"], validate=True)
        return _Authorization(values["keyId"], tuple(values["headers"].lower().split()), signature)
    except (KeyError, ValueError) as error:
        raise SignatureRefused(f"unreadable authorization header: {error}") from None


def _check_names(signed: Signed, names: tuple[str, ...]) -> None:
    wanted = {"(request-target)"} | (BODY_HEADERS if signed.body_signed else set())
    if signed.host_signed:
        wanted.add("host")
    missing = wanted.difference(names)
    if "x-date" not in names and ("date" not in names or "x-date" in signed.headers):
        missing.add("date")
    if missing:
        raise SignatureRefused(f"not signed: {', '.join(sorted(missing))}")


@functools.lru_cache(maxsize=1024)
def _timestamp(date: str) -> float:
    """Seconds since the epoch; calls of one second carry the same text."""
    return email.utils.parsedate_to_datetime(date).timestamp()


def _check_date(signed: Signed, wall: float) -> None:
    value = signed.headers.get("x-date") or signed.headers.get("date", "")
    try:
        sent = _timestamp(value)
    except (ValueError, OverflowError):
        raise SignatureRefused(f"unreadable date {value!r}") from None
    if abs(sent - wall) > MAX_SKEW_SECONDS:
        raise SignatureRefused(f"the date is {sent - wall:+.0f} s off")


def verify(signed: Signed, wall: float, find_key: Callable[[str], tuple[rsa.RSAPublicKey, Principal]]) -> Principal:
    """Check a request's `authorization` header; returns who signed.

    Args:
        signed: The request as it was on the wire.
        wall: Real time, seconds since the epoch.
        find_key: Gives the public key and the principal of a `keyId`.

    Raises:
        SignatureRefused: The signature is absent, incomplete, stale or wrong.
    """
    authorization = _parse(signed.headers.get("authorization", ""))
    _check_names(signed, authorization.names)
    _check_date(signed, wall)
    lines = []
    for name in authorization.names:
        if name == "(request-target)":
            lines.append(f"(request-target): {signed.method.lower()} {signed.target}")
        elif name in signed.headers:
            lines.append(f"{name}: {signed.headers[name]}")
        else:
            raise SignatureRefused(f"signed header {name} was not sent")
    key, principal = find_key(authorization.key_id)
    try:
        key.verify(authorization.signature, "\n".join(lines).encode(), padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        raise SignatureRefused(f"wrong signature for {authorization.key_id}") from None
    return principal


def public_key(pem: str) -> rsa.RSAPublicKey:
    """Read a PEM public key.

    Raises:
        ValueError: It is not an RSA public key.
    """
    key = serialization.load_pem_public_key(pem.encode())
    if not isinstance(key, rsa.RSAPublicKey):
        raise ValueError("not an RSA public key")  # noqa: TRY004 - a wrong value in a text, not a wrong Python type
    return key


class TokenIssuer:
    """Issues and reads the JSON web tokens of sessions, signed (RS256) with a key of the emulator's own.

    Args:
        pem: The signing key as made by `new_key`.
    """

    def __init__(self, pem: str) -> None:
        key = serialization.load_pem_private_key(pem.encode(), None)
        assert isinstance(key, rsa.RSAPrivateKey)
        self._key = key

    @property
    def key(self) -> rsa.RSAPublicKey:
        """The public half of the signing key."""
        return self._key.public_key()

    @staticmethod
    def new_key() -> str:
        """A fresh signing key, PEM."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        form = serialization.PrivateFormat.PKCS8
        return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()

    def issue(self, claims: Mapping[str, Any], session_key: rsa.RSAPublicKey) -> str:
        """A token for these claims, bound to the session's public key (claim `jwk`, as in OCI's tokens)."""
        numbers = session_key.public_numbers()
        jwk = {"kty": "RSA", "alg": "RS256", "n": _int_text(numbers.n), "e": _int_text(numbers.e)}
        payload = {**claims, "jti": secrets.token_hex(16), "jwk": json.dumps(jwk)}
        signing_input = f"{_json_text({'alg': 'RS256', 'typ': 'JWT'})}.{_json_text(payload)}"
        signature = self._key.sign(signing_input.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signing_input}.{_url_text(signature)}"

    def read(self, token: str) -> tuple[dict[str, Any], rsa.RSAPublicKey]:
        """Claims and session key of a token that this issuer signed; its times are the caller's to check.

        Raises:
            SignatureRefused: It is not a token of ours.
        """
        try:
            signing_input, _, signature = token.rpartition(".")
            self._key.public_key().verify(
                _url_bytes(signature), signing_input.encode(), padding.PKCS1v15(), hashes.SHA256()
            )
            claims: dict[str, Any] = json.loads(_url_bytes(signing_input.partition(".")[2]))
            jwk = json.loads(claims["jwk"])
        except (InvalidSignature, ValueError, KeyError) as error:
            raise SignatureRefused(f"not a token of this cloud: {type(error).__name__}") from None
        numbers = rsa.RSAPublicNumbers(*(int.from_bytes(_url_bytes(jwk[name]), "big") for name in ("e", "n")))
        return claims, numbers.public_key()


def _url_text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _url_bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _json_text(value: object) -> str:
    return _url_text(json.dumps(value, separators=(",", ":")).encode())


def _int_text(number: int) -> str:
    return _url_text(number.to_bytes((number.bit_length() + 7) // 8, "big"))
