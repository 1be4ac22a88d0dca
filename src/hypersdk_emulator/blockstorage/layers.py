"""A volume's bytes: a chain of immutable layers and one writable layer on top.

A layer is a sparse file and the extents of it that count. A clone or a backup freezes the top layer, and whoever goes
on writing gets an empty one above it: instant, at one point in time, and nothing is copied. The first layer of a
seeded or imported disk is that disk's own file, which is only read. Layers are kept while somebody owns them or a
layer stands on them.

Rules that make a kill -9 harmless: bytes are written before the extents that make them count, in one transaction; a
layer's number is never given again; what a transaction makes needless is noted in it, and removed after it or at
the next start.
"""

import os
import secrets
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from hypersdk_emulator.blockstorage.extents import BLOCK, Extent, Extents, covering, resolve
from hypersdk_emulator.database import Database, Row

READER = "reader/"
"""Owners with this prefix are reads under way; a start drops them."""
QCOW2_SIZE_AT = 24
"""Offset of the 64-bit virtual size in a QCOW2 header (QEMU, docs/interop/qcow2.txt)."""

_CHAIN = """
WITH RECURSIVE chain(number, below, depth) AS (
    SELECT id, parent, 0 FROM layers WHERE id = ?
    UNION ALL SELECT layers.id, layers.parent, depth + 1 FROM layers JOIN chain ON layers.id = chain.below)
SELECT layers.* FROM chain JOIN layers ON layers.id = chain.number ORDER BY depth
"""


@dataclass(frozen=True)
class Layer:
    """One layer.

    Args:
        id: its number, never given again.
        parent: the layer below, or None.
        frozen: nothing is written to it any more.
        length: bytes of the disk that ends in this layer.
        file: a disk's own file, only read; None = a file of this folder, named by the number.
        format: raw or qcow2.
    """

    id: int
    parent: int | None
    frozen: bool
    length: int
    file: Path | None
    format: str


@dataclass(frozen=True)
class Source:
    """A range of bytes of a disk and the raw file that holds it at the same place."""

    start: int
    stop: int
    file: Path


