"""Every effect of a fault over a plain socket: what a client really meets, and that the next call is as ever."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import json
import socket
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from emulator import Emulator, Reply, compartment_id, instance_id, make_seed

BUCKET = "exports"
DATA = hashlib.shake_256(b"fault").digest(50_000)
RANGE = {"range": "bytes=100-199"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One emulator for this file."""
    folder: Path = tmp_path_factory.mktemp("effects")
    states = ("web-01", "web-02", "web-03")
    seed = make_seed(folder / "seed", instances=states, disks=1, disk_size=1 << 20, assume={"lock-minutes": 0})
    emulator = Emulator(seed, folder / "state").start()
    yield emulator
    emulator.stop()


@pytest.fixture
def emulator(running: Emulator) -> Iterator[Emulator]:
    """The emulator with one object `o`; every fault must have hit at the end."""
    running.put(BUCKET, "o", DATA)
    yield running
    left = running.unconsumed()
    running.control("DELETE", "faults")
    for name in running.names(BUCKET):
        running.call("DELETE", running.object_path(BUCKET, name))
    assert not left, f"faults never consumed: {left}"


def raw(emulator: Emulator, method: str, path: str, headers: dict[str, str] | None = None) -> bytes:
    """Everything that comes on a connection until its end, as it comes."""
    signed = emulator.signed_headers(method, path, None, headers)
    head = "".join(f"{name}: {value}\r\n" for name, value in signed.items())
    host, _, port = emulator.host.partition(":")
    with socket.create_connection((host, int(port)), 10) as connection:
        connection.sendall(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode())
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def split(reply: bytes) -> tuple[dict[str, str], bytes]:
    """Headers and body of a raw reply."""
    head, _, body = reply.partition(b"\r\n\r\n")
    lines = [line.partition(": ") for line in head.decode().splitlines()[1:]]
    return {name.lower(): value for name, _, value in lines}, body


@pytest.mark.parametrize(
    ("effect", "fields", "announced", "sent"),
    [
        ("cut-body", {"afterBytes": 1000}, "50000", DATA[:1000]),
        ("short-body", {"afterBytes": 1000}, "1000", DATA[:1000]),
        ("wrong-length", {"by": 5}, "50005", DATA),
        ("wrong-length", {"by": -5}, "49995", DATA),
        ("no-length", {}, None, DATA),
    ],
)
def test_lengths_and_bodies_disagree_as_declared(
    emulator: Emulator, effect: str, fields: dict[str, Any], announced: str | None, sent: bytes
) -> None:
    """The Content-Length is what the fault says, and so are the bytes behind it."""
    emulator.fault("GetObject", effect, **fields)
    headers, body = split(raw(emulator, "GET", emulator.object_path(BUCKET, "o")))
    assert (headers.get("content-length"), body) == (announced, sent)
    assert emulator.get(BUCKET, "o").body == DATA


def test_a_reset_in_the_middle_of_a_body(emulator: Emulator) -> None:
    """After the declared bytes the connection is reset, not closed."""
    emulator.fault("GetObject", "reset", afterBytes=1000)
    with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
        emulator.get(BUCKET, "o")


def test_gzip_is_a_good_encoding_of_the_body(emulator: Emulator) -> None:
    """The reply says gzip, and what was gzipped is right."""
    emulator.fault("GetObject", "gzip")
    reply = emulator.get(BUCKET, "o")
    assert reply.headers["content-encoding"] == "gzip"
    assert gzip.decompress(reply.body) == DATA


@pytest.mark.parametrize(
    ("effect", "status", "content_range", "body"),
    [
        ("whole-body", 200, None, DATA),
        ("shifted-range", 206, "bytes 101-200/50000", DATA[101:201]),
        ("short-range", 206, "bytes 100-149/50000", DATA[100:150]),
        ("other-total", 206, "bytes 100-199/50001", DATA[100:200]),
        ("no-content-range", 206, None, DATA[100:200]),
    ],
)
def test_ranges_are_answered_as_declared(
    emulator: Emulator, effect: str, status: int, content_range: str | None, body: bytes
) -> None:
    """Status, Content-Range and bytes of a ranged read are those of the fault; a read without a range is spared."""
    emulator.fault("GetObject", effect)
    assert emulator.get(BUCKET, "o").body == DATA
    reply = emulator.get(BUCKET, "o", RANGE)
    assert (reply.status, reply.headers.get("content-range"), reply.body) == (status, content_range, body)


def test_an_older_etag(emulator: Emulator) -> None:
    """HEAD and GET carry another etag than the object has, or the declared one."""
    etag = emulator.get(BUCKET, "o").headers["etag"]
    emulator.fault("HeadObject", "stale-etag")
    assert emulator.call("HEAD", emulator.object_path(BUCKET, "o")).headers["etag"] not in ("", etag)
    emulator.fault("GetObject", "stale-etag", etag="older")
    assert emulator.get(BUCKET, "o").headers["etag"] == "older"


