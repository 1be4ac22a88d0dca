"""Raw: the file is the disk. Sector 0 belongs to the guest, so nothing is concluded from what it holds."""

from __future__ import annotations

from hypersdk.disks.formats.reader import SECTOR, Extent, Reader, Structure


def parse(reader: Reader) -> Structure:
    """Check the length of a raw disk.

    Raises:
        VerificationError: it is no whole number of sectors.
    """
    if reader.size % SECTOR:
        raise reader.damaged(f"a raw disk of {reader.size} bytes is no whole number of {SECTOR}-byte sectors")
    return Structure(
        "raw",
        reader.size,
        (f"raw disk: {reader.size // SECTOR} whole sectors",),
        lambda: iter([Extent(0, 0, reader.size)]),
    )
