"""Starts `hyperexport emulator` as a person does, keeps what it tells, and runs its lines word for word."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
READY_SECONDS = 30
OURS = re.compile(r"OCI_|HYPEREXPORT_|XDG_|AWS_|RCLONE_|.*proxy$|REQUESTS_CA_BUNDLE$|SSL_CERT_FILE$", re.IGNORECASE)


@dataclass(frozen=True)
class Started:
    """A started emulator: its JSON line, and what it told people."""

    ready: dict[str, str]
    told: str
    process: subprocess.Popen[str]
    environ: dict[str, str]

    def exports(self) -> str:
        """The variables, as printed."""
        return "\n".join(re.findall(r"^  (export .*)$", self.told, re.MULTILINE))

    def tries(self, program: str) -> list[str]:
        """The commands to try that begin with a word."""
        return [line for line in re.findall(r"^  \$ (.*)$", self.told, re.MULTILINE) if line.startswith(program)]

    def run(self, line: str) -> str:
        """Set the variables, run a printed line, and return its output; it must work."""
        script = f"{self.exports()}\n{line}"
        done = subprocess.run(["bash", "-c", script], env=self.environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout


StartGuided = Callable[..., Started]


@pytest.fixture
def start_guided(tmp_path: Path) -> Iterator[StartGuided]:
    """Starts `hyperexport emulator` with these words, in an environment without any cloud; ended by Ctrl-C."""
    home = tmp_path / "home"
    home.mkdir()
    environ = {name: value for name, value in os.environ.items() if not OURS.match(name)}
    environ |= {"HOME": str(home), "TMPDIR": str(tmp_path), "PATH": f"{BIN}:{os.environ['PATH']}"}
    started: list[Started] = []

    def begin(*words: str) -> Started:
        command = [str(BIN / "hyperexport"), "emulator", *words]
        with (tmp_path / f"told-{len(started)}").open("w+") as told:
            process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=told, text=True)
            assert process.stdout is not None
            line = process.stdout.readline()
            told.seek(0)
            started.append(Started(json.loads(line or "{}"), told.read(), process, environ))
        return started[-1]

    yield begin
    for each in started:
        end(each)


def end(started: Started) -> int:
    """Ctrl-C, and the exit status."""
    process = started.process
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    status = process.wait(READY_SECONDS)
    assert process.stdout is not None
    process.stdout.close()
    return status
