"""What goes with an object's bytes when it is copied. Pure."""

from __future__ import annotations

from dataclasses import replace

from hypersdk.model import ObjectInfo
from hypersdk.storage.oci_headers import PART_SIZE
from hypersdk.storage.protocol import PutOptions


def carried(info: ObjectInfo, put: PutOptions) -> PutOptions:
    """What goes with a copy: what stands with its source, unless `put` says otherwise."""
    metadata = {name: value for name, value in info.metadata.items() if name != PART_SIZE}
    return replace(put, metadata={**metadata, **put.metadata}, headers={**info.headers, **put.headers})
