"""What programs read: each `--json` document by its committed schema; no result, nothing on stdout."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from emulator import Emulator, compartment_id, instance_id, make_seed
from hyperexport import Ended, Hyperexport

import hypersdk.cli
from hypersdk.cli import COMMANDS

SCHEMAS = {
    path.name.removesuffix(".schema.json"): json.loads(path.read_text())
    for path in (Path(hypersdk.cli.__file__).parent / "schemas").iterdir()
}
ABSENT = "oci://testns/exports/absent"


def fill(seed: dict[str, Any]) -> None:
    seed["instances"][0]["volumeAttachments"] = [
        {"volumeId": "ocid1.volume.oc1.iad.data", "displayName": "data", "sizeInGBs": 50}
    ]
    seed["instances"][0]["freeformTags"] = {"env": "test"}
    seed["objects"] = [{"bucket": "exports", "name": name, "text": "x" * size} for name, size in SIZES.items()]


SIZES = {"in/a": 1, "in/b/c": 2, "zero": 0, "gone/1": 1, "gone/2": 1}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One emulator for this file."""
    folder = tmp_path_factory.mktemp("json")
    seed = make_seed(
        folder / "seed",
        instances=("web-01", "web-02"),
        compartments=("main", "empty"),
        buckets=("exports", "empty"),
        disk_size=4 << 20,
        assume={"lock-minutes": 0},
        change=fill,
    )
    emulator = Emulator(seed, folder / "state").start()
    yield emulator
    emulator.stop()


@pytest.fixture
def hyper(cloud: Emulator, tmp_path: Path) -> Hyperexport:
    """The command."""
    return Hyperexport(cloud, tmp_path)


def valid(ended: Ended, kind: str, code: int = 0) -> Any:
    """The document of this kind, checked; everything else went to stderr."""
    assert ended.code == code, ended.err
    document = ended.json
    jsonschema.validate(document, SCHEMAS[kind], format_checker=jsonschema.FormatChecker())
    return document[kind]


def closed(schema: Any) -> bool:
    """Whether no object of a schema takes a key that it does not name."""
    if isinstance(schema, list):
        return all(closed(one) for one in schema)
    if not isinstance(schema, dict):
        return True
    is_object = schema.get("type") == "object"
    return (not is_object or "additionalProperties" in schema) and all(closed(one) for one in schema.values())


def test_schemas_are_schemas_that_let_nothing_slip() -> None:
    """Each is valid, versioned, says which command it is of, and refuses unknown keys."""
    for kind, schema in SCHEMAS.items():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert closed(schema), kind
        assert {"version", kind} <= set(schema["required"]), kind
        assert schema["description"].removeprefix("hyperexport ").split()[0] in COMMANDS, kind


def test_lists_and_facts(hyper: Hyperexport) -> None:
    """C086: instances, objects, buckets and settings by their schemas; a size of nothing is 0, not "empty"."""
    listed = valid(hyper.run("instances", "list", "--json"), "instances")
    assert {one["name"]: one["compartment"] for one in listed} == {"web-01": "main", "web-02": "main"}
    shown = valid(hyper.run("instances", "show", "web-01", "--json"), "instance")
    assert [volume["boot"] for volume in shown["volumes"]] == [True, False]
    assert shown["tags"] == {"env": "test"}
    below = valid(hyper.run("ls", "oci://testns/exports/", "--json"), "objects")
    assert {one["name"]: one["size"] for one in below} == {"gone/": None, "in/": None, "zero": 0}
    assert valid(hyper.run("stat", "oci://testns/exports/zero", "--json"), "object")["size"] == 0
    assert valid(hyper.run("stat", "oci://testns/exports", "--json"), "bucket")["retention"] is False
    settings = valid(hyper.run("config", "show", "--json"), "settings")
    assert {"key": "oci.endpoint", "value": hyper.emulator.endpoint, "source": "--endpoint"} in settings
    assert valid(hyper.run("config", "check", "--json"), "check")["namespace"] == "testns"


def test_nothing_found_is_an_empty_list(hyper: Hyperexport) -> None:
    """C086: no results are a valid document with a version and an empty list, and exit 0."""
    empty = compartment_id("empty")
    assert valid(hyper.run("instances", "list", "-c", empty, "--json"), "instances") == []
    assert valid(hyper.run("images", "list", "-c", empty, "--json"), "images") == []
    assert valid(hyper.run("ls", "-r", "oci://testns/empty/", "--json"), "objects") == []
    assert valid(hyper.run("runs", "list", "--json"), "runs") == []


