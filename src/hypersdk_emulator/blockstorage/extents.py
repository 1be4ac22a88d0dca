"""Which blocks of a disk something owns, and where a disk's bytes come from. Pure: numbers in, numbers out.

An extent is a half-open range of block numbers, `(start, stop)`. A chain is a list of layers, newest first, each with
the extents that it owns: a block is read from the first layer that owns it, and is zero if none does.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

BLOCK = 4096
"""Bytes; the smallest step of OCI's changed-block maps, and of the files' own holes."""

Extent = tuple[int, int]
Piece = tuple[int, int, int | None]
"""Start, stop and the place in the chain that owns it; None is a hole."""


class Extents:
    """A set of blocks as sorted ranges that neither overlap nor touch.

    Args:
        ranges: In any order; they may overlap.
    """

    def __init__(self, ranges: Iterable[Extent] = ()) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []
        for start, stop in sorted(ranges):
            if start >= stop:
                continue
            if self._stops and start <= self._stops[-1]:
                self._stops[-1] = max(stop, self._stops[-1])
            else:
                self._starts.append(start)
                self._stops.append(stop)

    def __iter__(self) -> Iterator[Extent]:
        return iter(zip(self._starts, self._stops, strict=True))

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def blocks(self) -> int:
        """How many blocks are in it."""
        return sum(self._stops) - sum(self._starts)

    def within(self, start: int, stop: int) -> Iterator[Extent]:
        """The parts that lie in a range, cut to it."""
        for n in range(bisect_right(self._stops, start), bisect_left(self._starts, stop)):
            yield max(start, self._starts[n]), min(stop, self._stops[n])

    def gaps(self, start: int, stop: int) -> Iterator[Extent]:
        """The parts of a range that are not in it."""
        at = start
        for left, right in self.within(start, stop):
            if at < left:
                yield at, left
            at = right
        if at < stop:
            yield at, stop

    def rounded(self, blocks: int) -> "Extents":
        """Grown to whole groups of so many blocks."""
        return Extents((start // blocks * blocks, -(-stop // blocks) * blocks) for start, stop in self)


def covering(offset: int, length: int) -> Extent:
    """The blocks that a range of bytes touches."""
    return offset // BLOCK, -(-(offset + length) // BLOCK)


def resolve(chain: Iterable[Extents], start: int, stop: int) -> list[Piece]:
    """Where a range of blocks is read from, in order and without gaps.

    Args:
        chain: What each layer owns, newest first; not read further than needed.
        start: First block.
        stop: Behind the last block.
    """
    found: list[Piece] = []
    holes: list[Extent] = [(start, stop)] if start < stop else []
    for place, owned in enumerate(chain):
        left: list[Extent] = []
        for hole in holes:
            found += [(first, last, place) for first, last in owned.within(*hole)]
            left += owned.gaps(*hole)
        holes = left
        if not holes:
            break
    found += [(first, last, None) for first, last in holes]
    return sorted(found, key=lambda piece: piece[0])
