"""Heartbeats of another process become events again."""

from __future__ import annotations

from datetime import UTC, date, datetime

from hypersdk import events
from hypersdk.exports.options import ExportOptions
from hypersdk.exports.plan import Surroundings, make_plan
from hypersdk.exports.telling.position import Position
from hypersdk.exports.telling.retelling import retold
from hypersdk.model import Instance

HERE = Surroundings("ocid1.tenancy.oc1..t", "us-ashburn-1", "ns", "bucket", "/data", date(2026, 1, 2), "host")
VM = Instance("ocid1.instance.oc1.iad.i", "web-01", "ocid1.compartment.oc1..c", "STOPPED", "us-ashburn-1")
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def position(began: datetime = NOW) -> Position:
    plan = make_plan(VM, ExportOptions(), HERE, run_id="r", generation=1)
    return Position(plan, "host:1", None, lambda: began)


def test_what_a_process_tells_is_told_again() -> None:
    """Step, progress, bytes and waits of one heartbeat come as the events that made it."""
    said = [
        events.StepStarted("r", "download", "fetch the disk"),
        events.StepAdvanced("r", "download", 5, 10),
        events.Bytes(7, 5),
        events.Waiting("the network is down"),
    ]
    told = position()
    for event in said:
        told(event)
    heard = list(retold("r", told.told(), {}))
    assert heard == said


def test_nothing_new_is_told_once() -> None:
    """Two heartbeats that say the same are no events; the end of a wait is one."""
    told = position()
    told(events.Waiting("the network is down"))
    before = told.told()
    assert list(retold("r", told.told(), before)) == []
    told(events.Waiting(None))
    assert list(retold("r", told.told(), before)) == [events.Waiting(None)]


def test_a_process_that_takes_over_counts_from_nought() -> None:
    """Bytes of a new process are not held against those of the former one."""
    former, later = position(), position(datetime(2026, 1, 2, 4, tzinfo=UTC))
    former(events.Bytes(100, 100))
    later(events.Bytes(30, 20))
    assert list(retold("r", later.told(), former.told())) == [events.Bytes(30, 20)]
