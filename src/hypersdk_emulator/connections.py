"""What holds for every connection, whatever is called on it: limits, time-outs, refusals of what is not HTTP.

aiohttp's parser does the strict part: it refuses bad request lines, conflicting or repeated lengths, lengths beside
`Transfer-Encoding`, bad chunks, bare line feeds and NUL in headers. Here such a refusal gets the form that every error
of a service has, and an entry in the log. An idle connection is one that has sent no whole request head: it is closed
after a while, so a client that sends its headers drop by drop holds nothing for long.
"""

import asyncio
import json
import resource
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, cast

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import _ErrInfo

from hypersdk_emulator.cloud import RequestLog

MAX_LINE = 16384  # bytes of the request line, and of each header
MAX_HEADERS = 128
READ_BUFFER = 1 << 16  # bytes of a body read ahead of its handler, while a thread hashes; asyncio reads four times that
_MAX_FILES = 65536
_RESERVED_FILES = 512  # descriptors that are not for connections; more than are accepted at once
LINGER_SECONDS = 5.0  # how long an unread body is still taken after its answer, so that the client can read that


def allow_many() -> None:
    """Raise this process's soft limit of open files as far as the hard one lets us: every connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, _MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


class Connection(web.RequestHandler):
    """One connection of a client; see `Server`."""

    __slots__ = ("_log",)

    def __init__(self, log: RequestLog, server: "Server", **settings: Any) -> None:
        super().__init__(server, **settings)
        self._log = log

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; a connection that would take the last descriptors, which body files need, is dropped at once."""
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if transport.get_extra_info("socket").fileno() < most - min(_RESERVED_FILES, most // 2):
            super().connection_made(transport)
        else:
            cast("asyncio.Transport", transport).abort()

    def data_received(self, data: bytes) -> None:
        """Take what came; what cannot be parsed ends the body that is under way, if it is one."""
        super().data_received(data)
        # aiohttp queues the refusal behind the call under way, which would wait for the rest of its body for ever.
        request = self._current_request
        if request is not None and self._messages and isinstance(self._messages[-1][0], _ErrInfo):
            end_body(request)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what is not HTTP: `{code, message}`, and the end of the connection."""
        if isinstance(exc, LineTooLong):
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            message = f"The request line and each header may have {MAX_LINE} bytes"
        elif message and "Too many" in message:
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        text = " ".join((message or "The request is not HTTP").split())[:200]
        self._log.begin({"method": request.method, "path": "", "status": int(status), "refused": text})
        code = "RequestHeaderFieldsTooLarge" if status != HTTPStatus.BAD_REQUEST else "BadRequest"
        body = json.dumps({"code": code, "message": text})
        response = web.Response(status=status, text=body, content_type="application/json")
        response.force_close()
        return response


def end_body(request: web.BaseRequest) -> None:
    """Take no more of a request's body, whose reader meets RequestPayloadError; its reply is the connection's last."""
    if not request.content.is_eof():
        request.protocol.close()
        request.content.set_exception(web.RequestPayloadError("the body ended before its time"))
        request.content.feed_eof()  # or aiohttp would read the rest before it closes


class Server(web.Server):
    """Makes the connections of one emulator.

    Args:
        handler: Answers one request.
        log: Where refusals of what is not HTTP are noted.
        idle_seconds: How long a connection may be without a request.
    """

    def __init__(
        self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], log: RequestLog, idle_seconds: float
    ) -> None:
        super().__init__(handler)
        self._log = log
        self._settings = {
            "loop": asyncio.get_running_loop(),
            "auto_decompress": False,
            "access_log": None,
            "read_bufsize": READ_BUFFER,
            "keepalive_timeout": idle_seconds,
            "lingering_time": LINGER_SECONDS,
            "max_line_size": MAX_LINE,
            "max_field_size": MAX_LINE,
            "max_headers": MAX_HEADERS,
        }

    def __call__(self) -> Connection:
        """A connection for a client that has come."""
        return Connection(self._log, self, **self._settings)
