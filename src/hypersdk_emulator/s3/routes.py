"""The rows of the S3 API in the route table, and how a request finds its row: by method, path and subresource.

Operations carry S3's names with `S3` in front, because most of them are names of native operations, too.
"""

import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass

from hypersdk_emulator.errors import ServiceError
from hypersdk_emulator.routing import Handler, Route
from hypersdk_emulator.s3 import buckets, lists, multipart, objects

_SERVICE, _BUCKET, _OBJECT = "/", "/{bucket}", "/{bucket}/{object*}"
_UNLISTED = "not among the calls that OCI's documentation lists for its S3 API"
_ABSENT = frozenset(
    {
        "accelerate",
        "acl",
        "analytics",
        "attributes",
        "cors",
        "encryption",
        "intelligent-tiering",
        "inventory",
        "legal-hold",
        "lifecycle",
        "logging",
        "metrics",
        "notification",
        "object-lock",
        "ownershipControls",
        "policy",
        "policyStatus",
        "publicAccessBlock",
        "replication",
        "requestPayment",
        "retention",
        "select",
        "tagging",
        "torrent",
        "versioning",
        "website",
    }
)


@dataclass(frozen=True)
class Row:
    """A row of the table with what a request needs to take it.

    Args:
        route: The row.
        query: Parameters that must be in the query.
        header: A header that must be there, or empty.
    """

    route: Route
    query: tuple[str, ...] = ()
    header: str = ""


def _row(
    operation: str,
    method: str,
    pattern: str,
    handler: Handler,
    *query: str,
    header: str = "",
    differs: str = "",
) -> Row:
    text = f"{pattern}?{'&'.join(query)}" if query else pattern
    signed = method not in ("PUT", "POST")  # the payload's hash is checked while it comes in
    route = Route(f"S3{operation}", "s3", method, text, handler, auth="s3", body_signed=signed, differs=differs)
    return Row(route, query, header)


_COPY = "x-amz-copy-source"

ROWS = (
    _row("ListBuckets", "GET", _SERVICE, buckets.list_buckets),
    _row("GetBucketLocation", "GET", _BUCKET, buckets.get_location, "location"),
    _row("GetBucketVersioning", "GET", _BUCKET, buckets.get_versioning, "versioning", differs=_UNLISTED),
    _row("GetBucketTagging", "GET", _BUCKET, buckets.get_tagging, "tagging"),
    _row("ListMultipartUploads", "GET", _BUCKET, multipart.list_uploads, "uploads"),
    _row("ListObjectVersions", "GET", _BUCKET, lists.list_versions, "versions", differs=_UNLISTED),
    _row("ListObjectsV2", "GET", _BUCKET, lists.list_objects_v2, "list-type"),
    _row("ListObjects", "GET", _BUCKET, lists.list_objects),
    _row("HeadBucket", "HEAD", _BUCKET, buckets.head_bucket),
    _row("PutBucketVersioning", "PUT", _BUCKET, buckets.put_versioning, "versioning", differs=_UNLISTED),
    _row("PutBucketTagging", "PUT", _BUCKET, buckets.put_tagging, "tagging"),
    _row("CreateBucket", "PUT", _BUCKET, buckets.create_bucket),
    _row("DeleteBucketTagging", "DELETE", _BUCKET, buckets.delete_tagging, "tagging"),
    _row("DeleteBucket", "DELETE", _BUCKET, buckets.delete_bucket),
    _row("DeleteObjects", "POST", _BUCKET, objects.delete_objects, "delete"),
    _row("ListParts", "GET", _OBJECT, multipart.list_parts, "uploadId"),
    _row("GetObject", "GET", _OBJECT, objects.get_object),
    _row("HeadObject", "HEAD", _OBJECT, objects.get_object),
    _row("UploadPartCopy", "PUT", _OBJECT, multipart.upload_part_copy, "uploadId", "partNumber", header=_COPY),
    _row("UploadPart", "PUT", _OBJECT, multipart.upload_part, "uploadId", "partNumber"),
    _row("CopyObject", "PUT", _OBJECT, objects.copy_object, header=_COPY),
    _row("PutObject", "PUT", _OBJECT, objects.put_object),
    _row("CreateMultipartUpload", "POST", _OBJECT, multipart.create_upload, "uploads"),
    _row("CompleteMultipartUpload", "POST", _OBJECT, multipart.complete_upload, "uploadId"),
    _row("RestoreObject", "POST", _OBJECT, objects.restore_object, "restore"),
    _row("AbortMultipartUpload", "DELETE", _OBJECT, multipart.abort_upload, "uploadId"),
    _row("DeleteObject", "DELETE", _OBJECT, objects.delete_object),
)
S3 = tuple(row.route for row in ROWS)
"""The rows for the route table."""


def find(method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> tuple[Route, dict[str, str]]:
    """The row of a request and its decoded path parameters.

    Args:
        method: HTTP method.
        path: Raw path without the query. The key begins after the bucket's slash; slashes in it stay as they are.
        query: Decoded parameters.
        headers: Case-insensitive.

    Raises:
        ServiceError: 501 for subresources that OCI does not have, 405 for other methods, 400 for bad encoding.
    """
    bucket, _, key = path.removeprefix("/").partition("/")
    if key and not bucket:
        raise ServiceError(400, "InvalidBucketName", "The specified bucket is not valid.")
    pattern = _OBJECT if key else _BUCKET if bucket else _SERVICE
    for row in ROWS:
        fits = row.route.method == method and row.route.pattern.partition("?")[0] == pattern
        if not fits or not all(name in query for name in row.query) or (row.header and row.header not in headers):
            continue
        if unknown := sorted(_ABSENT.intersection(query).difference(row.query)):
            raise ServiceError(501, "NotImplemented", f"S3 {unknown[0]} operation is not supported.")
        names = {"bucket": bucket, "object": key}
        return row.route, {name: _decode(value) for name, value in names.items() if value}
    if _ABSENT.intersection(query):
        raise ServiceError(501, "NotImplemented", "This S3 operation is not supported.")
    raise ServiceError(405, "MethodNotAllowed", "The specified method is not allowed against this resource.")


def _decode(value: str) -> str:
    try:
        return urllib.parse.unquote(value, errors="strict")
    except UnicodeDecodeError:
        raise ServiceError(400, "InvalidURI", "Couldn't parse the specified URI.") from None
