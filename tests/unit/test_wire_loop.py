"""The wire against a server that says right and wrong things: what arrives, what is refused, what is never sent."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest
from private_ca import make_private_ca
from raw_server import OneObject, RawServer, reset, send, splice

from hypersdk import errors
from hypersdk.model import ByteRange, ConnectionSettings, Secret
from hypersdk.waiting import StopFlag
from hypersdk.wire.loop import Wire
from hypersdk.wire.probe import probe
from hypersdk.wire.request import Expectation, Request, Source

BODY = bytes(range(256)) * 1024
SETTINGS = ConnectionSettings(connect_timeout=5, read_timeout=5)


@pytest.fixture
def wire() -> Iterator[Wire]:
    with Wire(SETTINGS) as open_wire:
        yield open_wire


def ranged(server: RawServer, start: int = 1000, stop: int = 200_000, **fields) -> Request:
    wanted = ByteRange(start, stop)
    return Request(
        "GET",
        Secret(f"{server.url}/p/very-secret/o/disk"),
        "oci://ns/b/disk",
        headers={"range": wanted.header(), "if-match": "etag-1"},
        expect=Expectation(range=wanted, size=len(BODY), etag="etag-1"),
        **fields,
    )


def outcome(wire: Wire, request: Request, **fields):
    """One request's completion and the bytes that reached its sink."""
    got = bytearray()
    wire.submit(request, sink=got.extend, token="t", **fields)
    deadline = time.monotonic() + 20
    while not (done := wire.completed(1.0)) and time.monotonic() < deadline:
        pass
    (completion,) = done
    return completion, bytes(got)


def test_range_arrives_in_the_sink(wire):
    """A good reply's bytes reach the sink, and the same connection serves the next request."""
    with RawServer(OneObject(BODY)) as server:
        for _ in range(3):
            completion, got = outcome(wire, ranged(server))
            assert completion.error is None
            assert got == BODY[1000:200_000]
            assert completion.reply.received == 199_000
        assert {asked.connection for asked in server.asked} == {0}
        assert "expect" not in server.asked[0].headers
        assert server.asked[0].headers["accept-encoding"] == "identity"


def test_many_at_once(wire):
    """Many requests in flight end as one completion each, with their own bytes."""
    with RawServer(OneObject(BODY)) as server:
        sinks = {start: bytearray() for start in range(0, 64_000, 1000)}
        for start, sink in sinks.items():
            wire.submit(ranged(server, start, start + 1000), sink=sink.extend, token=start)
        ended = set()
        while len(ended) < len(sinks):
            ended |= {completion.token for completion in wire.completed(5) if completion.reply}
        assert all(sink == BODY[start : start + 1000] for start, sink in sinks.items())
        assert wire.completed(5) == []


WRONG_HEADS = {
    "200 with all": lambda _, peer: send(peer, 200, BODY, etag="etag-1"),
    "200 with the slice": lambda _, peer: send(peer, 200, BODY[1000:200_000], etag="etag-1"),
    "shifted": lambda _, peer: send(
        peer, 206, BODY[1001:200_001], etag="etag-1", content_range=f"bytes 1001-200000/{len(BODY)}"
    ),
    "short": lambda _, peer: send(
        peer, 206, BODY[1000:2000], etag="etag-1", content_range=f"bytes 1000-1999/{len(BODY)}"
    ),
    "wrong total": lambda _, peer: send(
        peer, 206, BODY[1000:200_000], etag="etag-1", content_range="bytes 1000-199999/999999"
    ),
    "wrong etag": lambda _, peer: send(
        peer, 206, BODY[1000:200_000], etag="etag-2", content_range=f"bytes 1000-199999/{len(BODY)}"
    ),
    "gzip": lambda _, peer: send(
        peer, 206, b"\x1f\x8b" * 50, etag="etag-1", content_range="bytes 1000-199999/262144", content_encoding="gzip"
    ),
    "html": lambda _, peer: send(peer, 200, b"<html>log in</html>", content_type="text/html"),
    "redirect": lambda _, peer: send(peer, 302, location="https://elsewhere.example/"),
    "no length, too short": lambda _, peer: (
        send(
            peer, 206, BODY[1000:2000], etag="etag-1", content_range="bytes 1000-199999/262144",
            content_length="-", connection="close",
        )
        or False
    ),
}  # fmt: skip


