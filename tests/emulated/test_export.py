"""The main job against the emulator, as a user sees it: results, refusals, endings."""

import json
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from emulator import USER, Emulator, instance_id, make_seed, private_key, private_pem, public_pem
from hyperexport import Ended, Hyperexport, Running

from hypersdk.exports import imaging, landing
from hypersdk.exports.result import manifest_schema
from hypersdk_emulator.assumptions import Assumptions

STOPPED = [f"vm-{n:02}" for n in range(40)]
IMAGE_LOCK_OFF = {"lock-minutes": 0}


def special(value: dict[str, Any]) -> None:
    """A few instances and buckets that are refused or need care."""
    value["buckets"] += [
        {"name": "archive", "compartmentId": value["compartments"][0]["id"], "storageTier": "Archive"},
        {"name": "retained", "compartmentId": value["compartments"][0]["id"], "retention": 1},
    ]
    by_name = {one["displayName"]: one for one in value["instances"]}
    by_name["huge"]["bootVolume"]["sizeInGBs"] = 401
    by_name["with-data"]["volumeAttachments"] = [
        {"volumeId": "ocid1.volume.oc1.iad.aaaadata", "displayName": "db-data", "sizeInGBs": 100}
    ]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One emulator for this file, with an instance for each test."""
    folder = tmp_path_factory.mktemp("cloud")
    states = dict.fromkeys(STOPPED, "STOPPED") | {
        "running": "RUNNING",
        "dead": "TERMINATED",
        "starting": "STARTING",
        "huge": "STOPPED",
        "with-data": "STOPPED",
    }
    seed = make_seed(folder / "seed", instances=states, assume=IMAGE_LOCK_OFF, change=special)
    emulator = Emulator(seed, folder / "state").start()
    yield emulator
    emulator.stop()


@pytest.fixture
def hyper(cloud: Emulator, tmp_path: Path) -> Iterator[Hyperexport]:
    """The command; at the end no fault may be left and nothing in the tenancy."""
    yield Hyperexport(cloud, tmp_path)
    left = cloud.unconsumed()
    cloud.control("DELETE", "faults")
    assert not left, f"faults never consumed: {left}"


@pytest.fixture
def vm(request: pytest.FixtureRequest) -> str:
    """An instance of this test's own."""
    tests = [item.name for item in request.session.items if item.fspath == request.node.fspath]
    return STOPPED[tests.index(request.node.name) % len(STOPPED)]


def clean(emulator: Emulator) -> bool:
    return not any(emulator.control("GET", "leftovers").values())


def same_bytes(emulator: Emulator, name: str, disk: Path, disk_format: str) -> bool:
    raw = emulator.seed.disk(name)
    command = ["qemu-img", "compare", "-q", "-f", disk_format, "-F", "raw", str(disk), str(raw)]
    return subprocess.run(command, check=False).returncode == 0


def creations(emulator: Emulator, mark: int) -> list[str]:
    return [each["operation"] for each in emulator.log(mark) if each["operation"] in {"CreateImage", "ExportImage"}]


def mark(emulator: Emulator) -> int:
    log = emulator.log()
    return int(log[-1]["id"]) if log else 0


def explained(ended: Ended, code: int, *words: str) -> None:
    """It ended with this code, said why on one line, and printed no result."""
    assert ended.code == code, ended.err
    line = next(each for each in ended.err.splitlines() if each.startswith("hyperexport: "))
    for word in words:
        assert word in line, line
    assert ended.out == ""


# ---------------------------------------------------------------- results


