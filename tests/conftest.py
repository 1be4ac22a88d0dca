"""What holds for every test here."""

import sys
from collections.abc import Iterator

import pytest
from postgres_fixture import postgres

__all__ = ["postgres"]


@pytest.fixture(autouse=True)
def every_fault_hits() -> Iterator[None]:
    """A fault that a test declares and does not meet fails it, also in an emulator that a whole file shares."""
    yield
    harness = sys.modules.get("emulator")
    if harness is not None:
        harness.fail_unconsumed(list(harness.RUNNING.values()))
