"""`hyperexport emulator`: start the emulator as a process of its own and say how to point clients at it."""

from __future__ import annotations

import importlib.util
import os
import sys

import click

from hypersdk import errors


@click.command()
@click.option("--port", default=0, show_default=True, help="Port on loopback; 0 = any free one.")
@click.option(
    "--state", type=click.Path(file_okay=False), help="Directory for the cloud's state; default: a temporary one."
)
@click.option("--seed", type=click.Path(dir_okay=False, exists=True), help="Seed file: what the cloud holds at start.")
@click.option("--tls", is_flag=True, help="Serve TLS with a private CA made at start.")
@click.option("--assume", multiple=True, metavar="NAME=VALUE", help="Switch an unverified habit of OCI.")
def command(port: int, state: str | None, seed: str | None, tls: bool, assume: tuple[str, ...]) -> None:
    """Run a private Oracle Cloud on loopback until Ctrl-C.

    Prints one JSON line with the endpoint and the control token when it is ready.
    """
    arguments = ["--port", str(port)]
    for name, value in (("--state", state), ("--seed", seed)):
        arguments += [name, value] if value else []
    arguments += ["--tls"] if tls else []
    for one in assume:
        arguments += ["--assume", one]
    require_emulator()
    # The emulator takes this process over: signals and the exit status are its own, nothing is left in between.
    os.execv(sys.executable, emulator_command(*arguments))  # noqa: S606 - no shell is wanted


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
