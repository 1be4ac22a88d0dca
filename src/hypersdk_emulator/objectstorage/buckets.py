"""Namespace and buckets: create, read, update, list, delete."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from aiohttp import web

from hypersdk_emulator.call import Call, next_page, one_of
from hypersdk_emulator.clock import iso
from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.errors import ServiceError, invalid_parameter, not_authorized_or_not_found
from hypersdk_emulator.identity import users
from hypersdk_emulator.objectstorage import storage
from hypersdk_emulator.objectstorage.common import (
    check_if_match,
    check_namespace,
    header_text,
    require_bucket,
    required_text,
)
from hypersdk_emulator.objectstorage.storage import Bucket

_NAME = re.compile(r"[A-Za-z0-9._-]{1,256}")
ACCESS = ("NoPublicAccess", "ObjectRead", "ObjectReadWithoutList")
VERSIONING = ("Disabled", "Enabled", "Suspended")
_DEFAULTS: Mapping[str, Any] = {
    "metadata": {},
    "freeformTags": {},
    "definedTags": {},
    "publicAccessType": "NoPublicAccess",
    "storageTier": "Standard",
    "objectEventsEnabled": False,
    "kmsKeyId": None,
    "isBucketKeyEnabled": False,
    "versioning": "Disabled",
    "autoTiering": "Disabled",
    "createdBy": "",
}
_CHANGEABLE = (
    "metadata",
    "freeformTags",
    "definedTags",
    "publicAccessType",
    "objectEventsEnabled",
    "kmsKeyId",
    "isBucketKeyEnabled",
)
_CHOICES = {
    "publicAccessType": ACCESS,
    "storageTier": ("Standard", "Archive"),
    "versioning": VERSIONING,
    "autoTiering": ("Disabled", "InfrequentAccess"),
}


def create(cloud: Cloud, name: str, compartment: str, settings: Mapping[str, Any]) -> Bucket:
    """Make a bucket.

    Args:
        cloud: The cloud.
        name: Its name.
        compartment: OCID of its compartment.
        settings: Settings by their API names, `retentionRules` included.

    Raises:
        ServiceError: 400 for a bad name, 409 if it exists.
    """
    if not _NAME.fullmatch(name):
        text = "A bucket name has 1 to 256 letters, digits, hyphens, underscores and periods"
        raise ServiceError(400, "InvalidBucketName", text)
    if storage.find_bucket(cloud, name):
        text = f"Either the bucket '{name}' in namespace '{cloud.settings.namespace}' already exists"
        raise ServiceError(409, "BucketAlreadyExists", f"{text} or you are not authorized to create it")
    doc = {**_DEFAULTS, **_checked(settings)}
    return storage.save_bucket(cloud, Bucket(name, compartment, cloud.clock.timestamp(), "", doc))


def _checked(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that are given (null counts as not given), each with a value that it may have."""
    given = {name: value for name, value in settings.items() if value is not None}
    for name, allowed in _CHOICES.items():
        one_of(name, given.get(name), allowed, allowed[0])
    for name in ("metadata", "freeformTags"):
        pairs = given.get(name, {})
        if not isinstance(pairs, dict) or not all(isinstance(value, str) for value in pairs.values()):
            raise invalid_parameter(f"{name} must be an object of texts")
    for name in ("objectEventsEnabled", "isBucketKeyEnabled"):
        if not isinstance(given.get(name, False), bool):
            raise invalid_parameter(f"{name} must be true or false")
    if not isinstance(given.get("definedTags", {}), dict):
        raise invalid_parameter("definedTags must be an object")
    header_text("kmsKeyId", given.get("kmsKeyId", ""))  # objects show it in a header
    return given


