"""What libcurl's error numbers mean for us. Pure: numbers and texts in, errors of our tree out.

Rules of this file: could not connect at all is `EndpointUnreachable`, the network monitor's cue; a connection that was
cut or went silent is `NetworkError`; a certificate that nobody vouches for is no fault that passes. Numbers as in
libcurl's `curl.h` (https://curl.se/libcurl/c/libcurl-errors.html).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hypersdk import errors
from hypersdk.wire.replies import explain_plainly, proxy_refused
from hypersdk.wire.request import Request

_BAD_URL = frozenset({1, 3, 4})
_UNREACHABLE = frozenset({5, 6, 7, 35, 97})  # proxy or host not resolved, no connection, no TLS, no SOCKS
_TIMED_OUT = 28
UNTRUSTED = frozenset({51, 60, 83, 91})
"""The server's certificate is not one that our authorities vouch for."""
_BAD_BUNDLE = frozenset({58, 59, 66, 77})

_CUT: Mapping[int, str] = {
    18: "the connection was cut in mid-body",
    52: "the connection was closed without a reply",
    55: "the connection was cut while sending",
    56: "the connection was cut while receiving",
}

_PROXY_AUTHENTICATION_REQUIRED = 407
_FIRST_ERROR = 400


@dataclass(frozen=True, slots=True)
class Failure:
    """How a request without a whole reply ended.

    Attributes:
        code: libcurl's error number.
        text: libcurl's own sentence; names hosts, never URLs or credentials.
        connected: whether a connection stood, TLS included.
        proxy_status: HTTP status of the proxy's answer to CONNECT; 0 = none.
        read_timeout: seconds of silence after which a connection counts as dead.
        ca_bundle: file with the trusted authorities.
    """

    code: int
    text: str
    connected: bool
    proxy_status: int
    read_timeout: float
    ca_bundle: str


def translate(request: Request, failure: Failure) -> errors.HypersdkError:
    """The error of our tree for a failure below HTTP."""
    what = f"{request.method} {request.resource}"
    if failure.proxy_status == _PROXY_AUTHENTICATION_REQUIRED:
        return proxy_refused(request)
    if failure.proxy_status >= _FIRST_ERROR:
        refusal = explain_plainly(request, failure.proxy_status, {})
        refusal.hint = "this is the answer of the proxy, not of the service"
        return refusal
    if failure.code in _BAD_URL:
        # libcurl may quote the URL here, and URLs may be secrets.
        return errors.RequestRefused(f"{what}: its address is no URL that can be fetched", resource=request.resource)
    if failure.code in UNTRUSTED:
        return errors.ConfigError(
            f"{what}: the server's certificate is not trusted: {failure.text}",
            resource=request.resource,
            hint=f"trusted authorities are those in {failure.ca_bundle}; name another file with --cert-bundle",
        )
    if failure.code in _BAD_BUNDLE:
        return errors.ConfigError(
            f"{what}: cannot read the CA bundle {failure.ca_bundle}: {failure.text}",
            resource=request.resource,
            hint="name a readable PEM file with --cert-bundle",
        )
    return _passing(what, request.resource, failure)


def _passing(what: str, resource: str, failure: Failure) -> errors.NetworkError:
    if failure.code == _TIMED_OUT and failure.connected:
        return errors.NetworkError(f"{what}: no byte came for {failure.read_timeout:g} s", resource=resource)
    if failure.code in _UNREACHABLE or failure.code == _TIMED_OUT:
        return errors.EndpointUnreachable(f"{what}: {failure.text}", resource=resource)
    why = _CUT.get(failure.code, f"libcurl error {failure.code}")
    detail = f" ({failure.text})" if failure.text else ""
    return errors.NetworkError(f"{what}: {why}{detail}", resource=resource)
