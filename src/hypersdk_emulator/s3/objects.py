"""S3's object calls: put, get, head, copy, delete (one and many), restore."""

import email.utils
from collections.abc import Mapping

from aiohttp import web

from hypersdk_emulator.call import Call, whole
from hypersdk_emulator.clock import iso
from hypersdk_emulator.errors import ServiceError
from hypersdk_emulator.objectstorage import objects, storage
from hypersdk_emulator.objectstorage.storage import StoredObject
from hypersdk_emulator.replies import BodyReply
from hypersdk_emulator.s3 import told, words, xmlbodies
from hypersdk_emulator.s3.buckets import empty_reply, xml_reply
from hypersdk_emulator.s3.words import as_s3, bare, etag

MAX_DELETES = 1000
NO_MATCH = "none"
"""A native etag that no object has: natives are UUIDs."""


def versioned(call: Call, bucket: str | None = None) -> bool:
    """True if the bucket has, or had, versioning: only then S3 speaks of versions."""
    found = storage.find_bucket(call.cloud, bucket or call.params["bucket"])
    return found is not None and found.versioning != "Disabled"


def _native_etags(value: str, found: StoredObject | None) -> str:
    """The native form of an If-Match or If-None-Match header: S3's etags are digests, native ones are not."""
    wanted = {bare(each) for each in value.split(",")}
    if "*" in wanted:
        return "*"
    if found is not None and not found.marker and bare(etag(found.content.md5)) in wanted:
        return found.etag
    return NO_MATCH


def conditions(call: Call, found: StoredObject | None, prefix: str = "") -> dict[str, str]:
    """The request's conditions in native words.

    Args:
        call: The request.
        found: The object that they are about.
        prefix: `x-amz-copy-source-` for those about the source of a copy.
    """
    headers = call.request.headers
    names = ("if-match", "if-none-match")
    return {name: _native_etags(headers[prefix + name], found) for name in names if headers.get(prefix + name)}