def bucket_json(cloud: Cloud, bucket: Bucket, fields: str = "") -> dict[str, Any]:
    """The SDK's model Bucket; approximate numbers only if asked for."""
    body = {name: bucket.doc.get(name, default) for name, default in _DEFAULTS.items()}
    body |= {
        "namespace": cloud.settings.namespace,
        "name": bucket.name,
        "id": f"ocid1.bucket.oc1.{cloud.settings.region}.{bucket.name}",
        "compartmentId": bucket.compartment,
        "timeCreated": iso(bucket.created),
        "etag": bucket.etag,
        "isReadOnly": bucket.read_only,
        "replicationEnabled": "replication" in bucket.doc,
        "objectLifecyclePolicyEtag": bucket.doc.get("lifecycle", {}).get("etag"),
    }
    if "approximate" in fields:
        statement = "SELECT COUNT(*) AS count, COALESCE(SUM(size), 0) AS size FROM objects WHERE bucket = ?"
        row = cloud.db.one(statement, bucket.name)
        assert row is not None
        body |= {"approximateCount": row["count"], "approximateSize": row["size"]}
    return body


# ---------------------------------------------------------------- operations


async def get_namespace(call: Call) -> web.StreamResponse:
    """The namespace, a bare JSON string."""
    return call.reply(call.cloud.settings.namespace)


_DESIGNATED = ("defaultS3CompartmentId", "defaultSwiftCompartmentId")


def _designated(cloud: Cloud) -> dict[str, str]:
    """Where the buckets of the S3 and Swift interfaces land: in the tenancy's root, unless told otherwise."""
    kept = cloud.db.setting("designated-compartments") or {}
    return {name: kept.get(name, cloud.settings.tenancy_id) for name in _DESIGNATED}


def s3_compartment(cloud: Cloud) -> str:
    """The compartment in which the S3 API makes and lists buckets."""
    return _designated(cloud)["defaultS3CompartmentId"]


async def get_namespace_metadata(call: Call) -> web.StreamResponse:
    """GetNamespaceMetadata: the compartments designated for S3 and Swift."""
    check_namespace(call)
    return call.reply({"namespace": call.cloud.settings.namespace, **_designated(call.cloud)})


async def update_namespace_metadata(call: Call) -> web.StreamResponse:
    """UpdateNamespaceMetadata; buckets that exist stay where they are."""
    check_namespace(call)
    body = await call.json()
    chosen = {name: required_text(body, name) for name in _DESIGNATED if body.get(name) is not None}
    for compartment in chosen.values():
        if not users.is_compartment(call.cloud, compartment):
            raise not_authorized_or_not_found()
        call.permit(compartment)
    call.cloud.db.set_setting("designated-compartments", _designated(call.cloud) | chosen)
    return await get_namespace_metadata(call)


async def create_bucket(call: Call) -> web.StreamResponse:
    """CreateBucket."""
    check_namespace(call)
    body = await call.json()
    compartment = required_text(body, "compartmentId")
    if not users.is_compartment(call.cloud, compartment):
        raise not_authorized_or_not_found()
    call.permit(compartment)
    settings = {name: body.get(name) for name in (*_CHANGEABLE, "storageTier", "versioning", "autoTiering")}
    with call.cloud.db.transaction():
        created_by = {"createdBy": call.principal.user_id}
        bucket = create(call.cloud, required_text(body, "name"), compartment, settings | created_by)
    location = f"/n/{call.cloud.settings.namespace}/b/{bucket.name}"
    return call.reply(bucket_json(call.cloud, bucket), headers={"etag": bucket.etag, "location": location})


async def get_bucket(call: Call) -> web.StreamResponse:
    """GetBucket and HeadBucket."""
    bucket = require_bucket(call)
    check_if_match(call.header("if-match"), bucket.etag)
    if call.header("if-none-match") == bucket.etag:
        raise ServiceError(304, "NotModified", "", {"etag": bucket.etag})
    if call.request.method == "HEAD":
        return call.reply(headers={"etag": bucket.etag})
    body = bucket_json(call.cloud, bucket, call.query.get("fields", ""))
    return call.reply(body, headers={"etag": bucket.etag})


