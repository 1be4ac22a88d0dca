"""Workers share one queue on a real Postgres: seats, limits, dead workers, rows that somebody else wrote."""

from __future__ import annotations

import importlib
import os
import pickle
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest
from jobs import Workers, await_, most_at_once
from postgres import Postgres

from hypersdk import errors
from hypersdk.fleet import engine
from hypersdk.fleet.engine import SCHEMA, VERSION, WORKFLOW, Job, JobQueue, fleet_queue, host_queue, prepare
from hypersdk.fleet.nouns import Limits
from hypersdk.runs import presence


@pytest.fixture(scope="module")
def prepared(postgres: Postgres) -> str:
    """Name of a database that has the engine's tables."""
    url = postgres.database()
    prepare(url)
    return url.rpartition("/")[2]


@pytest.fixture
def url(postgres: Postgres, prepared: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new database with these tables."""
    monkeypatch.setattr(engine, "POLL_EVERY", 0.1)
    name = f"queue_{next(_numbers)}"
    postgres.execute(f"create database {name} template {prepared}")
    return postgres.url(name)


_numbers = count()


@pytest.fixture
def workers(url: str, tmp_path: Path) -> Iterator[Workers]:
    """Processes that take jobs of that database."""
    importlib.import_module("dbos")
    started = Workers(url, tmp_path)
    yield started
    started.stop()


def jobs(most: int, regions: int = 1) -> list[Job]:
    return [Job(f"run{number}", f"region-{number % regions}", number + 1) for number in range(most)]


# ---- seats


def test_each_worker_of_a_host_has_a_seat_of_its_own(url: str) -> None:
    """Seats are numbered by host; one that was left is taken again under the same name."""
    with presence.take_seat(url, "a") as first, presence.take_seat(url, "a") as second:
        with presence.take_seat(url, "b") as other:
            assert [first.executor_id, second.executor_id, other.executor_id] == ["a#1", "a#2", "b#1"]
            assert presence.count_workers(url) == 3
        first.leave()
        await_(lambda: presence.count_workers(url) == 1, "a seat that was left is still counted")
        with presence.take_seat(url, "a") as again:
            assert again.executor_id == "a#1"


def test_a_living_worker_is_never_buried(url: str) -> None:
    """Whose seat is taken is alive, also for a worker of the same host."""
    with presence.take_seat(url, "a") as living, presence.take_seat(url, "b") as other:
        with other.burying(living.executor_id) as dead:
            assert not dead
        living.speak()


def test_a_killed_worker_is_buried_by_one(url: str) -> None:
    """The kernel closes a killed process's connection; of two that look at once, one may take its runs over."""
    ready, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        presence.take_seat(url, "a")
        os.write(told, b"x")
        signal.pause()
    os.read(ready, 1)
    os.close(ready)
    os.close(told)
    with presence.take_seat(url, "b") as one, presence.take_seat(url, "c") as two:
        with one.burying("a#1") as dead:
            assert not dead
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

        def buried() -> bool:
            with one.burying("a#1") as dead, two.burying("a#1") as too:
                assert not (dead and too)
                return dead

        await_(buried, "the dead worker is not noticed")


def test_a_worker_that_is_not_heard_of_loses_its_seat(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A suspended process keeps its connection: who notices its silence hangs up, and it cannot speak any more."""
    monkeypatch.setattr(presence, "SILENT", 0.5)
    with presence.take_seat(url, "a") as silent, presence.take_seat(url, "b") as other:

        def buried() -> bool:
            other.speak()
            with other.burying("a#1") as dead:
                return dead

        await_(buried, "silence is not noticed")
        with pytest.raises(psycopg.Error):
            silent.speak()
        other.speak()


def test_a_database_that_is_not_there_is_told_without_the_password() -> None:
    """What cannot be reached is a matter of configuration, and its secret stays one."""
    place = "postgresql://someone:hidden-word@127.0.0.1:1/none"
    for attempt in (lambda: presence.take_seat(place, "a"), lambda: JobQueue(place), lambda: prepare(place)):
        with pytest.raises(errors.ConfigError) as caught:
            attempt()
        assert "hidden-word" not in str(caught.value)


# ---- the queue


def test_a_run_is_queued_once_until_it_has_ended(url: str, workers: Workers) -> None:
    """The same fleet queued again adds nothing; a run that has ended can be queued anew."""
    with JobQueue(url) as queue:
        assert queue.put("f", jobs(2), Limits()) == 2
        assert queue.put("f", jobs(3), Limits()) == 1
        workers.start("a", 2, 0.0)
        await_(lambda: len(workers.ran()) == 3, "not carried out")
        await_(lambda: not queue.at_work(), "not ended")
        assert queue.put("f", jobs(1), Limits()) == 1
        await_(lambda: len(workers.ran()) == 4, "not carried out again")
        assert [one.job_id for one in workers.ran()][-1] == "run0.2"


def test_a_smaller_rank_goes_first(url: str, workers: Workers) -> None:
    """One slot carries a fleet out in the order of its priorities."""
    with JobQueue(url) as queue:
        queue.put("f", list(reversed(jobs(5))), Limits(per_worker=1))
        workers.start("a", 1, 0.0)
        await_(lambda: len(workers.ran()) == 5, "not carried out")
    assert [one.job_id for one in workers.ran()] == [f"run{number}.1" for number in range(5)]


def test_no_limit_is_passed_over_workers(url: str, workers: Workers) -> None:
    """Three workers keep to the fleet's limit, to that of each worker, and to that of each region."""
    with JobQueue(url) as queue:
        queue.put("f", jobs(12, regions=3), Limits(parallel=4, per_worker=2, per_region=2))
        for host in "abc":
            workers.start(host, 8, 0.6)
        await_(lambda: sum(one.stop is not None for one in workers.ran()) == 12, "not carried out")
    ran = workers.ran()
    assert 1 < most_at_once(ran) <= 4
    for seat in {one.seat for one in ran}:
        assert most_at_once([one for one in ran if one.seat == seat]) <= 2
    for region in range(3):
        of_region = [one for one in ran if int(one.job_id.removeprefix("run").partition(".")[0]) % 3 == region]
        assert most_at_once(of_region) <= 2
    assert len({one.seat for one in ran}) > 1


def test_a_worker_takes_no_more_than_its_slots(url: str, workers: Workers) -> None:
    """Slots count over all fleets, also where each of them would allow more (guards private names of the engine)."""
    with JobQueue(url) as queue:
        for fleet in ("f", "g"):
            queue.put(fleet, [Job(f"{fleet}{number}") for number in range(4)], Limits())
        workers.start("a", 2, 0.3)
        await_(lambda: sum(one.stop is not None for one in workers.ran()) == 8, "not carried out")
    assert most_at_once(workers.ran()) == 2


def test_the_queue_of_a_host_is_for_its_workers(url: str, workers: Workers) -> None:
    """A job that waits for a machine is left alone by all others, until it is moved back."""
    with JobQueue(url) as queue:
        queue.put("f", jobs(2), Limits())
        mine, other = sorted(queue.waiting([fleet_queue("f")]), key=lambda claim: claim.rank)
        queue.move(other, host_queue("gone"))
        workers.start("a", 2, 0.0)
        await_(workers.ran, "not carried out")
        queue.move(other, host_queue("a"))
        await_(lambda: len(workers.ran()) == 2, "not carried out by its own host")
        assert [one.job_id for one in workers.ran()] == [mine.job_id, other.job_id]


def test_jobs_of_a_killed_worker_go_on_elsewhere(url: str, workers: Workers) -> None:
    """Its claims stay until somebody moves them; then they are carried out, and its slots of the fleet are free."""
    with JobQueue(url) as queue:
        queue.put("f", jobs(2), Limits(parallel=2))
        pid = workers.start("a", 2, 60.0)
        await_(lambda: len(workers.ran()) == 2, "not begun")
        os.kill(pid, signal.SIGKILL)
        workers.start("b", 2, 0.0)
        claims = queue.at_work()
        assert Counter(claim.executor_id for claim in claims) == {"a#1": 2}
        for claim in claims:
            queue.move(claim, claim.queue)
            queue.move(claim, claim.queue)  # two may race
        await_(lambda: sum(one.stop is not None for one in workers.ran()) == 2, "not taken over")
        assert {one.seat for one in workers.ran() if one.stop} == {"b#1"}


def test_a_job_may_wait_for_its_time(url: str, workers: Workers) -> None:
    """A delayed job is taken by nobody; a job that goes on later is queued under its next number."""
    with JobQueue(url) as queue:
        queue.put("f", [Job("early"), Job("late", delay=3600)], Limits())
        queue.hand_on(queue.claim("early.1"), fleet_queue("f"))
        workers.start("a", 2, 0.0)
        await_(lambda: len(workers.ran()) == 2, "not carried out")
        assert {one.job_id for one in workers.ran()} == {"early.1", "early.2"}
        assert [claim.job_id for claim in queue.waiting([fleet_queue("f")])] == ["late.1"]


def test_queues_that_are_over_are_swept(url: str, workers: Workers) -> None:
    """A fleet's queue goes with its last job; one with work left stays."""
    with JobQueue(url) as queue:
        queue.put("f", jobs(1), Limits())
        queue.put("g", [Job("other", delay=3600)], Limits())
        workers.start("a", 1, 0.0)
        await_(lambda: workers.ran() and not queue.at_work(), "not carried out")
        queue.sweep()
        assert queue.queues() == [fleet_queue("g")]
    with psycopg.connect(url) as connection:
        rows = connection.execute(f"select workflow_uuid from {SCHEMA}.workflow_status").fetchall()
    assert rows == [("other.1",)]


def test_buckets_are_counted_where_a_fleet_asks_for_it() -> None:
    """The engine counts by one thing: by bucket if that is limited, else by region."""
    assert engine.part_of(Limits(per_bucket=2, per_region=1), "region", "ns/bucket") == "ns/bucket"
    assert engine.part_of(Limits(per_region=1), "region", "ns/bucket") == "region"


def test_names_that_lie_in_databases_stay() -> None:
    """An upgrade goes on with what an older release has queued: these words are in its rows."""
    assert (engine.NAME, engine.VERSION, engine.WORKFLOW, engine.STEP) == (
        "hypersdk",
        "exports-1",
        "drive-run",
        "carry-out",
    )
    assert (SCHEMA, fleet_queue("f"), host_queue("h")) == ("hypersdk_queue", "fleet-f", "host-h")


# ---- what somebody else wrote


class _Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def test_a_pickled_row_is_refused(url: str, workers: Workers, tmp_path: Path) -> None:
    """Who can write to the database cannot run code in a worker, nor in who lists the jobs."""
    import base64

    bomb = base64.b64encode(pickle.dumps({"args": (_Bomb(tmp_path / "exploded"),), "kwargs": {}})).decode()
    with JobQueue(url) as queue:
        queue.put("f", [Job("good", delay=3600), Job("bad")], Limits())
        with psycopg.connect(url, autocommit=True) as connection:
            changed = connection.execute(
                f"update {SCHEMA}.workflow_status set serialization = 'py_pickle' where workflow_uuid = 'bad.1'"
            )
            assert changed.rowcount == 1
            stored = [
                table
                for table, column in connection.execute(
                    "select table_name, column_name from information_schema.columns where table_schema = %s"
                    " and column_name = 'inputs'",
                    (SCHEMA,),
                ).fetchall()
            ]
            for table in stored:
                connection.execute(f"update {SCHEMA}.{table} set inputs = %s where workflow_uuid = 'bad.1'", (bomb,))
            assert queue.waiting([fleet_queue("f")])
            workers.start("a", 1, 0.0)
            query = f"select status from {SCHEMA}.workflow_status where workflow_uuid = 'bad.1'"
            await_(lambda: connection.execute(query).fetchone() == ("ERROR",), "the row was not refused")
    assert not (tmp_path / "exploded").exists()
    assert workers.ran() == []


def test_nothing_in_the_database_is_pickled(url: str, workers: Workers) -> None:
    """Arguments and results are a run's id and a word, as JSON; the version is that of the shape, not the program's."""
    with JobQueue(url) as queue:
        queue.put("f", jobs(1), Limits())
        workers.start("a", 1, 0.0)
        await_(lambda: workers.ran() and not queue.at_work(), "not carried out")
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            f"select name, application_version, serialization, executor_id from {SCHEMA}.workflow_status"
        ).fetchall()
    assert rows == [(WORKFLOW, VERSION, "portable_json", "a#1")]


def test_the_engine_s_own_variables_are_put_aside(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody switches the vendor's service on, or our names off, through the environment."""
    monkeypatch.setenv("DBOS__CLOUD", "true")
    monkeypatch.setenv("DBOS__VMID", "other")
    prepare(url)
    assert not [name for name in os.environ if name.startswith("DBOS__")]


def test_a_role_without_the_right_to_make_tables_can_work(postgres: Postgres, url: str, workers: Workers) -> None:
    """An administrator prepares the database; workers then need no more than to read and write."""
    database = url.rpartition("/")[2]
    role = f"small_{database}"
    postgres.execute(f"create role {role} login", database=database)
    postgres.execute(
        f"grant usage on schema {SCHEMA} to {role}",
        f"grant all on all tables in schema {SCHEMA} to {role}",
        f"grant all on all sequences in schema {SCHEMA} to {role}",
        f"grant execute on all functions in schema {SCHEMA} to {role}",
        database=database,
    )
    small = postgres.url(database, role)
    prepare(small)
    workers.url = small
    with JobQueue(small) as queue:
        queue.put("f", jobs(1), Limits())
        workers.start("a", 1, 0.0)
        await_(lambda: workers.ran() and not queue.at_work(), "not carried out")


def test_the_command_line_does_not_load_the_engine() -> None:
    """Help and plain commands stay quick: the engine is loaded by who needs it."""
    import subprocess

    code = "import sys, hypersdk.cli.worker, hypersdk.cli.fleet; sys.exit(bool({'dbos', 'psycopg'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
