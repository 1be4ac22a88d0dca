"""The plan of a fleet: which instance goes where, what refuses and why, how long it takes. Pure.

Rules of this file: facts come in as data, nothing is looked at; every instance that was selected is in the plan, a
refused one with its reason; of instances whose disks would become the same file none is exported, because nobody can
say which was meant.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from hypersdk import errors
from hypersdk.exports import refusals
from hypersdk.exports.options import ExportOptions
from hypersdk.exports.plan import MANIFEST, ExportPlan, Surroundings, make_plan, manifest_ref
from hypersdk.exports.refusals import Refusal
from hypersdk.fleet import windows
from hypersdk.fleet.nouns import FleetPlan, Item, Limits
from hypersdk.fleet.planning import asked as asking
from hypersdk.fleet.planning import estimates
from hypersdk.fleet.planning.asked import Asked
from hypersdk.fleet.planning.estimates import UNLEARNED, Speeds
from hypersdk.fleet.planning.inventory import Found
from hypersdk.model import ObjectInfo, ObjectRef, format_size
from hypersdk.storage.naming import EXACT, LOOSE, Entry, Folding, name_targets
from hypersdk.storage.url import MAX_FILE_NAME, MAX_OBJECT_NAME

APART = "put {id} or {compartment} into the name, or give them destinations of their own"

ROOT = "(root)"


@dataclass(frozen=True, slots=True)
class Candidate:
    """An instance that was selected, and all that was asked for it; `where`: the place in a file, for messages."""

    found: Found
    asked: Asked
    where: str = ""


@dataclass(frozen=True, slots=True)
class Draft:
    """An item and the plan of its export; `plan` None = it was refused before one could be made."""

    item: Item
    plan: ExportPlan | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """Local files that it will make: disks and their manifests."""
        targets = self.plan.targets if self.plan else ()
        return tuple(each for target in targets if target.path for each in (target.path, target.path + MANIFEST))

    @property
    def directories(self) -> tuple[str, ...]:
        """Local directories of these files."""
        return tuple(dict.fromkeys(path.rpartition("/")[0] or "/" for path in self.paths))

    @property
    def objects(self) -> tuple[ObjectRef, ...]:
        """Objects that will stay: disks and their manifests."""
        targets = self.plan.targets if self.plan else ()
        return tuple(each for target in targets if target.final for each in (target.final, manifest_ref(target.final)))


@dataclass(frozen=True, slots=True)
class Room:
    """A local file system: one of its directories, its free bytes, and those of the plan's files that lie in it."""

    directory: str
    free: int
    paths: frozenset[str]


@dataclass(frozen=True)
class Facts:
    """What was looked at, in bulk.

    Attributes:
        imageable: image OCID -> whether instances launched from it may be imaged; absent = not known, so they may.
        buckets: (region, "namespace/bucket") -> why it cannot be used.
        existing: local paths of the drafts that are there.
        blocked: local directories that nothing can be written to -> why.
        exported: run key -> when its finished run ended, if the store has one.
        begun: run key -> the plan of the unfinished run that goes on.
        folding: which local names are the same to the file system.
        rooms: local file systems.
        images_left: region -> how many more custom images it takes.
        speeds: how long things took so far.
    """

    imageable: Mapping[str, bool] = field(default_factory=dict)
    buckets: Mapping[tuple[str, str], Refusal] = field(default_factory=dict)
    existing: frozenset[str] = frozenset()
    blocked: Mapping[str, Refusal] = field(default_factory=dict)
    exported: Mapping[str, str] = field(default_factory=dict)
    begun: Mapping[str, ExportPlan] = field(default_factory=dict)
    folding: Folding = EXACT
    rooms: Sequence[Room] = ()
    images_left: Mapping[str, int] = field(default_factory=dict)
    speeds: Speeds = UNLEARNED


@dataclass(frozen=True, slots=True)
class Order:
    """How all of it is done: the file or filter that was given, how many at once, windows as text."""

    subject: str
    limits: Limits = field(default_factory=Limits)
    windows: tuple[str, ...] = ()


def draft(candidates: Sequence[Candidate], around_of: Callable[[str], Surroundings]) -> list[Draft]:
    """Where everything would go. What cannot be planned is refused with its reason.

    Args:
        candidates: in the order in which they were given.
        around_of: region -> where plans are made, with the configured bucket.

    Raises:
        UsageError: what was asked for makes no sense for any of them.
    """
    return _drafts(
        _item(number, candidate, around_of(candidate.found.instance.region))
        for number, candidate in enumerate(candidates, 1)
    )


