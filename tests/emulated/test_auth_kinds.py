"""Every kind of credentials end to end: who signs in, tokens that end in mid-transfer, exports through links."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from emulator import REGION, TENANCY, Emulator, compartment_id, instance_id, make_seed
from hyperexport import Ended, Hyperexport
from signing_in import CLUSTER, FUNCTION, KINDS, NOTEBOOK, TOKENS, USER, Somebody, oke_host

import hypersdk
from hypersdk.config import Config, load_config

MIB = 1 << 20
BODY = random.Random(5).randbytes(33 * MIB + 7)
LIFE = 1800
"""Seconds after which every token of this file has ended, but for the links, which live a day."""
INSTANCES = [f"vm-{n:02}" for n in range(20)]
PRINCIPALS = {
    "api_key": USER,
    "security_token": USER,
    "instance_principal": instance_id(INSTANCES[0]),
    "resource_principal": FUNCTION,
    "nested": NOTEBOOK,
    "oke_workload_identity": CLUSTER,
}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One emulator for this file, with a cluster and an instance for each export."""
    folder = tmp_path_factory.mktemp("cloud")
    seed = make_seed(folder / "seed", instances=INSTANCES, disk_size=4 * MIB, assume={"lock-minutes": 0})
    emulator = Emulator(seed, folder / "state", ("--oke-host", oke_host())).start()
    emulator.put("exports", "big", BODY)
    yield emulator
    emulator.stop()


@pytest.fixture
def somebody(cloud: Emulator, tmp_path: Path) -> Iterator[Callable[..., Somebody]]:
    """Makes those who sign in; at the end no fault may be left."""

    def make(kind: str, **fields: Any) -> Somebody:
        folder = tmp_path / kind
        folder.mkdir()
        return Somebody(cloud, kind, folder, **fields)

    yield make
    left = cloud.unconsumed()
    cloud.control("DELETE", "faults")
    assert not left, f"faults never consumed: {left}"


@pytest.fixture(scope="module")
def instances() -> Iterator[str]:
    """Instances that no export of this file has taken yet."""
    return iter(INSTANCES)


@pytest.fixture
def instance(instances: Iterator[str]) -> str:
    """An instance for one test."""
    return next(instances)


def config_of(who: Somebody, folder: Path, **flags: object) -> Config:
    """The configuration of somebody whose calls have one try only: whatever spends an attempt fails."""
    environ = who.environ() | {"HYPEREXPORT_RETRY_MAX_ATTEMPTS": "1"}
    small = {"part_size": "1MiB", "parallel": 2}
    return load_config({"endpoint": who.emulator.endpoint, **small, **flags}, environ, cwd=folder, home=folder)


def command(who: Somebody, folder: Path) -> Hyperexport:
    """The command of somebody."""
    environ = who.environ()
    hyper = Hyperexport(who.emulator, folder, config_file=Path(environ.pop("OCI_CLI_CONFIG_FILE")))
    hyper.environ |= environ
    return hyper


def seen(cloud: Emulator, mark: int, operation: str) -> list[int]:
    """Statuses of an operation's requests since a mark."""
    return [entry["status"] for entry in cloud.log(mark) if entry["operation"] == operation]


def mark(cloud: Emulator) -> int:
    """Where the log ends now."""
    log = cloud.log()
    return int(log[-1]["id"]) if log else 0


class Aging:
    """A progress callback that lets all tokens end at some shares of the way."""

    def __init__(self, who: Somebody, *shares: float) -> None:
        self._who = who
        self._shares = list(shares)

    def __call__(self, done: int, total: int) -> None:
        if self._shares and done >= self._shares[0] * total:
            self._shares.pop(0)
            self._who.emulator.control("POST", "clock", {"advanceSeconds": LIFE})
            self._who.renew()

    @property
    def ended(self) -> bool:
        return not self._shares


# ---------------------------------------------------------------- who signs in


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_checks_lists_and_looks(cloud: Emulator, somebody, tmp_path: Path, kind: str) -> None:
    """`config check`, `ls` and `stat` work with nothing but the kind's own environment, which names who that is."""
    who = somebody(kind)
    hyper = command(who, tmp_path)
    done = hyper.run("config", "check", "--json", "-bn", "exports", "-c", compartment_id("main"))
    assert done.code == 0, done.err
    facts = done.json["check"]
    assert (facts["auth"], facts["tenancy"], facts["region"]) == (who.auth, TENANCY, REGION)
    assert facts["principal"] == PRINCIPALS[kind]
    assert facts["missing"] == []
    assert (facts["expires"] is None) is (kind == "api_key")
    assert (facts["rule"] is None) is (kind in {"api_key", "security_token"})
    listed = hyper.run("ls", f"oci://{cloud.namespace}/exports/", "--json")
    assert "big" in {entry["name"].rpartition("/")[2] for entry in listed.json["objects"]}, listed.err
    assert hyper.run("stat", f"oci://{cloud.namespace}/exports/big", "--json").json["object"]["size"] == len(BODY)


