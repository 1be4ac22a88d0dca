"""The step that writes a manifest beside each disk, and the question whether a disk is still as its manifest says."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from hypersdk import errors
from hypersdk.exports.context import Context, ExportRooms
from hypersdk.exports.landing import add_digests, proof_of
from hypersdk.exports.plan import MANIFEST, ExportPlan, Step, Target, manifest_ref
from hypersdk.exports.result import build_manifest
from hypersdk.storage import local
from hypersdk.storage.protocol import PutOptions
from hypersdk.transfer.checksums import file_digests
from hypersdk.transfer.partial import partial_name

AS_JSON = PutOptions(content_type="application/json")


def manifest_path(path: str) -> str:
    """Where the manifest of a local disk lies."""
    return path + MANIFEST


def manifest_place(target: Target) -> str:
    """Where the manifest of a disk is looked for first."""
    if target.path is not None:
        return manifest_path(target.path)
    assert target.final is not None
    return str(manifest_ref(target.final))


def run_write_manifest(ctx: Context, _step: Step) -> Mapping[str, Any]:
    """Write the manifest of each disk; only whole ones ever have the name."""
    for target in ctx.plan.targets:
        add_digests(ctx, target)
        facts: dict[str, Mapping[str, Any]] = {
            kind: ctx.result(kind) for kind in ("preflight", "create-image", "await-image")
        }
        facts["await-object"] = ctx.result("rename", target.format) or {
            **ctx.result("await-object", target.format),
            **ctx.result("download", target.format),
        }
        facts["proof"] = proof_of(ctx, target)
        manifest = build_manifest(
            ctx.plan,
            target,
            facts,
            ctx.rooms.runs.steps(ctx.plan.run_id),
            tool_version=ctx.rooms.runs.version,
            finished=ctx.rooms.now(),
        )
        body = (json.dumps(manifest, indent=2) + "\n").encode()
        if target.path is not None:
            write_whole(Path(manifest_path(target.path)), body)
        if target.final is not None:
            ref = manifest_ref(target.final)
            ctx.call("write the manifest", partial(ctx.rooms.store.put, ref, body, AS_JSON))
    return {"manifests": [manifest_place(target) for target in ctx.plan.targets]}


def write_whole(path: Path, body: bytes) -> None:
    """Write a small file that is there whole or not at all, also after a power cut.

    Raises:
        FileError: the file system refuses.
    """
    # A fixed name: what a killed process left here is written over by the next one.
    temporary = path.with_name(partial_name(path.name))
    with local.file_errors(str(path)):
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(temporary, flags, 0o666), "wb") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def still_there(
    rooms: ExportRooms, plan: ExportPlan, results: Mapping[str, Mapping[str, Any]], *, read: bool = True
) -> bool:
    """Whether every disk of a finished run still is what its run proved.

    Args:
        rooms: the cloud, for disks in Object Storage.
        plan: the finished run's plan.
        results: its stored results, by step name.
        read: local disks are read to their end; False = their size and manifest must do.
    """
    return all(_is_there(rooms, plan, target, results, read=read) for target in plan.targets)


def _is_there(
    rooms: ExportRooms,
    plan: ExportPlan,
    target: Target,
    results: Mapping[str, Mapping[str, Any]],
    *,
    read: bool,
) -> bool:
    def result(kind: str) -> Mapping[str, Any]:
        return results[plan.step(kind, target.format).name]

    if target.path is not None and not _file_is(rooms, target.path, result("verify"), read=read):
        return False
    if target.final is None:
        return True
    final = target.final
    try:
        info = rooms.retrier.call("look at the final object", lambda: rooms.store.head(final))
    except errors.NotFoundError:
        return False
    # An object's etag changes with every write, so an equal etag is a proof here (unlike a size).
    return bool(info.etag == result("rename")["etag"])


def _file_is(rooms: ExportRooms, path: str, proven: Mapping[str, Any], *, read: bool) -> bool:
    try:
        if not Path(manifest_path(path)).is_file() or Path(path).stat().st_size != proven["size"]:
            return False
        if not read:
            return True
        found = file_digests(path, ("sha256",), tick=lambda _: rooms.waiter.tick())
    except (OSError, errors.FileError):
        return False
    return all(proven["checksums"][one.algorithm] == one.value for one in found)
