"""Credentials that end in mid-run: real processes wait for a login, lose nothing, and go on by themselves."""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from emulator import REGION, TENANCY, USER, Emulator, fingerprint, instance_id, make_seed, private_pem, public_pem
from hyperexport import Hyperexport, Running
from signing_in import Somebody

from hypersdk import events
from hypersdk.config import load_config
from hypersdk.model import ObjectRef
from hypersdk.waiting import Waiter
from hypersdk.wiring import Wiring

MIB = 1 << 20
BODY = random.Random(8).randbytes(16 * MIB + 7)
PARTS = 17
LIFE = 1800
"""Seconds after which every token of this file has ended."""
SMALL = {"HYPEREXPORT_TRANSFER_PART_SIZE": "1MiB", "HYPEREXPORT_TRANSFER_PARALLEL": "2"}
INSTANCES = [f"vm-{n:02}" for n in range(8)]
LOG_IN = "waiting: log in with `oci session authenticate --profile-name DEFAULT`"
PATIENCE = 30.0


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One emulator for this file."""
    folder = tmp_path_factory.mktemp("cloud")
    seed = make_seed(folder / "seed", instances=INSTANCES, disk_size=4 * MIB, assume={"lock-minutes": 0})
    emulator = Emulator(seed, folder / "state").start()
    emulator.put("exports", "big", BODY)
    yield emulator
    emulator.stop()


@pytest.fixture(scope="module")
def instances() -> Iterator[str]:
    """Instances that no export of this file has taken yet."""
    return iter(INSTANCES)


@pytest.fixture
def somebody(cloud: Emulator, tmp_path: Path) -> Iterator[Callable[[str], Somebody]]:
    """Makes those who sign in; no fault is left."""

    def make(kind: str) -> Somebody:
        folder = tmp_path / f"of-{kind}"
        folder.mkdir()
        return Somebody(cloud, kind, folder)

    yield make
    left = cloud.unconsumed()
    cloud.control("DELETE", "faults")
    assert not left, f"faults never consumed: {left}"


@pytest.fixture(autouse=True)
def _nothing_runs_on(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A test that fails leaves no command behind that waits for a login."""
    started: list[Running] = []
    start = Hyperexport.start

    def noted(hyper: Hyperexport, *arguments: str, **fields: Any) -> Running:
        started.append(start(hyper, *arguments, **fields))
        return started[-1]

    monkeypatch.setattr(Hyperexport, "start", noted)
    yield
    for running in started:
        running.kill()


def command(who: Somebody, folder: Path) -> Hyperexport:
    """The command of somebody, whose calls have one try only: whatever spends an attempt fails."""
    environ = who.environ()
    hyper = Hyperexport(who.emulator, folder, config_file=Path(environ.pop("OCI_CLI_CONFIG_FILE")))
    hyper.environ |= environ | SMALL | {"HYPEREXPORT_RETRY_MAX_ATTEMPTS": "1"}
    return hyper


def until(true: Callable[[], bool], running: Running) -> None:
    """Wait until something is true while a command runs."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert not running.ended(), running.err
        assert time.monotonic() < end, running.err
        time.sleep(0.005)


def held(cloud: Emulator, running: Running, requests: int = 2) -> None:
    """Wait until faults hold so many requests of a command: all that it has in flight, else the others would go on."""
    until(lambda: sum(fault.get("holding", 0) for fault in cloud.faults()) >= requests, running)


def end_tokens(cloud: Emulator) -> None:
    """Let every token end, then let go what is held."""
    cloud.control("POST", "clock", {"advanceSeconds": LIFE})
    cloud.control("POST", "release", {"all": True})


def mark(cloud: Emulator) -> int:
    """Where the log ends now."""
    log = cloud.log()
    return int(log[-1]["id"]) if log else 0


def seen(cloud: Emulator, since: int, operation: str) -> list[int]:
    """Statuses of an operation's requests since a mark."""
    return [entry["status"] for entry in cloud.log(since) if entry["operation"] == operation]


