"""`export --detach` and `--jsonl`: exports that nobody watches, and exports that programs watch."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from emulator import Emulator, make_seed
from hyperexport import INSTALLED, Hyperexport
from kills import wait_until

import hypersdk.cli
from hypersdk.cli.detaching import background_arguments
from hypersdk.cli.pasting import foreground_arguments, shown_command
from hypersdk.exports.options import ExportOptions

NAMES = [f"vm-{number:02}" for number in range(16)]
SCHEMAS = Path(hypersdk.cli.__file__).parent / "schemas"
EVENT = json.loads((SCHEMAS / "event.schema.json").read_text())
DETACHED = json.loads((SCHEMAS / "detached.schema.json").read_text())


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One emulator for this file, with an instance for each test."""
    folder = tmp_path_factory.mktemp("cloud")
    states = dict.fromkeys(NAMES, "STOPPED") | {"running": "RUNNING"}
    seed = make_seed(folder / "seed", instances=states, disk_size=4 << 20, assume={"lock-minutes": 0})
    emulator = Emulator(seed, folder / "state").start()
    yield emulator
    emulator.stop()


@pytest.fixture
def vm(request: pytest.FixtureRequest) -> str:
    """An instance of this test's own."""
    tests = [item.name for item in request.session.items if item.fspath == request.node.fspath]
    return NAMES[tests.index(request.node.name)]


@pytest.fixture
def hyper(cloud: Emulator, tmp_path: Path) -> Iterator[Hyperexport]:
    """The command; background processes that a failed test left are ended."""
    made = Hyperexport(cloud, tmp_path)
    yield made
    cloud.control("DELETE", "faults")
    for run in made.run("runs", "list", "--json").json["runs"]:
        if run["driver"] is not None:
            with suppress(ProcessLookupError):
                os.kill(process_of(run), signal.SIGKILL)


def process_of(run: dict[str, Any]) -> int:
    return int(run["driver"]["owner"].rpartition(" ")[2])


def the_run(hyper: Hyperexport) -> dict[str, Any]:
    (run,) = hyper.run("runs", "list", "--json").json["runs"]
    return dict(run)


def done(hyper: Hyperexport) -> bool:
    return bool(the_run(hyper)["state"] == "done")


def held(cloud: Emulator) -> bool:
    return any(fault["holding"] for fault in cloud.faults())


def detach(hyper: Hyperexport, vm: str, *more: str) -> dict[str, Any]:
    ended = hyper.run("export", vm, "-o", "./", "-bn", "exports", "--detach", "--json", *more)
    assert ended.code == 0, ended.err
    jsonschema.validate(ended.json, DETACHED)
    return dict(ended.json["detached"])


# ---------------------------------------------------------------- detach


