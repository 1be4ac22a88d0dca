"""Steps in the cloud: from a running or stopped instance to an object in a bucket.

Rules of this file: a step that creates first looks for what an earlier try of it may have made, then records an intent,
then posts with its retry token; "done" is never believed from one sign (design section 1).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from hypersdk import errors
from hypersdk.exports import places
from hypersdk.exports.context import Context
from hypersdk.exports.landing import check_space, seen_object
from hypersdk.exports.links import Link, make_link, prove_links, withdraw_links
from hypersdk.exports.options import RUN_TAG
from hypersdk.exports.plan import Step, Target, retry_token
from hypersdk.exports.preflight import preflight
from hypersdk.exports.refusals import RUNNING, STOPPED
from hypersdk.exports.states import CREATE_GRACE, await_image, await_instance, await_operation
from hypersdk.model import Image, Instance, ObjectInfo, Operation
from hypersdk.providers.protocol import Started
from hypersdk.runs.records import Intent
from hypersdk.wire.request import Request

IMAGE_LOCK = timedelta(minutes=20)
"""OCI makes no second image of an instance for so long (docs.oracle.com, "Managing Custom Images", "Limitations")."""

OBJECT_LATE = 30.0
"""Seconds that the object may lag behind the work request's success."""

STATUS_OBJECT = 64 * 1024
"""Bytes below which an object may be the exporter's status text instead of a disk."""


_NONE = Operation(None, "")


def run_preflight(ctx: Context, step: Step) -> Mapping[str, Any]:
    """Refuse now what would fail later."""
    instance = ctx.call("look at the instance", lambda: ctx.rooms.provider.instance(ctx.plan.instance_id))
    found = preflight(ctx.rooms, ctx.plan, ctx.options, instance)
    if ctx.rooms.provider.writes_by_link:
        prove_links(ctx, step, ctx.plan.targets[0])
    for note in found.notes:
        ctx.rooms.note(note)
    return found.to_json()


def run_create_image(ctx: Context, step: Step) -> Mapping[str, Any]:
    """Begin to make the custom image, or find the one that an earlier try began."""
    image, operation_id = _find_image(ctx), None
    if image is None:
        places.take_instance(ctx)
        started = _post_image(ctx, step)
        image, operation_id = started.image, started.operation_id
    ctx.drive.know("image", ctx.plan.image_name, resource_id=image.id)
    return {"image_id": image.id, "operation_id": operation_id}


def _find_image(ctx: Context) -> Image | None:
    plan = ctx.plan
    with ctx.rooms.needing("manage instance-images"):
        named = list(ctx.rooms.provider.images(plan.compartment_id, name=plan.image_name))
    ours = [image for image in named if image.tags.get(RUN_TAG) == plan.run_id]
    alive = [image for image in ours if image.lifecycle_state != "DELETED"]
    if ours and not alive:
        raise errors.OperationFailed(
            f"OCI could not make the image {ours[0].name} of {plan.instance_name}: it is {ours[0].lifecycle_state}",
            resource=ours[0].id,
        )
    return alive[0] if alive else None


def _post_image(ctx: Context, step: Step) -> Started:
    plan, provider = ctx.plan, ctx.rooms.provider
    body = {"compartmentId": plan.compartment_id, "instanceId": plan.instance_id, "displayName": plan.image_name}
    token = retry_token(plan, step, {**body, "freeformTags": dict(plan.tags)})

    quota = places.Quota(ctx)

    def post() -> Started | None:
        instance = ctx.call("look at the instance", lambda: provider.instance(plan.instance_id))
        _check_still_allowed(ctx, instance)
        place = {"region": plan.region, "compartment_id": plan.compartment_id, "instance_id": plan.instance_id}
        intent = Intent("image", plan.image_name, {**place, "former_state": _rest_state(ctx, instance)})
        try:
            with ctx.intended(intent), ctx.rooms.needing("use instances", "manage instance-images"):
                return ctx.call(
                    "create the image",
                    lambda: provider.create_image(
                        instance,
                        compartment_id=plan.compartment_id,
                        name=plan.image_name,
                        tags=plan.tags,
                        retry_token=token,
                    ),
                )
        except errors.StateConflict:
            quota.full = False
            return None
        except errors.RequestRefused as error:
            if not quota.may_wait(error):
                raise
            return None

    started = ctx.poll(lambda: places.quota_reason(plan.region) if quota.full else _why_locked(ctx), post)
    assert started is not None
    return started