def test_what_changes_the_cloud_answers_too(hyper: Hyperexport) -> None:
    """start, stop and rm say what became of it; ids and URLs deleted stand in one form."""
    started = valid(hyper.run("instances", "start", "web-02", "--json"), "instance")
    assert started["lifecycle_state"] == "RUNNING"
    stopped = valid(hyper.run("instances", "stop", "web-02", "--json", "--soft"), "instance")
    assert stopped["lifecycle_state"] == "STOPPED"
    gone = valid(hyper.run("rm", "-r", "--yes", "oci://testns/exports/gone/", "--json"), "deleted")
    assert gone == ["oci://testns/exports/gone/1", "oci://testns/exports/gone/2"]


def test_an_export_from_plan_to_cancel(hyper: Hyperexport) -> None:
    """Plan, result, run and image share their names for the same things; a kept image is found by what was printed."""
    line = ("export", "web-01", "-o", "web.qcow2", "--to", "oci://testns/exports/out/", "--keep-image", "--json")
    plan = valid(hyper.run(*line, "--dry-run"), "plan")
    result = valid(hyper.run(*line), "export")
    (disk,) = result["disks"]
    assert (disk["path"], disk["object_url"]) == (plan["disks"][0]["path"], plan["disks"][0]["object_url"])
    assert Path(disk["path"]).stat().st_size == disk["size"]
    again = valid(hyper.run(*line), "export")
    assert (again["already_exported"], again["disks"]) == (True, result["disks"])
    (listed,) = valid(hyper.run("runs", "list", "--json"), "runs")
    run = valid(hyper.run("runs", "show", result["run_id"][:6], "--json"), "run")
    for name in ("run_id", "instance_id", "instance_name"):
        assert plan[name] == result[name] == listed[name] == run[name]
    assert listed["destinations"] == [disk["path"], disk["object_url"]]
    assert [step["name"] for step in run["steps"]] == [step["name"] for step in plan["steps"]]
    image = valid(hyper.run("images", "show", result["image_id"], "--json"), "image")
    assert (image["name"], image["tags"]["hypersdk-run"]) == (plan["image_name"], plan["run_id"])
    assert image in [{key: one[key] for key in image} for one in valid(hyper.run("images", "list", "--json"), "images")]
    assert valid(hyper.run("images", "delete", image["id"], "--yes", "--json"), "deleted") == [image["id"]]


def test_a_cancelled_run_is_shown(hyper: Hyperexport) -> None:
    """`runs cancel --json` answers with the run; the command that the interrupted export printed does it."""
    hyper.emulator.fault("GetObject", "error", status=403, code="NotAuthorized", message="no", times=1)
    failed = hyper.export("web-02", "-o", "web.qcow2")
    assert (failed.code, failed.out) == (4, ""), failed.err
    cancel = next(each for each in failed.err.splitlines() if each.startswith("clean up: ")).split()[3:]
    assert "--config-file" in cancel
    run = valid(hyper.run(*cancel, "--json"), "run")
    assert (run["state"], run["stays_in_tenancy"]) == ("cancelled", [])


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("instances", "list", "--profile", "nobody"), 2),
        (("instances", "show", "nobody"), 5),
        (("instances", "show", instance_id("nobody")), 5),
        (("images", "delete", "nobody", "--yes"), 5),
        (("ls", "oci://testns/nowhere/"), 5),
        (("stat", ABSENT), 5),
        (("rm", ABSENT, "--yes"), 5),
        (("rm", "-r", "oci://testns/exports/in/"), 2),
        (("runs", "show", "nobody"), 5),
        (("runs", "cancel", "nobody"), 5),
        (("config", "check", "--auth", "wrong"), 2),
        (("export", "web-01", "-bn", "nowhere"), 5),
        (("export", "web-01", "-bn", "nowhere", "--dry-run"), 5),
        (("export", "web-01", "-bn", "exports", "-o", "no/such/file.qcow2", "--dry-run"), 6),
        (("export", "web-01", "--format", "raw"), 2),
        (("instances", "lst"), 2),
    ],
)
def test_an_error_leaves_stdout_empty(hyper: Hyperexport, arguments: tuple[str, ...], code: int) -> None:
    """C086: no result, no byte on stdout; one line on stderr says why."""
    ended = hyper.run(*arguments, "--json")
    assert (ended.code, ended.out) == (code, "")
    assert len([line for line in ended.err.splitlines() if line.startswith("hyperexport: ")]) == 1
    assert "Traceback" not in ended.err
