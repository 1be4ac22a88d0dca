"""QCOW2: header rules, then a walk over L1, L2 and refcount tables (QEMU `docs/interop/qcow2.rst`).

Rules of this file: no backing file, no external data, no encryption, no internal snapshots, no feature that we do not
know; every table and cluster is aligned, inside the file and used once. `qemu-img check` sees less: it finds neither a
file cut by less than a cluster nor trailing bytes.
"""

from __future__ import annotations

import itertools
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

from hypersdk.disks.formats import qcow2_layout as layout
from hypersdk.disks.formats.reader import MAX_READ, SECTOR, Claims, Extent, Faults, Reader, Structure
from hypersdk.model import format_size

_FEATURE_NAMES = {
    layout.FEATURE_DIRTY: "was not closed cleanly (dirty)",
    layout.FEATURE_CORRUPT: "is marked corrupt",
    layout.FEATURE_DATA_FILE: "keeps its data in another file",
    layout.FEATURE_EXTENDED_L2: "has extended L2 entries",
}


@dataclass(frozen=True, slots=True)
class Header:
    """A header whose rules hold. Sizes and offsets in bytes."""

    version: int
    cluster_bits: int
    virtual_size: int
    l1_count: int
    l1_offset: int
    refcount_offset: int
    refcount_clusters: int
    zstd: bool
    bitmaps: bool

    @property
    def cluster(self) -> int:
        """Bytes per cluster."""
        return 1 << self.cluster_bits

    @property
    def per_table(self) -> int:
        """Entries of one L2 table."""
        return self.cluster // 8


def parse(reader: Reader) -> Structure:
    """Check a whole QCOW2 file.

    Raises:
        VerificationError: a rule does not hold.
    """
    header = read_header(reader)
    faults = Faults()
    walk = _Walk(reader, header, faults)
    walk.run()
    faults.check(reader)
    walk.check_end()
    head_said = (
        f"QCOW2 version {header.version}, {format_size(header.cluster)} clusters:"
        " no backing file, external data, encryption or snapshots"
    )
    tables_said = f"{walk.data_clusters} clusters: aligned, inside the file, used once"
    return Structure("qcow2", header.virtual_size, (head_said, tables_said), lambda: _extents(reader, header))


def read_header(reader: Reader) -> Header:
    """Read and judge the header alone.

    Raises:
        VerificationError: not a QCOW2 file, or one that we refuse.
    """
    raw = reader.exactly(0, layout.HEADER.size, "QCOW2 header")
    (magic, version, backing, _, bits, size, crypt, l1_count, l1_at, table_at, table_clusters, snapshots, _) = (
        layout.HEADER.unpack(raw)
    )
    if magic != layout.MAGIC or version not in (2, 3):
        raise reader.damaged(f"not a QCOW2 header of version 2 or 3 (version {version})")
    if not layout.MIN_CLUSTER_BITS <= bits <= layout.MAX_CLUSTER_BITS:
        raise reader.damaged(f"QCOW2 cluster_bits {bits} is not in 9..21")
    for bad, why in (
        (backing != 0, "has a backing file"),
        (crypt != 0, "is encrypted"),
        (snapshots != 0, f"has {snapshots} internal snapshots"),
    ):
        if bad:
            raise reader.damaged(f"QCOW2 that {why}: refused")
    length, zstd = _read_version_3(reader, bits) if version > 2 else (layout.HEADER.size, False)  # noqa: PLR2004
    bitmaps = _read_extensions(reader, length, 1 << bits)
    header = Header(version, bits, size, l1_count, l1_at, table_at, table_clusters, zstd, bitmaps)
    _check_table_sizes(reader, header)
    return header


def _read_version_3(reader: Reader, bits: int) -> tuple[int, bool]:
    raw = reader.exactly(layout.HEADER.size, layout.HEADER_V3.size, "QCOW2 version 3 header")
    incompatible, _, _, refcount_order, length = layout.HEADER_V3.unpack(raw)
    for bit, why in _FEATURE_NAMES.items():
        if incompatible & bit:
            raise reader.damaged(f"QCOW2 that {why}: refused")
    if incompatible & ~layout.FEATURE_COMPRESSION_TYPE:
        raise reader.damaged(f"QCOW2 with unknown incompatible features {incompatible:#x}: refused")
    if refcount_order > layout.MAX_REFCOUNT_ORDER:
        raise reader.damaged(f"QCOW2 refcount_order {refcount_order} is greater than 6")
    smallest = layout.HEADER.size + layout.HEADER_V3.size
    if length < smallest or length % 8 or length > 1 << bits:
        raise reader.damaged(f"QCOW2 header_length {length} is impossible")
    kind = reader.exactly(layout.COMPRESSION_TYPE_AT, 1, "QCOW2 compression type")[0] if length > smallest else 0
    if kind > 1 or (kind == 1) != bool(incompatible & layout.FEATURE_COMPRESSION_TYPE):
        raise reader.damaged(f"QCOW2 compression type {kind} is unknown or contradicts the feature bits")
    return length, kind == 1