async def update_bucket(call: Call) -> web.StreamResponse:
    """UpdateBucket (a POST)."""
    body = _checked(await call.json())
    with call.cloud.db.transaction():
        bucket = require_bucket(call)
        check_if_match(call.header("if-match"), bucket.etag)
        versioning = body.get("versioning", bucket.versioning)
        if versioning == "Disabled" and bucket.versioning != "Disabled":
            raise invalid_parameter("versioning: a bucket cannot go back to Disabled; suspend it instead")
        if versioning == "Enabled" and bucket.doc.get("retentionRules"):
            raise invalid_parameter("versioning: the bucket has retention rules, which exclude versioning")
        doc = {**bucket.doc, **{name: body[name] for name in _CHANGEABLE if name in body}, "versioning": versioning}
        if "autoTiering" in body:
            doc["autoTiering"] = body["autoTiering"]
        compartment = body.get("compartmentId", bucket.compartment)
        if not users.is_compartment(call.cloud, compartment):
            raise not_authorized_or_not_found()
        bucket = storage.save_bucket(call.cloud, replace(bucket, doc=doc, compartment=compartment))
    return call.reply(bucket_json(call.cloud, bucket), headers={"etag": bucket.etag})


async def list_buckets(call: Call) -> web.StreamResponse:
    """ListBuckets of one compartment, by name."""
    check_namespace(call)
    compartment = call.required("compartmentId")
    if not users.is_compartment(call.cloud, compartment):
        raise not_authorized_or_not_found()
    call.permit(compartment)
    after = call.page_token()
    limit = call.limit()
    statement = "SELECT * FROM buckets WHERE compartment = ? AND name > ? ORDER BY name LIMIT ?"
    rows, headers = next_page(call.cloud.db.all(statement, compartment, after, limit + 1), limit, "name")
    tags = "tags" in call.query.get("fields", "").lower()
    return call.reply([_summary(call.cloud, storage.bucket_of(row), tags=tags) for row in rows], headers=headers)


def _summary(cloud: Cloud, bucket: Bucket, *, tags: bool) -> dict[str, Any]:
    names = ("namespace", "name", "compartmentId", "createdBy", "timeCreated", "etag")
    body = bucket_json(cloud, bucket)
    return {name: body[name] for name in (*names, *(("freeformTags", "definedTags") if tags else ()))}


async def delete_bucket(call: Call) -> web.StreamResponse:
    """DeleteBucket: only an empty one, as OCI sees it."""
    db = call.cloud.db
    with db.transaction():
        bucket = require_bucket(call)
        check_if_match(call.header("if-match"), bucket.etag)
        _refuse_replicated(bucket)
        _refuse_full(call.cloud, bucket.name)
        db.execute("DELETE FROM buckets WHERE name = ?", bucket.name)
        db.execute("DELETE FROM lifecycle_sweeps WHERE bucket = ?", bucket.name)
    return call.reply(status=204)


def _refuse_replicated(bucket: Bucket) -> None:
    if bucket.read_only or "replication" in bucket.doc:
        text = f"Bucket named '{bucket.name}' has replication enabled. Delete the replication policy first."
        raise ServiceError(403, "BucketReplicationEnabled", text)


def _refuse_full(cloud: Cloud, name: str) -> None:
    def has(rest: str) -> bool:
        return cloud.db.one(f"SELECT 1 FROM {rest} LIMIT 1", name) is not None  # noqa: S608 - the texts stand below

    code = "BucketNotEmpty"
    if has("objects WHERE bucket = ? AND latest = 1 AND marker = 0"):
        text = f"Bucket named '{name}' is not empty. Delete all objects first."
    elif has("objects WHERE bucket = ?"):
        text = f"Bucket named '{name}' is not empty. Delete all object versions first."
    elif has("uploads WHERE bucket = ?"):
        text = f"Bucket named '{name}' has pending multipart uploads. Stop all multipart uploads first."
    elif has("pars WHERE bucket = ?"):
        code = "PreauthenticatedRequestStillExists"
        text = f"Bucket named '{name}' has pre-authenticated requests. Delete all pre-authenticated requests first."
    else:
        return
    raise ServiceError(409, code, text)
