"""A stream that ends on this machine: written once, straight into its place, and named when it is whole.

Rules of this file: there is no wire to serve, so the disk may be waited for; the CRC32C is taken on the way; whatever
ends it before the commit, nothing is left.
"""

from __future__ import annotations

import os

from hypersdk.model import ObjectInfo, ObjectRef
from hypersdk.retry import Retrier
from hypersdk.storage.local import file_errors
from hypersdk.storage.protocol import LocalPart, Part, PutOptions, Store
from hypersdk.transfer.buffers import BUFFER
from hypersdk.transfer.checksums import as_checksum, crc32c
from hypersdk.transfer.engine import Progress
from hypersdk.transfer.flows.inflow import Inflow
from hypersdk.transfer.flows.silence import Silence
from hypersdk.transfer.flows.wholeflow import WholeInflow
from hypersdk.transfer.parts import TURN
from hypersdk.transfer.uploads.committing import commit_checked
from hypersdk.transfer.uploads.writes import fresh_upload


def place_stream(
    inflow: Inflow | WholeInflow,
    store: Store,
    ref: ObjectRef,
    *,
    retrier: Retrier,
    put: PutOptions,
    progress: Progress,
) -> ObjectInfo:
    """Write all bytes of a stream into a local store.

    Args:
        inflow: gives the bytes.
        store: local: its parts are places in files.
        ref: the address.
        retrier: has the waiter.
        put: condition of the write.
        progress: counts.

    Raises:
        AlreadyExists: the condition asks for absence, and the name is taken.
        DiskFull: no room; nothing is left.
        HypersdkError: it could not be read or written; nothing is left.
    """
    with fresh_upload(store, ref, put, retrier) as upload:
        place = store.part_request(upload, 1, 0, None)
        assert isinstance(place, LocalPart), "only a local store is written to here"
        with file_errors(place.path):
            file = os.open(place.path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            size, crc = _write(inflow, file, place, retrier, progress)
        finally:
            os.close(file)
        part = Part(1, "", size, as_checksum(crc))
        return commit_checked(store, upload, [part], size=size, crc=crc, retrier=retrier, condition=put.condition)


def _write(
    inflow: Inflow | WholeInflow, file: int, place: LocalPart, retrier: Retrier, progress: Progress
) -> tuple[int, int]:
    silence = Silence(retrier.waiter, "the input gives nothing")
    size, crc, view = 0, 0, memoryview(bytearray(BUFFER))
    try:
        while (got := inflow.fill(view)) != 0:
            retrier.waiter.tick()
            if got is None:
                silence.goes_on()
                inflow.wait(TURN)
                continue
            silence.over()
            crc = crc32c(view[:got], crc)
            _put(file, view[:got], place, size)
            size += got
            progress.count(disk=got)
            progress.turn(size)
    finally:
        silence.over()
    return size, crc


def _put(file: int, view: memoryview, place: LocalPart, at: int) -> None:
    with file_errors(place.path):
        while view:
            count = os.pwrite(file, view, place.offset + at)
            view, at = view[count:], at + count
