"""VHD (Microsoft "Virtual Hard Disk Image Format Specification" 1.0): fixed and dynamic, no differencing disks.

All numbers are big-endian. The disk's size is the footer's current size, never its CHS geometry: qemu trusts the
geometry for some creators and then drops the tail.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

from hypersdk.disks.formats.reader import SECTOR, Extent, Faults, Reader, Structure

FOOTER_COOKIE = b"conectix"
FOOTER = struct.Struct(">8sIIQI4sI4sQQII")
"""0 cookie, 8 features, 12 version, 16 data offset, 24 time, 28 creator, 32 creator version, 36 host, 40 original size,
48 current size, 56 geometry, 60 type; 64 checksum."""
CHECKSUM_AT = 64

HEADER_COOKIE = b"cxsparse"
HEADER = struct.Struct(">8sQQIIII16s")
"""0 cookie, 8 data offset, 16 table offset, 24 version, 28 table entries, 32 block size, 36 checksum, 40 parent id."""
HEADER_SIZE = 1024
HEADER_CHECKSUM_AT = 36

FIXED, DYNAMIC, DIFFERENCING = 2, 3, 4
UNUSED = 0xFFFF_FFFF
MIN_BLOCK, MAX_BLOCK = 4096, 64 * 1024**2
"""Bytes; the format's default is 2 MiB, powers of two around it exist."""


@dataclass(frozen=True, slots=True)
class _Blocks:
    table_at: int
    count: int
    size: int

    @property
    def bitmap(self) -> int:
        """Bytes of the sector bitmap before each block."""
        return -(-self.size // SECTOR // 8 // SECTOR) * SECTOR


def parse(reader: Reader) -> Structure:
    """Check a whole VHD file.

    Raises:
        VerificationError: a rule does not hold.
    """
    if reader.size < 2 * SECTOR or reader.size % SECTOR:
        raise reader.damaged(f"a VHD of {reader.size} bytes is no whole number of sectors: it was cut")
    footer = reader.tail(SECTOR)
    if not footer.startswith(FOOTER_COOKIE):
        raise reader.damaged("the last 512 bytes are no VHD footer: it was cut, or is no VHD")
    _check_sum(reader, footer, CHECKSUM_AT, "footer")
    _, _, _, data_offset, _, _, _, _, _, size, _, kind = FOOTER.unpack_from(footer)
    if size == 0 or size % SECTOR:
        raise reader.damaged(f"VHD current size {size} is no whole number of sectors")
    if kind == FIXED:
        return _parse_fixed(reader, size)
    if kind != DYNAMIC:
        why = "a differencing VHD, which needs a parent file" if kind == DIFFERENCING else f"a VHD of type {kind}"
        raise reader.damaged(f"{why}: refused")
    return _parse_dynamic(reader, footer, data_offset, size)


def _parse_fixed(reader: Reader, size: int) -> Structure:
    if reader.size != size + SECTOR:
        raise reader.damaged(f"a fixed VHD of {size} bytes must be {size + SECTOR} bytes long, not {reader.size}")
    return Structure("vhd", size, ("VHD fixed: right checksum and length",), lambda: iter([Extent(0, 0, size)]))


def _parse_dynamic(reader: Reader, footer: bytes, data_offset: int, size: int) -> Structure:
    if reader.head(SECTOR) != footer:
        raise reader.damaged("the VHD footer and its copy at the start differ")
    blocks = _read_header(reader, data_offset, size)
    used = _check_table(reader, blocks)
    return Structure(
        "vhd",
        size,
        (
            "VHD dynamic: right checksums, no parent",
            f"{used} blocks: inside the file, used once",
        ),
        lambda: _extents(reader, blocks, size),
    )


def _read_header(reader: Reader, offset: int, size: int) -> _Blocks:
    raw = reader.exactly(offset, HEADER_SIZE, "VHD dynamic header")
    cookie, _, table_at, _, count, block, _, parent = HEADER.unpack_from(raw)
    if cookie != HEADER_COOKIE:
        raise reader.damaged(f"no VHD dynamic header at offset {offset:#x}")
    _check_sum(reader, raw, HEADER_CHECKSUM_AT, "dynamic header")
    if parent != bytes(16):
        raise reader.damaged("a VHD that needs a parent file: refused")
    if not MIN_BLOCK <= block <= MAX_BLOCK or block & (block - 1):
        raise reader.damaged(f"VHD block size {block} is no power of two from 4 KiB to 64 MiB")
    needed = -(-size // block)
    if count < needed:
        raise reader.damaged(f"VHD block table has {count} entries, {needed} are needed")
    return _Blocks(table_at, needed, block)


def _check_table(reader: Reader, blocks: _Blocks) -> int:
    faults = Faults()
    starts = array("Q")
    for _, start in _entries(reader, blocks):
        starts.append(start)
    length = blocks.bitmap + blocks.size
    end_of_table = blocks.table_at + blocks.count * 4
    behind = 0
    for start in sorted(starts):
        if start < end_of_table:
            faults.add(f"VHD block at offset {start:#x} lies in the tables")
        elif start < behind:
            faults.add(f"VHD block at offset {start:#x} overlaps the block before it")
        elif start + length > reader.size - SECTOR:
            faults.add(f"VHD block at offset {start:#x} ends beyond the data of {reader.size - SECTOR} bytes")
        behind = start + length
    faults.check(reader)
    return len(starts)


def _entries(reader: Reader, blocks: _Blocks) -> Iterator[tuple[int, int]]:
    """Number and file offset in bytes of every block in use."""
    number = 0
    for piece in reader.numbers(blocks.table_at, blocks.count, 4, "big", "VHD block table"):
        for index, sector in enumerate(piece, number):
            if sector != UNUSED:
                yield index, sector * SECTOR
        number += len(piece)


def _extents(reader: Reader, blocks: _Blocks, size: int) -> Iterator[Extent]:
    for number, start in _entries(reader, blocks):
        guest = number * blocks.size
        yield Extent(guest, start + blocks.bitmap, min(blocks.size, size - guest))


def _check_sum(reader: Reader, data: bytes, at: int, what: str) -> None:
    """The one's complement of the sum of all bytes, the checksum itself counted as zero."""
    stored = int.from_bytes(data[at : at + 4], "big")
    if ~(sum(data) - sum(data[at : at + 4])) & 0xFFFF_FFFF != stored:
        raise reader.damaged(f"the VHD {what} has a wrong checksum")