@pytest.mark.parametrize(
    ("effect", "fields", "status", "header"),
    [
        ("redirect", {"to": "http://127.0.0.2:1/"}, 307, ("location", "http://127.0.0.2:1/n/testns/b/exports/o/o")),
        ("redirect", {"to": "https://h", "status": 302}, 302, ("location", "https://h/n/testns/b/exports/o/o")),
        ("not-modified", {}, 304, ("content-length", None)),
        ("html", {"status": 407, "headers": {"proxy-authenticate": "Basic"}}, 407, ("proxy-authenticate", "Basic")),
        ("html", {"status": 503}, 503, ("content-type", "text/html; charset=utf-8")),
        ("error", {"status": 429, "code": "T", "headers": {"connection": "close"}}, 429, ("connection", "close")),
    ],
)
def test_other_answers(
    emulator: Emulator, effect: str, fields: dict[str, Any], status: int, header: tuple[str, str | None]
) -> None:
    """The declared status and header come, and nothing of the object."""
    emulator.fault("GetObject", effect, **fields)
    reply = emulator.get(BUCKET, "o")
    assert (reply.status, reply.headers.get(header[0])) == (status, header[1])


def test_a_dripping_body_takes_its_time_and_is_whole(emulator: Emulator) -> None:
    """50,000 bytes at 200,000 a second need a quarter of a second."""
    emulator.fault("GetObject", "drip", bytesPerSecond=200_000)
    began = time.monotonic()
    assert emulator.get(BUCKET, "o").body == DATA
    assert time.monotonic() - began > 0.2


# ---------------------------------------------------------------- uploads


def put(emulator: Emulator, data: bytes, **headers: str) -> Reply:
    return emulator.call("PUT", emulator.object_path(BUCKET, "new"), data, headers)


def test_an_upload_is_refused_while_its_body_is_still_coming(emulator: Emulator) -> None:
    """The 400 comes although only a part of the body was sent; nothing is stored."""
    emulator.fault("PutObject", "early-refusal", afterBytes=10)
    path = emulator.object_path(BUCKET, "new")
    connection = emulator.connect()
    connection.putrequest("PUT", path, skip_host=True, skip_accept_encoding=True)
    for name, value in (emulator.signed_headers("PUT", path) | {"content-length": "1000000"}).items():
        connection.putheader(name, value)
    connection.endheaders(b"x" * 1000)
    reply = connection.getresponse()
    assert (reply.status, json.loads(reply.read())["code"]) == (400, "InvalidParameter")
    connection.close()
    assert emulator.names(BUCKET) == ["o"]


def test_an_upload_is_cut(emulator: Emulator) -> None:
    """The connection is reset in the middle of the body; nothing is stored."""
    emulator.fault("PutObject", "cut-request", afterBytes=100_000)
    with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
        put(emulator, bytes(10 << 20))
    assert emulator.names(BUCKET) == ["o"]


def test_an_upload_is_read_slowly_or_not_at_all(emulator: Emulator) -> None:
    """A dripping upload takes its time; one that stalls goes on when it is released."""
    emulator.fault("PutObject", "drip-request", bytesPerSecond=200_000)
    began = time.monotonic()
    assert put(emulator, DATA).status == 200
    assert time.monotonic() - began > 0.2
    fault = emulator.fault("PutObject", "stall-request", afterBytes=10)
    path = emulator.object_path(BUCKET, "new")
    connection = emulator.connect()
    connection.request("PUT", path, b"stalled" * 9, emulator.signed_headers("PUT", path))
    wait_for(lambda: emulator.control("GET", "faults")["faults"][-1]["holding"])
    emulator.control("POST", "release", {"id": fault["id"]})
    assert connection.getresponse().status == 200
    connection.close()
    assert emulator.get(BUCKET, "new").body == b"stalled" * 9


def test_a_bit_of_an_upload_is_flipped_on_the_way(emulator: Emulator) -> None:
    """A stated MD5 refuses the body; without one the reply's MD5 tells that other bytes arrived."""
    md5 = b64encode(hashlib.md5(DATA, usedforsecurity=False).digest()).decode()
    emulator.fault("PutObject", "flip-request", at=10, times=2)
    assert put(emulator, DATA, **{"content-md5": md5}).json["code"] == "UnmatchedContentMD5"
    assert put(emulator, DATA).headers["opc-content-md5"] != md5


