"""Where an export goes and an import comes from: a bucket and a name, or a URL, plain or of a PAR."""

import json
import urllib.parse
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from hypersdk_emulator.call import Call
from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.errors import ServiceError, invalid_parameter
from hypersdk_emulator.fields import text
from hypersdk_emulator.identity.access import creator_may
from hypersdk_emulator.objectstorage.common import check_name

NO_EXPORT_BUCKET = "Invalid bucketName: Specified namespace or bucket to export image does not exist"
"""OCI's 400, also for federated users and principals (oci-cli issue 384, oci-python-sdk issue 438)."""
NO_IMPORT_OBJECT = "Invalid objectName: Specified object or bucket or namespace to import image from does not exist"
MAX_URL = 3500
"""Bytes of a PAR's URL (documentation, 'Pre-Authenticated Requests')."""
READ, WRITE = "Read", "Write"
_URL_SEGMENTS = 6


@dataclass(frozen=True)
class Place:
    """An object's address, and the token of the PAR by which it is reached (empty: by the caller's own rights)."""

    bucket: str
    object: str
    par: str = ""

    def as_doc(self) -> dict[str, str]:
        """For a job's `doc`."""
        return asdict(self)


def export_place(call: Call, body: Mapping[str, Any]) -> Place:
    """The destination of ExportImage.

    Raises:
        ServiceError: 400 for no such bucket, for a PAR that cannot write, and for a signer who needs a PAR.
    """
    place = _place(call, body, "destinationType", "destinationUri", WRITE)
    check_name(place.object)
    return place


def import_place(call: Call, details: Mapping[str, Any]) -> Place:
    """The source of an import; its object exists.

    Raises:
        ServiceError: 400 for no such object, for a PAR that cannot read, and for a signer who needs a PAR.
    """
    place = _place(call, details, "sourceType", "sourceUri", READ)
    if latest_body(call.cloud, place) is None:
        raise invalid_parameter(NO_IMPORT_OBJECT)
    return place


def latest_body(cloud: Cloud, place: Place) -> int | None:
    """The body id of the object that stands at a place, or None."""
    statement = "SELECT body FROM objects WHERE bucket = ? AND name = ? AND latest = 1 AND marker = 0"
    row = cloud.db.one(statement, place.bucket, place.object)
    return None if row is None else int(row["body"])


def par_problem(cloud: Cloud, place: Place, right: str) -> str | None:
    """Why the place's PAR does not give a right (`Read` or `Write`) on its object now; None if it does."""
    row = cloud.db.one("SELECT * FROM pars WHERE token = ?", place.par)
    if row is None:
        return "the pre-authenticated request does not exist"
    if cloud.clock.timestamp() >= row["expires"]:
        return "the pre-authenticated request has expired"
    doc = json.loads(row["doc"])
    access = str(doc["accessType"])
    if right not in access:
        return f"the pre-authenticated request gives {access} only"
    if not creator_may(cloud, doc, right, row["bucket"]):
        return "its maker has no such right any more"
    fits = row["bucket"] == place.bucket and (access.startswith("Any") or row["object"] == place.object)
    return None if fits else "the pre-authenticated request is for another object"


def _place(call: Call, body: Mapping[str, Any], type_key: str, uri_key: str, right: str) -> Place:
    refusal = invalid_parameter(NO_EXPORT_BUCKET if right == WRITE else NO_IMPORT_OBJECT)
    namespace = call.cloud.settings.namespace
    match text(body, type_key):
        case "objectStorageTuple":
            place = Place(text(body, "bucketName"), text(body, "objectName", 1024))
            here = body.get("namespaceName") == namespace
        case "objectStorageUri":
            place, url_namespace = _parse_url(text(body, uri_key, MAX_URL), uri_key)
            here = url_namespace == namespace
        case other:
            raise invalid_parameter(f"{type_key} must be objectStorageTuple or objectStorageUri; it is {other!r}")
    if not here:
        raise refusal
    if place.par:
        if problem := par_problem(call.cloud, place, right):
            raise invalid_parameter(f"Invalid {uri_key}: {problem}")
    elif call.principal.federated or not _may(call, place, right):
        raise refusal
    return place


def _may(call: Call, place: Place, right: str) -> bool:
    """True if the bucket exists and the caller may read or write objects in it."""
    row = call.cloud.db.one("SELECT compartment FROM buckets WHERE name = ?", place.bucket)
    operation = "PutObject" if right == WRITE else "GetObject"
    return row is not None and call.allowed(operation, row["compartment"], bucket=place.bucket, object=place.object)


def _parse_url(url: str, key: str) -> tuple[Place, str]:
    """The place and the namespace that a URL names; its host may be any, as dedicated endpoints have their own."""
    parts = urllib.parse.urlsplit(url)
    segments = parts.path.split("/", 8 if parts.path.startswith("/p/") else _URL_SEGMENTS)[1:]
    par = ""
    if segments[:1] == ["p"] and len(segments) > 1:
        par, segments = segments[1], segments[2:]
    keys, values = segments[0::2], [urllib.parse.unquote(value) for value in segments[1::2]]
    if parts.scheme not in ("http", "https") or keys != ["n", "b", "o"] or len(values) != len(keys) or not all(values):
        raise ServiceError(
            400, "InvalidParameter", f"Invalid {key}: expected https://HOST[/p/TOKEN]/n/NS/b/BUCKET/o/NAME"
        )
    namespace, bucket, name = values
    return Place(bucket, name, par), namespace
