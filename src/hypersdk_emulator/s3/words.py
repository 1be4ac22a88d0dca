"""The two dictionaries: S3's words for errors, headers, tiers and etags, and Object Storage's own. Pure.

Sources: the Amazon S3 API reference for S3's side; "Amazon S3 Compatibility API Support" in OCI's documentation for
what is there at all. Codes that S3 does not know go through unchanged.
"""

import base64
import hashlib
from collections.abc import Mapping
from typing import Final

from hypersdk_emulator.errors import ServiceError

TIERS: Final[Mapping[str, str]] = {
    "STANDARD": "Standard",
    "STANDARD_IA": "InfrequentAccess",
    "GLACIER": "Archive",
    "ARCHIVE": "Archive",
}
CLASSES: Final[Mapping[str, str]] = {"Standard": "STANDARD", "InfrequentAccess": "STANDARD_IA", "Archive": "GLACIER"}
META: Final = "x-amz-meta-"
SSE: Final = "x-amz-server-side-encryption-customer-"
COPIED_SSE: Final = "x-amz-copy-source-server-side-encryption-customer-"
CONTENT_HEADERS: Final = (
    "content-type",
    "content-language",
    "content-encoding",
    "content-disposition",
    "cache-control",
    "content-length",
    "content-md5",
    "expect",
    "range",
)
OVERRIDES: Final[Mapping[str, str]] = {
    "response-content-type": "httpResponseContentType",
    "response-content-language": "httpResponseContentLanguage",
    "response-content-encoding": "httpResponseContentEncoding",
    "response-content-disposition": "httpResponseContentDisposition",
    "response-cache-control": "httpResponseCacheControl",
    "response-expires": "httpResponseExpires",
}
_CHECKSUMS: Final[Mapping[str, str]] = {
    "x-amz-checksum-crc32c": "opc-content-crc32c",
    "x-amz-checksum-sha256": "opc-content-sha256",
}
_ERRORS: Final[Mapping[str, tuple[int, str]]] = {
    "BucketNotFound": (404, "NoSuchBucket"),
    "NamespaceNotFound": (404, "NoSuchBucket"),
    "ObjectNotFound": (404, "NoSuchKey"),
    "UploadNotFound": (404, "NoSuchUpload"),
    "NotAuthorizedOrNotFound": (403, "AccessDenied"),
    "NotAuthenticated": (403, "AccessDenied"),
    "NotFound": (405, "MethodNotAllowed"),
    "PreauthenticatedRequestStillExists": (409, "BucketNotEmpty"),
    "InvalidObjectName": (400, "InvalidArgument"),
    "InvalidParameter": (400, "InvalidArgument"),
    "MissingParameter": (400, "InvalidArgument"),
    "InvalidLimit": (400, "InvalidArgument"),
    "InvalidPage": (400, "InvalidArgument"),
    "InvalidUploadPartNumber": (400, "InvalidArgument"),
    "InvalidUploadPart": (400, "InvalidPart"),
    "IfMatchFailed": (412, "PreconditionFailed"),
    "IfNoneMatchFailed": (412, "PreconditionFailed"),
    "IfNoneMatchDisallowed": (501, "NotImplemented"),
    "InvalidContentMD5": (400, "InvalidDigest"),
    "UnmatchedContentMD5": (400, "BadDigest"),
    "UnmatchedContentCRC32C": (400, "BadDigest"),
    "UnmatchedContentSHA256": (400, "BadDigest"),
    "InvalidSSECustomerKey": (400, "InvalidArgument"),
    "SSECustomerKeyMismatch": (400, "InvalidRequest"),
    "RequestBodyIncomplete": (400, "IncompleteBody"),
    "RequestEntityTooLarge": (400, "EntityTooLarge"),
    "RequestTimeout": (400, "RequestTimeout"),
    "NotRestored": (403, "InvalidObjectState"),
    "NotArchivedObject": (403, "InvalidObjectState"),
    "InternalServerError": (500, "InternalError"),
}


def as_s3(error: ServiceError) -> ServiceError:
    """A native refusal in S3's words."""
    status, code = _ERRORS.get(error.code, (error.status, error.code))
    return ServiceError(status, code, error.message, error.headers)


