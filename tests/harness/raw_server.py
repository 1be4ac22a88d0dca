"""A tiny HTTP server on plain sockets that says exactly what a test tells it, right or wrong."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self


@dataclass(frozen=True)
class Asked:
    """One request as it came in; header names in lower case; `connection` counts from 0."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def range(self) -> tuple[int, int] | None:
        """First byte and one past the last, if a range was asked for."""
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range", ""))
        return (int(match[1]), int(match[2]) + 1) if match else None


Answer = Callable[[Asked, socket.socket], bool | None]
"""Writes a reply to the socket; False = hang up afterwards."""


def send(peer: socket.socket, status: int, body: bytes = b"", **headers: str) -> None:
    """Write a whole reply; header names are given with underscores."""
    fields = {"content-length": str(len(body))} | {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value != "-")
    peer.sendall(f"HTTP/1.1 {status} Said So\r\n{head}\r\n".encode() + body)


def reset(peer: socket.socket) -> bool:
    """Hang up with a TCP reset."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


@dataclass
class RawServer:
    """Listens on a free loopback port; `asked` holds every request in order of arrival."""

    answer: Answer
    tls: ssl.SSLContext | None = None
    asked: list[Asked] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._peers: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        """The origin."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def close(self) -> None:
        """Hang up on everybody and stop."""
        for open_socket in (self._listener, *self._peers):
            with contextlib.suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)
            open_socket.close()
        for thread in list(self._threads):
            thread.join(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        number = 0
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            self._peers.append(peer)
            thread = threading.Thread(target=self._serve, args=(peer, number))
            self._threads.append(thread)
            thread.start()
            number += 1

    def _serve(self, peer: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError, ssl.SSLError, ValueError):
            if self.tls:
                plain = peer
                peer = self.tls.wrap_socket(plain, server_side=True)
                self._peers.append(peer)
            with peer.makefile("rb") as stream:
                while (asked := _read(stream, number)) is not None:
                    self.asked.append(asked)
                    if self.answer(asked, peer) is False:
                        break
        peer.close()


def _read(stream, number: int) -> Asked | None:
    line = stream.readline().decode()
    if not line:
        return None
    method, target, _ = line.split(" ")
    headers = {}
    while (line := stream.readline().decode().strip()) != "":
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return Asked(method, target, headers, stream.read(int(headers.get("content-length", 0))), number)


@dataclass
class OneObject:
    """Answers ranged GETs of one object; `faults` are used up first, one per request (None = answer well)."""

    body: bytes
    etag: str = "etag-1"
    faults: list[Answer | None] = field(default_factory=list)

    def __call__(self, asked: Asked, peer: socket.socket) -> bool | None:
        """Answer one request."""
        fault = self.faults.pop(0) if self.faults else None
        if fault:
            return fault(asked, peer)
        return self.well(asked, peer)

    def well(self, asked: Asked, peer: socket.socket) -> bool | None:
        """Answer as a good server does."""
        if asked.headers.get("if-match", self.etag) != self.etag:
            send(peer, 412)
        elif asked.range:
            start, stop = asked.range
            send(
                peer,
                206,
                self.body[start:stop],
                etag=self.etag,
                content_range=f"bytes {start}-{stop - 1}/{len(self.body)}",
            )
        else:
            body, size = (b"" if asked.method == "HEAD" else self.body), str(len(self.body))
            send(peer, 200, body, etag=self.etag, accept_ranges="bytes", content_length=size)
        return None


def splice(asked: Asked, peer: socket.socket) -> bool:
    """Answer CONNECT: join the peer with the host that it names, until one of them hangs up."""
    host, _, port = asked.target.rpartition(":")
    with socket.create_connection((host, int(port))) as far:
        peer.sendall(b"HTTP/1.1 200 Connected\r\nX-Proxy: here\r\n\r\n")
        back = threading.Thread(target=_pour, args=(far, peer))
        back.start()
        _pour(peer, far)
        back.join()
    return False


def _pour(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
