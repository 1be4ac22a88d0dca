"""Places that are few in the cloud: work of OCI's exporter, custom images, images of one instance.

Rules of this file: places are counted in the run store, over all processes and machines that share it; who finds none
waits, shows what for, spends no attempt and fails nothing; a place is held while its run's lease is alive, so a dead
worker blocks nobody; an export that OCI works at already takes its place however many are taken.
"""

from __future__ import annotations

from datetime import timedelta

from hypersdk import errors, events
from hypersdk.exports.context import Context, ExportRooms
from hypersdk.exports.plan import ExportPlan, Target
from hypersdk.runs.slots import leave_slot, take_slot, taken

LOOK_EVERY = 2.0
"""Seconds between two looks for a free place: a question to the run store, not to the cloud."""

LONGEST_RUN = timedelta(days=30)
"""An image that a run made longer ago is not waited for."""

ANY_NUMBER = 1_000_000
"""A limit that is none."""

FULL = frozenset({"LimitExceeded", "QuotaExceeded"})
"""OCI's codes of a create for which no room is left (reference: oci-api.md, section 7)."""


def take_export(ctx: Context, target: Target, *, begun: bool = False) -> None:
    """Take a place of the exporter for a disk, waiting for one.

    Args:
        ctx: the run.
        target: the disk.
        begun: OCI works at it already: it counts, but does not wait.

    Raises:
        Stopped: somebody asked to stop.
    """
    for scope, limit, what in _scopes(ctx, target):
        if begun or limit == 0:
            take_slot(ctx.drive, scope, ANY_NUMBER)
        else:
            _wait(ctx, f"{limit} of {limit} exports {what} are running", scope, limit)


def leave_export(ctx: Context, target: Target) -> None:
    """Give the places of a disk back."""
    for scope, _, _ in _scopes(ctx, target):
        leave_slot(ctx.drive, scope)


def _scopes(ctx: Context, target: Target) -> list[tuple[str, int, str]]:
    limits, region = ctx.rooms.limits, ctx.plan.region
    bucket = f"{target.staging.namespace}/{target.staging.bucket}"
    # The region last: who waits for a bucket keeps nobody else from the exporter.
    return [
        (f"export into {bucket}", limits.exports_per_bucket, f"into {bucket}"),
        (f"export from {ctx.plan.tenancy_id} in {region}", limits.exports_per_region, f"in {region}"),
    ]


def _wait(ctx: Context, reason: str, scope: str, limit: int) -> None:
    every = min(LOOK_EVERY, ctx.rooms.pace.first)
    ctx.rooms.waiter.wait_for(
        reason, lambda: take_slot(ctx.drive, scope, limit) or None, every=every, kind=events.PLACE
    )


def take_instance(ctx: Context) -> None:
    """Take the one place of an instance: OCI makes one image of it at a time, and refuses a second one.

    Raises:
        Stopped: somebody asked to stop.
    """
    scope = _instance_scope(ctx)

    def attempt() -> bool | None:
        return take_slot(ctx.drive, scope, 1) or None

    if attempt() is None:
        others = [run_id for run_id in taken(ctx.rooms.runs).get(scope, ()) if run_id != ctx.plan.run_id]
        _wait(
            ctx,
            f"{f'run {others[0]}' if others else 'another run'} makes an image of {ctx.plan.instance_name}",
            scope,
            1,
        )


def leave_instance(ctx: Context) -> None:
    """Give the place of the instance back."""
    leave_slot(ctx.drive, _instance_scope(ctx))


def _instance_scope(ctx: Context) -> str:
    return f"image of {ctx.plan.instance_id}"


def others_hold_images(rooms: ExportRooms, plan: ExportPlan) -> bool:
    """Whether other runs in the region that are being driven have an image, or are making one: its room comes back."""
    since = rooms.now() - LONGEST_RUN
    holding = {
        run_id
        for run_id, intent in rooms.runs.intents_of_kind("image", since=since)
        if run_id != plan.run_id and intent.place.get("region") == plan.region and intent.removed is None
    }
    return bool(holding) and bool(rooms.runs.driven(holding))


class Quota:
    """Whether an image that found no room may be tried again: while our own runs use up the quota, which delete theirs.

    Args:
        ctx: the run.
    """

    def __init__(self, ctx: Context) -> None:
        self.full = False
        self._ctx = ctx
        self._last_chance = False

    def may_wait(self, error: errors.RequestRefused) -> bool:
        """Take note of a refused create."""
        if error.service_code not in FULL:
            return False
        ours = others_hold_images(self._ctx.rooms, self._ctx.plan)
        # The last of them may have gone between OCI's look and ours: then there is room now.
        self.full, self._last_chance = ours or not self._last_chance, not ours
        return self.full


def quota_reason(region: str) -> str:
    """What a run waits for that found no room for an image."""
    return f"the quota of custom images in {region} is used up by exports that run"