def _read_extensions(reader: Reader, start: int, cluster: int) -> bool:
    """Walk the header extensions; True if there are persistent bitmaps."""
    area = reader.head(min(cluster, MAX_READ))
    bitmaps = False
    while start + layout.EXTENSION.size <= len(area):
        kind, length = layout.EXTENSION.unpack_from(area, start)
        start += layout.EXTENSION.size + -(-length // 8) * 8
        if kind == layout.EXTENSION_END:
            break
        if kind == layout.EXTENSION_DATA_FILE:
            raise reader.damaged("QCOW2 that keeps its data in another file: refused")
        if kind == layout.EXTENSION_ENCRYPTION:
            raise reader.damaged("QCOW2 that is encrypted: refused")
        if start > cluster:
            raise reader.damaged(f"QCOW2 header extension {kind:#x} with length {length} leaves the first cluster")
        bitmaps = bitmaps or kind == layout.EXTENSION_BITMAPS
    return bitmaps


def _check_table_sizes(reader: Reader, header: Header) -> None:
    needed = -(-header.virtual_size // (header.cluster * header.per_table))
    if header.l1_count != needed:
        raise reader.damaged(
            f"QCOW2 L1 table has {header.l1_count} entries, a disk of {header.virtual_size} bytes needs {needed}"
        )
    if header.l1_count * 8 > layout.MAX_L1_BYTES:
        raise reader.damaged(f"QCOW2 L1 table of {header.l1_count} entries is larger than 32 MiB")
    if not 0 < header.refcount_clusters * header.cluster <= max(layout.MAX_REFCOUNT_TABLE_BYTES, header.cluster):
        raise reader.damaged(f"QCOW2 refcount table of {header.refcount_clusters} clusters is impossible")


def _compressed_place(header: Header, entry: int) -> tuple[int, int]:
    """Offset and length in the file of a compressed cluster: the length counts whole sectors."""
    shift = 62 - (header.cluster_bits - 8)
    offset = entry & ((1 << shift) - 1)
    sectors = (entry >> shift & ((1 << header.cluster_bits - 8) - 1)) + 1
    return offset, sectors * SECTOR - offset % SECTOR


def _inflate(header: Header, data: bytes) -> bytes:
    # Raw deflate with a 4 KiB window; never more output than one cluster, whatever the stream holds.
    return zlib.decompressobj(-12).decompress(data, header.cluster)


class _Walk:
    """One pass over all tables: claims every cluster for exactly one user."""

    def __init__(self, reader: Reader, header: Header, faults: Faults) -> None:
        self.reader, self.header, self.faults = reader, header, faults
        self.claims = Claims(reader, header.cluster, faults)
        self.data_clusters = 0
        self._compressed = array("Q")
        self._last_compressed = 0, 0
        self._l2 = self.claims.user("L2 table")
        self._data = self.claims.user("data cluster")
        self._packed = self.claims.user("compressed data")

    def run(self) -> None:
        """Claim header, refcounts, L1, and all that L1 leads to."""
        header, claims = self.header, self.claims
        claims.claim(0, claims.user("header"), needed=min(header.cluster, self.reader.size))
        self._walk_refcounts()
        claims.claim_all(header.l1_offset, header.l1_count * 8, claims.user("L1 table"))
        if self.faults.count:
            return
        for number, entry in _entries(self.reader, header.l1_offset, header.l1_count, "L1 table"):
            if entry & ~(layout.OFFSET_MASK | layout.COPIED):
                self.faults.add(f"L1 entry {number} has reserved bits set ({entry:#x})")
            elif (offset := entry & layout.OFFSET_MASK) and claims.claim(offset, self._l2, at=f" of L1 entry {number}"):
                self._walk_l2(number, offset)
        self._check_compressed()

    def _walk_refcounts(self) -> None:
        header, claims = self.header, self.claims
        table, block = claims.user("refcount table"), claims.user("refcount block")
        if not claims.claim_all(header.refcount_offset, header.refcount_clusters * header.cluster, table):
            return
        count = header.refcount_clusters * header.per_table
        for number, entry in _entries(self.reader, header.refcount_offset, count, "refcount table"):
            if entry:
                claims.claim(entry, block, at=f" {number}")

    def _walk_l2(self, table: int, offset: int) -> None:
        header, claims, data = self.header, self.claims, self._data
        reserved = ~(layout.OFFSET_MASK | layout.COPIED | (layout.READS_AS_ZEROS if header.version > 2 else 0))  # noqa: PLR2004
        base = table * header.per_table
        # Only the last cluster of the guest may be cut short: the guest cannot see the rest of it.
        whole = header.virtual_size // header.cluster
        for number, entry in _entries(self.reader, offset, header.per_table, "L2 table"):
            if not entry:
                continue
            guest = (base + number) * header.cluster
            if entry & layout.COMPRESSED:
                self._claim_compressed(guest, entry)
            elif entry & reserved:
                self.faults.add(f"L2 entry of guest offset {guest:#x} has reserved bits set ({entry:#x})")
            elif place := entry & layout.OFFSET_MASK:
                needed = header.virtual_size % header.cluster if base + number == whole else 0
                self.data_clusters += 1
                claims.claim(place, data, at=f" of guest offset {guest:#x}", needed=needed)

    def _claim_compressed(self, guest: int, entry: int) -> None:
        offset, length = _compressed_place(self.header, entry)
        self.data_clusters += 1
        # The length is rounded up to sectors, so the last one may name a few bytes that were never written.
        length = min(length, max(self.reader.size - offset, 1))
        at = f" of guest offset {guest:#x}"
        step = self.header.cluster
        for place in (offset, *range((offset // step + 1) * step, offset + length, step)):
            if not self.claims.claim(place, self._packed, at=at, needed=1, shared=True):
                return
        self._compressed.append(offset)
        self._last_compressed = max(self._last_compressed, (offset, length))

    def _check_compressed(self) -> None:
        places = sorted(self._compressed)
        for before, after in itertools.pairwise(places):
            if before == after:
                self.faults.add(f"compressed data at offset {after:#x} is used by more than one guest cluster")
        if places and not self.header.zstd and not self.faults.count:
            self._inflate_last()

    def _inflate_last(self) -> None:
        # A cut inside the last compressed cluster shows in no table.
        offset, length = self._last_compressed
        try:
            whole = len(_inflate(self.header, self.reader.exactly(offset, length, "compressed data")))
        except zlib.error:
            whole = 0
        if whole != self.header.cluster:
            self.faults.add(f"compressed data at offset {offset:#x} does not inflate to one cluster")

    def check_end(self) -> None:
        """The file ends where its last cluster ends; zeros and less than a cluster more are tolerated."""
        reader, end = self.reader, self.claims.highest * self.header.cluster
        if self.header.bitmaps:
            return  # their tables, which no guest can see, lie where they like
        # qemu ends a disk without any data behind the last L1 entry; everything else that it writes is whole sectors.
        if reader.size % SECTOR and reader.size != self.header.l1_offset + self.header.l1_count * 8:
            raise reader.damaged(f"the file's {reader.size} bytes are no whole number of sectors: it was cut")
        if reader.size - end < self.header.cluster:
            return
        for offset in range(end, reader.size, MAX_READ):
            piece = reader.exactly(offset, min(MAX_READ, reader.size - offset), "trailing bytes")
            if piece != bytes(len(piece)):
                raise reader.damaged(f"{reader.size - end} bytes after the last used cluster belong to nothing")


def _entries(reader: Reader, offset: int, count: int, what: str) -> Iterator[tuple[int, int]]:
    number = 0
    for piece in reader.numbers(offset, count, 8, "big", what):
        yield from enumerate(piece, number)
        number += len(piece)


def _extents(reader: Reader, header: Header) -> Iterator[Extent]:
    for table, l1_entry in _entries(reader, header.l1_offset, header.l1_count, "L1 table"):
        if not l1_entry & layout.OFFSET_MASK:
            continue
        base = table * header.per_table
        for number, entry in _entries(reader, l1_entry & layout.OFFSET_MASK, header.per_table, "L2 table"):
            guest = (base + number) * header.cluster
            if guest >= header.virtual_size:
                return
            if entry & layout.COMPRESSED:
                yield _compressed_extent(reader, header, guest, entry)
            elif entry & layout.OFFSET_MASK and not entry & layout.READS_AS_ZEROS:
                length = min(header.cluster, header.virtual_size - guest)
                yield Extent(guest, entry & layout.OFFSET_MASK, length)


def _compressed_extent(reader: Reader, header: Header, guest: int, entry: int) -> Extent:
    offset, length = _compressed_place(header, entry)
    length = min(length, reader.size - offset)
    # zstd frames are not inflated here: their bytes count as data, because qemu writes no compressed cluster of zeros.
    return Extent(guest, offset, length, None if header.zstd else lambda data: _inflate(header, data))
