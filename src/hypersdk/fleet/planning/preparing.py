"""From what was asked for to the plan of a fleet; nothing is created.

Rules of this file: it selects, gathers in bulk, and hands all of it to `plan`, which decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from hypersdk import errors
from hypersdk.exports.plan import Surroundings
from hypersdk.fleet import windows
from hypersdk.fleet.nouns import FleetPlan, Item
from hypersdk.fleet.planning.asked import NOTHING, Asked
from hypersdk.fleet.planning.files import FleetFile, Wanted
from hypersdk.fleet.planning.files import read as read_file
from hypersdk.fleet.planning.filters import Filter, Subject
from hypersdk.fleet.planning.inventory import Found, Inventory, Places, Progress, Reader, match, unwatched
from hypersdk.fleet.planning.lists import Cloud, Denied
from hypersdk.fleet.planning.localzone import zone_of_machine
from hypersdk.fleet.planning.looking import Account, Connections, Looker
from hypersdk.fleet.planning.plan import Candidate, Order, draft, draft_again, settle
from hypersdk.model import Ocid

EMPTY_FILE = FleetFile()


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What was asked for.

    Attributes:
        subject: the file or filter that was given, for people.
        file: what the file says.
        filter: selects instances, besides those that the file names.
        asked: on the command line, for all of them.
        beneath: from the configuration, for what neither file nor command line says.
        first: instances that these mean go first, those of the first one before all.
        order: limits and windows.
        regions: where to look; none = our own.
        compartments: paths or OCIDs; none = all that can be listed.
        bucket: the configured one.
        namespace: the configured one; None = the tenancy's own.
        directory: absolute path that relative ones start from.
        region_of: what the region part of an OCID stands for.
    """

    subject: str
    file: FleetFile = EMPTY_FILE
    filter: Filter | None = None
    asked: Asked = NOTHING
    beneath: Asked = NOTHING
    first: tuple[Filter, ...] = ()
    order: Order
    regions: tuple[str, ...] = ()
    compartments: tuple[str, ...] = ()
    bucket: str | None = None
    namespace: str | None = None
    directory: str
    region_of: Callable[[str], str] = field(default=str)


def load_file(name: str) -> FleetFile:
    """Read the file of a fleet.

    Raises:
        NotFoundError: it is not there.
        ConfigError: it cannot be read, or not be understood; names the line.
    """
    try:
        data = Path(name).read_bytes()
    except OSError as error:
        kind = errors.NotFoundError if isinstance(error, FileNotFoundError) else errors.ConfigError
        raise kind(f"{name}: {error.strerror}", resource=name, hint="--filter takes an expression") from error
    return read_file(data, name)


def prepare(wish: Wish, account: Account, now: datetime, progress: Progress = unwatched) -> FleetPlan:
    """The plan of a fleet.

    Args:
        wish: what was asked for.
        account: the cloud.
        now: time of day.
        progress: told what is read and how far it is.

    Raises:
        UsageError: names, windows or options that make no sense; all ambiguous names together.
        NotFoundError: instances that are not there, all of them together.
        PermissionDenied: something could not be read, so that the plan would be short; names what.
        HypersdkError: a list could not be read to its end.
    """
    order = _pinned(wish.order)
    account.runs  # noqa: B018 - an unusable run store is noticed before the first call to the cloud
    cloud = _Planner(wish, account, progress)
    candidates = cloud.candidates()
    drafts = draft(candidates, cloud.around(now))
    return settle(drafts, cloud.looker.look(drafts), order, now)


def prepare_again(
    plan: FleetPlan, account: Account, now: datetime, progress: Progress = unwatched, *, directory: str = "/"
) -> FleetPlan:
    """The plan of known items, with what the cloud, the store and the disks say of them now.

    Args:
        plan: items that need not know more than instance, region, options and priority; limits; windows.
        account: the cloud.
        now: time of day.
        progress: told what is read and how far it is.
        directory: absolute path that relative destinations start from.

    Raises:
        UsageError: what was asked for makes no sense.
        PermissionDenied: something could not be read.
    """
    order = _pinned(Order(plan.subject, plan.limits, plan.windows))
    cloud = _Planner(Wish(subject=plan.subject, order=order, directory=directory), account, progress)
    drafts = draft_again(cloud.known(plan.items), cloud.around(now))
    return settle(drafts, cloud.looker.look(drafts), order, now)


