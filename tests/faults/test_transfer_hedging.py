"""Transfers through a place where one connection stalls or drips: the whole is not held up by it."""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from http_store import REF, HttpStore, info_of, new_wire, retrier
from raw_server import Asked, OneObject, RawServer

from hypersdk import errors
from hypersdk.model import ConnectionSettings, Secret
from hypersdk.storage.protocol import Capabilities, Upload
from hypersdk.transfer import engine, parts
from hypersdk.transfer.engine import download
from hypersdk.transfer.hedging import Lookout, Rule
from hypersdk.transfer.options import TransferOptions
from hypersdk.transfer.parts import PartLoop
from hypersdk.transfer.uploads.sending import UploadPart
from hypersdk.wire.loop import Wire
from hypersdk.wire.request import Request, Source

PART = 64 * 1024
BODY = random.Random(8).randbytes(12 * PART + 1)
OPTIONS = TransferOptions(part_size=PART, parallel=4)
QUICK = Rule(stuck=0.4, silent=2.0, window=0.5, setup=0.1)
TIME_OUT = 30.0
"""What a stalled connection would cost without us: the wire's own time-out, in seconds."""


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    """Patience of less than a second, and a look in every turn."""
    monkeypatch.setattr(parts, "Lookout", lambda: Lookout(QUICK))
    monkeypatch.setattr(parts, "TURN", 0.05)


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """Ends what a server holds back."""
    event = threading.Event()
    yield event
    event.set()


def head(asked: Asked) -> bytes:
    start, stop = asked.range
    return (
        f"HTTP/1.1 206 x\r\ncontent-length: {stop - start}\r\netag: etag-1\r\n"
        f"content-range: bytes {start}-{stop - 1}/{len(BODY)}\r\n\r\n"
    ).encode()


def fetch(server: RawServer, destination: Path, **fields) -> bytes:
    settings = ConnectionSettings(read_timeout=fields.pop("read_timeout", TIME_OUT))
    with Wire(settings) as wire:
        fields = {"retrier": retrier(attempts=1), "options": OPTIONS} | fields
        sealed = download(HttpStore(server.url), info_of(BODY), str(destination), wire=wire, **fields)
    return Path(sealed.path).read_bytes()


@pytest.mark.parametrize("before", [0, 1000])
def test_stalled_range_is_asked_for_again_from_where_it_stands(tmp_path, released, before):
    """A range whose connection falls silent costs its patience, not a time-out, no attempt and no byte twice."""
    good, stalled = OneObject(BODY), []

    def answer(asked, peer):
        if asked.range[0] == 3 * PART and not stalled:
            stalled.append(asked.connection)
            peer.sendall(head(asked) + BODY[asked.range[0] : asked.range[0] + before] if before else b"")
            released.wait(60)
            return False
        return good(asked, peer)

    began = time.monotonic()
    with RawServer(answer) as server:
        assert fetch(server, tmp_path / "disk") == BODY
        again = [asked for asked in server.asked if asked.range[1] == 4 * PART]
        released.set()
    assert time.monotonic() - began < TIME_OUT / 3
    assert [asked.range[0] for asked in again] == [3 * PART, 3 * PART + before]
    assert again[1].connection != stalled[0]


def test_dripping_range_is_asked_for_again_at_the_end(tmp_path, released):
    """The last range, on a connection that drips, is asked for again on another one that is not."""
    good, dripped = OneObject(BODY), []

    def answer(asked, peer):
        if asked.range[0] == 11 * PART and not dripped:
            peer.sendall(head(asked))
            for byte in BODY[11 * PART : 12 * PART]:
                dripped.append(byte)
                peer.sendall(bytes([byte]))
                if released.wait(0.02) or len(dripped) > 1000:
                    break
            return False
        return good(asked, peer)

    began = time.monotonic()
    with RawServer(answer) as server:
        assert fetch(server, tmp_path / "disk") == BODY
        again = [asked.range[0] for asked in server.asked if asked.range[1] == 12 * PART]
        released.set()
    assert time.monotonic() - began < 10
    assert len(again) == 2
    assert again[1] > 11 * PART


def test_place_that_always_stalls_ends_by_its_time_out(tmp_path, released):
    """A range that stalls on every connection is given up so often and no more; then the time-out ends the try."""
    good = OneObject(BODY)

    def answer(asked, peer):
        if asked.range[1] == 4 * PART:
            released.wait(60)
            return False
        return good(asked, peer)

    with RawServer(answer) as server:
        with pytest.raises(errors.NetworkError):
            fetch(server, tmp_path / "disk", read_timeout=3.0)
        released.set()
    asked = [each for each in server.asked if each.range[1] == 4 * PART]
    assert len(asked) == 1 + QUICK.most