def draft_again(items: Sequence[Item], around_of: Callable[[str], Surroundings]) -> list[Draft]:
    """Where the items of an earlier fleet would go now; their options name everything but the day.

    Args:
        items: what is known of them; refused ones stay so.
        around_of: region -> where plans are made.

    Raises:
        UsageError: what was asked for makes no sense for any of them.
    """
    return _drafts((item, _around(around_of(item.region), item.options)) for item in items)


def _drafts(planned: Iterable[tuple[Item, Surroundings]]) -> list[Draft]:
    drafts, mistakes = list[Draft](), list[errors.UsageError]()
    for item, around in planned:
        try:
            drafts.append(_draft(item, around) if item.refused is None else Draft(item))
        except errors.UsageError as error:
            mistakes.append(error)
            drafts.append(Draft(replace(item, refused=_sentence(Refusal(error.message, error.hint or "")))))
    if mistakes and len(mistakes) == len(drafts):
        # A template that is wrong for all is the user's slip, not a property of the instances.
        raise mistakes[0]
    return drafts


def settle(drafts: Sequence[Draft], facts: Facts, order: Order, now: datetime) -> FleetPlan:
    """The plan, once the facts are known.

    Args:
        drafts: from `draft`.
        facts: what was looked at.
        order: how all of it is done.
        now: when it is planned.

    Raises:
        UsageError: a window is none.
    """
    read = [windows.parse(text) for text in order.windows]
    judged = [_judged(one, facts) for one in drafts]
    collisions = _collisions([one for one in judged if one.item.refused is None], facts.folding)
    settled = [_apart(one, collisions.get(one.item.number)) for one in judged]
    items = tuple(one.item for one in settled)
    return FleetPlan(
        subject=order.subject,
        items=items,
        limits=order.limits,
        windows=tuple(str(each) for each in read),
        seconds=estimates.in_all(items, order.limits, read, now),
        notes=tuple(_notes([one for one in settled if one.item.refused is None], facts, order.limits)),
    )


def _item(number: int, candidate: Candidate, around: Surroundings) -> tuple[Item, Surroundings]:
    """An item whose disks have no names yet, and where its plan is made."""
    found = candidate.found
    one = found.instance
    path = "root" if found.compartment == ROOT else found.compartment
    try:
        options = asking.options(candidate.asked, compartment=path, region=one.region, directory=around.directory)
    except errors.UsageError as error:
        if not candidate.where:
            raise
        message = f"{candidate.where}: {error.message}"
        raise errors.UsageError(message, resource=error.resource, hint=error.hint) from error
    around = _around(around, options)
    item = Item(
        number=number,
        instance=one,
        region=one.region,
        options=replace(options, bucket=around.bucket, namespace=around.namespace),
        bucket=f"{around.namespace}/{around.bucket}",
        priority=candidate.asked.priority or 0,
        size=found.size,
        note=found.note,
        compartment=found.compartment,
    )
    return item, around


def _around(around: Surroundings, options: ExportOptions) -> Surroundings:
    """Where the plan of one export is made: the bucket of its options, else the configured one."""
    bucket = options.bucket or around.bucket
    if not bucket:
        raise errors.UsageError(
            "no bucket for the exported object",
            hint="--bucket-name, oci.bucket in hypersdk.yaml, or --to oci://namespace/bucket/prefix",
        )
    return replace(around, bucket=bucket, namespace=options.namespace or around.namespace)


def _draft(item: Item, around: Surroundings) -> Draft:
    plan = make_plan(item.instance, item.options, around, run_id="0" * 12, generation=1)
    _check_names(plan)
    bucket = f"{around.namespace}/{around.bucket}"
    return Draft(replace(item, bucket=bucket, destinations=plan.destinations), plan)


def _check_names(plan: ExportPlan) -> None:
    for target in plan.targets:
        for name in f"{target.path or ''}{MANIFEST}".split("/"):
            if len(os.fsencode(name)) > MAX_FILE_NAME:
                raise errors.UsageError(
                    f"the file name {name} is longer than {MAX_FILE_NAME} bytes", hint="choose a shorter one"
                )
        final = manifest_ref(target.final).name if target.final else ""
        if len(final.encode()) > MAX_OBJECT_NAME:
            raise errors.UsageError(
                f"the object name {final} is longer than {MAX_OBJECT_NAME} bytes", hint="choose a shorter one"
            )


