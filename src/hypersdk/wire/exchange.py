"""One request on its way: the state that libcurl's callbacks read and write. Knows no libcurl.

Rules of this file: a callback never raises (libcurl cannot carry it): it keeps the error and asks to abort; a sink gets
bytes only after the head was checked, and never more than are due; who has no room or nothing to send yet pauses only
this one request, until `Wire.resume`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

from hypersdk import errors
from hypersdk.wire import replies
from hypersdk.wire.request import Body, Explain, Feed, Reply, Request, Source

Sink = Callable[[memoryview], bool | None]
"""Takes body bytes in order; the view is valid only during the call. An exception aborts the transfer.

False = no room yet, nothing was taken: the same bytes come again after `Wire.resume`, perhaps cut otherwise.
"""

ABORT = -1
"""What a header or body callback returns to make libcurl drop the connection."""

READ_ABORT = 0x10000000
"""What a read callback returns for the same (CURL_READFUNC_ABORT)."""

PAUSE = 0x10000001
"""What a body or read callback returns to be left alone until `resume` (CURL_WRITEFUNC_PAUSE, CURL_READFUNC_PAUSE)."""

SEEK_OK, SEEK_IMPOSSIBLE = 0, 2
"""What a seek callback returns (CURL_SEEKFUNC_OK, CURL_SEEKFUNC_CANTSEEK)."""

EXPLANATION_LIMIT = 64 * 1024
"""Most bytes that are read of a refusal's body; the rest would only cost time."""


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0].rpartition('@')[2]}".lower()


def source_of(body: Body | None) -> Source | Feed | None:
    """Any kind of body as one that is read piece by piece."""
    if body is None or isinstance(body, Source | Feed):
        return body
    view = memoryview(body).cast("B")
    return Source(len(view), lambda offset, size: bytes(view[offset : offset + size]))


