"""Hostile and unlucky clients: whatever they send, it answers in its own form, keeps nothing and lives."""

from __future__ import annotations

import contextlib
import http.client
import re
import resource
import socket
import struct
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from emulator import MIB, NAMESPACE, Emulator, Reply, make_seed

BUCKET = "exports"
WAIT_SECONDS = 10.0
NAME = "/n/testns/b/exports/o/refused"
PUT = b"PUT " + NAME.encode() + b" HTTP/1.1\r\n"
GET = b"GET /n/ HTTP/1.1\r\nhost: x\r\n"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One emulator for all that must not harm it."""
    folder = tmp_path_factory.mktemp("robust")
    running = Emulator(make_seed(folder / "seed"), folder / "state", ("--body-timeout", "1")).start()
    yield running
    assert running.stop() == 0


def connect(emulator: Emulator) -> socket.socket:
    host, _, port = emulator.host.partition(":")
    return socket.create_connection((host, int(port)), timeout=WAIT_SECONDS)


def head(emulator: Emulator, method: str, path: str, *lines: str) -> bytes:
    """A signed request head with further header lines."""
    signed = [f"{name}: {value}" for name, value in emulator.signed_headers(method, path).items()]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *signed, *lines, "", ""]).encode()


def read_reply(raw: socket.socket, *, bodiless: bool = False) -> Reply:
    """The next reply of a connection; the connection may go on."""
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = raw.recv(1)
        assert chunk, f"closed after {data!r}"
        data += chunk
    first, *lines = data.decode().rstrip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    left = 0 if bodiless else int(headers.get("content-length", "0"))
    body = b""
    while len(body) < left:
        chunk = raw.recv(left - len(body))
        assert chunk, "closed in the middle of a body"
        body += chunk
    return Reply(int(first.split()[1]), headers, body)


def assert_closed(raw: socket.socket) -> None:
    """The server ends this connection."""
    with contextlib.suppress(ConnectionResetError):
        assert raw.recv(1) == b""


def refusal(reply: Reply) -> tuple[int, str]:
    """Status and code of an error, whose body must have the form of a service's errors."""
    assert set(reply.json) == {"code", "message"}
    assert reply.json["message"]
    return reply.status, reply.json["code"]


def memory(emulator: Emulator, what: str = "VmRSS") -> float:
    """Resident memory of the emulator in MiB; `VmHWM` is its peak."""
    text = Path(f"/proc/{emulator.process.pid}/status").read_text()
    return int(re.findall(rf"{what}:\s+(\d+)", text)[0]) / 1024


def awaited(what: str, condition: Callable[[], Any]) -> Any:
    """Wait until a condition holds and give its value."""
    end = time.monotonic() + WAIT_SECONDS
    while not (value := condition()):
        assert time.monotonic() < end, f"{what}: never"
        threading.Event().wait(0.01)
    return value


def body_files(emulator: Emulator) -> list[Path]:
    return [path for path in (emulator.state / "bodies").rglob("*") if path.is_file()]


# ---------------------------------------------------------------- what is not HTTP

