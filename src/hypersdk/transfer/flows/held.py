"""The bytes of one part of a stream until the service has them: in buffers that are used again, or in a nameless file.

Rules of this file: a stream cannot be read twice, so every byte is kept until it is acknowledged; memory is that of the
pool and no more; a file has no name, so nothing is left of it whatever ends this process.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Protocol

from hypersdk import errors
from hypersdk.storage.local import file_errors
from hypersdk.transfer.buffers import BUFFER, Buffer, BufferPool
from hypersdk.wire.request import Source

ON_DISK = "/var/tmp"  # noqa: S108 - only nameless files are made there
"""For larger files than /tmp should hold, which is memory on many systems (file-hierarchy(7))."""


class Held(Protocol):
    """The bytes of one part."""

    length: int
    """How many there are so far."""

    def room(self, wanted: int) -> memoryview | None:
        """Where up to `wanted` more bytes may be put; None = there is no memory now."""

    def took(self, count: int) -> None:
        """So many bytes were put there."""

    def source(self) -> Source:
        """All bytes, as often as needed."""

    def free(self) -> None:
        """They are not needed any more."""


class InMemory:
    """Bytes in buffers.

    Args:
        pool: where the buffers come from.
    """

    def __init__(self, pool: BufferPool) -> None:
        self.length = 0
        self._pool = pool
        self._buffers: list[Buffer] = []

    def room(self, wanted: int) -> memoryview | None:
        """Where up to `wanted` more bytes may be put; None = there is no memory now."""
        used = self.length - (len(self._buffers) - 1) * BUFFER if self._buffers else BUFFER
        if used == BUFFER:
            buffer = self._pool.take(0)
            if buffer is None:
                return None
            self._buffers.append(buffer)
            used = 0
        return self._buffers[-1].view[used : used + wanted]

    def took(self, count: int) -> None:
        """So many bytes were put there."""
        self.length += count

    def source(self) -> Source:
        """All bytes, as often as needed."""
        return Source(self.length, self._read)

    def free(self) -> None:
        """Give the buffers back."""
        for buffer in self._buffers:
            self._pool.give(buffer)
        self._buffers.clear()

    def _read(self, offset: int, size: int) -> bytes:
        number, start = divmod(offset, BUFFER)
        return bytes(self._buffers[number].view[start : min(start + size, self.length - number * BUFFER)])


class InFile:
    """Bytes in a file without a name.

    Args:
        through: a buffer that bytes pass through, shared by all such files: only one is written at a time.

    Raises:
        FileError: no file can be made.
    """

    def __init__(self, through: memoryview) -> None:
        self.length = 0
        self._through = through
        self._place = directory()
        with file_errors(self._place):
            self._file = tempfile.TemporaryFile(dir=self._place, buffering=0)  # noqa: SIM115 - closed by `free`

    def room(self, wanted: int) -> memoryview | None:
        """Where up to `wanted` more bytes may be put."""
        return self._through[:wanted]

    def took(self, count: int) -> None:
        """So many bytes were put there.

        Raises:
            DiskFull: no room.
        """
        try:
            with file_errors(self._place):
                done = 0
                while done < count:
                    done += os.pwrite(self._file.fileno(), self._through[done:count], self.length + done)
        except errors.DiskFull as error:
            error.hint = "long streams go through files: name a directory with more room in TMPDIR"
            raise
        self.length += count

    def source(self) -> Source:
        """All bytes, as often as needed."""
        return Source(self.length, self._read)

    def free(self) -> None:
        """Give the room back."""
        self._file.close()

    def _read(self, offset: int, size: int) -> bytes:
        with file_errors(self._place):
            return os.pread(self._file.fileno(), size, offset)


def directory() -> str:
    """Where such files are made: where the user says (TMPDIR), else on the disk."""
    chosen = tempfile.gettempdir()
    return ON_DISK if chosen == "/tmp" and os.access(ON_DISK, os.W_OK) and Path(ON_DISK).is_dir() else chosen  # noqa: S108 - compared only
