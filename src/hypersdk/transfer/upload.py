"""A local file becomes an object: parts with their CRC32C, committed only if the source stood still.

Rules of this file: each part carries its CRC32C where the service checks it, and the whole is compared with what the
service says after the commit; a source that changes meanwhile is noticed and never committed; a commit whose reply was
lost is looked for, not repeated blindly; an upload that fails is aborted, because unfinished parts cost money unseen
(unless the lease was lost: then it belongs to another process). Memory holds one piece per part in flight.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress

from hypersdk import errors
from hypersdk.model import ByteRange, ObjectInfo, ObjectRef
from hypersdk.retry import Retrier
from hypersdk.storage.local import file_errors
from hypersdk.storage.protocol import NO_OPTIONS, LocalPart, Part, PutOptions, Store, Upload
from hypersdk.transfer.checksums import agree, as_checksum, crc32c, crc32c_of_parts
from hypersdk.transfer.engine import Advanced, Progress, unwatched
from hypersdk.transfer.options import DEFAULTS, MIB, TransferOptions
from hypersdk.transfer.parts import PartLoop
from hypersdk.transfer.ranges import part_size_for, split
from hypersdk.wire.loop import Wire
from hypersdk.wire.request import Reply, Source

PIECE = MIB


def _unrecorded(_upload: Upload) -> None:
    return


def upload(
    path: str,
    store: Store,
    ref: ObjectRef,
    *,
    wire: Wire,
    retrier: Retrier,
    options: TransferOptions = DEFAULTS,
    put: PutOptions = NO_OPTIONS,
    created: Callable[[Upload], None] = _unrecorded,
    advanced: Advanced = unwatched,
) -> ObjectInfo:
    """Upload a file.

    Args:
        path: the file; it must not change meanwhile.
        store: where to.
        ref: the object's address.
        wire: moves the bytes.
        retrier: policy, waiter, network monitor and refresh of the run.
        options: how it is cut.
        put: condition, metadata and content type of the object.
        created: told of the multipart upload before its first part is sent, so that it can be recorded.
        advanced: told how many bytes are done.

    Returns:
        The committed object with its CRC32C.

    Raises:
        AlreadyExists: the condition asks for absence, and the name is taken.
        FileError: the file cannot be read, or changed meanwhile.
        VerificationError: the service has other bytes than we sent.
        HypersdkError: a part failed for good; the upload was aborted.
    """
    with file_errors(path):
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        sending = _Sending(file, path, store, ref)
        if sending.size == 0:
            return retrier.call(f"write {ref}", lambda: store.put(ref, b"", put))
        begun = retrier.call(f"begin upload of {ref}", lambda: store.create_multipart_upload(ref, put))
        try:
            created(begun)
            return sending.run(begun, wire, retrier, options=options, put=put, advanced=advanced)
        except errors.LeaseLost:
            raise
        except BaseException:
            with suppress(errors.HypersdkError):
                store.abort(begun)
            raise
    finally:
        os.close(file)


class _Sending:
    """What the parts of one upload share."""

    def __init__(self, file: int, path: str, store: Store, ref: ObjectRef) -> None:
        self.file = file
        self.path = path
        self.store = store
        self.parts: dict[ByteRange, tuple[Part, int]] = {}
        self._ref = ref
        self._facts = os.fstat(file)
        self.size = self._facts.st_size
        if not stat.S_ISREG(self._facts.st_mode):
            raise errors.FileError(f"not a file: {path}", resource=path)

    def run(
        self,
        begun: Upload,
        wire: Wire,
        retrier: Retrier,
        *,
        options: TransferOptions,
        put: PutOptions,
        advanced: Advanced,
    ) -> ObjectInfo:
        """Send all parts and commit them."""
        able = self.store.capabilities
        part_size = part_size_for(
            self.size,
            options.part_size,
            smallest=able.min_part_size,
            largest=able.max_part_size,
            max_parts=able.max_parts,
        )
        progress = Progress(self.size, 0, advanced, retrier.waiter.report)
        loop = PartLoop(wire, retrier, f"upload {self._ref}", options.parallel)
        parts = enumerate(split(ByteRange(0, self.size), part_size), 1)
        loop.run(
            (_UploadPart(self, begun, number, wanted, progress) for number, wanted in parts),
            lambda: progress.turn(self._done() + loop.moving),
        )
        progress.turn(self.size)
        self._expect_unchanged()
        return self._commit(begun, retrier, put)

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of the source; fewer only at its end."""
        with file_errors(self.path):
            return os.pread(self.file, size, offset)

    def crc_of(self, wanted: ByteRange) -> int:
        """CRC32C of a range of the source."""
        crc = 0
        for piece in split(wanted, PIECE):
            crc = crc32c(self.read(piece.start, piece.length), crc)
        return crc

    def _done(self) -> int:
        return sum(each.length for each in self.parts)

    def _expect_unchanged(self) -> None:
        now, then = os.fstat(self.file), self._facts
        if (now.st_size, now.st_mtime_ns) != (then.st_size, then.st_mtime_ns):
            raise errors.FileError(
                f"{self.path} changed while it was uploaded; nothing was committed",
                resource=self.path,
                hint="upload it again once nobody writes to it",
            )

    def _commit(self, begun: Upload, retrier: Retrier, put: PutOptions) -> ObjectInfo:
        parts = [part for part, _ in self.parts.values()]
        mine = as_checksum(crc32c_of_parts(((where, crc) for where, (_, crc) in self.parts.items()), self.size))
        try:
            info = retrier.call(f"commit upload of {self._ref}", lambda: self.store.commit(begun, parts, put.condition))
        except (errors.NotFoundError, errors.PreconditionFailed, errors.AlreadyExists):
            # An earlier try may have been carried out although its reply was lost.
            found = self._committed(retrier)
            if found is None or found.size != self.size or mine not in found.checksums:
                raise
            info = found
        if info.size != self.size:
            raise errors.VerificationError(f"{self._ref} has {info.size} bytes, sent were {self.size}")
        try:
            agree((mine,), info.checksums)
        except errors.VerificationError:
            with suppress(errors.HypersdkError):
                self.store.delete(self._ref, if_match=info.etag or None)
            raise
        return info

    def _committed(self, retrier: Retrier) -> ObjectInfo | None:
        """The object of our name, if there is one."""
        try:
            return retrier.call(f"look at {self._ref}", lambda: self.store.head(self._ref))
        except errors.NotFoundError:
            return None


