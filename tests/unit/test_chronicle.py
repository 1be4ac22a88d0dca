"""The story of a run: what becomes a line, what is only counted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypersdk import events
from hypersdk.exports.telling.chronicle import GAP, LONGEST, MOST, SHORT, Chronicle, Lull
from hypersdk.runs.records import Happening

BEGAN = datetime(2026, 11, 25, 14, 2, tzinfo=UTC)


class Teller:
    """A chronicle with a clock that moves on request."""

    def __init__(self) -> None:
        self.now = 0.0
        self.chronicle = Chronicle(lambda: BEGAN + timedelta(seconds=self.now), lambda: self.now)

    def step(self, name: str = "await-image") -> None:
        """A step begins."""
        self.chronicle(events.StepStarted("r", name, "wait for the image"))

    def wait(self, reason: str, seconds: float) -> None:
        """A wait, from beginning to end."""
        self.chronicle(events.Waiting(reason))
        self.now += seconds
        self.chronicle(events.Waiting(None))

    def told(self) -> list[Happening]:
        """All of it, ended."""
        self.chronicle.end("done")
        return self.chronicle.take()


@pytest.fixture
def teller() -> Teller:
    return Teller()


def lines(told: Sequence[Happening]) -> list[tuple[str, str]]:
    return [(one.kind, one.text) for one in told]


def test_a_step_its_waits_and_its_end(teller: Teller) -> None:
    """Each line has the time when it began and how long it took; waits come with the step that they belong to."""
    teller.chronicle.begin("begun by somebody")
    teller.step()
    teller.now = 2
    teller.wait("network down since 14:02", 60)
    teller.now = 100
    teller.chronicle(events.StepFinished("r", "await-image", "it is there"))
    told = teller.told()
    assert lines(told) == [
        ("began", "begun by somebody"),
        ("wait", "network down since 14:02"),
        ("step", "wait for the image: it is there"),
        ("ended", "done"),
    ]
    assert [one.seconds for one in told] == [None, 60.0, 100.0, None]
    assert [one.step for one in told] == [None, "await-image", "await-image", None]
    assert told[1].at == "2026-11-25T14:02:02.000+00:00"
    assert told[2].at == "2026-11-25T14:02:00.000+00:00"


def test_thousands_of_waits_for_the_same_thing_are_one(teller: Teller) -> None:
    """A percentage or a number of tries in the reason makes no other wait; the last reason and the count are told."""
    teller.step()
    for percent in range(5000):
        teller.wait(f"image web is PROVISIONING, {percent / 50:.0f} %", 30)
    assert lines(teller.told())[0] == ("wait", "image web is PROVISIONING, 100 % (5000 times)")


def test_a_pause_makes_two_waits(teller: Teller) -> None:
    """The network was down at ten and at noon: two lines, each with its time."""
    teller.step("download")
    teller.wait("network down since 10:00", 10)
    teller.now += GAP + 1
    early = teller.chronicle.take()
    teller.wait("network down since 12:00", 20)
    waits = [one for one in (*early, *teller.told()) if one.kind == "wait"]
    assert [(one.text, one.seconds) for one in waits] == [
        ("network down since 10:00", 10.0),
        ("network down since 12:00", 20.0),
    ]


def test_short_waits_are_counted_with_their_step(teller: Teller) -> None:
    """Waits of less than a second are no lines of their own."""
    teller.step()
    for number in range(3):
        teller.wait(f"{'abc'[number]} is busy", SHORT / 4)
    teller.chronicle(events.StepFinished("r", "await-image", "there"))
    assert lines(teller.told())[0] == ("step", "wait for the image: there (3 short waits, 0.8 s in all)")


def test_retries_are_summed_up_by_code(teller: Teller) -> None:
    """How many, which codes, and the last of them with its request id."""
    teller.step("download")
    for code in ("throttled", "service", "throttled"):
        teller.chronicle(events.Retried("get part", code, "ABC"))
    teller.chronicle(events.StepFinished("r", "download"))
    assert lines(teller.told())[0] == (
        "retry",
        "3 tries were repeated: 2 throttled, 1 service (the last: get part, opc-request-id ABC)",
    )


def test_what_holds_a_step_up_is_told_apart(teller: Teller) -> None:
    """A queue, the network, a login: no part of what the step usually takes."""
    teller.step("export-image")
    teller.chronicle(events.Waiting("4 of 4 exports in r are running", events.PLACE))
    teller.now = 3600
    teller.chronicle(events.Waiting(None))
    teller.chronicle(events.StepFinished("r", "export-image", "begun"))
    assert [(one.kind, one.seconds) for one in teller.told()][:2] == [("held", 3600.0), ("step", 3600.0)]


def test_a_step_that_did_not_end_is_cut(teller: Teller) -> None:
    """It does not count for what is usual, and the wait that it was in is told."""
    teller.step("download")
    teller.chronicle(events.Waiting("network down since 14:02"))
    teller.now = 90
    assert lines(teller.told()) == [
        ("wait", "network down since 14:02"),
        ("cut", "wait for the image: not finished"),
        ("ended", "done"),
    ]


def test_a_reused_step_is_no_line(teller: Teller) -> None:
    """What an earlier process did was told by that one."""
    teller.chronicle(events.StepFinished("r", "preflight", "fine", reused=True))
    assert lines(teller.told()) == [("ended", "done")]


def test_a_flood_is_bounded_and_counted(teller: Teller) -> None:
    """So many notes are kept, each of a bounded length on one line; the rest is a number."""
    for number in range(MOST + 7):
        teller.chronicle(events.Note(f"{number}\n" + "x" * 5000))
    told = teller.told()
    assert len(told) == MOST + 2
    assert told[-2].text == "7 more of kind 'note' are not listed"
    assert all(len(one.text) <= LONGEST and "\n" not in one.text for one in told)


def test_what_could_not_be_written_comes_first_the_next_time(teller: Teller) -> None:
    """A store that is full for a while loses nothing of the story."""
    teller.chronicle(events.Note("one"))
    taken = teller.chronicle.take()
    teller.chronicle(events.Note("two"))
    teller.chronicle.put_back(taken)
    assert [one.text for one in teller.chronicle.take()] == ["one", "two"]


WAITS = st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.001, 200), st.floats(0, 150)), max_size=40)


@given(waits=WAITS)
def test_no_second_of_waiting_is_lost_or_told_twice(waits: list[tuple[str, float, float]]) -> None:
    """Lines and short waits together are all that was waited, whatever came in which order."""
    teller = Teller()
    teller.step()
    told: list[Happening] = []
    for reason, seconds, pause in waits:
        teller.wait(f"{reason} 1", seconds)
        teller.now += pause
        told += teller.chronicle.take()
    teller.chronicle(events.StepFinished("r", "await-image"))
    told += teller.told()
    seconds = sum(one.seconds or 0 for one in told if one.kind == "wait")
    short = sum(seconds for _, seconds, _ in waits) - seconds
    step = next(one for one in told if one.kind == "step")
    assert short < SHORT * max(1, len(waits))
    assert ("short waits" in step.text) == (short > 1e-6)


def test_a_lull_is_told_now_and_then() -> None:
    """The same wait again within a second is no line, nor is its end; another reason is one."""
    now = [0.0]
    lull = Lull(lambda: now[0], 1.0)
    assert lull.worth(events.Waiting("image is PROVISIONING, 1 %"))
    assert lull.worth(events.Waiting(None))
    assert not lull.worth(events.Waiting("image is PROVISIONING, 2 %"))
    assert not lull.worth(events.Waiting(None))
    assert lull.worth(events.Waiting("network down"))
    now[0] = 2.0
    assert lull.worth(events.Waiting("network down"))
