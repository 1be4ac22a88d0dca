"""How a fleet's time falls with the number of workers, where the cloud is the limit (target: 4 workers: 3.6x).

Usage: python bench/workers.py [EXPORTS] [SECONDS]; prints a table for bench/results. Each worker is a process of its
own with two slots, all share one PostgreSQL (started here) and one emulator, whose states last SECONDS each: an export
then takes more than four times as long, almost all of it waiting. Needs Debian's package postgresql.
"""

from __future__ import annotations

import os
import pathlib
import platform
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests" / "harness"))

from emulator import MIB, Emulator, make_seed
from postgres import Postgres

from hypersdk.runs.presence import count_workers

HYPEREXPORT = pathlib.Path(sys.executable).with_name("hyperexport")
WORKERS = (1, 2, 4)
SLOTS = 2


def measure(workers: int, exports: int, seconds: float, postgres: Postgres) -> float:
    """Seconds that a fleet takes, from the command to its end."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        names = [f"vm-{number:03}" for number in range(exports)]
        seed = make_seed(
            folder / "seed",
            instances=dict.fromkeys(names, "STOPPED"),
            disks=1,
            disk_size=4 * MIB,
            transition_seconds=seconds,
        )
        cloud = Emulator(seed, folder / "cloud").start()
        url = postgres.database()
        environ = {**os.environ, "HOME": name, "HYPEREXPORT_STATE": url}
        line = ["--config-file", str(seed.config_file), "--endpoint", cloud.endpoint]
        command = [str(HYPEREXPORT), "worker", "--slots", str(SLOTS), "-q", *line]
        running = [subprocess.Popen(command, env=environ, cwd=folder) for _ in range(workers)]
        try:
            while count_workers(url) < workers:
                time.sleep(0.1)
            (folder / "list").write_text("\n".join(names))
            began = time.monotonic()
            fleet = [str(HYPEREXPORT), "fleet", "list", "-o", "out/{name}.{format}", "-bn", "exports", "--yes", "-q"]
            (folder / "out").mkdir()
            subprocess.run([*fleet, "--per-worker", str(SLOTS), *line], env=environ, cwd=folder, check=True)
            return time.monotonic() - began
        finally:
            for process in running:
                process.send_signal(signal.SIGTERM)
            for process in running:
                process.wait(60)
            cloud.stop()


def main() -> None:
    """Measure 1, 2 and 4 workers, and print a table."""
    exports = int(sys.argv[1]) if len(sys.argv) > 1 else 32
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 4.0
    with Postgres() as postgres:
        times = {workers: measure(workers, exports, seconds, postgres) for workers in WORKERS}
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, Python {platform.python_version()}, {os.cpu_count()} CPUs")
    print(f"{exports} exports, {SLOTS} slots per worker, states of {seconds:g} s\n")
    print("| workers | seconds | times as fast as one |\n|---|---|---|")
    for workers, took in times.items():
        print(f"| {workers} | {took:.1f} | {times[WORKERS[0]] / took:.2f} |")


if __name__ == "__main__":
    main()
