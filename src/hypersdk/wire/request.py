"""What a reply must satisfy before one byte of it is believed. Pure.

The rule of design 8.4: status, Content-Range, etag, identity encoding and length are checked before the first body byte
reaches the caller. A reply that fails is `ReplyRefused` (retryable), a 412 is `PreconditionFailed`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hypersdk import errors
from hypersdk.model import ByteRange, Secret, Sign


@dataclass(frozen=True, slots=True)
class Expectation:
    """What must be true of a good reply.

    Attributes:
        statuses: accepted HTTP statuses.
        range: the bytes asked for: then 206 with exactly this Content-Range is demanded.
        size: whole size of the object in bytes (total of Content-Range, or length of a whole body); None = unknown.
        etag: etag that the reply must carry; None = any.
        needs: header, in lower case, without which no reply is the service's; None = none.
        echoes: headers, in lower case, that must have these values if the reply has them at all.
    """

    statuses: frozenset[int] = frozenset({200})
    range: ByteRange | None = None
    size: int | None = None
    etag: str | None = None
    needs: str | None = None
    echoes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request as data.

    Attributes:
        method: "GET", "PUT", ...
        url: where; a Secret, because signed and pre-authenticated URLs are secrets.
        resource: the object's name for people and errors, without secrets.
        headers: headers before signing.
        sign: makes the authorization; None = the URL authorizes itself.
        expect: what the reply must satisfy.
        explain: what a refusal means, where the store knows better than the wire.
    """

    method: str
    url: Secret
    resource: str
    headers: Mapping[str, str] = field(default_factory=dict)
    sign: Sign | None = None
    expect: Expectation = Expectation()
    explain: Explain | None = None


Explain = Callable[[Request, int, Mapping[str, str], bytes], errors.HypersdkError]
"""(request, status, headers with lower-case names, start of the body) -> what the service meant."""


@dataclass(frozen=True, slots=True)
class Source:
    """A request's body that is read piece by piece, so that a part of a file never stands in memory whole.

    Attributes:
        length: bytes of the whole body.
        read: (offset in the body, most bytes) -> at least one byte, unless the body ends there. May be asked for the
            same bytes again, when a kept-alive connection turns out to be dead.
    """

    length: int
    read: Callable[[int, int], bytes]


@dataclass(frozen=True, slots=True)
class Feed:
    """A request's body that comes from elsewhere while it is sent: each byte is there once.

    A request that must begin anew, because a kept-alive connection turned out to be dead, fails as one that was cut.

    Attributes:
        length: bytes of the whole body.
        read: (offset in the body, most bytes) -> at least one byte, unless the body ends there; None = there is nothing
            to send yet: asked again after `Wire.resume`.
    """

    length: int
    read: Callable[[int, int], bytes | None]


Body = bytes | bytearray | memoryview | Source | Feed


@dataclass(frozen=True, slots=True)
class Reply:
    """A good reply. Header names are lower case; `body` is empty when the bytes went to a sink."""

    status: int
    headers: Mapping[str, str]
    received: int
    body: bytes = b""
