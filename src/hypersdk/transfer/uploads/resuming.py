"""What an earlier upload has left at the service, and which of it still is what the file holds.

Rules of this file: the service's own list of parts is the truth of what is there; the bytes that stand in the file now
are the truth of what should be. A part counts if its etag is the one that our journal knows and the file's bytes still
have the CRC32C that went with it; without a line in the journal, if the service lists its MD5 and the file has it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypersdk import errors
from hypersdk.model import ByteRange, Checksum, ObjectRef
from hypersdk.storage.protocol import Part, Store, Upload
from hypersdk.transfer.checksums import as_checksum, crc32c
from hypersdk.transfer.uploads.localsource import LocalSource
from hypersdk.transfer.uploads.sending import PIECE, Sent
from hypersdk.transfer.uploads.uploadjournal import Known

SKEW = timedelta(minutes=5)
"""The service refuses requests of a clock that differs more (docs.oracle.com, "Request Signatures")."""


def find_created(store: Store, ref: ObjectRef, began: float) -> Upload | None:
    """The upload that we began without hearing of it: of exactly this name, without parts, no older than our intent.

    Args:
        store: where it would be.
        ref: the object's address.
        began: seconds since 1970.

    Returns:
        The upload; None = there is none, or we may not look (one without parts costs nothing).
    """
    oldest = datetime.fromtimestamp(began, UTC) - SKEW
    try:
        for found in store.list_multipart_uploads(ref):
            young = found.created is None or found.created >= oldest
            if found.ref.name == ref.name and young and not any(store.list_parts(found)):
                return found
    except (errors.PermissionDenied, errors.NotFoundError):
        return None
    return None


def still_good(
    source: LocalSource,
    listed: Iterable[Part],
    known: Mapping[int, Known],
    cut: Mapping[int, ByteRange],
    tick: Callable[[], None],
) -> dict[int, Sent]:
    """The listed parts that need not be sent again.

    Args:
        source: the file as it is now.
        listed: what the service has.
        known: what we remember of parts, by number.
        cut: the range of each part, by number.
        tick: called after each MiB that was read (stop flag, heartbeats).
    """
    good = {}
    for part in listed:
        wanted = cut.get(part.number)
        if wanted is None or part.size != wanted.length:
            continue
        ours = known.get(part.number)
        remembered = ours if ours and ours.etag == part.etag else None
        md5 = part.checksum if part.checksum and part.checksum.algorithm == "md5" else None
        if remembered is None and md5 is None:
            continue
        crc, found = read_through(source, wanted, tick, md5=remembered is None)
        if remembered is not None and crc == remembered.crc:
            good[part.number] = Sent(replace(part, checksum=as_checksum(crc)), crc, remembered.proven)
        elif remembered is None and found == md5:
            good[part.number] = Sent(replace(part, checksum=as_checksum(crc)), crc, proven=True)
    return good


def read_through(
    source: LocalSource, wanted: ByteRange, tick: Callable[[], None], *, md5: bool = False
) -> tuple[int, Checksum | None]:
    """CRC32C, and the MD5 if asked for, of a range of the file as it is now; a file that became shorter has others."""
    crc, digest = 0, hashlib.md5(usedforsecurity=False) if md5 else None
    body, reached = source.section(wanted), 0
    while reached < wanted.length and (piece := body.read(reached, min(PIECE, wanted.length - reached))):
        crc = crc32c(piece, crc)
        if digest:
            digest.update(piece)
        reached += len(piece)
        tick()
    return crc, Checksum("md5", digest.hexdigest()) if digest else None
