"""Which exports of a fleet may begin: limits, priorities, fairness."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from hypersdk.fleet.nouns import Limits
from hypersdk.fleet.queue import Turn, may_begin, why_not


def turn(number: int, region: str = "a", bucket: str = "x", priority: int = 0) -> Turn:
    return Turn(number, f"run-{number}", f"vm-{number}", region, bucket, priority)


LIMITS = st.builds(
    Limits,
    parallel=st.integers(0, 5),
    per_worker=st.integers(0, 5),
    per_region=st.integers(0, 3),
    per_bucket=st.integers(0, 3),
)


@st.composite
def fleets(draw: st.DrawFn) -> list[Turn]:
    places = st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.integers(-1, 1))
    return [
        turn(number, region, bucket, priority)
        for number, (region, bucket, priority) in enumerate(draw(st.lists(places, max_size=25)), 1)
    ]


def fits(running: list[Turn], limits: Limits) -> bool:
    """Whether no limit is passed."""
    regions, buckets = Counter(t.region for t in running), Counter(t.bucket for t in running)
    counted = (
        (limits.parallel, len(running)),
        (limits.per_worker, len(running)),
        (limits.per_region, max(regions.values(), default=0)),
        (limits.per_bucket, max(buckets.values(), default=0)),
    )
    return all(count <= limit for limit, count in counted if limit)


@given(fleets(), LIMITS)
def test_limits_hold_and_nothing_waits_for_nothing(waiting: list[Turn], limits: Limits) -> None:
    """What begins passes no limit, and none that still waits could begin as well."""
    begun = may_begin(waiting, [], limits)
    assert fits(begun, limits)
    assert len(set(begun)) == len(begun)
    left = [each for each in waiting if each not in begun]
    assert not any(fits([*begun, each], limits) for each in left)
    assert (why_not(left, begun, limits) is None) == (not left)


@given(fleets(), LIMITS, st.randoms(use_true_random=False))
def test_every_export_begins_once(waiting: list[Turn], limits: Limits, random: object) -> None:
    """However exports end, each begins exactly once, and the limits hold all the time."""
    left, running, done, begun = list(waiting), list[Turn](), list[Turn](), Counter[str]()
    while left or running:
        for each in may_begin(left, running, limits, begun):
            left.remove(each)
            running.append(each)
            begun[each.region] += 1
        assert fits(running, limits)
        assert running
        done.append(running.pop(random.randrange(len(running))))  # type: ignore[attr-defined] - hypothesis' own Random
    assert sorted(each.number for each in done) == [each.number for each in waiting]


@given(fleets(), LIMITS)
def test_a_smaller_priority_goes_first(waiting: list[Turn], limits: Limits) -> None:
    """Nobody begins in a place while one of smaller priority waits there."""
    begun = may_begin(waiting, [], limits)
    for late in (each for each in waiting if each not in begun):
        same_place = [each for each in begun if (each.region, each.bucket) == (late.region, late.bucket)]
        assert all(each.priority <= late.priority for each in same_place)


@given(st.integers(1, 60), st.integers(1, 5))
def test_one_of_a_small_region_does_not_wait_for_a_large_one(many: int, others: int) -> None:
    """With one place in all, each of the regions has begun one before any has begun two."""
    waiting = [turn(number, "big") for number in range(1, many + 1)]
    waiting += [turn(many + number, f"small-{number}") for number in range(1, others + 1)]
    left, begun, order = list(waiting), Counter[str](), list[str]()
    while left:
        (first,) = may_begin(left, [], Limits(parallel=1, per_worker=0), begun)
        left.remove(first)
        begun[first.region] += 1
        order.append(first.region)
    assert set(order[: others + 1]) == {each.region for each in waiting}


def test_equals_begin_in_the_order_of_the_plan() -> None:
    """Without anything that tells them apart, the plan's order holds."""
    waiting = [turn(number) for number in (1, 2, 3, 4)]
    assert may_begin(reversed(waiting), [], Limits(per_worker=2)) == waiting[:2]


def test_a_full_region_is_told_and_stops_no_other() -> None:
    """A region at its limit waits and is named; another one goes on, although it comes later in the plan."""
    running, waiting = [turn(1, "a")], [turn(2, "a"), turn(3, "b", "y")]
    limits = Limits(per_region=1)
    assert may_begin(waiting, running, limits) == [waiting[1]]
    assert why_not(waiting[:1], running, limits) == "1 of 1 run in a"
    assert why_not(waiting, [turn(1, "c")], Limits(per_bucket=1)) == "1 of 1 run into x"
    assert why_not(waiting, running * 4, Limits(per_worker=4)) == "4 of 4 run"