@pytest.mark.parametrize("answer", WRONG_HEADS.values(), ids=WRONG_HEADS)
def test_wrong_replies_never_pass(wire, answer):
    """C013, C022: a wrong reply is refused and, unless only its end is missing, no byte reaches the sink."""
    with RawServer(OneObject(BODY, faults=[answer])) as server:
        completion, got = outcome(wire, ranged(server))
        assert isinstance(completion.error, errors.ReplyRefused)
        assert got in {b"", BODY[1000:2000]}
        completion, got = outcome(wire, ranged(server))
        assert got == BODY[1000:200_000]
        assert server.asked[1].connection == 1, "a connection whose body was not read must not be used again"


def cut(asked, peer):
    head = f"HTTP/1.1 206 x\r\ncontent-length: 199000\r\netag: etag-1\r\ncontent-range: bytes 1000-199999/{len(BODY)}"
    peer.sendall(f"{head}\r\n\r\n".encode() + BODY[1000:5000])
    return False


@pytest.mark.parametrize("answer", [lambda _, peer: reset(peer), cut], ids=["reset", "cut body"])
def test_cut_connections_are_network_errors(wire, answer):
    """A connection that is cut before or inside the body is a network error, which passes."""
    with RawServer(OneObject(BODY, faults=[answer])) as server:
        completion, _ = outcome(wire, ranged(server))
        assert type(completion.error) is errors.NetworkError
        assert "very-secret" not in str(completion.error)


def test_silence_is_a_network_error():
    """A body that stops flowing counts as dead after the read timeout, and does not hold up others."""
    with Wire(ConnectionSettings(read_timeout=1)) as wire:
        fault = lambda _, peer: peer.sendall(b"HTTP/1.1 206 x\r\n") or (peer.recv(1) and None)  # noqa: E731
        with RawServer(OneObject(BODY, faults=[fault])) as server:
            completion, _ = outcome(wire, ranged(server))
            assert type(completion.error) is errors.NetworkError
            assert "no byte came for 1 s" in str(completion.error)


def test_a_call_that_hangs_can_be_stopped():
    """Ctrl-C ends a call within a second or two although the service says nothing, and later calls work."""
    stop = StopFlag()
    silent = lambda _, peer: stop.set() or (peer.recv(1) and None)  # noqa: E731
    with (
        Wire(ConnectionSettings(read_timeout=60), tick=stop.check) as wire,
        RawServer(OneObject(BODY, faults=[silent])) as server,
    ):
        with pytest.raises(errors.Interrupted):
            wire.call(ranged(server))
        stop.clear()
        assert wire.call(ranged(server)).body == BODY[1000:200_000]


def test_nobody_listens(wire):
    """A refused connection is the network monitor's cue, and the probe agrees."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    dead = Request("GET", Secret(f"http://127.0.0.1:{port}/x"), "x")
    completion, _ = outcome(wire, dead)
    assert type(completion.error) is errors.EndpointUnreachable
    assert probe(SETTINGS, dead.url.reveal()) is False


def test_probe_wants_a_reply():
    """Any reply proves the endpoint up; a port that accepts and hangs up does not, one that only is slow does."""
    with RawServer(lambda _, peer: send(peer, 500)) as server:
        assert probe(SETTINGS, server.url + "/p/very-secret?x") is True
        assert [(asked.method, asked.target) for asked in server.asked] == [("HEAD", "/")]
    for hang_up in (lambda _, peer: reset(peer), lambda _a, _p: False):
        with RawServer(hang_up) as server:
            assert probe(SETTINGS, server.url) is False
    with RawServer(lambda _, peer: peer.recv(1) and None) as server:
        assert probe(SETTINGS, server.url, timeout=0.2) is True


def test_refusal_is_explained_from_its_body():
    """A refusal's status, headers and body reach the caller's hook, and its connection is used again."""
    seen = []

    def explain(request, status, headers, body):
        seen.append((status, headers["opc-request-id"], body))
        return errors.NotFoundError("no such object", request_id=headers["opc-request-id"])

    fault = lambda _, peer: send(peer, 404, b'{"code": "ObjectNotFound"}', opc_request_id="r1")  # noqa: E731
    with Wire(SETTINGS, explain=explain) as wire, RawServer(OneObject(BODY, faults=[fault])) as server:
        completion, got = outcome(wire, ranged(server))
        assert isinstance(completion.error, errors.NotFoundError)
        assert seen == [(404, "r1", b'{"code": "ObjectNotFound"}')]
        assert got == b""
        assert outcome(wire, ranged(server))[0].reply
        assert server.asked[1].connection == 0


def test_sink_error_ends_the_request(wire):
    """What the sink raises is the completion's error; a bug in it is raised, and the wire lives on."""

    def full(_: memoryview) -> None:
        raise errors.DiskFull("disk full")

    with RawServer(OneObject(BODY)) as server:
        wire.submit(ranged(server), sink=full, token="t")
        (completion,) = wire.completed(10)
        assert isinstance(completion.error, errors.DiskFull)
        wire.submit(ranged(server), sink=lambda _: 1 / 0, token="t")
        with pytest.raises(ZeroDivisionError):
            wire.completed(10)
        assert outcome(wire, ranged(server))[1] == BODY[1000:200_000]


