"""Rename, copy and batch delete. A copy shares its body and is done at once."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from aiohttp import web

from hypersdk_emulator.call import Call, one_of
from hypersdk_emulator.clock import http_date
from hypersdk_emulator.errors import ServiceError, invalid_parameter
from hypersdk_emulator.objectstorage import storage, workrequests
from hypersdk_emulator.objectstorage.common import (
    TIERS,
    bucket_not_found,
    check_customer_key,
    check_if_match,
    check_name,
    customer_key,
    kms_key,
    metadata,
    object_not_found,
    require_bucket,
    required_text,
)
from hypersdk_emulator.objectstorage.storage import Bucket, StoredObject

MAX_BATCH = 1000  # OCI documentation of BatchDeleteObjects


def _require_latest(call: Call, bucket: Bucket, name: str) -> StoredObject:
    found = storage.latest(call.cloud, bucket.name, name)
    if found is None:
        raise object_not_found(call, bucket.name, name)
    return found


def _check_target(found: StoredObject | None, if_match: str | None, if_none_match: str | None) -> None:
    """The conditions that a JSON body states for the new name."""
    if if_none_match == "*" and found is not None:
        raise ServiceError(412, "IfNoneMatchFailed", "An object with the new name exists")
    check_if_match(if_match, None if found is None else found.etag)


async def rename_object(call: Call) -> web.StreamResponse:
    """RenameObject, within the bucket."""
    body = await call.json()
    source, new = required_text(body, "sourceName"), check_name(body.get("newName"))
    if source == new:
        raise ServiceError(400, "SourceNameSameAsNewName", "The new name is the old one")
    with storage.change(call.cloud) as trash:
        bucket = require_bucket(call)
        found = _require_latest(call, bucket, source)
        check_if_match(body.get("srcObjIfMatchETag"), found.etag)
        there = storage.latest(call.cloud, bucket.name, new)
        _check_target(there, body.get("newObjIfMatchETag"), body.get("newObjIfNoneMatchETag"))
        storage.refuse_protected(call.cloud, bucket, found)
        storage.refuse_protected(call.cloud, bucket, there)
        made = storage.rename(call.cloud, bucket, found, new, trash)
    headers = {"etag": made.etag, "last-modified": http_date(made.modified), "version-id": made.version}
    return call.reply(headers=headers)


async def batch_delete(call: Call) -> web.StreamResponse:
    """BatchDeleteObjects: latest versions, each with its own result."""
    body = await call.json()
    wanted = body.get("objects")
    if not isinstance(wanted, list) or not 1 <= len(wanted) <= MAX_BATCH:
        raise invalid_parameter(f"objects must be a list of 1 to {MAX_BATCH}")
    deleted: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    with storage.change(call.cloud) as trash:
        bucket = require_bucket(call)
        for each in wanted:
            name = required_text(each, "objectName")
            try:
                found = _require_latest(call, bucket, name)
                check_if_match(each.get("ifMatch"), found.etag)
                storage.refuse_protected(call.cloud, bucket, found)
            except ServiceError as error:
                reason = {"statusCode": error.status, "errorCode": error.code, "errorMessage": error.message}
                failed.append({"objectName": name, **reason})
                continue
            marker = storage.delete(call.cloud, bucket, found, trash)
            deleted.append({"objectName": name, "deletedObjectVersionId": (marker or found).version})
    return call.reply({"deleted": [] if body.get("isSkipDeletedResult") else deleted, "failed": failed})


# ---------------------------------------------------------------- copies and their work requests


async def copy_object(call: Call) -> web.StreamResponse:
    """CopyObject, to a bucket of this region."""
    body = await call.json()
    new = check_name(body.get("destinationObjectName"))
    if body.get("destinationRegion") != call.cloud.settings.region:
        raise invalid_parameter(f"destinationRegion: this cloud has only {call.cloud.settings.region}")
    if body.get("destinationNamespace") != call.cloud.settings.namespace:
        raise ServiceError(404, "NamespaceNotFound", "The destination namespace does not exist")
    with storage.change(call.cloud) as trash:
        bucket, found = require_bucket(call), _copied_source(call, body)
        target = storage.find_bucket(call.cloud, required_text(body, "destinationBucket"))
        if target is None or not call.principal.may("PutObject", target.compartment):
            raise bucket_not_found(call, body["destinationBucket"])
        there = storage.latest(call.cloud, target.name, new)
        conditions = [body.get(f"destinationObject{name}ETag") for name in ("IfMatch", "IfNoneMatch")]
        _check_target(there, *conditions)
        storage.refuse_protected(call.cloud, target, there)
        content = replace(found.content, sse=customer_key(call), kms=kms_key(call, target))
        if (pairs := body.get("destinationObjectMetadata")) is not None:
            content = replace(content, meta=metadata(pairs))
        tier = one_of(
            "destinationObjectStorageTier",
            body.get("destinationObjectStorageTier"),
            TIERS,
            storage.default_tier(target),
        )
        made = storage.store(call.cloud, target, new, replace(content, tier=tier), trash)
        resources = [
            workrequests.resource(call, "READ", "object", bucket.name, found.name, ETAG=found.etag),
            workrequests.resource(call, "WRITTEN", "object", target.name, new, ETAG=made.etag),
        ]
        headers = workrequests.record(call, bucket, "COPY_OBJECT", resources)
    return call.reply(status=202, headers=headers)


def _copied_source(call: Call, body: Mapping[str, Any]) -> StoredObject:
    bucket, name = require_bucket(call), required_text(body, "sourceObjectName")
    found: StoredObject | None
    if version_id := body.get("sourceVersionId"):
        found = storage.version(call.cloud, bucket.name, name, version_id)
    else:
        found = storage.latest(call.cloud, bucket.name, name)
    if found is None or found.marker:
        raise object_not_found(call, bucket.name, name)
    check_if_match(body.get("sourceObjectIfMatchETag"), found.etag)
    check_customer_key(call, found.content.sse, "opc-source-sse-customer-")
    if found.archival_state(call.cloud.clock.timestamp()) not in (None, "Restored"):
        raise ServiceError(409, "NotRestored", f"The object '{name}' is archived; restore it before copying it")
    return found
