"""`hyperexport emulator`: start the emulator as a process of its own, which says how to point clients at it."""

from __future__ import annotations

import importlib.util
import os
import sys

import click

from hypersdk import errors

Value = str | int | bool | tuple[str, ...] | None


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=0, show_default=True, help="Port; 0 = any free one.")
@click.option(
    "--state",
    type=click.Path(file_okay=False),
    help="Directory of the cloud's data; started on it again, the cloud goes on. Default: a temporary one.",
)
@click.option(
    "--seed",
    type=click.Path(dir_okay=False, exists=True),
    help="Seed file: what the cloud holds at start. Default: a small rehearsal cloud.",
)
@click.option(
    "--seed-root",
    type=click.Path(file_okay=False, exists=True),
    help="Directory of the files that a seed sent over HTTP may name.",
)
@click.option("--tls", is_flag=True, help="Serve TLS with a private CA made at start.")
@click.option("--assume", multiple=True, metavar="NAME=VALUE", help="Switch an unverified habit of OCI; repeatable.")
@click.option(
    "--pace",
    type=click.FloatRange(min=0),
    metavar="P",
    help="Length of transitions as a share of OCI's: 1 = as long, 0 = none. Default: as the seed says.",
)
@click.option("--random-seed", metavar="TEXT", help="The same ids, etags, tokens and chances in every run.")
@click.option("--metadata-port", type=int, help="Port of the instance metadata service; default: any free one.")
@click.option("--oke-host", metavar="ADDRESS", help="Loopback address of an OKE cluster's stand-in, on port 12250.")
@click.option("-q", "--quiet", is_flag=True, help="Print the JSON line only.")
def command(quiet: bool, **options: Value) -> None:
    """Run a private Oracle Cloud until Ctrl-C.

    When it is ready it says, on stderr, how to point the OCI CLI, Oracle's SDK, rclone and S3 clients at it: a
    configuration with a key of its own and the variables to set. Programs read the one JSON line on stdout, with the
    endpoint, the token of the control calls and the path of that configuration.
    """
    require_emulator()
    # The emulator takes this process over: signals and the exit status are its own, nothing is left in between.
    arguments = ["--demo", *([] if quiet else ["--guide"]), *_arguments(options)]
    os.execv(sys.executable, emulator_command(*arguments))  # noqa: S606 - no shell is wanted


def _arguments(options: dict[str, Value]) -> list[str]:
    """The same options for the emulator's own command line."""
    found = []
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            found.append(flag)
        elif isinstance(value, tuple):
            found += [word for each in value for word in (flag, each)]
        elif value is not None and value is not False:
            found += [flag, str(value)]
    return found


def emulator_command(*arguments: str) -> list[str]:
    """The command line that starts the emulator with this interpreter."""
    return [sys.executable, "-m", "hypersdk_emulator", *arguments]


def require_emulator() -> None:
    """Check that the emulator's own packages are installed.

    Raises:
        ToolMissing: they are not.
    """
    if importlib.util.find_spec("aiohttp") is None:
        raise errors.ToolMissing("the emulator's packages are not installed", hint="pip install 'hypersdk[emulator]'")
