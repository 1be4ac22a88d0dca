"""Options that many commands share, in the words of the OCI CLI."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

import click

from hypersdk.transfer.options import DIGESTS, READ_BACK, RECEIVED

F = TypeVar("F", bound=Callable[..., Any])

# Option declarations -> (key of `load_config`'s flags, help). The names are oci-cli's where it has one.
CONNECTION: Mapping[tuple[str, ...], tuple[str, str]] = {
    ("--profile",): ("profile", "Profile in ~/.oci/config."),
    ("--config-file",): ("config_file", "OCI configuration file."),
    ("--config",): ("config", "hypersdk.yaml to use."),
    ("--auth",): (
        "auth",
        "How to sign in: api_key, security_token, instance_principal, resource_principal or oke_workload_identity.",
    ),
    ("--region",): ("region", "Region, such as eu-frankfurt-1."),
    ("-c", "--compartment-id"): ("compartment_ocid", "Compartment to look in; default: all that you can list."),
    ("-ns", "--namespace"): ("namespace", "Object Storage namespace."),
    ("-bn", "--bucket-name"): ("bucket", "Bucket for the exported object."),
    ("--endpoint",): ("endpoint", "One endpoint for all services, such as an emulator's."),
    ("--federation-endpoint",): ("federation_endpoint", "Where principals get their tokens; default: of the region."),
    ("--cert-bundle",): ("ca_bundle", "PEM file of trusted certificate authorities."),
    ("--proxy",): ("proxy", "Proxy URL."),
}

_SOMETIMES = {"compartment_ocid", "namespace", "bucket"}
"""Options that some commands have no use for."""


def connection_options(*shown: str, without: Collection[str] = ()) -> Callable[[F], F]:
    """Add the options that say which cloud, who we are and how to connect; their values arrive in the context.

    Every command takes all of them, so that one set serves a whole script; `--help` shows those that matter to it.

    Args:
        shown: keys shown besides those of the connection itself: "compartment_ocid", "namespace", "bucket".
        without: keys whose options the command declares itself.
    """

    def decorate(function: F) -> F:
        for declarations, (key, text) in reversed(list(CONNECTION.items())):
            if key in without:
                continue
            function = click.option(
                *declarations,
                f"flag_{key}",
                expose_value=False,
                help=text,
                callback=_collector(key),
                metavar="TEXT",
                hidden=key in _SOMETIMES and key not in shown,
            )(function)
        return function

    return decorate


def setting_option(declaration: str, key: str, text: str, *, metavar: str) -> Callable[[F], F]:
    """Add an option that sets one key of the configuration."""
    return click.option(
        declaration, f"flag_{key}", expose_value=False, help=text, callback=_collector(key), metavar=metavar
    )


def preallocate_option(function: F) -> F:
    """Add --preallocate: room for a whole file is taken before its first byte."""
    return click.option(
        "--preallocate",
        "flag_preallocate",
        is_flag=True,
        expose_value=False,
        callback=lambda ctx, param, given: _collector("preallocate")(ctx, param, "true" if given else None),
        help="Reserve a file's whole size on the disk before its first byte; it is not sparse then.",
    )(function)


def verification_options(function: F) -> F:
    """Add --checksum and --verify: how much is proven of a file that was fetched, and what it costs."""
    checksum = click.option(
        "--checksum",
        "flag_checksum",
        expose_value=False,
        multiple=True,
        type=click.Choice(DIGESTS),
        callback=lambda ctx, param, given: _collector("checksum")(ctx, param, ",".join(given) or None),
        help="A digest of the file, besides CRC32C; may be repeated. The file is read once for all of them, and a GB"
        " takes one core 0.1 s (blake3), 0.5-0.8 s (sha256), 0.8-1 s (sha384), 1.1-1.6 s (md5).",
    )
    verify = click.option(
        "--verify",
        "flag_verify",
        expose_value=False,
        type=click.Choice((RECEIVED, READ_BACK)),
        callback=_collector("verify"),
        help="What the proof rests on: the bytes as received (default), or as read back from the device.",
    )
    return checksum(verify(function))


def every_option(function: F) -> F:
    """Add all shared options without showing them in `--help`: they may also stand before the command."""
    function = output_options(connection_options()(function))
    for parameter in getattr(function, "__click_params__", []):
        parameter.hidden = getattr(parameter, "name", "").startswith("flag_")
    return function


def connection_arguments(flags: Mapping[str, Any]) -> list[str]:
    """The connection options as they were given, to be pasted behind another command."""
    arguments: list[str] = []
    for declarations, (key, _text) in CONNECTION.items():
        if key in flags:
            arguments += [declarations[-1], str(flags[key])]
    return arguments


def output_options(function: F) -> F:
    """Add --json, -q, -v and --debug; their values arrive in the context."""
    for declarations, key, text in (
        (("--debug",), "debug", "Like -v, and show the traceback of an error."),
        (("-v", "--verbose"), "verbose", "Show on stderr which settings are in effect, and each call to the cloud."),
        (("-q", "--quiet"), "quiet", "Say nothing but errors on stderr."),
        (("--json",), "json", "Print the result as JSON."),
    ):
        function = click.option(
            *declarations, f"flag_{key}", is_flag=True, expose_value=False, help=text, callback=_collector(key)
        )(function)
    return function


ARGUMENTS = "hypersdk.arguments"
"""Key of click's `meta`: the command line as it was given."""


def arguments_of(ctx: click.Context) -> list[str]:
    """The command line as it was given, without the program's name."""
    arguments: list[str] = ctx.find_root().meta.get(ARGUMENTS, [])
    return arguments


def flags_of(ctx: click.Context) -> dict[str, Any]:
    """The shared options that the user gave, by key."""
    flags: dict[str, Any] = ctx.find_root().ensure_object(dict)
    return flags


def _collector(key: str) -> Callable[[click.Context, click.Parameter, Any], Any]:
    def collect(ctx: click.Context, _param: click.Parameter, value: Any) -> Any:
        if value not in (None, False):
            flags_of(ctx)[key] = value
        return value

    return collect
