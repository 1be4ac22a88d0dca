"""Replies that send an object's bytes from its files, by sendfile, and the ways to end a connection."""

import asyncio
import socket
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from hypersdk_emulator.cloud import Cloud

_SMALL = 1 << 16  # bytes of a body that is read rather than sent by sendfile, which has a price of its own


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


Pieces = Callable[[int, int], Sequence[Segment]]
"""The files that hold the bytes from one offset up to another, in order."""


class FileBody:
    """A window of an object, sent from its files; they stay readable until `close`.

    Args:
        cloud: Where the files are.
        pieces: Finds them.
        window: The bytes to send.
    """

    def __init__(self, cloud: Cloud, pieces: Pieces, window: Window) -> None:
        self._cloud = cloud
        self._pieces = pieces
        self._files: list[str] = []
        self.sent = 0
        self.show(window)

    def show(self, window: Window) -> None:
        """Send another window of the same object."""
        self.close()
        self.window = window
        self._segments = self._pieces(window.first, window.end)
        self._files = [segment.file for segment in self._segments]
        self._cloud.bodies.hold(self._files)

    @property
    def size(self) -> int:
        """Bytes in the window."""
        return self.window.end - self.window.first

    def close(self) -> None:
        """Let the files go."""
        self._cloud.bodies.done(self._files)
        self._files = []

    async def send(self, request: web.BaseRequest, first: int, end: int) -> None:
        """Send bytes of the window, by their places in it."""
        loop = asyncio.get_running_loop()
        for segment, start, stop in self._parts(first, end):
            if request.transport is None or request.transport.is_closing():
                raise ConnectionResetError("the client left")
            with self._cloud.bodies.open(segment.file) as source:
                offset = start - segment.start
                try:
                    await loop.sendfile(request.transport, source, offset, stop - start)
                finally:
                    self.sent += source.tell() - offset

    def read(self, first: int, end: int) -> bytes:
        """Bytes of the window, for the few replies that are made of them."""
        found: list[bytes] = []
        for segment, start, stop in self._parts(first, end):
            with self._cloud.bodies.open(segment.file) as source:
                source.seek(start - segment.start)
                found.append(source.read(stop - start))
        return b"".join(found)

    def _parts(self, first: int, end: int) -> Iterator[tuple[Segment, int, int]]:
        first, end = self.window.first + first, self.window.first + end
        for segment in self._segments:
            start, stop = max(first, segment.start), min(end, segment.start + segment.size)
            if start < stop:
                yield segment, start, stop


class BodyReply(web.StreamResponse):
    """Sends a window of an object; how many bytes really went out is noted in the request's log entry.

    Args:
        cloud: Where the files are.
        pieces: Finds the files of any bytes of the object.
        window: The bytes to send.
        partial: Answer 206 with `Content-Range`.
        headers: Further reply headers.
    """

    def __init__(
        self, cloud: Cloud, pieces: Pieces, window: Window, *, partial: bool, headers: Mapping[str, str]
    ) -> None:
        super().__init__(headers=headers)
        self._send_headers_immediately = False
        self.cloud = cloud
        self.body = FileBody(cloud, pieces, window)
        self.show(window, partial=partial)

    def show(self, window: Window, *, partial: bool) -> None:
        """Send these bytes, as a part or as the whole."""
        if window != self.body.window:
            self.body.show(window)
        self.set_status(206 if partial else 200)
        self.headers.pop("content-range", None)
        if partial:
            self.headers["content-range"] = window.content_range
        self.headers["content-length"] = str(self.body.size)

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send headers and body: a small one together with the headers, a large one by sendfile."""
        try:
            writer = await super().prepare(request)
            if request.method == "HEAD":
                await super().write_eof()
            elif self.body.size <= _SMALL:
                await super().write_eof(self.body.read(0, self.body.size))
                self.body.sent = self.body.size
            elif writer is not None:
                writer.send_headers()
                await self.body.send(request, 0, self.body.size)
                await super().write_eof()
        finally:
            self.body.close()
            request["entry"]["bytes"] = self.body.sent
        return writer


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
