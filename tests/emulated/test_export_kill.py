"""kill -9 at any moment: the same command finishes, one image was made, nothing is left, finished parts are kept."""

import itertools
import json
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from emulator import Emulator, make_seed
from hyperexport import Ended, Hyperexport, Running

VM = "victim"
IMAGE_LOCK = 20 * 60 + 1
SHARES = 4
"""The requests of an export are dealt out to so many tests, which can run side by side."""

PARTS = {"HYPEREXPORT_TRANSFER_PART_SIZE": "256KiB", "HYPEREXPORT_TRANSFER_PARALLEL": "2"}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One emulator for this file. Its 20-minute lock forbids a second image within one test of a kill."""
    folder = tmp_path_factory.mktemp("cloud")
    seed = make_seed(folder / "seed", instances=[VM])
    emulator = Emulator(seed, folder / "state").start()
    yield emulator
    emulator.stop()


class Victim:
    """One export that is killed on its way; every export has its own home."""

    def __init__(self, emulator: Emulator, folder: Path, *arguments: str) -> None:
        folder.mkdir(parents=True)
        self.emulator = emulator
        self.arguments = arguments or ("-o", "./")
        # The image of the kill before no longer locks the instance; from here on a second one would wait for ever.
        emulator.control("POST", "clock", {"advanceSeconds": IMAGE_LOCK})
        self.hyper = Hyperexport(emulator, folder)
        log = emulator.log()
        self.mark = int(log[-1]["id"]) if log else 0

    def start(self) -> Running:
        return self.hyper.start("export", VM, *self.arguments, "-bn", "exports", environ=PARTS)

    def finish(self) -> Ended:
        """The same command again."""
        return self.start().wait()

    def settle(self) -> None:
        """Wait until the held request is alone and every range sent whole is in the journal (after its first line)."""
        end = time.monotonic() + 5
        while self.requests("GetObject") and time.monotonic() < end:
            open_requests = sum(each["status"] is None for each in self.emulator.log(self.mark))
            journals = list(self.hyper.folder.glob(".hx-*.journal"))
            noted = journals[0].read_bytes().count(b"\n") if journals else len(self.fetched()) + 1
            if open_requests == 1 and noted > len(self.fetched()):
                return
            time.sleep(0.005)

    def requests(self, operation: str) -> list[dict[str, Any]]:
        return [each for each in self.emulator.log(self.mark) if each["operation"] == operation]

    def fetched(self) -> list[str]:
        """Ranges of the staging object that went over the wire."""
        read = [each for each in self.requests("GetObject") if ".hypersdk" in each["path"]]
        return [each["range"] for each in read if each["bytes"]]

    def check(self, ended: Ended, where: str) -> None:
        """What must be true after the second run."""
        assert ended.code == 0, f"{where}: {ended.err}"
        disk = self.hyper.folder / f"{VM}.qcow2"
        if "-o" not in self.arguments:
            disk.write_bytes(self.emulator.get("exports", self.arguments[-1].partition("/exports/")[2]).body)
        raw = self.emulator.seed.disk(VM)
        compare = ["qemu-img", "compare", "-q", "-f", "qcow2", "-F", "raw", str(disk), str(raw)]
        assert subprocess.run(compare, check=False).returncode == 0, where
        left = self.emulator.control("GET", "leftovers")
        assert not any(left.values()), f"{where}: {left}"
        runs = json.loads(self.hyper.run("runs", "list", "--json").out)["runs"]
        assert [run["state"] for run in runs] == ["done"], where
        assert [path.name for path in self.hyper.folder.glob(".hx-*")] == [], where


def kill_at_each_request(emulator: Emulator, folder: Path, share: int, shares: int, *arguments: str) -> int:
    """Kill an export at each request of this share in turn; answers how many there were."""
    for number in itertools.count(share, shares):
        victim = Victim(emulator, folder / str(number), *[each.replace("NUMBER", str(number)) for each in arguments])
        emulator.fault("*", "hold", skip=number)
        running = victim.start()
        while not (held := emulator.faults()[-1]["holding"]) and not running.ended():
            pass
        if not held:
            emulator.control("DELETE", "faults")
            assert running.wait().code == 0, running.err
            return len(range(share, number, shares))
        victim.settle()
        running.kill()
        finished = victim.fetched()
        emulator.control("POST", "release", {"all": True})
        victim.check(victim.finish(), f"request {number}")
        again = victim.fetched()[len(finished) :]
        if "-o" in victim.arguments:
            assert not set(finished).intersection(again), f"request {number}: {finished} {again}"
    raise AssertionError("unreachable")


@pytest.mark.parametrize("share", range(SHARES))
def test_killed_at_each_request_in_turn(cloud: Emulator, tmp_path: Path, share: int) -> None:
    """Each request takes effect, its reply never arrives, the process is killed: the same command finishes."""
    assert kill_at_each_request(cloud, tmp_path, share, SHARES) >= 30 // SHARES


def kill_at_random(emulator: Emulator, folder: Path, chance: random.Random, count: int) -> None:
    for number in range(count):
        victim = Victim(emulator, folder / str(number))
        running = victim.start()
        end = time.monotonic() + chance.uniform(0.0, 0.8)
        while time.monotonic() < end and not running.ended():
            time.sleep(0.001)
        running.kill()
        victim.check(victim.finish(), f"kill {number}")


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_times(cloud: Emulator, tmp_path: Path, seed: int) -> None:
    """Five kills at seeded random moments each: the same command finishes every time."""
    kill_at_random(cloud, tmp_path, random.Random(seed), 5)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10, 14))
def test_killed_many_times(cloud: Emulator, tmp_path: Path, seed: int) -> None:
    """A hundred kills at random moments in all."""
    kill_at_random(cloud, tmp_path, random.Random(seed), 25)


@pytest.mark.soak
@pytest.mark.parametrize("share", range(2))
@pytest.mark.parametrize(
    "arguments",
    [
        ("--to", "oci://testns/exports/kept-NUMBER/x.qcow2"),
        ("--to", "oci://testns/exports/both-NUMBER/x.qcow2", "--allow-shutdown", "-o", "./"),
    ],
)
def test_killed_on_the_way_into_a_bucket(
    cloud: Emulator, tmp_path: Path, share: int, arguments: tuple[str, ...]
) -> None:
    """The same with the object left under its final name, with and without a local file."""
    assert kill_at_each_request(cloud, tmp_path, share, 2, *arguments) >= 15


@pytest.mark.soak
@pytest.mark.parametrize("share", range(2))
def test_killed_while_a_link_is_used(start_emulator: Callable[..., Emulator], tmp_path: Path, share: int) -> None:
    """The same for a signer that needs a pre-authenticated link: no link is left, no export is made twice."""
    emulator = start_emulator(instances=[VM], user={"federated": True})
    assert kill_at_each_request(emulator, tmp_path / "runs", share, 2) >= 15
