"""YAML of two levels with the line of every key; scalars stay text.

Scalars are not given YAML 1.1 types: `12:34:56` would become a number to the base of 60 and `no` a boolean. Who knows
the key parses the text. Aliases are refused: settings need none, and they can be nested into a bomb.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hypersdk import errors
from hypersdk.readers.text import decode

if TYPE_CHECKING:
    import yaml

MAX_DEPTH = 4
"""Block, key, tag: three levels exist; deeper is a mistake."""


@dataclass(frozen=True, slots=True)
class YamlEntry:
    """The value of a key (None = the key is there without one) and the line (from 1) where the key stands."""

    value: str | Mapping[str, YamlEntry] | None
    line: int


def read_yaml(data: bytes, name: str) -> Mapping[str, YamlEntry]:
    """Read a settings file in YAML.

    Args:
        data: the file's bytes.
        name: the file's name for messages.

    Returns:
        The keys of the top level; empty for an empty file.

    Raises:
        ConfigError: not YAML, or a shape that settings do not have; the message begins with `name:line`.
    """
    root = compose(data, name)
    if root is None:
        return {}
    value = _value(root, name, 0)
    if value is None:
        return {}
    if isinstance(value, str):
        raise _refused(name, root.start_mark.line, "expected blocks such as `oci:`, found a single value")
    return value


def compose(data: bytes, name: str) -> yaml.Node | None:
    """The nodes of a file in YAML without aliases; None for an empty one.

    Args:
        data: the file's bytes.
        name: the file's name for messages.

    Raises:
        ConfigError: not YAML; the message begins with `name:line`.
    """
    import yaml

    text = decode(data, name)
    try:
        for event in yaml.parse(text, yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                assert event.start_mark is not None  # every event of a parsed text has its place
                raise _refused(name, event.start_mark.line, "aliases (`*name`) are not supported")
        return yaml.compose(text, yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _refused(name, mark.line if mark else 0, f"not YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise errors.ConfigError(f"{name}: not YAML: {error}", resource=name) from error


def _value(node: yaml.Node, name: str, depth: int) -> str | Mapping[str, YamlEntry] | None:
    import yaml

    if isinstance(node, yaml.ScalarNode):
        return None if node.tag == "tag:yaml.org,2002:null" else str(node.value)
    if not isinstance(node, yaml.MappingNode):
        raise _refused(name, node.start_mark.line, "a list; no key takes one")
    if depth >= MAX_DEPTH:
        raise _refused(name, node.start_mark.line, "nested too deep")
    entries: dict[str, YamlEntry] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _refused(name, key.start_mark.line, "a key must be a plain word")
        if key.value in entries:
            raise _refused(name, key.start_mark.line, f"{key.value!r} stands already in line {entries[key.value].line}")
        entries[key.value] = YamlEntry(_value(value, name, depth + 1), key.start_mark.line + 1)
    return entries


def _refused(name: str, line: int, why: str) -> errors.ConfigError:
    return errors.ConfigError(f"{name}:{line + 1}: {why}", resource=name)
