"""A bucket's lifecycle policy and retention rules: kept, shown, and (retention) obeyed by writes."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from aiohttp import web

from hypersdk_emulator.call import Call, one_of
from hypersdk_emulator.clock import iso
from hypersdk_emulator.errors import ServiceError, invalid_parameter
from hypersdk_emulator.objectstorage import storage
from hypersdk_emulator.objectstorage.common import check_if_match, require_bucket, required_text
from hypersdk_emulator.objectstorage.storage import Bucket

MAX_LIFECYCLE_RULES = 1000  # OCI documentation, "Object Lifecycle Management"
_ACTIONS = ("ARCHIVE", "INFREQUENT_ACCESS", "DELETE", "ABORT")
_TARGETS = ("objects", "previous-object-versions", "multipart-uploads")
_UNITS = ("DAYS", "YEARS")


def _save(call: Call, bucket: Bucket, name: str, value: Any) -> None:
    doc = {key: each for key, each in bucket.doc.items() if key != name}
    if value is not None:
        doc[name] = value
    storage.save_bucket(call.cloud, replace(bucket, doc=doc))


# ---------------------------------------------------------------- lifecycle


def _policy(call: Call, bucket: Bucket) -> Mapping[str, Any]:
    policy: Mapping[str, Any] | None = bucket.doc.get("lifecycle")
    if policy is None:
        raise ServiceError(404, "LifecyclePolicyNotFound", f"The bucket '{bucket.name}' has no lifecycle policy")
    check_if_match(call.header("if-match"), policy["etag"])
    return policy


def _policy_reply(call: Call, policy: Mapping[str, Any]) -> web.StreamResponse:
    body = {"timeCreated": policy["timeCreated"], "items": policy["items"]}
    return call.reply(body, headers={"etag": policy["etag"]})


async def put_policy(call: Call) -> web.StreamResponse:
    """PutObjectLifecyclePolicy: replaces the whole policy."""
    body, bucket = await call.json(), require_bucket(call)
    items = body.get("items") or []
    if not isinstance(items, list) or len(items) > MAX_LIFECYCLE_RULES:
        raise invalid_parameter(f"items must be a list of at most {MAX_LIFECYCLE_RULES} rules")
    rules = []
    for item in items:
        target = one_of("target", item.get("target"), _TARGETS, "objects")
        one_of("action", required_text(item, "action"), _ACTIONS, "")
        one_of("timeUnit", required_text(item, "timeUnit"), _UNITS, "")
        rules.append({**item, "target": target})
    policy = {"etag": storage.new_etag(call.cloud), "timeCreated": iso(call.cloud.clock.timestamp()), "items": rules}
    _save(call, bucket, "lifecycle", policy)
    return _policy_reply(call, policy)


async def get_policy(call: Call) -> web.StreamResponse:
    """GetObjectLifecyclePolicy."""
    return _policy_reply(call, _policy(call, require_bucket(call)))


async def delete_policy(call: Call) -> web.StreamResponse:
    """DeleteObjectLifecyclePolicy."""
    bucket = require_bucket(call)
    _policy(call, bucket)
    _save(call, bucket, "lifecycle", None)
    return call.reply(status=204)


# ---------------------------------------------------------------- retention


def _rules(bucket: Bucket) -> list[dict[str, Any]]:
    return list(bucket.doc.get("retentionRules", ()))


def _duration(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    amount = value.get("timeAmount") if isinstance(value, dict) else None
    if not isinstance(amount, int) or amount < 1 or value.get("timeUnit") not in _UNITS:
        raise ServiceError(400, "InvalidRetentionRuleDetails", "duration needs timeAmount and timeUnit DAYS or YEARS")
    return {"timeAmount": amount, "timeUnit": value["timeUnit"]}


async def create_rule(call: Call) -> web.StreamResponse:
    """CreateRetentionRule; a rule without a duration protects until it is deleted."""
    body, bucket = await call.json(), require_bucket(call)
    if bucket.versioning != "Disabled":
        text = "A bucket with object versioning cannot have retention rules"
        raise ServiceError(409, "VersioningEnabled", text)
    now = iso(call.cloud.clock.timestamp())
    rule: dict[str, Any] = {
        "id": call.cloud.random.uuid("retention rule"),
        "displayName": body.get("displayName"),
        "duration": _duration(body.get("duration")),
        "etag": storage.new_etag(call.cloud),
        "timeRuleLocked": body.get("timeRuleLocked"),
        "timeCreated": now,
        "timeModified": now,
    }
    _save(call, bucket, "retentionRules", [*_rules(bucket), rule])
    return call.reply(rule, headers={"etag": rule["etag"]})


def _rule(call: Call, bucket: Bucket) -> dict[str, Any]:
    found = next((rule for rule in _rules(bucket) if rule["id"] == call.params["rule"]), None)
    if found is None:
        raise ServiceError(404, "RetentionRuleNotFound", "The retention rule does not exist")
    return found


async def get_rule(call: Call) -> web.StreamResponse:
    """GetRetentionRule."""
    rule = _rule(call, require_bucket(call))
    return call.reply(rule, headers={"etag": rule["etag"]})


async def list_rules(call: Call) -> web.StreamResponse:
    """ListRetentionRules."""
    return call.reply({"items": _rules(require_bucket(call))})


async def delete_rule(call: Call) -> web.StreamResponse:
    """DeleteRetentionRule."""
    bucket = require_bucket(call)
    gone = _rule(call, bucket)["id"]
    _save(call, bucket, "retentionRules", [rule for rule in _rules(bucket) if rule["id"] != gone])
    return call.reply(status=204)
