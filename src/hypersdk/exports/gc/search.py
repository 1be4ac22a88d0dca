"""Looks for what is left of runs and of cut uploads.

Rules of this file: found three ways - by ledger, by tag, by name - in every region, compartment and bucket of the runs;
"nothing is left" is only said of listings that were read to their ends, and what could not be read is named (design
rule 9); whose a find is and whether it may go is decided in `leftovers.py`; what goes is taken away by `gcremoval.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from hypersdk import errors
from hypersdk.exports.context import ExportRooms
from hypersdk.exports.gc import rules
from hypersdk.exports.gc.known import Known
from hypersdk.exports.gc.local import cloud_ref, local_finds, with_journals
from hypersdk.exports.gc.rules import Find
from hypersdk.exports.links import LINK_LIFE
from hypersdk.exports.options import HOST_TAG, KEEP_TAG
from hypersdk.model import Image, ObjectInfo, ObjectRef
from hypersdk.providers.protocol import Compartment
from hypersdk.storage.protocol import Upload
from hypersdk.transfer.uploads import uploadjournal

GONE = "DELETED"

TOLD_EVERY = 100_000
"""Names of a bucket after which a person is told that the search goes on: some twenty seconds of listing."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where to look besides the places of the runs, in the region of the session.

    Attributes:
        compartments: their OCIDs.
        buckets: addresses without an object's name; namespace "" = the tenancy's own.
        everywhere: every compartment that can be listed, and every bucket in them.
    """

    compartments: tuple[str, ...] = ()
    buckets: tuple[ObjectRef, ...] = ()
    everywhere: bool = False


@dataclass(frozen=True, slots=True)
class Unread:
    """A place that was not read to its end, and why."""

    place: str
    why: errors.HypersdkError


@dataclass(frozen=True, slots=True)
class Report:
    """What a search came to.

    Attributes:
        finds: everything that has a mark of ours, and every unfinished upload.
        regions: looked at.
        compartments: how many were read to their ends.
        buckets: likewise.
        unread: what was not.
        absent: what need not be looked at and could not: places that only ended runs used, links that nobody made.
    """

    finds: tuple[Find, ...]
    regions: tuple[str, ...]
    compartments: int
    buckets: int
    unread: tuple[Unread, ...]
    absent: tuple[str, ...]


RoomsIn = Callable[[str], ExportRooms]
"""The rooms of a region of the same account."""


def search(rooms_in: RoomsIn, home: ExportRooms, places: Places, journals: str | None = None) -> Report:
    """Look for everything that is left.

    Args:
        rooms_in: gives the rooms of each region of the runs.
        home: the rooms of the session.
        places: where to look besides.
        journals: directory of upload journals; None = there are none.

    Raises:
        NotAuthenticated: nobody may look anywhere.
        Stopped: somebody asked to stop.
    """
    known = Known(home.runs, home.provider.tenancy_id)
    cut = list(uploadjournal.stored(journals))
    visits = _visits(home, known, places, cut)
    seen = [_look(rooms_in, home, visit, known) for visit in visits]
    finds = {find.key: find for sight in seen for find in sight.finds}
    judged = _judge([*finds.values(), *local_finds(known)], known)
    unread = [*(one for sight in seen for one in sight.unread), *_beyond(home, known)]
    read_buckets = {str(one) for sight in seen for one in sight.buckets}
    return Report(
        finds=tuple(sorted(with_journals(judged, cut, read_buckets, home.now()), key=_order)),
        regions=tuple(visit.region for visit in visits),
        compartments=sum(len(sight.compartments) for sight in seen),
        buckets=len(read_buckets),
        unread=tuple(unread),
        absent=tuple(one for sight in seen for one in sight.absent),
    )


def _order(find: Find) -> tuple[str, str, str]:
    return (find.run_id or "", find.kind, find.name)


@dataclass
class _Visit:
    """What to look at in one region; True = it must be readable."""

    region: str
    compartments: dict[str, bool] = field(default_factory=dict)
    buckets: dict[ObjectRef, bool] = field(default_factory=dict)
    images: set[str] = field(default_factory=set)
    everywhere: bool = False


def _visits(home: ExportRooms, known: Known, places: Places, cut: Iterable[uploadjournal.Stored]) -> tuple[_Visit, ...]:
    here = _Visit(home.provider.region, everywhere=places.everywhere)
    visits = {here.region: here}
    for plan in known.plans.values():
        if plan.tenancy_id != home.provider.tenancy_id:
            continue
        visit = visits.setdefault(plan.region, _Visit(plan.region, everywhere=places.everywhere))
        must = known.demanded(plan.run_id)
        visit.compartments[plan.compartment_id] = must or visit.compartments.get(plan.compartment_id, False)
        for disk in plan.targets:
            bucket = replace(disk.staging, name="")
            visit.buckets[bucket] = must or visit.buckets.get(bucket, False)
        visit.images |= known.owners[plan.run_id].image_ids
    here.compartments |= dict.fromkeys(places.compartments, True)
    for ref in places.buckets:
        namespace = ref.namespace or home.retrier.call("get namespace", home.provider.namespace)
        here.buckets[replace(ref, namespace=namespace)] = True
    for journal in cut:
        if (target := cloud_ref(journal.contents.intent.target)) is not None:
            here.buckets.setdefault(replace(target, name=""), False)
    if not any(visit.compartments for visit in visits.values()):
        here.everywhere = True  # nothing says where: then everywhere, and never "nothing is left" without a look
    return tuple(visits.values())


@dataclass
class _Sight:
    """What was seen in one region."""

    finds: list[Find] = field(default_factory=list)
    compartments: list[str] = field(default_factory=list)
    buckets: list[ObjectRef] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)


def _look(rooms_in: RoomsIn, home: ExportRooms, visit: _Visit, known: Known) -> _Sight:
    if visit.region == home.provider.region:
        return _Look(home, visit, known).everything()
    try:
        return _Look(rooms_in(visit.region), visit, known).everything()
    except (errors.NotAuthenticated, errors.CredentialsEnded, errors.UsageError) as error:
        # A region that the tenancy has left, or that this program's endpoint does not reach.
        return _Sight(unread=[Unread(f"region {visit.region}", error)])


class _Look:
    def __init__(self, rooms: ExportRooms, visit: _Visit, known: Known) -> None:
        self._rooms = rooms
        self._visit = visit
        self._known = known
        self._sight = _Sight()

    def everything(self) -> _Sight:
        """Compartments first: they may name more buckets."""
        sight, visit = self._sight, self._visit
        for place in self._compartments():
            must = visit.compartments.get(place.id, True)
            if self._read(f"compartment {place.path}", partial(self._compartment, place), must=must):
                sight.compartments.append(place.id)
        for image_id in visit.images - {one.resource_id for one in sight.finds}:
            self._read(f"image {image_id}", partial(self._recorded, image_id), must=True)
        for bucket, must in visit.buckets.items():
            if self._read(f"bucket {bucket.namespace}/{bucket.bucket}", partial(self._bucket, bucket), must=must):
                sight.buckets.append(bucket)
        return sight

    def _read(self, place: str, read: Callable[[], None], *, must: bool) -> bool:
        """Whether a place was read to its end; one that was not is noted."""
        try:
            read()
        except (errors.Stopped, errors.NotAuthenticated, errors.CredentialsEnded):
            raise
        except errors.HypersdkError as error:
            if isinstance(error, errors.NotFoundError) and not must:
                self._sight.absent.append(f"{place} is no more, or you may not see it; only ended runs used it")
            else:
                self._sight.unread.append(Unread(place, error))
            return False
        return True

    def _compartments(self) -> list[Compartment]:
        named = {one: Compartment(one, one, one) for one in self._visit.compartments}
        if self._visit.everywhere:

            def read() -> None:
                named.update({one.id: one for one in self._rooms.provider.compartments()})

            self._read("the compartments of the tenancy", read, must=True)
        return list(named.values())

    def _compartment(self, place: Compartment) -> None:
        self._images(self._rooms.provider.images(place.id), place.path)
        if self._visit.everywhere:
            self._add_buckets(place)

    def _add_buckets(self, place: Compartment) -> None:
        namespace = self._rooms.retrier.call("get namespace", self._rooms.provider.namespace)
        for name in self._rooms.store.buckets(namespace, place.id):
            self._visit.buckets.setdefault(ObjectRef("oci", namespace, name, ""), True)

    def _images(self, images: Iterable[Image], place: str) -> None:
        for image in images:
            if image.lifecycle_state != GONE and self._is_marked(image):
                self._sight.finds.append(self._image(image, place))

    def _is_marked(self, image: Image) -> bool:
        return rules.run_of_tags(image.tags) is not None or image.id in self._visit.images

    def _recorded(self, image_id: str) -> None:
        try:
            image = self._rooms.retrier.call("look at the image", partial(self._rooms.provider.image, image_id))
        except errors.NotFoundError:
            return  # OCI forgets a deleted image after a while
        self._images([image], image.compartment_id or "")

    def _image(self, image: Image, place: str) -> Find:
        run_id = rules.run_of_tags(image.tags) or self._recorder(image.id)
        return Find(
            rules.IMAGE,
            image.name,
            run_id,
            resource_id=image.id,
            host=image.tags.get(HOST_TAG),
            region=self._visit.region,
            place=place,
            size=image.size,
            created=image.time_created,
            state=image.lifecycle_state,
            kept=KEEP_TAG in image.tags,
        )

    def _recorder(self, image_id: str) -> str | None:
        return next((one.run_id for one in self._known.owners.values() if image_id in one.image_ids), None)

    def _bucket(self, bucket: ObjectRef) -> None:
        store, call = self._rooms.store, self._rooms.retrier.call
        facts = call("look at the bucket", partial(store.bucket, bucket))
        versions = facts.versioning != "Disabled"
        for number, info in enumerate((store.versions if versions else store.list)(bucket), 1):
            if number % TOLD_EVERY == 0:
                self._rooms.note(f"bucket {bucket.bucket}: {number:,} names looked at")
            if run_id := rules.run_of_object(info.ref.name, self._known.owners):
                self._add(rules.OBJECT, run_id, info.ref, info.ref.version, info.modified, info=info)
        for upload in store.list_multipart_uploads(bucket):
            self._upload(upload)
        self._links(bucket)

    def _links(self, bucket: ObjectRef) -> None:
        try:
            for link in self._rooms.store.list_pre_authenticated(bucket):
                if run_id := rules.run_of_link(link.name, link.object_name):
                    at = replace(bucket, name=link.object_name)
                    began = link.expires - LINK_LIFE if link.expires else None
                    self._add(rules.LINK, run_id, at, link.id, began, name=link.name)
        except (errors.NotFoundError, errors.PermissionDenied):
            if self._known.has_links(bucket):
                raise
            # Most exports need no links, and whoever makes none needs no permission to manage buckets.
            self._sight.absent.append(
                f"links of bucket {bucket.bucket}: you may not list them; no run of yours has one"
            )

    def _upload(self, upload: Upload) -> None:
        parts = parts_of(self._rooms, upload)
        if parts is not None:
            run_id = rules.run_of_object(upload.ref.name, self._known.owners)
            self._add(rules.UPLOAD, run_id, upload.ref, upload.upload_id, upload.created, parts=parts)

    def _add(
        self,
        kind: str,
        run_id: str | None,
        ref: ObjectRef,
        resource_id: str | None,
        created: datetime | None,
        *,
        name: str | None = None,
        info: ObjectInfo | None = None,
        parts: tuple[int, int] | None = None,
    ) -> None:
        owner = self._known.owners.get(run_id or "")
        size = info.size if info else parts[1] if parts else None
        self._sight.finds.append(
            Find(
                kind,
                name or str(replace(ref, version=None)),
                run_id,
                resource_id=resource_id,
                host=owner.host if owner else None,
                region=self._visit.region,
                place=f"{ref.namespace}/{ref.bucket}",
                size=size,
                created=created,
                etag=(info.etag or None) if info else None,
                ref=ref,
                parts=parts,
            )
        )


def parts_of(rooms: ExportRooms, upload: Upload) -> tuple[int, int] | None:
    """Number and bytes of the parts of an upload; None = it is no more."""
    try:
        sizes = [part.size for part in rooms.store.list_parts(upload)]
    except errors.NotFoundError:
        return None
    return len(sizes), sum(sizes)


def _judge(finds: Sequence[Find], known: Known) -> list[Find]:
    # An image in a bucket's find has no host of its own: the image of the same run tells it.
    hosts = {one.run_id: one.host for one in finds if one.host}
    busy, kept = rules.busy_runs(finds), rules.kept_runs(finds)
    owners = {run_id: known.closer(run_id) for run_id in {one.run_id for one in finds if one.run_id}}
    judged = []
    for one in finds:
        find = replace(one, host=one.host or hosts.get(one.run_id))
        if find.run_id is None:
            why = "of no run of hypersdk; whose it is cannot be told"
            judged.append(replace(find, standing=rules.FOREIGN, why=why))
            continue
        standing, why, commands = rules.judged(find, owners[find.run_id], busy, kept)
        judged.append(replace(find, standing=standing, why=why, commands=commands))
    return judged


def _beyond(home: ExportRooms, known: Known) -> Iterator[Unread]:
    """Runs that may have left something where we cannot look: in other tenancies, or nobody knows where."""
    for run_id in known.open:
        if run_id in known.unreadable:
            yield Unread(f"run {run_id}", known.unreadable[run_id])
        elif run_id in known.plans and known.plans[run_id].tenancy_id != home.provider.tenancy_id:
            error = errors.UsageError(
                f"run {run_id} belongs to tenancy {known.plans[run_id].tenancy_id}",
                resource=run_id,
                hint="choose its profile with --profile",
            )
            yield Unread(f"run {run_id}", error)
