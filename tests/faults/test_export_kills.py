"""kill -9 at every request and at random times: the same command finishes, and nothing was done twice."""

import json
import os
import platform
import random
import signal
import time
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from kills import ALL_AT_ONCE, SLOW, STOPPED, VARIANTS, Killed, Request, Stage, Variant, table, wait_until

from hypersdk.exports.manifests import write_whole

SHARES = 4
"""The requests of an export are dealt out to so many tests, which can run side by side."""

SEED = 20261125
RANDOM_KILLS = 10
SOAK_KILLS = 108
MOST_KILLS_IN_A_ROW = 3

Start = Callable[..., Stage]


@pytest.fixture(scope="module")
def start_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """The stage of a variant, started once."""
    stages: dict[tuple[Variant, bool], Stage] = {}

    def start(variant: Variant, *, installed: bool = False) -> Stage:
        key = (variant, installed)
        if key not in stages:
            stages[key] = Stage(variant, tmp_path_factory.mktemp("stage"), installed=installed).start()
        return stages[key]

    yield start
    for stage in stages.values():
        stage.emulator.stop()


def share_of(request: Request) -> int:
    """Which share a request belongs to; the same in every process, however often states were asked for."""
    return zlib.crc32(str(request).encode()) % SHARES


def kill_at_each(stage: Stage, requests: list[Request], effect: str) -> list[Killed]:
    """Kill one export at each of these requests, and finish it."""
    killed = []
    for request in requests:
        victim = stage.victim()
        if victim.kill_at(request, effect):
            killed.append(victim.resume(f"{stage.variant.name}, {request}, {effect}"))
    return killed


@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("variant", [STOPPED, ALL_AT_ONCE], ids=lambda variant: variant.name)
def test_killed_at_each_request_in_turn(start_stage: Start, variant: Variant, share: int) -> None:
    """Each request takes effect, its reply never arrives, the process is killed: the same command finishes."""
    stage = start_stage(variant)
    requests = stage.requests()
    mine = [request for request in requests if share_of(request) == share]
    assert len(kill_at_each(stage, mine, "hold")) >= len(mine) / 2


@pytest.mark.parametrize("number", range(RANDOM_KILLS))
def test_killed_at_a_random_time(start_stage: Start, number: int) -> None:
    """Wherever the process happens to be when it is killed, the same command finishes."""
    stage = start_stage(STOPPED if number % 2 else ALL_AT_ONCE)
    if not stage.seconds:
        stage.requests()
    at = random.Random(f"{SEED} {number}").random()
    victim = stage.victim()
    victim.kill_after(at * stage.seconds)
    victim.resume(f"killed at {at:.0%} of an export")


@pytest.mark.parametrize(
    ("variant", "late", "meets"),
    [
        (SLOW, "CreateMultipartUpload 0", "CreateMultipartUpload 0"),
        (SLOW, "CreateImage 0", "GetInstance 0"),
        (SLOW, "CreateImage 0", "CreateImage 0"),
        (SLOW, "CreatePreauthenticatedRequest 0", "CreatePreauthenticatedRequest 0"),
        (SLOW, "ExportImage 1", "ExportImage 0"),
        (SLOW, "RenameObject 0", "RenameObject 0"),
        (SLOW, "DeleteImage 0", "DeleteImage 0"),
        (STOPPED, "ExportImage 0", "ExportImage 0"),
        (STOPPED, "DeleteObject 0", "DeleteObject 0"),
    ],
)
def test_a_request_of_the_killed_process_arrives_late(
    start_stage: Start, variant: Variant, late: str, meets: str
) -> None:
    """A request that takes effect after its successor has looked and before that one acts is done once."""
    victim = start_stage(variant).victim()
    ended = victim.land_late(Request.of(late), Request.of(meets))
    victim.check(ended, f"{late} arrived late")
    assert "is not back as it was" not in ended.err


