"""Rates, timetables and the bucket that keeps to them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypersdk.bandwidth import DAY_MINUTES, WEEK_MINUTES, Bucket, Timetable

MIB = 1024**2


@pytest.mark.parametrize(
    ("text", "minute", "rate"),
    [
        ("50M", 0, 50 * MIB),
        ("off", 77, None),
        ("0", 77, None),
        ("08:00,20M 19:00,off", 7 * 60 + 59, None),
        ("08:00,20M 19:00,off", 8 * 60, 20 * MIB),
        ("08:00,20M 19:00,off", 3 * DAY_MINUTES + 18 * 60 + 59, 20 * MIB),
        ("08:00,20M 19:00,off", WEEK_MINUTES - 1, None),
        ("Mon-08:00,512K Fri-19:00,off", 0, None),
        ("Mon-08:00,512K Fri-19:00,off", 2 * DAY_MINUTES, 512 * 1024),
        ("Mon-08:00,512K Fri-19:00,off", 5 * DAY_MINUTES, None),
    ],
)
def test_rates_by_the_clock(text, minute, rate):
    """A rate holds always; an entry of a timetable holds until the next one, over midnight and the week's end too."""
    assert Timetable.parse(text).at(minute) == rate


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fast", "not a rate: 'fast'"),
        ("", "empty timetable"),
        ("08:00,fast", "not a rate: 'fast'"),
        ("24:00,1M", "24:00 is not a time of day"),
        ("08:60,1M", "08:60 is not a time of day"),
        ("Day-08:00,1M", "'Day' is not a day"),
        ("08:00;1M 9:00,2M", "not an entry of a timetable"),
        ("08:00,1M 08:00,2M", "stands twice"),
        ("08:00,1M Tue-08:00,2M", "stands twice"),
    ],
)
def test_mistakes_are_named(text, words):
    """What is no timetable is refused, naming the part that is wrong."""
    with pytest.raises(ValueError, match=words):
        Timetable.parse(text)


@given(
    st.integers(10_000, 10**9),
    st.lists(st.floats(0, 0.01), min_size=200, max_size=400),
    st.floats(0.001, 0.05),
)
def test_bucket_keeps_the_rate(rate, idles, piece_seconds):
    """Over ten seconds no more than the rate moves, within 5 percent, however the bytes come."""
    now, moved = [0.0], 0
    bucket = Bucket(lambda: rate, lambda: now[0])
    piece = max(1, int(rate * piece_seconds))
    for idle in idles * 60:
        now[0] += idle + bucket.took(piece)
        moved += piece
        if now[0] >= 10:
            break
    if now[0] >= 10:
        assert moved <= rate * now[0] * 1.05 + piece


@given(st.integers(10_000, 10**9), st.floats(0.001, 0.05))
def test_bucket_gives_the_whole_rate(rate, piece_seconds):
    """Who always has bytes to move gets the rate, within 5 percent."""
    now, moved, piece = [0.0], 0, max(1, int(rate * piece_seconds))
    bucket = Bucket(lambda: rate, lambda: now[0])
    while now[0] < 10:
        now[0] += bucket.took(piece)
        moved += piece
    assert moved >= rate * 10 * 0.95


def test_no_limit_means_no_wait():
    """Without a limit nothing waits, and the time without one gives no credit for later."""
    limit, now = [None], [0.0]
    bucket = Bucket(lambda: limit[0], lambda: now[0])
    assert bucket.took(10**12) == 0
    now[0], limit[0] = 1000.0, 1000
    assert bucket.took(1000) == pytest.approx(0.9)  # a tenth of a second may come at once
