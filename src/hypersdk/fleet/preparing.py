"""From what was asked for to the plan of a fleet: reads the cloud, the run store and the local disks; creates nothing.

Rules of this file: facts are gathered in bulk and handed to `plan`, which decides; the only file that is made is the
probe of which names a file system takes for the same, when that matters.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from hypersdk import errors, events
from hypersdk.exports import refusals
from hypersdk.exports.plan import ExportPlan, Surroundings
from hypersdk.exports.preflight import check_free_name, nearest_directory
from hypersdk.exports.refusals import Refusal
from hypersdk.fleet import estimates, windows
from hypersdk.fleet.asked import NOTHING, Asked
from hypersdk.fleet.files import FleetFile, Wanted
from hypersdk.fleet.files import read as read_file
from hypersdk.fleet.filters import Filter, Subject
from hypersdk.fleet.inventory import Found, Inventory, Places, Progress, Reader, match, unwatched
from hypersdk.fleet.lists import Cloud, Denied, Job, read_all
from hypersdk.fleet.localzone import zone_of_machine
from hypersdk.fleet.nouns import FleetPlan, Item
from hypersdk.fleet.plan import Candidate, Draft, Facts, Order, Room, draft, draft_again, may_collide, settle
from hypersdk.model import Image, ObjectRef, Ocid
from hypersdk.providers.lookup import DEAD_INSTANCE_STATES
from hypersdk.providers.protocol import Provider
from hypersdk.retry import Retrier
from hypersdk.runs import speeds
from hypersdk.runs.enrolment import latest_of
from hypersdk.runs.records import DONE
from hypersdk.runs.store import RunStore
from hypersdk.storage.destinations import folding_of
from hypersdk.storage.naming import EXACT, LOOSE, Folding
from hypersdk.storage.protocol import BucketStore
from hypersdk.waiting import StopFlag, Waiter

MOST_IMAGES = 100
"""Images that are asked whether instances launched from them may be imaged, those of most instances first; the
preflight of an export asks for the others."""

QUIET = 5.0
"""Seconds between two retries that people are told of: of hundreds of lists many wait a little."""

EMPTY_FILE = FleetFile()


class Account(Protocol):
    """What planning needs of wiring."""

    @property
    def provider(self) -> Provider:
        """The cloud, in our own region."""

    @property
    def retrier(self) -> Retrier:
        """Repeats single calls."""

    @property
    def waiter(self) -> Waiter:
        """Where this thread waits."""

    @property
    def runs(self) -> RunStore:
        """The run store."""

    @property
    def oci_store(self) -> BucketStore:
        """Object Storage of this region."""

    def in_region(self, region: str, /) -> Self:
        """The same account in another region."""

    def apart(self, region: str, waiter: Waiter, /) -> Self:
        """The same account for another thread."""

    def __enter__(self) -> Self:
        """Use it."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Close its connections."""


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
    return settle(drafts, cloud.facts(drafts), order, now)


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
    return settle(drafts, cloud.facts(drafts), order, now)


