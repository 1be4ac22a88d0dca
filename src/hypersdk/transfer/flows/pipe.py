"""The bytes between a request that reads and one that sends them on: few, and whoever is faster pauses.

Rules of this file: what comes is never copied but once; the sums are those of the bytes that were really passed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from hypersdk.transfer.checksums import crc32c
from hypersdk.transfer.options import KIB

ROOM = 512 * KIB
"""Bytes between the two requests of a part before the source pauses."""


def _nobody() -> None:
    return


def _uncounted(_count: int) -> None:
    return


class Pipe:
    """The bytes between two requests: never more than `ROOM`, and what comes in one piece.

    Args:
        more: called when the reading side, which had to pause, has room again.
        ready: called when the sending side, which had to pause, has something to send.
        counted: told of bytes that were received and sent on.
    """

    def __init__(
        self,
        more: Callable[[], None] = _nobody,
        ready: Callable[[], None] = _nobody,
        counted: Callable[[int], None] = _uncounted,
    ) -> None:
        self.crc = 0
        self.sent = 0
        self._more = more
        self._ready = ready
        self._counted = counted
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._full = False
        self._empty = False

    def take(self, data: memoryview) -> bool:
        """Bytes that were read; False = no room yet."""
        if self._held >= ROOM:
            self._full = True
            return False
        piece = bytes(data)
        self.crc = crc32c(piece, self.crc)
        self._pieces.append(piece)
        self._held += len(piece)
        if self._empty:
            self._empty = False
            self._ready()
        return True

    def read(self, _offset: int, size: int) -> bytes | None:
        """Bytes to send; None = none yet."""
        if not self._pieces:
            self._empty = True
            return None
        given = [self._pieces.popleft()]
        length = len(given[0])
        while self._pieces and length + len(self._pieces[0]) <= size:
            given.append(self._pieces.popleft())
            length += len(given[-1])
        if length > size:
            self._pieces.appendleft(given[0][size:])
            given[0], length = given[0][:size], size
        self._held -= length
        self.sent += length
        self._counted(length)
        if self._full and self._held <= ROOM // 2:
            self._full = False
            self._more()
        return b"".join(given)
