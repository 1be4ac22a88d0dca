"""What an export is from outside: plan it, carry it out, cancel it; and when two commands are the same export."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from hypersdk import errors
from hypersdk.exports import runner
from hypersdk.exports.context import Context, ExportRooms
from hypersdk.exports.manifests import manifest_place, still_there
from hypersdk.exports.moving import results_here
from hypersdk.exports.options import ExportOptions
from hypersdk.exports.plan import ExportPlan, Surroundings, make_plan, run_key
from hypersdk.exports.preflight import Findings, preflight
from hypersdk.exports.result import ExportResult, disk_of
from hypersdk.exports.telling.position import owner_words, told_by
from hypersdk.model import Instance
from hypersdk.runs.drive import Drive
from hypersdk.runs.records import DONE, INTERRUPTED, REFUSED, Run
from hypersdk.runs.slots import leave_all
from hypersdk.runs.store import RunStore


def surroundings(
    rooms: ExportRooms, options: ExportOptions, *, bucket: str | None, namespace: str | None
) -> Surroundings:
    """Where a plan is made.

    Args:
        rooms: the cloud.
        options: may name bucket and namespace.
        bucket: the configured one.
        namespace: the configured one; None = the tenancy's own is asked for.

    Raises:
        UsageError: no bucket is known.
    """
    name = options.bucket or bucket
    if not name:
        raise errors.UsageError(
            "no bucket for the exported object",
            hint="--bucket-name, oci.bucket in hypersdk.yaml, or --to oci://namespace/bucket/prefix",
        )
    space = options.namespace or namespace
    return Surroundings(
        tenancy_id=rooms.provider.tenancy_id,
        region=rooms.provider.region,
        namespace=space or rooms.retrier.call("get namespace", rooms.provider.namespace),
        bucket=name,
        directory=str(Path.cwd()),
        today=rooms.now().date(),
        host=rooms.runs.host,
    )


def plan_export(rooms: ExportRooms, instance: Instance, options: ExportOptions, around: Surroundings) -> ExportPlan:
    """The plan that `export` would carry out now: a new one, or that of an unfinished run."""
    latest = rooms.runs.latest(run_key(instance.id, options, around))
    if latest is not None and latest.unfinished and not (options.new or latest.cancel):
        return plan_of(latest)
    return _new_plan(rooms, instance, options, around, latest)


def is_unfinished(rooms: ExportRooms, instance: Instance, options: ExportOptions, around: Surroundings) -> bool:
    """Whether `export` would resume a run that has begun already."""
    latest = rooms.runs.latest(run_key(instance.id, options, around))
    return latest is not None and latest.unfinished and not options.new


def plan_of(run: Run) -> ExportPlan:
    """The plan of a run.

    Raises:
        UnknownPlan: another version of hypersdk began the run; says which, and how to end it without that one.
    """
    try:
        return ExportPlan.from_json(run.plan)
    except errors.UnknownPlan as error:
        error.message += f"; hypersdk {run.tool_version} began it on {run.host}"
        error.hint = (
            f"go on with that version (pip install hypersdk=={run.tool_version}), or end it with: "
            f"hyperexport runs cancel {run.run_id}"
        )
        raise


def destinations(run: Run) -> tuple[str, ...]:
    """Where a run's disks go."""
    return ExportPlan.from_json(run.plan, any_version=True).destinations


def check_export(rooms: ExportRooms, plan: ExportPlan, instance: Instance, options: ExportOptions) -> Findings:
    """Preflight alone, which creates nothing."""
    return preflight(rooms, plan, options, instance, dry_run=True)


def export(rooms: ExportRooms, instance: Instance, options: ExportOptions, around: Surroundings) -> ExportResult:
    """Take an instance out of the cloud; resume an unfinished run, or answer that a finished one still holds.

    Args:
        rooms: everything outside.
        instance: what to export.
        options: how.
        around: where we are.

    Raises:
        HypersdkError: how it ended, if not well; `__notes__` say what stays in the tenancy.
    """
    begun = begin_export(rooms, instance, options, around)
    return begun if isinstance(begun, ExportResult) else _carry_out(rooms, begun, options)


def begin_export(
    rooms: ExportRooms, instance: Instance, options: ExportOptions, around: Surroundings
) -> Run | ExportResult:
    """Find the run that an export is, or record a new one; nothing is created in the cloud.

    Returns:
        The run that is to be carried out; or the result, if it was exported already and still is what it was.

    Raises:
        HypersdkError: an unfinished run that was to be cancelled first could not be.
    """
    key = run_key(instance.id, options, around)
    latest = rooms.runs.latest(key)
    if latest is not None and latest.unfinished and (options.new or latest.cancel):
        rooms.note(f"run {latest.run_id} is cancelled first")
        _cancel_first(rooms, latest.run_id)
        latest = rooms.runs.latest(key)
    if latest is not None and latest.state == DONE and not (options.overwrite or options.new):
        plan = _new_plan(rooms, instance, options, around, latest)
        if (result := _already(rooms, latest, plan)) is not None:
            return result
    if latest is not None and latest.unfinished:
        return latest
    plan = _new_plan(rooms, instance, options, around, latest)
    stored = settled(options, around).to_json()
    return rooms.runs.begin(plan.key, plan.generation, plan.instance_name, plan.to_json(), options=stored)


