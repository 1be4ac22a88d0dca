"""What came out of an export, and the manifest that lies beside each disk."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

from hypersdk.exports.plan import ExportPlan, Target
from hypersdk.model import Checksum
from hypersdk.runs.records import StepRecord

MANIFEST_VERSION = 1
"""Version of the manifest; its JSON Schema is `manifest.schema.json` beside this file."""


@dataclass(frozen=True, slots=True)
class ExportedDisk:
    """One disk of an export.

    Attributes:
        format: its format.
        path: local path, None if it has none.
        object_url: where it stays in Object Storage, None if it does not.
        size: bytes of the file or object.
        virtual_size: bytes that the guest sees, None if it was not read.
        checksums: digests from our own plain reads.
        proof: one sentence per check that passed.
        manifest: path or URL of its manifest.
    """

    format: str
    path: str | None
    object_url: str | None
    size: int
    virtual_size: int | None
    checksums: tuple[Checksum, ...]
    proof: tuple[str, ...]
    manifest: str


@dataclass(frozen=True, slots=True)
class ExportResult:
    """A finished export.

    Attributes:
        run_id: the run.
        instance_id: OCID of the instance.
        instance_name: its display name.
        image_id: OCID of the custom image.
        image_name: its display name.
        disks: the disks, one per format.
        duration: seconds from first step to last, pauses included.
        finished: when, UTC.
        complete: whether every volume of the instance is in it.
        already: True if an earlier run had exported it and nothing was done now.
        left: what stays in the tenancy, one line each.
    """

    run_id: str
    instance_id: str
    instance_name: str
    image_id: str
    image_name: str
    disks: tuple[ExportedDisk, ...]
    duration: float
    finished: datetime
    complete: bool
    already: bool = False
    left: tuple[str, ...] = ()

    @property
    def local_path(self) -> str | None:
        """Local path of the first disk."""
        return self.disks[0].path

    @property
    def object_url(self) -> str | None:
        """URL of the first disk in Object Storage."""
        return self.disks[0].object_url

    @property
    def format(self) -> str:
        """Format of the first disk."""
        return self.disks[0].format

    @property
    def size(self) -> int:
        """Bytes of the first disk's file."""
        return self.disks[0].size

    @property
    def manifest(self) -> str:
        """Where the manifest of the first disk lies."""
        return self.disks[0].manifest


def manifest_schema() -> dict[str, Any]:
    """The JSON Schema of a manifest."""
    text = resources.files("hypersdk.exports").joinpath("manifest.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def is_manifest(path: Path) -> bool:
    """Whether a file is a manifest of ours; one whose disk is gone may be replaced."""
    try:
        read = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    tool = read.get("tool") if isinstance(read, dict) and "manifest_version" in read else None
    return isinstance(tool, dict) and tool.get("name") == "hypersdk"


def build_manifest(
    plan: ExportPlan,
    target: Target,
    facts: Mapping[str, Mapping[str, Any]],
    steps: Iterable[StepRecord],
    *,
    tool_version: str,
    finished: datetime,
) -> dict[str, Any]:
    """The manifest of one disk.

    Args:
        plan: what was done.
        target: which disk.
        facts: results of the steps that learned something, by kind: preflight, create-image, await-image,
            await-object, proof.
        steps: all steps, for their times.
        tool_version: version of this program.
        finished: time to write, UTC.
    """
    source, image = facts["preflight"], facts["await-image"]
    former = image["former_state"]
    return {
        "manifest_version": MANIFEST_VERSION,
        "tool": {"name": "hypersdk", "version": tool_version},
        "run": {"id": plan.run_id, "generation": plan.generation, "finished": _iso(finished)},
        "source": {
            **source["instance"],
            "tenancy_id": plan.tenancy_id,
            "firmware": source["instance"]["launch_options"].get("firmware"),
            "operating_system": image["operating_system"],
            "operating_system_version": image["operating_system_version"],
            "boot_volume": source["boot_volume"],
        },
        "image": {"id": facts["create-image"]["image_id"], "name": plan.image_name, "kept": plan.keep_image},
        "object": {
            "url": str(target.final or target.staging),
            "kept": target.final is not None or plan.keep_image,
            **{key: facts["await-object"].get(key) for key in ("etag", "size", "version")},
        },
        "disk": {"format": target.format, "path": target.path, **facts["proof"]},
        "consistency": {
            "level": "offline" if former != "RUNNING" else "shutdown",
            "because": "the instance was stopped"
            if former != "RUNNING"
            else "OCI shut the instance down while it made the image",
        },
        "complete": not source["data_volumes"],
        "left_out": source["data_volumes"],
        "steps": [{"name": step.name, "started": step.started, "finished": step.finished} for step in steps],
    }


def disk_of(target: Target, proof: Mapping[str, Any], manifest: str) -> ExportedDisk:
    """One disk of a result, from what the run stored about it."""
    return ExportedDisk(
        format=target.format,
        path=target.path,
        object_url=None if target.final is None else str(target.final),
        size=proof["size"],
        virtual_size=proof.get("virtual_size"),
        checksums=tuple(Checksum(name, value) for name, value in sorted(proof["checksums"].items())),
        proof=tuple(proof["proof"]),
        manifest=manifest,
    )


def _iso(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="seconds")