def test_a_bit_of_an_upload_is_stored_wrong(emulator: Emulator) -> None:
    """The stated MD5 was good, what is stored is not, and the reply's MD5 is that of the stored bytes."""
    md5 = b64encode(hashlib.md5(DATA, usedforsecurity=False).digest()).decode()
    emulator.fault("PutObject", "store-flipped", at=10)
    reply = put(emulator, DATA, **{"content-md5": md5})
    stored = emulator.get(BUCKET, "new")
    assert [n for n, (a, b) in enumerate(zip(stored.body, DATA, strict=True)) if a != b] == [10]
    assert reply.headers["opc-content-md5"] == stored.headers["content-md5"] != md5


def test_the_number_of_a_part_narrows_a_fault(emulator: Emulator) -> None:
    """Only the declared part is refused."""
    base = f"/n/{emulator.namespace}/b/{BUCKET}/u"
    upload = emulator.call("POST", base, {"object": "parts"}).json["uploadId"]
    emulator.fault("UploadPart", "error", status=503, code="ServiceUnavailable", partNumber=2)
    answers = [
        emulator.call("PUT", f"{base}/parts?uploadId={upload}&uploadPartNum={number}", b"x").status
        for number in (1, 2, 3)
    ]
    assert answers == [200, 503, 200]
    emulator.call("DELETE", f"{base}/parts?uploadId={upload}")


def test_an_offset_narrows_a_fault(emulator: Emulator) -> None:
    """Only the read whose range has the byte is hit."""
    emulator.fault("GetObject", "error", status=503, code="ServiceUnavailable", offset=150)
    ranges = ("bytes=0-99", "bytes=200-", "bytes=100-199", "bytes=100-199")
    assert [emulator.get(BUCKET, "o", {"range": each}).status for each in ranges] == [206, 206, 503, 206]


# ---------------------------------------------------------------- lists


def listed(emulator: Emulator, query: str = "") -> dict[str, Any]:
    return emulator.call("GET", f"/n/{emulator.namespace}/b/{BUCKET}/o{query}").json


def test_an_empty_page_is_not_the_last(emulator: Emulator) -> None:
    """C031: a page of objects holds none and names the next; following it finds every object."""
    for name in ("a", "b"):
        emulator.put(BUCKET, name, b"x")
    emulator.fault("ListObjects", "empty-page")
    page = listed(emulator)
    assert page["objects"] == []
    following = listed(emulator, f"?start={page['nextStartWith']}")
    assert [each["name"] for each in following["objects"]] == ["a", "b", "o"]


def test_an_empty_page_of_the_core_services(emulator: Emulator) -> None:
    """C031: instances come on the page behind one that holds none, twice in a row."""
    path = f"/20160918/instances?compartmentId={compartment_id('main')}"
    emulator.fault("ListInstances", "empty-page", times=2)
    tokens = [""]
    for _ in range(2):
        page = emulator.call("GET", path + (f"&page={tokens[-1]}" if tokens[-1] else ""))
        assert page.json == []
        tokens.append(page.headers["opc-next-page"])
    assert len(set(tokens)) == 3
    assert len(emulator.call("GET", f"{path}&page={tokens[-1]}").json) == 3


def test_small_pages(emulator: Emulator) -> None:
    """C031: pages have at most the declared number of entries, whatever was asked for."""
    emulator.put(BUCKET, "p", b"x")
    emulator.fault("ListObjects", "small-pages", limit=1)
    page = listed(emulator, "?limit=1000")
    assert ([each["name"] for each in page["objects"]], page["nextStartWith"]) == (["o"], "p")


def test_a_list_that_lags_and_one_that_drops(emulator: Emulator) -> None:
    """What is newer than the lag shows when the virtual clock has moved on; dropped entries are missing once."""
    emulator.control("POST", "clock", {"advanceSeconds": 100})
    emulator.put(BUCKET, "new", b"x")
    emulator.fault("ListObjects", "list-lags", seconds=60, times=2)
    assert [each["name"] for each in listed(emulator)["objects"]] == ["o"]
    emulator.control("POST", "clock", {"advanceSeconds": 61})
    assert [each["name"] for each in listed(emulator, "?fields=name,timeModified")["objects"]] == ["new", "o"]
    emulator.fault("ListObjects", "list-drops", count=1)
    assert [[each["name"] for each in listed(emulator)["objects"]] for _ in range(2)] == [["new"], ["new", "o"]]


# ---------------------------------------------------------------- work


def image(emulator: Emulator, name: str) -> Reply:
    body = {"compartmentId": compartment_id("main"), "instanceId": instance_id(name), "displayName": "made"}
    return emulator.call("POST", "/20160918/images", body)


def state(emulator: Emulator, path: str, field: str) -> str:
    return str(emulator.call("GET", f"/20160918/{path}").json[field])


