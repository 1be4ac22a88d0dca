"""What a person is asked before a fleet begins, and how its plan is told."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import click
import pytest

from hypersdk.cli import fleet, fleetplan
from hypersdk.cli.output import Output
from hypersdk.exports.options import ExportOptions
from hypersdk.fleet.nouns import FleetPlan, Item
from hypersdk.model import Instance

GIB = 1024**3


def item(number: int, state: str = "STOPPED", **more: Any) -> Item:
    one = Instance(f"i{number}", f"vm-{number}", "c", state, "r")
    return Item(number, one, "r", ExportOptions(allow_shutdown=True), size=50 * GIB, **more)


PLAN = FleetPlan(
    "f.yaml",
    (item(1), item(2, "RUNNING"), item(3, refused="it is gone - look elsewhere")),
    seconds=5400,
    notes=("little room",),
)


def ask(
    monkeypatch: pytest.MonkeyPatch, plan: FleetPlan, *, answer: bool, yes: bool = False, terminal: bool = True
) -> str:
    """The question that was asked; "" = none was."""
    asked = [""]

    def confirm(text: str, *, err: bool) -> bool:
        assert err
        asked.append(text)
        return answer

    monkeypatch.setattr(click, "confirm", confirm)
    context: Any = SimpleNamespace(interactive=terminal, out=Output())
    fleet._confirm(context, plan, yes=yes)
    return asked[-1]


def test_a_person_sees_what_will_be_done_before_it_begins(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """How many, how big, how long, what is refused, and which go down: then the question."""
    question = ask(monkeypatch, PLAN, answer=True)
    assert question.startswith("2 to export, 1 refused, boot volumes of 100.0 GiB, about 1 h 30 min in all.")
    assert "1 running ones go down for some minutes" in question
    said = capsys.readouterr()
    assert said.out == ""
    assert "refused: vm-3: it is gone - look elsewhere" in said.err
    assert "note: little room" in said.err


def test_a_no_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever does not say yes has begun nothing."""
    with pytest.raises(click.Abort):
        ask(monkeypatch, PLAN, answer=False)


@pytest.mark.parametrize(
    ("plan", "yes", "terminal"),
    [(PLAN, True, True), (PLAN, False, False), (replace(PLAN, items=PLAN.items[2:]), False, True)],
)
def test_nobody_is_asked_without_need(
    monkeypatch: pytest.MonkeyPatch, plan: FleetPlan, yes: bool, terminal: bool
) -> None:
    """Not with --yes, not without a terminal, and not when nothing would begin."""
    assert ask(monkeypatch, plan, answer=False, yes=yes, terminal=terminal) == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (29, "29 s"), (45, "1 min"), (3600, "1 h"), (5400, "1 h 30 min"), (90061, "1 d 1 h"), (86400, "1 d")],
)
def test_estimates_for_people_have_two_units(seconds: float, text: str) -> None:
    """Nobody needs the minutes of a day."""
    assert fleetplan.duration(seconds) == text


def test_a_plan_in_one_line_says_what_it_does_not_know() -> None:
    """Unknown sizes are counted, an unknown time is left out, nothing at all is said in words."""
    unknown = replace(item(4), size=None)
    line = fleetplan.in_one_line(FleetPlan("f", (item(1), unknown)))
    assert line == "2 to export, boot volumes of 50.0 GiB and 1 of unknown size"
    assert fleetplan.in_one_line(FleetPlan("f", PLAN.items[2:])) == "1 refused"
    assert fleetplan.in_one_line(FleetPlan("f", ())) == "nothing was selected"
