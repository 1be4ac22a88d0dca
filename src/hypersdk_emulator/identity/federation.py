"""The auth service: instance certificates are exchanged for tokens, sessions are begun and refreshed.

Paths and bodies as Oracle's SDK and CLI send them: `oci.auth.federation_client`, `oci_cli.cli_session` and the model
GenerateUserSecurityTokenDetails of `oci.identity_data_plane`.
"""

import binascii
from typing import Any

from aiohttp import web
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa

from hypersdk_emulator.call import Call
from hypersdk_emulator.errors import ServiceError, invalid_parameter
from hypersdk_emulator.fields import text
from hypersdk_emulator.identity import authority, signers, tokens
from hypersdk_emulator.signatures import Principal, SignatureRefused

MAX_PEM = 16384
MIN_KEY_BITS = 2048
MIN_SESSION_MINUTES, MAX_SESSION_MINUTES = 5, 60
"""Bounds of `oci session authenticate --session-expiration-in-minutes`."""


def token_seconds(call: Call) -> float:
    """Life of a principal's token."""
    return call.cloud.assumptions.principal_token_minutes * 60


async def security_token(call: Call) -> web.StreamResponse:
    """GetSecurityTokenX509: a token for an instance that signs with the key of its certificate."""
    body = await call.json()
    leaf = _certificate(text(body, "certificate", MAX_PEM), "certificate")
    rest = body.get("intermediateCertificates") or []
    if not isinstance(rest, list) or not all(isinstance(each, str) for each in rest):
        raise invalid_parameter("intermediateCertificates must be a list of certificates")
    chain = [_certificate(each, f"intermediateCertificates[{n}]") for n, each in enumerate(rest)]
    key = tokens.session_key(text(body, "publicKey", MAX_PEM), "publicKey")
    if key.key_size < MIN_KEY_BITS:
        raise invalid_parameter(f"publicKey: has {key.key_size} bits, at least {MIN_KEY_BITS} are needed")
    try:
        holder = authority.certified(call.cloud, leaf, chain)
    except (ValueError, UnsupportedAlgorithm) as refused:  # certificates are read when they are looked at
        raise signers.refusal(call, str(refused)) from None
    await signers.checked(call, lambda key_id: _holder_key(call, key_id, leaf, holder), host_signed=False)
    claims = {
        "sub": holder.instance,
        "ptype": "instance",
        "ttype": "x509",
        "opc-certtype": "instance",
        "opc-instance": holder.instance,
        "opc-compartment": holder.compartment,
        "opc-tenant": holder.tenancy,
        "facts": {
            "instance.id": holder.instance,
            "instance.compartment.id": holder.compartment,
            "request.principal.type": "instance",
        },
    }
    return call.reply({"token": tokens.issue(call.cloud, claims, key, token_seconds(call))})


def _holder_key(
    call: Call, key_id: str, leaf: x509.Certificate, holder: authority.Certified
) -> tuple[rsa.RSAPublicKey, Principal]:
    """The key of the certificate, if the `keyId` speaks of that certificate."""
    fingerprint = ":".join(f"{byte:02X}" for byte in leaf.fingerprint(hashes.SHA1()))  # noqa: S303 - OCI's key id
    if holder.tenancy != call.cloud.settings.tenancy_id or key_id != f"{holder.tenancy}/fed-x509/{fingerprint}":
        raise SignatureRefused(f"{key_id} does not fit the certificate {fingerprint}")
    return holder.key, Principal("certificate", holder.instance)


def _certificate(value: str, name: str) -> x509.Certificate:
    """A certificate as PEM, with or without the lines around it."""
    if "-----" not in value:
        value = f"-----BEGIN CERTIFICATE-----\n{value}\n-----END CERTIFICATE-----\n"
    try:
        return x509.load_pem_x509_certificate(value.encode())
    except (ValueError, binascii.Error):
        raise invalid_parameter(f"{name}: not a certificate in PEM") from None


async def refresh(call: Call) -> web.StreamResponse:
    """RefreshSecurityToken: the next token of a session, signed for with the current one and bound to the same key."""
    principal, body = call.principal, await call.json()
    try:
        claims, key = tokens.read(call.cloud, text(body, "currentToken", MAX_PEM))
    except SignatureRefused as refused:
        raise signers.refusal(call, str(refused)) from None
    now = call.cloud.clock.timestamp()
    if principal.kind != "session_token" or claims["ptype"] != "user" or claims["sub"] != principal.user_id:
        raise signers.refusal(call, "only a session refreshes its own token")
    if now >= claims["session_started"] + tokens.SESSION_SECONDS:
        raise signers.refusal(call, "the session is too old to be refreshed")
    return call.reply({"token": tokens.renew(call.cloud, claims, key)})


async def begin_session(call: Call) -> web.StreamResponse:
    """GenerateUserSecurityToken: a session for the user who signed (`oci session authenticate --no-browser`)."""
    principal = call.principal
    if principal.kind not in ("api_key", "session_token"):
        raise ServiceError(400, "InvalidParameter", "Only a user begins a session")
    body = await call.json()
    minutes = _minutes(body)
    pem = text(body, "publicKey", MAX_PEM)
    return call.reply({"token": tokens.issue_session(call.cloud, principal.user_id, pem, minutes * 60)})


def _minutes(body: dict[str, Any]) -> int:
    value = body.get("sessionExpirationInMinutes", MAX_SESSION_MINUTES)
    if isinstance(value, str) and value.isdecimal():
        value = int(value[:9])  # the CLI sends the number of its option as a text
    if not isinstance(value, int) or not MIN_SESSION_MINUTES <= value <= MAX_SESSION_MINUTES:
        span = f"{MIN_SESSION_MINUTES} to {MAX_SESSION_MINUTES}"
        raise invalid_parameter(f"sessionExpirationInMinutes must be a whole number from {span}")
    return value