MALFORMED = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a method only": b"GET\r\n\r\n",
    "a version of the future": b"GET / HTTP/9.9\r\n\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a word too many": b"GET / HTTP/1.1 more\r\n\r\n",
    "a space first": b" GET / HTTP/1.1\r\n\r\n",
    "no such method": b"BREW / HTTP/1.1\r\n\r\n",
    "a method in small letters": b"get / HTTP/1.1\r\n\r\n",
    "a path without slash": b"GET n HTTP/1.1\r\n\r\n",
    "a broken URL": b"GET http://[bad HTTP/1.1\r\n\r\n",
    "NUL in the path": b"GET /\0 HTTP/1.1\r\n\r\n",
    "bytes in the path that are no ASCII": b"GET /\xff HTTP/1.1\r\n\r\n",
    "bare line feeds": b"GET / HTTP/1.1\nhost: x\n\n",
    "a bare line feed after a header": b"GET / HTTP/1.1\r\nhost: x\nfoo: bar\r\n\r\n",
    "a bare carriage return after a header": b"GET / HTTP/1.1\r\nhost: x\rfoo: bar\r\n\r\n",
    "a header without colon": GET + b"foo\r\n\r\n",
    "a space before the colon": GET + b"foo : bar\r\n\r\n",
    "NUL in a header": GET + b"foo: a\0b\r\n\r\n",
    "a folded header": GET + b"foo: a\r\n b\r\n\r\n",
    "a header without name": GET + b": a\r\n\r\n",
    "two lengths": GET + b"content-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
    "the same length twice": GET + b"content-length: 3\r\ncontent-length: 3\r\n\r\nabc",
    "a list of lengths": GET + b"content-length: 3, 3\r\n\r\nabc",
    "a length that is no number": GET + b"content-length: 3a\r\n\r\nabc",
    "a length below zero": GET + b"content-length: -1\r\n\r\nabc",
    "a length with a sign": GET + b"content-length: +3\r\n\r\nabc",
    "an empty length": GET + b"content-length: \r\n\r\n",
    "a length beyond 64 bits": GET + b"content-length: 99999999999999999999999\r\n\r\n",
    "a length and chunks": GET + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks twice": GET + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks not last": GET + b"transfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "an encoding that is none": GET + b"transfer-encoding: identity\r\n\r\n",
    "chunks by vertical tab": GET + b"transfer-encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "a chunk size that is no number": GET + b"transfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
    "a chunk size beyond 64 bits": GET + b"transfer-encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFF\r\nabc\r\n0\r\n\r\n",
    "a chunk longer than it says": GET + b"transfer-encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n",
    "a chunk size by bare line feed": GET + b"transfer-encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("sent", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_http_is_refused_as_a_service_does(shared: Emulator, sent: bytes) -> None:
    """Bytes that are no HTTP/1.1 get 400 in the form of a service's errors, and the connection ends."""
    with connect(shared) as raw:
        raw.sendall(sent)
        assert refusal(read_reply(raw)) == (400, "BadRequest")
        assert_closed(raw)


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
        GET + b"foo: " + b"a" * 20_000 + b"\r\n\r\n",
        GET + b"a" * 20_000 + b": x\r\n\r\n",
        GET + b"".join(b"x%d: y\r\n" % n for n in range(200)) + b"\r\n",
    ],
    ids=["request line", "value", "name", "number"],
)
def test_huge_headers_are_refused(shared: Emulator, sent: bytes) -> None:
    """A request line, a header or a number of headers beyond the limit gets 431."""
    with connect(shared) as raw:
        raw.sendall(sent)
        assert refusal(read_reply(raw)) == (431, "RequestHeaderFieldsTooLarge")
        assert_closed(raw)


def test_endless_headers_take_no_memory(shared: Emulator) -> None:
    """A client that sends one header for ever is cut off at the limit, and the emulator does not grow."""
    before = memory(shared)
    for _ in range(20):
        with connect(shared) as raw, contextlib.suppress(ConnectionError):
            raw.sendall(GET + b"foo: ")
            for _ in range(64):
                raw.sendall(b"a" * MIB)
    assert shared.get(BUCKET, "absent").status == 404
    assert memory(shared) < before + 32


@pytest.mark.parametrize("name", [b"opc-meta-a", b"content-type", b"opc-client-request-id", b"if-match", b"user-agent"])
def test_header_bytes_that_are_no_text(shared: Emulator, name: bytes) -> None:
    """A header that is not UTF-8 is refused with 400 and nothing of it is kept."""
    sent = head(shared, "PUT", NAME, "content-length: 0").replace(b"\r\n\r\n", b"\r\n" + name + b": \xff\xfe\r\n\r\n")
    with connect(shared) as raw:
        raw.sendall(sent)
        assert refusal(read_reply(raw))[0] == 400
    assert shared.call("HEAD", NAME).status == 404


@pytest.mark.parametrize(
    ("name", "pattern", "text"),
    [
        ("authorization", ".*", ""),
        ("authorization", ".*", "Signature"),
        ("authorization", ".*", "Bearer x"),
        ("authorization", 'signature="', 'signature="é'),
        ("authorization", 'signature="', 'signature="===='),
        ("authorization", "ocid1", "ST$é.é.é"),
        ("authorization", 'keyId="', 'keyId="ST$'),
        ("authorization", "date ", "date absent "),
        ("authorization", ".*", "AWS4-HMAC-SHA256 Credential=é/é, SignedHeaders=é, Signature=é"),
        ("date", ".*", "Mon, 01 Jan 2020 00:00:00 +99999999999999"),
        ("date", ".*", "é"),
    ],
)
def test_signatures_that_cannot_be_read(shared: Emulator, name: str, pattern: str, text: str) -> None:
    """Whatever stands in the headers of a signature, one that does not hold is a 4xx, never a fault."""
    headers = shared.signed_headers("GET", NAME)
    headers[name] = re.sub(pattern, text, headers[name], count=1).encode().decode("latin-1")
    assert 400 <= shared.send("GET", NAME, headers=headers).status < 404


