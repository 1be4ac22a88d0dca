"""hyperexport cp beside its peers: CPU, wall time and memory of whole processes, in one run on one machine.

Usage: python bench/transfer.py [--rows a,c] [--rounds 5] [--again] (or `make bench`); prints Markdown.
Every round runs the contestants in another random order, every run is a fresh process into a fresh place; wall time
ends when what was made is on the disk. A row that was measured is remembered and not measured again by the next call of
the same day, unless --again; so an interrupted run goes on where it stopped. bench/README.md says what each row is.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import link
import transfer_report
from transfer_measure import Run, RunFailed, files, run
from transfer_peers import OURS, Contestant, Task, contestants, install
from transfer_site import GIB, MIB, SMALL_COUNT, Site, crc_of, prepare, running

SIZES = {
    "random-1": GIB,
    "random-8": 8 * GIB,
    "zero-1": GIB,
    "ninety-1": GIB,
    "sparse-8": 8 * GIB,
    "sparse-32": 32 * GIB,
    "link": 256 * MIB,
    "tiny": 1,
}
NEEDS = {
    "a": ["random-1", "tiny"],
    "z": ["random-1", "zero-1", "ninety-1"],
    "b": ["random-8"],
    "c": ["random-1"],
    "d": ["tiny", "zero-1", "sparse-8", "sparse-32"],
    "e": ["link"],
    "f": [],
    "g": ["random-1"],
}


@dataclass
class Entry:
    """One line of a row's table.

    Attributes:
        name: who, and on what.
        runs: what each run cost.
        failure: why there are no more.
    """

    name: str
    runs: list[Run] = field(default_factory=list)
    failure: str = ""


@dataclass
class Shot:
    """One thing to run once per round.

    Attributes:
        entry: where its cost goes.
        fire: does it.
        once: only in the first round: what is slow and steady.
    """

    entry: Entry
    fire: Callable[[], Run]
    once: bool = False


class Bench:
    """Site, contestants and a directory for what they make.

    Args:
        site: what they talk to.
        folder: on the disk that is measured.
        rounds: how often everybody runs.
    """

    def __init__(self, site: Site, folder: Path, rounds: int) -> None:
        self.site = site
        self.folder = folder
        self.rounds = rounds
        self.who = contestants(folder)
        self._count = 0

    def fresh(self) -> Path:
        """An empty directory; what was in it is gone, and the disk is quiet."""
        place = self.folder / "out"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        os.sync()
        return place

    def number(self) -> int:
        """A number that was not given before: an upload's name is new, so that nothing can be skipped."""
        self._count += 1
        return self._count

    def play(self, shots: Sequence[Shot]) -> list[Entry]:
        """Run everything, shuffled; who fails once is out."""
        for number in range(self.rounds):
            for shot in random.sample(shots, len(shots)):
                if shot.entry.failure or (shot.once and number):
                    continue
                try:
                    cost = shot.fire()
                except RunFailed as error:
                    shot.entry.failure = str(error)
                    print(f"FAILED {shot.entry.name}: {error}", file=sys.stderr, flush=True)
                    continue
                shot.entry.runs.append(cost)
                said = f"{cost.cpu:.2f} CPU s, {cost.wall:.2f} s, {cost.rss:.0f} MiB"
                print(f"  {number + 1}/{self.rounds} {shot.entry.name}: {said}", file=sys.stderr, flush=True)
        return list({id(shot.entry): shot.entry for shot in shots}.values())

    def get(self, who: Contestant, name: str, entry: Entry, endpoint: str = "") -> Run:
        """Download one object and look at what came."""
        place = self.fresh() / "result"
        task = Task(self.site, endpoint or self.site.endpoint, name, place)
        assert who.get is not None
        cost = run(who.get(task), who.env(task), place)
        if who.name.startswith("C, "):
            return cost
        size = (self.site.objects / name).stat().st_size
        if not place.exists() or place.stat().st_size != size:
            raise RunFailed(f"{who.name}: the file has not the {size} bytes of the object")
        if not entry.runs and size <= GIB and crc_of(place) != crc_of(self.site.objects / name):
            raise RunFailed(f"{who.name}: the file has other bytes than the object")
        return cost

    def put(self, who: Contestant, name: str) -> Run:
        """Upload one file under a new name, and look whether the object has its size."""
        self.fresh()
        path = self.site.objects / name
        task = Task(self.site, self.site.endpoint, f"up{self.number()}-{name}", path)
        assert who.put is not None
        cost = run(who.put(task), who.env(task))
        if (size := self.site.uploaded(task.name)) != path.stat().st_size:
            raise RunFailed(f"{who.name}: the object has {size} bytes")
        return cost