class Exchange:
    """A request, its sink or buffer, and what came of it so far.

    Args:
        request: what is asked.
        sink: takes the body; None = it is kept and becomes `Reply.body`.
        body: what is sent.
        limit: most bytes that are kept when there is no sink.
        explain: turns the service's refusals into errors.
    """

    def __init__(self, request: Request, sink: Sink | None, body: Body | None, limit: int, explain: Explain) -> None:
        self.request = request
        self.source = source_of(body)
        self.endpoint = origin_of(request.url.reveal())
        self.paused = False
        self.crash: BaseException | None = None
        self._sink = sink or self._keep
        self._limit = limit
        self._explain = request.explain or explain
        self._error: errors.HypersdkError | None = None
        self._kept = bytearray()
        self._sent = 0
        self._status = 0
        self._headers: dict[str, str] = {}
        self._head_done = False
        self._refusal = False
        self._due: int | None = None
        self._received = 0
        self._most = -1  # most bytes that the sink may get: none before the head was checked

    @property
    def moved(self) -> int:
        """Bytes of bodies received and sent so far."""
        return self._received + self._sent

    @property
    def received(self) -> int:
        """Bytes of the answer's body received so far."""
        return self._received

    def on_header(self, raw: bytes) -> int | None:
        """Take one header line, line end included; an empty one ends the head."""
        return self._guard(lambda: self._take_header(raw))

    def on_body(self, data: bytes) -> int | None:
        """Take body bytes. It is called for each TLS record of 16 KiB, 65,000 times a GiB: hence so few steps."""
        received = self._received + len(data)
        try:
            if received > self._most:
                self._take_other(data, received)
            elif self._sink(memoryview(data)) is False:
                self.paused = True
                return PAUSE
            else:
                self._received = received
        except BaseException as error:  # noqa: BLE001 - as in `_guard`
            return self._failed(error)
        return None

    def on_read(self, size: int) -> bytes | int:
        """Give up to `size` bytes of the request's body; empty at its end."""
        try:
            data = self._next_piece(size)
        except BaseException as error:  # noqa: BLE001 - as in `_guard`
            self._failed(error)
            return READ_ABORT
        self.paused = data is None
        return PAUSE if data is None else data

    def on_seek(self, offset: int, origin: int) -> int:
        """Go back in the request's body, which must be sent again; only from its start (origin 0).

        libcurl does so by itself when a kept-alive connection ends without a reply. The service may have carried out
        the request all the same, and a POST is not repeated unless its caller says so (RFC 9110, 9.2.2).
        """
        assert self.source is not None
        once = isinstance(self.source, Feed) or self.request.method == "POST"
        if origin or (offset != self._sent and once):
            return SEEK_IMPOSSIBLE
        self._sent = offset
        return SEEK_OK

    def outcome(self, failure: errors.HypersdkError | None) -> Reply:
        """The reply, once libcurl is done.

        Args:
            failure: what libcurl reported; None = it is content.

        Raises:
            HypersdkError: the first thing that went wrong.
        """
        if self._error:
            raise self._error
        if self._refusal:
            if self._status == 407:  # noqa: PLR2004 - the proxy speaks, not the service that `explain` knows
                raise replies.proxy_refused(self.request)
            raise self._explain(self.request, self._status, self._headers, bytes(self._kept))
        if failure:
            raise failure
        if not self._head_done:
            raise errors.NetworkError(f"{self.request.method} {self.request.resource}: no whole reply came")
        replies.check_received(self.request, self._received, self._due)
        return Reply(self._status, self._headers, self._received, bytes(self._kept))

    def _guard(self, function: Callable[[], None]) -> int | None:
        try:
            function()
        except BaseException as error:  # noqa: BLE001 - libcurl cannot carry it; `Wire.completed` raises it
            return self._failed(error)
        return None

    def _failed(self, error: BaseException) -> int:
        if isinstance(error, errors.HypersdkError):
            self._error = error
        else:
            self.crash = error
        return ABORT

    def _next_piece(self, size: int) -> bytes | None:
        assert self.source is not None
        data = self.source.read(self._sent, min(size, self.source.length - self._sent))
        if data is None:
            return None
        if not data and self._sent < self.source.length:
            raise errors.FileError(f"{self.request.resource}: the source became shorter while it was sent")
        self._sent += len(data)
        return data

    def _take_header(self, raw: bytes) -> None:
        line = raw.decode("latin-1").strip()
        if self._head_done:  # a trailer
            return
        if line.startswith("HTTP/"):
            self._status, self._headers = int(line.split(maxsplit=2)[1]), {}
        elif line:
            name, _, value = line.partition(":")
            name, value = name.strip().lower(), value.strip()
            # A header that comes twice must not hide one of the two values (RFC 9110, 5.3).
            self._headers[name] = f"{self._headers[name]}, {value}" if name in self._headers else value
        elif self._status >= 200:  # noqa: PLR2004 - 1xx are interim replies (RFC 9110, 15.2)
            self._check_head()

    def _check_head(self) -> None:
        self._head_done = True
        self._refusal = replies.is_refusal(self.request.expect, self._status)
        if not self._refusal:
            self._due = replies.check_head(self.request, self._status, self._headers)
            self._most = sys.maxsize if self._due is None else self._due

    def _take_other(self, data: bytes, received: int) -> None:
        """Take bytes of a refusal, or find that there are more than are due."""
        if not self._refusal:
            replies.check_received(self.request, received, self._due)
        self._kept += data[: EXPLANATION_LIMIT - len(self._kept)]
        if len(self._kept) >= EXPLANATION_LIMIT:
            raise self._explain(self.request, self._status, self._headers, bytes(self._kept))

    def _keep(self, data: memoryview) -> None:
        if len(self._kept) + len(data) > self._limit:
            raise errors.ReplyRefused(
                f"{self.request.method} {self.request.resource}: the reply is larger than {self._limit} bytes",
                resource=self.request.resource,
            )
        self._kept += data


def header_lines(headers: Mapping[str, str]) -> list[str]:
    """Headers as libcurl takes them.

    libcurl writes Content-Length itself, from the body that it really has; `Expect: 100-continue` is switched off,
    because it costs a round trip per part and some proxies never answer it.
    """
    lines = ["Expect:", "Accept-Encoding: identity"]
    for name, value in headers.items():
        if "\r" in value or "\n" in value:
            raise errors.UsageError(f"header {name}: line breaks are not allowed")
        if name.lower() not in {"content-length", "expect", "accept-encoding"}:
            # libcurl drops "Name:" without a value; the semicolon makes it send an empty header.
            lines.append(f"{name}: {value}" if value else f"{name};")
    return lines
