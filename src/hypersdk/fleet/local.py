"""A fleet on one machine, from its plan to its outcomes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

from hypersdk import errors, events
from hypersdk.exports.context import ExportRooms
from hypersdk.exports.options import ExportOptions
from hypersdk.exports.plan import Surroundings
from hypersdk.fleet import windows
from hypersdk.fleet.crew import OpenRooms, Orders, Watch, work
from hypersdk.fleet.nouns import CANCELLED, FAILED, INTERRUPTED, REFUSED, FleetPlan, Item, Limits, Outcome
from hypersdk.fleet.queue import Turn
from hypersdk.fleet.work import begin_runs
from hypersdk.model import Instance
from hypersdk.runs import fleets
from hypersdk.runs.enrolment import plans_of
from hypersdk.runs.records import Fleet, FleetItem
from hypersdk.runs.store import RunStore
from hypersdk.waiting import StopFlag, Waiter

RETRIED = frozenset({REFUSED, FAILED, INTERRUPTED, CANCELLED})
"""Outcomes that `retry_plan` takes up again."""


class Cloud(Protocol):
    """What a fleet needs of wiring: rooms by region, for this thread and for others."""

    @property
    def runs(self) -> RunStore:
        """The run store."""

    @property
    def waiter(self) -> Waiter:
        """Where this thread waits."""

    @property
    def export_rooms(self) -> ExportRooms:
        """What an export needs."""

    def share(self) -> None:
        """Make what the rooms of all threads keep to together."""

    def surroundings(self, options: ExportOptions, /) -> Surroundings:
        """Where a plan is made, as configured."""

    def in_region(self, region: str, /) -> Cloud:
        """The same account in another region."""

    def apart(self, region: str, waiter: Waiter, /) -> AbstractContextManager[Cloud]:
        """The same account for another thread."""


def _local_now() -> datetime:
    return datetime.now(UTC)


def begin(plan: FleetPlan, cloud: Cloud) -> Fleet:
    """Record a fleet and its runs; nothing begins.

    Args:
        plan: what to do.
        cloud: the account.

    Raises:
        HypersdkError: a template is wrong, the store cannot be used, or a region cannot be reached.
    """
    known: dict[tuple[str, str | None, str | None], Surroundings] = {}

    def around_of(item: Item) -> Surroundings:
        # Each asks the cloud for the tenancy's namespace; hundreds of items share a few.
        place = (item.region, item.options.bucket, item.options.namespace)
        if place not in known:
            known[place] = cloud.in_region(item.region).surroundings(item.options)
        return known[place]

    return begin_runs(plan, cloud.runs, around_of, lambda item: cloud.in_region(item.region).export_rooms)


def go_on(
    fleet: Fleet,
    cloud: Cloud,
    watch: Watch,
    *,
    limits: Limits | None = None,
    now: Callable[[], datetime] = _local_now,
) -> list[Outcome]:
    """Carry out what is left of a fleet.

    Args:
        fleet: recorded by `begin`.
        cloud: the account.
        watch: who watches.
        limits: how many at once; None = as the fleet was asked for.
        now: time of day.

    Raises:
        ConfigError: the run store cannot be used any more.
    """
    cloud.share()
    for region in _regions(cloud.runs, fleet.fleet_id):
        cloud.in_region(region)
    orders = Orders(
        runs=cloud.runs,
        open_rooms=opener(cloud),
        watch=watch,
        stop=cloud.waiter.stop,
        limits=limits or Limits(**fleet.plan["limits"]),
        windows=tuple(windows.parse(text) for text in fleet.plan["windows"]),
        now=now,
        clock=cloud.waiter.clock,
    )
    return work(fleet.fleet_id, orders)


def retry_plan(store: RunStore, fleet: Fleet, instance_of: Callable[[str, str], Instance]) -> FleetPlan:
    """The plan that exports again what a fleet did not export.

    Args:
        store: the run store.
        fleet: the fleet.
        instance_of: region and OCID to the instance as it is now.

    Raises:
        UsageError: nothing is left to export.
    """
    wanted = [item for item in fleets.items(store, fleet.fleet_id) if item.outcome is None or item.outcome in RETRIED]
    if not wanted:
        raise errors.UsageError(f"fleet {fleet.fleet_id} has no failures to retry", resource=fleet.fleet_id)
    items = tuple(_item(store, fleet, item, instance_of) for item in wanted)
    limits = Limits(**fleet.plan["limits"])
    return FleetPlan(f"what fleet {fleet.fleet_id} did not export", items, limits, tuple(fleet.plan["windows"]))


def _item(store: RunStore, fleet: Fleet, item: FleetItem, instance_of: Callable[[str, str], Instance]) -> Item:
    if item.run_id is None:
        asked = fleet.plan["refused"][str(item.number)]
        options, region = asked["options"], asked["region"]
    else:
        run = store.run(item.run_id)
        options, region = run.options, run.plan["region"]
    # What was asked for once is done by now: an unfinished run goes on, and no disk of another run is replaced twice.
    chosen = replace(ExportOptions.from_json(options), new=False)
    return Item(item.number, instance_of(region, item.instance_id), region, chosen, priority=item.priority)


def _regions(store: RunStore, fleet_id: str) -> set[str]:
    return {plan["region"] for plan in plans_of(store, fleet_id).values()}


def opener(cloud: Cloud) -> OpenRooms:
    """Opens the rooms of one export for the thread that carries it out."""

    @contextmanager
    def open_rooms(turn: Turn, stop: StopFlag, report: events.Reporter) -> Iterator[ExportRooms]:
        waiter = Waiter(stop=stop, clock=cloud.waiter.clock, report=report)
        with cloud.apart(turn.region, waiter) as apart:
            yield apart.export_rooms

    return open_rooms