def test_abandoned_requests_complete_never(wire):
    """An abandoned request ends without a completion and its token is free again."""
    with RawServer(OneObject(BODY, faults=[lambda _, peer: peer.recv(1) and None])) as server:
        wire.submit(ranged(server), token="t")
        assert wire.completed(0.2) == []
        wire.abandon("t")
        wire.abandon("t")
        assert wire.completed(5) == []
        assert outcome(wire, ranged(server))[1] == BODY[1000:200_000]


def test_an_abandoned_body_is_taken_back(wire):
    """What stands in the buffer of an upload that is given up is never sent: it would arrive behind its next try."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/x"
        body = Source(1 << 30, lambda _, size: bytes(min(size, 1 << 20)))
        wire.submit(Request("PUT", Secret(url), "x"), body=body, token="t")
        assert wire.completed(0.3) == []
        peer, _ = server.accept()
        wire.abandon("t")
        peer.settimeout(10)
        with peer, pytest.raises(ConnectionResetError):
            all(iter(lambda: peer.recv(1 << 20), b""))


def test_bodies_are_sent_whole(wire):
    """A body from memory or from a source arrives whole; the signature goes along and costs no Expect round trip."""

    def sign(method, url, headers):
        return dict(headers) | {"authorization": "Signature good", "content-length": "99", "date": "today"}

    def answer(asked, peer):
        send(peer, 200, etag=str(len(asked.body)))

    read = lambda offset, size: BODY[offset : offset + min(size, 7000)]  # noqa: E731
    with RawServer(answer) as server:
        for body in (BODY, memoryview(BODY), Source(len(BODY), read), b""):
            request = Request("PUT", Secret(server.url + "/u"), "o", headers={"opc-empty": ""}, sign=sign)
            reply = wire.call(request, body)
            asked = server.asked[-1]
            assert asked.body == (body if body == b"" else BODY)
            assert reply.headers["etag"] == str(len(asked.body))
            assert asked.headers["authorization"] == "Signature good"
            assert asked.headers["opc-empty"] == ""
            assert "expect" not in asked.headers
        for method in ("POST", "DELETE", "HEAD"):
            wire.call(Request(method, Secret(server.url + "/u"), "o"))
            assert server.asked[-1].method == method


def test_body_is_sent_again_on_a_dead_kept_alive_connection(wire):
    """A kept-alive connection that died meanwhile costs nothing: the whole body goes over a new one."""

    def answer(asked, peer):
        if asked.method == "PUT" and asked.connection == 0:
            return False
        send(peer, 200)
        return asked.connection > 0

    with RawServer(answer) as server:
        wire.call(Request("GET", Secret(server.url), "o"))
        assert wire.call(Request("PUT", Secret(server.url), "o"), BODY).status == 200
        assert server.asked[-1].body == BODY


def test_source_that_shrinks_is_noticed(wire):
    """A source that ends early ends the request with an error of ours, not with a short body."""
    with RawServer(lambda _, peer: send(peer, 200)) as server:
        request = Request("PUT", Secret(server.url), "file:///disk")
        with pytest.raises(errors.FileError, match="shorter"):
            wire.call(request, Source(100, lambda offset, _: b"x" * 10 if offset < 50 else b""))


def test_call_has_a_limit_and_lets_others_move(wire):
    """A small call refuses large replies, and what was in flight meanwhile still completes."""
    with RawServer(OneObject(BODY)) as server:
        got = bytearray()
        wire.submit(ranged(server), sink=got.extend, token="other")
        plain = Request("GET", Secret(server.url), "o")
        assert wire.call(plain).body == BODY
        with pytest.raises(errors.ReplyRefused, match="larger than 10 bytes"):
            wire.call(plain, limit=10)
        while not (done := wire.completed(5)):
            pass
        assert [completion.token for completion in done] == ["other"]
        assert got == BODY[1000:200_000]


def test_credentials_never_follow_a_redirect(wire):
    """C025: a redirect is refused; the other host never sees the request, let alone its Authorization."""
    with RawServer(OneObject(BODY)) as other:
        fault = lambda _, peer: send(peer, 307, location=other.url + "/stolen")  # noqa: E731
        with RawServer(OneObject(BODY, faults=[fault])) as server:
            signed = ranged(server, sign=lambda _m, _u, headers: dict(headers) | {"authorization": "secret"})
            completion, _ = outcome(wire, signed)
            assert isinstance(completion.error, errors.ReplyRefused)
            assert server.asked[0].headers["authorization"] == "secret"
        assert other.asked == []


def test_private_ca_and_untrusted_server(wire, tmp_path):
    """C011: a private CA given as bundle is trusted by bodies and probe; without it the error names the bundle."""
    bundle, context = make_private_ca(tmp_path)
    settings = ConnectionSettings(ca_bundle=bundle)
    with RawServer(OneObject(BODY), tls=context) as server:
        with Wire(settings) as trusting:
            assert outcome(trusting, ranged(server))[1] == BODY[1000:200_000]
        assert probe(settings, server.url) is True
        completion, _ = outcome(wire, ranged(server))
        assert isinstance(completion.error, errors.ConfigError)
        assert "--cert-bundle" in str(completion.error)
        assert probe(SETTINGS, server.url) is True  # no outage: waiting makes nobody vouch for it
        with Wire(ConnectionSettings(ca_bundle="/nowhere.pem")) as lost:
            completion, _ = outcome(lost, ranged(server))
            assert isinstance(completion.error, errors.ConfigError)


def test_proxy_is_used_for_http_and_https(tmp_path, monkeypatch):
    """Plain and TLS requests and probes go through the configured proxy with its credentials, which no error shows."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    bundle, context = make_private_ca(tmp_path)

    def relay(asked, peer):
        if asked.headers.get("proxy-authorization") != "Basic dXNlcjpwYSBzcw==":
            send(peer, 407)
            return None
        return splice(asked, peer) if asked.method == "CONNECT" else OneObject(BODY)(asked, peer)

    with (
        RawServer(relay) as proxy,
        RawServer(OneObject(BODY), tls=context) as server,
        RawServer(OneObject(BODY)) as plain,
    ):
        address = f"127.0.0.1:{proxy.port}"
        settings = ConnectionSettings(proxy=Secret(f"http://user:pa%20ss@{address}"), ca_bundle=bundle)
        with Wire(settings) as wire:
            assert outcome(wire, ranged(server))[1] == BODY[1000:200_000]
            assert outcome(wire, ranged(plain))[1] == BODY[1000:200_000]
        assert probe(settings, server.url)
        assert probe(settings, plain.url)
        assert [asked.method for asked in proxy.asked] == ["CONNECT", "GET", "CONNECT", "HEAD"]
        assert server.asked[-1].method == "HEAD"
        assert "proxy-authorization" not in server.asked[0].headers
        with Wire(ConnectionSettings(proxy=Secret(f"http://user:wrong@{address}"), ca_bundle=bundle)) as wire:
            for target in (server, plain):
                completion, _ = outcome(wire, ranged(target))
                assert isinstance(completion.error, errors.AuthError)
                assert "proxy" in str(completion.error)
                assert "wrong" not in str(completion.error)
        refused = ConnectionSettings(proxy=Secret(f"http://user:wrong@{address}"), ca_bundle=bundle)
        assert probe(refused, server.url), "no waiting makes the proxy like our password"
        with Wire(ConnectionSettings(proxy=settings.proxy, no_proxy="127.0.0.1", ca_bundle=bundle)) as wire:
            before = len(proxy.asked)
            assert outcome(wire, ranged(plain))[0].reply
            assert len(proxy.asked) == before
        with Wire(ConnectionSettings(ca_bundle=bundle)) as wire:
            assert outcome(wire, ranged(plain))[0].reply, "the environment's proxy is config's business"
