"""How many requests may be in flight, on links that gain by more of them and on services that refuse."""

from __future__ import annotations

import pytest

from hypersdk.governor import CALM_SECONDS, Governor, Governors


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


def drive_late(governor: Governor, rate_of, wait_of, seconds: float) -> list[int]:
    """As `drive`, on a service whose first bytes come after `wait_of(level, now)` seconds."""
    levels, now = [], 0.0
    while now < seconds:
        governor.moved(int(rate_of(governor.level, now) / 10), now, busy=True)
        governor.answered(wait_of(governor.level, now))
        now += 0.1
        levels.append(governor.level)
    return levels[::10]


def test_late_answers_without_more_bytes_make_it_back_off():
    """A service that becomes busy is asked less: first bytes come late, and fewer requests would move as much."""
    busy = lambda level, now: min(level, 9 if now < 8 else 3) * 1e6  # noqa: E731 - a rate, not a function to name
    calm = drive_late(Governor(9), busy, lambda *_: 0.05, 20)
    late = drive_late(Governor(9), busy, lambda _, now: 0.05 if now < 8 else 2.0, 20)
    assert calm[7] == late[7] == 9
    assert late[14:] == [4] * 6
    assert min(calm[14:]) >= 6


def test_late_answers_end_the_growth():
    """While first bytes come late nothing grows, although more bytes came with every level so far."""
    late = drive_late(Governor(128), lambda level, _: level * 1e6, lambda _, now: 0.05 if now < 5 else 2.0, 30)
    assert late[-1] == late[6] < 128


def test_longer_routes_are_no_lateness():
    """Answers that are slow from the first, or slower by a few milliseconds, hold up nothing."""
    assert drive_late(Governor(32), lambda level, _: level * 1e6, lambda *_: 3.0, 30)[-1] == 32
    assert drive_late(Governor(32), lambda level, _: level * 1e6, lambda level, _: 0.001 * level, 30)[-1] == 32


def test_retry_after_shuts_the_endpoint():
    """A service that names a time is asked nothing before it; a shorter second one does not open it earlier."""
    governor = Governor(16)
    assert governor.shut_for(5.0) == 0
    governor.refused(10.0, 8.0)
    governor.refused(11.0, 1.0)
    assert governor.shut_for(12.0) == pytest.approx(6)
    assert governor.shut_for(18.0) == 0
    governor.refused(20.0)
    assert governor.shut_for(20.0) == 0


def test_each_endpoint_has_its_own():
    """One service's refusal says nothing of another; what begins at once does so everywhere."""
    governors = Governors(16)
    governors.of("https://a").refused(1.0, 9.0)
    assert (governors.of("https://a").level, governors.of("https://b").level) == (2, 4)
    assert governors.of("https://b").shut_for(2.0) == 0
    governors.begin_at(16, 1.0 + CALM_SECONDS)
    assert [governors.of(f"https://{each}").level for each in "abc"] == [16, 16, 16]