@pytest.mark.parametrize("value", ["é", "x", "eHh4", "=", "a" * 5000])
@pytest.mark.parametrize("name", ["content-md5", "opc-content-crc32c", "opc-content-sha256", "opc-content-sha384"])
def test_checksums_that_are_none(shared: Emulator, name: str, value: str) -> None:
    """A stated checksum that is no checksum is a 400, and nothing is stored."""
    headers = {name: value.encode().decode("latin-1")}
    assert refusal(shared.call("PUT", NAME, b"body", headers))[0] == 400
    assert shared.call("HEAD", NAME).status == 404


@pytest.mark.parametrize("line", ["upgrade: websocket\r\nconnection: upgrade", "upgrade: h2c\r\nconnection: upgrade"])
def test_an_upgrade_is_not_taken(shared: Emulator, line: str) -> None:
    """An offer of another protocol changes nothing: the call is answered, and so is the next one."""
    with connect(shared) as raw:
        for more in ((line,), ()):
            raw.sendall(head(shared, "GET", NAME, *more))
            assert refusal(read_reply(raw)) == (404, "ObjectNotFound")


# ---------------------------------------------------------------- bodies that are not as announced


@pytest.mark.parametrize("rest", [b"zz\r\n", b"FFFFFFFFFFFFFFFFFF\r\n", b"3\r\nabcdef\r\n", b"-1\r\n"])
def test_a_bad_chunk_in_mid_body_ends_the_call(shared: Emulator, rest: bytes) -> None:
    """A chunk that cannot be parsed, sent while the body is being read, is a 400 at once; nothing is stored."""
    with connect(shared) as raw:
        raw.sendall(head(shared, "PUT", NAME, "transfer-encoding: chunked", "expect: 100-continue"))
        assert raw.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        raw.sendall(b"3\r\nabc\r\n")
        began = time.monotonic()
        raw.sendall(rest)
        assert refusal(read_reply(raw)) == (400, "RequestBodyIncomplete")
        assert_closed(raw)
        assert time.monotonic() - began < 0.9  # not by the body time-out of one second
    assert shared.call("HEAD", NAME).status == 404


def test_a_body_longer_than_announced(shared: Emulator) -> None:
    """What follows the announced length is no part of the body and no request: 400."""
    with connect(shared) as raw:
        raw.sendall(head(shared, "PUT", NAME, "content-length: 3", "expect: 100-continue"))
        assert raw.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        raw.sendall(b"abc")
        assert read_reply(raw).status == 200
        raw.sendall(b"defghi\r\n\r\n")
        assert refusal(read_reply(raw)) == (400, "BadRequest")
        assert_closed(raw)
    assert shared.get(BUCKET, "refused").body == b"abc"
    assert shared.call("DELETE", NAME).status == 204


@pytest.mark.parametrize("there", [0, 10, 2 * MIB])
def test_a_body_that_never_comes(shared: Emulator, there: int) -> None:
    """A length without (all of) its body, as the SDK's retries send it, gets 408 after the body time-out."""
    with connect(shared) as raw:
        raw.sendall(head(shared, "PUT", NAME, f"content-length: {4 * MIB}"))
        raw.sendall(bytes(there))
        assert refusal(read_reply(raw)) == (408, "RequestTimeout")
        assert_closed(raw)
    assert shared.call("HEAD", NAME).status == 404
    awaited("no file left", lambda: not body_files(shared))


def test_a_signed_body_that_never_comes(shared: Emulator) -> None:
    """The body of a call that is signed with its body has the same time-out."""
    path = f"/n/{NAMESPACE}/b/{BUCKET}/u"
    headers = shared.signed_headers("POST", path, b'{"object": "x"}')
    with connect(shared) as raw:
        lines = [f"{name}: {value}" for name, value in headers.items()]
        raw.sendall("\r\n".join([f"POST {path} HTTP/1.1", *lines, "", ""]).encode())
        assert refusal(read_reply(raw)) == (408, "RequestTimeout")