class _Planner:
    """Gathers what a plan is made of."""

    def __init__(self, wish: Wish, account: Account, progress: Progress) -> None:
        self._wish = wish
        self._account = account
        connections = Connections(account)
        self._reader = Reader(connections.connect, account.waiter.stop, progress)
        self.looker = Looker(account, connections)

    @property
    def _home(self) -> Cloud:
        return Cloud(self._account.provider, self._account.retrier)

    def candidates(self) -> list[Candidate]:
        """What was selected, in the order of the file, then by region, compartment and name."""
        wish = self._wish
        inventory, by_id = self._inventory()
        named = match(wish.file.wanted, inventory, by_id, wish.subject)
        chosen = {one.instance.id: wanted for one, wanted in zip(named, wish.file.wanted, strict=True)}
        found = list(named)
        if wish.filter is not None:
            inventory.refuse_unread(f"cannot tell which instances {wish.filter.text!r} means")
            alive = inventory.alive
            if "size" in wish.filter.fields:
                alive = self._sized(alive)
            meant = [one for one in alive if one.instance.id not in chosen and wish.filter.matches(_subject(one))]
            found += sorted(meant, key=lambda one: (one.instance.region, one.compartment, one.instance.name))
        return [self._candidate(one, chosen.get(one.instance.id)) for one in self._sized(found)]

    def known(self, items: Sequence[Item]) -> list[Item]:
        """Items with their instances as they are now, and their sizes; one whose instance is gone is refused."""
        regions = [item.region for item in items]
        places = self._opened(self._reader.places(regions, (), home=self._home, searched=False))
        answers = self._reader.by_id([(item.region, item.instance.id) for item in items], places)
        here = [one for one in answers if isinstance(one, Found)]
        sized = {one.instance.id: one for one in self._sized(here)}
        return [_as_found(item, sized.get(item.instance.id), one) for item, one in zip(items, answers, strict=True)]

    def around(self, now: datetime) -> Callable[[str], Surroundings]:
        """Where the plans of a region are made."""
        wish, account = self._wish, self._account
        namespace = wish.namespace or account.retrier.call("get namespace", account.provider.namespace)
        host = account.runs.host

        def around_of(region: str) -> Surroundings:
            tenancy, bucket = account.provider.tenancy_id, wish.bucket or ""
            return Surroundings(tenancy, region, namespace, bucket, wish.directory, now.date(), host)

        return around_of

    def _inventory(self) -> tuple[Inventory, Mapping[str, Found | Denied]]:
        wish, wanted = self._wish, self._wish.file.wanted
        home = self._home
        regions = [*(wish.regions or (home.provider.region,)), *(one.region for one in wanted if one.region)]
        asked = wish.compartments and [*wish.compartments, *(one.compartment for one in wanted if one.compartment)]
        listed = wish.filter is not None or any(one.name for one in wanted)
        places = self._reader.places(regions, asked, home=home, searched=listed)
        inventory = self._reader.instances(self._opened(places)) if listed else Inventory(())
        known = {one.instance.id for one in inventory.found}
        ids = [(self._region(one), one.id) for one in wanted if one.id and one.id not in known]
        for region, _ in ids:
            self._account.in_region(region)
        return inventory, dict(zip((one for _, one in ids), self._reader.by_id(ids, places), strict=True))

    def _opened(self, places: Places) -> Places:
        for region in places.regions:
            # Made by this thread: the others only ask for them.
            self._account.in_region(region)
        return places

    def _region(self, wanted: Wanted) -> str:
        told = Ocid.parse(wanted.id or "").region
        return wanted.region or (self._wish.region_of(told) if told else "") or self._account.provider.region

    def _sized(self, found: Sequence[Found]) -> tuple[Found, ...]:
        missing = [one for one in found if one.size is None]
        sized = self._reader.sized(missing)
        sized.refuse_unread("cannot tell how big the instances are")
        sizes = {one.instance.id: one for one in sized.found}
        return tuple(sizes.get(one.instance.id, one) for one in found)

    def _candidate(self, one: Found, wanted: Wanted | None) -> Candidate:
        wish = self._wish
        asked = wish.asked.over(wish.file.defaults).over(wish.beneath)
        if wanted is not None:
            asked = wanted.asked.over(asked)
        if asked.priority is None:
            rank = next((n for n, each in enumerate(wish.first) if each.matches(_subject(one))), len(wish.first))
            asked = Asked(priority=rank - len(wish.first)).over(asked)
        return Candidate(one, asked, wanted.where if wanted else "")


def _as_found(item: Item, found: Found | None, answer: Found | Denied) -> Item:
    if found is None:
        return replace(item, refused=str(answer) if isinstance(answer, errors.HypersdkError) else "it is gone")
    known = replace(item, instance=found.instance, size=found.size, compartment=found.compartment)
    return replace(known, note=found.note, refused=None)


def _pinned(order: Order) -> Order:
    """With windows that mean the same on every machine."""
    zone = zone_of_machine()
    spans = tuple(str(windows.in_zone(windows.parse(text), zone)) for text in order.windows)
    return replace(order, windows=spans)


def _subject(one: Found) -> Subject:
    return Subject(one.instance, one.compartment, one.size)
