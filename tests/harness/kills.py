"""Exports that are killed on their way, and what must be true once the same command has finished them."""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from emulator import MIB, Emulator, instance_id, make_seed
from hyperexport import Ended, Hyperexport, Running

from hypersdk.transfer.journal import parse
from hypersdk.transfer.partial import journal_name

PART, PARALLEL = 192 * 1024, 2
PARTS = {"HYPEREXPORT_TRANSFER_PART_SIZE": str(PART), "HYPEREXPORT_TRANSFER_PARALLEL": str(PARALLEL)}
DISK = 4 * MIB
"""Three places of it hold data: the exported object has about 1.1 MiB, which is six parts."""

STAGING = ".hypersdk"
PATIENCE = 30.0
MAX_PAGE = 1000
OWN = {".out", ".err"}
"""Suffixes of the harness's files in the victim's directory."""


@dataclass(frozen=True)
class Variant:
    """One way to export.

    Attributes:
        name: of the variant.
        state: the instance's; RUNNING needs `--allow-shutdown`.
        federated: the signer cannot export to a bucket by its name, so that a link is used.
        to_bucket: also `--to oci://`.
        transition_seconds: how long passing states last.
    """

    name: str
    state: str = "STOPPED"
    federated: bool = False
    to_bucket: bool = False
    transition_seconds: float = 0.0


STOPPED = Variant("stopped")
ALL_AT_ONCE = Variant("running, link, --to and -o", "RUNNING", federated=True, to_bucket=True)
LINK = Variant("link", federated=True)
RUNNING = Variant("running", "RUNNING")
BUCKET = Variant("--to and -o", to_bucket=True)
SLOW = replace(ALL_AT_ONCE, name="the same, with states that last", transition_seconds=0.15)
VARIANTS = (STOPPED, RUNNING, LINK, BUCKET, ALL_AT_ONCE, SLOW)

POLLED = {"GetImage", "GetInstance", "GetWorkRequest", "HeadObject"}
"""Questions for a state: how often they are asked depends on the emulator's speed."""


@dataclass(frozen=True)
class Request:
    """One request of an export: the how-manieth (from 0) of its operation."""

    operation: str
    number: int

    def __str__(self) -> str:
        return f"{self.operation} {self.number}"

    @classmethod
    def of(cls, text: str) -> Request:
        """The reverse of `str`."""
        operation, _, number = text.partition(" ")
        return cls(operation, int(number))


@dataclass(frozen=True)
class Held:
    """A command that runs, and whether the emulator holds the request that it was to be held at."""

    fault_id: str
    running: Running
    holds: bool


@dataclass
class Killed:
    """What one kill cost.

    Attributes:
        finished: bytes that were journaled, or named, when the process died.
        twice: bytes that went over the wire a second time.
        seconds: of the second run.
    """

    finished: int
    twice: int
    seconds: float


@dataclass
class Stage:
    """One emulator for all exports of a variant; every export takes an instance and a home of its own.

    Attributes:
        variant: how it is exported.
        folder: where everything is.
        instances: how many exports there can be.
        installed: run the installed command instead of a fork that has its modules loaded already.
        emulator: set by `start`.
        seconds: that a clean export takes, set by `requests`.
    """

    variant: Variant
    folder: Path
    instances: int = 200
    installed: bool = False
    emulator: Emulator = field(init=False)
    seconds: float = 0.0
    _used: int = 0

    def start(self) -> Stage:
        """Start the emulator."""
        names = [f"vm-{number:03}" for number in range(self.instances)]
        seed = make_seed(
            self.folder / "seed",
            instances=dict.fromkeys(names, self.variant.state),
            disks=1,
            disk_size=DISK,
            transition_seconds=self.variant.transition_seconds,
            user={"federated": True} if self.variant.federated else None,
        )
        self.emulator = Emulator(seed, self.folder / "state").start()
        return self

    def victim(self) -> Victim:
        """The next export."""
        name = f"vm-{self._used:03}"
        self._used += 1
        folder = self.folder / name
        folder.mkdir()
        return Victim(self, name, folder)

    def requests(self) -> list[Request]:
        """What a clean export asks for, in order; also takes its time."""
        victim = self.victim()
        began = time.monotonic()
        ended = victim.start().wait()
        self.seconds = time.monotonic() - began
        victim.check(ended, "undisturbed")
        seen: Counter[str] = Counter()
        found = []
        for entry in self.emulator.log(victim.mark):
            if entry["id"] > victim.ended_at:
                break
            found.append(Request(entry["operation"], seen[entry["operation"]]))
            seen[entry["operation"]] += 1
        return found


