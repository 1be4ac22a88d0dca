"""Small objects on their way: what is in memory of each, and where it goes on from there.

Rules of this file: memory is a fixed number of buffers. What goes to a disk holds the buffer that is being filled and
those that are being written; what goes to another cloud holds all its bytes, and begins only when that many buffers
are free, so that none ever waits for another one's. The CRC32C is that of the bytes that were really taken.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace

from hypersdk.model import Checksum, ObjectInfo
from hypersdk.transfer.buffers import BUFFER, Buffer
from hypersdk.transfer.checksums import agree, as_checksum, crc32c
from hypersdk.transfer.copies.items import Item, Means
from hypersdk.transfer.copies.landing import Landing, Received
from hypersdk.transfer.options import MIB
from hypersdk.transfer.uploads.localsource import LocalSource
from hypersdk.wire.request import Source

LARGEST = 64 * MIB
"""Most bytes that move by one request where parts are possible: a request that is cut begins anew."""


class Buffers:
    """So many buffers, made when first needed; used by one thread.

    Args:
        count: how many there may be.
    """

    def __init__(self, count: int) -> None:
        self._unmade = count
        self._free: list[Buffer] = []

    def enough_for(self, size: int) -> bool:
        """Whether an object of so many bytes can be held."""
        return _needed(size) <= len(self._free) + self._unmade

    def take(self) -> Buffer | None:
        """One; None = none is free."""
        if self._free:
            return self._free.pop()
        if not self._unmade:
            return None
        self._unmade -= 1
        return Buffer()

    def hold(self, size: int) -> list[Buffer]:
        """Buffers for an object of so many bytes, of which there are enough."""
        return [buffer for _ in range(_needed(size)) if (buffer := self.take()) is not None]

    def give(self, buffers: list[Buffer]) -> None:
        """Back for others; the list is emptied."""
        self._free.extend(buffers)
        buffers.clear()


def _needed(size: int) -> int:
    return -(-size // BUFFER)


class Load:
    """One item on its way.

    Args:
        item: which.
        there: what stands at its target and is to be replaced; None = nothing is known to stand there.

    Attributes:
        vouched: what the service says of the bytes.
        beside: user metadata and content headers of the source, where its store has such.
        again: how often it was begun anew.
        filled: bytes that were taken so far.
        crc: their CRC32C.
        digests: those of what landed.
    """

    def __init__(self, item: Item, there: ObjectInfo | None) -> None:
        self.item = item
        self.there = there
        self.vouched: tuple[Checksum, ...] = ()
        self.beside: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {})
        self.again = 0
        self.filled = 0
        self.crc = 0
        self.digests: tuple[Checksum, ...] = ()

    def begin_again(self, source: ObjectInfo | None = None) -> None:
        """Forget the bytes; from now on its source is this one, if given."""
        self.again += 1
        self.clear()
        if source is not None:
            self.item = replace(self.item, source=source)

    def clear(self) -> None:
        """Forget the bytes."""
        self.filled = self.crc = 0
        self.vouched = ()

    def count(self, data: memoryview) -> None:
        """Count the next bytes; there are never more than the item's."""
        self.crc = crc32c(data, self.crc)
        self.filled += len(data)

    def check(self) -> None:
        """Compare the bytes with what the service says of them.

        Raises:
            VerificationError: they are others.
        """
        agree((as_checksum(self.crc),), self.vouched)

    def leave(self) -> None:
        """It ended: give back what it holds."""


class Sent(Load):
    """A local file on its way to a store: read while it is sent."""

    def __init__(self, item: Item, there: ObjectInfo | None) -> None:
        super().__init__(item, there)
        self._stack = ExitStack()
        self._file = self._stack.enter_context(LocalSource(str(item.source.ref)))

    def body(self) -> Source:
        """Its bytes, the last one only if the file has not changed."""
        return self._file.guarded()

    def leave(self) -> None:
        """Close the file."""
        self._stack.close()


