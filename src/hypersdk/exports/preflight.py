"""Everything that can be known to fail is refused before anything is created. A refusal says what to do.

Rules of this file: a check only looks, the write proof excepted, which takes back what it made; checks that cost
nothing go first; what cannot be known is not guessed, and a later step's error says it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from hypersdk import errors
from hypersdk.disks.qemu_img import find_qemu_img
from hypersdk.exports import refusals
from hypersdk.exports.context import ExportRooms
from hypersdk.exports.options import ExportOptions
from hypersdk.exports.places import others_hold_images, quota_reason
from hypersdk.exports.plan import MANIFEST, ExportPlan, manifest_ref
from hypersdk.exports.refusals import RUNNING, STOPPED, Refusal
from hypersdk.exports.result import is_manifest
from hypersdk.model import Instance, Volume, format_size
from hypersdk.storage.protocol import BucketFacts
from hypersdk.storage.url import MAX_FILE_NAME, MAX_OBJECT_NAME
from hypersdk.transfer.checksums import new_digest


@dataclass
class Findings:
    """What preflight learned; later steps and the manifest use it."""

    instance: Instance
    boot: Volume | None = None
    data: tuple[Volume, ...] = ()
    versioned: bool = False
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As a step's result."""
        one = self.instance
        return {
            "former_state": one.lifecycle_state,
            "instance": {
                "id": one.id,
                "name": one.name,
                "compartment_id": one.compartment_id,
                "region": one.region,
                "availability_domain": one.availability_domain,
                "shape": one.shape,
                "image_id": one.image_id,
                "launch_options": dict(one.launch_options),
                "metadata_keys": list(one.metadata_keys),
                "tags": dict(one.tags),
            },
            "boot_volume": None if self.boot is None else _volume(self.boot),
            "data_volumes": [_volume(volume) for volume in self.data],
            "versioned": self.versioned,
            "notes": self.notes,
        }


@dataclass(frozen=True)
class _Question:
    """What a check may look at."""

    rooms: ExportRooms
    plan: ExportPlan
    options: ExportOptions
    found: Findings
    dry_run: bool = False

    def refuse(self, message: str, hint: str, resource: str | None = None) -> errors.PreflightRefused:
        """A refusal that says what to do."""
        return errors.PreflightRefused(message, hint=hint, resource=resource or self.plan.instance_id)


def preflight(
    rooms: ExportRooms, plan: ExportPlan, options: ExportOptions, instance: Instance, *, dry_run: bool = False
) -> Findings:
    """Make every check.

    Args:
        rooms: the cloud.
        plan: what will be done.
        options: how it was asked for.
        instance: the instance, just looked at.
        dry_run: create nothing, not even for the proof that the bucket can be written; says so.

    Raises:
        PreflightRefused: the plan cannot succeed.
        DestinationExists, AlreadyExists: a final name is taken.
        NotFoundError: the bucket is absent or must not be seen.
        ToolMissing: qemu-img is not installed, or the package of a digest that was asked for.
    """
    question = _Question(rooms, plan, options, Findings(instance), dry_run)
    for check in CHECKS:
        check(question)
    if dry_run:
        question.found.notes.append("that the bucket can be written was not tried (dry run)")
    else:
        _prove_write(question)
    return question.found


def _tools(question: _Question) -> None:
    wanted = question.rooms.transfer
    if question.options.local:
        find_qemu_img()
        for name in wanted.digests:
            new_digest(name)
    elif wanted.digests or wanted.reread:
        question.found.notes.append(
            "an object that stays in Object Storage has its CRC32C in the manifest;"
            " other digests and reading back are for local files"
        )


