"""Security tokens (`ST$...`) of every kind: issued, and read back from a signature's `keyId`.

A token ends when either clock has passed its lifetime: clients judge `exp` by the real clock, tests by the virtual one.
"""

from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.errors import invalid_parameter
from hypersdk_emulator.identity import users
from hypersdk_emulator.signatures import Principal, SignatureRefused, public_key

SIGNERS = {
    "user": "session_token",
    "instance": "instance_principal",
    "resource": "resource_principal",
    "workload": "workload_identity",
}
"""Claim `ptype` of the tokens that may sign, and the kind of principal that each stands for."""
SESSION_SECONDS = 24 * 3600
"""A session is refreshed for so long, then it needs a new login (Oracle's CLI guide, 'Token-based Authentication')."""


def issue(cloud: Cloud, claims: Mapping[str, Any], key: rsa.RSAPublicKey, seconds: float) -> str:
    """A token with these claims, bound to a public key.

    Args:
        cloud: The cloud.
        claims: What it says beside its times; `ptype` is a key of SIGNERS for a token that may sign.
        key: The session's public key.
        seconds: Its life.
    """
    real, virtual = cloud.clock.wall(), cloud.clock.timestamp()
    times = {"iat": int(real), "exp": int(real + seconds), "virtual_exp": virtual + seconds}
    issuer = {"iss": "authService.oracle.com", "aud": "oci", "tenant": cloud.settings.tenancy_id}
    return cloud.tokens.issue({**issuer, **claims, **times}, key)


def read(cloud: Cloud, token: str) -> tuple[dict[str, Any], rsa.RSAPublicKey]:
    """Claims and public key of a token of this cloud that has not expired.

    Raises:
        SignatureRefused: It is none, or its time is over.
    """
    claims, key = cloud.tokens.read(token)
    if cloud.clock.wall() >= claims["exp"] or cloud.clock.timestamp() >= claims["virtual_exp"]:
        raise SignatureRefused(f"the token of {claims.get('sub')} has expired")
    return claims, key


def signer(cloud: Cloud, token: str) -> tuple[rsa.RSAPublicKey, Principal]:
    """Public key and principal of a token that signs.

    Raises:
        SignatureRefused: The token is not good, not one that may sign, or for a user who is gone.
    """
    claims, key = read(cloud, token)
    kind = SIGNERS.get(str(claims.get("ptype")))
    if kind is None:
        raise SignatureRefused("such a token signs nothing")
    if kind != "session_token":
        return key, Principal(kind, claims["sub"], federated=True, facts=claims["facts"])
    principal = users.principal_of(cloud, claims["sub"], kind)
    if principal is None:
        raise SignatureRefused(f"unknown user {claims['sub']}")
    return key, principal


def issue_session(cloud: Cloud, user_id: str, pem: str, seconds: float) -> str:
    """A session token for a user, bound to a public key.

    Args:
        cloud: The cloud.
        user_id: OCID.
        pem: The public key.
        seconds: Life of the token.

    Raises:
        ServiceError: No such user, or not a public key.
    """
    if users.principal_of(cloud, user_id, "session_token") is None:
        raise invalid_parameter(f"userId: no user {user_id}")
    claims = {"sub": user_id, "ptype": "user", "ttype": "upst", "session_started": cloud.clock.timestamp()}
    return issue(cloud, claims, session_key(pem, "publicKeyPem"), seconds)


def renew(cloud: Cloud, claims: Mapping[str, Any], key: rsa.RSAPublicKey) -> str:
    """The same token with its life begun again, as long as it was."""
    kept = {name: value for name, value in claims.items() if name not in ("jti", "jwk")}
    return issue(cloud, kept, key, claims["exp"] - claims["iat"])


def session_key(pem: str, name: str) -> rsa.RSAPublicKey:
    """A public key that came as PEM, with or without the lines around it.

    Args:
        pem: The text; SDKs strip header, footer and line breaks.
        name: The field it came in, for the message.

    Raises:
        ServiceError: 400, it is no RSA public key.
    """
    if "-----" not in pem:
        pem = f"-----BEGIN PUBLIC KEY-----\n{pem}\n-----END PUBLIC KEY-----\n"
    try:
        return public_key(pem)
    except ValueError as error:
        raise invalid_parameter(f"{name}: {error}") from None
