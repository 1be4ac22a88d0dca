"""What people see of a fleet that runs: rows that fit, totals, an estimate, lines without a terminal."""

import threading
from collections.abc import Callable

import pytest

from hypersdk import events
from hypersdk.cli.fleetboard import Board, outcome_line
from hypersdk.cli.fleetview import Notes, Summaries, table
from hypersdk.exports.plan import ExportPlan, Step
from hypersdk.fleet.nouns import Outcome
from hypersdk.fleet.queue import Turn

STEPS = ("preflight", "create-image", "await-image", "export-image", "await-object", "download", "clean-up")


class Clock:
    """A clock that moves on request."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def plan_of(run_id: str) -> ExportPlan:
    """A plan with steps and nothing else."""
    return ExportPlan(
        run_id=run_id,
        key="",
        generation=1,
        tenancy_id="t",
        region="r",
        instance_id="i",
        instance_name="n",
        compartment_id="c",
        image_name="image",
        tags={},
        targets=(),
        steps=tuple(Step(name, name) for name in STEPS),
        keep_image=False,
    )


def turn(number: int, region: str = "us-ashburn-1", name: str | None = None) -> Turn:
    return Turn(number, f"run{number}", name or f"vm-{number}", region, "ns/b")


def board_of(total: int, expected: dict[int, float] | None = None) -> tuple[Board, Clock]:
    clock = Clock()
    return Board(range(1, total + 1), plan_of, expected or {}, clock=clock), clock


def done(number: int, kind: str = "done", detail: str = "") -> Outcome:
    return Outcome(number, f"vm-{number}", f"run{number}", kind, detail=detail)


def test_a_row_says_step_share_and_what_moves() -> None:
    """A download shows its bytes and rate, a wait its reason, a stall that it stalls; the bar grows with the plan."""
    board, clock = board_of(2)
    report = board.begins(turn(1))
    report(events.StepStarted("run1", "download", "fetch the disk"))
    for second in range(1, 6):
        clock.now += 1
        report(events.Bytes(wire=10 << 20))
        report(events.StepAdvanced("run1", "download", second * (10 << 20), 100 << 20))
        board.measure()
    (row, total) = table(board, 100, 24)
    assert row.startswith("vm-1  download       ")
    assert row.endswith("50.0 MiB of 100.0 MiB, 10.0 MiB/s")
    assert total == "0 of 2: 1 running; 50.0 MiB, 10.0 MiB/s, ETA -"
    report(events.Waiting("network down since 14:02"))
    assert "waiting: network down since 14:02" in table(board, 100, 24)[0]
    report(events.Waiting(None))
    report(events.Stalled("run1", "download", 600.0, None, "download: has not moved for 10 min"))
    assert "has not moved for 10 min" in table(board, 100, 24)[0]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 10), (200, 60), (20, 3)])
def test_three_hundred_fit_every_terminal(width: int, height: int) -> None:
    """Whatever runs, the picture is no wider and no higher than the terminal, and counts what it does not show."""
    board, _ = board_of(300)
    for number in range(1, 101):
        report = board.begins(turn(number, f"region-{number % 3}", f"a name that is far too long\n{number}"))
        report(events.StepStarted(f"run{number}", "await-image", "wait for the image"))
        report(events.Waiting("image " + "x" * 200 + " is PROVISIONING"))
    board.waits(200, "100 of 100 run")
    lines = table(board, width, height)
    assert all(len(line) <= max(20, width) for line in lines)
    assert len([line for line in lines if line.startswith("a name")]) <= max(1, height - 3)
    assert any("more" in line for line in lines) == (height < 100)
    assert "200 waiting (100 of 100 run)" in " ".join(lines)


def test_the_estimate_comes_from_what_is_known() -> None:
    """First from what the plan expects, then from what exports of this fleet took; without either it says nothing."""
    board, clock = board_of(4, {1: 60.0, 2: 60.0, 3: 60.0, 4: 60.0})
    board.begins(turn(1))
    board.begins(turn(2))
    assert board.left() == 120.0
    clock.now += 30
    assert board.left() == 90.0
    unknown, clock = board_of(3)
    unknown.begins(turn(1))
    assert unknown.left() is None
    clock.now += 100
    unknown.ends(done(1))
    assert unknown.left() == 200.0
    unknown.ends(done(2))
    unknown.ends(done(3))
    assert unknown.left() == 0.0


def test_the_estimate_learns_how_wrong_the_plan_was() -> None:
    """An export that took twice as long as the plan said doubles what is foreseen for the others."""
    board, clock = board_of(3, {1: 100.0, 2: 100.0, 3: 50.0})
    board.begins(turn(1))
    clock.now += 200
    board.ends(done(1))
    assert board.left() == 300.0


def test_the_name_of_an_own_image_is_left_out() -> None:
    """In a row "image" is enough; the line has room for its state instead."""
    board, _ = board_of(1)
    report = board.begins(turn(1))
    report(events.Waiting("image vm-1-hypersdk-run1 is PROVISIONING, 40 %"))
    assert table(board, 80, 24)[0].endswith("waiting: image is PROVISIONING, 40 %")


def test_lines_tell_beginnings_ends_and_what_people_must_see() -> None:
    """One line for a beginning, an end, each line of a note; control characters of a name move no cursor."""
    board, _ = board_of(2)
    said: list[str] = []
    notes = Notes(board, said.append, lambda what, _seconds: said.append(what), begins=True)
    report = notes.begins(turn(1, name="vm\x1b[2J"))
    report(events.Note("one\ntwo"))
    report(events.Called("get image", 0.1))
    report(events.StepStarted("run1", "download", "fetch"))
    notes.ends(done(1, detail="vm.qcow2"))
    assert said == [
        "[1/2] vm\\x1b[2J: begins, run run1",
        "vm\\x1b[2J: one",
        "vm\\x1b[2J: two",
        "vm\\x1b[2J: get image",
        "[1/2] vm-1: done: vm.qcow2",
    ]


def test_a_closed_window_is_told_once() -> None:
    """While nothing runs a reason to wait is one line, not one for each look."""
    board, _ = board_of(2)
    said: list[str] = []
    notes = Notes(board, said.append, lambda *_: None, begins=True)
    for _ in range(5):
        notes.waits(2, "the window opens Fri 22:00")
    board.begins(turn(1))
    notes.waits(1, "1 of 1 run")
    assert said == ["2 waiting: the window opens Fri 22:00"]


def test_a_summary_comes_every_thirty_seconds_with_common_reasons() -> None:
    """Between two summaries nothing is said; what most wait for is named once, whatever the percentages are."""
    board, clock = board_of(9)
    said: list[str] = []
    look = Summaries(board, said.append)
    for number in (1, 2, 3):
        board.begins(turn(number))(events.Waiting(f"image is EXPORTING, {number}0 %"))
    look()
    assert said == []
    clock.now += 31
    look()
    look()
    assert said == ["0 of 9: 3 running; 0 B, 0 B/s, ETA -; waiting: image is EXPORTING (3)"]


def test_threads_may_tell_at_the_same_time() -> None:
    """Many exports that tell at once, and somebody who looks, get in nobody's way; no byte is lost."""
    board, clock = board_of(50)
    failed: list[BaseException] = []

    def one(number: int) -> None:
        try:
            report = board.begins(turn(number))
            for _ in range(200):
                report(events.Bytes(wire=1))
            board.ends(done(number))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(1, 51)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        clock.now += 0.1
        board.measure()
        table(board, 80, 24)
    assert failed == []
    assert board.wire == 50 * 200
    assert len(board.outcomes) == 50


def test_an_outcome_in_one_line() -> None:
    """How an item ended reads as a sentence with its place in the plan."""
    say: Callable[[Outcome], str] = lambda outcome: outcome_line(outcome, 300)  # noqa: E731 - a short name
    assert say(done(7)) == "[7/300] vm-7: done"
    assert say(done(8, "failed", "no room")) == "[8/300] vm-8: failed: no room"