class _Planner:
    """Gathers what a plan is made of."""

    def __init__(self, wish: Wish, account: Account, progress: Progress) -> None:
        self._wish = wish
        self._account = account
        self._told = account.waiter.clock()
        self._reader = Reader(self._connect, account.waiter.stop, progress)

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

    def facts(self, drafts: Sequence[Draft]) -> Facts:
        """Everything that decides whether and how long."""
        planned = [one for one in drafts if one.plan is not None]
        exported, begun = self._runs(planned)
        return Facts(
            imageable=self._imageable(planned),
            buckets=self._buckets(planned),
            existing=frozenset(path for one in planned for path in one.paths if not _is_free(path)),
            exported=exported,
            begun=begun,
            folding=_folding(planned),
            rooms=_rooms(planned),
            images_left=self._images_left({one.item.region for one in planned}),
            speeds=estimates.learn({kind: speeds.samples(self._account.runs, kind) for kind in estimates.DEFAULTS}),
        )

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

    def _runs(self, planned: Sequence[Draft]) -> tuple[dict[str, str], dict[str, str]]:
        plans = {one.plan.key: one.plan for one in planned if one.plan is not None}
        exported, begun = {}, {}
        for key, run in latest_of(self._account.runs, list(plans)).items():
            if run.unfinished and not run.cancel:
                begun[key] = run.run_id
            elif run.state == DONE and _same_disks(ExportPlan.from_json(run.plan, any_version=True), plans[key]):
                exported[key] = f"{datetime.fromisoformat(run.updated).astimezone():%Y-%m-%d %H:%M}"
        return exported, begun

    def _imageable(self, planned: Sequence[Draft]) -> dict[str, bool]:
        alive = [one.item for one in planned if one.item.instance.lifecycle_state not in DEAD_INSTANCE_STATES]
        often = Counter((item.region, item.instance.image_id) for item in alive if item.instance.image_id)
        asked = [(region, image) for (region, image), _ in often.most_common(MOST_IMAGES) if image]
        jobs = [Job(region, partial(_image, image_id=image)) for region, image in asked]
        answers = read_all(jobs, self._connect, self._account.waiter.stop)
        # One that we may not see, or that was withdrawn, says nothing: OCI will.
        return {
            image: answer.create_image_allowed
            for (_, image), answer in zip(asked, answers, strict=True)
            if isinstance(answer, Image)
        }

    def _buckets(self, planned: Sequence[Draft]) -> dict[tuple[str, str], Refusal]:
        found = {}
        for region, bucket in sorted({(one.item.region, one.item.bucket) for one in planned}):
            if (refusal := self._bucket(region, bucket)) is not None:
                found[(region, bucket)] = refusal
        return found

    def _bucket(self, region: str, bucket: str) -> Refusal | None:
        there = self._account.in_region(region)
        namespace, _, name = bucket.partition("/")
        look = partial(there.oci_store.bucket, ObjectRef("oci", namespace, name, ""))
        try:
            return refusals.of_bucket(there.retrier.call("look at the bucket", look))
        except (errors.NotFoundError, errors.PermissionDenied):
            needs = "; ".join(there.provider.allow(what, "B") for what in ("read buckets", "manage objects"))
            return Refusal(
                f"there is no bucket {bucket} in {region}, or it must not be seen",
                f"choose another one with --bucket-name or --to, or ask for: {needs}",
            )

    def _images_left(self, regions: set[str]) -> dict[str, int]:
        found = {}
        for region in sorted(regions):
            # Not everybody may read limits, nor reach the service that tells them; CreateImage itself refuses.
            with suppress(errors.HypersdkError):
                left = self._account.in_region(region).provider.image_quota()
                if left is not None:
                    found[region] = left
        return found

    @contextmanager
    def _connect(self, region: str, stop: StopFlag) -> Iterator[Cloud]:
        waiter = Waiter(stop=stop, clock=self._account.waiter.clock, report=self._report)
        with self._account.apart(region, waiter) as apart:
            yield Cloud(apart.provider, apart.retrier)

    def _report(self, event: events.Event, /) -> None:
        waiter = self._account.waiter
        if isinstance(event, events.Waiting) and event.kind == events.RETRY and event.reason is not None:
            if waiter.clock() - self._told < QUIET:
                return
            self._told = waiter.clock()
        waiter.report(event)


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


def _image(cloud: Cloud, image_id: str) -> Image:
    return cloud.retrier.call("look at its image", lambda: cloud.provider.image(image_id))


def _subject(one: Found) -> Subject:
    return Subject(one.instance, one.compartment, one.size)


def _same_disks(run: ExportPlan, wanted: ExportPlan) -> bool:
    """Whether a finished run made the disks that are wanted, and its local files are there."""
    local = [target.path for target in run.targets if target.path]
    return run.destinations == wanted.destinations and all(Path(path).is_file() for path in local)


def _is_free(path: str) -> bool:
    try:
        check_free_name(Path(path), overwrite=False)
    except errors.DestinationExists:
        return False
    except OSError:
        return True  # a name that is too long, or a directory that must not be looked into: preflight says which
    return True


def _folding(planned: Sequence[Draft]) -> Folding:
    if not may_collide(planned):
        return EXACT
    path = next(path for one in planned for path in one.paths)
    try:
        return folding_of(ObjectRef("file", "", str(nearest_directory(Path(path).parent)), ""))
    except errors.HypersdkError:
        return LOOSE


def _rooms(planned: Sequence[Draft]) -> list[Room]:
    places: dict[int, tuple[Path, set[str]]] = {}
    directory_of: dict[Path, Path] = {}
    for one in planned:
        for path in one.paths:
            parent = Path(path).parent
            if parent not in directory_of:
                directory_of[parent] = nearest_directory(parent)
            directory = directory_of[parent]
            places.setdefault(directory.stat().st_dev, (directory, set()))[1].add(path)
    return [Room(str(where), shutil.disk_usage(where).free, frozenset(paths)) for where, paths in places.values()]
