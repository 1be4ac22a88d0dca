"""A local file that is read to be sent, and that must not change meanwhile."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from hypersdk import errors
from hypersdk.model import ByteRange
from hypersdk.storage.local import file_errors
from hypersdk.wire.request import Source


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file as it was at one time; any difference means that it was written to or replaced."""

    path: str
    device: int
    inode: int
    size: int
    mtime_ns: int


class LocalSource:
    """An open file.

    Args:
        path: of the file.

    Raises:
        NotFoundError: there is none.
        FileError: it cannot be read, or is no plain file.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        with file_errors(path):
            # A pipe would be waited for until somebody writes to it.
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            facts = os.fstat(self._file)
        self.facts = _facts(path, facts)
        self.size = facts.st_size
        if not stat.S_ISREG(facts.st_mode):
            os.close(self._file)
            raise errors.FileError(f"not a file: {path}", resource=path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        os.close(self._file)

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of the file; fewer only at its end."""
        with file_errors(self._path):
            return os.pread(self._file, size, offset)

    def section(self, wanted: ByteRange) -> Source:
        """A range of it as a body, which the kernel begins to read ahead."""
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._file, wanted.start, wanted.length, os.POSIX_FADV_WILLNEED)
        return Source(wanted.length, lambda offset, size: self.read(wanted.start + offset, size))

    def guarded(self) -> Source:
        """All of it as a body, whose last byte is given only if the file has not changed."""

        def read(offset: int, size: int) -> bytes:
            data = self.read(offset, size)
            if offset + len(data) >= self.size:
                self.expect_unchanged()
            return data

        return Source(self.size, read)

    def expect_unchanged(self) -> None:
        """See that the file is as it was when it was opened, and still the one of its name.

        Raises:
            FileError: somebody wrote to it, replaced or deleted it.
        """
        now = _facts(self._path, os.fstat(self._file))
        try:
            named = _facts(self._path, Path(self._path).stat())
        except OSError:
            named = None
        if not now == named == self.facts:
            raise errors.FileError(
                f"{self._path} changed while it was uploaded; nothing was committed",
                resource=self._path,
                hint="upload it again once nobody writes to it",
            )


def _facts(path: str, found: os.stat_result) -> SourceFile:
    return SourceFile(path, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
