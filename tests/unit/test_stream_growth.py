"""How the parts of a stream grow: within every limit, whatever its length."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hypersdk.transfer.flows.growth import FIRST, IN_MEMORY, LIMIT, SPOOLED, growth_for
from hypersdk.transfer.options import GIB, MIB

FIRSTS = st.integers(min_value=64 * 1024, max_value=64 * MIB)


@given(first=FIRSTS, length=st.integers(min_value=1, max_value=LIMIT))
def test_any_length_fits(first, length):
    """A stream of any length up to the service's limit has at most 10,000 parts of at most 50 GiB."""
    growth = growth_for(first)
    number, left = 0, length
    while left > 0:
        number += growth.every - number % growth.every  # to the last part of this size
        left -= growth.every * growth.size(number)
    last = number - -left // growth.size(number)
    assert last <= growth.most == 10_000
    assert growth.size(last) <= 50 * GIB
    assert growth.capacity >= LIMIT


@given(first=FIRSTS, number=st.integers(min_value=1, max_value=10_000))
def test_parts_never_shrink(first, number):
    """Parts begin as asked for, and none is smaller than the one before it or more than twice as large."""
    growth = growth_for(first)
    assert growth.size(1) == first
    assert growth.size(number) <= growth.size(number + 1) <= 2 * growth.size(number)


@given(
    first=FIRSTS,
    smallest=st.integers(min_value=0, max_value=16 * MIB),
    largest=st.integers(min_value=16 * MIB, max_value=50 * GIB),
    most=st.integers(min_value=1, max_value=20_000),
)
def test_limits_of_a_store_hold(first, smallest, largest, most):
    """Whatever a store allows, no part breaks it; if it cannot hold the limit, as much as it can is used."""
    growth = growth_for(first, smallest=smallest, largest=largest, most=most)
    sizes = [growth.size(number) for number in {1, most // 2 + 1, most}]
    assert all(smallest <= size <= largest for size in sizes)
    assert growth.most == most
    assert growth.capacity >= min(LIMIT, growth.first * most)


@given(first=FIRSTS, number=st.integers(min_value=1, max_value=10_000))
def test_what_lies_in_memory_and_in_files_is_bounded(first, number):
    """A part lies in memory only if it is small; files hold a gibibyte at most, or two parts."""
    growth = growth_for(first)
    size, files = growth.size(number), growth.files(number)
    assert (files == 0) == (size <= IN_MEMORY)
    assert files <= 2 or files * size <= SPOOLED


def test_first_tens_of_gibibytes_stay_small():
    """Streams of common lengths need neither large parts nor files: the first parts are as small as they may be."""
    growth = growth_for(FIRST)
    assert growth.every > 800
    assert growth.size(800) == FIRST
    assert growth.files(800) == 0
