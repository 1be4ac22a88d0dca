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
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from hypersdk_emulator.cloud import RequestLog

MAX_LINE = 16384  # bytes of the request line, and of each header
MAX_HEADERS = 128
READ_BUFFER = 1 << 18  # bytes of a body read ahead of its handler; what asyncio reads at once
_MAX_FILES = 65536
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