def _check_still_allowed(ctx: Context, instance: Instance) -> None:
    # Preflight may have been yesterday, and waiting for the lock takes its time: a stopped instance may run again.
    if instance.lifecycle_state == RUNNING and not ctx.options.allow_shutdown:
        raise errors.PreflightRefused(
            f"{instance.name} is running now: OCI would shut it down while it makes the image",
            resource=instance.id,
            hint="allow that with --allow-shutdown, or stop it and give the same command again",
        )
    if instance.lifecycle_state in {"TERMINATED", "TERMINATING"}:
        raise errors.OperationFailed(f"{instance.name} was terminated meanwhile", resource=instance.id)


def _rest_state(ctx: Context, instance: Instance) -> str:
    # A create of a killed try may take effect only now: then the instance is on its way down because of us.
    passing = instance.lifecycle_state not in {RUNNING, STOPPED}
    return str(ctx.result("preflight")["former_state"]) if passing else instance.lifecycle_state


def _why_locked(ctx: Context) -> str:
    now = ctx.rooms.now()
    for run_id, intent in reversed(ctx.rooms.runs.intents_of_kind("image", since=now - IMAGE_LOCK)):
        if intent.place.get("instance_id") == ctx.plan.instance_id and run_id != ctx.plan.run_id:
            until = datetime.fromisoformat(intent.created) + IMAGE_LOCK
            return (
                f"OCI makes no second image of {ctx.plan.instance_name} for 20 minutes; run {run_id} made one: "
                f"until about {until.astimezone():%H:%M}"
            )
    return f"{ctx.plan.instance_name} is busy with another operation, perhaps another image (up to 20 minutes)"


def run_await_image(ctx: Context, step: Step) -> Mapping[str, Any]:
    """Wait until the image is there and the instance is back where it was."""
    made, rooms = ctx.result("create-image"), ctx.rooms
    image = await_image(
        rooms.provider,
        rooms.retrier,
        made["image_id"],
        made["operation_id"],
        pace=rooms.pace,
        progress=ctx.percent(step),
    )
    ctx.drive.know("image", ctx.plan.image_name, etag=image.etag, size=image.size)
    places.leave_instance(ctx)
    return {
        "size": image.size,
        "operating_system": image.operating_system,
        "operating_system_version": image.operating_system_version,
        **_await_instance(ctx),
    }


def _await_instance(ctx: Context) -> Mapping[str, Any]:
    plan, rooms = ctx.plan, ctx.rooms
    recorded = next(one for one in rooms.runs.intents(plan.run_id) if one.kind == "image")
    former = str(recorded.place["former_state"])
    try:
        await_instance(rooms.provider, rooms.retrier, plan.instance_id, former, pace=rooms.pace)
    except (errors.OperationFailed, errors.NotFoundError) as error:
        # The image is good whatever became of the instance: say it and go on.
        way = f"; start it with: hyperexport instances start {plan.instance_id}" if former == RUNNING else ""
        rooms.note(f"{plan.instance_name} is not back as it was ({former}): {error.message}{way}")
        return {"former_state": former, "instance_back": False}
    if former == RUNNING:
        rooms.note(f"{plan.instance_name} is {former} again")
    return {"former_state": former, "instance_back": True}


def run_export_image(ctx: Context, step: Step) -> Mapping[str, Any]:
    """Begin to export the image to its staging object, or find the export that an earlier try began."""
    target, image_id = ctx.plan.target(step), ctx.result("create-image")["image_id"]
    intents = ctx.rooms.runs.intents(ctx.plan.run_id)
    begun = any(one.kind == "object" and one.name == target.staging.name for one in intents)
    by_link = ctx.rooms.provider.writes_by_link

    def start() -> Mapping[str, Any] | None:
        nonlocal by_link, begun
        image = _look_at_image(ctx, image_id)
        if begun and (found := _find_export(ctx, image, target)) is not None:
            return found
        begun = True
        places.take_export(ctx, target)
        try:
            started, by_link = _post_export(ctx, step, image_id, by_link=by_link)
        except errors.StateConflict:
            return None
        return {"operation_id": started.operation_id or next(_own_operations(ctx, image), _NONE).id}

    answer = ctx.poll(lambda: f"the image of {ctx.plan.instance_name} is busy", start)
    assert answer is not None
    return answer


def _find_export(ctx: Context, image: Image, target: Target) -> Mapping[str, Any] | None:
    newest = next(_own_operations(ctx, image), _NONE)
    begun = image.lifecycle_state == "EXPORTING" or newest.id is not None or _final_object(ctx, target) is not None
    return {"operation_id": newest.id} if begun else None


