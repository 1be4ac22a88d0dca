"""The run store: what is written stays, only one process writes, and a store that cannot be used says so."""

import multiprocessing
import sqlite3
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hypersdk import errors
from hypersdk.runs.records import CANCELLED, DONE, INTERRUPTED, Intent
from hypersdk.runs.store import RunStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "runs.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[RunStore]:
    with RunStore(path, host="host", version="1") as store:
        yield store


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_files_are_for_their_owner_only(store: RunStore, path: Path) -> None:
    """Directory 0700, database and its companions 0600."""
    store.begin("key", 1, "web", {})
    assert mode(path.parent) == 0o700
    assert {mode(file) for file in path.parent.glob("runs.sqlite*") if file.is_file()} == {0o600}


def test_a_run_is_found_again_by_another_process(store: RunStore, path: Path) -> None:
    """Runs, steps and intents are there when the store is opened anew."""
    run = store.begin("key", 1, "web", {"steps": ["a"]})
    with store.drive(run.run_id) as drive:
        drive.start_step("a")
        drive.finish_step("a", {"size": 5})
        drive.intend(Intent("image", "name", {"region": "r"}))
        drive.know("image", "name", resource_id="ocid", size=7)
    with RunStore(path, host="host", version="1") as again:
        found = again.latest("key")
        assert found is not None
        assert (found.run_id, found.plan, found.unfinished) == (run.run_id, {"steps": ["a"]}, True)
        assert [step.result for step in again.steps(run.run_id)] == [{"size": 5}]
        (intent,) = again.intents(run.run_id, open_only=True)
        assert (intent.kind, intent.resource_id, intent.size, intent.place) == ("image", "ocid", 7, {"region": "r"})


def test_beginning_twice_is_beginning_once(store: RunStore) -> None:
    """Two processes that begin the same run get the same row; another generation is another run."""
    assert store.begin("key", 1, "web", {}) == store.begin("key", 1, "web", {})
    second = store.begin("key", 2, "web", {})
    assert store.latest("key") == second
    assert len(store.runs()) == 2


def test_run_ids_differ_between_stores(store: RunStore, tmp_path: Path) -> None:
    """Two machines with the same question never share a run's names, so neither deletes the other's things."""
    with RunStore(tmp_path / "other.sqlite", host="host", version="1") as other:
        assert store.run_id("key", 1) != other.run_id("key", 1)
    assert store.run_id("key", 1) == store.run_id("key", 1)
    assert store.run_id("key", 1) != store.run_id("key", 2)


def test_a_lost_lease_writes_nothing(store: RunStore) -> None:
    """After another process has taken the run over, the first one's writes are refused."""
    run = store.begin("key", 1, "web", {})
    with store.drive(run.run_id) as old:
        pass
    with store.drive(run.run_id) as new:
        for write in (
            lambda: old.start_step("a"),
            lambda: old.intend(Intent("image", "x")),
            lambda: old.set_state(DONE),
            old.check,
            old.beat,
        ):
            with pytest.raises(errors.LeaseLost):
                write()
        new.start_step("b")
    assert [step.name for step in store.steps(run.run_id)] == ["b"]


def hold(path: Path, run_id: str, ready: "multiprocessing.synchronize.Event") -> None:
    with RunStore(path, host="host", version="1") as store, store.drive(run_id):
        ready.set()
        multiprocessing.Event().wait()


def test_the_lease_dies_with_its_process(store: RunStore, path: Path) -> None:
    """While a process lives nobody else drives its run; killed, its lease is free at once."""
    run = store.begin("key", 1, "web", {})
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=hold, args=(path, run.run_id, ready))
    process.start()
    assert ready.wait(30)
    assert store.is_driven(run.run_id)
    with pytest.raises(errors.PreflightRefused, match="another process drives"), store.drive(run.run_id):
        pass
    process.kill()
    process.join()
    assert not store.is_driven(run.run_id)
    with store.drive(run.run_id) as drive:
        drive.check()


def test_a_cancel_request_lives_until_the_run_has_ended(store: RunStore) -> None:
    """An interrupted clean-up does not forget that the run is to be cancelled; an ended run does."""
    run = store.begin("key", 1, "web", {})
    store.request_cancel(run.run_id)
    with store.drive(run.run_id) as drive:
        assert drive.beat()
        drive.set_state(INTERRUPTED)
        assert drive.beat()
        drive.set_state(CANCELLED)
        assert not drive.beat()


def test_recording_an_intent_again_opens_it_again(store: RunStore) -> None:
    """A closed thing that is made once more may exist once more, with an identity yet unknown."""
    run = store.begin("key", 1, "web", {})
    with store.drive(run.run_id) as drive:
        drive.intend(Intent("par", "link"))
        drive.know("par", "link", resource_id="old")
        drive.close_intent("par", "link")
        assert store.intents(run.run_id, open_only=True) == []
        drive.intend(Intent("par", "link"))
    (intent,) = store.intents(run.run_id, open_only=True)
    assert intent.resource_id is None


def test_images_of_the_last_minutes_are_known_whoever_made_them(path: Path) -> None:
    """The 20-minute lock is told from our own ledger, also after the image is gone."""
    clock = [datetime(2026, 1, 1, tzinfo=UTC)]
    with RunStore(path, host="host", version="1", now=lambda: clock[0]) as store:
        run = store.begin("key", 1, "web", {})
        with store.drive(run.run_id) as drive:
            drive.intend(Intent("image", "x", {"instance_id": "i"}))
            drive.close_intent("image", "x")
        ((found, intent),) = store.intents_of_kind("image", since=clock[0] - timedelta(minutes=20))
        assert (found, intent.place) == (run.run_id, {"instance_id": "i"})
        assert store.intents_of_kind("image", since=clock[0] + timedelta(seconds=1)) == []


def test_a_run_is_named_by_the_beginning_of_its_id(store: RunStore) -> None:
    """A unique beginning is enough; none and several are told apart."""
    runs = [store.begin(f"key{n}", 1, "web", {}) for n in range(20)]
    assert store.run(runs[0].run_id[:11]) == runs[0]
    with pytest.raises(errors.NotFoundError):
        store.run("zz")
    first = {run.run_id[0] for run in runs}
    shared = next(letter for letter in first if sum(run.run_id.startswith(letter) for run in runs) > 1)
    with pytest.raises(errors.UsageError, match="write more of it"):
        store.run(shared)


@pytest.mark.parametrize("content", [b"not a database, but longer than a header has to be" * 20, None])
def test_an_unusable_store_names_the_setting(tmp_path: Path, content: bytes | None) -> None:
    """A file that is no database, or a directory, is a configuration error that names HYPEREXPORT_STATE. (C082)"""
    path = tmp_path / "runs"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(errors.ConfigError, match="HYPEREXPORT_STATE"):
        RunStore(path, host="host", version="1")


def test_an_address_is_not_taken_for_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database's URL of an unknown kind is refused instead of becoming a directory of that name."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(errors.ConfigError, match="no such kind of database"):
        RunStore("mysql://db/runs", host="host", version="1")
    assert list(tmp_path.iterdir()) == []


def test_a_store_of_a_newer_version_is_left_alone(path: Path) -> None:
    """An older program refuses a newer store, and says which version wrote it and what to do."""
    RunStore(path, host="host", version="1").close()
    with sqlite3.connect(path) as raw:
        raw.execute("insert into migrations values (99, '2031-05-06T07:08:09', '9.8')")
    raw.close()
    with pytest.raises(errors.ConfigError, match=r"hypersdk 9\.8 made it version 99 on 2031-05-06.*upgrade hypersdk"):
        RunStore(path, host="host", version="1")
