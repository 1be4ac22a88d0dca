"""A run store in a file that is full, locked, read-only, deleted, or that cannot be locked: C082 and its kin."""

import errno
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from emulator import Emulator, make_seed
from filesystems import TMPFS, mounted, run_as_root
from hyperexport import Hyperexport
from kills import wait_until

from hypersdk import errors, events
from hypersdk.runs.drive import Drive
from hypersdk.runs.records import Intent
from hypersdk.runs.store import RunStore
from hypersdk.waiting import StopFlag, Waiter

SMALL = replace(TMPFS, make=TMPFS.make.replace("96m", "640k"))
NAMES = [f"vm-{number}" for number in range(4)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "runs.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[RunStore]:
    with RunStore(path, host="host", version="1") as store:
        yield store


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    folder = tmp_path_factory.mktemp("cloud")
    seed = make_seed(folder / "seed", instances=dict.fromkeys(NAMES, "STOPPED"), disks=1)
    emulator = Emulator(seed, folder / "state").start()
    yield emulator
    emulator.stop()


def fill(folder: Path) -> Path:
    """Take all the room that is left."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        while shutil.disk_usage(folder).free:
            file.write(bytes(4096))
    return ballast


def write_much(drive: Drive) -> None:
    for number in range(200):
        drive.intend(Intent("object", f"{number}", {"note": "x" * 4000}))


def test_a_full_disk_of_the_store_is_told(tmp_path: Path) -> None:
    """Writing says that there is no room, and where; a beat does not mind; with room it goes on."""
    with mounted(SMALL, tmp_path) as at, RunStore(at / "runs.sqlite", host="host", version="1") as store:
        run = store.begin("key", 1, "web", {})
        with store.drive(run.run_id) as drive:
            ballast = fill(at)
            with pytest.raises(errors.DiskFull, match=r"no room left for the run store .*runs\.sqlite.*make room"):
                write_much(drive)
            assert not drive.beat({"percent": 1})
            assert store.run(run.run_id).run_id == run.run_id
            ballast.unlink()
            drive.start_step("b")
            assert "b" in {step.name for step in store.steps(run.run_id)}


def test_an_export_whose_store_is_full_is_resumable(cloud: Emulator, tmp_path: Path) -> None:
    """The disk of the store fills in mid-run: exit 8, image and parts stay and are told; with room it goes on."""
    with mounted(SMALL, tmp_path) as at:
        hyper = Hyperexport(cloud, tmp_path)
        hyper.environ["HYPEREXPORT_STATE"] = str(at / "runs.sqlite")
        fault = cloud.fault("GetObject", "hold")
        running = hyper.start("export", NAMES[0], "-o", "./", "-bn", "exports")
        wait_until(lambda: running.ended() or any(each["holding"] for each in cloud.faults()), "it fetched nothing")
        assert not running.ended(), running.err
        # What the log has room for already is written into it, whatever fills the disk.
        with closing(sqlite3.connect(at / "runs.sqlite")) as raw:
            raw.execute("pragma wal_checkpoint(truncate)")
        ballast = fill(at)
        cloud.control("POST", "release", {"id": fault["id"]})
        ended = running.wait()
        assert ended.code == 8, ended.err
        assert "no room left for the run store" in ended.err
        assert "stays in the tenancy: image" in ended.err
        ballast.unlink()
        mark = cloud.log()[-1]["id"]
        again = hyper.run("export", NAMES[0], "-o", "./", "-bn", "exports")
        assert again.code == 0, again.err
        assert "CreateImage" not in {entry["operation"] for entry in cloud.log(mark)}
        assert not any(cloud.control("GET", "leftovers").values())


def test_a_locked_store_is_waited_for(store: RunStore, path: Path) -> None:
    """Another program's long transaction: reading goes on, a patient write waits and says so, and is written."""
    run = store.begin("key", 1, "web", {})
    told: list[str] = []

    def report(event: events.Event, /) -> None:
        if isinstance(event, events.Waiting) and event.reason:
            told.append(event.reason)
            other.rollback()

    patient = store.patient(Waiter(StopFlag(), report=report))
    with closing(sqlite3.connect(path, isolation_level=None)) as other, patient.drive(run.run_id) as drive:
        other.execute("begin immediate")
        assert store.run(run.run_id).key == "key"
        began = time.monotonic()
        assert not drive.beat()
        assert time.monotonic() - began < 10
        drive.start_step("a")
    assert "another program has the run store" in told[0]
    assert [step.name for step in store.steps(run.run_id)] == ["a"]


def test_a_store_that_stays_locked_is_not_waited_for_for_ever(
    store: RunStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has no patience is told after the time for it; a command that begins ends with exit 2."""
    monkeypatch.setattr("hypersdk.runs.sqlite.BUSY_TIMEOUT", 1.0)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("begin immediate")
        with pytest.raises(errors.StoreUnreachable, match="locked"):
            store.begin("key", 1, "web", {})
        other.execute("delete from migrations")
        other.execute("commit")
        other.execute("begin immediate")
        with pytest.raises(errors.ConfigError, match=r"has the run store .* locked.*HYPEREXPORT_STATE"):
            RunStore(path, host="host", version="1")


def test_a_deleted_store_is_noticed(store: RunStore, path: Path) -> None:
    """A store that was deleted or replaced is not written any more: SQLite would write where nobody finds it."""
    run = store.begin("key", 1, "web", {})
    with store.drive(run.run_id) as drive:
        kept = path.with_name("kept")
        path.rename(kept)
        with pytest.raises(errors.FileError, match="was deleted or replaced while it was in use"):
            drive.start_step("a")
        shutil.copy(kept, path)
        with pytest.raises(errors.FileError, match="was deleted or replaced"):
            drive.start_step("a")
        kept.rename(path)
        drive.start_step("a")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP], ids=errno.errorcode.get)
def test_a_file_system_without_locks_is_refused(path: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """C082: where files cannot be locked a store is refused when it is opened, not in the middle of a run."""

    def refuse(_descriptor: int, _operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(errors.ConfigError, match=r"cannot lock files.*HYPEREXPORT_STATE"):
        RunStore(path, host="host", version="1")


Spoil = Callable[[Path], None]


def read_only(at: Path) -> None:
    run_as_root("mount", "-o", "remount,ro", str(at))


def full(at: Path) -> None:
    fill(at)


@pytest.mark.parametrize("spoil", [read_only, full])
def test_export_stops_before_the_first_call(cloud: Emulator, tmp_path: Path, spoil: Spoil) -> None:
    """C082: exit 2, path and setting named, nothing sent to the cloud; commands without runs work."""
    with mounted(SMALL, tmp_path) as at:
        hyper = Hyperexport(cloud, tmp_path)
        hyper.environ["HYPEREXPORT_STATE"] = str(at / "state" / "runs.sqlite")
        spoil(at)
        mark = len(cloud.log())
        began = time.monotonic()
        ended = hyper.run("export", NAMES[1], "-o", "./", "-bn", "exports")
        assert ended.code == 2, ended.err
        assert str(at) in ended.err
        assert "HYPEREXPORT_STATE" in ended.err
        assert time.monotonic() - began < 20
        assert len(cloud.log()) == mark
        listed = hyper.run("ls", f"oci://{cloud.namespace}/exports/", "--json")
        assert listed.code == 0, listed.err
        assert json.loads(listed.out)
