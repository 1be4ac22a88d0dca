"""OCI's own image format: a plain tar of `image_metadata.json` and one QCOW2 disk (oci-cli issue 869).

Rules of this file: nothing is unpacked; members are regular files with harmless names, few of them; the disk inside is
checked as any other QCOW2, and read by qemu where it lies in the archive.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace

from hypersdk.disks.formats import qcow2, qcow2_layout
from hypersdk.disks.formats.reader import MAX_READ, SECTOR, Extent, Inner, Reader, Structure

METADATA = "image_metadata.json"
MAX_MEMBERS = 64
"""Two are expected."""
MAX_TEXT = 1024**2
"""Bytes of metadata, or of one extended header."""

_REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE)
_EXTENDED = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME)


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    offset: int
    size: int


def parse(reader: Reader) -> Structure:
    """Check a whole `.oci` file and the disk in it.

    Raises:
        VerificationError: a rule does not hold.
    """
    if reader.size % SECTOR:
        raise reader.damaged(f"a tar of {reader.size} bytes is no whole number of blocks: it was cut")
    members = list(_members(reader))
    _check_metadata(reader, members)
    disks = [each for each in members if _begins(reader, each, qcow2_layout.MAGIC)]
    if len(disks) != 1:
        raise reader.damaged(f"an OCI image with {len(disks)} QCOW2 disks in it, not one")
    place = disks[0]
    inside = reader.window(place.offset, place.size, place.name)
    disk = qcow2.parse(inside)

    def extents() -> Iterator[Extent]:
        return (replace(each, offset=each.offset + place.offset) for each in disk.extents())

    said = f"OCI image: a tar with {METADATA} and one QCOW2 disk"
    return Structure(
        "oci", disk.virtual_size, (said, *disk.checked), extents, Inner(disk.format, place.offset, place.size)
    )


def _members(reader: Reader) -> Iterator[_Member]:
    position, count = 0, 0
    long_name, long_size = "", None
    while True:
        block = reader.exactly(position, tarfile.BLOCKSIZE, "tar header")
        if not block.strip(b"\0"):
            _check_end(reader, position)
            return
        header = _header(reader, block, position)
        position += tarfile.BLOCKSIZE
        count += 1
        if count > MAX_MEMBERS:
            raise reader.damaged(f"an OCI image of more than {MAX_MEMBERS} members")
        if header.type in _EXTENDED:
            long_name, long_size = _extended(reader, header, position, (long_name, long_size))
            position += _padded(header.size)
            continue
        member = _Member(long_name or header.name, position, header.size if long_size is None else long_size)
        long_name, long_size = "", None
        _check_member(reader, header, member)
        yield member
        position += _padded(member.size)


def _header(reader: Reader, block: bytes, position: int) -> tarfile.TarInfo:
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "replace")
    except tarfile.HeaderError:
        raise reader.damaged(f"no tar header at offset {position:#x}") from None
    if header.size < 0:
        raise reader.damaged(f"tar member at offset {position:#x} of negative size")
    return header


def _padded(size: int) -> int:
    return -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _check_member(reader: Reader, header: tarfile.TarInfo, member: _Member) -> None:
    shown = ascii(member.name)[:80]
    if header.type not in _REGULAR:
        raise reader.damaged(f"tar member {shown} is no regular file: refused")
    if member.name.startswith("/") or ".." in member.name.split("/"):
        raise reader.damaged(f"tar member {shown} points outside the archive: refused")
    if member.offset + member.size > reader.size:
        raise reader.damaged(f"tar member {shown} ends beyond the file's {reader.size} bytes: it was cut")


def _check_end(reader: Reader, position: int) -> None:
    """Two zero blocks end a tar; writers fill up to a record with more of them."""
    rest = reader.size - position
    if rest < 2 * tarfile.BLOCKSIZE:
        raise reader.damaged("the tar has no end mark: it was cut")
    if rest > MAX_READ or reader.exactly(position, rest, "end of the tar").strip(b"\0"):
        raise reader.damaged(f"{rest} bytes after the end of the tar belong to nothing")


def _extended(
    reader: Reader, header: tarfile.TarInfo, position: int, so_far: tuple[str, int | None]
) -> tuple[str, int | None]:
    """Name and size that an extended header gives to the next member."""
    if header.size > MAX_TEXT:
        raise reader.damaged(f"tar extended header of {header.size} bytes")
    data = reader.exactly(position, header.size, "tar extended header")
    name, size = so_far
    if header.type == tarfile.GNUTYPE_LONGNAME:
        return data.split(b"\0", 1)[0].decode("utf-8", "replace"), size
    if header.type == tarfile.XGLTYPE:
        return so_far
    # POSIX pax records are "LENGTH KEY=VALUE\n"; the length counts the whole record.
    while data:
        length, _, _ = data.partition(b" ")
        if not length.isdigit() or not len(length) < int(length[:9]) <= len(data):
            raise reader.damaged("tar extended header with a record of impossible length")
        key, _, value = data[len(length) + 1 : int(length) - 1].partition(b"=")
        data = data[int(length) :]
        if key == b"path":
            name = value.decode("utf-8", "replace")
        elif key == b"size":
            if not value.isdigit() or len(value) > 19:  # noqa: PLR2004 - digits of 2^63
                raise reader.damaged("tar extended header with an impossible size")
            size = int(value)
    return name, size


def _begins(reader: Reader, member: _Member, magic: bytes) -> bool:
    return member.size >= len(magic) and reader.exactly(member.offset, len(magic), "tar member") == magic


def _check_metadata(reader: Reader, members: list[_Member]) -> None:
    found = [each for each in members if each.name.rsplit("/", 1)[-1] == METADATA]
    if len(found) != 1:
        raise reader.damaged(f"an OCI image without {METADATA}" if not found else f"two {METADATA} in one OCI image")
    if found[0].size > MAX_TEXT:
        raise reader.damaged(f"{METADATA} of {found[0].size} bytes")
    try:
        metadata = json.loads(reader.exactly(found[0].offset, found[0].size, METADATA))
    except (ValueError, RecursionError):
        metadata = None
    if not isinstance(metadata, dict):
        raise reader.damaged(f"{METADATA} in it is no JSON object")
