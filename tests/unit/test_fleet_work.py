"""A fleet goes into the run store in one piece; each of its items has exactly one outcome there."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hypersdk import errors
from hypersdk.exports.options import ExportOptions
from hypersdk.exports.plan import ExportPlan, Surroundings, make_plan, run_key
from hypersdk.fleet.local import retry_plan
from hypersdk.fleet.nouns import FleetPlan, Item, Limits, Outcome
from hypersdk.fleet.work import begin_runs, carry_out, end_queued, write_down
from hypersdk.model import Instance
from hypersdk.runs import fleets
from hypersdk.runs.records import CANCELLED, FAILED, INTERRUPTED, QUEUED, REFUSED, Fleet
from hypersdk.runs.store import RunStore

AROUND = Surroundings("tenancy", "us-ashburn-1", "ns", "bucket", "/here", date(2026, 1, 1), "host")


def item(number: int, **values: Any) -> Item:
    instance = Instance(f"ocid{number}", f"vm-{number}", "compartment", "STOPPED", "us-ashburn-1")
    return Item(number, instance, "us-ashburn-1", ExportOptions(), **values)


def plan_of(*items: Item, **values: Any) -> FleetPlan:
    return FleetPlan("fleet.txt", items, Limits(per_worker=2), **values)


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[RunStore]:
    """An empty run store."""
    with RunStore(tmp_path / "runs.sqlite", host="host", version="1") as store:
        yield store


@pytest.fixture
def begin(runs: RunStore) -> Callable[[FleetPlan], Fleet]:
    """Records a fleet; the cloud is not needed for it."""
    rooms: Any = SimpleNamespace(runs=runs, note=lambda _text: None)
    return lambda plan: begin_runs(plan, runs, lambda _item: AROUND, lambda _item: rooms)


def outcomes(runs: RunStore, fleet: Fleet) -> list[str | None]:
    return [each.outcome for each in fleets.items(runs, fleet.fleet_id)]


def test_a_fleet_is_recorded_with_all_that_others_need(runs: RunStore, begin: Callable[[FleetPlan], Fleet]) -> None:
    """Runs wait with plan, priority and options that mean the same anywhere; a refused item keeps its reason."""
    fleet = begin(plan_of(item(1, priority=2), item(2, refused="too big"), windows=("22:00-06:00",)))
    one, two = fleets.items(runs, fleet.fleet_id)
    run = runs.run(str(one.run_id))
    assert (run.state, run.fleet_id, run.priority, run.subject) == (QUEUED, fleet.fleet_id, 2, "vm-1")
    assert ExportPlan.from_json(run.plan).destinations == ("/here/vm-1.qcow2",)
    assert ExportOptions.from_json(run.options).output_dir == "/here"
    assert (two.run_id, two.outcome, two.code, two.detail) == (None, "refused", "preflight-refused", "too big")
    assert (fleet.plan["limits"]["per_worker"], fleet.plan["windows"]) == (2, ["22:00-06:00"])


def test_the_same_again_goes_on_with_the_same_fleet(runs: RunStore, begin: Callable[[FleetPlan], Fleet]) -> None:
    """Nothing is doubled: fleet and runs are the ones that are there, with the limits and options of now."""
    first = begin(plan_of(item(1), item(2)))
    before = {run.run_id for run in runs.runs()}
    fleets.end_item(runs, str(fleets.items(runs, first.fleet_id)[0].run_id), "interrupted")
    again = replace(plan_of(item(1), item(2)), limits=Limits(per_worker=7))
    other = replace(again.items[0], options=ExportOptions(allow_shutdown=True))
    second = begin(replace(again, items=(other, again.items[1])))
    assert (second.fleet_id, second.plan["limits"]["per_worker"]) == (first.fleet_id, 7)
    assert {run.run_id for run in runs.runs()} == before
    assert outcomes(runs, second) == [None, None]
    run_id = str(fleets.items(runs, second.fleet_id)[0].run_id)
    assert runs.run(run_id).options["allow_shutdown"] is True


def test_another_selection_is_another_fleet(runs: RunStore, begin: Callable[[FleetPlan], Fleet]) -> None:
    """A file that names other instances now is a new fleet, which takes over the runs that it shares."""
    first, second = begin(plan_of(item(1), item(2))), begin(plan_of(item(1), item(3)))
    assert first.fleet_id != second.fleet_id
    ids = [[each.run_id for each in fleets.items(runs, fleet.fleet_id)] for fleet in (first, second)]
    assert ids[0][0] == ids[1][0]
    assert len(runs.runs()) == 3


def test_an_unfinished_export_is_taken_over(runs: RunStore, begin: Callable[[FleetPlan], Fleet]) -> None:
    """What `export` began and did not end becomes the item's run, as it stands."""
    one = item(1)
    key = run_key(one.instance.id, one.options, AROUND)
    plan = make_plan(one.instance, one.options, AROUND, run_id=runs.run_id(key, 1), generation=1)
    run = runs.begin(key, 1, "vm-1", plan.to_json(), options=one.options.to_json())
    fleet = begin(plan_of(one))
    assert [each.run_id for each in fleets.items(runs, fleet.fleet_id)] == [run.run_id]
    assert (runs.run(run.run_id).state, runs.run(run.run_id).fleet_id) == (INTERRUPTED, fleet.fleet_id)


