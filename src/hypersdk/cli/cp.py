"""`hyperexport cp`: copy objects between any two places."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from hypersdk import errors
from hypersdk.cli.metrics import metrics_option
from hypersdk.cli.options import (
    connection_options,
    output_options,
    preallocate_option,
    setting_option,
    verification_options,
)

if TYPE_CHECKING:
    from hypersdk.cli.context import CliContext
    from hypersdk.storage.protocol import PutOptions
    from hypersdk.storage.url import Address
    from hypersdk.transfer.copies.copyplan import CopyPlan
    from hypersdk.transfer.copies.items import Item, Means, Outcome

STREAM = "-"


@click.command()
@click.argument("places", metavar="SRC DST", nargs=-1)
@click.option("-r", "--recursive", is_flag=True, help="Copy all that is under SRC into DST.")
@click.option("--include", multiple=True, metavar="PATTERN", help="Only names that match; may be repeated.")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="No names that match; wins over --include.")
@click.option("--overwrite", is_flag=True, help="Replace what stands at the target with other bytes.")
@click.option(
    "--if-match", metavar="ETAG", help="Only if SRC has this etag; if SRC is a local file: only over a DST that has it."
)
@click.option("--metadata", multiple=True, metavar="KEY=VALUE", help="User metadata of the copies; may be repeated.")
@click.option("--content-type", metavar="TYPE", help="Content type of the copies.")
@click.option("--allow-empty", is_flag=True, help="That nothing is selected is no failure.")
@click.option("--dry-run", is_flag=True, help="Print what would happen to each object; copy nothing.")
@click.option("--jsonl", is_flag=True, help="Print events and outcomes as they come, one JSON document per line.")
@metrics_option
@setting_option("--parallel", "parallel", "Most requests in flight at once; default: 16.", metavar="N")
@setting_option("--bwlimit", "bandwidth_limit", "Bytes per second, or '08:00,20M 19:00,off'.", metavar="RATE")
@setting_option("--part-size", "part_size", "Size of a part, such as 64M or 1.5GiB; default: 16 MiB.", metavar="SIZE")
@preallocate_option
@verification_options
@connection_options()
@output_options
@click.pass_context
def command(ctx: click.Context, /, places: tuple[str, ...], **given: Any) -> int:
    """Copy SRC to DST: oci://namespace/bucket/name, a path, https://..., or - for standard input and output.

    Links that authorize themselves (pre-authenticated requests, presigned URLs) need no credentials. A DST that ends
    with "/" or is a directory takes the copy under its own name. SRC may be a pattern in quotes: 'oci://ns/b/vm-*.raw'.

    What stands at the target with the same bytes is skipped, with other bytes refused. An interrupted copy is resumed
    by the same command.
    """
    from hypersdk.cli.context import open_context
    from hypersdk.cli.jsonl import JsonLines, last_line
    from hypersdk.storage import url

    source, target = _two(places, ctx)
    lines = JsonLines() if given["jsonl"] else None
    given |= {"source": source, "target": target, "lines": lines}
    with last_line(lines), open_context(ctx) as context:
        put = _put(given)
        if STREAM in (given["source"], given["target"]):
            from hypersdk.cli.cpstream import copy_stream

            return copy_stream(context, given, put)
        copy = _Copy(context, url.parse(given["source"]), url.parse(given["target"]), given)
        return copy.run(put)


def _two(places: Sequence[str], ctx: click.Context) -> Sequence[str]:
    match places:
        case []:
            raise click.UsageError("missing arguments 'SRC DST'", ctx)
        case [_]:
            raise click.UsageError("missing argument 'DST'", ctx)
        case [_, _]:
            return places
    raise errors.UsageError(
        f"one SRC and one DST are taken, not {len(places)} places",
        hint="put a pattern in quotes, so that the shell leaves it to us: 'disks/*.raw'",
    )


def _put(given: Mapping[str, Any]) -> PutOptions:
    from hypersdk.storage.protocol import PutOptions

    metadata = {}
    for text in given["metadata"]:
        key, middle, value = text.partition("=")
        if not middle or not key:
            raise errors.UsageError(f"not metadata: {text!r}", hint="--metadata KEY=VALUE")
        metadata[key] = value
    return PutOptions(metadata=metadata, content_type=given["content_type"])


class _Copy:
    """One call of the command between two addresses.

    Args:
        context: configuration, rooms, output.
        source: where from.
        target: where to.
        given: the command's own options.
    """

    def __init__(self, context: CliContext, source: Address, target: Address, given: Mapping[str, Any]) -> None:
        from hypersdk.cli.copying import CopyProgress
        from hypersdk.cli.copyreport import CopyReport

        self._wiring = context.wiring
        self._source = source
        self._target = target
        self._given = given
        self._progress = CopyProgress(sum(each.ref.scheme != "file" for each in (source, target)))
        self._report = CopyReport(context, self._progress, str(source), str(target), given)

    def run(self, put: PutOptions) -> int:
        """Copy, print, and say how it ended."""
        with self._report.watched(self._progress):
            plan, means = self._planned(put)
            self._report.started(plan.count, plan.size)
            for item, outcome in self._ending(plan, means):
                self._report.note(item, outcome)
        return self._report.end()

    def _planned(self, put: PutOptions) -> tuple[CopyPlan, Means]:
        from hypersdk.storage.selection import Filter
        from hypersdk.transfer.copies.copyplan import Wish, pin

        given, one, other = self._given, self._source, self._target
        chosen = Filter(given["include"], given["exclude"])
        wish = Wish(one.ref, other.ref, recursive=given["recursive"], chosen=chosen)
        plan, means = self._wiring.plan_copy(wish, one, other, put=put, overwrite=given["overwrite"])
        etag = given["if_match"]
        return pin(plan, means, etag) if etag else (plan, means)

    def _ending(self, plan: CopyPlan, means: Means) -> Iterator[tuple[Item, Outcome | None]]:
        """Each item with how it ended or, on a dry run, would end."""
        from hypersdk.transfer.copies.copyplan import carry_out, foresee

        if self._given["dry_run"]:
            yield from foresee(plan, means)
            return
        for outcome in carry_out(plan, means, self._progress.advanced):
            yield outcome.item, outcome
