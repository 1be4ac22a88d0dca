"""What people and programs see of a copy under way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from hypersdk import errors, events
from hypersdk.cli.copying import CopyProgress, bar, shown
from hypersdk.cli.jsonl import JsonLines
from hypersdk.cli.output import Output
from hypersdk.model import ObjectRef

MIB = 1 << 20


class Time:
    """A clock that moves when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def following(remote_sides: int, *, items: int = 2, total: int = 100 * MIB) -> tuple[CopyProgress, Time]:
    """The progress of a copy whose plan is known."""
    clock = Time()
    progress = CopyProgress(remote_sides, clock)
    progress.planned(items, total)
    return progress, clock


def move(progress: CopyProgress, clock: Time, seconds: int, speed: int, *, sides: int = 1, holes: int = 0) -> None:
    """Let bytes move for a while."""
    for _ in range(seconds):
        progress(events.Bytes(wire=speed * sides, disk=speed - holes))
        progress.advanced(progress.counts.done + speed, 0)
        clock.now += 1
        progress.tick()


def test_a_line_says_it_all() -> None:
    """Items, content, smoothed rate, time to come, wire and disk bytes, each by its own count."""
    progress, clock = following(1)
    progress.ended()
    move(progress, clock, 10, 4 * MIB, holes=MIB)
    assert progress.line() == ("1 of 2, 40.0 MiB of 100.0 MiB, 4.0 MiB/s, ETA 0:15, wire 40.0 MiB, disk 30.0 MiB")
    assert progress.facts() == {
        "items": 2,
        "items_done": 1,
        "bytes": 100 * MIB,
        "bytes_done": 40 * MIB,
        "wire": 40 * MIB,
        "disk": 30 * MIB,
        "rate": 4 * MIB,
        "seconds_left": 15.0,
        "waiting": None,
    }


def test_a_stall_shows_why_and_the_end_goes_away() -> None:
    """While nothing moves the reason stands there, the rate falls and the time to come grows."""
    progress, clock = following(1)
    move(progress, clock, 10, 4 * MIB)
    progress(events.Waiting("network down since 14:02"))
    before = progress.left()
    clock.now += 20
    progress.tick()
    assert progress.line().endswith("waiting: network down since 14:02")
    assert before is not None
    assert progress.left() > before * 2
    clock.now += 3600
    assert "ETA -" in progress.line()
    progress(events.Waiting(None))
    assert "waiting" not in progress.line()


@pytest.mark.parametrize("sides", [1, 2])
def test_what_is_there_already_makes_nothing_look_fast(sides: int) -> None:
    """Content that an earlier run fetched, or that was skipped, is done but moved no byte: the rate is the wire's."""
    progress, clock = following(sides, total=1000 * MIB)
    progress.advanced(900 * MIB, 1000 * MIB)
    move(progress, clock, 10, MIB, sides=sides)
    assert progress.rate() == pytest.approx(MIB)
    assert progress.left() == pytest.approx(90, abs=1)


def test_between_directories_content_is_the_measure() -> None:
    """No wire, so holes count as what they are for the copy: done."""
    progress, clock = following(0)
    move(progress, clock, 5, 8 * MIB, holes=8 * MIB)
    assert progress.rate() == pytest.approx(8 * MIB)
    assert "wire" not in progress.line()
    assert "disk 0 B" in progress.line()


def test_nothing_is_promised_before_it_is_known() -> None:
    """While the source is listed and in the first moments there is no rate and no end."""
    clock = Time()
    progress = CopyProgress(1, clock)
    assert progress.line() == "looking at what is to be copied"
    assert progress.facts()["seconds_left"] is None
    progress(events.Waiting("list objects: try 2"))
    assert progress.line() == "waiting: list objects: try 2"
    progress.planned(3, 100)
    assert ", -, ETA -" in progress.line()
    assert progress.facts()["rate"] is None


def test_a_bar_fits_its_line() -> None:
    """At any width and share the bar is one line of that width, and the counts follow below it."""
    for width in (20, 80, 200):
        for done in (0, 1, 50 * MIB, 100 * MIB):
            progress, _ = following(1)
            progress.advanced(done, 100 * MIB)
            first, second = bar(progress, width)
            assert len(first) <= width
            assert first.endswith(f"{done // MIB:3} %")
            assert second == progress.line()
    empty, _ = following(1, total=0)
    assert len(bar(empty, 80)) == 1


def test_lines_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """One line every 30 seconds, each reason to wait once, notes; nothing of what comes as an outcome, or if quiet."""
    clock = Time()
    for quiet in (False, True):
        progress = CopyProgress(1, clock)
        with shown(progress, Output(quiet=quiet), terminal=False, emit=None):
            progress.planned(1, 100)
            for _ in range(61):
                clock.now += 1
                progress(events.Waiting("disk full"))
            progress(events.Note("a note\x1b"))
            ref = ObjectRef("file", "", "d", "link")
            progress(events.LeftOut("left out", ref, errors.FileError("a link")))
        out, err = capsys.readouterr()
        assert out == ""
        if quiet:
            assert err == ""
            continue
        lines = err.splitlines()
        assert lines[0] == "waiting: disk full"
        assert [line.startswith("0 of 1") for line in lines[1:3]] == [True, True]
        assert lines[3:] == [r"a note\x1b"]


def test_lines_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    """Progress every second, waits and notes as they come: one JSON document per line, quiet or not."""
    clock = Time()
    out = Output(quiet=True)
    progress = CopyProgress(1, clock)
    with shown(progress, out, terminal=True, emit=JsonLines()):
        progress.planned(1, 100)
        for _ in range(8):
            clock.now += 0.5
            progress(events.Bytes(wire=1, disk=1))
        progress(events.Waiting("network down"))
        progress(events.Note("said"))
    told: list[Mapping[str, Any]] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["event"] for each in told] == ["progress"] * 4 + ["waiting", "note"]
    assert all(each["version"] == 1 for each in told)
    assert told[3]["wire"] == 8
