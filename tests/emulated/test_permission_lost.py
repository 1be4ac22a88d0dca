"""A policy that is removed while an export is on its way: it ends resumably and says which sentences to ask for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from emulator import TENANCY, USER, Emulator, make_seed
from hyperexport import Hyperexport, Running
from signing_in import Somebody

MIB = 1 << 20
INSTANCES = ["vm-00", "vm-01", "vm-02"]
IN_MAIN = ("use instances", "manage instance-images", "read volume-family", "inspect volume-attachments")


def only_admins(seed: dict[str, Any]) -> None:
    """Policies rule, and only the seed's user may do anything."""
    seed["groups"] = [{"name": "Admins", "users": [USER]}]
    seed["policies"] = [{"name": "admins", "statements": ["Allow group Admins to manage all-resources in tenancy"]}]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One emulator for this file, where instances may export and nobody else but administrators may do anything."""
    folder = tmp_path_factory.mktemp("cloud")
    assume = {"lock-minutes": 0}
    seed = make_seed(folder / "seed", instances=INSTANCES, disk_size=4 * MIB, assume=assume, change=only_admins)
    emulator = Emulator(seed, folder / "state").start()
    make(
        emulator, "dynamicGroups", name="Exporters", matchingRule="ANY {instance.compartment.id = '" + main(seed) + "'}"
    )
    allow(emulator, "compute", *IN_MAIN)
    yield emulator
    emulator.stop()


def main(seed: Any) -> str:
    """The compartment of everything."""
    return str(seed.compartment)


def make(emulator: Emulator, what: str, **fields: object) -> str:
    """Make something of Identity's; its path."""
    reply = emulator.call(
        "POST", f"/20160918/{what}", {"compartmentId": TENANCY, "description": "for a test", **fields}
    )
    assert reply.status == 200, reply
    return f"/20160918/{what}/{reply.json['id']}"


def allow(emulator: Emulator, name: str, *what: str) -> str:
    """Allow the instances something; the policy's path."""
    said = [f"Allow dynamic-group Exporters to {each} in compartment main" for each in what]
    return make(emulator, "policies", name=name, statements=said)


def held(cloud: Emulator, running: Running) -> None:
    """Wait until a fault holds a request of a command."""
    end = time.monotonic() + 30
    while not any(fault.get("holding") for fault in cloud.faults()):
        assert not running.ended(), running.err
        assert time.monotonic() < end, running.err
        time.sleep(0.005)


@pytest.mark.parametrize(("operation", "instance"), [("GetObject", "vm-00"), ("HeadObject", "vm-01")])
def test_a_policy_that_is_removed_ends_it_resumably(
    cloud: Emulator, tmp_path: Path, operation: str, instance: str
) -> None:
    """It asks for the very sentence, touches nothing more, and with the policy back the same command finishes."""
    sentences = ("read buckets", "manage objects", "manage buckets")
    policy = allow(cloud, f"objects-{instance}", *sentences)
    who = Somebody(cloud, "instance_principal", tmp_path)
    environ = who.environ()
    hyper = Hyperexport(cloud, tmp_path, config_file=Path(environ.pop("OCI_CLI_CONFIG_FILE")))
    hyper.environ |= environ | {"HYPEREXPORT_TRANSFER_PART_SIZE": "192KiB", "HYPEREXPORT_TRANSFER_PARALLEL": "1"}
    export = ("export", instance, "-c", cloud.seed.compartment, "-bn", "exports", "-ns", cloud.namespace, "-o", "./")
    cloud.fault(operation, "hold")
    running = hyper.start(*export)
    held(cloud, running)
    assert cloud.call("DELETE", policy).status == 204
    mark = int(cloud.log()[-1]["id"])
    cloud.control("DELETE", "faults")
    ended = running.wait()
    assert ended.code == 5, ended.err
    assert "it answered before: a policy was removed, or it was deleted" in ended.err
    assert "Allow dynamic-group Exporters to manage objects in compartment B" in ended.err
    assert "could not clean up" not in ended.err
    deletes = [
        entry["operation"] for entry in cloud.log(mark) if entry["method"] == "DELETE" and "polic" not in entry["path"]
    ]
    assert deletes == []
    again = allow(cloud, f"again-{instance}", *sentences)
    done = hyper.run(*export)
    assert cloud.call("DELETE", again).status == 204
    assert done.code == 0, done.err
    assert not any(cloud.control("GET", "leftovers").values())


def test_a_create_whose_answer_was_lost_is_not_forgotten(cloud: Emulator, tmp_path: Path) -> None:
    """The image was made, its answer lost, its repeat refused (403): the run knows of it, and cancelling removes it."""
    hyper = Hyperexport(cloud, tmp_path)
    cloud.fault("CreateImage", "lost-response")
    cloud.fault("CreateImage", "error", status=403, code="NotAllowed")
    ended = hyper.run("export", "vm-02", "-bn", "exports", "-o", "./", "--json")
    assert ended.code == 4, ended.err
    run = hyper.run("runs", "list", "--json").json["runs"][0]
    assert run["state"] == "interrupted"
    assert any(cloud.control("GET", "leftovers").values()), "there is an image"
    done = hyper.run("runs", "cancel", run["run_id"])
    assert done.code == 0, done.err
    assert not any(cloud.control("GET", "leftovers").values())
