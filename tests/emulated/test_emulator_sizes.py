"""Great numbers of everything in one emulator: right answers, in time, in less than 200 MiB; small ones in each run."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import resource
import socket
import time
import urllib.parse
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from emulator import MIB, NAMESPACE, Emulator, compartment_id

BUCKET = f"/n/{NAMESPACE}/b/exports"
FIELDS = urllib.parse.quote("name,size,etag,md5,timeCreated,timeModified,storageTier,archivalState")
MOST_MEMORY = 200.0
PIPELINED = 100


@dataclass(frozen=True)
class Scale:
    """How many of everything, and the least rates that they must reach (per second)."""

    objects: int
    size: int
    parts: int
    uploads: int
    connections: int
    instances: int
    compartments: int
    listed: float
    ready_seconds: float


SMALL = Scale(1_500, 24 * MIB, 150, 8, 100, 40, 6, 500, 30)
FULL = Scale(100_000, 4096 * MIB, 10_000, 64, 10_000, 2_000, 60, 20_000, 30)


def seed_of(scale: Scale) -> dict[str, Any]:
    """Names and numbers for make_seed, its instances spread over the compartments."""

    def spread(value: dict[str, Any]) -> None:
        for number, instance in enumerate(value["instances"]):
            instance["compartmentId"] = compartment_id(f"c{number % scale.compartments}")

    return {
        "instances": [f"web-{number}" for number in range(scale.instances)],
        "compartments": ["main", *(f"c{number}" for number in range(scale.compartments))],
        "disk_size": MIB,
        "change": spread,
    }


def memory(emulator: Emulator) -> float:
    """Peak resident memory of the emulator, MiB."""
    text = Path(f"/proc/{emulator.process.pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+)", text)[0]) / 1024


@contextlib.contextmanager
def stream(emulator: Emulator) -> Iterator[tuple[socket.socket, Any]]:
    """A connection for many calls: the socket, and a file to read replies from."""
    host, _, port = emulator.host.partition(":")
    with socket.create_connection((host, int(port)), timeout=60) as raw, raw.makefile("rb") as replies:
        yield raw, replies


def read_reply(replies: Any) -> tuple[int, dict[str, str], bytes]:
    """The next reply: status, headers, body."""
    status = int(replies.readline().split()[1])
    headers = {}
    while line := replies.readline().strip():
        name, _, value = line.decode().partition(":")
        headers[name.lower()] = value.strip()
    return status, headers, replies.read(int(headers.get("content-length", "0")))


def send_all(emulator: Emulator, requests: Iterator[bytes]) -> list[dict[str, str]]:
    """Send many requests over one connection, a batch ahead of the replies; the headers of these, all of them 200."""
    found = []
    with stream(emulator) as (raw, replies):
        waiting = 0
        for request in requests:
            raw.sendall(request)
            waiting += 1
            if waiting == PIPELINED:
                found += [_ok(replies) for _ in range(waiting)]
                waiting = 0
        found += [_ok(replies) for _ in range(waiting)]
    return found


def _ok(replies: Any) -> dict[str, str]:
    status, headers, body = read_reply(replies)
    assert status == 200, body
    return headers


def put_many(emulator: Emulator, count: int) -> None:
    """Put objects through a write link, which needs no signature for each."""
    access = {"name": "p", "accessType": "AnyObjectWrite", "timeExpires": "2100-01-01T00:00:00Z"}
    link = emulator.call("POST", f"{BUCKET}/p", access).json["accessUri"]
    line = f"HTTP/1.1\r\nhost: {emulator.host}\r\ncontent-length: 0\r\n\r\n"
    send_all(emulator, (f"PUT {link}list/{number:06} {line}".encode() for number in range(count)))


def list_all(emulator: Emulator) -> int:
    """How many objects all pages have, as they come over one connection."""
    count, start = 0, ""
    with stream(emulator) as (raw, replies):
        while True:
            path = f"{BUCKET}/o?prefix=list/&limit=1000&fields={FIELDS}" + (f"&start={start}" if start else "")
            lines = [f"{name}: {value}" for name, value in emulator.signed_headers("GET", path).items()]
            raw.sendall("\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode())
            status, _, body = read_reply(replies)
            assert status == 200
            page = json.loads(body)
            count += len(page["objects"])
            start = urllib.parse.quote(page.get("nextStartWith", ""))
            if not start:
                return count


def send_and_read_big(emulator: Emulator, size: int) -> None:
    """Put an object of this size and read it back, once whole; each MiB of it is another one."""
    path = emulator.object_path("exports", "big")
    sent, received = hashlib.sha256(), hashlib.sha256()
    block = hashlib.shake_256(b"big").digest(MIB)

    def body() -> Iterator[bytes]:
        for number in range(size // MIB):
            chunk = number.to_bytes(8, "big") + block[8:]
            sent.update(chunk)
            yield chunk

    connection = emulator.connect(600)
    headers = emulator.signed_headers("PUT", path, None, {"content-length": str(size)})
    connection.request("PUT", path, body(), headers)
    assert connection.getresponse().read() == b""
    connection.request("GET", path, headers=emulator.signed_headers("GET", path))
    reply = connection.getresponse()
    assert int(reply.headers["content-length"]) == size
    while chunk := reply.read(MIB):
        received.update(chunk)
    connection.close()
    assert received.digest() == sent.digest()


def commit_many(emulator: Emulator, count: int) -> None:
    """Commit an upload of this many parts, and read the object across some of their borders."""
    upload = emulator.call("POST", f"{BUCKET}/u", {"object": "parts"}).json["uploadId"]

    def request(number: int) -> bytes:
        path = f"{BUCKET}/u/parts?uploadId={upload}&uploadPartNum={number}"
        lines = [f"{n}: {v}" for n, v in emulator.signed_headers("PUT", path, None, {"content-length": "10"}).items()]
        return "\r\n".join([f"PUT {path} HTTP/1.1", *lines, "", f"{number:010}"]).encode()

    etags = [reply["etag"] for reply in send_all(emulator, (request(number) for number in range(1, count + 1)))]
    parts = [{"partNum": number, "etag": etag} for number, etag in enumerate(etags, 1)]
    reply = emulator.call("POST", f"{BUCKET}/u/parts?uploadId={upload}", {"partsToCommit": parts})
    assert reply.status == 200, reply
    assert reply.headers["opc-multipart-md5"].endswith(f"-{count}")
    middle = emulator.get("exports", "parts", {"range": f"bytes={count * 5 - 5}-{count * 5 + 24}"}).body
    assert middle in b"".join(b"%010d" % number for number in range(1, count + 1))
    assert len(emulator.get("exports", "parts").body) == 10 * count


def upload_at_once(emulator: Emulator, count: int) -> None:
    """Put this many objects of 8 MiB at the same time."""
    block = hashlib.shake_256(b"many").digest(8 * MIB)

    def put(number: int) -> bool:
        emulator.put("exports", f"many/{number}", number.to_bytes(8, "big") + block[8:])
        return emulator.get("exports", f"many/{number}", {"range": "bytes=0-7"}).body == number.to_bytes(8, "big")

    with ThreadPoolExecutor(count) as pool:
        assert all(pool.map(put, range(count)))


def count_instances(emulator: Emulator, scale: Scale) -> int:
    """All instances of all compartments, page by page."""
    found = 0
    for number in range(scale.compartments):
        page = ""
        while True:
            path = f"/20160918/instances?limit=10&compartmentId={compartment_id(f'c{number}')}{page}"
            reply = emulator.call("GET", path)
            found += len(reply.json)
            if "opc-next-page" not in reply.headers:
                break
            page = f"&page={urllib.parse.quote(reply.headers['opc-next-page'])}"
    return found


def hold_idle(emulator: Emulator, count: int) -> None:
    """Keep this many connections, each with one call behind it, and be served on a new one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20_000), hard))
    text = f"GET /n HTTP/1.1\r\nhost: {emulator.host}\r\n\r\n".encode()
    host, _, port = emulator.host.partition(":")
    try:
        with contextlib.ExitStack() as stack:
            for _ in range(count):
                raw = stack.enter_context(socket.create_connection((host, int(port)), timeout=60))
                raw.sendall(text)
                assert raw.recv(65536).startswith(b"HTTP/1.1 401 ")
            assert emulator.call("GET", "/n").status == 200
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("scale", [SMALL, pytest.param(FULL, marks=pytest.mark.soak)], ids=["small", "full"])
def test_great_numbers_in_little_memory(start_emulator: Callable[..., Emulator], scale: Scale) -> None:
    """Objects, bytes, parts, instances and connections in great numbers, all in one emulator of at most 200 MiB."""
    began = time.monotonic()
    emulator = start_emulator(**seed_of(scale))
    told = [("start with the seed", f"{scale.instances:,} instances", time.monotonic() - began, memory(emulator))]

    def step(what: str, count: str, work: Callable[[], Any]) -> float:
        start = time.monotonic()
        work()
        seconds = time.monotonic() - start
        told.append((what, count, seconds, memory(emulator)))
        assert memory(emulator) < MOST_MEMORY, told
        return seconds

    assert told[0][2] < scale.ready_seconds
    listed: list[int] = []
    step(
        "list instances", f"{scale.compartments} compartments", lambda: listed.append(count_instances(emulator, scale))
    )
    assert listed == [scale.instances]
    step("put objects", f"{scale.objects:,}", lambda: put_many(emulator, scale.objects))
    seconds = step("list objects", f"{scale.objects:,}", lambda: listed.append(list_all(emulator)))
    assert listed[-1] == scale.objects
    assert scale.objects / seconds >= scale.listed
    step("put and read one object", f"{scale.size // MIB:,} MiB", lambda: send_and_read_big(emulator, scale.size))
    step("upload and commit parts", f"{scale.parts:,}", lambda: commit_many(emulator, scale.parts))
    step("uploads at once", f"{scale.uploads} of 8 MiB", lambda: upload_at_once(emulator, scale.uploads))
    step("idle connections", f"{scale.connections:,}", lambda: hold_idle(emulator, scale.connections))
    print("\n| what | how many | seconds | peak RSS, MiB |\n|---|---|---|---|")
    print("\n".join(f"| {what} | {count} | {seconds:.1f} | {peak:.0f} |" for what, count, seconds, peak in told))
