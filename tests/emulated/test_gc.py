"""What exports and cut uploads leave behind: found, told whose it is, deleted only where it may be."""

from __future__ import annotations

import json
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from emulator import Emulator, compartment_id, make_seed
from hyperexport import Ended, Hyperexport

import hypersdk.cli

SCHEMA = json.loads((Path(hypersdk.cli.__file__).parent / "schemas" / "leftovers.schema.json").read_text())
DELETES = ("DeleteImage", "DeleteObject", "AbortMultipartUpload")
VMS = [f"vm-{n:02}" for n in range(40)]
MONTH_AGO = datetime.now(UTC) - timedelta(days=30)


def old(value: dict[str, Any]) -> None:
    """A cloud whose clock is a month behind: what is made in it is a month old."""
    value["clock"] = MONTH_AGO.isoformat(timespec="seconds").replace("+00:00", "Z")


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One emulator for this file, with an instance for each test; its clock is a month behind."""
    folder = tmp_path_factory.mktemp("cloud")
    seed = make_seed(
        folder / "seed", instances=VMS, disk_size=4 << 20, assume={"lock-minutes": 0}, change=old, buckets=("exports",)
    )
    emulator = Emulator(seed, folder / "state").start()
    yield emulator
    emulator.stop()


@pytest.fixture
def hyper(cloud: Emulator, tmp_path: Path) -> Iterator[Hyperexport]:
    """The command, on a cloud that is emptied afterwards."""
    yield Hyperexport(cloud, tmp_path)
    sweep(cloud)


@pytest.fixture
def vm(request: pytest.FixtureRequest) -> str:
    """An instance of this test's own."""
    tests = [item.name for item in request.session.items if item.fspath == request.node.fspath]
    return VMS[tests.index(request.node.name) % len(VMS)]


def sweep(cloud: Emulator) -> None:
    """Take everything away by hand, so that the next test begins with nothing."""
    cloud.control("DELETE", "faults")
    left = cloud.control("GET", "leftovers")
    for image in left["images"]:
        cloud.call("DELETE", f"/20160918/images/{image['id']}")
    for link in left["preauthenticatedRequests"]:
        cloud.call("DELETE", f"/n/testns/b/{link['bucket']}/p/{link['id']}")
    for upload in left["multipartUploads"]:
        path = cloud.object_path(upload["bucket"], upload["object"]).replace("/o/", "/u/")
        cloud.call("DELETE", f"{path}?uploadId={upload['id']}")
    for name in cloud.names("exports"):
        cloud.call("DELETE", cloud.object_path("exports", name))


def left(cloud: Emulator) -> dict[str, int]:
    """How many of each kind the emulator still has."""
    return {kind: len(found) for kind, found in cloud.control("GET", "leftovers").items() if found}


def leave(cloud: Emulator, hyper: Hyperexport, vm: str, *arguments: str) -> str:
    """A finished export that could delete nothing; answers its run."""
    for operation in DELETES:
        # The first upload is preflight's proof that the bucket can be written.
        skip = {"skip": 1} if operation == "AbortMultipartUpload" else {}
        cloud.fault(operation, "error", status=403, code="NotAllowed", times="any", **skip)
    ended = hyper.export(vm, "-o", f"{vm}.qcow2", *arguments)
    cloud.control("DELETE", "faults")
    assert ended.code == 0, ended.err
    return str(ended.json["export"]["run_id"])


def gc(hyper: Hyperexport, *arguments: str, code: int = 0) -> Any:
    """`gc --json`, its document checked."""
    ended = hyper.run("gc", *arguments, "--json")
    assert ended.code == code, ended.err
    jsonschema.validate(ended.json, SCHEMA, format_checker=jsonschema.FormatChecker())
    return ended.json


def kinds(document: Any, **wanted: Any) -> list[str]:
    """Kinds of the leftovers that have these values."""
    rows = [one for one in document["leftovers"] if all(one[key] == value for key, value in wanted.items())]
    return sorted(one["kind"] for one in rows)


def test_what_a_finished_run_could_not_delete_is_listed_then_deleted(
    cloud: Emulator, hyper: Hyperexport, vm: str
) -> None:
    """`gc` lists image, object and upload with run, host, age and size and deletes nothing; `gc --yes` does."""
    run_id = leave(cloud, hyper, vm)
    before = left(cloud)
    assert before.keys() == {"images", "objects", "multipartUploads"}
    listed = gc(hyper)
    assert left(cloud) == before
    assert kinds(listed, run_id=run_id, standing="removable", chosen=True, deleted=False) == ["image", "object", "upload"]
    assert all(one["host"] and one["created"] and one["size"] is not None for one in listed["leftovers"])
    swept = gc(hyper, "--yes")
    assert kinds(swept, deleted=True) == ["image", "object", "upload"]
    assert left(cloud) == {}
    again = hyper.run("gc")
    assert (again.code, again.out) == (0, "")
    assert "nothing is left in 1 compartment and 1 bucket of us-ashburn-1" in again.err
    assert "stays in the tenancy" not in hyper.run("runs", "show", run_id).out
