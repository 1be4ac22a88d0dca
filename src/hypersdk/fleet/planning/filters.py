"""The language of `--filter`: which instances are meant. Pure.

    expression = term { "or" term }
    term       = factor { "and" factor }
    factor     = "not" factor | "(" expression ")" | test
    test       = field operator value | tag                 a tag alone: the instance has it, with whatever value
    field      = name | id | shape | state | region | compartment | ad | created | size | tag:KEY | tag:NAMESPACE.KEY
    operator   = "=" | "!="                 equal; `*` and `?` in an unquoted value stand for any text, any character
               | "~" | "!~"                 contains, whatever the case of letters
               | "<" | "<=" | ">" | ">="    of created and size

Rules of this file: nothing is guessed, what is not understood is refused with its column; no regular expressions, since
the names of this field are full of dots (VM.Standard.E4.Flex); a tag that an instance does not have is equal to nothing
and contains nothing; a size that is not known makes a test of it an error instead of a no.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NoReturn

from hypersdk import errors
from hypersdk.model import Instance
from hypersdk.readers.units import parse_size

FIELDS = ("name", "id", "shape", "state", "region", "compartment", "ad", "created", "size", "tag:KEY")

TAG = "tag:"
MOST_DEEP = 50
"""Parentheses and `not`s in each other; a person writes three."""

_EXACT = frozenset({"name", "id", "compartment"})
_ORDERED = frozenset({"created", "size"})
_OPERATORS = ("!=", "!~", "<=", ">=", "=", "~", "<", ">")
_WORDS = frozenset({"and", "or", "not"})
_SPACE = re.compile(r"\s+")
_BARE = re.compile(r"[^\s()=!~<>'\"]+")
_BARE_VALUE = re.compile(r"[^\s()'\"]+")
_QUOTED = re.compile(r"""(["'])((?:\\.|(?!\1)[^\\])*)\1""", re.DOTALL)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Subject:
    """What a filter looks at.

    Attributes:
        instance: as the cloud described it.
        compartment: path of the compartment where it lives.
        size: bytes of its boot volume; None = not known.
    """

    instance: Instance
    compartment: str
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter that was read.

    Attributes:
        text: as it was written.
        matches: whether an instance is meant.
        fields: the fields that it looks at, "tag" for all tags.
    """

    text: str
    matches: Callable[[Subject], bool]
    fields: frozenset[str]


def parse(text: str) -> Filter:
    """Read a filter.

    Raises:
        UsageError: names the column, what is wrong there, what is expected, and the nearest field.
    """
    reader = _Reader(text)
    test = reader.expression(0)
    if reader.rest():
        reader.refuse("`and` or `or` is expected here")
    return Filter(text, test, frozenset(reader.fields))


Test = Callable[[Subject], bool]


class _Reader:
    """Reads a text from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self.fields: set[str] = set()

    def expression(self, depth: int) -> Test:
        tests = [self._term(depth)]
        while self._took("or"):
            tests.append(self._term(depth))
        return tests[0] if len(tests) == 1 else lambda subject: any(test(subject) for test in tests)

    def rest(self) -> str:
        """What is still to be read, from its first word on."""
        if space := _SPACE.match(self._text, self._at):
            self._at = space.end()
        return self._text[self._at :]

    def refuse(self, why: str, *, at: int | None = None, hint: str | None = None) -> NoReturn:
        where = self._at if at is None else at
        found = self._text[where : where + 20].split("\n")[0]
        raise errors.UsageError(
            f"filter, column {where + 1}: {why}" + (f": {found!r}" if found else " (the filter ends here)"),
            resource=self._text,
            hint=hint or "such as 'tag:env=prod and shape~VM.Standard'; fields are " + ", ".join(FIELDS),
        )

    def _term(self, depth: int) -> Test:
        tests = [self._factor(depth)]
        while self._took("and"):
            tests.append(self._factor(depth))
        return tests[0] if len(tests) == 1 else lambda subject: all(test(subject) for test in tests)

    def _factor(self, depth: int) -> Test:
        if depth > MOST_DEEP:
            self.refuse("nested too deep")
        if self._took("not"):
            test = self._factor(depth + 1)
            return lambda subject: not test(subject)
        if not self.rest().startswith("("):
            return self._test()
        opened = self._at
        self._at += 1
        inner = self.expression(depth + 1)
        if not self.rest().startswith(")"):
            self.refuse("this parenthesis is not closed", at=opened)
        self._at += 1
        return inner

    def _took(self, word: str) -> bool:
        match = _BARE.match(self.rest())
        # "not" before "=" is a mistake, and told as an unknown field.
        if not match or match[0].lower() != word or self._operator_at(self._at + match.end()):
            return False
        self._at += match.end()
        return True

    def _test(self) -> Test:
        self.rest()
        began = self._at
        name = self._field()
        operator = self._operator_at(self._skip())
        if operator is None:
            if not name.startswith(TAG):
                self.refuse(f"an operator is expected behind {name}", hint=f"one of {' '.join(_OPERATORS)}")
            return lambda subject: _tag(subject.instance, name.removeprefix(TAG)) is not None
        if operator[0] in "<>" and name not in _ORDERED:
            self.refuse(f"{name} has no order for {operator}", hint="< and > compare created and size")
        if "~" in operator and name in _ORDERED:
            self.refuse(f"{name} contains no text for {operator}", hint="compare it by = != < <= > >=")
        self._at = self._skip() + len(operator)
        return _compare(name, operator, *self._value(name, operator), lambda why: self.refuse(why, at=began))

    def _field(self) -> str:
        began, match = self._at, _BARE.match(self._text, self._at)
        if not match or match[0].lower() in _WORDS:
            self.refuse("a field is expected here")
        self._at = match.end()
        name = match[0]
        if name.lower().startswith(TAG):
            key = name[len(TAG) :]
            if not key and (quoted := _QUOTED.match(self._text, self._at)):
                key, self._at = _unescaped(quoted[2]), quoted.end()
            if not key:
                self.refuse("a tag's key is missing", at=began, hint="tag:KEY, tag:'A KEY WITH SPACES'")
            self.fields.add("tag")
            return TAG + key
        if name.lower() not in FIELDS:
            near = difflib.get_close_matches(name.lower(), [*FIELDS[:-1], "tag:"], n=1)
            meant = f"; did you mean {near[0]!r}?" if near else ""
            self.refuse(f"no field {name!r}{meant}", at=began)
        self.fields.add(name.lower())
        return name.lower()

    def _skip(self) -> int:
        space = _SPACE.match(self._text, self._at)
        return space.end() if space else self._at

    def _operator_at(self, at: int) -> str | None:
        if space := _SPACE.match(self._text, at):
            at = space.end()
        return next((each for each in _OPERATORS if self._text.startswith(each, at)), None)

    def _value(self, name: str, operator: str) -> tuple[str, bool]:
        """A value, and whether `*` and `?` in it are wildcards."""
        self.rest()
        if quoted := _QUOTED.match(self._text, self._at):
            self._at = quoted.end()
            return _unescaped(quoted[2]), False
        if self._text[self._at : self._at + 1] in {"'", '"'}:
            self.refuse("this quote is not closed")
        match = _BARE_VALUE.match(self._text, self._at)
        if not match:
            self.refuse(f"a value is expected behind {name}{operator}", hint="'' stands for an empty one")
        self._at = match.end()
        return match[0], True


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def _compare(name: str, operator: str, value: str, wild: bool, refuse: Callable[[str], NoReturn]) -> Test:
    if name == "size":
        return _by_size(operator, value, refuse)
    if name == "created":
        return _by_time(operator, value, refuse)
    accepts = _accepts(name, operator.removeprefix("!"), value, wild=wild)
    negated = operator.startswith("!")
    return lambda subject: any(accepts(text) for text in _texts(subject, name)) != negated


def _accepts(name: str, operator: str, value: str, *, wild: bool) -> Callable[[str], bool]:
    if operator == "~":
        part = value.casefold()
        return lambda text: part in text.casefold()
    # Names and tags say what they say; the cloud's own words are the same in any case of letters.
    flags = 0 if name in _EXACT or name.startswith(TAG) else re.IGNORECASE
    pattern = "".join({"*": ".*", "?": "."}.get(each, re.escape(each)) if wild else re.escape(each) for each in value)
    return lambda text: re.fullmatch(pattern, text, flags | re.DOTALL) is not None


def _texts(subject: Subject, name: str) -> tuple[str, ...]:
    """What an instance has under the name of a field; nothing for a tag that it has not."""
    one = subject.instance
    if name.startswith(TAG):
        tag = _tag(one, name.removeprefix(TAG))
        return () if tag is None else (tag,)
    if name == "compartment":
        return subject.compartment, one.compartment_id
    known = {
        "name": one.name,
        "id": one.id,
        "shape": one.shape,
        "state": one.lifecycle_state,
        "region": one.region,
        "ad": one.availability_domain,
    }
    return (known[name],)


def _tag(instance: Instance, key: str) -> str | None:
    if key in instance.tags:
        return instance.tags[key]
    # Namespaces and keys of defined tags are the same in any case of letters (docs.oracle.com, "Tagging Overview").
    return next((value for name, value in instance.defined_tags.items() if name.lower() == key.lower()), None)


_ORDER: Mapping[str, Callable[[float, float, float], bool]] = {
    "=": lambda one, first, end: first <= one < end,
    "!=": lambda one, first, end: not first <= one < end,
    "<": lambda one, first, _end: one < first,
    "<=": lambda one, _first, end: one < end,
    ">": lambda one, _first, end: one >= end,
    ">=": lambda one, first, _end: one >= first,
}
"""Of a value and the span that was written: a day is all of its moments."""


def _by_size(operator: str, value: str, refuse: Callable[[str], NoReturn]) -> Test:
    try:
        size = parse_size(value)
    except ValueError as error:
        refuse(str(error))

    def test(subject: Subject) -> bool:
        if subject.size is None:
            one = subject.instance
            raise errors.NotFoundError(
                f"size{operator}{value} cannot be answered: the boot volume of {one.name} ({one.id}) was not found",
                resource=one.id,
                hint="leave such instances out by another test before this one, joined by `and`",
            )
        return _ORDER[operator](subject.size, size, size + 1)

    return test


def _by_time(operator: str, value: str, refuse: Callable[[str], NoReturn]) -> Test:
    try:
        began = datetime.fromisoformat(value)
    except ValueError:
        refuse(f"not a date: {value!r} (expected 2026-01-31 or 2026-01-31T12:00:00Z)")
    began = began if began.tzinfo else began.replace(tzinfo=UTC)
    first = began.timestamp()
    end = (began + (timedelta(days=1) if _DAY.match(value) else timedelta(seconds=1))).timestamp()

    def test(subject: Subject) -> bool:
        created = subject.instance.time_created
        return created is not None and _ORDER[operator](created.timestamp(), first, end)

    return test
