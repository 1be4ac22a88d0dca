"""`hyperexport ls`: the objects at an address."""

from __future__ import annotations

import click

from hypersdk.cli.addresses import open_place, row
from hypersdk.cli.context import open_context
from hypersdk.cli.options import connection_options, output_options
from hypersdk.cli.output import printable
from hypersdk.storage.tree import under


@click.command()
@click.argument("url")
@click.option("-r", "--recursive", is_flag=True, help="Every object below, not one level.")
@connection_options()
@output_options
@click.pass_context
def command(ctx: click.Context, url: str, recursive: bool) -> None:
    """List the object at URL and what is under it.

    URL is oci://namespace/bucket/name, oci://bucket@namespace/name, a pre-authenticated request that allows lists, or
    a local path. A listing that cannot be read to its end is an error and prints nothing.
    """
    with open_context(ctx) as context:
        place = open_place(context, url, lists=True)
        found = [row(info) for info in under(place.store, place.ref, recursive=recursive, call=place.call)]
        context.out.table("objects", found, ("size", "modified", "name"))
        if not found:
            context.out.note(printable(f"nothing at {place.ref}"))
