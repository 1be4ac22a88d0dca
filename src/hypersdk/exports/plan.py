"""The plan of an export: data that can be shown, stored, and made again from the same input. Pure.

Rules of this file: no clock, no random, no I/O decides anything; the same input gives the same names, the same steps in
the same order and the same retry tokens; names carry the run's id, so that everything temporary is found again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import date
from typing import Any

from hypersdk import errors
from hypersdk.exports.options import HOST_TAG, KEEP_TAG, MAX_NAME, RUN_TAG, ExportOptions
from hypersdk.model import Instance, ObjectRef

PLAN_VERSION = 1
"""Version of stored plans; raised when steps or fields change so that an older program could not carry them out."""

STAGING = ".hypersdk/"
"""Everything temporary in a bucket lies below this, then below the run's id."""

KEEP = {KEEP_TAG: "yes"}

MANIFEST = ".manifest.json"
"""What a manifest's name adds to the disk's."""

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_NOT_IN_NAMES = re.compile(r"[/\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Step:
    """One durable unit of a plan. `name` is unique in it; `format` is set for what is done once per format."""

    name: str
    kind: str
    format: str | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """One disk of an export.

    Attributes:
        format: its format.
        staging: where OCI's exporter puts it.
        path: absolute local path, None = no local file.
        final: the object's final name, None = it does not stay in Object Storage.
    """

    format: str
    staging: ObjectRef
    path: str | None
    final: ObjectRef | None

    @property
    def destinations(self) -> tuple[str, ...]:
        """Where the disk goes, for people."""
        return tuple(str(place) for place in (self.path, self.final) if place is not None)


@dataclass(frozen=True, slots=True)
class ExportPlan:
    """What an export will do. `key` says whether two commands ask for the same thing (design section 1)."""

    run_id: str
    key: str
    generation: int
    tenancy_id: str
    region: str
    instance_id: str
    instance_name: str
    compartment_id: str
    image_name: str
    tags: Mapping[str, str]
    targets: tuple[Target, ...]
    steps: tuple[Step, ...]
    keep_image: bool

    def target(self, step: Step) -> Target:
        """The disk that a step works on."""
        return next(target for target in self.targets if target.format == step.format)

    def step(self, kind: str, disk_format: str | None = None) -> Step:
        """The step of this kind (and format)."""
        return next(step for step in self.steps if step.kind == kind and step.format == disk_format)

    @property
    def destinations(self) -> tuple[str, ...]:
        """Where all disks go, for people."""
        return tuple(place for target in self.targets for place in target.destinations)

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON values; `from_json` is its reverse."""
        return {"version": PLAN_VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any], *, any_version: bool = False) -> ExportPlan:
        """A plan out of its JSON values.

        Args:
            stored: from `to_json` of this version or an earlier one.
            any_version: take what is known of a later one, to show it or to clean up after it.

        Raises:
            UnknownPlan: a version of hypersdk wrote it that this one cannot stand in for.
        """
        version = stored.get("version", 1)
        if not any_version and version not in range(1, PLAN_VERSION + 1):
            raise errors.UnknownPlan(
                f"the plan of run {stored.get('run_id')} has version {version}, this hypersdk knows {PLAN_VERSION}",
                resource=stored.get("run_id"),
            )
        targets = tuple(
            Target(
                one["format"],
                ObjectRef(**one["staging"]),
                one["path"],
                None if one["final"] is None else ObjectRef(**one["final"]),
            )
            for one in stored["targets"]
        )
        steps = tuple(Step(**one) for one in stored["steps"])
        known = {each.name: stored[each.name] for each in fields(cls)}
        return cls(**{**known, "targets": targets, "steps": steps})


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a plan takes from the place where it is made.

    Attributes:
        tenancy_id: the account.
        region: where the instance and the bucket live.
        namespace: of the bucket.
        bucket: takes the exported object.
        directory: absolute path that relative ones start from.
        today: for `{date}`.
        host: this machine.
    """

    tenancy_id: str
    region: str
    namespace: str
    bucket: str
    directory: str
    today: date
    host: str


def run_key(instance_id: str, options: ExportOptions, around: Surroundings) -> str:
    """What makes two commands the same export: tenancy, instance, formats, absolute destinations.

    `{date}` and the instance's name stay unfilled in it: an export that midnight interrupts is resumed the day after.
    """
    destinations = []
    if options.local:
        destinations.append(os.path.join(_directory(options, around), _file_template(options)))  # noqa: PTH118 - a key, not a path to open
    if options.export_to_object_storage:
        destinations.append(f"oci://{around.namespace}/{around.bucket}/{_object_template(options)}")
    identity = [around.tenancy_id, instance_id, sorted(options.formats), destinations]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()


def make_plan(
    instance: Instance, options: ExportOptions, around: Surroundings, *, run_id: str, generation: int
) -> ExportPlan:
    """Plan an export.

    Args:
        instance: what is exported.
        options: how.
        around: where we are.
        run_id: id of the run that will carry it out.
        generation: how often this key was started anew, from 1.

    Raises:
        UsageError: a template is wrong.
    """
    values = {"name": instance.name, "id": instance.id, "date": around.today.isoformat()}
    targets = tuple(_target(name, options, around, values, run_id) for name in options.formats)
    image = fill(options.image_name, values) if options.image_name else f"{instance.name[:200]}-hypersdk-{run_id}"
    return ExportPlan(
        run_id=run_id,
        key=run_key(instance.id, options, around),
        generation=generation,
        tenancy_id=around.tenancy_id,
        region=around.region,
        instance_id=instance.id,
        instance_name=instance.name,
        compartment_id=instance.compartment_id,
        image_name=image[:MAX_NAME],
        tags={**options.tags, RUN_TAG: run_id, HOST_TAG: around.host, **({} if options.delete_after_export else KEEP)},
        targets=targets,
        steps=_steps(options),
        keep_image=not options.delete_after_export,
    )


def retry_token(plan: ExportPlan, step: Step, body: Mapping[str, Any]) -> str:
    """The token that makes a repeated create harmless: 32 hex digits (OCI takes at most 64 characters).

    Args:
        plan: the run and its generation.
        step: which create.
        body: the request's body without secrets.
    """
    text = json.dumps([plan.run_id, plan.generation, step.name, body], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def link_name(plan: ExportPlan, step: Step) -> str:
    """Name of a run's pre-authenticated request."""
    return f"hypersdk-{plan.run_id}-{step.name}"


def staging_prefix(plan: ExportPlan, target: Target) -> ObjectRef:
    """Below this prefix everything is the run's own."""
    at = target.staging
    return replace(at, name=at.name[: at.name.rindex(f"{plan.run_id}/")] + f"{plan.run_id}/")


def manifest_ref(disk: ObjectRef) -> ObjectRef:
    """Where the manifest of a disk in Object Storage lies."""
    return replace(disk, name=disk.name + MANIFEST)


def fill(template: str, values: Mapping[str, str]) -> str:
    """Fill `{name}`, `{id}`, `{date}`, `{format}`; what cannot stand in a file's name becomes `_`.

    Raises:
        UsageError: an unknown placeholder.
    """

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            known = ", ".join(f"{{{name}}}" for name in values)
            raise errors.UsageError(f"unknown placeholder {match[0]} in {template!r}", hint=f"known are {known}")
        return _NOT_IN_NAMES.sub("_", values[match[1]])

    return _PLACEHOLDER.sub(value, template)


def _target(
    disk_format: str, options: ExportOptions, around: Surroundings, values: Mapping[str, str], run_id: str
) -> Target:
    values = {**values, "format": disk_format}
    path = final = None
    prefix = fill(options.object_name_prefix, values)
    if options.local:
        path = _path(options, around, values)
    if options.export_to_object_storage:
        final = ObjectRef("oci", around.namespace, around.bucket, fill(_object_template(options), values))
    name = f"{prefix}{STAGING}{run_id}/export-image.{disk_format}"
    return Target(disk_format, ObjectRef("oci", around.namespace, around.bucket, name), path, final)


def _path(options: ExportOptions, around: Surroundings, values: Mapping[str, str]) -> str:
    parts = [*_directory(options, around).split("/"), _file_template(options)]
    return "/".join(_component(part, values) for part in parts)


def _component(part: str, values: Mapping[str, str]) -> str:
    filled = fill(part, values)
    if filled != part and filled in {"", ".", ".."}:
        raise errors.UsageError(
            f"{part} would be {filled!r}, which names no file", hint="put more into it, such as {id}"
        )
    return filled


def _directory(options: ExportOptions, around: Surroundings) -> str:
    return os.path.normpath(os.path.join(around.directory, options.output_dir or "."))  # noqa: PTH118 - text only


def _file_template(options: ExportOptions) -> str:
    return options.output_name or "{name}.{format}"


def _object_template(options: ExportOptions) -> str:
    return options.object_name_prefix + (options.object_name or "{name}.{format}")


def _steps(options: ExportOptions) -> tuple[Step, ...]:
    per_format = ["export-image", "await-object"]
    per_format += ["download", "verify", "publish"] if options.local else ["verify-object"]
    per_format += ["rename"] if options.export_to_object_storage else []
    several = len(options.formats) > 1
    steps = [Step(kind, kind) for kind in ("preflight", "create-image", "await-image")]
    for disk_format in options.formats:
        steps += [Step(f"{kind}-{disk_format}" if several else kind, kind, disk_format) for kind in per_format]
    return (*steps, *(Step(kind, kind) for kind in ("write-manifest", "clean-up")))
