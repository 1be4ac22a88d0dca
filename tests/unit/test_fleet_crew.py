"""The thread that looks after the others: what it does about runs that other processes have, end, or leave behind."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hypersdk import errors, events
from hypersdk.exports.options import ExportOptions
from hypersdk.exports.plan import Surroundings
from hypersdk.fleet import crew
from hypersdk.fleet.crew import Orders, unwatched, work
from hypersdk.fleet.nouns import FleetPlan, Item, Limits, Outcome
from hypersdk.fleet.queue import Turn
from hypersdk.fleet.work import begin_runs, write_down
from hypersdk.model import Instance
from hypersdk.runs import fleets
from hypersdk.runs.records import ACTIVE, DONE, Fleet
from hypersdk.runs.store import RunStore
from hypersdk.waiting import StopFlag

AROUND = Surroundings("tenancy", "us-ashburn-1", "ns", "bucket", "/here", date(2026, 1, 1), "host")


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[RunStore]:
    """An empty run store."""
    with RunStore(tmp_path / "runs.sqlite", host="host", version="1") as store:
        yield store


@pytest.fixture
def fleet(runs: RunStore, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """A fleet of three that waits; the crew looks around all the time."""
    monkeypatch.setattr(crew, "LOOK_EVERY", 0.0)
    monkeypatch.setattr(crew, "WAKE_EVERY", 0.005)
    items = [
        Item(number, Instance(f"ocid{number}", f"vm-{number}", "c", "STOPPED", "r"), "r", ExportOptions())
        for number in (1, 2, 3)
    ]
    rooms: Any = SimpleNamespace(runs=runs)
    return begin_runs(FleetPlan("f", tuple(items)), runs, lambda _item: AROUND, lambda _item: rooms)


def orders_of(runs: RunStore, stop: StopFlag | None = None, **values: Any) -> Orders:
    """Orders whose rooms are only the run store."""

    def open_rooms(_turn: Turn, flag: StopFlag, _report: events.Reporter) -> AbstractContextManager[Any]:
        return nullcontext(SimpleNamespace(runs=runs, flag=flag))

    known: dict[str, Any] = {"limits": Limits(per_worker=2), "windows": (), "open_rooms": open_rooms}
    return Orders(
        runs=runs,
        watch=unwatched(),
        stop=stop or StopFlag(),
        now=lambda: datetime(2026, 1, 1, tzinfo=UTC),
        clock=lambda: 0.0,
        **{**known, **values},
    )


def ended(run_id: str, kind: str = "done") -> Outcome:
    return Outcome(0, "", run_id, kind)


def carried_by(monkeypatch: pytest.MonkeyPatch, carry_out: Callable[[str, Any], Outcome | None]) -> None:
    monkeypatch.setattr(crew, "carry_out", carry_out)


def test_what_another_process_ended_has_its_outcome(
    runs: RunStore, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that somebody else drives is waited for, and ends as that one says."""
    ids = [str(item.run_id) for item in fleets.items(runs, fleet.fleet_id)]

    def carry_out(run_id: str, _rooms: Any) -> Outcome | None:
        if run_id != ids[0]:
            return ended(run_id)
        with runs.drive(run_id) as drive:
            drive.set_state(DONE)
        fleets.end_item(runs, run_id, "done", detail="by another one")
        return None

    carried_by(monkeypatch, carry_out)
    outcomes = work(fleet.fleet_id, orders_of(runs))
    assert [(each.number, each.name, each.kind) for each in outcomes] == [
        (number, f"vm-{number}", "done") for number in (1, 2, 3)
    ]
    assert outcomes[0].detail == "by another one"


def test_what_another_process_left_is_taken_up(runs: RunStore, fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run whose process was stopped meanwhile goes on here: we were not asked to stop."""
    ids = [str(item.run_id) for item in fleets.items(runs, fleet.fleet_id)]
    tries: list[str] = []

    def carry_out(run_id: str, _rooms: Any) -> Outcome | None:
        tries.append(run_id)
        if run_id == ids[1] and tries.count(run_id) == 1:
            fleets.end_item(runs, run_id, "interrupted")
            return None
        return ended(run_id)

    carried_by(monkeypatch, carry_out)
    assert [each.kind for each in work(fleet.fleet_id, orders_of(runs))] == ["done"] * 3
    assert tries.count(ids[1]) == 2


def test_a_run_of_a_killed_process_that_cannot_go_on_has_an_outcome(runs: RunStore, fleet: Fleet) -> None:
    """A run that counts as active although nobody drives it ends as its error says, instead of being tried for ever."""
    run_id = str(fleets.items(runs, fleet.fleet_id)[0].run_id)
    with runs.drive(run_id) as drive:
        drive.set_state(ACTIVE)
        assert write_down(runs, ended(run_id, "failed")) is None
    assert write_down(runs, ended(run_id, "failed")) is not None
    assert fleets.items(runs, fleet.fleet_id)[0].outcome == "failed"


def test_a_stop_reaches_every_export(runs: RunStore, fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each export has a flag of its own, which the stop of all of them sets; what has not begun does not begin."""
    stop, begun = StopFlag(), threading.Barrier(2)

    def carry_out(run_id: str, rooms: Any) -> Outcome:
        if begun.wait(10) == 0:
            stop.set()
        assert rooms.flag.wait(10)
        return ended(run_id, "interrupted")

    carried_by(monkeypatch, carry_out)
    outcomes = work(fleet.fleet_id, orders_of(runs, stop))
    assert [each.kind for each in outcomes] == ["interrupted"] * 3
    assert outcomes[2].detail.startswith("not begun")
    assert fleets.items(runs, fleet.fleet_id)[2].outcome is None


def test_a_cancelled_fleet_ends_while_its_window_is_closed(
    runs: RunStore, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`runs cancel` ends what waits at once, whatever it waits for."""
    carried_by(monkeypatch, lambda run_id, _rooms: ended(run_id))
    fleets.cancel_fleet(runs, fleet.fleet_id)
    closed = crew.windows.parse("10:00-11:00 UTC")
    outcomes = work(fleet.fleet_id, orders_of(runs, windows=(closed,)))
    assert [each.kind for each in outcomes] == ["cancelled"] * 3


def test_an_export_whose_rooms_cannot_be_opened_fails_alone(
    runs: RunStore, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sign-in that fails in one region is an outcome of its own; the others are done."""
    usual = orders_of(runs)

    def open_rooms(turn: Turn, flag: StopFlag, report: events.Reporter) -> AbstractContextManager[Any]:
        if turn.number == 2:
            raise errors.NotAuthenticated("who are you?")
        return usual.open_rooms(turn, flag, report)

    carried_by(monkeypatch, lambda run_id, _rooms: ended(run_id))
    outcomes = work(fleet.fleet_id, replace(usual, open_rooms=open_rooms))
    assert [(each.kind, each.code) for each in outcomes] == [
        ("done", None),
        ("failed", "not-authenticated"),
        ("done", None),
    ]
    assert fleets.items(runs, fleet.fleet_id)[1].outcome == "failed"
