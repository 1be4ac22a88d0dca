"""What the client kit does not look at: crashes, hostile names and bodies, edges of ranges, long lists, sessions."""

import base64
import contextlib
import hashlib
import http.client
import json
import random
import signal
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import crc32c
import pytest
from emulator import MIB, Emulator, private_key, public_pem, sign

BUCKET = "exports"


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def body_files(emulator: Emulator) -> list[Path]:
    return [path for path in (emulator.state / "bodies").rglob("*") if path.is_file()]


def awaited(what: str, condition: Callable[[], Any], seconds: float = 10) -> Any:
    """Poll a condition of the emulator's process, which has no other way to tell us."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        threading.Event().wait(0.01)
    raise AssertionError(f"not within {seconds} s: {what}")


def begin_put(emulator: Emulator, name: str, length: int, sent: bytes) -> socket.socket:
    """A PutObject whose body stops after `sent`."""
    path = emulator.object_path(BUCKET, name)
    headers = emulator.signed_headers("PUT", path)
    at = urllib.parse.urlsplit(emulator.endpoint)
    raw = socket.create_connection((at.hostname, at.port), timeout=20)
    lines = "".join(f"{key}: {value}\r\n" for key, value in {**headers, "content-length": length}.items())
    raw.sendall(f"PUT {path} HTTP/1.1\r\n{lines}\r\n".encode() + sent)
    return raw


# ---------------------------------------------------------------- crashes


def test_kill_during_put_leaves_the_old_object(emulator: Emulator) -> None:
    """Kill -9 in the middle of a PUT: after a restart the object is the old one, whole, and no half file stays."""
    old = noise(300_000)
    emulator.put(BUCKET, "o", old)
    with begin_put(emulator, "o", 8 * MIB, noise(3 * MIB)):
        awaited("bytes on disk", lambda: list((emulator.state / "bodies" / "incoming").iterdir()))
        emulator.kill()
    emulator.start()
    assert emulator.get(BUCKET, "o").body == old
    assert len(body_files(emulator)) == 1


@pytest.mark.parametrize("after", [0.0, 0.004, 0.02, 0.05])
def test_kill_at_any_time_of_a_put(emulator: Emulator, after: float) -> None:
    """Kill -9 at some time of an overwriting PUT: the object is the old one or the new one, never a mixture."""
    old, new = noise(100_000, 1), noise(2 * MIB, 2)
    emulator.put(BUCKET, "o", old)

    def write() -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            emulator.put(BUCKET, "o", new)

    writer = threading.Thread(target=write)
    writer.start()
    threading.Event().wait(after)
    emulator.kill()
    writer.join()
    emulator.start()
    reply = emulator.get(BUCKET, "o")
    assert reply.body in (old, new)
    assert reply.headers["content-md5"] == b64(hashlib.md5(reply.body).digest())
    assert len(body_files(emulator)) == 1


def test_restart_continues(emulator: Emulator) -> None:
    """A restart on the same state keeps objects, uploads with their parts, PARs, tokens and the advanced clock."""
    etag = emulator.put(BUCKET, "o", b"kept").headers["etag"]
    upload = emulator.call("POST", f"/n/{emulator.namespace}/b/{BUCKET}/u", {"object": "big"}).json["uploadId"]
    part_path = f"/n/{emulator.namespace}/b/{BUCKET}/u/big?uploadId={upload}"
    part = emulator.call("PUT", part_path + "&uploadPartNum=1", b"part").headers["etag"]
    emulator.control("POST", "clock", {"advanceSeconds": 7200})
    details = {"name": "p", "accessType": "ObjectRead", "objectName": "o", "timeExpires": "2100-01-01T00:00:00Z"}
    uri = emulator.call("POST", f"/n/{emulator.namespace}/b/{BUCKET}/p", details).json["accessUri"]
    token = emulator.token
    emulator.kill()
    emulator.start()
    assert (emulator.token, emulator.send("GET", uri).body) == (token, b"kept")
    assert emulator.get(BUCKET, "o").headers["etag"] == etag
    done = emulator.call("POST", part_path, {"partsToCommit": [{"partNum": 1, "etag": part}], "partsToExclude": []})
    assert done.status == 200
    assert emulator.get(BUCKET, "big").body == b"part"
    ahead = emulator.get(BUCKET, "big").headers
    skew = parsedate_to_datetime(ahead["last-modified"]) - parsedate_to_datetime(ahead["date"])
    assert 7190 <= skew.total_seconds() <= 7210


# ---------------------------------------------------------------- hostile names and bodies


def test_names_are_not_paths(emulator: Emulator) -> None:
    """An object name that looks like a path is only a name: read back by itself, no file of that name anywhere."""
    names = ["../../escape", "/etc/passwd", "..", "a/../../b", "%2e%2e/x", "bodies/incoming"]
    for name in names:
        emulator.put(BUCKET, name, name.encode())
    assert emulator.names(BUCKET) == sorted(names)
    assert [emulator.get(BUCKET, name).body for name in names] == [name.encode() for name in names]
    assert all(len(path.name) == 32 for path in body_files(emulator))


def test_body_that_never_comes(start_emulator: Callable[..., Emulator]) -> None:
    """A client that announces a body and sends none gets 408 and its connection closed; nothing is stored."""
    emulator = start_emulator(arguments=("--body-timeout", "0.3"))
    with begin_put(emulator, "o", 1000, b"") as raw:
        reply = b""
        while chunk := raw.recv(65536):
            reply += chunk
    assert reply.startswith(b"HTTP/1.1 408 ")
    assert b"RequestTimeout" in reply
    assert emulator.names(BUCKET) == []


def test_body_shorter_than_announced(emulator: Emulator) -> None:
    """A client that leaves in mid-body has stored nothing, and its temporary file goes."""
    raw = begin_put(emulator, "o", 4 * MIB, noise(2 * MIB))
    awaited("bytes on disk", lambda: list((emulator.state / "bodies" / "incoming").iterdir()))
    raw.close()
    awaited("temporary file gone", lambda: not body_files(emulator))
    assert emulator.names(BUCKET) == []


def test_refused_body_leaves_no_file(emulator: Emulator) -> None:
    """A PUT with a wrong checksum, and a replaced and a deleted object, leave no body file behind."""
    path = emulator.object_path(BUCKET, "o")
    wrong = {"content-md5": b64(hashlib.md5(b"other").digest())}
    assert emulator.call("PUT", path, noise(200_000), wrong).json["code"] == "UnmatchedContentMD5"
    assert body_files(emulator) == []
    for size in (200_000, 300_000):
        emulator.put(BUCKET, "o", noise(size))
        assert emulator.get(BUCKET, "o").body == noise(size)
    assert len(body_files(emulator)) == 1
    assert emulator.call("DELETE", path).status == 204
    assert body_files(emulator) == []


# ---------------------------------------------------------------- checksums, ranges, lists


def test_crc32c_of_whole_object(emulator: Emulator) -> None:
    """The CRC32C that a committed upload reports is that of the whole object, combined from parts of odd sizes."""
    base = f"/n/{emulator.namespace}/b/{BUCKET}/u"
    parts = [noise(size, size) for size in (1, 1_000_003, 70_000, 65_537, 3)]
    algorithm = {"opc-checksum-algorithm": "CRC32C"}
    upload = emulator.call("POST", base, {"object": "o"}, algorithm).json["uploadId"]
    listed = []
    for number, part in enumerate(parts, 1):
        made = emulator.call("PUT", f"{base}/o?uploadId={upload}&uploadPartNum={number}", part)
        assert made.headers["opc-content-crc32c"] == b64(crc32c.crc32c(part).to_bytes(4, "big"))
        listed.append({"partNum": number, "etag": made.headers["etag"]})
    random.Random(3).shuffle(listed)
    emulator.call("POST", f"{base}/o?uploadId={upload}", {"partsToCommit": listed})
    whole = emulator.get(BUCKET, "o")
    assert whole.body == b"".join(parts)
    assert whole.headers["opc-content-crc32c"] == b64(crc32c.crc32c(whole.body).to_bytes(4, "big"))


def test_ranges_over_parts(emulator: Emulator) -> None:
    """Ranges that begin, end or lie across the seams of a multipart object give exactly those bytes (C031)."""
    base = f"/n/{emulator.namespace}/b/{BUCKET}/u"
    parts = [noise(size, size) for size in (1000, 1, 5000)]
    upload = emulator.call("POST", base, {"object": "o"}).json["uploadId"]
    listed = []
    for number, part in enumerate(parts, 1):
        made = emulator.call("PUT", f"{base}/o?uploadId={upload}&uploadPartNum={number}", part)
        listed.append({"partNum": number, "etag": made.headers["etag"]})
    emulator.call("POST", f"{base}/o?uploadId={upload}", {"partsToCommit": listed})
    data = b"".join(parts)
    for first, last in ((0, 999), (999, 1000), (1000, 1000), (1000, 1001), (998, 1003), (6000, 6000), (0, 6000)):
        reply = emulator.get(BUCKET, "o", {"range": f"bytes={first}-{last}"})
        assert (reply.status, reply.body) == (206, data[first : last + 1])
        assert reply.headers["content-range"] == f"bytes {first}-{last}/6001"


def test_range_forms(emulator: Emulator) -> None:
    """Suffixes, ranges past the end (416 with the size), several ranges and nonsense (ignored), an empty object."""
    data = b"0123456789"
    emulator.put(BUCKET, "o", data)
    for asked, want in (("bytes=-4", b"6789"), ("bytes=-100", data), ("bytes=9-9", b"9"), ("bytes=8-99", b"89")):
        reply = emulator.get(BUCKET, "o", {"range": asked})
        assert (asked, reply.status, reply.body) == (asked, 206, want)
    for asked in ("bytes=-0", "bytes=10-", "bytes=10-20"):
        reply = emulator.get(BUCKET, "o", {"range": asked})
        assert (reply.status, reply.json["code"]) == (416, "InvalidRange")
        assert reply.headers["content-range"] == "bytes */10"
    for asked in ("bytes=5-2", "bytes=0-1,4-5", "lines=0-1"):
        reply = emulator.get(BUCKET, "o", {"range": asked})
        assert (asked, reply.status, reply.body) == (asked, 200, data)
    emulator.put(BUCKET, "empty", b"")
    assert emulator.get(BUCKET, "empty", {"range": "bytes=0-"}).status == 416
    assert emulator.get(BUCKET, "empty").headers["content-length"] == "0"


def test_ten_thousand_objects(start_emulator: Callable[..., Emulator]) -> None:
    """10,000 objects list completely in pages of 1000, and their directories as prefixes, each once."""
    names = [f"{n % 40:02d}/{n:05d}" for n in range(10_000)]

    def objects(seed: dict[str, Any]) -> None:
        seed["objects"] = [{"bucket": BUCKET, "name": name, "text": ""} for name in names]

    emulator = start_emulator(change=objects)
    assert emulator.names(BUCKET) == sorted(names)
    prefixes: list[str] = []
    start = ""
    while True:
        query = urllib.parse.urlencode({"delimiter": "/", "limit": 7, "start": start})
        page = emulator.call("GET", f"/n/{emulator.namespace}/b/{BUCKET}/o?{query}").json
        assert page["objects"] == []
        prefixes += page["prefixes"]
        start = page.get("nextStartWith")
        if not start:
            break
    assert prefixes == [f"{n:02d}/" for n in range(40)]


# ---------------------------------------------------------------- sessions, refusals, TLS


def test_session_token(emulator: Emulator) -> None:
    """A session token signs until its lifetime is over; a token with another key, or a forged one, never does."""
    user = emulator.seed.value["users"][0]["id"]
    body = {"userId": user, "publicKeyPem": public_pem(private_key()), "ttlSeconds": 600}
    token = emulator.control("POST", "session-token", body)["token"]

    def status(key_id: str) -> int:
        headers = sign(private_key(), key_id, "GET", "/n", {"host": emulator.host}, body=None)
        return emulator.send("GET", "/n", None, headers).status

    head, claims, signature = token.split(".")
    forged = json.loads(base64.urlsafe_b64decode(claims + "=="))
    forged["sub"] = "ocid1.user.oc1..somebodyelse"
    text = base64.urlsafe_b64encode(json.dumps(forged).encode()).rstrip(b"=").decode()
    assert status(f"ST${token}") == 200
    assert status(f"ST${head}.{text}.{signature}") == 401
    emulator.control("POST", "clock", {"advanceSeconds": 601})
    assert status(f"ST${token}") == 401


def test_denied_compartment(start_emulator: Callable[..., Emulator]) -> None:
    """A bucket in a compartment that is closed to the user is BucketNotFound, and that compartment lists nothing."""
    closed = "ocid1.compartment.oc1..aaaaclosed"

    def change(seed: dict[str, Any]) -> None:
        seed["buckets"].append({"name": "hidden", "compartmentId": closed})

    user = {"deniedCompartments": [closed]}
    emulator = start_emulator(compartments=("main", "closed"), user=user, change=change)
    base = f"/n/{emulator.namespace}/b"
    assert emulator.call("GET", f"{base}/hidden").json["code"] == "BucketNotFound"
    assert emulator.call("GET", f"{base}?compartmentId={closed}").json["code"] == "NotAuthorizedOrNotFound"
    assert emulator.call("GET", f"{base}/{BUCKET}").status == 200


def test_tls(start_emulator: Callable[..., Emulator]) -> None:
    """With --tls the endpoint is https, its certificate holds against the private CA, and sendfile still works."""
    emulator = start_emulator(arguments=("--tls",))
    assert emulator.endpoint.startswith("https://")
    emulator.put(BUCKET, "o", noise(3 * MIB))
    assert emulator.get(BUCKET, "o", {"range": "bytes=5-2000000"}).body == noise(3 * MIB)[5:2_000_001]


# ---------------------------------------------------------------- faults of bodies and connections


def test_body_faults(emulator: Emulator) -> None:
    """Each fault of a GET body does what it says, once, and the next GET is whole."""
    data = noise(100_000)
    emulator.put(BUCKET, "o", data)
    emulator.fault("GetObject", "cut-body", afterBytes=1000)
    with pytest.raises(http.client.IncompleteRead) as cut:
        emulator.get(BUCKET, "o")
    assert cut.value.partial == data[:1000]
    emulator.fault("GetObject", "flip-byte", at=77)
    flipped = emulator.get(BUCKET, "o").body
    assert [n for n, (a, b) in enumerate(zip(flipped, data, strict=True)) if a != b] == [77]
    ask = {"range": "bytes=10-19"}
    emulator.fault("GetObject", "whole-body")
    assert (emulator.get(BUCKET, "o", ask).status, emulator.get(BUCKET, "o", ask).status) == (200, 206)
    emulator.fault("GetObject", "shifted-range")
    shifted = emulator.get(BUCKET, "o", ask)
    assert (shifted.headers["content-range"], shifted.body) == ("bytes 11-20/100000", data[11:21])
    emulator.fault("GetObject", "html")
    assert emulator.get(BUCKET, "o").headers["content-type"].startswith("text/html")
    emulator.fault("GetObject", "object-replaced")
    etag = emulator.get(BUCKET, "o", ask).headers["etag"]
    assert emulator.get(BUCKET, "o", {"if-match": etag}).body != data


def test_connection_faults(emulator: Emulator) -> None:
    """Reset loses the call, lost-response only the reply."""
    path = emulator.object_path(BUCKET, "o")
    emulator.fault("PutObject", "reset")
    with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
        emulator.call("PUT", path, b"one")
    assert emulator.names(BUCKET) == []
    emulator.fault("PutObject", "lost-response")
    with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
        emulator.call("PUT", path, b"two")
    assert emulator.get(BUCKET, "o").body == b"two"


def test_outage(emulator: Emulator) -> None:
    """During an outage open connections are reset and new ones refused; then all is as before, on the same port."""
    emulator.put(BUCKET, "o", b"data")
    path = emulator.object_path(BUCKET, "o")
    with contextlib.closing(emulator.connect()) as kept:
        kept.request("GET", path, headers=emulator.signed_headers("GET", path))
        assert kept.getresponse().read() == b"data"
        emulator.fault("*", "outage", seconds=0.5)
        with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
            emulator.get(BUCKET, "o")
        kept.request("GET", path, headers=emulator.signed_headers("GET", path))
        with pytest.raises(ConnectionError):
            kept.getresponse()
    with pytest.raises(ConnectionRefusedError):
        emulator.get(BUCKET, "o")
    assert [fault["consumed"] for fault in emulator.faults()] == [1]
    assert emulator.get(BUCKET, "o").body == b"data"


@pytest.mark.parametrize("effect", ["hold", "hold-before"])
def test_hold(emulator: Emulator, effect: str) -> None:
    """A held reply waits until released; with `hold` the effect is there before, with `hold-before` after."""
    emulator.fault("PutObject", effect)
    writer = threading.Thread(target=emulator.put, args=(BUCKET, "o", b"data"))
    writer.start()
    held = awaited("the held call", lambda: [each for each in emulator.faults() if each["holding"]])
    assert emulator.names(BUCKET) == (["o"] if effect == "hold" else [])
    assert writer.is_alive()
    emulator.control("POST", "release", {"id": held[0]["id"]})
    writer.join(10)
    assert not writer.is_alive()
    assert emulator.names(BUCKET) == ["o"]


def test_fault_by_object_name(emulator: Emulator) -> None:
    """A fault for one object hits it wherever the call carries the name: in the path or in its JSON."""
    base = f"/n/{emulator.namespace}/b/{BUCKET}"
    emulator.fault("CreateMultipartUpload", "error", objectName="b", status=503, code="ServiceUnavailable")
    statuses = [emulator.call("POST", f"{base}/u", {"object": name}).status for name in ("a", "b", "b")]
    assert statuses == [200, 503, 200]


def test_lost_response_of_a_refusal(emulator: Emulator) -> None:
    """The reply is lost also when it would have been a refusal."""
    emulator.fault("GetObject", "lost-response")
    with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
        emulator.get(BUCKET, "none")
    assert emulator.get(BUCKET, "none").json["code"] == "ObjectNotFound"


def test_held_call_outlives_its_client(emulator: Emulator) -> None:
    """A call held before its effect takes effect after the release although its client is gone (kill test)."""
    emulator.put(BUCKET, "o", b"data")
    emulator.fault("DeleteObject", "hold-before")
    path = emulator.object_path(BUCKET, "o")
    connection = emulator.connect()
    connection.request("DELETE", path, headers=emulator.signed_headers("DELETE", path))
    awaited("the held call", lambda: [each for each in emulator.faults() if each["holding"]])
    connection.close()
    emulator.control("POST", "release", {"all": True})
    awaited("the delete", lambda: emulator.names(BUCKET) == [])


def test_deleted_while_read(emulator: Emulator) -> None:
    """An object deleted in the middle of a GET is still read to its end; then its file goes."""
    data = noise(300_000)
    emulator.put(BUCKET, "o", data)
    emulator.fault("GetObject", "stall", afterBytes=1000)
    path = emulator.object_path(BUCKET, "o")
    connection = emulator.connect()
    connection.request("GET", path, headers=emulator.signed_headers("GET", path))
    reply = connection.getresponse()
    awaited("the stalled call", lambda: [each for each in emulator.faults() if each["holding"]])
    assert emulator.call("DELETE", path).status == 204
    emulator.control("POST", "release", {"all": True})
    assert reply.read() == data
    connection.close()
    awaited("the file gone", lambda: not body_files(emulator))


def test_stall(emulator: Emulator) -> None:
    """A stalled body stops after the bytes asked for and goes on when released."""
    data = noise(50_000)
    emulator.put(BUCKET, "o", data)
    emulator.fault("GetObject", "stall", afterBytes=1000)
    path = emulator.object_path(BUCKET, "o")
    connection = emulator.connect()
    connection.request("GET", path, headers=emulator.signed_headers("GET", path))
    reply = connection.getresponse()
    assert reply.read(1000) == data[:1000]
    awaited("the stalled call", lambda: [each for each in emulator.faults() if each["holding"]])
    emulator.control("POST", "release", {"all": True})
    assert reply.read() == data[1000:]
    connection.close()


def test_log(emulator: Emulator) -> None:
    """The log names each request in order with operation, status, range and the bytes that really went out."""
    emulator.put(BUCKET, "o", noise(10_000))
    emulator.get(BUCKET, "o", {"range": "bytes=0-99"})
    emulator.fault("GetObject", "cut-body", afterBytes=10)
    with pytest.raises(http.client.IncompleteRead):
        emulator.get(BUCKET, "o")
    emulator.get(BUCKET, "none")
    entries = awaited("four entries", lambda: len(emulator.log()) == 4 and emulator.log())
    assert [(e["operation"], e["status"], e["range"]) for e in entries] == [
        ("PutObject", 200, None),
        ("GetObject", 206, "bytes=0-99"),
        ("GetObject", 200, None),
        ("GetObject", 404, None),
    ]
    assert [e["bytes"] for e in entries[1:3]] == [100, 10]
    assert emulator.log(after=entries[2]["id"]) == entries[3:]


def test_sigterm_ends_it(emulator: Emulator) -> None:
    """SIGTERM ends the process with status 0 although a client holds its connection open."""
    connection = emulator.connect()
    connection.request("GET", "/n", headers=emulator.signed_headers("GET", "/n"))
    connection.getresponse().read()
    assert emulator.stop(signal.SIGTERM) == 0
    connection.close()