def _getter(bench: Bench, who: Contestant, name: str, entry: Entry, endpoint: str = "") -> Callable[[], Run]:
    return lambda: bench.get(who, name, entry, endpoint)


def row_a(bench: Bench) -> list[Entry]:
    """Download 1 GiB of random bytes; what starting costs is measured by an object of 1 byte."""
    start = Entry(transfer_report.START)
    shots = [Shot(start, _getter(bench, bench.who[OURS], "tiny", start))]
    for who in bench.who.values():
        entry = Entry(who.name)
        shots.append(Shot(entry, _getter(bench, who, "random-1", entry)))
    return bench.play(shots)


def row_z(bench: Bench) -> list[Entry]:
    """Download raw disks that are 0 %, 90 % and 100 % zero."""
    shots = []
    for name in ("random-1", "ninety-1", "zero-1"):
        for who in (bench.who[each] for each in (OURS, "rclone, best", "C, receives only")):
            entry = Entry(f"{who.name}: {name}")
            shots.append(Shot(entry, _getter(bench, who, name, entry)))
    return bench.play(shots)


def row_b(bench: Bench) -> list[Entry]:
    """Download 8 GiB of random bytes; who is slow runs once."""
    slow = ["rclone, defaults", "SDK managers, best", "SDK managers, defaults", "OCI CLI"]
    fast = [OURS, "rclone, best", "C, receives only", "C, receives only, plain", "dd, writes only"]
    entries = {name: Entry(name) for name in [*fast, *slow]}
    return bench.play(
        [
            Shot(entry, _getter(bench, bench.who[name], "random-8", entry), name in slow)
            for name, entry in entries.items()
        ]
    )


def row_c(bench: Bench) -> list[Entry]:
    """Upload 1 GiB of random bytes."""
    who = [each for each in bench.who.values() if each.put]
    return bench.play([Shot(Entry(each.name), _putter(bench, each, "random-1")) for each in who])


def _putter(bench: Bench, who: Contestant, name: str) -> Callable[[], Run]:
    return lambda: bench.put(who, name)


def row_d(bench: Bench) -> list[Entry]:
    """Peak memory over the size of the object, both ways; once, since it hardly varies."""
    shots = []
    for name in ("tiny", "zero-1", "sparse-8", "sparse-32"):
        for who in (OURS, f"{OURS} https://"):
            if who == OURS or name != "sparse-32":
                entry = Entry(f"{who}, down: {name}")
                shots.append(Shot(entry, _getter(bench, bench.who[who], name, entry), once=True))
        shots.append(Shot(Entry(f"{OURS}, up: {name}"), _putter(bench, bench.who[OURS], name), once=True))
    return bench.play(shots)


def row_e(bench: Bench) -> list[Entry]:
    """Download 256 MiB over the link of `link.py`; the unlucky bytes of a round are the same for everybody."""
    fast = [OURS, "rclone, best"]
    slow = ["rclone, defaults", "SDK managers, best", "SDK managers, defaults", "OCI CLI"]
    with link.namespace() as (inside, host):

        def fire(who: Contestant, entry: Entry) -> Callable[[], Run]:
            def once() -> Run:
                with link.running(bench.site.socket, len(entry.runs), inside, host) as at:
                    return bench.get(who, "link", entry, f"https://{at}")

            return once

        entries = {name: Entry(name) for name in [*fast, *slow]}
        return bench.play([Shot(entry, fire(bench.who[name], entry), name in slow) for name, entry in entries.items()])


