"""The pytest fixture `oci_emulator`: an empty Oracle Cloud for each test.

One emulator process serves a whole test session (each worker of pytest-xdist has its own); each test gets the cloud
emptied, which takes milliseconds. A declared fault that did not hit fails its test, because a test that proves how its
code copes with a fault must have met it. Nothing is loaded or started before the first test that uses the fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from hypersdk_emulator.for_tests import EmulatorProcess, OciEmulator


@pytest.fixture(scope="session")
def oci_emulator_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    """The process behind `oci_emulator`; it is started by the first test that needs it."""
    from hypersdk_emulator.for_tests import EmulatorProcess

    process = EmulatorProcess(tmp_path_factory.mktemp("oci-emulator"))
    yield process
    process.stop()


@pytest.fixture
def oci_emulator(oci_emulator_process: EmulatorProcess) -> Iterator[OciEmulator]:
    """An empty emulated Oracle Cloud; a declared fault that did not hit fails the test."""
    from hypersdk_emulator.for_tests import OciEmulator

    cloud = OciEmulator(oci_emulator_process)
    yield cloud
    if not oci_emulator_process.is_running():
        pytest.fail("the emulator ended during the test", pytrace=False)
    left = cloud.unconsumed()
    cloud.drop_faults()
    if left:
        told = "; ".join(f"{each['operation']} {each['effect']} (hit {each['consumed']} times)" for each in left)
        pytest.fail(f"declared faults that never hit, or not as often as declared: {told}", pytrace=False)
