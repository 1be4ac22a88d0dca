"""`hyperexport images`: list, show, delete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from hypersdk import errors
from hypersdk.cli.context import CliContext, open_context
from hypersdk.cli.listings import print_listing
from hypersdk.cli.options import connection_options, output_options
from hypersdk.cli.output import moment, printable
from hypersdk.exports.power import remove_image
from hypersdk.model import Image, format_size
from hypersdk.providers.lookup import find_image, list_images, refuse_partial

COLUMNS = ("name", "lifecycle_state", "size", "operating_system", "compartment", "id")


@click.group()
def command() -> None:
    """List, show and delete custom images. IMAGE is an OCID or an exact name."""


@command.command("list")
@connection_options("compartment_ocid")
@output_options
@click.pass_context
def list_command(ctx: click.Context) -> None:
    """List custom images.

    Those of a compartment, or of all compartments that you can list.
    """
    with open_context(ctx) as context:
        provider = context.wiring.provider
        listing = list_images(provider, context.config.oci.compartment_ocid)
        rows = [{**_facts(context, found.resource), "compartment": found.compartment.path} for found in listing.items]
        print_listing(context.out, "images", rows, COLUMNS, listing)
        refuse_partial(listing, "the list is not complete", "name a compartment that you can read with -c")
        if not rows:
            context.out.note(f"no custom images in {provider.region}")


@command.command()
@click.argument("image")
@connection_options("compartment_ocid")
@output_options
@click.pass_context
def show(ctx: click.Context, image: str) -> None:
    """Show one image."""
    with open_context(ctx) as context:
        context.out.facts("image", _facts(context, _find(context, image)))


@command.command()
@click.argument("image")
@click.option("--no-wait", is_flag=True, help="Do not wait for a running export to end, nor until the image is gone.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@connection_options("compartment_ocid")
@output_options
@click.pass_context
def delete(ctx: click.Context, image: str, no_wait: bool, yes: bool) -> None:
    """Delete a custom image. It cannot be brought back."""
    with open_context(ctx) as context:
        found = _find(context, image)
        if found.compartment_id is None:
            raise errors.UsageError(f"{found.name} is a platform image of the cloud", resource=found.id)
        _demand_yes(context, f"delete image {found.name} ({found.id})", yes=yes)
        remove_image(context.wiring.provider, context.wiring.retrier, found, wait=not no_wait)
        if context.out.as_json:
            context.out.json({"deleted": [found.id], "failed": []})
        else:
            context.out.line(printable(f"deleted image {found.name} ({found.id})"))


def _demand_yes(context: CliContext, what: str, *, yes: bool) -> None:
    if yes:
        return
    if not context.interactive:
        raise errors.UsageError(f"refused to {what} without being asked twice", hint="add --yes")
    if not click.confirm(f"{what}?", err=True):
        raise click.Abort


def _find(context: CliContext, wanted: str) -> Image:
    wiring = context.wiring
    return find_image(wiring.provider, wiring.retrier, wanted, context.config.oci.compartment_ocid)


def _facts(context: CliContext, image: Image) -> Mapping[str, Any]:
    size: int | str | None = image.size
    if image.size is not None and not context.out.as_json:
        size = format_size(image.size)
    return {
        "id": image.id,
        "name": image.name,
        "lifecycle_state": image.lifecycle_state,
        "size": size,
        "operating_system": f"{image.operating_system} {image.operating_system_version}".strip(),
        "compartment_id": image.compartment_id,
        "base_image_id": image.base_image_id,
        "created": moment(image.time_created),
        "firmware": image.launch_options.get("firmware"),
        "tags": dict(image.tags),
    }