def test_paused_requests_are_left_alone(tmp_path):
    """A reader who takes nothing for a while is no fault of the connection: nothing is asked for twice."""
    held: list[memoryview] = []

    class Slow:
        """A part whose sink has no room until it is told otherwise."""

        moved = 0
        left = again = PART

        def begin(self, wire, token):
            self.wire, self.token, self.ready = wire, token, time.monotonic() + 1.5
            wire.submit(HttpStore(server.url).range_request(info_of(BODY), parts_range), sink=self.take, token=token)
            return True

        def take(self, data):
            if time.monotonic() < self.ready:
                return False
            held.append(bytes(data))
            return None

        def finish(self, _reply):
            return None

    from hypersdk.model import ByteRange

    parts_range = ByteRange(0, PART)
    with RawServer(OneObject(BODY)) as server, new_wire() as wire:
        part = Slow()

        def turn():
            if time.monotonic() >= part.ready:
                wire.resume(part.token)

        PartLoop(wire, retrier(attempts=1), "read", 1).run(iter([part]), turn)
        assert len(server.asked) == 1
    assert b"".join(held) == BODY[:PART]


def test_slow_disk_makes_no_request_twice(tmp_path, monkeypatch, released):
    """Connections that wait because the disk takes its time are not given up: every byte comes once."""
    real, body = os.pwrite, BODY[: 5 * PART]

    def pwrite(file, data, offset):
        released.wait(0.3)  # a buffer; each of four connections waits for two such writes, longer than our patience
        return real(file, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    monkeypatch.setattr(engine, "BUFFER", PART // 4)
    monkeypatch.setattr(engine, "SPARE", 0)
    with RawServer(OneObject(body)) as server, new_wire() as wire:
        means = {"wire": wire, "retrier": retrier(attempts=1), "options": OPTIONS}
        sealed = download(HttpStore(server.url), info_of(body), str(tmp_path / "disk"), **means)
        assert Path(sealed.path).read_bytes() == body
        assert sorted(each.range[0] for each in server.asked) == list(range(0, 5 * PART, PART))


class UploadStore:
    """Hands out part requests."""

    capabilities = Capabilities()

    def __init__(self, url: str) -> None:
        self.url = url

    def part_request(self, _upload, number, _length, _checksum) -> Request:
        return Request("PUT", Secret(f"{self.url}/part/{number}"), f"part {number}")


def test_stalled_upload_part_is_sent_again(released):
    """A part that the service stops reading, or never answers, is sent again on a new connection."""
    stalls = [True, True]
    got: dict[str, bytes] = {}
    lock = threading.Lock()

    def serve(peer: socket.socket) -> None:
        with peer, peer.makefile("rb") as stream:
            while line := stream.readline():
                name, length = line.split()[1].decode(), 0
                while (field := stream.readline().strip()) != b"":
                    if field.lower().startswith(b"content-length:"):
                        length = int(field.split(b":")[1])
                with lock:
                    stall = bool(stalls) and name == "/part/2" and stalls.pop()
                if stall:
                    stream.read(length // 2 if stalls else length)
                    released.wait(60)
                    return
                got[name] = stream.read(length)
                peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\netag: e\r\n\r\n")

    size = 4 * 1024 * 1024
    body = random.Random(9).randbytes(5 * size)
    listener = socket.create_server(("127.0.0.1", 0))
    threads = []

    def accept() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
            threads.append(threading.Thread(target=serve, args=(peer,)))
            threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    done = []
    store = UploadStore(f"http://127.0.0.1:{listener.getsockname()[1]}")
    began = time.monotonic()
    try:
        with Wire(ConnectionSettings(read_timeout=TIME_OUT)) as wire:
            loop = PartLoop(wire, retrier(attempts=1), "send", 3)
            upload = Upload(REF, "id")

            def source(number: int) -> Source:
                start = (number - 1) * size
                return Source(size, lambda offset, count: body[start + offset : start + min(size, offset + count)])

            loop.run(
                (
                    UploadPart(store, upload, number, source(number), counted=lambda _: None, done=done.append)
                    for number in range(1, 6)
                ),
                lambda: None,
            )
    finally:
        released.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join(10)
        for thread in threads:
            thread.join(10)
    assert time.monotonic() - began < TIME_OUT / 2
    assert stalls == []
    assert sorted(sent.part.number for sent in done) == [1, 2, 3, 4, 5]
    assert [got[f"/part/{number}"] for number in range(1, 6)] == [
        body[start : start + size] for start in range(0, 5 * size, size)
    ]
