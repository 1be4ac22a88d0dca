"""From what a user writes to a store and a ref; shared by the commands that take addresses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypersdk import errors
from hypersdk.cli.context import CliContext
from hypersdk.cli.output import moment
from hypersdk.model import UNKNOWN_SIZE, ObjectInfo, ObjectRef
from hypersdk.retry import Call, run_once
from hypersdk.storage import url
from hypersdk.storage.protocol import Store


@dataclass(frozen=True)
class Place:
    """A store, an address in it, how to run one call there, and whether it is ours in a cloud (so it has buckets)."""

    store: Store
    ref: ObjectRef
    call: Call
    ours: bool = False


def open_place(context: CliContext, text: str, *, lists: bool = False, deletes: bool = False) -> Place:
    """The place of an address.

    Args:
        context: of the command.
        text: the address as it was written.
        lists: whether objects are to be listed there.
        deletes: whether objects are to be deleted there.

    Raises:
        UsageError: it is none, it is at another endpoint of Oracle Cloud than ours, or it cannot do that.
    """
    address = url.parse(text)
    store = context.wiring.store(address)
    for wanted, able, verb in (
        (lists, store.capabilities.lists, "list"),
        (deletes, store.capabilities.deletes, "delete"),
    ):
        if wanted and not able:
            raise errors.UsageError(
                f"{address}: nobody can {verb} objects through such an address",
                resource=str(address),
                hint=f"{verb} them where they are: oci://namespace/bucket/name, with credentials",
            )
    ours = address.ref.scheme == "oci" and not address.token
    # Local files need no retries, so nobody is asked how.
    return Place(store, address.ref, run_once if address.ref.scheme == "file" else context.wiring.retrier.call, ours)


def row(info: ObjectInfo) -> dict[str, Any]:
    """An object as a row of a table or of JSON; a "directory" has no size and no time."""
    return {
        "url": str(info.ref),
        "name": info.ref.name,
        "prefix": info.prefix,
        "size": None if info.prefix or info.size == UNKNOWN_SIZE else info.size,
        "etag": info.etag or None,
        "modified": moment(info.modified),
        "storage_tier": info.storage_tier or None,
        "archival_state": info.archival_state or None,
        "version": info.version,
        "checksums": {checksum.algorithm: checksum.value for checksum in info.checksums},
    }
