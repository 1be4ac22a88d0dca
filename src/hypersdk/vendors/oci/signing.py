"""Signs with an API key as the SDK's signers do, but loads the SDK only for requests of the SDK.

Loading the SDK costs a third of a second and 32 MiB, more than moving a hundred MB: who only moves bodies is spared it.
Source: docs.oracle.com, "Request Signatures" (draft-cavage-http-signatures-08, RSA-SHA256, version "1").
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from email.utils import formatdate
from functools import cached_property
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

_SIGNED = ("date", "(request-target)", "host")


class ApiKeySigner:
    """Looks like a signer of the SDK.

    Args:
        key: opened.
        tenancy: OCID of the account.
        user: OCID of the user.
        fingerprint: of the key.
    """

    def __init__(self, key: RSAPrivateKey, tenancy: str, user: str, fingerprint: str) -> None:
        self.private_key = key
        self._who = (tenancy, user, fingerprint)

    def __call__(self, request: Any, enforce_content_headers: bool = True) -> Any:
        """Sign a request of the SDK, its body included."""
        return self._sdk(request, enforce_content_headers)

    def without_content_headers(self, request: Any) -> Any:
        """Sign date, (request-target) and host of a request; its `headers` get these and `authorization`."""
        return self._sign(request, _SIGNED)

    def with_content(self, request: Any) -> Any:
        """The same for a request with a body: its length, type and SHA-256 are signed, too."""
        headers = request.headers
        headers["content-length"] = str(len(request.body))
        headers["x-content-sha256"] = base64.b64encode(hashlib.sha256(request.body).digest()).decode()
        return self._sign(request, [*_SIGNED, "content-length", "content-type", "x-content-sha256"])

    def _sign(self, request: Any, names: Sequence[str]) -> Any:
        request.headers.setdefault("date", formatdate(usegmt=True))
        request.headers.setdefault("host", urlsplit(request.url).netloc)
        signed = {**request.headers, "(request-target)": f"{request.method.lower()} {request.path_url}"}
        text = "\n".join(f"{name}: {signed[name]}" for name in names)
        signature = base64.b64encode(self.private_key.sign(text.encode(), PKCS1v15(), hashes.SHA256())).decode()
        request.headers["authorization"] = (
            f'Signature algorithm="rsa-sha256",headers="{" ".join(names)}",keyId="{"/".join(self._who)}",'
            f'signature="{signature}",version="1"'
        )
        return request

    @cached_property
    def _sdk(self) -> Any:
        from oci.signer import Signer

        # The SDK's signer takes no opened key, only its text.
        opened = self.private_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Signer(*self._who, None, private_key_content=opened)


def sign_request(signer: Any, method: str, url: str, body: bytes | None = None) -> dict[str, str]:
    """The headers that sign a request which the SDK does not send.

    Args:
        signer: of the SDK, or one of ours.
        method: "GET", ...
        url: exactly as it goes on the wire.
        body: JSON that is signed, too; None = the body is not.
    """
    parts = urlsplit(url)
    # The SDK's signer takes a request of its HTTP library; such a request re-encodes the URL, this one does not.
    request = SimpleNamespace(
        method=method,
        url=url,
        path_url=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        headers={},
        body=body,
    )
    if body is None:
        signer.without_content_headers(request)
        return {name: request.headers[name] for name in ("date", "host", "authorization")}
    request.headers |= {"content-type": "application/json", "content-length": str(len(body))}
    getattr(signer, "with_content", signer)(request)
    return dict(request.headers)


def signer_of_the_moment(current: Callable[[], Any]) -> Any:
    """A signer for the SDK's clients that signs with what is good when a request is made, not when the client was.

    It is one of the SDK's signers for tokens, since for those its clients demand no API key's facts beside it, and do
    not renew or repeat by themselves.
    """
    from oci.auth.signers import SecurityTokenSigner

    class SignerOfTheMoment(SecurityTokenSigner):  # type: ignore[misc]  # the SDK ships no types
        def __init__(self) -> None:
            pass  # nothing of its own to sign with

        def __call__(self, request: Any, enforce_content_headers: bool = True) -> Any:
            return current()(request, enforce_content_headers)

    return SignerOfTheMoment()
