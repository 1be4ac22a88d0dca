"""Pre-authenticated requests: made, listed, deleted, and the access that their URLs give."""

import datetime as dt
import json
import urllib.parse
from typing import Any

from aiohttp import web

from hypersdk_emulator.call import Call, next_page, one_of
from hypersdk_emulator.clock import iso
from hypersdk_emulator.database import Row
from hypersdk_emulator.errors import ServiceError, invalid_parameter, not_authorized_or_not_found
from hypersdk_emulator.identity import users
from hypersdk_emulator.objectstorage.common import check_name, require_bucket, required_text
from hypersdk_emulator.signatures import Principal

ACCESS = ("ObjectRead", "ObjectWrite", "ObjectReadWrite", "AnyObjectRead", "AnyObjectWrite", "AnyObjectReadWrite")
_READS = ("GetObject", "HeadObject")


def authorize(call: Call) -> Principal:
    """The principal that a PAR's URL stands for, or a refusal: unknown, expired, for another object, not for this.

    Raises:
        ServiceError: 404, which tells nothing.
    """
    row = call.cloud.db.one("SELECT * FROM pars WHERE token = ?", call.params["token"])
    if row is None or call.cloud.clock.timestamp() >= row["expires"]:
        raise not_authorized_or_not_found()
    doc, wanted = json.loads(row["doc"]), call.params.get("object")
    creator = users.recalled(call.cloud, doc, "par")
    if creator is None or row["bucket"] != call.params["bucket"]:
        raise not_authorized_or_not_found()
    access = doc["accessType"]
    if call.operation == "ListObjects":
        allowed = doc["bucketListingAction"] == "ListObjects"
    else:
        fits = access.startswith("Any") or row["object"] == wanted
        allowed = fits and ("Read" if call.operation in _READS else "Write") in access
    if not allowed:
        raise not_authorized_or_not_found()
    return creator


def _expiry(value: Any) -> float:
    try:
        parsed = dt.datetime.fromisoformat(str(value))
    except ValueError:
        raise invalid_parameter("timeExpires must be a time in RFC 3339") from None
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=dt.UTC)).timestamp()


def _summary(row: Row) -> dict[str, Any]:
    doc = json.loads(row["doc"])
    return {
        "id": row["id"],
        "name": doc["name"],
        "accessType": doc["accessType"],
        "objectName": row["object"],
        "bucketListingAction": doc["bucketListingAction"],
        "timeCreated": iso(row["created"]),
        "timeExpires": iso(row["expires"]),
    }


async def create(call: Call) -> web.StreamResponse:
    """CreatePreauthenticatedRequest; only this reply shows the URL."""
    body, bucket = await call.json(), require_bucket(call)
    access = one_of("accessType", required_text(body, "accessType"), ACCESS, "")
    listing = one_of("bucketListingAction", body.get("bucketListingAction"), ("Deny", "ListObjects"), "Deny")
    name = body.get("objectName") or None
    if access.startswith("Any") == (name is not None):
        raise invalid_parameter(f"objectName: {access} is for {'all objects' if name else 'one object'}")
    if name is not None:
        check_name(name)
    now, expires = call.cloud.clock.timestamp(), _expiry(body.get("timeExpires"))
    if expires <= now:
        raise invalid_parameter("timeExpires lies in the past")
    random = call.cloud.random
    token, identifier = random.urlsafe("par token", 48), random.urlsafe("par", 33)
    doc = {"name": required_text(body, "name"), "accessType": access, "bucketListingAction": listing}
    doc |= users.described(call.principal)
    row = (f"{identifier}:{name or ''}", token, bucket.name, name, expires, now, json.dumps(doc))
    call.cloud.db.execute("INSERT INTO pars VALUES (?, ?, ?, ?, ?, ?, ?)", *row)
    uri = f"/p/{token}/n/{call.cloud.settings.namespace}/b/{bucket.name}/o/"
    uri += urllib.parse.quote(name or "")
    made = call.cloud.db.one("SELECT * FROM pars WHERE token = ?", token)
    assert made is not None
    origin = f"{call.request.scheme}://{call.headers.get('host', '')}"
    return call.reply({**_summary(made), "accessUri": uri, "fullPath": origin + uri})


def _require(call: Call) -> Row:
    bucket = require_bucket(call)
    row = call.cloud.db.one("SELECT * FROM pars WHERE id = ? AND bucket = ?", call.params["par"], bucket.name)
    if row is None:
        text = "The pre-authenticated request does not exist"
        raise ServiceError(404, "PreauthenticatedRequestNotFound", text)
    return row


async def get(call: Call) -> web.StreamResponse:
    """GetPreauthenticatedRequest."""
    return call.reply(_summary(_require(call)))


async def delete(call: Call) -> web.StreamResponse:
    """DeletePreauthenticatedRequest: its URL is dead at once."""
    call.cloud.db.execute("DELETE FROM pars WHERE id = ?", _require(call)["id"])
    return call.reply(status=204)


async def list_pars(call: Call) -> web.StreamResponse:
    """ListPreauthenticatedRequests, expired ones included."""
    bucket, limit, prefix = require_bucket(call), call.limit(), call.query.get("objectNamePrefix", "")
    rows = call.cloud.db.all(
        "SELECT * FROM pars WHERE bucket = ? AND id > ? AND substr(COALESCE(object, ''), 1, ?) = ? ORDER BY id LIMIT ?",
        bucket.name,
        call.page_token(),
        len(prefix),
        prefix,
        limit + 1,
    )
    found, headers = next_page(rows, limit, "id")
    return call.reply([_summary(row) for row in found], headers=headers)