def test_a_download_waits_for_a_login(cloud: Emulator, somebody, tmp_path: Path) -> None:
    """The session ends half-way: `cp` says what to type, and after the login every part has been fetched once."""
    who, start = somebody("security_token"), mark(cloud)
    cloud.fault("GetObject", "hold", skip=6, times=2)
    running = command(who, tmp_path).start("cp", f"oci://{cloud.namespace}/exports/big", "big")
    held(cloud, running)
    end_tokens(cloud)
    until(lambda: LOG_IN in running.err, running)
    who.renew()
    done = running.wait()
    assert done.code == 0, done.err
    assert (tmp_path / "big").read_bytes() == BODY
    statuses = seen(cloud, start, "GetObject")
    assert statuses.count(206) == PARTS
    assert statuses.count(401) <= 6, "while it waits it does not bother the service"


def test_a_token_that_is_over_by_its_own_word_is_waited_for(cloud: Emulator, somebody, tmp_path: Path) -> None:
    """Nothing signs any more, so nothing is sent; it says when it ended, and that `oci session refresh` is too late."""
    who, start = somebody("security_token"), mark(cloud)
    cloud.fault("GetObject", "hold", skip=6, times=2)
    running = command(who, tmp_path).start("cp", f"oci://{cloud.namespace}/exports/big", "big")
    held(cloud, running)
    cloud.control("POST", "clock", {"advanceSeconds": LIFE})
    who.seconds = 2
    who.renew()
    cloud.fault("GetObject", "delay", times=8, seconds=0.7)
    cloud.control("POST", "release", {"all": True})
    until(lambda: LOG_IN in running.err, running)
    assert "the session ends at" in running.err, "it was reminded of before"
    assert "too late for `oci session refresh --profile DEFAULT`" in running.err
    cloud.control("DELETE", "faults")
    who.seconds = 1200
    who.renew()
    done = running.wait()
    assert done.code == 0, done.err
    assert (tmp_path / "big").read_bytes() == BODY
    assert seen(cloud, start, "GetObject").count(206) == PARTS


def test_an_upload_waits_for_a_login(cloud: Emulator, somebody, tmp_path: Path) -> None:
    """The same on the way up: no part is sent twice, the object is whole."""
    who, start = somebody("security_token"), mark(cloud)
    (tmp_path / "source").write_bytes(BODY)
    cloud.fault("UploadPart", "hold", skip=6, times=2)
    running = command(who, tmp_path).start("cp", "source", f"oci://{cloud.namespace}/exports/up")
    held(cloud, running)
    end_tokens(cloud)
    until(lambda: LOG_IN in running.err, running)
    who.renew()
    done = running.wait()
    assert done.code == 0, done.err
    assert cloud.get("exports", "up").body == BODY
    assert seen(cloud, start, "UploadPart").count(200) == PARTS


@pytest.mark.parametrize("operation", ["ExportImage", "GetWorkRequest", "GetObject"])
def test_an_export_waits_for_a_login(
    cloud: Emulator, somebody, tmp_path: Path, instances: Iterator[str], operation: str
) -> None:
    """Between any two calls of an export: it waits, goes on after the login, makes one image and leaves nothing."""
    who, instance, start = somebody("security_token"), next(instances), mark(cloud)
    cloud.fault(operation, "hold")
    hyper = command(who, tmp_path)
    hyper.environ |= {"HYPEREXPORT_TRANSFER_PART_SIZE": "192KiB", "HYPEREXPORT_TRANSFER_PARALLEL": "1"}
    running = hyper.start("export", instance, "-bn", "exports", "-o", "disk.qcow2")
    held(cloud, running, 1)
    end_tokens(cloud)
    until(lambda: LOG_IN in running.err, running)
    listed = hyper.run("runs", "list")
    assert "running" in listed.out or "active" in listed.out, listed.out
    who.renew()
    done = running.wait()
    assert done.code == 0, done.err
    assert seen(cloud, start, "CreateImage") == [200]
    assert not any(cloud.control("GET", "leftovers").values())


def test_a_wait_for_a_login_can_be_stopped(cloud: Emulator, somebody, tmp_path: Path) -> None:
    """SIGTERM while it waits: exit 130 at once; after the login the same command fetches only what is missing."""
    who = somebody("security_token")
    cloud.fault("GetObject", "hold", skip=6, times=2)
    hyper = command(who, tmp_path)
    copy = ("cp", f"oci://{cloud.namespace}/exports/big", "big")
    running = hyper.start(*copy)
    held(cloud, running)
    end_tokens(cloud)
    until(lambda: LOG_IN in running.err, running)
    running.signal(signal.SIGTERM)
    assert running.wait().code == 130
    who.renew()
    start = mark(cloud)
    done = hyper.run(*copy)
    assert done.code == 0, done.err
    assert (tmp_path / "big").read_bytes() == BODY
    assert 0 < seen(cloud, start, "GetObject").count(206) < PARTS - 4


