"""Volume groups: volumes that are cloned, backed up and restored in one instant."""

from collections.abc import Mapping, Sequence
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
from hypersdk_emulator.blockstorage.records import (
    GROUP,
    GROUP_BACKUP,
    Wanted,
    find_volume,
    is_hydrated,
    must_be_whole,
    must_exist,
)
from hypersdk_emulator.blockstorage.state import (
    VolumeState,
    conflict,
    may_group,
    must_be_available,
    provisioning,
    terminating,
)
from hypersdk_emulator.call import Call
from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.errors import invalid_parameter, missing_parameter
from hypersdk_emulator.fields import optional_texts, text
from hypersdk_emulator.once import created_once
from hypersdk_emulator.resources import Resource, find_resource, new_ocid, transition_seconds
from hypersdk_emulator.timeline import Timeline


def members(cloud: Cloud, group: Resource) -> list[Resource]:
    """The volumes of a group, in the order in which they were named."""
    return [find_volume(cloud, each) for each in group.doc["volumeIds"]]


def group_json(call: Call, group: Resource) -> dict[str, Any]:
    """The SDK's model VolumeGroup."""
    volumes, now = members(call.cloud, group), call.cloud.clock.timestamp()
    size = sum(volume.doc["sizeInGBs"] for volume in volumes)
    return {
        **shared_json(call, group),
        "availabilityDomain": group.doc["availabilityDomain"],
        "isHydrated": all(is_hydrated(volume, now) for volume in volumes),
        "sizeInGBs": size,
        "sizeInMBs": size * MB_PER_GB,
        "sourceDetails": group.doc["sourceDetails"],
        "volumeIds": group.doc["volumeIds"],
    }


async def create(call: Call) -> web.StreamResponse:
    """CreateVolumeGroup: of volumes, as the clone of a group, or restored from a group's backup."""
    body = await call.json()
    wanted = read_wanted(call, body, "VolumeGroup")
    group = await created_once(call, lambda: _make(call, body, wanted), lambda known: usable(call, GROUP, known))
    return reply(call, group, group_json)


def _make(call: Call, body: Mapping[str, Any], wanted: Wanted) -> Resource:
    cloud, now = call.cloud, call.cloud.clock.timestamp()
    details = source_of(body, must=True)
    assert details is not None
    match text(details, "type"):
        case "volumeIds":
            shown: dict[str, Any] = {"type": "volumeIds", "volumeIds": _ids(details)}
            volumes = _joinable(call, shown["volumeIds"], wanted.domain)
        case "volumeGroupId":
            source = usable(call, GROUP, text(details, "volumeGroupId"))
            must_be_available("volume group", source.id, source.state(now))
            shown = {"type": "volumeGroupId", "volumeGroupId": source.id}
            volumes = [copies.clone(cloud, _as(wanted, each), each) for each in members(cloud, source)]
        case "volumeGroupBackupId":
            backup = usable(call, GROUP_BACKUP, text(details, "volumeGroupBackupId"))
            must_be_available("volume group backup", backup.id, backup.state(now))
            shown = {"type": "volumeGroupBackupId", "volumeGroupBackupId": backup.id}
            saved = [_backup(cloud, each) for each in backup.doc["backupIds"]]
            volumes = [copies.restore(cloud, _as(wanted, each), each) for each in saved]
        case other:
            raise invalid_parameter(f"sourceDetails.type: {other!r} is no source of a volume group")
    may_group(len(volumes), sum(volume.doc["sizeInGBs"] for volume in volumes))
    seconds = transition_seconds(cloud, call.operation)
    ready = max([now + seconds, *(volume.timeline.settled for volume in volumes)])
    group = Resource(
        id=new_ocid(cloud, GROUP),
        kind=GROUP,
        compartment=wanted.compartment,
        name=wanted.name,
        created=now,
        timeline=Timeline(((VolumeState.PROVISIONING, ready),), VolumeState.AVAILABLE),
        doc={
            "availabilityDomain": wanted.domain,
            "freeformTags": dict(wanted.freeform_tags or {}),
            "definedTags": dict(wanted.defined_tags or {}),
            "sourceDetails": shown,
            "volumeIds": [volume.id for volume in volumes],
        },
    )
    group.save(cloud.db)
    for volume in volumes:
        volume.changed(parent=group.id).save(cloud.db)
    return group


