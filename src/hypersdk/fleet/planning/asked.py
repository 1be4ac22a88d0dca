"""What a user asks for an instance of a fleet, in a file or on the command line, and the options it comes to. Pure.

Each source says only what it says: what one leaves open the next one fills (`Asked.over`); `options` makes of all of it
what one export takes.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from hypersdk import errors
from hypersdk.exports.options import FORMATS, ExportOptions
from hypersdk.model import ObjectRef
from hypersdk.readers.units import parse_switch
from hypersdk.storage import url

_PLACEHOLDER = re.compile(r"\{[^{}]*\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was said about an export; None = nothing.

    Attributes:
        output: local file or directory; may hold {compartment}, {region}, {name}, {id}, {date}, {format}.
        to: URL in Object Storage, with the same placeholders.
        format: formats, one disk each.
        image_name: display name of the custom image.
        object_prefix: prefix of the temporary object's name.
        tags: free-form tags of the image.
        allow_shutdown: a running instance may go down.
        keep_image: image and object stay.
        keep_on_failure: they stay even after a failure for good.
        overwrite: a disk that is there is replaced.
        new: an unfinished run is cancelled first.
        priority: a smaller number goes first.
    """

    output: str | None = None
    to: str | None = None
    format: tuple[str, ...] | None = None
    image_name: str | None = None
    object_prefix: str | None = None
    tags: Mapping[str, str] | None = None
    allow_shutdown: bool | None = None
    keep_image: bool | None = None
    keep_on_failure: bool | None = None
    overwrite: bool | None = None
    new: bool | None = None
    priority: int | None = None

    def over(self, base: Asked) -> Asked:
        """This, and for what it leaves open `base`. Tags of both count; where one says where to, the other does not."""
        said = {each.name: value for each in fields(self) if (value := getattr(self, each.name)) is not None}
        if base.tags and self.tags:
            said["tags"] = {**base.tags, **self.tags}
        if self.output is not None or self.to is not None:
            said |= {"output": self.output, "to": self.to}
        return replace(base, **said)


NOTHING = Asked()
"""Nothing was said."""


def read_format(text: str) -> tuple[str, ...]:
    """Read formats: names with blanks, commas or plus signs between.

    Raises:
        ValueError: one is not known; with the nearest.
    """
    found = tuple(filter(None, re.split(r"[\s,+]+", text.lower())))
    for name in found:
        if name not in FORMATS:
            near = difflib.get_close_matches(name, FORMATS, n=1)
            raise ValueError(
                f"no format {name!r}; " + (f"did you mean {near[0]!r}?" if near else f"known are {', '.join(FORMATS)}")
            )
    return found


def read_tags(texts: Iterable[str]) -> dict[str, str]:
    """Read tags: KEY=VALUE each.

    Raises:
        UsageError: one is not.
    """
    tags = {}
    for text in texts:
        key, middle, value = text.partition("=")
        if not middle or not key:
            raise errors.UsageError(f"not a tag: {text!r}", hint="--tag KEY=VALUE")
        tags[key] = value
    return tags


def read_priority(text: str) -> int:
    """Read a priority.

    Raises:
        ValueError: not a whole number.
    """
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"not a whole number: {text!r}") from None


READERS: Mapping[str, Callable[[str], Any]] = {
    "output": str,
    "to": str,
    "format": read_format,
    "image_name": str,
    "object_prefix": str,
    "allow_shutdown": parse_switch,
    "keep_image": parse_switch,
    "keep_on_failure": parse_switch,
    "overwrite": parse_switch,
    "new": parse_switch,
    "priority": read_priority,
}
"""Key -> what reads its text; `tags` has more than one text and is read where it stands."""


def options(asked: Asked, *, compartment: str, region: str, directory: str) -> ExportOptions:
    """The options of one export.

    Args:
        asked: everything that was said about it.
        compartment: path of its compartment, for {compartment}.
        region: for {region}.
        directory: absolute path that relative ones start from.

    Raises:
        UsageError: what was asked for makes no sense.
    """
    place = {"compartment": compartment, "region": region}
    values: dict[str, Any] = {
        "formats": asked.format or ("qcow2",),
        "image_name": asked.image_name and _fill(asked.image_name, place),
        "object_name_prefix": _fill(asked.object_prefix or "", place),
        "delete_after_export": not asked.keep_image,
        "tags": dict(asked.tags or {}),
        "allow_shutdown": bool(asked.allow_shutdown),
        "overwrite": bool(asked.overwrite),
        "new": bool(asked.new),
        "keep_on_failure": bool(asked.keep_on_failure),
        "make_directories": True,
    }
    if asked.output is not None or asked.to is None:
        values |= _local(_fill(asked.output or ".", place), directory)
    if asked.to is not None:
        if asked.object_prefix:
            raise errors.UsageError(
                "an object prefix and a URL exclude each other", hint="write the prefix into the URL"
            )
        values |= object_place(_fill(asked.to, place))
    return ExportOptions(**values)


def object_place(text: str) -> dict[str, Any]:
    """The options that leave the disk at a URL in Object Storage: a prefix, or an object if it ends like a disk.

    Raises:
        UsageError: an export cannot go there.
    """
    address = url.parse(text)
    ref: ObjectRef = address.ref
    if ref.scheme != "oci" or address.token is not None:
        raise errors.UsageError(f"an export cannot go to {address}", resource=str(address), hint=url.OCI_FORMS)
    directory, _, last = ref.name.rpartition("/")
    names_object = any(last.lower().endswith(f".{name}") for name in (*FORMATS, "{format}"))
    prefix = directory if names_object else ref.name.rstrip("/")
    return {
        "export_to_object_storage": True,
        "namespace": ref.namespace,
        "bucket": ref.bucket,
        "object_name_prefix": f"{prefix}/" if prefix else "",
        "object_name": last if names_object else None,
    }


def _local(output: str, directory: str) -> dict[str, Any]:
    address = url.parse(output)
    if address.ref.scheme != "file":
        raise errors.UsageError(f"a local file or directory is expected, not {output}", hint=f"to: {output}")
    path = os.path.normpath(os.path.join(directory, str(address.ref)))  # noqa: PTH118 - text only
    above, _, last = path.rpartition("/")
    # Many disks need a directory; a file is meant only by a name that says so.
    if output.endswith("/") or not (
        _PLACEHOLDER.search(last) or last.lower().endswith(tuple(f".{one}" for one in FORMATS))
    ):
        return {"output_dir": path}
    return {"output_dir": above or "/", "output_name": last}


def _fill(template: str, place: Mapping[str, str]) -> str:
    """Fill what is the same on every day; the rest is filled when the export is planned."""
    for name, value in place.items():
        template = template.replace(f"{{{name}}}", value)
    return template
