"""The command `hyperexport`: a table of commands, loaded when used, and what an ending means to the shell.

Rules of this room: a command parses, calls one public function, prints. stdout carries only the result. An ending
becomes an exit code here and nowhere else (design section 3). `--help` imports click and nothing heavier.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn, TextIO, cast

import click

import hypersdk
from hypersdk import errors
from hypersdk.cli.options import ARGUMENTS, every_option
from hypersdk.cli.unbroken import Unbroken

COMMANDS: dict[str, str] = {
    "config": "Show the effective configuration; check that it works.",
    "cp": "Copy objects between any two places.",
    "demo": "Rehearse the main job on a private cloud on this machine.",
    "emulator": "Run a private Oracle Cloud on loopback.",
    "export": "Take an instance out of the cloud into a verified disk.",
    "fleet": "Export many instances.",
    "gc": "Find what exports and cut uploads left behind, and delete it.",
    "images": "List, show and delete custom images.",
    "instances": "List, show, start and stop instances.",
    "ls": "List objects.",
    "rm": "Delete objects.",
    "runs": "What ran, what runs, and what to do about it.",
    "stat": "Show facts about an object.",
    "worker": "Carry out exports of fleets, with other workers.",
}
"""Command -> its line in `--help`; the code is `command` in the module of that name in this room."""

BROKEN_PIPE = 141
INTERRUPTED = 130


class _LazyGroup(click.Group):
    """A group that knows its commands' names and lines without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"hypersdk.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            raise click.UsageError(f"no command {args[0]!r}" + (f"; did you mean {near[0]!r}?" if near else ""), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name]) for name in self.list_commands(ctx)])


def _print_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(f"hyperexport {hypersdk.__version__}")
        ctx.exit()


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Options that choose the cloud (--profile, --region, ...) may stand before the command or behind it.",
)
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_print_version, help="Show the version."
)
@every_option
def cli() -> None:
    """Take virtual machines out of Oracle Cloud into verified disks, and rehearse it offline."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code (design section 3)."""
    _open_standard_streams()
    if argv is None and any("://" in argument for argument in sys.argv):
        from hypersdk.cli.masking import mask_command_line

        mask_command_line()
    _end(run(argv))


def _end(status: int) -> NoReturn:
    """Leave with this exit code.

    Taking hundreds of modules apart one by one costs 35 ms of CPU, more than all that a small copy does; whatever must
    be closed is closed by now. Who watches the ending (warnings, tracers, profilers, other threads) gets all of it.
    """
    watched = sys.warnoptions or sys.flags.dev_mode or sys.gettrace() or sys.getprofile()
    if watched or threading.active_count() > 1:
        sys.exit(status)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # its reader went away: `run` has made an exit code of that
            stream.flush()
    os._exit(status)


def _open_standard_streams() -> None:
    # A file that takes the number of a closed standard stream would receive what is meant for people.
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        if getattr(sys, name) is None:
            os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(number, mode))
    sys.stderr = cast("TextIO", Unbroken(sys.stderr))


def run(argv: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        argv: the arguments; None = the process's own.

    Returns:
        The exit code.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    flags: dict[str, Any] = {}
    try:
        # Not `cli.main`: click takes a broken pipe for a failure of the command.
        with cli.make_context("hyperexport", list(arguments), obj=flags) as context:
            context.meta[ARGUMENTS] = arguments
            status = cli.invoke(context)
        sys.stdout.flush()
    except errors.HypersdkError as error:
        return _explain(error, arguments, flags)
    except (click.exceptions.Exit, click.ClickException) as left:
        return _leave(left)
    except (click.Abort, KeyboardInterrupt, EOFError) as ended:
        # A question that was not answered with a yes comes before anything is done.
        click.echo(f"hyperexport: {'nothing was done' if isinstance(ended, click.Abort) else 'interrupted'}", err=True)
        return INTERRUPTED
    except OSError as error:
        if error.filename is not None:
            raise
        return _lose_output(error)
    return status if isinstance(status, int) else 0


def _lose_output(error: OSError) -> int:
    # Python would complain once more while it flushes at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return BROKEN_PIPE
    click.echo(f"hyperexport: the result cannot be written to standard output: {error.strerror}", err=True)
    return errors.FileError.exit_code


def _leave(left: click.exceptions.Exit | click.ClickException) -> int:
    if isinstance(left, click.exceptions.NoArgsIsHelpError):
        left.show()
    elif isinstance(left, click.ClickException):
        from hypersdk.cli.output import printable

        text = left.format_message().rstrip(".")
        where = getattr(left, "ctx", None)
        hint = f" - see {where.command_path} --help" if where is not None else ""
        click.echo(printable(f"hyperexport: {text[:1].lower()}{text[1:]}{hint}"), err=True)
    return left.exit_code


def _explain(error: errors.HypersdkError, arguments: Sequence[str], flags: Mapping[str, Any]) -> int:
    from hypersdk.cli.output import printable
    from hypersdk.cli.pasting import pasteable

    # An error quotes names from the cloud, which may hold control characters.
    advice = "" if error.hint else f" - {error.remedy}"
    click.echo(printable(f"hyperexport: {error}{advice}"), err=True)
    if flags.get("verbose"):
        click.echo(f"this is {error.code!r}, see docs/troubleshooting.md#{error.code}", err=True)
    for note in getattr(error, "__notes__", ()):
        for line in note.splitlines():
            click.echo(printable(pasteable(line, arguments, flags)), err=True)
    if os.environ.get("HYPEREXPORT_DEBUG"):
        import traceback

        traceback.print_exception(error)
    return error.exit_code
