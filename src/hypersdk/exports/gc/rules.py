"""What is left of runs and of cut uploads: whose it is, and whether it may go. Pure.

Rules of this file (design section 8, rule 10): only what an ended run of our own store made, and proves by more than
one sign to be that run's, may go at once; what another store made goes only when it is asked for and old; what is
being made just now, what an unfinished run goes on with, what a user kept on purpose, and what merely looks like ours
never goes.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from hypersdk.exports.options import RUN_TAG
from hypersdk.exports.plan import STAGING, ExportPlan, staging_prefix
from hypersdk.model import ObjectRef

IMAGE, OBJECT, LINK, UPLOAD = "image", "object", "link", "upload"
PARTIAL, JOURNAL = "partial", "journal"
KINDS = (IMAGE, OBJECT, LINK, UPLOAD, PARTIAL, JOURNAL)
"""In the cloud, then on this machine: a half-done download, the journal of an upload that is no more."""

REMOVABLE = "removable"
"""Of an ended run of this store: goes with a yes."""
RESUMABLE = "resumable"
"""An unfinished run, or the same `cp`, goes on with it."""
RUNNING = "running"
"""A process works with it now."""
BUSY = "busy"
"""The cloud works with it now."""
KEPT = "kept"
"""A user asked to keep it."""
FOREIGN = "foreign"
"""Of another store, or of no run at all."""
UNCLEAR = "unclear"
"""Has the marks of a run that made something else: a person must look."""

STANDINGS = (REMOVABLE, RESUMABLE, RUNNING, BUSY, KEPT, FOREIGN, UNCLEAR)

BUSY_STATES = frozenset({"EXPORTING", "PROVISIONING", "IMPORTING"})
"""States of an image in which the cloud reads or writes it."""

FOREIGN_AGE = timedelta(days=7)
"""How old something of another store must be at least to go, unless a person says otherwise."""

LEAST_FOREIGN_AGE = timedelta(days=1)
"""No younger: an export may take a day, as long as a link of it lives."""

LISTED_AFTER = timedelta(hours=1)
"""How long a create may be missing in a list at most; OCI's lists lag by seconds."""

_RUN_ID = re.compile(r"[0-9a-f]{12}")
_BELOW_STAGING = re.compile(rf"{re.escape(STAGING)}([0-9a-f]{{12}})/")
_STAGED = re.compile(rf"{re.escape(STAGING)}([0-9a-f]{{12}})/export-image(-[a-z0-9]+)?\.[a-z0-9]+")
_LINK = re.compile(r"hypersdk-([0-9a-f]{12})-(?:preflight|export-image)[a-z0-9-]*")


@dataclass(frozen=True, slots=True)
class Find:
    """Something that is left, or may be.

    Attributes:
        kind: one of `KINDS`.
        name: for people: display name, object's address, path.
        run_id: the run that its marks name; None = it has none.
        resource_id: the cloud's identifier; of an object its version, where the bucket has versions.
        host: the machine that it was made from, as far as a mark says so.
        region: where it is; "" = on this machine.
        place: compartment or bucket, for people.
        size: bytes; None = unknown.
        created: when it was made or last changed; None = unknown.
        etag: version mark of what was seen.
        ref: the object, of objects, links and uploads.
        state: the provider's own word, of images.
        parts: number and bytes of the parts that an upload had when it was seen.
        journal: path of the journal of an upload of ours.
        kept: whether a mark says that it stays on purpose.
        standing: one of `STANDINGS`.
        why: the standing in words.
        commands: what a person may do about it.
    """

    kind: str
    name: str
    run_id: str | None
    resource_id: str | None = None
    host: str | None = None
    region: str = ""
    place: str = ""
    size: int | None = None
    created: datetime | None = None
    etag: str | None = None
    ref: ObjectRef | None = None
    state: str = ""
    parts: tuple[int, int] | None = None
    journal: str = ""
    kept: bool = False
    standing: str = UNCLEAR
    why: str = ""
    commands: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str, str | None]:
        """What makes two finds the same: one endpoint may answer for several regions."""
        return (self.kind, str(self.ref or ""), self.resource_id or (None if self.ref else self.name))


@dataclass(frozen=True, slots=True)
class Owner:
    """A run of our own store, and what it may call its own.

    Attributes:
        run_id: the run.
        unfinished: whether the same command resumes it.
        driven: whether a process drives it now.
        readable: whether its plan can be read; one of another version of this program may not be.
        kept: whether its user asked to keep image and object.
        image_name: display name of its image.
        image_ids: images that its ledger names.
        prefixes: below these in a bucket everything is its own.
        host: where it was begun.
        subject: what it exports.
    """

    run_id: str
    unfinished: bool = False
    driven: bool = False
    readable: bool = True
    kept: bool = False
    image_name: str = ""
    image_ids: frozenset[str] = frozenset()
    prefixes: frozenset[ObjectRef] = frozenset()
    host: str = ""
    subject: str = ""

    def made(self, find: Find) -> bool:
        """Whether a find is this run's by more than the mark that led to it."""
        if find.kind == IMAGE:
            return find.resource_id in self.image_ids or find.name == self.image_name
        if find.kind == PARTIAL:
            return True
        return find.ref is not None and any(_below(find.ref, prefix) for prefix in self.prefixes)


