"""`hyperexport cp` from standard input and to standard output: one object, in one direction."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hypersdk import errors
from hypersdk.cli.context import CliContext
from hypersdk.cli.copying import CopyProgress
from hypersdk.cli.copyreport import STREAM, CopyReport
from hypersdk.model import ObjectInfo
from hypersdk.storage import url
from hypersdk.storage.destinations import destination
from hypersdk.storage.pinned import pinned
from hypersdk.storage.protocol import PutOptions, Store
from hypersdk.storage.sources import select
from hypersdk.transfer.copies.items import Item, Outcome, condition_of, done, ended_by
from hypersdk.wiring import Wiring

TREES = ("recursive", "include", "exclude")
"""Options that choose among many objects."""


def copy_stream(context: CliContext, given: Mapping[str, Any], put: PutOptions) -> int:
    """Copy standard input to an object, or an object to standard output.

    Args:
        context: configuration, rooms, output.
        given: the command's own options.
        put: metadata and content type of an object that is written.

    Returns:
        The exit code.

    Raises:
        UsageError: an option makes no sense with a stream.
    """
    refused = [name for name in TREES if given[name]]
    if refused:
        raise errors.UsageError(f"--{refused[0]} is for many objects, and a stream is one")
    if given["source"] == given["target"]:
        raise errors.UsageError("SRC and DST are both a stream", hint="give an address on one side")
    if given["target"] == str(STREAM):
        return _read(context, given, put)
    return _write(context, given, put)


def _read(context: CliContext, given: Mapping[str, Any], put: PutOptions) -> int:
    if context.out.as_json or given["jsonl"]:
        raise errors.UsageError("standard output carries the object, so no JSON can be printed there")
    if put.metadata or put.content_type:
        raise errors.UsageError("standard output keeps no metadata and no content type")
    wiring, address = context.wiring, url.parse(given["source"])
    progress = CopyProgress(int(address.ref.scheme != "file"))
    report = CopyReport(context, progress, str(address), str(STREAM), given, to_stdout=False)
    with report.watched(progress):
        store = wiring.store(address)
        found = select(store, address.ref, call=wiring.retrier.call)
        if found.many:
            raise errors.UsageError(f"one object is needed, this is a pattern: {address}", resource=str(address))
        info = found.entries[0].info
        if given["if_match"] and info.etag != given["if_match"]:
            raise errors.PreconditionFailed(f"{address}: its etag is {info.etag}", resource=str(address))
        report.started(1, info.size)
        item = Item(info, STREAM)
        if given["dry_run"]:
            report.note(item, None)
        else:
            report.note(item, _downloaded(item, store, progress, wiring))
    return report.end()


def _downloaded(item: Item, store: Store, progress: CopyProgress, wiring: Wiring) -> Outcome:
    from hypersdk.transfer.flows.streams import download_stream

    try:
        found = download_stream(store, item.source, sys.stdout.buffer, **wiring.moving(progress.advanced))
    except errors.HypersdkError as error:
        return ended_by(item, error, progress.counts.done)
    return done(item, ObjectInfo(STREAM, item.source.size), found, item.source.size)


def _write(context: CliContext, given: Mapping[str, Any], put: PutOptions) -> int:
    wiring, address = context.wiring, url.parse(given["target"])
    goal = destination(address.ref, many=False)
    if not goal.name:
        raise errors.UsageError(
            f"standard input has no name: {address}", resource=str(address), hint="give the name of the object"
        )
    item = Item(ObjectInfo(STREAM, 0), replace(goal.base, name=goal.base.name + goal.name))
    progress = CopyProgress(int(address.ref.scheme != "file"))
    report = CopyReport(context, progress, str(STREAM), str(address), given)
    with report.watched(progress):
        store = wiring.store(address)
        if put.metadata and not store.capabilities.metadata:
            raise errors.UsageError(f"no metadata can be kept there: {address}", resource=str(address))
        try:
            item, put = _looked_at(item, store, given, put, wiring)
        except (errors.AlreadyExists, errors.PreconditionFailed) as error:
            report.note(item, ended_by(item, error))
            return report.end()
        report.started(1, None)
        report.note(item, None) if given["dry_run"] else report.note(*_uploaded(item, store, put, progress, wiring))
    return report.end()


def _looked_at(
    item: Item, store: Store, given: Mapping[str, Any], put: PutOptions, wiring: Wiring
) -> tuple[Item, PutOptions]:
    """What stands there is found out before a byte is read: a stream that is refused late cannot be given again.

    Raises:
        AlreadyExists: an object stands there, and may not be replaced.
        PreconditionFailed: another one than the user named.
    """
    from hypersdk.transfer.uploads.sending import look

    ref, etag = item.target, given["if_match"]
    if etag:
        store = pinned(store, ref, etag)
    there = look(store, ref, wiring.retrier)
    if there is not None and not given["overwrite"] and not etag:
        raise errors.AlreadyExists(
            f"{ref} exists already", resource=str(ref), hint="choose another name, or use --overwrite"
        )
    condition = condition_of(there, store, overwrite=given["overwrite"])
    return replace(item, there=there), replace(put, condition=condition)


def _uploaded(
    item: Item, store: Store, put: PutOptions, progress: CopyProgress, wiring: Wiring
) -> tuple[Item, Outcome]:
    from hypersdk.transfer.flows.streams import upload_stream

    try:
        info = upload_stream(sys.stdin.buffer, store, item.target, put=put, **wiring.moving(progress.advanced))
    except errors.HypersdkError as error:
        return item, ended_by(item, error, progress.counts.done)
    item = replace(item, source=ObjectInfo(STREAM, info.size))
    return item, done(item, info, info.checksums, info.size)
