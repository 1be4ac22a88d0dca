"""What came out of an export: a few lines for people, or JSON values."""

from __future__ import annotations

from typing import Any

from hypersdk.cli.output import Output, moment
from hypersdk.exports.result import ExportedDisk, ExportResult
from hypersdk.model import format_size


def print_result(out: Output, result: ExportResult) -> None:
    """Print what came out of an export."""
    if out.as_json:
        out.json({"export": to_json(result)})
        return
    facts: dict[str, Any] = {"instance": f"{result.instance_name} ({result.instance_id})"}
    for disk in result.disks:
        facts |= _disk_lines(disk, "" if len(result.disks) == 1 else f"{disk.format} ")
    facts["complete"] = result.complete or "no: only the boot volume, see the manifest for what was left out"
    facts["run"] = result.run_id
    out.facts("export", facts)
    if result.already:
        out.line(f"already exported at {result.finished.astimezone():%Y-%m-%d %H:%M}; nothing was created")
    for line in result.left:
        out.note(f"stays in the tenancy: {line}")


def _disk_lines(disk: ExportedDisk, label: str) -> dict[str, Any]:
    lines: dict[str, Any] = {f"{label}disk": " and ".join(place for place in (disk.path, disk.object_url) if place)}
    lines[f"{label}size"] = f"{format_size(disk.size)} ({disk.size} bytes), {disk.format}"
    if disk.virtual_size is not None:
        lines[f"{label}virtual size"] = f"{format_size(disk.virtual_size)} ({disk.virtual_size} bytes)"
    for checksum in disk.checksums:
        lines[f"{label}{checksum.algorithm}"] = checksum.value
    lines[f"{label}proven"] = disk.proof
    lines[f"{label}manifest"] = disk.manifest
    return lines


def to_json(result: ExportResult) -> dict[str, Any]:
    """A result as JSON values; its form is `schemas/export.schema.json`."""
    return {
        "run_id": result.run_id,
        "already_exported": result.already,
        "instance_id": result.instance_id,
        "instance_name": result.instance_name,
        "image_id": result.image_id,
        "image_name": result.image_name,
        "finished": moment(result.finished),
        "duration_seconds": round(result.duration, 3),
        "complete": result.complete,
        "stays_in_tenancy": list(result.left),
        "disks": [
            {
                "format": disk.format,
                "path": disk.path,
                "object_url": disk.object_url,
                "size": disk.size,
                "virtual_size": disk.virtual_size,
                "checksums": {one.algorithm: one.value for one in disk.checksums},
                "proof": list(disk.proof),
                "manifest": disk.manifest,
            }
            for disk in result.disks
        ],
    }
