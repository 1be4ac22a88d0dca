"""Cutting into ranges: every byte once, the last byte too."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypersdk.model import ByteRange
from hypersdk.storage.protocol import Capabilities
from hypersdk.transfer.ranges import gaps, part_size_for, split

PART = 16


@pytest.mark.parametrize("n", [0, 1, 2, 5])
@pytest.mark.parametrize("more", [-1, 0, 1])
def test_sizes_around_a_multiple(n, more):
    """Sizes of n parts and one byte more or less are covered to their last byte."""
    size = max(0, n * PART + more)
    parts = list(split(ByteRange(0, size), PART))
    assert sum(part.length for part in parts) == size
    assert len(parts) == -(-size // PART)
    assert all(part.length == PART for part in parts[:-1])
    assert (parts[-1].stop if parts else 0) == size


@settings(deadline=None)
@given(size=st.integers(0, 5000), part=st.integers(1, 700), start=st.integers(0, 100))
def test_pieces_touch_and_cover(size, part, start):
    """For any size and part size the pieces are in order, not empty, and touch each other."""
    reached = start
    for piece in split(ByteRange(start, start + size), part):
        assert piece.start == reached
        assert 0 < piece.length <= part
        reached = piece.stop
    assert reached == start + size


@settings(deadline=None)
@given(size=st.integers(0, 60), have=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=8))
def test_gaps_are_what_is_missing(size, have):
    """What we have and the gaps are exactly the object, however the pieces overlap."""
    known = [ByteRange(min((*pair, size)), min(max(pair), size)) for pair in have]
    missing = [at for gap in gaps(size, known) for at in range(gap.start, gap.stop)]
    assert missing == [at for at in range(size) if not any(each.start <= at < each.stop for each in known)]


def test_part_size_obeys_the_service():
    """The part size grows when there would be too many parts, and stays within the service's limits."""
    able = Capabilities(min_part_size=5, max_part_size=1000, max_parts=10)
    assert part_size_for(99, 20, able) == 20
    assert part_size_for(1001, 20, able) == 101
    assert part_size_for(10, 1, able) == 5
    assert part_size_for(10, 5000, able) == 1000
