"""Signals in every step of an export: a defined end, nothing lost, nothing made twice (docs/runs.md)."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from hyperexport import INSTALLED, Ended
from kills import PARTS, STOPPED, Request, Stage, Victim, wait_until

STEPS = {
    "preflight": "GetBucket 0",
    "create-image": "CreateImage 0",
    "await-image": "GetImage 1",
    "export-image": "ExportImage 0",
    "await-object": "HeadObject 0",
    "download": "GetObject 1",
    "clean-up": "ListMultipartUploads 0",
}
"""A request of each step that talks to the cloud; where the process is held."""

ONCE = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
RESUMABLE = 130


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One emulator for this file."""
    made = Stage(STOPPED, tmp_path_factory.mktemp("stage")).start()
    yield made
    made.emulator.control("DELETE", "faults")
    made.emulator.stop()


def run_of(victim: Victim) -> dict[str, Any]:
    (run,) = victim.hyper.run("runs", "list", "--json").json["runs"]
    return dict(run)


def let_go(victim: Victim) -> None:
    victim.emulator.control("DELETE", "faults")


@pytest.mark.parametrize("step", STEPS)
def test_once_stops_cleanly_in_every_step(stage: Stage, step: str) -> None:
    """SIGINT, SIGTERM, SIGHUP: exit 130, the run says so and what stays, and the same command finishes."""
    number = ONCE[list(STEPS).index(step) % len(ONCE)]
    victim = stage.victim()
    held = victim.hold(Request.of(STEPS[step]), "hold-before")
    assert held.holds
    held.running.signal(number)
    wait_until(lambda: f"{number.name}: stopping" in held.running.err, "the signal was not heard")
    let_go(victim)
    ended = held.running.wait()
    victim.note_end()
    assert ended.code == RESUMABLE, ended.err
    run = run_of(victim)
    assert run["state"] == "interrupted"
    if step not in {"preflight", "create-image"}:
        assert "resume: give the same command again" in ended.err
        assert f"clean up: hyperexport runs cancel {run['run_id']}" in ended.err
    told = victim.hyper.run("runs", "show", run["run_id"], "--json").json["run"]
    assert told["ending"]["exit_code"] == RESUMABLE
    assert told["history"][-1]["text"].startswith("interrupted: interrupted")
    victim.resume(f"{number.name} in {step}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
def test_twice_leaves_at_once(stage: Stage, number: signal.Signals) -> None:
    """Exit 130 while the request still hangs; the run counts as interrupted, and the same command finishes."""
    victim = stage.victim()
    held = victim.hold(Request.of(STEPS["export-image"]), "hold")
    held.running.signal(number)
    wait_until(lambda: "once more to stop at once" in held.running.err, "the signal was not heard")
    held.running.signal(number)
    assert held.running.wait().code == RESUMABLE
    victim.note_end()
    let_go(victim)
    assert run_of(victim)["state"] == "interrupted"
    victim.resume(f"{number.name} twice")


@pytest.mark.parametrize("step", STEPS)
def test_a_suspended_process_goes_on_when_it_wakes(stage: Stage, step: str) -> None:
    """SIGSTOP while a reply comes in: nobody takes the run meanwhile, and woken it finishes as if nothing had been."""
    victim = stage.victim()
    held = victim.hold(Request.of(STEPS[step]), "hold-before")
    assert held.holds
    held.running.signal(signal.SIGSTOP)
    let_go(victim)
    if step == "download":
        refused = victim.start().wait()
        assert refused.code == 6, refused.err
        assert f"process {held.running.pid}" in refused.err
    held.running.signal(signal.SIGCONT)
    victim.check(held.running.wait(), f"suspended in {step}")


def test_a_closed_terminal_ends_it_like_a_signal(stage: Stage) -> None:
    """SIGHUP and a standard error that cannot be written: exit 130, the run says so, and the same command finishes."""
    victim = stage.victim()
    emulator = victim.emulator
    emulator.fault("ExportImage", "hold")
    line = ["export", victim.name, "-o", "./", "-bn", "exports", "--config-file", str(emulator.config_file)]
    command, ours = pty.fork()
    if command == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # these tests may run under nohup
        os.chdir(victim.folder)
        line = [INSTALLED, *line, "--endpoint", emulator.endpoint]
        os.execve(INSTALLED, line, {**victim.hyper.environ, **PARTS, "TERM": "xterm"})
    wait_until(lambda: _read_some(ours) and any(each["holding"] for each in emulator.faults()), "it never came there")
    os.close(ours)
    let_go(victim)
    assert os.waitstatus_to_exitcode(os.waitpid(command, 0)[1]) == RESUMABLE
    victim.note_end()
    run = run_of(victim)
    assert (run["state"], run["detail"]) == ("interrupted", "interrupted")
    victim.resume("the terminal was closed")


def _read_some(terminal: int) -> bool:
    """Take what is there, so that the command is not held up by a full terminal."""
    if select.select([terminal], [], [], 0.01)[0]:
        os.read(terminal, 65536)
    return True


def test_nohup_is_respected(stage: Stage) -> None:
    """A hang-up that is to be ignored is ignored: the export goes on to its end."""
    victim = stage.victim()
    emulator = victim.emulator
    emulator.fault("ExportImage", "hold")
    line = ["nohup", INSTALLED, "export", victim.name, "-o", "./", "-bn", "exports"]
    line += ["--config-file", str(emulator.config_file), "--endpoint", emulator.endpoint]
    with subprocess.Popen(
        line, cwd=victim.folder, env={**victim.hyper.environ, **PARTS}, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        wait_until(lambda: any(each["holding"] for each in emulator.faults()), "it never came to the export")
        process.send_signal(signal.SIGHUP)
        let_go(victim)
        assert process.stderr is not None
        told = process.stderr.read().decode()
        victim.check(Ended(process.wait(), "", told), "a hang-up under nohup")


def test_the_story_of_many_ends_is_whole(stage: Stage) -> None:
    """SIGTERM, kill -9, then the end: the history names each process and how it ended, in their order."""
    victim = stage.victim()
    first = victim.hold(Request.of(STEPS["await-image"]), "hold-before")
    first.running.signal(signal.SIGTERM)
    wait_until(lambda: "stopping" in first.running.err, "the signal was not heard")
    let_go(victim)
    first.running.wait()
    victim.note_end()
    second = victim.hold(Request.of(STEPS["download"]), "hold-before")
    victim.kill(second.running)
    let_go(victim)
    victim.check(victim.start().wait(), "the third try")
    run = run_of(victim)
    told = victim.hyper.run("runs", "show", run["run_id"], "--json").json["run"]["history"]
    kinds = [one["kind"] for one in told if one["kind"] in {"began", "ended"}]
    assert kinds == ["began", "ended", "began", "began", "ended"]
    died = [one["text"] for one in told if "ended without a word" in one["text"]]
    assert len(died) == 1
    assert f"process {second.running.pid} " in died[0]
