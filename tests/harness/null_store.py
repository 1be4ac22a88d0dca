"""A store of zeros over real sockets: objects of any size that cost no disk, uploads that nobody keeps.

`python null_store.py` serves until its standard input ends, and prints its port first.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hypersdk.model import ByteRange, Checksum, ConnectionSettings, ObjectInfo, ObjectRef, Secret
from hypersdk.network import NetworkMonitor
from hypersdk.retry import Retrier, RetryPolicy
from hypersdk.storage.protocol import ALWAYS, NO_OPTIONS, Capabilities, Part, PutCondition, PutOptions, Upload
from hypersdk.transfer.checksums import as_checksum, crc32c, crc32c_combine
from hypersdk.waiting import Waiter
from hypersdk.wire.loop import Wire
from hypersdk.wire.request import Expectation, Reply, Request

MIB = 1 << 20
REF = ObjectRef("null", "", "b", "disk")
_BLOCK = bytes(MIB)


def crc_of_zeros(size: int) -> int:
    """CRC32C of so many zero bytes."""
    whole, unit, length = 0, crc32c(b"\0"), 1
    while size:
        if size & 1:
            whole = crc32c_combine(whole, unit, length)
        unit, length, size = crc32c_combine(unit, unit, length), length * 2, size >> 1
    return whole


@dataclass
class NullStore:
    """Hands out requests to a server of zeros."""

    url: str
    sent: list[int] = field(default_factory=list)

    @property
    def capabilities(self) -> Capabilities:
        """As those of OCI, but no part is vouched for."""
        return Capabilities()

    def head(self, ref: ObjectRef, size: int = 0) -> ObjectInfo:
        """An object of so many zeros."""
        checksums = (as_checksum(crc_of_zeros(size)),)
        return ObjectInfo(ref, size, "e", checksums, headers={"content-type": "application/zeros"})

    def range_request(self, info: ObjectInfo, wanted: ByteRange) -> Request:
        """The request for a range."""
        expect = Expectation(range=wanted, size=info.size, etag="e")
        headers = {"range": wanted.header(), "x-size": str(info.size)}
        return Request("GET", Secret(f"{self.url}/o"), str(info.ref), headers, None, expect)

    def put_request(self, ref: ObjectRef, length: int, options: PutOptions = NO_OPTIONS) -> Request:
        """The request that writes an object."""
        del length, options
        return Request("PUT", Secret(f"{self.url}/o"), str(ref))

    def put_reply(self, ref: ObjectRef, length: int, options: PutOptions, reply: Reply) -> ObjectInfo:
        """What the reply says."""
        del options, reply
        return self.head(ref, length)

    def create_multipart_upload(self, ref: ObjectRef, options: PutOptions = NO_OPTIONS) -> Upload:
        """Begin one."""
        del options
        return Upload(ref, "u")

    def part_request(self, upload: Upload, number: int, length: int, checksum: Checksum | None) -> Request:
        """The request that uploads a part."""
        del checksum
        self.sent.append(length)
        return Request("PUT", Secret(f"{self.url}/u?part={number}"), str(upload.ref))

    def commit(self, upload: Upload, parts: Sequence[Part], condition: PutCondition = ALWAYS) -> ObjectInfo:
        """It stands, with the checksum of zeros."""
        del condition
        return self.head(upload.ref, sum(part.size for part in parts))

    def abort(self, upload: Upload) -> None:
        """It is gone."""


def means(connections: int = 16) -> dict[str, object]:
    """A wire and a retrier."""
    wire = Wire(ConnectionSettings(connect_timeout=5, read_timeout=30), connections=connections)
    wire.governor.begin_at(connections, 0.0)
    return {"wire": wire, "retrier": Retrier(RetryPolicy(), Waiter(), NetworkMonitor(None))}


@contextmanager
def null_server() -> Iterator[str]:
    """A server in a process of its own; gives its origin."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__))], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


def memory() -> tuple[int, int]:
    """Resident memory of this process, now and at most so far, in bytes."""
    text = Path("/proc/self/status").read_text()
    now, most = (re.search(rf"{name}:\s+(\d+) kB", text) for name in ("VmRSS", "VmHWM"))
    assert now is not None
    assert most is not None
    return int(now[1]) * 1024, int(most[1]) * 1024


def _serve(peer: socket.socket) -> None:
    buffer = bytearray(MIB)
    with peer, peer.makefile("rb", buffering=65536) as stream:
        while line := stream.readline():
            method, headers = line.split()[0], {}
            while (line := stream.readline().strip()) != b"":
                name, _, value = line.decode().partition(":")
                headers[name.lower()] = value.strip()
            if method == b"GET":
                first, last = (int(each) for each in headers["range"].removeprefix("bytes=").split("-"))
                length = last + 1 - first
                where = f"content-range: bytes {first}-{last}/{headers['x-size']}"
                peer.sendall(f"HTTP/1.1 206 x\r\ncontent-length: {length}\r\netag: e\r\n{where}\r\n\r\n".encode())
                for at in range(0, length, MIB):
                    peer.sendall(_BLOCK[: min(MIB, length - at)])
            else:
                left = int(headers.get("content-length", 0))
                while left:
                    left -= stream.readinto1(memoryview(buffer)[: min(left, MIB)])
                peer.sendall(b"HTTP/1.1 200 x\r\ncontent-length: 0\r\netag: p\r\n\r\n")


def _accept(listener: socket.socket) -> None:
    while True:
        peer, _ = listener.accept()
        threading.Thread(target=_serve, args=(peer,), daemon=True).start()


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0)) as server:
        print(server.getsockname()[1], flush=True)
        threading.Thread(target=_accept, args=(server,), daemon=True).start()
        sys.stdin.read()
