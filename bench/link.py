"""A long, narrow, slightly broken line: a relay with delay, window, shared rate and cut connections.

Kernels without netem cannot delay packets, so this relay delays what it forwards: every byte waits in a delay line of
40 ms each way behind one rate that all connections share, each connection has at most a window of bytes under way (sent
and not yet acknowledged, so one connection alone moves window / RTT), and a new connection pays a round trip before its
first byte. Of every 1,000 MiB carried one costs its connection a reset, at the same places for everybody with the same
seed. Not simulated: slow start, loss that TCP itself repairs.

As root it runs in a network namespace of its own behind a veth pair; otherwise on loopback, which changes nothing of
the above. Usage by hand: python link.py HOST UNIX_SOCKET [SEED]; prints the port.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

DELAY = 0.040
"""Seconds, one way."""
RATE = 200e6 / 8
"""Bytes per second, each way, of all connections together."""
WINDOW = 1 << 20
"""Bytes under way of one connection, each way."""
CUT = 1 / 1000
"""Connections cut per MiB carried."""
MIB = 1 << 20
INSIDE, OUTSIDE = "198.18.77.2", "198.18.77.1"
"""Ends of the veth pair; the range is set aside for benchmarks (RFC 2544)."""

_CHUNK = 64 << 10
_KERNEL_BUFFER = 128 << 10  # small, so that the kernel does not lengthen the window


class Line:
    """What all connections share.

    Args:
        seed: decides which bytes are the unlucky ones.
        delay, rate, window, cut: see the constants.
    """

    def __init__(
        self, seed: int = 0, *, delay: float = DELAY, rate: float = RATE, window: int = WINDOW, cut: float = CUT
    ) -> None:
        self.delay = delay
        self.window = window
        self.cuts = 0
        self._rate = rate
        self._cut = cut
        self._random = random.Random(seed)
        self._free_at = {"up": 0.0, "down": 0.0}
        self._left = self._next_cut()

    def _next_cut(self) -> float:
        return self._random.expovariate(self._cut) * MIB if self._cut else float("inf")

    def passes(self, now: float, count: int, way: str) -> float:
        """When the last of `count` bytes that come now has left the narrow place."""
        self._free_at[way] = max(now, self._free_at[way]) + count / self._rate
        return self._free_at[way]

    def unlucky(self, count: int) -> bool:
        """Whether these bytes cost their connection."""
        self._left -= count
        if self._left > 0:
            return False
        self._left = self._next_cut()
        self.cuts += 1
        return True


class End(asyncio.Protocol):
    """One end of a relayed connection; what it receives comes out at `other` later.

    Args:
        line: shared.
        way: "up" or "down": where what it receives goes.
    """

    def __init__(self, line: Line, way: str) -> None:
        self.line = line
        self.way = way
        self.other: End | None = None
        self.transport: asyncio.Transport | None = None
        self.opens_at = 0.0  # before that nothing passes
        self._loop = asyncio.get_running_loop()
        self._under_way = 0
        self._last = 0.0
        self._full = False
        self._held = 0  # acknowledgements that wait until the other end has room

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, with small buffers."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.max_size = _CHUNK  # type: ignore[attr-defined]  # asyncio's own, undocumented: bytes of one recv
        transport.set_write_buffer_limits(_CHUNK)

    def data_received(self, data: bytes) -> None:
        """Put bytes on the line."""
        now = self._loop.time()
        if self.line.unlucky(len(data)):
            self.cut()
            return
        self._under_way += len(data)
        passed = self.line.passes(now, len(data), self.way)
        self._last = max(passed, self.opens_at) + self.line.delay
        self._loop.call_at(self._last, self._deliver, data)
        if self._under_way >= self.line.window and self.transport:
            self.transport.pause_reading()

    def _deliver(self, data: bytes) -> None:
        other = self.other
        if other is None or other.transport is None or other.transport.is_closing():
            return
        other.transport.write(data)
        if other._full:  # noqa: SLF001 - the two ends are one thing
            self._held += len(data)
        else:
            self._loop.call_later(self.line.delay, self._acknowledged, len(data))

    def _acknowledged(self, count: int) -> None:
        self._under_way -= count
        if self._under_way < self.line.window and self.transport and not self.transport.is_closing():
            self.transport.resume_reading()

    def pause_writing(self) -> None:
        """The receiver is slow: senders hear nothing until it has room."""
        self._full = True

    def resume_writing(self) -> None:
        """There is room again."""
        self._full = False
        if self.other is not None:
            count, self.other._held = self.other._held, 0  # noqa: SLF001 - the two ends are one thing
            self._loop.call_later(self.line.delay, self.other._acknowledged, count)  # noqa: SLF001 - as above

    def cut(self) -> None:
        """Reset both ends."""
        for end in (self, self.other):
            if end is not None and end.transport is not None:
                end.transport.abort()

    def eof_received(self) -> bool:
        """Forward the end after what was sent before."""
        self._loop.call_at(max(self._last, self._loop.time() + self.line.delay), self._close_other)
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """Close the other end, too, in time."""
        if error is not None:
            self.cut()
        else:
            self.eof_received()

    def _close_other(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()


class Accepted(End):
    """The end that the client has connected to.

    Args:
        line: shared.
        upstream: path of the server's Unix socket.
    """

    def __init__(self, line: Line, upstream: str) -> None:
        super().__init__(line, "up")
        self._upstream = upstream

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connect to the server; nothing is read before."""
        super().connection_made(transport)
        assert self.transport is not None
        self.transport.pause_reading()
        self.opens_at = self._loop.time() + 2 * self.line.delay  # SYN, SYN-ACK
        self._connecting = self._loop.create_task(self._connect())

    async def _connect(self) -> None:
        _, other = await self._loop.create_unix_connection(lambda: End(self.line, "down"), self._upstream)
        assert isinstance(other, End)
        self.other, other.other = other, self
        if self.transport and not self.transport.is_closing():
            self.transport.resume_reading()


