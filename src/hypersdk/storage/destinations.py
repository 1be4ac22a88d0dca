"""Where a copy goes: whether the target is a name or a directory, and what the file system there takes for the same.

Rules of this file: a target that ends with "/", a directory that is there, a bucket: copies go into it; any other is
the name of the one copy. A tree, or what a pattern found, always goes into the target, whether it is there or not, so
that the same command twice means the same. A target directory is made, the directory that it lies in must be there.
"""

from __future__ import annotations

import os
import secrets
import unicodedata
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from hypersdk import errors
from hypersdk.model import ObjectRef
from hypersdk.storage import local
from hypersdk.storage.naming import Folding
from hypersdk.storage.selection import OWN

WEB = frozenset({"http", "https"})


@dataclass(frozen=True, slots=True)
class Destination:
    """Where copies go.

    Attributes:
        base: a local directory, or a prefix in a store; names of copies are relative to it.
        name: the name of the one copy; "" = each is called as its source is.
    """

    base: ObjectRef
    name: str = ""


def destination(ref: ObjectRef, *, many: bool) -> Destination:
    """What an address means as the target of a copy; nothing is made.

    Args:
        ref: the address.
        many: whether a tree or what a pattern found goes there.

    Raises:
        UsageError: only one object can go there.
        NotFoundError: the directory that it lies in is not there.
        DestinationExists: it must be a directory, and is none.
    """
    if ref.scheme == "file":
        return _local(ref, many=many)
    if ref.scheme in WEB:
        if many:
            raise errors.UsageError(f"one object can go there, not many: {ref}", resource=str(ref))
        return Destination(replace(ref, name=""), ref.name)
    if many or not ref.name or ref.name.endswith("/"):
        return Destination(replace(ref, name=ref.name if ref.name.endswith("/") or not ref.name else f"{ref.name}/"))
    above, slash, name = ref.name.rpartition("/")
    return Destination(replace(ref, name=above + slash), name)


def check_apart(source: ObjectRef, target: ObjectRef) -> None:
    """Refuse to copy a tree into itself: a second copy would copy the first.

    Raises:
        UsageError: the target lies in the source.
    """
    inside = f"{target} lies in {source}"
    if source.scheme == "file" == target.scheme:
        root, below = (os.path.realpath(str(ref) or ".") for ref in (source, target))
        overlap = os.path.commonpath([root, below]) == root
    else:
        same = (source.scheme, source.namespace, source.bucket) == (target.scheme, target.namespace, target.bucket)
        overlap = same and target.name.startswith(source.name)
    if overlap:
        raise errors.UsageError(f"a tree cannot be copied into itself: {inside}", resource=str(target))


def make_directory(base: ObjectRef) -> None:
    """Make the local directory that copies go to, unless it is there."""
    path = Path(base.bucket or ".")
    with local.file_errors(str(path)), suppress(FileExistsError):
        path.mkdir()


def folding_of(base: ObjectRef) -> Folding:
    """Which names the file system of a local directory takes for the same, found out with a file of ours.

    Raises:
        FileError: no file can be made there.
    """
    directory = Path(base.bucket or ".")
    if not directory.exists():
        directory = directory.parent
    name = f"{OWN}{secrets.token_hex(6)}\u00e4.probe"
    path = directory / name
    with local.file_errors(str(path)):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        try:
            return Folding(
                case=(directory / name.upper()).exists(),
                form=(directory / unicodedata.normalize("NFD", name)).exists(),
            )
        finally:
            path.unlink()


def _local(ref: ObjectRef, *, many: bool) -> Destination:
    path = Path(str(ref) or ".")
    with local.file_errors(str(path)):
        is_directory = path.is_dir()
        exists = is_directory or os.path.lexists(path)
        has_parent = path.parent.is_dir()
    into = many or not ref.name or is_directory
    if into and exists and not is_directory:
        raise errors.DestinationExists(f"a directory is needed, this is none: {str(path)!r}", resource=str(path))
    if not has_parent and not is_directory:
        raise errors.NotFoundError(
            f"no such directory: {str(path.parent)!r}", resource=str(path.parent), hint=f"mkdir -p {path.parent}"
        )
    if into:
        return Destination(ObjectRef("file", "", str(path), ""))
    return Destination(replace(ref, name=""), ref.name)
