"""A TCP relay on loopback that cuts connections at random places and counts what it carried."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
from dataclasses import dataclass, field
from typing import Self

CHUNK = 64 * 1024
BUFFER = 64 * 1024
"""Bytes that the kernel may hold of what was counted and not yet delivered; a reset loses them."""


@dataclass
class CuttingRelay:
    """Carries bytes between its own port and another one.

    Args:
        port: where to, on loopback.
        mean: bytes that a connection carries to the client before it is cut, on average.
        seed: of the random places.

    Attributes:
        carried: bytes that went to clients.
        cuts: connections that were cut, every second one by a reset.
    """

    port: int
    mean: int
    seed: int = 0
    carried: int = 0
    cuts: int = 0
    _open: set[socket.socket] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    @property
    def url(self) -> str:
        """The origin for clients."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        """Hang up on everybody and stop."""
        with self._lock:
            ends = [self._listener, *self._open]
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in list(self._threads):
            thread.join(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self, function, *arguments) -> threading.Thread:
        thread = threading.Thread(target=function, args=arguments)
        self._threads.append(thread)
        thread.start()
        return thread

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            self._start(self._relay, near)

    def _relay(self, near: socket.socket) -> None:
        try:
            far = socket.create_connection(("127.0.0.1", self.port))
        except OSError:
            near.close()  # who listens there is being started again
            return
        with near, far:
            with self._lock:
                self._open |= {near, far}
                left = int(self._random.expovariate(1 / self.mean))
            back = threading.Thread(target=self._pour, args=(near, far))
            back.start()
            cut = self._carry(far, near, left)
            if cut and cut % 2:
                near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, not an end
            for end in (far, near):
                with contextlib.suppress(OSError):
                    # Wakes the other direction; towards the client it is the end, or after it the reset.
                    end.shutdown(socket.SHUT_RDWR if end is far or not cut % 2 else socket.SHUT_RD)
            back.join()
            with self._lock:
                self._open -= {near, far}

    def _carry(self, far: socket.socket, near: socket.socket, left: int) -> int:
        """Carry so many bytes to the client; says the how-manieth cut this is, 0 = the connection ended by itself."""
        buffer = memoryview(bytearray(CHUNK))
        while left > 0:
            try:
                count = far.recv_into(buffer[: min(left, CHUNK)])
                if not count:
                    return 0
                near.sendall(buffer[:count])
            except OSError:
                return 0
            left -= count
            with self._lock:
                self.carried += count
        with self._lock:
            self.cuts += 1
            return self.cuts

    def _pour(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
