"""What the calls of Object Storage share: access, conditions, names, metadata, checksums, customer keys, ranges."""

import base64
import binascii
import hashlib
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from hypersdk_emulator.bodies import Received
from hypersdk_emulator.call import Call, one_of
from hypersdk_emulator.checksums import ALGORITHMS
from hypersdk_emulator.errors import ServiceError, invalid_parameter
from hypersdk_emulator.incoming import flipped
from hypersdk_emulator.objectstorage import storage
from hypersdk_emulator.objectstorage.storage import Bucket, Content, StoredObject
from hypersdk_emulator.replies import Window

MAX_NAME_BYTES = 1024  # OCI documentation, "Object names"
MAX_METADATA_BYTES = 4000  # OCI documentation: names and values of one object's metadata together
MAX_PUT_BYTES = 50 << 30  # OCI documentation: 50 GiB for one PutObject or one part
TIERS = ("Standard", "InfrequentAccess", "Archive")
CONTENT_HEADERS = ("content-type", "content-language", "content-encoding", "content-disposition", "cache-control")
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_SSE = "opc-sse-customer-"
_WRITES = frozenset(
    {
        "PutObject",
        "DeleteObject",
        "RenameObject",
        "BatchDeleteObjects",
        "CreateMultipartUpload",
        "UploadPart",
        "CommitMultipartUpload",
        "UpdateObjectStorageTier",
    }
)
"""What a bucket refuses while it is the destination of a replication policy."""
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2: what a header's name is made of
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_CHUNK = 1 << 20


# ---------------------------------------------------------------- who may touch which bucket


def check_namespace(call: Call) -> None:
    """Refuse a namespace that is not the tenancy's."""
    namespace = call.params["namespace"]
    if namespace != call.cloud.settings.namespace:
        raise ServiceError(
            404, "NamespaceNotFound", f"You do not have authorization to use the namespace '{namespace}'."
        )


def bucket_not_found(call: Call, name: str) -> ServiceError:
    """404 for a bucket that is absent or not this caller's."""
    namespace = call.cloud.settings.namespace
    text = f"Either the bucket named '{name}' does not exist in the namespace '{namespace}' or you are not authorized"
    return ServiceError(404, "BucketNotFound", f"{text} to access it")


def require_bucket(call: Call, name: str | None = None) -> Bucket:
    """The bucket of the path (or a named one) that this caller may use for this operation.

    Raises:
        ServiceError: 404 if it is absent or forbidden, 403 for a write to a read-only one.
    """
    check_namespace(call)
    wanted = name or call.params["bucket"]
    bucket = storage.find_bucket(call.cloud, wanted)
    if bucket is None or not call.principal.may(call.operation, bucket.compartment):
        raise bucket_not_found(call, wanted)
    if call.operation in _WRITES:
        storage.refuse_read_only(bucket)
    if call.principal.kind == "anonymous":
        access = bucket.doc.get("publicAccessType", "NoPublicAccess")
        if access == "NoPublicAccess" or (call.operation == "ListObjects" and access != "ObjectRead"):
            raise bucket_not_found(call, wanted)
    return bucket


def object_not_found(call: Call, bucket: str, name: str) -> ServiceError:
    """404 for an object that is not there."""
    namespace = call.cloud.settings.namespace
    text = f"The object '{name}' was not found in the bucket '{bucket}' of the namespace '{namespace}'"
    return ServiceError(404, "ObjectNotFound", text)


def require_object(call: Call, bucket: Bucket, name: str) -> StoredObject:
    """The latest version of an object, or the one that `versionId` names.

    Raises:
        ServiceError: 404 if it is absent or a delete marker.
    """
    version_id = call.query.get("versionId")
    if version_id:
        found = storage.version(call.cloud, bucket.name, name, version_id)
    else:
        found = storage.latest(call.cloud, bucket.name, name)
    if found is None:
        raise object_not_found(call, bucket.name, name)
    return found


def check_name(name: Any) -> str:
    """An object name that may be written.

    Raises:
        ServiceError: 400 for one that is no text, empty, too long, or has LF, CR or NUL in it.
    """
    if not isinstance(name, str) or not 1 <= len(name.encode()) <= MAX_NAME_BYTES or set(name) & set("\n\r\0"):
        text = f"An object name has 1 to {MAX_NAME_BYTES} bytes of UTF-8 without line feed, carriage return and NUL"
        raise ServiceError(400, "InvalidObjectName", text)
    return name


# ---------------------------------------------------------------- conditions


def _etag(value: Any) -> str:
    if not isinstance(value, str):
        raise invalid_parameter("An etag must be a text")
    return value.strip().removeprefix("W/").strip('"')


