"""One process drives a run: on SQLite an exclusive lock on a file per run is the lease (design rule 11)."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from hypersdk import errors


class RunLock:
    """The exclusive lock of one run; the kernel drops it when its process dies.

    Args:
        path: the lock's file; it stays, empty, when the lock is released.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def take(self) -> bool:
        """Try to take it; False if another process holds it.

        Raises:
            ConfigError: the file system cannot lock.
        """
        import fcntl  # only here: commands without runs also work where there is no fcntl

        try:
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise unusable(self._path, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
                return False
            raise unusable(self._path, error) from error
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Give it back; harmless if it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def unusable(path: Path | str, error: object) -> errors.ConfigError:
    """The error of a run store that cannot be used: names the file and the setting."""
    return errors.ConfigError(
        f"the run store {path} cannot be used: {error}",
        resource=str(path),
        hint="set HYPEREXPORT_STATE to a file in a local directory that you may write",
    )
