"""`runs` from another process while one runs, and after it ended: show, attach, cancel, retry, prune, list."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from emulator import Emulator, make_seed
from hyperexport import INSTALLED, Hyperexport, Running
from kills import wait_until

from hypersdk.runs.enrolment import Draft, Entry, enrol
from hypersdk.runs.fleets import items
from hypersdk.runs.records import QUEUED, FleetItem
from hypersdk.runs.store import RunStore

NAMES = [f"vm-{number:02}" for number in range(30)]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One emulator for this file, with an instance for each test."""
    folder = tmp_path_factory.mktemp("cloud")
    seed = make_seed(folder / "seed", instances=NAMES, disk_size=4 << 20, assume={"lock-minutes": 0})
    emulator = Emulator(seed, folder / "state").start()
    yield emulator
    emulator.control("DELETE", "faults")
    emulator.stop()


@pytest.fixture
def hyper(cloud: Emulator, tmp_path: Path) -> Hyperexport:
    """The command."""
    return Hyperexport(cloud, tmp_path)


@pytest.fixture
def vm(request: pytest.FixtureRequest) -> str:
    """An instance of this test's own."""
    tests = [item.name for item in request.session.items if item.fspath == request.node.fspath]
    return NAMES[tests.index(request.node.name)]


Hold = Callable[[str], Running]


@pytest.fixture
def hold(cloud: Emulator, hyper: Hyperexport, vm: str) -> Iterator[Hold]:
    """Starts the export and waits until the emulator holds its request of an operation."""
    started: list[Running] = []

    def start(operation: str) -> Running:
        cloud.fault(operation, "hold")
        running = hyper.start("export", vm, "-o", "./", "-bn", "exports")
        started.append(running)
        wait_until(lambda: any(fault["holding"] for fault in cloud.faults()) or running.ended(), "never held")
        assert not running.ended(), running.err
        return running

    yield start
    cloud.control("DELETE", "faults")
    for running in started:
        running.kill()


def release(cloud: Emulator) -> None:
    cloud.control("POST", "release", {"all": True})


def the_run(hyper: Hyperexport) -> dict[str, Any]:
    (run,) = hyper.run("runs", "list", "--json").json["runs"]
    return dict(run)


def shown(hyper: Hyperexport, run_id: str) -> dict[str, Any]:
    return dict(hyper.run("runs", "show", run_id, "--json").json["run"])


def aged(hyper: Hyperexport, column: str, value: str) -> None:
    with closing(sqlite3.connect(hyper.environ["HYPEREXPORT_STATE"])) as db, db:
        db.execute(f"UPDATE runs SET {column} = ?", (value,))


# ---------------------------------------------------------------- show


