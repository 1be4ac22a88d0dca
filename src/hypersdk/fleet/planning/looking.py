"""Looks at everything that decides whether the exports of a fleet can be, and how long they take; in bulk.

Rules of this file: a call for each distinct image, bucket and region, none for each instance; the only file that is
made is the probe of which names a file system takes for the same, when that matters.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from hypersdk import errors, events
from hypersdk.exports import refusals
from hypersdk.exports.plan import ExportPlan
from hypersdk.exports.preflight import check_free_name, nearest_directory, why_not_made
from hypersdk.exports.refusals import Refusal
from hypersdk.fleet.planning import estimates
from hypersdk.fleet.planning.lists import Cloud, Job, read_all
from hypersdk.fleet.planning.plan import Draft, Facts, Room, may_collide
from hypersdk.model import Image, ObjectRef
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


class Connections:
    """Opens regions of an account for other threads, and tells of their waits what a person wants to hear.

    Args:
        account: the cloud.
    """

    def __init__(self, account: Account) -> None:
        self._account = account
        self._told = account.waiter.clock()

    @contextmanager
    def connect(self, region: str, stop: StopFlag) -> Iterator[Cloud]:
        """Open a region for the thread that calls it."""
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


class Looker:
    """Gathers facts for drafts.

    Args:
        account: the cloud.
        connections: for threads.
    """

    def __init__(self, account: Account, connections: Connections) -> None:
        self._account = account
        self._connect = connections.connect

    def look(self, drafts: Sequence[Draft]) -> Facts:
        """Everything that decides whether and how long."""
        planned = [one for one in drafts if one.plan is not None]
        exported, begun = self._runs(planned)
        return Facts(
            imageable=self._imageable(planned),
            buckets=self._buckets(planned),
            existing=frozenset(path for one in planned for path in one.paths if not _is_free(path)),
            blocked=_blocked(planned),
            exported=exported,
            begun=begun,
            folding=_folding(planned),
            rooms=_rooms(planned),
            images_left=self._images_left({one.item.region for one in planned}),
            speeds=estimates.learn({kind: speeds.samples(self._account.runs, kind) for kind in estimates.DEFAULTS}),
        )

    def _runs(self, planned: Sequence[Draft]) -> tuple[dict[str, str], dict[str, ExportPlan]]:
        plans = {one.plan.key: one.plan for one in planned if one.plan is not None}
        exported, begun = {}, {}
        for key, run in latest_of(self._account.runs, list(plans)).items():
            plan = ExportPlan.from_json(run.plan, any_version=True)
            if run.unfinished and not run.cancel:
                begun[key] = plan
            elif run.state == DONE and _same_disks(plan, plans[key]):
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


def _image(cloud: Cloud, image_id: str) -> Image:
    return cloud.retrier.call("look at its image", lambda: cloud.provider.image(image_id))


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


def _blocked(planned: Sequence[Draft]) -> dict[str, Refusal]:
    directories = {each for one in planned for each in one.directories}
    found = {each: why_not_made(Path(each)) for each in directories}
    return {each: refusal for each, refusal in found.items() if refusal is not None}


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