def test_a_client_that_leaves_in_mid_body(shared: Emulator) -> None:
    """A half-sent object and a half-sent part are gone with their clients, whether those close or reset."""
    upload = shared.call("POST", f"/n/{NAMESPACE}/b/{BUCKET}/u", {"object": "parts"}).json["uploadId"]
    part = f"/n/{NAMESPACE}/b/{BUCKET}/u/parts?uploadId={upload}&uploadPartNum=1"
    for path in (NAME, part):
        for linger in (struct.pack("ii", 0, 0), struct.pack("ii", 1, 0)):
            with connect(shared) as raw:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                raw.sendall(head(shared, "PUT", path, f"content-length: {8 * MIB}"))
                raw.sendall(bytes(4 * MIB))
                awaited("bytes on disk", lambda: body_files(shared))
            awaited("no file left", lambda: not body_files(shared))
    assert shared.call("HEAD", NAME).status == 404
    assert shared.call("GET", part.partition("&")[0]).json == []
    assert shared.call("DELETE", part.partition("&")[0]).status == 204


def test_a_client_that_leaves_in_mid_download(shared: Emulator) -> None:
    """Readers that go away in mid-body free what they held: the object's file goes with its deletion."""
    shared.put(BUCKET, "big", bytes(32 * MIB))
    for _ in range(8):
        with connect(shared) as raw:
            raw.sendall(head(shared, "GET", shared.object_path(BUCKET, "big")))
            assert raw.recv(100).startswith(b"HTTP/1.1 200 ")
    assert shared.call("DELETE", shared.object_path(BUCKET, "big")).status == 204
    awaited("the file is gone", lambda: not body_files(shared))


# ---------------------------------------------------------------- one connection, several calls


def test_pipelined_calls_are_answered_in_order(shared: Emulator) -> None:
    """Many calls sent at once over one connection are answered one by one, in order."""
    for number in range(4):
        shared.put(BUCKET, f"pipe-{number}", f"{number}".encode() * (number + 1))
    wanted = [number % 4 for number in range(300)]
    heads = [head(shared, "GET", shared.object_path(BUCKET, f"pipe-{number}")) for number in range(4)]
    with connect(shared) as raw:
        sender = threading.Thread(target=raw.sendall, args=(b"".join(heads[n] for n in wanted),))
        sender.start()
        for number in wanted:
            assert read_reply(raw).body == f"{number}".encode() * (number + 1)
        sender.join()
    for number in range(4):
        shared.call("DELETE", shared.object_path(BUCKET, f"pipe-{number}"))


