"""Requests that pause: no room for what comes, nothing to send yet, and one request whose reply is another's body."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import pytest
from raw_server import Answer, OneObject, RawServer, reset, send

from hypersdk import errors
from hypersdk.model import ByteRange, ConnectionSettings, Secret
from hypersdk.wire.loop import Completion, Wire
from hypersdk.wire.request import Expectation, Feed, Request

BODY = bytes(range(256)) * 4096
SETTINGS = ConnectionSettings(connect_timeout=5, read_timeout=5)


@pytest.fixture
def wire() -> Iterator[Wire]:
    with Wire(SETTINGS) as open_wire:
        yield open_wire


def whole(server: RawServer) -> Request:
    wanted = ByteRange(0, len(BODY))
    return Request(
        "GET",
        Secret(f"{server.url}/o/disk"),
        "source",
        headers={"range": wanted.header()},
        expect=Expectation(range=wanted, size=len(BODY), etag="etag-1"),
    )


def stored(asked, peer) -> None:
    send(peer, 200, etag="stored")


def put(server: RawServer) -> Request:
    return Request("PUT", Secret(f"{server.url}/u/disk"), "target", expect=Expectation(needs="etag"))


def wait(wire: Wire, ready=None) -> list[Completion]:
    """Serve until a request ends, or `ready` says so."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not (ready and ready()):
        if done := wire.completed(0.05):
            return done
    return []


def test_sink_without_room_gets_the_same_bytes_later(wire):
    """A sink that has no room is asked again after `resume`, and no byte comes twice or is lost."""
    got, refused = bytearray(), []

    def sink(data: memoryview) -> bool | None:
        if len(refused) < 3 and len(got) >= len(refused) * 300_000:
            refused.append(bytes(data))
            return False
        got.extend(data)
        return None

    with RawServer(OneObject(BODY)) as server:
        wire.submit(whole(server), sink=sink, token="t")
        for number in range(1, 4):
            assert wait(wire, lambda number=number: len(refused) == number) == []
            before = bytes(got)
            assert wire.completed(0.1) == []
            assert got == before, "a paused request moves nothing"
            wire.resume("t")
        (completion,) = wait(wire)
    assert completion.error is None
    assert completion.reply.received == wire.moved == len(BODY)
    assert got == BODY


def test_a_pause_is_no_silence():
    """A request that waits for room longer than the read timeout is not taken for dead."""
    got, room = bytearray(), threading.Event()

    def sink(data: memoryview) -> bool | None:
        return got.extend(data) if room.is_set() else False

    with Wire(ConnectionSettings(read_timeout=1)) as wire, RawServer(OneObject(BODY)) as server:
        wire.submit(whole(server), sink=sink, token="t")
        began = time.monotonic()
        assert wait(wire, lambda: time.monotonic() - began > 2.5) == []
        room.set()
        wire.resume("t")
        (completion,) = wait(wire)
    assert completion.error is None
    assert got == BODY


def test_sink_that_fails_when_it_is_asked_again_ends_the_request(wire):
    """An error or a bug in a sink that is called by `resume` is treated as in any other call of it."""
    asked = []

    def sink(data: memoryview, error: Exception) -> bool | None:
        asked.append(len(data))
        if len(asked) > 1:
            raise error
        return False

    for error in (errors.DiskFull("full"), ZeroDivisionError()):
        asked.clear()
        with RawServer(OneObject(BODY)) as server:
            wire.submit(whole(server), sink=lambda data, error=error: sink(data, error), token="t")
            assert wait(wire, lambda: asked) == []
            wire.resume("t")
            if isinstance(error, errors.DiskFull):
                assert wait(wire)[0].error is error
            else:
                with pytest.raises(ZeroDivisionError):
                    wait(wire)
            assert wire.completed(1) == []


def test_body_that_is_not_there_yet_is_waited_for(wire):
    """A request whose body has nothing to send pauses, and its body arrives whole; others move on meanwhile."""
    ready = threading.Event()
    read = lambda offset, size: BODY[offset : offset + size] if ready.is_set() else None  # noqa: E731
    with RawServer(stored) as target, RawServer(OneObject(BODY)) as server:
        wire.submit(put(target), body=Feed(len(BODY), read), token="t")
        assert wire.call(whole(server)).body == BODY
        assert target.asked == []
        ready.set()
        wire.resume("t")
        (completion,) = wait(wire)
        assert completion.reply.headers["etag"] == "stored"
        assert target.asked[0].body == BODY


def test_refusal_reaches_a_request_that_has_nothing_to_send(wire):
    """A service that refuses before it has the body is heard at once."""

    def listen(peer) -> None:
        peer.recv(65536)
        send(peer, 503, b"later", connection="close")

    with RawServer(lambda *_: None) as target:
        target._serve = lambda peer, _number: listen(peer)
        wire.submit(put(target), body=Feed(len(BODY), lambda *_: None), token="t")
        (completion,) = wait(wire)
    assert isinstance(completion.error, errors.ServiceError)