def check_write(call: Call, found: StoredObject | None) -> None:
    """If-Match and If-None-Match of a write.

    Raises:
        ServiceError: 412 if they do not hold; 400 for an If-None-Match other than `*`.
    """
    none_match = call.header("if-none-match")
    if none_match is not None:
        if _etag(none_match) != "*":
            raise ServiceError(400, "IfNoneMatchDisallowed", "Only '*' is allowed in If-None-Match of a write")
        if found is not None:
            raise ServiceError(412, "IfNoneMatchFailed", "The If-None-Match condition did not hold: the object exists")
    check_if_match(call.header("if-match"), None if found is None else found.etag)


def check_if_match(wanted: str | None, current: str | None) -> None:
    """If-Match against the etag that there is (None: nothing is there).

    Raises:
        ServiceError: 412 if it does not hold.
    """
    if wanted is not None and (current is None or _etag(wanted) not in ("*", current)):
        raise ServiceError(412, "IfMatchFailed", "The If-Match condition did not hold: the etag is another one")


def check_read(call: Call, found: StoredObject) -> None:
    """If-Match and If-None-Match of a read.

    Raises:
        ServiceError: 412, or 304 which has no body.
    """
    check_if_match(call.header("if-match"), found.etag)
    none_match = call.header("if-none-match")
    if none_match is not None and _etag(none_match) == found.etag:
        raise ServiceError(304, "NotModified", "", {"etag": found.etag})


# ---------------------------------------------------------------- what a write says about its content


def header_text(name: str, value: Any) -> str:
    """A value that will be a reply's header.

    Raises:
        ServiceError: 400 if it is no text or has a control character in it, such as the end of the header.
    """
    if not isinstance(value, str) or _CONTROL.search(value):
        raise invalid_parameter(f"{name} must be a text without control characters")
    return value


def metadata(pairs: Any) -> dict[str, str]:
    """User metadata by lower-case name without the `opc-meta-` prefix.

    Raises:
        ServiceError: 400 if it is too long, or anything but names and texts that can be headers.
    """
    result: dict[str, str] = {}
    if not isinstance(pairs, Mapping):
        raise ServiceError(400, "InvalidMetadata", "Metadata is an object of texts")
    for name, value in pairs.items():
        if not _TOKEN.fullmatch(name) or not isinstance(value, str) or _CONTROL.search(value):
            raise ServiceError(400, "InvalidMetadata", f"The metadata '{name}' cannot be a header and its text")
        result[name.lower().removeprefix("opc-meta-")] = value
    try:
        size = sum(len(name.encode()) + len(value.encode()) for name, value in result.items())
    except UnicodeEncodeError:
        raise ServiceError(400, "InvalidMetadata", "Metadata must be UTF-8") from None
    if size > MAX_METADATA_BYTES:
        raise ServiceError(400, "MetadataTooLarge", f"Metadata of {size} bytes is more than {MAX_METADATA_BYTES}")
    return result


def described(call: Call, bucket: Bucket) -> Content:
    """The description of an object from the headers of a PUT; body, size and digests are still to come."""
    headers = {name: call.headers[name] for name in CONTENT_HEADERS if call.header(name)}
    headers.setdefault("content-type", "application/octet-stream")
    return Content(
        body=None,
        size=0,
        md5="",
        headers=headers,
        meta=metadata({n: v for n, v in call.headers.items() if n.lower().startswith("opc-meta-")}),
        sse=customer_key(call),
        kms=kms_key(call, bucket),
        tier=one_of("storage-tier", call.header("storage-tier"), TIERS, storage.default_tier(bucket)),
    )


def customer_key(call: Call, prefix: str = _SSE) -> str:
    """SHA-256 of the customer's encryption key in the request, or empty.

    Args:
        call: The request.
        prefix: Of the headers' names; that of a copy's source is `opc-source-sse-customer-`.

    Raises:
        ServiceError: 400 for an incomplete or inconsistent key.
    """
    algorithm, key, digest = (call.header(prefix + name) for name in ("algorithm", "key", "key-sha256"))
    if algorithm is None and key is None and digest is None:
        return ""
    return checked_key(algorithm, key, digest)


def checked_key(algorithm: Any, key: Any, digest: Any) -> str:
    """SHA-256 of a customer's key, base64.

    Raises:
        ServiceError: 400 if it is no key of AES256, or not the one of the digest.
    """
    try:
        raw = base64.b64decode(key or "", validate=True)
    except (binascii.Error, TypeError, ValueError):
        raw = b""
    computed = base64.b64encode(hashlib.sha256(raw).digest()).decode()
    if algorithm != "AES256" or len(raw) != 32 or computed != digest:  # noqa: PLR2004 - AES256 has 32 bytes
        raise ServiceError(400, "InvalidSSECustomerKey", "The customer's key needs AES256, 32 bytes and their SHA-256")
    return computed


def check_customer_key(call: Call, wanted: str, prefix: str = _SSE) -> None:
    """Refuse a request whose customer key is not the one that the content was written with."""
    if customer_key(call, prefix) != wanted:
        raise ServiceError(400, "SSECustomerKeyMismatch", "The content was written with another encryption key")


