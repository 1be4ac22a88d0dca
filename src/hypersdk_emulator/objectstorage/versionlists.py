"""ListObjectVersions: by name, the newest version of a name first, delete markers included."""

from collections.abc import Iterator
from typing import Any

from aiohttp import web

from hypersdk_emulator.call import Call, encode_page, whole
from hypersdk_emulator.database import Row
from hypersdk_emulator.errors import ServiceError
from hypersdk_emulator.objectstorage.common import require_bucket
from hypersdk_emulator.objectstorage.objectlists import AFTER_ALL, Range, fields_of, range_of, summaries


def page_after(name: str, row: int = 0) -> str:
    """The token of the page that begins after a version, given by its row; after all versions of the name without."""
    return encode_page(f"{name}\0{row}")


def page_after_group(prefix: str) -> str:
    """The token of the page that begins after all names with a common prefix."""
    return page_after(prefix + AFTER_ALL)


def _begin(call: Call) -> tuple[str, int]:
    token = call.page_token()
    if not token:
        return "", 0
    name, found, row = token.rpartition("\0")
    number = whole(row)
    if not found or number is None:
        raise ServiceError(400, "InvalidPage", "The page token is not one of this list")
    return name, number


def _entries(call: Call, bucket: str, names: Range, delimiter: str) -> Iterator[tuple[str, Row | None]]:
    """Names with the rows of their versions and, with a delimiter, common prefixes with None, in order."""
    after, last = _begin(call)
    statement = (
        "SELECT * FROM objects WHERE bucket = ? AND name >= ? AND name < ? "
        "AND (name > ? OR (name = ? AND id < ?)) ORDER BY name, id DESC"
    )
    again = True
    while again:
        again = False
        for row in call.cloud.db.execute(statement, bucket, names.first, names.end, after, after, last):
            name = str(row["name"])
            rest, found, _ = name[len(names.prefix) :].partition(delimiter) if delimiter else (name, "", "")
            if found:
                group = names.prefix + rest + found
                yield group, None
                after, last, again = group + AFTER_ALL, 0, True
                break
            yield name, row


async def list_object_versions(call: Call) -> web.StreamResponse:
    """ListObjectVersions, paged by header."""
    bucket, delimiter = require_bucket(call), call.query.get("delimiter", "")
    if delimiter not in ("", "/"):
        raise ServiceError(400, "InvalidParameter", "delimiter: only '/' is supported")
    limit, fields = call.limit(default=1000), fields_of(call, "name,size,etag,timeCreated,timeModified")
    items: list[dict[str, Any]] = []
    prefixes: list[str] = []
    headers, place = {}, ""
    summary = summaries(call.cloud, fields | {"timecreated", "timemodified"})
    for name, row in _entries(call, bucket.name, range_of(call), delimiter):
        if len(items) + len(prefixes) == limit:
            headers["opc-next-page"] = place
            break
        if row is None:
            prefixes.append(name)
            place = page_after_group(name)
            continue
        items.append({**summary(row), "versionId": row["version"], "isDeleteMarker": bool(row["marker"])})
        place = page_after(name, row["id"])
    return call.reply({"items": items, "prefixes": prefixes}, headers=headers)
