"""The lines that `hyperexport emulator` prints, run by the real clients: needs their environment (`make clients`)."""

import os
from pathlib import Path

import pytest
from guided import StartGuided, start_guided

__all__ = ["start_guided"]

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
CLIENTS = Path(os.environ.get("HYPERSDK_CLIENTS_VENV") or CACHE / "hypersdk-clients") / "bin"


@pytest.mark.parametrize("words", [(), ("--tls",)], ids=["plain", "tls"])
@pytest.mark.parametrize(
    ("begins", "shows"),
    [
        ("oci ", '"name": "exports"'),
        ("rclone ", "exports"),
        ('python -c "import oci', "rehearsal"),
        ('python -c "import boto3', "exports"),
    ],
)
def test_the_printed_lines_lead_clients_to_the_emulator(
    start_guided: StartGuided, words: tuple[str, ...], begins: str, shows: str
) -> None:
    """OCI CLI, rclone, the SDK and boto3 find the demo's bucket by the printed variables alone, plain and over TLS."""
    started = start_guided(*words)
    started.environ["PATH"] = f"{CLIENTS}:{started.environ['PATH']}"
    (line,) = started.tries(begins)
    assert shows in started.run(line)
