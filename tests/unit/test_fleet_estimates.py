"""How long exports may take."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypersdk.exports.options import ExportOptions
from hypersdk.fleet import windows
from hypersdk.fleet.nouns import Item, Limits
from hypersdk.fleet.planning import estimates
from hypersdk.fleet.planning.estimates import DEFAULTS, UNLEARNED
from hypersdk.model import Instance

GIB = 1024**3
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
NONE = Limits(per_worker=0)


def item(
    number: int, seconds: float | None, *, region: str = "r", bucket: str = "b", refused: str | None = None
) -> Item:
    one = Instance(f"i{number}", "vm", "c", "STOPPED", region)
    return Item(number, one, region, ExportOptions(), bucket=bucket, seconds=seconds, refused=refused)


def test_without_history_documented_figures_count() -> None:
    """A volume of 46.6 GiB is an image after 1004 s and an object after 1141 s, as the one public recording has it."""
    remote = estimates.seconds(int(46.6 * GIB), formats=1, local=False)
    assert remote == pytest.approx(1004 + 1141, rel=1e-6)
    local = estimates.seconds(int(46.6 * GIB), formats=2, local=True)
    assert local == pytest.approx(1004 + 2 * (1141 + 46.6 * (DEFAULTS["download"] + DEFAULTS["verify"])), rel=1e-6)


def test_earlier_exports_replace_the_figures_once_there_are_enough() -> None:
    """The median of three says something, two say nothing; what was never seen keeps its figure."""
    learned = estimates.learn({"await-image": [(GIB, 1.0), (2 * GIB, 20.0), (GIB, 3.0)], "download": [(GIB, 9.0)] * 2})
    assert learned.per_gib["await-image"] == 3.0
    assert learned.per_gib["download"] == DEFAULTS["download"]
    assert learned.learned == 3
    assert estimates.learn({}).per_gib == UNLEARNED.per_gib


def test_an_unknown_size_has_no_estimate() -> None:
    """Nothing is guessed for it; in all it counts as the others on average."""
    assert estimates.seconds(None, formats=1, local=True) is None
    assert estimates.in_all([item(1, 10), item(2, 30), item(3, None)], Limits(parallel=1), [], NOW) == 60
    assert estimates.in_all([item(1, None)], NONE, [], NOW) is None
    assert estimates.in_all([], NONE, [], NOW) is None


@pytest.mark.parametrize(
    ("limits", "seconds"),
    [
        (NONE, 10),
        (Limits(parallel=1, per_worker=0), 40),
        (Limits(parallel=3, per_worker=2), 20),
        (Limits(per_worker=0, per_region=1), 20),
        (Limits(per_worker=0, per_bucket=1), 40),
    ],
)
def test_limits_make_it_longer(limits: Limits, seconds: float) -> None:
    """Four exports of 10 s in two regions and one bucket, under each kind of limit."""
    some = [item(n, 10, region=f"r{n % 2}") for n in range(4)]
    assert estimates.in_all(some, limits, [], NOW) == seconds


def test_workers_multiply_what_one_may_do() -> None:
    """Two machines do twice what one does."""
    some = [item(n, 10) for n in range(4)]
    assert estimates.in_all(some, Limits(per_worker=1), [], NOW, workers=2) == 20


def test_beginnings_wait_for_the_window_and_what_has_begun_goes_on() -> None:
    """Of three exports of 5 h, one at a time, two begin in the first night's 8 hours, the third in the next."""
    window = windows.parse("22:00-06:00 UTC")
    some = [item(n, 5 * 3600) for n in range(3)]
    seconds = estimates.in_all(some, Limits(parallel=1), [window], NOW)
    assert seconds is not None
    assert NOW + timedelta(seconds=seconds) == datetime(2026, 11, 27, 3, tzinfo=UTC)


def test_places_that_become_free_while_the_window_is_closed_are_taken_when_it_opens() -> None:
    """A place that one leaves while it is closed is taken in the next evening, whatever else still runs."""
    window = windows.parse("22:00-23:00 UTC")
    some = [item(1, 20 * 3600), item(2, 30 * 3600), item(3, 3600)]
    seconds = estimates.in_all(some, Limits(parallel=2), [window], NOW)
    assert seconds is not None
    assert NOW + timedelta(seconds=seconds) == datetime(2026, 11, 27, 4, tzinfo=UTC)
    alone = estimates.in_all(some[:1] + some[2:], Limits(parallel=1), [window], NOW)
    assert alone is not None
    assert NOW + timedelta(seconds=alone) == datetime(2026, 11, 26, 23, tzinfo=UTC)


def test_refused_ones_take_no_time() -> None:
    """Only what will be exported counts."""
    assert estimates.in_all([item(1, 10), item(2, 99, refused="no")], Limits(parallel=1), [], NOW) == 10


limits = st.builds(Limits, *(st.integers(0, 3) for _ in range(4)))
items = st.lists(
    st.tuples(st.integers(1, 50), st.sampled_from("xy"), st.sampled_from("ab")), min_size=1, max_size=12
).map(lambda rows: [item(n, float(s), region=r, bucket=b) for n, (s, r, b) in enumerate(rows)])


@given(items, limits)
def test_no_limit_is_passed_and_nothing_waits_for_ever(some: list[Item], limit: Limits) -> None:
    """The end lies between what the longest takes and what all take one after the other, and no limit allows less."""
    found = estimates.in_all(some, limit, [], NOW)
    took = [one.seconds or 0 for one in some]
    assert found is not None
    assert max(took) <= found <= sum(took)
    for most in filter(None, (limit.parallel, limit.per_worker)):
        assert found >= sum(took) / most - 1e-6
    for most, place in ((limit.per_region, "region"), (limit.per_bucket, "bucket")):
        for name in "xyab" if most else "":
            assert found >= sum(one.seconds or 0 for one in some if getattr(one, place) == name) / most - 1e-6
