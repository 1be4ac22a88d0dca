"""ListObjects: order by UTF-8 bytes, prefix, delimiter, start, end, pages; parts of it serve ListObjectVersions."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from hypersdk_emulator.call import Call
from hypersdk_emulator.clock import iso
from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.database import Row
from hypersdk_emulator.errors import ServiceError, invalid_parameter
from hypersdk_emulator.objectstorage.common import require_bucket
from hypersdk_emulator.objectstorage.storage import object_of

AFTER_ALL = "\U0010ffff\U0010ffff"  # after every name with the same beginning, in the order of UTF-8 bytes


@dataclass(frozen=True)
class Range:
    """The names to look at: from `first` (inclusive) up to `end` (exclusive), all beginning with `prefix`."""

    prefix: str
    first: str
    end: str


def range_of(call: Call) -> Range:
    """The names that a list call asks for."""
    query = call.query
    prefix = query.get("prefix", "")
    first = max(prefix, query.get("start", ""), key=str.encode)
    if after := query.get("startAfter"):
        # Nothing lies between a name and the same name with a NUL, which no name has.
        first = max(first, after + "\0", key=str.encode)
    end = prefix + AFTER_ALL if prefix else AFTER_ALL
    if stop := query.get("end"):
        end = min(end, stop, key=str.encode)
    return Range(prefix, first, end)


def _groups(cloud: Cloud, bucket: str, names: Range, delimiter: str) -> Iterator[tuple[str, Row | None]]:
    """Names with their rows and, with a delimiter, common prefixes with None, in order, one by one."""
    first = names.first
    statement = (
        "SELECT * FROM objects WHERE bucket = ? AND latest = 1 AND marker = 0 AND name >= ? AND name < ? ORDER BY name"
    )
    again = True
    while again:
        again = False
        for row in cloud.db.execute(statement, bucket, first, names.end):
            name = str(row["name"])
            rest, found, _ = name[len(names.prefix) :].partition(delimiter) if delimiter else (name, "", "")
            if found:
                group = names.prefix + rest + found
                yield group, None
                first, again = group[:-1] + chr(ord(group[-1]) + 1), True
                break
            yield name, row


def fields_of(call: Call, default: str) -> frozenset[str]:
    """The fields that a list call asks for, in lower case.

    Raises:
        ServiceError: 400 for an unknown one.
    """
    fields = frozenset(field.strip().lower() for field in call.query.get("fields", default).split(","))
    if unknown := fields.difference(_VALUES):
        raise invalid_parameter(f"fields: unknown {', '.join(sorted(unknown))}")
    return fields


def _archival_state(row: Row, now: float) -> str | None:
    return object_of(row).archival_state(now) if row["tier"] == "Archive" else None


_VALUES: Mapping[str, tuple[str, Callable[[Row, float], Any]]] = {
    "name": ("name", lambda row, _: row["name"]),
    "size": ("size", lambda row, _: row["size"]),
    "etag": ("etag", lambda row, _: row["etag"]),
    "md5": ("md5", lambda row, _: row["md5"]),
    "timecreated": ("timeCreated", lambda row, _: iso(row["created"])),
    "timemodified": ("timeModified", lambda row, _: iso(row["modified"])),
    "storagetier": ("storageTier", lambda row, _: row["tier"]),
    "archivalstate": ("archivalState", _archival_state),
}
"""The fields of the SDK's model ObjectSummary by their names in a query, each made of an object's row and the time."""


def summaries(cloud: Cloud, fields: frozenset[str]) -> Callable[[Row], dict[str, Any]]:
    """What makes the SDK's model ObjectSummary of an object's row, with some fields; the name is always there."""
    now = cloud.clock.timestamp()
    chosen = [each for field, each in _VALUES.items() if field in fields or field == "name"]
    return lambda row: {name: value(row, now) for name, value in chosen}


async def list_objects(call: Call) -> web.StreamResponse:
    """ListObjects; the next page begins at the body field `nextStartWith`."""
    bucket = require_bucket(call)
    limit, fields = call.limit(default=1000), fields_of(call, "name")
    delimiter = call.query.get("delimiter", "")
    if delimiter not in ("", "/"):
        raise ServiceError(400, "InvalidParameter", "delimiter: only '/' is supported")
    objects: list[dict[str, Any]] = []
    prefixes: list[str] = []
    body: dict[str, Any] = {"objects": objects}
    summary = summaries(call.cloud, fields)
    for name, row in _groups(call.cloud, bucket.name, range_of(call), delimiter):
        if len(objects) + len(prefixes) == limit:
            body["nextStartWith"] = name
            break
        if row is None:
            prefixes.append(name)
        else:
            objects.append(summary(row))
    if delimiter:
        body["prefixes"] = prefixes
    return call.reply(body)
