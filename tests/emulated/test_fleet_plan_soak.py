"""Plans of the size that a migration has: how long they take, and that a busy cloud makes none shorter."""

from __future__ import annotations

import os
import platform
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hyperexport
import pytest
from emulator import Emulator, make_seed
from hyperexport import Hyperexport

LISTS = ("ListCompartments", "ListInstances", "ListBootVolumeAttachments", "ListBootVolumes")
MOST_SECONDS = 10.0
"""For 300 instances, by the issue; from the start of the process to its end."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    faults: str
    outcome: str
    seconds: float
    calls: int


def spread(seed: dict[str, Any]) -> None:
    places = [one["id"] for one in seed["compartments"]]
    for number, one in enumerate(seed["instances"]):
        one["compartmentId"] = places[number % len(places)]
        one["availabilityDomain"] = f"Test:US-ASHBURN-AD-{number // len(places) % 3 + 1}"


def cloud(folder: Path, instances: int, compartments: int) -> Emulator:
    names = [f"vm-{number:04d}" for number in range(instances)]
    places = [f"team{number:02d}" for number in range(compartments)]
    seed = make_seed(folder / "seed", instances=names, compartments=places, disks=1, disk_size=1 << 20, change=spread)
    return Emulator(seed, folder / "state").start()


def measure(emulator: Emulator, folder: Path, what: str, faults: str) -> Row:
    """One plan, by the installed command with its own delays; complete, or refused with nothing on stdout."""
    hyper = Hyperexport(emulator, folder, installed=True)
    for name in ("HYPEREXPORT_RETRY_INITIAL_DELAY", "HYPEREXPORT_RETRY_MAX_DELAY"):
        del hyper.environ[name]
    before, began = len(emulator.remote.log()), time.monotonic()
    ended = hyper.run("fleet", "--filter", "name=vm-*", "-o", "{compartment}/", "-bn", "exports", "--dry-run", "--json")
    seconds = time.monotonic() - began
    calls = Counter(each["operation"] for each in emulator.remote.log()[before:])
    assert not {"GetInstance", "GetBootVolume"} & set(calls)
    every = sorted(one["displayName"] for one in emulator.seed.value["instances"])
    if ended.code == 0:
        items = ended.json["fleet_plan"]["items"]
        assert sorted(item["instance_name"] for item in items) == every
        assert all(item["size"] == 50 << 30 for item in items)
        outcome = f"complete: {len(items)}"
    else:
        assert (ended.code, ended.out) == (8, ""), ended.err
        outcome = f"refused: {ended.err.strip().splitlines()[-1][:60]}"
    return Row(what, faults, outcome, seconds, sum(calls.values()))


@pytest.mark.soak
def test_plans_of_hundreds_and_thousands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """300 are planned in 10 s; 2,000 over 60 compartments are complete or refused under 429 on 30 % of calls."""
    monkeypatch.setattr(hyperexport, "SECONDS", 900.0)
    rows = []
    for instances, compartments, rounds in ((300, 6, 5), (2000, 60, 3)):
        emulator = cloud(tmp_path / str(instances), instances, compartments)
        what = f"{instances} instances, {compartments} compartments"
        rows += [measure(emulator, tmp_path, what, "none") for _ in range(rounds)]
        for operation in LISTS:
            emulator.fault(operation, "small-pages", limit=7, times="any")
        rows.append(measure(emulator, tmp_path, what, "pages of 7"))
        emulator.remote.drop_faults()
        if instances > 300:
            rows += busy(emulator, tmp_path, what)
        emulator.stop()
    assert max(row.seconds for row in rows if row.what.startswith("300 ") and row.faults == "none") < MOST_SECONDS
    with capsys.disabled():
        print(table(rows))


def busy(emulator: Emulator, folder: Path, what: str) -> list[Row]:
    rows = []
    for number, (name, status, code) in enumerate((("429", 429, "TooManyRequests"),) * 4 + (("503", 503, "Busy"),)):
        for operation in LISTS:
            error = {"status": status, "code": code, "probability": 0.3, "seed": number, "optional": True}
            emulator.fault(operation, "error", times="any", **error)
        rows.append(measure(emulator, folder, what, f"{name} on 30 % of list calls"))
        emulator.remote.drop_faults()
    place = emulator.seed.value["compartments"][17]["id"]
    emulator.fault("ListInstances", "error", times="any", status=500, code="InternalServerError", compartmentId=place)
    rows.append(measure(emulator, folder, what, "500 for ever in one compartment"))
    assert place in rows[-1].outcome or rows[-1].outcome.startswith("refused")
    emulator.remote.drop_faults()
    return rows


def table(rows: list[Row]) -> str:
    about = f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {os.cpu_count()} cores"
    lines = [
        f"\n{about}, `python -m pytest -s -m soak tests/emulated/test_fleet_plan_soak.py`",
        "",
        "| cloud | faults | plan | seconds | calls |",
        "|---|---|---|---|---|",
    ]
    lines += [f"| {row.what} | {row.faults} | {row.outcome} | {row.seconds:.1f} | {row.calls} |" for row in rows]
    return "\n".join(lines)
