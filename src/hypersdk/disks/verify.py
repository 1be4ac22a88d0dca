"""Is this file the disk that it must be? Header rules, structure, size, data, and qemu-img as a second opinion.

Rules of this file: the format is the one we asked for, never a guess; our own parser goes first, so that no qemu
program sees an image that names other files; a valid disk that holds nothing is a failure when there was data.
"""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hypersdk import errors
from hypersdk.disks import probe
from hypersdk.disks.formats import oci, qcow2, raw, vdi, vhd, vmdk
from hypersdk.disks.formats.reader import MAX_READ, Extent, Reader, Structure
from hypersdk.disks.qemu_img import QemuImg, Source, find_qemu_img
from hypersdk.model import Disk, format_size
from hypersdk.waiting import Waiter

PARSERS: dict[str, Callable[[Reader], Structure]] = {
    "oci": oci.parse,
    "qcow2": qcow2.parse,
    "raw": raw.parse,
    "vdi": vdi.parse,
    "vhd": vhd.parse,
    "vmdk": vmdk.parse,
}

ROUNDED_UP = 1024**2
"""Exporters round a size up to whole MiB (OCI counts an image's size in MBs)."""
VHD_ROUNDED_UP = 16 * 255 * 512
"""A VHD may grow to the end of a cylinder of its largest geometry (16 heads, 255 sectors)."""


def verify_disk(
    path: str, expected_format: str, *, expected_virtual_size: int | None = None, had_data: bool = True, waiter: Waiter
) -> tuple[Disk, tuple[str, ...]]:
    """Prove that a local file is a sound disk of the format that we asked for.

    Args:
        path: the file; it is only read.
        expected_format: qcow2, vmdk, vhd, vdi, oci or raw, from provenance and not from the file's name.
        expected_virtual_size: bytes that the guest must see, None = unknown. The disk may be larger by less than 1 MiB
            (VHD: by less than a cylinder), because exporters round up.
        had_data: the disk cannot be empty; then one that holds only zeros is refused.
        waiter: long checks look at its stop flag.

    Returns:
        The disk, and one sentence per check that passed.

    Raises:
        VerificationError: the file is not such a disk; one line names file, place and reason.
        ToolMissing: qemu-img is not installed.
        FileError: the file cannot be read.
        Stopped: somebody asked to stop.
    """
    program = find_qemu_img()
    with open_reader(path, waiter) as reader:
        structure, said = verify_contents(
            reader, expected_format, expected_virtual_size=expected_virtual_size, had_data=had_data
        )
        file_size = reader.size
    qemu = QemuImg(waiter, program)
    qemu_said = _second_opinion(qemu, path, structure)
    disk = Disk(path, structure.format, structure.virtual_size, file_size)
    return disk, (*said, qemu_said)


def verify_contents(
    reader: Reader, expected_format: str, *, expected_virtual_size: int | None = None, had_data: bool = True
) -> tuple[Structure, tuple[str, ...]]:
    """Prove what can be proven without a local file: structure, size, data. Arguments and errors as `verify_disk`.

    Returns:
        The structure, and one sentence per check that passed.
    """
    structure = inspect(reader, expected_format)
    size_said = _check_size(reader, structure, expected_virtual_size)
    data_said = _check_data(reader, structure, had_data=had_data)
    return structure, (*structure.checked, size_said, data_said)


@contextmanager
def open_reader(path: str, waiter: Waiter) -> Iterator[Reader]:
    """A bounded reader over a regular file.

    Raises:
        FileError: it cannot be opened or is no regular file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise errors.FileError(f"cannot read {path}: {error.strerror}", resource=path) from error
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise errors.FileError(f"cannot read {path}: not a regular file", resource=path)
        yield Reader(path, facts.st_size, lambda offset, length: os.pread(descriptor, length, offset), waiter.tick)
    finally:
        os.close(descriptor)


def inspect(reader: Reader, expected_format: str) -> Structure:
    """Parse and check the structure of a disk of a known format.

    Args:
        reader: the file.
        expected_format: qcow2, vmdk, vhd, vdi, oci or raw.

    Raises:
        UsageError: no such format.
        VerificationError: the file is something else, damaged, or of a kind that we refuse.
    """
    if expected_format not in PARSERS:
        raise errors.UsageError(f"unknown disk format {expected_format!r} (known: {', '.join(sorted(PARSERS))})")
    if reader.size == 0:
        raise reader.damaged(f"not a {expected_format.upper()} disk but an empty file")
    found = probe.signatures(reader)
    # A raw disk's and a fixed VHD's first sector is the guest's own: it may look like anything.
    fits = expected_format in found if expected_format == "vhd" else found == (expected_format,)
    if expected_format != "raw" and not fits:
        cut = ", or one that was cut," if expected_format == "vhd" else ""
        raise reader.damaged(f"not a {expected_format.upper()} disk{cut} but {probe.describe(reader)}")
    return PARSERS[expected_format](reader)


def _check_size(reader: Reader, structure: Structure, expected: int | None) -> str:
    size = structure.virtual_size
    said = f"virtual size: {format_size(size)} ({size} bytes)"
    if expected is None:
        return said
    slack = VHD_ROUNDED_UP if structure.format == "vhd" else ROUNDED_UP
    if not expected <= size < expected + slack:
        raise reader.damaged(f"the disk has {size} bytes for the guest, expected {expected}")
    return f"{said}, as expected"


def _check_data(reader: Reader, structure: Structure, *, had_data: bool) -> str:
    for extent in structure.extents():
        if _holds_data(reader, extent):
            return "data: present"
    if had_data:
        raise reader.damaged("a valid disk that holds nothing but zeros, though its source had data")
    return "data: only zeros, as in its source"


def _holds_data(reader: Reader, extent: Extent) -> bool:
    for start in range(extent.offset, extent.offset + extent.length, MAX_READ):
        piece = reader.exactly(start, min(MAX_READ, extent.offset + extent.length - start), "disk data")
        if extent.inflate is not None:
            try:
                piece = extent.inflate(piece)
            except zlib.error:
                raise reader.damaged(f"compressed data at offset {extent.offset:#x} cannot be inflated") from None
        if piece != bytes(len(piece)):
            return True
    return False


def _second_opinion(qemu: QemuImg, path: str, structure: Structure) -> str:
    inner = structure.inner
    disk = Source(path, inner.format, inner.offset, inner.size) if inner else Source(path, structure.format)
    clean = qemu.check(disk)
    size = qemu.virtual_size(disk)
    if size != structure.virtual_size:
        raise errors.VerificationError(
            f"{path}: qemu-img reads {size} bytes for the guest, the header says {structure.virtual_size}",
            resource=path,
        )
    return "qemu-img check: clean" if clean else "qemu-img: readable (it has no check for this format)"
