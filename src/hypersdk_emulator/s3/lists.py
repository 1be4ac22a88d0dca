"""S3's lists of objects and versions, made of the native ones."""

import urllib.parse
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from hypersdk_emulator.call import Call, decode_page, encode_page, whole
from hypersdk_emulator.errors import ServiceError
from hypersdk_emulator.objectstorage import storage
from hypersdk_emulator.objectstorage.versionlists import page_after, page_after_group
from hypersdk_emulator.s3 import told
from hypersdk_emulator.s3.buckets import xml_reply
from hypersdk_emulator.s3.words import CLASSES, etag
from hypersdk_emulator.s3.xmlbodies import Content

MAX_KEYS = 1000
_FIELDS = "name,size,md5,timeModified,storageTier"


def page_size(call: Call, name: str) -> int:
    """A number of items asked for, at most 1000.

    Raises:
        ServiceError: 400 for no number.
    """
    text = call.query.get(name)
    if text is None:
        return MAX_KEYS
    size = whole(text)
    if size is None:
        raise ServiceError(400, "InvalidArgument", f"Argument {name} must be an integer between 0 and 2147483647")
    return min(size, MAX_KEYS)


class Encoder:
    """Writes names as the `encoding-type` of a request wants them."""

    def __init__(self, call: Call) -> None:
        kind = call.query.get("encoding-type")
        if kind not in (None, "url"):
            raise ServiceError(400, "InvalidArgument", "Invalid Encoding Method specified in Request")
        self.kind = kind

    def __call__(self, name: str) -> str:
        """The name as it stands in the reply."""
        return urllib.parse.quote(name, safe="/") if self.kind else name


def _owner(call: Call) -> tuple[tuple[str, str], ...]:
    return (("ID", call.cloud.settings.namespace), ("DisplayName", call.cloud.settings.namespace))


def _row(call: Call, item: Mapping[str, Any], name: str, *, owner: bool) -> tuple[str, Any]:
    content = (
        ("Key", name),
        ("LastModified", item["timeModified"]),
        ("ETag", etag(item["md5"])),
        ("Size", item["size"]),
        ("Owner", _owner(call) if owner else None),
        ("StorageClass", CLASSES[item["storageTier"]]),
    )
    return "Contents", content


async def _page(call: Call, start: Mapping[str, str | None], limit: int) -> dict[str, Any]:
    """A native page; with a limit of 0 an empty one, as the native call has none."""
    query = {"prefix": call.query.get("prefix"), "delimiter": call.query.get("delimiter") or None, "fields": _FIELDS}
    asked = {**query, **start, "limit": str(max(1, limit))}
    body, _ = await told.answer(told.native(call, "ListObjects", query=asked))
    return {"objects": [], "prefixes": []} if limit == 0 else dict(body)


async def list_objects_v2(call: Call) -> web.StreamResponse:
    """ListObjectsV2: the continuation token hides the name with which the next page begins."""
    limit, encode, token = page_size(call, "max-keys"), Encoder(call), call.query.get("continuation-token")
    if token == "":
        raise ServiceError(400, "InvalidArgument", "The continuation token provided is incorrect")
    start = {"start": decode_page(token)} if token else {"startAfter": call.query.get("start-after")}
    page = await _page(call, start, limit)
    owner = call.query.get("fetch-owner") == "true"
    rest = page.get("nextStartWith")
    content: list[tuple[str, Content]] = [
        ("Name", call.params["bucket"]),
        ("Prefix", encode(call.query.get("prefix", ""))),
        ("StartAfter", encode(call.query["start-after"]) if "start-after" in call.query else None),
        ("MaxKeys", limit),
        ("Delimiter", encode(call.query["delimiter"]) if call.query.get("delimiter") else None),
        ("EncodingType", encode.kind),
        ("KeyCount", len(page["objects"]) + len(page.get("prefixes", ()))),
        ("IsTruncated", rest is not None),
        ("ContinuationToken", token),
        ("NextContinuationToken", None if rest is None else encode_page(rest)),
    ]
    content += [_row(call, item, encode(item["name"]), owner=owner) for item in page["objects"]]
    content += [("CommonPrefixes", (("Prefix", encode(name)),)) for name in page.get("prefixes", ())]
    return xml_reply(call, "ListBucketResult", content)


