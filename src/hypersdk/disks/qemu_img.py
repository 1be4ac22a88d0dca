"""qemu-img, the one outside program: started with a fixed locale, a named format, an absolute path, and limits.

Rules of this file: qemu never guesses a format (a guest may write any header into its sector 0) and never reads a
file's name as a protocol (`a:b`, `json:...`): every file is named by driver options. Only JSON and exit statuses are
read, never text. Address space, CPU time and wall clock are limited, because an image is hostile until our parser and
qemu-img have both accepted it.
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
class Source:
    """A disk for qemu-img to read.

    Attributes:
        path: the file.
        format: qcow2, vmdk, vhd, vdi or raw.
        offset: where the disk begins in the file.
        size: its bytes there; None = the disk is the whole file.
    """

    path: str
    format: str
    offset: int = 0
    size: int | None = None

    def options(self) -> str:
        """The disk in qemu's option syntax, where a comma ends a value unless it is doubled."""
        driver = f"driver={QEMU_NAMES[self.format]}"
        if self.format == "vhd":
            # qemu would trust the CHS geometry of some creators and drop the tail of the disk.
            driver += ",force_size_calc=current_size"
        name = str(Path(self.path).absolute()).replace(",", ",,")
        if self.size is None:
            return f"{driver},file.driver=file,file.filename={name}"
        part = f"file.driver=raw,file.offset={self.offset},file.size={self.size}"
        return f"{driver},{part},file.file.driver=file,file.file.filename={name}"


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    out: str
    problem: str

    @property
    def why(self) -> str:
        return self.problem or f"status {self.status}"


@dataclass(frozen=True, slots=True)
class QemuImg:
    """Runs qemu-img.

    Args:
        waiter: its stop flag and hooks are looked at while the child works.
        program: path of qemu-img; `find_qemu_img()` finds it.
    """

    waiter: Waiter
    program: str

    def check(self, disk: Source) -> bool:
        """Let qemu-img check the metadata.

        Returns:
            True: clean; False: qemu-img has no check for this format.

        Raises:
            VerificationError: corrupt, leaking, or unreadable.
        """
        answer = self._run(["check", "--output=json"], disk)
        if answer.status == _NO_CHECK:
            return False
        counts = _load(answer.out)
        if answer.status == 0 and counts.get("check-errors") == 0:
            return True
        found = ", ".join(f"{counts[key]} {key}" for key in ("corruptions", "leaks", "check-errors") if counts.get(key))
        raise errors.VerificationError(
            f"{disk.path}: qemu-img check failed ({found or answer.why})", resource=disk.path
        )

    def virtual_size(self, disk: Source) -> int:
        """How many bytes qemu's own parser says that the guest sees.

        Raises:
            VerificationError: qemu-img cannot read the file.
        """
        answer = self._run(["info", "--output=json"], disk)
        size = _load(answer.out).get("virtual-size")
        if answer.status != 0 or not isinstance(size, int):
            raise errors.VerificationError(f"{disk.path}: qemu-img cannot read it ({answer.why})", resource=disk.path)
        return size

    def same_content(self, first: Source, second: Source) -> bool:
        """Whether two disks hold the same guest bytes; a longer disk whose rest is zero counts as the same.

        Raises:
            VerificationError: qemu-img cannot read one of them.
        """
        answer = self._run(["compare", "-q"], first, second)
        if answer.status not in (0, 1):
            raise errors.VerificationError(
                f"{second.path}: qemu-img cannot compare it with {first.path} ({answer.why})", resource=second.path
            )
        return answer.status == 0

    def _run(self, arguments: list[str], *disks: Source) -> _Answer:
        gib = sum(Path(disk.path).stat().st_size for disk in disks) // 1024**3
        command = [self.program, *arguments, "--image-opts", *(disk.options() for disk in disks)]
        if limiter := shutil.which("prlimit"):
            limits = [f"--as={ADDRESS_SPACE}", f"--cpu={CPU_SECONDS + gib}", f"--fsize={OUTPUT_LIMIT}", "--core=0"]
            command = [limiter, *limits, "--", *command]
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as problem:
            environment = {**os.environ, "LC_ALL": "C"}
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=problem, env=environment)
            status = self._wait(child, WALL_SECONDS + 2 * gib, disks[-1].path)
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
