"""Servers that send an object only whole: into Object Storage and out as a stream, cut and slow as they may be."""

from __future__ import annotations

import io
import os
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from raw_server import Asked, RawServer, send
from two_buckets import PART, TwoBuckets, two_buckets

from hypersdk import errors
from hypersdk.storage import url
from hypersdk.transfer.checksums import as_checksum, crc32c
from hypersdk.transfer.flows import wholeflow
from hypersdk.transfer.flows.relay import relay
from hypersdk.transfer.flows.streams import download_stream

BODY = random.Random(14).randbytes(9 * PART + 1)


@pytest.fixture
def cloud(oci_emulator, tmp_path) -> Iterator[TwoBuckets]:
    with two_buckets(oci_emulator, tmp_path) as cloud:
        yield cloud


class Whole:
    """Answers any GET with all of an object; `cuts` are the bytes after which a reply ends early, used up first."""

    def __init__(self, body: bytes, *cuts: int, chunked: bool = False, then: bytes | None = None) -> None:
        self.body = body
        self.cuts = list(cuts)
        self.chunked = chunked
        self.then = then
        self.gets = 0

    def __call__(self, asked: Asked, peer: Any) -> bool | None:
        body = self.then if self.then is not None and self.gets and asked.range is None else self.body
        kind = {"etag": '"e"', "accept_ranges": "none", "content_type": "application/x-raw"}
        length = {} if self.chunked else {"content_length": str(len(body))}
        if asked.method == "HEAD":
            return send(peer, 200, **kind, **(length or {"content_length": "-"}))
        if asked.range is None:
            self.gets += 1
        cut = self.cuts.pop(0) if self.cuts and asked.range is None else None
        if self.chunked:
            send(peer, 200, content_length="-", transfer_encoding="chunked", **kind)
            pieces = [body[at : at + 10_000] for at in range(0, len(body), 10_000)]
            peer.sendall(b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n")
            return None
        if cut is not None:
            send(peer, 200, **(kind | length))
            peer.sendall(body[:cut])
            return False
        return send(peer, 200, body, **kind)


def source(cloud: TwoBuckets, server: RawServer) -> tuple[Any, Any]:
    address = url.parse(f"{server.url}/disk.raw")
    store = cloud.wiring.store(address)
    return store, store.head(address.ref)


def into_cloud(cloud: TwoBuckets, answer: Callable) -> bytes:
    with RawServer(answer) as server:
        store, info = source(cloud, server)
        assert not info.ranges
        made = relay(store, info, cloud.store, cloud.ref("copy"), **cloud.means)
    assert cloud.uploads() == []
    assert cloud.store.head(made.ref).headers["content-type"] == "application/x-raw"
    return cloud.body("copy")


def out(cloud: TwoBuckets, answer: Callable) -> bytes:
    file = io.BytesIO()
    with RawServer(answer) as server:
        found = download_stream(*source(cloud, server), file, **cloud.means)
    assert found == (as_checksum(crc32c(file.getvalue())),)
    return file.getvalue()


WAYS = pytest.mark.parametrize("way", [into_cloud, out])


@WAYS
@pytest.mark.parametrize("size", [1, PART, PART + 1, len(BODY)])
@pytest.mark.parametrize("chunked", [False, True])
def test_every_size_arrives(cloud, way, size, chunked):
    """An object without ranges arrives whole, also one whose size nobody tells."""
    assert way(cloud, Whole(BODY[:size], chunked=chunked)) == BODY[:size]


@WAYS
def test_cut_replies_are_asked_for_again(cloud, way):
    """A reply that is cut is asked for again from the first byte, and each byte is passed on once."""
    answer = Whole(BODY, 0, 100_000, 50_000, 300_000)
    assert way(cloud, answer) == BODY
    assert answer.gets == 5


@WAYS
def test_other_bytes_in_a_second_try_end_it(cloud, way):
    """What came before a cut must come again; if it does not, the object was replaced, and nothing is mixed."""
    with pytest.raises(errors.ObjectChanged, match="replaced"):
        way(cloud, Whole(BODY, 300_000, then=BODY[:1000] + b"x" + BODY[1001:]))
    assert cloud.names() == []
    assert cloud.uploads() == []


@WAYS
def test_server_that_cuts_for_good_ends_it(cloud, way):
    """A server that never sends more than before ends it as a passing fault, without an object or an upload."""
    with pytest.raises(errors.NetworkError):
        way(cloud, Whole(BODY, *[100_000] * 20))
    assert cloud.names() == []
    assert cloud.uploads() == []


def test_slow_reader_makes_the_server_wait(cloud, monkeypatch):
    """However slow the reader, little of the object stands in memory: the server waits."""
    monkeypatch.setattr(wholeflow, "ROOM", 64 * 1024)
    body = BODY * 60
    most: list[int] = []
    real = wholeflow._Body._take
    monkeypatch.setattr(wholeflow._Body, "_take", lambda self, data: most.append(self.held) or real(self, data))
    reader, writer = os.pipe()
    got = bytearray()

    def read() -> None:
        while data := os.read(reader, 200_000):
            got.extend(data)

    thread = threading.Thread(target=read)
    with RawServer(Whole(body)) as server, os.fdopen(writer, "wb") as file:
        threading.Timer(0.5, thread.start).start()
        download_stream(*source(cloud, server), file, **cloud.means)
    thread.join(30)
    os.close(reader)
    assert bytes(got) == body
    assert max(most) <= 64 * 1024 + 17_000


def test_stop_ends_it(cloud):
    """Ctrl-C ends both ways while the server says nothing more."""

    def stall(asked: Asked, peer: Any) -> bool | None:
        if asked.method == "HEAD" or asked.range:
            return Whole(BODY)(asked, peer)
        send(peer, 200, etag='"e"', content_length=str(len(BODY)))
        peer.sendall(BODY[: 3 * PART])
        threading.Timer(0.3, cloud.wiring.waiter.stop.set).start()
        peer.recv(1)
        return False

    for way in (into_cloud, out):
        with pytest.raises(errors.Interrupted):
            way(cloud, stall)
        cloud.wiring.waiter.stop.clear()
    assert cloud.names() == []
    assert cloud.uploads() == []
