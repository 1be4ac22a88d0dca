"""One request on its way through a handler."""

import asyncio
import base64
import binascii
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientPayloadError, web

from hypersdk_emulator import jsontext
from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.connections import end_body
from hypersdk_emulator.errors import ServiceError, invalid_parameter, missing_parameter, not_authorized_or_not_found
from hypersdk_emulator.faults import Fault
from hypersdk_emulator.incoming import UPLOAD_EFFECTS, spoiled
from hypersdk_emulator.routing import Route
from hypersdk_emulator.signatures import Principal

MAX_JSON = 8 << 20  # bytes of a JSON body; a commit of 10,000 parts needs about 1 MB
MAX_PAGE = 1000
_MAX_DIGITS = 19  # those of the greatest 64-bit number


@dataclass
class Call:
    """The request, its route and everything a handler needs to answer it.

    `grants` says what the cloud's policies give the caller (operation, compartment, target); None: everything.
    """

    request: web.BaseRequest
    cloud: Cloud
    route: Route
    params: dict[str, str]
    principal: Principal
    request_id: str
    fault: Fault | None = None
    replies: dict[str, str] = field(default_factory=dict)
    grants: Callable[[str, str, Mapping[str, str]], bool] | None = None
    _raw: bytes | None = None

    @property
    def operation(self) -> str:
        """The SDK's name of this call."""
        return self.route.operation

    @property
    def headers(self) -> Mapping[str, str]:
        """Request headers, case-insensitive."""
        return self.request.headers

    @property
    def query(self) -> Mapping[str, str]:
        """Query parameters, decoded."""
        return self.request.query

    def header(self, name: str) -> str | None:
        """A request header; empty counts as absent (rclone sends empty ones)."""
        return self.headers.get(name) or None

    def required(self, name: str) -> str:
        """A query parameter that must be there."""
        value = self.query.get(name)
        if not value:
            raise missing_parameter(name)
        return value

    def limit(self, default: int = 100, most: int = MAX_PAGE) -> int:
        """The page size asked for."""
        text = self.query.get("limit")
        wanted = default if text is None else whole(text)
        if not wanted:
            raise ServiceError(400, "InvalidLimit", f"limit must be a number from 1 to {most}")
        asked = min(wanted, most)
        if self.fault is not None and self.fault.effect == "small-pages":
            return min(asked, self.fault.number("limit"))
        return asked

    def page_token(self) -> str:
        """The key after which the page asked for begins; empty for the first page."""
        return decode_page(self.query.get("page")) or ""

    def permit(self, compartment: str | None) -> None:
        """Refuse with 404 what the caller may not do in a compartment."""
        if not self.principal.may(self.operation, compartment):
            raise not_authorized_or_not_found()

    def allowed(self, operation: str, compartment: str, **target: str) -> bool:
        """True if the caller may also do another operation in a compartment; `target` names its bucket and object."""
        if not self.principal.may(operation, compartment):
            return False
        return self.grants is None or self.grants(operation, compartment, target)

    def body(self) -> AsyncIterator[bytes]:
        """The request's body as it comes in, spoiled if a fault says so.

        Raises:
            ServiceError: 408 when nothing came for the body time-out (a client that announced a body and sends none).
        """
        chunks = self._body()
        if self.fault is not None and self.fault.effect in UPLOAD_EFFECTS:
            return spoiled(self.cloud, self.request, chunks, self.fault)
        return chunks

    async def _body(self) -> AsyncIterator[bytes]:
        """The request's body.

        Raises:
            ServiceError: 408 when nothing came for the body time-out (a client that announced a body and sends none).
        """
        request = self.request
        if request.headers.get("expect", "").lower() == "100-continue" and not request.content.is_eof():
            writer = request.writer
            await writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            writer.output_size = 0
        timeout = self.cloud.options.body_timeout
        while True:
            try:
                async with asyncio.timeout(timeout):
                    chunk = await request.content.readany()
            except TimeoutError:
                end_body(request)
                self.replies["connection"] = "close"
                raise ServiceError(408, "RequestTimeout", f"No byte of the body came for {timeout:g} seconds") from None
            except (ClientPayloadError, web.RequestPayloadError):
                self.replies["connection"] = "close"
                raise ServiceError(400, "RequestBodyIncomplete", "The body ended before its announced length") from None
            if not chunk:
                return
            yield chunk

    async def raw(self) -> bytes:
        """The whole body of a small request."""
        if self._raw is None:
            data = bytearray()
            async for chunk in self.body():
                data += chunk
                if len(data) > MAX_JSON:
                    raise ServiceError(413, "RequestEntityTooLarge", f"The body is longer than {MAX_JSON} bytes")
            self._raw = bytes(data)
        return self._raw

    async def json(self) -> dict[str, Any]:
        """The JSON object in the body; an empty body is an empty object."""
        data = await self.raw()
        value = jsontext.parse(data) if data.strip() else {}
        if not isinstance(value, dict):
            raise jsontext.refused("The body is not a JSON object")
        return value

    async def digest(self) -> str:
        """A digest of body and path, for retry tokens."""
        return hashlib.sha256(self.request.path_qs.encode() + b"\n" + await self.raw()).hexdigest()

    def reply(
        self, body: Any = None, *, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> web.StreamResponse:
        """A reply with a JSON body, or with none."""
        if body is None:
            return web.Response(status=status, headers=headers)
        data = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        return web.Response(status=status, body=data, headers={"content-type": "application/json", **(headers or {})})

    def page(self, rows: Sequence[Any], key: str = "id", default: int = 100) -> tuple[Sequence[Any], dict[str, str]]:
        """One page of rows that are sorted by a unique text `key`, and the reply header that leads to the next one."""
        limit = self.limit(default)
        after = decode_page(self.query.get("page"))
        rest = [row for row in rows if after is None or str(row[key]) > after]
        return next_page(rest, limit, key)


def next_page(rows: Sequence[Any], limit: int, key: str) -> tuple[Sequence[Any], dict[str, str]]:
    """The first `limit` rows, and `opc-next-page` if there are more."""
    if len(rows) <= limit:
        return rows, {}
    return rows[:limit], {"opc-next-page": encode_page(str(rows[limit - 1][key]))}


def encode_page(last: str) -> str:
    """An opaque page token."""
    return base64.urlsafe_b64encode(last.encode()).decode()


def decode_page(token: str | None) -> str | None:
    """What a page token says; what follows a dot says nothing (the fault `empty-page` makes tokens differ by it)."""
    token = (token or "").partition(".")[0]
    if not token:
        return None
    try:
        return base64.urlsafe_b64decode(token.encode()).decode()
    except (ValueError, binascii.Error):
        raise ServiceError(400, "InvalidPage", "The page token is not one of ours") from None


def whole(text: str) -> int | None:
    """The number that a text of digits says; None for any other text, or one that no 64 bits can hold."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < _MAX_DIGITS else None


def one_of(name: str, value: Any, allowed: Sequence[str], default: str) -> str:
    """A field whose value must be one of a few."""
    if value is None:
        return default
    if value not in allowed:
        raise invalid_parameter(f"{name} must be one of {', '.join(allowed)}")
    return str(value)
