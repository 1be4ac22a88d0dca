"""Rates and times to come: exact for a steady flow, bounded, and honest about a stall."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypersdk.cli.rate import KNOWN_AFTER, Rate, format_left, seconds_left

STEPS = st.lists(st.floats(0.01, 60), min_size=1, max_size=20)
FLOWS = st.lists(st.tuples(st.floats(0.05, 30), st.integers(0, 10**9)), min_size=1, max_size=20)


@given(STEPS, st.floats(1, 1e9))
def test_a_steady_flow_is_told_exactly(steps: list[float], speed: float) -> None:
    """However often it is measured, and from the first telling on; before that it is unknown."""
    rate, now = Rate(0.0), 0.0
    for step in steps:
        now += step
        rate.note(now, now * speed)
        told = rate.at(now)
        if now < KNOWN_AFTER:
            assert told is None
        elif now > KNOWN_AFTER * 1.2:  # early seconds count for a little less than one
            assert told == pytest.approx(speed, rel=1e-6)


@given(FLOWS)
def test_no_rate_exceeds_the_fastest_moment(flow: list[tuple[float, int]]) -> None:
    """It lies between nothing and the fastest step that was measured."""
    rate, now, moved = Rate(0.0), 0.0, 0
    for step, count in flow:
        now, moved = now + step, moved + count
        rate.note(now, moved)
    told = rate.at(now)
    assert told is None or 0 <= told <= max(count / step for step, count in flow) * (1 + 1e-9)


@given(FLOWS, st.lists(st.floats(0.1, 100), min_size=2, max_size=8))
def test_a_stall_makes_it_slower_and_the_end_farther(flow: list[tuple[float, int]], stalls: list[float]) -> None:
    """While nothing moves the rate only falls and the time to come only grows, whether somebody measures or not."""
    rate, measured, now, moved = Rate(0.0), Rate(0.0), 0.0, 0
    for step, count in [*flow, (3.0, 1000)]:
        now, moved = now + step, moved + count
        rate.note(now, moved)
        measured.note(now, moved)
    before, left = rate.at(now), seconds_left(10**6, rate.at(now))
    for stall in stalls:
        now += stall
        measured.note(now, moved)
        told = rate.at(now)
        assert told is not None
        assert before is not None
        assert told == pytest.approx(measured.at(now), rel=1e-6, abs=1e-9)
        assert told < before or told == 0
        later = seconds_left(10**6, told)
        assert later is None or (left is not None and later >= left)
        before, left = told, later


def test_the_recent_past_counts() -> None:
    """A flow that becomes slower is told at its new speed after a minute; one that begins anew is told again."""
    rate, now, moved = Rate(0.0), 0.0, 0.0
    for speed, seconds in ((100.0, 60), (10.0, 60), (0.0, 600), (50.0, 60)):
        for _ in range(seconds * 2):
            now, moved = now + 0.5, moved + speed / 2
            rate.note(now, moved)
        assert rate.at(now) == pytest.approx(speed, rel=0.2, abs=0.01)


def test_a_clock_that_stands_changes_nothing() -> None:
    """Two measurements at one moment are one, and time that goes back is ignored."""
    rate = Rate(0.0)
    rate.note(4.0, 400)
    rate.note(4.0, 500)
    rate.note(3.0, 500)
    assert rate.at(4.0) == pytest.approx(100)
    assert rate.at(3.0) == pytest.approx(100)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0.0, "0:00"), (23.2, "0:24"), (3723, "1:02:03"), (3 * 86400 + 4 * 3600 + 59, "3 d 4 h")],
)
def test_times_for_people(seconds: float | None, text: str) -> None:
    """Rounded up, never a promise of less; a dash while nobody knows."""
    assert format_left(seconds) == text


def test_what_cannot_be_known_is_not_told() -> None:
    """No rate, none at all, or centuries: no time is told; nothing left to do is now."""
    assert seconds_left(10, None) is None
    assert seconds_left(10, 0.0) is None
    assert seconds_left(10**12, 0.001) is None
    assert seconds_left(0, None) == 0
    assert seconds_left(100, 50) == 2