def check_dates(call: Call, found: StoredObject, prefix: str = "") -> None:
    """If-Modified-Since and If-Unmodified-Since; an etag condition of the same kind is stronger.

    Raises:
        ServiceError: 304 or 412.
    """
    headers = call.request.headers
    since, unless = _date(headers, prefix + "if-modified-since"), _date(headers, prefix + "if-unmodified-since")
    modified = int(found.modified)
    if unless is not None and modified > unless and prefix + "if-match" not in headers:
        raise ServiceError(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
    if since is not None and modified <= since and prefix + "if-none-match" not in headers:
        if prefix:
            text = "At least one of the pre-conditions you specified did not hold"
            raise ServiceError(412, "PreconditionFailed", text)
        raise ServiceError(304, "NotModified", "")


def _date(headers: Mapping[str, str], name: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(headers[name]).timestamp()
    except (KeyError, ValueError, OverflowError):
        return None


def _version(call: Call) -> str | None:
    value = call.query.get("versionId")
    return None if value == "null" else value


def _current(call: Call, bucket: str, key: str, version: str | None = None) -> StoredObject | None:
    if version:
        return storage.version(call.cloud, bucket, key, version)
    return storage.latest(call.cloud, bucket, key)


# ---------------------------------------------------------------- reading


async def get_object(call: Call) -> web.StreamResponse:
    """GetObject and HeadObject."""
    if "partNumber" in call.query:
        raise ServiceError(501, "NotImplemented", "Reading an object by the number of a part is not supported.")
    operation = "HeadObject" if call.request.method == "HEAD" else "GetObject"
    bucket, key, version = call.params["bucket"], call.params["object"], _version(call)
    found = _current(call, bucket, key, version)
    headers = words.native_headers(call.request.headers) | conditions(call, found)
    query: dict[str, str | None] = {native: call.query.get(name) for name, native in words.OVERRIDES.items()}
    try:
        reply = await told.tell(told.native(call, operation, headers=headers, query={**query, "versionId": version}))
    except ServiceError as error:
        if error.code == "ObjectNotFound" and version:
            raise ServiceError(404, "NoSuchVersion", "The specified version does not exist.") from None
        raise
    stored = _current(call, bucket, key, version) or found
    assert stored is not None
    try:
        check_dates(call, stored)
    except ServiceError:
        if isinstance(reply, BodyReply):
            reply.body.close()
        raise
    checksums = call.request.headers.get("x-amz-checksum-mode", "").upper() == "ENABLED"
    spoken = words.s3_headers(_lower(reply.headers), versions=versioned(call), checksums=checksums)
    spoken |= {"etag": etag(stored.content.md5), **_sse(call)}
    reply.headers.clear()
    reply.headers.update(spoken)
    call.replies["x-amz-request-id"] = call.request_id
    return reply


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _sse(call: Call) -> dict[str, str]:
    """What a reply says about the customer's key."""
    headers = call.request.headers
    return {words.SSE + n: headers[words.SSE + n] for n in ("algorithm", "key-md5") if words.SSE + n in headers}


# ---------------------------------------------------------------- writing


def written(call: Call, made: StoredObject) -> dict[str, str]:
    """What a write says about the version that it made."""
    headers = {"etag": etag(made.content.md5), **_sse(call)}
    if versioned(call):
        headers["x-amz-version-id"] = made.version
    return headers


async def put_object(call: Call) -> web.StreamResponse:
    """PutObject."""
    if "x-amz-tagging" in call.request.headers:
        raise ServiceError(501, "NotImplemented", "S3 object tagging is not supported.")
    bucket, key = call.params["bucket"], call.params["object"]
    headers = words.native_headers(call.request.headers) | conditions(call, _current(call, bucket, key))
    reply = await told.tell(told.native(call, "PutObject", headers=headers))
    made = storage.version(call.cloud, bucket, key, reply.headers["version-id"])
    assert made is not None
    return empty_reply(call, headers=written(call, made))


def source_of_copy(call: Call) -> StoredObject:
    """The object, or version, that `x-amz-copy-source` names, if it may be read and its conditions hold.

    Raises:
        ServiceError: 400, 403, 404 or 412.
    """
    bucket, key, version = told.copy_source(call)
    found = _current(call, bucket, key, version)
    headers = words.customer_key(call.request.headers, words.COPIED_SSE)
    headers |= conditions(call, found, "x-amz-copy-source-")
    read = told.native(call, "GetObject", headers=headers, query={"versionId": version}, bucket=bucket, object=key)
    try:
        stored = objects.readable(read)
    except ServiceError as error:
        if error.status == web.HTTPNotModified.status_code:
            raise ServiceError(412, "PreconditionFailed", "At least one of the pre-conditions did not hold") from None
        raise
    check_dates(call, stored, "x-amz-copy-source-")
    return stored


async def copy_object(call: Call) -> web.StreamResponse:
    """CopyObject: the bytes stay where they are; the description is the source's, or with REPLACE the request's."""
    source = source_of_copy(call)
    directive = call.request.headers.get("x-amz-metadata-directive", "COPY")
    if directive not in ("COPY", "REPLACE"):
        raise ServiceError(400, "InvalidArgument", "Unknown metadata directive.")
    bucket, key = call.params["bucket"], call.params["object"]
    headers = words.native_headers(call.request.headers)
    same = (source.bucket, source.name) == (bucket, key)
    if (
        same
        and directive == "COPY"
        and "storage-tier" not in headers
        and not words.customer_key(call.request.headers, words.SSE)
    ):
        text = "This copy request is illegal because it is trying to copy an object to itself without changing it."
        raise ServiceError(400, "InvalidRequest", text)
    headers |= conditions(call, _current(call, bucket, key))
    made = objects.put_shared(
        told.native(call, "PutObject", headers=headers), source, keep_description=directive == "COPY"
    )
    content = (("LastModified", iso(made.modified)), ("ETag", etag(made.content.md5)))
    reply = xml_reply(call, "CopyObjectResult", content)
    reply.headers.update({name: value for name, value in written(call, made).items() if name != "etag"})
    return reply


# ---------------------------------------------------------------- deleting, restoring


async def _delete(call: Call, key: str, version: str | None, headers: Mapping[str, str]) -> dict[str, str]:
    """Delete one object or version; one that is not there counts as deleted. Returns the native reply's headers."""
    try:
        gone = told.native(call, "DeleteObject", headers=headers, query={"versionId": version}, object=key)
        return _lower((await told.tell(gone)).headers)
    except ServiceError as error:
        if error.code == "ObjectNotFound":
            return {}
        raise


async def delete_object(call: Call) -> web.StreamResponse:
    """DeleteObject: 204 whether or not it was there."""
    key, version = call.params["object"], _version(call)
    found = _current(call, call.params["bucket"], key, version)
    native = await _delete(call, key, version, conditions(call, found))
    headers = words.s3_headers(native, versions=versioned(call), checksums=False)
    return empty_reply(call, status=204, headers={n: v for n, v in headers.items() if n.startswith("x-amz-")})


async def delete_objects(call: Call) -> web.StreamResponse:
    """DeleteObjects: up to 1000 names, each with its own result."""
    summed = ["content-md5", "x-amz-checksum-sha256", "x-amz-checksum-crc32c"]
    if call.cloud.assumptions.s3_delete_crc32:
        summed.append("x-amz-checksum-crc32")
    if not any(name in call.request.headers for name in summed):
        # Text as others met it (activepieces issue 14110): CRC32, boto3's default, does not count.
        text = "Missing required header: Content-MD5 or x-amz-checksum-sha256 or x-amz-checksum-crc32c"
        raise ServiceError(400, "InvalidRequest", text)
    root = xmlbodies.parse(await told.small_body(call), "Delete")
    wanted = root.all("Object")
    if not 1 <= len(wanted) <= MAX_DELETES or any(not each.get("Key") for each in wanted):
        raise xmlbodies.malformed()
    await told.tell(told.native(call, "HeadBucket"))
    results: list[tuple[str, xmlbodies.Content]] = []
    for each in wanted:
        key, version = "".join(node.text for node in each.all("Key")[:1]), each.get("VersionId")
        found = _current(call, call.params["bucket"], key, version)
        condition = {"if-match": _native_etags(tag, found)} if (tag := each.get("ETag")) else {}
        try:
            native = await _delete(call, key, version, condition)
        except ServiceError as error:
            spoken = as_s3(error)
            reason = (("Code", spoken.code), ("Message", spoken.message))
            results.append(("Error", (("Key", key), ("VersionId", version), *reason)))
            continue
        marker = "true" if native.get("is-delete-marker") == "true" else None
        made = native.get("version-id") if marker else None
        rest = (("VersionId", version), ("DeleteMarker", marker), ("DeleteMarkerVersionId", made))
        results.append(("Deleted", (("Key", key), *rest)))
    if root.get("Quiet") == "true":
        results = [result for result in results if result[0] == "Error"]
    return xml_reply(call, "DeleteResult", results)


async def restore_object(call: Call) -> web.StreamResponse:
    """RestoreObject, for whole days."""
    root = xmlbodies.parse(await told.small_body(call), "RestoreRequest")
    days = whole(root.get("Days") or "")
    if not days:
        raise xmlbodies.malformed()
    detail = {"objectName": call.params["object"], "hours": days * 24}
    if version := _version(call):
        detail["versionId"] = version
    found = _current(call, call.params["bucket"], call.params["object"], version)
    if found is not None and found.archival_state(call.cloud.clock.timestamp()) == "Restoring":
        raise ServiceError(409, "RestoreAlreadyInProgress", "Object restore is already in progress")
    reply = await told.tell(told.native(call, "RestoreObjects", detail=detail))
    return empty_reply(call, status=reply.status)