@pytest.mark.parametrize("size", [1, 100_000, 3 * MIB])
def test_an_error_with_an_unread_body_leaves_the_connection_usable(shared: Emulator, size: int) -> None:
    """A refused upload whose body comes all the same is read past: the next call is answered right."""
    absent = f"/n/{NAMESPACE}/b/absent/o/x"
    with connect(shared) as raw:
        for _ in range(3):
            raw.sendall(
                head(shared, "PUT", absent, f"content-length: {size}") + b"GET /" * (size // 5) + b"x" * (size % 5)
            )
            assert refusal(read_reply(raw)) == (404, "BucketNotFound")
            raw.sendall(head(shared, "GET", NAME))
            assert refusal(read_reply(raw)) == (404, "ObjectNotFound")


def test_a_refusal_instead_of_100_continue_ends_the_connection(shared: Emulator) -> None:
    """Without 100 the body may come or not: the final reply says that the connection ends, so nothing is misread."""
    with connect(shared) as raw:
        raw.sendall(head(shared, "PUT", f"/n/{NAMESPACE}/b/absent/o/x", "content-length: 5", "expect: 100-continue"))
        reply = read_reply(raw)
        assert refusal(reply) == (404, "BucketNotFound")
        assert reply.headers["connection"] == "close"


def test_one_connection_carries_successes_and_errors(shared: Emulator) -> None:
    """Errors of every kind between good calls leave the connection in step."""
    path = shared.object_path(BUCKET, "step")
    with connect(shared) as raw:
        for number in range(20):
            raw.sendall(head(shared, "PUT", path, "content-length: 2") + b"%02d" % number)
            assert read_reply(raw).status == 200
            for method, where, status in (
                ("HEAD", path + "-absent", 404),
                ("GET", "/n/other/b", 404),
                ("DELETE", "/nowhere", 404),
                ("PUT", "/n", 405),
            ):
                raw.sendall(head(shared, method, where))
                assert read_reply(raw, bodiless=method == "HEAD").status == status
            raw.sendall(head(shared, "GET", path, "range: bytes=5-9"))
            assert read_reply(raw).status == 416
            raw.sendall(head(shared, "GET", path))
            assert read_reply(raw).body == b"%02d" % number
    assert shared.call("DELETE", path).status == 204


# ---------------------------------------------------------------- names

WEIRD = [
    "..",
    "../../../../escaped",
    "/etc/passwd",
    "a/../../escaped",
    "./.",
    "a//b",
    "a\\..\\b",
    "~root",
    "C:\\x",
    "a b+c%2F",
    "%2e%2e/%00",
    "é\u202e🜁",
    "\x01\x7f",
    "n" * 1024,
]


def outside_files(emulator: Emulator) -> set[str]:
    """Everything around the emulator's state that is not its database or a body file under a name of its own."""
    own = re.compile(r"state/(cloud\.sqlite(-wal|-shm)?|bodies/[0-9a-f]{2}/[0-9a-f]{32}|bodies/incoming/[0-9a-f]{32})")
    root = emulator.state.parent
    found = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    return {path for path in found if not own.fullmatch(path)}


@pytest.mark.parametrize("name", WEIRD, ids=range(len(WEIRD)))
def test_names_are_texts_and_never_paths(shared: Emulator, name: str) -> None:
    """Names with dots, slashes, backslashes and strange characters come back as they went, and touch no file."""
    before = outside_files(shared)
    path = shared.object_path(BUCKET, name)
    assert shared.call("PUT", path, name.encode()).status == 200
    assert shared.get(BUCKET, name).body == name.encode()
    assert shared.names(BUCKET) == [name]
    upload = shared.call("POST", f"/n/{NAMESPACE}/b/{BUCKET}/u", {"object": name}).json["uploadId"]
    parts = f"/n/{NAMESPACE}/b/{BUCKET}/u/{urllib.parse.quote(name, safe='')}?uploadId={upload}"
    etag = shared.call("PUT", f"{parts}&uploadPartNum=1", b"part").headers["etag"]
    assert shared.call("POST", parts, {"partsToCommit": [{"partNum": 1, "etag": etag}]}).status == 200
    assert shared.get(BUCKET, name).body == b"part"
    rename = {"sourceName": name, "newName": "plain"}
    assert shared.call("POST", f"/n/{NAMESPACE}/b/{BUCKET}/actions/renameObject", rename).status == 200
    assert shared.call("DELETE", shared.object_path(BUCKET, "plain")).status == 204
    assert outside_files(shared) == before
    assert not body_files(shared)


@pytest.mark.parametrize(
    "path",
    [
        "/n/testns/b/exports/o/../../../../../../etc/passwd",
        "/n/testns/b/exports/o/..%2f..%2f..%2fcloud.sqlite",
        "/n/testns/b/exports/o/%2e%2e/%2e%2e/cloud.sqlite",
        "/n/testns/b/../../../cloud.sqlite",
        "/n/testns/b/..%2F..%2Fstate/o/x",
        "/n/..%2f..%2f/b/exports/o/x",
        "//etc/passwd",
        "/../cloud.sqlite",
        "/_emulator/../cloud.sqlite",
        "/%5f_emulator/log",
        "/20160918/instances/..%2f..%2f..%2fetc%2fpasswd",
        "/p/..%2f..%2fx/n/testns/b/exports/o/x",
        "/",
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_paths_that_climb_lead_nowhere(shared: Emulator, method: str, path: str) -> None:
    """Dots, encoded or not, in any place of a path find no file and change none; a name is only ever looked up."""
    before = outside_files(shared)
    body = b"climbed" if method == "PUT" else None
    reply = shared.call(method, path, body)
    if method == "PUT" and reply.status == 200:  # an object may have such a name
        assert shared.call("GET", path).body == b"climbed"
        assert shared.call("DELETE", path).status == 204
    else:
        assert refusal(reply)[0] in (400, 401, 404, 405)
    assert outside_files(shared) == before
    assert not body_files(shared)


@pytest.mark.parametrize("encoded", ["%ff", "%c3%28", "%ed%a0%80", "a%00b", "a%0ab", "a%0db", "n" * 1025])
def test_names_that_cannot_be(shared: Emulator, encoded: str) -> None:
    """A name that is no UTF-8, has NUL or a line end in it, or is too long, is refused with 400."""
    assert refusal(shared.call("PUT", f"/n/{NAMESPACE}/b/{BUCKET}/o/{encoded}", b"x"))[0] == 400


@pytest.mark.parametrize("name", ["..", "../x", "a/b", "a\0b", "", "n" * 257, "a b", "é", "\ud800", 7, None, ["x"]])
def test_buckets_with_impossible_names(shared: Emulator, name: Any) -> None:
    """A bucket's name has letters, digits, hyphen, underscore and dot; anything else is a 400."""
    body = {"name": name, "compartmentId": shared.seed.compartment}
    path = f"/n/{NAMESPACE}/b"
    reply = shared.call("POST", path, body)
    if name == "..":  # dots alone are allowed characters, and a name is no path here
        assert reply.status == 200
        assert shared.call("DELETE", f"{path}/..").status == 204
    else:
        assert refusal(reply)[0] == 400


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":1}x',
        b"[1]",
        b"\xff\xfe",
        b'{"object":"\\ud800"}',
        b'{"object":NaN}',
        b'{"object":1e999}',
        b'{"object":123456789012345678901234567890}',
        b'{"object":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"object":' + b"[" * 100 + b"]" * 100 + b"}",
        b'{"object":"' + b"9" * 5000 + b'"}',
        b"9" * 5000,
    ],
)
def test_json_that_nobody_could_mean(shared: Emulator, text: bytes) -> None:
    """Broken, endless and half-character JSON is a 400, never a fault of the emulator."""
    path = f"/n/{NAMESPACE}/b/{BUCKET}/u"
    assert refusal(shared.send("POST", path, text, shared.signed_headers("POST", path, text)))[0] == 400


def test_a_long_json_body_is_refused(shared: Emulator) -> None:
    """A JSON body beyond the limit is a 413, and the emulator keeps little of it."""
    path = f"/n/{NAMESPACE}/b/{BUCKET}/u"
    text = b" " * (9 * MIB)
    assert refusal(shared.send("POST", path, text, shared.signed_headers("POST", path, text)))[0] == 413


@pytest.mark.parametrize("line_end", ["%0d%0a", "%0a", "%0d", "%00"])
def test_no_reply_header_takes_a_line_end(shared: Emulator, line_end: str) -> None:
    """What a query or a body wants as a reply header is refused if it would end the header."""
    shared.put(BUCKET, "plain", b"x")
    path = shared.object_path(BUCKET, "plain")
    query = f"?httpResponseContentType=a{line_end}set-cookie:b"
    assert refusal(shared.call("GET", path + query))[0] == 400
    assert shared.call("HEAD", path + query).status == 400
    character = urllib.parse.unquote(line_end)
    for field in ({"contentType": f"a{character}b"}, {"metadata": {"opc-meta-a": f"a{character}b"}}):
        assert refusal(shared.call("POST", f"/n/{NAMESPACE}/b/{BUCKET}/u", {"object": "x", **field}))[0] == 400
    assert shared.call("DELETE", path).status == 204


# ---------------------------------------------------------------- two writers


@dataclass(frozen=True)
class Race:
    """Several puts of one object at once, each with a body of its own."""

    replies: list[Reply]
    bodies: list[bytes]

    def winners(self) -> list[int]:
        """Who got a 200."""
        return [number for number, reply in enumerate(self.replies) if reply.status == 200]


def race(emulator: Emulator, name: str, headers: dict[str, str], writers: int = 8) -> Race:
    bodies = [bytes([number]) * (200_000 + number) for number in range(writers)]
    start = threading.Barrier(writers)

    def put(number: int) -> Reply:
        start.wait()
        return emulator.call("PUT", emulator.object_path(BUCKET, name), bodies[number], headers)

    with ThreadPoolExecutor(writers) as pool:
        return Race(list(pool.map(put, range(writers))), bodies)


def test_two_writers_leave_one_object(shared: Emulator) -> None:
    """Of objects written at once one is there, whole, with the etag told to its writer; the others left no file."""
    for turn in range(5):
        found = race(shared, "race", {})
        assert found.winners() == list(range(8))
        there = shared.get(BUCKET, "race")
        assert there.body in found.bodies
        assert there.headers["etag"] == found.replies[found.bodies.index(there.body)].headers["etag"], turn
        awaited("one file", lambda: len(body_files(shared)) == 1)
    shared.call("DELETE", shared.object_path(BUCKET, "race"))


def test_only_one_writer_makes_an_object(shared: Emulator) -> None:
    """With If-None-Match: * one of many writers gets 200, with If-Match one replaces; the rest get 412."""
    path = shared.object_path(BUCKET, "race")
    for _ in range(5):
        made = race(shared, "race", {"if-none-match": "*"})
        assert len(made.winners()) == 1
        assert {reply.status for reply in made.replies} == {200, 412}
        (winner,) = made.winners()
        assert shared.get(BUCKET, "race").body == made.bodies[winner]
        etag = made.replies[winner].headers["etag"]
        replaced = race(shared, "race", {"if-match": etag})
        assert len(replaced.winners()) == 1
        awaited("one file", lambda: len(body_files(shared)) == 1)
        assert shared.call("DELETE", path).status == 204


# ---------------------------------------------------------------- many connections, slow ones


def idle_connections(emulator: Emulator, count: int) -> contextlib.ExitStack:
    """Open connections: a third says nothing, a third has sent half a head, a third has made a call."""
    stack = contextlib.ExitStack()
    whole = head(emulator, "HEAD", NAME)
    for number in range(count):
        raw = stack.enter_context(connect(emulator))
        if number % 3 == 1:
            raw.sendall(whole[:100])
        elif number % 3 == 2:
            raw.sendall(whole)
            assert read_reply(raw, bodiless=True).status == 404
    return stack


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.soak)])
def test_idle_connections(start_emulator: Callable[..., Emulator], count: int) -> None:
    """Thousands of idle connections neither keep a new client from being served nor take 200 MiB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20_000), hard))
    emulator = start_emulator()
    try:
        with idle_connections(emulator, count):
            began = time.monotonic()
            emulator.put(BUCKET, "served", b"x")
            assert emulator.get(BUCKET, "served").body == b"x"
            assert time.monotonic() - began < 2
            print(f"{count} idle connections: {memory(emulator):.0f} MiB")
            assert memory(emulator, "VmHWM") < 200
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_slow_heads_and_idle_connections_are_closed(start_emulator: Callable[..., Emulator]) -> None:
    """A head that comes drop by drop is cut at the idle time-out, on a fresh connection and after a call."""
    emulator = start_emulator(arguments=("--idle-timeout", "0.5"))
    text = head(emulator, "HEAD", NAME)
    with connect(emulator) as fresh, connect(emulator) as used, connect(emulator) as silent:
        used.sendall(text)
        assert read_reply(used, bodiless=True).status == 404
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            for at in range(len(text)):
                for raw in (fresh, used):
                    raw.sendall(text[at : at + 1])
                if time.monotonic() - began > WAIT_SECONDS:
                    pytest.fail("a head of one byte at a time was never cut")
                threading.Event().wait(0.02)
        for raw in (fresh, used, silent):
            assert_closed(raw)


def test_connections_beyond_the_limit_of_descriptors(start_emulator: Callable[..., Emulator]) -> None:
    """Connections that would use up the open files are dropped; those that are there, and later ones, are served."""
    emulator = start_emulator()
    resource.prlimit(emulator.process.pid, resource.RLIMIT_NOFILE, (200, 200))
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(connect(emulator)) for _ in range(120)]
        for raw in held[110:]:
            assert_closed(raw)
        for raw in held[:20]:
            raw.sendall(head(emulator, "PUT", NAME, f"content-length: {MIB}") + bytes(MIB))
        for raw in held[:20]:
            assert read_reply(raw).status == 200
    assert awaited("served", lambda: _status_or_none(emulator) == 200)


def _status_or_none(emulator: Emulator) -> int | None:
    try:
        return emulator.call("GET", NAME).status
    except OSError:
        return None


# ---------------------------------------------------------------- a full disk


@contextlib.contextmanager
def files_end_at(emulator: Emulator, size: int) -> Iterator[None]:
    """No file of the emulator can grow beyond a size, which it meets as it meets a full disk."""
    pid, unlimited = emulator.process.pid, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)


@pytest.mark.parametrize("size", [60_000, 4 * MIB])
def test_a_full_disk_is_told(emulator: Emulator, size: int) -> None:
    """When the disk is full a put gets 507 and leaves the old object and no file; with space again it works."""
    emulator.put(BUCKET, "o", b"old")
    path = emulator.object_path(BUCKET, "o")
    with files_end_at(emulator, 50_000):
        for name in ("o", "new"):
            reply = emulator.call("PUT", emulator.object_path(BUCKET, name), bytes(size))
            assert refusal(reply) == (507, "InsufficientStorage")
    assert emulator.get(BUCKET, "o").body == b"old"
    assert emulator.names(BUCKET) == ["o"]
    assert len(body_files(emulator)) == 1
    assert emulator.call("PUT", path, bytes(size)).status == 200
    assert len(emulator.get(BUCKET, "o").body) == size


def test_a_full_disk_of_the_database_is_told(emulator: Emulator) -> None:
    """When the database cannot grow, writes get 507, reads work, and what was refused is not there afterwards."""
    emulator.put(BUCKET, "old", b"old")
    with files_end_at(emulator, 0):
        for name in ("a", "b"):
            reply = emulator.call("PUT", emulator.object_path(BUCKET, name), b"")
            assert refusal(reply) == (507, "InsufficientStorage")
        assert refusal(emulator.call("DELETE", emulator.object_path(BUCKET, "old")))[0] == 507
        assert emulator.get(BUCKET, "old").body == b"old"
    emulator.put(BUCKET, "c", b"c")
    emulator.kill()
    emulator.start()
    assert emulator.names(BUCKET) == ["c", "old"]
    assert emulator.get(BUCKET, "old").body == b"old"


# ---------------------------------------------------------------- kill -9


def content_of(name: str) -> bytes:
    """The bytes that an object of this name has; the part after a slash is how often it was moved."""
    return name.partition("/")[0].encode() * 20_000


class Worker:
    """Puts, commits, copies and renames objects until the emulator dies; `known` are those that it was told of."""

    def __init__(self, emulator: Emulator, number: int) -> None:
        self._emulator = emulator
        self._number = number
        self.known: set[str] = set()
        self.gone: set[str] = set()

    def run(self) -> None:
        """Work until the connection breaks."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            for turn in range(10_000):
                self._turn(f"w{self._number}-{turn}")

    def _turn(self, name: str) -> None:
        emulator, bucket = self._emulator, f"/n/{NAMESPACE}/b/{BUCKET}"
        emulator.put(BUCKET, name, content_of(name))
        self.known.add(name)
        large = f"{name}m"
        upload = self._ok(emulator.call("POST", f"{bucket}/u", {"object": large})).json["uploadId"]
        half = len(content_of(large)) // 2
        parts = []
        for number, data in ((1, content_of(large)[:half]), (2, content_of(large)[half:])):
            reply = self._ok(emulator.call("PUT", f"{bucket}/u/{large}?uploadId={upload}&uploadPartNum={number}", data))
            parts.append({"partNum": number, "etag": reply.headers["etag"]})
        self._ok(emulator.call("POST", f"{bucket}/u/{large}?uploadId={upload}", {"partsToCommit": parts}))
        self.known.add(large)
        self.gone.add(name)
        self._ok(emulator.call("POST", f"{bucket}/actions/renameObject", {"sourceName": name, "newName": f"{name}/r"}))
        self.known.add(f"{name}/r")
        copy = {"sourceObjectName": large, "destinationRegion": "us-ashburn-1", "destinationNamespace": NAMESPACE}
        copy |= {"destinationBucket": BUCKET, "destinationObjectName": f"{large}/c"}
        self._ok(emulator.call("POST", f"{bucket}/actions/copyObject", copy))
        emulator.put(BUCKET, f"shared{self._number}", content_of(f"shared{self._number}"))

    def _ok(self, reply: Reply) -> Reply:
        assert reply.status < 300, reply
        return reply