def _local_destination(question: _Question) -> None:
    for target in question.plan.targets:
        if target.path is None:
            continue
        path = Path(target.path)
        name = os.fsencode(path.name + MANIFEST)
        if len(name) > MAX_FILE_NAME:
            raise question.refuse(
                f"the name of the manifest, {path.name}{MANIFEST}, has {len(name)} bytes; {MAX_FILE_NAME} are allowed",
                "choose a shorter file name with -o",
                str(path),
            )
        if question.options.make_directories and not path.parent.is_dir():
            _make_directory(question, path.parent)
            continue
        if not path.parent.is_dir():
            raise question.refuse(f"no such directory: {path.parent}", f"mkdir -p {path.parent}", str(path.parent))
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise question.refuse(f"{path.parent} cannot be written", "choose another one with -o", str(path.parent))
        check_free_name(path, overwrite=question.options.overwrite)


def _make_directory(question: _Question, directory: Path) -> None:
    if (refusal := why_not_made(directory)) is not None:
        raise question.refuse(refusal.because, refusal.hint, str(directory))
    if question.dry_run:
        return
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        because = f"{directory} cannot be made: {error.strerror}"
        raise question.refuse(because, "choose another one with -o", str(directory)) from error


def why_not_made(directory: Path) -> Refusal | None:
    """Why nothing could be written to a directory that is made if it is missing; None = it could, it seems."""
    above = next(each for each in (directory, *directory.parents) if os.path.lexists(each))
    if not above.is_dir():
        return Refusal(f"{above} is no directory", "choose another one with -o")
    if not os.access(above, os.W_OK | os.X_OK):
        return Refusal(f"{above} cannot be written", "choose another one with -o")
    return None


def nearest_directory(path: Path) -> Path:
    """The directory itself, or the nearest one above it that is there."""
    return next(each for each in (path, *path.parents) if os.path.isdir(each))  # noqa: PTH112 - Path.is_dir raises where a name is too long


def check_free_name(path: Path, *, overwrite: bool) -> None:
    """Refuse a final name that is taken.

    Raises:
        DestinationExists: it is, and must not or cannot be replaced.
    """
    if path.is_dir():
        raise errors.DestinationExists(f"{path} is a directory", resource=str(path), hint=f"write {path}/")
    manifest = path.with_name(path.name + MANIFEST)
    for taken in (path, manifest):
        # A manifest of ours whose disk is gone speaks of nothing any more.
        if not overwrite and os.path.lexists(taken) and not (taken == manifest and is_manifest(manifest)):
            raise errors.DestinationExists(
                f"{taken} exists", resource=str(taken), hint="--overwrite replaces it, -o chooses another name"
            )


def _instance_state(question: _Question) -> None:
    one = question.found.instance
    # Asked only where it matters: it is a call to the cloud.
    imageable = one.lifecycle_state not in {RUNNING, STOPPED} or _may_be_imaged(question)
    refusal = refusals.of_instance(one, imageable=imageable, allow_shutdown=question.options.allow_shutdown)
    if refusal is not None:
        raise question.refuse(refusal.because, refusal.hint)


def _may_be_imaged(question: _Question) -> bool:
    image_id = question.found.instance.image_id
    if image_id is None:
        return True
    try:
        image = question.rooms.retrier.call("look at its image", lambda: question.rooms.provider.image(image_id))
    except (errors.NotFoundError, errors.PermissionDenied):
        return True  # a platform image that was withdrawn, or one that we may not see: OCI will say
    return image.create_image_allowed


def _region(question: _Question) -> None:
    ours, theirs = question.rooms.provider.region, question.found.instance.region
    # A short name ("iad") is a region key of the old style; only two full names can be told apart for sure.
    if "-" in ours and "-" in theirs and ours != theirs:
        raise question.refuse(f"the instance lives in {theirs}, we work in {ours}", f"--region {theirs}")


def _image_quota(question: _Question) -> None:
    for _ in range(2):
        try:
            # Not through the retrier: this only saves time, and CreateImage itself refuses what is too much.
            left = question.rooms.provider.image_quota()
        except errors.HypersdkError:
            return  # not everybody may read limits, nor reach the service that tells them
        if left is None or left > 0:
            return
        if others_hold_images(question.rooms, question.plan):
            question.found.notes.append(f"{quota_reason(question.plan.region)}: waits for one of them")
            return
        # The last of our own images may have gone between OCI's look and ours: then there is room now.
    raise question.refuse(
        f"no further custom image may be made in {question.found.instance.region}: the tenancy's quota is used up",
        "delete images that nobody needs (`hyperexport images list` shows them), "
        "or ask Oracle to raise the limit custom-image-count",
    )


