"""What watches a run while it is driven: heartbeat, story and stalls; a store that fails, a process that sleeps."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from hypersdk import errors, events
from hypersdk.exports.context import Context, ExportRooms
from hypersdk.exports.options import ExportOptions
from hypersdk.exports.plan import Surroundings, make_plan
from hypersdk.exports.telling.watch import LATER, STOOD_STILL, Watch, ending
from hypersdk.model import Instance
from hypersdk.runs import history
from hypersdk.runs.records import Happening
from hypersdk.runs.store import RunStore
from hypersdk.waiting import Waiter

BEGAN = datetime(2026, 11, 25, 14, 2, tzinfo=UTC)


@dataclass
class Rooms:
    """The few rooms that a watch needs."""

    runs: RunStore
    waiter: Waiter
    now: Any
    logs: Path | None = None
    command: str = "hyperexport export web"


@dataclass
class Desk:
    """One run, driven in a test whose clock moves on request."""

    ctx: Context
    clock: list[float]
    seen: list[events.Event] = field(default_factory=list)

    @property
    def waiter(self) -> Waiter:
        """Where the run ticks."""
        return self.ctx.rooms.waiter

    def at(self, second: float) -> None:
        """Time passes, then a tick."""
        self.clock[0] = second
        self.waiter.tick()

    def notes(self) -> list[str]:
        """What people were told."""
        return [event.text for event in self.seen if isinstance(event, events.Note | events.Stalled)]

    def story(self) -> list[Happening]:
        """What the store has."""
        return history.history(self.ctx.rooms.runs, self.ctx.plan.run_id)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    clock = [0.0]
    seen: list[events.Event] = []
    around = Surroundings("t", "r", "ns", "b", "/x", BEGAN.date(), "host")
    instance = Instance("ocid1.instance.oc1.iad.i", "web", "c", "STOPPED", "r")
    with RunStore(tmp_path / "state" / "runs.sqlite", host="host", version="1") as store:
        plan = make_plan(instance, ExportOptions(), around, run_id=store.run_id("key", 1), generation=1)
        run = store.begin("key", 1, "web", plan.to_json())
        waiter = Waiter(clock=lambda: clock[0], report=seen.append)
        rooms = Rooms(store, waiter, lambda: BEGAN + timedelta(seconds=clock[0]), tmp_path / "logs")
        with store.drive(run.run_id) as drive:
            ctx = Context(cast("ExportRooms", rooms), plan, ExportOptions(), drive, {})
            yield Desk(ctx, clock, seen)


def watch(desk: Desk) -> Watch:
    return Watch(desk.ctx, desk.ctx.rooms.runs.run(desk.ctx.plan.run_id))


def test_a_stall_reaches_everybody(desk: Desk) -> None:
    """Reporter, story, log and heartbeat: a download without a byte for a minute is told in words, once."""
    run_id = desk.ctx.plan.run_id
    with watch(desk):
        desk.waiter.report(events.StepStarted(run_id, "download", "fetch the disk"))
        desk.waiter.report(events.Bytes(wire=1))
        for second in range(0, 120, 5):
            desk.at(second)
        holder = desk.ctx.rooms.runs.holder(run_id)
    assert desk.notes() == ["download has not moved for 60 s"]
    assert [one.text for one in desk.story() if one.kind == "stall"] == desk.notes()
    assert holder is not None
    assert holder.progress is not None
    assert holder.progress["stalled"] == desk.notes()[0]
    (log,) = (desk.ctx.rooms.logs or Path()).iterdir()
    assert "stalled: download has not moved for 60 s" in log.read_text()


def test_a_sleeping_process_notices_it(desk: Desk) -> None:
    """Five minutes without a tick are told, and are no stall of the step."""
    with watch(desk):
        desk.waiter.report(events.StepStarted(desk.ctx.plan.run_id, "download", "fetch the disk"))
        desk.waiter.report(events.Bytes(wire=1))
        desk.at(1)
        desk.at(301)
        desk.at(302)
    assert STOOD_STILL < 300
    assert desk.notes() == ["nothing was looked at for 5 min: this process was suspended, or a call did not return"]


def test_a_store_that_cannot_be_written_stops_no_transfer(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The story is kept and written later; people are told once; nothing of it is lost."""
    fails = [True]
    write = history.write

    def failing(*arguments: Any, **options: Any) -> None:
        if fails[0]:
            raise errors.DiskFull("no room left for the run store")
        write(*arguments, **options)

    monkeypatch.setattr(history, "write", failing)
    with watch(desk) as watching:
        for second in range(0, 100, 5):
            desk.at(second)
        fails[0] = False
        desk.at(100 + LATER)
        watching.ended("done")
    assert desk.notes() == ["no room left for the run store: going on, and trying again"]
    kinds = [one.kind for one in desk.story()]
    assert (kinds[0], kinds[-1]) == ("began", "ended")
    assert [one.text for one in desk.story() if one.kind == "note"] == desk.notes()


def test_a_lost_lease_ends_it_at_once(desk: Desk, tmp_path: Path) -> None:
    """Another process has the run: the next tick says so."""
    with watch(desk):
        desk.at(3)
        with closing(sqlite3.connect(tmp_path / "state" / "runs.sqlite")) as db, db:
            db.execute("UPDATE leases SET epoch = epoch + 1")
        with pytest.raises(errors.LeaseLost):
            desk.at(6)


def test_thousands_of_waits_are_few_writes(desk: Desk) -> None:
    """A story that floods costs one line, and what people see is not touched."""
    with watch(desk) as watching:
        desk.waiter.report(events.StepStarted(desk.ctx.plan.run_id, "await-image", "wait"))
        for number in range(2000):
            desk.waiter.report(events.Waiting(f"image is PROVISIONING, {number / 20:.0f} %"))
            desk.clock[0] += 0.5
            desk.waiter.report(events.Waiting(None))
            desk.waiter.tick()
        watching.ended("interrupted", errors.Interrupted("interrupted"))
    story = desk.story()
    assert [one.kind for one in story] == ["began", "wait", "cut", "ended"]
    waited = [one for one in story if one.kind == "wait"]
    assert sum(one.seconds or 0 for one in waited) == pytest.approx(1000)


@pytest.mark.parametrize(
    ("error", "code", "exit_code"),
    [
        (None, None, 0),
        (errors.ThrottledError("slow", request_id="R", hint="later"), "throttled", 8),
        (ZeroDivisionError("fault"), "internal", 1),
    ],
)
def test_an_ending_is_what_scripts_decide_by(error: BaseException | None, code: str | None, exit_code: int) -> None:
    """Code, exit code, request id and hint of whatever ended the run; plain JSON values."""
    told = ending(error)
    assert (told["code"], told["exit_code"]) == (code, exit_code)
    assert json.loads(json.dumps(told)) == told