def _judged(one: Draft, facts: Facts) -> Draft:
    item = one.item
    if one.plan is None:
        return one
    key, options = one.plan.key, item.options
    if key in facts.exported and not (options.overwrite or options.new):
        # Whether its disks still are what they were is looked at when its turn comes.
        note = _joined(item.note, f"exported already at {facts.exported[key]}")
        return replace(one, item=replace(item, seconds=0.0, note=note))
    took = estimates.seconds(item.size, formats=len(options.formats), local=options.local, speeds=facts.speeds)
    if key in facts.begun and not options.new:
        # It goes where it began to go, whatever day it is now.
        begun = facts.begun[key]
        note = _joined(item.note, f"run {begun.run_id} goes on")
        return Draft(replace(item, seconds=took, note=note, destinations=begun.destinations), begun)
    refusal = _refusal(one, facts)
    if refusal is not None:
        return replace(one, item=replace(item, refused=_sentence(refusal)))
    return replace(one, item=replace(item, seconds=took))


def _refusal(one: Draft, facts: Facts) -> Refusal | None:
    item = one.item
    imageable = facts.imageable.get(item.instance.image_id or "", True)
    refusal = refusals.of_instance(item.instance, imageable=imageable, allow_shutdown=item.options.allow_shutdown)
    if refusal := refusal or refusals.of_size(item.size) or facts.buckets.get((item.region, item.bucket)):
        return refusal
    if facts.images_left.get(item.region, 1) <= 0:
        return Refusal(
            f"{item.region} takes no further custom image: the tenancy's quota is used up",
            "delete images that nobody needs (`hyperexport images list`), or ask Oracle to raise custom-image-count",
        )
    if blocked := next((facts.blocked[each] for each in one.directories if each in facts.blocked), None):
        return blocked
    taken = next((path for path in one.paths if path in facts.existing), None)
    if taken is not None and not item.options.overwrite:
        return Refusal(f"{taken} exists", "--overwrite replaces it, -o chooses another name")
    return None


def _apart(one: Draft, collision: str | None) -> Draft:
    if collision is None:
        return one
    return replace(one, item=replace(one.item, refused=_sentence(Refusal(collision, APART)), seconds=None))


def may_collide(drafts: Sequence[Draft]) -> bool:
    """Whether it matters which names the local file system takes for the same: only then it need be probed."""
    return _collisions(drafts, LOOSE) != _collisions(drafts, EXACT)


def _collisions(drafts: Sequence[Draft], folding: Folding) -> dict[int, str]:
    """Why disks of different instances cannot stand beside each other, by the number of the item."""
    owners = [(one.item.number, path) for one in drafts for path in one.paths]
    found = dict[int, str]()
    entries = [Entry(ObjectInfo(ObjectRef("file", "", "", path), 0), path.lstrip("/")) for _, path in owners]
    named = name_targets(entries, ObjectRef("file", "", "/", ""), folding)
    number_of = {id(entry): number for entry, (number, _) in zip(entries, owners, strict=True)}
    for refusal in named.refusals:
        found.setdefault(number_of[id(refusal.entry)], f"/{refusal.entry.name}: {refusal.because}")
    objects: dict[ObjectRef, list[Item]] = {}
    for one in drafts:
        for ref in one.objects:
            objects.setdefault(ref, []).append(one.item)
    for ref, items in objects.items():
        for item in items if len(items) > 1 else ():
            other = next((each for each in items if each is not item), item)
            found.setdefault(item.number, f"{ref}: it would become the same object as that of {other.instance.name}")
    return found


def _notes(going: Sequence[Draft], facts: Facts, limits: Limits) -> Iterable[str]:
    made = [one for one in going if one.plan is not None and one.plan.key not in facts.exported]
    for room in facts.rooms:
        inside = [one.item for one in made if room.paths.intersection(one.paths)]
        inside.sort(key=lambda item: (item.priority, item.number))
        needed = sum((item.size or 0) * len(item.options.formats) for item in inside)
        if needed > room.free:
            yield (
                f"{room.directory} has {format_size(room.free)} free, full disks would take {format_size(needed)}: "
                f"{_fitting(inside, room.free)} of {len(inside)} surely fit; unused space is not exported, so more may"
            )
    for region, left in facts.images_left.items():
        at_once = min(
            [each for each in (limits.parallel, limits.per_region) if each] or [limits.per_worker or left + 1]
        )
        if 0 < left < min(at_once, sum(one.item.region == region for one in going)):
            yield f"{region} takes {left} more custom images at once; --per-region {left} keeps below that"


def _fitting(items: Sequence[Item], free: int) -> int:
    count = 0
    for item in items:
        free -= (item.size or 0) * len(item.options.formats)
        if free < 0:
            break
        count += 1
    return count


def _sentence(refusal: Refusal) -> str:
    return f"{refusal.because} - {refusal.hint}" if refusal.hint else refusal.because


def _joined(*notes: str) -> str:
    return "; ".join(filter(None, notes))
