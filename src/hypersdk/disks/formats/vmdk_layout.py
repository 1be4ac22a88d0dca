"""VMDK as bytes and text: sparse extent header, markers, embedded descriptor.

From VMware's "Virtual Disk Format 5.0", sections "Hosted Sparse Extents" and "Stream-Optimized Compressed Sparse
Extents". All numbers are little-endian, all offsets are in sectors of 512 bytes.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

MAGIC = b"KDMV"

HEADER = struct.Struct("<4sIIQQQQIQQQB4sH")
"""0 magic, 4 version, 8 flags, 12 capacity, 20 grain size, 28 descriptor offset, 36 descriptor size, 44 entries per
table, 48 redundant directory, 56 directory, 64 overhead, 72 unclean shutdown, 73 line-end test, 77 compression."""

LINE_ENDS = b"\n \r\n"
"""A transfer in text mode breaks these bytes, and with them everything else."""

FLAG_REDUNDANT = 1 << 1
FLAG_COMPRESSED = 1 << 16
FLAG_MARKERS = 1 << 17
KNOWN_FLAGS = 0b111 | FLAG_COMPRESSED | FLAG_MARKERS
"""Bit 0 line-end test is valid, bit 1 redundant directory, bit 2 zeroed-grain entries."""

DEFLATE = 1
DIRECTORY_AT_END = (1 << 64) - 1
"""The directory's offset stands in a footer: what a host writes that streams the disk."""

ENTRIES_PER_TABLE = 512
TABLE_SECTORS = ENTRIES_PER_TABLE * 4 // 512
ZEROED_GRAIN = 1
MIN_GRAIN, MAX_GRAIN = 8, 2048
"""Sectors; every known writer uses 128."""

MARKER = struct.Struct("<QII")
"""Value, size, type: size > 0 = a grain, value is its first guest sector; size 0 = metadata of `value` sectors."""
GRAIN_DATA_AT = 12
MARKER_END, MARKER_TABLE, MARKER_DIRECTORY, MARKER_FOOTER = 0, 1, 2, 3

MAX_DESCRIPTOR = 64 * 1024
"""Bytes; real ones have some 500, and 20 sectors are reserved for it by every known writer."""

_SETTING = re.compile(r'\s*([A-Za-z_][\w.]*)\s*=\s*"?([^"]*)"?\s*\Z')
_EXTENT = re.compile(r'\s*(RW|RDONLY|NOACCESS)\s+(\d{1,19})\s+([A-Z]+)(?:\s+"[^"]*")?(?:\s+\d+)?\s*\Z', re.ASCII)


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What the embedded text says; `extents` are (access, sectors, type)."""

    settings: dict[str, str]
    extents: tuple[tuple[str, int, str], ...]

    @classmethod
    def parse(cls, data: bytes) -> Descriptor:
        """Read the descriptor; it ends at the first zero byte. Keys are lower case; unknown lines are left out."""
        settings, extents = {}, []
        for line in data.split(b"\0", 1)[0].decode("utf-8", "replace").splitlines():
            if match := _EXTENT.match(line):
                extents.append((match[1], int(match[2]), match[3]))
            elif match := _SETTING.match(line):
                settings[match[1].lower()] = match[2]
        return cls(settings, tuple(extents))