def _volumes(question: _Question) -> None:
    found = question.found
    with question.rooms.needing("inspect volume-attachments", "read volume-family"):
        listed = list(question.rooms.provider.volumes(found.instance))
    found.boot = next((volume for volume in listed if volume.boot), None)
    found.data = tuple(volume for volume in listed if not volume.boot)
    if found.boot is not None and (refusal := refusals.of_size(found.boot.size)) is not None:
        raise question.refuse(refusal.because, refusal.hint, found.boot.id)
    if found.data:
        names = ", ".join(f"{volume.name} ({format_size(volume.size)})" for volume in found.data)
        found.notes.append(f"left out, because an image holds the boot volume only: {names}")


def _free_space(question: _Question) -> None:
    boot = question.found.boot
    for target in question.plan.targets:
        if target.path is None or boot is None:
            continue
        free = shutil.disk_usage(nearest_directory(Path(target.path).parent)).free
        if free < boot.size:
            question.found.notes.append(
                f"{Path(target.path).parent} has {format_size(free)} free, the boot volume {format_size(boot.size)}; "
                "unused space is not exported, so it may fit: it is checked again once the size is known"
            )


def _bucket(question: _Question) -> None:
    at = question.plan.targets[0].staging
    store, call = question.rooms.store, question.rooms.retrier.call
    with question.rooms.needing(bucket=("read buckets", "manage objects")):
        facts = call("look at the bucket", lambda: store.bucket(at))
    _judge_bucket(question, facts)
    for target in question.plan.targets:
        _object_names(question, target.staging.name, *([target.final.name + MANIFEST] if target.final else []))
        final = target.final
        if final is None or question.options.overwrite:
            continue
        for ref in (final, manifest_ref(final)):
            if call("look for the final object", partial(store.exists, ref)):
                raise errors.AlreadyExists(
                    f"{ref} exists", resource=str(ref), hint="--overwrite replaces it, --to chooses another name"
                )


def _judge_bucket(question: _Question, facts: BucketFacts) -> None:
    name = f"{facts.namespace}/{facts.name}"
    if (refusal := refusals.of_bucket(facts)) is not None:
        raise question.refuse(refusal.because, refusal.hint, name)
    question.found.versioned = facts.versioning != "Disabled"
    if question.found.versioned:
        question.found.notes.append(f"bucket {name} keeps old versions: what we delete is deleted with its version")
    if facts.retention:
        question.found.notes.append(
            f"bucket {name} has retention rules: the staging object can be deleted only when they expire"
        )


def _object_names(question: _Question, *names: str) -> None:
    for name in names:
        if len(name.encode()) > MAX_OBJECT_NAME:
            raise question.refuse(
                f"the object name {name} has {len(name.encode())} bytes; {MAX_OBJECT_NAME} are allowed",
                "choose a shorter prefix",
                name,
            )


def _prove_write(question: _Question) -> None:
    at = question.plan.targets[0].staging
    store, call = question.rooms.store, question.rooms.retrier.call
    try:
        upload = call("prove that the bucket can be written", lambda: store.create_multipart_upload(at))
        call("take the proof back", lambda: store.abort(upload))
    except (errors.NotFoundError, errors.PermissionDenied) as error:
        raise question.refuse(
            f"bucket {at.namespace}/{at.bucket} cannot be written: {error.message}",
            f"ask for: {question.rooms.provider.allow('manage objects', 'B')}",
            str(at),
        ) from error


CHECKS: tuple[Callable[[_Question], None], ...] = (
    _tools,
    _local_destination,
    _region,
    _instance_state,
    _image_quota,
    _volumes,
    _free_space,
    _bucket,
)
"""In the order of their cost."""


def _volume(volume: Volume) -> Mapping[str, Any]:
    return {"id": volume.id, "name": volume.name, "size": volume.size}
