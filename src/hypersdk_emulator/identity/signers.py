"""Who signed a request: its `keyId` looked up, its signature and the digest of its body checked."""

import base64
import hashlib
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric import rsa

from hypersdk_emulator.call import Call
from hypersdk_emulator.errors import not_authenticated
from hypersdk_emulator.identity import tokens, users
from hypersdk_emulator.signatures import BODY_HEADERS, Principal, SignatureRefused, Signed, verify

FindKey = Callable[[str], tuple[rsa.RSAPublicKey, Principal]]


async def signer(call: Call) -> Principal:
    """Who signed, by an API key or a token.

    Raises:
        ServiceError: 401; the reason is in the log only.
    """

    def find(key_id: str) -> tuple[rsa.RSAPublicKey, Principal]:
        if key_id.startswith("ST$"):
            return tokens.signer(call.cloud, key_id[3:])
        return users.find_key(call.cloud, key_id)

    return await checked(call, find)


async def checked(call: Call, find_key: FindKey, *, host_signed: bool = True) -> Principal:
    """The principal that `find_key` gives for the request's `keyId`, once the signature has been checked.

    Args:
        call: The request.
        find_key: Public key and principal of a `keyId`; raises SignatureRefused for an unknown one.
        host_signed: The signature must cover the host (all calls but those to the federation endpoint).

    Raises:
        ServiceError: 401; the reason is in the log only.
    """
    try:
        return await _checked(call, find_key, host_signed=host_signed)
    except SignatureRefused as refused:
        raise refusal(call, str(refused)) from None


def refusal(call: Call, reason: str) -> Exception:
    """The 401 of the call's service; the reason goes to the log only."""
    call.request["entry"]["refused"] = reason
    return not_authenticated(call.route.service)


async def _checked(call: Call, find_key: FindKey, *, host_signed: bool) -> Principal:
    request = call.request
    body_signed = call.route.body_signed and request.method in ("POST", "PUT", "PATCH")
    headers = {name.lower(): value for name, value in request.headers.items()}
    signed = Signed(request.method, request.raw_path, headers, body_signed, host_signed)
    principal = verify(signed, call.cloud.clock.wall(), find_key)
    if body_signed:
        assert headers.keys() >= BODY_HEADERS
        digest = base64.b64encode(hashlib.sha256(await call.raw()).digest()).decode()
        if digest != headers["x-content-sha256"]:
            raise SignatureRefused("x-content-sha256 does not fit the body")
    return principal
