"""What the source of a copy means: one object, a tree, or the names that a pattern matches. Works over any store.

Rules of this file: an object of exactly the written name is meant before anything else; a tree is taken only if that
was asked for; a listing is complete or an error (design rule 9); nothing that was selected is skipped in silence: what
cannot be copied as it is (a symbolic link, a socket) comes back with the reason.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from urllib.parse import unquote

from hypersdk import errors, events
from hypersdk.model import ObjectInfo, ObjectRef
from hypersdk.retry import Call
from hypersdk.storage import local
from hypersdk.storage.naming import Entry
from hypersdk.storage.protocol import Store
from hypersdk.storage.selection import Filter, Glob, glob, is_own, is_pattern
from hypersdk.storage.url import local_ref

EVERYTHING = Filter()


@dataclass(frozen=True, slots=True)
class Selection:
    """What is to be copied.

    Attributes:
        root: what names are relative to: the directory of the one object, the tree, the fixed part of a pattern.
        entries: the objects, in byte order of their names.
        refused: those that were selected but cannot be copied as they are, and why.
        many: a tree or a pattern, however many it found; False = the one object that the address names.
    """

    root: ObjectRef
    entries: tuple[Entry, ...]
    refused: tuple[tuple[Entry, errors.HypersdkError], ...] = ()
    many: bool = False


def select(
    store: Store,
    ref: ObjectRef,
    *,
    call: Call,
    left_out: Sequence[events.LeftOut] = (),
    recursive: bool = False,
    chosen: Filter = EVERYTHING,
) -> Selection:
    """Find out what an address means as the source of a copy.

    Args:
        store: where.
        ref: the address.
        call: runs single calls; the store's own `call` runs the pages of its lists.
        left_out: what the store's reporter is told of while it lists.
        recursive: whether a directory, a bucket or a prefix means all that is under it.
        chosen: which of the names, relative to the root, are selected.

    Raises:
        UsageError: it names a tree, and that was not asked for.
        NotFoundError: there is nothing of that name; a pattern that matches nothing is an empty selection.
        HypersdkError: it cannot be listed to its end.
    """
    source = _Source(store, call, left_out, recursive=recursive, chosen=chosen)
    return source.local(ref) if ref.scheme == "file" else source.remote(ref)


@dataclass
class _Source:
    store: Store
    call: Call
    left_out: Sequence[events.LeftOut]
    recursive: bool
    chosen: Filter

    def local(self, ref: ObjectRef) -> Selection:
        """What a path means."""
        path = Path(str(ref) or ".")
        try:
            with local.file_errors(str(path)):
                mode = path.stat().st_mode
        except errors.NotFoundError:
            if not is_pattern(str(ref)):
                raise
            pattern = glob(str(ref), recursive=self.recursive)
            return self._matching(pattern, _directory(pattern.root))
        if stat.S_ISDIR(mode):
            return self._tree(ref, ObjectRef("file", "", str(path), ""))
        # A link that was named itself is followed, as cp does; those in a tree are not.
        meant = local_ref(os.path.realpath(path)) if path.is_symlink() else ref
        return self._one(self.store.head(meant), ref.name)

    def remote(self, ref: ObjectRef) -> Selection:
        """What an address in a cloud means."""
        listable = ref.scheme == "oci"
        if listable and (not ref.name or ref.name.endswith("/")):
            return self._tree(ref, ref)
        try:
            info = self.call(f"look at {ref}", lambda: self.store.head(ref))
        except errors.NotFoundError as error:
            if not listable:
                raise
            return self._absent(ref, error)
        if self.recursive and listable:
            return self._beside(ref, info)
        return self._one(info, base_name(ref))

    def _one(self, info: ObjectInfo, name: str) -> Selection:
        root = replace(info.ref, name=info.ref.name[: info.ref.name.rfind("/") + 1])
        return Selection(root, (Entry(info, name),) if self.chosen.selects(name) else ())

    def _tree(self, ref: ObjectRef, root: ObjectRef) -> Selection:
        if not self.recursive:
            what = "a directory" if ref.scheme == "file" or ref.name else "a bucket"
            raise errors.UsageError(
                f"{what}: {str(ref)!r}", resource=str(ref), hint="add -r to copy all that is under it"
            )
        return self._listed(root)

    def _absent(self, ref: ObjectRef, error: errors.NotFoundError) -> Selection:
        """No object has exactly this name: perhaps it is a pattern, or the name of a directory."""
        if is_pattern(ref.name):
            pattern = glob(ref.name, recursive=self.recursive)
            return self._matching(pattern, replace(ref, name=pattern.root))
        below = replace(ref, name=f"{ref.name}/")
        try:
            is_directory = any(islice(self.store.list(below), 1))
        except (errors.AuthError, errors.NotFoundError, errors.UsageError):
            raise error from None  # who may not list knows of the object only
        if not is_directory:
            raise error
        if not self.recursive:
            error.hint = f"objects lie under {below}: add -r to copy them"
            raise error
        return self._listed(below)

    def _beside(self, ref: ObjectRef, info: ObjectInfo) -> Selection:
        """An object has this name, and objects may lie under it, too."""
        found = self._listed(replace(ref, name=f"{ref.name}/"))
        if not found.entries:
            return self._one(info, base_name(ref))
        why = errors.PreflightRefused(
            f"{ref} is an object, and objects lie under it", resource=str(ref), hint="copy it by itself, without -r"
        )
        return replace(found, refused=((Entry(info, ""), why),))

    def _matching(self, pattern: Glob, root: ObjectRef) -> Selection:
        return self._listed(root, pattern)

    def _listed(self, root: ObjectRef, pattern: Glob | None = None) -> Selection:
        start = root if pattern is None else replace(root, name=root.name + pattern.prefix.removeprefix(pattern.root))
        entries = []
        for info in self.store.list(start, recursive=pattern is None or pattern.deep):
            name = info.ref.name.removeprefix(root.name)
            if not info.prefix and self._selects(name, pattern):
                entries.append(Entry(info, name))
        refused = []
        for each in self.left_out:
            name = each.ref.name.removeprefix(root.name)
            if self._selects(name, pattern):
                refused.append((Entry(ObjectInfo(each.ref, 0), name), each.error))
        return Selection(root, tuple(entries), tuple(refused), many=True)

    def _selects(self, name: str, pattern: Glob | None) -> bool:
        # The marker of the root itself has no name here: it is the directory that the copy goes to.
        if not name or is_own(name) or (pattern is not None and not pattern.matches(pattern.root + name)):
            return False
        return self.chosen.selects(name)


def base_name(ref: ObjectRef) -> str:
    """What a copy of an object is called in another directory; "" if its address does not say.

    A web address is percent-encoded, all others are literal.
    """
    name = unquote(ref.name) if ref.scheme in {"http", "https"} else ref.name
    return name.rpartition("/")[2]


def _directory(root: str) -> ObjectRef:
    return ObjectRef("file", "", root.rstrip("/") or root or ".", "")
