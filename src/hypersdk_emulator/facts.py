"""What a call is about, for the matchers of faults: its object, bucket, compartment, instance, range and part."""

import json
import re
from typing import Any

from hypersdk_emulator.call import Call
from hypersdk_emulator.compute.records import find_image, find_instance
from hypersdk_emulator.errors import ServiceError
from hypersdk_emulator.faults import Facts
from hypersdk_emulator.objectstorage import storage

_OBJECT_KEYS = ("objectName", "object", "sourceName", "sourceObjectName")
_RANGE = re.compile(r"\s*bytes\s*=\s*(\d+)\s*-\s*(\d*)\s*")


async def facts_of(call: Call) -> Facts:
    """Everything that a fault may ask about a call."""
    body = await _body(call)
    first, last = _range(call.header("range"))
    bucket = call.params.get("bucket", "")
    instance = call.params.get("instanceId") or call.query.get("instanceId") or _text(body, "instanceId")
    return Facts(
        operation=call.operation,
        service=call.route.service,
        path=call.request.raw_path.partition("?")[0],
        object_name=call.params.get("object") or _text(body, *_OBJECT_KEYS),
        bucket=bucket or _text(body, "bucketName"),
        compartment=call.query.get("compartmentId") or _text(body, "compartmentId") or _compartment(call, bucket),
        instance=instance,
        first=first,
        last=last,
        part=_number(call.params.get("number") or call.query.get("uploadPartNum") or call.query.get("partNumber")),
    )


async def _body(call: Call) -> dict[str, Any]:
    """The JSON object in the body of a call that has one."""
    route = call.route
    # Through a link nothing is signed, and no body is JSON: it may be a part of an object, which its handler reads.
    if route.auth == "par" or not route.body_signed or call.request.method not in ("POST", "PUT", "PATCH"):
        return {}
    try:
        body = json.loads(await call.raw() or b"{}")
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _text(body: dict[str, Any], *names: str) -> str:
    """The first of these fields that is a text."""
    return next((body[name] for name in names if isinstance(body.get(name), str)), "")


def _compartment(call: Call, bucket: str) -> str:
    """Where the resource of the path lives."""
    db = call.cloud.db
    try:
        if bucket:
            found = storage.find_bucket(call.cloud, bucket)
            return found.compartment if found else ""
        if "instanceId" in call.params:
            return find_instance(db, call.params["instanceId"]).compartment
        if "imageId" in call.params:
            return find_image(db, call.params["imageId"]).compartment or ""
    except ServiceError:
        pass
    return ""


def _range(header: str | None) -> tuple[int | None, int | None]:
    found = _RANGE.fullmatch(header or "")
    if found is None:
        return None, None
    return int(found[1]), int(found[2]) if found[2] else None


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() else 0
