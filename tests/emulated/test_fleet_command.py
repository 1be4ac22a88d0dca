"""`hyperexport fleet`, carried out on this machine: what it prints, its exit codes, kills, the live table."""

import functools
import json
import os
import pty
import random
import re
import select
import signal
import subprocess
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from emulator import Emulator, instance_id
from hyperexport import INSTALLED, Ended, Hyperexport
from kills import wait_until

import hypersdk.cli

SCHEMAS = Path(hypersdk.cli.__file__).parent / "schemas"
NAMES = tuple(f"vm-{number}" for number in range(1, 5))


@functools.cache
def validator(kind: str) -> jsonschema.Draft202012Validator:
    """Checks documents of a kind."""
    schema = json.loads((SCHEMAS / f"{kind}.schema.json").read_text())
    return jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())


def valid(document: Any, kind: str) -> Any:
    """A document, checked by its schema."""
    validator(kind).validate(document)
    return document


def fleet_of(ended: Ended) -> dict[str, Any]:
    """The result of a fleet that printed JSON."""
    return dict(valid(ended.json, "fleet")["fleet"])


def clean(emulator: Emulator) -> bool:
    """Whether nothing temporary is left in the cloud."""
    return not any(emulator.control("GET", "leftovers").values())


def made(emulator: Emulator) -> dict[str, list[str]]:
    """Images that are or were, and what was done with each, by the instance's name."""
    found: dict[str, list[str]] = {}
    at = f"compartmentId={emulator.seed.compartment}&limit=1000"
    images = [
        image
        for state in ("", "&lifecycleState=DELETED")
        for image in emulator.call("GET", f"/20160918/images?{at}{state}").json
        if "-hypersdk-" in image["displayName"]
    ]
    for image in images:
        work = emulator.call("GET", f"/20160918/workRequests?{at}&resourceId={image['id']}").json
        name = image["displayName"].partition("-hypersdk-")[0]
        found.setdefault(name, []).extend(each["operationType"] for each in work)
    return {name: sorted(kinds) for name, kinds in found.items()}


ONE_EACH = {name: ["CreateImage", "ExportImage"] for name in NAMES}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A current directory with the fleet's file."""
    (tmp_path / "fleet.txt").write_text("".join(f"{name}\n" for name in NAMES))
    return tmp_path


FLEET = ("fleet", "fleet.txt", "-bn", "exports", "--allow-shutdown")


def test_a_fleet_of_a_file_says_what_became_of_each(start_emulator: Callable[..., Emulator], folder: Path) -> None:
    """Lines, a table of those that were not exported, the command that takes them up, exit 3; it exports just those."""
    emulator = start_emulator(instances=NAMES, assume={"lock-minutes": 0})
    emulator.fault("ExportImage", "export-all-zero")
    hyper = Hyperexport(emulator, folder)
    ended = hyper.run(*FLEET)
    assert ended.code == 3, ended.err
    assert ended.out.splitlines()[0].split() == ["NUMBER", "INSTANCE", "NAME", "OUTCOME", "CODE", "DETAIL"]
    (row,) = ended.out.splitlines()[1:]
    assert "verification-failed" in row
    assert len(re.findall(r"^\[\d/4\] vm-\d: begins, run [0-9a-f]{12}$", ended.err, re.MULTILINE)) == 4
    assert len(re.findall(r"^\[\d/4\] vm-\d: done: ", ended.err, re.MULTILINE)) == 3
    fleet_id = re.findall(r"^hyperexport: fleet (\w+): 3 done, 1 failed$", ended.err, re.MULTILINE)[0]
    retry = re.findall(r"^again with those that were not exported: hyperexport (.*)$", ended.err, re.MULTILINE)[0]
    assert retry == f"fleet --retry {fleet_id}"
    again = hyper.run(*retry.split(), "--json")
    assert again.code == 0, again.err
    result = fleet_of(again)
    assert [(item["number"], item["outcome"]) for item in result["items"]] == [(int(row.split()[0]), "done")]
    assert clean(emulator)
    assert sorted(path.name for path in folder.glob("*.qcow2")) == [f"{name}.qcow2" for name in NAMES]
    skipped = hyper.run(*FLEET, "-q")
    assert (skipped.code, skipped.out, skipped.err) == (0, "", "")