@pytest.mark.parametrize("state", [FAILED, REFUSED, CANCELLED])
def test_what_ended_badly_begins_anew(runs: RunStore, begin: Callable[[FleetPlan], Fleet], state: str) -> None:
    """A run that failed, was refused or cancelled is followed by one of the next generation."""
    run_id = str(fleets.items(runs, begin(plan_of(item(1))).fleet_id)[0].run_id)
    with runs.drive(run_id) as drive:
        drive.set_state(state)
    (new,) = fleets.items(runs, begin(plan_of(item(1))).fleet_id)
    assert new.run_id != run_id
    assert (runs.run(str(new.run_id)).generation, runs.run(str(new.run_id)).state) == (2, QUEUED)


def test_all_or_nothing(runs: RunStore, begin: Callable[[FleetPlan], Fleet]) -> None:
    """If one item cannot be recorded, there is no fleet and no run that nobody would ever begin."""
    with pytest.raises(errors.HypersdkError):
        begin(plan_of(item(1), replace(item(2), number=1)))
    assert runs.runs() == []
    assert fleets.fleets(runs) == []


def test_who_does_not_drive_writes_no_outcome(runs: RunStore, begin: Callable[[FleetPlan], Fleet]) -> None:
    """A late word about a run that somebody else has gone on with, or drives now, is not written down."""
    fleet = begin(plan_of(item(1)))
    run_id = str(fleets.items(runs, fleet.fleet_id)[0].run_id)
    rooms: Any = SimpleNamespace(runs=runs)
    with runs.drive(run_id) as drive:
        drive.set_state("active")
        late = replace(carried(1, run_id), kind="interrupted")
        assert write_down(runs, late) is None
        assert end_queued(runs, run_id) is None
    assert outcomes(runs, fleet) == [None]
    with runs.drive(run_id) as drive:
        drive.set_state(REFUSED, "it is running")
    outcome = carry_out(run_id, rooms)
    assert outcome is not None
    assert (outcome.kind, outcome.code, outcome.exit_code) == ("refused", "preflight-refused", 6)
    assert outcomes(runs, fleet) == ["refused"]


def carried(number: int, run_id: str) -> Outcome:
    """An outcome."""
    return Outcome(number, f"vm-{number}", run_id, "done")


def test_a_queued_run_is_cancelled_without_the_cloud(runs: RunStore, begin: Callable[[FleetPlan], Fleet]) -> None:
    """What has not begun ends as cancelled at once, in every fleet that waits for it."""
    fleet = begin(plan_of(item(1), item(2)))
    run_id = str(fleets.items(runs, fleet.fleet_id)[0].run_id)
    outcome = end_queued(runs, run_id)
    assert outcome is not None
    assert (outcome.kind, outcome.number, outcome.exit_code) == ("cancelled", 1, 1)
    assert outcomes(runs, fleet) == ["cancelled", None]


def test_nothing_to_retry_is_said(runs: RunStore, begin: Callable[[FleetPlan], Fleet]) -> None:
    """A fleet whose items all ended well has nothing that could be taken up again."""
    fleet = begin(plan_of(item(1)))
    run_id = str(fleets.items(runs, fleet.fleet_id)[0].run_id)
    fleets.end_item(runs, run_id, "done")
    with pytest.raises(errors.UsageError, match="has no failures to retry"):
        retry_plan(runs, fleet, lambda _region, _id: item(1).instance)


def test_two_thousand_are_recorded_at_once(runs: RunStore, begin: Callable[[FleetPlan], Fleet]) -> None:
    """A large fleet is one transaction, not one for each run, also when it is given again."""
    plan = plan_of(*(item(number) for number in range(1, 2001)))
    fleet = begin(plan)
    assert begin(plan).fleet_id == fleet.fleet_id
    assert len(runs.runs()) == 2000