def relay(wire: Wire, source: Answer, target: Answer, room: int = 100_000) -> tuple[list[Completion], list[bytes]]:
    """Pipe one request into another through a buffer of `room` bytes."""
    kept, least = bytearray(), []

    def take(data: memoryview) -> bool | None:
        if len(kept) >= room:
            return False
        kept.extend(data)
        least.append(len(kept))
        wire.resume("put")
        return None

    def read(_offset: int, size: int) -> bytes | None:
        data = bytes(kept[:size])
        del kept[:size]
        wire.resume("get")
        return data or None

    with RawServer(source) as source_server, RawServer(target) as target_server:
        wire.submit(put(target_server), body=Feed(len(BODY), read), token="put")
        wire.submit(whole(source_server), sink=take, token="get", feeds="put")
        done = wait(wire)
        assert max(least, default=0) < room + 16 * 1024
        assert wire.completed(1) == [], "nothing is left in flight"
        return done, [asked.body for asked in target_server.asked]


def test_one_request_feeds_another(wire):
    """What one request receives another sends; there is one completion, and little stands in memory between them."""
    (completion,), bodies = relay(wire, OneObject(BODY), stored)
    assert completion.token == "put"
    assert completion.reply.headers["etag"] == "stored"
    assert bodies == [BODY]
    assert wire.moved == 2 * len(BODY)


def cut_short(asked, peer) -> bool:
    head = f"content-range: bytes 0-{len(BODY) - 1}/{len(BODY)}\r\netag: etag-1\r\n"
    peer.sendall(f"HTTP/1.1 206 x\r\ncontent-length: {len(BODY)}\r\n{head}\r\n".encode() + BODY[:200_000])
    return False


@pytest.mark.parametrize(
    ("source", "target", "error", "words"),
    [
        (cut_short, stored, errors.NetworkError, "GET source"),
        (lambda _, peer: send(peer, 412), stored, errors.PreconditionFailed, "GET source"),
        (lambda _, peer: send(peer, 200, BODY, etag="etag-1"), stored, errors.ReplyRefused, "GET source"),
        (OneObject(BODY), lambda _, peer: send(peer, 503), errors.ServiceError, "PUT target"),
        (OneObject(BODY), lambda _, peer: reset(peer), errors.NetworkError, "PUT target"),
    ],
)
def test_either_side_ends_both(wire, source, target, error, words):
    """A fault on one side is the error of the pair, and the other side's request is dropped."""
    (completion,), _ = relay(wire, source, target)
    assert completion.token == "put"
    assert type(completion.error) is error
    assert words in str(completion.error)


def test_abandoned_request_takes_its_feeder_along(wire):
    """An abandoned request and the one that feeds it are both gone."""
    with RawServer(OneObject(BODY)) as source, RawServer(stored) as target:
        wire.submit(put(target), body=Feed(len(BODY), lambda *_: None), token="put")
        wire.submit(whole(source), sink=lambda _: False, token="get", feeds="put")
        assert wire.completed(0.2) == []
        wire.abandon("put")
        wire.resume("put")
        wire.resume("get")
        assert wire.completed(5) == []
        assert wire.call(whole(source)).body == BODY


def test_watched_descriptor_ends_the_wait_once(wire):
    """A wait for requests ends when a pipe can be read, and the pipe is then watched no more."""
    reader, writer = os.pipe()
    try:
        with RawServer(lambda _, peer: peer.recv(1) and None) as server:
            wire.submit(whole(server), token="t")
            assert wire.completed(0.1) == []
            wire.watch(reader)
            wire.watch(reader)
            threading.Timer(0.1, os.write, (writer, b"x")).start()
            began = time.monotonic()
            assert wire.completed(20) == []
            assert time.monotonic() - began < 10
            began = time.monotonic()
            assert wire.completed(0.2) == []
            assert time.monotonic() - began > 0.1
            wire.watch(reader)
            wire.unwatch(reader)
            wire.unwatch(reader)
            assert wire.completed(0.2) == []
            wire.hurry()
            began = time.monotonic()
            assert wire.completed(20) == []
            assert time.monotonic() - began < 10
    finally:
        os.close(reader)
        os.close(writer)


def test_post_without_a_reply_is_not_repeated_behind_our_back(wire):
    """A POST whose kept-alive connection ends without a reply may have been carried out: its caller decides."""
    answer = lambda asked, peer: send(peer, 200) if len(asked.body) < 3 else reset(peer)  # noqa: E731
    with RawServer(answer) as server:
        post = Request("POST", Secret(f"{server.url}/u"), "create")
        wire.call(post, b"ok")
        with pytest.raises(errors.NetworkError):
            wire.call(post, b"create")
        assert [asked.body for asked in server.asked] == [b"ok", b"create"]


def test_piped_body_is_not_sent_from_memory_that_is_gone(wire):
    """A connection that died while it was idle costs a request that cannot send its body again a passing error."""
    seen = []

    def answer(asked, peer) -> bool | None:
        seen.append(asked)
        return send(peer, 200, etag="stored")

    def read(offset: int, size: int) -> bytes:
        return BODY[offset : offset + min(size, 100_000)]

    with RawServer(answer) as target:
        assert wire.call(put(target), b"x").headers["etag"] == "stored"
        for peer in target._peers:
            peer.shutdown(2)
        wire.submit(put(target), body=Feed(len(BODY), read), token="t")
        (completion,) = wait(wire)
    assert completion.reply or isinstance(completion.error, errors.NetworkError)
    assert all(asked.body in {b"x", BODY} for asked in seen)
