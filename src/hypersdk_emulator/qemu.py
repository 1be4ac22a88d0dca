"""qemu-img, run as a child process: real disk files out, real checks in.

Memory stays bounded: the child streams. A disk that came over the network is read by its magic bytes before qemu-img
sees it, since a backing file, an external data file or a text descriptor would make it read files of this machine.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

EXPORT_FORMATS = {"OCI": "qcow2", "QCOW2": "qcow2", "VMDK": "vmdk", "VHD": "vpc", "VDI": "vdi"}
"""`exportFormat` of ExportImage -> qemu-img's name; OCI is a tar around a QCOW2."""
IMPORT_FORMATS = {"QCOW2": "qcow2", "VMDK": "vmdk"}
"""`sourceImageType` of an import -> qemu-img's name; the others are not importable."""
MAGIC = {"qcow2": b"QFI\xfb", "vmdk": b"KDMV"}


class DiskError(Exception):
    """qemu-img failed, or the disk is not what it should be."""


async def convert(source: Path, source_format: str, target: Path, target_format: str) -> None:
    """Write a disk in another format; holes stay holes.

    Raises:
        DiskError: with qemu-img's last words.
    """
    await _run("convert", "-f", source_format, "-O", target_format, str(source), str(target))


async def virtual_size(path: Path, disk_format: str) -> int:
    """Bytes that a guest sees.

    Raises:
        DiskError: the file is no such disk.
    """
    return int((await _info(path, disk_format))["virtual-size"])


async def check_foreign(path: Path, disk_format: str) -> int:
    """Refuse a disk that is not of this format or that leans on other files; returns its virtual size in bytes.

    Raises:
        DiskError: says what is wrong.
    """
    with path.open("rb") as file:
        magic = file.read(4)
    if magic != MAGIC[disk_format]:
        raise DiskError(f"the object is no {disk_format} disk")
    info = await _info(path, disk_format)
    specific = info.get("format-specific", {}).get("data", {})
    if "backing-filename" in info or "data-file" in specific:
        raise DiskError("the disk needs another file")
    return int(info["virtual-size"])


async def _info(path: Path, disk_format: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(await _run("info", "--output=json", "-f", disk_format, str(path)))
    return found


async def _run(*arguments: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        "qemu-img", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        out, err = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        raise DiskError(f"qemu-img {arguments[0]}: {err.decode(errors='replace').strip().splitlines()[-1:]}")
    return out
