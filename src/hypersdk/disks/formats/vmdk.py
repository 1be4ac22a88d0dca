"""VMDK in one file: monolithicSparse and streamOptimized, both with an embedded descriptor (see `vmdk_layout`).

Rules of this file: no text descriptor file, no second extent, no parent; tables and grains inside the file and used
once; in a stream the tables and the markers must name the same grains, which also finds a zeroed table entry.
"""

from __future__ import annotations

import itertools
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

from hypersdk.disks.formats import vmdk_layout as layout
from hypersdk.disks.formats.reader import MAX_READ, SECTOR, Claims, Extent, Faults, Reader, Structure
from hypersdk.model import format_size


@dataclass(frozen=True, slots=True)
class Header:
    """A header whose rules hold. Everything in sectors."""

    flags: int
    capacity: int
    grain: int
    descriptor_at: int
    descriptor_size: int
    redundant_at: int
    directory_at: int
    overhead: int

    @property
    def compressed(self) -> bool:
        """Whether this is a streamOptimized file."""
        return bool(self.flags & layout.FLAG_COMPRESSED)

    @property
    def grains(self) -> int:
        """How many grains the guest's disk has."""
        return -(-self.capacity // self.grain)

    @property
    def tables(self) -> int:
        """Entries of the grain directory."""
        return -(-self.grains // layout.ENTRIES_PER_TABLE)


def parse(reader: Reader) -> Structure:
    """Check a whole VMDK file.

    Raises:
        VerificationError: a rule does not hold.
    """
    header = _read_header(reader, 0)
    _check_descriptor(reader, header)
    if header.directory_at == layout.DIRECTORY_AT_END:
        header = _read_footer(reader, header)
    faults = Faults()
    count = (_check_stream if header.compressed else _check_sparse)(reader, header, faults)
    faults.check(reader)
    kind = "streamOptimized" if header.compressed else "monolithicSparse"
    return Structure(
        "vmdk",
        header.capacity * SECTOR,
        (
            f"VMDK {kind}, {format_size(header.grain * SECTOR)} grains: one extent, no parent",
            f"{count} grains: inside the file, used once",
        ),
        lambda: _extents(reader, header),
    )


def _read_header(reader: Reader, offset: int) -> Header:
    raw = reader.exactly(offset, layout.HEADER.size, "VMDK header")
    (
        magic,
        version,
        flags,
        capacity,
        grain,
        text_at,
        text_size,
        per_table,
        redundant,
        directory,
        overhead,
        _,
        ends,
        zip_,
    ) = layout.HEADER.unpack(raw)
    both = layout.FLAG_COMPRESSED | layout.FLAG_MARKERS
    for wrong, why in (
        (magic != layout.MAGIC or not 1 <= version <= 3, f"not a VMDK header of version 1..3 (version {version})"),  # noqa: PLR2004
        (ends != layout.LINE_ENDS, "the VMDK was changed by a transfer in text mode"),
        (flags & ~layout.KNOWN_FLAGS, f"VMDK with unknown flags {flags:#x}: refused"),
        (flags & both not in (0, both), f"VMDK flags {flags:#x} contradict each other"),
        (zip_ != (layout.DEFLATE if flags & layout.FLAG_COMPRESSED else 0), f"VMDK compression {zip_} is unknown"),
        (not layout.MIN_GRAIN <= grain <= layout.MAX_GRAIN or grain & (grain - 1), f"VMDK grain size {grain} sectors"),
        (per_table != layout.ENTRIES_PER_TABLE, f"VMDK with {per_table} entries per grain table, not 512"),
        (not 0 < capacity < 1 << 54, f"VMDK capacity {capacity} sectors is impossible"),
        (text_at == 0, "VMDK without an embedded descriptor: refused"),
        (text_size * SECTOR > layout.MAX_DESCRIPTOR, f"VMDK descriptor of {text_size} sectors"),
    ):
        if wrong:
            raise reader.damaged(why)
    return Header(flags, capacity, grain, text_at, text_size, redundant, directory, overhead)


def _read_footer(reader: Reader, header: Header) -> Header:
    """The header's copy near the end, which knows where the directory is."""
    if not header.compressed or reader.size < 4 * SECTOR:
        raise reader.damaged("VMDK without a grain directory")
    marker = layout.MARKER.unpack(reader.exactly(reader.size - 3 * SECTOR, layout.MARKER.size, "VMDK footer marker"))
    if marker != (1, 0, layout.MARKER_FOOTER):
        raise reader.damaged("the VMDK has no footer at its end: it was cut")
    footer = _read_header(reader, reader.size - 2 * SECTOR)
    if (footer.capacity, footer.grain, footer.flags) != (header.capacity, header.grain, header.flags):
        raise reader.damaged("header and footer of the VMDK differ")
    if footer.directory_at == layout.DIRECTORY_AT_END:
        raise reader.damaged("the VMDK footer does not name the grain directory")
    return footer


def _check_descriptor(reader: Reader, header: Header) -> None:
    raw = reader.exactly(header.descriptor_at * SECTOR, header.descriptor_size * SECTOR, "VMDK descriptor")
    descriptor = layout.Descriptor.parse(raw)
    kind = descriptor.settings.get("createtype", "")
    expected = "streamOptimized" if header.compressed else "monolithicSparse"
    for wrong, why in (
        (kind != expected, f"VMDK of type {kind!r}, not {expected}: refused"),
        (descriptor.settings.get("parentcid", "").lower() != "ffffffff", "a VMDK that needs a parent file: refused"),
        ("parentfilenamehint" in descriptor.settings, "a VMDK that needs a parent file: refused"),
        (len(descriptor.extents) != 1, f"VMDK descriptor with {len(descriptor.extents)} extents, not one: refused"),
    ):
        if wrong:
            raise reader.damaged(why)
    access, sectors, extent_type = descriptor.extents[0]
    if access == "NOACCESS" or extent_type != "SPARSE" or sectors != header.capacity:
        raise reader.damaged(f"VMDK descriptor's extent ({access} {sectors} {extent_type}) contradicts the header")


def _tables(reader: Reader, header: Header, directory_at: int) -> Iterator[tuple[int, int]]:
    """Number and sector of every grain table that exists."""
    number = 0
    for piece in reader.numbers(directory_at * SECTOR, header.tables, 4, "little", "VMDK grain directory"):
        for index, sector in enumerate(piece, number):
            if sector:
                yield index, sector
        number += len(piece)


def _grains(reader: Reader, header: Header, directory_at: int) -> Iterator[tuple[int, int]]:
    """Number and sector of every grain that exists, in the guest's order."""
    for number, table in _tables(reader, header, directory_at):
        base = number * layout.ENTRIES_PER_TABLE
        for piece in reader.numbers(table * SECTOR, layout.ENTRIES_PER_TABLE, 4, "little", "VMDK grain table"):
            for index, sector in enumerate(piece, base):
                if sector > layout.ZEROED_GRAIN:
                    yield index, sector


def _check_sparse(reader: Reader, header: Header, faults: Faults) -> int:
    claims = Claims(reader, header.grain * SECTOR, faults)
    grain = claims.user("VMDK grain")
    _check_tables_apart(reader, header, faults)
    count = 0
    if faults.count:
        return 0
    for number, sector in _grains(reader, header, header.directory_at):
        count += 1
        at = f" {number}"
        if number >= header.grains:
            faults.add(f"VMDK grain {number} lies beyond the disk's end")
        elif sector < header.overhead:
            faults.add(f"VMDK grain {number} at offset {sector * SECTOR:#x} lies in the tables")
        else:
            # The last grain of the guest may be cut short: the guest cannot see the rest of it.
            short = header.capacity % header.grain * SECTOR if number == header.grains - 1 else 0
            claims.claim(sector * SECTOR, grain, at=at, needed=short)
    if header.flags & layout.FLAG_REDUNDANT:
        _check_redundant(reader, header, faults)
    return count


def _check_tables_apart(reader: Reader, header: Header, faults: Faults) -> None:
    """No grain table lies over another one; those of a sparse file lie in front of the grains."""
    last = 0
    for sector in sorted(array("I", (table for _, table in _tables(reader, header, header.directory_at)))):
        if last and sector < last + layout.TABLE_SECTORS:
            faults.add(f"VMDK grain table at offset {sector * SECTOR:#x} overlaps another one")
        elif (sector + layout.TABLE_SECTORS) * SECTOR > reader.size:
            faults.add(f"VMDK grain table at offset {sector * SECTOR:#x} ends beyond the file")
        last = sector


def _check_redundant(reader: Reader, header: Header, faults: Faults) -> None:
    first, second = (_tables(reader, header, at) for at in (header.directory_at, header.redundant_at))
    size = layout.ENTRIES_PER_TABLE * 4
    for (number, table), (copy_number, copy) in itertools.zip_longest(first, second, fillvalue=(-1, 0)):
        if number != copy_number:
            faults.add(f"VMDK grain directory and its redundant copy differ at table {max(number, copy_number)}")
            return
        one = reader.exactly(table * SECTOR, size, "VMDK grain table")
        if one != reader.exactly(copy * SECTOR, size, "VMDK redundant grain table"):
            faults.add(f"VMDK grain table {number} and its redundant copy differ")


def _check_stream(reader: Reader, header: Header, faults: Faults) -> int:
    """Walk the markers from the first grain on; they must be exactly the grains that the tables name."""
    _check_tables_apart(reader, header, faults)
    faults.check(reader)
    # Sector and number in one integer: 8 bytes per grain, sorted by place.
    named = array("Q", (sector << 32 | number for number, sector in _grains(reader, header, header.directory_at)))
    expected = iter(sorted(named))
    position = header.overhead
    while position * SECTOR < reader.size:
        value, size, kind = layout.MARKER.unpack(reader.exactly(position * SECTOR, layout.MARKER.size, "VMDK marker"))
        if size == 0 and kind == layout.MARKER_END:
            break
        if size == 0:
            if kind > layout.MARKER_FOOTER or value * SECTOR > reader.size:
                raise reader.damaged(f"VMDK marker of type {kind} at offset {position * SECTOR:#x} is unknown")
            position += 1 + value
            continue
        number = value // header.grain
        if next(expected, None) != position << 32 | number or value % header.grain or number >= header.grains:
            raise reader.damaged(f"VMDK tables and stream disagree about the grain at offset {position * SECTOR:#x}")
        position += -(-(layout.GRAIN_DATA_AT + size) // SECTOR)
    if (lost := next(expected, None)) is not None:
        raise reader.damaged(f"VMDK tables name a grain at offset {(lost >> 32) * SECTOR:#x} that the stream lacks")
    _check_stream_end(reader, position)
    return len(named)


def _check_stream_end(reader: Reader, position: int) -> None:
    end = position * SECTOR
    if end > reader.size:
        raise reader.damaged(f"the last VMDK grain ends beyond the file's {reader.size} bytes: it was cut")
    rest = reader.exactly(end, min(reader.size - end, MAX_READ), "VMDK end of stream")
    if rest.strip(b"\0") or reader.size - end > MAX_READ:
        raise reader.damaged(f"{reader.size - end} bytes after the VMDK's end of stream belong to nothing")


def _inflate(header: Header, data: bytes) -> bytes:
    size = int.from_bytes(data[8:12], "little")
    return zlib.decompressobj().decompress(
        data[layout.GRAIN_DATA_AT : layout.GRAIN_DATA_AT + size], header.grain * SECTOR
    )


def _extents(reader: Reader, header: Header) -> Iterator[Extent]:
    grain = header.grain * SECTOR
    for number, sector in _grains(reader, header, header.directory_at):
        start = sector * SECTOR
        if header.compressed:
            size = int.from_bytes(reader.exactly(start + 8, 4, "VMDK marker"), "little")
            length = min(layout.GRAIN_DATA_AT + size, reader.size - start, MAX_READ)
            yield Extent(number * grain, start, length, lambda data: _inflate(header, data))
        else:
            guest = number * grain
            yield Extent(guest, start, min(grain, header.capacity * SECTOR - guest))