async def relay(host: str, upstream: str, seed: int) -> None:
    """Serve until killed; prints the port."""
    line = Line(seed)
    listener = socket.socket()
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        listener.setsockopt(socket.SOL_SOCKET, option, _KERNEL_BUFFER)
    listener.bind((host, 0))
    server = await asyncio.get_running_loop().create_server(lambda: Accepted(line, upstream), sock=listener)
    print(listener.getsockname()[1], flush=True)
    await server.serve_forever()


@contextlib.contextmanager
def namespace() -> Iterator[tuple[list[str], str]]:
    """A network namespace behind a veth pair; gives what to put before a command, and the address inside.

    Who is not root gets loopback.
    """
    if os.getuid() != 0:
        yield [], "127.0.0.1"
        return
    name = f"hx{os.getpid()}"
    inside = ["ip", "netns", "exec", name]
    _run("ip", "netns", "add", name)
    try:
        _run("ip", "link", "add", f"{name}o", "type", "veth", "peer", "name", f"{name}i", "netns", name)
        _run("ip", "address", "add", f"{OUTSIDE}/30", "dev", f"{name}o")
        _run("ip", "link", "set", f"{name}o", "up")
        _run(*inside, "ip", "address", "add", f"{INSIDE}/30", "dev", f"{name}i")
        _run(*inside, "ip", "link", "set", f"{name}i", "up")
        yield inside, INSIDE
    finally:
        _run("ip", "netns", "delete", name)


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


@contextlib.contextmanager
def running(upstream: Path, seed: int, inside: list[str], host: str) -> Iterator[str]:
    """Start a relay before a server's Unix socket; gives "host:port".

    Args:
        upstream: the socket.
        seed: decides which connections are cut.
        inside: what to put before its command, from `namespace`.
        host: where it listens, from `namespace`.
    """
    command = [*inside, sys.executable, __file__, host, str(upstream), str(seed)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        if not port:
            raise SystemExit("the relay did not start")
        yield f"{host}:{port}"
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    asyncio.run(relay(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 0))
