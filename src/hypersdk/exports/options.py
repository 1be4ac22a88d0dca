"""What a user asks of an export, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from hypersdk import errors, events

FORMATS = ("qcow2", "vmdk", "vhd", "vdi", "oci")
"""What OCI's exporter writes (`exportFormat` of ExportImageDetails), in our lower case; also the file's extension."""

RUN_TAG = "hypersdk-run"
HOST_TAG = "hypersdk-host"
KEEP_TAG = "hypersdk-keep"
"""Says on the image that image and object stay on purpose, so that nobody's `gc` takes them for forgotten."""

MAX_TAGS = 10
"""Free-form tags per resource (docs.oracle.com, "Resource Tags: limits"); three of them are ours."""

MAX_NAME = 255
"""Characters of an image's display name (docs.oracle.com, CreateImageDetails)."""


@dataclass(frozen=True, slots=True)
class CloudLimits:
    """How much of OCI's exporter the runs of one store use at once; 0 = as much as it gives.

    OCI documents no limit of its exporter, so the default is a guess that keeps a large fleet from being throttled.

    Attributes:
        exports_per_region: disks that OCI writes at once, of one tenancy in one region.
        exports_per_bucket: into one bucket.
    """

    exports_per_region: int = 10
    exports_per_bucket: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """How an instance is exported.

    Names and `output_dir` may hold `{name}` and `{id}` (of the instance), `{date}` (UTC, YYYY-MM-DD) and `{format}`.

    Args:
        output_dir: local directory for the disk; None = ".", or no local file if `export_to_object_storage`.
        output_name: name of the file there.
        make_directories: make the local directory and those above it if they are missing.
        formats: formats to export, one disk each: qcow2, vmdk, vhd, vdi, oci.
        image_name: display name of the custom image.
        export_to_object_storage: leave the disk in Object Storage under its final name.
        bucket: bucket that takes the exported object; None = the configured one.
        namespace: its namespace; None = the tenancy's own.
        object_name_prefix: prefix of all object names that we make.
        object_name: the object's final name after the prefix.
        delete_after_export: delete the image and the staging object after success; False = both stay and are named.
        tags: free-form tags of the image.
        allow_shutdown: a running instance may go down while its image is made.
        overwrite: an existing disk of that name is replaced.
        new: an unfinished run of the same export is cancelled first, and a new one started.
        keep_on_failure: keep image and object even after a failure that repeating cannot cure.
        progress_reporter: told what happens.

    Raises:
        UsageError: a value makes no sense.
    """

    output_dir: str | None = None
    output_name: str | None = None
    formats: tuple[str, ...] = ("qcow2",)
    image_name: str | None = None
    export_to_object_storage: bool = False
    bucket: str | None = None
    namespace: str | None = None
    object_name_prefix: str = ""
    object_name: str | None = None
    delete_after_export: bool = True
    tags: Mapping[str, str] = field(default_factory=dict)
    allow_shutdown: bool = False
    overwrite: bool = False
    new: bool = False
    keep_on_failure: bool = False
    make_directories: bool = False
    progress_reporter: events.Reporter | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        self._check_formats()
        self._check_names()
        self._check_tags()
        if self.overwrite and self.new:
            raise errors.UsageError(
                "overwrite and new exclude each other",
                hint="--new cancels an unfinished run, --overwrite repeats a finished one",
            )

    def to_json(self) -> dict[str, Any]:
        """The options as JSON values, without the reporter; `from_json` is the reverse."""
        values = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "progress_reporter"}
        return {**values, "formats": list(self.formats), "tags": dict(self.tags)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> ExportOptions:
        """Options out of their JSON values; what an earlier version did not store has its default."""
        known = {each.name for each in fields(cls)}
        values = {name: value for name, value in stored.items() if name in known}
        return cls(**{**values, "formats": tuple(values.get("formats", ("qcow2",)))})

    @property
    def local(self) -> bool:
        """Whether a local file is wanted."""
        return self.output_dir is not None or not self.export_to_object_storage

    def _check_formats(self) -> None:
        if not self.formats:
            raise errors.UsageError("no format to export", hint=f"one of {', '.join(FORMATS)}")
        for name in self.formats:
            if name not in FORMATS:
                raise errors.UsageError(
                    f"OCI exports no {name!r} disks", resource=name, hint=f"it writes {', '.join(FORMATS)}"
                )
        if len(set(self.formats)) < len(self.formats):
            raise errors.UsageError(f"a format is asked for twice: {', '.join(self.formats)}")

    def _check_names(self) -> None:
        for what, name in (("output_name", self.output_name), ("object_name", self.object_name)):
            if name is None:
                continue
            if not name or (what == "output_name" and ("/" in name or name in {".", ".."})):
                raise errors.UsageError(f"{what}: {name!r} is not a file's name")
            if len(self.formats) > 1 and "{format}" not in name:
                raise errors.UsageError(
                    f"{name!r} would name {len(self.formats)} disks", hint="put {format} into it, or name a directory"
                )
            _check_extension(name, self.formats)

    def _check_tags(self) -> None:
        ours = {RUN_TAG, HOST_TAG, KEEP_TAG}
        if taken := ours.intersection(self.tags):
            raise errors.UsageError(f"tag {min(taken)} is our own", hint="choose another key")
        if len(self.tags) > MAX_TAGS - len(ours):
            raise errors.UsageError(
                f"{len(self.tags)} tags; OCI allows {MAX_TAGS} on a resource and {len(ours)} are our own"
            )


def _check_extension(name: str, formats: tuple[str, ...]) -> None:
    extension = name.rpartition(".")[2].lower()
    if extension in {*FORMATS, "raw"} and extension not in formats:
        raise errors.UsageError(
            f"{name!r} would hold a {formats[0]} disk",
            hint=f"--format {extension}" if extension in FORMATS else f"name it .{formats[0]}",
        )
