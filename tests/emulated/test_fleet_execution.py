"""A fleet on one machine: every instance has one outcome, nothing is lost, double or left."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from emulator import REGION, Emulator, compartment_id
from kills import wait_until
from postgres import Postgres

import hypersdk
from hypersdk import errors, events
from hypersdk.cli.outcomes import code_of
from hypersdk.config import Config
from hypersdk.exports import api
from hypersdk.exports.context import ExportRooms
from hypersdk.exports.options import CloudLimits
from hypersdk.exports.result import ExportResult
from hypersdk.fleet import crew, local
from hypersdk.fleet.nouns import FleetPlan, Item, Limits, Outcome
from hypersdk.fleet.queue import Turn
from hypersdk.fleet_library import export_fleet
from hypersdk.runs import fleets, slots
from hypersdk.runs.enrolment import standings
from hypersdk.runs.records import FAILED, QUEUED
from hypersdk.runs.store import RunStore

NAMES = tuple(f"vm-{number}" for number in range(1, 6))
SLOW_EXPORT = {"transitionSeconds": 0.01, "paceOf": {"ExportImage": 30}}
"""OCI's exporter takes some tenths of a second."""


class Seen:
    """Watches a fleet."""

    def __init__(self, on_event: Callable[[Turn, events.Event], None] | None = None) -> None:
        self.most = 0
        self.order: list[str] = []
        self.reasons: set[str] = set()
        self.threads: set[str] = set()
        self._on_event = on_event
        self._running: set[str] = set()

    def begins(self, turn: Turn, /) -> events.Reporter:
        self.order.append(turn.name)
        self._running.add(turn.name)
        self.most = max(self.most, len(self._running))
        self.threads.add(threading.current_thread().name)

        def report(event: events.Event, /) -> None:
            if self._on_event is not None:
                self._on_event(turn, event)

        return report

    def ends(self, outcome: Outcome, /) -> None:
        self._running.discard(outcome.name)

    def waits(self, _waiting: int, reason: str | None, /) -> None:
        if reason:
            self.reasons.add(reason)


@pytest.fixture
def config_of(tmp_path: Path) -> Callable[[Emulator], Config]:
    def load(emulator: Emulator) -> Config:
        environ = {
            "HOME": str(tmp_path),
            "HYPEREXPORT_STATE": str(tmp_path / "runs.sqlite"),
            "HYPEREXPORT_RETRY_INITIAL_DELAY": "0.01s",
            "HYPEREXPORT_RETRY_MAX_DELAY": "0.05s",
        }
        flags = {"config_file": str(emulator.config_file), "endpoint": emulator.endpoint, "bucket": "exports"}
        return hypersdk.load_config(flags, environ)

    return load


def plan_of(config: Config, folder: Path, *names: str, **options: Any) -> FleetPlan:
    """A plan that exports instances by name into a folder."""
    limits = options.pop("limits", Limits(per_worker=3))
    provider = hypersdk.connect("oci", config)
    by_name = {instance.name: instance for instance in provider.instances(compartment_id("main"))}
    items = tuple(
        Item(number, by_name[name], REGION, hypersdk.ExportOptions(output_dir=str(folder), **options))
        for number, name in enumerate(names, 1)
    )
    return FleetPlan("test", items, limits)


def open_runs(config: Config) -> RunStore:
    """The run store, as another process sees it."""
    return RunStore(config.state, host="here", version="0")


def code(outcomes: list[Outcome]) -> int:
    """What a command would end with."""
    return code_of([(each.kind, each.exit_code) for each in outcomes])


def clean(emulator: Emulator) -> bool:
    """Whether nothing temporary is left in the cloud."""
    return not any(emulator.control("GET", "leftovers").values())


def test_a_fleet_is_exported(
    start_emulator: Callable[..., Emulator], config_of: Callable[[Emulator], Config], tmp_path: Path
) -> None:
    """Several at once, never more than allowed, each with its disk; nothing is left, no thread either."""
    emulator = start_emulator(instances=NAMES)
    config, before = config_of(emulator), threading.active_count()
    plan, seen = plan_of(config, tmp_path, *NAMES), Seen()
    outcomes = export_fleet(plan, config, watch=seen)
    assert [(each.number, each.name, each.kind) for each in outcomes] == [
        (number, name, "done") for number, name in enumerate(NAMES, 1)
    ]
    assert seen.most == 3
    assert threading.active_count() == before
    assert all((tmp_path / f"{name}.qcow2").is_file() for name in NAMES)
    assert clean(emulator)
    with open_runs(config) as runs:
        assert slots.taken(runs) == {}
    again = export_fleet(plan, config)
    assert {each.kind for each in again} == {"skipped"}
    assert all("already exported at" in each.detail for each in again)


