"""Policy statements: parsed strictly. Pure.

    Allow SUBJECT to VERB FAMILY in PLACE [where CONDITION]
    Allow SUBJECT to {PERMISSION, ...} in PLACE [where CONDITION]

SUBJECT is `any-user`, or `group`, `dynamic-group` or `service` with names (or `id OCID`), several with commas; a name
may be quoted and have its identity domain before it (`'Default'/'Exporters'`). PLACE is `tenancy`, `compartment A:B:C`
or `compartment id OCID`. CONDITION is `VARIABLE = 'text'`, `!=`, a pattern `/text*/`, `any {...}` or `all {...}`.
The matching rule of a dynamic group is a condition with variables of its own. Keywords, names and values do not
distinguish case ("Policy Syntax" in Oracle's documentation).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from hypersdk_emulator.identity.permissions import FAMILIES, PERMISSIONS, VERBS, granted

VARIABLES = frozenset(
    {
        "request.permission",
        "request.operation",
        "request.region",
        "request.user.id",
        "request.user.name",
        "request.principal.id",
        "request.principal.type",
        "request.principal.compartment.id",
        "request.principal.cluster_id",
        "request.principal.namespace",
        "request.principal.service_account",
        "target.bucket.name",
        "target.object.name",
        "target.compartment.id",
        "target.compartment.name",
        "target.image.id",
    }
)
"""What a condition may ask. Tags and times are absent here."""
RULE_VARIABLES = frozenset(
    {"instance.id", "instance.compartment.id", "resource.id", "resource.type", "resource.compartment.id"}
)
"""What the matching rule of a dynamic group may ask."""
SUBJECTS = ("any-user", "group", "dynamic-group", "service")
_TOKENS = re.compile(r"""\s*(?:'(?P<quoted>[^']*)'|(?P<word>[\w.$@*-]+)|(?P<symbol>!=|[{}=,:/])|(?P<bad>\S))""")


class StatementError(ValueError):
    """The statement is none; the text names the place in it and what was expected there."""


@dataclass(frozen=True)
class Subject:
    """Whom a statement speaks of: a kind of SUBJECTS, and names or OCIDs in lower case (none for `any-user`)."""

    kind: str
    names: frozenset[str] = frozenset()
    ids: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Place:
    """Where it holds: in the tenancy (no path, no id), below a path of compartment names, or in the one of an id."""

    path: tuple[str, ...] = ()
    id: str = ""


@dataclass(frozen=True)
class Compare:
    """A variable is equal (or not) to a text; a pattern has stars at its ends."""

    variable: str
    equal: bool
    value: str
    pattern: bool = False


@dataclass(frozen=True)
class Combined:
    """All of some conditions hold, or any of them."""

    every: bool
    parts: tuple["Compare | Combined", ...]


Condition = Compare | Combined


@dataclass(frozen=True)
class Statement:
    """One statement as its policy says it, and what it means."""

    text: str
    subject: Subject
    permissions: frozenset[str]
    place: Place
    condition: Condition | None


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    at: int


class _Reader:
    """Takes tokens one by one; what does not fit is refused with its column."""

    def __init__(self, text: str, variables: frozenset[str]) -> None:
        self.variables = variables
        self._tokens = list(_tokens(text))
        self._next = 0

    @property
    def here(self) -> _Token:
        return self._tokens[self._next]

    def step(self) -> _Token:
        token = self.here
        self._next += token.kind != "end"
        return token

    def wrong(self, expected: str, token: _Token | None = None) -> StatementError:
        token = token or self.here
        found = repr(token.text) if token.kind != "end" else "the end"
        return StatementError(f"column {token.at + 1}: expected {expected}, found {found}")

    def is_word(self, *words: str) -> bool:
        return self.here.kind == "word" and self.here.text.lower() in words

    def is_symbol(self, symbol: str) -> bool:
        return self.here.kind == "symbol" and self.here.text == symbol

    def word(self, *words: str) -> str:
        """One of some words, in lower case; any if none is given."""
        if self.here.kind != "word" or (words and not self.is_word(*words)):
            raise self.wrong(" or ".join(words) or "a word")
        return self.step().text.lower()

    def symbol(self, symbol: str) -> None:
        if not self.is_symbol(symbol):
            raise self.wrong(f"'{symbol}'")
        self.step()

    def name(self, what: str) -> str:
        """A bare or quoted name, as it is written."""
        if self.here.kind not in ("word", "quoted") or not self.here.text:
            raise self.wrong(what)
        return self.step().text


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while found := _TOKENS.match(text, at):
        kind = str(found.lastgroup)
        if kind == "bad":
            raise StatementError(f"column {found.start(kind) + 1}: {found[kind]!r} belongs to no statement")
        yield _Token(kind, found[kind], found.start(kind))
        at = found.end()
    yield _Token("end", "", len(text))


