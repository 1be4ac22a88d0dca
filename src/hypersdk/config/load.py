"""Merges the layers key by key and fills the options of the rooms below."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from hypersdk import errors
from hypersdk.bandwidth import Timetable
from hypersdk.config import oci
from hypersdk.config.gather import Gathered, gather
from hypersdk.config.keys import KEYS
from hypersdk.config.layers import Place
from hypersdk.config.merge import Merged
from hypersdk.exports.options import CloudLimits
from hypersdk.model import Secret
from hypersdk.retry import RetryPolicy
from hypersdk.transfer.options import READ_BACK, TransferOptions
from hypersdk.vendors.oci.credentials import OciSettings


@dataclass(frozen=True, slots=True)
class Shown:
    """One line of `config show`; secrets are masked already. `value` None = not set."""

    key: str
    value: str | None
    source: str


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that is configured.

    Attributes:
        oci: for `vendors.oci`.
        transfer: for `transfer`.
        retry: for `retry`.
        network_monitor: whether calls wait while the network is down.
        state: absolute path of the run store; a URL (postgresql://...) stays as it was written and may hold a password.
        uploads: absolute path of the directory of upload journals, beside the run store; None = none.
        logs: absolute path of the directory of the runs' log files, beside the run store; None = none.
        limits: how much of OCI's exporter the runs of one store use at once.
        sources: dotted key -> where its value comes from ("oci.region" -> "~/.oci/config:4 [DEFAULT] region").
        warnings: one line each, for people.
        shown: every key with its effective value.
        again: loads the configuration once more as it was loaded; None = it was not loaded.
    """

    oci: OciSettings = field(default_factory=OciSettings)
    transfer: TransferOptions = field(default_factory=TransferOptions)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    network_monitor: bool = True
    state: str = ""
    uploads: str | None = None
    logs: str | None = None
    limits: CloudLimits = field(default_factory=CloudLimits)
    sources: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    shown: tuple[Shown, ...] = ()
    again: Callable[[], Config] | None = field(default=None, repr=False, compare=False)


def load_config(
    flags: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    cwd: str | os.PathLike[str] | None = None,
    home: str | os.PathLike[str] | None = None,
) -> Config:
    """Load the configuration: flags > environment > hypersdk.yaml > ~/.oci/config > defaults, key by key.

    Args:
        flags: key -> value, stronger than everything else; keys as in hypersdk.yaml, with or without their block
            ("region", "oci.region"); "config" names the hypersdk.yaml to use.
        environ: environment; None = the process's own.
        cwd: current directory; None = the process's own.
        home: the user's home directory; None = `HOME`.

    Raises:
        ConfigError: unknown key or profile, unusable value, unreadable file; names file, line and key.
    """
    environ = os.environ if environ is None else environ
    place = Place(Path(cwd).absolute() if cwd else _cwd(), Path(home or environ.get("HOME") or Path.home()))
    gathered = gather(flags or {}, environ, place)
    merged = Merged(gathered.layers, place)
    settings = oci.settings(merged, gathered, environ)
    state, state_source = _state(environ, place)
    sources = merged.sources() | {f"oci.{key}": source for key, source in settings.sources.items()}
    sources["state"] = state_source
    try:
        transfer = TransferOptions(
            merged.integer("transfer.part_size"),
            merged.integer("transfer.parallel"),
            Timetable.parse(str(merged.value("transfer.bandwidth_limit"))),
            digests=merged.names("transfer.checksum"),
            reread=merged.value("transfer.verify") == READ_BACK,
            preallocate=bool(merged.value("transfer.preallocate")),
        )
        retry = RetryPolicy(
            max_attempts=merged.integer("retry.max_attempts"),
            initial_delay=merged.number("retry.initial_delay"),
            max_delay=merged.number("retry.max_delay"),
            multiplier=merged.number("retry.multiplier"),
            jitter=bool(merged.value("retry.jitter")),
            max_time=merged.number("retry.max_time"),
            max_standstill=merged.number("retry.max_standstill"),
        )
    except errors.ConfigError as error:
        raise _located(error, sources) from error
    return Config(
        oci=settings,
        transfer=transfer,
        retry=retry,
        network_monitor=bool(merged.value("network.monitor")),
        state=state,
        uploads=_uploads(state, environ, place),
        logs=_logs(state, environ, place),
        limits=CloudLimits(merged.integer("fleet.exports_per_region"), merged.integer("fleet.exports_per_bucket")),
        sources=sources,
        warnings=gathered.warnings,
        shown=_shown(merged, settings, gathered, sources, state),
        again=partial(load_config, flags, environ, cwd=place.cwd, home=place.home),
    )


def _cwd() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError as error:
        raise errors.ConfigError("the current directory is gone", hint="cd to one that exists") from error


def _located(error: errors.ConfigError, sources: Mapping[str, str]) -> errors.ConfigError:
    """The refusal of a room that knows the key ("transfer.part_size: ..."), with the place where its value stands."""
    dotted, _, rest = error.message.partition(": ")
    return errors.ConfigError(f"{sources[dotted]}: {rest}", hint=error.hint) if dotted in sources else error


def _state(environ: Mapping[str, str], place: Place) -> tuple[str, str]:
    if named := environ.get("HYPEREXPORT_STATE"):
        url = "://" in named
        return named if url else str(place.absolute(named, place.cwd)), "environment HYPEREXPORT_STATE"
    base = environ.get("XDG_STATE_HOME")
    source = "environment XDG_STATE_HOME" if base and Path(base).is_absolute() else "default"
    return str(_state_root(environ, place) / "runs.sqlite"), source


def _uploads(state: str, environ: Mapping[str, str], place: Place) -> str:
    if environ.get("HYPEREXPORT_STATE") and "://" not in state:
        return f"{state}.uploads"
    return str(_state_root(environ, place) / "uploads")


def _logs(state: str, environ: Mapping[str, str], place: Place) -> str:
    # The logs of this machine's runs stay here, also where the store is everybody's.
    return str((_state_root(environ, place) if "://" in state else Path(state).parent) / "logs")


def _state_root(environ: Mapping[str, str], place: Place) -> Path:
    base = environ.get("XDG_STATE_HOME")
    # The XDG base directory specification: a relative path there is to be ignored.
    root = Path(base) if base and Path(base).is_absolute() else place.home / ".local/state"
    return root / "hypersdk"


def _shown(
    merged: Merged, settings: OciSettings, gathered: Gathered, sources: Mapping[str, str], state: str
) -> tuple[Shown, ...]:
    effective = {dotted: merged.written(dotted) for dotted in KEYS}
    effective |= oci.effective(settings, gathered)
    lines = [Shown(dotted, _text(value), sources.get(dotted, "")) for dotted, value in effective.items()]
    # A store's URL may hold a password.
    scheme, separator, _ = state.partition("://")
    lines.append(Shown("state", f"{scheme}://***" if separator else state, sources["state"]))
    return tuple(lines)


def _text(value: object) -> str | None:
    if value is None or value == {}:
        return None
    if isinstance(value, Secret):
        return "***"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(value) or "none"
    if isinstance(value, Mapping):
        return ",".join(f"{key}={text}" for key, text in value.items())
    return str(value)
