"""How a run is told: its row, its story, its events for programs and for who follows it. Mostly pure."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hypersdk import errors, events
from hypersdk.cli import story
from hypersdk.cli.following import SETTLING, Follower
from hypersdk.cli.jsonl import JsonLines, RunLines, ended_facts, last_line
from hypersdk.cli.output import Output
from hypersdk.cli.progress import Lines, progress
from hypersdk.exports.plan import PLAN_VERSION, ExportPlan
from hypersdk.exports.telling.position import owner_words, told_by
from hypersdk.runs import history
from hypersdk.runs.records import DONE, Happening, Usual
from hypersdk.runs.store import RunStore
from hypersdk.waiting import StopFlag, Waiter

AT = "2026-11-25T14:02:00.000+00:00"
LATER = "2026-11-25T14:03:00.000+00:00"


# ---------------------------------------------------------------- the story


def test_a_story_in_lines() -> None:
    """A day once, then time, length and what: what happened in a step stands below it, also if both began at once."""
    told = story.ordered(
        [
            Happening(AT, "wait", "network down since 14:02", 725.0, "download"),
            Happening(AT, "began", "begun by somebody"),
            Happening(AT, "step", "fetch the disk: 4.0 GiB", 800.0, "download"),
            Happening(AT, "retry", "one call was tried again", None, "download"),
            Happening(LATER, "ended", "done"),
        ]
    )
    lines = list(story.timeline(told))
    assert [line[12:].strip() for line in lines[1:]] == [
        "begun by somebody",
        "13 min  download: fetch the disk: 4.0 GiB",
        "12 min      waited: network down since 14:02",
        "one call was tried again",
        "done",
    ]


def test_what_it_waited_for_in_all() -> None:
    """Waits for the same thing are added up whatever their figures, the longest first, the rest is a number."""
    told = [Happening(AT, "wait", f"network down since 1{n}:00 ({n} times)", 60.0) for n in range(3)]
    told += [Happening(AT, "wait", f"{'x' * n} is busy", 10.0 + n) for n in range(1, 12)]
    line = story.waited_line(told)
    assert line is not None
    assert line.startswith("waited in all: 3 min network down since 12:00; 21 s ")
    assert line.endswith("; and 4 more")
    assert story.waited_line([]) is None


def test_what_is_usual_is_what_steps_took_by_themselves(tmp_path: Path) -> None:
    """Runs that were resumed say nothing, nor does the time in a queue; fewer than three say nothing at all."""
    with RunStore(tmp_path / "usual.sqlite", host="host", version="1") as store:
        for number, (processes, seconds, queued) in enumerate(
            [(1, 100.0, 0.0), (2, 1.0, 0.0), (1, 3700.0, 3600.0), (1, 100.0, 0.0)]
        ):
            assert history.usual(store, "await-image") is None
            run = store.begin(str(number), 1, "web", {})
            told = [Happening(AT, "began", "begun")] * processes
            told += [Happening(AT, "held", "a queue", queued, "await-image")]
            told += [Happening(AT, "step", "there", seconds, "await-image")]
            with store.drive(run.run_id) as drive:
                history.write(drive, told)
        assert history.usual(store, "await-image") == Usual(100.0, 100.0, 3)
        assert history.usual(store, "download") is None


# ---------------------------------------------------------------- following


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunStore]:
    with RunStore(tmp_path / "runs.sqlite", host="host", version="1") as store:
        yield store


def told(**facts: Any) -> dict[str, Any]:
    common = {
        "owner": owner_words(f"host:{os.getpid()}"),
        "began": AT,
        "at": AT,
        "percent": 1.0,
        "step": "download",
        "title": "fetch",
    }
    rest = {"step_since": AT, "done": None, "total": None, "unit": "bytes", "waiting": None, "stalled": None}
    return {**common, **rest, "ending": None, **facts}


def virtual() -> Waiter:
    now = [0.0]

    def sleep(seconds: float) -> bool:
        now[0] += seconds
        return False

    return Waiter(clock=lambda: now[0], sleep=sleep)


def test_what_the_store_says_becomes_events_again(store: RunStore) -> None:
    """Steps, bytes, waits, stalls and notes of another process, each told once; then the run as it ended."""
    run = store.begin("key", 1, "web", {})
    seen: list[events.Event] = []
    follower = Follower(store, run.run_id, seen.append)
    waiter = virtual()
    with store.drive(run.run_id) as drive:
        scenes = iter(
            [
                lambda: drive.beat(told()),
                lambda: drive.beat(told(done=5, total=10, waiting="network down since 14:02")),
                lambda: drive.beat(told(done=5, total=10, stalled="it stands")),
                lambda: history.note(drive, "note", "a note"),
            ]
        )
        looks = [0]

        def next_scene() -> None:
            looks[0] += 1
            if looks[0] % 2 == 0 and (scene := next(scenes, None)) is not None:
                scene()
            elif looks[0] > 12:
                raise errors.Interrupted("seen enough")

        waiter.hooks.append(next_scene)
        with pytest.raises(errors.Interrupted):
            follower.follow(waiter)
        drive.set_state(DONE)
    run_id = run.run_id
    assert seen == [
        events.StepStarted(run_id, "download", "fetch"),
        events.StepAdvanced(run_id, "download", 5, 10, "bytes"),
        events.Waiting("network down since 14:02"),
        events.Waiting(None),
        events.Stalled(run_id, "download", 0.0, None, "it stands"),
        events.Note("a note"),
    ]
    waiter.hooks.clear()
    assert follower.follow(waiter).state == DONE


def test_what_somebody_before_said_counts_no_more(store: RunStore) -> None:
    """Between the change of hands and the first word of the new driver, the old one's step and end are not his."""
    run = store.begin("key", 1, "web", {})
    with store.drive(run.run_id) as drive:
        drive.beat(told(owner="elsewhere, process 7", ending={"exit_code": 8}))
    holder = store.holder(run.run_id)
    assert holder is not None
    assert holder.progress is not None
    assert told_by(holder) == {}
    assert told_by(None) == {}