def owned_by(plan: ExportPlan) -> dict[str, Any]:
    """What a plan says that its run will own, as attributes of an `Owner`."""
    return {
        "image_name": plan.image_name,
        "prefixes": frozenset(staging_prefix(plan, target) for target in plan.targets),
    }


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person wants to go.

    Attributes:
        foreign: also what other stores made, and uploads of unknown programs.
        uploads: also cut uploads that `cp` could go on with.
        older_than: only what is at least so old; None = any age of our own, `FOREIGN_AGE` of others.
    """

    foreign: bool = False
    uploads: bool = False
    older_than: timedelta | None = None


def run_of_tags(tags: Mapping[str, str]) -> str | None:
    """The run that tags name; None = none, or not as we write it."""
    run_id = tags.get(RUN_TAG, "")
    return run_id if _RUN_ID.fullmatch(run_id) else None


def run_of_object(name: str, ours: Container[str] = ()) -> str | None:
    """The run that a staging object's name names; None = none, or no object that we make.

    Args:
        name: the whole name.
        ours: runs of our own store: whatever lies below their staging prefixes has to do with them.
    """
    for match in _BELOW_STAGING.finditer(name):
        if match[1] in ours or _STAGED.fullmatch(name, match.start()):
            return match[1]
    return None


def run_of_link(name: str, object_name: str) -> str | None:
    """The run that a link's name names; it must be for an object of the same run."""
    match = _LINK.fullmatch(name)
    return match[1] if match and run_of_object(object_name) == match[1] else None


def _below(ref: ObjectRef, prefix: ObjectRef) -> bool:
    same = (ref.scheme, ref.namespace, ref.bucket) == (prefix.scheme, prefix.namespace, prefix.bucket)
    return same and ref.name.startswith(prefix.name)


def busy_runs(finds: Iterable[Find]) -> frozenset[str]:
    """Runs with an image that the cloud works with: nothing of theirs may go, an export may be writing it."""
    return frozenset(one.run_id for one in finds if one.run_id and one.kind == IMAGE and one.state in BUSY_STATES)


Judgement = tuple[str, str, tuple[str, ...]]
"""Standing, reason, commands."""


def kept_runs(finds: Iterable[Find]) -> frozenset[str]:
    """Runs whose image says that it stays on purpose, with its object."""
    return frozenset(one.run_id for one in finds if one.run_id and one.kept)


def judged(find: Find, owner: Owner | None, busy: frozenset[str], kept: frozenset[str] = frozenset()) -> Judgement:
    """Standing, reason and commands of a find that a run's mark led to.

    Args:
        find: what was found.
        owner: the run that its mark names, if our store knows it.
        busy: runs that the cloud works for now.
        kept: runs whose image stays on purpose.
    """
    if owner is None:
        return _of_another_store(find, busy, kept)
    if not owner.readable:
        return UNCLEAR, f"run {owner.run_id} was begun by another version of hypersdk, which can tell", ()
    if not owner.made(find):
        return UNCLEAR, f"run {owner.run_id} made nothing of this name; gc leaves it", _by_hand(find)
    return _of_a_run(find, owner, busy)


def _of_another_store(find: Find, busy: frozenset[str], kept: frozenset[str]) -> Judgement:
    if find.run_id in busy:
        return BUSY, "the cloud works with it now", ()
    if find.run_id in kept and find.kind in {IMAGE, OBJECT}:
        return KEPT, "kept as asked", _by_hand(find)
    return FOREIGN, "no run of this store", ()


def _of_a_run(find: Find, owner: Owner, busy: frozenset[str]) -> Judgement:
    if owner.driven:
        return RUNNING, "a process drives its run", (f"hyperexport runs show {owner.run_id}",)
    if owner.unfinished:
        commands = (f"hyperexport runs retry {owner.run_id}", f"hyperexport runs cancel {owner.run_id}")
        return RESUMABLE, f"run {owner.run_id} of {owner.subject} is unfinished", commands
    if owner.run_id in busy:
        return BUSY, "OCI still exports the image; once more when that has ended", ()
    if owner.kept and find.kind in {IMAGE, OBJECT}:
        return KEPT, "kept as asked", _by_hand(find)
    return REMOVABLE, "its run has ended", ()


def _by_hand(find: Find) -> tuple[str, ...]:
    if find.kind == IMAGE:
        return (f"hyperexport images delete {find.resource_id}",)
    return (f"hyperexport rm {find.ref}",) if find.kind == OBJECT else ()


def chosen(finds: Iterable[Find], wish: Wish, now: datetime) -> list[Find]:
    """The finds that go, in the order in which they must: an export whose image is gone can write no more."""
    finds = list(finds)
    youngest: dict[str, datetime] = {}
    for one in finds:
        if one.run_id and one.created:
            youngest[one.run_id] = max(one.created, youngest.get(one.run_id, one.created))
    going = [one for one in finds if _goes(one, wish, now, youngest)]
    order = (LINK, UPLOAD, OBJECT, IMAGE, PARTIAL, JOURNAL)
    return sorted(going, key=lambda one: (one.run_id or "", order.index(one.kind), one.name))


def _goes(find: Find, wish: Wish, now: datetime, youngest: Mapping[str, datetime]) -> bool:
    if find.standing == FOREIGN:
        # Of a run that somebody may still be driving elsewhere, the youngest trace says how long ago it moved.
        last = youngest.get(find.run_id or "", find.created)
        limit = FOREIGN_AGE if wish.older_than is None else wish.older_than
        return wish.foreign and last is not None and find.created is not None and now - last >= limit
    resumable = find.standing == RESUMABLE and find.kind == UPLOAD and find.run_id is None
    if find.standing != REMOVABLE and not (resumable and wish.uploads):
        return False
    return wish.older_than is None or (find.created is not None and now - find.created >= wish.older_than)
