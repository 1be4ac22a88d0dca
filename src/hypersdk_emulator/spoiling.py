"""Replies whose body or headers a fault spoils: written to the socket by hand, because no HTTP library lies.

What goes out is a list of steps (pure, made by `steps_of`), so that an object of any size is still sent from its files.
A connection that carried a spoiled reply is closed afterwards.
"""

import asyncio
import gzip
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from hypersdk_emulator.clock import http_date
from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.faults import OLDER_ETAG, Fault
from hypersdk_emulator.replies import BodyReply, Window, close, reset

RANGE_EFFECTS = frozenset({"whole-body", "shifted-range", "short-range", "other-total", "no-content-range"})
BODY_EFFECTS = frozenset({"cut-body", "truncated", "short-body", "reset", "stall", "drip", "flip-byte", "gzip"})
LENGTH_EFFECTS = frozenset({"wrong-length", "no-length"})
_CHECK_SECONDS = 0.2  # how often a stalled body looks whether its client is still there
_TICK_SECONDS = 0.05  # how often a dripping body sends something


@dataclass(frozen=True)
class Step:
    """One thing that happens to the body: `send` bytes, `flip` one, `wait` for the release, `close` or `reset`."""

    what: str
    first: int = 0
    end: int = 0
    rate: int = 0


def steps_of(fault: Fault, size: int) -> tuple[Step, ...]:
    """How a body of this many bytes goes out under a fault."""
    if fault.effect in ("cut-body", "truncated", "short-body"):
        return (Step("send", 0, min(fault.number("afterBytes"), size)), Step("close"))
    if fault.effect == "reset":
        return (Step("send", 0, min(fault.number("afterBytes"), size)), Step("reset"))
    if fault.effect == "stall":
        stop = min(fault.number("afterBytes"), size)
        return (Step("send", 0, stop), Step("wait"), Step("send", stop, size), Step("close"))
    if fault.effect == "flip-byte" and size:
        at = min(fault.number("at"), size - 1)
        return (Step("send", 0, at), Step("flip", at, at + 1), Step("send", at + 1, size), Step("close"))
    return (Step("send", 0, size, fault.number("bytesPerSecond")), Step("close"))


def lengths_of(fault: Fault, size: int) -> dict[str, str]:
    """The headers about the length of a body under a fault."""
    if fault.effect == "no-length":
        return {}
    announced = size
    if fault.effect == "wrong-length":
        announced = max(0, size + fault.number("by"))
    if fault.effect == "short-body":
        announced = min(fault.number("afterBytes"), size)
    return {"content-length": str(announced)}


class Body(Protocol):
    """Bytes that can be sent piece by piece."""

    sent: int

    @property
    def size(self) -> int:
        """How many there are."""

    def read(self, first: int, end: int) -> bytes:
        """Some of them."""

    async def send(self, request: web.BaseRequest, first: int, end: int) -> None:
        """Send some of them."""

    def close(self) -> None:
        """Nothing more will be sent."""


