"""Object Storage's own work requests, of copies and re-encryptions; the work is done when the call is answered."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from hypersdk_emulator.call import Call, next_page
from hypersdk_emulator.clock import iso
from hypersdk_emulator.database import Row
from hypersdk_emulator.errors import ServiceError, not_authorized_or_not_found
from hypersdk_emulator.objectstorage.storage import Bucket

POLL_SECONDS = "5"
"""`retry-after` of OCI's reply (recordings)."""


def record(call: Call, bucket: Bucket, operation: str, resources: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Keep a finished work request; returns the reply header that names it. Call it in the transaction of the work.

    Args:
        call: The request.
        bucket: Listed in its compartment.
        operation: `COPY_OBJECT` or `REENCRYPT`.
        resources: The SDK's models WorkRequestResource.
    """
    identifier = call.cloud.random.uuid("work request")
    doc = {"operation": operation, "resources": list(resources)}
    row = (identifier, bucket.compartment, call.cloud.clock.timestamp(), json.dumps(doc))
    call.cloud.db.execute("INSERT INTO copies VALUES (?, ?, ?, ?)", *row)
    return {"opc-work-request-id": identifier}


def resource(call: Call, action: str, kind: str, bucket: str, name: str, **metadata: str) -> dict[str, Any]:
    """One resource of a work request: an object or a bucket.

    Args:
        call: For the namespace.
        action: `READ`, `WRITTEN` or `UPDATED`.
        kind: `object` or `bucket`.
        bucket: Name of the bucket.
        name: What identifies the resource.
        metadata: More about it, by upper-case name.
    """
    where = {"NAMESPACE": call.cloud.settings.namespace, "BUCKET": bucket, **metadata}
    return {"actionType": action, "entityType": kind, "identifier": name, "entityUri": None, "metadata": where}


def _shown(row: Row) -> dict[str, Any]:
    doc, time = json.loads(row["doc"]), iso(row["created"])
    return {
        "id": row["id"],
        "operationType": doc["operation"],
        "status": "COMPLETED",
        "compartmentId": row["compartment"],
        "percentComplete": 100.0,
        "timeAccepted": time,
        "timeStarted": time,
        "timeFinished": time,
        "resources": doc["resources"],
    }


def _require(call: Call) -> Row:
    row = call.cloud.db.one("SELECT * FROM copies WHERE id = ?", call.params["work"])
    if row is None:
        raise not_authorized_or_not_found()
    call.permit(row["compartment"])
    return row


async def get(call: Call) -> web.StreamResponse:
    """Object Storage's own GetWorkRequest."""
    return call.reply(_shown(_require(call)), headers={"retry-after": POLL_SECONDS})


async def list_all(call: Call) -> web.StreamResponse:
    """Object Storage's own ListWorkRequests."""
    compartment, limit = call.required("compartmentId"), call.limit()
    call.permit(compartment)
    statement = "SELECT * FROM copies WHERE compartment = ? AND id > ? ORDER BY id LIMIT ?"
    rows = call.cloud.db.all(statement, compartment, call.page_token(), limit + 1)
    found, headers = next_page(rows, limit, "id")
    return call.reply([_shown(row) for row in found], headers=headers)


async def list_errors(call: Call) -> web.StreamResponse:
    """Work that was accepted here has no errors."""
    _require(call)
    return call.reply([])


async def list_logs(call: Call) -> web.StreamResponse:
    """One line per finished work request."""
    row = _require(call)
    done = {"COPY_OBJECT": "The object was copied.", "REENCRYPT": "The bucket was re-encrypted."}
    message = done[json.loads(row["doc"])["operation"]]
    return call.reply([{"message": message, "timestamp": iso(row["created"])}])


async def cancel(call: Call) -> web.StreamResponse:
    """Finished work cannot be cancelled."""
    _require(call)
    raise ServiceError(409, "NotCancelable", "The work request has finished")
