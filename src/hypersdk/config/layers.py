"""Where settings are written: each place becomes a layer of texts, none of them judged yet.

Order of the layers, the strongest first: flags, environment, ./hypersdk.yaml, the user's hypersdk.yaml, oci_cli_rc (own
profile, then [DEFAULT]), the OCI configuration file (own profile, then [DEFAULT]).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hypersdk import errors
from hypersdk.config.keys import BLOCKS, KEYS, Key, Text, suggest
from hypersdk.readers.ini import IniEntry, IniFile, IniSection, read_ini
from hypersdk.readers.yaml import YamlEntry, read_yaml

RC_SETTINGS = "OCI_CLI_SETTINGS"
# Sections that the OCI CLI keeps beside the profiles (its `cli_constants.py`).
RESERVED_SECTIONS = frozenset(
    {RC_SETTINGS, "OCI_CLI_CANNED_QUERIES", "OCI_CLI_COMMAND_ALIASES", "OCI_CLI_PARAM_ALIASES"}
)
DEFAULT_PROFILE = "DEFAULT"


@dataclass(frozen=True, slots=True)
class Given:
    """A text that somebody wrote, where, and the directory from which relative paths in it count."""

    text: Text
    source: str
    base: Path


Layer = Mapping[str, Given]
"""Dotted key -> what this place says of it."""


@dataclass(frozen=True, slots=True)
class Place:
    """The directories that paths are relative to, and the user's name for paths under home."""

    cwd: Path
    home: Path

    def absolute(self, text: str, base: Path) -> Path:
        """A path as written -> absolute; `~` is home."""
        if text == "~" or text.startswith("~/"):
            return Path(os.path.normpath(self.home / text[2:]))
        return Path(os.path.normpath(base / Path(text).expanduser()))

    def shown(self, path: Path) -> str:
        """A path for people: `~` for home."""
        return f"~/{path.relative_to(self.home)}" if path.is_relative_to(self.home) else str(path)


def flag_layer(flags: Mapping[str, object], place: Place) -> Layer:
    """What the command line (or a library's caller) says; names are keys, bare or dotted.

    Raises:
        ConfigError: no such key.
    """
    layer: dict[str, Given] = {}
    bare = {key.name: key for key in KEYS.values()}
    for name, value in flags.items():
        if value is None:
            continue
        key = KEYS.get(name) or bare.get(name)
        if key is None:
            raise errors.ConfigError(f"no setting {name!r}", hint=suggest(name, bare))
        source = f"--{key.spelling.flag or key.name.replace('_', '-')}"
        text = {str(k): str(v) for k, v in value.items()} if isinstance(value, Mapping) else str(value)
        layer[key.dotted] = Given(text, source, place.cwd)
    return layer


def environment_layer(environ: Mapping[str, str], place: Place) -> Layer:
    """What the environment says: our own variable of a key first, then Oracle's. An empty variable says nothing.

    Raises:
        ConfigError: a variable of ours that belongs to no key.
    """
    own = {key.variable for key in KEYS.values()}
    for name in environ:
        ours = any(name.startswith(f"HYPEREXPORT_{block.upper()}_") for block in BLOCKS)
        if ours and name not in own:
            raise errors.ConfigError(f"environment {name}: no such setting", hint=suggest(name, sorted(own)))
    layer: dict[str, Given] = {}
    for key in KEYS.values():
        for name in (key.variable, *key.spelling.environment):
            if environ.get(name):
                layer[key.dotted] = Given(environ[name], f"environment {name}", place.cwd)
                break
    return layer


def yaml_layer(path: Path, data: bytes, place: Place) -> Layer:
    """What a hypersdk.yaml says.

    Raises:
        ConfigError: not readable as YAML, an unknown block or key; names file, line and the nearest known one.
    """
    name = place.shown(path)
    layer: dict[str, Given] = {}
    for block, entry in read_yaml(data, name).items():
        if block not in BLOCKS:
            raise _unknown(name, entry, f"unknown block {block!r}", suggest(block, BLOCKS))
        if entry.value is None:
            continue
        if isinstance(entry.value, str):
            raise errors.ConfigError(f"{name}:{entry.line}: {block}: expected keys below it", resource=name)
        for word, inner in entry.value.items():
            key = BLOCKS[block].get(word)
            if key is None or not key.from_file:
                raise _unknown(name, inner, *_why_not(key, f"{block}.{word}", BLOCKS[block]))
            if inner.value is not None and inner.value != "":
                source = f"{name}:{inner.line} {key.dotted}"
                layer[key.dotted] = Given(_flat(inner, name), source, path.parent)
    return layer


