"""A run store in a SQLite file keeps the promises of every run store."""

from pathlib import Path

import pytest
from hypothesis import settings
from runs_model import LeaseMachine
from runs_suite import RunsSuite

from hypersdk.runs.drive import Drive


class TestSqliteRuns(RunsSuite):
    @pytest.fixture
    def place(self, tmp_path: Path) -> str:
        return str(tmp_path / "state" / "runs.sqlite")


def test_whatever_happens_one_drives_and_only_he_writes(tmp_path: Path) -> None:
    """Leases that are taken, left, lost and challenged in any order: lease and epoch keep to their model."""

    class Machine(LeaseMachine):
        place = str(tmp_path / "runs.sqlite")

        @staticmethod
        def drop(drive: Drive) -> None:
            drive._lease._lock.release()

    Machine.TestCase.settings = settings(max_examples=8, stateful_step_count=25, deadline=None, database=None)
    Machine.TestCase("runTest").runTest()
