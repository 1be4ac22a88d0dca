"""In which compartment the things are that a call touches."""

import functools
import sqlite3
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any

from hypersdk_emulator import schema
from hypersdk_emulator.call import Call
from hypersdk_emulator.cloud import Cloud


def compartment(call: Call, at: str, body: Mapping[str, Any]) -> str | None:
    """The compartment of what a part of a call names.

    Args:
        call: The call.
        at: A word of WORDS, or a field of query or body (dotted).
        body: The call's JSON.

    Returns:
        None if the call names nothing there, or nothing that exists.
    """
    if at in WORDS:
        return WORDS[at](call, body)
    value: Any = call.query.get(at, body)
    for name in at.split(".") if value is body else ():
        value = value.get(name) if isinstance(value, Mapping) else None
    return locate(call.cloud, value) if isinstance(value, str) else None


def locate(cloud: Cloud, resource_id: str) -> str | None:
    """The compartment in which a resource of any kind lies; a compartment lies in itself."""
    if resource_id == cloud.settings.tenancy_id:
        return resource_id
    if cloud.db.one("SELECT 1 FROM compartments WHERE id = ?", resource_id):
        return resource_id
    for table in _placed():
        row = cloud.db.one(f"SELECT compartment FROM {table} WHERE id = ?", resource_id)  # noqa: S608 - our own schema
        if row is not None:
            return None if row["compartment"] is None else str(row["compartment"])
    return None


def bucket(cloud: Cloud, name: str) -> str | None:
    """The compartment of a bucket."""
    row = cloud.db.one("SELECT compartment FROM buckets WHERE name = ?", name)
    return None if row is None else str(row["compartment"])


def occupied(cloud: Cloud, compartment_id: str) -> bool:
    """True if a compartment holds a bucket, a compartment or anything else, deleted things included that still show."""
    tables = [("buckets", "compartment"), ("compartments", "parent"), *((table, "compartment") for table in _placed())]
    return any(
        cloud.db.one(f"SELECT 1 FROM {table} WHERE {column} = ?", compartment_id)  # noqa: S608 - our own schema
        for table, column in tables
    )


@functools.cache
def _placed() -> tuple[str, ...]:
    """The tables whose rows have an id and a compartment."""
    empty = sqlite3.connect(":memory:")
    for tables in schema.ALL:
        empty.executescript(tables)
    names = [str(row[0]) for row in empty.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    columns = {name: {row[1] for row in empty.execute(f"PRAGMA table_info({name})")} for name in names}
    empty.close()
    return tuple(name for name in names if {"id", "compartment"} <= columns[name])


def _of_path(call: Call, _: Mapping[str, Any]) -> str | None:
    found = (locate(call.cloud, value) for value in call.params.values())
    return next((each for each in found if each is not None), None)


def _of_bucket(call: Call, _: Mapping[str, Any]) -> str | None:
    return bucket(call.cloud, call.params["bucket"])


def _of_object(call: Call, *, exists: bool) -> str | None:
    """The bucket's compartment if an object stands at the name, or if none does."""
    statement = "SELECT 1 FROM objects WHERE bucket = ? AND name = ? AND latest = 1 AND marker = 0"
    found = call.cloud.db.one(statement, call.params["bucket"], call.params["object"]) is not None
    return _of_bucket(call, {}) if found == exists else None


def _of_copy_source(call: Call, _: Mapping[str, Any]) -> str | None:
    source = urllib.parse.unquote(call.header("x-amz-copy-source") or "").lstrip("/")
    return bucket(call.cloud, source.partition("/")[0])


def _of_s3(call: Call, _: Mapping[str, Any]) -> str | None:
    designated = call.cloud.db.setting("designated-compartments") or {}
    return str(designated.get("defaultS3CompartmentId", call.cloud.settings.tenancy_id))


WORDS: dict[str, Callable[[Call, Mapping[str, Any]], str | None]] = {
    "tenancy": lambda call, _: call.cloud.settings.tenancy_id,
    "path": _of_path,
    "bucket": _of_bucket,
    "new-object": lambda call, _: _of_object(call, exists=False),
    "old-object": lambda call, _: _of_object(call, exists=True),
    "destinationBucket": lambda call, body: bucket(call.cloud, str(body.get("destinationBucket"))),
    "copy-source": _of_copy_source,
    "s3": _of_s3,
}
"""Parts of a call that have a name of their own in the table of needs."""
