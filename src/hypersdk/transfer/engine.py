"""Ranged reads of one object: into a partial file, or only to prove what is there.

Rules of this file: every range is pinned by the object's etag, a changed object ends the transfer; bytes go from the
wire into a reused buffer of 2 MiB; a thread takes its CRC32C and writes it while the loop goes on receiving; a part
counts when its last byte was written and its CRC is in the journal; memory is bounded by the parts in flight and the
writes that wait. No file is named here. Measured: docs/decisions/0006-engine.md.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from typing import Protocol

from hypersdk import errors, events
from hypersdk.model import ByteRange, Checksum, ObjectInfo
from hypersdk.retry import Retrier
from hypersdk.storage.local import file_errors
from hypersdk.storage.protocol import LocalRange, Store
from hypersdk.transfer.buffers import Buffer, BufferPool
from hypersdk.transfer.checksums import agree, as_checksum, crc32c, crc32c_combine, crc32c_of_parts
from hypersdk.transfer.journal import Identity
from hypersdk.transfer.options import DEFAULTS, MIB, TransferOptions
from hypersdk.transfer.partial import Partial, SealedPartial
from hypersdk.transfer.parts import TURN, PartLoop
from hypersdk.transfer.ranges import gaps, split
from hypersdk.transfer.writer import Piece, Writer
from hypersdk.waiting import Waiter
from hypersdk.wire.loop import Wire
from hypersdk.wire.request import Reply

BUFFER = 2 * MIB
"""Bytes of a buffer: larger ones save no more work, smaller ones cost a wake-up of a writer each (0006-engine.md)."""

SPARE = 3
"""Buffers beyond one per request in flight: so much may wait to be written. More would take a download over https past
80 MiB (`hyperexport cp`, 16 connections, with a bar; `tests/emulated/test_web_sources.py`)."""

Advanced = Callable[[int, int], None]
"""(bytes done, bytes in all); never goes back."""


def unwatched(_done: int, _total: int) -> None:
    """Watch nothing."""


def download(
    store: Store,
    info: ObjectInfo,
    destination: str,
    *,
    wire: Wire,
    retrier: Retrier,
    options: TransferOptions = DEFAULTS,
    advanced: Advanced = unwatched,
) -> SealedPartial:
    """Fetch an object into the partial file of its destination; what earlier runs fetched is kept.

    Args:
        store: where the object is.
        info: the object, pinned by its etag.
        destination: final path; its directory must exist. Nothing appears there, see `publish`.
        wire: moves the bytes.
        retrier: policy, waiter, network monitor and refresh of the run.
        options: how it is cut.
        advanced: told how many bytes are done.

    Raises:
        ObjectChanged: the object is no longer the one of `info`.
        VerificationError: the bytes differ from the service's own checksum; they are forgotten.
        DiskFull: no room; finished parts are kept.
        Stopped: asked to stop; finished parts are kept.
        HypersdkError: a part failed for good; finished parts are kept.
    """
    identity = Identity.of(info)
    with Partial(destination, preallocate=options.preallocate) as partial:
        waiter = retrier.waiter
        partial.resume(identity, lambda _: waiter.tick())
        if not info.etag:
            partial.reset(identity)  # nothing says that what we have is of this object
        progress = Progress(info.size, sum(each.length for each in partial.verified), advanced, waiter.report)
        fetch = _Fetch(store, info, place=_FilePlace(partial), known=partial.verified, progress=progress)
        fetch.run(wire, retrier, options)
        sealed = partial.seal(lambda sync: beside(sync, waiter))
        try:
            agree(sealed.checksums, info.checksums)
        except errors.VerificationError as error:
            partial.reset(identity)
            raise _bad_bytes(info, error) from error
    return sealed


def verify_object(
    store: Store,
    info: ObjectInfo,
    *,
    wire: Wire,
    retrier: Retrier,
    options: TransferOptions = DEFAULTS,
    expected: tuple[Checksum, ...] = (),
    advanced: Advanced = unwatched,
) -> tuple[Checksum, ...]:
    """Read an object whole without keeping it.

    Args:
        store: where the object is.
        info: the object, pinned by its etag.
        wire: moves the bytes.
        retrier: policy, waiter, network monitor and refresh of the run.
        options: how it is cut.
        expected: checksums that its bytes must have, besides those that the service itself vouches for.
        advanced: told how many bytes are done.

    Returns:
        The checksums of its bytes as read.

    Raises:
        VerificationError: its bytes are not what they must be.
        ObjectChanged: the object is no longer the one of `info`.
    """
    known: dict[ByteRange, int] = {}
    progress = Progress(info.size, 0, advanced, retrier.waiter.report)
    _Fetch(store, info, place=_NoPlace(known), known=known, progress=progress).run(wire, retrier, options)
    found = (as_checksum(crc32c_of_parts(known.items(), info.size)),)
    try:
        agree(found, info.checksums)
        agree(found, expected)
    except errors.VerificationError as error:
        raise _bad_bytes(info, error) from error
    return found


class Progress:
    """Turns counters into calls that never go back.

    Args:
        total: bytes in all.
        before: bytes done by earlier runs.
        advanced: told how many bytes are done.
        report: told of bytes moved.
    """

    def __init__(self, total: int, before: int, advanced: Advanced, report: events.Reporter) -> None:
        self._total = total
        self._shown = before
        self._advanced = advanced
        self._report = report
        self._wire = 0
        self._disk = 0
        advanced(before, total)

    def count(self, *, wire: int = 0, disk: int = 0) -> None:
        """Count bytes that came or went over the wire, or were written to the disk."""
        self._wire += wire
        self._disk += disk

    def turn(self, done: int) -> None:
        """Tell the watchers, if anything is new."""
        if self._wire or self._disk:
            self._report(events.Bytes(wire=self._wire, disk=self._disk))
            self._wire = self._disk = 0
        if done > self._shown:
            self._shown = done
            self._advanced(done, self._total)


class _Place(Protocol):
    """Where the bytes of ranges go."""

    def prepare(self, wanted: ByteRange) -> bool:
        """Get ready for a range; says whether its zero blocks may be skipped."""

    def write(self, offset: int, view: memoryview, *, skip_zeros: bool) -> int:
        """Take bytes; says how many were really written. Called by the writer's threads."""

    def record(self, done: ByteRange, crc: int) -> None:
        """Note a whole range."""


