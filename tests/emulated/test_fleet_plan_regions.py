"""The plan of a fleet over two regions: two emulators that stand for two regions of one tenancy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from emulator import Emulator, compartment_id, instance_id

from hypersdk.config import load_config
from hypersdk.fleet.nouns import FleetPlan
from hypersdk.fleet.planning import files, filters
from hypersdk.fleet.planning.asked import Asked
from hypersdk.fleet.planning.looking import Account
from hypersdk.fleet.planning.plan import Order
from hypersdk.fleet.planning.preparing import Wish, prepare
from hypersdk.waiting import StopFlag, Waiter
from hypersdk.wiring import Wiring

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
ASHBURN, PHOENIX = "us-ashburn-1", "us-phoenix-1"


class Regions:
    """One account whose regions have endpoints of their own."""

    def __init__(self, home: Wiring, other: Wiring) -> None:
        self._home, self._other = home, other
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._home, name)

    def in_region(self, region: str) -> Wiring:
        self.asked.append(region)
        return {ASHBURN: self._home, PHOENIX: self._other}[region]

    def apart(self, region: str, waiter: Waiter) -> Wiring:
        return self.in_region(region).apart(region, waiter)


@pytest.fixture
def account(start_emulator: Callable[..., Emulator], tmp_path: Path) -> Iterator[Account]:
    """Two regions: web-1 and db in ours, web-2 in the other, which has no bucket `local`."""

    def phoenix(seed: dict[str, Any]) -> None:
        seed["region"] = PHOENIX
        for one in seed["instances"]:
            one["id"] = one["id"].replace(".iad.", ".phx.")

    here = start_emulator(instances=("web-1", "db"), buckets=("exports", "local"), disks=1, disk_size=1 << 20)
    there = start_emulator(instances=("web-2", "db"), disks=1, disk_size=1 << 20, change=phoenix)
    with ExitStack() as opened:
        wirings = []
        for emulator in (here, there):
            flags = {"config_file": str(emulator.config_file), "endpoint": emulator.endpoint}
            environ = {"HYPEREXPORT_STATE": str(tmp_path / "runs.sqlite")}
            config = load_config(flags, environ, cwd=tmp_path, home=tmp_path)
            wirings.append(opened.enter_context(Wiring(config, Waiter(stop=StopFlag()))))
        yield cast("Account", Regions(*wirings))


def planned(account: Account, text: str, *regions: str, bucket: str = "exports", lines: str = "") -> FleetPlan:
    wish = Wish(
        subject="f",
        file=files.read(lines.encode(), "f.csv"),
        filter=filters.parse(text) if text else None,
        asked=Asked(output="/b/{region}/{name}.{format}"),
        order=Order("f"),
        regions=regions,
        bucket=bucket,
        directory="/work",
        region_of=lambda told: {"iad": ASHBURN, "phx": PHOENIX}[told],
    )
    return prepare(wish, account, NOW)


def test_instances_of_two_regions_are_in_one_plan(account: Account) -> None:
    """Each is found where it lives, with its size, and goes to a place of its own by its region."""
    plan = planned(account, "name=*", ASHBURN, PHOENIX)
    assert [(item.region, item.destinations) for item in plan.items] == [
        (ASHBURN, ("/b/us-ashburn-1/db.qcow2",)),
        (ASHBURN, ("/b/us-ashburn-1/web-1.qcow2",)),
        (PHOENIX, ("/b/us-phoenix-1/db.qcow2",)),
        (PHOENIX, ("/b/us-phoenix-1/web-2.qcow2",)),
    ]
    assert {item.size for item in plan.items} == {50 << 30}
    assert not any(item.refused for item in plan.items)
    assert {item.region for item in planned(account, "region=us-phoenix-1", ASHBURN, PHOENIX).items} == {PHOENIX}


def test_a_bucket_that_one_region_lacks_refuses_its_instances_only(account: Account) -> None:
    """The exporter writes within its region, so each region needs the bucket."""
    plan = planned(account, "name=web-*", ASHBURN, PHOENIX, bucket="local")
    assert [bool(item.refused) for item in plan.items] == [False, True]
    assert "no bucket testns/local in us-phoenix-1" in (plan.items[1].refused or "")


def test_a_file_may_name_regions(account: Account) -> None:
    """A region at an entry tells namesakes apart, and an OCID is looked for where it says."""
    other = instance_id("web-2").replace(".iad.", ".phx.")
    lines = f"name,id,region,compartment\ndb,,{PHOENIX},main\ndb,,{ASHBURN},{compartment_id('main')}\n,{other},,\n"
    plan = planned(account, "", lines=lines)
    assert [(item.instance.name, item.region) for item in plan.items] == [
        ("db", PHOENIX),
        ("db", ASHBURN),
        ("web-2", PHOENIX),
    ]