def drive_run(rooms: ExportRooms, run_id: str, options: ExportOptions | None = None) -> ExportResult:
    """Carry out, or go on with, a run that has begun.

    Args:
        rooms: everything outside; of the account and region that the run belongs to.
        run_id: the run.
        options: how it is asked for now; None = as it was when it began.

    Raises:
        UsageError: the run belongs to another account or region.
        RunDriven: another process drives it.
        UnknownPlan: another version of hypersdk began it.
        HypersdkError: how it ended, if not well.
    """
    run = rooms.runs.run(run_id)
    return _carry_out(rooms, run, options or ExportOptions.from_json(run.options))


def check_begun(rooms: ExportRooms, run: Run, instance: Instance, options: ExportOptions) -> Findings | None:
    """Make sure that a run can be driven now; the preflight of one that is new is made, which creates nothing.

    Args:
        rooms: everything outside.
        run: from `begin_export`.
        instance: what is exported.
        options: how.

    Returns:
        What preflight found; None = it was made in an earlier try.

    Raises:
        RunDriven: another process drives it.
        HypersdkError: preflight refuses it; the run has ended so.
    """
    plan = plan_of(run)
    with _hold(rooms, run.run_id) as held:
        if rooms.runs.steps(run.run_id):
            return None
        try:
            return check_export(rooms, plan, instance, options)
        except errors.HypersdkError as error:
            passing = isinstance(error, errors.PassingError | errors.Stopped)
            held.set_state(INTERRUPTED if passing else REFUSED, error.message)
            raise


def retry_run(rooms: ExportRooms, run_id: str) -> ExportResult:
    """Go on with an unfinished run; one that has ended is begun anew, with the options that it was asked for with.

    Args:
        rooms: everything outside; of the account and region that the run belongs to.
        run_id: the run.

    Raises:
        UsageError: its options are not known any more.
        HypersdkError: as `drive_run`.
    """
    run = rooms.runs.run(run_id)
    if run.unfinished and not run.cancel:
        return drive_run(rooms, run.run_id)
    plan = plan_of(run)
    _check_account(rooms, plan)
    if not run.options:
        raise errors.UsageError(
            f"run {run.run_id} is {run.state}, and how it was asked for was not recorded by hypersdk "
            f"{run.tool_version}",
            resource=run.run_id,
            hint="give its export command again",
        )
    options = ExportOptions.from_json(run.options)
    options = replace(options, new=False, overwrite=options.overwrite and run.state != DONE)
    instance = rooms.retrier.call("get instance", lambda: rooms.provider.instance(plan.instance_id))
    around = surroundings(rooms, options, bucket=None, namespace=None)
    return export(rooms, instance, options, around)


def settled(options: ExportOptions, around: Surroundings) -> ExportOptions:
    """Options that mean the same wherever they are used: with an absolute directory, bucket and namespace."""
    directory = Path(around.directory, options.output_dir or ".") if options.local else None
    output_dir = None if directory is None else os.path.normpath(directory)
    return replace(options, output_dir=output_dir, bucket=around.bucket, namespace=around.namespace)


def _carry_out(rooms: ExportRooms, run: Run, options: ExportOptions) -> ExportResult:
    plan = plan_of(run)
    _check_account(rooms, plan)
    former = rooms.runs.holder(run.run_id)
    with _hold(rooms, run.run_id) as held:
        # Another process may have driven it to its end while we looked.
        before = rooms.runs.run(run.run_id)
        if before.unfinished:
            if rooms.runs.steps(run.run_id):
                rooms.note(f"run {run.run_id} of {_local(run.created)} is resumed")
            try:
                runner.drive(Context(rooms, plan, options, held, results_here(rooms, plan, held, former)), before)
            finally:
                with suppress(errors.HypersdkError):  # how the run ended matters more
                    leave_all(held)
    return result_of(rooms.runs, plan)


def cancel_run(rooms: ExportRooms, run_id: str) -> list[str]:
    """Cancel an unfinished run, or clean up after one that has ended and left something.

    Returns:
        One sentence for each thing that could not be deleted.

    Raises:
        RunDriven: another process drives the run; it has been asked to stop.
    """
    run = rooms.runs.run(run_id)
    plan = ExportPlan.from_json(run.plan, any_version=True)
    _check_account(rooms, plan)
    rooms.runs.request_cancel(run.run_id)
    with _hold(rooms, run.run_id) as held:
        before = rooms.runs.run(run.run_id)
        ctx = Context(rooms, plan, ExportOptions(), held, held.results())
        return runner.cancel(ctx, before) if before.unfinished else runner.cancel(ctx, before, before.state)


