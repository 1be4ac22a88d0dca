"""What exports and cut uploads leave behind: found, told whose it is, deleted only where it may be."""

from __future__ import annotations

import json
import os
import pty
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from emulator import Emulator, compartment_id, make_seed
from hyperexport import INSTALLED, Ended, Hyperexport, Running, end_stragglers
from postgres import Postgres

import hypersdk.cli
from hypersdk.transfer.journal import encode, records

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
    cloud.control("DELETE", "faults")
    end_stragglers()
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
    assert "hyperexport gc tries that again" in ended.err
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
    assert kinds(listed, run_id=run_id, standing="removable", chosen=True, deleted=False) == [
        "image",
        "object",
        "upload",
    ]
    assert all(one["host"] and one["created"] and one["size"] is not None for one in listed["leftovers"])
    swept = gc(hyper, "--yes")
    assert kinds(swept, deleted=True) == ["image", "object", "upload"]
    assert left(cloud) == {}
    again = hyper.run("gc")
    assert (again.code, again.out) == (0, "")
    assert "nothing is left in 1 compartment and 1 bucket of us-ashburn-1" in again.err
    assert "stays in the tenancy" not in hyper.run("runs", "show", run_id).out


# ---------------------------------------------------------------- whose it is


def elsewhere(cloud: Emulator, tmp_path: Path, name: str = "elsewhere") -> Hyperexport:
    """The command with another home and another run store: another machine."""
    folder = tmp_path / name
    folder.mkdir()
    return Hyperexport(cloud, folder)


def age_ledger(hyper: Hyperexport) -> None:
    """Make everything in the ledger an hour older."""
    ago = (datetime.now(UTC) - timedelta(hours=1)).isoformat(timespec="milliseconds")
    with sqlite3.connect(hyper.environ["HYPEREXPORT_STATE"]) as store:
        store.execute("UPDATE intents SET created = ?", (ago,))
    store.close()


def make_image(cloud: Emulator, vm: str, name: str, **tags: str) -> str:
    """A custom image made by hand; answers its OCID."""
    details = {
        "compartmentId": cloud.seed.compartment,
        "instanceId": cloud.seed.instance(vm)["id"],
        "displayName": name,
        "freeformTags": {key.replace("_", "-"): value for key, value in tags.items()},
    }
    reply = cloud.call("POST", "/20160918/images", details)
    assert reply.status == 200, reply
    return str(reply.json["id"])


def make_link(cloud: Emulator, name: str, object_name: str) -> str:
    """A pre-authenticated request made by hand; answers its id."""
    expires = (MONTH_AGO + timedelta(days=1)).isoformat(timespec="seconds").replace("+00:00", "Z")
    details = {"name": name, "objectName": object_name, "accessType": "ObjectWrite", "timeExpires": expires}
    reply = cloud.call("POST", "/n/testns/b/exports/p/", details)
    assert reply.status == 200, reply
    return str(reply.json["id"])


def make_upload(cloud: Emulator, name: str, *parts: bytes) -> str:
    """An unfinished upload made by hand; answers its id."""
    upload = str(cloud.call("POST", "/n/testns/b/exports/u", {"object": name}).json["uploadId"])
    add_parts(cloud, name, upload, *parts)
    return upload


def add_parts(cloud: Emulator, name: str, upload: str, *parts: bytes, first: int = 1) -> None:
    path = cloud.object_path("exports", name).replace("/o/", "/u/")
    for number, part in enumerate(parts, first):
        reply = cloud.call("PUT", f"{path}?uploadId={upload}&uploadPartNum={number}", part)
        assert reply.status == 200, reply


def images(cloud: Emulator) -> set[str]:
    return {one["id"] for one in cloud.control("GET", "leftovers")["images"]}


