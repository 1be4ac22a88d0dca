"""The nouns of copying many objects: what is to be copied where, and how each one ended (design rule 6). Pure.

Whoever lists the source makes `Item`s; `copying.copy_items` gives back exactly one `Outcome` for each; a command counts
them and derives its exit code from their kinds and errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hypersdk import errors
from hypersdk.model import Checksum, ObjectInfo, ObjectRef
from hypersdk.retry import Retrier
from hypersdk.storage.protocol import ALWAYS, NO_OPTIONS, PutCondition, PutOptions, Store
from hypersdk.transfer.options import DEFAULTS, TransferOptions
from hypersdk.wire.loop import Wire

Kind = Literal["done", "skipped", "refused", "failed", "interrupted"]
"""How an item ended.

    done         it stands at its target, proven and durable
    skipped      its bytes stood there already, proven by a checksum
    refused      nothing was touched: another thing stands there, or the source cannot be read as it is
    failed       it was tried; what stood at the target is as it was
    interrupted  somebody asked to stop before it was done; the same call goes on with it
"""


@dataclass(frozen=True, slots=True)
class Item:
    """One object to copy.

    Attributes:
        source: what the source store says of it (a listing's entry will do).
        target: the address of the copy; a local one is `bucket` = root directory, `name` = path below it.
        there: what a listing found at the target; None = nothing, or nobody looked. It only saves requests: nothing
            is overwritten on its word.
    """

    source: ObjectInfo
    target: ObjectRef
    there: ObjectInfo | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one item ended.

    Attributes:
        item: which.
        kind: how.
        because: one line for people: why it was skipped or refused, what failed; empty when done.
        error: what failed or refused it; None for done and skipped.
        moved: bytes of the object that moved for it in this call; 0 when it was skipped.
        target: the copy as it stands now (size, etag, checksums; a file's path is `str(target.ref)`); None unless done
            or skipped.
        checksums: what was proven of its bytes.
    """

    item: Item
    kind: Kind
    because: str = ""
    error: errors.HypersdkError | None = None
    moved: int = 0
    target: ObjectInfo | None = None
    checksums: tuple[Checksum, ...] = ()


@dataclass(frozen=True, slots=True)
class Means:
    """What all copies of one call share.

    Attributes:
        source: where the objects are.
        target: where they go.
        wire: moves the bytes.
        retrier: policy, waiter, network monitor and refresh.
        options: how transfers are cut.
        put: metadata and content type of what is written to a cloud; conditions and checksums are set for each item.
        overwrite: replace what stands at a target with other bytes.
        journal: directory of upload journals; None = an interrupted upload is aborted.
    """

    source: Store
    target: Store
    wire: Wire
    retrier: Retrier
    options: TransferOptions = DEFAULTS
    put: PutOptions = NO_OPTIONS
    overwrite: bool = False
    journal: str | None = None

    def condition(self, there: ObjectInfo | None) -> PutCondition:
        """What the write of an item demands of its target, where a look found `there`."""
        return condition_of(there, self.target, overwrite=self.overwrite)


def condition_of(there: ObjectInfo | None, target: Store, *, overwrite: bool) -> PutCondition:
    """What a write demands of its target.

    Args:
        there: what a look found and may be replaced; nothing else may.
        target: where it is written.
        overwrite: whether anything may be replaced.
    """
    if there is not None:
        return PutCondition(if_match=there.etag or None)
    # Where nobody may look, who asked to overwrite means what cannot be seen.
    return ALWAYS if overwrite and target.capabilities.blind else PutCondition(if_absent=True)


def done(item: Item, target: ObjectInfo, checksums: tuple[Checksum, ...], moved: int) -> Outcome:
    """It stands at its target."""
    return Outcome(item, "done", moved=moved, target=target, checksums=checksums)


def skipped(item: Item, because: str, target: ObjectInfo, checksums: tuple[Checksum, ...] = ()) -> Outcome:
    """It stood there already."""
    return Outcome(item, "skipped", because, target=target, checksums=checksums)


def ended_by(item: Item, error: errors.HypersdkError, moved: int = 0) -> Outcome:
    """The outcome that an error means."""
    if isinstance(error, errors.Stopped):
        return Outcome(item, "interrupted", error.message, error, moved)
    refused = isinstance(error, errors.AlreadyExists | errors.DestinationExists | errors.PreflightRefused)
    return Outcome(item, "refused" if refused else "failed", error.message, error, moved)
