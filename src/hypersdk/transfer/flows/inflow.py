"""Bytes out of a file object of somebody else, without holding up who else waits, where that is possible.

Rules of this file: only a plain descriptor is waited for (a pipe, a socket, a terminal under `FileIO`, buffered or
not): other objects may hold bytes that their descriptor does not show, such as those of a TLS connection, and are
simply read. A descriptor's flags are not touched: another process may share them.
"""

from __future__ import annotations

import io
import os
import select
import stat
from typing import Any, Protocol

from hypersdk import errors

_CAN_WAIT = (stat.S_ISFIFO, stat.S_ISSOCK, stat.S_ISCHR)


class Readable(Protocol):
    """What can be read as a stream; `readinto1` and `readinto` are used where they are offered."""

    def read(self, size: int, /) -> bytes | None:
        """At most so many bytes; none at the end; None = there are none yet."""


class Inflow:
    """Reads a file object to its end.

    Args:
        file: open for reading bytes; it is not closed.

    Raises:
        UsageError: it cannot give bytes.
    """

    def __init__(self, file: Readable) -> None:
        given: object = file
        if isinstance(given, io.TextIOBase) or not hasattr(given, "read"):
            raise errors.UsageError(f"not a stream of bytes: {file!r}", hint="open it in binary mode ('rb')")
        self.descriptor = _descriptor(file)
        """What can be waited for; None = reading may block, or never does."""
        self._file = file
        self._poll: Any = None
        if self.descriptor is not None:
            self._poll = select.poll()
            self._poll.register(self.descriptor, select.POLLIN)

    def fill(self, view: memoryview) -> int | None:
        """Read into a buffer.

        Returns:
            How many bytes; 0 = the stream has ended; None = there are none yet.

        Raises:
            FileError: the stream cannot be read.
        """
        try:
            if self._poll is not None and not self._poll.poll(0):
                return None
            return self._read(view)
        except BlockingIOError:
            return None
        except OSError as error:
            raise errors.FileError(f"the stream cannot be read: {error.strerror or error}") from error

    def wait(self, seconds: float) -> None:
        """Wait until there is something to read, or its end, if that can be waited for."""
        if self._poll is not None:
            self._poll.poll(seconds * 1000)

    def _read(self, view: memoryview) -> int | None:
        for name in ("readinto1", "readinto"):
            if (read := getattr(self._file, name, None)) is not None:
                count: int | None = read(view)
                return count
        data = self._file.read(len(view))
        if data is None:
            return None
        view[: len(data)] = data
        return len(data)


def _descriptor(file: Readable) -> int | None:
    raw = file.raw if isinstance(file, io.BufferedReader) else file
    if not isinstance(raw, io.FileIO) or not hasattr(select, "poll"):
        return None
    mode = os.fstat(raw.fileno()).st_mode
    return raw.fileno() if any(kind(mode) for kind in _CAN_WAIT) else None