@pytest.mark.parametrize(
    ("variant", "request_"),
    [
        (ALL_AT_ONCE, "CreateMultipartUpload 0"),
        (ALL_AT_ONCE, "CreateImage 0"),
        (ALL_AT_ONCE, "CreatePreauthenticatedRequest 0"),
        (ALL_AT_ONCE, "ExportImage 1"),
        (STOPPED, "GetObject 2"),
    ],
)
def test_cancel_takes_away_what_a_killed_process_left(start_stage: Start, variant: Variant, request_: str) -> None:
    """`runs cancel` instead of the same command: nothing is left, neither in the tenancy nor beside the file."""
    victim = start_stage(variant).victim()
    assert victim.kill_at(Request.of(request_), "hold")
    runs = json.loads(victim.hyper.run("runs", "list", "--json").out)["runs"]
    cancelled = victim.hyper.run("runs", "cancel", runs[0]["run_id"])
    assert cancelled.code == 0, cancelled.err
    assert not any(victim.emulator.control("GET", "leftovers").values())
    assert list(victim.folder.glob(".hx-*")) == []


def test_cancel_finds_an_image_whose_create_was_answered_by_a_conflict(start_stage: Start) -> None:
    """A lost reply, then 409 because of our own image: after Ctrl-C it is told, and `runs cancel` takes it away."""
    victim = start_stage(STOPPED).victim()
    emulator = victim.emulator
    emulator.fault("CreateImage", "lost-response")
    emulator.fault("CreateImage", "error", status=409, code="Conflict", times=1000)
    running = victim.start()
    wait_until(lambda: "is busy" in running.err, "it never waited")
    running.signal(signal.SIGINT)
    stopped = running.wait()
    emulator.control("DELETE", "faults")
    assert stopped.code == 130
    assert f"stays in the tenancy: image (perhaps) {victim.name}" in stopped.err
    runs = json.loads(victim.hyper.run("runs", "list", "--json").out)["runs"]
    assert victim.hyper.run("runs", "cancel", runs[0]["run_id"]).code == 0
    assert not any(emulator.control("GET", "leftovers").values())


def test_killed_while_it_writes_the_manifest(tmp_path: Path) -> None:
    """A manifest appears whole or not at all, and the next try leaves no file of the killed one behind."""
    manifest = tmp_path / "disk.qcow2.manifest.json"
    pid = os.fork()
    if pid == 0:
        os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
        write_whole(manifest, b"{}")
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    assert [path.suffix for path in tmp_path.iterdir()] == [".partial"]
    write_whole(manifest, b"{}")
    assert list(tmp_path.iterdir()) == [manifest]


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_soak(start_stage: Start) -> None:
    """A hundred exports killed at random times, up to three times in a row, and two killed at every request."""
    began, chance = time.monotonic(), random.Random(SEED)
    rows: list[tuple[object, ...]] = []
    for variant in VARIANTS:
        stage = start_stage(variant)
        requests = stage.requests()
        rows += [
            _row(variant, f"at each request, `{effect}`", kill_at_each(stage, requests, effect))
            for effect in ("hold", "hold-before")
        ]
        for installed in (False, True):
            stage = start_stage(variant, installed=installed)
            stage.requests()
            how = "at random times" + (", installed command" if installed else "")
            rows.append(_row(variant, how, _at_random(stage, chance)))
    total = sum(int(str(row[2])) for row in rows)
    head = ("export", "killed", "exports killed", "finished", "kept MiB", "most bytes twice", "median s to finish")
    print(f"\n\n{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, Python {platform.python_version()}, {platform.machine()}")
    print(f"seed {SEED}, {total} killed exports in {time.monotonic() - began:.0f} s\n")
    print(table(rows, head))


def _at_random(stage: Stage, chance: random.Random) -> list[Killed]:
    killed = []
    for number in range(SOAK_KILLS // len(VARIANTS) // 2):
        victim = stage.victim()
        times = [chance.random() for _ in range(1 + number % MOST_KILLS_IN_A_ROW)]
        for at in times:
            victim.kill_after(at * stage.seconds)
        killed.append(victim.resume(f"{stage.variant.name}, killed at {times} of an export"))
    return killed


def _row(variant: Variant, how: str, killed: list[Killed]) -> tuple[object, ...]:
    seconds = sorted(each.seconds for each in killed)
    kept = sum(each.finished for each in killed) / (1 << 20)
    most = max(each.twice for each in killed)
    return variant.name, how, len(killed), len(killed), f"{kept:.1f}", most, f"{seconds[len(seconds) // 2]:.2f}"
