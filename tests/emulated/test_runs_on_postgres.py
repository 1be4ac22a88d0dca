"""`runs` and --detach with the run store in PostgreSQL: what others learn of a run, and what stays secret."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from emulator import Emulator, make_seed
from hyperexport import Hyperexport
from kills import wait_until
from postgres import Postgres

PASSWORD = "s3cret-of-the-store"
EXPORT = ("export", "web", "-o", "./", "-bn", "exports")


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One emulator for this file."""
    folder = tmp_path_factory.mktemp("cloud")
    seed = make_seed(folder / "seed", instances={"web": "STOPPED"}, disks=1, assume={"lock-minutes": 0})
    emulator = Emulator(seed, folder / "state").start()
    yield emulator
    emulator.stop()


@pytest.fixture
def hyper(cloud: Emulator, postgres: Postgres, tmp_path: Path) -> Hyperexport:
    """The command, with a database of its own."""
    hyper = Hyperexport(cloud, tmp_path)
    # The server trusts everybody; the password is only there to be found where it must not be.
    hyper.environ["HYPEREXPORT_STATE"] = postgres.database().replace("postgres@", f"postgres:{PASSWORD}@")
    hyper.environ["XDG_STATE_HOME"] = str(tmp_path / "mine")
    return hyper


def held(cloud: Emulator) -> bool:
    return any(fault["holding"] for fault in cloud.faults())


def test_others_see_how_far_it_is_and_how_it_ended(cloud: Emulator, hyper: Hyperexport) -> None:
    """Step, percent and driver while it runs; attached, its exit code, reason and remedy, though nobody drives it."""
    cloud.fault("GetObject", "hold")
    running = hyper.start(*EXPORT)
    wait_until(lambda: held(cloud), "it never came to the download")
    run = hyper.run("runs", "list", "--json").json["runs"][0]
    wait_until(
        lambda: (hyper.run("runs", "list", "--json").json["runs"][0]["driver"] or {}).get("step") == "download",
        "its step was never told",
    )
    watching = hyper.start("runs", "attach", run["run_id"][:8])
    wait_until(lambda: "download" in watching.err, "it never told what runs")
    running.signal(signal.SIGTERM)
    cloud.control("DELETE", "faults")
    ended, told = running.wait(), watching.wait()
    assert (ended.code, told.code) == (130, 130)
    assert "is interrupted: interrupted - the same command resumes" in told.err
    shown = hyper.run("runs", "show", run["run_id"], "--json").json["run"]
    assert shown["ending"]["exit_code"] == 130
    assert shown["history"][-1]["kind"] == "ended"
    assert hyper.run("runs", "retry", run["run_id"]).code == 0
    everything = [ended, told, hyper.run("runs", "show", run["run_id"]), hyper.run("runs", "list", "-v")]
    everything += [hyper.run("runs", "list", "--state", "queued"), hyper.run("config", "show")]
    assert not any(PASSWORD in each.out + each.err for each in everything)
    files = [path for path in hyper.folder.rglob("*") if path.is_file()]
    assert not any(PASSWORD.encode() in path.read_bytes() for path in files)


def test_logs_stay_on_the_machine_that_drives(cloud: Emulator, hyper: Hyperexport, tmp_path: Path) -> None:
    """A detached export writes below XDG_STATE_HOME; `prune` takes store rows and log away."""
    ended = hyper.run(*EXPORT, "--detach", "--json")
    assert ended.code == 0, ended.err
    told = ended.json["detached"]
    assert told["log"] == str(tmp_path / "mine" / "hypersdk" / "logs" / f"{told['run_id']}.log")
    wait_until(lambda: hyper.run("runs", "list", "--state", "done", "--json").json["runs"] != [], "it never ended")
    wait_until(lambda: not _lives(told["process"]), "the background process stayed")
    assert Path(told["log"]).exists()
    assert hyper.run("runs", "prune", "--json").json["pruned"] == []
    assert Path(told["log"]).exists()
    with psycopg.connect(hyper.environ["HYPEREXPORT_STATE"]) as connection:
        connection.execute("UPDATE runs SET updated = '2020-01-01T00:00:00.000+00:00'")
    assert [one["run_id"] for one in hyper.run("runs", "prune", "--json").json["pruned"]] == [told["run_id"]]
    assert not Path(told["log"]).exists()
    assert hyper.run("runs", "list", "--json").json["runs"] == []


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