def test_one_refused_and_one_proven_wrong_end_no_other(
    start_emulator: Callable[..., Emulator], config_of: Callable[[Emulator], Config], tmp_path: Path
) -> None:
    """C080: three done, one refused by preflight, one proven wrong: each says so, and the whole is a 3."""
    emulator = start_emulator(instances=dict.fromkeys(NAMES, "STOPPED") | {"vm-5": "RUNNING"})
    emulator.fault("ExportImage", "export-all-zero")
    config = config_of(emulator)
    outcomes = export_fleet(plan_of(config, tmp_path, *NAMES), config)
    assert sorted(each.kind for each in outcomes) == ["done", "done", "done", "failed", "refused"]
    by_kind = {each.kind: each for each in outcomes}
    assert (by_kind["failed"].code, by_kind["failed"].exit_code) == ("verification-failed", 7)
    assert "nothing but zeros" in by_kind["failed"].detail
    assert (by_kind["refused"].name, by_kind["refused"].exit_code) == ("vm-5", 6)
    assert "--allow-shutdown" in by_kind["refused"].detail
    assert code(outcomes) == 3
    assert clean(emulator)
    with open_runs(config) as runs:
        (fleet,) = fleets.fleets(runs)
        recorded = [(item.name, item.outcome) for item in fleets.items(runs, fleet.fleet_id)]
    assert recorded == [(each.name, each.kind) for each in outcomes]


def test_all_failed_and_all_refused(
    start_emulator: Callable[..., Emulator], config_of: Callable[[Emulator], Config], tmp_path: Path
) -> None:
    """C080: all failed in the cloud is 1, all refused is 6, and one that a plan refused keeps its reason."""
    emulator = start_emulator(instances={"vm-1": "STOPPED", "vm-2": "STOPPED", "vm-3": "RUNNING"})
    emulator.fault("CreateImage", "work-request-fails", times=2)
    config = config_of(emulator)
    failed = export_fleet(plan_of(config, tmp_path, "vm-1", "vm-2"), config)
    assert [(each.kind, each.code) for each in failed] == [("failed", "operation-failed")] * 2
    assert code(failed) == 1
    plan = plan_of(config, tmp_path, "vm-3", "vm-2")
    impossible = replace(plan.items[1], refused="it is too big")
    refused = export_fleet(replace(plan, subject="refused", items=(plan.items[0], impossible)), config)
    assert [(each.kind, each.run_id is None) for each in refused] == [("refused", False), ("refused", True)]
    assert refused[1].detail == "it is too big"
    assert code(refused) == 6
    assert code(export_fleet(FleetPlan("nothing", ()), config)) == 5
    assert clean(emulator)


def test_stopped_and_given_again_a_fleet_goes_on(
    start_emulator: Callable[..., Emulator], config_of: Callable[[Emulator], Config], tmp_path: Path
) -> None:
    """A stop ends what runs and begins nothing more; the same call ends the same fleet: one image each."""
    emulator = start_emulator(instances=NAMES)
    config, stop = config_of(emulator), hypersdk.StopFlag()
    plan = plan_of(config, tmp_path, *NAMES, limits=Limits(per_worker=2))

    def stop_at_third(turn: Turn, event: events.Event) -> None:
        if turn.number == 3 and isinstance(event, events.StepStarted) and event.step == "await-object":
            stop.set()

    first = export_fleet(plan, config, watch=Seen(stop_at_third), stop=stop)
    kinds = {each.name: each.kind for each in first}
    assert kinds["vm-3"] == "interrupted"
    assert kinds["vm-5"] == "interrupted"
    assert code(first) == 130
    with open_runs(config) as runs:
        (fleet,) = fleets.fleets(runs)
        assert standings(runs, fleet.fleet_id)[4].state == QUEUED
    second = export_fleet(plan, config)
    assert [each.kind for each in second] == ["done"] * 5
    assert len({each.run_id for each in second}) == 5
    with open_runs(config) as runs:
        assert [each.fleet_id for each in fleets.fleets(runs)] == [fleet.fleet_id]
    assert len(emulator.log(operation="CreateImage", status=200)) == 5
    assert clean(emulator)


