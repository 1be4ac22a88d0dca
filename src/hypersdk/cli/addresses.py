"""From what a user writes to a store and a ref; shared by the commands that take addresses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypersdk import errors
from hypersdk.cli.context import CliContext
from hypersdk.cli.output import moment
from hypersdk.model import ObjectInfo, ObjectRef
from hypersdk.retry import Call, run_once
from hypersdk.storage import url
from hypersdk.storage.protocol import Store


@dataclass(frozen=True)
class Place:
    """A store, an address in it, and how to run one call there."""

    store: Store
    ref: ObjectRef
    call: Call


def open_place(context: CliContext, text: str) -> Place:
    """The place of an address.

    Raises:
        UsageError: no store here speaks it.
    """
    address = url.parse(text)
    if address.token or address.query:
        raise errors.UsageError(
            f"links that authorize themselves cannot be listed or changed: {address}",
            resource=str(address),
            hint=url.OCI_FORMS,
        )
    if address.ref.scheme != "oci":
        # Local files need no credentials and no retries, so none are asked for.
        return Place(context.wiring.store(address.ref), address.ref, run_once)
    ours = context.wiring.session.object_storage_url
    if address.origin and address.origin != ours:
        raise errors.UsageError(
            f"{address} is at another endpoint than ours, {ours}",
            resource=str(address),
            hint="choose it with --region or --endpoint",
        )
    return Place(context.wiring.store(address.ref), address.ref, context.wiring.retrier.call)


def row(info: ObjectInfo) -> dict[str, Any]:
    """An object as a row of a table or of JSON; a "directory" has no size and no time."""
    return {
        "url": str(info.ref),
        "name": info.ref.name,
        "prefix": info.prefix,
        "size": None if info.prefix else info.size,
        "etag": info.etag or None,
        "modified": moment(info.modified),
        "storage_tier": info.storage_tier or None,
        "archival_state": info.archival_state or None,
        "version": info.version,
        "checksums": {checksum.algorithm: checksum.value for checksum in info.checksums},
    }
