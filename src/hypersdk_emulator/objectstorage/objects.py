"""Objects: put, get, head, delete."""

from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial

from aiohttp import web

from hypersdk_emulator.bodies import Received
from hypersdk_emulator.call import Call
from hypersdk_emulator.clock import http_date
from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.errors import ServiceError
from hypersdk_emulator.objectstorage import storage
from hypersdk_emulator.objectstorage.common import (
    check_customer_key,
    check_if_match,
    check_name,
    check_read,
    check_write,
    checksum_headers,
    described,
    expected,
    header_text,
    object_not_found,
    receive,
    require_bucket,
    require_object,
    window,
)
from hypersdk_emulator.objectstorage.storage import Bucket, Content, StoredObject
from hypersdk_emulator.replies import BodyReply, Window

_OVERRIDES = {
    "httpResponseContentType": "content-type",
    "httpResponseContentLanguage": "content-language",
    "httpResponseContentEncoding": "content-encoding",
    "httpResponseContentDisposition": "content-disposition",
    "httpResponseCacheControl": "cache-control",
    "httpResponseExpires": "expires",
}
_CHUNK = 1 << 20


def put_received(cloud: Cloud, bucket: str, name: str, received: Received, content: Content | None = None) -> None:
    """Make a received body the latest version of an object, without any call: for seeds and exports.

    Args:
        cloud: The cloud.
        bucket: Name of the bucket, which must exist.
        name: Name of the object.
        received: The body.
        content: Its description; None for a plain one.
    """
    with storage.change(cloud) as trash:
        found = storage.find_bucket(cloud, bucket)
        if found is None:
            raise ServiceError(404, "BucketNotFound", f"The bucket '{bucket}' does not exist")
        body = storage.new_body(cloud, [(received.file, received.size)])
        plain = content or Content(None, 0, "", headers={"content-type": "application/octet-stream"})
        md5 = received.digests.md5
        storage.store(cloud, found, name, replace(plain, body=body, size=received.size, md5=md5), trash)


async def put_object(call: Call) -> web.StreamResponse:
    """PutObject: nothing of it is visible before all of it is there and fits its checksums."""
    cloud, name = call.cloud, check_name(call.params["object"])
    content, wanted = described(call, _bucket_for(call, name)), expected(call)
    received = await receive(call, wanted)
    checksums = checksum_headers(received, wanted.algorithms)
    try:
        with storage.change(cloud) as trash:
            bucket = _bucket_for(call, name)
            body = storage.new_body(cloud, [(received.file, received.size)])
            content = replace(content, body=body, size=received.size, md5=received.digests.md5, checksums=checksums)
            made = storage.store(cloud, bucket, name, content, trash)
    except BaseException:
        cloud.bodies.discard([received.file])
        raise
    return call.reply(headers={**_version_headers(made), "opc-content-md5": received.digests.md5, **checksums})


def put_shared(call: Call, source: StoredObject, *, keep_description: bool) -> StoredObject:
    """PutObject with the bytes of an object that is there, without moving them: S3's way of copying.

    Args:
        call: A PutObject call; its tier and customer key are the new object's.
        source: Whose bytes.
        keep_description: Content headers and metadata are the source's, not the call's.
    """
    name = check_name(call.params["object"])
    with storage.change(call.cloud) as trash:
        bucket = _bucket_for(call, name)
        content = described(call, bucket)
        kept = source.content
        if keep_description:
            content = replace(content, headers=kept.headers, meta=kept.meta)
        content = replace(content, body=kept.body, size=kept.size, md5=kept.md5, checksums=kept.checksums)
        content = replace(content, multipart=kept.multipart)
        return storage.store(call.cloud, bucket, name, content, trash)


def _bucket_for(call: Call, name: str) -> Bucket:
    """The bucket of a PUT that may be made as things are now; asked before and after the body came."""
    bucket = require_bucket(call)
    found = storage.latest(call.cloud, bucket.name, name)
    check_write(call, found)
    storage.refuse_protected(call.cloud, bucket, found)
    return bucket