def _backup(cloud: Cloud, backup_id: str) -> Resource:
    return find_resource(cloud.db, backup_id.split(".")[1], backup_id)


def _as(wanted: Wanted, source: Resource) -> Wanted:
    """A member of a new group: named as its source, with the source's size, without the group's tags."""
    return replace(wanted, name=source.name, size_in_gbs=None, vpus_per_gb=None, freeform_tags=None, defined_tags=None)


def _ids(details: Mapping[str, Any]) -> list[str]:
    ids = optional_texts(details, "volumeIds")
    if not ids:
        raise missing_parameter("volumeIds")
    if len(set(ids)) != len(ids):
        raise invalid_parameter("volumeIds names a volume twice")
    return ids


def _joinable(call: Call, ids: Sequence[str], domain: str, group_id: str = "") -> list[Resource]:
    """The volumes of these ids, if they may be in a group together.

    Raises:
        ServiceError: 404 unknown or deleted; 400 other domain; 409 in another group, or not AVAILABLE.
    """
    cloud, now = call.cloud, call.cloud.clock.timestamp()
    found = [find_volume(cloud, each) for each in ids]
    for volume in found:
        call.permit(volume.compartment)
        must_be_available("volume", volume.id, must_exist(volume, now).state(now))
        must_be_whole(volume, "in a group")
        if volume.doc["availabilityDomain"] != domain:
            where = volume.doc["availabilityDomain"]
            raise invalid_parameter(f"volumeIds: {volume.id} is in {where}, the group in {domain}")
        if volume.parent not in ("", group_id):
            raise conflict(f"Volume {volume.id} is in the volume group {volume.parent} already")
    return found


async def get(call: Call) -> web.StreamResponse:
    """GetVolumeGroup."""
    return reply(call, permitted(call, GROUP, call.params["volumeGroupId"]), group_json)


async def list_groups(call: Call) -> web.StreamResponse:
    """ListVolumeGroups."""
    return listed(call, GROUP, group_json)


async def update(call: Call) -> web.StreamResponse:
    """UpdateVolumeGroup: name, tags, and the whole list of members."""
    body = await call.json()
    cloud, now = call.cloud, call.cloud.clock.timestamp()
    with cloud.db.transaction():
        group = renamed(changeable(call, GROUP, call.params["volumeGroupId"]), body)
        if body.get("volumeIds") is not None:
            must_be_available("volume group", group.id, group.state(now))
            group = _with_members(call, group, optional_texts(body, "volumeIds"))
        group.save(cloud.db)
    return reply(call, group, group_json)


def _with_members(call: Call, group: Resource, ids: Sequence[str]) -> Resource:
    cloud = call.cloud
    if len(set(ids)) != len(ids):
        raise invalid_parameter("volumeIds names a volume twice")
    volumes = _joinable(call, ids, group.doc["availabilityDomain"], group.id)
    may_group(len(volumes), sum(volume.doc["sizeInGBs"] for volume in volumes))
    for volume in members(cloud, group):
        if volume.id not in ids:
            volume.changed(parent="").save(cloud.db)
    for volume in volumes:
        if volume.parent != group.id:
            volume.changed(parent=group.id).save(cloud.db)
    seconds = transition_seconds(cloud, call.operation)
    life = provisioning(cloud.clock.timestamp(), seconds)
    return replace(group, doc={**group.doc, "volumeIds": list(ids)}, timeline=life)


async def delete(call: Call) -> web.StreamResponse:
    """DeleteVolumeGroup: the group only; its volumes stay and are free again."""
    cloud, now = call.cloud, call.cloud.clock.timestamp()
    with cloud.db.transaction():
        group = changeable(call, GROUP, call.params["volumeGroupId"])
        must_be_available("volume group", group.id, group.state(now))
        for volume in members(cloud, group):
            volume.changed(parent="").save(cloud.db)
        life = terminating(now, transition_seconds(cloud, call.operation))
        group.changed(timeline=life).save(cloud.db)
    return call.reply(status=204)
