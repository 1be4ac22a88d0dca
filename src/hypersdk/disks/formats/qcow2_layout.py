"""QCOW2 as bytes: the tables of QEMU's `docs/interop/qcow2.rst`, to be held against it line by line.

All numbers are big-endian.
"""

from __future__ import annotations

import struct

MAGIC = b"QFI\xfb"

HEADER = struct.Struct(">4sIQIIQIIQQIIQ")
"""0 magic, 4 version, 8 backing_file_offset, 16 backing_file_size, 20 cluster_bits, 24 size, 32 crypt_method,
36 l1_size, 40 l1_table_offset, 48 refcount_table_offset, 56 refcount_table_clusters, 60 nb_snapshots,
64 snapshots_offset."""

HEADER_V3 = struct.Struct(">QQQII")
"""72 incompatible_features, 80 compatible_features, 88 autoclear_features, 96 refcount_order, 100 header_length."""

COMPRESSION_TYPE_AT = 104
"""One byte, present when header_length > 104: 0 deflate, 1 zstd."""

EXTENSION = struct.Struct(">II")
"""Header extension: type, length; the data is padded to 8 bytes."""

EXTENSION_END = 0x00000000
EXTENSION_DATA_FILE = 0x44415441
EXTENSION_ENCRYPTION = 0x0537BE77
EXTENSION_BITMAPS = 0x23852875

FEATURE_DIRTY = 1 << 0
FEATURE_CORRUPT = 1 << 1
FEATURE_DATA_FILE = 1 << 2
FEATURE_COMPRESSION_TYPE = 1 << 3
FEATURE_EXTENDED_L2 = 1 << 4

OFFSET_MASK = 0x00FF_FFFF_FFFF_FE00
"""Bits 9..55: host offset in L1, L2 (standard cluster) and, for the latter two, the reserved rest is 0."""

COPIED = 1 << 63
COMPRESSED = 1 << 62
READS_AS_ZEROS = 1 << 0

MIN_CLUSTER_BITS, MAX_CLUSTER_BITS = 9, 21
MAX_REFCOUNT_ORDER = 6
MAX_L1_BYTES = 32 * 1024**2
"""QEMU's own limit (`block/qcow2.h`, QCOW_MAX_L1_SIZE)."""
MAX_REFCOUNT_TABLE_BYTES = 8 * 1024**2
"""QEMU's own limit (`block/qcow2.h`, QCOW_MAX_REFTABLE_SIZE)."""