def test_a_run_that_nobody_drives_is_given_a_moment(store: RunStore) -> None:
    """It may be about to be taken; after some looks it counts as ended."""
    run = store.begin("key", 1, "web", {})
    waiter = virtual()
    looks = [0]
    waiter.hooks.append(lambda: looks.__setitem__(0, looks[0] + 1))
    assert Follower(store, run.run_id, events.null_reporter).follow(waiter).unfinished
    assert looks[0] >= SETTLING


# ---------------------------------------------------------------- programs and people


def test_lines_stop_when_nobody_reads() -> None:
    """The run is asked to stop, nothing is raised into it, and nothing is printed any more."""
    stop, calls = StopFlag(), []

    def emit(kind: str, _facts: object) -> None:
        calls.append(kind)
        raise BrokenPipeError

    lines = RunLines(emit, stop, lambda: 0.0)
    lines(events.StepStarted("r", "download", "fetch"))
    lines(events.Note("more"))
    assert isinstance(lines.broken, BrokenPipeError)
    assert (stop.is_set(), calls) == (True, ["step_started"])


def test_progress_is_a_line_a_second_with_all_bytes() -> None:
    """Between two lines the bytes are added up; a run becomes known with its first step."""
    now, seen = [0.0], []
    lines = RunLines(lambda kind, facts: seen.append((kind, dict(facts))), StopFlag(), lambda: now[0])
    lines(events.Note("before"))
    for done in range(10):
        lines(events.Bytes(wire=10, disk=5))
        lines(events.StepAdvanced("r", "download", done, 10))
        now[0] += 0.25
    assert [facts["run_id"] for _, facts in seen] == [None, "r", "r", "r"]
    assert [facts["wire"] for kind, facts in seen if kind == "progress"] == [10, 50, 90]


def test_the_last_line_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    """An error after the last line adds none; before it, the error is that line."""
    lines = JsonLines()
    with pytest.raises(errors.ThrottledError), last_line(lines):
        raise errors.ThrottledError("slow", request_id="R")
    with pytest.raises(errors.UsageError), last_line(lines):
        raise errors.UsageError("later")
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["error"]["request_id"] == "R"
    assert ended_facts({"x": 1})["error"] is None


def test_people_are_told_of_stalls_and_on_request_of_retries(capsys: pytest.CaptureFixture[str]) -> None:
    """A stall is a line for everybody, a repeated call one for `-v`, with its code and request id."""
    stall = events.Stalled("r", "download", 60, None, "download has not moved for 60 s")
    for verbose in (False, True):
        with progress(Output(verbose=verbose), terminal=False) as shown:
            shown(stall)
            shown(events.Retried("get part", "throttled", "R"))
    told = capsys.readouterr().err.splitlines()
    assert told == [stall.text, stall.text, "get part: throttled (opc-request-id R): tried again"]
    bare: list[str] = []
    Lines(bare.append)(events.Retried("get part", "throttled"))
    assert bare == []


@pytest.mark.parametrize("version", [0, PLAN_VERSION + 1, "2", None])
def test_a_plan_of_an_unknown_version_is_refused(version: object) -> None:
    """Whatever stands there as a version that is none of ours: refused before a key of it is read."""
    with pytest.raises(errors.UnknownPlan, match="version"):
        ExportPlan.from_json({"version": version, "run_id": "r"})