def test_a_token_that_is_being_written_is_waited_for(cloud: Emulator, somebody, tmp_path: Path) -> None:
    """The OCI CLI truncates the token's file and writes it: half of a token is no reason to end, nor is none."""
    who, start = somebody("security_token"), mark(cloud)
    cloud.fault("GetObject", "hold", skip=6, times=2)
    running = command(who, tmp_path).start("cp", f"oci://{cloud.namespace}/exports/big", "big")
    held(cloud, running)
    end_tokens(cloud)
    until(lambda: LOG_IN in running.err, running)
    elsewhere = Somebody(cloud, "security_token", tmp_path / "elsewhere")
    elsewhere.folder.mkdir()
    elsewhere.renew()
    whole = (elsewhere.folder / "token").read_text()
    for text in ("", whole[: len(whole) // 2]):
        (who.folder / "token").write_text(text)
        time.sleep(1.1)
        assert not running.ended(), running.err
    shutil.copy(elsewhere.folder / "key.pem", who.folder / "key.pem")
    (who.folder / "token").write_text(whole)
    done = running.wait()
    assert done.code == 0, done.err
    assert (tmp_path / "big").read_bytes() == BODY
    assert seen(cloud, start, "GetObject").count(206) == PARTS


def test_an_export_that_begins_in_mid_fleet_waits_too(cloud: Emulator, somebody, tmp_path: Path) -> None:
    """The session worked for the fleet and ended before the next export's thread signs in: that waits, too."""
    who, told = somebody("security_token"), []
    who.seconds = 2
    environ = who.environ()
    config = load_config({"endpoint": cloud.endpoint}, environ, cwd=tmp_path, home=tmp_path)
    ref = ObjectRef("oci", cloud.namespace, "exports", "big")
    with Wiring(config, Waiter()) as home:
        assert home.retrier.call("look", lambda: home.oci_store.head(ref)).size == len(BODY)
        time.sleep(2.1)
        apart = home.apart("", Waiter(report=told.append))

        def work() -> int:
            with apart:
                return apart.retrier.call("look", lambda: apart.oci_store.head(ref)).size

        with ThreadPoolExecutor(1) as pool:
            size = pool.submit(work)
            end = time.monotonic() + PATIENCE
            while not any(isinstance(event, events.Waiting) for event in told):
                assert not size.done(), size.exception()
                assert time.monotonic() < end
                time.sleep(0.005)
            who.seconds = 1200
            who.renew()
            assert size.result(PATIENCE) == len(BODY)
    asked = [event for event in told if isinstance(event, events.Waiting) and event.reason]
    assert {event.kind for event in asked} == {events.LOGIN}


def test_a_fleet_waits_for_one_login(cloud: Emulator, somebody, tmp_path: Path, instances: Iterator[str]) -> None:
    """Two exports under way and one still to begin when the session ends: one login, and all three are done."""
    who, names, start = somebody("security_token"), [next(instances) for _ in range(3)], mark(cloud)
    (tmp_path / "list").write_text("\n".join(names))
    cloud.fault("GetObject", "hold", times=2)
    hyper = command(who, tmp_path)
    hyper.environ |= {"HYPEREXPORT_TRANSFER_PART_SIZE": "192KiB", "HYPEREXPORT_TRANSFER_PARALLEL": "1"}
    running = hyper.start("fleet", "list", "-bn", "exports", "-o", "./", "--parallel", "2", "--json")
    held(cloud, running)
    end_tokens(cloud)
    until(lambda: "log in with `oci session authenticate" in running.err, running)
    who.renew()
    done = running.wait()
    assert done.code == 0, done.err
    assert sorted(path.name for path in tmp_path.glob("*.qcow2")) == [f"{name}.qcow2" for name in names]
    assert seen(cloud, start, "CreateImage") == [200] * 3
    assert not any(cloud.control("GET", "leftovers").values())


class KeyOwner:
    """A user of the seed with API keys of his own, which an administrator adds and removes."""

    def __init__(self, cloud: Emulator, folder: Path) -> None:
        self._cloud = cloud
        self._folder = folder
        self.key = self.new_key()
        self.use(self.key)

    @property
    def profile(self) -> Path:
        return self._folder / "profile"

    def new_key(self) -> rsa.RSAPrivateKey:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.add(key)
        return key

    def add(self, key: rsa.RSAPrivateKey) -> None:
        assert self._cloud.call("POST", f"/20160918/users/{USER}/apiKeys", {"key": public_pem(key)}).status == 200

    def remove(self, key: rsa.RSAPrivateKey) -> None:
        path = f"/20160918/users/{USER}/apiKeys/{fingerprint(key)}"
        assert self._cloud.call("DELETE", path).status == 204

    def use(self, key: rsa.RSAPrivateKey) -> None:
        """Write key and profile, as somebody who rotates keys does: a new file, then its name."""
        file = self._folder / f"{fingerprint(key)[:5].replace(':', '')}.pem"
        file.touch(0o600)
        file.write_bytes(private_pem(key) + b"OCI_API_KEY\n")
        values = {"user": USER, "fingerprint": fingerprint(key), "key_file": file, "tenancy": TENANCY, "region": REGION}
        self.profile.write_text("[DEFAULT]\n" + "".join(f"{name}={value}\n" for name, value in values.items()))


def downloading(cloud: Emulator, owner: KeyOwner, folder: Path) -> Running:
    """A download by this user that is held half-way."""
    hyper = Hyperexport(cloud, folder, config_file=owner.profile)
    hyper.environ |= SMALL | {"HYPEREXPORT_RETRY_MAX_ATTEMPTS": "1"}
    cloud.fault("GetObject", "hold", skip=6, times=2)
    running = hyper.start("cp", f"oci://{cloud.namespace}/exports/big", "big")
    held(cloud, running)
    return running


def test_a_rotated_key_is_picked_up_without_a_pause(cloud: Emulator, tmp_path: Path) -> None:
    """Another key in the profile, then the old one is removed: the next 401 reads the profile anew, nobody waits."""
    owner, start = KeyOwner(cloud, tmp_path), mark(cloud)
    running = downloading(cloud, owner, tmp_path)
    fresh = owner.new_key()
    owner.use(fresh)
    owner.remove(owner.key)
    cloud.control("POST", "release", {"all": True})
    done = running.wait()
    owner.remove(fresh)
    assert done.code == 0, done.err
    assert "waiting: register" not in done.err
    assert (tmp_path / "big").read_bytes() == BODY
    assert seen(cloud, start, "GetObject").count(206) == PARTS


def test_a_key_that_is_removed_and_added_again(cloud: Emulator, tmp_path: Path) -> None:
    """The key vanishes in mid-download: it says which key, and goes on when it is registered again; no file changed."""
    owner, start = KeyOwner(cloud, tmp_path), mark(cloud)
    running = downloading(cloud, owner, tmp_path)
    owner.remove(owner.key)
    cloud.control("POST", "release", {"all": True})
    until(lambda: f"waiting: register API key {fingerprint(owner.key)} with user {USER}" in running.err, running)
    owner.add(owner.key)
    done = running.wait()
    owner.remove(owner.key)
    assert done.code == 0, done.err
    assert (tmp_path / "big").read_bytes() == BODY
    assert seen(cloud, start, "GetObject").count(206) == PARTS


def test_an_instance_principal_that_is_refused_ends_resumably(
    cloud: Emulator, somebody, tmp_path: Path, instances: Iterator[str]
) -> None:
    """Nobody can log in for an instance: the export ends with exit 4, nothing is cleaned up, and it resumes."""
    who, instance = somebody("instance_principal"), next(instances)
    hyper = command(who, tmp_path)
    hyper.environ |= {"HYPEREXPORT_TRANSFER_PART_SIZE": "192KiB", "HYPEREXPORT_TRANSFER_PARALLEL": "1"}
    export = ("export", instance, "-bn", "exports", "-o", "disk.qcow2")
    cloud.fault("GetObject", "hold")
    running = hyper.start(*export)
    held(cloud, running, 1)
    cloud.fault("GetSecurityTokenX509", "error", times="any", status=401, code="NotAuthenticated")
    end_tokens(cloud)
    done = running.wait()
    assert done.code == 4, done.err
    assert f"instance {instance_id(INSTANCES[0])} must be known to the federation service again" in done.err
    assert "the same command resumes" in done.err
    assert "could not clean up" not in done.err
    assert "hyperexport runs cancel" in done.err
    cloud.control("DELETE", "faults")
    done = hyper.run(*export)
    assert done.code == 0, done.err
    assert not any(cloud.control("GET", "leftovers").values())
