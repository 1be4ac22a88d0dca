"""A run store in PostgreSQL keeps the promises of every run store."""

import pytest
import sqlalchemy as sa
from hypothesis import settings
from postgres import Postgres
from runs_model import LeaseMachine
from runs_suite import RunsSuite

from hypersdk.runs import schema
from hypersdk.runs.drive import Drive
from hypersdk.runs.lease import this_process


class TestPostgresRuns(RunsSuite):
    @pytest.fixture
    def place(self, postgres: Postgres) -> str:
        return postgres.database()


def test_whatever_happens_one_drives_and_only_he_writes(postgres: Postgres) -> None:
    """Leases that are taken, left, lost and challenged in any order: lease and epoch keep to their model."""

    class Machine(LeaseMachine):
        place = postgres.database()

        @staticmethod
        def drop(drive: Drive) -> None:
            # As if its process had had the number of ours, and were gone.
            machine, number, _, nonce = this_process("x").rsplit("/", 3)
            gone = (
                sa.update(schema.LEASES)
                .where(schema.LEASES.c.run_id == drive.run_id)
                .values(process=f"{machine}/{number}/1/{nonce}")
            )
            drive.store.write(lambda connection: connection.execute(gone))

    Machine.TestCase.settings = settings(max_examples=8, stateful_step_count=25, deadline=None, database=None)
    Machine.TestCase("runTest").runTest()
