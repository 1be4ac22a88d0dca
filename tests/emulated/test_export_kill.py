"""kill -9 at any moment: the same command finishes, one image was made, nothing is left, finished parts are kept."""

import itertools
import json
import random
import subprocess
import time
from collections.abc import Iterator
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

    def __init__(self, emulator: Emulator, folder: Path) -> None:
        folder.mkdir()
        self.emulator = emulator
        # The image of the kill before no longer locks the instance; from here on a second one would wait for ever.
        emulator.control("POST", "clock", {"advanceSeconds": IMAGE_LOCK})
        self.hyper = Hyperexport(emulator, folder)
        log = emulator.log()
        self.mark = int(log[-1]["id"]) if log else 0

    def start(self) -> Running:
        return self.hyper.start("export", VM, "-o", "./", "-bn", "exports", environ=PARTS)

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
        """Ranges that went over the wire."""
        return [each["range"] for each in self.requests("GetObject") if each["bytes"]]

    def check(self, ended: Ended, where: str) -> None:
        """What must be true after the second run."""
        assert ended.code == 0, f"{where}: {ended.err}"
        disk = self.hyper.folder / f"{VM}.qcow2"
        raw = self.emulator.seed.disk(VM)
        compare = ["qemu-img", "compare", "-q", "-f", "qcow2", "-F", "raw", str(disk), str(raw)]
        assert subprocess.run(compare, check=False).returncode == 0, where
        left = self.emulator.control("GET", "leftovers")
        assert not any(left.values()), f"{where}: {left}"
        runs = json.loads(self.hyper.run("runs", "list", "--json").out)["runs"]
        assert [run["state"] for run in runs] == ["done"], where
        assert [path.name for path in self.hyper.folder.glob(".hx-*")] == [], where


@pytest.mark.parametrize("share", range(SHARES))
def test_killed_at_each_request_in_turn(cloud: Emulator, tmp_path: Path, share: int) -> None:
    """Each request takes effect, its reply never arrives, the process is killed: the same command finishes."""
    hits = 0
    for number in itertools.count(share, SHARES):
        victim = Victim(cloud, tmp_path / str(number))
        fault = cloud.fault("*", "hold", skip=number)
        running = victim.start()
        while not (held := bool(next(each for each in cloud.faults() if each["id"] == fault["id"])["holding"])):
            if running.ended():
                break
        if not held:
            cloud.control("DELETE", "faults")
            assert running.wait().code == 0, running.err
            break
        hits += 1
        victim.settle()
        running.kill()
        finished = victim.fetched()
        cloud.control("POST", "release", {"all": True})
        ended = victim.finish()
        victim.check(ended, f"request {number}")
        again = victim.fetched()[len(finished) :]
        assert not set(finished).intersection(again), f"request {number}: {finished} {again}"
    assert hits >= 30 // SHARES


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_times(cloud: Emulator, tmp_path: Path, seed: int) -> None:
    """Five kills at seeded random moments each: the same command finishes every time."""
    chance = random.Random(seed)
    for number in range(5):
        victim = Victim(cloud, tmp_path / str(number))
        running = victim.start()
        end = time.monotonic() + chance.uniform(0.0, 0.8)
        while time.monotonic() < end and not running.ended():
            time.sleep(0.001)
        running.kill()
        victim.check(victim.finish(), f"seed {seed}, kill {number}")
