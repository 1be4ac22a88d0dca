"""A copy as data: what is copied where, known and checked before the first byte; then carried out, item by item.

Rules of this file: a plan touches nothing; the same addresses and the same objects give the same plan; each object that
was selected is in it exactly once, as an item, as a directory to make, or refused with the reason (design rule 6).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

from hypersdk import errors, events
from hypersdk.model import ObjectInfo, ObjectRef, format_size
from hypersdk.retry import Call
from hypersdk.storage import local
from hypersdk.storage.destinations import WEB, check_apart, destination, folding_of, make_directory
from hypersdk.storage.naming import EXACT, Entry, Named, Refusal, may_collide, name_targets
from hypersdk.storage.pinned import pinned
from hypersdk.storage.protocol import Store
from hypersdk.storage.selection import Filter
from hypersdk.storage.sources import EVERYTHING, Selection, base_name, select
from hypersdk.transfer.copies.copying import copy_items
from hypersdk.transfer.copies.items import Item, Means, Outcome, done, ended_by, skipped
from hypersdk.transfer.copies.same import settle
from hypersdk.transfer.copies.small import is_small
from hypersdk.transfer.engine import Advanced, unwatched
from hypersdk.transfer.options import DEFAULTS
from hypersdk.transfer.partial import partial_name

WORTH_LISTING = 8
"""So many items are worth a list of the target: fewer are looked at one by one."""

BLOCK = 512
"""Bytes of one unit of st_blocks (stat(2))."""

LISTED_FOR_ITEM = 1000
"""A target is listed up to so many names for each item: that is a page, so a list costs no more than the copies do."""


@dataclass(frozen=True, slots=True)
class CopyPlan:
    """What a copy will do.

    Attributes:
        root: what the items' names are relative to at the source.
        base: where they go: a local directory, or a prefix in a store.
        items: objects to copy.
        directories: markers of directories to make; their `target` is the directory.
        refused: what was selected and cannot be copied.
        many: a tree or a pattern, however many it found.
    """

    root: ObjectRef
    base: ObjectRef
    items: tuple[Item, ...]
    directories: tuple[Item, ...]
    refused: tuple[Outcome, ...]
    many: bool

    @property
    def size(self) -> int:
        """Bytes of all items whose size is known."""
        return sum(max(0, item.source.size) for item in self.items)

    @property
    def count(self) -> int:
        """How many objects were selected."""
        return len(self.items) + len(self.directories) + len(self.refused)


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be copied where.

    Attributes:
        source: its address.
        target: the address of the copy, or of the directory or prefix that copies go to.
        recursive: a directory, a bucket or a prefix means all that is under it.
        chosen: which names, relative to the source's root, are selected.
    """

    source: ObjectRef
    target: ObjectRef
    recursive: bool = False
    chosen: Filter = EVERYTHING


def plan_copy(
    wish: Wish, source: Store, target: Store, *, call: Call, left_out: Sequence[events.LeftOut] = ()
) -> CopyPlan:
    """Plan a copy; nothing is written.

    Args:
        wish: what, and where to.
        source: the store of its source.
        target: the store of its target.
        call: runs single calls.
        left_out: what the source store's reporter is told of while it lists.

    Raises:
        UsageError: a tree that was not asked for, a tree into itself, many objects to one name.
        NotFoundError: no such source, or no directory to put the copy into.
        DestinationExists: a file stands where a directory must.
        HypersdkError: the source cannot be listed to its end.
    """
    _demand_name(wish)
    found = select(source, wish.source, call=call, left_out=left_out, recursive=wish.recursive, chosen=wish.chosen)
    goal = destination(wish.target, many=found.many)
    if found.many:
        check_apart(found.root, goal.base)
    entries = [replace(entry, name=goal.name) for entry in found.entries] if goal.name else list(found.entries)
    folding = folding_of(goal.base) if goal.base.scheme == "file" and may_collide(entries) else EXACT
    named = name_targets(entries, goal.base, folding)
    there = _standing_there(target, goal.base, named, call)
    return CopyPlan(
        found.root,
        goal.base,
        tuple(Item(entry.info, ref, there.get(ref)) for entry, ref in named.targets),
        tuple(Item(entry.info, ref) for entry, ref in named.directories),
        tuple(_refused(found, named, goal.base)),
        found.many,
    )


def pin(plan: CopyPlan, means: Means, etag: str) -> tuple[CopyPlan, Means]:
    """Copy only this one object, or over only this one: of its source or, if that is a local file, of its target.

    Raises:
        UsageError: there are many objects.
        PreconditionFailed: the object is another one.
    """
    if plan.many or len(plan.items) != 1:
        raise errors.UsageError("an etag is that of one object, and many are to be copied")
    (item,) = plan.items
    call = means.retrier.call
    if item.source.ref.scheme != "file":
        source = pinned(means.source, item.source.ref, etag)
        item = replace(item, source=call(f"look at {item.source.ref}", lambda: source.head(item.source.ref)))
        return replace(plan, items=(item,)), replace(means, source=source)
    target = pinned(means.target, item.target, etag)
    item = replace(item, there=call(f"look at {item.target}", lambda: target.head(item.target)))
    return replace(plan, items=(item,)), replace(means, target=target, overwrite=True)


