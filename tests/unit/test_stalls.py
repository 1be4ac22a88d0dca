"""When a step counts as stalled, and what is said of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypersdk import events
from hypersdk.exports.telling.stalls import FACTOR, SHORTEST, UNKNOWN, StallDetector, longest_idle
from hypersdk.runs.records import Usual

USUAL = Usual(240.0, 540.0, 23)


def detector(usual: Usual | None = None) -> StallDetector:
    """One whose step began at 0."""
    made = StallDetector(lambda _step: usual, 0.0)
    made.take(events.StepStarted("r", "await-image", "wait for the image"), 0.0)
    return made


def test_a_stall_is_told_once_with_what_is_usual() -> None:
    """The sentence names the idle time, the median and the slowest tenth; it is told once until the step moves."""
    made = detector(USUAL)
    assert made.look(FACTOR * USUAL.slow - 1) is None
    stall = made.look(FACTOR * USUAL.slow)
    assert stall == events.Stalled(
        "r",
        "await-image",
        810.0,
        240.0,
        "await-image has not moved for 14 min; usually 4 min, slowest tenth 9 min (from 23 runs)",
    )
    assert made.look(10_000) is None
    made.take(events.StepAdvanced("r", "await-image", 3, 100, "percent"), 10_000)
    assert made.look(10_100) is None
    assert made.look(10_000 + 900) is not None


def test_the_same_percent_again_is_no_movement() -> None:
    """A poll that answers what it answered before moves nothing; the reason of the wait is in the sentence."""
    made = detector(USUAL)
    made.take(events.StepAdvanced("r", "await-image", 40, 100, "percent"), 10)
    for second in range(20, 900, 30):
        made.take(events.Waiting("image web is PROVISIONING, 40 %"), second)
        made.take(events.StepAdvanced("r", "await-image", 40, 100, "percent"), second)
        made.take(events.Waiting(None), second + 1)
    stall = made.look(900)
    assert stall is not None
    assert stall.idle == 890
    assert stall.text.endswith("; waiting: image web is PROVISIONING, 40 %")


def test_a_step_that_moves_bytes_stalls_after_a_minute() -> None:
    """However long a download takes in all, a minute without a byte is told."""
    made = detector(Usual(7200.0, 9000.0, 50))
    made.take(events.Bytes(wire=1), 5)
    assert made.look(5 + SHORTEST - 1) is None
    assert made.look(5 + SHORTEST) is not None


def test_a_queue_is_no_stall() -> None:
    """Who waits for a place is told that; once he has it, the time counts from then."""
    made = detector(USUAL)
    made.take(events.Waiting("4 of 4 exports in r are running", events.PLACE), 1)
    assert made.look(100_000) is None
    made.take(events.Waiting(None), 100_000)
    assert made.look(100_001) is None
    assert made.look(100_000 + FACTOR * USUAL.slow) is not None


def test_no_step_no_stall() -> None:
    """Before the first step, after the last, and while nothing is known for half an hour, nothing is told."""
    assert StallDetector(lambda _step: None, 0.0).look(1e9) is None
    made = detector()
    assert made.look(UNKNOWN - 1) is None
    made.take(events.StepFinished("r", "await-image"), UNKNOWN)
    assert made.look(1e9) is None


def test_a_suspended_process_has_not_stalled() -> None:
    """After the lid of a laptop was closed for an hour the time counts from its opening."""
    made = detector(USUAL)
    made.forgive(3600)
    assert made.look(3601) is None


@given(median=st.floats(0, 1e6), slow=st.floats(0, 1e6), count=st.integers(3, 500), moves_bytes=st.booleans())
def test_never_less_than_a_minute(median: float, slow: float, count: int, moves_bytes: bool) -> None:
    """Whatever is usual, a minute is never called a stall; a step with a total of bytes needs no more than that."""
    longest = longest_idle(Usual(median, slow, count), moves_bytes=moves_bytes)
    assert longest >= SHORTEST
    assert longest == SHORTEST or not moves_bytes


@pytest.mark.parametrize("event", [events.Bytes(), events.Called("x", 1.0), events.Note("x")])
def test_what_is_no_movement(event: events.Event) -> None:
    """A count of no bytes, a call that was answered, a note: none of them is progress."""
    made = detector(USUAL)
    made.take(event, 500)
    assert made.look(FACTOR * USUAL.slow) is not None
