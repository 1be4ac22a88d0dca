"""A small real disk for demonstrations: it boots, has a partition with a file system and a few MiB of data.

Written by this file alone: no other program, no root, the same bytes every time. Layout of a disk of 64 MiB:

    0        boot record: a 16-bit program that greets on screen and first serial port and halts; partition table; 55 AA
    1 MiB    a FAT16 partition with README.TXT and DATA.BIN
    the end  one sector of data, so that a disk that lost its tail is not the same disk

References: IBM PC BIOS calls INT 10h (screen) and INT 14h (serial line); Microsoft "FAT32 File System
Specification" 1.03 (FAT16 is described there too).
"""

import hashlib
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

MIB = 1024 * 1024
SECTOR = 512
PARTITION_START = 2048
"""First sector of the partition: 1 MiB, as every partitioning tool aligns it."""
DEFAULT_SIZE = 64 * MIB
MIN_SIZE = 24 * MIB
"""Bytes; a smaller partition would hold too few clusters for FAT16."""
MAX_SIZE = 256 * MIB
"""Bytes; a larger partition would hold too many clusters of 4 KiB for FAT16."""
DATA_BYTES = 6 * MIB

_MESSAGE_AT = 0x60
_DISK_ID_AT = 440
_TABLE_AT = 446
_FAT16_LBA = 0x0E

_CODE = bytes.fromhex(
    "fa"  # cli
    "31c0"  # xor ax, ax
    "8ed8"  # mov ds, ax
    "8ed0"  # mov ss, ax
    "bc007c"  # mov sp, 0x7c00
    "fb"  # sti
    "fc"  # cld
    "b8e300"  # mov ax, 0x00e3    INT 14h, AH=0: 9600 baud, 8 data bits, 1 stop bit
    "31d2"  # xor dx, dx          first serial port
    "cd14"  # int 0x14
    "be607c"  # mov si, message
    "ac"  # next: lodsb
    "84c0"  # test al, al
    "7411"  # jz halt
    "50"  # push ax
    "b40e"  # mov ah, 0x0e        INT 10h, AH=0Eh: print AL
    "bb0700"  # mov bx, 7
    "cd10"  # int 0x10
    "58"  # pop ax
    "b401"  # mov ah, 1           INT 14h, AH=1: send AL
    "31d2"  # xor dx, dx
    "cd14"  # int 0x14
    "ebea"  # jmp next
    "f4"  # halt: hlt
    "ebfd"  # jmp halt
)

_CLUSTER_SECTORS = 8
_CLUSTER = _CLUSTER_SECTORS * SECTOR
_ROOT_ENTRIES = 512
_RESERVED = 1
_FATS = 2
_MEDIA_FIXED = 0xF8
_END_OF_CHAIN = 0xFFFF
_ARCHIVE = 0x20
_LABEL = 0x08
_DATE = (2026 - 1980) << 9 | 1 << 5 | 1
"""1 January 2026 as FAT writes it, for every file: the same disk every time."""


def build_demo_disk(path: Path, *, name: str = "web-01", size: int = DEFAULT_SIZE) -> None:
    """Write the disk as a sparse raw file.

    Args:
        path: Where to; an existing file is replaced.
        name: Whose disk it is: shown at boot, and the seed of all its data.
        size: Bytes, a multiple of 1 MiB from 24 MiB to 256 MiB.

    Raises:
        ValueError: The size is impossible, or the name too long for the boot record.
    """
    if size % MIB or not MIN_SIZE <= size <= MAX_SIZE:
        raise ValueError(f"a demonstration disk has whole MiB from 24 to 256, not {size} bytes")
    sectors = size // SECTOR - PARTITION_START - 1
    files = {"README.TXT": _readme(name), "DATA.BIN": _noise(name, "data", DATA_BYTES)}
    with path.open("wb") as disk:
        disk.write(_boot_record(name, sectors))
        for offset, data in _file_system(files, sectors, _serial(name)):
            disk.seek(PARTITION_START * SECTOR + offset)
            disk.write(data)
        disk.seek(size - SECTOR)
        disk.write(_noise(name, "last sector", SECTOR))


