"""A create whose reply never arrived: the run finds what it made, makes nothing twice, and leaves nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from emulator import Emulator
from hyperexport import Hyperexport, end_stragglers

Start = Callable[..., Emulator]


@pytest.fixture(autouse=True)
def nothing_runs_on() -> Iterator[None]:
    """What a failed test started is ended."""
    yield
    end_stragglers()


def left(cloud: Emulator) -> dict[str, int]:
    """How many of each kind the emulator still has."""
    return {kind: len(found) for kind, found in cloud.control("GET", "leftovers").items() if found}


@pytest.mark.parametrize("operation", ["CreateImage", "ExportImage", "RenameObject", "CreatePreauthenticatedRequest"])
def test_an_export_finds_what_it_made_without_hearing_of_it(
    start_emulator: Start, tmp_path: Path, operation: str
) -> None:
    """Whichever create lost its reply: one image, which is kept to be counted, one object, no link, no upload."""
    user = {"federated": True} if operation == "CreatePreauthenticatedRequest" else {}
    cloud = start_emulator(user=user, assume={"lock-minutes": 0}, disk_size=4 << 20)
    cloud.fault(operation, "lost-response")
    ended = Hyperexport(cloud, tmp_path).export("web-01", "--to", "oci://testns/exports/out/", "--keep-image")
    assert ended.code == 0, ended.err
    assert left(cloud) == {"images": 1}
    assert [name for name in cloud.names("exports") if name.endswith(".qcow2")] == ["out/web-01.qcow2"]


def test_a_copy_finds_the_upload_that_it_began_without_hearing_of_it(start_emulator: Start, tmp_path: Path) -> None:
    """The upload whose reply was lost is the one that is filled and committed; none stays open beside it."""
    cloud = start_emulator(instances=())
    (tmp_path / "disk.raw").write_bytes(bytes(range(256)) * 4096 * 3)
    cloud.fault("CreateMultipartUpload", "lost-response")
    ended = Hyperexport(cloud, tmp_path).run("cp", "disk.raw", "oci://testns/exports/d.raw", "--part-size", "1M")
    assert ended.code == 0, ended.err
    assert len(cloud.log(operation="CreateMultipartUpload")) == 1
    assert cloud.get("exports", "d.raw").body == (tmp_path / "disk.raw").read_bytes()
    assert left(cloud) == {}


@pytest.mark.parametrize(
    ("operation", "kinds"),
    [
        ("CreateImage", {"image"}),
        ("ExportImage", {"image", "object", "upload"}),
        ("CreatePreauthenticatedRequest", {"image", "link"}),
    ],
)
def test_gc_finds_what_a_dead_run_never_heard_of(
    start_emulator: Start, tmp_path: Path, operation: str, kinds: set[str]
) -> None:
    """Killed before the reply arrives: the mark on the thing leads to the run, and cancelling takes it away."""
    user: dict[str, Any] = {"federated": True} if operation == "CreatePreauthenticatedRequest" else {}
    cloud = start_emulator(user=user, assume={"lock-minutes": 0}, disk_size=4 << 20)
    hyper = Hyperexport(cloud, tmp_path)
    cloud.fault(operation, "hold")
    running = hyper.start("export", "web-01", "-o", "disk.qcow2", "-bn", "exports")
    while not any(fault["holding"] for fault in cloud.faults()):
        assert not running.ended(), running.wait().err
    running.kill()
    cloud.control("POST", "release", {"all": True})
    listed = hyper.run("gc", "--json").json["leftovers"]
    assert {one["kind"] for one in listed} == kinds
    assert {one["standing"] for one in listed} == {"resumable"}
    assert hyper.run("runs", "cancel", listed[0]["run_id"]).code == 0
    assert left(cloud) == {}
    assert hyper.run("gc", "--json").json["leftovers"] == []
