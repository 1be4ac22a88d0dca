"""`hyperexport fleet`: many exports, planned before the first one begins."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click

from hypersdk import errors
from hypersdk.cli import fleetplan
from hypersdk.cli.context import CliContext, open_context
from hypersdk.cli.jsonl import JsonLines, last_line
from hypersdk.cli.metrics import FleetCounts, metrics_option, serving
from hypersdk.cli.options import connection_options, flags_of, output_options, setting_option
from hypersdk.cli.outcomes import code_of
from hypersdk.exports.options import FORMATS, ExportOptions
from hypersdk.fleet.local import retry_plan
from hypersdk.fleet.nouns import FleetPlan, Limits
from hypersdk.fleet.planning import asked, files, filters
from hypersdk.fleet.planning.asked import Asked
from hypersdk.fleet.planning.files import FleetFile
from hypersdk.fleet.planning.inventory import Progress
from hypersdk.fleet.planning.plan import Order
from hypersdk.fleet.planning.preparing import EMPTY_FILE, Wish, load_file, prepare, prepare_again
from hypersdk.model import Instance
from hypersdk.runs import fleets
from hypersdk.runs.census import census

TELL_EVERY = 5.0
"""Seconds between two lines about how far planning is."""

STDIN = "-"

FIXED = (
    *("output", "to", "formats", "tags", "keep_image", "keep_on_failure"),
    *("first", "compartments", "all_compartments", "regions", "all_regions"),
)
"""What an earlier fleet has settled."""


@click.command()
@click.argument("file", required=False)
@click.option("--filter", "expression", metavar="EXPR", help="Select by facts: 'tag:env=prod and shape~VM.Standard'.")
@click.option("--retry", metavar="FLEET", help="Export what an earlier fleet did not export.")
@click.option("-o", "--output", metavar="TEMPLATE", help="Local files: '/backup/{compartment}/{name}-{date}.{format}'.")
@click.option(
    "--to", metavar="URL", help="Leave the disks in Object Storage: 'oci://namespace/bucket/{region}/{name}/'."
)
@click.option("--format", "formats", multiple=True, type=click.Choice(FORMATS), help="Format; may be repeated.")
@click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="Free-form tag of the images; may be repeated.")
@click.option("--allow-shutdown", is_flag=True, help="Running instances may go down while their images are made.")
@click.option("--keep-image", is_flag=True, help="Images and objects stay in the tenancy.")
@click.option("--keep-on-failure", is_flag=True, help="They stay even if an export fails for good.")
@click.option("--overwrite", is_flag=True, help="Export again, replacing disks that are there.")
@click.option("--new", is_flag=True, help="Cancel unfinished runs of these exports and start anew.")
@click.option("--parallel", type=click.IntRange(0), metavar="N", help="Most exports at once, over all workers.")
@click.option(
    "--per-worker",
    type=click.IntRange(0),
    metavar="N",
    help="Most exports at once on one machine; default: 4, or what --parallel says.",
)
@click.option("--per-region", type=click.IntRange(0), metavar="N", help="Most exports at once in one region.")
@click.option("--per-bucket", type=click.IntRange(0), metavar="N", help="Most exports at once into one bucket.")
@click.option(
    "--window",
    "spans",
    multiple=True,
    metavar="WINDOW",
    help="When exports may begin: 'mon-fri 22:00-06:00 Europe/Berlin'; may be repeated.",
)
@click.option("--first", multiple=True, metavar="EXPR", help="Instances that go first; may be repeated.")
@click.option("-c", "--compartment-id", "compartments", multiple=True, metavar="PATH|OCID", help="Where to look.")
@click.option("--all-compartments", is_flag=True, help="Look in all that you can list, whatever is configured.")
@click.option("--region", "regions", multiple=True, metavar="REGION", help="Where to look; may be repeated.")
@click.option("--all-regions", is_flag=True, help="Look in all regions that the tenancy is subscribed to.")
@click.option("--allow-empty", is_flag=True, help="That nothing was selected is fine.")
@click.option("--dry-run", is_flag=True, help="Print the plan; create nothing.")
@click.option("--detach", is_flag=True, help="Leave it to the workers instead of watching them.")
@click.option("--jsonl", is_flag=True, help="Print events and outcomes as they come, one JSON document per line.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before the exports begin.")
@metrics_option
@setting_option("--bwlimit", "bandwidth_limit", "Bytes per second in all, or '08:00,20M 19:00,off'.", metavar="RATE")
@connection_options("namespace", "bucket", without=("region", "compartment_ocid"))
@output_options
@click.pass_context
def command(ctx: click.Context, /, **given: Any) -> int:
    """Export many instances: those that FILE names (YAML, CSV, or a name or OCID a line), or that a filter selects.

    Names and directories may hold {compartment}, {region}, {name}, {id}, {date} and {format}. The same command goes on
    with what was interrupted.
    """
    _check(given)
    file = EMPTY_FILE if given["file"] is None else _read(given["file"])
    regions = given["regions"] or file.regions
    if regions:
        flags_of(ctx)["region"] = regions[0]
    lines = JsonLines() if given["jsonl"] else None
    with last_line(lines), open_context(ctx) as context:
        if given["retry"]:
            plan = _planned_again(context, given)
        else:
            wish = _wish(context, given, file, regions)
            plan = prepare(wish, context.wiring, datetime.now(UTC), _progress(context))
        if not plan.items and not given["allow_empty"]:
            raise errors.NotFoundError(
                f"no instance is selected by {plan.subject}",
                resource=plan.subject,
                hint="--allow-empty makes that fine",
            )
        if given["dry_run"]:
            fleetplan.print_plan(context.out, plan)
            context.out.note("dry run: nothing was created")
            return code_of(fleetplan.ends(plan), allow_empty=given["allow_empty"])
        _confirm(context, plan, yes=given["yes"])
        from hypersdk.cli.fleetrun import execute

        with serving(given["metrics"], context.out.note, partial(census, context.wiring.runs)) as counts:
            told = () if counts is None else (FleetCounts(counts),)
            detach = given["detach"]
            return execute(context, plan, allow_empty=given["allow_empty"], told=told, detach=detach, lines=lines)


def _check(given: Mapping[str, Any]) -> None:
    for other in ("dry_run", "detach"):
        if given["jsonl"] and given[other]:
            raise errors.UsageError(f"--jsonl and --{other.replace('_', '-')} exclude each other")
    sources = [name for name in ("file", "expression", "retry") if given[name] is not None]
    if len(sources) != 1:
        raise errors.UsageError(
            "a FILE, --filter or --retry is needed" if not sources else "FILE, --filter and --retry exclude each other",
            hint="a YAML file may hold a `filter:` beside its instances" if sources else "hyperexport fleet --help",
        )
    if given["retry"] is not None and (fixed := [name for name in FIXED if given[name]]):
        option = {"formats": "--format", "tags": "--tag", "compartments": "-c", "regions": "--region"}
        raise errors.UsageError(
            f"{option.get(fixed[0], '--' + fixed[0].replace('_', '-'))} and --retry exclude each other",
            hint="the exports are made as they were asked for; limits, windows, --allow-shutdown, --overwrite and --new"
            " may be others",
        )
    for one, other in (("compartments", "all_compartments"), ("regions", "all_regions"), ("new", "overwrite")):
        if given[one] and given[other]:
            names = {"compartments": "-c", "regions": "--region"}
            raise errors.UsageError(f"{names.get(one, f'--{one}')} and --{other.replace('_', '-')} exclude each other")


def _read(name: str) -> FleetFile:
    if name == STDIN:
        return files.read(sys.stdin.buffer.read(), "standard input")
    return load_file(name)


def _wish(context: CliContext, given: Mapping[str, Any], file: FleetFile, regions: tuple[str, ...]) -> Wish:
    from hypersdk.vendors.oci.regions import expand

    config = context.config.oci
    expression = given["expression"] or file.filter
    if given["all_regions"]:
        wiring = context.wiring
        regions = tuple(wiring.retrier.call("list regions", wiring.provider.regions))
    named = given["compartments"] or file.compartments or tuple(filter(None, (config.compartment_ocid,)))
    return Wish(
        subject=given["file"] or given["expression"],
        file=file,
        filter=None if expression is None else filters.parse(expression),
        asked=_asked(given),
        beneath=Asked(format=(config.export_format,), tags=dict(config.tags) or None),
        first=tuple(filters.parse(text) for text in given["first"]),
        order=Order(given["file"] or given["expression"], _limits(given, file), given["spans"] or file.windows),
        regions=tuple(expand(one) for one in regions),
        compartments=() if given["all_compartments"] else named,
        bucket=config.bucket,
        namespace=config.namespace,
        directory=str(Path.cwd()),
        region_of=expand,
    )


def _asked(given: Mapping[str, Any]) -> Asked:
    return Asked(
        output=given["output"],
        to=given["to"],
        format=given["formats"] or None,
        tags=asked.read_tags(given["tags"]) or None,
        # A switch that was not given says nothing, so that a file may say it.
        allow_shutdown=given["allow_shutdown"] or None,
        keep_image=given["keep_image"] or None,
        keep_on_failure=given["keep_on_failure"] or None,
        overwrite=given["overwrite"] or None,
        new=given["new"] or None,
    )


def _limits(given: Mapping[str, Any], file: FleetFile) -> Limits:
    said = {**(file.limits or {}), **{name: given[name] for name in files.LIMITS if given[name] is not None}}
    if "parallel" in said:
        # Who says how many in all means one machine, too; a worker's own slots bound it anyway.
        said.setdefault("per_worker", 0)
    return Limits(**said)


def _progress(context: CliContext) -> Progress:
    told = time.monotonic()

    def progress(what: str, done: int, of: int) -> None:
        nonlocal told
        if time.monotonic() - told >= TELL_EVERY:
            told = time.monotonic()
            context.out.note(f"planning: {what}, {done} of {of} lists read")

    return progress


def _planned_again(context: CliContext, given: Mapping[str, Any]) -> FleetPlan:
    """The plan of what an earlier fleet did not export; what it refused may be allowed now."""
    runs = context.wiring.runs
    fleet = fleets.fleet(runs, given["retry"])
    names = {item.instance_id: item.name for item in fleets.items(runs, fleet.fleet_id)}
    # What the instances are now is looked at together, once it is known which ones are left.
    former = retry_plan(runs, fleet, lambda region, one: Instance(one, names[one], "", "", region))
    items = tuple(replace(item, options=_allowing(item.options, given)) for item in former.items)
    limits = replace(former.limits, **{name: given[name] for name in files.LIMITS if given[name] is not None})
    spans = given["spans"] or former.windows
    plan = replace(former, items=items, limits=limits, windows=spans)
    return prepare_again(plan, context.wiring, datetime.now(UTC), _progress(context))


def _allowing(options: ExportOptions, given: Mapping[str, Any]) -> ExportOptions:
    return replace(
        options,
        allow_shutdown=options.allow_shutdown or given["allow_shutdown"],
        overwrite=options.overwrite or given["overwrite"],
        new=options.new or given["new"],
    )


def _confirm(context: CliContext, plan: FleetPlan, *, yes: bool) -> None:
    """Show a person what will be done, and ask."""
    going = [item for item in plan.items if item.refused is None]
    if yes or not going or not context.interactive:
        return
    for item in plan.items:
        if item.refused is not None:
            context.out.note(f"refused: {item.instance.name}: {item.refused}")
    for note in plan.notes:
        context.out.note(f"note: {note}")
    running = sum(item.instance.lifecycle_state == "RUNNING" for item in going)
    down = f" {running} running ones go down for some minutes." if running else ""
    if not click.confirm(f"{fleetplan.in_one_line(plan)}.{down} Go on?", err=True):
        raise click.Abort
