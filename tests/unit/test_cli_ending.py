"""The last moment of the command: everything that was printed arrives, with the right exit code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = str(Path(sys.executable).with_name("hyperexport"))


@pytest.mark.parametrize(
    "way", [[COMMAND], [sys.executable, "-W", "error", "-X", "dev", COMMAND]], ids=["quick", "whole"]
)
def test_output_is_whole_and_so_is_the_exit_code(way: list[str]) -> None:
    """Through pipes, which are buffered, output and errors are complete; watched by warnings it ends the long way."""
    good = subprocess.run([*way, "cp", "--help"], capture_output=True, text=True, check=False)
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.startswith("Usage: hyperexport cp")
    assert good.stdout.rstrip().endswith("Show this message and exit.")
    bad = subprocess.run([*way, "nonsense"], capture_output=True, text=True, check=False)
    assert (bad.returncode, bad.stdout) == (2, "")
    assert "no command 'nonsense'" in bad.stderr


def test_a_profiler_sees_the_command_end(tmp_path: Path) -> None:
    """Under a profiler the process is taken apart as usual, so that the profile is written."""
    profile = tmp_path / "profile"
    command = [sys.executable, "-m", "cProfile", "-o", str(profile), COMMAND, "--version"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert profile.stat().st_size > 0
