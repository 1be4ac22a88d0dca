"""How many requests may be in flight, on links that gain by more of them and on services that refuse."""

from __future__ import annotations

import pytest

from hypersdk.governor import CALM_SECONDS, Governor


def drive(governor: Governor, rate_of, seconds: float, start: float = 0.0) -> list[int]:
    """Let time pass on a link that moves `rate_of(level)` bytes a second; the level after each second."""
    levels, now = [], start
    while now < start + seconds:
        governor.moved(int(rate_of(governor.level) / 10), now, busy=True)
        now += 0.1
        levels.append(governor.level)
    return levels[::10]


def test_grows_while_it_gains():
    """On a long link, where each connection brings its own share, it grows to what was allowed."""
    levels = drive(Governor(32), lambda level: level * 1_000_000, 30)
    assert levels[0] == 4
    assert levels[-1] == 32


def test_stays_low_where_nothing_is_gained():
    """On a link that few connections fill it goes back to few, and tries again now and then."""
    levels = drive(Governor(32), lambda _: 50_000_000, 60)
    assert max(levels) <= 6
    assert levels.count(4) > len(levels) / 2


def test_never_more_than_asked():
    """`--parallel 2` is never exceeded, not even at the start."""
    assert set(drive(Governor(2), lambda level: level * 1e6, 20)) == {2}


def test_halves_once_for_a_burst_of_refusals():
    """Sixteen refusals at once halve it once; it grows again only after a calm time."""
    governor = Governor(16)
    drive(governor, lambda level: level * 1e6, 30)
    assert governor.level == 16
    for _ in range(16):
        governor.refused(100.0)
    assert governor.level == 8
    assert set(drive(governor, lambda level: level * 1e6, CALM_SECONDS - 1, 100.0)) == {8}
    assert drive(governor, lambda level: level * 1e6, 30, 100.0 + CALM_SECONDS)[-1] == 16


def test_refused_again_and_again_goes_down_to_one():
    """A service that refuses for a long time is asked one request at a time, never none."""
    governor = Governor(16)
    for n in range(20):
        governor.refused(n * CALM_SECONDS)
    assert governor.level == 1


def test_learns_nothing_when_idle():
    """The end of a transfer, with few parts left, does not teach that more connections are useless."""
    governor = Governor(16)
    for n in range(100):
        governor.moved(10, n * 0.5, busy=False)
    assert governor.level == pytest.approx(4)


def test_many_small_requests_begin_at_once():
    """Small objects need round trips, not bytes: they begin with all that is allowed, but not right after a refusal."""
    governor = Governor(16)
    governor.begin_at(32, 0.0)
    assert governor.level == 16
    governor.refused(1.0)
    governor.begin_at(16, 2.0)
    assert governor.level == 8
    governor.begin_at(16, 1.0 + CALM_SECONDS)
    assert governor.level == 16