# ---------------------------------------------------------------- etags


def etag(md5: str) -> str:
    """The quoted S3 etag of a body: hex MD5, or hex MD5 over the parts' MD5s with `-N`.

    Args:
        md5: As the native API has it: base64, with the same suffix.
    """
    digest, dash, count = md5.partition("-")
    return f'"{base64.b64decode(digest).hex()}{dash}{count}"'


def bare(value: str) -> str:
    """An etag without its quotes."""
    return value.strip().removeprefix("W/").strip('"')


# ---------------------------------------------------------------- headers, inwards


def customer_key(headers: Mapping[str, str], prefix: str) -> dict[str, str]:
    """The native headers of a customer's encryption key.

    Args:
        headers: The request's.
        prefix: `SSE`, or `COPIED_SSE` for the source of a copy.

    Raises:
        ServiceError: 400 if the key's MD5 does not fit.
    """
    algorithm, key, md5 = (headers.get(prefix + name) for name in ("algorithm", "key", "key-md5"))
    if algorithm is None and key is None and md5 is None:
        return {}
    try:
        raw = base64.b64decode(key or "", validate=True)
    except ValueError:
        raw = b""
    if base64.b64encode(hashlib.md5(raw, usedforsecurity=False).digest()).decode() != md5:
        text = "The calculated MD5 hash of the key did not match the hash that was provided."
        raise ServiceError(400, "InvalidArgument", text)
    digest = base64.b64encode(hashlib.sha256(raw).digest()).decode()
    told = {"algorithm": algorithm or "", "key": key or "", "key-sha256": digest}
    return {f"opc-sse-customer-{name}": value for name, value in told.items()}


def native_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that describe content, in native words; conditions are not among them.

    Raises:
        ServiceError: 400 for an unknown storage class or a bad customer key, 501 for an algorithm that is not there.
    """
    told = {name: headers[name] for name in CONTENT_HEADERS if name in headers}
    told |= {f"opc-meta-{n.lower().removeprefix(META)}": v for n, v in headers.items() if n.lower().startswith(META)}
    told |= {native: headers[name] for name, native in _CHECKSUMS.items() if name in headers}
    told |= customer_key(headers, SSE)
    if (tier := storage_class(headers.get("x-amz-storage-class"))) is not None:
        told["storage-tier"] = tier
    if (algorithm := headers.get("x-amz-checksum-algorithm")) in ("CRC32C", "SHA256"):
        told["opc-checksum-algorithm"] = algorithm
    return told


def storage_class(name: str | None) -> str | None:
    """The native tier of a storage class.

    Raises:
        ServiceError: 400 for an unknown one.
    """
    if name is None:
        return None
    if name not in TIERS:
        raise ServiceError(400, "InvalidStorageClass", "The storage class you specified is not valid")
    return TIERS[name]


# ---------------------------------------------------------------- headers, outwards

_KEPT: Final = ("accept-ranges", "content-range", "content-length", "expires", "last-modified", *CONTENT_HEADERS[:5])


def s3_headers(native: Mapping[str, str], *, versions: bool, checksums: bool) -> dict[str, str]:
    """A native reply's headers in S3's words; the etag and a restoration are the caller's business.

    Args:
        native: By lower-case name.
        versions: Name the version, as in a bucket with versioning.
        checksums: Show additional checksums.
    """
    told = {name: value for name, value in native.items() if name in _KEPT}
    told |= {META + n.removeprefix("opc-meta-"): v for n, v in native.items() if n.startswith("opc-meta-")}
    if checksums:
        told |= {name: native[there] for name, there in _CHECKSUMS.items() if there in native}
    if versions and "version-id" in native:
        told["x-amz-version-id"] = native["version-id"]
    if native.get("is-delete-marker") == "true":
        told["x-amz-delete-marker"] = "true"
    storage = CLASSES.get(native.get("storage-tier", ""), "STANDARD")
    if storage != "STANDARD":
        told["x-amz-storage-class"] = storage
    if native.get("archival-state") == "Restoring":
        told["x-amz-restore"] = 'ongoing-request="true"'
    if "time-of-archival" in native:
        told["x-amz-restore"] = f'ongoing-request="false", expiry-date="{native["time-of-archival"]}"'
    return told
