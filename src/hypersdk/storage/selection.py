r"""Which names are meant: patterns over names relative to the root of a copy. Pure.

Patterns are those of rclone's filters (rclone.org/filtering), the part of them that shells have, too:

    *       anything without "/"          **      anything; "**/" also nothing at all
    ?       one character but "/"         [a-z]   one of these, [!a-z] none of these; never "/"
    {a,b}   one of these patterns         \x      x itself

A pattern that begins with "/" is matched from the root on; any other matches the end of a name from the start of a
component on, so that `*.qcow2` means those in every directory. One that ends with "/" means all below that directory.
A name is selected if it matches any include (or there is none) and no exclude: the order of the options says nothing,
exclusion wins, as in OCI's own object name filters (docs.oracle.com, ObjectNameFilter) and in azcopy. Both sides of a
copy see the same names, relative to its root (field case C036).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from hypersdk import errors

SPECIAL = frozenset("*?[{")
"""Characters that make the name of a source a pattern, unless an object of exactly this name exists."""

OWN = ".hx-"
"""Names of hypersdk's own files begin so: partial files, journals, uploads (design section 4). They are invisible."""


class Filter:
    """Selects names by patterns.

    Args:
        include: patterns; none = everything.
        exclude: patterns; what matches one is not selected.

    Raises:
        UsageError: not a pattern.
    """

    def __init__(self, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> None:
        self._include = [_filter_expression(each) for each in include]
        self._exclude = [_filter_expression(each) for each in exclude]

    def selects(self, name: str) -> bool:
        """Whether the name, relative to the root of the copy, is selected."""
        return not _any(self._exclude, name) and (not self._include or _any(self._include, name))


@dataclass(frozen=True, slots=True)
class Glob:
    """A pattern in the name of a source.

    Attributes:
        root: the fixed directory before the pattern, with its "/", or ""; names are relative to it.
        prefix: what every name that matches begins with: a listing need not go beyond it.
        deep: whether a name that matches may lie in a directory below the root.
        expression: matches whole names.
    """

    root: str
    prefix: str
    deep: bool
    expression: re.Pattern[str]

    def matches(self, name: str) -> bool:
        """Whether the pattern means this name."""
        return self.expression.fullmatch(name) is not None


def is_pattern(name: str) -> bool:
    """Whether a name may be meant as a pattern."""
    return not SPECIAL.isdisjoint(name)


def glob(name: str, *, recursive: bool) -> Glob:
    """Read the name of a source as a pattern.

    Args:
        name: the name in the source's address.
        recursive: whether a directory that matches means all below it, too.

    Raises:
        UsageError: not a pattern.
    """
    fixed = _fixed(name)
    root = fixed[: fixed.rfind("/") + 1]
    text = name.removesuffix("/")
    deep = recursive or "/" in text[len(root) :] or "**" in text
    expression = _Reader(text).read()
    return Glob(root, fixed, deep, re.compile(f"{expression}(?:/.*)?" if recursive else expression, re.DOTALL))


def is_own(name: str) -> bool:
    """Whether a name, or a directory in it, is one of hypersdk's own."""
    return name.startswith(OWN) or f"/{OWN}" in name


def _any(expressions: Sequence[re.Pattern[str]], name: str) -> bool:
    return any(each.fullmatch(name) for each in expressions)


def _filter_expression(pattern: str) -> re.Pattern[str]:
    if not pattern.strip("/"):
        raise errors.UsageError(f"not a pattern: {pattern!r}", resource=pattern, hint="'*.qcow2', '/disks/**', 'tmp/'")
    start = "" if pattern.startswith("/") else "(?:.*/)?"
    end = "/.*" if pattern.endswith("/") else ""
    return re.compile(f"{start}{_Reader(pattern.strip('/')).read()}{end}", re.DOTALL)


def _fixed(pattern: str) -> str:
    """The text that comes before the first special character."""
    fixed = ""
    characters = iter(pattern)
    for character in characters:
        if character in SPECIAL:
            return fixed
        fixed += next(characters, "\\") if character == "\\" else character
    return fixed


class _Reader:
    """Turns one pattern into a regular expression, character by character."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0

    def read(self) -> str:
        """The whole pattern.

        Raises:
            UsageError: something in it is not closed.
        """
        expression = self._sequence(inside=False)
        assert self._at == len(self._pattern)
        return f"(?:{expression})"

    def _sequence(self, *, inside: bool) -> str:
        """Up to the end or, inside of braces, to a "," or "}"."""
        found = ""
        while self._at < len(self._pattern) and not (inside and self._pattern[self._at] in ",}"):
            found += self._one()
        return found

    def _one(self) -> str:
        character = self._pattern[self._at]
        self._at += 1
        if character == "*":
            return self._stars()
        if character == "?":
            return "[^/]"
        if character == "[":
            return self._class()
        if character == "{":
            return self._alternatives()
        if character == "\\" and self._at < len(self._pattern):
            character = self._pattern[self._at]
            self._at += 1
        return re.escape(character)

    def _stars(self) -> str:
        if not self._pattern.startswith("*", self._at):
            return "[^/]*"
        starts_component = self._at == 1 or self._pattern[self._at - 2] == "/"
        while self._pattern.startswith("*", self._at):
            self._at += 1
        if starts_component and self._pattern.startswith("/", self._at):
            self._at += 1
            return "(?:.*/)?"
        return ".*"

    def _class(self) -> str:
        negated = self._pattern.startswith(("!", "^"), self._at)
        start = self._at + negated
        end = self._pattern.find("]", start + 1)  # the first may be a "]" that is meant
        if end < 0:
            raise self._unclosed("[", "]")
        self._at = end + 1
        members = _members(self._pattern[start:end])
        expression = f"[^{members}]" if negated else f"[{members}]"
        try:
            re.compile(expression)
        except re.error as error:
            raise self._refused(f"{self._pattern[start - negated - 1 : end + 1]!r}: {error.msg}") from None
        return f"(?!/){expression}"

    def _alternatives(self) -> str:
        found = []
        while True:
            found.append(self._sequence(inside=True))
            if self._at == len(self._pattern):
                raise self._unclosed("{", "}")
            self._at += 1
            if self._pattern[self._at - 1] == "}":
                return f"(?:{'|'.join(found)})"

    def _unclosed(self, opened: str, closed: str) -> errors.UsageError:
        return self._refused(f"{opened!r} without {closed!r}; \\{opened} is the character itself")

    def _refused(self, why: str) -> errors.UsageError:
        return errors.UsageError(f"not a pattern: {self._pattern!r}: {why}", resource=self._pattern)


def _members(text: str) -> str:
    """What stands in a class, for a regular expression: `a-c` is a range, everything else is meant as it is."""
    return re.sub(
        r"(.)-(.)|(.)",
        lambda match: re.escape(match[3]) if match[3] else f"{re.escape(match[1])}-{re.escape(match[2])}",
        text,
        flags=re.DOTALL,
    )
