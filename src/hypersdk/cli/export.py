"""`hyperexport export`: the main job."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from hypersdk import errors, events
from hypersdk.cli.context import CliContext, open_context
from hypersdk.cli.exportresult import print_result, to_json
from hypersdk.cli.jsonl import JsonLines, RunLines, ended_facts, last_line
from hypersdk.cli.metrics import counting, metrics_option, serving, watched
from hypersdk.cli.options import (
    arguments_of,
    connection_options,
    output_options,
    preallocate_option,
    setting_option,
    verification_options,
)
from hypersdk.cli.output import Output, printable
from hypersdk.cli.pasting import foreground_arguments, shown_command
from hypersdk.cli.progress import progress
from hypersdk.exports import api
from hypersdk.exports.options import FORMATS, ExportOptions
from hypersdk.exports.plan import ExportPlan, Surroundings
from hypersdk.exports.result import ExportResult
from hypersdk.fleet.planning.asked import object_place, read_tags
from hypersdk.model import Instance
from hypersdk.runs.census import census
from hypersdk.storage import url

RUNNING = "RUNNING"


@click.command()
@click.argument("instance")
@click.option("-o", "--output", metavar="FILE|DIR", help="Local file or directory; default: the current directory.")
@click.option(
    "--to",
    metavar="URL",
    multiple=True,
    help="Leave the disk in Object Storage: oci://namespace/bucket/prefix. Without -o there is then no local file.",
)
@click.option("--format", "formats", multiple=True, type=click.Choice(FORMATS), help="Format; may be repeated.")
@click.option("--image-name", metavar="NAME", help="Display name of the temporary custom image.")
@click.option("--object-prefix", metavar="PREFIX", default="", help="Prefix of the temporary object's name.")
@click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="Free-form tag of the image; may be repeated.")
@click.option("--allow-shutdown", is_flag=True, help="A running instance may go down while its image is made.")
@click.option("--keep-image", is_flag=True, help="Image and object stay in the tenancy.")
@click.option("--keep-on-failure", is_flag=True, help="They stay even if the export fails for good.")
@click.option("--overwrite", is_flag=True, help="Export again, replacing a disk that is there.")
@click.option("--new", is_flag=True, help="Cancel an unfinished run of this export and start anew.")
@click.option("--dry-run", is_flag=True, help="Check the plan and print it; create nothing.")
@click.option("--detach", is_flag=True, help="Check and begin, then go on in the background; `runs attach` watches it.")
@click.option("--jsonl", is_flag=True, help="Print events and the result as they come, one JSON document per line.")
@metrics_option
@click.option("--drive", metavar="RUN", hidden=True, help="Go on with this run: how --detach calls itself.")
@setting_option("--parallel", "parallel", "Most parts of the disk in flight at once; default: 16.", metavar="N")
@setting_option("--bwlimit", "bandwidth_limit", "Bytes per second, or '08:00,20M 19:00,off'.", metavar="RATE")
@setting_option("--part-size", "part_size", "Size of a part, such as 64M or 1.5GiB; default: 16 MiB.", metavar="SIZE")
@preallocate_option
@verification_options
@connection_options("compartment_ocid", "namespace", "bucket")
@output_options
@click.pass_context
def command(ctx: click.Context, /, instance: str, dry_run: bool, detach: bool, jsonl: bool, **given: Any) -> int:
    """Take INSTANCE (an OCID or an exact name) out of the cloud into a verified disk.

    Names may hold {name}, {id}, {date} and {format}. The same command resumes an export that was interrupted.
    """
    if detach and (dry_run or jsonl):
        raise errors.UsageError(f"--detach and {'--dry-run' if dry_run else '--jsonl'} exclude each other")
    lines = JsonLines() if jsonl else None
    with last_line(lines), open_context(ctx) as context:
        options = _options(context, given)
        if given["drive"]:
            context.wiring.command = shown_command(foreground_arguments(arguments_of(ctx)))
            rooms = context.wiring.export_rooms
            return _watched(context, lines, lambda: api.drive_run(rooms, given["drive"], options), given["metrics"])
        counted = given["metrics"]
        return _export(ctx, context, lines, instance, options, dry_run=dry_run, detach=detach, metrics=counted)


def _export(
    ctx: click.Context,
    context: CliContext,
    lines: JsonLines | None,
    instance: str,
    options: ExportOptions,
    *,
    dry_run: bool,
    detach: bool,
    metrics: str | None,
) -> int:
    wiring = context.wiring
    rooms = wiring.export_rooms
    found = wiring.find_instance(instance)
    around = wiring.surroundings(options)
    if dry_run:
        _dry_run(context, found, options, around)
        return 0
    # Asked before any bar is drawn: the two would write over each other.
    options = _ask(context, found, options, around)
    if detach:
        from hypersdk.cli.detaching import detach_export

        return detach_export(ctx, context, found, options, around)
    try:
        return _watched(context, lines, lambda: api.export(rooms, found, options, around), metrics)
    except errors.RunDriven as error:
        if lines is not None or not context.interactive or not error.resource:
            raise
        if not click.confirm(f"{error.message}. Watch it?", err=True, default=True):
            raise
        from hypersdk.cli.attaching import attach_to

        return attach_to(context, error.resource)


def _watched(
    context: CliContext, lines: JsonLines | None, drive: Callable[[], ExportResult], metrics: str | None
) -> int:
    """Show a run while it is driven, and print what came out of it."""
    waiter = context.wiring.waiter
    told = None if lines is None else RunLines(lines, waiter.stop, waiter.clock)
    runs = partial(census, context.wiring.runs)
    with (
        serving(metrics, context.out.note, runs) as counts,
        progress(context.out, terminal=sys.stderr.isatty()) as shown,
    ):
        waiter.report = watched(shown, counts)
        if told is not None:
            waiter.report = events.several(waiter.report, told)
        try:
            result = counting(drive, counts)
        except errors.Interrupted as stopped:
            if told is None or told.broken is None:
                raise
            for note in getattr(stopped, "__notes__", ()):
                context.out.note(printable(note))
            raise told.broken from None
    if told is None:
        print_result(context.out, result)
        return 0
    told.emit("ended", ended_facts(to_json(result)))
    if told.broken is not None:
        raise told.broken
    return 0


def _options(context: CliContext, given: Mapping[str, Any]) -> ExportOptions:
    config = context.config.oci
    formats = given["formats"] or (config.export_format,)
    values: dict[str, Any] = {
        "formats": formats,
        "image_name": given["image_name"],
        "object_name_prefix": given["object_prefix"],
        "delete_after_export": not given["keep_image"],
        "tags": {**config.tags, **read_tags(given["tags"])},
        "allow_shutdown": given["allow_shutdown"],
        "overwrite": given["overwrite"],
        "new": given["new"],
        "keep_on_failure": given["keep_on_failure"],
        **_local(given["output"]),
    }
    if given["to"]:
        values |= _remote(given)
    return ExportOptions(**values)


def _local(output: str | None) -> dict[str, Any]:
    if output is None:
        return {}
    address = url.parse(output)
    if address.ref.scheme != "file":
        raise errors.UsageError(f"-o takes a local file or directory, not {output}", hint=f"--to {output}")
    path = Path(str(address.ref))
    if output.endswith("/") or os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises where a name is too long
        return {"output_dir": str(path)}
    return {"output_dir": str(path.parent), "output_name": path.name}


def _remote(given: Mapping[str, Any]) -> dict[str, Any]:
    if given["object_prefix"]:
        raise errors.UsageError("--object-prefix and --to exclude each other", hint="write the prefix into the URL")
    if len(given["to"]) > 1:
        raise errors.UsageError(
            f"an export leaves its disk at one URL, not at {len(given['to'])}", hint="export once for each of them"
        )
    return object_place(given["to"][0])


def _ask(context: CliContext, found: Instance, options: ExportOptions, around: Surroundings) -> ExportOptions:
    """A yes on a terminal is as good as --allow-shutdown."""
    if found.lifecycle_state != RUNNING or options.allow_shutdown or not context.interactive:
        return options
    if api.is_unfinished(context.wiring.export_rooms, found, options, around):
        return options
    question = f"{found.name} is running. It goes down for some minutes while its image is made. Go on?"
    if not click.confirm(question, err=True):
        raise click.Abort
    return replace(options, allow_shutdown=True)


def _dry_run(context: CliContext, found: Instance, options: ExportOptions, around: Surroundings) -> None:
    rooms = context.wiring.export_rooms
    plan = api.plan_export(rooms, found, options, around)
    # Checked first: a plan that is refused is no result.
    notes = api.check_export(rooms, plan, found, options).notes
    if context.out.as_json:
        context.out.json({"plan": {**_plan_json(plan), "notes": list(notes)}})
    else:
        _print_plan(context.out, plan)
    for note in notes:
        context.out.note(f"note: {note}")
    context.out.note("dry run: nothing was created")


def _plan_json(plan: ExportPlan) -> dict[str, Any]:
    return {
        "run_id": plan.run_id,
        "generation": plan.generation,
        "tenancy_id": plan.tenancy_id,
        "region": plan.region,
        "compartment_id": plan.compartment_id,
        "instance_id": plan.instance_id,
        "instance_name": plan.instance_name,
        "image_name": plan.image_name,
        "keep_image": plan.keep_image,
        "tags": dict(plan.tags),
        "disks": [
            {
                "format": target.format,
                "path": target.path,
                "object_url": None if target.final is None else str(target.final),
                "staging_url": str(target.staging),
            }
            for target in plan.targets
        ],
        "steps": [{"name": step.name, "format": step.format} for step in plan.steps],
    }


def _print_plan(out: Output, plan: ExportPlan) -> None:
    out.facts(
        "plan",
        {
            "instance": f"{plan.instance_name} ({plan.instance_id})",
            "image": plan.image_name,
            "object": [str(target.staging) for target in plan.targets],
            "result": plan.destinations,
            "steps": " -> ".join(step.name for step in plan.steps),
            "run": plan.run_id,
        },
    )