def test_show_explains_a_finished_export_from_the_store_alone(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """Who began it, each step and how long, what it waited for, retries, its end: no cloud, no log is needed."""
    cloud.fault("GetObject", "error", status=503, code="ServiceUnavailable", times=2)
    cloud.fault("ExportImage", "outage", seconds=1.6)
    assert hyper.export(vm, "-o", "./").code == 0
    run = the_run(hyper)
    for log in (hyper.folder / "state" / "logs").iterdir():
        log.unlink()
    told = shown(hyper, run["run_id"])
    kinds = [one["kind"] for one in told["history"]]
    assert (kinds[0], kinds[-1]) == ("began", "ended")
    assert [one["step"] for one in told["history"] if one["kind"] == "step"] == [step["name"] for step in told["steps"]]
    assert all(one["seconds"] is not None for one in told["history"] if one["kind"] in {"step", "wait", "held"})
    waited = [one for one in told["history"] if one["kind"] == "held"]
    assert any(one["text"].startswith("network down since") and one["seconds"] >= 1 for one in waited)
    assert told["ending"] == {"code": None, "exit_code": 0, "message": None, "request_id": None, "hint": None}
    text = hyper.run("runs", "show", run["run_id"][:5]).out
    assert f"begun by `hyperexport export {vm} -o ./ -bn exports" in text
    assert re.search(r"\d\d:\d\d:\d\d +\d.* s +await-object: wait for the exported object", text)
    assert re.search(r"waited in all: .* network down since", text)


def test_show_tells_of_an_earlier_process_that_died(cloud: Emulator, hyper: Hyperexport, vm: str, hold: Hold) -> None:
    """A kill -9 leaves no word; the next process notes who it was, what it did, and when it was last heard of."""
    running = hold("GetObject")
    pid = running.pid
    running.kill()
    cloud.control("DELETE", "faults")
    assert the_run(hyper)["state"] == "interrupted"
    assert hyper.export(vm, "-o", "./").code == 0
    texts = [one["text"] for one in shown(hyper, the_run(hyper)["run_id"])["history"]]
    assert any(
        re.search(rf"process {pid} ended without a word, last heard of .* in (await-object|download)", one)
        for one in texts
    )
    assert any(one.startswith("resumed by") and "steps were done" in one for one in texts)


# ---------------------------------------------------------------- attach


def test_attach_follows_to_the_end(cloud: Emulator, hyper: Hyperexport, vm: str, hold: Hold) -> None:
    """From another process: what runs now, the steps as they end, then the result; its exit code is the run's."""
    running = hold("GetObject")
    watching = hyper.start("runs", "attach", the_run(hyper)["run_id"][:6], "--json")
    wait_until(lambda: "download" in watching.err, "it never told what runs")
    release(cloud)
    ended, told = running.wait(), watching.wait()
    assert (ended.code, told.code) == (0, 0)
    assert told.json["export"]["disks"][0]["path"] == str(hyper.folder / f"{vm}.qcow2")
    assert f"process {running.pid}" in told.err
    assert "verify: verify the disk: good" in told.err


def test_attach_ends_as_the_run_ends(cloud: Emulator, hyper: Hyperexport, vm: str, hold: Hold) -> None:
    """An interrupted run: its code, its reason, what stays, and how to go on."""
    running = hold("GetObject")
    watching = hyper.start("runs", "attach", the_run(hyper)["run_id"])
    wait_until(lambda: "download" in watching.err, "it never told what runs")
    running.signal(signal.SIGTERM)
    told = watching.wait()
    assert running.wait().code == told.code == 130
    assert "is interrupted: interrupted" in told.err
    assert "stays in the tenancy: image" in told.err
    assert f"hyperexport runs retry {the_run(hyper)['run_id']}" in told.err


def test_attach_notices_that_the_process_died(cloud: Emulator, hyper: Hyperexport, vm: str, hold: Hold) -> None:
    """A kill -9 of the process that is watched ends the watching with 130 and says when it was last heard of."""
    running = hold("GetObject")
    watching = hyper.start("runs", "attach", the_run(hyper)["run_id"])
    wait_until(lambda: "download" in watching.err, "it never told what runs")
    running.kill()
    told = watching.wait()
    assert told.code == 130
    assert "was last heard of" in told.err


def test_ctrl_c_ends_only_the_watching(cloud: Emulator, hyper: Hyperexport, vm: str, hold: Hold) -> None:
    """The run does not hear of it, and its end is what it would have been."""
    running = hold("GetObject")
    watching = hyper.start("runs", "attach", the_run(hyper)["run_id"])
    wait_until(lambda: "download" in watching.err, "it never told what runs")
    watching.signal(signal.SIGINT)
    told = watching.wait()
    assert told.code == 130
    assert "detached; the run goes on: hyperexport runs attach" in told.err
    release(cloud)
    assert running.wait().code == 0


# ---------------------------------------------------------------- who drives


def test_a_driven_run_says_who_drives_it_and_how_far(hyper: Hyperexport, vm: str, hold: Hold) -> None:
    """The second command names host, process, since when, how far, and how to watch or end it; `list` shows it too."""
    running = hold("GetObject")
    refused = hyper.export(vm, "-o", "./")
    assert refused.code == 6
    line = next(each for each in refused.err.splitlines() if each.startswith("hyperexport: "))
    assert re.search(
        rf"is driven by \S+, process {running.pid}, since .*, now (await-object|download), \d+ % of all", line
    )
    assert "hyperexport runs attach" in line
    assert "hyperexport runs cancel" in line
    run = the_run(hyper)
    assert run["driver"]["owner"].endswith(f"process {running.pid}")
    assert run["percent"] > 0


def test_ten_starts_at_once_are_one_export(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """Whoever comes first exports, the other nine are refused; one image, one file, one run."""
    log = cloud.log()
    before = log[-1]["id"] if log else 0
    cloud.fault("ExportImage", "hold")
    racing = [hyper.start("export", vm, "-o", "./", "-bn", "exports") for _ in range(10)]
    wait_until(lambda: sum(each.ended() for each in racing) == 9, "more than one goes on")
    wait_until(lambda: any(fault["holding"] for fault in cloud.faults()), "never held")
    release(cloud)
    assert sorted(each.wait().code for each in racing) == [0] + 9 * [6]
    made = [each["operation"] for each in cloud.log(before) if each["operation"] in {"CreateImage", "ExportImage"}]
    assert made == ["CreateImage", "ExportImage"]
    assert the_run(hyper)["state"] == "done"


@pytest.mark.parametrize("answer", ["y", "n"])
def test_on_a_terminal_it_offers_to_watch(
    cloud: Emulator, hyper: Hyperexport, vm: str, hold: Hold, answer: str
) -> None:
    """A yes watches the run to its end and ends as it ends; a no is exit 6; the run is never touched."""
    running = hold("GetObject")
    command, ours = pty.fork()
    if command == 0:
        line = ["export", vm, "-o", "./", "-bn", "exports", "--config-file", str(cloud.config_file)]
        os.chdir(hyper.folder)
        environ = {**hyper.environ, "TERM": "dumb"}
        os.execve(INSTALLED, [INSTALLED, *line, "--endpoint", cloud.endpoint], environ)
    shown = b""
    while b"Watch it?" not in shown:
        shown += os.read(ours, 65536)
    os.write(ours, f"{answer}\n".encode())
    if answer == "y":
        while b"driven by" not in shown.partition(b"Watch it?")[2]:
            shown += os.read(ours, 65536)
        release(cloud)
    code = None
    while code is None:
        with suppress(OSError):  # Linux says EIO when the last process has closed the other side
            shown += os.read(ours, 65536)
        ended, status = os.waitpid(command, os.WNOHANG)
        code = os.waitstatus_to_exitcode(status) if ended else None
    os.close(ours)
    assert code == (0 if answer == "y" else 6), shown
    release(cloud)
    assert running.wait().code == 0


def test_new_waits_until_the_driver_has_cleaned_up(cloud: Emulator, hyper: Hyperexport, vm: str, hold: Hold) -> None:
    """`--new` while another process drives the run: that one is cancelled and cleans up, then it starts anew."""
    running = hold("GetObject")
    anew = hyper.start("export", vm, "-o", "./", "-bn", "exports", "--new")
    wait_until(lambda: "cleans up run" in anew.err, "it never waited")
    release(cloud)
    assert running.wait().code == 1
    ended = anew.wait()
    assert ended.code == 0, ended.err
    runs = hyper.run("runs", "list", "--json").json["runs"]
    assert [(run["state"], run["generation"]) for run in runs] == [("done", 2), ("cancelled", 1)]


# ---------------------------------------------------------------- retry


def test_retry_goes_on_with_an_unfinished_run_from_anywhere(
    cloud: Emulator, hyper: Hyperexport, vm: str, tmp_path: Path, hold: Hold
) -> None:
    """By its id, in another directory, without the options of the command: the same run, the same file."""
    hold("GetObject").kill()
    cloud.control("DELETE", "faults")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    there = Hyperexport(cloud, elsewhere)
    there.environ |= {"HYPEREXPORT_STATE": hyper.environ["HYPEREXPORT_STATE"]}
    run = the_run(hyper)
    ended = there.run("runs", "retry", run["run_id"][:7], "--json")
    assert ended.code == 0, ended.err
    assert ended.json["export"]["run_id"] == run["run_id"]
    assert (hyper.folder / f"{vm}.qcow2").exists()


def test_a_fleet_learns_how_a_run_of_it_ended(cloud: Emulator, hyper: Hyperexport, vm: str, hold: Hold) -> None:
    """A run of a fleet that is retried alone: its item ends as done, so that nobody exports it again."""
    hold("GetObject").kill()
    cloud.control("DELETE", "faults")
    run_id = the_run(hyper)["run_id"]
    with RunStore(hyper.environ["HYPEREXPORT_STATE"], host="host", version="1") as store:
        run = store.run(run_id)
        draft = Draft(run.key, run.generation, run.plan, run.options)
        fleet = enrol(store, "plan.yaml", {}, [Entry(FleetItem(1, "ocid", vm, None), draft)])
    assert hyper.run("runs", "retry", run_id).code == 0
    with RunStore(hyper.environ["HYPEREXPORT_STATE"], host="host", version="1") as store:
        (item,) = items(store, fleet.fleet_id)
    assert (item.outcome, item.code) == ("done", None)
    assert "vm" in (item.detail or "")


def test_retry_begins_a_failed_run_anew(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """A run that failed for good gets a new generation with the options that it was asked for with."""
    cloud.fault("ExportImage", "work-request-fails")
    assert hyper.export(vm, "-o", "x.qcow2", "--tag", "team=a").code == 1
    failed = the_run(hyper)
    assert failed["state"] == "failed"
    ended = hyper.run("runs", "retry", failed["run_id"], "--json")
    assert ended.code == 0, ended.err
    assert ended.json["export"]["run_id"] != failed["run_id"]
    assert (hyper.folder / "x.qcow2").exists()
    runs = hyper.run("runs", "list", "--json").json["runs"]
    assert [(run["state"], run["generation"]) for run in runs] == [("done", 2), ("failed", 1)]


def test_retry_of_several_stops_at_none(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """One that cannot succeed does not keep the other from it: exit 3, and a row for each."""
    names = [vm, "vm-29"]
    cloud.fault("CreateImage", "error", status=400, code="InvalidParameter", times=2)
    for name in names:
        assert hyper.export(name, "-o", "./").code != 0
    ids = [run["run_id"] for run in hyper.run("runs", "list", "--json").json["runs"]]
    cloud.fault("CreateImage", "error", status=400, code="InvalidParameter", times=1)
    ended = hyper.run("runs", "retry", *ids, "--json")
    assert ended.code == 3, ended.err
    assert {run["state"] for run in ended.json["runs"]} > {"done"}


def test_retry_of_what_is_done_exports_nothing(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """A finished run answers with its result."""
    assert hyper.export(vm, "-o", "./").code == 0
    ended = hyper.run("runs", "retry", the_run(hyper)["run_id"], "--json")
    assert (ended.code, ended.json["export"]["already_exported"]) == (0, True)


# ---------------------------------------------------------------- cancel, list, prune


def queue(hyper: Hyperexport, vm: str) -> tuple[str, str]:
    """A fleet of one queued run; answers both ids."""
    path = hyper.environ["HYPEREXPORT_STATE"]
    with RunStore(path, host="host", version="1") as store:
        done = store.runs()[0]
        plan = {**done.plan, "key": "another key", "run_id": store.run_id("another key", 1)}
        entry = Entry(FleetItem(1, "ocid", vm, None), Draft("another key", 1, plan, done.options))
        fleet = enrol(store, "plan.yaml", {}, [entry])
        (item,) = items(store, fleet.fleet_id)
        assert store.run(str(item.run_id)).state == QUEUED
        return fleet.fleet_id, str(item.run_id)


@pytest.mark.parametrize("what", ["run", "fleet"])
def test_cancel_of_what_waits_for_its_turn(hyper: Hyperexport, vm: str, what: str) -> None:
    """A queued run, alone or with its fleet, is cancelled without a call to the cloud; `list` filters both."""
    assert hyper.export(vm, "-o", "./").code == 0
    fleet_id, run_id = queue(hyper, vm)
    queued = hyper.run("runs", "list", "--state", "queued", "--json").json["runs"]
    assert [run["run_id"] for run in queued] == [run_id]
    assert queued == hyper.run("runs", "list", "--fleet", fleet_id[:5], "--json").json["runs"]
    ended = hyper.run("runs", "cancel", run_id if what == "run" else fleet_id, "--endpoint", "http://127.0.0.1:1")
    assert ended.code == 0, ended.err
    assert shown(hyper, run_id)["state"] == "cancelled"


def test_prune_forgets_what_ended_long_ago(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """Store, log and lock file go; a run that may have left something stays; younger and unfinished ones too."""
    assert hyper.export(vm, "-o", "./").code == 0
    run_id = the_run(hyper)["run_id"]
    assert hyper.run("runs", "prune", "--json").json["pruned"] == []
    assert hyper.run("runs", "prune", "--older-than", "1h").code == 2
    aged(hyper, "updated", "2020-01-01T00:00:00.000+00:00")
    assert [one["run_id"] for one in hyper.run("runs", "prune", "--dry-run", "--json").json["pruned"]] == [run_id]
    assert the_run(hyper)["run_id"] == run_id
    assert [one["run_id"] for one in hyper.run("runs", "prune", "--json").json["pruned"]] == [run_id]
    assert hyper.run("runs", "list", "--json").json["runs"] == []
    left = [path for path in (hyper.folder / "state").rglob("*") if run_id in path.name]
    assert left == []


def test_prune_spares_what_left_something(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """The ledger of a failed run whose image is still there is the only memory of it."""
    cloud.fault("ExportImage", "work-request-fails")
    assert hyper.export(vm, "-o", "./", "--keep-on-failure").code == 1
    aged(hyper, "updated", "2020-01-01T00:00:00.000+00:00")
    ended = hyper.run("runs", "prune", "--json")
    assert ended.json["pruned"] == []
    assert f"run {the_run(hyper)['run_id']} stays" in ended.err
    assert hyper.run("runs", "cancel", the_run(hyper)["run_id"]).code == 0


# ---------------------------------------------------------------- versions, logs


def test_a_run_of_another_version_is_not_guessed_at(cloud: Emulator, hyper: Hyperexport, vm: str, hold: Hold) -> None:
    """A plan that this version does not know: refused with who began it and both ways on; `cancel` cleans up."""
    hold("GetObject").kill()
    cloud.control("DELETE", "faults")
    run = the_run(hyper)
    with closing(sqlite3.connect(hyper.environ["HYPEREXPORT_STATE"])) as db, db:
        (text,) = db.execute("SELECT plan FROM runs").fetchone()
        later = {**json.loads(text), "version": 99, "surprise": True}
        db.execute("UPDATE runs SET plan = ?, tool_version = '9.1'", (json.dumps(later),))
    refused = hyper.export(vm, "-o", "./")
    assert refused.code == 6
    assert "has version 99" in refused.err
    assert "pip install hypersdk==9.1" in refused.err
    assert f"hyperexport runs cancel {run['run_id']}" in refused.err
    assert shown(hyper, run["run_id"])["state"] == "interrupted"
    assert hyper.run("runs", "cancel", run["run_id"]).code == 0
    assert run["run_id"] not in json.dumps(cloud.control("GET", "leftovers"))


def test_a_plan_without_a_version_goes_on(cloud: Emulator, hyper: Hyperexport, vm: str, hold: Hold) -> None:
    """A run that an earlier hypersdk began, before plans and options had what they have now, is finished."""
    hold("GetObject").kill()
    cloud.control("DELETE", "faults")
    with closing(sqlite3.connect(hyper.environ["HYPEREXPORT_STATE"])) as db, db:
        (text,) = db.execute("SELECT plan FROM runs").fetchone()
        earlier = json.loads(text)
        del earlier["version"]
        db.execute("UPDATE runs SET plan = ?, options = '{}'", (json.dumps(earlier),))
    assert hyper.export(vm, "-o", "./").code == 0


def test_a_log_names_request_ids_and_is_named(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """The log of a failed export is named with the error and by `runs show`; it holds the id of the failed request."""
    cloud.fault("CreateImage", "error", status=400, code="InvalidParameter")
    failed = hyper.export(vm, "-o", "./")
    path = hyper.folder / "state" / "logs" / f"{the_run(hyper)['run_id']}.log"
    assert f"log file: {path}" in failed.err
    assert shown(hyper, the_run(hyper)["run_id"])["log"] == str(path)
    request_id = re.search(r"opc-request-id (\S+)\)", failed.err)
    assert request_id is not None
    assert request_id[1] in path.read_text()
    assert os.stat(path).st_mode & 0o777 == 0o600  # noqa: PTH116 - its mode as the kernel has it
    assert time.time() - path.stat().st_mtime < 60