# ---------------------------------------------------------------- tokens that end in mid-transfer


@pytest.mark.parametrize("kind", TOKENS)
def test_download_outlives_its_tokens(cloud: Emulator, somebody, tmp_path: Path, kind: str) -> None:
    """33 MiB while every token ends twice on the way: the same bytes, and with one try for each part none is lost."""
    who = somebody(kind)
    config, start, aging = config_of(who, tmp_path), mark(cloud), Aging(who, 0.3, 0.6)
    hypersdk.download(f"oci://{cloud.namespace}/exports/big", str(tmp_path / "big"), config, progress=aging)
    assert aging.ended
    assert (tmp_path / "big").read_bytes() == BODY
    statuses = seen(cloud, start, "GetObject")
    assert statuses.count(206) == 34
    assert 2 <= statuses.count(401) <= 4, "each end of a token is noticed by the requests of its moment, and only once"


@pytest.mark.parametrize("kind", TOKENS)
def test_upload_outlives_its_tokens(cloud: Emulator, somebody, tmp_path: Path, kind: str) -> None:
    """33 MiB in parts while every token ends twice on the way: the object is whole, no part was tried in vain."""
    who = somebody(kind)
    (tmp_path / "source").write_bytes(BODY)
    config, start, aging = config_of(who, tmp_path), mark(cloud), Aging(who, 0.3, 0.6)
    address = f"oci://{cloud.namespace}/exports/up-{kind}"
    info = hypersdk.upload(str(tmp_path / "source"), address, config, progress=aging)
    assert aging.ended
    assert info.size == len(BODY)
    assert cloud.get("exports", f"up-{kind}").body == BODY
    statuses = seen(cloud, start, "UploadPart")
    assert statuses.count(200) == 34
    assert 2 <= statuses.count(401) <= 4


def test_tokens_are_renewed_before_they_end(start_emulator, tmp_path: Path) -> None:
    """A download that takes several lives of its tokens sees no 401: each is renewed in time, between two parts."""
    emulator = start_emulator(disk_size=4 * MIB, assume={"principal-token-minutes": 0.05})
    emulator.put("exports", "slow", BODY[: 10 * MIB])
    emulator.fault("GetObject", "delay", times=10, seconds=0.5)
    (tmp_path / "me").mkdir()
    config = config_of(Somebody(emulator, "instance_principal", tmp_path / "me"), tmp_path, parallel=1)
    hypersdk.download(f"oci://{emulator.namespace}/exports/slow", str(tmp_path / "slow"), config)
    assert (tmp_path / "slow").read_bytes() == BODY[: 10 * MIB]
    assert set(seen(emulator, 0, "GetObject")) == {206}
    assert 3 <= len(seen(emulator, 0, "GetSecurityTokenX509")) <= 6


def test_a_session_that_has_ended_is_an_error_at_the_start(cloud: Emulator, somebody, tmp_path: Path) -> None:
    """Who begins with a token that ended long ago waits for nobody: exit 4 at once, with when and how to log in."""
    who = somebody("security_token", seconds=1)
    hyper = command(who, tmp_path)
    time.sleep(1.1)
    done = hyper.run("cp", f"oci://{cloud.namespace}/exports/big", "big")
    assert done.code == 4
    assert "expired at" in done.err
    assert "oci session authenticate --profile-name DEFAULT" in done.err
    assert "waiting" not in done.err


def test_a_renewal_that_fails_is_tried_again(cloud: Emulator, somebody, tmp_path: Path) -> None:
    """A federation service that fails for a moment costs tries as any other call does, at the start and on the way."""
    who = somebody("instance_principal")
    environ = who.environ() | {"HYPEREXPORT_RETRY_INITIAL_DELAY": "0.01s", "HYPEREXPORT_TRANSFER_PART_SIZE": "1MiB"}
    cloud.fault("GetSecurityTokenX509", "error", times=2, status=503, code="ServiceUnavailable")
    config = load_config({"endpoint": cloud.endpoint}, environ, cwd=tmp_path, home=tmp_path)

    def fail_later(done: int, total: int) -> None:
        if not failing and done >= total / 2:
            failing.append(cloud.fault("GetSecurityTokenX509", "error", times=2, status=500, code="InternalError"))
            cloud.control("POST", "clock", {"advanceSeconds": LIFE})

    failing: list[object] = []
    address = f"oci://{cloud.namespace}/exports/big"
    hypersdk.download(address, str(tmp_path / "big"), config, progress=fail_later)
    assert failing
    assert (tmp_path / "big").read_bytes() == BODY


