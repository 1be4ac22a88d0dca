"""`hyperexport instances` and `images` as a user meets them: the installed command against a cloud on a socket."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from emulator import Emulator, compartment_id, instance_id
from own_bucket import running_emulator

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Start = Callable[..., Emulator]

DATA = {"volumeId": "ocid1.volume.oc1.iad.data", "displayName": "data", "sizeInGBs": 100}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs hyperexport in an empty home against an emulator: `run(emulator, "instances", "list")`."""

    def run(emulator: Emulator, *arguments: str) -> subprocess.CompletedProcess[str]:
        environ = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
        where = ("--config-file", str(emulator.config_file), "--endpoint", emulator.endpoint)
        return subprocess.run(
            [sys.executable, "-m", "hypersdk.cli", *arguments, *where],
            env=environ,
            cwd=tmp_path,
            text=True,
            timeout=60,
            check=False,
            capture_output=True,
            stdin=subprocess.DEVNULL,
        )

    return run


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One emulator for tests that change nothing."""
    with running_emulator(tmp_path_factory) as emulator:
        yield emulator


def change(seed: dict[str, Any]) -> None:
    seed["instances"][0]["volumeAttachments"] = [DATA]
    seed["instances"][0]["freeformTags"] = {"env": "test"}
    seed["instances"][2]["displayName"] = "twin"


def test_instances_are_listed_shown_and_switched(start_emulator: Start, run: Run) -> None:
    """The list, one of them with its volumes, stopped and started by name and by OCID; JSON carries a version."""
    emulator = start_emulator(instances={"web": "STOPPED", "db": "RUNNING"}, disks=1)
    listed = json.loads(run(emulator, "instances", "list", "--json").stdout)
    assert (listed["version"], listed["complete"], listed["unread"]) == (1, True, [])
    assert {each["name"]: each["lifecycle_state"] for each in listed["instances"]} == {
        "web": "STOPPED",
        "db": "RUNNING",
    }
    assert {each["compartment"] for each in listed["instances"]} == {"main"}
    table = run(emulator, "instances", "list")
    assert table.stdout.split()[:3] == ["NAME", "LIFECYCLE", "STATE"]
    assert instance_id("db") in table.stdout
    started = run(emulator, "instances", "start", "web", "--json")
    assert json.loads(started.stdout)["instance"]["lifecycle_state"] == "RUNNING"
    stopped = run(emulator, "instances", "stop", instance_id("db"), "--soft", "--no-wait")
    assert stopped.returncode == 0
    assert "STOPPED" in stopped.stdout
    actions = [entry["path"].partition("?")[2] for entry in emulator.log() if entry["method"] == "POST"]
    assert actions == ["action=START", "action=SOFTSTOP"]


def test_an_instance_is_shown_with_its_volumes(start_emulator: Start, run: Run) -> None:
    """Sizes are for people in the lines and bytes in JSON."""
    emulator = start_emulator(instances=("web", "a", "b"), disks=1, change=change)
    shown = run(emulator, "instances", "show", "web")
    assert shown.returncode == 0
    assert "data 100.0 GiB" in shown.stdout
    facts = json.loads(run(emulator, "instances", "show", "web", "--json").stdout)["instance"]
    assert [(each["size"], each["boot"]) for each in facts["volumes"]] == [(50 << 30, True), (100 << 30, False)]
    assert (facts["tags"], facts["firmware"]) == ({"env": "test"}, "UEFI_64")


@pytest.mark.parametrize(
    ("arguments", "exit_code", "says"),
    [
        (("instances", "show", "nobody"), 5, "no instance is named 'nobody'"),
        (("instances", "show", "ocid1.instance.oc1.iad.nobody"), 5, "absent or not allowed"),
        (("instances", "start", "ocid1.image.oc1.iad.x"), 2, "an OCID of kind image"),
        (("images", "delete", "Platform-Linux", "--yes"), 5, "no image is named"),
        (("instances", "stop"), 2, "INSTANCE"),
    ],
)
def test_wrong_arguments_get_one_clear_line(
    calm: Emulator, run: Run, arguments: tuple[str, ...], exit_code: int, says: str
) -> None:
    """Each mistake has its exit code and its sentence on stderr, and nothing on stdout."""
    done = run(calm, *arguments)
    assert (done.returncode, done.stdout) == (exit_code, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_two_of_one_name_name_their_ocids(start_emulator: Start, run: Run) -> None:
    """Exit 2, and both OCIDs to choose from."""
    emulator = start_emulator(instances=("web", "twin", "b"), disks=1, change=change)
    done = run(emulator, "instances", "stop", "twin")
    assert done.returncode == 2
    assert instance_id("twin") in done.stderr
    assert instance_id("b") in done.stderr
    assert "POST" not in {entry["method"] for entry in emulator.log()}


def test_a_partial_list_says_what_is_missing(start_emulator: Start, run: Run) -> None:
    """What could be read is printed, what could not is named, and the exit code is that of a permission."""
    hidden = compartment_id("other")
    user = {"denied": ["ListInstances"], "deniedCompartments": [hidden]}
    emulator = start_emulator(compartments=("main", "other"), disks=1, user=user)
    done = run(emulator, "instances", "list", "--json")
    assert done.returncode == 4
    result = json.loads(done.stdout)
    assert [each["name"] for each in result["instances"]] == ["web-01"]
    assert (result["complete"], [each["compartment_id"] for each in result["unread"]]) == (False, [hidden])
    assert f"other ({hidden})" in done.stderr
    assert run(emulator, "instances", "list", "-c", compartment_id("main")).returncode == 0


def test_images_are_listed_shown_and_deleted(emulator: Emulator, run: Run) -> None:
    """A custom image by name, from list to gone; without a terminal a delete wants --yes."""
    body = {"compartmentId": compartment_id("main"), "instanceId": instance_id("web01"), "displayName": "golden"}
    assert emulator.call("POST", "/20160918/images", body).status == 200
    listed = json.loads(run(emulator, "images", "list", "--json").stdout)["images"]
    assert [(each["name"], each["size"]) for each in listed] == [("golden", 50 << 30)]
    assert "50.0 GiB" in run(emulator, "images", "show", "golden").stdout
    refused = run(emulator, "images", "delete", "golden")
    assert (refused.returncode, "--yes" in refused.stderr) == (2, True)
    assert run(emulator, "images", "delete", "golden", "--yes").returncode == 0
    assert run(emulator, "images", "show", "golden").returncode == 5
    empty = run(emulator, "images", "list")
    assert (empty.returncode, empty.stdout) == (0, "")
    assert "no custom images" in empty.stderr
