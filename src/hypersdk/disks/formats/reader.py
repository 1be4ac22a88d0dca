"""The window through which parsers see a file, and what they say about it. No parser opens, seeks or guesses.

Rules of this package: every image is hostile; a field is checked before it is used as an offset, a count or a shift; a
read never exceeds `MAX_READ`; whatever is wrong is one `VerificationError` of one line.
"""

from __future__ import annotations

import array
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from hypersdk import errors

MAX_READ = 4 * 1024**2
"""Longest single read in bytes: bounds the memory of a parser whatever the header claims."""

MAX_UNITS = 128 * 1024**2
"""Most clusters, grains or blocks that a file may hold: one byte each is kept while it is checked."""

SHOWN_FAULTS = 5
"""A damaged table can hold millions of faults; an error message names so many."""

SECTOR = 512

Tick = Callable[[], None]
"""Called often during long walks, so that Ctrl-C and heartbeats get through."""


@dataclass(frozen=True, slots=True)
class Reader:
    """A file as a parser sees it.

    Args:
        name: the file for people.
        size: its length in bytes.
        read_at: (offset, length) -> bytes; may return fewer at the end of the file.
        tick: called once per read.
    """

    name: str
    size: int
    read_at: Callable[[int, int], bytes]
    tick: Tick = lambda: None

    def damaged(self, why: str) -> errors.VerificationError:
        """The error for this file; `why` is one sentence without a full stop."""
        shown = self.name if self.name.isprintable() else ascii(self.name)
        return errors.VerificationError(f"{shown}: {why}", resource=self.name)

    def exactly(self, offset: int, length: int, what: str) -> bytes:
        """Bytes that must be there.

        Args:
            offset: in the file.
            length: bytes, at most `MAX_READ`.
            what: what they are, for the error.

        Raises:
            VerificationError: they are not inside the file.
        """
        assert length <= MAX_READ, length
        self.tick()
        if offset < 0 or offset + length > self.size:
            raise self.damaged(f"{what} at offset {offset:#x} ends beyond the file's {self.size} bytes")
        data = self.read_at(offset, length)
        if len(data) != length:
            raise self.damaged(f"{what} at offset {offset:#x} cannot be read: the file became shorter")
        return data

    def window(self, offset: int, size: int, name: str) -> Reader:
        """A part of the file as a file of its own, such as a member of an archive; it must be inside."""
        assert offset + size <= self.size, (offset, size)

        def read_at(at: int, length: int) -> bytes:
            return self.read_at(offset + at, min(length, size - at))

        return Reader(f"{self.name}: {name}", size, read_at, self.tick)

    def head(self, length: int) -> bytes:
        """Up to `length` bytes from the start."""
        return self.read_at(0, min(length, self.size))

    def tail(self, length: int) -> bytes:
        """The last bytes, up to `length`."""
        length = min(length, self.size)
        return self.read_at(self.size - length, length)

    def numbers(self, offset: int, count: int, width: int, order: str, what: str) -> Iterator[Sequence[int]]:
        """A table of unsigned integers, in pieces that fit into memory.

        Args:
            offset: where the table begins in the file.
            count: how many entries.
            width: 4 or 8 bytes each.
            order: "big" or "little".
            what: the table's name, for errors.

        Raises:
            VerificationError: the table is not inside the file.
        """
        if offset + count * width > self.size:
            raise self.damaged(f"{what} at offset {offset:#x} with {count} entries ends beyond the file")
        step = MAX_READ // width
        for first in range(0, count, step):
            piece = array.array("Q" if width == 8 else "I")  # noqa: PLR2004 - the two widths that formats have
            piece.frombytes(self.exactly(offset + first * width, min(step, count - first) * width, what))
            if order != sys.byteorder:
                piece.byteswap()
            yield piece


@dataclass(frozen=True, slots=True)
class Extent:
    """Allocated bytes of the guest, as they lie in the file.

    Attributes:
        guest_offset: where the guest sees them.
        offset: where they begin in the file.
        length: bytes in the file.
        inflate: turns the file's bytes into the guest's; None = they are the same.
    """

    guest_offset: int
    offset: int
    length: int
    inflate: Callable[[bytes], bytes] | None = None


