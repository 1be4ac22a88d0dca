"""Takes away what a run made in the tenancy and its unfinished downloads, and says what it could not.

Rules of this file: found three ways - recorded, tagged, named - so that also what no step noted is found; absent is
done; each delete is made under the run's lease and pinned to the etag just read; what fails is reported, and the rest
is still tried; an image that is being exported is waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from hypersdk import errors
from hypersdk.exports.context import Context
from hypersdk.exports.links import withdraw_links
from hypersdk.exports.options import RUN_TAG
from hypersdk.exports.plan import ExportPlan, Step, staging_prefix
from hypersdk.model import Image, ObjectInfo, ObjectRef, format_size
from hypersdk.runs.records import Intent
from hypersdk.runs.store import RunStore
from hypersdk.transfer.partial import discard

MOST_VERSIONS = 100
"""Versions of a staging object that are deleted; an exporter writes one or two."""

MADE_BY_A_RUN = ("image", "object", "par")


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something that stays in the tenancy, or may if `sure` is false. `size` in bytes; `since` UTC."""

    kind: str
    name: str
    resource_id: str | None
    size: int | None
    since: str
    sure: bool

    def __str__(self) -> str:
        what = {"par": "pre-authenticated link"}.get(self.kind, self.kind) + ("" if self.sure else " (perhaps)")
        size = "" if self.size is None else f", {format_size(self.size)}"
        since = datetime.fromisoformat(self.since).astimezone()
        known = f" ({self.resource_id})" if self.resource_id else ""
        return f"{what} {self.name}{known}{size}, since {since:%Y-%m-%d %H:%M}"


def leftovers(runs: RunStore, run_id: str) -> list[Leftover]:
    """What a run may have left, as far as it was recorded."""
    return [_leftover(intent) for intent in runs.intents(run_id, open_only=True)]


def _leftover(intent: Intent) -> Leftover:
    name = intent.name
    if intent.kind == "object":
        name = f"oci://{intent.place['namespace']}/{intent.place['bucket']}/{intent.name}"
    sure = (intent.etag if intent.kind == "object" else intent.resource_id) is not None
    return Leftover(intent.kind, name, intent.resource_id, intent.size, intent.created, sure)


def run_clean_up(ctx: Context, _step: Step) -> Mapping[str, Any]:
    """Take away what only the way needed; with `--keep-image` image and object stay and are named."""
    if ctx.plan.keep_image or not ctx.options.delete_after_export:
        failed = _try_all(ctx, (*_links(ctx), *_uploads(ctx)))
        kept = [one for one in leftovers(ctx.rooms.runs, ctx.plan.run_id) if one.kind != "par"]
        for one in ctx.rooms.runs.intents(ctx.plan.run_id, open_only=True):
            if one.kind != "par":
                ctx.drive.close_intent(one.kind, one.name)
        return {"kept": [str(one) for one in kept], "failed": failed}
    return {"kept": [], "failed": clean_up(ctx)}


def clean_up(ctx: Context) -> list[str]:
    """Take away everything that the run made; final files and objects are not the run's any more.

    Returns:
        One sentence for each thing that could not be deleted.

    Raises:
        LeaseLost: another process drives the run.
        Stopped: somebody asked to stop.
    """
    image = partial(_delete_image, ctx)
    if not _touched(ctx):
        return _try_all(ctx, _uploads(ctx))
    # Links and objects first: an export that ends meanwhile cannot write any more once its image is gone.
    exported = partial(_await_export, ctx)
    return _try_all(ctx, (*_links(ctx), exported, *_uploads(ctx), *_objects(ctx), image, *_partials(ctx)))


def _touched(ctx: Context) -> bool:
    return any(one.kind in MADE_BY_A_RUN for one in ctx.rooms.runs.intents(ctx.plan.run_id, open_only=True))


def _try_all(ctx: Context, actions: Iterable[Callable[[], None]]) -> list[str]:
    failed = []
    for action in actions:
        try:
            action()
        except (errors.LeaseLost, errors.Stopped, errors.NotAuthenticated, errors.CredentialsEnded):
            raise  # who is not let in can delete nothing else either: the run stays unfinished, to be cleaned up later
        except errors.HypersdkError as error:
            failed.append(str(error))
            ctx.rooms.note(f"could not clean up: {error}")
    if failed:
        ctx.rooms.note("hyperexport gc tries that again, once it is allowed")
    return failed


def _links(ctx: Context) -> Iterator[Callable[[], None]]:
    for target in ctx.plan.targets:
        yield partial(withdraw_links, ctx, target)