def test_one_cancelled_from_outside(
    start_emulator: Callable[..., Emulator],
    config_of: Callable[[Emulator], Config],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """C080: one that runs and one that waits are cancelled, the others are done: 3, and what was made is gone."""
    monkeypatch.setattr(crew, "LOOK_EVERY", 0.05)
    emulator = start_emulator(instances=NAMES)
    config = config_of(emulator)
    emulator.fault("ExportImage", "hold")
    plan = plan_of(config, tmp_path, *NAMES, limits=Limits(per_worker=1))

    def cancel_two(turn: Turn, event: events.Event) -> None:
        if turn.number == 1 and isinstance(event, events.StepStarted) and event.step == "export-image":
            with open_runs(config) as runs:
                ids = [str(item.run_id) for item in fleets.items(runs, fleets.fleets(runs)[0].fleet_id)]
                runs.request_cancel(ids[0])
                runs.request_cancel(ids[3])
            threading.Thread(target=release).start()

    def release() -> None:
        wait_until(lambda: any(each["holding"] for each in emulator.faults()), "never held")
        emulator.control("POST", "release", {"all": True})

    outcomes = export_fleet(plan, config, watch=Seen(cancel_two))
    assert [each.kind for each in outcomes] == ["cancelled", "done", "done", "cancelled", "done"]
    assert outcomes[3].detail == "cancelled before it began"
    assert code(outcomes) == 3
    assert clean(emulator)


def test_places_of_the_exporter_are_waited_for(
    start_emulator: Callable[..., Emulator], config_of: Callable[[Emulator], Config], tmp_path: Path
) -> None:
    """With one place in the region exports queue up for it, say so, and spend nothing on it."""
    emulator = start_emulator(instances=NAMES[:2], change=lambda value: value.update(timing=SLOW_EXPORT))
    config = replace(config_of(emulator), limits=CloudLimits(exports_per_region=1))
    reasons, exporting, most = set[str](), set[int](), [0]

    def look(turn: Turn, event: events.Event) -> None:
        if isinstance(event, events.Waiting) and event.reason:
            reasons.add(event.reason)
        elif isinstance(event, events.StepStarted) and event.step == "await-object":
            exporting.add(turn.number)
            most[0] = max(most[0], len(exporting))
        elif isinstance(event, events.StepFinished) and event.step == "await-object":
            exporting.discard(turn.number)

    outcomes = export_fleet(plan_of(config, tmp_path, *NAMES[:2]), config, watch=Seen(look))
    assert [each.kind for each in outcomes] == ["done"] * 2
    assert most == [1]
    assert f"1 of 1 exports in {REGION} are running" in reasons
    with open_runs(config) as runs:
        assert slots.taken(runs) == {}


def test_a_used_up_image_quota_is_waited_for(
    start_emulator: Callable[..., Emulator], config_of: Callable[[Emulator], Config], tmp_path: Path
) -> None:
    """Where only our own runs use up the quota of images, the others wait for room instead of being refused."""
    emulator = start_emulator(
        instances=NAMES[:2], change=lambda value: value.update(limits={"custom-image-count": 1}, timing=SLOW_EXPORT)
    )
    config, reasons = config_of(emulator), set[str]()

    def look(_turn: Turn, event: events.Event) -> None:
        if isinstance(event, events.Waiting) and event.reason:
            reasons.add(event.reason)

    outcomes = export_fleet(plan_of(config, tmp_path, *NAMES[:2]), config, watch=Seen(look))
    assert [(each.kind, each.detail) for each in outcomes if each.kind != "done"] == []
    assert any("quota of custom images" in reason for reason in reasons)
    assert clean(emulator)


def test_a_fault_of_the_program_ends_one_export(
    start_emulator: Callable[..., Emulator],
    config_of: Callable[[Emulator], Config],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What nobody foresaw ends its own export as failed, with its trace told; the others are done."""
    emulator = start_emulator(instances=NAMES[:3])
    config, told = config_of(emulator), list[str]()
    real = api.drive_run

    def sometimes(rooms: ExportRooms, run_id: str) -> ExportResult:
        if rooms.runs.run(run_id).subject == "vm-2":
            raise ZeroDivisionError("nobody foresaw this")
        return real(rooms, run_id)

    monkeypatch.setattr(api, "drive_run", sometimes)

    def look(_turn: Turn, event: events.Event) -> None:
        if isinstance(event, events.Note):
            told.append(event.text)

    outcomes = export_fleet(plan_of(config, tmp_path, *NAMES[:3]), config, watch=Seen(look))
    assert [each.kind for each in outcomes] == ["done", "failed", "done"]
    assert (outcomes[1].code, outcomes[1].detail) == ("internal", "ZeroDivisionError: nobody foresaw this")
    assert any("Traceback" in text for text in told)


def test_a_store_that_breaks_ends_all_of_it_at_once(
    start_emulator: Callable[..., Emulator],
    config_of: Callable[[Emulator], Config],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where nothing can be written down any more, everything stops, no thread stays, and the error is the store's."""
    emulator = start_emulator(instances=NAMES[:2])
    config, before = config_of(emulator), threading.active_count()

    def broken(*_arguments: object, **_facts: object) -> bool:
        raise errors.ConfigError("the run store is gone")

    monkeypatch.setattr(fleets, "end_item", broken)
    with pytest.raises(errors.ConfigError, match="the run store is gone"):
        export_fleet(plan_of(config, tmp_path, *NAMES[:2]), config)
    assert threading.active_count() == before


def test_a_closed_window_holds_back_beginnings(
    start_emulator: Callable[..., Emulator], config_of: Callable[[Emulator], Config], tmp_path: Path
) -> None:
    """Outside the window nothing begins, and it is said when the next one opens; a stop ends the wait at once."""
    emulator = start_emulator(instances=NAMES[:1])
    config, stop = config_of(emulator), hypersdk.StopFlag()
    now = datetime.now(UTC)
    window = f"{now + timedelta(hours=2):%H:%M}-{now + timedelta(hours=3):%H:%M} UTC"
    plan = replace(plan_of(config, tmp_path, "vm-1"), windows=(window,))

    class Impatient(Seen):
        def waits(self, waiting: int, reason: str | None, /) -> None:
            super().waits(waiting, reason)
            stop.set()

    seen = Impatient()
    outcomes = export_fleet(plan, config, watch=seen, stop=stop)
    assert [(each.kind, each.detail.split(" - ")[0]) for each in outcomes] == [("interrupted", "not begun")]
    assert seen.order == []
    assert any(reason.startswith("the window opens ") for reason in seen.reasons)


def test_what_was_not_exported_is_retried(
    start_emulator: Callable[..., Emulator], config_of: Callable[[Emulator], Config], tmp_path: Path
) -> None:
    """A plan of what a fleet did not export takes up just those, with their own options, refused ones included."""
    emulator = start_emulator(instances=NAMES[:4], assume={"lock-minutes": 0})
    emulator.fault("CreateImage", "work-request-fails")
    config = config_of(emulator)
    plan = plan_of(config, tmp_path, *NAMES[:4], image_name="own-{name}", limits=Limits(per_worker=1))
    refused = replace(plan.items[3], refused="too early")
    first = export_fleet(replace(plan, items=(*plan.items[:3], refused)), config)
    assert [each.kind for each in first] == ["failed", "done", "done", "refused"]
    with open_runs(config) as runs:
        fleet = fleets.fleets(runs)[0]
        again = local.retry_plan(runs, fleet, lambda _region, found: one_of(plan, found))
        assert [(item.number, item.instance.name) for item in again.items] == [(1, "vm-1"), (4, "vm-4")]
        assert {item.options.image_name for item in again.items} == {"own-{name}"}
        outcomes = export_fleet(again, config)
        assert [(each.number, each.kind) for each in outcomes] == [(1, "done"), (4, "done")]
        assert [run.state for run in runs.runs() if run.run_id == first[0].run_id] == [FAILED]
    assert clean(emulator)


def one_of(plan: FleetPlan, instance_id: str) -> hypersdk.Instance:
    """The instance of an item."""
    return next(item.instance for item in plan.items if item.instance.id == instance_id)


def test_a_fleet_from_a_program(
    start_emulator: Callable[..., Emulator],
    config_of: Callable[[Emulator], Config],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`plan_fleet` selects by a filter and a file, and `export_fleet` carries the plan out."""
    monkeypatch.chdir(tmp_path)
    config = config_of(start_emulator(instances=NAMES[:3]))
    (tmp_path / "vms.txt").write_text("vm-3\n")
    limits = hypersdk.FleetLimits(per_worker=1)
    plan = hypersdk.plan_fleet("name=vm-1", config, file="vms.txt", output="out/{name}.{format}", limits=limits)
    assert sorted(item.instance.name for item in plan.items) == ["vm-1", "vm-3"]
    outcomes: list[hypersdk.FleetOutcome] = hypersdk.export_fleet(plan, config)
    assert [each.kind for each in outcomes] == ["done", "done"]
    assert sorted(path.name for path in (tmp_path / "out").glob("*.qcow2")) == ["vm-1.qcow2", "vm-3.qcow2"]


def test_a_fleet_on_one_machine_with_a_shared_store(
    start_emulator: Callable[..., Emulator], config_of: Callable[[Emulator], Config], tmp_path: Path, postgres: Postgres
) -> None:
    """With the run store in Postgres the same crew does the same, places counted there; given again all is skipped."""
    emulator = start_emulator(instances=NAMES[:2])
    config = replace(
        config_of(emulator), state=postgres.database(), limits=CloudLimits(exports_per_region=1, exports_per_bucket=1)
    )
    plan = plan_of(config, tmp_path, *NAMES[:2])
    assert [each.kind for each in export_fleet(plan, config)] == ["done"] * 2
    assert {each.kind for each in export_fleet(plan, config)} == {"skipped"}
    with open_runs(config) as runs:
        assert slots.taken(runs) == {}
    assert clean(emulator)