class LayerStore:
    """All layers of a cloud. It keeps nothing in memory, so any number of them may stand on one folder.

    Args:
        db: holds the layers, their extents and their owners.
        folder: holds their files; made if absent.
    """

    def __init__(self, db: Database, folder: Path) -> None:
        self._db = db
        self._folder = folder
        folder.mkdir(exist_ok=True)

    # ------------------------------------------------------------ owners

    def base(self, file: Path, disk_format: str, *, ours: bool = False) -> int:
        """The layer that is a disk's own file; the same file is the same layer.

        Args:
            file: a whole disk, never changed again.
            disk_format: raw or qcow2.
            ours: remove the file with the layer.
        """
        known = self._db.one("SELECT id FROM layers WHERE file = ?", str(file))
        if known is not None:
            return int(known["id"])
        length = _virtual_size(file, disk_format)
        layer = self._insert(None, length, frozen=True, file=str(file), disk_format=disk_format, ours=ours)
        self._own_extent(layer, covering(0, length))
        return layer

    def start(self, owner: str, below: int | None, length: int) -> int:
        """An empty writable layer of an owner's own.

        Args:
            owner: OCID of the volume.
            below: the frozen layer that it stands on, or None for an empty disk.
            length: bytes of the disk.
        """
        layer = self._insert(below, length, frozen=False)
        self.hold(owner, layer)
        return layer

    def hold(self, owner: str, layer: int) -> None:
        """Keep a layer for an owner."""
        self._db.execute("INSERT OR IGNORE INTO layer_owners VALUES (?, ?)", owner, layer)

    def held(self, owner: str) -> list[int]:
        """The frozen layers of an owner, oldest first."""
        query = (
            "SELECT layer FROM layer_owners JOIN layers ON layers.id = layer WHERE owner = ? AND frozen ORDER BY layer"
        )
        return [int(row["layer"]) for row in self._db.all(query, owner)]

    def top(self, owner: str) -> Layer:
        """The writable layer of an owner."""
        query = "SELECT layer FROM layer_owners JOIN layers ON layers.id = layer WHERE owner = ? AND NOT frozen"
        row = self._db.one(query, owner)
        assert row is not None, f"{owner} has no writable layer"
        return self.layer(int(row["layer"]))

    def freeze(self, owner: str) -> int:
        """The owner's disk of this instant as a frozen layer; the owner writes on above it.

        Call it in a transaction; several owners frozen in one transaction are frozen in one instant.
        """
        top = self.top(owner)
        written = self._db.one("SELECT 1 FROM layer_extents WHERE layer = ? LIMIT 1", top.id)
        if written is None and top.parent is not None and self.layer(top.parent).length == top.length:
            return top.parent
        self._db.execute("UPDATE layers SET frozen = 1 WHERE id = ?", top.id)
        self._db.execute("DELETE FROM layer_owners WHERE owner = ? AND layer = ?", owner, top.id)
        self.start(owner, top.id, top.length)
        return top.id

    def grow(self, owner: str, length: int) -> None:
        """Make the owner's disk longer; what is new is zero."""
        self._db.execute("UPDATE layers SET length = max(length, ?) WHERE id = ?", length, self.top(owner).id)

    def drop(self, owner: str) -> None:
        """Forget an owner and what only it needed."""
        rows = self._db.all("SELECT layer FROM layer_owners WHERE owner = ? ORDER BY layer DESC", owner)
        self._db.execute("DELETE FROM layer_owners WHERE owner = ?", owner)
        for row in rows:
            self._collect(int(row["layer"]))

    @contextmanager
    def reading(self, layer: int) -> Iterator[None]:
        """Keep a layer while the block runs, whatever becomes of its owners."""
        reader = READER + secrets.token_hex(16)
        self.hold(reader, layer)
        try:
            yield
        finally:
            with self._db.transaction():
                self.drop(reader)
            self.empty_trash()

    # ------------------------------------------------------------ bytes

    def layer(self, number: int) -> Layer:
        """The layer of a number."""
        row = self._db.one("SELECT * FROM layers WHERE id = ?", number)
        assert row is not None, f"there is no layer {number}"
        return _layer(row)

    def raw_file(self, layer: Layer) -> Path:
        """Where the layer's bytes are, each at its place on the disk. A QCOW2's is made by `qcow2s`' caller."""
        return layer.file if layer.file is not None and layer.format == "raw" else self._folder / f"{layer.id}.raw"

    def qcow2s(self, layer: int) -> list[Layer]:
        """The layers of a chain that are QCOW2 files and have no raw file yet."""
        return [each for each in self._chain(layer) if each.format != "raw" and not self.raw_file(each).exists()]

    def scratch(self) -> Path:
        """A fresh path for a file to come; what a kill leaves there is removed at the next start."""
        return self._folder / f"{secrets.token_hex(16)}.incoming"

    def write(self, owner: str, offset: int, data: bytes) -> None:
        """Write bytes to the owner's disk.

        Args:
            owner: OCID of the volume.
            offset: bytes from the start; a disk that ends before the last byte written grows.
            data: the bytes.
        """
        if not data:
            return
        top = self.top(owner)
        start, stop = covering(offset, len(data))
        head = self.read(top.id, start * BLOCK, offset - start * BLOCK)
        tail = self.read(top.id, offset + len(data), stop * BLOCK - offset - len(data))
        descriptor = os.open(self.raw_file(top), os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            _write_all(descriptor, head + data + tail, start * BLOCK)
        finally:
            os.close(descriptor)
        with self._db.transaction():
            self._own_extent(top.id, (start, stop))
            self.grow(owner, offset + len(data))

    def read(self, layer: int, offset: int, length: int) -> bytes:
        """Bytes of the disk that ends in a layer; zeros behind its end."""
        if not length:
            return b""
        found = bytearray(length)
        for source in self.sources(layer, offset, length):
            first, last = max(source.start, offset), min(source.stop, offset + length)
            with source.file.open("rb", buffering=0) as file:
                data = os.pread(file.fileno(), last - first, first)
            found[first - offset : first - offset + len(data)] = data
        return bytes(found)

    def sources(self, layer: int, offset: int, length: int) -> list[Source]:
        """Where the bytes of a range are, in order; what no source covers is zero. Whole blocks: they may reach out."""
        start, stop = covering(offset, length) if length else (0, 0)
        chain = self._chain(layer)
        pieces = resolve((Extents(self._extents(each.id, start, stop)) for each in chain), start, stop)
        return [
            Source(first * BLOCK, last * BLOCK, self.raw_file(chain[place]))
            for first, last, place in pieces
            if place is not None
        ]

    def changed(self, first: int, second: int) -> Extents | None:
        """The blocks written between two frozen layers of one chain; None if the first is not below the second."""
        between = list(takewhile(lambda layer: layer.id != first, self._chain(second)))
        if first not in (second, *(layer.parent for layer in between)):
            return None
        return Extents(extent for layer in between for extent in self.extents(layer.id))

    def extents(self, layer: int) -> Extents:
        """All that one layer owns."""
        rows = self._db.all("SELECT start, stop FROM layer_extents WHERE layer = ?", layer)
        return Extents((row["start"], row["stop"]) for row in rows)

    def owned(self, layer: int) -> Extents:
        """The blocks of the disk that ends in a layer which are in any of its layers."""
        return Extents(extent for each in self._chain(layer) for extent in self.extents(each.id))

    # ------------------------------------------------------------ order

    def empty_trash(self) -> None:
        """Remove the files of layers that are gone; call it after the transaction that dropped them."""
        for row in self._db.all("SELECT file FROM layer_trash"):
            Path(row["file"]).unlink(missing_ok=True)
        self._db.execute("DELETE FROM layer_trash")

    def sweep(self) -> None:
        """At the start: drop reads that a kill cut, and remove files that no layer knows."""
        with self._db.transaction():
            for row in self._db.all("SELECT DISTINCT owner FROM layer_owners WHERE owner GLOB ?", READER + "*"):
                self.drop(row["owner"])
        self.empty_trash()
        rows = self._db.all("SELECT id, file FROM layers")
        known = {self._folder / f"{row['id']}.raw" for row in rows} | {Path(row["file"]) for row in rows if row["file"]}
        for path in self._folder.iterdir():
            if path not in known:
                path.unlink()

    # ------------------------------------------------------------ rows

    def _insert(
        self,
        parent: int | None,
        length: int,
        *,
        frozen: bool,
        file: str | None = None,
        disk_format: str = "raw",
        ours: bool = True,
    ) -> int:
        statement = "INSERT INTO layers (parent, frozen, length, file, format, ours) VALUES (?, ?, ?, ?, ?, ?)"
        number = self._db.execute(statement, parent, int(frozen), length, file, disk_format, int(ours)).lastrowid
        assert number is not None
        return number

    def _chain(self, layer: int) -> list[Layer]:
        """The layers of a disk, newest first."""
        return [_layer(row) for row in self._db.all(_CHAIN, layer)]

    def _extents(self, layer: int, start: int, stop: int) -> list[Extent]:
        """The extents of a layer that touch a range; the index finds them without reading the others."""
        query = (
            "SELECT start, stop FROM layer_extents WHERE layer = ?1 AND start <= ?3 AND stop >= ?2 AND start >= "
            "coalesce((SELECT max(start) FROM layer_extents WHERE layer = ?1 AND start <= ?2), 0)"
        )
        return [(row["start"], row["stop"]) for row in self._db.all(query, layer, start, stop)]

    def _own_extent(self, layer: int, extent: Extent) -> None:
        """Add a range to what a layer owns; ranges that overlap or touch become one row."""
        if extent[0] >= extent[1]:
            return
        near = self._extents(layer, *extent)
        for start, _ in near:
            self._db.execute("DELETE FROM layer_extents WHERE layer = ? AND start = ?", layer, start)
        ((start, stop),) = Extents([*near, extent])
        self._db.execute("INSERT INTO layer_extents VALUES (?, ?, ?)", layer, start, stop)

    def _collect(self, number: int | None) -> None:
        """Remove a layer that nobody owns and nothing stands on, then perhaps the one below."""
        while number is not None:
            query = (
                "SELECT EXISTS (SELECT 1 FROM layer_owners WHERE layer = ?1) "
                "OR EXISTS (SELECT 1 FROM layers WHERE parent = ?1) AS needed"
            )
            row = self._db.one(query, number)
            if row is None or row["needed"]:
                return
            layer = self.layer(number)
            ours = self._db.one("SELECT ours FROM layers WHERE id = ?", number)
            files = [self._folder / f"{number}.raw"]
            if layer.file is not None and ours is not None and ours["ours"]:
                files.append(layer.file)
            self._db.executemany("INSERT OR IGNORE INTO layer_trash VALUES (?)", [(str(file),) for file in files])
            self._db.execute("DELETE FROM layer_extents WHERE layer = ?", number)
            self._db.execute("DELETE FROM layers WHERE id = ?", number)
            number = layer.parent


def _layer(row: Row) -> Layer:
    file = None if row["file"] is None else Path(row["file"])
    return Layer(row["id"], row["parent"], bool(row["frozen"]), row["length"], file, row["format"])


def _virtual_size(file: Path, disk_format: str) -> int:
    """Bytes that a guest sees."""
    if disk_format == "raw":
        return file.stat().st_size
    with file.open("rb") as disk:
        disk.seek(QCOW2_SIZE_AT)
        (size,) = struct.unpack(">Q", disk.read(8).rjust(8, b"\0"))
    return int(size)


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
