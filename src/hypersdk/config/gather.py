"""Finds and reads the files, one after the other, because the earlier ones say where the later ones lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hypersdk import errors
from hypersdk.config.keys import suggest
from hypersdk.config.layers import (
    DEFAULT_PROFILE,
    PROFILE_SPELLINGS,
    RC_SETTINGS,
    RC_SPELLINGS,
    Given,
    Layer,
    Place,
    environment_layer,
    flag_layer,
    ini_layer,
    profile_layers,
    profiles_of,
    read_ini_file,
    read_settings,
    read_trusted,
    yaml_layer,
)
from hypersdk.config.merge import DEFAULT, Merged
from hypersdk.readers.ini import IniFile

FILE_NAME = "hypersdk.yaml"
CONFIG_FLAG = "config"
# What the command line calls a key of ours by another name.
FLAG_NAMES = {"ca_bundle": "cert_bundle"}


@dataclass(frozen=True, slots=True)
class Gathered:
    """What was found.

    Attributes:
        layers: the strongest first.
        profile: name of the profile in use, and who chose it.
        config_file: absolute path of the OCI configuration file, read or not, and who named it.
        profiles: names of the profiles in it.
        identity_from_yaml: whether a hypersdk.yaml, and nothing stronger, names the tenancy.
        warnings: one line each.
    """

    layers: tuple[Layer, ...]
    profile: Given
    config_file: Given
    profiles: tuple[str, ...]
    identity_from_yaml: bool
    warnings: tuple[str, ...]


def gather(flags: Mapping[str, object], environ: Mapping[str, str], place: Place) -> Gathered:
    """Read every place where settings may stand.

    Raises:
        ConfigError: a file that was named is absent or unreadable, is not in its dialect, or has an unknown key or
            no such profile.
    """
    named = {FLAG_NAMES.get(name, name): value for name, value in flags.items() if name != CONFIG_FLAG}
    outside: list[Layer] = [flag_layer(named, place), environment_layer(environ, place)]
    yaml, warnings = _yaml_layers(flags.get(CONFIG_FLAG), environ, place)
    first = Merged([*outside, *yaml], place)
    rc_path, rc = _rc_file(environ, place)
    chosen = _profile(first, rc_path, rc, place)
    config_given = first.given("oci.config_file")
    config_path = place.absolute(
        str(config_given.text) if config_given else "~/.oci/config", config_given.base if config_given else place.home
    )
    file = read_ini_file(config_path, place, required_by=config_given.source if config_given else None)
    warnings += _misplaced(file, config_path, rc_path, place)
    _check_profile(chosen, file, config_path, place, identity_elsewhere=first.given("oci.tenancy_ocid") is not None)
    profile = str(chosen.text)
    layers: list[Layer] = [*outside, *yaml, *profile_layers(rc, rc_path, profile, place, RC_SPELLINGS)]
    if rc is not None and RC_SETTINGS in rc.sections:
        layers.append(ini_layer(rc.sections[RC_SETTINGS], rc_path, place, {"oci.proxy": ("proxy",)}))
    layers += profile_layers(file, config_path, profile, place, PROFILE_SPELLINGS)
    return Gathered(
        layers=tuple(layers),
        profile=chosen,
        config_file=Given(str(config_path), config_given.source if config_given else DEFAULT, place.home),
        profiles=profiles_of(file),
        identity_from_yaml=_decides(yaml, outside, "oci.tenancy_ocid"),
        warnings=tuple(warnings),
    )


def _decides(these: list[Layer], stronger: list[Layer], dotted: str) -> bool:
    return any(dotted in layer for layer in these) and not any(dotted in layer for layer in stronger)


def _yaml_layers(chosen: object, environ: Mapping[str, str], place: Place) -> tuple[list[Layer], list[str]]:
    named = environ.get("HYPEREXPORT_CONFIG")
    if chosen or named:
        by = "--config" if chosen else "environment HYPEREXPORT_CONFIG"
        path = place.absolute(str(chosen or named), place.cwd)
        data = read_settings(path, place, required_by=by)
        assert data is not None
        return [yaml_layer(path, data, place)], []
    layers, warnings = [], []
    here = place.cwd / FILE_NAME
    data, distrust = read_trusted(here)
    if distrust:
        warnings.append(f"./{FILE_NAME} is not read: {distrust}")
    if data is not None:
        warnings.append(f"using {place.shown(here)}")
        layers.append(yaml_layer(here, data, place))
    base = environ.get("XDG_CONFIG_HOME")
    root = Path(base) if base and Path(base).is_absolute() else place.home / ".config"
    own = root / "hypersdk" / FILE_NAME
    if own != here and (data := read_settings(own, place, required_by=None)) is not None:
        layers.append(yaml_layer(own, data, place))
    return layers, warnings


def _rc_file(environ: Mapping[str, str], place: Place) -> tuple[Path, IniFile | None]:
    named = environ.get("OCI_CLI_RC_FILE")
    path = place.absolute(named or "~/.oci/oci_cli_rc", place.cwd)
    return path, read_ini_file(path, place, required_by="environment OCI_CLI_RC_FILE" if named else None)


def _profile(first: Merged, rc_path: Path, rc: IniFile | None, place: Place) -> Given:
    if (given := first.given("oci.profile")) is not None:
        return given
    if rc is not None and RC_SETTINGS in rc.sections:
        layer = ini_layer(rc.sections[RC_SETTINGS], rc_path, place, {"oci.profile": ("default_profile",)})
        if "oci.profile" in layer:
            return layer["oci.profile"]
    return Given(DEFAULT_PROFILE, DEFAULT, place.home)


def _misplaced(file: IniFile | None, path: Path, rc_path: Path, place: Place) -> list[str]:
    if file is None or path == rc_path or RC_SETTINGS not in file.sections:
        return []
    section = file.sections[RC_SETTINGS]
    entry = section.entries.get("default_profile")
    what, line = ("default_profile", entry.line) if entry else (f"[{RC_SETTINGS}]", section.line)
    return [f"{place.shown(path)}:{line}: {what} is not read from this file; it belongs into {place.shown(rc_path)}"]


def _check_profile(chosen: Given, file: IniFile | None, path: Path, place: Place, *, identity_elsewhere: bool) -> None:
    profile, known = str(chosen.text), profiles_of(file)
    if profile in known or (chosen.source == DEFAULT) or (file is None and identity_elsewhere):
        return
    if file is None:
        raise errors.ConfigError(f"profile {profile!r} ({chosen.source}): there is no file {path}", resource=str(path))
    raise errors.ConfigError(
        f"no profile {profile!r} ({chosen.source}) in {place.shown(path)}",
        resource=profile,
        hint=suggest(profile, known) if known else "it has no profiles",
    )
