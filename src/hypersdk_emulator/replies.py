"""Replies that send an object's bytes from its files, by sendfile, and the faults that spoil such a body."""

import asyncio
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.faults import Fault

BODY_EFFECTS = frozenset({"cut-body", "truncated", "stall", "flip-byte"})
_CHECK_SECONDS = 0.2  # how often a stalled body looks whether its client is still there


@dataclass(frozen=True)
class Segment:
    """A piece of a body: bytes `start` to `start + size` of the object are this file."""

    start: int
    size: int
    file: str


@dataclass(frozen=True)
class Window:
    """Which bytes of an object are asked for: `first` up to but not including `end`, out of `total`."""

    first: int
    end: int
    total: int

    @property
    def content_range(self) -> str:
        """As the header of a 206 says it."""
        return f"bytes {self.first}-{self.end - 1}/{self.total}"


class BodyReply(web.StreamResponse):
    """Sends a window of an object; how many bytes really went out is noted in the request's log entry.

    Args:
        cloud: Where the files are.
        segments: The pieces that cover the window, in order.
        window: The bytes to send.
        partial: Answer 206 with `Content-Range`.
        headers: Further reply headers.
        fault: A fault that hits the body.
    """

    def __init__(
        self,
        cloud: Cloud,
        segments: Sequence[Segment],
        window: Window,
        *,
        partial: bool,
        headers: Mapping[str, str],
        fault: Fault | None = None,
    ) -> None:
        super().__init__(status=206 if partial else 200, headers=headers)
        self._cloud = cloud
        self._segments = segments
        self._window = window
        self._fault = fault
        if partial:
            self.headers["content-range"] = window.content_range
        self.headers["content-length"] = str(window.end - window.first)
        self._sent = 0
        self._files = [segment.file for segment in segments]
        cloud.bodies.hold(self._files)

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send headers and body."""
        try:
            writer = await super().prepare(request)
            if request.method != "HEAD" and not await self._send(request):
                return writer
            await super().write_eof()
        finally:
            self._cloud.bodies.done(self._files)
            self._files = []
            request["entry"]["bytes"] = self._sent
        return writer

    async def _send(self, request: web.BaseRequest) -> bool:
        """Send the body, spoiled if a fault says so; False if the connection is no longer to be used."""
        first, end = self._window.first, self._window.end
        fault = self._fault
        if fault is None:
            await self._send_range(request, first, end)
            return True
        if fault.effect == "flip-byte":
            at = min(first + fault.number("at"), end - 1)
            await self._send_range(request, first, at)
            if at >= first:
                await self.write(bytes([self._read_byte(at) ^ 1]))
                self._sent += 1
            await self._send_range(request, at + 1, end)
            return True
        stop = min(first + fault.number("afterBytes"), end)
        await self._send_range(request, first, stop)
        if fault.effect == "stall":
            if not await stalled(self._cloud, request, fault):
                return False
            await self._send_range(request, stop, end)
            return True
        close(request)
        return False

    async def _send_range(self, request: web.BaseRequest, first: int, end: int) -> None:
        loop = asyncio.get_running_loop()
        for segment in self._segments:
            start, stop = max(first, segment.start), min(end, segment.start + segment.size)
            if start >= stop:
                continue
            if request.transport is None or request.transport.is_closing():
                raise ConnectionResetError("the client left")
            with self._cloud.bodies.open(segment.file) as source:
                offset = start - segment.start
                try:
                    await loop.sendfile(request.transport, source, offset, stop - start)
                finally:
                    self._sent += source.tell() - offset

    def _read_byte(self, at: int) -> int:
        for segment in self._segments:
            if segment.start <= at < segment.start + segment.size:
                with self._cloud.bodies.open(segment.file) as source:
                    source.seek(at - segment.start)
                    return source.read(1)[0]
        raise AssertionError("the segments do not cover the window")


class SpoiledReply(web.StreamResponse):
    """Sends a reply that is in memory with a fault in its body: cut, stalled, or one bit wrong."""

    def __init__(self, cloud: Cloud, whole: web.Response, fault: Fault) -> None:
        super().__init__(status=whole.status, headers=whole.headers)
        self._cloud = cloud
        self._fault = fault
        body = whole.body if isinstance(whole.body, bytes) else b""
        self.headers["content-length"] = str(len(body))
        if fault.effect == "flip-byte" and body:
            at = min(fault.number("at"), len(body) - 1)
            body = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
        self._data = body

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send headers and as much of the body as the fault lets through."""
        writer = await super().prepare(request)
        stop = len(self._data) if self._fault.effect == "flip-byte" else self._fault.number("afterBytes")
        await self.write(self._data[:stop])
        if self._fault.effect == "stall" and not await stalled(self._cloud, request, self._fault):
            return writer
        if self._fault.effect in ("cut-body", "truncated"):
            close(request)
            return writer
        await self.write(self._data[stop:])
        await super().write_eof()
        return writer


async def stalled(cloud: Cloud, request: web.BaseRequest, fault: Fault) -> bool:
    """Wait until the fault is released; False if the client left before."""
    while not await cloud.holds.wait(fault, _CHECK_SECONDS):
        if request.transport is None or request.transport.is_closing():
            return False
    return True


def close(request: web.BaseRequest) -> None:
    """Close a connection after what was sent so far has gone out."""
    if request.transport is not None:
        request.transport.close()


def reset(request: web.BaseRequest) -> None:
    """Drop a connection with a TCP reset, unsent bytes and all."""
    if request.transport is None:
        return
    raw = request.transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.transport.abort()


class NoReply(web.Response):
    """Stands for a reply that is never sent, because the connection is gone."""

    def __init__(self) -> None:
        super().__init__(status=499)

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send nothing."""
        reset(request)
        return await super().prepare(request)


class LastReply(web.Response):
    """A reply after which the connection closes."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Send the rest, then close."""
        request = self._req
        await super().write_eof(data)
        if request is not None:
            close(request)
