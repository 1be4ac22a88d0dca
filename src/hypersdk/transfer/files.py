"""An object becomes a local file under its final name: fetched, read back, published."""

from __future__ import annotations

import os

from hypersdk import errors
from hypersdk.model import ObjectInfo, ObjectRef, Proof
from hypersdk.retry import Retrier
from hypersdk.storage.protocol import Store
from hypersdk.transfer.checksums import agree, file_digests
from hypersdk.transfer.engine import Advanced, download, unwatched
from hypersdk.transfer.options import DEFAULTS, TransferOptions
from hypersdk.transfer.partial import SealedPartial, discard, mark_of
from hypersdk.transfer.publish import publish, taken
from hypersdk.wire.loop import Wire

DIGESTS = ("sha256", "crc32c")
"""SHA-256 because everybody can check it, CRC32C because Object Storage and our part journal speak it."""


def fetch_file(
    store: Store,
    ref: ObjectRef,
    path: str,
    *,
    wire: Wire,
    retrier: Retrier,
    options: TransferOptions = DEFAULTS,
    advanced: Advanced = unwatched,
    overwrite: bool = False,
) -> Proof:
    """Fetch an object into a file; what an interrupted call fetched is kept for the next one.

    Args:
        store: where the object is.
        ref: its address.
        path: the final path; its directory must exist.
        wire: moves the bytes.
        retrier: policy, waiter, network monitor and refresh.
        options: how it is cut.
        advanced: told how many bytes are done.
        overwrite: replace what is there.

    Returns:
        What was proven of the file.

    Raises:
        NotFoundError: there is no such object.
        DestinationExists: the name is taken.
        ObjectChanged: the object was replaced meanwhile; the same call starts it again.
        VerificationError: the bytes are not those of the object.
        DiskFull: no room; finished parts are kept.
    """
    if not overwrite and os.path.lexists(path):
        raise taken(path)
    info = retrier.call(f"look at {ref}", lambda: store.head(ref))
    sealed = download(store, info, path, wire=wire, retrier=retrier, options=options, advanced=advanced)
    mark = mark_of(sealed.path)
    digests = file_digests(sealed.path, _algorithms(info), tick=lambda _: retrier.waiter.tick())
    agree(digests, sealed.checksums)
    try:
        agree(digests, info.checksums)
    except errors.VerificationError:
        discard(path)
        raise
    proof = Proof(sealed.size, digests, (f"{sealed.size} bytes, read back as they were received",))
    publish(SealedPartial(sealed.path, sealed.size, digests, mark), proof, path, overwrite=overwrite)
    return proof


def _algorithms(info: ObjectInfo) -> tuple[str, ...]:
    """Ours, and one of the service's if it vouches by another only: an object that was put whole has an MD5."""
    theirs = {each.algorithm for each in info.checksums}
    return DIGESTS if theirs.intersection(DIGESTS) else (*DIGESTS, *sorted(theirs)[:1])