def test_one_that_is_gone_stops_no_retry(start_emulator: Callable[..., Emulator], folder: Path) -> None:
    """An instance that OCI has forgotten meanwhile is refused by the retry, and the others are exported."""
    states = {"vm-1": "STOPPED", "vm-2": "STOPPED", "vm-3": "RUNNING", "vm-4": "RUNNING"}
    emulator = start_emulator(instances=states)
    hyper = Hyperexport(emulator, folder)
    first = hyper.run("fleet", "fleet.txt", "-bn", "exports", "--json")
    assert first.code == 3, first.err
    assert emulator.call("DELETE", f"/20160918/instances/{instance_id('vm-4')}").status == 204
    emulator.control("POST", "clock", {"advanceSeconds": 30 * 3600})
    again = hyper.run("fleet", "--retry", fleet_of(first)["fleet_id"], "--allow-shutdown", "--json")
    assert again.code == 3, again.err
    found = {item["instance_name"]: (item["outcome"], item["detail"]) for item in fleet_of(again)["items"]}
    assert found["vm-3"][0] == "done"
    assert found["vm-4"][0] == "refused"
    assert "absent" in found["vm-4"][1]


def test_every_line_for_programs_is_as_its_schema_says(start_emulator: Callable[..., Emulator], folder: Path) -> None:
    """With --jsonl each line is a valid event, each instance begins and ends once, and the last line is the result."""
    emulator = start_emulator(instances=dict.fromkeys(NAMES, "STOPPED"))
    emulator.fault("CreateImage", "work-request-fails")
    ended = Hyperexport(emulator, folder).run(*FLEET, "--jsonl")
    lines = [valid(json.loads(line), "event") for line in ended.out.splitlines()]
    assert ended.code == 3, ended.err
    assert lines[0]["event"] == "fleet_started"
    begun = [line["instance_name"] for line in lines if line["event"] == "item_started"]
    assert sorted(begun) == sorted(NAMES)
    done = {line["instance_name"]: line["outcome"] for line in lines if line["event"] == "item_ended"}
    assert sorted(done.values()) == ["done", "done", "done", "failed"]
    assert lines[-1]["event"] == "ended"
    assert lines[-1]["result"]["counts"]["failed"] == 1
    assert {item["instance_name"]: item["outcome"] for item in lines[-1]["result"]["items"]} == done


def test_a_reader_that_goes_away_breaks_nothing(start_emulator: Callable[..., Emulator], folder: Path) -> None:
    """When nobody reads the lines any more the fleet stops as for Ctrl-C, with 141; the same command ends it."""
    emulator = start_emulator(instances=NAMES, change=lambda value: value.update(timing=SLOW))
    hyper = Hyperexport(emulator, folder)
    cloud = ["--config-file", str(emulator.config_file), "--endpoint", emulator.endpoint]
    process = subprocess.Popen(
        [INSTALLED, *FLEET, "--jsonl", *cloud],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=hyper.environ,
        cwd=folder,
    )
    assert process.stdout is not None
    assert b"fleet_started" in process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == 141
    again = hyper.run(*FLEET, "--json")
    assert again.code == 0, again.err
    assert made(emulator) == ONE_EACH
    assert clean(emulator)


def test_killed_at_the_last_one_and_given_again(start_emulator: Callable[..., Emulator], folder: Path) -> None:
    """C080: after a kill -9 while the last instance is exported the same command ends it: 0, and one image each."""
    emulator = start_emulator(instances=NAMES)
    hyper = Hyperexport(emulator, folder)
    emulator.fault("ExportImage", "hold", skip=3)
    running = hyper.start(*FLEET, "--per-worker", "1")
    wait_until(lambda: any(each["holding"] for each in emulator.faults()) or running.ended(), "never held")
    assert running.kill().code == -signal.SIGKILL
    emulator.control("POST", "release", {"all": True})
    again = hyper.run(*FLEET, "--json")
    assert again.code == 0, again.err
    result = fleet_of(again)
    assert result["counts"]["done"] + result["counts"]["skipped"] == 4
    assert made(emulator) == ONE_EACH
    assert clean(emulator)


