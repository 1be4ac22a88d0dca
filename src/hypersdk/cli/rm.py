"""`hyperexport rm`: delete objects, after saying what and asking."""

from __future__ import annotations

from collections.abc import Sequence

import click

from hypersdk import errors
from hypersdk.cli.addresses import Place, open_place
from hypersdk.cli.context import CliContext, open_context
from hypersdk.cli.options import connection_options, output_options
from hypersdk.cli.output import printable
from hypersdk.model import ObjectInfo, format_size
from hypersdk.storage.tree import require_object, under

SOME_FAILED = 3


@click.command()
@click.argument("url")
@click.option("-r", "--recursive", is_flag=True, help="The object and every object under it.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@connection_options()
@output_options
@click.pass_context
def command(ctx: click.Context, url: str, recursive: bool, yes: bool) -> int:
    """Delete the object at URL.

    Only what was listed before the question is deleted: an object that was replaced since then is spared. In a
    versioned bucket the older versions stay.
    """
    with open_context(ctx) as context:
        place = open_place(context, url, lists=recursive, deletes=True)
        meant = _meant(place, recursive=recursive)
        if not yes:
            _ask(context, place, meant)
        deleted, failed = _delete(place, meant)
        _tell(context, deleted, failed)
        if not failed:
            return 0
        return SOME_FAILED if len(meant) > 1 else failed[0][1].exit_code


def _meant(place: Place, *, recursive: bool) -> Sequence[ObjectInfo]:
    if not recursive:
        return [require_object(place.store, place.ref, place.call)]
    # The whole listing first: nothing is deleted on the strength of half of one.
    meant = list(under(place.store, place.ref, recursive=True, call=place.call))
    if not meant:
        raise errors.NotFoundError(f"nothing at {place.ref}", resource=str(place.ref))
    return meant


def _ask(context: CliContext, place: Place, meant: Sequence[ObjectInfo]) -> None:
    size = format_size(sum(info.size for info in meant))
    what = "1 object" if len(meant) == 1 else f"{len(meant)} objects"
    question = printable(f"delete {what}, {size}, at {place.ref}?")
    if not context.interactive:
        raise errors.UsageError(question, resource=str(place.ref), hint="nobody can answer here: say --yes")
    if not click.confirm(question, err=True):
        raise click.Abort


def _delete(
    place: Place, meant: Sequence[ObjectInfo]
) -> tuple[list[ObjectInfo], list[tuple[ObjectInfo, errors.HypersdkError]]]:
    deleted: list[ObjectInfo] = []
    failed: list[tuple[ObjectInfo, errors.HypersdkError]] = []
    for info in meant:
        try:
            _delete_one(place, info)
        except (errors.AuthError, errors.Stopped) as error:
            # None of the rest can fare better; what is gone already must still be said.
            gone = f"{len(deleted)} of {len(meant)} objects are deleted"
            error.hint = f"{error.hint}; {gone}" if error.hint else gone
            raise
        except errors.HypersdkError as error:
            failed.append((info, error))
        else:
            deleted.append(info)
    return deleted, failed


def _delete_one(place: Place, info: ObjectInfo) -> None:
    place.call("delete object", lambda: place.store.delete(info.ref, if_match=info.etag or None))


def _tell(
    context: CliContext, deleted: Sequence[ObjectInfo], failed: Sequence[tuple[ObjectInfo, errors.HypersdkError]]
) -> None:
    for _info, error in failed:
        click.echo(printable(f"hyperexport: {error}"), err=True)
    if context.out.as_json:
        reasons = [{"url": str(info.ref), "code": error.code, "error": str(error)} for info, error in failed]
        context.out.json({"deleted": [str(info.ref) for info in deleted], "failed": reasons})
        return
    for info in deleted:
        context.out.line(printable(f"deleted {info.ref}"))
