"""A fleet that workers carry out while they and the cloud are killed, and what must be true once it has ended."""

from __future__ import annotations

import importlib
import json
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg
from cutting_relay import CuttingRelay
from emulator import MIB, Emulator, instance_id, make_seed
from hyperexport import Ended, Hyperexport, Running

from hypersdk.fleet.engine import SCHEMA

DISK = 4 * MIB
PART = {"HYPEREXPORT_TRANSFER_PART_SIZE": "192KiB", "HYPEREXPORT_TRANSFER_PARALLEL": "2"}
MAX_PAGE = 1000

AT_START = 0.3
"""Share of the kills that may hit a worker which has not begun anything yet."""

PASSING: tuple[tuple[str, dict[str, Any]], ...] = (
    ("error", {"status": 503, "code": "ServiceUnavailable"}),
    ("error", {"status": 429, "code": "TooManyRequests", "headers": {"retry-after": "0"}}),
    ("error", {"status": 500, "code": "InternalServerError"}),
    ("reset", {}),
    ("lost-response", {}),
)
"""Each hits a fifth of the calls that are to fail."""


@dataclass(frozen=True)
class Weather:
    """What happens to a fleet.

    Attributes:
        instances: how many are exported.
        workers: how many processes carry that out.
        slots: exports at once of each.
        kills: how often a worker, or the cloud, is killed.
        faults: share of the calls to the cloud that fail.
        drop_after: bytes after which a connection is cut, on average; 0 = none is.
        transition_seconds: how long the cloud's states last.
        pause: longest time between two kills, in seconds.
        suspended: seconds for which one worker is stopped meanwhile; 0 = none is.
        seed: of everything that is random.
        patience: seconds that the fleet may take.
    """

    instances: int
    workers: int
    slots: int
    kills: int
    faults: float = 0.05
    drop_after: int = 0
    transition_seconds: float = 1.0
    pause: float = 1.0
    suspended: float = 0.0
    seed: int = 20261125
    patience: float = 120.0


@dataclass
class Told:
    """What a storm came to.

    Attributes:
        seconds: from the first kill to the end of the fleet.
        killed: "worker" and "cloud" -> how often.
        takeovers: how often a run changed hands.
        cuts: connections that were cut.
        calls: to the cloud.
        failed: those of them that the cloud was told to fail.
        steps: that were stored.
        suspended: how the suspended worker ended once it was woken; None = none was.
    """

    seconds: float = 0.0
    killed: Counter[str] = field(default_factory=Counter)
    takeovers: int = 0
    cuts: int = 0
    calls: int = 0
    failed: int = 0
    steps: int = 0
    suspended: int | None = None


