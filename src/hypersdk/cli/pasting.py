"""Commands that we print for people, completed so that they work when pasted."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from hypersdk.cli.options import connection_arguments

AGAIN = "give the same command again"
CANCEL = "hyperexport runs cancel "

PROXY = "--proxy"


def pasteable(line: str, arguments: Sequence[str], flags: Mapping[str, Any]) -> str:
    """A line of an ending with its command spelled out.

    Args:
        line: what the export says, without knowing how it was called.
        arguments: the command line that was given.
        flags: the shared options in it.
    """
    if line.endswith(AGAIN):
        # --new would cancel what is to be resumed.
        again = [one for one in arguments if one != "--new"]
        return f"{line}: {_command(again)}"
    if CANCEL in line:
        return f"{line} {_quoted(connection_arguments(flags))}".rstrip()
    return line


DRIVE = ("--quiet", "--drive")
"""Before the run's id: what the background process of --detach is told besides what the user wrote."""


def foreground_arguments(arguments: Sequence[str]) -> list[str]:
    """The command line of a background process as the user wrote it."""
    return [*arguments[: -len(DRIVE) - 1], "--detach"] if tuple(arguments[-3:-1]) == DRIVE else list(arguments)


def shown_command(arguments: Sequence[str]) -> str:
    """A command line as it may be kept: quoted, its secrets replaced by stars."""
    from hypersdk.cli.masking import masked

    line = "".join(f"{argument}\0" for argument in arguments).encode(errors="surrogateescape")
    return _command(masked(line).decode(errors="replace").split("\0")[:-1])


def _command(arguments: Sequence[str]) -> str:
    return _quoted(["hyperexport", *arguments])


def _quoted(arguments: Sequence[str]) -> str:
    return shlex.join(_masked(one, before) for before, one in zip(["", *arguments], arguments, strict=False))


def _masked(argument: str, before: str) -> str:
    # A proxy's password is no more shown than any other; the user fills it in.
    if not (before == PROXY or argument.startswith(f"{PROXY}=")) or "@" not in argument:
        return argument
    host = argument.rpartition("@")[2]
    return f"***@{host}" if before == PROXY else f"{PROXY}=***@{host}"
