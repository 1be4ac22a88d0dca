"""qemu-img, the one outside program: started with a fixed locale, a named format, an absolute path, and limits.

Rules of this file: qemu never guesses a format (`-f` always, a guest may write any header into its sector 0); only JSON
and exit statuses are read, never text; address space, CPU time and wall clock are limited, because an image is hostile
until its parser and qemu-img have both accepted it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from hypersdk import errors
from hypersdk.waiting import Waiter

ADDRESS_SPACE = 1024**3
"""Bytes; measured need is 8 to 40 MB resident."""
CPU_SECONDS = 30
"""For a small image; one second more per GiB of file."""
OUTPUT_LIMIT = 16 * 1024**2
"""Bytes that the child may write: a corrupt image makes it print a line per fault."""
WALL_SECONDS = 600.0
"""For a small image; two seconds more per GiB of file, for cold and slow disks."""
LOOK_EVERY = 0.2
"""Seconds between two looks at the stop flag while the child works."""

QEMU_NAMES = {"qcow2": "qcow2", "vmdk": "vmdk", "vhd": "vpc", "vdi": "vdi", "raw": "raw"}
"""Our word for a format -> qemu's."""

_NO_CHECK = 63
"""qemu-img check: this format has no check."""


def find_qemu_img() -> str:
    """Where qemu-img is.

    Raises:
        ToolMissing: it is not installed.
    """
    found = shutil.which("qemu-img")
    if found is None:
        raise errors.ToolMissing(
            "qemu-img is not installed", resource="qemu-img", hint="apt-get install --no-install-recommends qemu-utils"
        )
    return found


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    out: str
    problem: str


@dataclass(frozen=True, slots=True)
class QemuImg:
    """Runs qemu-img.

    Args:
        waiter: its stop flag and hooks are looked at while the child works.
        program: path of qemu-img; `find_qemu_img()` finds it.
    """

    waiter: Waiter
    program: str

    def check(self, path: str, disk_format: str) -> bool:
        """Let qemu-img check the metadata.

        Returns:
            True: clean; False: qemu-img has no check for this format.

        Raises:
            VerificationError: corrupt, leaking, or unreadable.
        """
        answer = self._run(["check", "--output=json", "-f", QEMU_NAMES[disk_format]], path)
        if answer.status == _NO_CHECK:
            return False
        counts = _load(answer.out)
        if answer.status == 0 and counts.get("check-errors") == 0:
            return True
        found = ", ".join(f"{counts[key]} {key}" for key in ("corruptions", "leaks", "check-errors") if counts.get(key))
        raise errors.VerificationError(
            f"{path}: qemu-img check failed ({found or answer.problem or f'status {answer.status}'})", resource=path
        )

    def virtual_size(self, path: str, disk_format: str) -> int:
        """How many bytes qemu's own parser says that the guest sees.

        Raises:
            VerificationError: qemu-img cannot read the file.
        """
        if disk_format == "vhd":
            # qemu would trust the CHS geometry of some creators and drop the tail of the disk.
            options = f"driver=vpc,force_size_calc=current_size,file.driver=file,file.filename={_escaped(path)}"
            answer = self._run(["info", "--output=json", "--image-opts"], options, about=path)
        else:
            answer = self._run(["info", "--output=json", "-f", QEMU_NAMES[disk_format]], path)
        size = _load(answer.out).get("virtual-size")
        if answer.status != 0 or not isinstance(size, int):
            raise errors.VerificationError(
                f"{path}: qemu-img cannot read it ({answer.problem or f'status {answer.status}'})", resource=path
            )
        return size

    def same_content(self, first: tuple[str, str], second: tuple[str, str]) -> bool:
        """Whether two disks hold the same guest bytes; a longer disk whose rest is zero counts as the same.

        Args:
            first: path and format of a disk.
            second: those of the other.

        Raises:
            VerificationError: qemu-img cannot read one of them.
        """
        formats = ["-f", QEMU_NAMES[first[1]], "-F", QEMU_NAMES[second[1]]]
        answer = self._run(["compare", "-q", *formats, str(Path(first[0]).absolute())], second[0])
        if answer.status > 1 or answer.status < 0:
            raise errors.VerificationError(
                f"{second[0]}: qemu-img cannot compare it with {first[0]} ({answer.problem})", resource=second[0]
            )
        return answer.status == 0

    def _run(self, arguments: list[str], target: str, *, about: str | None = None) -> _Answer:
        path = Path(about or target).absolute()
        size_gib = path.stat().st_size // 1024**3 if path.exists() else 0
        command = [self.program, *arguments, target if about else str(path)]
        if limiter := shutil.which("prlimit"):
            limits = [f"--as={ADDRESS_SPACE}", f"--cpu={CPU_SECONDS + size_gib}", f"--fsize={OUTPUT_LIMIT}", "--core=0"]
            command = [limiter, *limits, "--", *command]
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as problem:
            environment = {**os.environ, "LC_ALL": "C"}
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=problem, env=environment)
            status = self._wait(child, WALL_SECONDS + 2 * size_gib, str(path))
            return _Answer(status, _text(out), _last_line(_text(problem)))

    def _wait(self, child: subprocess.Popen[bytes], longest: float, path: str) -> int:
        deadline = self.waiter.clock() + longest
        try:
            while True:
                self.waiter.tick()
                try:
                    return child.wait(LOOK_EVERY)
                except subprocess.TimeoutExpired:
                    if self.waiter.clock() > deadline:
                        raise errors.VerificationError(
                            f"{path}: qemu-img did not finish in {longest:.0f} s", resource=path
                        ) from None
        finally:
            if child.returncode is None:
                child.kill()
                child.wait()


def _escaped(path: str) -> str:
    """A path inside qemu's option syntax, where a comma ends a value."""
    return str(Path(path).absolute()).replace(",", ",,")


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read(OUTPUT_LIMIT).decode("utf-8", "replace")


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].removeprefix("qemu-img: ")[:300] if lines else ""


def _load(text: str) -> dict[str, Any]:
    try:
        loaded = json.loads(text)
    except ValueError:
        return {}
    return loaded if isinstance(loaded, dict) else {}
