"""Copies of one large object that are killed on their way, and what must be true once the same command has ended."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from emulator import Emulator, make_seed
from hyperexport import Ended, Hyperexport, Running
from transfers import BUCKET, journaled, leftovers, wait_until

PART, PARALLEL, PARTS = 192 * 1024, 3, 15
SIZE = PARTS * PART + 1
BODY = random.Random(11).randbytes(SIZE)
SETTINGS = {"HYPEREXPORT_TRANSFER_PART_SIZE": str(PART), "HYPEREXPORT_TRANSFER_PARALLEL": str(PARALLEL)}
MOVES = {"GetObject": 206, "UploadPart": 200}
"""The requests that move bodies, and how they are answered well."""

Way = Literal["download", "upload"]


@dataclass(frozen=True)
class Request:
    """One request of a copy: the how-manieth (from 0) of its operation."""

    operation: str
    number: int

    def __str__(self) -> str:
        return f"{self.operation} {self.number}"


@dataclass(frozen=True)
class Cost:
    """What the kills of one copy cost.

    Attributes:
        kills: how often it was killed.
        twice: bytes that were moved a second time.
        seconds: that the last run took.
    """

    kills: int
    twice: int
    seconds: float


@dataclass
class Stage:
    """One emulator for all copies; every copy takes an object, a directory and a home of its own.

    Attributes:
        folder: where everything is.
        seconds: that an undisturbed copy of each way takes.
    """

    folder: Path
    seconds: dict[Way, float] = field(default_factory=dict)
    _used: int = 0

    def __post_init__(self) -> None:
        seed = make_seed(self.folder / "seed", disks=1, disk_size=1 << 20)
        self.emulator = Emulator(seed, self.folder / "state").start()

    def victim(self, way: Way) -> Victim:
        """The next copy."""
        self._used += 1
        folder = self.folder / f"copy-{self._used}"
        folder.mkdir()
        return Victim(self, way, folder)

    def requests(self, way: Way) -> list[Request]:
        """What an undisturbed copy asks for, in order; also takes its time."""
        victim = self.victim(way)
        began = time.monotonic()
        ended = victim.start().wait()
        self.seconds[way] = time.monotonic() - began
        log = self.emulator.log(victim.mark)
        victim.check(ended, "undisturbed")
        seen: Counter[str] = Counter()
        found = []
        for entry in log:
            found.append(Request(entry["operation"], seen[entry["operation"]]))
            seen[entry["operation"]] += 1
        return found


class Victim:
    """One copy."""

    def __init__(self, stage: Stage, way: Way, folder: Path) -> None:
        self.way = way
        self.folder = folder
        self.emulator = stage.emulator
        self.object = f"disks/{folder.name}"
        self.hyper = Hyperexport(stage.emulator, folder)
        self.kills = 0
        if way == "download":
            self.emulator.put(BUCKET, self.object, BODY)
        else:
            self.disk.write_bytes(BODY)
        log = self.emulator.log()
        self.mark = int(log[-1]["id"]) if log else 0

    @property
    def disk(self) -> Path:
        """The local file."""
        return self.folder / "disk.raw"

    def start(self) -> Running:
        """The command, the same every time."""
        address = f"oci://{self.emulator.namespace}/{BUCKET}/{self.object}"
        ends = (address, str(self.disk)) if self.way == "download" else (str(self.disk), address)
        return self.hyper.start("cp", *ends, environ=SETTINGS)

    def kill_at(self, request: Request, effect: str) -> None:
        """Kill the command while the emulator holds this request, or the reply to it; then let that go."""
        fault = self.emulator.fault(request.operation, effect, skip=request.number)
        running = self.start()

        def holds() -> bool:
            return any(each["holding"] for each in self.emulator.faults() if each["id"] == fault["id"])

        wait_until(lambda: holds() or running.ended(), f"{request} never came")
        assert holds(), f"{request} never came: {running.err}"
        self._kill(running)
        self.emulator.control("DELETE", "faults")

    def kill_after(self, seconds: float) -> None:
        """Kill the command at this age; one that has ended by then has ended."""
        running = self.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end and not running.ended():
            time.sleep(0.001)
        self._kill(running)

    def _kill(self, running: Running) -> None:
        running.kill()
        self.kills += 1
        if self.way == "download" and self.disk.exists():
            assert self.disk.read_bytes() == BODY, "a half file under the final name"

    def finish(self, where: str) -> Cost:
        """The same command again, which must end well; everything is checked."""
        kept = journaled(self.disk) if self.way == "download" else {}
        before = len(self.emulator.log(self.mark))
        began = time.monotonic()
        ended = self.start().wait()
        seconds = time.monotonic() - began
        twice = self.check(ended, where)
        for each in self.emulator.log(self.mark)[before:]:
            if each["operation"] == "GetObject" and each["range"]:
                start, stop = _range(each)
                again = [known for known in kept if start < known.stop and known.start < stop]
                assert not again, f"{where}: {again} was finished, and {each['range']} was fetched"
        return Cost(self.kills, twice, seconds)

    def check(self, ended: Ended, where: str) -> int:
        """What a user would look at; returns the bytes that were moved twice."""
        assert ended.code == 0, f"{where}: {ended.err}"
        assert self.disk.read_bytes() == BODY, f"{where}: the file has other bytes"
        assert leftovers(self.folder) == [], where
        assert self.emulator.get(BUCKET, self.object).body == BODY, f"{where}: the object has other bytes"
        left = self.emulator.control("GET", "leftovers")
        assert not any(left.values()), f"{where}: {left}"
        log = self.emulator.log(self.mark)
        began = [each for each in log if each["operation"] == "CreateMultipartUpload"]
        assert len(began) == (self.way == "upload"), f"{where}: {len(began)} multipart uploads"
        journals = [path.name for path in self.folder.rglob("*.upload")]
        assert journals == [], where
        twice = self.moved() - SIZE
        assert 0 <= twice <= self.kills * PARALLEL * PART, f"{where}: {twice} bytes were moved twice"
        return twice

    def moved(self) -> int:
        """Bytes of bodies that went over the wire so far."""
        log = self.emulator.log(self.mark)
        mine = [each for each in log if each["operation"] in MOVES and each["status"] == MOVES[each["operation"]]]
        if self.way == "download":
            return sum(int(each["bytes"] or 0) for each in mine if each["range"])
        return sum(PART if "uploadPartNum=16" not in each["path"] else 1 for each in mine)


def _range(entry: dict[str, Any]) -> tuple[int, int]:
    first, _, last = entry["range"].removeprefix("bytes=").partition("-")
    return int(first), int(last) + 1
