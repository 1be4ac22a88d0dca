"""An object whose server sends it only whole, from its first byte, as a stream: into a store, or out in order.

Rules of this file: there is one request at a time, on a wire of its own, so that whoever takes the bytes may serve
others meanwhile; a cut one is asked for again from the first byte, and what had come before must come again, proven by
its CRC32C; the stream ends well only if the whole is what the server vouches for; little stands in memory, and who is
slow makes the server wait.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress

from hypersdk import errors, events
from hypersdk.model import ObjectInfo
from hypersdk.retry import Retrier
from hypersdk.storage.protocol import LocalRange, Store
from hypersdk.transfer.buffers import BUFFER, BufferPool
from hypersdk.transfer.checksums import agree, as_checksum, crc32c
from hypersdk.transfer.engine import Progress, start
from hypersdk.transfer.flows.outflow import InOrder, Outflow
from hypersdk.transfer.flows.silence import Silence
from hypersdk.transfer.options import MIB
from hypersdk.transfer.parts import TURN, PartLoop
from hypersdk.transfer.whole import expect_framed
from hypersdk.transfer.writer import Piece, Writer
from hypersdk.wire.loop import Wire
from hypersdk.wire.request import Reply

ROOM = MIB
"""Bytes that may wait for who takes them before the server has to wait."""

MEMORY = 8
"""Buffers of 1 MiB between the request and an output."""


class WholeInflow:
    """The bytes of an object in order; has the face of `Inflow`.

    Args:
        store: where the object is.
        info: the object; its size may be unknown.
        wire: how it is reached.
        retrier: policy, waiter, network monitor and refresh.
    """

    def __init__(self, store: Store, info: ObjectInfo, wire: Wire, retrier: Retrier) -> None:
        retrier.waiter.report(
            events.Note(f"{info.ref}: the server sends no ranges: one connection, and an interruption starts anew")
        )
        self._info = info
        self._wire = wire.twin()
        self._body = _Body(store, info, self._wire)
        self._turns = PartLoop(self._wire, retrier, f"read {info.ref}", 1).turns(iter([self._body]))
        self._ended = False

    @property
    def descriptor(self) -> int | None:
        """Can be read when there is something to do; None = it must be asked."""
        return self._wire.descriptor

    @property
    def crc(self) -> int:
        """CRC32C of what came so far."""
        return self._body.crc

    def fill(self, view: memoryview) -> int | None:
        """Read into a buffer.

        Returns:
            How many bytes; 0 = that was all, and it is what the server vouches for; None = there are none yet.

        Raises:
            ObjectChanged: the object is no longer what it was.
            VerificationError: the bytes are not those that the server vouches for.
            HypersdkError: it could not be read.
        """
        if not self._body.held and not self._ended:
            self._wire.hurry()
            self._turn()
        if count := self._body.give(view):
            return count
        return 0 if self._ended else None

    def wait(self, seconds: float) -> None:
        """Wait until there is something to read, or its end, but not long."""
        del seconds
        if not self._body.held and not self._ended:
            self._turn()

    def close(self) -> None:
        """Drop the request, if there is one."""
        self._turns.close()
        self._wire.close()

    def _turn(self) -> None:
        try:
            if next(self._turns, True) is None:
                return
        except errors.PreconditionFailed as error:
            name = str(self._info.ref)
            raise errors.ObjectChanged(f"{name} was replaced while it was read", resource=name) from error
        self._ended = True
        try:
            agree([as_checksum(self.crc)], self._info.checksums)
        except errors.VerificationError as error:
            name = str(self._info.ref)
            raise errors.VerificationError(f"{name}: {error.message}", resource=name) from error


class _Body:
    """The whole object; a try after the first passes over what came before."""

    def __init__(self, store: Store, info: ObjectInfo, wire: Wire) -> None:
        self.crc = 0
        self.held = 0
        self._store = store
        self._info = info
        self._wire = wire
        self._token = 0
        self._pieces: deque[memoryview] = deque()
        self._full = False
        self._came = 0
        self._seen = 0
        self._seen_crc = 0

    @property
    def moved(self) -> int:
        """Bytes so far."""
        return self._came

    def begin(self, wire: Wire, token: int) -> bool:
        """Ask for all of it, from the first byte."""
        request = self._store.range_request(self._info, None)
        assert not isinstance(request, LocalRange), "local files have ranges"
        self._token, self._full, self._seen, self._seen_crc = token, False, 0, 0
        wire.submit(request, sink=self._take, token=token)
        return True

    def finish(self, reply: Reply) -> None:
        """See that this was all.

        Raises:
            ReplyRefused: nothing shows that this was all of it.
            ObjectChanged: it has become shorter.
        """
        expect_framed(self._info, reply)
        if self._seen < self._came:
            raise self._changed()

    def give(self, view: memoryview) -> int:
        """Move what is there into a buffer; says how much."""
        count = 0
        while self._pieces and count < len(view):
            piece = self._pieces.popleft()
            some = min(len(piece), len(view) - count)
            view[count : count + some] = piece[:some]
            count += some
            if some < len(piece):
                self._pieces.appendleft(piece[some:])
        self.held -= count
        if self._full and self.held <= ROOM // 2:
            self._full = False
            self._wire.resume(self._token)
        return count

    def _take(self, data: memoryview) -> bool:
        if self.held >= ROOM:
            self._full = True
            return False
        if self._seen < self._came:
            data = self._pass_over(data)
        if data:
            piece = memoryview(bytes(data))
            self.crc = crc32c(piece, self.crc)
            self._pieces.append(piece)
            self.held += len(piece)
            self._came += len(piece)
            self._seen = self._came
            self._wire.hurry()
        return True

    def _pass_over(self, data: memoryview) -> memoryview:
        """Take what came before; it must be the same."""
        known = data[: self._came - self._seen]
        self._seen += len(known)
        self._seen_crc = crc32c(known, self._seen_crc)
        if self._seen == self._came and self._seen_crc != self.crc:
            raise self._changed()
        return data[len(known) :]

    def _changed(self) -> errors.ObjectChanged:
        name = str(self._info.ref)
        return errors.ObjectChanged(f"{name} was replaced while it was read", resource=name)


def pour(inflow: WholeInflow, outflow: Outflow, retrier: Retrier, progress: Progress) -> None:
    """Write all that comes, in order, while more comes.

    Raises:
        BrokenPipeError: nobody reads any more.
        HypersdkError: it could not be read or written.
    """
    waiter, pool = retrier.waiter, BufferPool(MEMORY)
    silence = Silence(waiter, "nobody takes the output")
    writer = Writer(InOrder(outflow), pool, start, threads=1)
    written = 0

    def note(timeout: float | None) -> None:
        nonlocal written
        for _, count in writer.done(timeout):
            silence.over()
            written += count
        writer.check()
        if writer.pending:
            silence.goes_on()
        progress.turn(written)
        waiter.tick()

    try:
        ended = False
        while not ended:
            while (buffer := pool.take(0)) is None:
                note(TURN)
            filled = 0
            while filled < BUFFER and not ended:
                got = inflow.fill(buffer.view[filled:])
                if got is None:
                    inflow.wait(TURN)
                    note(None)
                    continue
                filled, ended = filled + got, got == 0
                progress.count(wire=got)
            writer.put(Piece(inflow, buffer, filled, 0, skip_zeros=False))
            note(None)
        while writer.pending:
            note(TURN)
    except BaseException:
        writer.leave()
        raise
    finally:
        silence.over()
        with suppress(errors.HypersdkError):
            inflow.close()
    writer.close()
