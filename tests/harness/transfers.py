"""Transfers of the public library in child processes that can be killed, and what the emulator saw of them."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emulator import Emulator
from hyperexport import Running

import hypersdk
from hypersdk import errors
from hypersdk.config import Config, load_config
from hypersdk.model import ByteRange
from hypersdk.transfer import journal, partial

PATIENCE = 30.0
CRASHED = 70
BUCKET = "exports"


def wait_until(true: Callable[[], bool], otherwise: str) -> None:
    """Wait until something is true; fails with `otherwise` if it never is."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, otherwise
        time.sleep(0.003)


@dataclass(frozen=True)
class Cloud:
    """One emulator, as the public library sees it.

    Attributes:
        emulator: the cloud.
        folder: home and current directory of the configuration.
        part_size: bytes of a range or part.
        parallel: most requests in flight.
    """

    emulator: Emulator
    folder: Path
    part_size: int = 64 * 1024
    parallel: int = 4

    @property
    def config(self) -> Config:
        """Configuration with short waits."""
        flags: dict[str, Any] = {"config_file": str(self.emulator.config_file), "endpoint": self.emulator.endpoint}
        environ = {
            "HYPEREXPORT_TRANSFER_PART_SIZE": str(self.part_size),
            "HYPEREXPORT_TRANSFER_PARALLEL": str(self.parallel),
            "HYPEREXPORT_RETRY_INITIAL_DELAY": "0.01s",
            "HYPEREXPORT_RETRY_MAX_DELAY": "0.05s",
        }
        return load_config(flags, environ=environ, cwd=str(self.folder), home=str(self.folder))

    def address(self, name: str) -> str:
        """The URL of an object."""
        return f"oci://{self.emulator.namespace}/{BUCKET}/{name}"

    def put(self, name: str, body: bytes) -> str:
        """Store an object; returns its URL."""
        self.emulator.put(BUCKET, name, body)
        return self.address(name)

    def body(self, name: str) -> bytes:
        """What is stored."""
        return self.emulator.get(BUCKET, name).body

    def download(self, name: str, path: Path, *, overwrite: bool = False) -> object:
        """`hypersdk.download` in this process."""
        return hypersdk.download(self.address(name), str(path), self.config, overwrite=overwrite)

    def upload(self, path: Path, name: str) -> object:
        """`hypersdk.upload` in this process."""
        return hypersdk.upload(str(path), self.address(name), self.config)

    def mark(self) -> int:
        """The last request so far."""
        log = self.emulator.log()
        return int(log[-1]["id"]) if log else 0

    def asked(self, operation: str, name: str, after: int = 0) -> list[dict[str, Any]]:
        """Requests about an object, in order of arrival."""
        path = f"/{urllib.parse.quote(name, safe='')}"
        found = self.emulator.log(after, operation=operation)
        return [each for each in found if each["path"].partition("?")[0].endswith(path)]

    def fetched(self, name: str, after: int = 0) -> list[ByteRange]:
        """Ranges of an object that were asked for, in order of arrival."""
        return [_range(each["range"]) for each in self.asked("GetObject", name, after) if each["range"]]

    def held(self, fault: dict[str, Any]) -> bool:
        """Whether the emulator holds a request by this fault."""
        return any(each["holding"] for each in self.emulator.faults() if each["id"] == fault["id"])


def fork(function: Callable[[], object], folder: Path) -> Running:
    """Run a function in a child process, which ends with the exit code of the error that it raises.

    Args:
        function: what the child does.
        folder: where its output goes, as `.out` and `.err`.
    """
    out, err = folder / ".out", folder / ".err"
    for path in (out, err):
        path.write_text("")
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        code = CRASHED
        try:
            code = _child(function, out, err)
        finally:
            os._exit(code)
    return Running(pid, out, err)


def _child(function: Callable[[], object], out: Path, err: Path) -> int:
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for path, target in ((out, 1), (err, 2)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_TRUNC), target)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        code = 0
        try:
            function()
        except errors.HypersdkError as error:
            print(f"{error.code}: {error}", file=sys.stderr)
            code = error.exit_code
    except BaseException:
        traceback.print_exc()
        code = CRASHED
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def journaled(destination: Path) -> dict[ByteRange, int]:
    """The good ranges of a download so far."""
    path = destination.parent / partial.journal_name(destination.name)
    contents = journal.parse(path.read_bytes()) if path.exists() else None
    return dict(contents.ranges) if contents else {}


def leftovers(folder: Path) -> list[str]:
    """Names of partial files, journals and the like in a directory."""
    return sorted(path.name for path in folder.iterdir() if path.name.startswith(".hx-"))


def _range(header: str) -> ByteRange:
    first, _, last = header.removeprefix("bytes=").partition("-")
    return ByteRange(int(first), int(last) + 1)
