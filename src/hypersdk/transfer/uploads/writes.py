"""The two ways in which an object is written by who cannot go on later: one request, or an upload that ends with us.

Rules of this file: an upload whose create was answered into the void is found before another is begun; whatever ends
the block, an upload that was not committed is dropped, because its parts cost money unseen; if even that fails, the
error says what is left and how to drop it. One whose lease was lost belongs to another process: it is not touched.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hypersdk import errors
from hypersdk.model import ObjectInfo, ObjectRef
from hypersdk.retry import Retrier
from hypersdk.storage.protocol import PutOptions, Store, Upload
from hypersdk.transfer.parts import PartLoop
from hypersdk.transfer.uploads.lasting import abort, create, kept
from hypersdk.transfer.uploads.sending import PutPart
from hypersdk.wire.loop import Wire
from hypersdk.wire.request import Source

if TYPE_CHECKING:
    from hypersdk.transfer.engine import Progress


def put_source(
    source: Source, store: Store, ref: ObjectRef, *, wire: Wire, retrier: Retrier, put: PutOptions, progress: Progress
) -> ObjectInfo:
    """Write a whole object by one request, whose bytes the service checks.

    Raises:
        HypersdkError: it could not be written.
    """
    made: list[ObjectInfo] = []
    part = PutPart(store, ref, source, put, counted=lambda size: progress.count(wire=size), done=made.append)
    loop = PartLoop(wire, retrier, f"write {ref}", 1)
    try:
        loop.run(iter([part]), lambda: progress.turn(loop.moving))
    except (errors.AlreadyExists, errors.PreconditionFailed) as error:
        if not part.landed(error, retrier):
            raise
    progress.turn(source.length)
    return made[0]


@contextmanager
def fresh_upload(
    store: Store, ref: ObjectRef, put: PutOptions, retrier: Retrier, now: Callable[[], float] = time.time
) -> Iterator[Upload]:
    """A new multipart upload; it is dropped if the block ends by an exception.

    Args:
        store: where.
        ref: the object's address.
        put: condition, metadata and headers of the object.
        retrier: repeats what may be repeated.
        now: seconds since 1970.

    Raises:
        HypersdkError: it could not be begun, or what ended the block; `__notes__` say if it could not be dropped.
    """
    upload = create(store, ref, put, retrier, now())
    try:
        yield upload
    except errors.LeaseLost:
        raise
    except BaseException as error:
        if not abort(store, upload):
            error.add_note(kept(upload, "0", 0, resumable=False))
        raise
