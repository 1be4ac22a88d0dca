"""How large the parts of a stream are whose length nobody knows. Pure.

Rules of this file: a short stream has small parts, so that little memory is needed and much can be in flight; a long
one has larger and larger ones, so that the service's limits on the number of parts and on the size of an object are met
together; what is larger than memory should hold goes through a file that has no name.
"""

from __future__ import annotations

from dataclasses import dataclass

from hypersdk.transfer.options import GIB, MIB

LIMIT = 10 * 1024 * GIB
"""Bytes of the largest object (docs.oracle.com, "Object Storage limits": 10 TiB)."""

FIRST = 4 * MIB
"""Bytes of the first parts, unless smaller ones are asked for: ten of them make up the memory of a stream."""

IN_MEMORY = 8 * MIB
"""A larger part goes through a file."""

SPOOLED = GIB
"""Bytes of such files at once; two of them, if one alone is larger."""


MOST_SIZES = 32
"""Sizes from the first to the last: doubled so often, one byte is more than any part may have."""


@dataclass(frozen=True, slots=True)
class Growth:
    """The sizes of parts by their number.

    Attributes:
        first: bytes of part 1.
        every: so many parts are of one size, then the size doubles.
        largest: no part is larger.
        most: most parts.
    """

    first: int
    every: int
    largest: int
    most: int

    def size(self, number: int) -> int:
        """Bytes of part `number` (from 1)."""
        return min(self.first << ((number - 1) // self.every), self.largest)

    @property
    def capacity(self) -> int:
        """Bytes of all parts together."""
        full, rest = divmod(self.most, self.every)
        sizes = [self.size(1 + level * self.every) for level in range(full + 1)]
        return sum(sizes[:full]) * self.every + sizes[full] * rest

    def files(self, number: int) -> int:
        """How many parts as large as part `number` may lie in files at once; 0 = it lies in memory."""
        size = self.size(number)
        return 0 if size <= IN_MEMORY else max(2, SPOOLED // size)


def growth_for(
    first: int, *, smallest: int = 0, largest: int = 50 * GIB, most: int = 10_000, limit: int = LIMIT
) -> Growth:
    """The slowest growth that holds a stream of any length up to `limit`.

    Args:
        first: bytes of the first parts as asked for.
        smallest: fewest bytes of a part, the last excepted.
        largest: most bytes of a part.
        most: most parts.
        limit: bytes of the longest stream.
    """
    begin = min(max(first, smallest, 1), largest)
    found = Growth(begin, most, largest, most)
    for sizes in range(2, min(most, MOST_SIZES) + 1):
        if found.capacity >= limit:
            break
        found = Growth(begin, -(-most // sizes), largest, most)
    return found
