"""`hyperexport ls`, `stat` and `rm` as a user meets them: the installed command against a cloud on a socket."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from emulator import Emulator

Run = Callable[..., "subprocess.CompletedProcess[str]"]

ODD = "bad\x01\x1b[31mname\x7f"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs hyperexport in an empty home."""

    def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
        environ = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
        command = [sys.executable, "-m", "hypersdk.cli", *arguments]
        given = {"capture_output": True, "stdin": subprocess.DEVNULL, **options}
        return subprocess.run(command, env=environ, cwd=tmp_path, text=True, timeout=60, check=False, **given)

    return run


def cloud(emulator: Emulator) -> tuple[str, ...]:
    """The options that choose the emulator."""
    return ("--config-file", str(emulator.config_file), "--endpoint", emulator.endpoint)


def address(emulator: Emulator, name: str = "", bucket: str = "exports") -> str:
    """The URL of an object."""
    return f"oci://{emulator.namespace}/{bucket}/{name}"


def test_ls_lists_everything_exactly(start_emulator: Callable[..., Emulator], run: Run) -> None:
    """Nothing is lost after a page of 1000; nothing found is valid JSON; odd names are escaped (C028, C031, C086)."""

    def fill(seed: dict[str, Any]) -> None:
        many = [{"bucket": "exports", "name": f"many/{number:04d}", "text": "x"} for number in range(1001)]
        seed["objects"] = [*many, {"bucket": "exports", "name": ODD, "text": "12345"}]

    emulator = start_emulator(buckets=("exports", "empty"), change=fill)
    nothing = run("ls", address(emulator, bucket="empty"), "--json", *cloud(emulator))
    assert (nothing.returncode, json.loads(nothing.stdout)) == (0, {"version": 1, "objects": []})
    listed = run("ls", "-r", address(emulator), "--json", *cloud(emulator))
    objects = json.loads(listed.stdout)["objects"]
    assert [entry["name"] for entry in objects] == [ODD, *(f"many/{number:04d}" for number in range(1001))]
    assert [(entry["size"], entry["prefix"]) for entry in objects[:2]] == [(5, False), (1, False)]
    table = run("ls", address(emulator), *cloud(emulator))
    assert table.returncode == 0
    assert [line.split()[-1] for line in table.stdout.splitlines()] == ["NAME", r"bad\x01\x1b[31mname\x7f", "many/"]


def test_ls_says_which_bucket_is_missing(emulator: Emulator, run: Run) -> None:
    """A listing that cannot be read prints nothing on stdout and exits 5."""
    ended = run("ls", address(emulator, bucket="no-such-bucket"), "--json", *cloud(emulator))
    assert (ended.returncode, ended.stdout) == (5, "")
    assert "no-such-bucket" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_stat_shows_an_object_and_a_bucket(emulator: Emulator, run: Run) -> None:
    """Size, etag, checksum and metadata of an object; tier and retention of a bucket; 5 when absent."""
    emulator.put("exports", "disk.qcow2", b"123456789", {"opc-meta-hypersdk-run": "r1"})
    shown = json.loads(run("stat", address(emulator, "disk.qcow2"), "--json", *cloud(emulator)).stdout)["object"]
    assert (shown["size"], shown["metadata"]) == (9, {"hypersdk-run": "r1"})
    assert shown["checksums"]["md5"] == "25f9e794323b453885f5181f1b624d0b"
    bucket = run("stat", f"oci://exports@{emulator.namespace}", *cloud(emulator)).stdout
    facts = {name: value.strip() for name, value in (line.split(":", 1) for line in bucket.splitlines())}
    assert (facts["storage tier"], facts["retention"]) == ("Standard", "no")
    absent = run("stat", address(emulator, ODD), *cloud(emulator))
    assert (absent.returncode, absent.stdout) == (5, "")
    assert r"bad\x01" in absent.stderr


def test_rm_deletes_what_was_meant(emulator: Emulator, run: Run) -> None:
    """Without a terminal only --yes deletes; -r takes the name and what is under it, and no neighbour."""
    for name in ("web", "web/1", "web/2", "web-02/1"):
        emulator.put("exports", name, b"x")
    asked = run("rm", "-r", address(emulator, "web"), *cloud(emulator))
    assert asked.returncode == 2
    assert "delete 3 objects, 3 B" in asked.stderr
    assert len(emulator.names("exports")) == 4
    done = run("rm", "-r", "--yes", address(emulator, "web"), *cloud(emulator))
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 3
    assert emulator.names("exports") == ["web-02/1"]
    assert run("rm", "--yes", address(emulator, "web"), *cloud(emulator)).returncode == 5
    assert run("rm", "--yes", "-r", address(emulator, "web"), *cloud(emulator)).returncode == 5
    assert emulator.names("exports") == ["web-02/1"]


def test_rm_reports_every_item(emulator: Emulator, run: Run) -> None:
    """An object that could not be deleted is named, the others go, and the exit code is 3."""
    for name in ("a/1", "a/2", "a/3"):
        emulator.put("exports", name, b"x")
    emulator.fault("DeleteObject", "error", status=400, code="InvalidParameter", message="no", skip=1)
    ended = run("rm", "-r", "--yes", "--json", address(emulator, "a"), *cloud(emulator))
    assert ended.returncode == 3
    outcome = json.loads(ended.stdout)
    assert outcome["deleted"] == [address(emulator, "a/1"), address(emulator, "a/3")]
    assert [item["url"] for item in outcome["failed"]] == [address(emulator, "a/2")]
    assert emulator.names("exports") == ["a/2"]


@pytest.mark.parametrize(("answer", "status", "left"), [("n", 130, ["kept"]), ("y", 0, [])])
def test_rm_asks_on_a_terminal(emulator: Emulator, run: Run, answer: str, status: int, left: list[str]) -> None:
    """Somebody at a terminal is asked, and only a yes deletes."""
    emulator.put("exports", "kept", b"x")
    ours, theirs = pty.openpty()
    os.write(ours, f"{answer}\n".encode())
    try:
        ended = run(
            "rm",
            address(emulator, "kept"),
            *cloud(emulator),
            capture_output=False,
            stdin=theirs,
            stderr=theirs,
            stdout=subprocess.DEVNULL,
        )
    finally:
        os.close(theirs)
        os.close(ours)
    assert ended.returncode == status
    assert emulator.names("exports") == left


def test_local_paths_need_no_cloud(run: Run, tmp_path: Path) -> None:
    """ls, stat and rm of local files work without any credentials."""
    disks = tmp_path / "disks"
    disks.mkdir()
    (disks / "a\nb.raw").write_bytes(b"123")
    (disks / "web").mkdir()
    (disks / "web" / "1").write_bytes(b"")
    listed = run("ls", "-r", str(disks), "--json")
    assert [(each["name"], each["size"]) for each in json.loads(listed.stdout)["objects"]] == [
        ("disks/a\nb.raw", 3),
        ("disks/web/1", 0),
    ]
    assert json.loads(run("stat", str(disks / "a\nb.raw"), "--json").stdout)["object"]["size"] == 3
    assert run("rm", "--yes", str(disks / "a\nb.raw")).returncode == 0
    assert [entry.name for entry in disks.iterdir()] == ["web"]


def test_addresses_that_cannot_work_are_usage_errors(run: Run) -> None:
    """Half an address exits 2, in one line."""
    ended = run("ls", "oci://bucket-only")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "oci://namespace/bucket/name" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
