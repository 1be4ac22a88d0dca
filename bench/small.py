"""Many small files made durable, in several ways: how many a second, and what each costs.

Usage: python bench/small.py [DIRECTORY] [--files 600] [--rounds 2]; prints Markdown. It decides how
`hypersdk.transfer.copies.landing` syncs (docs/decisions/0008-small-objects.md). It measures the directory's disk.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

BODY = os.urandom(64 << 10)
BATCH = 64

Way = Callable[[int, int], None]
"""Makes so many files in the directory of a handle."""


def written(directory: int) -> int:
    """A new file without a name, not synced."""
    file = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o666, dir_fd=directory)
    os.write(file, BODY)
    return file


def named(file: int, directory: int, number: int) -> None:
    """Give it its name."""
    os.link(f"/proc/self/fd/{file}", f"{number}", dst_dir_fd=directory, follow_symlinks=True)
    os.close(file)


def unsafe(files: int, directory: int) -> None:
    """No sync at all."""
    for number in range(files):
        named(written(directory), directory, number)


def one_by_one(files: int, directory: int) -> None:
    """Each synced before it is named; the directory once at the end."""
    for number in range(files):
        file = written(directory)
        os.fsync(file)
        named(file, directory, number)
    os.fsync(directory)


def batches(settle: Callable[[list[int], int], None]) -> Way:
    """So many written, settled together, named, and their directory synced."""

    def way(files: int, directory: int) -> None:
        for begin in range(0, files, BATCH):
            made = [written(directory) for _ in range(begin, min(files, begin + BATCH))]
            settle(made, directory)
            for number, file in enumerate(made, begin):
                named(file, directory, number)
            os.fsync(directory)

    return way


def begun_then_synced(made: list[int], _directory: int) -> None:
    """Begin the writeback of all, then wait for each."""
    for file in made:
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    for file in made:
        os.fsync(file)


def whole_file_system(_made: list[int], directory: int) -> None:
    """Sync all that is dirty there, whoever wrote it."""
    if ctypes.CDLL(None, use_errno=True).syncfs(directory):
        raise OSError(ctypes.get_errno(), "syncfs")


def in_threads(threads: int) -> Way:
    """Each thread writes, syncs and names; the directory is synced once at the end."""

    def way(files: int, directory: int) -> None:
        numbers = count()

        def work() -> None:
            while (number := next(numbers)) < files:
                file = written(directory)
                os.fsync(file)
                named(file, directory, number)

        running = [threading.Thread(target=work) for _ in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
        os.fsync(directory)

    return way


WAYS: dict[str, Way] = {
    "no sync (unsafe)": unsafe,
    "a sync each, one thread": one_by_one,
    f"{BATCH} written, their writeback begun, then {BATCH} syncs": batches(begun_then_synced),
    f"{BATCH} written, then `syncfs`": batches(whole_file_system),
    **{f"{threads} threads": in_threads(threads) for threads in (4, 8, 16)},
}


def measure(way: Way, root: Path, files: int) -> tuple[float, float]:
    """Files a second, and CPU milliseconds for each."""
    place = root / "small"
    place.mkdir()
    directory = os.open(place, os.O_RDONLY)
    begin, cpu = time.monotonic(), time.process_time()
    way(files, directory)
    wall, cpu = time.monotonic() - begin, time.process_time() - cpu
    os.close(directory)
    shutil.rmtree(place)
    os.sync()
    return files / wall, cpu / files * 1000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, nargs="?", default=Path("/var/tmp"))
    parser.add_argument("--files", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=2)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hypersdk-bench-", dir=asked.directory) as root:
        rounds = [
            {name: measure(way, Path(root), asked.files) for name, way in WAYS.items()} for _ in range(asked.rounds)
        ]
    print("| | files/s | CPU ms each |\n|---|---|---|")
    for name in WAYS:
        rates = " ".join(f"{each[name][0]:,.0f}" for each in rounds)
        costs = " ".join(f"{each[name][1]:.2f}" for each in rounds)
        print(f"| {name} | {rates} | {costs} |")


if __name__ == "__main__":
    main()
