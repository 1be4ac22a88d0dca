"""Storage tiers of objects and versions: moved by hand, restored from the archive for some hours."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from aiohttp import web

from hypersdk_emulator.call import Call, one_of
from hypersdk_emulator.errors import ServiceError
from hypersdk_emulator.objectstorage import storage
from hypersdk_emulator.objectstorage.common import TIERS, object_not_found, require_bucket, required_text
from hypersdk_emulator.objectstorage.storage import StoredObject

_HOURS = (1, 24, 240)  # least, default, most (RestoreObjectsDetails)


def _named(call: Call, body: Mapping[str, Any]) -> StoredObject:
    """The object, or the version, that a body names."""
    bucket, name = require_bucket(call), required_text(body, "objectName")
    if body.get("versionId") is None:
        found = storage.latest(call.cloud, bucket.name, name)
    else:
        found = storage.version(call.cloud, bucket.name, name, required_text(body, "versionId"))
    if found is None or found.marker:
        raise object_not_found(call, bucket.name, name)
    return found


async def update_tier(call: Call) -> web.StreamResponse:
    """UpdateObjectStorageTier."""
    body = await call.json()
    tier = one_of("storageTier", required_text(body, "storageTier"), TIERS, "")
    with call.cloud.db.transaction():
        found = _named(call, body)
        if found.archival_state(call.cloud.clock.timestamp()) in ("Archived", "Restoring"):
            raise ServiceError(409, "NotRestored", f"The object '{found.name}' is archived; restore it first")
        storage.redescribe(call.cloud, found, replace(found.content, tier=tier), {})
    return call.reply()


async def restore_objects(call: Call) -> web.StreamResponse:
    """RestoreObjects: readable one hour later, for the hours asked for."""
    body = await call.json()
    least, default, most = _HOURS
    hours = default if body.get("hours") is None else body["hours"]
    if not isinstance(hours, int) or isinstance(hours, bool) or not least <= hours <= most:
        raise ServiceError(400, "InvalidParameter", f"hours must be from {least} to {most}")
    with call.cloud.db.transaction():
        found, now = _named(call, body), call.cloud.clock.timestamp()
        state = found.archival_state(now)
        if state is None:
            raise ServiceError(409, "NotArchivedObject", f"The object '{found.name}' is not archived")
        if state != "Archived" and call.cloud.assumptions.restore_conflicts:
            code = "RestoreInProgress" if state == "Restoring" else "AlreadyRestored"
            raise ServiceError(409, code, f"The object '{found.name}' is {state.lower()} already")
        ready = now + storage.RESTORE_SECONDS if state == "Archived" else found.restored["ready"]
        restored = {"ready": ready, "until": max(ready, now) + hours * 3600.0}
        storage.redescribe(call.cloud, found, found.content, restored)
    return call.reply(status=202 if state == "Archived" else 200)
