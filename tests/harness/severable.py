"""A TCP relay on loopback that can be cut and joined again: one client loses a server that others still reach."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self


class Severable:
    """Carries bytes between its own port and another one while it is joined.

    Args:
        port: where to, on loopback.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._severed = False
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_details: object) -> None:
        self.sever()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in list(self._threads):
            thread.join(10)

    def sever(self) -> None:
        """Cut every connection, and each new one at once."""
        with self._lock:
            self._severed = True
            ends = list(self._open)
        for end in ends:
            _hang_up(end)

    def join(self) -> None:
        """Carry again."""
        with self._lock:
            self._severed = False

    def _start(self, function, *arguments) -> None:
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._to))
            with self._lock:
                severed = self._severed
                self._open |= {near, far}
            if severed:
                _hang_up(near)
                _hang_up(far)
            self._start(self._carry, near, far)
            self._start(self._carry, far, near)

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        _hang_up(sink)
        with self._lock:
            if source in self._open:
                self._open.discard(source)
                source.close()


def _hang_up(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
