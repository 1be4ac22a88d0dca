"""What Linux can tell and do of files, and Python's `os` does not reach: through ctypes, loaded when first needed.

Rules of this file: elsewhere, and on kernels and file systems without the call, the answer says so and nothing fails.
"""

from __future__ import annotations

import errno
import functools
import mmap
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ctypes

_AT_EMPTY_PATH = 0x1000
_STATX_MNT_ID_UNIQUE = 0x4000
_STATX_SIZE, _MASK, _MNT_ID = 256, slice(0, 4), slice(144, 152)
"""struct statx of linux/stat.h: its size, and where stx_mask and stx_mnt_id stand."""

_RENAME_NOREPLACE = 1
_NOT_KNOWN = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})


@functools.cache
def _library() -> ctypes.CDLL | None:
    try:
        import ctypes

        library = ctypes.CDLL(None, use_errno=True)
    except (ImportError, OSError):
        return None
    return library if hasattr(library, "statx") and hasattr(library, "renameat2") else None


def mount_of(file: int) -> str:
    """The number of the mount that an open file is on; no other mount gets it before the next boot (statx(2)).

    Returns:
        The number in hex; "" where the kernel does not tell it (before Linux 6.8; in some sandboxes).
    """
    if (library := _library()) is None:
        return ""
    import ctypes

    facts = ctypes.create_string_buffer(_STATX_SIZE)
    if library.statx(file, b"", _AT_EMPTY_PATH, _STATX_MNT_ID_UNIQUE, facts) != 0:
        return ""
    mask, number = (int.from_bytes(facts.raw[place], "little") for place in (_MASK, _MNT_ID))
    return f"{number:x}" if mask & _STATX_MNT_ID_UNIQUE else ""


def rename_if_absent(source: int, name: str, target: int, new_name: str) -> bool:
    """Rename a file in one step, unless the new name is taken (renameat2(2), RENAME_NOREPLACE).

    Args:
        source: directory in which `name` is.
        name: of the file.
        target: directory of the new name.
        new_name: the new name.

    Returns:
        False = kernel or file system cannot do that; nothing was done.

    Raises:
        FileExistsError: the new name is taken.
        OSError: the file system refuses otherwise.
    """
    if (library := _library()) is None:
        return False
    import ctypes

    if library.renameat2(source, os.fsencode(name), target, os.fsencode(new_name), _RENAME_NOREPLACE) == 0:
        return True
    if (code := ctypes.get_errno()) in _NOT_KNOWN:
        return False
    raise OSError(code, os.strerror(code), new_name)


def is_cached(file: int, size: int) -> bool:
    """Whether most of a file's first bytes are in the page cache (mincore(2)).

    Args:
        file: open for reading.
        size: how many bytes to ask about, at least one; the file has so many.

    Returns:
        True also where nobody can tell, and of files that the caller may not write.
    """
    if (library := _library()) is None:
        return True
    import ctypes

    pages = -(-size // mmap.PAGESIZE)
    found = ctypes.create_string_buffer(pages)
    library.mmap.restype = ctypes.c_void_p
    library.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long)
    place = library.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, file, 0)
    if place == ctypes.c_void_p(-1).value:
        return True
    try:
        told = library.mincore(ctypes.c_void_p(place), ctypes.c_size_t(size), found) == 0
    finally:
        library.munmap(ctypes.c_void_p(place), ctypes.c_size_t(size))
    return not told or 2 * sum(byte & 1 for byte in found.raw) > pages