class _FilePlace:
    def __init__(self, partial: Partial) -> None:
        self.prepare = partial.is_hole
        self.write = partial.write
        self.record = partial.record


class _NoPlace:
    def __init__(self, known: dict[ByteRange, int]) -> None:
        self.record = known.__setitem__

    def prepare(self, _wanted: ByteRange) -> bool:
        return True

    def write(self, _offset: int, _view: memoryview, *, skip_zeros: bool) -> int:
        del skip_zeros
        return 0


class _Fetch:
    """What the ranges of one object share.

    Args:
        store: where the object is.
        info: the object.
        place: where its bytes go.
        known: ranges that are there already.
        progress: counts.
    """

    def __init__(
        self, store: Store, info: ObjectInfo, *, place: _Place, known: dict[ByteRange, int], progress: Progress
    ) -> None:
        self.store = store
        self.info = info
        self.place = place
        self.progress = progress
        self.done = sum(each.length for each in known)
        self.received = 0
        self._unsettled = 0
        self._missing = list(gaps(info.size, known))

    def run(self, wire: Wire, retrier: Retrier, options: TransferOptions) -> None:
        """Fetch all that is missing."""
        self._parallel = options.parallel
        self._pool = BufferPool(options.parallel + SPARE, BUFFER)
        self._waiter = retrier.waiter
        self._sums: dict[int, int] = {}
        self._writer = Writer(self._write, self._pool, start)
        loop = PartLoop(wire, retrier, f"read {self.info.ref}", options.parallel)
        wanted = (part for gap in self._missing for part in split(gap, options.part_size))
        try:
            loop.run((_RangePart(self, each) for each in wanted), lambda: self._turn(loop.moving))
            while self._writer.pending:
                self._waiter.tick()
                self._turn(0, TURN)
        except errors.PreconditionFailed as error:
            raise errors.ObjectChanged(
                f"{self.info.ref} was replaced while it was read",
                resource=str(self.info.ref),
                request_id=error.request_id,
            ) from error
        finally:
            self._writer.close()
            self._note()  # whatever ended it, whole ranges are kept
        self._turn(0)

    def admit(self) -> None:
        """Let one more range begin: no more are under way than asked for, those that are being written included.

        So a kill costs no more than these; a disk that is slower than the network is waited for here.
        """
        while self._unsettled >= self._parallel:
            self._turn(0, TURN)
            self._waiter.tick()
        self._unsettled += 1

    def buffer(self) -> Buffer:
        """Free memory; a disk that is slower than the network is waited for here."""
        while (buffer := self._pool.take(TURN)) is None:
            self._writer.check()
            self._waiter.tick()
        return buffer

    def hand_over(self, piece: Piece) -> None:
        """Have a piece summed and written."""
        self._writer.put(piece)

    def _write(self, offset: int, view: memoryview, *, skip_zeros: bool) -> int:
        # In the writer's threads: `crc32c` lets go of the interpreter's lock, so that the loop goes on receiving.
        self._sums[offset] = crc32c(view)
        return self.place.write(offset, view, skip_zeros=skip_zeros)

    def _turn(self, moving: int, timeout: float | None = None) -> None:
        self._note(timeout)
        self._writer.check()
        self.progress.count(wire=self.received)
        self.received = 0
        self.progress.turn(self.done + moving)

    def _note(self, timeout: float | None = None) -> None:
        for piece, written in self._writer.done(timeout):
            self.progress.count(disk=written)
            part = piece.owner
            assert isinstance(part, _RangePart)
            part.stands(ByteRange(piece.offset, piece.offset + piece.length), self._sums.pop(piece.offset))
            if part.whole:
                self._unsettled -= 1
                self.place.record(part.wanted, part.crc)
                self.done += part.wanted.length


