"""Files below a directory handle, durably: the local half of design rules 2 and 7.

Rules of this file: the root is opened as the user wrote it, every name below it component by component without
following links; a new name appears whole or not at all, and never over another one unless that was asked for; what was
said to be done survives a power cut (fsync of the file, then of its directory).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hypersdk import errors
from hypersdk.storage import kernel

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
"""What link(2) answers where hard links are not supported (FAT, exFAT, some network file systems) or used up."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@contextmanager
def file_errors(path: str) -> Iterator[None]:
    """Turn what the file system says of `path` into errors of our tree.

    Raises:
        NotFoundError: there is no such file, or a part of its path is no directory.
        AlreadyExists: the name is taken.
        DiskFull: no room.
        FileError: everything else.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise errors.NotFoundError(f"no such file: {path!r}", resource=path) from error
    except NotADirectoryError as error:
        raise errors.NotFoundError(f"no such file, a part of its path is no directory: {path!r}", resource=path) from (
            error
        )
    except FileExistsError as error:
        raise errors.AlreadyExists(f"the name is taken: {path!r}", resource=path) from error
    except OSError as error:
        raise _other(error, path) from error


def _other(error: OSError, path: str) -> errors.FileError:
    if error.errno in NO_ROOM:
        return errors.DiskFull(f"no room for {path!r}: {error.strerror}", resource=path, hint="free some space")
    if error.errno == errno.ELOOP:
        return link_refused(path)
    return errors.FileError(f"{path!r}: {error.strerror}", resource=path)


def link_refused(path: str) -> errors.FileError:
    """The error for a symbolic link where a file or a directory must stand."""
    return errors.FileError(f"symbolic links are not followed: {path!r}", resource=path, hint="give the path it names")


@contextmanager
def directory(root: str, components: Sequence[str] = (), *, create: bool = False) -> Iterator[int]:
    """A handle of the directory `components` below `root`, links below `root` not followed.

    Args:
        root: a directory as the user wrote it; it must exist.
        components: names below it, one by one.
        create: make the missing ones.
    """
    handle = os.open(root or ".", _DIRECTORY)
    try:
        for component in components:
            inner = _open_component(handle, component, create=create)
            os.close(handle)
            handle = inner
        yield handle
    finally:
        os.close(handle)


@contextmanager
def inner_directory(parent: int, name: str) -> Iterator[int]:
    """A handle of the directory `name` in directory `parent`; a link is refused."""
    handle = _open_component(parent, name, create=False)
    try:
        yield handle
    finally:
        os.close(handle)


def _open_component(parent: int, name: str, *, create: bool) -> int:
    try:
        return os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    except FileNotFoundError:
        if not create:
            raise
        os.mkdir(name, dir_fd=parent)
        os.fsync(parent)
        return os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    except NotADirectoryError:
        # Linux answers ENOTDIR, not ELOOP, when O_DIRECTORY and O_NOFOLLOW meet a link.
        if stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            raise link_refused(name) from None
        raise


def place(source: int, temporary: str, target: int, name: str, *, if_absent: bool) -> None:
    """Give the whole, synced file `temporary` in directory `source` its name in directory `target`, durably.

    Raises:
        FileExistsError: `if_absent` and the name is taken; the temporary file stays.
    """
    if if_absent:
        _link(source, temporary, target, name)
    else:
        os.rename(temporary, name, src_dir_fd=source, dst_dir_fd=target)
    os.fsync(target)
    if source != target:
        os.fsync(source)


def _link(source: int, temporary: str, target: int, name: str) -> None:
    try:
        os.link(temporary, name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        if kernel.rename_if_absent(source, temporary, target, name):
            return
        # A placeholder that only we can have made reserves the name; the rename then replaces nobody else's file.
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=target))
        os.rename(temporary, name, src_dir_fd=source, dst_dir_fd=target)
    else:
        os.unlink(temporary, dir_fd=source)