class MemoryBody:
    """A body that is in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.sent = 0

    @property
    def size(self) -> int:
        """How many bytes there are."""
        return len(self._data)

    def read(self, first: int, end: int) -> bytes:
        """Some of them."""
        return self._data[first:end]

    async def send(self, request: web.BaseRequest, first: int, end: int) -> None:
        """Send some of them."""
        await write(request, self._data[first:end])
        self.sent += end - first

    def close(self) -> None:
        """Nothing to let go."""


class SpoiledReply(web.StreamResponse):
    """A reply that goes out as a fault wants it.

    Args:
        cloud: Holds what waits.
        whole: The reply as it would be: status and headers.
        body: Its body.
        fault: What to do with it.
    """

    def __init__(self, cloud: Cloud, whole: web.StreamResponse, body: Body, fault: Fault) -> None:
        super().__init__(status=whole.status, reason=whole.reason, headers=whole.headers)
        self._cloud = cloud
        self._fault = fault
        self._content = body
        if fault.effect == "gzip":
            self._content = MemoryBody(_gzipped(body))
            body.close()
            self.headers["content-encoding"] = "gzip"

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send headers and as much of the body as the fault lets through."""
        self._eof_sent = True
        size = self._content.size
        try:
            if request.method == "HEAD":
                real = self.headers.get("content-length", "0")
                size = int(real) if real.isdecimal() else 0
            await write(request, self._head(request, lengths_of(self._fault, size)))
            if request.method != "HEAD":
                for step in steps_of(self._fault, size):
                    if not await self._take(request, step):
                        break
            close(request)
        finally:
            self._content.close()
            request["entry"]["bytes"] = self._content.sent
        return None

    async def _take(self, request: web.BaseRequest, step: Step) -> bool:
        """Do one step; False ends the reply."""
        match step.what:
            case "send" if step.rate:
                await self._drip(request, step)
            case "send" if step.first < step.end:
                await self._content.send(request, step.first, step.end)
            case "flip":
                await write(request, bytes([self._content.read(step.first, step.end)[0] ^ 1]))
                self._content.sent += 1
            case "wait":
                return await stalled(self._cloud, request, self._fault)
            case "reset":
                await request.writer.drain()
                reset(request)
                return False
        return True

    async def _drip(self, request: web.BaseRequest, step: Step) -> None:
        amount = max(1, int(step.rate * _TICK_SECONDS))
        for first in range(step.first, step.end, amount):
            end = min(first + amount, step.end)
            await self._content.send(request, first, end)
            await asyncio.sleep((end - first) / step.rate)

    def _head(self, request: web.BaseRequest, lengths: Mapping[str, str]) -> bytes:
        headers = {name.lower(): value for name, value in self.headers.items()}
        headers.pop("content-length", None)
        headers |= {"date": http_date(self._cloud.clock.wall()), **lengths, **request["replies"]}
        lines = [f"HTTP/1.1 {self.status} {self.reason}", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode()


def _gzipped(body: Body) -> bytes:
    return gzip.compress(body.read(0, body.size), zlib.Z_BEST_SPEED)


def spoil(cloud: Cloud, whole: web.StreamResponse, fault: Fault) -> web.StreamResponse:
    """The reply that goes out in place of this one."""
    if fault.effect == "stale-etag" and "etag" in whole.headers:
        whole.headers["etag"] = fault.text("etag", OLDER_ETAG)
    elif fault.effect in RANGE_EFFECTS and isinstance(whole, BodyReply):
        _rearrange(whole, fault.effect)
    elif fault.effect in BODY_EFFECTS | LENGTH_EFFECTS:
        if isinstance(whole, BodyReply):
            return SpoiledReply(cloud, whole, whole.body, fault)
        data = whole.body if isinstance(whole, web.Response) and isinstance(whole.body, bytes) else b""
        return SpoiledReply(cloud, whole, MemoryBody(data), fault)
    return whole


def _rearrange(reply: BodyReply, effect: str) -> None:
    """Send other bytes than were asked for, or say something else about them."""
    window: Window = reply.body.window
    if reply.status != web.HTTPPartialContent.status_code:
        return
    match effect:
        case "whole-body":
            reply.show(Window(0, window.total, window.total), partial=False)
        case "shifted-range":
            step = 1 if window.end < window.total else -min(1, window.first)
            reply.show(Window(window.first + step, window.end + step, window.total), partial=True)
        case "short-range":
            half = max(1, (window.end - window.first) // 2)
            reply.show(Window(window.first, window.first + half, window.total), partial=True)
        case "other-total":
            told = Window(window.first, window.end, window.total + 1)
            reply.headers["content-range"] = told.content_range
        case "no-content-range":
            del reply.headers["content-range"]


def discard(reply: web.StreamResponse) -> None:
    """Let go what a reply holds that will not be sent."""
    if isinstance(reply, BodyReply):
        reply.body.close()


async def stalled(cloud: Cloud, request: web.BaseRequest, fault: Fault) -> bool:
    """Wait until the fault is released; False if the client left before."""
    while not await cloud.holds.wait(fault, _CHECK_SECONDS):
        if request.transport is None or request.transport.is_closing():
            return False
    return True


async def write(request: web.BaseRequest, data: bytes) -> None:
    """Send bytes past the HTTP library.

    Raises:
        ConnectionResetError: the client has left.
    """
    if request.transport is None or request.transport.is_closing():
        raise ConnectionResetError("the client left")
    request.transport.write(data)
    await request.writer.drain()
