"""What the kinds with tokens share: keys of a session, grants from tokens, refusals."""

from __future__ import annotations

from urllib.parse import urlsplit

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from hypersdk import errors
from hypersdk.vendors.oci.kinds import jwt
from hypersdk.vendors.oci.kinds.grant import RESOURCES, Grant, Who, renew_before_end


def fresh_claims(token: str) -> jwt.Claims:
    """The claims of a token that a service gave.

    Raises:
        ReplyRefused: not a token.
    """
    try:
        return jwt.read_claims(token)
    except ValueError as error:
        raise errors.ReplyRefused("what the service gave as a token is none", hint="try again later") from error


def grant_of(
    token: str, key: RSAPrivateKey, who: Who, *, claims: jwt.Claims, life: float | None, half_life: bool = False
) -> Grant:
    """A grant from a token.

    Args:
        token: the token.
        key: the session's key, whose public half the token names.
        who: whom it stands for.
        claims: its claims.
        life: seconds that it lives from now on; None = for ever.
        half_life: renew it at half of its life (OKE), not a minute before its end.
    """
    from oci.auth.signers import SecurityTokenSigner

    return Grant(
        SecurityTokenSigner(token, key),
        who,
        mark=jwt.mark_of(token),
        expires=jwt.expiry(claims),
        life=life,
        renew_after=life / 2 if half_life and life is not None else renew_before_end(life),
    )


def resource(claims: jwt.Claims, tenancy_id: str, region: str | None) -> Who:
    """The resource that a resource principal's token speaks of."""
    compartment = jwt.text_claim(claims, "res_compartment")
    facts = {"resource.type": jwt.text_claim(claims, "res_type"), "resource.compartment.id": compartment}
    rule = ", ".join(f"{name} = '{value}'" for name, value in facts.items() if value)
    return Who(tenancy_id, region, jwt.text_claim(claims, "res_id", "sub"), compartment, RESOURCES, rule)


def public_pem(key: RSAPrivateKey) -> str:
    """The public half, as PEM."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def bare(pem: str) -> str:
    """A PEM without its first and last line and without line ends, as the token services want it."""
    return "".join(line.strip() for line in pem.splitlines() if line.strip() and not line.startswith("-----"))


def with_path(url: str, path: str, *, always: bool = False) -> str:
    """A URL as it was written if it has a path, else with this one; `always` = behind whatever path it has."""
    base = url.rstrip("/")
    return base + path if always or not urlsplit(base).path else base


def refused(what: str, error: errors.HypersdkError) -> errors.AuthError:
    """A refusal to give a token: no credentials are left to try, so it is no 401 that a renewal could cure."""
    return errors.AuthError(
        f"{what}: {error.message}",
        resource=error.resource,
        hint="is this machine's clock right (5 minutes off is too much), and does the endpoint belong to its region?",
        request_id=error.request_id,
        service_code=error.service_code,
        status=error.status,
    )