def test_look_alikes_survive(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """What users named or tagged like ours stays, whatever is asked for; only the run's own things go."""
    run_id = leave(cloud, hyper, vm)
    foreign = "aaaaaaaaaaaa"
    mine = [
        ".hypersdk/notes.txt",
        ".hypersdk/readme/export-image.qcow2",
        f".hypersdk/{foreign}/holiday.jpg",
        f".hypersdk/{foreign.upper()}/export-image.qcow2",
        f".hypersdk/{foreign}/export-image.qcow2.txt",
        f".hypersdk/{foreign}/sub/export-image.qcow2",
        f"hypersdk/{foreign}/export-image.qcow2",
        f"backup-of/.hypersdk/{run_id}/export-image.qcow2",
    ]
    for name in mine:
        cloud.put("exports", name, b"mine")
    kept = {
        make_image(cloud, vm, "golden"),
        make_image(cloud, vm, "odd", hypersdk_run="yes"),
        make_image(cloud, vm, "upper", hypersdk_run=foreign.upper()),
        make_image(cloud, vm, "copied-tags", hypersdk_run=run_id, hypersdk_host="here"),
    }
    links = [
        make_link(cloud, "hypersdk-share", "holiday.jpg"),
        make_link(cloud, f"hypersdk-{run_id}-export-image", "holiday.jpg"),
        make_link(cloud, f"hypersdk-{foreign}-export-image", f".hypersdk/{run_id}/export-image.qcow2"),
    ]
    listed = gc(hyper)
    assert kinds(listed, standing="removable") == ["image", "object", "upload"]
    assert kinds(listed, standing="unclear") == ["image", "object"]
    assert kinds(listed, standing="foreign") == []
    gc(hyper, "--yes", "--foreign", "--uploads", "--older-than", "1d")
    assert sorted(cloud.names("exports")) == sorted(mine)
    assert images(cloud) == kept
    assert {one["id"] for one in cloud.control("GET", "leftovers")["preauthenticatedRequests"]} == set(links)


def test_another_stores_leftovers_are_listed_and_need_more_than_a_yes(
    cloud: Emulator, hyper: Hyperexport, tmp_path: Path, vm: str
) -> None:
    """Foreign finds show run, host and age; --yes alone spares them, and so does --foreign for younger ones. (C085)"""
    other = elsewhere(cloud, tmp_path)
    run_id = leave(cloud, other, vm)
    before = left(cloud)
    listed = gc(hyper, "--bucket", "exports", "--yes")
    assert kinds(listed, run_id=run_id, standing="foreign", chosen=False) == ["image", "object", "upload"]
    assert {one["host"] for one in listed["leftovers"] if one["kind"] == "image"} != {None}
    assert left(cloud) == before
    gc(hyper, "--bucket", "exports", "--foreign", "--older-than", "60d", "--yes")
    assert left(cloud) == before
    chosen = gc(hyper, "--bucket", "exports", "--foreign")
    assert kinds(chosen, chosen=True, deleted=False) == ["image", "object", "upload"]
    assert left(cloud) == before
    assert kinds(gc(hyper, "--bucket", "exports", "--foreign", "--yes"), deleted=True) == ["image", "object", "upload"]
    assert left(cloud) == {}
    # Its own store learns that there is nothing any more, once no list can lag behind.
    assert gc(other, "--yes")["leftovers"] == []
    assert "stays in the tenancy" in other.run("runs", "show", run_id).out
    age_ledger(other)
    assert gc(other, "--yes")["leftovers"] == []
    assert "stays in the tenancy" not in other.run("runs", "show", run_id).out


def test_without_any_place_every_compartment_and_its_buckets_are_searched(
    cloud: Emulator, hyper: Hyperexport, tmp_path: Path, vm: str
) -> None:
    """A machine without runs, that is told nothing, looks everywhere rather than nowhere."""
    leave(cloud, elsewhere(cloud, tmp_path), vm)
    listed = gc(hyper)
    assert (listed["compartments"], listed["buckets"]) == (2, 1)
    assert kinds(listed, standing="foreign") == ["image", "object", "upload"]


def test_what_somebody_kept_on_purpose_is_nobodys_leftover(
    cloud: Emulator, hyper: Hyperexport, tmp_path: Path, vm: str
) -> None:
    """Image and object of --keep-image stay for their own store and for every other one, and are named."""
    other = elsewhere(cloud, tmp_path)
    ended = other.export(vm, "-o", "disk.qcow2", "--keep-image")
    assert ended.code == 0, ended.err
    before = left(cloud)
    for command in (other, hyper):
        swept = gc(command, "--bucket", "exports", "--yes", "--foreign")
        assert kinds(swept, standing="kept", chosen=False) == ["image", "object"]
        assert any("images delete" in line for one in swept["leftovers"] for line in one["commands"])
    assert left(cloud) == before


def test_keep_on_failure_is_kept(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """What a failed export was told to keep is not swept behind its user's back; `runs cancel` ends it."""
    cloud.fault("ExportImage", "export-all-zero")
    ended = hyper.export(vm, "-o", "disk.qcow2", "--keep-on-failure")
    assert ended.code == 7, ended.err
    swept = gc(hyper, "--yes")
    assert kinds(swept, standing="kept") == ["image", "object"]
    assert "images" in left(cloud)
    (run,) = json.loads(hyper.run("runs", "list", "--json").out)["runs"]
    assert hyper.run("runs", "cancel", run["run_id"]).code == 0
    assert left(cloud) == {}


# ---------------------------------------------------------------- what is not over


def held(cloud: Emulator, running: Running) -> None:
    """Wait until the emulator holds a reply."""
    while not any(fault["holding"] for fault in cloud.faults()):
        assert not running.ended(), running.wait().err


def test_a_run_that_runs_or_was_interrupted_is_left_alone(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """A driven run is shown as running, an interrupted one with its commands; --yes takes nothing from either."""
    cloud.fault("GetObject", "hold")
    running = hyper.start("export", vm, "-o", "disk.qcow2", "-bn", "exports")
    held(cloud, running)
    before = left(cloud)
    assert kinds(gc(hyper, "--yes", "--foreign"), standing="running", chosen=False) == ["image", "object", "upload"]
    running.signal(signal.SIGINT)
    cloud.control("POST", "release", {"all": True})
    assert running.wait().code == 130
    listed = gc(hyper, "--yes", "--foreign")
    assert kinds(listed, standing="resumable", chosen=False) == ["image", "object", "upload"]
    assert left(cloud) == before
    run_id = listed["leftovers"][0]["run_id"]
    commands = {line for one in listed["leftovers"] for line in one["commands"]}
    assert commands == {f"hyperexport runs retry {run_id}", f"hyperexport runs cancel {run_id}"}
    assert hyper.export(vm, "-o", "disk.qcow2").code == 0
    assert left(cloud) == {}


def wait_for_hold(cloud: Emulator, fault: dict[str, Any], running: Running) -> None:
    """Wait until the emulator holds a reply because of this fault."""
    while not any(one["holding"] for one in cloud.faults() if one["id"] == fault["id"]):
        assert not running.ended(), running.wait().err


def end_by_hand(hyper: Hyperexport, state: str) -> None:
    """Write another state into the store, as if the run had ended so."""
    with sqlite3.connect(hyper.environ["HYPEREXPORT_STATE"]) as store:
        store.execute("UPDATE runs SET state = ?, cancel = 0", (state,))
    store.close()


def test_nothing_goes_while_the_image_is_being_exported(
    cloud: Emulator, hyper: Hyperexport, tmp_path: Path, vm: str
) -> None:
    """An EXPORTING image, and all that its export may be writing, is spared in our own store and in any other."""
    cloud.fault("ExportImage", "work-request-stuck")
    running = hyper.start("export", vm, "-o", "disk.qcow2", "-bn", "exports")
    while "await-object" not in running.err:
        assert not running.ended(), running.err
        time.sleep(0.01)
    running.kill()
    end_by_hand(hyper, "failed")
    before = left(cloud)
    for command in (hyper, elsewhere(cloud, tmp_path)):
        swept = gc(command, "--bucket", "exports", "--yes", "--foreign")
        assert "image" in kinds(swept, standing="busy", state="EXPORTING")
        assert kinds(swept, chosen=True) == []
    assert left(cloud) == before
    cloud.control("DELETE", "faults")
    deadline = time.monotonic() + 20
    while any(one["lifecycleState"] == "EXPORTING" for one in cloud.control("GET", "leftovers")["images"]):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    gc(hyper, "--yes")
    assert left(cloud) == {}


def test_half_done_downloads_of_ended_runs_go_too(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """A partial file with its journal is found beside the destination and deleted; another object's is not."""
    cloud.fault("GetObject", "hold", skip=1)
    running = hyper.start("export", vm, "-o", "disk.qcow2", "-bn", "exports", "--part-size", "1M")
    held(cloud, running)
    running.kill()
    cloud.control("POST", "release", {"all": True})
    assert len(list(hyper.folder.glob(".hx-*"))) == 2
    end_by_hand(hyper, "failed")
    (found,) = [one for one in gc(hyper)["leftovers"] if one["kind"] == "partial"]
    assert (found["region"], found["standing"], found["chosen"]) == (None, "removable", True)
    assert found["size"] > 0
    for partial in hyper.folder.glob(".hx-*"):
        partial.rename(hyper.folder / partial.name.replace(".hx-", "away-"))
    assert "partial" not in kinds(gc(hyper))
    for partial in hyper.folder.glob("away-*"):
        partial.rename(hyper.folder / partial.name.replace("away-", ".hx-"))
    gc(hyper, "--yes")
    assert list(hyper.folder.glob(".hx-*")) == []
    assert left(cloud) == {}


# ---------------------------------------------------------------- cut uploads of `cp`

TARGET = "oci://testns/exports/disk.raw"


def cut_copy(cloud: Emulator, hyper: Hyperexport, how: int) -> Ended:
    """A copy that ends in the middle."""
    source = hyper.folder / "disk.raw"
    if not source.exists():
        source.write_bytes(bytes(range(256)) * 4096 * 12)
    cloud.fault("UploadPart", "hold", skip=2, times=1)
    running = hyper.start("cp", source.name, TARGET, "--part-size", "1M", "--parallel", "1")
    held(cloud, running)
    running.signal(how)
    cloud.control("POST", "release", {"all": True})
    return running.wait()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_cut_copy_is_found_here_and_on_another_machine(
    cloud: Emulator, hyper: Hyperexport, tmp_path: Path, how: int
) -> None:
    """Ctrl-C and kill -9 in the middle of `cp`: offered for resume here, listed elsewhere, gone after it. (C085)"""
    assert cut_copy(cloud, hyper, how).code in (130, -signal.SIGKILL)
    other = elsewhere(cloud, tmp_path)
    (foreign,) = gc(other, "--bucket", "exports", "--dry-run")["leftovers"]
    assert (foreign["kind"], foreign["standing"], foreign["run_id"]) == ("upload", "foreign", None)
    assert foreign["size"] >= 2 << 20
    for arguments in ((), ("--yes",), ("--yes", "--foreign", "--older-than", "1d")):
        (ours,) = gc(hyper, *arguments)["leftovers"]
        assert (ours["standing"], ours["chosen"], ours["id"]) == ("resumable", False, foreign["id"])
    command = ours["commands"][0].split()
    assert command == ["hyperexport", "cp", str(hyper.folder / "disk.raw"), TARGET]
    done = hyper.run(*command[1:], "--part-size", "1M")
    assert done.code == 0, done.err
    assert gc(hyper)["leftovers"] == []
    assert cloud.get("exports", "disk.raw").body == (hyper.folder / "disk.raw").read_bytes()


def test_a_cut_copy_is_dropped_when_asked(cloud: Emulator, hyper: Hyperexport) -> None:
    """--uploads aborts what `cp` could go on with, with its journal; the same copy then begins anew and is right."""
    cut_copy(cloud, hyper, signal.SIGKILL)
    journals = Path(hyper.environ["HYPEREXPORT_STATE"] + ".uploads")
    assert len(list(journals.iterdir())) == 1
    assert kinds(gc(hyper, "--uploads", "--yes"), deleted=True) == ["upload"]
    assert (left(cloud), list(journals.iterdir())) == ({}, [])
    assert hyper.run("cp", "disk.raw", TARGET, "--part-size", "1M").code == 0


def test_a_copy_under_way_is_never_cut(cloud: Emulator, hyper: Hyperexport, tmp_path: Path) -> None:
    """An upload that a process works with here, or whose parts grow while somebody else looks, is left alone."""
    (hyper.folder / "disk.raw").write_bytes(bytes(range(256)) * 4096 * 6)
    third = cloud.fault("UploadPart", "hold-before", partNumber=3)
    fifth = cloud.fault("UploadPart", "hold-before", partNumber=5)
    copying = hyper.start("cp", "disk.raw", TARGET, "--part-size", "1M", "--parallel", "1")
    wait_for_hold(cloud, third, copying)
    (ours,) = gc(hyper, "--uploads", "--yes")["leftovers"]
    assert (ours["standing"], ours["chosen"]) == ("running", False)
    seen = cloud.fault("ListMultipartUploadParts", "hold")
    sweeping = elsewhere(cloud, tmp_path).start("gc", "--bucket", "exports", "--foreign", "--yes", "--json")
    wait_for_hold(cloud, seen, sweeping)
    cloud.remote.release(third["id"])
    wait_for_hold(cloud, fifth, copying)
    cloud.remote.release(seen["id"])
    swept = sweeping.wait()
    assert swept.code == 3
    assert [(one["code"], one["deleted"]) for one in swept.json["leftovers"]] == [("state-conflict", False)]
    cloud.remote.release(fifth["id"])
    done = copying.wait()
    assert (done.code, "begun anew" in done.err) == (0, False)
    assert cloud.get("exports", "disk.raw").body == (hyper.folder / "disk.raw").read_bytes()


def test_a_journal_without_its_upload_is_swept(cloud: Emulator, hyper: Hyperexport) -> None:
    """When somebody else has aborted the upload, only a file in the state directory is left, and goes in time."""
    cut_copy(cloud, hyper, signal.SIGKILL)
    sweep(cloud)
    assert kinds(gc(hyper, "--yes"), standing="unclear") == ["journal"]
    (journal,) = Path(hyper.environ["HYPEREXPORT_STATE"] + ".uploads").iterdir()
    head, *rest = records(journal.read_bytes())
    journal.write_bytes(b"".join(map(encode, ({**head, "began": head["began"] - 3600}, *rest))))
    assert kinds(gc(hyper, "--yes"), standing="removable", deleted=True) == ["journal"]
    assert gc(hyper)["leftovers"] == []


def test_a_journal_of_a_bucket_that_cannot_be_seen_stays(cloud: Emulator, hyper: Hyperexport) -> None:
    """Whether its upload costs money cannot be told from here, so the journal is kept and says so."""
    cut_copy(cloud, hyper, signal.SIGKILL)
    cloud.fault("GetBucket", "error", status=404, code="BucketNotFound", times="any")
    listed = gc(hyper, "-c", cloud.seed.compartment, "--yes", "--uploads")
    cloud.control("DELETE", "faults")
    assert kinds(listed, standing="unclear", chosen=False) == ["journal"]


# ---------------------------------------------------------------- what goes wrong


def test_one_that_cannot_be_deleted_stops_no_other(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """The image is refused: the rest goes, exit 3 with the reason, and the next sweep finishes."""
    run_id = leave(cloud, hyper, vm)
    cloud.fault("DeleteImage", "error", status=409, code="IncorrectState")
    swept = gc(hyper, "--yes", code=3)
    assert kinds(swept, deleted=True) == ["object", "upload"]
    (failed,) = [one for one in swept["leftovers"] if one["error"]]
    assert (failed["kind"], failed["code"]) == ("image", "state-conflict")
    assert "stays in the tenancy: image" in hyper.run("runs", "show", run_id).out
    assert kinds(gc(hyper, "--yes"), deleted=True) == ["image"]


@pytest.mark.parametrize(
    ("fault", "place"),
    [
        ({"operation": "ListImages"}, "compartment ocid1.compartment.oc1..aaaamain"),
        ({"operation": "ListObjects"}, "bucket testns/exports"),
        ({"operation": "ListMultipartUploads"}, "bucket testns/exports"),
    ],
)
def test_what_cannot_be_read_is_named_and_nothing_is_called_clean(
    cloud: Emulator, hyper: Hyperexport, vm: str, fault: dict[str, str], place: str
) -> None:
    """A refused list is exit 3 and its place; the ledger stays open for what was not looked for."""
    run_id = leave(cloud, hyper, vm)
    cloud.fault(**fault, effect="error", status=404, code="NotAuthorizedOrNotFound", times="any")
    swept = gc(hyper, "--yes", code=3)
    assert swept["complete"] is False
    assert [one["place"] for one in swept["unread"]] == [place]
    ended = hyper.run("gc")
    assert ended.code == 3
    assert f"not read: {place}" in ended.err
    assert "not proven" in ended.err.splitlines()[-1]
    assert "nothing is left" not in ended.err
    assert "stays in the tenancy" in hyper.run("runs", "show", run_id).out
    cloud.control("DELETE", "faults")
    assert gc(hyper, "--yes")["complete"] is True
    assert left(cloud) == {}


def test_links_must_be_listed_only_where_a_run_has_one(
    cloud: Emulator, hyper: Hyperexport, start_emulator: Callable[..., Emulator], tmp_path: Path, vm: str
) -> None:
    """Who makes no links needs no right to see them, and is told; with one in the ledger the bucket is not read."""
    refusal = {"effect": "error", "status": 404, "code": "BucketNotFound", "times": "any"}
    assert hyper.export(vm, "-o", "disk.qcow2").code == 0
    cloud.fault("ListPreauthenticatedRequests", **refusal)
    listed = gc(hyper)
    assert (listed["complete"], "links of bucket exports" in listed["absent"][0]) == (True, True)
    linking = start_emulator(user={"federated": True}, assume={"lock-minutes": 0}, disk_size=4 << 20)
    command = elsewhere(linking, tmp_path)
    linking.fault("DeletePreauthenticatedRequest", "error", status=403, code="NotAllowed", times="any")
    assert command.export("web-01", "-o", "disk.qcow2").code != 0
    linking.control("DELETE", "faults")
    assert "link" in kinds(gc(command))
    linking.fault("ListPreauthenticatedRequests", **refusal)
    assert [one["place"] for one in gc(command, code=3)["unread"]] == ["bucket testns/exports"]


def test_no_place_at_all_could_be_read(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """When nothing can be read the exit code is that of the reason, not success."""
    leave(cloud, hyper, vm)
    for operation in ("ListImages", "GetImage", "GetBucket"):
        cloud.fault(operation, "error", status=403, code="NotAuthorized", times="any")
    assert gc(hyper, "--yes", code=4)["leftovers"] == []


def test_a_bucket_that_only_an_ended_run_used_may_be_gone(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """A bucket deleted since a clean run is told and not counted as unread: or no sweep would ever be complete."""
    compartment = cloud.seed.compartment
    assert cloud.call("POST", "/n/testns/b", {"name": "passing", "compartmentId": compartment}).status == 200
    assert hyper.run("export", vm, "-o", "disk.qcow2", "-bn", "passing").code == 0
    assert cloud.call("DELETE", "/n/testns/b/passing").status == 204
    listed = gc(hyper)
    assert listed["complete"] is True
    assert [one.split(" is ")[0] for one in listed["absent"]] == ["bucket testns/passing"]


def test_a_thing_that_changed_since_it_was_listed_stays(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """An object replaced between the list and the delete is another object: its etag no longer fits."""
    run_id = leave(cloud, hyper, vm)
    cloud.fault("AbortMultipartUpload", "hold-before")
    sweeping = hyper.start("gc", "--yes", "--json")
    held(cloud, sweeping)
    cloud.put("exports", f".hypersdk/{run_id}/export-image.qcow2", b"another")
    cloud.control("POST", "release", {"all": True})
    ended = sweeping.wait()
    assert ended.code == 3
    assert "precondition-failed" in {one["code"] for one in ended.json["leftovers"]}
    assert cloud.get("exports", f".hypersdk/{run_id}/export-image.qcow2").body == b"another"


def test_two_sweeps_at_once_end_well(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """The second one finds the run in use, or everything gone; nothing is deleted twice or left over."""
    leave(cloud, hyper, vm)
    cloud.fault("DeleteObject", "hold-before")
    first = hyper.start("gc", "--yes", "--json")
    held(cloud, first)
    second = gc(hyper, "--yes")
    assert kinds(second, deleted=True) == []
    assert set(kinds(second, standing="running")) == {"image", "object"}
    cloud.control("POST", "release", {"all": True})
    assert first.wait().code == 0
    assert left(cloud) == {}


def test_ctrl_c_says_what_is_gone(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """Interrupted in the middle, the sweep reports what it deleted, exits 130, and the next one does the rest."""
    leave(cloud, hyper, vm)
    cloud.fault("AbortMultipartUpload", "hold")
    sweeping = hyper.start("gc", "--yes")
    held(cloud, sweeping)
    sweeping.signal(signal.SIGINT)
    cloud.control("POST", "release", {"all": True})
    ended = sweeping.wait()
    assert ended.code == 130, ended.err
    assert "deleted upload" in ended.out
    assert "deleted: 1 thing" in ended.err
    gc(hyper, "--yes")
    assert left(cloud) == {}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--yes", "--dry-run"], ["exclude each other"]),
        (["--older-than", "soon"], ["--older-than", "not a duration", "2h"]),
        (["--foreign", "--older-than", "2h"], ["at least 1d"]),
        (["--bucket", "oci://testns/exports/prefix"], ["not a bucket", "oci://namespace/bucket"]),
        (["--bucket", "s3://bucket"], ["unknown kind of address"]),
    ],
)
def test_a_slip_is_told_before_anything_is_looked_at(
    hyper: Hyperexport, arguments: list[str], words: list[str]
) -> None:
    """Each slip has one line that says what was expected, and exit 2."""
    ended = hyper.run("gc", *arguments)
    assert (ended.code, ended.out) == (2, "")
    for word in words:
        assert word in ended.err


def test_for_people_it_is_a_table_with_totals_and_what_to_do(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """Kind, name, run, host, age and size in rows; totals, and what --yes would do, on stderr."""
    run_id = leave(cloud, hyper, vm)
    ended = hyper.run("gc")
    head, *rows = ended.out.splitlines()
    assert head.split() == ["KIND", "NAME", "RUN", "HOST", "AGE", "SIZE", "STANDING"]
    assert len(rows) == 3
    for row in rows:
        assert run_id in row
        assert "30 d" in row or "29 d" in row
    assert "of ended runs: 3 things" in ended.err
    assert "would go with --yes: 3 things" in ended.err.splitlines()[-1]


def change_plan(hyper: Hyperexport, **values: Any) -> None:
    """Change the stored plan of every run."""
    with sqlite3.connect(hyper.environ["HYPEREXPORT_STATE"]) as store:
        for run_id, plan in store.execute("SELECT run_id, plan FROM runs").fetchall():
            changed = json.dumps({**json.loads(plan), **values})
            store.execute("UPDATE runs SET plan = ? WHERE run_id = ?", (changed, run_id))
    store.close()


def test_a_run_of_another_tenancy_is_not_proven_clean_from_here(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """What it recorded cannot be looked for with these credentials: exit 3, and the way to do it."""
    run_id = leave(cloud, hyper, vm)
    before = left(cloud)
    change_plan(hyper, tenancy_id="ocid1.tenancy.oc1..aaaaother")
    swept = gc(hyper, "--yes", code=3)
    assert [one["place"] for one in swept["unread"]] == [f"run {run_id}"]
    assert "--profile" in swept["unread"][0]["why"]
    assert left(cloud) == before


def test_a_run_of_an_unknown_version_is_left_to_that_version(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """What its plan owns cannot be told, so nothing with its mark is deleted, whatever is asked for."""
    leave(cloud, hyper, vm)
    before = left(cloud)
    change_plan(hyper, version=999)
    swept = gc(hyper, "--yes", "--foreign", "--all-compartments", code=3)
    assert [(one["place"].split()[0], one["code"]) for one in swept["unread"]] == [("run", "unknown-plan")]
    assert kinds(swept, standing="unclear", chosen=False) == ["image", "object", "upload"]
    assert left(cloud) == before


# ---------------------------------------------------------------- wide places


def test_a_versioned_bucket_keeps_no_hidden_version(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """Versions below a mark of deletion are found and deleted one by one, the mark too."""
    run_id = leave(cloud, hyper, vm)
    name = f".hypersdk/{run_id}/export-image.qcow2"
    assert cloud.call("POST", "/n/testns/b/exports", {"versioning": "Enabled"}).status == 200
    cloud.put("exports", name, b"newer")
    assert cloud.call("DELETE", cloud.object_path("exports", name)).status == 204
    assert name not in cloud.names("exports")
    swept = gc(hyper, "--yes")
    assert kinds(swept, deleted=True) == ["image", "object", "object", "object", "upload"]
    assert cloud.call("GET", "/n/testns/b/exports/objectversions").json["items"] == []
    cloud.call("POST", "/n/testns/b/exports", {"versioning": "Suspended"})


def test_runs_of_another_region_are_looked_for_there(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """The regions of the runs are visited without being named, and one thing is found once."""
    run_id = leave(cloud, hyper, vm, "--region", "eu-frankfurt-1")
    swept = gc(hyper, "--yes")
    assert swept["regions"] == ["us-ashburn-1", "eu-frankfurt-1"]
    assert kinds(swept, run_id=run_id, deleted=True) == ["image", "object", "upload"]
    assert left(cloud) == {}


def test_leftovers_on_page_three_of_many_compartments_are_found(
    start_emulator: Callable[..., Emulator], tmp_path: Path
) -> None:
    """120 compartments, 2,000 images, pages of a hundred: what is left is found wherever it is. (C032)"""
    names = [f"c{number:03}" for number in range(120)]
    disk = tmp_path / "emulator-0" / "seed" / "image.raw"
    disk.parent.mkdir(parents=True)
    disk.write_bytes(bytes(512))

    def fill(value: dict[str, Any]) -> None:
        value["images"] += [
            {
                "id": f"ocid1.image.oc1.iad.aaaa{number:04}",
                "compartmentId": compartment_id("c000" if number < 400 else names[number % 120]),
                "displayName": f"image-{number:04}",
                "operatingSystem": "Linux",
                "operatingSystemVersion": "9",
                "file": str(disk),
                "format": "raw",
            }
            for number in range(2000)
        ]
        value["objects"] = [
            {"bucket": "exports", "name": f"{'p' if number % 2 else '.hypersdk/'}{number:04}", "text": "x"}
            for number in range(800)
        ]
        value["objects"].append(
            {"bucket": "exports", "name": "p/.hypersdk/aaaaaaaaaaaa/export-image.vmdk", "text": "x"}
        )

    cloud = start_emulator(compartments=names, instances=(), change=fill)
    for number in (0, 250, 399, 1999):
        tags = {"freeformTags": {"hypersdk-run": f"{number:012x}"}}
        assert cloud.call("PUT", f"/20160918/images/ocid1.image.oc1.iad.aaaa{number:04}", tags).status == 200
    cloud.fault("ListImages", "small-pages", limit=100, times="any")
    cloud.fault("ListObjects", "small-pages", limit=100, times="any")
    cloud.fault("ListCompartments", "small-pages", limit=50, times="any")
    (tmp_path / "home").mkdir()
    listed = gc(Hyperexport(cloud, tmp_path / "home"), "--all-compartments")
    assert (listed["compartments"], listed["buckets"]) == (121, 1)
    assert [one["name"] for one in listed["leftovers"] if one["kind"] == "image"] == [
        "image-0000",
        "image-0250",
        "image-0399",
        "image-1999",
    ]
    assert [one["run_id"] for one in listed["leftovers"] if one["kind"] == "object"] == ["aaaaaaaaaaaa"]


# ---------------------------------------------------------------- many machines, bad days, terminals


def test_machines_on_one_database_sweep_for_each_other(
    cloud: Emulator, hyper: Hyperexport, tmp_path: Path, vm: str, postgres: Postgres
) -> None:
    """With the run store in Postgres the runs of every machine are its own, whichever of them sweeps."""
    other = elsewhere(cloud, tmp_path)
    hyper.environ["HYPEREXPORT_STATE"] = other.environ["HYPEREXPORT_STATE"] = postgres.database()
    run_id = leave(cloud, other, vm)
    swept = gc(hyper, "--yes")
    assert kinds(swept, run_id=run_id, standing="removable", deleted=True) == ["image", "object", "upload"]
    assert left(cloud) == {}
    assert "stays in the tenancy" not in other.run("runs", "show", run_id).out


def test_a_bad_day_costs_time_and_no_thing(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """With every third call throttled or failed the sweep is complete, and deletes each thing once."""
    leave(cloud, hyper, vm)
    for number, status in enumerate((429, 503)):
        cloud.fault("*", "error", status=status, code="Busy", times="any", probability=0.15, seed=number)
    hyper.environ["HYPEREXPORT_RETRY_MAX_ATTEMPTS"] = "20"
    swept = gc(hyper, "--yes")
    cloud.control("DELETE", "faults")
    assert (swept["complete"], kinds(swept, deleted=True)) == (True, ["image", "object", "upload"])
    assert left(cloud) == {}


def test_a_sweep_that_is_killed_is_finished_by_the_next_one(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """Kill -9 between two deletes: what is gone is gone, the rest is found again, and the ledger agrees."""
    run_id = leave(cloud, hyper, vm)
    cloud.fault("DeleteObject", "hold")
    sweeping = hyper.start("gc", "--yes")
    held(cloud, sweeping)
    sweeping.kill()
    cloud.control("POST", "release", {"all": True})
    age_ledger(hyper)
    assert kinds(gc(hyper, "--yes"), deleted=True) == ["image"]
    assert left(cloud) == {}
    assert "stays in the tenancy" not in hyper.run("runs", "show", run_id).out


def at_a_terminal(hyper: Hyperexport, answer: bytes, *arguments: str) -> tuple[int, str]:
    """Run the command at a pseudo terminal, and answer its question; its exit code and all that it showed."""
    line = [INSTALLED, *arguments, "--config-file", str(hyper.config_file), "--endpoint", hyper.emulator.endpoint]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        line, stdin=theirs, stdout=theirs, stderr=theirs, cwd=hyper.folder, env={**hyper.environ, "TERM": "dumb"}
    )
    os.close(theirs)
    seen = b""
    with suppress(OSError):  # EIO: the other side is closed
        while piece := os.read(ours, 4096):
            seen += piece
            if seen.endswith(b"[y/N]: "):
                os.write(ours, answer)
    os.close(ours)
    return process.wait(30), seen.decode()


def test_on_a_terminal_it_asks(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """No means that nothing is deleted and nothing failed, --dry-run does not ask, yes deletes."""
    leave(cloud, hyper, vm)
    before = left(cloud)
    code, shown = at_a_terminal(hyper, b"n\n", "gc")
    assert (code, left(cloud)) == (0, before)
    assert "delete 3 things" in shown
    code, shown = at_a_terminal(hyper, b"y\n", "gc", "--dry-run")
    assert (code, left(cloud)) == (0, before)
    assert "[y/N]" not in shown
    code, shown = at_a_terminal(hyper, b"y\n", "gc")
    assert (code, left(cloud)) == (0, {})
    assert "nothing is left" in shown.splitlines()[-1]
