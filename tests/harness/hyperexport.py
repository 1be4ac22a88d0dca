"""Runs `hyperexport` for tests in a forked child: a real process that can be killed, without the start-up of one.

The child has its own environment, directory, standard streams and signal handlers; it begins where the installed
command begins, at `hypersdk.cli.run`. The heavy modules are imported once in the parent.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emulator import Emulator

SECONDS = 60.0
INSTALLED = str(Path(sys.executable).with_name("hyperexport"))

PRELOADED = (
    "hypersdk.cli.export",
    "hypersdk.cli.fleet",
    "hypersdk.cli.fleetrun",
    "hypersdk.cli.fleet",
    "hypersdk.cli.runs",
    "hypersdk.providers.oci",
    "hypersdk.runs.store",
    "hypersdk.storage.backends.oci",
    "hypersdk.vendors.oci.session",
    "hypersdk.wire.handles",
    "oci.auth.signers",
    "oci.core",
    "oci.identity",
    "oci.limits",
    "oci.object_storage",
    "oci.work_requests",
    "pycurl",
    "sqlalchemy.dialects.sqlite",
)

LOCAL = (("runs", "list"), ("runs", "show"))
"""Commands that talk to no cloud."""


@dataclass(frozen=True)
class Ended:
    """How a command ended. A negative `code` is the signal that killed it."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its standard output as JSON."""
        return json.loads(self.out)


STARTED: list[Running] = []
"""Every command that was started here."""


def end_stragglers() -> None:
    """Kill what a failed test left running: a command waits for its cloud without end."""
    for each in STARTED:
        with suppress(ChildProcessError):  # one that hung was reaped where it was waited for
            if not each.ended():
                each.kill()
    STARTED.clear()


class Running:
    """A command that runs."""

    def __init__(self, pid: int, out: Path, err: Path) -> None:
        STARTED.append(self)
        self.pid = pid
        self._out = out
        self._err = err
        self._status: int | None = None

    def ended(self) -> bool:
        """Whether it has ended; does not wait."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = status if pid else None
        return self._status is not None

    def wait(self) -> Ended:
        """Wait for its end."""
        end = time.monotonic() + SECONDS
        while not self.ended():
            if time.monotonic() > end:
                self.signal(signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise AssertionError(f"still running after {SECONDS} s: {self.err}")
            time.sleep(0.005)
        assert self._status is not None
        return Ended(os.waitstatus_to_exitcode(self._status), self._out.read_text(), self.err)

    @property
    def err(self) -> str:
        """Its standard error so far."""
        return self._err.read_text()

    def signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def kill(self) -> Ended:
        """End it with SIGKILL, unless it has ended."""
        if not self.ended():
            self.signal(signal.SIGKILL)
        return self.wait()


class Hyperexport:
    """The command, pointed at an emulator, with a home and a run store of its own.

    Args:
        emulator: the cloud.
        folder: home and current directory; the run store lies in it.
        installed: execute the installed script in the child, with all the start-up that this costs.
        config_file: an OCI configuration file other than that of the seed's user.
    """

    def __init__(
        self, emulator: Emulator, folder: Path, *, installed: bool = False, config_file: Path | None = None
    ) -> None:
        self.emulator = emulator
        self.folder = folder
        self.installed = installed
        self.config_file = config_file or emulator.config_file
        self._count = 0
        self.environ: dict[str, str] = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "HYPEREXPORT_STATE": str(folder / "state" / "runs.sqlite"),
            # Delays of milliseconds; they also bound how often a state is asked for.
            "HYPEREXPORT_RETRY_INITIAL_DELAY": "0.01s",
            "HYPEREXPORT_RETRY_MAX_DELAY": "0.05s",
        }

    def run(self, *arguments: str, environ: Mapping[str, str] | None = None) -> Ended:
        """Run a command to its end."""
        return self.start(*arguments, environ=environ).wait()

    def start(self, *arguments: str, environ: Mapping[str, str] | None = None) -> Running:
        """Start a command."""
        _preload()
        self._count += 1
        out, err = (self.folder / f".{self._count}.{name}" for name in ("out", "err"))
        for path in (out, err):
            path.touch(0o600)  # a child that is killed at once has written nothing
        cloud = ["--config-file", str(self.config_file), "--endpoint", self.emulator.endpoint]
        line = [*arguments, *([] if arguments[:2] in LOCAL else cloud)]
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            _child(line, {**self.environ, **(environ or {})}, self.folder, out, err, installed=self.installed)
        return Running(pid, out, err)

    def export(self, *arguments: str, environ: Mapping[str, str] | None = None) -> Ended:
        """`hyperexport export ... -bn exports`, with the result as JSON."""
        return self.run("export", *arguments, "-bn", "exports", "--json", environ=environ)


def _preload() -> None:
    for name in PRELOADED:
        importlib.import_module(name)


def _child(line: list[str], environ: dict[str, str], folder: Path, out: Path, err: Path, *, installed: bool) -> None:
    code = 70
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, 0)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        for path, target in ((out, 1), (err, 2)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), target)
        sys.stdin, sys.stdout, sys.stderr = (os.fdopen(n, mode) for n, mode in ((0, "r"), (1, "w"), (2, "w")))
        os.environ.clear()
        os.environ.update(environ)
        os.chdir(folder)
        if installed:
            os.execv(INSTALLED, [INSTALLED, *line])
        from hypersdk.cli import run

        code = run(line)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)