def greeting(name: str) -> str:
    """The line that the boot program prints."""
    return f"hypersdk demonstration disk of {name}: boot OK"


def _readme(name: str) -> bytes:
    text = (
        f"This is the boot disk of {name}, an instance of the emulated cloud.\r\nDATA.BIN is SHAKE-256 of its name.\r\n"
    )
    return text.encode()


def _noise(name: str, purpose: str, length: int) -> bytes:
    return hashlib.shake_256(f"hypersdk/{name}/{purpose}".encode()).digest(length)


def _serial(name: str) -> int:
    return int.from_bytes(_noise(name, "serial", 4), "little")


def _boot_record(name: str, sectors: int) -> bytes:
    message = (greeting(name) + "\r\n").encode("ascii", "replace") + b"\0"
    if _MESSAGE_AT + len(message) > _DISK_ID_AT:
        raise ValueError(f"the name is too long for a boot record: {name!r}")
    record = bytearray(SECTOR)
    record[: len(_CODE)] = _CODE
    record[_MESSAGE_AT : _MESSAGE_AT + len(message)] = message
    struct.pack_into("<I", record, _DISK_ID_AT, _serial(name))
    # Active, no CHS addresses (FE FF FF = "use the sector numbers"), type, first sector, number of sectors.
    entry = struct.pack("<B3sB3sII", 0x80, b"\xfe\xff\xff", _FAT16_LBA, b"\xfe\xff\xff", PARTITION_START, sectors)
    record[_TABLE_AT : _TABLE_AT + len(entry)] = entry
    record[510:] = b"\x55\xaa"
    return bytes(record)


def _file_system(files: Mapping[str, bytes], sectors: int, serial: int) -> Iterator[tuple[int, bytes]]:
    """A FAT16 file system as (offset in the partition, bytes); every file is one run of clusters."""
    root_sectors = _ROOT_ENTRIES * 32 // SECTOR
    # Two bytes per cluster; a few sectors more than needed do no harm and save the usual circular computation.
    fat_sectors = -(-(sectors // _CLUSTER_SECTORS + 2) * 2 // SECTOR)
    data_at = (_RESERVED + _FATS * fat_sectors + root_sectors) * SECTOR
    yield 0, _fat_boot_sector(sectors, fat_sectors, serial)
    fat = [0xFF00 | _MEDIA_FIXED, _END_OF_CHAIN]
    root = [_entry("HYPERSDK", _LABEL, 0, 0)]
    for name, data in files.items():
        first, clusters = len(fat), -(-len(data) // _CLUSTER)
        fat += [*range(first + 1, first + clusters), _END_OF_CHAIN]
        root.append(_entry(name, _ARCHIVE, first, len(data)))
        yield data_at + (first - 2) * _CLUSTER, data
    table = struct.pack(f"<{len(fat)}H", *fat)
    for number in range(_FATS):
        yield (_RESERVED + number * fat_sectors) * SECTOR, table
    yield (_RESERVED + _FATS * fat_sectors) * SECTOR, b"".join(root)


def _fat_boot_sector(sectors: int, fat_sectors: int, serial: int) -> bytes:
    small = sectors if sectors < 1 << 16 else 0
    block = struct.pack(
        "<3s8sHBHBHHBHHHII", b"\xeb\x3c\x90", b"HYPERSDK", SECTOR, _CLUSTER_SECTORS, _RESERVED, _FATS, _ROOT_ENTRIES,
        small, _MEDIA_FIXED, fat_sectors, 63, 255, PARTITION_START, 0 if small else sectors,
    )  # fmt: skip
    block += struct.pack("<BBBI11s8s", 0x80, 0, 0x29, serial, b"HYPERSDK   ", b"FAT16   ")
    return block.ljust(510, b"\0") + b"\x55\xaa"


def _entry(name: str, attributes: int, cluster: int, length: int) -> bytes:
    stem, _, suffix = name.partition(".")
    short = f"{stem:<8}{suffix:<3}".encode("ascii")
    return struct.pack("<11sB10xHHHI", short, attributes, 0, _DATE, cluster, length)
