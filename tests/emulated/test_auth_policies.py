"""What an administrator must allow, as docs/authentication.md says it, under policies that really rule."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from emulator import TENANCY, USER, Emulator, compartment_id, make_seed
from hyperexport import Hyperexport
from signing_in import Somebody, oke_host

PAGE = Path(__file__).resolve().parents[2] / "docs" / "authentication.md"
SENTENCES = re.findall(r"^Allow group Exporters to (.*?) in (compartment|tenancy)", PAGE.read_text(), re.MULTILINE)
NEEDED = ("use instances", "manage instance-images", "read volume-family", "manage objects", "manage buckets")
"""Sentences without which an export by a principal, of an instance named by its OCID or with -c, cannot work."""

INSTANCES = [f"vm-{n:02}" for n in range(12)]


def only_admins(seed: dict[str, Any]) -> None:
    """Policies rule, and only the seed's user may do anything."""
    seed["groups"] = [{"name": "Admins", "users": [USER]}]
    seed["policies"] = [{"name": "admins", "statements": ["Allow group Admins to manage all-resources in tenancy"]}]


class Administrator:
    """Writes what principals need, and takes it back."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._made: list[str] = []

    def _make(self, what: str, **fields: object) -> None:
        body = {"compartmentId": TENANCY, "name": f"{what}-{len(self._made)}", "description": "for a test", **fields}
        reply = self._emulator.call("POST", f"/20160918/{what}", body)
        assert reply.status == 200, reply
        self._made.append(f"/20160918/{what}/{reply.json['id']}")

    def allow(self, rule: str, *left_out: str) -> None:
        """Let the principals of a rule export, but for some sentences of the page."""
        subject, where = "any-user", f" where all {rule.removeprefix('ALL ')}"
        if not rule.startswith("ALL {request."):
            self._make("dynamicGroups", matchingRule=rule)
            subject, where = f"dynamic-group dynamicGroups-{len(self._made) - 1}", ""
        places = {"compartment": "compartment main", "tenancy": "tenancy"}
        allowed = [(what, places[place]) for what, place in SENTENCES if what not in left_out]
        self._make("policies", statements=[f"Allow {subject} to {what} in {place}{where}" for what, place in allowed])

    def take_back(self) -> None:
        """Nobody but administrators may do anything again."""
        while self._made:
            assert self._emulator.call("DELETE", self._made.pop()).status == 204


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One emulator for this file, where only administrators may do anything."""
    folder, off = tmp_path_factory.mktemp("cloud"), {"lock-minutes": 0}
    seed = make_seed(folder / "seed", instances=INSTANCES, disk_size=4 << 20, assume=off, change=only_admins)
    emulator = Emulator(seed, folder / "state", ("--oke-host", oke_host())).start()
    yield emulator
    emulator.stop()


@pytest.fixture(scope="module")
def instances() -> Iterator[str]:
    """Instances that no test of this file has taken yet."""
    return iter(INSTANCES)


@pytest.fixture
def administrator(cloud: Emulator) -> Iterator[Administrator]:
    """One who may write policies; at the end they are gone."""
    made = Administrator(cloud)
    yield made
    made.take_back()


@pytest.fixture
def principal(cloud: Emulator, tmp_path: Path) -> Callable[[str], Hyperexport]:
    """The command of a principal of a kind, working in the compartment `main`."""

    def make(kind: str) -> Hyperexport:
        (tmp_path / kind).mkdir()
        environ = Somebody(cloud, kind, tmp_path / kind).environ()
        hyper = Hyperexport(cloud, tmp_path, config_file=Path(environ.pop("OCI_CLI_CONFIG_FILE")))
        hyper.environ |= environ | {"HYPEREXPORT_OCI_COMPARTMENT_OCID": compartment_id("main")}
        return hyper

    return make


def test_the_page_has_the_sentences_that_are_proven_here() -> None:
    """The sentences that these tests leave out one by one stand on the page."""
    assert set(NEEDED) < {what for what, _ in SENTENCES}


@pytest.mark.parametrize("kind", ["instance_principal", "resource_principal", "nested", "oke_workload_identity"])
def test_the_sentences_of_the_page_are_enough(cloud, administrator, principal, instances, kind: str) -> None:
    """The rule that `config check` prints and the page's sentences let a principal export, which before may nothing."""
    hyper, look = principal(kind), ("config", "check", "--json", "-bn", "exports")
    before = hyper.run(*look).json["check"]
    assert [
        re.findall(r"Allow (?:dynamic-group Exporters|any-user) to ([a-z -]+) in", line) for line in before["missing"]
    ] == [
        ["read buckets", "manage objects"],
        ["use instances", "manage instance-images"],
    ]
    name = next(instances)
    refused = hyper.export(name, "-o", "disk.qcow2")
    assert refused.code == 4, refused.err
    administrator.allow(before["rule"])
    assert hyper.run(*look).json["check"]["missing"] == []
    done = hyper.export(name, "-o", "disk.qcow2")
    assert done.code == 0, done.err
    left = cloud.control("GET", "leftovers")
    assert not any(left.values()), left


@pytest.mark.parametrize("sentence", NEEDED)
def test_a_sentence_that_is_missing_is_named(cloud, administrator, principal, instances, sentence: str) -> None:
    """Without one of the sentences the export is refused, names that sentence, and leaves nothing."""
    hyper = principal("instance_principal")
    administrator.allow(hyper.run("config", "check", "--json").json["check"]["rule"], sentence)
    refused = hyper.export(next(instances), "-o", "disk.qcow2")
    assert refused.code in {4, 5, 6}, refused.err
    assert sentence in refused.err
    left = cloud.control("GET", "leftovers")
    assert not any(left.values()), left
