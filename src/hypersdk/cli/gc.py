"""`hyperexport gc`: what exports and copies left behind, and how to be rid of it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import click

from hypersdk import errors
from hypersdk.cli.context import CliContext, open_context
from hypersdk.cli.options import connection_arguments, connection_options, flags_of, output_options
from hypersdk.cli.output import moment, printable
from hypersdk.exports.gc import rules
from hypersdk.exports.gc.removal import Removal, remove
from hypersdk.exports.gc.rules import FOREIGN, Find, Wish
from hypersdk.exports.gc.search import Places, Report, search
from hypersdk.model import ObjectRef, format_size
from hypersdk.readers.units import parse_duration
from hypersdk.storage import url

COLUMNS = ("kind", "name", "run", "host", "age", "size", "standing")
SOME_FAILED = 3

STANDINGS: Mapping[str, str] = {
    "removable": "of ended runs",
    "resumable": "to be gone on with",
    "running": "in use by a process",
    "busy": "in use by the cloud",
    "kept": "kept as asked",
    "foreign": "of other stores or programs",
    "unclear": "to be looked at by a person",
}
"""What each standing means, in the totals."""


@click.command()
@click.option("--yes", is_flag=True, help="Delete what belongs to ended runs of this store, without asking.")
@click.option("--dry-run", is_flag=True, help="Only list, also on a terminal.")
@click.option("--foreign", is_flag=True, help="Also what other stores left, and uploads of unknown programs.")
@click.option("--uploads", is_flag=True, help="Also cut uploads that `cp` could go on with.")
@click.option(
    "--older-than",
    metavar="AGE",
    help="Only what is at least so old, such as 12h or 30d; default: any age, and 7d for what is foreign.",
)
@click.option("--all-compartments", is_flag=True, help="Look in every compartment that you can list, and its buckets.")
@click.option("--bucket", "buckets", multiple=True, metavar="BUCKET", help="Also look there: a name or an oci:// URL.")
@connection_options()
@output_options
@click.pass_context
def command(ctx: click.Context, /, yes: bool, dry_run: bool, buckets: tuple[str, ...], **given: Any) -> int:
    """List what exports and cut uploads left in the tenancy and on this machine; with a yes, delete it.

    Looks in every region, compartment and bucket of this store's runs, and in those that are configured or named (-c,
    -bn). Only what belongs to ended runs of this store is deleted; never what is in use, kept on purpose, or merely
    looks like it.
    """
    if yes and dry_run:
        raise errors.UsageError("--yes and --dry-run exclude each other")
    wish = _wish(given)
    with open_context(ctx) as context:
        wiring, home = context.wiring, context.wiring.export_rooms
        places = _places(context, buckets, everywhere=given["all_compartments"])

        def rooms_in(region: str) -> Any:
            return wiring.in_region(region).export_rooms

        report = search(rooms_in, home, places, context.config.uploads)
        now = home.now()
        going = rules.chosen(report.finds, wish, now)
        shown = _Shown(context, report, going, now, connection_arguments(flags_of(ctx)))
        shown.list()
        removals: list[Removal] = []
        try:
            # With a yes also where nothing goes: the ledger then forgets what is gone already.
            if yes or (going and not dry_run and _agrees(context, going)):
                for removal in remove(rooms_in, home, report, going):
                    removals.append(removal)
                    shown.removed(removal)
        finally:
            shown.end(removals, asked=not (yes or dry_run))
    return exit_code(report, removals)


def exit_code(report: Report, removals: Sequence[Removal]) -> int:
    """What the shell is told: 0; 3 if something could not be read or deleted; its own code if nothing could."""
    bad = [one.error for one in removals if one.error] + [one.why for one in report.unread]
    if not bad:
        return 0
    if report.compartments or report.buckets or any(one.error is None for one in removals):
        return SOME_FAILED
    codes = {error.exit_code for error in bad}
    return codes.pop() if len(codes) == 1 else 1


def _wish(given: Mapping[str, Any]) -> Wish:
    older_than = None
    if given["older_than"] is not None:
        try:
            older_than = timedelta(seconds=parse_duration(given["older_than"]))
        except ValueError as error:
            raise errors.UsageError(f"--older-than: {error}") from error
    least = rules.LEAST_FOREIGN_AGE
    if given["foreign"] and older_than is not None and older_than < least:
        raise errors.UsageError(
            f"--older-than {given['older_than']} with --foreign: at least {least.days}d",
            hint="another machine's export may be that old and still run; without --foreign any age will do",
        )
    return Wish(foreign=given["foreign"], uploads=given["uploads"], older_than=older_than)


def _places(context: CliContext, buckets: Iterable[str], *, everywhere: bool) -> Places:
    oci = context.config.oci
    named = [_bucket(text, oci.namespace or "") for text in (*([oci.bucket] if oci.bucket else []), *buckets)]
    compartments = (oci.compartment_ocid,) if oci.compartment_ocid else ()
    return Places(compartments, tuple(named), everywhere)


def _bucket(text: str, namespace: str) -> ObjectRef:
    if "://" not in text:
        return ObjectRef("oci", namespace, text, "")
    ref = url.parse(text).ref
    if ref.scheme != "oci" or not ref.bucket or ref.name:
        raise errors.UsageError(f"--bucket: not a bucket: {text}", resource=text, hint="oci://namespace/bucket")
    return ref


def _agrees(context: CliContext, going: Sequence[Find]) -> bool:
    if not context.interactive:
        return False
    return click.confirm(f"delete {_counted(going)}?", err=True)


def _counted(finds: Sequence[Find]) -> str:
    size = sum(one.size or 0 for one in finds)
    return f"{len(finds)} thing{'' if len(finds) == 1 else 's'}, {format_size(size)}"


class _Shown:
    """Says what was found, what was deleted, and what to do about the rest.

    Args:
        context: of the command.
        report: what was found.
        going: what goes with a yes.
        now: for ages.
        connection: the options of the connection, for commands that are printed.
    """

    def __init__(
        self,
        context: CliContext,
        report: Report,
        going: Sequence[Find],
        now: datetime,
        connection: Sequence[str],
    ) -> None:
        self._out = context.out
        self._report = report
        self._going = {one.key for one in going}
        self._chosen = going
        self._now = now
        self._connection = shlex.join(connection)

    def list(self) -> None:
        """The table, and for each kind of ending what a person may do."""
        if self._out.as_json:
            return
        finds = sorted(self._report.finds, key=lambda one: one.standing)
        self._out.table("leftovers", [self._row(one) for one in finds], COLUMNS)
        for standing, meaning in STANDINGS.items():
            if those := [one for one in finds if one.standing == standing]:
                self._out.note(f"{meaning}: {_counted(those)}")
                for line in self._advice(those):
                    self._out.note(printable(f"  {line}"))

    def _advice(self, finds: Iterable[Find]) -> Iterable[str]:
        """Each reason once, with its commands."""
        lines: dict[str, None] = {}
        for one in finds:
            lines.setdefault(one.why)
            for each in one.commands:
                lines.setdefault(f"  {each} {self._connection}".rstrip())
        return lines

    def removed(self, removal: Removal) -> None:
        """One thing is gone, or is not."""
        find = removal.find
        if removal.error is not None:
            click.echo(printable(f"hyperexport: {removal.error}"), err=True)
        elif not self._out.as_json:
            self._out.line(printable(f"deleted {find.kind} {find.name}"))

    def end(self, removals: Sequence[Removal], *, asked: bool) -> None:
        """The last lines: whether all was read, and what is left."""
        report = self._report
        if self._out.as_json:
            self._json(removals)
        for unread in report.unread:
            click.echo(printable(f"hyperexport: not read: {unread.place}: {unread.why}"), err=True)
        for place in report.absent:
            self._out.note(printable(f"not looked at: {place}"))
        self._out.note(self._verdict(removals, asked=asked))

    def _verdict(self, removals: Sequence[Removal], *, asked: bool) -> str:
        report = self._report
        places = (
            f"{_many(report.compartments, 'compartment')} and {_many(report.buckets, 'bucket')} of "
            f"{', '.join(report.regions)}"
        )
        gone = {one.find.key for one in removals if one.error is None}
        left = [one for one in report.finds if one.key not in gone]
        deleted = f"deleted: {_counted([one.find for one in removals if one.error is None])}; " if removals else ""
        if report.unread:
            return f"{deleted}not proven: {_many(len(report.unread), 'place')} could not be read, besides {places}"
        if not left:
            return f"{deleted}nothing is left in {places}"
        if asked and not removals and self._going:
            return f"would go with --yes: {_counted(self._chosen)}; looked in {places}"
        return f"{deleted}left: {_counted(left)}; looked in {places}"

    def _row(self, find: Find) -> dict[str, Any]:
        age = None if find.created is None else self._now - find.created
        return {
            "kind": find.kind,
            "name": find.name,
            "run": find.run_id,
            "host": find.host,
            "age": None if age is None else format_age(age),
            "size": None if find.size is None else format_size(find.size),
            "standing": find.standing + (" (old)" if find.standing == FOREIGN and find.key in self._going else ""),
        }

    def _json(self, removals: Sequence[Removal]) -> None:
        report = self._report
        gone = {one.find.key for one in removals if one.error is None}
        failed = {one.find.key: one.error for one in removals if one.error is not None}
        rows = []
        for find in report.finds:
            error = failed.get(find.key)
            rows.append(
                {
                    "kind": find.kind,
                    "name": find.name,
                    "id": find.resource_id,
                    "run_id": find.run_id,
                    "host": find.host,
                    "region": find.region or None,
                    "place": find.place,
                    "size": find.size,
                    "created": moment(find.created),
                    "state": find.state or None,
                    "standing": find.standing,
                    "why": find.why,
                    "commands": list(find.commands),
                    "chosen": find.key in self._going,
                    "deleted": find.key in gone,
                    "code": error.code if error else None,
                    "error": str(error) if error else None,
                }
            )
        unread = [{"place": one.place, "code": one.why.code, "why": str(one.why)} for one in report.unread]
        self._out.json(
            {
                "leftovers": rows,
                "complete": not report.unread,
                "unread": unread,
                "absent": list(report.absent),
                "regions": list(report.regions),
                "compartments": report.compartments,
                "buckets": report.buckets,
            }
        )


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def format_age(age: timedelta) -> str:
    """An age in the one unit that fits: "45 s", "12 min", "5 h", "30 d"."""
    seconds = max(0, int(age.total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