def row_f(bench: Bench) -> list[Entry]:
    """2,000 objects of 64 KiB, both ways."""

    def get(who: Contestant) -> Callable[[], Run]:
        def once() -> Run:
            place = bench.fresh()
            task = Task(bench.site, bench.site.endpoint, "small", place)
            assert who.get_all is not None
            cost = run(who.get_all(task), who.env(task), place)
            if (count := len(files(place))) != SMALL_COUNT:
                raise RunFailed(f"{who.name}: {count} files came")
            return cost

        return once

    def put(who: Contestant) -> Callable[[], Run]:
        def once() -> Run:
            bench.fresh()
            prefix = f"many{bench.number()}"
            task = Task(bench.site, bench.site.endpoint, prefix, bench.site.objects / "small")
            assert who.put_all is not None
            cost = run(who.put_all(task), who.env(task))
            if (count := bench.site.listed(f"{prefix}/")) != SMALL_COUNT:
                raise RunFailed(f"{who.name}: {count} objects came")
            return cost

        return once

    who = [bench.who[name] for name in (OURS, "rclone, defaults", "OCI CLI")]
    return bench.play(
        [Shot(Entry(f"{each.name}, down"), get(each), each.slow) for each in who]
        + [Shot(Entry(f"{each.name}, up"), put(each), each.slow) for each in who]
    )


def row_g(bench: Bench) -> list[Entry]:
    """The same copy once more, both ways: which bytes of bodies move."""

    def twice(who: Contestant, *, up: bool) -> Callable[[], Run]:
        def once() -> Run:
            path = bench.site.objects / "random-1" if up else bench.fresh() / "result"
            task = Task(bench.site, bench.site.endpoint, f"up{bench.number()}-random-1" if up else "random-1", path)
            make = who.put if up else who.get
            assert make is not None
            run(make(task), who.env(task))
            before = sum(bench.site.bodies())
            cost = run([each for each in make(task) if each != "--ignore-times"], who.env(task))
            return Run(cost.cpu, cost.wall, cost.rss, allocated=sum(bench.site.bodies()) - before)

        return once

    return bench.play(
        [
            Shot(Entry(f"{name}, {'up' if up else 'down'}"), twice(bench.who[name], up=up), once=True)
            for name in (OURS, "rclone, defaults")
            for up in (False, True)
        ]
    )


ROWS = {"a": row_a, "z": row_z, "c": row_c, "f": row_f, "g": row_g, "d": row_d, "e": row_e, "b": row_b}


def warm(paths: Sequence[Path]) -> None:
    """Read objects into the page cache, so that the server never waits for its disk; what cannot fit is left alone."""
    for path in paths:
        if path.stat().st_size <= 8 * GIB:
            subprocess.run(["cat", path], stdout=subprocess.DEVNULL, check=True)


@contextmanager
def workplace(folder: Path | None) -> Iterator[Path]:
    """A directory on the disk to be measured; kept only if the user names it."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="hypersdk-bench-", dir="/var/tmp") as made:
        yield Path(made)


def main() -> None:
    """Measure what is missing and print everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=",".join(sorted(ROWS)), help="which rows (default: all)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each contestant (default: 5)")
    parser.add_argument("--again", action="store_true", help="measure rows anew that were measured today")
    parser.add_argument("--folder", type=Path, help="where objects and files go (default: a new one in /var/tmp)")
    parser.add_argument("--write", action="store_true", help="put the tables into bench/results and the documentation")
    asked = parser.parse_args()
    wanted = [row for row in ROWS if row in asked.rows.split(",")]
    if unknown := set(asked.rows.split(",")) - set(ROWS):
        raise SystemExit(f"no row {', '.join(sorted(unknown))}; there are {', '.join(sorted(ROWS))}")
    memory = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hypersdk-bench.json"
    done = transfer_report.remembered(memory)
    missing = [row for row in wanted if asked.again or row not in done]
    with ExitStack() as stack:
        if missing:
            install()
            folder = stack.enter_context(workplace(asked.folder))
            prepare(folder, {name: SIZES[name] for row in missing for name in NEEDS[row]})
            site = stack.enter_context(running(folder))
            bench = Bench(site, folder, asked.rounds)
        for row in missing:
            print(f"row {row}: {ROWS[row].__doc__}", file=sys.stderr)
            warm([site.objects / name for name in NEEDS[row]])
            begin, load = time.monotonic(), os.getloadavg()[0]
            entries = ROWS[row](bench)
            seconds = time.monotonic() - begin
            when = f"{datetime.now(UTC):%Y-%m-%d %H:%M}"
            done[row] = {"when": when, "load": load, "seconds": seconds, "entries": [asdict(each) for each in entries]}
            memory.parent.mkdir(parents=True, exist_ok=True)
            memory.write_text(json.dumps(done))
    rows = {row: done[row] for row in sorted(wanted)}
    print(transfer_report.report(rows, asked.rounds), end="")
    if asked.write:
        transfer_report.write(rows, asked.rounds)


if __name__ == "__main__":
    main()
