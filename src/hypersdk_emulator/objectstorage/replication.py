"""Replication policies: kept on the source, shown on both sides; the destination is read-only while there is one.

Sources: "Replication" in OCI's documentation: one policy per source, the destination is changed by replication only,
a replica has name, metadata, etag and MD5 of its source but tier and times of its own, what was there before the
policy is not replicated, MakeBucketWritable takes the policy away. Codes from Object Storage's published list of error
codes. The replicating itself is a part of each write, in `storage`: the replica is there at once.
"""

from dataclasses import replace
from typing import Any

from aiohttp import web

from hypersdk_emulator.call import Call
from hypersdk_emulator.clock import iso
from hypersdk_emulator.errors import ServiceError, invalid_parameter
from hypersdk_emulator.objectstorage import storage
from hypersdk_emulator.objectstorage.common import bucket_not_found, require_bucket, required_text
from hypersdk_emulator.objectstorage.storage import Bucket

_POLICY, _SOURCE = "replication", "replicatedFrom"
"""Where the buckets' documents hold the policy and, on the other side, who writes here."""


def _change(call: Call, bucket: Bucket, name: str, value: dict[str, Any] | None) -> None:
    doc = {key: each for key, each in bucket.doc.items() if key != name}
    if value is not None:
        doc[name] = value
    storage.save_bucket(call.cloud, replace(bucket, doc=doc))


def _conflict(text: str) -> ServiceError:
    return ServiceError(409, "ReplicationPolicyConflict", text)


async def create(call: Call) -> web.StreamResponse:
    """CreateReplicationPolicy, to another bucket of this region."""
    body, region = await call.json(), call.cloud.settings.region
    name, there = required_text(body, "name"), required_text(body, "destinationBucketName")
    if required_text(body, "destinationRegionName") != region:
        raise invalid_parameter(f"destinationRegionName: this cloud has only {region}")
    with call.cloud.db.transaction():
        bucket, target = require_bucket(call), storage.find_bucket(call.cloud, there)
        if target is None or not call.principal.may(call.operation, target.compartment):
            raise bucket_not_found(call, there)
        _check(bucket, target)
        policy = {
            "id": call.cloud.random.uuid("replication policy"),
            "name": name,
            "destinationRegionName": region,
            "destinationBucketName": there,
            "timeCreated": iso(call.cloud.clock.timestamp()),
            "status": "ACTIVE",
            "statusMessage": "",
        }
        _change(call, bucket, _POLICY, policy)
        source = {"policyName": name, "sourceRegionName": region, "sourceBucketName": bucket.name}
        _change(call, target, _SOURCE, source)
    return call.reply(_shown(call, policy))


def _shown(call: Call, policy: dict[str, Any]) -> dict[str, Any]:
    """The SDK's model ReplicationPolicy; replicas are never behind."""
    return {**policy, "timeLastSync": iso(call.cloud.clock.timestamp())}


def _check(bucket: Bucket, target: Bucket) -> None:
    """Refuse a policy between buckets that cannot have one."""
    if target.name == bucket.name:
        raise invalid_parameter("destinationBucketName: a bucket is not replicated to itself")
    if _POLICY in bucket.doc:
        raise _conflict(f"The bucket '{bucket.name}' has a replication policy")
    if bucket.read_only or _POLICY in target.doc:
        raise _conflict("A destination of replication is not a source, too")
    if target.read_only:
        raise _conflict(f"The bucket '{target.name}' is the destination of another replication policy")
    if target.doc.get("retentionRules"):
        raise _conflict(f"The bucket '{target.name}' has retention rules, which replication could not obey")


def _policies(call: Call) -> list[dict[str, Any]]:
    policy = require_bucket(call).doc.get(_POLICY)
    return [] if policy is None else [policy]


def _require(call: Call) -> dict[str, Any]:
    found = next((policy for policy in _policies(call) if policy["id"] == call.params["policy"]), None)
    if found is None:
        raise ServiceError(404, "ReplicationPolicyNotFound", "The replication policy does not exist")
    return found


async def get(call: Call) -> web.StreamResponse:
    """GetReplicationPolicy."""
    return call.reply(_shown(call, _require(call)))


async def list_policies(call: Call) -> web.StreamResponse:
    """ListReplicationPolicies: one or none."""
    found, headers = call.page(_policies(call))
    return call.reply([_shown(call, policy) for policy in found], headers=headers)


async def list_sources(call: Call) -> web.StreamResponse:
    """ListReplicationSources: of a destination, who replicates to it."""
    source = require_bucket(call).doc.get(_SOURCE)
    found, headers = call.page([] if source is None else [source], key="policyName")
    return call.reply(list(found), headers=headers)


async def delete(call: Call) -> web.StreamResponse:
    """DeleteReplicationPolicy; the destination can be written to again."""
    with call.cloud.db.transaction():
        policy = _require(call)
        _end(call, require_bucket(call), storage.find_bucket(call.cloud, policy["destinationBucketName"]))
    return call.reply(status=204)


async def make_writable(call: Call) -> web.StreamResponse:
    """MakeBucketWritable, for the destination of a policy: the policy goes."""
    with call.cloud.db.transaction():
        target = require_bucket(call)
        source = target.doc.get(_SOURCE)
        if source is None:
            raise invalid_parameter(f"The bucket '{target.name}' is no destination of replication")
        _end(call, storage.find_bucket(call.cloud, source["sourceBucketName"]), target)
    return call.reply(status=204)


def _end(call: Call, bucket: Bucket | None, target: Bucket | None) -> None:
    if bucket is not None:
        _change(call, bucket, _POLICY, None)
    if target is not None:
        _change(call, target, _SOURCE, None)
