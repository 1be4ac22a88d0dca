"""`export --detach`: the export goes on in a process of its own, in a session without a terminal.

Rules of this file: whatever can be refused is refused in the foreground; the background process is this program with
the same settings, told which run to drive; it writes into the run's log file and is gone when the run has ended.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from hypersdk import errors
from hypersdk.cli.context import CliContext
from hypersdk.cli.exportresult import print_result
from hypersdk.cli.options import arguments_of, connection_arguments, flags_of
from hypersdk.cli.output import Output
from hypersdk.cli.pasting import DRIVE
from hypersdk.exports import api
from hypersdk.exports.options import ExportOptions
from hypersdk.exports.plan import Surroundings
from hypersdk.exports.result import ExportResult
from hypersdk.exports.telling.logbook import log_path
from hypersdk.model import Instance
from hypersdk.runs.records import DONE

STARTS_WITHIN = 60.0
"""Seconds in which the background process must have taken the run."""

LOOK_EVERY = 0.2

ONLY_FOREGROUND = {"--detach", "--new", "--json", "-q", "--quiet"}
"""Options that the background process is not given: --new would cancel the run that it is to drive."""


def detach_export(
    ctx: click.Context, context: CliContext, found: Instance, options: ExportOptions, around: Surroundings
) -> int:
    """Begin an export and leave it to a process in the background.

    Args:
        ctx: click's context, which knows the command line.
        context: output and rooms.
        found: what is exported.
        options: how.
        around: where we are.

    Returns:
        0, or the exit code of an export that ended before it could be left alone.
    """
    rooms, out = context.wiring.export_rooms, context.out
    begun = api.begin_export(rooms, found, options, around)
    if isinstance(begun, ExportResult):
        print_result(out, begun)
        return 0
    findings = api.check_begun(rooms, begun, found, options)
    for note in findings.notes if findings else ():
        out.note(f"note: {note}")
    log = _log(context, begun.run_id)
    pid = _spawn(background_arguments(arguments_of(ctx), begun.run_id, options), log)
    code = _await_start(context, begun.run_id, pid)
    if code is not None and rooms.runs.run(begun.run_id).state != DONE:
        out.note(f"it ended at once: {rooms.runs.run(begun.run_id).detail or 'see its log file'}")
        out.note(f"log file: {log}")
        return code
    cancel = shlex.join(["hyperexport", "runs", "cancel", begun.run_id, *connection_arguments(flags_of(ctx))])
    _tell(out, begun.run_id, pid, str(log), cancel)
    return 0


def background_arguments(arguments: Sequence[str], run_id: str, options: ExportOptions) -> list[str]:
    """The command line of the background process. Pure.

    Args:
        arguments: of the foreground.
        run_id: what is to be driven.
        options: how, after questions were answered.
    """
    kept = [each for each in arguments if each not in ONLY_FOREGROUND]
    answered = ["--allow-shutdown"] if options.allow_shutdown and "--allow-shutdown" not in kept else []
    return [*kept, *answered, *DRIVE, run_id]


def _log(context: CliContext, run_id: str) -> Path:
    folder = context.config.logs
    if folder is None:
        raise errors.ConfigError("a detached export needs a directory for its log file")
    path = log_path(Path(folder), run_id)
    try:
        path.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise errors.ConfigError(f"the log file {path} cannot be written: {error.strerror}") from error
    return path


def _spawn(arguments: list[str], log: Path) -> int:
    # -P: a directory "hypersdk" in the current one must not be taken for us.
    program = [sys.executable, "-P", "-m", "hypersdk.cli", *arguments]
    append = os.O_WRONLY | os.O_APPEND
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), append, 0),
        (os.POSIX_SPAWN_OPEN, 2, str(log), append, 0),
    ]
    return os.posix_spawn(sys.executable, program, os.environ, file_actions=actions, setsid=True)


def _await_start(context: CliContext, run_id: str, pid: int) -> int | None:
    """Wait until the background process drives the run; answers its exit code if it has ended already."""
    runs = context.wiring.runs
    before = runs.holder(run_id)
    epoch = 0 if before is None else before.epoch

    def look() -> tuple[int | None] | None:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return (os.waitstatus_to_exitcode(status),)
        holder = runs.holder(run_id)
        return (None,) if holder is not None and holder.epoch > epoch else None

    waiter = context.wiring.waiter
    started = waiter.wait_for("the background process starts", look, every=LOOK_EVERY, longest=STARTS_WITHIN)
    if started is None:
        raise errors.OperationFailed(
            f"process {pid} was started and does not drive run {run_id}", hint=f"hyperexport runs show {run_id}"
        )
    return started[0]


def _tell(out: Output, run_id: str, pid: int, log: str, cancel: str) -> None:
    attach = f"hyperexport runs attach {run_id}"
    facts = {"run_id": run_id, "process": pid, "log": log, "attach": attach, "cancel": cancel}
    if out.as_json:
        out.json({"detached": facts})
    else:
        out.facts("detached", facts)
