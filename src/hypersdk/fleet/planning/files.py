"""The file of a fleet: YAML, CSV, or lines, with one meaning. Pure: bytes in, what was asked for out.

Rules of this file: an unknown key, a value that makes no sense, an entry that stands twice is refused with file, line
and the nearest key, all mistakes of a kind at once where one line each can say them; nothing is left out in silence; an
empty cell says nothing.
"""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, NoReturn

from hypersdk import errors
from hypersdk.fleet import windows
from hypersdk.fleet.planning import filters
from hypersdk.fleet.planning.asked import NOTHING, READERS, Asked
from hypersdk.model import Ocid
from hypersdk.readers.text import decode
from hypersdk.readers.yamltree import Node, read_yaml_tree

WHICH = ("name", "id", "compartment", "region")
"""Keys that say which instance is meant."""

LIMITS = ("parallel", "per_worker", "per_region", "per_bucket")

TAG = "tag:"
"""Columns of a CSV file that begin with this hold a tag of the image."""

_TOP = ("instances", "defaults", "limits", "windows", "compartments", "regions", "filter")
_COMMENT = "#"


@dataclass(frozen=True, slots=True)
class Wanted:
    """An instance that a file names.

    Attributes:
        where: "fleet.yaml:12", for messages.
        name: exact display name; None = `id` says which.
        id: its OCID; None = `name` says which.
        compartment: path or OCID of the compartment to look in; None = all that are looked at.
        region: where to look; None = all that are looked at.
        asked: what was said about its export.
    """

    where: str
    name: str | None = None
    id: str | None = None
    compartment: str | None = None
    region: str | None = None
    asked: Asked = NOTHING

    def __str__(self) -> str:
        place = "".join(f" in {each}" for each in (self.compartment, self.region) if each)
        return f"{self.name or self.id}{place}"


@dataclass(frozen=True, slots=True)
class FleetFile:
    """What a file says.

    Attributes:
        wanted: the instances that it names, in its order.
        defaults: for all of them.
        limits: name of a limit -> number.
        windows: as they were written.
        compartments: paths or OCIDs to look in.
        regions: to look in.
        filter: selects further instances.
    """

    wanted: tuple[Wanted, ...] = ()
    defaults: Asked = NOTHING
    limits: Mapping[str, int] | None = None
    windows: tuple[str, ...] = ()
    compartments: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    filter: str | None = None


def read(data: bytes, name: str) -> FleetFile:
    """Read a file of a fleet; its name says which of the three forms it has: .yaml, .yml, .csv, else lines.

    Args:
        data: its bytes.
        name: its name.

    Raises:
        ConfigError: it cannot be understood; names the line.
    """
    kind = PurePath(name).suffix.lower()
    if kind in {".yaml", ".yml"}:
        found = _from_yaml(read_yaml_tree(data, name), name)
    elif kind == ".csv":
        found = FleetFile(tuple(_from_csv(decode(data, name), name)))
    else:
        found = FleetFile(tuple(_from_lines(decode(data, name), name)))
    _refuse_twice(found.wanted, name)
    return found


def _from_lines(text: str, name: str) -> Iterable[Wanted]:
    for number, line in enumerate(text.split("\n"), 1):
        if (wanted := line.strip()) and not wanted.startswith(_COMMENT):
            yield _named(_Place(name, number), {}, wanted)


@dataclass(frozen=True, slots=True)
class _Place:
    """A line of a file."""

    name: str
    line: int

    def __str__(self) -> str:
        return f"{self.name}:{self.line}"

    def refuse(self, why: str, hint: str | None = None) -> NoReturn:
        raise errors.ConfigError(f"{self}: {why}", resource=self.name, hint=hint)

    def unknown(self, key: str, known: Sequence[str]) -> NoReturn:
        near = difflib.get_close_matches(key.lower(), known, n=1)
        self.refuse(
            f"unknown key {key!r}" + (f"; did you mean {near[0]!r}?" if near else ""), f"known are {', '.join(known)}"
        )

    def value(self, key: str, text: str) -> Any:
        """A value of an instance or of the defaults."""
        try:
            return READERS[key](text)
        except ValueError as error:
            self.refuse(f"{key}: {error}")