def test_ctrl_c_keeps_everything_for_the_same_command(start_emulator: Callable[..., Emulator], folder: Path) -> None:
    """One SIGINT ends all exports cleanly with 130 and one line that says how to go on; the same command does."""
    emulator = start_emulator(instances=NAMES)
    hyper = Hyperexport(emulator, folder)
    emulator.fault("GetObject", "hold")
    running = hyper.start(*FLEET, "--per-worker", "2", "--json")
    wait_until(lambda: any(each["holding"] for each in emulator.faults()) or running.ended(), "never held")
    running.signal(signal.SIGINT)
    ended = running.wait()
    emulator.control("POST", "release", {"all": True})
    assert ended.code == 130, ended.err
    assert fleet_of(ended)["counts"]["interrupted"] >= 2
    *_, stays, cancel, last = ended.err.splitlines()
    assert last == "the same command goes on with it"
    assert stays.startswith("stays in the tenancy for them: ")
    assert cancel == f"clean up: hyperexport runs cancel {fleet_of(ended)['fleet_id']}"
    assert any(line.startswith("image ") for line in fleet_of(ended)["stays_in_tenancy"])
    again = hyper.run(*FLEET, "--json")
    assert again.code == 0, again.err
    assert fleet_of(again)["fleet_id"] == fleet_of(ended)["fleet_id"]
    assert fleet_of(again)["stays_in_tenancy"] == []
    shown = hyper.run("runs", "show", fleet_of(again)["items"][0]["run_id"])
    assert "begun by `hyperexport fleet " in shown.out
    assert made(emulator) == ONE_EACH
    assert clean(emulator)


def test_the_same_fleet_twice_at_once_is_done_once(start_emulator: Callable[..., Emulator], folder: Path) -> None:
    """Two processes that are given the same fleet share its exports: both end well, one image each, nothing left."""
    emulator = start_emulator(instances=NAMES, change=lambda value: value.update(timing=SLOW))
    hyper = Hyperexport(emulator, folder)
    both = [hyper.start(*FLEET, "--per-worker", "2", "--json") for _ in range(2)]
    ends = [running.wait() for running in both]
    assert [each.code for each in ends] == [0, 0], ends[0].err + ends[1].err
    assert all({item["outcome"] for item in fleet_of(each)["items"]} <= {"done", "skipped"} for each in ends)
    assert made(emulator) == ONE_EACH
    assert clean(emulator)


def test_an_export_that_runs_already_is_left_to_its_process(
    start_emulator: Callable[..., Emulator], folder: Path
) -> None:
    """What another command exports just now is waited for, not begun again; if that one dies, the fleet goes on."""
    emulator = start_emulator(instances=NAMES)
    hyper = Hyperexport(emulator, folder)
    emulator.fault("GetObject", "hold")
    other = hyper.start("export", "vm-1", "-bn", "exports", "-o", "./")
    wait_until(lambda: any(each["holding"] for each in emulator.faults()) or other.ended(), "never held")
    fleet = hyper.start(*FLEET, "--json")
    wait_until(lambda: fleet.err.count(": done: ") == 3 or fleet.ended(), "the others are not done")
    assert not fleet.ended(), fleet.err
    other.kill()
    emulator.control("POST", "release", {"all": True})
    ended = fleet.wait()
    assert ended.code == 0, ended.err
    assert {item["outcome"] for item in fleet_of(ended)["items"]} == {"done"}
    assert made(emulator) == ONE_EACH
    assert clean(emulator)


def kill_and_repeat(hyper: Hyperexport, command: tuple[str, ...], kills: int, seed: int) -> Ended:
    """Give a command again and again, killing it at random times, until it ends by itself."""
    chosen = random.Random(seed)
    for _ in range(kills):
        running = hyper.start(*command)
        end = time.monotonic() + chosen.uniform(0.2, 1.2)
        wait_until(lambda end=end, running=running: time.monotonic() > end or running.ended(), "never")  # type: ignore[misc] - mypy cannot infer a lambda with defaults
        if running.ended():
            return running.wait()
        running.kill()
    return hyper.run(*command)


