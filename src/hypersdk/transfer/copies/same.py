"""Are the bytes of the source what stands at the target already? By size, then by checksum; never by size alone.

Rules of this file (design rule 7; field case C015): equal size proves nothing, times prove nothing; without a checksum
that both sides know the answer is "cannot tell", and the caller copies again or refuses. A local file's checksum costs
a read of it: it is read only when the sizes agree, once, with the cheapest algorithm that the other side knows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from hypersdk import errors, events
from hypersdk.model import UNKNOWN_SIZE, Checksum, ObjectInfo, format_size
from hypersdk.retry import Retrier
from hypersdk.storage.local import file_errors
from hypersdk.storage.protocol import Store
from hypersdk.transfer.checksums import MultipartMd5, new_digest, read_digests
from hypersdk.transfer.copies.items import Item, Means, Outcome, skipped
from hypersdk.transfer.options import MIB
from hypersdk.transfer.proving import COSTS, MULTIPART, noted_part_size

SHOWN_FROM = 64 * MIB
"""Reading a file of this size takes long enough to be shown."""

_BLOCK = MIB


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of two objects.

    Attributes:
        same: True or False if that is proven; None = nobody can tell.
        because: why, for people; it ends a sentence ("skipped: ...").
        proof: the checksum that both have, if one proved it.
    """

    same: bool | None
    because: str
    proof: Checksum | None = None


def compare(source: ObjectInfo, target: ObjectInfo) -> Verdict:
    """What the two descriptions alone say. Pure.

    Args:
        source: one object.
        target: the other.

    Returns:
        False for other sizes or a checksum that differs, True only for empty objects or a checksum in common.
    """
    if source.size == UNKNOWN_SIZE:
        return Verdict(same=False, because="how large the source is only its end tells")
    if source.size != target.size:
        return Verdict(
            same=False, because=f"{format_size(target.size)} stand there, {format_size(source.size)} were to be copied"
        )
    if source.size == 0:
        return Verdict(same=True, because="both are empty")
    theirs = {each.algorithm: each for each in target.checksums}
    common = [each for each in source.checksums if each.algorithm in theirs]
    for each in common:
        if each.value.lower() != theirs[each.algorithm].value.lower():
            return Verdict(same=False, because=f"equal size, other bytes ({each.algorithm} differs)")
    if common:
        return Verdict(same=True, because=f"the same size and {common[0].algorithm}", proof=common[0])
    return Verdict(same=None, because="equal size, and no checksum that both sides know")


def compare_closely(
    source: ObjectInfo, source_store: Store, target: ObjectInfo, target_store: Store, retrier: Retrier
) -> Verdict:
    """As `compare`; what the descriptions lack is asked for: of a store by a HEAD, of a local file by reading it.

    Args:
        source: one object, as its store told it, perhaps in a listing.
        source_store: its store.
        target: the other.
        target_store: its store.
        retrier: repeats the calls; its waiter is told of long reads.

    Raises:
        HypersdkError: one of the two cannot be looked at.
    """
    verdict = compare(source, target)
    if verdict.same is not None:
        return verdict
    local = (_is_local(source), _is_local(target))
    if all(local):
        return _compare_files(source, target, retrier)
    if not any(local):
        return compare(_looked_at(source, source_store, retrier), _looked_at(target, target_store, retrier))
    if local[0]:
        return _compare_with_file(_told(target, target_store, retrier), source, retrier)
    return _compare_with_file(_told(source, source_store, retrier), target, retrier)


NOT_RESTORED = frozenset({"Archived", "Restoring"})
"""Archival states whose bytes cannot be read (docs.oracle.com, "Restoring Archived Objects")."""


def expect_readable(source: ObjectInfo) -> None:
    """Refuse what no request can read.

    Raises:
        PreflightRefused: it is archived and not restored.
    """
    if source.archival_state in NOT_RESTORED:
        raise errors.PreflightRefused(
            f"{source.ref} is in the archive tier ({source.archival_state}): restore it first",
            resource=str(source.ref),
            hint="oci os object restore; it is readable about an hour later",
        )


