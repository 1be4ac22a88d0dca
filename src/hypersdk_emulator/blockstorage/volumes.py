"""Block volumes and boot volumes, as the API shows and takes them. Every handler takes the kind first."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from aiohttp import web

from hypersdk_emulator.blockstorage import copies
from hypersdk_emulator.blockstorage.common import (
    MB_PER_GB,
    changeable,
    listed,
    permitted,
    read_wanted,
    renamed,
    reply,
    shared_json,
    source_of,
    usable,
)
from hypersdk_emulator.blockstorage.deletion import delete_volume
from hypersdk_emulator.blockstorage.kinds import Kind, kind_of
from hypersdk_emulator.blockstorage.records import Wanted, is_hydrated, layers, must_be_whole
from hypersdk_emulator.blockstorage.state import (
    BYTES_PER_GB,
    MAX_CHANGE_BLOCK,
    MAX_VOLUME_GB,
    MAX_VPUS,
    checked_size,
    checked_vpus,
    must_be_available,
    provisioning,
)
from hypersdk_emulator.call import Call
from hypersdk_emulator.errors import invalid_parameter
from hypersdk_emulator.fields import optional_whole, text
from hypersdk_emulator.once import created_once
from hypersdk_emulator.resources import Resource, transition_seconds


def volume_json(call: Call, volume: Resource) -> dict[str, Any]:
    """The SDK's models Volume and BootVolume."""
    doc = volume.doc
    own = {"imageId": doc["imageId"]} if kind_of(volume.kind).boot else {"isReservationsEnabled": False}
    return {
        **shared_json(call, volume),
        **own,
        "autotunePolicies": [],
        "availabilityDomain": doc["availabilityDomain"],
        "isAutoTuneEnabled": False,
        "isHydrated": is_hydrated(volume, call.cloud.clock.timestamp()),
        "kmsKeyId": doc["kmsKeyId"],
        "sizeInGBs": doc["sizeInGBs"],
        "sizeInMBs": doc["sizeInGBs"] * MB_PER_GB,
        "sourceDetails": doc["sourceDetails"],
        "systemTags": {},
        "volumeGroupId": volume.parent or None,
        "vpusPerGB": doc["vpusPerGB"],
    }


async def create(kind: Kind, call: Call) -> web.StreamResponse:
    """CreateVolume, CreateBootVolume: empty (block volumes only), or of what `sourceDetails` names."""
    body = await call.json()
    wanted = read_wanted(call, body, kind.noun)

    def make() -> Resource:
        details = source_of(body, must=kind.boot)
        if details is None and not kind.boot and body.get("volumeBackupId") is not None:
            details = {"type": "volumeBackup", "id": text(body, "volumeBackupId")}
        return copies.blank(call.cloud, kind, wanted) if details is None else _copied(call, kind, wanted, details)

    volume = await created_once(call, make, lambda known: usable(call, kind.volume, known))
    return reply(call, volume, volume_json)


def _copied(call: Call, kind: Kind, wanted: Wanted, details: Mapping[str, Any]) -> Resource:
    """A volume of one of the SDK's VolumeSourceDetails.

    Raises:
        ServiceError: 400 for a source that there is not here.
    """
    match text(details, "type"):
        case kind.source:
            return copies.clone(call.cloud, wanted, usable(call, kind.volume, text(details, "id")))
        case word if word == f"{kind.source}Backup":
            return copies.restore(call.cloud, wanted, usable(call, kind.backup, text(details, "id")))
        case word if word == f"{kind.source}BackupDelta":
            first = usable(call, kind.backup, text(details, "firstBackupId"))
            second = usable(call, kind.backup, text(details, "secondBackupId"))
            block_size = optional_whole(details, "changeBlockSizeInBytes", 1, 2 * MAX_CHANGE_BLOCK)
            return copies.between(call.cloud, wanted, first, second, block_size)
        case other:
            raise invalid_parameter(f"sourceDetails.type: {other!r} is no source of a {kind.noun}")


async def get(kind: Kind, call: Call) -> web.StreamResponse:
    """GetVolume, GetBootVolume; a deleted one stays readable as TERMINATED."""
    return reply(call, permitted(call, kind.volume, call.params[kind.key]), volume_json)


async def list_volumes(kind: Kind, call: Call) -> web.StreamResponse:
    """ListVolumes, ListBootVolumes."""
    group = call.query.get("volumeGroupId")
    return listed(call, kind.volume, volume_json, lambda volume: group in (None, volume.parent))


async def update(kind: Kind, call: Call) -> web.StreamResponse:
    """UpdateVolume, UpdateBootVolume: name and tags at once; size and performance through PROVISIONING."""
    body = await call.json()
    size = optional_whole(body, "sizeInGBs", 1, 2 * MAX_VOLUME_GB)
    vpus = optional_whole(body, "vpusPerGB", 0, 2 * MAX_VPUS)
    with call.cloud.db.transaction():
        volume = renamed(changeable(call, kind.volume, call.params[kind.key]), body)
        if size is not None or vpus is not None:
            volume = _resized(call, kind, volume, size, vpus)
        volume.save(call.cloud.db)
    return reply(call, volume, volume_json)


def _resized(call: Call, kind: Kind, volume: Resource, size: int | None, vpus: int | None) -> Resource:
    """With another size and performance; a larger size makes the next backup a full one.

    Raises:
        ServiceError: 400 smaller or out of bounds, 409 not AVAILABLE.
    """
    cloud, now, old = call.cloud, call.cloud.clock.timestamp(), volume.doc
    must_be_available("volume", volume.id, volume.state(now))
    grown = checked_size(size, old["sizeInGBs"])
    if grown != old["sizeInGBs"]:
        must_be_whole(volume, "resized")
    doc = {**old, "sizeInGBs": grown, "vpusPerGB": checked_vpus(vpus, old["vpusPerGB"], boot=kind.boot)}
    if grown != old["sizeInGBs"]:
        doc["resized"] = True
        store = layers(cloud)
        if store.top(volume.id).length == old["sizeInGBs"] * BYTES_PER_GB:
            store.grow(volume.id, grown * BYTES_PER_GB)
    seconds = transition_seconds(cloud, call.operation, grown)
    return replace(volume, doc=doc, timeline=provisioning(now, seconds))


async def delete(kind: Kind, call: Call) -> web.StreamResponse:
    """DeleteVolume, DeleteBootVolume: 204, then TERMINATING and TERMINATED."""
    with call.cloud.db.transaction():
        volume = changeable(call, kind.volume, call.params[kind.key])
        delete_volume(call.cloud, volume, call.operation)
    layers(call.cloud).empty_trash()
    return call.reply(status=204)