class Storm:
    """One fleet in bad weather.

    Args:
        folder: where everything is.
        url: of an empty database.
        weather: what happens.
    """

    def __init__(self, folder: Path, url: str, weather: Weather) -> None:
        self.folder = folder
        self.url = url
        self.weather = weather
        self.names = [f"vm-{number:03}" for number in range(weather.instances)]
        self.told = Told()
        self._chance = random.Random(weather.seed)
        seed = make_seed(
            folder / "seed",
            instances=dict.fromkeys(self.names, "STOPPED"),
            disks=min(4, weather.instances),
            disk_size=DISK,
            transition_seconds=weather.transition_seconds,
        )
        self.emulator = Emulator(seed, folder / "cloud")
        self.out = folder / "out"
        self.out.mkdir()
        self.workers: list[Running] = []
        self._stopped: Running | None = None
        self._wake_at = 0.0

    def rage(self) -> Told:
        """Let the fleet be carried out, disturb it, and check everything."""
        importlib.import_module("hypersdk.fleet.worker")
        importlib.import_module("dbos")
        self.emulator.start()
        self._declare_faults()
        try:
            with self._relay() as endpoint:
                near = replace(self.emulator, endpoint=endpoint)
                self.hyper = Hyperexport(near, self.folder)
                self.hyper.environ |= {**PART, "HYPEREXPORT_STATE": self.url}
                self._carry_out()
            self._check()
        finally:
            for worker in [*self.workers, *([self._stopped] if self._stopped else [])]:
                worker.kill()
            self.emulator.stop()
        return self.told

    @contextmanager
    def _relay(self) -> Iterator[str]:
        if not self.weather.drop_after:
            yield self.emulator.endpoint
            return
        port = int(self.emulator.endpoint.rpartition(":")[2])
        with CuttingRelay(port, self.weather.drop_after, seed=self.weather.seed) as relay:
            yield relay.url
            self.told.cuts = relay.cuts

    def _declare_faults(self) -> None:
        if not self.weather.faults:
            return
        for number, (effect, fields) in enumerate(PASSING):
            chance = {"times": "any", "probability": self.weather.faults / len(PASSING), "seed": number}
            self.emulator.fault("*", effect, optional=True, **chance, **fields)

    # ---- what happens

    def _carry_out(self) -> None:
        weather = self.weather
        (self.folder / "list").write_text("\n".join(self.names) + "\n")
        parallel = str(weather.workers * weather.slots)
        line = ["fleet", "list", "-o", f"{self.out}/{{name}}.{{format}}", "-bn", "exports", "--yes", "--json"]
        line += ["--parallel", parallel, "--per-worker", str(weather.slots)]
        fleet = self.hyper.start(*line)
        self.workers = [self._worker() for _ in range(weather.workers)]
        began = time.monotonic()
        self._rest(weather.patience, fleet, lambda: any(_is_busy(worker) for worker in self.workers))
        while not fleet.ended():
            assert time.monotonic() - began < weather.patience, f"not done after {weather.patience} s: {self._story()}"
            self._rest(self._chance.uniform(0.05, weather.pause), fleet)
            self._suspend(time.monotonic() - began)
            if self.told.killed.total() < weather.kills and not fleet.ended():
                self._kill()
        self.told.seconds = time.monotonic() - began
        self._wake(late=True)
        self.ended = fleet.wait()

    def _worker(self) -> Running:
        return self.hyper.start("worker", "--slots", str(self.weather.slots), "-v")

    def _rest(self, seconds: float, fleet: Running, enough: Callable[[], bool] = lambda: False) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not fleet.ended() and not enough():
            time.sleep(0.02)
            for number, worker in enumerate(self.workers):
                if worker.ended():  # its supervisor starts it again
                    self.workers[number] = self._worker()

    def _kill(self) -> None:
        if self._chance.random() < 0.2:
            self._count_calls()
            self.emulator.kill()
            self.told.killed["cloud"] += 1
            self.emulator.start()
            self._declare_faults()
            return
        numbers = [number for number, worker in enumerate(self.workers) if _is_busy(worker)]
        if not numbers or self._chance.random() < AT_START:
            numbers = list(range(len(self.workers)))
        number = self._chance.choice(numbers)
        self.workers[number].kill()
        self.told.killed["worker"] += 1
        self.workers[number] = self._worker()

    def _suspend(self, age: float) -> None:
        """Stop one worker once it works, and wake it when others have taken its exports over."""
        if not self.weather.suspended:
            return
        if self._stopped is None and self.told.suspended is None and age > 4:
            # One without an export loses nothing, and goes on when it wakes.
            busy = next((worker for worker in self.workers if _is_busy(worker)), None)
            if busy is None:
                return
            self.workers.remove(busy)
            self._stopped = busy
            self._stopped.signal(signal.SIGSTOP)
            self._wake_at = time.monotonic() + self.weather.suspended
            self.workers.append(self._worker())
        elif self._stopped is not None and time.monotonic() > self._wake_at:
            self._wake(late=False)

    def _wake(self, *, late: bool) -> None:
        if self._stopped is None:
            return
        if late:
            time.sleep(max(0.0, self._wake_at - time.monotonic()))
        self._stopped.signal(signal.SIGCONT)
        self.told.suspended = self._stopped.wait().code
        self._stopped = None

    # ---- what must be true

    def _check(self) -> None:
        assert self.ended.code == 0, f"{self.ended.err}\n{self._story()}"
        self._check_report(self.ended)
        self._check_files()
        self._check_cloud()
        self._check_store()
        if self.weather.suspended:
            assert self.told.suspended == 8, "the suspended worker went on, or ended in another way"

    def _check_report(self, ended: Ended) -> None:
        report = ended.json["fleet"]
        assert [item["outcome"] for item in report["items"]] == ["done"] * len(self.names), report["counts"]
        assert [item["instance_name"] for item in report["items"]] == self.names

    def _check_files(self) -> None:
        expected = {f"{name}.qcow2" for name in self.names} | {f"{name}.qcow2.manifest.json" for name in self.names}
        assert {path.name for path in self.out.iterdir()} == expected
        for name in self.names:
            disk, raw = self.out / f"{name}.qcow2", self.emulator.seed.disk(name)
            compare = ["qemu-img", "compare", "-q", "-f", "qcow2", "-F", "raw", str(disk), str(raw)]
            assert subprocess.run(compare, check=False).returncode == 0, f"{name}: other bytes than the boot volume's"
            manifest = json.loads(disk.with_name(f"{disk.name}.manifest.json").read_text())
            assert manifest["disk"]["size"] == disk.stat().st_size, name

    def _check_cloud(self) -> None:
        self.emulator.remote.drop_faults()
        left = self.emulator.control("GET", "leftovers")
        assert not any(left.values()), left
        images = [*self._all("images"), *self._all("images", lifecycleState="DELETED")]
        made = Counter(each["displayName"].partition("-hypersdk-")[0] for each in images if each["compartmentId"])
        assert made == Counter(self.names), "not exactly one image each"
        kinds = Counter((each["operationType"], each["status"]) for each in self._all("workRequests"))
        for kind in ("CreateImage", "ExportImage"):
            assert kinds[kind, "SUCCEEDED"] == len(self.names), kinds
        assert kinds.total() == 2 * len(self.names), kinds
        for name in self.names:
            instance = self.emulator.call("GET", f"/20160918/instances/{instance_id(name)}").json
            assert instance["lifecycleState"] == "STOPPED", name
        self._count_calls()

    def _count_calls(self) -> None:
        log = self.emulator.log()
        self.told.calls += len(log)
        self.told.failed += sum(1 for entry in log if entry.get("fault"))

    def _check_store(self) -> None:
        with psycopg.connect(self.url) as connection:
            runs: dict[str, str] = dict(connection.execute("select run_id, state from runs").fetchall())
            assert Counter(runs.values()) == {"done": len(self.names)}, runs
            steps = Counter(
                run_id
                for run_id, state in connection.execute("select run_id, state from steps").fetchall()
                if state == "done"
            )
            assert set(steps) == set(runs)
            assert len(set(steps.values())) == 1, f"a step was lost: {steps}"
            opened = connection.execute("select kind, name from intents where removed is null").fetchall()
            assert not opened, opened
            self.told.steps = steps.total()
            self.told.takeovers = sum(
                epoch - 1 for (epoch,) in connection.execute("select epoch from leases").fetchall()
            )
            # A worker that lives takes the fleet's queue away once its last job has ended.
            self._await(lambda: not connection.execute(f"select 1 from {SCHEMA}.queues").fetchall(), "queues are left")
            assert not connection.execute(f"select 1 from {SCHEMA}.workflow_status").fetchall(), "jobs are left"

    def _await(self, true: Callable[[], bool], otherwise: str) -> None:
        end = time.monotonic() + 30
        while not true():
            assert time.monotonic() < end, otherwise
            time.sleep(0.1)

    def _all(self, what: str, **query: str) -> list[dict[str, Any]]:
        compartment = self.emulator.seed.compartment
        words = "".join(f"&{name}={value}" for name, value in query.items())
        reply = self.emulator.call("GET", f"/20160918/{what}?compartmentId={compartment}&limit={MAX_PAGE}{words}")
        assert reply.status == 200, reply
        return list(reply.json)

    def _story(self) -> str:
        return "\n".join(worker.err[-3000:] for worker in self.workers)


def _is_busy(worker: Running) -> bool:
    """Whether it carries out an export that cannot end at once."""
    lines = worker.err.splitlines()
    return sum(line.endswith(" begins") for line in lines) > sum(" done: " in line for line in lines)
