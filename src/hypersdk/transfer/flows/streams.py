"""Streams: bytes of unknown length become an object, an object becomes a stream of bytes in order.

Rules of this file: memory is bounded whatever the length; who gives or takes the bytes may sleep as long as it likes:
that costs no attempt, is shown, and holds up neither retries nor the stop flag; a stream cannot be read or written
twice, so what must be tried again is kept until it is acknowledged, and an interrupted one begins anew: nothing is left
of it in the store.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, count

from hypersdk import errors
from hypersdk.model import UNKNOWN_SIZE, ByteRange, Checksum, ObjectInfo, ObjectRef
from hypersdk.retry import Retrier
from hypersdk.storage.protocol import NO_OPTIONS, PutOptions, Store, Upload
from hypersdk.transfer.buffers import BUFFER, BufferPool
from hypersdk.transfer.checksums import as_checksum, crc32c_of_parts
from hypersdk.transfer.engine import Advanced, Progress, unwatched
from hypersdk.transfer.flows.growth import FIRST, Growth, growth_for
from hypersdk.transfer.flows.held import Held, InFile, InMemory
from hypersdk.transfer.flows.inflow import Inflow, Readable
from hypersdk.transfer.flows.outflow import Outflow, Writable
from hypersdk.transfer.flows.placed import place_stream
from hypersdk.transfer.flows.silence import Silence
from hypersdk.transfer.flows.wholeflow import WholeInflow, pour
from hypersdk.transfer.flows.window import Window
from hypersdk.transfer.options import DEFAULTS, MIB, TransferOptions
from hypersdk.transfer.parts import TURN, PartLoop
from hypersdk.transfer.uploads.committing import commit_checked
from hypersdk.transfer.uploads.sending import Sent, UploadPart
from hypersdk.transfer.uploads.writes import fresh_upload, put_source
from hypersdk.wire.loop import Wire

MEMORY = 40
"""Buffers of 1 MiB that the parts of a stream share: those in flight and the one that is being filled."""

BREATH = 4 * MIB
"""Bytes that are read at once before the requests in flight get their turn."""

NOT_RESUMED = "a stream cannot be resumed: nothing was written, give it again from its start"


def upload_stream(
    file: Readable,
    store: Store,
    ref: ObjectRef,
    *,
    wire: Wire,
    retrier: Retrier,
    options: TransferOptions = DEFAULTS,
    put: PutOptions = NO_OPTIONS,
    advanced: Advanced = unwatched,
) -> ObjectInfo:
    """Upload all bytes of a file object, however many they turn out to be.

    Args:
        file: open for reading bytes: a pipe, a socket's file, anything with `read`. It is not closed.
        store: where to.
        ref: the object's address.
        wire: moves the bytes.
        retrier: policy, waiter, network monitor and refresh of the run.
        options: how it is cut; parts begin with its part size or 4 MiB, whichever is less, and grow.
        put: condition, metadata and content type of the object.
        advanced: told how many bytes the service has; the total is what was read so far.

    Returns:
        The object with its CRC32C.

    Raises:
        AlreadyExists: the condition asks for absence, and the name is taken.
        FileError: the stream cannot be read.
        VerificationError: the service has other bytes than we sent.
        Stopped: asked to stop; nothing was written.
        HypersdkError: it could not be uploaded; nothing was written.
    """
    try:
        return send_stream(
            Inflow(file), store, ref, wire=wire, retrier=retrier, options=options, put=put, advanced=advanced
        )
    except (errors.Stopped, errors.PassingError) as error:
        error.hint = NOT_RESUMED
        raise


def send_stream(
    inflow: Inflow | WholeInflow,
    store: Store,
    ref: ObjectRef,
    *,
    wire: Wire,
    retrier: Retrier,
    options: TransferOptions = DEFAULTS,
    put: PutOptions = NO_OPTIONS,
    advanced: Advanced = unwatched,
) -> ObjectInfo:
    """As `upload_stream`, for bytes that flow in otherwise."""
    if store.put_request(ref, 0, put) is None:
        progress = Progress(0, 0, lambda done, _: advanced(done, done), retrier.waiter.report)
        return place_stream(inflow, store, ref, retrier=retrier, put=put, progress=progress)
    sending = _Sending(inflow, store, ref, wire=wire, retrier=retrier, options=options, advanced=advanced)
    try:
        return sending.run(put)
    finally:
        sending.close()


def download_stream(
    store: Store,
    info: ObjectInfo,
    file: Writable,
    *,
    wire: Wire,
    retrier: Retrier,
    options: TransferOptions = DEFAULTS,
    advanced: Advanced = unwatched,
) -> tuple[Checksum, ...]:
    """Write all bytes of an object to a file object, in order, read by several requests at once.

    Args:
        store: where the object is.
        info: the object, pinned by its etag.
        file: open for writing bytes: a pipe, a socket's file, anything with `write`. It is flushed, not closed.
        wire: moves the bytes.
        retrier: policy, waiter, network monitor and refresh of the run.
        options: how it is cut; a range is never larger than 2 MiB.
        advanced: told how many bytes were written.

    Returns:
        The checksums of its bytes.

    Raises:
        ObjectChanged: the object is no longer the one of `info`; what was written is of the old one.
        VerificationError: the bytes are not those that the service vouches for; the last of them were not written.
        BrokenPipeError: nobody reads any more.
        FileError: the file object cannot be written.
        Stopped: asked to stop.
        HypersdkError: a range could not be read.
    """
    outflow, waiter = Outflow(file), retrier.waiter
    sized = info.size != UNKNOWN_SIZE
    progress = Progress(
        max(info.size, 0), 0, advanced if sized else lambda done, _: advanced(done, done), waiter.report
    )
    try:
        if info.ranges:
            found = Window(store, info, outflow, retrier=retrier, progress=progress).run(wire, options)
        else:
            inflow = WholeInflow(store, info, wire, retrier)
            pour(inflow, outflow, retrier, progress)
            found = (as_checksum(inflow.crc),)
    except errors.Stopped as error:
        error.hint = "a stream cannot be resumed: read it again from its start"
        raise
    outflow.flush()
    return found


class _Sending:
    """One stream on its way into a store."""

    def __init__(
        self,
        inflow: Inflow | WholeInflow,
        store: Store,
        ref: ObjectRef,
        *,
        wire: Wire,
        retrier: Retrier,
        options: TransferOptions,
        advanced: Advanced,
    ) -> None:
        self._wire = wire
        self._options = options
        self._inflow = inflow
        self._store = store
        self._ref = ref
        self._retrier = retrier
        self._silence = Silence(retrier.waiter, f"upload {ref}: the input gives nothing")
        self._growth = _growth(store, options)
        self._pool = BufferPool(MEMORY)
        self._through = memoryview(bytearray(0))
        self._files: set[Held] = set()
        self._read = 0
        self._ended = False
        self._sent: dict[ByteRange, Sent] = {}
        self._done = 0
        self._progress = Progress(0, 0, lambda done, _: advanced(done, max(done, self._read)), retrier.waiter.report)
        self._loop: PartLoop | None = None

    def run(self, put: PutOptions) -> ObjectInfo:
        """Read it to its end and write it."""
        parts = self._parts()
        first, second = self._next(parts), self._next(parts)
        if first is None or second is None:  # it ended within its first part
            return self._put_whole(first[1] if first else None, put)
        self._expect_parts()
        with fresh_upload(self._store, self._ref, put, self._retrier) as upload:
            self._send(upload, chain((first, second), parts))
            return self._commit(upload, put)

    def close(self) -> None:
        """Let go of what is left."""
        self._silence.over()
        if self._inflow.descriptor is not None:
            self._wire.unwatch(self._inflow.descriptor)
        for held in list(self._files):
            held.free()

    def _next(self, parts: Iterator[_Numbered | None]) -> _Numbered | None:
        """The next part while nothing is in flight."""
        for part in parts:
            self._retrier.waiter.tick()
            if part is not None:
                return part
        return None

    def _parts(self) -> Iterator[_Numbered | None]:
        """The parts as they come; None = not yet."""
        for number in count(1):
            if number > self._growth.most:
                raise errors.RequestRefused(
                    f"{self._ref}: the stream is longer than {self._growth.capacity} bytes", resource=str(self._ref)
                )
            while (held := self._hold(number)) is None:
                yield None
            for _ in self._fill(held, self._growth.size(number)):
                yield None
            if held.length:
                yield number, held
            if self._ended:
                return

    def _hold(self, number: int) -> Held | None:
        """A place for a part; None = as many as there may be are in use."""
        if not (most := self._growth.files(number)):
            return InMemory(self._pool)
        if len(self._files) >= most:
            return None
        if not self._through:
            self._through = memoryview(bytearray(BUFFER))
        held = InFile(self._through)
        self._files.add(held)
        return held

    def _fill(self, held: Held, size: int) -> Iterator[None]:
        """Read a part; one step of the iterator for each time that there is nothing to read or no memory."""
        breath = 0
        while held.length < size:
            room = held.room(size - held.length)
            got = None if room is None else self._inflow.fill(room)
            if got is None:
                if room is not None:
                    self._starve()
                yield
                continue
            self._silence.over()
            if got == 0:
                self._ended = True
                return
            held.took(got)
            self._read += got
            breath += got
            if breath >= BREATH:
                breath = 0
                self._wire.hurry()
                yield

    def _starve(self) -> None:
        """There is nothing to read: what is in flight goes on, and something to read ends its wait."""
        self._silence.goes_on()
        if self._loop is None or not self._loop.busy:
            self._inflow.wait(TURN)
        elif self._inflow.descriptor is not None:
            self._wire.watch(self._inflow.descriptor)

    def _put_whole(self, held: Held | None, put: PutOptions) -> ObjectInfo:
        source = held.source() if held else InMemory(self._pool).source()
        return put_source(
            source, self._store, self._ref, wire=self._wire, retrier=self._retrier, put=put, progress=self._progress
        )

    def _expect_parts(self) -> None:
        if not self._store.capabilities.multipart:
            raise errors.UsageError(
                f"{self._ref}: takes no object in parts, so a stream of more than {self._growth.first} bytes cannot go"
                " there",
                resource=str(self._ref),
                hint="write it to a file, and copy that",
            )

    def _send(self, upload: Upload, parts: Iterator[_Numbered | None]) -> None:
        self._loop = loop = PartLoop(self._wire, self._retrier, f"upload {self._ref}", self._options.parallel)
        starts = 0

        def made(part: _Numbered | None) -> UploadPart | None:
            nonlocal starts
            if part is None:
                return None
            number, held = part
            where = ByteRange(starts, starts + held.length)
            starts = where.stop
            return UploadPart(
                self._store,
                upload,
                number,
                held.source(),
                counted=lambda size: self._progress.count(wire=size),
                done=lambda sent: self._keep(where, sent, held),
            )

        loop.run(map(made, parts), lambda: self._progress.turn(self._done + loop.moving))
        self._progress.turn(self._read)

    def _keep(self, where: ByteRange, sent: Sent, held: Held) -> None:
        self._sent[where] = sent
        self._done += where.length
        self._files.discard(held)
        held.free()

    def _commit(self, upload: Upload, put: PutOptions) -> ObjectInfo:
        return commit_checked(
            self._store,
            upload,
            [sent.part for sent in self._sent.values()],
            size=self._read,
            crc=crc32c_of_parts(((where, sent.crc) for where, sent in self._sent.items()), self._read),
            retrier=self._retrier,
            condition=put.condition,
            proven=self._store.capabilities.lists_parts and all(sent.proven for sent in self._sent.values()),
        )


_Numbered = tuple[int, Held]


def _growth(store: Store, options: TransferOptions) -> Growth:
    able = store.capabilities
    return growth_for(
        min(options.part_size, FIRST), smallest=able.min_part_size, largest=able.max_part_size, most=able.max_parts
    )