def _own_operations(ctx: Context, image: Image) -> Iterator[Operation]:
    """Operations on our image that no finished step of ours began, newest first: exports that a killed try began."""
    answered = [result["operation_id"] for result in ctx.results.values() if "operation_id" in result]
    known = {one for answer in answered for one in (answer.split(",") if answer else [None])}
    try:
        made = _operation_that_made(ctx, image) if None in known else None
        for operation in ctx.rooms.provider.operations(ctx.plan.compartment_id, image.id):
            if operation.id not in known and operation.id != made:
                yield operation
    except (errors.NotFoundError, errors.PermissionDenied):
        return  # work requests may be hidden from us: the image's state and the object must do


def _operation_that_made(ctx: Context, image: Image) -> str | None:
    # When no header named the operation that made the image, it is the oldest one on it.
    oldest = None
    for operation in ctx.rooms.provider.operations(ctx.plan.compartment_id, image.id):
        oldest = operation.id
    return oldest


def _post_export(ctx: Context, step: Step, image_id: str, *, by_link: bool) -> tuple[Started, bool]:
    if not by_link:
        try:
            return _post_export_to(ctx, step, image_id, None), False
        except errors.RequestRefused as error:
            # OCI's answer to signers whose exports cannot name a bucket; preflight has proven that the bucket is there.
            if error.service_code != "InvalidParameter":
                raise
            ctx.rooms.note("OCI refuses to export to this bucket by its name: a pre-authenticated link is used instead")
    else:
        ctx.rooms.note("this kind of sign-in cannot export to a bucket by its name: a pre-authenticated link is used")
    return _post_export_to(ctx, step, image_id, make_link(ctx, step, ctx.plan.target(step))), True


def _post_export_to(ctx: Context, step: Step, image_id: str, link: Link | None) -> Started:
    target = ctx.plan.target(step)
    word = target.format.upper()
    # A new link is another request: with its id in the token OCI does not compare it with that of a lost link.
    body = {"imageId": image_id, "exportFormat": word, "objectName": str(target.staging), "link": link and link.id}
    token = retry_token(ctx.plan, step, body)
    place = {"namespace": target.staging.namespace, "bucket": target.staging.bucket}
    needs = ctx.rooms.needing("manage instance-images", bucket=("manage objects",))
    with ctx.intended(Intent("object", target.staging.name, place)), needs:
        return ctx.call(
            "export the image",
            lambda: ctx.rooms.provider.export_image(
                image_id, link.url if link else target.staging, export_format=word, retry_token=token
            ),
        )


def run_await_object(ctx: Context, step: Step) -> Mapping[str, Any]:
    """Wait until the export has ended well and its object is there whole."""
    target = ctx.plan.target(step)
    image_id = ctx.result("create-image")["image_id"]
    operation_id = ctx.result("export-image", step.format)["operation_id"]

    rooms, watched = ctx.rooms, ctx.percent(step)
    places.take_export(ctx, target, begun=True)
    await_image(rooms.provider, rooms.retrier, image_id, operation_id, pace=rooms.pace, progress=watched)
    if operation_id is not None:
        await_operation(rooms.provider, rooms.retrier, operation_id, pace=rooms.pace, progress=watched)
    info = ctx.poll(
        lambda: f"{target.staging} is not there yet", lambda: _final_object(ctx, target), longest=OBJECT_LATE
    )
    if info is None:
        raise errors.OperationFailed(
            f"OCI says that the export is done, but there is no disk at {target.staging}",
            resource=str(target.staging),
            hint="give the same command again; if it happens again, ask Oracle with the image's OCID",
        )
    places.leave_export(ctx, target)
    withdraw_links(ctx, target)
    ctx.drive.know("object", target.staging.name, etag=info.etag, size=info.size)
    check_space(target, info.size)
    return seen_object(info)


def _final_object(ctx: Context, target: Target) -> ObjectInfo | None:
    """The exported object; None while it is absent or still the exporter's status text."""
    try:
        info = ctx.call("look for the object", lambda: ctx.rooms.store.head(target.staging))
    except errors.NotFoundError:
        return None
    return None if info.size < STATUS_OBJECT and _is_status(ctx, info) else info


def _is_status(ctx: Context, info: ObjectInfo) -> bool:
    if info.size == 0:
        return True
    request = ctx.rooms.store.range_request(info, None)
    assert isinstance(request, Request), "objects of a cloud are read over the wire"
    try:
        json.loads(ctx.call("read a small object", lambda: ctx.rooms.wire.call(request).body))
    except errors.PreconditionFailed:
        return True  # replaced while we looked: not final
    except ValueError:
        return False
    return True


def _look_at_image(ctx: Context, image_id: str) -> Image:
    return ctx.call("look at the image", lambda: ctx.rooms.provider.image(image_id), grace=CREATE_GRACE)