def kms_key(call: Call, bucket: Bucket) -> str:
    """OCID of the Key Management key for a write: the request's, or else the bucket's; none beside a customer's key.

    Raises:
        ServiceError: 400 for a request with keys of both kinds.
    """
    asked = call.header("opc-sse-kms-key-id")
    if not customer_key(call):
        return asked or str(bucket.doc.get("kmsKeyId") or "")
    if asked:
        raise invalid_parameter("opc-sse-kms-key-id and opc-sse-customer-key exclude each other")
    return ""


# ---------------------------------------------------------------- bodies with checksums


@dataclass(frozen=True)
class Expected:
    """The checksums that a request states, by algorithm (`MD5`, `CRC32C`, ...), and those to compute besides MD5."""

    stated: Mapping[str, str]
    algorithms: frozenset[str]


def expected(call: Call, chosen: str | None = None) -> Expected:
    """What a request's headers say about its body; `chosen` is the algorithm of its multipart upload.

    Raises:
        ServiceError: 400 for an unknown algorithm or an unreadable MD5.
    """
    algorithm = one_of("opc-checksum-algorithm", call.header("opc-checksum-algorithm"), ALGORITHMS, chosen or "")
    stated = {name: value for name in ALGORITHMS if (value := call.header(f"opc-content-{name.lower()}"))}
    md5 = call.header("content-md5")
    if md5:
        try:
            good = len(base64.b64decode(md5, validate=True)) == 16  # noqa: PLR2004 - an MD5 has 16 bytes
        except ValueError:
            good = False
        if not good:
            raise ServiceError(400, "InvalidContentMD5", "Content-MD5 is not the base64 of 16 bytes")
        stated["MD5"] = md5
    return Expected(stated, frozenset(({algorithm} if algorithm else set()) | (stated.keys() & set(ALGORITHMS))))


async def receive(call: Call, wanted: Expected) -> Received:
    """Take the body in; if a stated checksum does not fit, nothing is kept.

    Raises:
        ServiceError: 400 for a mismatch, 413 for a body that is too long.
    """
    length = call.header("content-length")
    if length and int(length) > MAX_PUT_BYTES:
        raise ServiceError(413, "RequestEntityTooLarge", "One request takes at most 50 GiB; use a multipart upload")
    received = await call.cloud.bodies.receive(call.body(), wanted.algorithms)
    for name, value in wanted.stated.items():
        have = received.digests.md5 if name == "MD5" else received.digests.of(name)
        if have != value:
            call.cloud.bodies.discard([received.file])
            text = f"The computed {name} of the body ({have}) is not the expected {name} ({value})"
            raise ServiceError(400, f"UnmatchedContent{name}", text)
    if call.fault is not None and call.fault.effect == "store-flipped":
        return await _stored_flipped(call, received, wanted)
    return received


async def _stored_flipped(call: Call, received: Received, wanted: Expected) -> Received:
    """The body with one bit wrong, as a fault wants it: after its checksums were found good."""
    assert call.fault is not None
    at = min(call.fault.number("at"), max(received.size - 1, 0))
    try:
        return await call.cloud.bodies.receive(_flipped_file(call, received, at), wanted.algorithms)
    finally:
        call.cloud.bodies.discard([received.file])


async def _flipped_file(call: Call, received: Received, at: int) -> AsyncIterator[bytes]:
    if not received.size:
        return
    done = 0
    with call.cloud.bodies.open(received.file) as source:
        while chunk := source.read(_CHUNK):
            yield flipped(chunk, at - done)
            done += len(chunk)


def checksum_headers(received: Received, algorithms: frozenset[str]) -> dict[str, str]:
    """The additional checksums of a body as headers."""
    return {f"opc-content-{name.lower()}": str(received.digests.of(name)) for name in sorted(algorithms)}


# ---------------------------------------------------------------- ranges


def window(header: str | None, size: int) -> Window | None:
    """The bytes that a Range header asks for; None for no range, or one that this service does not take.

    Raises:
        ServiceError: 416 if no byte of the object is in it.
    """
    found = _RANGE.fullmatch(header.replace(" ", "")) if header else None
    if found is None or found.group(1) == found.group(2) == "":
        return None
    first, last = found.groups()
    if first == "":
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), size if last == "" else min(int(last) + 1, size)
        if last != "" and int(last) < int(first):
            return None
    if start >= end:
        text = f"The range '{header}' is not within the {size} bytes of the object"
        raise ServiceError(416, "InvalidRange", text, {"content-range": f"bytes */{size}"})
    return Window(start, end, size)


def required_text(body: Any, name: str) -> str:
    """A text field that an object in a JSON body must have."""
    value = body.get(name) if isinstance(body, dict) else None
    if not isinstance(value, str) or not value:
        raise invalid_parameter(f"{name} must be a text")
    return value
