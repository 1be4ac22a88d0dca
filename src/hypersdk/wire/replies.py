"""Is this reply the one that was asked for? Pure.

Rules of this file (design 8.4): nothing of a body is believed before status, Content-Range, etag, encoding and length
were checked here; a reply that fails is `ReplyRefused`, which is retryable, because caches, portals and proxies come
and go. Refusals by the service (4xx, 5xx) are explained by a hook of the caller, else by the plain table below.
References: RFC 9110 sections 8.4 (Content-Encoding), 8.8.3 (ETag), 14.4 (Content-Range).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus

from hypersdk import errors
from hypersdk.readers.http import read_retry_after
from hypersdk.wire.request import Expectation, Request

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)\Z")

_BY_STATUS: Mapping[int, type[errors.HypersdkError]] = {
    401: errors.NotAuthenticated,
    403: errors.PermissionDenied,
    404: errors.NotFoundError,
    407: errors.AuthError,
    408: errors.NetworkError,
    409: errors.StateConflict,
    412: errors.PreconditionFailed,
    429: errors.ThrottledError,
    501: errors.RequestRefused,
}

_FIRST_ERROR = 400
_FIRST_SERVER_ERROR = 500
_REDIRECTS = range(300, 400)


def is_refusal(expect: Expectation, status: int) -> bool:
    """Whether the service itself says no, so that its body explains why."""
    return status >= _FIRST_ERROR and status not in expect.statuses


def check_head(request: Request, status: int, headers: Mapping[str, str]) -> int | None:
    """Check a reply's status line and headers, before its body.

    Args:
        request: what was asked; its expectation is what must hold.
        status: HTTP status, not a refusal (see `is_refusal`).
        headers: headers, names in lower case.

    Returns:
        How many bytes the body must have; None if neither side says.

    Raises:
        ReplyRefused: the reply is not the one that was asked for.
    """
    expect = request.expect
    if status in _REDIRECTS and status not in expect.statuses:
        raise _refused(request, f"answered with a redirect ({status}), which is never followed")
    if status in _REDIRECTS:
        return None  # its body is no part of anything
    statuses = {206} if expect.range else expect.statuses
    if status not in statuses:
        ignored = expect.range is not None and status == HTTPStatus.OK
        why = "ignored the range and sent the whole object" if ignored else f"answered {status}"
        raise _refused(request, why, status)
    if expect.range:
        _check_content_range(request, headers)
    if expect.needs and not headers.get(expect.needs):
        raise _refused(request, f"answered without {expect.needs}, which the service never does")
    for name, value in expect.echoes.items():
        if headers.get(name, value) != value:
            raise _refused(request, f"has other bytes than were sent: {name} is {headers[name]}, not {value}")
    if expect.etag and _opaque(headers.get("etag", "")) != _opaque(expect.etag):
        raise _refused(request, f"sent etag {headers.get('etag')} in place of {expect.etag}")
    length = expect.range.length if expect.range else expect.size
    return _check_length(request, headers, length)


def check_received(request: Request, received: int, length: int | None) -> None:
    """Check that a body is whole.

    Raises:
        ReplyRefused: it has more or fewer bytes than it must.
    """
    if length is not None and received != length:
        raise _refused(request, f"sent {received} bytes where {length} were due")


def explain_plainly(
    request: Request, status: int, headers: Mapping[str, str], _body: bytes = b""
) -> errors.HypersdkError:
    """The meaning of a refusal by its HTTP status alone, for services of which we know nothing more."""
    kind = _BY_STATUS.get(status, errors.ServiceError if status >= _FIRST_SERVER_ERROR else errors.RequestRefused)
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return proxy_refused(request)
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return kind(
        f"{request.method} {request.resource}: HTTP {status} {phrase}".rstrip(),
        resource=request.resource,
        status=status,
        retry_after=read_retry_after(headers),
    )


def proxy_refused(request: Request) -> errors.AuthError:
    """The error for a proxy that wants other credentials."""
    return errors.AuthError(
        f"{request.resource}: the proxy refuses our credentials (407)",
        resource=request.resource,
        hint="give user and password in the proxy URL (--proxy http://user:password@host:port)",
        status=407,
    )


def _check_content_range(request: Request, headers: Mapping[str, str]) -> None:
    wanted, size = request.expect.range, request.expect.size
    assert wanted is not None
    text = headers.get("content-range", "")
    match = _CONTENT_RANGE.match(text.strip())
    if not match or (int(match[1]), int(match[2]) + 1) != (wanted.start, wanted.stop):
        raise _refused(request, f"sent Content-Range {text!r} where {wanted.header()} was asked")
    if size is not None and int(match[3]) != size:
        raise _refused(request, f"speaks of an object of {match[3]} bytes where {size} were due")


def _check_length(request: Request, headers: Mapping[str, str], length: int | None) -> int | None:
    if request.method == "HEAD":
        return None  # it speaks of a body that does not come, stored encoded or not
    text = headers.get("content-length", "").strip()
    declared = int(text) if text.isdecimal() else None
    encoding = headers.get("content-encoding", "").strip().lower()
    # An object may be *stored* encoded: then its raw bytes have exactly the length that the store told us, and raw is
    # how we want them. An encoding made on the way gives itself away by another length, or by none.
    if encoding not in {"", "identity"} and (length is None or declared != length):
        raise _refused(request, f"sent a body encoded with {encoding} that was not asked for")
    if length is not None and declared is not None and declared != length:
        raise _refused(request, f"announces {declared} bytes where {length} were due")
    return declared if length is None else length


def _opaque(etag: str) -> str:
    # OCI writes etags bare, other servers in quotes (RFC 9110, 8.8.3).
    return etag.strip().removeprefix('"').removesuffix('"')


def _refused(request: Request, why: str, status: int | None = None) -> errors.ReplyRefused:
    return errors.ReplyRefused(
        f"{request.method} {request.resource}: the server {why}",
        resource=request.resource,
        hint="something between us and the service may be answering in its place (proxy, portal, cache)",
        status=status,
    )
