"""What each object of a copy is called at its target: computed and checked before the first byte. Pure.

Rules of this file (design rule 2; field cases C024, C028, C029): a name is never changed, it is taken or refused; what
is refused says why, in words that do not depend on the order of the listing; of objects that would become one file none
is taken, because nobody can say which was meant; an object that stands where others need a directory is refused and
they are taken.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from hypersdk import errors
from hypersdk.model import ObjectInfo, ObjectRef
from hypersdk.storage.selection import OWN, is_own
from hypersdk.storage.url import check_object_name, object_name, relative_path


@dataclass(frozen=True, slots=True)
class Entry:
    """An object that is to be copied.

    Attributes:
        info: what its store says of it.
        name: its name relative to the root of the copy; it ends with "/" for the marker of a directory.
    """

    info: ObjectInfo
    name: str


@dataclass(frozen=True, slots=True)
class Folding:
    """Which names a file system takes for the same.

    Attributes:
        case: "A" and "a".
        form: the composed and the decomposed form of a character (Unicode NFC, NFD).
    """

    case: bool = False
    form: bool = False

    def fold(self, name: str) -> str:
        """A text that is equal for names that the file system takes for the same."""
        if self.form or self.case:
            name = unicodedata.normalize("NFD", name) if self.form else name
            name = name.casefold() if self.case else name
            return unicodedata.normalize("NFD", name) if self.form else name
        return name


EXACT = Folding()
"""A file system that compares names byte for byte, and every object store."""

LOOSE = Folding(case=True, form=True)
"""The most that a file system may take for the same."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An object that cannot have its name at the target: `because` is a sentence's end for people."""

    entry: Entry
    because: str


@dataclass(frozen=True, slots=True)
class Named:
    """What becomes of the objects of a copy; each is in exactly one of the three, in the order they came.

    Attributes:
        targets: objects and the address of their copies.
        directories: markers of directories, and the directory (`name` without its last "/").
        refusals: what cannot be copied.
    """

    targets: tuple[tuple[Entry, ObjectRef], ...] = ()
    directories: tuple[tuple[Entry, ObjectRef], ...] = ()
    refusals: tuple[Refusal, ...] = ()


def name_targets(entries: Sequence[Entry], base: ObjectRef, folding: Folding = EXACT) -> Named:
    """Give every object its address at the target, or say why it cannot have one.

    Args:
        entries: the objects; names relative to the root of the copy.
        base: where the copy goes: a local directory (`bucket` its path, no name), or a prefix in a store.
        folding: which names the target takes for the same.
    """
    targets: list[tuple[Entry, ObjectRef]] = []
    directories: list[tuple[Entry, ObjectRef]] = []
    refusals: dict[int, Refusal] = {}
    local = base.scheme == "file"
    for number, entry in enumerate(entries):
        if why := _refused(entry, base):
            refusals[number] = Refusal(entry, why)
    taken = [(number, entry) for number, entry in enumerate(entries) if number not in refusals]
    for number, why in _conflicts(taken, folding, local=local).items():
        refusals[number] = Refusal(entries[number], why)
    for number, entry in enumerate(entries):
        if number in refusals:
            continue
        if local and entry.name.endswith("/"):
            directories.append((entry, replace(base, name=entry.name.removesuffix("/"))))
        else:
            targets.append((entry, replace(base, name=base.name + entry.name)))
    return Named(tuple(targets), tuple(directories), tuple(refusals[number] for number in sorted(refusals)))


def may_collide(entries: Sequence[Entry]) -> bool:
    """Whether it matters which names the target takes for the same: only then a file system need be probed."""
    taken = list(enumerate(entries))
    return _conflicts(taken, LOOSE, local=True) != _conflicts(taken, EXACT, local=True)


def _refused(entry: Entry, base: ObjectRef) -> str:
    from_file = entry.info.ref.scheme == "file"
    if base.scheme == "file" and is_own(entry.name):
        return f"names that begin with {OWN!r} are those of hypersdk's own files"
    if from_file and base.scheme == "file":
        return ""  # one file system has the name, the other will take it byte for byte or say why not
    try:
        if base.scheme != "file":
            if from_file:
                object_name(entry.name)
            check_object_name(base.name + entry.name)
        elif not entry.name.endswith("/"):
            relative_path(entry.name)
        elif entry.info.size:
            return f"a name that ends with '/' is a directory's, but {entry.info.size} bytes are in it"
        else:
            relative_path(entry.name.removesuffix("/"))
    except errors.UsageError as error:
        return error.message
    return ""


@dataclass(slots=True)
class _Node:
    """One path at the target: the objects that are it; one for each spelling of those that need it as a directory."""

    files: list[int] = field(default_factory=list)
    below: dict[str, int] = field(default_factory=dict)


def _conflicts(taken: Sequence[tuple[int, Entry]], folding: Folding, *, local: bool) -> dict[int, str]:
    """Why objects cannot stand beside each other, by their numbers."""
    names = {number: entry.name for number, entry in taken}
    nodes: dict[str, _Node] = {}
    for number, name in names.items():
        for path, is_file in _paths(name) if local else [(name, True)]:
            node = nodes.setdefault(folding.fold(path), _Node())
            if is_file:
                node.files.append(number)
            else:
                node.below.setdefault(path, number)
    found: dict[int, str] = {}
    for number, name in names.items():
        for path, is_file in _paths(name) if local else [(name, True)]:
            node = nodes[folding.fold(path)]
            if number not in found and (why := _conflict(number, path, node, names, is_file=is_file)):
                found[number] = why
    return found


def _paths(name: str) -> list[tuple[str, bool]]:
    """The directories of a name from the outside in, then itself; says of each whether it is a file."""
    parts = name.removesuffix("/").split("/")
    is_file = not name.endswith("/")
    return [("/".join(parts[: end + 1]), is_file and end == len(parts) - 1) for end in range(len(parts))]


def _conflict(number: int, path: str, node: _Node, names: dict[int, str], *, is_file: bool) -> str:
    if is_file and node.below:
        return f"a file cannot stand where a directory must: {names[next(iter(node.below.values()))]!r} lies below it"
    others = [each for each in node.files if each != number]
    if is_file and others:
        return f"it would become the same file as {names[others[0]]!r}"
    spelled = [each for spelling, each in node.below.items() if spelling != path]
    if not is_file and spelled:
        return f"its directory {path!r} would become the same as that of {names[spelled[0]]!r}"
    return ""
