"""Backups of volume groups: a backup of each volume, all of one instant."""

from dataclasses import replace
from typing import Any

from aiohttp import web

from hypersdk_emulator.blockstorage.backups import back_up, end_backup, read_type
from hypersdk_emulator.blockstorage.common import (
    MB_PER_GB,
    changeable,
    default_name,
    listed,
    permitted,
    reply,
    shared_json,
    usable,
)
from hypersdk_emulator.blockstorage.groups import members
from hypersdk_emulator.blockstorage.records import GROUP, GROUP_BACKUP, layers
from hypersdk_emulator.blockstorage.state import (
    BYTES_PER_MB,
    GONE,
    RUNNING_BACKUP,
    BackupType,
    backing_up,
    gigabytes,
    must_be_available,
    terminating,
)
from hypersdk_emulator.call import Call
from hypersdk_emulator.clock import iso
from hypersdk_emulator.errors import ServiceError
from hypersdk_emulator.fields import defined_tags, optional_text, tags, text
from hypersdk_emulator.once import created_once
from hypersdk_emulator.resources import Resource, find_resource, new_ocid, transition_seconds


def group_backup_json(call: Call, backup: Resource) -> dict[str, Any]:
    """The SDK's model VolumeGroupBackup."""
    doc = backup.doc
    done = backup.state(call.cloud.clock.timestamp()) not in RUNNING_BACKUP
    return {
        **shared_json(call, backup),
        "expirationTime": None,
        "sizeInGBs": doc["sizeInGBs"],
        "sizeInMBs": doc["sizeInGBs"] * MB_PER_GB,
        "sourceType": "MANUAL",
        "timeRequestReceived": iso(backup.created),
        "type": doc["type"],
        "uniqueSizeInGbs": gigabytes(doc["unique"]) if done else None,
        "uniqueSizeInMbs": max(1, -(-doc["unique"] // BYTES_PER_MB)) if done else None,
        "volumeBackupIds": doc["backupIds"],
        "volumeGroupId": backup.parent,
    }


async def create(call: Call) -> web.StreamResponse:
    """CreateVolumeGroupBackup: of all volumes of the group at the instant of the call."""
    body = await call.json()
    asked, name = read_type(body), optional_text(body, "displayName") or default_name(call, "VolumeGroupBackup")
    compartment = optional_text(body, "compartmentId")
    if compartment is not None:
        call.permit(compartment)
    shown = {"freeformTags": tags(body) or {}, "definedTags": defined_tags(body) or {}}

    def make() -> Resource:
        group = usable(call, GROUP, text(body, "volumeGroupId"))
        return _back_up(call, group, asked, name, {"compartment": compartment or group.compartment, **shown})

    backup = await created_once(call, make, lambda known: usable(call, GROUP_BACKUP, known))
    return reply(call, backup, group_backup_json)


def _back_up(call: Call, group: Resource, asked: str | None, name: str, shown: dict[str, Any]) -> Resource:
    cloud, now = call.cloud, call.cloud.clock.timestamp()
    must_be_available("volume group", group.id, group.state(now))
    volumes = members(cloud, group)
    if not volumes:
        raise ServiceError(409, "IncorrectState", f"The volume group {group.id} has no volumes")
    backup_id = new_ocid(cloud, GROUP_BACKUP)
    made = [
        back_up(cloud, volume, asked, f"{name} {volume.name}", call.operation, groupBackup=backup_id)
        for volume in volumes
    ]
    compartment = shown.pop("compartment")
    full = all(each.doc["type"] == BackupType.FULL for each in made)
    seconds = max([transition_seconds(cloud, call.operation), *(each.timeline.settled - now for each in made)])
    backup = Resource(
        id=backup_id,
        kind=GROUP_BACKUP,
        compartment=compartment,
        name=name,
        created=now,
        timeline=backing_up(now, seconds, group=True),
        doc={
            **shown,
            "type": BackupType.FULL if full else BackupType.INCREMENTAL,
            "sizeInGBs": sum(each.doc["sizeInGBs"] for each in made),
            "unique": sum(each.doc["unique"] for each in made),
            "backupIds": [each.id for each in made],
        },
        parent=group.id,
    )
    backup.save(cloud.db)
    for each in made:
        replace(each, compartment=compartment).save(cloud.db)
    return backup


async def get(call: Call) -> web.StreamResponse:
    """GetVolumeGroupBackup."""
    return reply(call, permitted(call, GROUP_BACKUP, call.params["volumeGroupBackupId"]), group_backup_json)


async def list_backups(call: Call) -> web.StreamResponse:
    """ListVolumeGroupBackups."""
    group = call.query.get("volumeGroupId")
    return listed(call, GROUP_BACKUP, group_backup_json, lambda backup: group in (None, backup.parent))


async def delete(call: Call) -> web.StreamResponse:
    """DeleteVolumeGroupBackup: with all backups in it (SDK: delete_volume_group_backup)."""
    cloud, now = call.cloud, call.cloud.clock.timestamp()
    with cloud.db.transaction():
        backup = changeable(call, GROUP_BACKUP, call.params["volumeGroupBackupId"])
        must_be_available("volume group backup", backup.id, backup.state(now))
        for each in (find_resource(cloud.db, one.split(".")[1], one) for one in backup.doc["backupIds"]):
            if each.state(now) not in GONE:
                end_backup(cloud, each, call.operation)
        life = terminating(now, transition_seconds(cloud, call.operation))
        backup.changed(timeline=life).save(cloud.db)
    layers(cloud).empty_trash()
    return call.reply(status=204)
