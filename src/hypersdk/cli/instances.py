"""`hyperexport instances`: list, show, start, stop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from hypersdk import errors
from hypersdk.cli.context import CliContext, open_context
from hypersdk.cli.listings import print_listing
from hypersdk.cli.options import connection_options, output_options
from hypersdk.cli.output import moment
from hypersdk.exports.power import change_power
from hypersdk.model import Instance, Volume, format_size
from hypersdk.providers.lookup import find_instance, list_instances, refuse_partial

COLUMNS = ("name", "lifecycle_state", "shape", "compartment", "id")


@click.group()
def command() -> None:
    """List, show, start and stop instances. INSTANCE is an OCID or an exact name."""


@command.command("list")
@connection_options("compartment_ocid")
@output_options
@click.pass_context
def list_command(ctx: click.Context) -> None:
    """List instances.

    Those of a compartment, or of all compartments that you can list; terminated ones too, as long as the cloud shows
    them.
    """
    with open_context(ctx) as context:
        provider = context.wiring.provider
        listing = list_instances(provider, context.config.oci.compartment_ocid)
        rows = [{**facts(found.resource), "compartment": found.compartment.path} for found in listing.items]
        print_listing(context.out, "instances", rows, COLUMNS, listing)
        refuse_partial(listing, "the list is not complete", "name a compartment that you can read with -c")
        if not rows:
            context.out.note(f"no instances in {provider.region}")


@command.command()
@click.argument("instance")
@connection_options("compartment_ocid")
@output_options
@click.pass_context
def show(ctx: click.Context, instance: str) -> None:
    """Show one instance and its volumes."""
    with open_context(ctx) as context:
        found = _find(context, instance)
        context.out.facts("instance", {**facts(found), "volumes": _volumes(context, found)})


@command.command()
@click.argument("instance")
@click.option("--no-wait", is_flag=True, help="Return as soon as the cloud has accepted it.")
@connection_options("compartment_ocid")
@output_options
@click.pass_context
def start(ctx: click.Context, instance: str, no_wait: bool) -> None:
    """Start an instance and wait until it runs."""
    _power(ctx, instance, "START", wait=not no_wait)


@command.command()
@click.argument("instance")
@click.option("--soft", is_flag=True, help="Ask the guest to shut down; the power is cut after 15 minutes.")
@click.option("--no-wait", is_flag=True, help="Return as soon as the cloud has accepted it.")
@connection_options("compartment_ocid")
@output_options
@click.pass_context
def stop(ctx: click.Context, instance: str, soft: bool, no_wait: bool) -> None:
    """Stop an instance and wait until it is stopped. Without --soft its power is cut."""
    _power(ctx, instance, "SOFTSTOP" if soft else "STOP", wait=not no_wait)


def facts(instance: Instance) -> Mapping[str, Any]:
    """What we print of an instance; keys are those of the JSON result."""
    return {
        "id": instance.id,
        "name": instance.name,
        "lifecycle_state": instance.lifecycle_state,
        "shape": instance.shape,
        "region": instance.region,
        "availability_domain": instance.availability_domain,
        "compartment_id": instance.compartment_id,
        "image_id": instance.image_id,
        "created": moment(instance.time_created),
        "firmware": instance.launch_options.get("firmware"),
        "tags": dict(instance.tags),
    }


def _power(ctx: click.Context, wanted: str, action: str, *, wait: bool) -> None:
    with open_context(ctx) as context:
        found = _find(context, wanted)
        ended = change_power(context.wiring.provider, context.wiring.retrier, found.id, action, wait=wait)
        context.out.facts("instance", facts(ended))


def _find(context: CliContext, wanted: str) -> Instance:
    wiring = context.wiring
    return find_instance(wiring.provider, wiring.retrier, wanted, context.config.oci.compartment_ocid)


def _volumes(context: CliContext, instance: Instance) -> list[dict[str, Any]] | list[str] | None:
    """The volumes; None, with a note, where policies hide them."""
    try:
        volumes = list(context.wiring.provider.volumes(instance))
    except (errors.NotFoundError, errors.PermissionDenied) as error:
        context.out.note(f"its volumes are not shown: {error}")
        return None
    if context.out.as_json:
        return [{"id": each.id, "name": each.name, "size": each.size, "boot": each.boot} for each in volumes]
    return [_volume_line(each) for each in volumes]


def _volume_line(volume: Volume) -> str:
    return f"{volume.name} {format_size(volume.size)}" + (" (boot)" if volume.boot else "")