class _RangePart:
    """One range on its way into its place. A try goes on where the one before it stopped."""

    def __init__(self, fetch: _Fetch, wanted: ByteRange) -> None:
        self.wanted = wanted
        self._fetch = fetch
        self._buffer: Buffer | None = None
        self._view: memoryview | None = None  # that of the buffer
        self._filled = 0
        self._handed = 0
        self._standing: dict[ByteRange, int] = {}
        self._skip_zeros = False
        self._admitted = False

    @property
    def moved(self) -> int:
        """Bytes so far."""
        return self._handed + self._filled

    @property
    def left(self) -> int:
        """Bytes still to come; so many also if it is asked for again."""
        return self.wanted.length - self._handed - self._filled

    again = left

    def begin(self, wire: Wire, token: int) -> bool:
        """Ask for what is missing of the range; a local one is copied at once."""
        if not self._admitted:
            self._fetch.admit()
            self._admitted = True
        left = ByteRange(self.wanted.start + self._handed, self.wanted.stop)
        self._skip_zeros = self._fetch.place.prepare(left)
        missing = ByteRange(left.start + self._filled, left.stop)
        request = self._fetch.store.range_request(self._fetch.info, missing)
        if isinstance(request, LocalRange):
            self._copy(request)
            return False
        wire.submit(request, sink=self._take, token=token)
        return True

    def finish(self, _reply: Reply | None) -> None:
        """Hand over the rest."""
        self._flush()

    def stands(self, piece: ByteRange, crc: int) -> None:
        """Note bytes that were written, with their CRC32C."""
        self._standing[piece] = crc

    @property
    def whole(self) -> bool:
        """Whether all of its bytes were written."""
        return sum(each.length for each in self._standing) == self.wanted.length

    @property
    def crc(self) -> int:
        """CRC32C of the whole range."""
        pieces = sorted(self._standing.items(), key=lambda each: each[0].start)
        return functools.reduce(lambda crc, each: crc32c_combine(crc, each[1], each[0].length), pieces, 0)

    def _take(self, data: memoryview) -> None:
        count = len(data)
        self._fetch.received += count
        stop = self._filled + count
        if self._view is None or stop >= BUFFER:
            self._take_over(data)
            return
        self._view[self._filled : stop] = data  # nearly always: see `Exchange.on_body`
        self._filled = stop

    def _take_over(self, data: memoryview) -> None:
        """Take bytes that begin a buffer, or fill one."""
        while data:
            view = self._begin_buffer() if self._view is None else self._view
            count = min(len(data), BUFFER - self._filled)
            view[self._filled : self._filled + count] = data[:count]
            self._filled += count
            data = data[count:]
            if self._filled == BUFFER:
                self._flush()

    def _begin_buffer(self) -> memoryview:
        self._buffer = self._fetch.buffer()
        self._view = self._buffer.view
        return self._view

    def _flush(self) -> None:
        if self._buffer is None:
            return
        offset = self.wanted.start + self._handed
        piece = Piece(self, self._buffer, self._filled, offset, self._skip_zeros)
        self._handed += self._filled
        self._buffer, self._view, self._filled = None, None, 0
        self._fetch.hand_over(piece)

    def _copy(self, local: LocalRange) -> None:
        with file_errors(local.path):
            file = os.open(local.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                for piece in split(local.range, BUFFER):
                    self._buffer = self._fetch.buffer()
                    with self._buffer.view[: piece.length] as view:
                        self._filled = os.preadv(file, [view], piece.start)
                    if self._filled != piece.length:
                        raise errors.ObjectChanged(f"{local.path} became shorter", resource=local.path)
                    self._flush()
            finally:
                os.close(file)


def start(function: Callable[[], None]) -> threading.Thread:
    """Run something beside the loop, such as writes; the one place that makes the threads of transfers."""
    thread = threading.Thread(target=function, name="write", daemon=True)
    thread.start()
    return thread


def beside(function: Callable[[], None], waiter: Waiter) -> None:
    """Run something slow that cannot be interrupted in a thread, while hooks and stop flag are looked at.

    Raises:
        OSError: what the function raised.
        Stopped: asked to stop; the function is left to end by itself.
    """
    failed: list[OSError] = []

    def work() -> None:
        try:
            function()
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=work, name="sync", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(TURN)
        waiter.tick()
    if failed:
        raise failed[0]


def _bad_bytes(info: ObjectInfo, error: errors.VerificationError) -> errors.VerificationError:
    return errors.VerificationError(f"{info.ref}: {error.message}", resource=str(info.ref))
