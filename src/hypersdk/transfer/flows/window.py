"""An object's bytes in order, although many ranges are on their way at once: a bounded window over the object.

Rules of this file: a range begins only when all its memory is there, so that nothing that is on its way ever waits for
who takes the bytes: a slow reader only means that no further range begins, and no connection stands still; a range goes
on where its last try stopped; every range is pinned by the etag; what has come is written by one thread, in order,
while the loop goes on; the last range is written only if the whole has the checksum that the service vouches for.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator

from hypersdk import errors
from hypersdk.model import ByteRange, Checksum, ObjectInfo
from hypersdk.retry import Retrier
from hypersdk.storage.local import file_errors
from hypersdk.storage.protocol import LocalRange, Store
from hypersdk.transfer.buffers import BUFFER, Buffer, BufferPool
from hypersdk.transfer.checksums import agree, as_checksum, crc32c, crc32c_combine
from hypersdk.transfer.engine import Progress, start
from hypersdk.transfer.flows.outflow import InOrder, Outflow
from hypersdk.transfer.flows.silence import Silence
from hypersdk.transfer.options import MIB, TransferOptions
from hypersdk.transfer.parts import TURN, PartLoop
from hypersdk.transfer.ranges import split
from hypersdk.transfer.writer import Piece, Writer
from hypersdk.wire.loop import Wire
from hypersdk.wire.request import Reply

RANGE = 2 * MIB
"""Most bytes of a range: the window holds enough of them for 16 connections."""

MEMORY = 40
"""Buffers of 1 MiB of the window: what is on its way, and what waits for a range before it or for the reader."""


class Window:
    """One object on its way to a file object.

    Args:
        store: where the object is.
        info: the object.
        outflow: takes the bytes.
        retrier: policy, waiter, network monitor and refresh.
        progress: counts what was written.
    """

    def __init__(
        self, store: Store, info: ObjectInfo, outflow: Outflow, *, retrier: Retrier, progress: Progress
    ) -> None:
        self.store = store
        self.info = info
        self.progress = progress
        self._retrier = retrier
        self._pool = BufferPool(MEMORY)
        self._ordered: deque[_Ranged] = deque()
        self._crc = 0
        self._handed = 0
        self._written = 0
        self._silence = Silence(retrier.waiter, f"read {info.ref}: nobody takes the output")

        self._writer = Writer(InOrder(outflow), self._pool, start, threads=1)

    def run(self, wire: Wire, options: TransferOptions) -> tuple[Checksum, ...]:
        """Write it all.

        Returns:
            The checksums of what was written.
        """
        loop = PartLoop(wire, self._retrier, f"read {self.info.ref}", options.parallel)
        try:
            self._pass_on(loop, min(options.part_size, RANGE))
        except BaseException:
            self._writer.leave()
            raise
        finally:
            self._silence.over()
        self._writer.close()
        self.progress.turn(self._written)
        return (as_checksum(self._crc),)

    def _pass_on(self, loop: PartLoop, size: int) -> None:
        try:
            loop.run(self._ranges(loop, size), lambda: self._note(None))
        except errors.PreconditionFailed as error:
            raise errors.ObjectChanged(
                f"{self.info.ref} was replaced while it was read; what came out is of the old one",
                resource=str(self.info.ref),
                request_id=error.request_id,
            ) from error
        if self.info.size == 0:
            self._expect_vouched()
        while self._writer.pending:
            self._retrier.waiter.tick()
            self._note(TURN)

    def arrived(self) -> None:
        """A range is whole: hand over what can be written now, in order."""
        while self._ordered and self._ordered[0].whole:
            first = self._ordered.popleft()
            self._crc = crc32c_combine(self._crc, first.crc, first.wanted.length)
            self._handed += first.wanted.length
            if self._handed == self.info.size:
                self._expect_vouched()
            first.hand_over(self._writer)

    def _ranges(self, loop: PartLoop, size: int) -> Iterator[_Ranged | None]:
        """The ranges as there is memory for them; None = not yet."""
        for wanted in split(ByteRange(0, self.info.size), size):
            buffers: list[Buffer] = []
            while len(buffers) * BUFFER < wanted.length:
                if (buffer := self._pool.take(0)) is not None:
                    buffers.append(buffer)
                    continue
                if not loop.busy:
                    self._note(TURN)
                yield None
            self._ordered.append(_Ranged(self, wanted, buffers))
            yield self._ordered[-1]

    def _note(self, timeout: float | None) -> None:
        """Take note of what was written; waits for that if it is asked to."""
        for _, written in self._writer.done(timeout):
            self._silence.over()
            self._written += written
        self._writer.check()
        if self._writer.pending:
            self._silence.goes_on()
        self.progress.turn(self._written)

    def _expect_vouched(self) -> None:
        try:
            agree((as_checksum(self._crc),), self.info.checksums)
        except errors.VerificationError as error:
            name = str(self.info.ref)
            raise errors.VerificationError(f"{name}: {error.message}", resource=name) from error


class _Ranged:
    """One range on its way into its memory. A try goes on where the one before it stopped."""

    def __init__(self, window: Window, wanted: ByteRange, buffers: list[Buffer]) -> None:
        self.wanted = wanted
        self.crc = 0
        self._window = window
        self._buffers = buffers
        self._length = wanted.length
        self._filled = 0

    @property
    def moved(self) -> int:
        """Bytes so far."""
        return self._filled

    @property
    def left(self) -> int:
        """Bytes still to come."""
        return self._length - self._filled

    @property
    def again(self) -> int:
        """Bytes to come if it is asked for again."""
        return self.left

    @property
    def whole(self) -> bool:
        """Whether all bytes have come."""
        return self._filled == self._length

    def begin(self, wire: Wire, token: int) -> bool:
        """Ask for what is missing of the range; a local one is read at once."""
        missing = ByteRange(self.wanted.start + self._filled, self.wanted.stop)
        request = self._window.store.range_request(self._window.info, missing)
        if isinstance(request, LocalRange):
            self._copy(request)
            self._window.arrived()
            return False
        wire.submit(request, sink=self._take, token=token)
        return True

    def finish(self, _reply: Reply) -> None:
        """Write it, once all before it are written."""
        self._window.arrived()

    def hand_over(self, writer: Writer) -> None:
        """Have it written."""
        for number, buffer in enumerate(self._buffers):
            length = min(BUFFER, self.wanted.length - number * BUFFER)
            writer.put(Piece(self, buffer, length, 0, skip_zeros=False))
        self._buffers = []

    def _take(self, data: memoryview) -> None:
        self._window.progress.count(wire=len(data))
        while data:
            number, used = divmod(self._filled, BUFFER)
            count = min(len(data), BUFFER - used)
            self._buffers[number].view[used : used + count] = data[:count]
            self._filled += count
            data = data[count:]
            if used + count == BUFFER or self._filled == self._length:
                with self._buffers[number].view[: used + count] as view:
                    self.crc = crc32c(view, self.crc)

    def _copy(self, local: LocalRange) -> None:
        with file_errors(local.path):
            file = os.open(local.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                for number, piece in enumerate(split(local.range, BUFFER)):
                    with self._buffers[number].view[: piece.length] as view:
                        if os.preadv(file, [view], piece.start) != piece.length:
                            raise errors.ObjectChanged(f"{local.path} became shorter", resource=local.path)
                        self.crc = crc32c(view, self.crc)
            finally:
                os.close(file)
        self._filled = self.wanted.length