class Victim:
    """One export."""

    def __init__(self, stage: Stage, name: str, folder: Path) -> None:
        self.stage = stage
        self.name = name
        self.folder = folder
        self.emulator = stage.emulator
        self.hyper = Hyperexport(stage.emulator, folder, installed=stage.installed)
        self.mark = self._last_request()
        self.killed_at = self.mark
        self.ended_at = self.mark
        self._kills = 0
        self._kept: list[tuple[int, int]] = []

    @property
    def disk(self) -> Path:
        """The file that is asked for."""
        return self.folder / f"{self.name}.qcow2"

    def start(self) -> Running:
        """The command, the same every time."""
        variant = self.stage.variant
        line = ["export", self.name, "-o", "./"]
        line += ["--allow-shutdown"] if variant.state == "RUNNING" else []
        to = f"oci://{self.emulator.namespace}/exports/to/{{name}}.{{format}}"
        line += ["--to", to] if variant.to_bucket else ["-bn", "exports"]
        return self.hyper.start(*line, environ=PARTS)

    def hold(self, request: Request, effect: str) -> Held:
        """Start the command and wait until the emulator holds this request or its reply, or the command has ended."""
        fault = self.emulator.fault(request.operation, effect, skip=request.number)
        running = self.start()
        return Held(str(fault["id"]), running, self._is_held(fault["id"], running))

    def kill_at(self, request: Request, effect: str) -> bool:
        """Kill the command while the emulator holds this request or its reply, then let it go.

        Returns:
            False = there was no such request this time, because fewer questions for a state were enough.
        """
        held = self.hold(request, effect)
        if held.holds:
            self.kill(held.running)
        else:
            ended = held.running.wait()
            assert request.operation in POLLED, f"{request} never came"
            assert ended.code == 0, f"{request} never came: {ended.err}"
        self.emulator.control("DELETE", "faults")  # lets go what is held, too
        return held.holds

    def land_late(self, request: Request, meets: Request) -> Ended:
        """Kill the command while a request is on its way, which arrives when the next try is about to send another one.

        Args:
            request: which arrives late.
            meets: which the next try is about to send.

        Returns:
            How the next try ended.
        """
        first = self.hold(request, "hold-before")
        assert first.holds, f"{request} never came"
        self.kill(first.running)
        second = self.hold(meets, "hold-before")
        self.emulator.control("POST", "release", {"id": first.fault_id})
        wait_until(lambda: self._answered(first.fault_id), f"{request} was let go and is not answered")
        self.emulator.control("DELETE", "faults")
        return second.running.wait()

    def _answered(self, fault_id: str) -> bool:
        return any(each["status"] for each in self.emulator.log(self.mark) if each.get("fault") == fault_id)

    def kill_after(self, seconds: float) -> None:
        """Kill the command at this age; one that has ended by then has ended."""
        running = self.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end and not running.ended():
            time.sleep(0.001)
        self.kill(running)

    def kill(self, running: Running) -> None:
        """Kill -9, and note what it had finished."""
        running.kill()
        self.note_end()

    def note_end(self) -> None:
        """Note what a command that was killed, or stopped by a signal, had finished."""
        self._kills += 1
        self.killed_at = self._last_request()
        self._kept = self._finished_ranges()

    def resume(self, where: str) -> Killed:
        """The same command again, which must finish; everything is checked."""
        began = time.monotonic()
        ended = self.start().wait()
        seconds = time.monotonic() - began
        self.check(ended, where)
        return Killed(sum(stop - start for start, stop in self._kept), self._check_ranges(where), seconds)

    def check(self, ended: Ended, where: str) -> None:
        """What a user would look at."""
        self.ended_at = self._last_request()
        assert ended.code == 0, f"{where}: {ended.err}"
        self._check_files(where)
        self._check_cloud(where)
        runs = json.loads(self.hyper.run("runs", "list", "--json").out)["runs"]
        assert [run["state"] for run in runs] == ["done"], f"{where}: {runs}"

    def _check_files(self, where: str) -> None:
        raw = self.emulator.seed.disk(self.name)
        compare = ["qemu-img", "compare", "-q", "-f", "qcow2", "-F", "raw", str(self.disk), str(raw)]
        assert subprocess.run(compare, check=False).returncode == 0, f"{where}: other bytes than the boot volume's"
        names = {path.name for path in self.folder.iterdir() if path.suffix not in OWN}
        assert names == {self.disk.name, f"{self.disk.name}.manifest.json", "state"}, where
        manifest = json.loads((self.folder / f"{self.disk.name}.manifest.json").read_text())
        assert manifest["disk"]["size"] == self.disk.stat().st_size, where

    def _check_cloud(self, where: str) -> None:
        left = self.emulator.control("GET", "leftovers")
        assert not any(left.values()), f"{where}: {left}"
        images = self._images()
        assert len(images) == 1, f"{where}: {images}"
        work = self._all("workRequests", resourceId=images[0]["id"])
        kinds = sorted(each["operationType"] for each in work)
        assert kinds == ["CreateImage", "ExportImage"], f"{where}: {kinds}"
        instance = self.emulator.call("GET", f"/20160918/instances/{instance_id(self.name)}").json
        assert instance["lifecycleState"] == self.stage.variant.state, where
        if self.stage.variant.to_bucket:
            stored = f"to/{self.disk.name}"
            assert self.emulator.get("exports", stored).body == self.disk.read_bytes(), where
            mine = {name for name in self.emulator.names("exports") if self.name in name}
            assert mine == {stored, f"{stored}.manifest.json"}, where

    def _check_ranges(self, where: str) -> int:
        """That nothing finished was fetched again; how many bytes were."""
        # Only the staging object is downloaded; its final one is read once if the rename's reply was lost, as a proof.
        entries = [each for each in self.emulator.log(self.mark) if each["operation"] == "GetObject"]
        entries = [each for each in entries if STAGING in each["path"]]
        first = [each for each in entries if each["id"] <= self.killed_at and _whole(each)]
        second = [each for each in entries if self.killed_at < each["id"] <= self.ended_at]
        for each in second:
            start, stop = _range(each)
            again = [kept for kept in self._kept if start < kept[1] and kept[0] < stop]
            assert not again, f"{where}: {again} was finished, and {each['range']} was fetched"
        moved = sum(each["bytes"] or 0 for each in (*first, *second) if each["status"] == 206)
        twice = max(0, moved - self.disk.stat().st_size)
        assert twice <= self._kills * PARALLEL * PART, f"{where}: {twice} bytes were fetched twice"
        return twice

    def _finished_ranges(self) -> list[tuple[int, int]]:
        if self.disk.exists():
            return [(0, self.disk.stat().st_size)]
        journal = self.folder / journal_name(self.disk.name)
        contents = parse(journal.read_bytes()) if journal.exists() else None
        return [] if contents is None else [(known.start, known.stop) for known in contents.ranges]

    def _images(self) -> list[dict[str, Any]]:
        """Images of this instance that are or were."""
        found = [*self._all("images"), *self._all("images", lifecycleState="DELETED")]
        return [each for each in found if each["displayName"].startswith(f"{self.name}-hypersdk-")]

    def _all(self, what: str, **query: str) -> list[dict[str, Any]]:
        compartment = self.emulator.seed.compartment
        words = "".join(f"&{name}={value}" for name, value in query.items())
        reply = self.emulator.call("GET", f"/20160918/{what}?compartmentId={compartment}&limit={MAX_PAGE}{words}")
        assert reply.status == 200, reply
        assert "opc-next-page" not in reply.headers
        return list(reply.json)

    def _is_held(self, fault_id: str, running: Running) -> bool:
        def holds() -> bool:
            return any(each["holding"] for each in self.emulator.faults() if each["id"] == fault_id)

        wait_until(lambda: holds() or running.ended(), "neither held nor ended")
        return holds()

    def _last_request(self) -> int:
        log = self.emulator.log()
        return int(log[-1]["id"]) if log else 0


def wait_until(true: Callable[[], bool], otherwise: str) -> None:
    """Wait until something is true; fails with `otherwise` if it never is."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, otherwise
        time.sleep(0.003)


def _range(entry: dict[str, Any]) -> tuple[int, int]:
    first, _, last = entry["range"].removeprefix("bytes=").partition("-")
    return int(first), int(last) + 1


def _whole(entry: dict[str, Any]) -> bool:
    """Whether all bytes of a range went out."""
    start, stop = _range(entry)
    return bool(entry["status"] == 206 and entry["bytes"] == stop - start)


def table(rows: Iterable[tuple[object, ...]], head: tuple[str, ...]) -> str:
    """A Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