class Held(Load):
    """An object on its way from store to store, all of it in memory.

    Args:
        item: which.
        there: what stands at its target.
        buffers: room for all its bytes.
        give: takes the buffers back.
    """

    def __init__(
        self, item: Item, there: ObjectInfo | None, buffers: list[Buffer], give: Callable[[list[Buffer]], None]
    ) -> None:
        super().__init__(item, there)
        self._buffers = buffers
        self._give = give

    def has_room_for(self, size: int) -> bool:
        """Whether its buffers hold so many bytes."""
        return size <= len(self._buffers) * BUFFER

    def take(self, data: memoryview) -> None:
        """Keep the next bytes."""
        at = self.filled
        self.count(data)
        while data:
            index, start = divmod(at, BUFFER)
            count = min(len(data), BUFFER - start)
            self._buffers[index].view[start : start + count] = data[:count]
            at, data = at + count, data[count:]

    def body(self) -> Source:
        """Its bytes."""
        return Source(self.filled, self._read)

    def check(self) -> None:
        """Compare the bytes with what the service says of them, by whatever it knows: they are never read again.

        Raises:
            VerificationError: they are others.
        """
        known = {each.algorithm for each in self.vouched}
        agree((self._digest(min(known)),) if known and "crc32c" not in known else (), self.vouched)
        super().check()

    def leave(self) -> None:
        """Give the buffers back."""
        self._give(self._buffers)

    def _read(self, offset: int, size: int) -> bytes:
        index, start = divmod(offset, BUFFER)
        return bytes(self._buffers[index].view[start : min(start + size, start + self.filled - offset, BUFFER)])

    def _digest(self, algorithm: str) -> Checksum:
        digest, offset = hashlib.new(algorithm, usedforsecurity=False), 0
        while offset < self.filled:
            piece = self._read(offset, BUFFER)
            digest.update(piece)
            offset += len(piece)
        return Checksum(algorithm, digest.hexdigest())


class Arriving(Load):
    """An object on its way to a disk: what fills a buffer is written while the rest comes.

    Args:
        item: which.
        there: what stands at its target.
        room: gives a free buffer; waits for it, if need be.
        write: has a full buffer written.
        give: takes buffers back.
    """

    def __init__(
        self,
        item: Item,
        there: ObjectInfo | None,
        *,
        room: Callable[[], Buffer],
        write: Callable[[Arriving, Buffer, int], None],
        give: Callable[[list[Buffer]], None],
    ) -> None:
        super().__init__(item, there)
        self.landing: Landing | None = None
        self.whole = False
        self.last: list[Buffer] = []  # the one that is being filled
        self._handed = 0
        self._room = room
        self._write = write
        self._give = give

    @property
    def rest(self) -> tuple[int, int]:
        """Offset of the bytes in `last`, and how many they are."""
        return self._handed, self.filled - self._handed

    def has_room_for(self, size: int) -> bool:
        """Whether so many bytes may come by one request; they never stand in memory all at once."""
        return size <= LARGEST

    def clear(self) -> None:
        """Forget the bytes; those that are being written go into a file that nobody will see."""
        super().clear()
        self._give(self.last)
        self._handed, self.whole = 0, False
        if self.landing is not None:
            self.landing.abandon()
            self.landing = None

    def take(self, data: memoryview) -> None:
        """Keep the next bytes, and have those written that fill a buffer."""
        at = self.filled - self._handed
        self.count(data)
        while data:
            if at == BUFFER:
                self._write(self, self.last.pop(), self._handed)
                self._handed, at = self._handed + BUFFER, 0
            if not self.last:
                self.last.append(self._room())
            count = min(len(data), BUFFER - at)
            self.last[0].view[at : at + count] = data[:count]
            at, data = at + count, data[count:]

    def leave(self) -> None:
        """Give the buffer back, and close what has no name."""
        self.clear()


def write(landing: Landing, buffer: Buffer, offset: int) -> None:
    """Write a full buffer. Runs beside the loop."""
    with buffer.view[:] as view:
        landing.write(offset, view)


def finish(load: Arriving, means: Means) -> None:
    """Write what is left of an object, prove it, name it. Runs beside the loop."""
    assert load.landing is not None
    offset, count = load.rest
    if count:
        with load.last[0].view[:count] as view:
            load.landing.write(offset, view)
    received = Received(load.filled, load.crc, load.vouched)
    load.digests = load.landing.finish(received, means.options, overwrite=means.overwrite)


def copy_file(load: Arriving, means: Means) -> None:
    """Copy a local file into its landing, prove it, name it. Runs beside the loop."""
    assert load.landing is not None
    with LocalSource(str(load.item.source.ref)) as file:
        body = file.guarded()
        while load.filled < body.length:
            data = body.read(load.filled, BUFFER)
            with memoryview(data) as view:
                load.landing.write(load.filled, view)
                load.count(view)
        received = Received(load.filled, load.crc)
        load.digests = load.landing.finish(received, means.options, overwrite=means.overwrite)