def test_a_stopped_instance_becomes_a_proven_file(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """The disk has the guest's bytes, a manifest by its schema, and nothing temporary is left."""
    ended = hyper.export(vm, "-o", "disk.qcow2")
    assert ended.code == 0, ended.err
    disk = hyper.folder / "disk.qcow2"
    assert same_bytes(cloud, vm, disk, "qcow2")
    assert clean(cloud)
    manifest = json.loads((hyper.folder / "disk.qcow2.manifest.json").read_text())
    jsonschema.validate(manifest, manifest_schema())
    assert manifest["source"]["id"] == instance_id(vm)
    assert manifest["disk"]["size"] == disk.stat().st_size == ended.json["export"]["disks"][0]["size"]
    assert not list(hyper.folder.glob(".hx-*"))


def test_the_same_command_again_does_nothing(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """A finished export whose file still is what was proven answers at once and creates nothing."""
    assert hyper.export(vm, "-o", "disk.qcow2").code == 0
    before = mark(cloud)
    again = hyper.export(vm, "-o", "disk.qcow2")
    assert (again.code, again.json["export"]["already_exported"]) == (0, True)
    assert creations(cloud, before) == []


def test_overwrite_exports_again_and_a_changed_file_is_never_taken_for_ours(
    cloud: Emulator, hyper: Hyperexport, vm: str
) -> None:
    """A file that was touched since is refused; --overwrite replaces it with a new export."""
    disk = hyper.folder / "disk.qcow2"
    assert hyper.export(vm, "-o", "disk.qcow2").code == 0
    with disk.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"!")
    explained(hyper.export(vm, "-o", "disk.qcow2"), 6, "disk.qcow2 exists", "--overwrite")
    assert disk.read_bytes().endswith(b"!")
    assert hyper.export(vm, "-o", "disk.qcow2", "--overwrite").code == 0
    assert same_bytes(cloud, vm, disk, "qcow2")


@pytest.mark.parametrize("disk_format", ["vmdk", "vhd", "vdi"])
def test_other_formats_hold_the_same_guest(cloud: Emulator, hyper: Hyperexport, vm: str, disk_format: str) -> None:
    """VMDK, VHD and VDI come out as OCI's exporter writes them, with the guest's bytes."""
    ended = hyper.export(vm, "-o", "out-{format}", "--format", disk_format)
    assert ended.code == 0, ended.err
    qemu_name = {"vhd": "vpc"}.get(disk_format, disk_format)
    assert same_bytes(cloud, vm, hyper.folder / f"out-{disk_format}", qemu_name)


def test_several_formats_come_from_one_image(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """One image is made and exported once per format."""
    before = mark(cloud)
    ended = hyper.export(vm, "-o", "./", "--format", "qcow2", "--format", "oci")
    assert ended.code == 0, ended.err
    assert creations(cloud, before) == ["CreateImage", "ExportImage", "ExportImage"]
    assert {Path(disk["path"]).name for disk in ended.json["export"]["disks"]} == {f"{vm}.qcow2", f"{vm}.oci"}
    assert clean(cloud)


def test_a_running_instance_goes_down_only_when_allowed_and_comes_back(cloud: Emulator, hyper: Hyperexport) -> None:
    """Refused without --allow-shutdown; with it file and object are there, and the instance runs again."""
    explained(hyper.export("running", "-o", "."), 6, "running is running", "--allow-shutdown")
    to = f"oci://{cloud.namespace}/exports/backups"
    ended = hyper.export("running", "-o", "./", "--to", to, "--allow-shutdown")
    assert ended.code == 0, ended.err
    assert "running is RUNNING again" in ended.err
    assert cloud.call("GET", f"/20160918/instances/{instance_id('running')}").json["lifecycleState"] == "RUNNING"
    assert same_bytes(cloud, "running", hyper.folder / "running.qcow2", "qcow2")
    stored = cloud.get("exports", "backups/running.qcow2").body
    assert stored == (hyper.folder / "running.qcow2").read_bytes()
    assert clean(cloud)
    assert hyper.export("running", "-o", "./", "--to", to, "--allow-shutdown").json["export"]["already_exported"]


def test_to_alone_leaves_a_verified_object_and_no_file(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """`--to` alone reads the whole object, names it, puts its manifest beside it and writes nothing locally."""
    before = mark(cloud)
    ended = hyper.export(vm, "--to", f"oci://{cloud.namespace}/exports/only/{{name}}-{{date}}.qcow2")
    assert ended.code == 0, ended.err
    name = ended.json["export"]["disks"][0]["object_url"].partition("/exports/")[2]
    assert name.startswith(f"only/{vm}-2")
    jsonschema.validate(cloud.get("exports", f"{name}.manifest.json").json, manifest_schema())
    read = [each for each in cloud.log(before) if each["operation"] == "GetObject"]
    assert sum(each["bytes"] for each in read) >= len(cloud.get("exports", name).body)
    assert [path.name for path in hyper.folder.glob("*.qcow2*")] == []
    assert clean(cloud)


def test_a_taken_name_in_the_bucket_is_refused_before_anything_is_made(
    cloud: Emulator, hyper: Hyperexport, vm: str
) -> None:
    """An object of the final name is never replaced without --overwrite."""
    cloud.put("exports", "taken/x.qcow2", b"precious")
    before = mark(cloud)
    explained(hyper.export(vm, "--to", f"oci://{cloud.namespace}/exports/taken/x.qcow2"), 6, "exists", "--overwrite")
    assert creations(cloud, before) == []
    assert cloud.get("exports", "taken/x.qcow2").body == b"precious"


def test_keep_image_leaves_image_and_object_and_names_them(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """Both stay, are told, and the exporter's open upload is still taken away."""
    ended = hyper.export(vm, "-o", "./", "--keep-image", "--image-name", "golden {name}", "--tag", "team=a=b")
    assert ended.code == 0, ended.err
    image = cloud.call("GET", f"/20160918/images/{ended.json['export']['image_id']}").json
    assert (image["displayName"], image["freeformTags"]["team"]) == (f"golden {vm}", "a=b")
    told = "\n".join(ended.json["export"]["stays_in_tenancy"])
    left = cloud.control("GET", "leftovers")
    assert left["images"][0]["id"] in told
    assert left["objects"][0]["name"] in told
    assert left["multipartUploads"] == []
    cloud.call("DELETE", f"/20160918/images/{image['id']}")
    cloud.call("DELETE", cloud.object_path("exports", left["objects"][0]["name"]))


def test_volumes_that_an_image_lacks_are_named(hyper: Hyperexport) -> None:
    """Data volumes are told before, in the manifest, and the result says that it is not complete."""
    ended = hyper.export("with-data", "-o", "./")
    assert "db-data" in ended.err
    assert ended.json["export"]["complete"] is False
    manifest = json.loads((hyper.folder / "with-data.qcow2.manifest.json").read_text())
    assert [volume["name"] for volume in manifest["left_out"]] == ["db-data"]


@pytest.mark.parametrize("transition_seconds", [0.0, 0.5])
def test_a_versioned_bucket_keeps_no_version_behind(
    start_emulator: Callable[..., Emulator], tmp_path: Path, transition_seconds: float
) -> None:
    """Staging object and status text are deleted with their versions, not hidden by delete markers."""
    emulator = start_emulator(
        change=lambda value: value["buckets"][0].update(versioning="Enabled"), transition_seconds=transition_seconds
    )
    ended = Hyperexport(emulator, tmp_path).export("web-01", "-o", "./")
    assert ended.code == 0, ended.err
    versions = emulator.call("GET", f"/n/{emulator.namespace}/b/exports/objectversions").json
    assert versions["items"] == []


@pytest.mark.parametrize(
    ("denied", "code", "policy"),
    [
        ("ListVolumeAttachments", 5, "inspect volume-attachments"),
        ("GetBucket", 5, "read buckets"),
        ("CreateImage", 5, "manage instance-images"),
        ("ExportImage", 5, "manage instance-images"),
    ],
)
def test_a_missing_permission_is_told_as_a_policy(
    start_emulator: Callable[..., Emulator], tmp_path: Path, denied: str, code: int, policy: str
) -> None:
    """OCI says 404 for all; we say which sentence to ask for, and never that something stays which was not made."""
    emulator = start_emulator(user={"denied": [denied]})
    hyper = Hyperexport(emulator, tmp_path)
    explained(hyper.export("web-01", "-o", "./"), code, f"Allow group Exporters to {policy}")
    run = json.loads(hyper.run("runs", "list", "--json").out)["runs"][0]
    left = json.loads(hyper.run("runs", "show", run["run_id"], "--json").out)["run"]["stays_in_tenancy"]
    assert len(left) == len(emulator.control("GET", "leftovers")["images"])
    assert run["state"] == ("interrupted" if left else "refused")


def test_dry_run_prints_the_plan_and_creates_nothing(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """Only reads reach the cloud, and what was not tried is said."""
    before = mark(cloud)
    ended = hyper.export(vm, "-o", "./", "--dry-run")
    assert ended.code == 0
    assert "not tried (dry run)" in ended.err
    assert [step["name"] for step in ended.json["plan"]["steps"]][:2] == ["preflight", "create-image"]
    assert all(each["operation"].startswith(("List", "Get", "Head")) for each in cloud.log(before))
    assert json.loads(hyper.run("runs", "list", "--json").out)["runs"] == []


# ---------------------------------------------------------------- refusals


def one_image_only(value: dict[str, Any]) -> None:
    value["limits"] = {"custom-image-count": 1}


def test_a_used_up_image_quota_is_refused_until_an_image_is_deleted(
    start_emulator: Callable[..., Emulator], tmp_path: Path
) -> None:
    """No image is tried that the tenancy may not have; once one is deleted the same command exports."""
    emulator = start_emulator(instances=("web-01", "other"), change=one_image_only)
    source = {"compartmentId": emulator.seed.compartment, "instanceId": instance_id("other")}
    kept = emulator.call("POST", "/20160918/images", source).json["id"]
    hyper, before = Hyperexport(emulator, tmp_path), mark(emulator)
    dry = hyper.export("web-01", "-o", "./", "--dry-run")
    explained(dry, 6, "quota is used up", "hyperexport images list", "custom-image-count")
    explained(hyper.export("web-01", "-o", "./"), 6, "quota is used up")
    assert all(each["method"] == "GET" for each in emulator.log(before))
    emulator.call("DELETE", f"/20160918/images/{kept}")
    assert hyper.export("web-01", "-o", "./").code == 0


@pytest.mark.parametrize("trouble", ["denied", "lost", "away"])
def test_unreadable_limits_stop_no_export(
    start_emulator: Callable[..., Emulator], tmp_path: Path, trouble: str
) -> None:
    """Who may not read limits, or cannot reach the service, exports all the same, and is told nothing of it."""
    denied = {"user": {"denied": ["GetResourceAvailability"]}} if trouble == "denied" else {}
    emulator = start_emulator(**denied)
    if trouble == "lost":
        emulator.fault("GetResourceAvailability", "reset")
    elif trouble == "away":
        emulator.fault("GetResourceAvailability", "error", status=503, code="ServiceUnavailable")
    ended = Hyperexport(emulator, tmp_path).export("web-01", "-o", "./")
    assert ended.code == 0, ended.err
    assert not [word for word in ("quota", "resource availability", "custom-image-count", "try 2") if word in ended.err]
    asked = [each["operation"] for each in emulator.log() if each["operation"] == "GetResourceAvailability"]
    assert len(asked) == 1


def test_an_image_too_many_is_refused_by_the_service_itself(
    start_emulator: Callable[..., Emulator], tmp_path: Path
) -> None:
    """Where the quota could not be read, OCI's own refusal ends the export and says what to do."""
    denied = {"denied": ["GetResourceAvailability"]}
    emulator = start_emulator(instances=("web-01", "other"), change=one_image_only, user=denied)
    source = {"compartmentId": emulator.seed.compartment, "instanceId": instance_id("other")}
    assert emulator.call("POST", "/20160918/images", source).status == 200
    ended = Hyperexport(emulator, tmp_path).export("web-01", "-o", "./")
    explained(ended, 1, "a limit of the tenancy is reached", "delete what is not needed")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nobody", "-o", "./"], 5, ["no instance is named 'nobody'"]),
        (["huge", "-o", "./"], 6, ["401.0 GiB", "400 GB"]),
        (["starting", "-o", "./"], 6, ["starting is STARTING", "wait"]),
        ([instance_id("dead"), "-o", "./"], 6, ["dead is TERMINATED"]),
        (["vm-39", "-o", "nowhere/x.qcow2"], 6, ["no such directory", "mkdir -p"]),
        (["vm-39", "-o", "n" * 250 + ".qcow2"], 6, ["255 are allowed"]),
        (["vm-39", "-o", "x.vmdk"], 2, ["would hold a qcow2 disk", "--format vmdk"]),
        (["vm-39", "-o", "x.qcow2", "--format", "qcow2", "--format", "vmdk"], 2, ["would name 2 disks", "{format}"]),
        (["vm-39", "-o", "{nme}.qcow2"], 2, ["unknown placeholder {nme}", "{name}"]),
        (["vm-39", "--to", "s3://bucket/x"], 2, ["s3://"]),
        (["vm-39", "--tag", "hypersdk-run=mine"], 2, ["hypersdk-run is our own"]),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_made(
    cloud: Emulator, hyper: Hyperexport, arguments: list[str], code: int, words: list[str]
) -> None:
    """Each mistake has its own line, which says what to do, and its exit code; nothing was created. (C024)"""
    before = mark(cloud)
    explained(hyper.export(*arguments), code, *words)
    assert creations(cloud, before) == []
    assert clean(cloud)


@pytest.mark.parametrize(
    ("bucket", "code", "words"),
    [
        ("absent", 5, ["BucketNotFound", "Allow group Exporters to read buckets"]),
        ("archive", 6, ["Archive tier", "Standard"]),
    ],
)
def test_a_bucket_that_cannot_serve_is_refused(
    hyper: Hyperexport, vm: str, bucket: str, code: int, words: list[str]
) -> None:
    """An absent bucket and one of the Archive tier are noticed in time. (C034)"""
    explained(hyper.run("export", vm, "-o", "./", "-bn", bucket), code, *words)


def test_a_bucket_that_must_not_be_written_is_refused_with_the_policy(
    cloud: Emulator, hyper: Hyperexport, vm: str
) -> None:
    """The write proof finds the missing permission before an image is made."""
    before = mark(cloud)
    cloud.fault("CreateMultipartUpload", "error", status=404, code="BucketNotFound", message="no")
    explained(hyper.export(vm, "-o", "./"), 6, "cannot be written", "Allow group Exporters to manage objects")
    assert creations(cloud, before) == []


def test_an_unusable_run_store_ends_before_the_first_call(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """A state file that cannot be opened is exit 2 and names HYPEREXPORT_STATE. (C082)"""
    before = mark(cloud)
    (hyper.folder / "file").write_text("")
    explained(hyper.export(vm, environ={"HYPEREXPORT_STATE": f"{hyper.folder}/file/runs"}), 2, "HYPEREXPORT_STATE")
    assert cloud.log(before) == []


# ---------------------------------------------------------------- the cloud's own failures


def test_available_without_an_object_is_a_failure(
    cloud: Emulator, hyper: Hyperexport, vm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SUCCEEDED and AVAILABLE are not believed without the object; what was made is taken away."""
    cloud.fault("ExportImage", "export-without-object")
    monkeypatch.setattr(imaging, "OBJECT_LATE", 0.2)
    explained(hyper.export(vm, "-o", "./"), 1, "there is no disk at")
    assert clean(cloud)
    assert not (hyper.folder / f"{vm}.qcow2").exists()


@pytest.mark.parametrize("operation", ["CreateImage", "ExportImage"])
def test_failed_work_is_told_in_the_services_words(
    cloud: Emulator, hyper: Hyperexport, vm: str, operation: str
) -> None:
    """A failed work request ends the run for good with its error text, and cleans up."""
    cloud.fault(operation, "work-request-fails")
    ended = hyper.export(vm, "-o", "./")
    assert ended.code == 1
    assert clean(cloud)
    runs = json.loads(hyper.run("runs", "list", "--json").out)["runs"]
    assert [run["state"] for run in runs] == ["failed"]


def test_a_forgotten_work_request_is_no_failure(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """When GetWorkRequest answers 404, image state and object decide."""
    cloud.fault("GetWorkRequest", "work-request-gone")
    assert hyper.export(vm, "-o", "./").code == 0


@pytest.mark.parametrize("to", [[], ["--to", "oci://testns/exports/zero"]])
def test_an_all_zero_export_is_refused(cloud: Emulator, hyper: Hyperexport, vm: str, to: list[str]) -> None:
    """A valid disk without any data is exit 7 and never gets its name, here or in the bucket."""
    cloud.fault("ExportImage", "export-all-zero")
    explained(hyper.export(vm, *(to or ["-o", "./"])), 7, "nothing but zeros")
    assert not (hyper.folder / f"{vm}.qcow2").exists()
    assert [name for name in cloud.names("exports") if name.startswith("zero")] == []
    assert clean(cloud)


def test_404_right_after_create_is_waited_out(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """An image that is not visible yet is not taken for an absent one."""
    cloud.fault("GetImage", "error", status=404, code="NotAuthorizedOrNotFound", skip=1)
    assert hyper.export(vm, "-o", "./").code == 0


def test_a_conflict_is_a_wait_and_not_an_attempt(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """Another image operation is waited for, longer than attempts would last, saying why."""
    message = "Conflict with another image operation, try again later"
    cloud.fault("CreateImage", "error", status=409, code="Conflict", message=message, times=8)
    ended = hyper.export(vm, "-o", "./")
    assert ended.code == 0, ended.err
    assert "another image" in ended.err


def test_an_object_replaced_during_the_download_is_started_again(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """Bytes of two objects are never mixed: the new object is fetched from its beginning and judged by itself."""
    cloud.fault("GetObject", "object-replaced", skip=2)
    ended = hyper.export(vm, "-o", "./", environ={"HYPEREXPORT_TRANSFER_PART_SIZE": "256KiB"})
    assert "was replaced while it was read" in ended.err
    assert "started again from the beginning" in ended.err


def session_profile(emulator: Emulator, folder: Path) -> list[bytes]:
    """Sign in with a session token instead of an API key; answers the secrets of the session."""
    key = {"userId": USER, "publicKeyPem": public_pem(private_key()), "ttlSeconds": 3600}
    token = emulator.control("POST", "session-token", key)["token"]
    (folder / "token").write_text(token)
    (folder / "token").chmod(0o600)
    config = emulator.config_file.read_text().replace("user=", "security_token_file=" + str(folder / "token") + "\n#")
    emulator.config_file.write_text(config)
    return [token.encode(), private_pem(private_key()).splitlines()[3]]


@pytest.mark.parametrize("how", ["federated", "session"])
def test_a_signer_whose_exports_cannot_name_a_bucket_gets_a_link(
    start_emulator: Callable[..., Emulator], tmp_path: Path, how: str
) -> None:
    """A write-only link is used, told, and withdrawn; no secret of the run is in any output, manifest or store."""
    emulator = start_emulator(user={"federated": how == "federated"})
    secrets = session_profile(emulator, emulator.seed.folder) if how == "session" else []
    hyper = Hyperexport(emulator, tmp_path)
    emulator.fault("GetObject", "cut-body", afterBytes=300_000)
    emulator.fault("ExportImage", "hold", skip=1 if how == "federated" else 0)
    running = hyper.start("export", "web-01", "-o", "./", "-bn", "exports", "-v", "--debug")
    held(emulator, running)
    links = emulator.call("GET", f"/n/{emulator.namespace}/b/exports/p").json if how == "federated" else [{}]
    emulator.control("POST", "release", {"all": True})
    ended = running.wait()
    assert ended.code == 0, ended.err
    assert "a pre-authenticated link is used" in ended.err
    assert len(links) == 1
    assert clean(emulator)
    written = [path for path in tmp_path.rglob("*") if path.is_file() and "emulator-0" not in path.parts]
    assert len(written) >= 5
    for path in written:
        for secret in [b"/p/", *secrets]:
            assert secret not in path.read_bytes(), path


SWITCHES = {field.name.replace("_", "-"): not field.default for field in fields(Assumptions) if field.type is bool}
"""Every switch of what nobody knows about OCI, the other way than by default."""
IN_EXPORTS = ("status-object", "open-upload", "no-work-request-id", "work-request-id-list", "old-etag-in-export")


@pytest.mark.parametrize("switched", [*IN_EXPORTS, "all"])
def test_whatever_nobody_knows_of_oci_an_export_ends_well(
    start_emulator: Callable[..., Emulator], tmp_path: Path, switched: str
) -> None:
    """With each guess about OCI the other way round, and with all of them, an export ends well and leaves nothing."""
    assume = SWITCHES if switched == "all" else {switched: SWITCHES[switched]}
    emulator = start_emulator(assume=assume, transition_seconds=0.2)
    ended = Hyperexport(emulator, tmp_path).export("web-01", "-o", "./")
    assert ended.code == 0, ended.err
    assert clean(emulator)


def test_a_bucket_with_retention_keeps_the_object_and_says_so(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """What cannot be deleted is told before and after, and does not fail an export whose file is good."""
    ended = hyper.run("export", vm, "-o", "./", "-bn", "retained", "--json")
    assert ended.code == 0, ended.err
    assert "has retention rules" in ended.err
    assert "could not clean up" in ended.err
    assert any("retained" in line for line in ended.json["export"]["stays_in_tenancy"])
    assert cloud.control("GET", "leftovers")["images"] == []
    cloud.control("POST", "clock", {"advanceSeconds": 2 * 86400})
    assert hyper.run("runs", "cancel", ended.json["export"]["run_id"]).code == 0
    assert clean(cloud)
    assert hyper.run("export", vm, "-o", "./", "-bn", "retained", "--json").json["export"]["already_exported"]


# ---------------------------------------------------------------- endings and resume


def test_too_little_room_is_refused_once_the_size_is_known(
    cloud: Emulator, hyper: Hyperexport, vm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 6 before the first byte, with what is missing; everything is kept, and with room the command goes on."""
    usage = shutil.disk_usage("/")._replace(free=1000)
    with monkeypatch.context() as full:
        full.setattr(landing.shutil, "disk_usage", lambda _: usage)
        explained(hyper.export(vm, "-o", "./"), 6, "1000 B free", "make room")
    before = mark(cloud)
    assert hyper.export(vm, "-o", "./").code == 0
    assert creations(cloud, before) == []
    assert clean(cloud)


def test_a_full_disk_keeps_the_parts_and_is_resumed(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """No room half-way is exit 8 that names what stays; with room the same command fetches only the rest."""
    parts = {"HYPEREXPORT_TRANSFER_PART_SIZE": "64KiB", "HYPEREXPORT_TRANSFER_PARALLEL": "1"}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600 * 1024, hard))
    try:
        full = hyper.export(vm, "-o", "./", environ=parts)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert full.code == 8, full.err
    assert "stays in the tenancy: image" in full.err
    assert "resume: give the same command again" in full.err
    before = mark(cloud)
    ended = hyper.export(vm, "-o", "./", environ=parts)
    assert ended.code == 0, ended.err
    assert creations(cloud, before) == []
    assert same_bytes(cloud, vm, hyper.folder / f"{vm}.qcow2", "qcow2")
    assert clean(cloud)


def held(emulator: Emulator, running: Running) -> None:
    """Wait until the emulator holds a reply."""
    while not any(fault["holding"] for fault in emulator.faults()):
        assert not running.ended(), running.wait().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_everything_and_the_same_command_resumes(
    cloud: Emulator, hyper: Hyperexport, vm: str, number: int
) -> None:
    """Ctrl-C is exit 130, says what stays and how to go on; the resumed run makes no second image. (C085)"""
    before = mark(cloud)
    cloud.fault("ExportImage", "hold")
    running = hyper.start("export", vm, "-o", "./", "-bn", "exports")
    held(cloud, running)
    running.signal(number)
    cloud.control("POST", "release", {"all": True})
    stopped = running.wait()
    assert stopped.code == 130, stopped.err
    last = stopped.err.splitlines()[-4:]
    assert any("stays in the tenancy: image" in line for line in last), stopped.err
    assert "hyperexport runs cancel" in last[-1]
    assert hyper.export(vm, "-o", "./").code == 0
    assert creations(cloud, before).count("CreateImage") == 1
    assert clean(cloud)


def test_cancel_cleans_up_what_an_interrupted_run_left(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """`runs show` names what stays, `runs cancel` takes it away, and then the command starts anew."""
    cloud.fault("GetObject", "error", status=503, code="ServiceUnavailable", times=5)
    assert hyper.export(vm, "-o", "./").code == 8
    run = json.loads(hyper.run("runs", "list", "--json").out)["runs"][0]
    assert run["state"] == "interrupted"
    shown = json.loads(hyper.run("runs", "show", run["run_id"][:6], "--json").out)["run"]
    assert any("export-image.qcow2" in line for line in shown["stays_in_tenancy"])
    assert hyper.run("runs", "cancel", run["run_id"]).code == 0
    assert clean(cloud)
    assert json.loads(hyper.run("runs", "list", "--json").out)["runs"][0]["state"] == "cancelled"
    before = mark(cloud)
    assert hyper.export(vm, "-o", "./").code == 0
    assert creations(cloud, before) == ["CreateImage", "ExportImage"]


def test_cancel_reaches_the_process_that_drives_the_run(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """A run that waits elsewhere hears `runs cancel`, cleans up, and ends with 1."""
    message = "Conflict with another image operation, try again later"
    cloud.fault("CreateImage", "error", status=409, code="Conflict", message=message, times=100000)
    running = hyper.start("export", vm, "-o", "./", "-bn", "exports")
    while not (runs := json.loads(hyper.run("runs", "list", "--json").out)["runs"]) or runs[0]["state"] != "active":
        assert not running.ended(), running.err
    assert hyper.run("runs", "cancel", runs[0]["run_id"]).code == 0
    ended = running.wait()
    cloud.control("DELETE", "faults")
    assert ended.code == 1, ended.err
    assert "cancelled: cleaning up" in ended.err
    assert clean(cloud)


def test_cancel_waits_for_an_export_that_still_runs(start_emulator: Callable[..., Emulator], tmp_path: Path) -> None:
    """An object that the exporter would write after the clean-up is not left behind."""
    slow_export = {"transitionSeconds": 0.01, "paceOf": {"ExportImage": 60_000}}
    emulator = start_emulator(change=lambda value: value.update(timing=slow_export))
    hyper = Hyperexport(emulator, tmp_path)
    emulator.fault("ExportImage", "hold")
    running = hyper.start("export", "web-01", "-o", "./", "-bn", "exports")
    held(emulator, running)
    running.kill()
    emulator.control("POST", "release", {"all": True})
    run = json.loads(hyper.run("runs", "list", "--json").out)["runs"][0]
    assert run["state"] == "interrupted"
    cancelling = hyper.start("runs", "cancel", run["run_id"])
    while "still exports" not in cancelling.err:
        assert not cancelling.ended(), cancelling.err
    emulator.control("POST", "clock", {"advanceSeconds": 700})
    cancelled = cancelling.wait()
    assert cancelled.code == 0, cancelled.err
    assert clean(emulator)
    assert emulator.names("exports") == []


def test_quiet_says_nothing_but_the_result(hyper: Hyperexport, vm: str) -> None:
    """With -q stderr stays empty when all goes well."""
    ended = hyper.run("export", vm, "-o", "./", "-bn", "exports", "-q")
    assert (ended.code, ended.err) == (0, "")
    assert "proven:" in ended.out


def test_new_cancels_the_unfinished_run_and_starts_anew(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """`--new` takes away what the old run left; its image is not used again."""
    cloud.fault("GetObject", "error", status=503, code="ServiceUnavailable", times=5)
    assert hyper.export(vm, "-o", "./").code == 8
    before = mark(cloud)
    assert hyper.export(vm, "-o", "./", "--new").code == 0
    assert creations(cloud, before) == ["CreateImage", "ExportImage"]
    assert clean(cloud)
    states = [run["state"] for run in json.loads(hyper.run("runs", "list", "--json").out)["runs"]]
    assert states == ["done", "cancelled"]


def test_two_processes_never_drive_one_run(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """The same command while the first one runs is refused, and the first one finishes undisturbed."""
    cloud.fault("ExportImage", "hold")
    running = hyper.start("export", vm, "-o", "./", "-bn", "exports")
    held(cloud, running)
    explained(hyper.export(vm, "-o", "./"), 6, "is driven by", "runs attach", "runs cancel")
    cloud.control("POST", "release", {"all": True})
    assert running.wait().code == 0


def test_an_outage_during_the_download_is_waited_out(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """While nothing can be reached no attempt is spent, and the download goes on afterwards."""
    cloud.fault("GetObject", "outage", seconds=2)
    environ = {"HYPEREXPORT_RETRY_MAX_ATTEMPTS": "2"}
    ended = hyper.export(vm, "-o", "./", environ=environ)
    assert ended.code == 0, ended.err
    assert clean(cloud)