def parse(text: str) -> Statement:
    """Read one statement.

    Raises:
        StatementError: Names the column, what was expected there and what stands there.
    """
    reader = _Reader(text, VARIABLES)
    reader.word("allow")
    subject = _subject(reader)
    reader.word("to")
    permissions = _permissions(reader)
    reader.word("in")
    place = _place(reader)
    condition = None
    if reader.is_word("where"):
        reader.step()
        condition = _condition(reader)
    if reader.here.kind != "end":
        raise reader.wrong("the end" if condition else "where or the end")
    return Statement(text, subject, permissions, place, condition)


def parse_rule(text: str) -> Condition:
    """Read the matching rule of a dynamic group.

    Raises:
        StatementError: Names the column, what was expected there and what stands there.
    """
    reader = _Reader(text, RULE_VARIABLES)
    condition = _condition(reader)
    if reader.here.kind != "end":
        raise reader.wrong("the end")
    return condition


def _subject(reader: _Reader) -> Subject:
    kind = reader.word(*SUBJECTS)
    if kind == "any-user":
        return Subject(kind)
    names, ids = set[str](), set[str]()
    while True:
        if reader.is_word("id"):
            reader.step()
            ids.add(reader.name("an OCID").lower())
        else:
            names.add(_subject_name(reader, kind))
        if not reader.is_symbol(","):
            return Subject(kind, frozenset(names), frozenset(ids))
        reader.step()
        if reader.is_word(kind):
            reader.step()


def _subject_name(reader: _Reader, kind: str) -> str:
    name = reader.name(f"the name of a {kind}")
    if reader.is_symbol("/"):
        reader.step()
        name = reader.name(f"the name of a {kind}")
    return name.lower()


def _permissions(reader: _Reader) -> frozenset[str]:
    if reader.is_symbol("{"):
        return _listed_permissions(reader)
    if not reader.is_word(*VERBS):
        raise reader.wrong(f"{', '.join(VERBS)} or permissions in braces")
    verb, token = reader.word(), reader.here
    family = reader.word()
    if family not in FAMILIES:
        raise reader.wrong(f"a resource type ({', '.join(sorted(FAMILIES))})", token)
    return granted(verb, family)


def _listed_permissions(reader: _Reader) -> frozenset[str]:
    found = set[str]()
    while not found or reader.is_symbol(","):
        reader.step()
        token = reader.here
        permission = reader.word().upper()
        if permission not in PERMISSIONS:
            raise reader.wrong("a permission such as OBJECT_READ", token)
        found.add(permission)
    reader.symbol("}")
    return frozenset(found)


def _place(reader: _Reader) -> Place:
    if reader.word("tenancy", "compartment") == "tenancy":
        return Place()
    if reader.is_word("id"):
        reader.step()
        return Place(id=reader.name("an OCID"))
    path = [reader.name("the name of a compartment").lower()]
    while reader.is_symbol(":"):
        reader.step()
        path.append(reader.name("the name of a compartment").lower())
    return Place(tuple(path))


def _condition(reader: _Reader) -> Condition:
    if not reader.is_word("any", "all"):
        return _compare(reader)
    every = reader.word() == "all"
    parts: list[Condition] = []
    reader.symbol("{")
    while not parts or reader.is_symbol(","):
        if parts:
            reader.step()
        parts.append(_condition(reader))
    reader.symbol("}")
    return Combined(every, tuple(parts))


def _compare(reader: _Reader) -> Compare:
    token = reader.here
    variable = reader.word()
    if variable not in reader.variables:
        raise reader.wrong(f"a variable ({', '.join(sorted(reader.variables))})", token)
    if not (reader.is_symbol("=") or reader.is_symbol("!=")):
        raise reader.wrong("= or !=")
    equal = reader.step().text == "="
    if reader.here.kind == "quoted":
        return Compare(variable, equal, reader.step().text.lower())
    if not reader.is_symbol("/"):
        raise reader.wrong("a text in quotes or a pattern between slashes")
    reader.step()
    token = reader.here
    value = "".join(_pattern(reader)).lower()
    if not value.strip("*") or "*" in value.strip("*") or value.startswith("**") or value.endswith("**"):
        raise reader.wrong("a pattern with a star at its begin or end", token)
    return Compare(variable, equal, value, pattern=True)


def _pattern(reader: _Reader) -> Iterator[str]:
    while not reader.is_symbol("/"):
        if reader.here.kind == "end":
            raise reader.wrong("a slash at the end of the pattern")
        yield reader.step().text
    reader.step()
