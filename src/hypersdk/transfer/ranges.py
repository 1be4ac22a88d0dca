"""Cutting an object into ranges, and finding what is still missing. Pure.

Rules of this file: ranges are half-open; the pieces of a whole are in order, touch each other and cover each byte once,
the last byte too (sizes of k * part + 1 lose it in other tools).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hypersdk.model import ByteRange
from hypersdk.storage.protocol import Capabilities


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


def part_size_for(size: int, wanted: int, able: Capabilities) -> int:
    """The part size for an upload: `wanted`, unless the service's limits demand another.

    Args:
        size: bytes of the whole.
        wanted: bytes per part as asked for.
        able: the service's limits.
    """
    needed = -(-size // able.max_parts)
    return min(max(wanted, needed, able.min_part_size, 1), able.max_part_size)
