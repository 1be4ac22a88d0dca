"""Bytes of a source on their way into a store: a whole object in one request, or one part of a multipart upload.

Rules of this file: a whole object carries its CRC32C, because it is seen the moment it arrives; a body of up to 1 MiB
is read once and stays in memory for all its tries, a larger one is read piece by piece for each try. A part of a
multipart upload is seen by nobody before the commit: it is read once, its CRC32C is taken on the way, and the service's
own, which its reply tells (docs.oracle.com, UploadPartResponse: opc-content-crc32c), must be the same. Nothing here
waits or repeats: `PartLoop` does.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace

from hypersdk import errors
from hypersdk.model import ObjectInfo, ObjectRef
from hypersdk.retry import Retrier
from hypersdk.storage import oci_headers
from hypersdk.storage.local import file_errors
from hypersdk.storage.protocol import LocalPart, Part, PutOptions, Store, Upload
from hypersdk.transfer.checksums import as_checksum, crc32c
from hypersdk.transfer.options import MIB
from hypersdk.wire.loop import Wire
from hypersdk.wire.request import Reply, Source

PIECE = MIB
"""Most bytes of a source that are in memory for one request."""

Counted = Callable[[int], None]
"""Told of each piece that goes over the wire, in bytes."""


class _Outgoing:
    """How far the present try of a source is; a try begins at its first byte."""

    def __init__(self, source: Source, counted: Counted) -> None:
        self._source = source
        self._counted = counted
        self._moved = 0

    @property
    def moved(self) -> int:
        """Bytes of the present try so far."""
        return self._moved

    @property
    def left(self) -> int:
        """Bytes of the present try that are still to be sent."""
        return self._source.length - self._moved

    @property
    def again(self) -> int:
        """Bytes of a new try: all of them."""
        return self._source.length

    def _count(self, offset: int, data: bytes) -> bytes:
        self._moved = offset + len(data)
        self._counted(len(data))
        return data


class PutPart(_Outgoing):
    """A whole object in one request: what `PartLoop` calls a part.

    Args:
        store: where to.
        ref: the object's address.
        source: its bytes; read again for every try.
        put: condition, metadata and content type. Its checksum, if it is a CRC32C of the source, saves a reading.
        counted: told of bytes on the wire.
        done: told of the object when it stands.
    """

    def __init__(
        self,
        store: Store,
        ref: ObjectRef,
        source: Source,
        put: PutOptions,
        *,
        counted: Counted,
        done: Callable[[ObjectInfo], None],
    ) -> None:
        super().__init__(source, counted)
        self._store = store
        self._ref = ref
        self._put = put
        self._done = done
        self._kept: bytes | None = None

    def begin(self, wire: Wire, token: int) -> bool:
        """Send the object; a local store takes it at once."""
        self._moved = 0
        self._prepare()
        request = self._store.put_request(self._ref, self._source.length, self._put)
        if request is None:
            body = self._kept if self._kept is not None else read_whole(self._source)
            self._done(self._store.put(self._ref, body, self._put))
            return False
        wire.submit(request, body=Source(self._source.length, self._read), token=token)
        return True

    def finish(self, reply: Reply) -> None:
        """Check what the service says that it stored.

        Raises:
            ReplyRefused: it stored other bytes; they were taken back, and it may be tried again.
        """
        self._done(self._store.put_reply(self._ref, self._source.length, self._put, reply))

    def landed(self, error: errors.HypersdkError, retrier: Retrier) -> bool:
        """Whether the object stands in spite of an error: an earlier try was carried out although its reply was lost.

        Args:
            error: how the last try ended. Only a condition that did not hold can mean it.
            retrier: looks.
        """
        conditional = self._put.condition.if_absent or self._put.condition.if_match
        if not conditional or not isinstance(error, errors.AlreadyExists | errors.PreconditionFailed):
            return False
        found = look(self._store, self._ref, retrier)
        if found is None or found.size != self._source.length or self._put.checksum not in found.checksums:
            return False
        if self._store.capabilities.metadata and not self._put.metadata.items() <= found.metadata.items():
            return False
        self._done(found)
        return True

    def _prepare(self) -> None:
        if self._source.length <= PIECE and self._kept is None:
            self._kept = read_whole(self._source)
        if self._store.capabilities.part_checksum != "crc32c":
            self._put = replace(self._put, checksum=None)
        elif self._put.checksum is None or self._put.checksum.algorithm != "crc32c":
            crc = crc32c(self._kept) if self._kept is not None else crc_of(self._source)
            self._put = replace(self._put, checksum=as_checksum(crc))

    def _read(self, offset: int, size: int) -> bytes:
        if self._kept is not None:
            return self._count(offset, self._kept[offset : offset + size])
        return self._count(offset, self._source.read(offset, min(size, PIECE)))


@dataclass(frozen=True, slots=True)
class Sent:
    """A part that the service has.

    Attributes:
        part: what `commit` needs of it; its checksum is the CRC32C of what was sent.
        crc: the same as a number.
        proven: whether the service has told the same CRC32C.
    """

    part: Part
    crc: int
    proven: bool


def sent_part(upload: Upload, number: int, length: int, crc: int, reply: Reply) -> Sent:
    """The part that a reply speaks of, compared with the CRC32C of what was sent.

    Raises:
        ReplyRefused: the service has other bytes than were sent; it may be tried again.
    """
    mine, told = as_checksum(crc), {each.algorithm: each for each in oci_headers.checksums(reply.headers)}
    theirs = told.get("crc32c")
    if theirs not in {None, mine}:
        raise errors.ReplyRefused(
            f"part {number} of {upload.ref}: sent was {mine}, stored is {theirs}", resource=str(upload.ref)
        )
    return Sent(Part(number, reply.headers.get("etag", ""), length, mine), crc, theirs is not None)


class UploadPart(_Outgoing):
    """One part of a multipart upload.

    Args:
        store: where to.
        upload: the upload.
        number: of the part, from 1.
        source: its bytes; read again for every try.
        counted: told of bytes on the wire.
        done: told when the service has it.
    """

    def __init__(
        self,
        store: Store,
        upload: Upload,
        number: int,
        source: Source,
        *,
        counted: Counted,
        done: Callable[[Sent], None],
    ) -> None:
        super().__init__(source, counted)
        self._store = store
        self._upload = upload
        self._number = number
        self._done = done
        self._crc = 0

    def begin(self, wire: Wire, token: int) -> bool:
        """Send the part; into a local place it is copied at once."""
        self._moved = 0
        request = self._store.part_request(self._upload, self._number, self._source.length, None)
        if isinstance(request, LocalPart):
            self._copy(request)
            part = Part(self._number, "", self._source.length, as_checksum(self._crc))
            self._done(Sent(part, self._crc, proven=True))
            return False
        wire.submit(request, body=Source(self._source.length, self._read), token=token)
        return True

    def finish(self, reply: Reply) -> None:
        """Compare the service's checksum with ours.

        Raises:
            ReplyRefused: it has other bytes than were sent; it may be tried again.
        """
        self._done(sent_part(self._upload, self._number, self._source.length, self._crc, reply))

    def _read(self, offset: int, size: int) -> bytes:
        data = self._source.read(offset, min(size, PIECE))
        # libcurl goes back only to the start, when a kept-alive connection turns out to be dead.
        self._crc = crc32c(data, self._crc if offset else 0)
        return self._count(offset, data)

    def _copy(self, place: LocalPart) -> None:
        with file_errors(place.path):
            file = os.open(place.path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                while self._moved < self._source.length:
                    data = memoryview(self._read(self._moved, self._source.length - self._moved))
                    offset = place.offset + self._moved - len(data)
                    while data:
                        count = os.pwrite(file, data, offset)
                        data, offset = data[count:], offset + count
            finally:
                os.close(file)


def read_whole(source: Source) -> bytes:
    """All bytes of a source.

    Raises:
        FileError: it is shorter than it said.
    """
    pieces, reached = [], 0
    while reached < source.length:
        pieces.append(_piece(source, reached))
        reached += len(pieces[-1])
    return b"".join(pieces)


def crc_of(source: Source) -> int:
    """CRC32C of all bytes of a source.

    Raises:
        FileError: it is shorter than it said.
    """
    crc, reached = 0, 0
    while reached < source.length:
        piece = _piece(source, reached)
        crc, reached = crc32c(piece, crc), reached + len(piece)
    return crc


def look(store: Store, ref: ObjectRef, retrier: Retrier) -> ObjectInfo | None:
    """The object of a name, if there is one, or if we may see it."""
    try:
        return retrier.call(f"look at {ref}", lambda: store.head(ref))
    except errors.NotFoundError:
        return None
    except errors.AuthError:
        if store.capabilities.blind:
            return None
        raise


def _piece(source: Source, offset: int) -> bytes:
    piece = source.read(offset, min(PIECE, source.length - offset))
    if not piece:
        raise errors.FileError(f"the source ends at byte {offset} of {source.length}")
    return piece