def settle(item: Item, there: ObjectInfo, means: Means) -> Outcome | None:
    """What follows from what stands at an item's target already.

    Args:
        item: what is to be copied.
        there: what stands at its target.
        means: the two stores, and whether other bytes may be replaced.

    Returns:
        Skipped, because the same bytes stand there; None = it is to be replaced.

    Raises:
        AlreadyExists: others stand in a cloud and must not be replaced, or nobody can tell.
        DestinationExists: the same of a local file.
    """
    verdict = compare_closely(item.source, means.source, there, means.target, means.retrier)
    if verdict.same:
        return skipped(item, verdict.because, there, (verdict.proof,) if verdict.proof else ())
    if means.overwrite:
        return None
    kind = errors.DestinationExists if _is_local(there) else errors.AlreadyExists
    raise kind(
        f"{there.ref} exists already: {verdict.because}",
        resource=str(there.ref),
        hint="choose another name, or use --overwrite",
    )


def _by_cost(checksums: tuple[Checksum, ...]) -> list[Checksum]:
    known = [each for each in checksums if each.algorithm in COSTS]
    return sorted(known, key=lambda each: COSTS[each.algorithm])


def _is_local(info: ObjectInfo) -> bool:
    return info.ref.scheme == "file"


def _told(info: ObjectInfo, store: Store, retrier: Retrier) -> ObjectInfo:
    """An object with a checksum, if its store knows one: a listing tells none of objects that were put in parts."""
    return info if _by_cost(info.checksums) else _looked_at(info, store, retrier)


def _looked_at(info: ObjectInfo, store: Store, retrier: Retrier) -> ObjectInfo:
    found = retrier.call(f"look at {info.ref}", lambda: store.head(info.ref))
    if info.etag and found.etag != info.etag:
        raise errors.ObjectChanged(f"{info.ref} was replaced meanwhile", resource=str(info.ref))
    return found


def _compare_with_file(info: ObjectInfo, file: ObjectInfo, retrier: Retrier) -> Verdict:
    """Read a file for the cheapest checksum that the service knows of the object."""
    known, part_size = _by_cost(info.checksums), noted_part_size(info)
    if known:
        theirs, digest = known[0], new_digest(known[0].algorithm)
    elif part_size:
        theirs, digest = Checksum(MULTIPART, info.multipart_md5), MultipartMd5(part_size)
    else:
        return Verdict(same=None, because="equal size, and the service knows no checksum")
    with _Shown(file, retrier):
        found, _ = read_digests(str(file.ref), {theirs.algorithm: digest}, tick=_ticking(retrier))
    return compare(replace(file, checksums=found), replace(info, checksums=(theirs,)))


def _compare_files(source: ObjectInfo, target: ObjectInfo, retrier: Retrier) -> Verdict:
    tick, done = _ticking(retrier), 0
    with (
        _Shown(source, retrier),
        file_errors(str(source.ref)),
        Path(str(source.ref)).open("rb", buffering=0) as one,
        Path(str(target.ref)).open("rb", buffering=0) as other,
    ):
        while block := one.read(_BLOCK):
            if block != other.read(len(block)):
                return Verdict(same=False, because="equal size, other bytes")
            done += len(block)
            tick(done)
        if other.read(1):
            return Verdict(same=False, because="equal size, other bytes")
    return Verdict(same=True, because="same bytes")


def _ticking(retrier: Retrier) -> Callable[[int], None]:
    return lambda _done: retrier.waiter.tick()


class _Shown:
    """Says that a large file is read only to compare it."""

    def __init__(self, info: ObjectInfo, retrier: Retrier) -> None:
        self._shown = info.size >= SHOWN_FROM
        self._reason = f"reading {info.ref} ({format_size(info.size)}) to compare it"
        self._report = retrier.waiter.report

    def __enter__(self) -> None:
        if self._shown:
            self._report(events.Waiting(self._reason))

    def __exit__(self, *_: object) -> None:
        if self._shown:
            self._report(events.Waiting(None))