def test_it_goes_on_in_a_session_of_its_own(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """Run id, log and commands are printed at once; the process has no terminal, hears no hang-up of ours, and ends."""
    cloud.fault("GetObject", "hold")
    told = detach(hyper, vm)
    wait_until(lambda: held(cloud), "it never came to the download")
    pid = told["process"]
    assert os.getsid(pid) == pid != os.getsid(0)
    assert process_of(the_run(hyper)) == pid
    terminal = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[4]
    assert terminal == "0"
    cloud.control("POST", "release", {"all": True})
    wait_until(lambda: done(hyper), "it never ended")
    assert (hyper.folder / f"{vm}.qcow2").exists()
    log = Path(told["log"]).read_text()
    assert f"begun by `hyperexport export {vm}" in log
    assert "--detach`" in log
    assert "Traceback" not in log
    wait_until(lambda: gone(pid), "the background process stayed")


def gone(pid: int) -> bool:
    # Our child's child became somebody's; a test that is the reaper of orphans finds it as a zombie.
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_closed_terminal_does_not_end_it(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """Begun on a terminal that is then closed, the export goes on to its end."""
    cloud.fault("GetObject", "hold")
    line = [INSTALLED, "export", vm, "-o", "./", "-bn", "exports", "--detach"]
    line += ["--config-file", str(cloud.config_file), "--endpoint", cloud.endpoint]
    shell, ours = pty.fork()
    if shell == 0:
        os.chdir(hyper.folder)
        os.execve(INSTALLED, line, hyper.environ)
    text = b""
    while b"cancel:" not in text:
        text += os.read(ours, 65536)
    assert os.waitstatus_to_exitcode(os.waitpid(shell, 0)[1]) == 0
    os.close(ours)
    wait_until(lambda: held(cloud), "it never came to the download")
    cloud.control("POST", "release", {"all": True})
    wait_until(lambda: done(hyper), "it did not survive its terminal")


def test_what_is_refused_is_refused_at_once(cloud: Emulator, hyper: Hyperexport) -> None:
    """Errors come in the foreground with their exit codes, and leave no process and no run that waits."""
    export = ("-bn", "exports", "--detach", "--json")
    refused = hyper.run("export", "running", *export)
    assert (refused.code, refused.out) == (6, "")
    assert the_run(hyper)["state"] == "refused"
    assert hyper.run("export", "nobody", *export).code == 5
    assert hyper.run("export", "running", *export, "--jsonl").code == 2


def test_the_same_command_again_says_who_drives_it(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """With and without --detach: exit 6 while it runs; done, it answers with the result."""
    cloud.fault("GetObject", "hold")
    told = detach(hyper, vm)
    wait_until(lambda: held(cloud), "it never came to the download")
    for more in ((), ("--detach",)):
        again = hyper.run("export", vm, "-o", "./", "-bn", "exports", *more)
        assert again.code == 6, again.err
        assert f"process {told['process']}" in again.err
    cloud.control("POST", "release", {"all": True})
    wait_until(lambda: done(hyper), "it never ended")
    result = hyper.run("export", vm, "-o", "./", "-bn", "exports", "--detach", "--json")
    assert (result.code, result.json["export"]["already_exported"]) == (0, True)


def test_cancel_and_signals_reach_it(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """SIGTERM stops it cleanly, the same command goes on detached, `runs cancel` ends it with nothing left."""
    cloud.fault("ExportImage", "hold")
    told = detach(hyper, vm)
    wait_until(lambda: held(cloud), "it never came to the export")
    os.kill(told["process"], signal.SIGTERM)
    cloud.control("DELETE", "faults")
    wait_until(lambda: the_run(hyper)["state"] == "interrupted", "it did not stop")
    cloud.fault("GetObject", "hold")
    assert detach(hyper, vm)["run_id"] == told["run_id"]
    wait_until(lambda: held(cloud), "it never came to the download")
    assert hyper.run("runs", "cancel", told["run_id"]).code == 0
    cloud.control("DELETE", "faults")
    wait_until(lambda: the_run(hyper)["state"] == "cancelled", "it did not hear")
    assert not any(cloud.control("GET", "leftovers").values())


def test_what_the_background_is_told() -> None:
    """The same options without those of the foreground; an answered question counts; the story shows the command."""
    given = ["export", "a b", "--detach", "--new", "--json", "-o", "x"]
    answered = ExportOptions(allow_shutdown=True)
    told = background_arguments(given, "abc", answered)
    assert told == ["export", "a b", "-o", "x", "--allow-shutdown", "--quiet", "--drive", "abc"]
    assert foreground_arguments(told) == ["export", "a b", "-o", "x", "--allow-shutdown", "--detach"]
    assert foreground_arguments(given) == given


def test_a_command_is_kept_without_its_secrets() -> None:
    """Passwords of proxies, tokens of links and signatures are stars in store and log."""
    line = ["--proxy", "http://me:pa55@host:1", "cp", "https://h/p/t0ken/n/ns/b/b/o/x", "https://h/x?sig=s1g"]
    shown = shown_command(line)
    assert not any(secret in shown for secret in ("pa55", "t0ken", "s1g"))


# ---------------------------------------------------------------- lines for programs


def lines_of(text: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in text.splitlines()]
    for line in lines:
        jsonschema.validate(line, EVENT, format_checker=jsonschema.FormatChecker())
    return lines


def test_an_export_in_lines(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """Every line by the schema with its time; steps begin and end in their order; the last one is the result."""
    cloud.fault("GetObject", "error", status=503, code="ServiceUnavailable", times=1)
    ended = hyper.run("export", vm, "-o", "./", "-bn", "exports", "--jsonl")
    assert ended.code == 0, ended.err
    lines = lines_of(ended.out)
    steps = [line["step"] for line in lines if line["event"] == "step_started"]
    assert steps == [line["step"] for line in lines if line["event"] == "step_finished"]
    assert (steps[0], steps[-1]) == ("preflight", "clean-up")
    last = lines[-1]
    assert (last["event"], last["exit_code"], last["error"]) == ("ended", 0, None)
    assert last["result"]["disks"][0]["path"] == str(hyper.folder / f"{vm}.qcow2")
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)
    assert {line["run_id"] for line in lines[:-1]} - {None} == {last["result"]["run_id"]}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("nobody", "-bn", "exports"), 5),
        (("running", "-bn", "exports"), 6),
        (("running", "-bn", "exports", "--profile", "NOBODY"), 2),
    ],
)
def test_an_error_is_the_last_line(hyper: Hyperexport, arguments: tuple[str, ...], code: int) -> None:
    """Code, exit code and hint, whatever fails: the configuration, a look-up, preflight."""
    ended = hyper.run("export", *arguments, "--jsonl")
    assert ended.code == code, ended.err
    last = lines_of(ended.out)[-1]
    assert (last["event"], last["exit_code"], last["result"]) == ("ended", code, None)
    assert last["error"]["exit_code"] == code
    assert last["error"]["message"]


def test_an_error_of_a_copy_is_in_its_last_line(hyper: Hyperexport) -> None:
    """`cp --jsonl` too: also one that comes before anything is looked at."""
    for more, code in (((), 5), (("--profile", "NOBODY"), 2)):
        ended = hyper.run("cp", "oci://testns/exports/absent", "x", "--jsonl", *more)
        assert ended.code == code, ended.err
        last = lines_of(ended.out)[-1]
        assert (last["event"], last["error"]["exit_code"]) == ("ended", code)


def test_a_reader_that_goes_away_stops_it_cleanly(cloud: Emulator, hyper: Hyperexport, vm: str) -> None:
    """Standard output closed: exit 141, everything is kept and named, and the same command finishes."""
    line = [sys.executable, "-m", "hypersdk.cli", "export", vm, "-o", "./", "-bn", "exports", "--jsonl"]
    line += ["--config-file", str(cloud.config_file), "--endpoint", cloud.endpoint]
    cloud.fault("ExportImage", "hold")
    with subprocess.Popen(
        line, cwd=hyper.folder, env=hyper.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["version"] == 1
        wait_until(lambda: held(cloud), "it never came to the export")
        process.stdout.close()
        cloud.control("POST", "release", {"all": True})
        told = process.stderr.read()
        assert process.wait(30) == 141, told
    assert "stays in the tenancy: image" in told
    assert "Traceback" not in told
    assert the_run(hyper)["state"] == "interrupted"
    assert hyper.export(vm, "-o", "./").code == 0
