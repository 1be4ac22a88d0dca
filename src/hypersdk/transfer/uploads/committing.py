"""The end of a multipart upload: its commit, carried out once and proven, whatever becomes of the reply.

Rules of this file: a commit whose reply was lost is looked for, not repeated blindly; the whole is compared with what
the service says; an object that is proven bad is taken back.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from hypersdk import errors
from hypersdk.model import Checksum, ObjectInfo
from hypersdk.retry import Retrier
from hypersdk.storage.protocol import ALWAYS, Part, PutCondition, Store, Upload
from hypersdk.transfer.checksums import agree, as_checksum
from hypersdk.transfer.uploads.sending import look


def commit_checked(
    store: Store,
    upload: Upload,
    parts: Sequence[Part],
    *,
    size: int,
    crc: int,
    retrier: Retrier,
    condition: PutCondition = ALWAYS,
    proven: bool = True,
) -> ObjectInfo:
    """Commit an upload and compare what stands then with what was sent.

    Args:
        store: where it goes.
        upload: the upload.
        parts: all its parts, in any order.
        size: bytes that were sent in all.
        crc: CRC32C of all these bytes.
        retrier: repeats what may be repeated.
        condition: under which the object may appear.
        proven: whether the service has checked every part; if not, it must vouch for the whole.

    Returns:
        The object.

    Raises:
        AlreadyExists: the condition asks for absence, and the name is taken by another object.
        PreconditionFailed: another object stands there than the condition names.
        NotFoundError: the upload is gone, and was not committed.
        VerificationError: the service has other bytes than were sent; the object was taken back.
    """
    ref, mine = upload.ref, as_checksum(crc)
    try:
        try:
            info = retrier.call(f"commit upload of {ref}", lambda: store.commit(upload, parts, condition))
        except errors.RequestRefused as error:
            again = _overtaken(store, upload, parts, error, retrier)
            info = retrier.call(f"commit upload of {ref}", lambda: store.commit(upload, again, condition))
            proven = False
    except (errors.NotFoundError, errors.PreconditionFailed, errors.AlreadyExists):
        # An earlier try may have been carried out although its reply was lost.
        found = look(store, ref, retrier)
        if found is None or found.size != size or mine not in found.checksums:
            raise
        info = found
    if not proven and not info.checksums:
        info = look(store, ref, retrier) or info
    try:
        _expect_same(info, size, as_checksum(crc), proven=proven)
    except errors.VerificationError:
        with suppress(errors.HypersdkError):
            store.delete(ref, if_match=info.etag or None)
        raise
    return info


def _overtaken(
    store: Store, upload: Upload, parts: Sequence[Part], error: errors.RequestRefused, retrier: Retrier
) -> list[Part]:
    """The parts as they stand, where a try that was given up arrived after the one that took its place.

    It had the same bytes, which the service's checksum of the whole then has to prove.

    Raises:
        RequestRefused: the commit was refused for another reason.
    """
    if error.service_code != "InvalidUploadPart":
        raise error
    there = retrier.call(f"list parts of {upload.ref}", lambda: list(store.list_parts(upload)))
    if {part.number: part.size for part in there} != {part.number: part.size for part in parts}:
        raise error
    return there


def _expect_same(info: ObjectInfo, size: int, mine: Checksum, *, proven: bool) -> None:
    if info.size != size:
        raise errors.VerificationError(f"{info.ref} has {info.size} bytes, sent were {size}", resource=str(info.ref))
    if agree((mine,), info.checksums) is None and not proven:
        raise errors.VerificationError(f"{info.ref}: the service vouches for no byte", resource=str(info.ref))
