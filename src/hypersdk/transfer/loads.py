"""Whole small objects in memory, on their way from a source to a target.

Rules of this file: memory is bounded by a fixed number of buffers, and an object begins only when all that it needs are
free, so that none ever waits for another one's; its CRC32C is that of the bytes that were really taken.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import replace

from hypersdk import errors
from hypersdk.model import Checksum, ObjectInfo
from hypersdk.storage.local import file_errors
from hypersdk.storage.protocol import LocalRange
from hypersdk.transfer.buffers import BUFFER, Buffer
from hypersdk.transfer.checksums import agree, as_checksum, crc32c
from hypersdk.transfer.items import Item
from hypersdk.transfer.landing import Spot


class Buffers:
    """So many buffers, made when first needed; used by one thread.

    Args:
        count: how many there may be.
    """

    def __init__(self, count: int) -> None:
        self._unmade = count
        self._free: list[Buffer] = []

    def enough_for(self, size: int) -> bool:
        """Whether an object of so many bytes can begin."""
        return _needed(size) <= len(self._free) + self._unmade

    def take(self, size: int) -> list[Buffer]:
        """Buffers for an object of so many bytes; there must be enough."""
        return [self._one() for _ in range(_needed(size))]

    def give(self, buffers: list[Buffer]) -> None:
        """Back for others."""
        self._free.extend(buffers)

    def _one(self) -> Buffer:
        if self._free:
            return self._free.pop()
        assert self._unmade, "taken without asking"
        self._unmade -= 1
        return Buffer()


def _needed(size: int) -> int:
    return max(1, -(-size // BUFFER))


class Load:
    """The bytes of one item.

    Args:
        item: which.
        there: what stands at its target and is to be replaced; None = nothing is known to stand there.
        buffers: room for all its bytes.
        count: told of bytes that came over the wire.

    Attributes:
        vouched: what the service says of the bytes.
        beside: user metadata and content headers of the source, where its store has such.
        again: how often it was begun anew.
        spot: where it lands, if that is on a disk.
        digests: those of what landed there.
    """

    def __init__(
        self, item: Item, there: ObjectInfo | None, buffers: list[Buffer], count: Callable[[int], None]
    ) -> None:
        self.item = item
        self.there = there
        self.buffers = buffers
        self.vouched: tuple[Checksum, ...] = ()
        self.beside: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {})
        self.again = 0
        self.spot: Spot | None = None
        self.digests: tuple[Checksum, ...] = ()
        self.filled = 0
        self.crc = 0
        self._count = count

    def has_room_for(self, size: int) -> bool:
        """Whether its buffers hold an object of so many bytes."""
        return size <= len(self.buffers) * BUFFER

    def begin_again(self, source: ObjectInfo | None = None) -> None:
        """Forget the bytes; from now on its source is this one, if given."""
        self.again += 1
        self.clear()
        self.leave()
        if source is not None:
            self.item = replace(self.item, source=source)

    def clear(self) -> None:
        """Forget the bytes."""
        self.filled = self.crc = 0
        self.vouched = ()

    def leave(self) -> None:
        """Close the directory that it was to land in."""
        if self.spot is not None:
            os.close(self.spot.directory)
            self.spot = None

    def check(self) -> None:
        """Compare the bytes with what the service says of them.

        Raises:
            VerificationError: they are others.
        """
        mine = [as_checksum(self.crc)]
        known = {each.algorithm for each in self.vouched}
        if self.item.target.scheme != "file" and known and "crc32c" not in known:
            # A file is read back and compared by its thread; here nobody else does it.
            mine.append(self._digest(min(known)))
        agree(mine, self.vouched)

    def _digest(self, algorithm: str) -> Checksum:
        digest = hashlib.new(algorithm, usedforsecurity=False)
        for piece in self.pieces():
            with piece:
                digest.update(piece)
        return Checksum(algorithm, digest.hexdigest())

    def take(self, data: memoryview) -> None:
        """Take the next bytes; there are never more than the item's."""
        self._count(len(data))
        self.crc = crc32c(data, self.crc)
        while data:
            index, start = divmod(self.filled, BUFFER)
            count = min(len(data), BUFFER - start)
            self.buffers[index].view[start : start + count] = data[:count]
            self.filled += count
            data = data[count:]

    def give(self, offset: int, size: int) -> bytes:
        """Some bytes from an offset on, for a request's body."""
        index, start = divmod(offset, BUFFER)
        return bytes(self.buffers[index].view[start : min(start + size, start + self.filled - offset, BUFFER)])

    def pieces(self) -> list[memoryview]:
        """All bytes, as views of the buffers; to be released before these are given back."""
        whole, rest = divmod(self.filled, BUFFER)
        views = [each.view[:] for each in self.buffers[:whole]]
        return [*views, self.buffers[whole].view[:rest]] if rest else views

    def read(self, place: LocalRange) -> None:
        """Fill it from a local file.

        Raises:
            ObjectChanged: the file has another length now.
            FileError: it cannot be read.
        """
        self.clear()
        with file_errors(place.path):
            file = os.open(place.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                for buffer in self.buffers:
                    with buffer.view[: min(BUFFER, place.range.length - self.filled)] as view:
                        count = os.preadv(file, [view], place.range.start + self.filled) if view else 0
                        self.crc = crc32c(view[:count], self.crc)
                    self.filled += count
                longer = os.pread(file, 1, place.range.stop)
            finally:
                os.close(file)
        if longer or self.filled != place.range.length:
            raise errors.ObjectChanged(f"{place.path} changed while it was read", resource=place.path)
