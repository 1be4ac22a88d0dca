"""How soon do transfers go on after an outage, and what does it cost? Run as root; prints a Markdown table.

    .venv/bin/python bench/outages.py [SECONDS] > bench/results/DATE-outages.md

A download and an upload at the same time, product and emulator in two network namespaces, joined by a cable of
24 Mbit/s; one attempt is all that either has. Each outage lasts SECONDS (default 60), the stopped process five times
that long. "Moves after" counts from the end of the outage until the cable carries 128 KiB more.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "harness"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "faults"))

import test_namespaces as outages
from emulator import private_key
from netns import Provider

HEAD = ("Outage", "lasts", "kernel tells", "moves after", "fetched twice", "sent twice", "attempts spent")

Row = tuple[str, ...]


def main() -> None:
    """Measure all."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    private_key()  # one for both providers, made before there are threads
    rows: list[Row] = []
    stopped: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        beside = threading.Thread(target=lambda: stopped.append(measure_stop(Path(folder) / "stop", 5 * seconds)))
        beside.start()
        provider = Provider(Path(folder) / "provider").start()
        try:
            rows += [measure(provider, Path(folder), name, seconds) for name in outages.OUTAGES]
        finally:
            provider.close()
            beside.join()
    print(f"# Outages, {time.strftime('%Y-%m-%d')}\n")
    print(f"`.venv/bin/python bench/outages.py {seconds:.0f}`, Linux {platform.release()}, {os.cpu_count()} cores.")
    print(
        "Objects of 12 MiB in parts of 1 MiB, 4 in flight: at most 4 MiB may move twice. See the head of the script.\n"
    )
    for row in (HEAD, tuple("---" for _ in HEAD), *rows, *stopped):
        print("| " + " | ".join(row) + " |")


def measure(provider: Provider, folder: Path, name: str, seconds: float) -> Row:
    """One outage."""
    outage = outages.OUTAGES[name]
    site = provider.site(folder / name.replace(" ", "-"))
    lasts = seconds if outage.seconds else 0.0
    took = outages.transfers(site, outage, name, lasts)
    site.close()
    again = outages.fetched_twice(provider, f"{name}/down"), outages.sent_twice(provider, f"{name}/up")
    return name, f"{lasts:.0f} s", "yes" if outage.told else "no", f"{took:.1f} s", *map(_mib, again), "0"


def measure_stop(folder: Path, seconds: float) -> Row:
    """A process that is stopped while its connections die."""
    folder.mkdir()
    provider = Provider(folder / "provider").start()
    try:
        site = provider.site(folder / "site")
        took = outages.stop_and_restart(site, "stopped", seconds)
        site.close()
        again = _mib(outages.fetched_twice(provider, "stopped"))
    finally:
        provider.close()
    return "process stopped, server restarted", f"{seconds:.0f} s", "no", f"{took:.1f} s", again, "-", "0"


def _mib(count: int) -> str:
    return f"{max(count, 0) / outages.MIB:.1f} MiB"


if __name__ == "__main__":
    main()
