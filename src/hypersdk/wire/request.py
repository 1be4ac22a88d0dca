"""What a reply must satisfy before one byte of it is believed. Pure.

The rule of design 8.4: status, Content-Range, etag, identity encoding and length are checked before the first body byte
reaches the caller. A reply that fails is `ReplyRefused` (retryable), a 412 is `PreconditionFailed`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hypersdk.model import ByteRange, Secret, Sign


@dataclass(frozen=True, slots=True)
class Expectation:
    """What must be true of a good reply.

    Attributes:
        statuses: accepted HTTP statuses.
        range: the bytes asked for: then 206 with exactly this Content-Range is demanded.
        size: whole size of the object in bytes (total of Content-Range, or length of a whole body); None = unknown.
        etag: etag that the reply must carry; None = any.
    """

    statuses: frozenset[int] = frozenset({200})
    range: ByteRange | None = None
    size: int | None = None
    etag: str | None = None


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
    """

    method: str
    url: Secret
    resource: str
    headers: Mapping[str, str] = field(default_factory=dict)
    sign: Sign | None = None
    expect: Expectation = Expectation()


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


Body = bytes | bytearray | memoryview | Source


@dataclass(frozen=True, slots=True)
class Reply:
    """A good reply. Header names are lower case; `body` is empty when the bytes went to a sink."""

    status: int
    headers: Mapping[str, str]
    received: int
    body: bytes = b""