def _after(marker: str, delimiter: str) -> dict[str, str | None]:
    """Where a list goes on after a marker; after a common prefix, behind all names below it."""
    if delimiter and marker.endswith(delimiter):
        return {"start": marker[:-1] + chr(ord(marker[-1]) + 1)}
    return {"startAfter": marker or None}


async def list_objects(call: Call) -> web.StreamResponse:
    """ListObjects, version 1: a marker is the last name or common prefix of the page before."""
    limit, encode = page_size(call, "max-keys"), Encoder(call)
    delimiter, marker = call.query.get("delimiter", ""), call.query.get("marker", "")
    page = await _page(call, _after(marker, delimiter), limit)
    names = [item["name"] for item in page["objects"]] + list(page.get("prefixes", ()))
    more = "nextStartWith" in page
    content: list[tuple[str, Content]] = [
        ("Name", call.params["bucket"]),
        ("Prefix", encode(call.query.get("prefix", ""))),
        ("Marker", encode(marker)),
        ("NextMarker", encode(max(names, key=str.encode)) if more and delimiter else None),
        ("MaxKeys", limit),
        ("Delimiter", encode(delimiter) if delimiter else None),
        ("EncodingType", encode.kind),
        ("IsTruncated", more),
    ]
    content += [_row(call, item, encode(item["name"]), owner=True) for item in page["objects"]]
    content += [("CommonPrefixes", (("Prefix", encode(name)),)) for name in page.get("prefixes", ())]
    return xml_reply(call, "ListBucketResult", content)


# ---------------------------------------------------------------- versions


def _version_page(call: Call, delimiter: str | None) -> str | None:
    """The native page token that goes on after the markers of the request."""
    key, version = call.query.get("key-marker"), call.query.get("version-id-marker")
    if not key:
        return None
    if not version:
        return page_after_group(key) if delimiter and key.endswith(delimiter) else page_after(key)
    found = storage.version(call.cloud, call.params["bucket"], key, version)
    if found is None:
        raise ServiceError(400, "InvalidArgument", "Invalid version id specified")
    return page_after(key, found.id)


def _version_row(call: Call, item: Mapping[str, Any], name: str, *, latest: bool) -> tuple[str, Any]:
    head = [("Key", name), ("VersionId", item["versionId"]), ("IsLatest", latest)]
    head.append(("LastModified", item["timeModified"]))
    if item["isDeleteMarker"]:
        return "DeleteMarker", [*head, ("Owner", _owner(call))]
    rest = (("ETag", etag(item["md5"])), ("Size", item["size"]), ("StorageClass", CLASSES[item["storageTier"]]))
    return "Version", [*head, *rest, ("Owner", _owner(call))]


async def list_versions(call: Call) -> web.StreamResponse:
    """ListObjectVersions: names in order, the newest version of a name first."""
    limit, encode = page_size(call, "max-keys"), Encoder(call)
    delimiter = call.query.get("delimiter") or None
    query = {"prefix": call.query.get("prefix"), "fields": _FIELDS, "page": _version_page(call, delimiter)}
    asked = {**query, "delimiter": delimiter, "limit": str(max(1, limit))}
    body, headers = await told.answer(told.native(call, "ListObjectVersions", query=asked))
    items, prefixes = ([], []) if limit == 0 else (body["items"], body["prefixes"])
    last = None
    if limit and "opc-next-page" in headers:
        ends = [*items[-1:], *({"name": prefix} for prefix in prefixes[-1:])]
        last = max(ends, key=lambda end: str(end["name"]).encode())
    content: list[tuple[str, Content]] = [
        ("Name", call.params["bucket"]),
        ("Prefix", encode(call.query.get("prefix", ""))),
        ("KeyMarker", encode(call.query.get("key-marker", ""))),
        ("VersionIdMarker", call.query.get("version-id-marker", "")),
        ("NextKeyMarker", encode(last["name"]) if last else None),
        ("NextVersionIdMarker", last.get("versionId") if last else None),
        ("MaxKeys", limit),
        ("Delimiter", encode(delimiter) if delimiter else None),
        ("EncodingType", encode.kind),
        ("IsTruncated", last is not None),
    ]
    for item in items:
        newest = storage.newest_version(call.cloud, call.params["bucket"], item["name"])
        content.append(_version_row(call, item, encode(item["name"]), latest=newest == item["versionId"]))
    content += [("CommonPrefixes", (("Prefix", encode(name)),)) for name in prefixes]
    return xml_reply(call, "ListVersionsResult", content)