class _UploadPart:
    """One part on its way out of the file."""

    def __init__(self, sending: _Sending, begun: Upload, number: int, wanted: ByteRange, progress: Progress) -> None:
        self._sending = sending
        self._begun = begun
        self._number = number
        self._wanted = wanted
        self._progress = progress
        self._crc = 0
        self._moved = 0

    @property
    def moved(self) -> int:
        """Bytes of the present try so far."""
        return self._moved

    def begin(self, wire: Wire, token: int) -> bool:
        """Send the part; into a local place it is copied at once."""
        self._moved = 0
        self._crc = self._sending.crc_of(self._wanted)
        store = self._sending.store
        checksum = as_checksum(self._crc) if store.capabilities.part_checksum == "crc32c" else None
        request = store.part_request(self._begun, self._number, self._wanted.length, checksum)
        if isinstance(request, LocalPart):
            self._copy(request)
            self._note("")
            return False
        wire.submit(request, body=Source(self._wanted.length, self._read), token=token)
        return True

    def finish(self, reply: Reply) -> None:
        """Note what the service calls the part."""
        self._note(reply.headers.get("etag", ""))

    def _note(self, etag: str) -> None:
        part = Part(self._number, etag, self._wanted.length, as_checksum(self._crc))
        self._sending.parts[self._wanted] = (part, self._crc)

    def _read(self, offset: int, size: int) -> bytes:
        data = self._sending.read(self._wanted.start + offset, min(size, PIECE))
        self._moved = offset + len(data)
        self._progress.count(wire=len(data))
        return data

    def _copy(self, place: LocalPart) -> None:
        with file_errors(place.path):
            file = os.open(place.path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                for piece in split(self._wanted, PIECE):
                    data = memoryview(self._sending.read(piece.start, piece.length))
                    offset = place.offset + piece.start - self._wanted.start
                    while data:
                        count = os.pwrite(file, data, offset)
                        self._progress.count(disk=count)
                        data, offset = data[count:], offset + count
            finally:
                os.close(file)
