"""Fixtures for tests that talk to the emulator over a socket; a conftest.py takes them by importing their names."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from emulator import Emulator, fail_unconsumed, make_seed


@pytest.fixture
def start_emulator(tmp_path: Path) -> Iterator[Callable[..., Emulator]]:
    """Starts emulators: `start_emulator(arguments=("--tls",), instances=(...), ...)`; further names go to make_seed.

    At the end each process is stopped, and a declared fault that was not consumed fails the test.
    """
    started: list[Emulator] = []

    def start(*, arguments: tuple[str, ...] = (), **seed: Any) -> Emulator:
        folder = tmp_path / f"emulator-{len(started)}"
        emulator = Emulator(make_seed(folder / "seed", **seed), folder / "state", arguments)
        started.append(emulator.start())
        return emulator

    yield start
    try:
        fail_unconsumed(started)
    finally:
        for emulator in started:
            if emulator.process.poll() is None:
                emulator.stop()


@pytest.fixture
def emulator(start_emulator: Callable[..., Emulator]) -> Emulator:
    """A fresh emulator with one stopped instance `web-01` and the bucket `exports`."""
    return start_emulator()
