"""A bucket's lifecycle policy and retention rules: set, shown, changed, taken away."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from aiohttp import web

from hypersdk_emulator.call import Call
from hypersdk_emulator.clock import iso
from hypersdk_emulator.errors import ServiceError
from hypersdk_emulator.objectstorage import ageing, lifecycle, retention, storage
from hypersdk_emulator.objectstorage.common import check_if_match, require_bucket
from hypersdk_emulator.objectstorage.storage import Bucket


def _save(call: Call, bucket: Bucket, name: str, value: Any) -> None:
    """Keep a rule of either kind; what is due under the new rules happens at the next call."""
    doc = {key: each for key, each in bucket.doc.items() if key != name}
    if value is not None:
        doc[name] = value
    ageing.plan(call.cloud, storage.save_bucket(call.cloud, replace(bucket, doc=doc)))


# ---------------------------------------------------------------- lifecycle


def _policy(call: Call, bucket: Bucket) -> Mapping[str, Any]:
    policy: Mapping[str, Any] | None = bucket.doc.get("lifecycle")
    if policy is None:
        raise lifecycle.policy_not_found(bucket.name)
    check_if_match(call.header("if-match"), policy["etag"])
    return policy


async def put_policy(call: Call) -> web.StreamResponse:
    """PutObjectLifecyclePolicy: replaces the whole policy."""
    body, now = await call.json(), call.cloud.clock.timestamp()
    with call.cloud.db.transaction():
        bucket = require_bucket(call)
        old = bucket.doc.get("lifecycle", {}).get("etag")
        check_conditions(call, old)
        items = body.get("items") or []
        lifecycle.read(items, auto_tiering=bucket.doc.get("autoTiering") == "InfrequentAccess")
        items = [{"objectNameFilter": None, **item, "target": item.get("target") or "objects"} for item in items]
        etag = storage.new_etag(call.cloud)
        policy: dict[str, Any] = {"etag": etag, "timeCreated": iso(now), "since": now, "items": items}
        _save(call, bucket, "lifecycle", policy)
    return call.reply(lifecycle.shown(policy), headers={"etag": policy["etag"]})


def check_conditions(call: Call, etag: str | None) -> None:
    """If-Match and If-None-Match of a write to something that has one etag, or is not there."""
    none_match = call.header("if-none-match")
    if none_match is not None and none_match.strip() != "*":
        raise ServiceError(400, "IfNoneMatchDisallowed", "Only '*' is allowed in If-None-Match of a write")
    if none_match is not None and etag is not None:
        raise ServiceError(412, "IfNoneMatchFailed", "The If-None-Match condition did not hold: it exists")
    check_if_match(call.header("if-match"), etag)


async def get_policy(call: Call) -> web.StreamResponse:
    """GetObjectLifecyclePolicy."""
    policy = _policy(call, require_bucket(call))
    return call.reply(lifecycle.shown(policy), headers={"etag": policy["etag"]})


async def delete_policy(call: Call) -> web.StreamResponse:
    """DeleteObjectLifecyclePolicy."""
    with call.cloud.db.transaction():
        bucket = require_bucket(call)
        _policy(call, bucket)
        _save(call, bucket, "lifecycle", None)
    return call.reply(status=204)


# ---------------------------------------------------------------- retention


def _rules(bucket: Bucket) -> list[dict[str, Any]]:
    return list(bucket.doc.get("retentionRules", ()))


def _shown(rule: Mapping[str, Any]) -> dict[str, Any]:
    """The SDK's model RetentionRule."""
    names = ("id", "displayName", "duration", "etag", "timeRuleLocked", "timeCreated", "timeModified")
    return {name: rule.get(name) for name in names}


def _reply(call: Call, rule: Mapping[str, Any]) -> web.StreamResponse:
    return call.reply(_shown(rule), headers={"etag": rule["etag"]})


async def create_rule(call: Call) -> web.StreamResponse:
    """CreateRetentionRule; a rule without a duration protects until it is deleted."""
    body, now = await call.json(), call.cloud.clock.timestamp()
    with call.cloud.db.transaction():
        bucket = require_bucket(call)
        if bucket.versioning != "Disabled":
            text = "A bucket with object versioning cannot have retention rules"
            raise ServiceError(409, "VersioningEnabled", text)
        rules = _rules(bucket)
        if len(rules) >= retention.MAX_RULES:
            raise retention.bad(f"A bucket has at most {retention.MAX_RULES} retention rules")
        rule = {
            "id": call.cloud.random.uuid("retention rule"),
            **retention.details(body, now),
            "etag": storage.new_etag(call.cloud),
            "timeCreated": iso(now),
            "timeModified": iso(now),
        }
        _save(call, bucket, "retentionRules", [*rules, rule])
    return _reply(call, rule)


def _rule(call: Call, bucket: Bucket) -> dict[str, Any]:
    found = next((rule for rule in _rules(bucket) if rule["id"] == call.params["rule"]), None)
    if found is None:
        raise ServiceError(404, "RetentionRuleNotFound", "The retention rule does not exist")
    return found


async def get_rule(call: Call) -> web.StreamResponse:
    """GetRetentionRule."""
    return _reply(call, _rule(call, require_bucket(call)))


async def list_rules(call: Call) -> web.StreamResponse:
    """ListRetentionRules, by id."""
    rules = sorted(_rules(require_bucket(call)), key=lambda rule: str(rule["id"]))
    found, headers = call.page(rules)
    return call.reply({"items": [_shown(rule) for rule in found]}, headers=headers)


async def update_rule(call: Call) -> web.StreamResponse:
    """UpdateRetentionRule; a locked rule's duration may only grow."""
    body, now = await call.json(), call.cloud.clock.timestamp()
    with call.cloud.db.transaction():
        bucket = require_bucket(call)
        old = _rule(call, bucket)
        check_if_match(call.header("if-match"), old["etag"])
        fresh = {"etag": storage.new_etag(call.cloud), "timeModified": iso(now)}
        rule = {**retention.changed(old, body, now), **fresh}
        kept = [rule if each["id"] == rule["id"] else each for each in _rules(bucket)]
        _save(call, bucket, "retentionRules", kept)
    return _reply(call, rule)


async def delete_rule(call: Call) -> web.StreamResponse:
    """DeleteRetentionRule; a locked rule goes with its bucket only."""
    with call.cloud.db.transaction():
        bucket = require_bucket(call)
        gone = _rule(call, bucket)
        check_if_match(call.header("if-match"), gone["etag"])
        if retention.locked(gone, call.cloud.clock.timestamp()):
            raise retention.refused(gone, "only deleting the empty bucket deletes it")
        _save(call, bucket, "retentionRules", [rule for rule in _rules(bucket) if rule["id"] != gone["id"]])
    return call.reply(status=204)
