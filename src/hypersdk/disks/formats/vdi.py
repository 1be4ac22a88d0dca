"""VDI 1.1 (VirtualBox `VDICore.h`; QEMU `block/vdi.c`): dynamic and fixed, no differencing disks.

All numbers are little-endian. `qemu-img check` and `convert` take a VDI that was cut in half without a word, so the
length rule here is the one that finds a cut.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from hypersdk.disks.formats.reader import SECTOR, Claims, Extent, Faults, Reader, Structure

MAGIC = struct.pack("<I", 0xBEDA107F)
MAGIC_AT = 0x40
HEADER = struct.Struct("<IIIII256sII12xI4xQIIII16s16s16s16s")
"""From 0x40: signature, version, header size, type, flags, comment, offset of the block map, offset of the data,
geometry, sector size, disk size, block size, extra bytes per block, blocks, allocated blocks, ids of image, snapshot,
linked image and parent."""

VERSION = 0x0001_0001
DYNAMIC, FIXED = 1, 2
BLOCK = 1024**2
"""The only block size that VirtualBox and qemu write and qemu reads."""
DISCARDED = 0xFFFF_FFFE
"""This map entry and the one above it (unallocated) read as zeros."""


def parse(reader: Reader) -> Structure:
    """Check a whole VDI file.

    Raises:
        VerificationError: a rule does not hold.
    """
    raw = reader.exactly(MAGIC_AT, HEADER.size, "VDI header")
    (magic, version, _, kind, _, _, map_at, data_at, sector, size, block, extra, count, used, _, _, link, parent) = (
        HEADER.unpack(raw)
    )
    if raw[:4] != MAGIC or version != VERSION:
        raise reader.damaged(f"not a VDI header of version 1.1 (signature {magic:#x}, version {version:#x})")
    for wrong, why in (
        (kind not in (DYNAMIC, FIXED), f"a VDI of type {kind}: refused"),
        (link != bytes(16) or parent != bytes(16), "a VDI that needs a parent file: refused"),
        (block != BLOCK or extra, f"VDI block size {block} with {extra} extra bytes, not 1 MiB"),
        (sector not in (0, SECTOR), f"VDI sector size {sector}, not 512"),
        (size == 0 or size % SECTOR, f"VDI disk size {size} is no whole number of sectors"),
        (count != -(-size // BLOCK), f"VDI block map has {count} entries, {-(-size // BLOCK)} are needed"),
        (used > count, f"VDI claims {used} allocated blocks of {count}"),
        (data_at < map_at + count * 4 or map_at < MAGIC_AT + HEADER.size, "VDI block map and data overlap"),
        (reader.size != data_at + used * BLOCK, f"{reader.size} bytes long, its header needs {data_at + used * BLOCK}"),
    ):
        if wrong:
            raise reader.damaged(why)
    _check_map(reader, map_at, count, used)
    return Structure(
        "vdi",
        size,
        ("VDI 1.1: exact length, no parent", f"{used} blocks: inside the file, used once"),
        lambda: _extents(reader, map_at, data_at, count, size),
    )


def _check_map(reader: Reader, map_at: int, count: int, used: int) -> None:
    faults = Faults()
    blocks = Claims(Reader(reader.name, used, reader.read_at), 1, faults)
    block = blocks.user("VDI block")
    found = 0
    for number, place in _entries(reader, map_at, count):
        found += 1
        blocks.claim(place, block, at=f" {number} (place {place} of {used})")
    faults.check(reader)
    if found != used:
        raise reader.damaged(f"VDI block map names {found} blocks, its header {used}")


def _entries(reader: Reader, map_at: int, count: int) -> Iterator[tuple[int, int]]:
    number = 0
    for piece in reader.numbers(map_at, count, 4, "little", "VDI block map"):
        for index, place in enumerate(piece, number):
            if place < DISCARDED:
                yield index, place
        number += len(piece)


def _extents(reader: Reader, map_at: int, data_at: int, count: int, size: int) -> Iterator[Extent]:
    for number, place in _entries(reader, map_at, count):
        yield Extent(number * BLOCK, data_at + place * BLOCK, min(BLOCK, size - number * BLOCK))
