"""Bytes into a file object of somebody else: all of them, or an error that says what is wrong with it.

Rules of this file: a plain descriptor is written to past its file object, which would hold a lock meanwhile that the
end of the process waits for; a reader that went away is `BrokenPipeError`, as everywhere in Python.
"""

from __future__ import annotations

import io
import os
import select
from typing import Protocol

from hypersdk import errors
from hypersdk.storage.local import file_errors


class Writable(Protocol):
    """What can take a stream; it is flushed at the end where it offers that."""

    def write(self, data: memoryview, /) -> int | None:
        """Take some of the bytes, and say how many; None = all of them."""


class Outflow:
    """Writes to a file object. `write` may be called from another thread.

    Args:
        file: open for writing bytes; it is not closed.

    Raises:
        UsageError: it cannot take bytes.
    """

    def __init__(self, file: Writable) -> None:
        given: object = file
        if isinstance(given, io.TextIOBase) or not hasattr(given, "write"):
            raise errors.UsageError(f"no stream that takes bytes: {file!r}", hint="open it in binary mode ('wb')")
        raw = file.raw if isinstance(file, io.BufferedWriter | io.BufferedRandom) else file
        self._file = file
        self._descriptor = raw.fileno() if isinstance(raw, io.FileIO) else None
        if self._descriptor is not None:
            self.flush()

    def write(self, view: memoryview) -> None:
        """Write all bytes; waits as long as nobody takes them.

        Raises:
            BrokenPipeError: nobody reads any more.
            DiskFull: no room.
            FileError: it cannot be written.
        """
        try:
            with file_errors("the output"):
                while view:
                    view = view[self._some(view) :]
        except errors.FileError as error:
            if isinstance(error.__cause__, BrokenPipeError):
                raise error.__cause__ from None
            raise

    def flush(self) -> None:
        """Hand on what the file object still has.

        Raises:
            BrokenPipeError: nobody reads any more.
            FileError: it cannot be written.
        """
        if (flush := getattr(self._file, "flush", None)) is not None:
            try:
                flush()
            except BrokenPipeError:
                raise
            except OSError as error:
                raise errors.FileError(f"the output cannot be written: {error.strerror or error}") from error

    def _some(self, view: memoryview) -> int:
        if self._descriptor is None:
            written = self._file.write(view)
            return len(view) if written is None else int(written)
        try:
            return os.write(self._descriptor, view)
        except BlockingIOError:  # whoever shares the pipe has made it so
            poll = select.poll()
            poll.register(self._descriptor, select.POLLOUT)
            poll.poll()
            return 0


class InOrder:
    """Writes one piece after the other, as a `Writer` of one thread hands them over; offsets mean nothing.

    Args:
        outflow: takes them.
    """

    def __init__(self, outflow: Outflow) -> None:
        self._outflow = outflow

    def __call__(self, offset: int, view: memoryview, *, skip_zeros: bool) -> int:
        """Write all bytes; says how many."""
        del offset, skip_zeros
        self._outflow.write(view)
        return len(view)
