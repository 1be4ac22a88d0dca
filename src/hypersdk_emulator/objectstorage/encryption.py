"""Re-encryption. Nothing is encrypted here: keys are remembered, shown and asked for, as far as clients can see."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from aiohttp import web

from hypersdk_emulator.call import Call
from hypersdk_emulator.errors import ServiceError, invalid_parameter
from hypersdk_emulator.objectstorage import storage, workrequests
from hypersdk_emulator.objectstorage.common import (
    checked_key,
    header_text,
    object_not_found,
    require_bucket,
    require_object,
)


async def reencrypt_bucket(call: Call) -> web.StreamResponse:
    """ReencryptBucket: every object but those with a customer's key gets the bucket's key."""
    cloud = call.cloud
    with cloud.db.transaction():
        bucket = require_bucket(call)
        key = bucket.doc.get("kmsKeyId")
        if not key:
            raise invalid_parameter(f"kmsKeyId: the bucket '{bucket.name}' has no key of Key Management")
        for row in cloud.db.all("SELECT * FROM objects WHERE bucket = ? AND marker = 0", bucket.name):
            found = storage.object_of(row)
            if not found.content.sse:
                storage.redescribe(cloud, found, replace(found.content, kms=key), found.restored)
        written = workrequests.resource(call, "UPDATED", "bucket", bucket.name, bucket.name)
        headers = workrequests.record(call, bucket, "REENCRYPT", [written])
    return call.reply(status=202, headers=headers)


async def reencrypt_object(call: Call) -> web.StreamResponse:
    """ReencryptObject: with a key of Key Management, with a customer's, or with what the bucket has."""
    body = await call.json()
    kms, own = body.get("kmsKeyId"), body.get("sseCustomerKey")
    if kms is not None and own is not None:
        raise invalid_parameter("kmsKeyId and sseCustomerKey exclude each other")
    if kms is not None and not header_text("kmsKeyId", kms):
        raise invalid_parameter("kmsKeyId must not be empty")
    with call.cloud.db.transaction():
        bucket = require_bucket(call)
        found = require_object(call, bucket, call.params["object"])
        if found.marker:
            raise object_not_found(call, bucket.name, found.name)
        if _digest(body.get("sourceSseCustomerKey")) != found.content.sse:
            raise ServiceError(400, "SSECustomerKeyMismatch", "The content was written with another encryption key")
        key = "" if own is not None else kms or bucket.doc.get("kmsKeyId") or ""
        storage.redescribe(call.cloud, found, replace(found.content, kms=key, sse=_digest(own)), found.restored)
    return call.reply()


def _digest(details: Any) -> str:
    """SHA-256 of a customer's key in a JSON body, or empty."""
    if details is None:
        return ""
    if not isinstance(details, Mapping):
        raise invalid_parameter("a customer's key is an object of algorithm, key and keySha256")
    algorithm, key, digest = (details.get(name) for name in ("algorithm", "key", "keySha256"))
    return checked_key(algorithm, key, digest)