# ---------------------------------------------------------------- exports


@pytest.mark.parametrize("kind", KINDS)
def test_export_of_each_kind_leaves_nothing(
    cloud: Emulator, somebody, tmp_path: Path, instance: str, kind: str
) -> None:
    """An export works for every kind; tokens get their object by a link, which is gone at the end like all else."""
    start = mark(cloud)
    done = command(somebody(kind), tmp_path).export(instance, "-o", "disk.qcow2")
    assert done.code == 0, done.err
    assert (tmp_path / "disk.qcow2").exists()
    assert_nothing_left(cloud)
    made = len(seen(cloud, start, "CreatePreauthenticatedRequest"))
    assert made == (0 if kind == "api_key" else 2), "one link proves before the image that links can be made"
    assert made == len(seen(cloud, start, "DeletePreauthenticatedRequest"))


def assert_nothing_left(cloud: Emulator) -> None:
    left = cloud.control("GET", "leftovers")
    assert not any(left.values()), left


HELD = (
    ("CreatePreauthenticatedRequest", 0),
    ("CreatePreauthenticatedRequest", 1),
    ("DeletePreauthenticatedRequest", 0),
    ("ExportImage", 0),
    ("GetObject", 0),
    ("DeletePreauthenticatedRequest", 1),
)
"""Operations, and how many of them come before the one that is held: one link is the proof, the other the export's."""


@pytest.mark.parametrize("held", HELD)
def test_killed_export_of_a_principal_leaves_no_link(
    cloud: Emulator, somebody, tmp_path: Path, instance: str, held: tuple[str, int]
) -> None:
    """Kill -9 when a request has taken effect and its reply has not come: the link was recorded, and goes at last."""
    hyper = command(somebody("instance_principal"), tmp_path)
    export = ("export", instance, "-bn", "exports", "-o", "disk.qcow2", "--json")
    killed_at(cloud, hyper, held[0], *export, skip=held[1])
    done = hyper.run(*export)
    assert done.code == 0, done.err
    assert_nothing_left(cloud)


def killed_at(cloud: Emulator, hyper: Hyperexport, operation: str, *arguments: str, skip: int = 0) -> Ended:
    """A command, killed while the reply to an operation that has taken effect is held back."""
    cloud.fault(operation, "hold", skip=skip)
    running = hyper.start(*arguments)
    end = time.monotonic() + 60
    while not any(fault.get("holding") for fault in cloud.faults()):
        assert not running.ended(), running.err
        assert time.monotonic() < end
        threading.Event().wait(0.01)
    ended = running.kill()
    cloud.control("POST", "release", {"all": True})
    return ended


SWAPS = (("api_key", "instance_principal"), ("resource_principal", "api_key"), ("security_token", "nested"))


@pytest.mark.parametrize("swap", SWAPS)
def test_another_kind_finishes_the_run(
    cloud: Emulator, somebody, tmp_path: Path, instance: str, swap: tuple[str, str]
) -> None:
    """What one kind of credentials began, another kind of the same tenancy resumes and cleans up."""
    export = ("export", instance, "-bn", "exports", "-o", "disk.qcow2", "--json")
    first, second = (command(somebody(kind), tmp_path) for kind in swap)
    killed_at(cloud, first, "ExportImage", *export)
    done = second.run(*export)
    assert done.code == 0, done.err
    assert_nothing_left(cloud)
    assert len(json.loads(second.run("runs", "list", "--json").out)["runs"]) == 1


def test_no_secret_of_any_kind_is_told(cloud: Emulator, somebody, tmp_path: Path, instance: str) -> None:
    """Tokens, keys and links of every kind stay out of output, errors, run store and partial, even with --debug."""
    secrets: list[str] = []
    for kind in TOKENS:
        who, home = somebody(kind), tmp_path / f"home-{kind}"
        home.mkdir()
        hyper = command(who, home)
        export = ("export", instance, "-bn", "exports", "-o", "disk.qcow2", "--debug", "-v")
        refusal = {"status": 401, "code": "NotAuthenticated", "times": 2}
        if kind != "instance_principal":  # the others would wait for whoever renews them
            refusal = {"status": 403, "code": "NotAllowed"}
        cloud.fault("GetObject", "error", message="no", **refusal)
        outputs = [hyper.run("config", "show", "--debug"), hyper.run(*export)]
        assert outputs[-1].code == 4, outputs[-1].err
        cloud.control("DELETE", "faults")
        outputs.append(hyper.run(*export))
        assert outputs[-1].code == 0, outputs[-1].err
        secrets += who.secrets
        texts = [path.read_bytes() for path in home.rglob("*") if path.is_file()]
        texts += [(ended.out + ended.err).encode() for ended in outputs]
        everything = b"\n".join(texts)
        for secret in (*secrets, *(token.rpartition(".")[2] for token in secrets), "PRIVATE KEY"):
            assert secret.encode() not in everything, f"{kind}: {secret[:20]}"
        assert b"ST$" not in everything
        assert b"Bearer" not in everything
    assert_nothing_left(cloud)


