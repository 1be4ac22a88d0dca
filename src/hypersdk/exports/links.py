"""Pre-authenticated requests for signers whose exports cannot name a bucket (reference: oci-api.md, section 0, 3).

Rules of this file: a link writes exactly one object, lives a day, is named after its run and is withdrawn as soon as
the object is there; its URL never leaves this process, so a link of a killed process is useless and is replaced.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from hypersdk import errors
from hypersdk.exports.context import Context
from hypersdk.exports.plan import Step, Target, link_name
from hypersdk.model import Secret
from hypersdk.runs.records import Intent

LINK_LIFE = timedelta(hours=24)
"""An export that takes longer than a day has failed; OCI demands an expiry."""


@dataclass(frozen=True, slots=True)
class Link:
    """A link that writes one object; its id is no secret, its URL is."""

    id: str
    url: Secret


def prove_links(ctx: Context, step: Step, target: Target) -> None:
    """Make a link and withdraw it: nothing else shows before the image is made that the export can have one.

    Raises:
        PreflightRefused: it cannot.
    """
    try:
        make_link(ctx, step, target)
        withdraw_links(ctx, target)
    except (errors.NotFoundError, errors.PermissionDenied, errors.RequestRefused) as error:
        bucket = f"{target.staging.namespace}/{target.staging.bucket}"
        raise errors.PreflightRefused(
            f"this kind of sign-in exports by a pre-authenticated link, and none can be made in bucket {bucket}: "
            f"{error.message}",
            resource=bucket,
            hint=error.hint,
        ) from error


def make_link(ctx: Context, step: Step, target: Target) -> Link:
    """Make a link that writes the staging object.

    A link of a killed try stays until the object is there: its request may still be on its way.
    """
    name = link_name(ctx.plan, step)
    place = {"namespace": target.staging.namespace, "bucket": target.staging.bucket, "object": target.staging.name}
    expires = ctx.rooms.now() + LINK_LIFE
    with (
        ctx.intended(Intent("par", name, place)),
        ctx.rooms.needing(bucket=("manage buckets", "manage objects")),
    ):
        link = ctx.call(
            "make a pre-authenticated link",
            lambda: ctx.rooms.store.create_pre_authenticated(target.staging, name=name, expires=expires),
        )
    if link.url is None:
        raise errors.OperationFailed("OCI made a pre-authenticated link without its URL", resource=name)
    ctx.drive.know("par", name, resource_id=link.id)
    return Link(link.id, link.url)


def withdraw_links(ctx: Context, target: Target) -> None:
    """Delete every link of the run for this object, also those whose creation we never heard of."""
    open_links = [
        one
        for one in ctx.rooms.runs.intents(ctx.plan.run_id, open_only=True)
        if one.kind == "par" and one.place.get("object") == target.staging.name
    ]
    if not open_links:
        return
    names = {one.name for one in open_links}
    for link in list(ctx.rooms.store.list_pre_authenticated(target.staging)):
        if link.name in names and link.object_name == target.staging.name:
            ctx.drive.check()
            ctx.call("withdraw the link", partial(ctx.rooms.store.delete_pre_authenticated, target.staging, link.id))
    for name in names:
        ctx.drive.close_intent("par", name)
