"""YAML with lists, for files that people write lists in; every node knows its line and scalars stay text.

Why scalars stay text, and why aliases are refused, is told in `yaml.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hypersdk import errors
from hypersdk.readers.yaml import compose

if TYPE_CHECKING:
    import yaml

MAX_DEPTH = 5
"""File, list, entry, its tags, a tag: deeper is a mistake."""


@dataclass(frozen=True, slots=True)
class Node:
    """A value and the line (from 1) where it stands; `value` None = nothing is written there."""

    value: str | tuple[Node, ...] | Mapping[str, Node] | None
    line: int


def read_yaml_tree(data: bytes, name: str) -> Node:
    """Read a file in YAML.

    Args:
        data: the file's bytes.
        name: the file's name for messages.

    Raises:
        ConfigError: not YAML, aliases, a key twice, nested too deep; the message begins with `name:line`.
    """
    root = compose(data, name)
    return Node(None, 1) if root is None else _node(root, name, 0, root.start_mark.line)


def _node(node: yaml.Node, name: str, depth: int, line: int) -> Node:
    import yaml

    if isinstance(node, yaml.ScalarNode):
        return Node(None if node.tag == "tag:yaml.org,2002:null" else str(node.value), line + 1)
    if depth >= MAX_DEPTH:
        raise errors.ConfigError(f"{name}:{line + 1}: nested too deep", resource=name)
    if isinstance(node, yaml.SequenceNode):
        return Node(tuple(_node(each, name, depth + 1, each.start_mark.line) for each in node.value), line + 1)
    entries: dict[str, Node] = {}
    for key, value in node.value:
        at = key.start_mark.line
        if not isinstance(key, yaml.ScalarNode):
            raise errors.ConfigError(f"{name}:{at + 1}: a key must be a plain word", resource=name)
        if key.value in entries:
            first = entries[key.value].line
            raise errors.ConfigError(f"{name}:{at + 1}: {key.value!r} stands already in line {first}", resource=name)
        entries[key.value] = _node(value, name, depth + 1, at)
    return Node(entries, line + 1)