def _cancel_first(rooms: ExportRooms, run_id: str) -> None:
    """Cancel a run; whoever drives it cleans up, and is waited for."""
    runs = rooms.runs
    while runs.run(run_id).unfinished:
        try:
            cancel_run(rooms, run_id)
        except errors.RunDriven:
            free = f"{driver_of(runs, run_id)} cleans up run {run_id}"
            rooms.waiter.wait_for(free, lambda: None if runs.is_driven(run_id) else True, every=LOOKED_AT)


LOOKED_AT = 0.5
"""Seconds for which a run's lock may be somebody's who only looks at it (`runs list`)."""


@contextmanager
def _hold(rooms: ExportRooms, run_id: str) -> Iterator[Drive]:
    with ExitStack() as stack:

        def attempt() -> Drive | None:
            with suppress(errors.RunDriven):
                return stack.enter_context(rooms.runs.drive(run_id))
            return None

        held = rooms.waiter.wait_for(f"run {run_id} is in use", attempt, every=LOOKED_AT / 5, longest=LOOKED_AT)
        try:
            held = held or stack.enter_context(rooms.runs.drive(run_id))
        except errors.RunDriven as error:
            error.message = f"run {run_id} is driven by {driver_of(rooms.runs, run_id)}"
            error.hint = f"watch it: hyperexport runs attach {run_id}; end it: hyperexport runs cancel {run_id}"
            raise
        yield held


def driver_of(runs: RunStore, run_id: str) -> str:
    """Who drives a run, since when, how far: for people."""
    holder = runs.holder(run_id)
    if holder is None:
        return "another process"
    told = told_by(holder)
    parts = [owner_words(holder.owner)]
    if told.get("began"):
        parts.append(f"since {_local(told['began'])}")
    if told.get("step"):
        parts.append(f"now {told['step']}, {told['percent']:.0f} % of all")
    if told.get("waiting"):
        parts.append(f"waiting: {told['waiting']}")
    return ", ".join((*parts, f"last heard of {datetime.fromisoformat(holder.heartbeat).astimezone():%H:%M:%S}"))


def _check_account(rooms: ExportRooms, plan: ExportPlan) -> None:
    ours = (rooms.provider.tenancy_id, rooms.provider.region)
    if ours != (plan.tenancy_id, plan.region):
        raise errors.UsageError(
            f"run {plan.run_id} belongs to tenancy {plan.tenancy_id} in {plan.region}, you are signed in to {ours[0]} "
            f"in {ours[1]}",
            resource=plan.run_id,
            hint="choose the profile with --profile, the region with --region",
        )


def _new_plan(
    rooms: ExportRooms, instance: Instance, options: ExportOptions, around: Surroundings, latest: Run | None
) -> ExportPlan:
    key = run_key(instance.id, options, around)
    generation = 1 if latest is None else latest.generation + 1
    return make_plan(instance, options, around, run_id=rooms.runs.run_id(key, generation), generation=generation)


def _already(rooms: ExportRooms, run: Run, wanted: ExportPlan) -> ExportResult | None:
    plan = ExportPlan.from_json(run.plan)
    # With {date} in a name, today's export is another one than yesterday's although the command is the same.
    if plan.destinations != wanted.destinations:
        return None
    rooms.note(f"run {run.run_id} exported this at {_local(run.updated)}; looking whether it still is what it was")
    if not still_there(rooms, plan, _results(rooms.runs, run.run_id)):
        return None
    result = result_of(rooms.runs, plan, already=True)
    known = {checksum.algorithm for disk in result.disks for checksum in disk.checksums}
    if missing := [name for name in rooms.transfer.digests if name not in known]:
        rooms.note(f"that run took no {' and no '.join(missing)}: --overwrite exports again, with it")
    return result


def result_of(runs: RunStore, plan: ExportPlan, *, already: bool = False) -> ExportResult:
    """What came out of a run that is done, from the run store alone.

    Args:
        runs: the run store.
        plan: the run's.
        already: it was found done.
    """
    results = _results(runs, plan.run_id)
    steps = runs.steps(plan.run_id)
    began = datetime.fromisoformat(steps[0].started)
    ended = max(datetime.fromisoformat(step.finished) for step in steps if step.finished)
    disks = []
    for target in plan.targets:
        proof = "verify" if target.path is not None else "verify-object"
        disks.append(disk_of(target, results[plan.step(proof, target.format).name], manifest_place(target)))
    cleaned = results[plan.step("clean-up").name]
    return ExportResult(
        run_id=plan.run_id,
        instance_id=plan.instance_id,
        instance_name=plan.instance_name,
        image_id=results[plan.step("create-image").name]["image_id"],
        image_name=plan.image_name,
        disks=tuple(disks),
        duration=(ended - began).total_seconds(),
        finished=ended,
        complete=not results[plan.step("preflight").name]["data_volumes"],
        already=already,
        left=(*cleaned["kept"], *cleaned["failed"]),
    )


def _results(runs: RunStore, run_id: str) -> dict[str, Mapping[str, Any]]:
    return {step.name: step.result for step in runs.steps(run_id) if step.result is not None}


def _local(time: str) -> str:
    return f"{datetime.fromisoformat(time).astimezone():%Y-%m-%d %H:%M}"