def test_work_that_never_ends_until_it_is_cleared(emulator: Emulator) -> None:
    """A stuck image stays PROVISIONING and a stuck export EXPORTING; dropping the faults ends both well."""
    emulator.fault("CreateImage", "work-request-stuck")
    made = image(emulator, "web-01")
    where, work = f"images/{made.json['id']}", f"workRequests/{made.headers['opc-work-request-id']}"
    emulator.control("POST", "clock", {"advanceSeconds": 86400})
    assert (state(emulator, where, "lifecycleState"), state(emulator, work, "status")) == (
        "PROVISIONING",
        "IN_PROGRESS",
    )
    emulator.control("DELETE", "faults")
    wait_for(lambda: state(emulator, work, "status") == "SUCCEEDED")
    assert state(emulator, where, "lifecycleState") == "AVAILABLE"

    fault = emulator.fault("ExportImage", "work-request-stuck")
    target = {"destinationType": "objectStorageTuple", "namespaceName": emulator.namespace}
    target |= {"bucketName": BUCKET, "objectName": "disk.qcow2", "exportFormat": "QCOW2"}
    export = emulator.call("POST", f"/20160918/{where}/actions/export", target)
    work = f"workRequests/{export.headers['opc-work-request-id']}"
    wait_for(lambda: emulator.control("GET", "faults")["faults"][0]["holding"])
    assert (state(emulator, where, "lifecycleState"), state(emulator, work, "status")) == ("EXPORTING", "IN_PROGRESS")
    emulator.control("POST", "release", {"id": fault["id"]})
    wait_for(lambda: state(emulator, where, "lifecycleState") == "AVAILABLE")
    assert emulator.get(BUCKET, "disk.qcow2").body[:4] == b"QFI\xfb"
    emulator.call("DELETE", f"/20160918/{where}")


def wait_for(condition: Any) -> None:
    """Wait until something is so."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_compartment_that_is_always_refused(emulator: Emulator) -> None:
    """Lists, buckets and resources of the compartment answer 404 as long as the fault is there."""
    fault = {"status": 404, "code": "NotAuthorizedOrNotFound", "compartmentId": compartment_id("main"), "times": "any"}
    emulator.fault("*", "error", **fault)
    paths = (
        f"/20160918/instances?compartmentId={compartment_id('main')}",
        f"/20160918/instances/{instance_id('web-01')}",
        f"/n/{emulator.namespace}/b/{BUCKET}/o",
    )
    assert [emulator.call("GET", path).status for path in paths] == [404, 404, 404]
    assert emulator.call("GET", f"/n/{emulator.namespace}").status == 200
    emulator.control("DELETE", "faults")
    assert [emulator.call("GET", path).status for path in paths] == [200, 200, 200]


# ---------------------------------------------------------------- what tests look at


def test_the_log_is_filtered(emulator: Emulator) -> None:
    """Each filter narrows the log, and an unknown one is refused by name."""
    last = emulator.log()[-1]["id"]
    fault = emulator.fault("GetObject", "error", status=503, code="ServiceUnavailable")
    emulator.get(BUCKET, "o")
    emulator.get(BUCKET, "o")
    emulator.call("GET", f"/n/{emulator.namespace}")

    def found(query: str) -> list[str]:
        entries = emulator.control("GET", f"log?after={last}&{query}")["requests"]
        return [f"{entry['operation']} {entry['status']}" for entry in entries]

    assert found("") == ["GetObject 503", "GetObject 200", "GetNamespaceMetadata 200"]
    assert found("operation=GetObject&status=200") == ["GetObject 200"]
    assert found("path=/o/o&method=GET") == ["GetObject 503", "GetObject 200"]
    assert found(f"fault={fault['id']}") == found("fault=any") == ["GetObject 503"]
    bearer = {"authorization": f"Bearer {emulator.token}"}
    refused = emulator.send("GET", "/_emulator/log?operations=GetObject", None, bearer)
    assert (refused.status, "operations: the log is filtered by" in refused.json["message"]) == (400, True)


def test_a_wrong_declaration_is_a_400_with_the_nearest_name(emulator: Emulator) -> None:
    """The message names what is wrong and what was perhaps meant."""
    headers = {"authorization": f"Bearer {emulator.token}", "content-type": "application/json"}
    for body, hint in (
        ({"operation": "GetObjekt", "effect": "reset"}, "'GetObject'"),
        ({"operation": "GetObject", "effect": "flip-bite", "at": 1}, "'flip-byte'"),
        ({"operation": "GetObject", "effect": "reset", "time": 2}, "'times'"),
    ):
        reply = emulator.send("POST", "/_emulator/faults", json.dumps(body).encode(), headers)
        assert (reply.status, hint in reply.json["message"]) == (400, True), reply.body
