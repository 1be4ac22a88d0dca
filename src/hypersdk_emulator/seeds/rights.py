"""Groups, dynamic groups and policies of a seed. Pure.

A seed that has one of the three sections, be it empty, makes policies rule: what no statement allows is refused.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hypersdk_emulator.identity import statements
from hypersdk_emulator.seeds.node import Node, SeedError

SECTIONS = ("groups", "dynamicGroups", "policies")


@dataclass(frozen=True)
class Group:
    """A group and the OCIDs or names of its users."""

    id: str
    name: str
    users: tuple[str, ...]


@dataclass(frozen=True)
class DynamicGroup:
    """Instances and resources that a rule matches."""

    id: str
    name: str
    rule: str


@dataclass(frozen=True)
class Policy:
    """Statements attached to a compartment, or to the tenancy (None)."""

    id: str
    name: str
    compartment_id: str | None
    statements: tuple[str, ...]


@dataclass(frozen=True)
class Rights:
    """Who may do what; `rule` is False if the seed says nothing of it."""

    rule: bool
    groups: tuple[Group, ...]
    dynamic_groups: tuple[DynamicGroup, ...]
    policies: tuple[Policy, ...]


def read(node: Node, value: Mapping[str, Any]) -> Rights:
    """Read the three sections of a seed.

    Raises:
        SeedError: begins with the place of the mistake, such as `policies[0].statements[1]: column 7`.
    """
    return Rights(
        rule=any(section in value for section in SECTIONS),
        groups=node.each("groups", _group),
        dynamic_groups=node.each("dynamicGroups", _dynamic_group),
        policies=node.each("policies", _policy),
    )


def _id(node: Node, kind: str, name: str) -> str:
    """The OCID given, or one made of the name, the same each time."""
    return node.maybe_ocid("id") or f"ocid1.{kind}.oc1..{re.sub('[^a-z0-9]', '', name.lower()) or 'seeded'}"


def _group(node: Node) -> Group:
    name = node.text("name")
    return Group(_id(node, "group", name), name, node.texts("users"))


def _dynamic_group(node: Node) -> DynamicGroup:
    name, rule = node.text("name"), node.text("matchingRule")
    try:
        statements.parse_rule(rule)
    except statements.StatementError as error:
        raise SeedError(f"{node.at('matchingRule')}: {error}") from None
    return DynamicGroup(_id(node, "dynamicgroup", name), name, rule)


def _policy(node: Node) -> Policy:
    name, texts = node.text("name", "seeded"), node.texts("statements")
    for number, text in enumerate(texts):
        try:
            statements.parse(text)
        except statements.StatementError as error:
            raise SeedError(f"{node.at('statements')}[{number}]: {error}") from None
    return Policy(_id(node, "policy", name), name, node.maybe_ocid("compartmentId"), texts)
