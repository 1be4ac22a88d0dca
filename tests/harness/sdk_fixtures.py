"""Fixtures for tests that ask the emulator by Oracle's SDK: one process for a module, an empty cloud for each test."""

from collections.abc import Callable, Iterator

import pytest
from emulator import Emulator, fail_unconsumed, make_seed
from sdk import Sdk


@pytest.fixture(scope="module")
def emulator_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """A running emulator whose seeds may lie anywhere in the module's folder."""
    folder = tmp_path_factory.mktemp("emulator")
    emulator = Emulator(make_seed(folder / "seed"), folder / "state", ("--seed-root", str(folder.parent)))
    emulator.start()
    yield emulator
    emulator.stop()


@pytest.fixture
def make_cloud(emulator_process: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Sdk]]:
    """`make_cloud(instances=..., change=...)` empties the cloud and seeds it anew; all names go to make_seed.

    At the end a declared fault that was not consumed fails the test.
    """

    def make(**seed: object) -> Sdk:
        emulator_process.control("POST", "reset")
        emulator_process.seed = make_seed(tmp_path_factory.mktemp("seed"), **seed)  # type: ignore[arg-type]  # its names
        emulator_process.control("PUT", "seed", emulator_process.seed.value)
        return Sdk(emulator_process)

    yield make
    fail_unconsumed([emulator_process])


@pytest.fixture
def sdk(make_cloud: Callable[..., Sdk]) -> Sdk:
    """Clients of a fresh cloud with one stopped instance `web-01` and the bucket `exports`."""
    return make_cloud()
