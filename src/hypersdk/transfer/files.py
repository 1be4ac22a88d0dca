"""An object becomes a local file under its final name: fetched, proven, published."""

from __future__ import annotations

import os

from hypersdk import errors, events
from hypersdk.model import ObjectRef, Proof
from hypersdk.retry import Retrier
from hypersdk.storage.protocol import Store
from hypersdk.transfer.checksums import new_digest
from hypersdk.transfer.engine import Advanced, download, unwatched
from hypersdk.transfer.options import DEFAULTS, TransferOptions
from hypersdk.transfer.partial import SealedPartial, discard, sweep
from hypersdk.transfer.proving import prove
from hypersdk.transfer.publish import publish, taken
from hypersdk.transfer.whole import download_whole
from hypersdk.wire.loop import Wire


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

    An object that is replaced meanwhile is started again once, from the beginning.

    Args:
        store: where the object is.
        ref: its address.
        path: the final path; its directory must exist.
        wire: moves the bytes.
        retrier: policy, waiter, network monitor and refresh.
        options: how it is cut and proven.
        advanced: told how many bytes are done.
        overwrite: replace what is there.

    Returns:
        What was proven of the file.

    Raises:
        NotFoundError: there is no such object.
        DestinationExists: the name is taken.
        ObjectChanged: the object was replaced meanwhile, twice.
        VerificationError: the bytes are not those of the object; they are forgotten.
        DiskFull: no room; finished parts are kept.
        ToolMissing: the package of a digest is not installed.
    """
    for name in options.digests:
        new_digest(name)  # what is not installed is told now, not after hours
    if not overwrite and os.path.lexists(path):
        sweep(path)
        raise taken(path)

    def fetch() -> tuple[SealedPartial, Proof]:
        info = retrier.call(f"look at {ref}", lambda: store.head(ref))
        if info.ranges:
            sealed = download(store, info, path, wire=wire, retrier=retrier, options=options, advanced=advanced)
        else:
            sealed = download_whole(store, info, path, wire=wire, retrier=retrier, advanced=advanced)
        try:
            return sealed, prove(sealed, info, options, lambda _: retrier.waiter.tick())
        except errors.VerificationError:
            discard(path)
            raise

    try:
        sealed, proof = fetch()
    except errors.ObjectChanged as error:
        retrier.waiter.report(events.Note(f"{error.message}: started again from the beginning"))
        sealed, proof = fetch()
    publish(sealed, proof, path, overwrite=overwrite)
    return proof
