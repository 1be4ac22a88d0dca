"""kill -9 of a copy, both ways, at every request and at random times: the same command finishes what is left."""

from __future__ import annotations

import os
import platform
import random
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from kills import table
from transfer_kills import PARALLEL, PART, PARTS, Cost, Request, Stage, Way

WAYS: tuple[Way, ...] = ("download", "upload")
SHARES = 2
AT_REQUESTS = 20
RANDOM_KILLS = 100
MOST_KILLS_IN_A_ROW = 3
SEED = 20261125


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    stage = Stage(tmp_path_factory.mktemp("stage"))
    yield stage
    stage.emulator.stop()


def chosen(requests: list[Request]) -> list[tuple[Request, str]]:
    """Twenty of a copy's requests, each to be held; those of one kind before they take effect in turn with after."""
    assert len(requests) >= PARTS + 1
    return [(each, "hold" if number % 2 else "hold-before") for number, each in enumerate(requests)][-AT_REQUESTS:]


@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("way", WAYS)
def test_killed_at_a_held_request(stage: Stage, way: Way, share: int) -> None:
    """Killed while a request is held, before or after it took effect, a copy loses no more than what was in flight."""
    for request, effect in chosen(stage.requests(way))[share::SHARES]:
        victim = stage.victim(way)
        victim.kill_at(request, effect)
        victim.finish(f"{way} killed at {request}, {effect}")


@pytest.mark.parametrize("way", WAYS)
def test_killed_when_all_but_its_own_notes_was_done(stage: Stage, way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between naming the result and clearing up, a copy is not done again, and its notes are cleared up."""
    victim = stage.victim(way)
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
        assert victim.start().wait().code == -signal.SIGKILL
    victim.kills = 1
    moved = victim.moved()
    ended = victim.start().wait()
    victim.check(ended, f"{way} killed before it cleared up")
    assert "skipped" in ended.out
    assert victim.moved() == moved


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_soak_of_kills(stage: Stage) -> None:
    """A hundred copies each way killed at random times, up to three times in a row, and one at each request."""
    began, chance = time.monotonic(), random.Random(SEED)
    rows: list[tuple[object, ...]] = []
    for way in WAYS:
        for effect in ("hold", "hold-before"):
            costs = []
            for request in stage.requests(way):
                victim = stage.victim(way)
                victim.kill_at(request, effect)
                costs.append(victim.finish(f"{way} killed at {request}, {effect}"))
            rows.append(row(way, f"at each request, `{effect}`", costs))
        rows.append(row(way, "at random times", at_random(stage, way, chance)))
    head = ("copy", "killed", "copies", "kills", "most KiB twice", "allowed KiB", "median s to finish")
    print(f"\n\n{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, Python {platform.python_version()}, {platform.machine()}")
    print(f"seed {SEED}, in {time.monotonic() - began:.0f} s; {PARTS} parts of {PART // 1024} KiB and one byte\n")
    print(table(rows, head))


def at_random(stage: Stage, way: Way, chance: random.Random) -> list[Cost]:
    costs = []
    for number in range(RANDOM_KILLS):
        victim = stage.victim(way)
        times = [chance.random() for _ in range(1 + number % MOST_KILLS_IN_A_ROW)]
        for at in times:
            victim.kill_after(at * stage.seconds[way])
        costs.append(victim.finish(f"{way} killed at {times} of a copy"))
    return costs


def row(way: Way, how: str, costs: list[Cost]) -> tuple[object, ...]:
    seconds = sorted(each.seconds for each in costs)
    allowed = PARALLEL * PART * max(each.kills for each in costs) // 1024
    most = max(each.twice for each in costs) // 1024
    return way, how, len(costs), sum(each.kills for each in costs), most, allowed, f"{seconds[len(seconds) // 2]:.2f}"
