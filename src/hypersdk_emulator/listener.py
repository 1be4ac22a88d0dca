"""The listening socket: opened, and taken away for the time of an outage, its port kept."""

import asyncio
import socket
import ssl
from collections.abc import Callable

from aiohttp import web

_BACKLOG = 256  # connections that wait, and that asyncio accepts at once
_CHECK_SECONDS = 0.02


class Listener:
    """Listens for a runner.

    Args:
        runner: Serves what comes in; already set up.
        host: Address to listen on.
        port: Port; 0 takes a free one, after which `port` is that one.
        context: TLS settings, or None for plain http.
    """

    def __init__(self, runner: web.ServerRunner, host: str, port: int, context: ssl.SSLContext | None) -> None:
        self._runner = runner
        self._host = host
        self._context = context
        self._site: web.TCPSite | None = None
        self.port = port

    @property
    def netloc(self) -> str:
        """Address and port as a URL has them."""
        return f"[{self._host}]:{self.port}" if ":" in self._host else f"{self._host}:{self.port}"

    async def open(self) -> None:
        """Begin to listen."""
        self._site = web.TCPSite(self._runner, self._host, self.port, ssl_context=self._context, backlog=_BACKLOG)
        await self._site.start()
        self.port = self._runner.addresses[0][1]

    async def away(self, lasts: Callable[[], bool]) -> None:
        """Refuse connections, as a dead network does, while `lasts` says so; connections that exist stay open."""
        if self._site is None:
            return
        site, self._site = self._site, None
        await site.stop()
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as keeper:
            # Bound but not listening: connections are refused, and nobody else can take the port.
            keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            keeper.bind((self._host, self.port))
            while lasts():  # noqa: ASYNC110 - the end is a time on a clock or a cleared fault: nobody sets an event
                await asyncio.sleep(_CHECK_SECONDS)
            await self.open()