def _demand_name(wish: Wish) -> None:
    """An address of the web need not end with a name."""
    if wish.source.scheme in WEB and not base_name(wish.source) and not destination(wish.target, many=False).name:
        raise errors.UsageError(
            f"the address does not say what the copy is called: {wish.source}",
            resource=str(wish.source),
            hint="give DST a name",
        )


def carry_out(plan: CopyPlan, means: Means, advanced: Advanced = unwatched) -> Iterator[Outcome]:
    """Do what a plan says.

    Args:
        plan: from `plan_copy`.
        means: the stores, and how bytes move.
        advanced: told how many bytes of how many are done; those of items that need not move are done, too.

    Yields:
        One outcome for each object that was selected.
    """
    yield from plan.refused
    try:
        if plan.base.scheme == "file" and (plan.items or plan.directories):
            make_directory(plan.base)
    except errors.HypersdkError as error:
        yield from (ended_by(item, error) for item in (*plan.directories, *plan.items))
        return
    for item in plan.directories:
        yield _make(item, means)
    total = plan.size  # a sum over all items, and progress comes with every turn
    yield from copy_items(plan.items, means, lambda finished, _taken: advanced(finished, total))


def foresee(plan: CopyPlan, means: Means) -> Iterator[tuple[Item, Outcome | None]]:
    """What carrying out a plan would do, as far as a look at the targets tells; nothing is written.

    Yields:
        Each item, and how it would end at once; None = it would be copied, or its directory made.
    """
    for outcome in plan.refused:
        yield outcome.item, outcome
    for item in plan.directories:
        yield item, _standing(item)
    for item in plan.items:
        try:
            yield item, _settled(item, means)
        except errors.HypersdkError as error:
            yield item, ended_by(item, error)


def left_behind(outcomes: Iterable[Outcome]) -> list[str]:
    """What copies that did not end well leave behind, one line each: partial files, unfinished uploads."""
    found: dict[str, None] = {}
    for outcome in outcomes:
        if outcome.kind not in {"failed", "interrupted"}:
            continue
        target = outcome.item.target
        if target.scheme == "file":
            found.update(dict.fromkeys(_partial(str(target))))
        for note in getattr(outcome.error, "__notes__", ()):
            found.update(dict.fromkeys(note.splitlines()))
    return list(found)


def _partial(path: str) -> Iterator[str]:
    place = Path(path).with_name(partial_name(Path(path).name))
    with suppress(OSError):
        yield f"{place}, {format_size(place.lstat().st_blocks * BLOCK)} of {path}"


def _standing_there(target: Store, base: ObjectRef, named: Named, call: Call) -> dict[ObjectRef, ObjectInfo]:
    """What stands at the targets already, so that no body is sent in vain. Nothing rests on an absence."""
    if base.scheme == "file":
        return {}
    if len(named.targets) >= WORTH_LISTING:
        with suppress(errors.PermissionDenied, errors.NotFoundError, errors.UsageError):  # a writer may not list
            return {info.ref: info for info in islice(target.list(base), LISTED_FOR_ITEM * len(named.targets))}
        return {}
    found = {}
    for entry, ref in named.targets:
        if is_small(Item(entry.info, ref), DEFAULTS):  # large ones are looked at before they move
            with suppress(errors.AuthError, errors.NotFoundError, errors.RequestRefused):
                found[ref] = call(f"look at {ref}", partial(target.head, ref))
    return found


def _refused(found: Selection, named: Named, base: ObjectRef) -> Iterator[Outcome]:
    for entry, error in found.refused:
        yield Outcome(_nowhere(entry, base), "refused", error.message, error)
    for refusal in named.refusals:
        yield _unnameable(refusal, base)


def _unnameable(refusal: Refusal, base: ObjectRef) -> Outcome:
    info = refusal.entry.info
    error = errors.PreflightRefused(f"{info.ref}: {refusal.because}", resource=str(info.ref))
    return Outcome(_nowhere(refusal.entry, base), "refused", refusal.because, error)


def _nowhere(entry: Entry, base: ObjectRef) -> Item:
    return Item(entry.info, replace(base, name=base.name + entry.name))


def _settled(item: Item, means: Means) -> Outcome | None:
    there = item.there
    if there is None:
        try:
            there = means.retrier.call(f"look at {item.target}", lambda: means.target.head(item.target))
        except errors.NotFoundError:
            return None
    return settle(item, there, means)


def _make(item: Item, means: Means) -> Outcome:
    """Make the directory of a marker."""
    if outcome := _standing(item):
        return outcome
    try:
        means.retrier.waiter.tick()
        with local.file_errors(str(item.target)), _opened(item, create=True):
            pass
    except errors.HypersdkError as error:
        return ended_by(item, error)
    return done(item, ObjectInfo(item.target, 0, prefix=True), (), 0)


def _standing(item: Item) -> Outcome | None:
    try:
        with local.file_errors(str(item.target)), _opened(item, create=False):
            return skipped(item, "the directory is there", ObjectInfo(item.target, 0, prefix=True))
    except errors.NotFoundError:
        return None
    except errors.HypersdkError as error:
        return ended_by(item, error)


def _opened(item: Item, *, create: bool) -> AbstractContextManager[int]:
    target = item.target
    return local.directory(target.bucket, target.name.split("/"), create=create)