@pytest.mark.parametrize("kills", [4, pytest.param(60, marks=pytest.mark.soak)])
def test_kill_9_leaves_whole_objects_or_none(start_emulator: Callable[..., Emulator], kills: int) -> None:
    """Killed during puts, commits, copies and renames, the emulator comes back with what it promised and no wreck."""
    emulator = start_emulator()
    for number in range(kills):
        workers = [Worker(emulator, 10 * number + each) for each in range(3)]
        threads = [threading.Thread(target=worker.run) for worker in workers]
        for thread in threads:
            thread.start()
        awaited("work", lambda workers=workers: all(worker.known for worker in workers))
        threading.Event().wait(0.05 + 0.013 * (number % 17))
        emulator.kill()
        for thread in threads:
            thread.join()
        emulator.start()
        names = emulator.names(BUCKET)
        for worker in workers:
            assert worker.known - worker.gone <= set(names)
        for name in names:
            reply = emulator.get(BUCKET, name)
            assert (reply.status, reply.body) == (200, content_of(name)), name
        for worker in workers:
            for name in worker.gone:
                assert name in names or f"{name}/r" in names
        assert not list((emulator.state / "bodies" / "incoming").iterdir())
        _drop_all(emulator, names)
    assert not body_files(emulator)


def _drop_all(emulator: Emulator, names: list[str]) -> None:
    """Delete objects and open uploads; then no body file has a reason to be there."""
    bucket = f"/n/{NAMESPACE}/b/{BUCKET}"
    for name in names:
        assert emulator.call("DELETE", emulator.object_path(BUCKET, name)).status == 204
    for upload in emulator.call("GET", f"{bucket}/u").json:
        reply = emulator.call("DELETE", f"{bucket}/u/{upload['object']}?uploadId={upload['uploadId']}")
        assert reply.status == 204