def _why_not(key: Key | None, dotted: str, known: Mapping[str, Key]) -> tuple[str, str]:
    if key is not None:
        return f"{dotted} is never read from a file", f"use {key.spelling.environment[0]} in the environment"
    return f"unknown key {dotted!r}", suggest(dotted.split(".")[1], known)


def _unknown(name: str, entry: YamlEntry, what: str, hint: str) -> errors.ConfigError:
    return errors.ConfigError(f"{name}:{entry.line}: {what}", resource=name, hint=hint)


def _flat(entry: YamlEntry, name: str) -> Text:
    if not isinstance(entry.value, Mapping):
        return entry.value or ""
    pairs: dict[str, str] = {}
    for key, inner in entry.value.items():
        if isinstance(inner.value, Mapping):
            raise errors.ConfigError(f"{name}:{inner.line}: {key}: expected one value", resource=name)
        pairs[key] = inner.value or ""
    return pairs


def ini_layer(section: IniSection, path: Path, place: Place, spellings: Mapping[str, tuple[str, ...]]) -> Layer:
    """What one section of an INI file says.

    Args:
        section: the profile's section, or [DEFAULT].
        path: the file.
        place: for relative paths and names.
        spellings: dotted key -> what it is called there.

    Raises:
        ConfigError: a value that Oracle's tools would take wrongly (in quotes, or continued on the next line).
    """
    layer: dict[str, Given] = {}
    for dotted, names in spellings.items():
        for name in names:
            entry = section.entries.get(name)
            if entry is None or not entry.value:
                continue
            source = f"{place.shown(path)}:{entry.line} [{section.name}] {name}"
            if name != "pass_phrase":
                _check_value(entry, source)
            layer[dotted] = Given(entry.value, source, path.parent)
            break
    return layer


def _check_value(entry: IniEntry, source: str) -> None:
    if entry.continued:
        raise errors.ConfigError(
            f"{source}: the next line is indented and so continues this value", hint="remove the blanks before it"
        )
    if entry.value[0] in "'\"" and entry.value[-1] == entry.value[0]:
        raise errors.ConfigError(f"{source}: the value stands in quotes, which would become part of it")


PROFILE_SPELLINGS: Mapping[str, tuple[str, ...]] = {
    key.dotted: (key.spelling.profile,) for key in KEYS.values() if key.spelling.profile
}
RC_SPELLINGS: Mapping[str, tuple[str, ...]] = {key.dotted: key.spelling.rc for key in KEYS.values() if key.spelling.rc}


def profile_layers(
    file: IniFile | None, path: Path, profile: str, place: Place, spellings: Mapping[str, tuple[str, ...]]
) -> list[Layer]:
    """The layers of a profile: its own section, then [DEFAULT], from which every profile inherits as in the SDK."""
    if file is None:
        return []
    names = dict.fromkeys((profile, DEFAULT_PROFILE))
    return [ini_layer(file.sections[name], path, place, spellings) for name in names if name in file.sections]


def profiles_of(file: IniFile | None) -> tuple[str, ...]:
    """Names of the profiles in an OCI configuration file."""
    return tuple(name for name in (file.sections if file else ()) if name not in RESERVED_SECTIONS)


def read_ini_file(path: Path, place: Place, *, required_by: str | None) -> IniFile | None:
    """Read an INI file.

    Args:
        path: where.
        place: for names.
        required_by: what names it; None = it may be absent.

    Raises:
        ConfigError: absent though named, unreadable, or not in the dialect.
    """
    data = read_settings(path, place, required_by=required_by)
    return None if data is None else read_ini(data, place.shown(path))


def read_settings(path: Path, place: Place, *, required_by: str | None) -> bytes | None:
    """The bytes of a settings file; None = absent, and nobody asked for it.

    Raises:
        ConfigError: absent though named, or unreadable.
    """
    by = f" (named by {required_by})" if required_by else ""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        if required_by is None:
            return None
        raise errors.ConfigError(f"{path}: there is no such file{by}", resource=str(path)) from error
    except OSError as error:
        raise errors.ConfigError(
            f"{place.shown(path)}: cannot be read: {error.strerror}{by}", resource=str(path)
        ) from error


def read_trusted(path: Path) -> tuple[bytes | None, str | None]:
    """Read a file that merely lies in the current directory: only if the caller owns it and nobody else can write it.

    Returns:
        Its bytes, or None and, if it is there but not trusted, why.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None, None
    except OSError as error:
        return None, f"cannot be read: {error.strerror}"
    with os.fdopen(descriptor, "rb") as file:
        # Asked of the open file, so that it cannot be another one by the time it is read.
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            return None, "it is not a plain file"
        if facts.st_uid != os.geteuid():
            return None, "it belongs to somebody else"
        if facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return None, "others can write it"
        return file.read(), None
