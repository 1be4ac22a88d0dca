"""The pieces of the bench that decide what is compared: the link's arithmetic, the stub's checksums, the verdicts."""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[2] / "bench"))  # last: there is an emulator.py in it, too

import transfer_report
from link import Line
from transfer_stub import BUCKET_PATH, MIB, Stub

from hypersdk.transfer.checksums import crc32c

BODY = bytes(range(256)) * 12_000  # 2.9 MiB
BLOCKS = [crc32c(BODY[at : at + MIB]) for at in range(0, len(BODY), MIB)]


def _crc(data: bytes) -> str:
    return base64.b64encode(crc32c(data).to_bytes(4)).decode()


def _stub() -> Stub:
    return Stub([{"name": "disk", "size": len(BODY), "etag": "e", "md5": "", "blocks": BLOCKS}])


def test_all_connections_share_the_rate_of_the_link() -> None:
    """Bytes that come at once leave one after the other, and a pause is not saved up."""
    line = Line(rate=1000.0)
    assert [line.passes(0.0, 500, "up"), line.passes(0.0, 500, "up")] == [0.5, 1.0]
    assert line.passes(0.0, 500, "down") == 0.5
    assert line.passes(10.0, 100, "up") == pytest.approx(10.1)


def test_the_same_bytes_are_unlucky_for_everybody() -> None:
    """With one seed a connection is cut at the same places, about once in 1,000 MiB."""
    falls = [[line.unlucky(64 << 10) for _ in range(16 * 20_000)] for line in (Line(7), Line(7))]
    assert falls[0] == falls[1]
    assert 10 <= sum(falls[0]) <= 30


def test_a_part_is_answered_with_the_checksum_of_its_bytes() -> None:
    """The stub knows what an upload is made of: parts and the committed object have their true CRC32C, in any order."""
    stub = _stub()
    begun = stub.answer("POST", f"{BUCKET_PATH}/u", {}, b'{"object": "up1-disk"}').body["uploadId"]
    for number in (2, 1, 3):
        part = BODY[(number - 1) * MIB : number * MIB]
        target = f"{BUCKET_PATH}/u/up1-disk?uploadId={begun}&uploadPartNum={number}"
        reply = stub.answer("PUT", target, {"opc-checksum-algorithm": "CRC32C", "x-length": str(len(part))}, b"")
        assert reply.headers["opc-content-crc32c"] == _crc(part)
    done = stub.answer("POST", f"{BUCKET_PATH}/u/up1-disk?uploadId={begun}", {}, b"")
    assert done.headers["opc-content-crc32c"] == _crc(BODY)
    assert stub.answer("HEAD", f"{BUCKET_PATH}/o/up1-disk", {}, b"").size == len(BODY)


def test_lists_go_on_where_a_page_ends() -> None:
    """A page that is full names the object that the next one starts with."""
    stub = _stub()
    for name in ("a", "b", "c"):
        stub.answer("PUT", f"{BUCKET_PATH}/o/x%2F{name}", {"x-length": "5"}, b"")
    page = stub.answer("GET", f"{BUCKET_PATH}/o?prefix=x%2F&limit=2", {}, b"").body
    assert ([each["name"] for each in page["objects"]], page["nextStartWith"]) == (["x/a", "x/b"], "x/c")
    rest = stub.answer("GET", f"{BUCKET_PATH}/o?prefix=x%2F&start=x%2Fc", {}, b"").body
    assert [each["name"] for each in rest["objects"]] == ["x/c"]


def _entry(name: str, cpu: float, wall: float) -> dict[str, Any]:
    return {"name": name, "runs": [{"cpu": cpu, "wall": wall, "rss": 50.0, "allocated": 0}], "failure": ""}


@pytest.mark.parametrize(("mine", "verdict"), [(0.9, "| 0.90 | met |"), (1.1, "| 1.10 | not met |")])
def test_a_target_is_met_or_not(mine: float, verdict: str) -> None:
    """Ours over theirs is what is compared with the limit; who failed is named."""
    entries = [_entry(transfer_report.OURS, mine, 1.0), _entry("rclone, best", 1.0, 2.0)]
    entries.append({"name": "OCI CLI", "runs": [], "failure": "status 1"})
    row = {"when": "2026-11-25 10:00", "load": 0.1, "seconds": 1.0, "entries": entries}
    text = transfer_report.report({"a": row}, 5)
    assert f"| CPU against rclone, best | <= 1.0 {verdict}" in text
    assert "Failed: OCI CLI." in text
