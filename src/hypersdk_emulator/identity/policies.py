"""Who may do what: statements held against a request. Pure: no clock, no database.

A permission is granted if one statement, of a policy anywhere, speaks of the caller, gives the permission, holds in a
compartment that is the request's or above it, and its condition holds. Nothing takes a permission away.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from hypersdk_emulator.identity.statements import Compare, Condition, Place, Statement


@dataclass(frozen=True)
class Tree:
    """The compartments: their parents (None for the tenancy) and names."""

    root: str
    parents: Mapping[str, str | None]
    names: Mapping[str, str]

    def up(self, compartment: str) -> Iterator[str]:
        """The compartment and all above it."""
        seen = set[str]()
        here: str | None = compartment
        while here is not None and here not in seen:
            seen.add(here)
            yield here
            here = self.parents.get(here)

    def resolve(self, place: Place, attached: str) -> str | None:
        """The compartment that a statement's place means.

        Args:
            place: As the statement says it.
            attached: Where its policy is; a path begins below it, or with its own name.

        Returns:
            None if there is none, or if it is not in the part of the tree that the policy rules.
        """
        if not place.path:
            wanted: str | None = place.id or self.root
        else:
            wanted = self._walk(attached, place.path)
            if wanted is None and self.names.get(attached, "").lower() == place.path[0]:
                wanted = self._walk(attached, place.path[1:])
        if wanted is None or wanted not in self.names or attached not in set(self.up(wanted)):
            return None
        return wanted

    def _walk(self, start: str, path: Iterable[str]) -> str | None:
        here: str | None = start
        for name in path:
            here = next(
                (c for c, parent in self.parents.items() if parent == here and self.names[c].lower() == name), None
            )
            if here is None:
                return None
        return here


@dataclass(frozen=True)
class Who:
    """The caller as statements name it, all in lower case."""

    groups: frozenset[str] = frozenset()
    group_ids: frozenset[str] = frozenset()
    dynamic_groups: frozenset[str] = frozenset()
    dynamic_group_ids: frozenset[str] = frozenset()
    service: str = ""


@dataclass(frozen=True)
class Rule:
    """A statement and the compartment to which its policy is attached."""

    attached: str
    statement: Statement


@dataclass(frozen=True)
class Book:
    """All policies of a cloud."""

    tree: Tree
    rules: tuple[Rule, ...]

    def grants(self, who: Who, permission: str, compartment: str, facts: Mapping[str, str]) -> bool:
        """True if the caller has a permission in a compartment.

        Args:
            who: The caller.
            permission: Such as OBJECT_READ.
            compartment: Of the resource.
            facts: Values of the variables that this request has.
        """
        asked = {
            **facts,
            "request.permission": permission,
            "target.compartment.id": compartment,
            "target.compartment.name": self.tree.names.get(compartment, ""),
        }
        return any(
            permission in rule.statement.permissions and holds(rule.statement.condition, asked)
            for rule in self._ruling(who, compartment)
        )

    def reaches(self, who: Who, compartment: str) -> bool:
        """True if some statement gives the caller anything in a compartment or below it."""
        below = {each for each in self.tree.names if compartment in self.tree.up(each)}
        return any(any(self._ruling(who, each)) for each in below)

    def _ruling(self, who: Who, compartment: str) -> Iterator[Rule]:
        """The rules that speak of the caller and hold in a compartment, whatever their conditions."""
        above = set(self.tree.up(compartment))
        for rule in self.rules:
            here = self.tree.resolve(rule.statement.place, rule.attached)
            if here in above and speaks_of(rule.statement, who):
                yield rule


def speaks_of(statement: Statement, who: Who) -> bool:
    """True if the caller is one of those whom the statement names. A service is not `any-user`."""
    subject = statement.subject
    match subject.kind:
        case "any-user":
            return not who.service
        case "group":
            return bool(subject.names & who.groups or subject.ids & who.group_ids)
        case "dynamic-group":
            return bool(subject.names & who.dynamic_groups or subject.ids & who.dynamic_group_ids)
    return who.service in subject.names


def holds(condition: Condition | None, facts: Mapping[str, str]) -> bool:
    """True if a condition holds; one about a variable that the request does not have never does, `!=` included."""
    if condition is None:
        return True
    if isinstance(condition, Compare):
        value = facts.get(condition.variable)
        return value is not None and _equal(condition, value.lower()) == condition.equal
    return (all if condition.every else any)(holds(part, facts) for part in condition.parts)


def _equal(condition: Compare, value: str) -> bool:
    if not condition.pattern:
        return value == condition.value
    wanted = condition.value.strip("*")
    begins, ends = condition.value.endswith("*"), condition.value.startswith("*")
    if begins and ends:
        return wanted in value
    if begins:
        return value.startswith(wanted)
    return value.endswith(wanted) if ends else value == wanted


@dataclass(frozen=True)
class Need:
    """What an operation needs: one of some permissions, where the thing is that a field of the request names.

    Args:
        permissions: Any of them is enough.
        at: A field of query or body (dotted) that names a resource, or a word of `whereabouts.WORDS`.
    """

    permissions: tuple[str, ...]
    at: str


def read_needs(text: str) -> tuple[Need, ...]:
    """Needs from their short form: `OBJECT_INSPECT|OBJECT_READ@bucket VOLUME_WRITE@volumeId`."""
    needs = []
    for word in text.split():
        permissions, _, at = word.partition("@")
        needs.append(Need(tuple(permissions.split("|")), at))
    return tuple(needs)