def _prefixes(ctx: Context) -> list[ObjectRef]:
    return list(dict.fromkeys(staging_prefix(ctx.plan, target) for target in ctx.plan.targets))


def _uploads(ctx: Context) -> Iterator[Callable[[], None]]:
    for prefix in _prefixes(ctx):
        yield partial(_abort_uploads, ctx, prefix)


def _abort_uploads(ctx: Context, prefix: ObjectRef) -> None:
    # The exporter may leave a second upload of our object's name open (reference: oci-api.md, section 0.11).
    for upload in list(ctx.rooms.store.list_multipart_uploads(prefix)):
        ctx.drive.check()
        ctx.call("abort an upload", partial(ctx.rooms.store.abort, upload))


def _objects(ctx: Context) -> Iterator[Callable[[], None]]:
    for prefix in _prefixes(ctx):
        yield partial(_delete_objects, ctx, prefix)


def _partials(ctx: Context) -> Iterator[Callable[[], None]]:
    # Another export to the same place may have begun its own download there: only ours goes.
    for target in ctx.plan.targets:
        if target.path is not None:
            yield partial(discard, target.path, only_of=target.staging.name)


def _delete_objects(ctx: Context, prefix: ObjectRef) -> None:
    # In a versioned bucket an older version shows up once the newest is gone, such as the exporter's status text.
    rounds = MOST_VERSIONS if ctx.result("preflight").get("versioned") else 1
    for _ in range(rounds):
        found = list(ctx.rooms.store.list(prefix))
        for info in found:
            _delete_object(ctx, info)
        if not found:
            break
    for one in ctx.rooms.runs.intents(ctx.plan.run_id, open_only=True):
        if one.kind == "object" and one.name.startswith(prefix.name):
            ctx.drive.close_intent("object", one.name)


def _delete_object(ctx: Context, info: ObjectInfo) -> None:
    store = ctx.rooms.store
    try:
        seen = ctx.call("look at the object", partial(store.head, info.ref))
    except errors.NotFoundError:
        return
    ref = replace(info.ref, version=seen.version) if ctx.result("preflight").get("versioned") else info.ref
    ctx.drive.check()
    ctx.call("delete the object", partial(store.delete, ref, if_match=seen.etag))


def _await_export(ctx: Context) -> None:
    """Wait until OCI has finished with the image: until then it cannot be deleted, and its object comes back."""

    def free() -> bool | None:
        busy = [image for image in _our_images(ctx) if image.lifecycle_state == "EXPORTING"]
        return None if busy else True

    ctx.poll(lambda: f"OCI still exports the image {ctx.plan.image_name}; it can be deleted afterwards", free)


def _delete_image(ctx: Context) -> None:
    for image in _our_images(ctx):
        ctx.poll(lambda: f"the image {ctx.plan.image_name} is busy", partial(_try_delete_image, ctx, image.id))
    for one in ctx.rooms.runs.intents(ctx.plan.run_id, open_only=True):
        if one.kind == "image":
            ctx.drive.close_intent("image", one.name)


def _try_delete_image(ctx: Context, image_id: str) -> bool | None:
    provider = ctx.rooms.provider
    try:
        image = ctx.call("look at the image", partial(provider.image, image_id))
        if image.lifecycle_state == "DELETED":
            return True
        ctx.drive.check()
        ctx.call("delete the image", partial(provider.delete_image, image_id, if_match=image.etag))
    except errors.NotFoundError:
        return True
    except (errors.StateConflict, errors.PreconditionFailed):
        return None
    return True


def _our_images(ctx: Context) -> list[Image]:
    plan = ctx.plan
    named = ctx.rooms.provider.images(plan.compartment_id, name=plan.image_name)
    found = {image.id: image for image in named if image.tags.get(RUN_TAG) == plan.run_id}
    recorded = [one for one in ctx.rooms.runs.intents(plan.run_id, open_only=True) if one.kind == "image"]
    for one in recorded:
        if one.resource_id is not None and one.resource_id not in found:
            try:
                image = ctx.call("look at the image", partial(ctx.rooms.provider.image, one.resource_id))
            except errors.NotFoundError:
                continue
            found[image.id] = image
    return [image for image in found.values() if image.lifecycle_state != "DELETED"]


def stays(runs: RunStore, plan: ExportPlan, *, resumable: bool = True) -> list[str]:
    """The last lines of an ending that keeps things: what stays, and the commands that end it."""
    left = leftovers(runs, plan.run_id)
    if not left:
        return []
    return [
        *(f"stays in the tenancy: {one}" for one in left),
        *(["resume: give the same command again"] if resumable else []),
        f"clean up: hyperexport runs cancel {plan.run_id}",
    ]