def _version_headers(stored: StoredObject) -> dict[str, str]:
    return {
        "etag": stored.etag,
        "last-modified": http_date(stored.modified),
        "version-id": stored.version,
    }


def object_headers(call: Call, found: StoredObject) -> dict[str, str]:
    """What GET and HEAD say about an object besides its length."""
    content = found.content
    headers = {**content.headers, **_version_headers(found), "accept-ranges": "bytes", "storage-tier": content.tier}
    headers["opc-multipart-md5" if content.multipart else "content-md5"] = content.md5
    headers |= content.checksums
    headers |= {f"opc-meta-{name}": value for name, value in content.meta.items()}
    if content.kms:
        headers["opc-sse-kms-key-id"] = content.kms
    if state := found.archival_state(call.cloud.clock.timestamp()):
        headers["archival-state"] = state
    if state == "Restored":
        headers["time-of-archival"] = http_date(found.restored["until"])
    for parameter, name in _OVERRIDES.items():
        if value := call.query.get(parameter):
            headers[name] = header_text(parameter, value)
    return headers


def _shown(call: Call) -> StoredObject:
    found = require_object(call, require_bucket(call), call.params["object"])
    if found.marker:
        raise object_not_found(call, found.bucket, found.name)
    check_read(call, found)
    check_customer_key(call, found.content.sse)
    return found


def readable(call: Call) -> StoredObject:
    """The object of a GetObject call, all its conditions met.

    Raises:
        ServiceError: 304, 400, 404, 409 for an archived one, 412.
    """
    found = _shown(call)
    if found.archival_state(call.cloud.clock.timestamp()) not in (None, "Restored"):
        text = f"The object '{found.name}' is archived; restore it before reading it"
        raise ServiceError(409, "NotRestored", text)
    return found


async def head_object(call: Call) -> web.StreamResponse:
    """HeadObject: the headers of a GET without its body."""
    found = _shown(call)
    headers = {**object_headers(call, found), "content-length": str(found.content.size)}
    return web.Response(status=200, headers=headers)


async def get_object(call: Call) -> web.StreamResponse:
    """GetObject, whole or one range of it."""
    found = readable(call)
    asked = window(call.header("range"), found.content.size)
    return BodyReply(
        call.cloud,
        partial(storage.segments, call.cloud, found.content.body),
        asked or Window(0, found.content.size, found.content.size),
        partial=asked is not None,
        headers=object_headers(call, found),
    )


async def replace_object(call: Call) -> None:
    """Put other bytes of the same length in an object's place, as another writer would."""
    bucket = require_bucket(call)
    found = require_object(call, bucket, call.params["object"])
    received = await call.cloud.bodies.receive(_noise(call.cloud, found.content.size))
    put_received(call.cloud, bucket.name, found.name, received, replace(found.content, multipart=False, checksums={}))


async def _noise(cloud: Cloud, size: int) -> AsyncIterator[bytes]:
    while size > 0:
        chunk = cloud.random.stream("noise").randbytes(min(size, _CHUNK))
        size -= len(chunk)
        yield chunk


async def delete_object(call: Call) -> web.StreamResponse:
    """DeleteObject: the latest version, or with `versionId` that one for good."""
    with storage.change(call.cloud) as trash:
        bucket = require_bucket(call)
        found = require_object(call, bucket, call.params["object"])
        check_if_match(call.header("if-match"), found.etag)
        storage.refuse_protected(call.cloud, bucket, found)
        headers = {"last-modified": http_date(call.cloud.clock.timestamp()), "version-id": found.version}
        if call.query.get("versionId"):
            storage.drop_version(call.cloud, found, trash)
            headers["is-delete-marker"] = str(found.marker).lower()
        elif marker := storage.delete(call.cloud, bucket, found, trash):
            headers |= {"version-id": marker.version, "is-delete-marker": "true"}
    return call.reply(status=204, headers=headers)