def check_killed(emulator: Emulator, hyper: Hyperexport, kills: int, seed: int) -> None:
    """A fleet that is killed again and again ends with every disk right, one image each, nothing left."""
    ended = kill_and_repeat(hyper, (*FLEET, "--per-worker", "3", "--json"), kills, seed)
    assert ended.code == 0, ended.err
    assert {item["outcome"] for item in fleet_of(ended)["items"]} <= {"done", "skipped"}
    for name in NAMES:
        disk = [str(hyper.folder / f"{name}.qcow2"), str(emulator.seed.disk(name))]
        assert subprocess.run(["qemu-img", "compare", "-q", *disk], check=False).returncode == 0, name
    assert made(emulator) == ONE_EACH
    assert clean(emulator)


def test_a_fleet_killed_at_random_times_loses_and_doubles_nothing(
    start_emulator: Callable[..., Emulator], folder: Path
) -> None:
    """After some kill -9 the same command ends with every disk right, and nothing is left anywhere."""
    emulator = start_emulator(instances=NAMES, change=lambda value: value.update(timing=SLOW))
    check_killed(emulator, Hyperexport(emulator, folder), kills=4, seed=int(os.environ.get("HYPEREXPORT_SEED", "4")))


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_fleet_killed_a_hundred_times(start_emulator: Callable[..., Emulator], tmp_path: Path) -> None:
    """Twenty fleets, each killed up to five times at random: the same holds for every one of them."""
    for number in range(20):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "fleet.txt").write_text("".join(f"{name}\n" for name in NAMES))
        emulator = start_emulator(instances=NAMES, change=lambda value: value.update(timing=SLOW))
        check_killed(emulator, Hyperexport(emulator, folder), kills=5, seed=number)
        emulator.stop()


def screen_of(command: list[str], environ: dict[str, str], folder: Path) -> tuple[int, str]:
    """Run a command on a terminal of 80 columns and 24 lines; its exit code and all that it drew."""
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, 80))
    process = subprocess.Popen(
        command, stdin=follower, stdout=subprocess.PIPE, stderr=follower, env=environ, cwd=folder, close_fds=True
    )
    os.close(follower)
    drawn = b""
    try:
        while process.poll() is None or select.select([leader], [], [], 0)[0]:
            if select.select([leader], [], [], 0.1)[0]:
                drawn += os.read(leader, 65536)
    except OSError:  # the terminal is gone with its last user
        pass
    finally:
        os.close(leader)
        process.stdout.close() if process.stdout else None
    return process.wait(), drawn.decode(errors="replace")


def test_on_a_terminal_each_export_that_runs_has_a_row(start_emulator: Callable[..., Emulator], folder: Path) -> None:
    """Rows with step, bar and what it waits for fit the terminal, the last line counts; lines that end stay above."""
    emulator = start_emulator(instances=NAMES, change=lambda value: value.update(timing=VERY_SLOW))
    hyper = Hyperexport(emulator, folder)
    cloud = ["--config-file", str(emulator.config_file), "--endpoint", emulator.endpoint]
    environ = {**hyper.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    code, drawn = screen_of([INSTALLED, *FLEET, "--yes", *cloud], environ, folder)
    assert code == 0, drawn
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn)
    lines = [line for line in re.split(r"[\r\n]+", text) if line.strip()]
    rows = [line for line in lines if re.match(r"vm-\d .*[\u2501\u2500]{10} +\d+ %", line)]
    assert {row.split()[0] for row in rows} == set(NAMES)
    assert any("waiting: " in row for row in rows)
    assert all(len(row) <= 80 for row in rows)
    assert any(re.match(r"\d of 4: .*4 running.*ETA", line) for line in lines)
    assert len([line for line in lines if re.match(r"\[\d/4\] vm-\d: done: ", line)]) == 4


SLOW = {"transitionSeconds": 0.02, "paceOf": {"ExportImage": 10, "CreateImage": 10}}
VERY_SLOW = {"transitionSeconds": 0.1, "paceOf": {"ExportImage": 10, "CreateImage": 5}}
