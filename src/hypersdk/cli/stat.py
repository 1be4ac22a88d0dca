"""`hyperexport stat`: the facts about one object, or about a bucket."""

from __future__ import annotations

from dataclasses import asdict

import click

from hypersdk.cli.addresses import Place, open_place, row
from hypersdk.cli.context import CliContext, open_context
from hypersdk.cli.options import connection_options, output_options
from hypersdk.storage.tree import require_object


@click.command()
@click.argument("url")
@connection_options()
@output_options
@click.pass_context
def command(ctx: click.Context, url: str) -> None:
    """Show the facts about the object at URL, or about the bucket if URL names only that."""
    with open_context(ctx) as context:
        place = open_place(context, url)
        if place.ours and not place.ref.name:
            _show_bucket(context, place)
        else:
            _show_object(context, place)


def _show_bucket(context: CliContext, place: Place) -> None:
    facts = place.call("look at bucket", lambda: context.wiring.oci_store.bucket(place.ref))
    shown = asdict(facts)
    if not context.out.as_json:
        shown["retention"] = "unknown" if facts.retention is None else facts.retention
    context.out.facts("bucket", shown)


def _show_object(context: CliContext, place: Place) -> None:
    info = require_object(place.store, place.ref, place.call)
    facts = row(info)
    del facts["prefix"]
    facts["metadata"] = dict(info.metadata)
    context.out.facts("object", facts)
