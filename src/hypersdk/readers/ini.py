"""The INI dialect of `~/.oci/config` and `~/.oci/oci_cli_rc`, with line numbers.

The dialect is that of the SDK and the OCI CLI (Python's configparser without interpolation): `[section]` names are case
sensitive, keys are not; `=` or `:` separates; `#` and `;` begin a comment only at the start of a line; blanks around
names and values do not count; an indented line continues the value above it. What configparser refuses (a key before
the first section, a duplicate, a line without separator) is refused here too, with the line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from hypersdk import errors
from hypersdk.readers.text import decode

_SECTION = re.compile(r"\[\s*(?P<name>[^\]]*[^\]\s])\s*\]\s*(?:[#;].*)?")
_ENTRY = re.compile(r"(?P<key>.*?)\s*[=:]\s*(?P<value>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class IniEntry:
    """A value, the line of its key (from 1), and whether further lines continue it."""

    value: str
    line: int
    continued: bool = False


@dataclass(frozen=True, slots=True)
class IniSection:
    """A section: the line of its header and its entries by lower-case key."""

    name: str
    line: int
    entries: Mapping[str, IniEntry]


@dataclass(frozen=True, slots=True)
class IniFile:
    """A whole file. Sections keep their order and inherit nothing from `[DEFAULT]`: that is the caller's rule."""

    name: str
    sections: Mapping[str, IniSection]


def read_ini(data: bytes, name: str) -> IniFile:
    """Read an INI file.

    Args:
        data: the file's bytes.
        name: the file's name for messages.

    Raises:
        ConfigError: a line that the dialect does not have; the message begins with `name:line`.
    """
    reader = _Reader(name)
    for number, raw in enumerate(decode(data, name).split("\n"), 1):
        reader.take(number, raw)
    sections = {section: IniSection(section, line, entries) for section, (line, entries) in reader.sections.items()}
    return IniFile(name, sections)


class _Reader:
    """Takes the lines one by one."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.sections: dict[str, tuple[int, dict[str, IniEntry]]] = {}
        self._entries: dict[str, IniEntry] | None = None
        self._key: str | None = None
        self._indent = 0

    def take(self, number: int, raw: str) -> None:
        text = raw.strip()
        if not text:
            return
        if text[0] in "#;":
            return
        indent = len(raw) - len(raw.lstrip())
        if self._entries is not None and self._key is not None and indent > self._indent:
            self._continue(text)
        elif match := _SECTION.fullmatch(text):
            self._open(match["name"], number)
            self._indent = indent
        else:
            self._add(number, text)
            self._indent = indent

    def _open(self, section: str, number: int) -> None:
        if section in self.sections:
            raise self._refused(number, f"section [{section}] stands already in line {self.sections[section][0]}")
        self._entries, self._key = {}, None
        self.sections[section] = (number, self._entries)

    def _add(self, number: int, text: str) -> None:
        match = _ENTRY.fullmatch(text)
        if not match or not match["key"]:
            # The line itself is not shown: a key or pass phrase may have slipped into it.
            raise self._refused(number, "expected `key = value` or `[section]`")
        key = match["key"].lower()
        if self._entries is None:
            raise self._refused(number, f"{key!r} stands before the first [section]")
        if key in self._entries:
            raise self._refused(number, f"{key!r} stands already in line {self._entries[key].line}")
        self._key = key
        self._entries[key] = IniEntry(match["value"], number)

    def _continue(self, text: str) -> None:
        assert self._entries is not None
        assert self._key is not None
        entry = self._entries[self._key]
        self._entries[self._key] = IniEntry(f"{entry.value}\n{text}", entry.line, continued=True)

    def _refused(self, number: int, why: str) -> errors.ConfigError:
        return errors.ConfigError(f"{self._name}:{number}: {why}", resource=self._name)