def _named(place: _Place, which: Mapping[str, str], wanted: str | None = None, asked: Asked | None = None) -> Wanted:
    """An instance by the name or the OCID that stands in a line, or by its keys."""
    given = dict(which)
    if wanted is not None:
        given["id" if Ocid.looks_like(wanted) else "name"] = wanted
    if given.get("name") and Ocid.looks_like(given["name"]) and not given.get("id"):
        given["id"] = given.pop("name")
    if not given.get("id") and not given.get("name"):
        place.refuse("neither name nor id of an instance")
    if given.get("id"):
        try:
            given["id"] = Ocid.parse(given["id"], "instance").text
        except errors.UsageError as error:
            place.refuse(error.message)
    return Wanted(str(place), **given, asked=asked or NOTHING)


# ---------------------------------------------------------------- CSV


def _from_csv(text: str, name: str) -> Iterable[Wanted]:
    rows = csv.reader(io.StringIO(text), delimiter=_delimiter(text), strict=True)
    header: list[str] | None = None
    end = 0
    try:
        for row in rows:
            # A quoted cell may hold line ends: a row begins behind the one before it.
            place, end = _Place(name, end + 1), rows.line_num
            cells = [cell.strip() for cell in row]
            if not any(cells) or cells[0].startswith(_COMMENT):
                continue
            if header is None:
                header = _header(place, cells)
            else:
                yield _row(place, header, cells)
    except csv.Error as error:
        _Place(name, rows.line_num).refuse(f"not CSV: {error}")


def _delimiter(text: str) -> str:
    # Spreadsheets of many countries write ";", because "," stands in their numbers.
    first = next((line for line in text.split("\n") if line.strip() and not line.startswith(_COMMENT)), "")
    return max(",;\t", key=first.count)


def _header(place: _Place, cells: Sequence[str]) -> list[str]:
    keys = [
        cell if cell.lower().startswith(TAG) else cell.lower().replace(" ", "_").replace("-", "_") for cell in cells
    ]
    for key in keys:
        if not key.lower().startswith(TAG) and key not in {*WHICH, *READERS}:
            place.unknown(key, (*WHICH, *READERS, "tag:KEY"))
        if keys.count(key) > 1:
            place.refuse(f"the column {key!r} stands twice")
    if not {"name", "id"}.intersection(keys):
        place.refuse("no column `name` or `id`", "the first line names the columns")
    return keys


def _row(place: _Place, header: Sequence[str], cells: Sequence[str]) -> Wanted:
    if len(cells) > len(header) and any(cells[len(header) :]):
        place.refuse(f"{len(cells)} cells under {len(header)} columns", "a cell that holds the separator is quoted")
    given = {key: cell for key, cell in zip(header, cells, strict=False) if cell}
    tags = {key[len(TAG) :]: cell for key, cell in given.items() if key.lower().startswith(TAG)}
    said = {key: place.value(key, cell) for key, cell in given.items() if key in READERS}
    which = {key: cell for key, cell in given.items() if key in WHICH}
    return _named(place, which, asked=Asked(**said, tags=tags or None))


# ---------------------------------------------------------------- YAML


def _from_yaml(root: Node, name: str) -> FleetFile:
    if isinstance(root.value, tuple):
        # Only a list: the instances.
        return FleetFile(_instances(root, name))
    top = _mapping(root, name, "the file", _TOP)
    limits = top.get("limits")
    defaults = top.get("defaults")
    selects = top.get("filter")
    return FleetFile(
        wanted=_instances(top["instances"], name) if "instances" in top else (),
        defaults=NOTHING if defaults is None else _asked(_mapping(defaults, name, "defaults", _keys()), name),
        limits=None if limits is None else _limits(limits, name),
        windows=_checked(top.get("windows"), name, "windows", windows.parse),
        compartments=_texts(top.get("compartments"), name, "compartments"),
        regions=_texts(top.get("regions"), name, "regions"),
        filter=None if selects is None else _one(selects, name),
    )


def _instances(node: Node, name: str) -> tuple[Wanted, ...]:
    if node.value is None:
        return ()
    if not isinstance(node.value, tuple):
        _Place(name, node.line).refuse("instances: a list is expected", "one line `- NAME` for each")
    return tuple(_instance(each, name) for each in node.value)


