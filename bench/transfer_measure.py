"""One run of one program: CPU and peak memory of its whole process tree, wall time with and without fsync."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

RUNNER = Path(__file__).parent / "transfer_run.py"


@dataclass(frozen=True)
class Run:
    """What a run cost.

    Attributes:
        cpu: seconds, user and system, of the process and all its children.
        wall: seconds from the start until the program has ended and what it made is on the disk.
        rss: peak resident memory in MiB of the largest process of the tree.
        stdout: what it printed.
        allocated: bytes that what it made takes up on the disk.
    """

    cpu: float
    wall: float
    rss: float
    stdout: str = ""
    allocated: int = 0


class RunFailed(Exception):
    """A contestant did not do its work."""


def run(
    command: Sequence[str | Path], env: Mapping[str, str] | None = None, made: Path | None = None, limit: float = 900
) -> Run:
    """Run a program to its end.

    Args:
        command: program and arguments.
        env: its environment, added to ours.
        made: the file or tree that it makes, which is synced within the time.
        limit: seconds after which it is killed.

    Raises:
        RunFailed: it took too long, or ended with a status other than 0.
    """
    runner = [sys.executable, "-I", "-S", str(RUNNER), str(limit)]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        everything = [*runner, *map(str, command)]
        variables = {**os.environ, **(env or {})}
        subprocess.run(everything, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=variables, check=False)
        begin = time.monotonic()
        if made is not None and made.exists():
            _sync(made)
        synced = time.monotonic() - begin
        out.seek(0)
        err.seek(0)
        text, complaint = (file.read().decode(errors="replace") for file in (out, err))
    complaint, _, facts = complaint.rstrip().rpartition("\n")
    status, cpu, wall, rss = facts.split()
    if status != "0":
        raise RunFailed(f"{' '.join(map(str, command))}: status {status}: {(complaint or text)[-1500:]}")
    allocated = sum(each.stat().st_blocks * 512 for each in files(made)) if made else 0
    return Run(float(cpu), float(wall) + synced, int(rss) / 1024, text, allocated)


def files(path: Path) -> list[Path]:
    """A file, or all files of a tree; none if there is nothing."""
    return [each for each in path.rglob("*") if each.is_file()] if path.is_dir() else [path] if path.exists() else []


def _sync(path: Path) -> None:
    if path.is_dir():
        os.sync()  # a call for each of thousands of files would measure the calls
        return
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
