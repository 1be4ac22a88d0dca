"""Takes away what `gc` found and a person chose.

Rules of this file: each delete is pinned to what was seen and made under the lease of the run, if it is ours, which is
looked at just before; a thing that changed since it was listed stays; one that fails stops no other.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from hypersdk import errors
from hypersdk.exports.context import ExportRooms
from hypersdk.exports.gc import rules
from hypersdk.exports.gc.known import LEDGER, Known
from hypersdk.exports.gc.rules import Find
from hypersdk.exports.gc.search import GONE, Report, RoomsIn, parts_of
from hypersdk.exports.options import KEEP_TAG
from hypersdk.runs.drive import Drive
from hypersdk.runs.records import Intent
from hypersdk.runs.store import RunStore
from hypersdk.storage.protocol import Upload
from hypersdk.transfer import partial as partials
from hypersdk.transfer.uploads import uploadjournal

Key = tuple[str, str, str | None]


@dataclass(frozen=True, slots=True)
class Removal:
    """What became of a find that was to go; `error` None = it is gone."""

    find: Find
    error: errors.HypersdkError | None = None


def remove(rooms_in: RoomsIn, home: ExportRooms, report: Report, going: Sequence[Find]) -> Iterator[Removal]:
    """Take away what was chosen, one after the other.

    Args:
        rooms_in: gives the rooms of each region.
        home: the rooms of the session.
        report: what was found, all of it: what the ledger still names and nobody found is closed there.
        going: what goes, in its order.

    Raises:
        Stopped: somebody asked to stop; what was yielded is done.
    """
    known = Known(home.runs, home.provider.tenancy_id)
    gone: set[Key] = set()
    for run_id in dict.fromkeys(one.run_id for one in going):
        ours = [one for one in going if one.run_id == run_id]
        for removal in _remove_of(rooms_in, home, run_id if run_id in known.records else None, ours):
            if removal.error is None:
                gone.add(removal.find.key)
            yield removal
    if not report.unread:
        _settle(home, known, report, gone)


def _remove_of(rooms_in: RoomsIn, home: ExportRooms, run_id: str | None, going: Sequence[Find]) -> Iterator[Removal]:
    with ExitStack() as stack:
        held: Drive | None = None
        try:
            held = None if run_id is None else _hold(stack, home.runs, run_id)
        except errors.HypersdkError as error:
            yield from (Removal(one, error) for one in going)
            return
        for find in going:
            home.waiter.tick()
            yield _try_remove(rooms_in, home, find, held)


def _hold(stack: ExitStack, runs: RunStore, run_id: str) -> Drive:
    held = stack.enter_context(runs.drive(run_id))
    if runs.run(run_id).unfinished:
        raise errors.StateConflict(f"run {run_id} has begun again", resource=run_id)
    return held


def _try_remove(rooms_in: RoomsIn, home: ExportRooms, find: Find, held: Drive | None) -> Removal:
    try:
        rooms = home if find.region in {"", home.provider.region} else rooms_in(find.region)
        _REMOVE[find.kind](rooms, find, held)
    except (errors.Stopped, errors.NotAuthenticated, errors.CredentialsEnded):
        raise
    except errors.HypersdkError as error:
        return Removal(find, error)
    return Removal(find)


def _sure(held: Drive | None) -> None:
    if held is not None:
        held.beat()


def _remove_image(rooms: ExportRooms, find: Find, held: Drive | None) -> None:
    provider, call = rooms.provider, rooms.retrier.call
    assert find.resource_id is not None
    image_id = find.resource_id
    try:
        image = call("look at the image", partial(provider.image, image_id))
    except errors.NotFoundError:
        return
    if image.lifecycle_state == GONE:
        return
    same = image.name == find.name and (rules.run_of_tags(image.tags) or find.run_id) == find.run_id
    same = same and (KEEP_TAG in image.tags) == find.kept
    if not same or image.lifecycle_state != find.state or image.lifecycle_state in rules.BUSY_STATES:
        raise errors.StateConflict(
            f"image {image.name} ({image_id}) has changed since it was listed: it is {image.lifecycle_state}",
            resource=image_id,
            hint="list again",
        )
    _sure(held)
    call("delete the image", partial(provider.delete_image, image_id, if_match=image.etag))


def _remove_object(rooms: ExportRooms, find: Find, held: Drive | None) -> None:
    assert find.ref is not None
    _sure(held)
    delete = partial(rooms.store.delete, find.ref, if_match=find.etag)
    rooms.retrier.call("delete the object", delete)


def _remove_link(rooms: ExportRooms, find: Find, held: Drive | None) -> None:
    assert find.ref is not None
    assert find.resource_id is not None
    _sure(held)
    withdraw = partial(rooms.store.delete_pre_authenticated, find.ref, find.resource_id)
    rooms.retrier.call("withdraw the link", withdraw)


def _remove_upload(rooms: ExportRooms, find: Find, held: Drive | None) -> None:
    assert find.ref is not None
    assert find.resource_id is not None
    upload = Upload(find.ref, find.resource_id)
    with uploadjournal.ending(find.journal):
        parts = rooms.retrier.call("look at the upload", partial(parts_of, rooms, upload))
        if parts is None:
            return
        if parts != find.parts:
            raise errors.StateConflict(
                f"upload of {find.ref} has moved since it was listed: somebody is uploading",
                resource=find.resource_id,
            )
        _sure(held)
        rooms.retrier.call("abort the upload", partial(rooms.store.abort, upload))


def _remove_partial(_rooms: ExportRooms, find: Find, held: Drive | None) -> None:
    _sure(held)
    partials.discard(find.place, only_of=find.etag)


def _remove_journal(_rooms: ExportRooms, find: Find, _held: Drive | None) -> None:
    with uploadjournal.ending(find.journal):
        pass


_REMOVE: Mapping[str, Callable[[ExportRooms, Find, Drive | None], None]] = {
    rules.IMAGE: _remove_image,
    rules.OBJECT: _remove_object,
    rules.LINK: _remove_link,
    rules.UPLOAD: _remove_upload,
    rules.PARTIAL: _remove_partial,
    rules.JOURNAL: _remove_journal,
}


def _settle(home: ExportRooms, known: Known, report: Report, gone: Container[Key]) -> None:
    """Close in the ledger what was deleted now, and what an ended run recorded and a complete search did not find."""
    stays = {(one.run_id, one.kind) for one in report.finds if one.key not in gone}
    found = {(one.run_id, one.kind) for one in report.finds}
    for run_id, intents in known.open.items():
        if run_id not in known.plans or known.records[run_id].unfinished or not known.owners[run_id].prefixes:
            continue  # of another version, not over, or of another tenancy
        lost = [one for one in intents if (run_id, LEDGER[one.kind]) not in stays]
        # A list may lag behind a create: what was never seen is believed to be gone only after a while.
        lost = [one for one in lost if (run_id, LEDGER[one.kind]) in found or _is_settled(home, one)]
        if lost:
            with suppress(errors.PreflightRefused, errors.LeaseLost), home.runs.drive(run_id) as held:
                for one in lost:
                    held.close_intent(one.kind, one.name)


def _is_settled(home: ExportRooms, intent: Intent) -> bool:
    return home.now() - datetime.fromisoformat(intent.created) >= rules.LISTED_AFTER