def _instance(node: Node, name: str) -> Wanted:
    place = _Place(name, node.line)
    if isinstance(node.value, str):
        return _named(place, {}, node.value)
    given = _mapping(node, name, "an instance", (*WHICH, *_keys()))
    which = {key: _text(given[key], name, key) for key in WHICH if key in given}
    return _named(place, which, asked=_asked({key: each for key, each in given.items() if key not in WHICH}, name))


def _asked(given: Mapping[str, Node], name: str) -> Asked:
    said: dict[str, Any] = {}
    for key, node in given.items():
        place = _Place(name, node.line)
        if key == "tags":
            tags = _mapping(node, name, key, None)
            said[key] = {tag: _text(value, name, tag) for tag, value in tags.items()}
        elif key == "format" and isinstance(node.value, tuple):
            said[key] = place.value(key, " ".join(_texts(node, name, key)))
        else:
            said[key] = place.value(key, _text(node, name, key))
    return Asked(**said)


def _limits(node: Node, name: str) -> Mapping[str, int]:
    found = {}
    for key, value in _mapping(node, name, "limits", LIMITS).items():
        text = _text(value, name, key)
        if not text.isascii() or not text.isdigit():
            _Place(name, value.line).refuse(f"{key}: a whole number is expected, not {text!r}", "0 = no limit")
        found[key] = int(text)
    return found


def _keys() -> tuple[str, ...]:
    return (*READERS, "tags")


def _mapping(node: Node, name: str, what: str, known: Sequence[str] | None) -> Mapping[str, Node]:
    if node.value is None:
        return {}
    if not isinstance(node.value, Mapping):
        _Place(name, node.line).refuse(f"{what}: keys with values are expected")
    for key, value in node.value.items():
        if known is not None and key not in known:
            _Place(name, value.line).unknown(key, known)
    return node.value


def _texts(node: Node | None, name: str, what: str) -> tuple[str, ...]:
    if node is None or node.value is None:
        return ()
    if isinstance(node.value, tuple):
        return tuple(_text(each, name, what) for each in node.value)
    return (_text(node, name, what),)


def _one(node: Node, name: str) -> str:
    """A filter; a list of them would not say how they belong together."""
    if isinstance(node.value, tuple):
        _Place(name, node.line).refuse("filter: one expression is expected", "join several by `and` or `or`")
    _text(node, name, "filter")
    return _checked(node, name, "filter", filters.parse)[0]


def _checked(node: Node | None, name: str, what: str, parse: Callable[[str], object]) -> tuple[str, ...]:
    """Texts that somebody else reads; a mistake in one is told with its place."""
    found = _texts(node, name, what)
    lines = [each.line for each in node.value] if node and isinstance(node.value, tuple) else [node.line if node else 0]
    for text, line in zip(found, lines, strict=False):
        try:
            parse(text)
        except errors.UsageError as error:
            _Place(name, line).refuse(error.message, error.hint)
    return found


def _text(node: Node, name: str, what: str) -> str:
    if not isinstance(node.value, str) or not node.value.strip():
        _Place(name, node.line).refuse(f"{what}: a text is expected")
    return node.value


def _refuse_twice(wanted: Sequence[Wanted], name: str) -> None:
    first: dict[tuple[str | None, ...], Wanted] = {}
    twice = []

    for one in wanted:
        earlier = first.setdefault((one.id, one.name, one.compartment, one.region), one)
        if earlier is not one:
            twice.append(f"{one.where}: {one} stands already at {earlier.where}")
    if twice:
        raise told_together(errors.ConfigError, twice, name)


MOST_TOLD = 20
"""Mistakes that are told one by one; beyond, their number."""


def told_together(
    kind: type[errors.HypersdkError], mistakes: Sequence[str], name: str, **more: Any
) -> errors.HypersdkError:
    """One error for many mistakes, each a line of its own."""
    error = kind(mistakes[0] if len(mistakes) == 1 else f"{name}: {len(mistakes)} mistakes", resource=name, **more)
    if len(mistakes) > 1:
        for line in mistakes[:MOST_TOLD]:
            error.add_note(line)
        if len(mistakes) > MOST_TOLD:
            error.add_note(f"... and {len(mistakes) - MOST_TOLD} more")
    return error