# ---------------------------------------------------------------- what is missing


def test_a_machine_without_metadata_service_is_told_at_once(cloud: Emulator, tmp_path: Path) -> None:
    """instance_principal elsewhere: exit 2 within 5 s, one line that says what does not answer and what to do."""
    (tmp_path / "none").write_text("")
    hyper = Hyperexport(cloud, tmp_path, config_file=tmp_path / "none")
    began = time.monotonic()
    done = hyper.run("ls", f"oci://{cloud.namespace}/exports/", "--auth", "instance_principal", environ=nowhere())
    assert (done.code, done.out) == (2, "")
    assert time.monotonic() - began < 5
    assert "no instance metadata service answers at http://127.0.0.1:9/opc/v2" in done.err
    assert "--auth" in done.err


def nowhere() -> dict[str, str]:
    return {"OCI_METADATA_BASE_URL": "http://127.0.0.1:9/opc/v2"}


def test_missing_policies_are_told_by_check(start_emulator, tmp_path: Path) -> None:
    """`config check` looks at the bucket: a 404 becomes the sentences that an administrator has to write."""
    emulator = start_emulator(disk_size=4 * MIB)
    (tmp_path / "me").mkdir()
    hyper = command(Somebody(emulator, "instance_principal", tmp_path / "me"), tmp_path)
    done = hyper.run("config", "check", "-bn", "absent", "--json")
    assert done.code == 0, done.err
    (missing,) = done.json["check"]["missing"]
    assert missing.startswith(f"bucket {emulator.namespace}/absent: absent or not allowed (404 BucketNotFound)")
    for right in ("read buckets", "manage objects"):
        assert f"Allow dynamic-group Exporters to {right} in compartment B" in missing
    assert "warning: bucket" in done.err
    assert done.json["check"]["rule"] == f"ALL {{instance.id = '{instance_id('web-01')}'}}"


def test_a_private_authority_holds_for_tokens_too(start_emulator, tmp_path: Path) -> None:
    """C011: the federation service is reached through the CA bundle that was asked for; without it nothing is sent."""
    emulator = start_emulator(disk_size=4 * MIB, arguments=("--tls",))
    (tmp_path / "me").mkdir()
    hyper = command(Somebody(emulator, "instance_principal", tmp_path / "me"), tmp_path)
    assert hyper.run("config", "check", "--cert-bundle", str(emulator.ca)).code == 0
    refused = hyper.run("config", "check")
    assert refused.code == 2
    assert "--cert-bundle" in refused.err


def test_a_principal_that_may_list_no_compartments_sees_its_own(cloud: Emulator, somebody, tmp_path: Path) -> None:
    """Names are looked up in the principal's own compartment when the tenancy's compartments are hidden from it."""
    hyper = command(somebody("instance_principal"), tmp_path)
    cloud.fault("ListCompartments", "error", status=404, code="NotAuthorizedOrNotFound")
    listed = hyper.run("instances", "list", "--json")
    assert listed.code == 0, listed.err
    assert set(INSTANCES) <= {each["name"] for each in listed.json["instances"]}
    cloud.fault("ListCompartments", "error", status=404, code="NotAuthorizedOrNotFound")
    refused = command(somebody("api_key"), tmp_path).run("instances", "list")
    assert refused.code == 4
    assert "the compartments cannot be listed" in refused.err


def test_show_tells_what_lies_here_and_asks_nobody(cloud: Emulator, somebody, tmp_path: Path) -> None:
    """`config show` reads a resource's token and the variables beside it; secrets are masked and nothing is sent."""
    who = somebody("resource_principal")
    hyper, start = command(who, tmp_path), mark(cloud)
    shown = {row["key"]: row["value"] for row in hyper.run("config", "show", "--json").json["settings"]}
    assert (shown["oci.auth"], shown["oci.principal"], shown["oci.principal_tenancy"]) == (who.auth, FUNCTION, TENANCY)
    assert shown["oci.principal_rule"].startswith("ALL {resource.type = 'fnfunc'")
    assert shown["oci.token_expires"].endswith(" UTC")
    assert shown["OCI_RESOURCE_PRINCIPAL_VERSION"] == "2.2"
    inline = {"OCI_RESOURCE_PRINCIPAL_RPST": who.secrets[0], "OCI_RESOURCE_PRINCIPAL_PRIVATE_PEM_PASSPHRASE": "/hush"}
    done = hyper.run("config", "show", environ=inline)
    assert who.secrets[0] not in done.out
    assert "/hush" not in done.out
    assert cloud.log(start) == []
