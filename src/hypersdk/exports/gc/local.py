"""What is left on this machine: half-done downloads of ended runs, and journals of uploads that were cut.

Rules of this file: an unfinished run's download belongs to what it goes on with and is no find; an upload that our own
journal knows is offered for resume; a journal whose upload is no more is left over.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from hypersdk.exports.gc import rules
from hypersdk.exports.gc.known import Known
from hypersdk.exports.gc.rules import Find
from hypersdk.model import ObjectRef
from hypersdk.transfer import partial as partials
from hypersdk.transfer.uploads import uploadjournal
from hypersdk.transfer.uploads.resuming import SKEW


def cloud_ref(address: str) -> ObjectRef | None:
    """The object of an address as our journals write it; None = it is not in Object Storage, or reached by a link."""
    scheme, _, rest = address.partition("://")
    namespace, _, rest = rest.partition("/")
    bucket, _, name = rest.partition("/")
    return ObjectRef("oci", namespace, bucket, name) if scheme == "oci" and bucket else None


def local_finds(known: Known) -> Iterator[Find]:
    """Half-done downloads of ended runs; an unfinished run's belongs to what it goes on with."""
    for run_id, plan in known.plans.items():
        if known.records[run_id].unfinished:
            continue
        for target in plan.targets:
            if target.path is None:
                continue
            left = partials.unfinished(target.path, of=target.staging.name)
            if left is not None:
                yield Find(
                    rules.PARTIAL,
                    left.path,
                    run_id,
                    host=known.runs.host,
                    place=target.path,
                    size=left.size,
                    created=datetime.fromtimestamp(left.changed, UTC),
                    etag=target.staging.name,
                )


def with_journals(
    finds: Iterable[Find], cut: Sequence[uploadjournal.Stored], read_buckets: set[str], now: datetime
) -> Iterator[Find]:
    """Uploads that our own journals know can be gone on with; a journal whose upload is no more is left over."""
    met = set()
    for find in finds:
        journal = next((one for one in cut if _is_of(one, find)), None)
        if journal is None:
            yield find
            continue
        met.add(journal.path)
        yield _resumable(find, journal)
    for journal in cut:
        if journal.path not in met and not journal.busy:
            yield _lonely(journal, read_buckets, now)


def _is_of(journal: uploadjournal.Stored, find: Find) -> bool:
    contents = journal.contents
    if find.kind != rules.UPLOAD or find.run_id is not None or str(find.ref) != contents.intent.target:
        return False
    if contents.upload_id:
        return find.resource_id == contents.upload_id
    # The reply to the create was lost: the one that the next try would take for its own.
    began = datetime.fromtimestamp(contents.intent.began, UTC) - SKEW
    return find.parts == (0, 0) and (find.created is None or find.created >= began)


def _resumable(find: Find, journal: uploadjournal.Stored) -> Find:
    find = replace(find, journal=journal.path)
    if journal.busy:
        return replace(find, standing=rules.RUNNING, why="a process uploads it now")
    source = journal.contents.intent.source.path
    why = f"the same command goes on with it: {source}"
    return replace(find, standing=rules.RESUMABLE, why=why, commands=(copy_command(source, str(find.ref)),))


def copy_command(source: str, target: str) -> str:
    """The command that goes on with an upload."""
    return shlex.join(["hyperexport", "cp", source, target])


def _lonely(journal: uploadjournal.Stored, read_buckets: set[str], now: datetime) -> Find:
    intent = journal.contents.intent
    began = datetime.fromtimestamp(intent.began, UTC)
    ref = cloud_ref(intent.target)
    find = Find(
        rules.JOURNAL,
        journal.path,
        None,
        place=intent.target,
        created=began,
        journal=journal.path,
    )
    if ref is None or str(replace(ref, name="")) not in read_buckets:
        why = f"the upload to {intent.target} cannot be seen from here: another region or profile?"
        return replace(find, standing=rules.UNCLEAR, why=why)
    if now - began < rules.LISTED_AFTER:
        why = f"the upload to {intent.target} is in no list yet, or no more: look again in an hour"
        return replace(find, standing=rules.UNCLEAR, why=why)
    return replace(find, standing=rules.REMOVABLE, why=f"the upload to {intent.target} is no more")