@dataclass(frozen=True, slots=True)
class Inner:
    """A disk that lies inside another file: its own format, and where its bytes are."""

    format: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Structure:
    """What a parser found in a file whose structure is sound.

    Attributes:
        format: qcow2, vmdk, vhd, vdi, oci or raw.
        virtual_size: bytes that the guest sees.
        checked: sentences, one per rule that held.
        extents: walks the allocated parts, in the guest's order.
        inner: the disk in it, when the file itself is an archive.
    """

    format: str
    virtual_size: int
    checked: tuple[str, ...]
    extents: Callable[[], Iterator[Extent]]
    inner: Inner | None = None


@dataclass(slots=True)
class Faults:
    """Collects what is wrong with a file, so that one error names several places."""

    shown: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, sentence: str) -> None:
        """Note one fault."""
        self.count += 1
        if len(self.shown) < SHOWN_FAULTS:
            self.shown.append(sentence)

    def check(self, reader: Reader) -> None:
        """Raise if there was any.

        Raises:
            VerificationError: names the first faults and how many more there are.
        """
        if self.count:
            more = f"; and {self.count - len(self.shown)} more" if self.count > len(self.shown) else ""
            raise reader.damaged("; ".join(self.shown) + more)


class Claims:
    """Who uses which unit (cluster, grain, block) of a file; every unit belongs to at most one user.

    Args:
        reader: the file.
        unit: bytes per unit.
        faults: where a unit that is claimed twice, unaligned or outside is reported.
    """

    def __init__(self, reader: Reader, unit: int, faults: Faults) -> None:
        self.unit = unit
        self.faults = faults
        self.size = reader.size
        count = -(-reader.size // unit)
        if count > MAX_UNITS:
            raise reader.damaged(f"units of {unit} bytes are too small for a file of {reader.size} bytes")
        self._users = bytearray(count)
        self._names = ["nothing"]
        self.highest = 0
        """Number of the first unit behind all claimed ones."""

    def user(self, name: str) -> int:
        """Register a kind of user ("L2 table") and get its number for `claim`."""
        self._names.append(name)
        return len(self._names) - 1

    def claim(self, offset: int, user: int, *, at: str = "", needed: int = 0, shared: bool = False) -> bool:
        """Give the unit that begins at `offset` to `user`.

        Args:
            offset: in the file.
            user: number from `user`.
            at: which entry says so, for the fault.
            needed: bytes of the unit that must be inside the file; 0 = all.
            shared: several claims of the same user may share the unit, and `offset` need not be aligned.

        Returns:
            Whether the unit was free (or shared) and inside, so that it can be read.
        """
        unit = self.unit
        index, rest = divmod(offset, unit)
        if rest and not shared:
            self.faults.add(f"{self._names[user]}{at} at offset {offset:#x} is not aligned to {unit} bytes")
            return False
        if offset + (needed or unit) > self.size:
            self.faults.add(f"{self._names[user]}{at} at offset {offset:#x} ends beyond the file's {self.size} bytes")
            return False
        present = self._users[index]
        if present and not (shared and present == user):
            self.faults.add(
                f"{self._names[user]}{at} at offset {offset:#x} overlaps the {self._names[present]} at that place"
            )
            return False
        self._users[index] = user
        self.highest = max(self.highest, index + 1)
        return True

    def claim_all(self, offset: int, length: int, user: int) -> bool:
        """Give the units of `length` bytes from `offset` to `user`; whether all were free, and the bytes inside."""
        if offset + length > self.size:
            self.faults.add(f"{self._names[user]} at offset {offset:#x} ends beyond the file's {self.size} bytes")
            return False
        end = offset + length
        taken = [self.claim(place, user, needed=min(self.unit, end - place)) for place in range(offset, end, self.unit)]
        return all(taken)
