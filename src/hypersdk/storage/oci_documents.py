"""What Object Storage says in bodies: lists of objects, uploads and parts, read from JSON. Pure.

A body that is not what the call promises is `ReplyRefused`, never an empty list: portals and proxies answer in the
service's place, and "nothing is there" must be the service's own word (design rule 9).
Source: the API reference of ListObjects, ListMultipartUploads, ListMultipartUploadParts, CreateMultipartUpload
(docs.oracle.com/iaas/api/#/en/objectstorage).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from hypersdk import errors
from hypersdk.model import ObjectInfo, ObjectRef
from hypersdk.storage import oci_headers
from hypersdk.storage.protocol import Part, PreAuthenticated, Upload
from hypersdk.wire.request import Reply

T = TypeVar("T")

Objects = tuple[list[ObjectInfo], list[str], str]
"""A page of objects: objects, "directories", where the next page starts ("" = it is the last)."""

OBJECT_FIELDS = "name,size,etag,md5,timeModified,storageTier,archivalState"
"""What a list of objects is to tell of each."""


def objects_of(ref: ObjectRef, reply: Reply) -> Objects:
    """A page of objects."""

    def read(page: Any) -> Objects:
        if not isinstance(page["objects"], list):
            raise TypeError
        found = [_object(ref, each) for each in page["objects"]]
        return found, [str(each) for each in page.get("prefixes") or ()], page.get("nextStartWith") or ""

    return _read(ref, reply, "a page without objects", read)


def versions_of(ref: ObjectRef, reply: Reply) -> list[ObjectInfo]:
    """A page of versions of objects; a mark of deletion is one without bytes."""

    def read(page: Any) -> list[ObjectInfo]:
        return [
            _object(replace(ref, version=str(each["versionId"])), {**each, "size": each.get("size") or 0})
            for each in _listed(page["items"])
        ]

    return _read(ref, reply, "no list of versions", read)


def buckets_of(ref: ObjectRef, reply: Reply) -> list[str]:
    """A page of buckets: their names."""
    return _read(ref, reply, "no list of buckets", lambda page: [str(each["name"]) for each in _listed(page)])


def parts_of(ref: ObjectRef, reply: Reply) -> list[Part]:
    """A page of parts."""

    def read(page: Any) -> list[Part]:
        return [
            Part(int(each["partNumber"]), each["etag"], int(each["size"]), oci_headers.checksum("md5", each.get("md5")))
            for each in _listed(page)
        ]

    return _read(ref, reply, "no list of parts", read)


def uploads_of(ref: ObjectRef, reply: Reply) -> list[Upload]:
    """A page of unfinished uploads, of any name."""

    def read(page: Any) -> list[Upload]:
        return [
            Upload(replace(ref, name=each["object"]), each["uploadId"], _time(each.get("timeCreated")))
            for each in _listed(page)
        ]

    return _read(ref, reply, "no list of uploads", read)


def links_of(ref: ObjectRef, reply: Reply) -> list[PreAuthenticated]:
    """A page of links, without their URLs."""

    def read(page: Any) -> list[PreAuthenticated]:
        return [
            PreAuthenticated(
                each["id"],
                each["name"],
                each.get("objectName") or "",
                None,
                each.get("accessType") or "",
                _time(each.get("timeExpires")),
            )
            for each in _listed(page)
        ]

    return _read(ref, reply, "no list of links", read)


def begun_of(ref: ObjectRef, reply: Reply) -> Upload:
    """The upload that was created."""

    def read(made: Any) -> Upload:
        if not made["uploadId"]:
            raise ValueError
        return Upload(ref, str(made["uploadId"]))

    return _read(ref, reply, "the service began no upload", read)


def _read(ref: ObjectRef, reply: Reply, otherwise: str, read: Callable[[Any], T]) -> T:
    try:
        return read(json.loads(reply.body))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise errors.ReplyRefused(
            f"{ref}: {otherwise}",
            resource=str(ref),
            hint="something between here and the service answers in its place: check the proxy and the endpoint",
            request_id=reply.headers.get("opc-request-id"),
            status=reply.status,
        ) from error


def _listed(page: Any) -> list[Any]:
    if not isinstance(page, list):
        raise TypeError
    return page


def _object(ref: ObjectRef, found: Mapping[str, Any]) -> ObjectInfo:
    md5 = oci_headers.checksum("md5", found.get("md5"))
    return ObjectInfo(
        replace(ref, name=found["name"]),
        int(found["size"]),
        found.get("etag") or "",
        (md5,) if md5 else (),
        storage_tier=found.get("storageTier") or "",
        archival_state=found.get("archivalState") or "",
        modified=_time(found.get("timeModified")),
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
