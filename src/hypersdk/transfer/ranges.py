"""Cutting an object into ranges, and finding what is still missing. Pure.

Rules of this file: ranges are half-open; the pieces of a whole are in order, touch each other and cover each byte once,
the last byte too (sizes of k * part + 1 lose it in other tools).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hypersdk.model import ByteRange


def split(whole: ByteRange, part_size: int) -> Iterator[ByteRange]:
    """Cut a range into pieces of `part_size` bytes; the last may be shorter, an empty range has none."""
    for start in range(whole.start, whole.stop, part_size):
        yield ByteRange(start, min(start + part_size, whole.stop))


def gaps(size: int, have: Iterable[ByteRange]) -> Iterator[ByteRange]:
    """What of an object of `size` bytes is not covered by `have` (in any order, may overlap)."""
    reached = 0
    for known in sorted(have, key=lambda each: each.start):
        if known.start > reached:
            yield ByteRange(reached, min(known.start, size))
        reached = max(reached, known.stop)
    if reached < size:
        yield ByteRange(reached, size)


def part_size_for(size: int, wanted: int, *, smallest: int, largest: int, max_parts: int) -> int:
    """The part size for an upload: `wanted`, unless the service's limits demand another.

    Args:
        size: bytes of the whole.
        wanted: bytes per part as asked for.
        smallest: fewest bytes of a part, the last excepted.
        largest: most bytes of a part.
        max_parts: most parts.
    """
    needed = -(-size // max_parts)
    return min(max(wanted, needed, smallest, 1), largest)
