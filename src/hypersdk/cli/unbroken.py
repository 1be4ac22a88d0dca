"""A standard error that may go away: who is not heard any more goes on with his work."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any, TextIO


class Unbroken:
    """Passes everything on to a text stream, until writing to it fails: from then on nobody reads.

    A terminal that was closed (EIO) and a pipe without a reader (EPIPE) would else end an export in the middle, with
    whatever line it happened to tell. The result goes to standard output, where a reader that is gone is an error.

    Args:
        stream: standard error.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or pretend to."""
        try:
            return self._stream.write(text)
        except OSError:
            self._leave()
            return len(text)

    def flush(self) -> None:
        """Flush, or pretend to."""
        try:
            self._stream.flush()
        except OSError:
            self._leave()

    def __getattr__(self, name: str) -> Any:
        """Everything else is the stream's."""
        return getattr(self._stream, name)

    def _leave(self) -> None:
        with suppress(OSError):
            nothing = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            os.dup2(nothing, self._stream.fileno())
            os.close(nothing)
