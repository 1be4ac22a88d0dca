"""What `hyperexport --help` costs, as a multiple of `python -c pass` (target: at most 6x the CPU).

Usage: python bench/startup.py [RUNS]; prints a table for bench/results.
"""

from __future__ import annotations

import os
import pathlib
import platform
import resource
import statistics
import subprocess
import sys
from datetime import UTC, datetime

BIN = pathlib.Path(sys.executable).parent
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "hyperexport --help": [str(BIN / "hyperexport"), "--help"],
    "hyperexport --version": [str(BIN / "hyperexport"), "--version"],
    "python -c 'import click'": [sys.executable, "-c", "import click"],
    "python -c 'import hypersdk'": [sys.executable, "-c", "import hypersdk"],
    "python -c 'import oci'": [sys.executable, "-c", "import oci"],
}


def cpu(command: list[str]) -> float:
    """CPU seconds (user + system) of one run."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    """Measure, interleaved, and print medians."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(runs + 1):
        for name, command in COMMANDS.items():
            times[name].append(cpu(command))
    median = {name: statistics.median(values[1:]) for name, values in times.items()}
    base = median["python -c pass"]
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {os.cpu_count()} cores, "
        f"median of {runs} interleaved runs, `python bench/startup.py {runs}`\n"
    )
    print("| command | CPU ms | ratio |\n|---|---|---|")
    for name, value in median.items():
        print(f"| `{name}` | {1000 * value:.1f} | {value / base:.1f} |")


if __name__ == "__main__":
    main()
