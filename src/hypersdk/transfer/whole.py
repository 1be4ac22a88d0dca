"""An object whose server sends it only whole, from its first byte: one request, nothing to resume.

Rules of this file: every try starts at the first byte of an empty file; a size that nobody told is believed only of a
body that says where it ends (Content-Length, or chunked; RFC 9112, 6.3), never of one that ends by hanging up. The
receiving loop writes by itself: there is one connection, so nothing else waits meanwhile.
"""

from __future__ import annotations

from dataclasses import replace

from hypersdk import errors, events
from hypersdk.model import UNKNOWN_SIZE, ByteRange, ObjectInfo
from hypersdk.retry import Retrier
from hypersdk.storage.protocol import LocalRange, Store
from hypersdk.transfer.buffers import BUFFER, Buffer
from hypersdk.transfer.checksums import agree, crc32c
from hypersdk.transfer.engine import Advanced, Progress, beside, unwatched
from hypersdk.transfer.journal import Identity
from hypersdk.transfer.partial import Partial, SealedPartial
from hypersdk.transfer.parts import PartLoop
from hypersdk.wire.loop import Wire
from hypersdk.wire.request import Reply


def download_whole(
    store: Store,
    info: ObjectInfo,
    destination: str,
    *,
    wire: Wire,
    retrier: Retrier,
    advanced: Advanced = unwatched,
) -> SealedPartial:
    """Fetch an object in one piece into the partial file of its destination.

    Args:
        store: where the object is.
        info: the object; its size may be unknown.
        destination: final path; its directory must exist. Nothing appears there, see `publish`.
        wire: moves the bytes.
        retrier: policy, waiter, network monitor and refresh of the run.
        advanced: told how many bytes are done; the total is what came so far where nobody knows it.

    Raises:
        ObjectChanged: the object is no longer the one of `info`.
        VerificationError: the bytes differ from the service's own checksum.
        DiskFull: no room.
        Stopped: asked to stop.
        HypersdkError: it could not be fetched.
    """
    waiter = retrier.waiter
    waiter.report(
        events.Note(f"{info.ref}: the server sends no ranges: one connection, and an interruption starts anew")
    )
    sized = info.size != UNKNOWN_SIZE
    progress = Progress(
        max(info.size, 0), 0, advanced if sized else lambda done, _: advanced(done, done), waiter.report
    )
    with Partial(destination) as partial:
        body = _Body(store, info, partial, progress)
        loop = PartLoop(wire, retrier, f"read {info.ref}", 1)
        try:
            loop.run(iter([body]), lambda: progress.turn(body.moved))
        except errors.PreconditionFailed as error:
            raise errors.ObjectChanged(f"{info.ref} was replaced while it was read", resource=str(info.ref)) from error
        progress.turn(body.moved)
        partial.end(body.moved)
        if body.moved:
            partial.record(ByteRange(0, body.moved), body.crc)
        sealed = partial.seal(lambda sync: beside(sync, waiter))
        try:
            agree(sealed.checksums, info.checksums)
        except errors.VerificationError as error:
            raise errors.VerificationError(f"{info.ref}: {error.message}", resource=str(info.ref)) from error
    return sealed


class _Body:
    """The whole object on its way into its file."""

    def __init__(self, store: Store, info: ObjectInfo, partial: Partial, progress: Progress) -> None:
        self.crc = 0
        self._store = store
        self._info = info
        self._identity = Identity.of(replace(info, size=max(info.size, 0)))
        self._partial = partial
        self._progress = progress
        self._buffer = Buffer()
        self._filled = 0
        self._written = 0

    @property
    def moved(self) -> int:
        """Bytes so far of this try."""
        return self._written + self._filled

    def begin(self, wire: Wire, token: int) -> bool:
        """Ask for all of it, from the first byte."""
        request = self._store.range_request(self._info, None)
        assert not isinstance(request, LocalRange), "local files have ranges"
        self._partial.reset(self._identity)
        self.crc = self._filled = self._written = 0
        wire.submit(request, sink=self._take, token=token)
        return True

    def finish(self, reply: Reply) -> None:
        """Write the rest.

        Raises:
            ReplyRefused: nothing shows that this was all of it.
        """
        expect_framed(self._info, reply)
        self._flush()

    def _take(self, data: memoryview) -> None:
        self._progress.count(wire=len(data))
        while data:
            count = min(len(data), BUFFER - self._filled)
            self._buffer.view[self._filled : self._filled + count] = data[:count]
            self._filled += count
            data = data[count:]
            if self._filled == BUFFER:
                self._flush()

    def _flush(self) -> None:
        with self._buffer.view[: self._filled] as view:
            self.crc = crc32c(view, self.crc)
            self._progress.count(disk=self._partial.write(self._written, view, skip_zeros=True))
        self._written += self._filled
        self._filled = 0


def expect_framed(info: ObjectInfo, reply: Reply) -> None:
    """See that a whole body told its end: by its length, in chunks, or because the size is known.

    Raises:
        ReplyRefused: it may have been cut, and nobody could tell.
    """
    framed = "content-length" in reply.headers or "chunked" in reply.headers.get("transfer-encoding", "").lower()
    if info.size == UNKNOWN_SIZE and not framed:
        raise errors.ReplyRefused(
            f"{info.ref}: the server does not say how large it is, nor where it ends",
            resource=str(info.ref),
            hint="fetch it with another tool, then give the file",
        )
