"""Peak memory of `hyperexport fleet` by how many exports run at once.

Usage: python bench/fleet_memory.py [MIB_OF_EACH_DISK]; prints a table for bench/results. Each fleet exports as many
instances as run at once, with disks of random bytes (256 MiB), so that every download is as wide as it gets.
"""

from __future__ import annotations

import os
import pathlib
import platform
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests" / "harness"))
from emulator import MIB, Emulator, make_seed

AT_ONCE = (1, 2, 4, 8)
BIN = pathlib.Path(sys.executable).parent


def fill(disk: pathlib.Path, size: int) -> None:
    """A raw disk of random bytes with a boot sector's signature."""
    with disk.open("r+b") as file:
        for _ in range(size // MIB):
            file.write(os.urandom(MIB))
        file.seek(510)
        file.write(b"\x55\xaa")


def export(emulator: Emulator, folder: pathlib.Path, names: list[str]) -> tuple[float, float]:
    """Peak MiB and seconds of a fleet."""
    folder.mkdir()
    (folder / "fleet.txt").write_text("".join(f"{name}\n" for name in names))
    cloud = ["--config-file", str(emulator.config_file), "--endpoint", emulator.endpoint, "-bn", "exports"]
    environ = {**os.environ, "HYPEREXPORT_STATE": str(folder / "runs.sqlite"), "HYPEREXPORT_RETRY_MAX_DELAY": "0.5s"}
    command = [str(BIN / "hyperexport"), "fleet", "fleet.txt", "--per-worker", str(len(names)), "--yes", "-q", *cloud]
    began = time.monotonic()
    process = subprocess.Popen(command, cwd=folder, env=environ)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"ended with {os.waitstatus_to_exitcode(status)}")
    return used.ru_maxrss / 1024, time.monotonic() - began


def main() -> None:
    """Measure and print."""
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 256
    print(f"# Fleet: peak memory, {datetime.now(UTC):%Y-%m-%d}\n")
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} CPUs; disks of {size} MiB.\n")
    print("| exports at once | peak RSS MiB | wall s |\n| --- | --- | --- |")
    for count in AT_ONCE:
        with tempfile.TemporaryDirectory() as place:
            folder = pathlib.Path(place)
            names = [f"vm-{number}" for number in range(1, count + 1)]
            seed = make_seed(folder / "seed", instances=names, disks=1, disk_size=size * MIB)
            fill(next((folder / "seed").glob("boot-*.raw")), size * MIB)
            emulator = Emulator(seed, folder / "state").start()
            try:
                peak, seconds = export(emulator, folder / "work", names)
            finally:
                emulator.stop()
            print(f"| {count} | {peak:.0f} | {seconds:.1f} |", flush=True)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
