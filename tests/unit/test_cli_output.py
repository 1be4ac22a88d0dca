"""Lines for people: facts, tables, endings and commands that can be pasted."""

from __future__ import annotations

import pytest

from hypersdk import events
from hypersdk.cli.output import Output
from hypersdk.cli.pasting import pasteable
from hypersdk.cli.progress import LINE_EVERY, Lines


def test_facts_are_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """Yes and no, tags without braces, a line for each item, nothing for what is absent; no control characters."""
    Output().facts("x", {"works": True, "tags": {"b": "2", "a": "1"}, "none": None, "left": {}, "of": ["1", "\x1b"]})
    assert capsys.readouterr().out.splitlines() == ["works:  yes", "tags:   a=1, b=2", "of:     1", r"        \x1b"]


@pytest.mark.parametrize(
    ("line", "arguments", "completed"),
    [
        (
            "resume: give the same command again",
            ["export", "a b", "--new", "-o", "x"],
            "resume: give the same command again: hyperexport export 'a b' -o x",
        ),
        (
            "clean up: hyperexport runs cancel 1234",
            [],
            "clean up: hyperexport runs cancel 1234 --profile P --proxy '***@host:1'",
        ),
        ("resume: give the same command again", ["ls", "oci://b@n/x"], None),
        ("stays in the tenancy: image x", [], "stays in the tenancy: image x"),
    ],
)
def test_printed_commands_can_be_pasted(line: str, arguments: list[str], completed: str | None) -> None:
    """They carry the options given and are quoted for a shell; --new is dropped, a proxy's password masked."""
    flags = {"profile": "P", "proxy": "http://me:p@ss@host:1", "verbose": True}
    expected = completed or f"{line}: hyperexport ls oci://b@n/x"
    assert pasteable(line, arguments, flags) == expected


def test_a_step_without_a_terminal_is_told_twice_a_minute() -> None:
    """A line when it starts and ends, one every 30 s while it moves, one for each new reason to wait."""
    told: list[str] = []
    now = [0.0]
    lines = Lines(told.append, lambda: now[0], lambda what, seconds: told.append(f"{what} {seconds}"))
    lines(events.StepStarted("r", "download", "fetch"))
    for second in range(0, 61, 10):
        now[0] = float(second)
        lines(events.StepAdvanced("r", "download", second << 20, 100 << 20))
    lines(events.Waiting("network down"))
    lines(events.Waiting(None))
    lines(events.Waiting("network down"))
    lines(events.Called("list", 1.0))
    lines(events.StepFinished("r", "download"))
    assert LINE_EVERY == 30
    assert told == [
        "download: fetch",
        "download: 30.0 MiB of 100.0 MiB (30 %)",
        "download: 60.0 MiB of 100.0 MiB (60 %)",
        "waiting: network down",
        "list 1.0",
        "download: done",
    ]
