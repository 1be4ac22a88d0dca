"""Backups of single volumes: a frozen layer with a type. Every handler takes the kind of volume first."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from aiohttp import web

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
from hypersdk_emulator.blockstorage.extents import BLOCK
from hypersdk_emulator.blockstorage.kinds import Kind, kind_of
from hypersdk_emulator.blockstorage.records import backups_of, layers, must_be_whole, must_exist, use_of
from hypersdk_emulator.blockstorage.state import (
    BYTES_PER_MB,
    RUNNING_BACKUP,
    BackupType,
    backing_up,
    backup_type,
    gigabytes,
    may_back_up,
    must_be_available,
    terminating,
)
from hypersdk_emulator.call import Call, one_of
from hypersdk_emulator.clock import iso
from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.fields import defined_tags, optional_text, tags, text
from hypersdk_emulator.once import created_once
from hypersdk_emulator.resources import Resource, new_ocid, transition_seconds


def backup_json(call: Call, backup: Resource) -> dict[str, Any]:
    """The SDK's models VolumeBackup and BootVolumeBackup; how much is unique shows when the backup is done."""
    doc, kind = backup.doc, kind_of(backup.kind)
    done = backup.state(call.cloud.clock.timestamp()) not in RUNNING_BACKUP
    size: dict[str, Any] = {"imageId": doc["imageId"]}
    if not kind.boot:
        unique = max(1, -(-doc["unique"] // BYTES_PER_MB))
        size = {"sizeInMBs": doc["sizeInGBs"] * MB_PER_GB, "uniqueSizeInMbs": unique if done else None}
    return {
        **shared_json(call, backup),
        **size,
        "expirationTime": None,
        "kmsKeyId": doc["kmsKeyId"],
        "sizeInGBs": doc["sizeInGBs"],
        "sourceType": "MANUAL",
        "systemTags": {},
        "timeRequestReceived": iso(backup.created),
        "type": doc["type"],
        "uniqueSizeInGBs": gigabytes(doc["unique"]) if done else None,
        "volumeGroupBackupId": doc.get("groupBackup"),
        kind.key: backup.parent,
    }


def read_type(body: Mapping[str, Any]) -> str | None:
    """`type` of a backup.

    Raises:
        ServiceError: 400.
    """
    if body.get("type") is None:
        return None
    return one_of("type", body.get("type"), tuple(BackupType), "")


async def create(kind: Kind, call: Call) -> web.StreamResponse:
    """CreateVolumeBackup, CreateBootVolumeBackup: of the instant of the call."""
    body = await call.json()
    asked, name = read_type(body), optional_text(body, "displayName") or default_name(call, f"{kind.noun}Backup")
    free, defined = tags(body), defined_tags(body)

    def make() -> Resource:
        volume = usable(call, kind.volume, text(body, kind.key))
        backup = back_up(call.cloud, volume, asked, name, call.operation)
        doc = {
            **backup.doc,
            "freeformTags": {**backup.doc["freeformTags"], **(free or {})},
            "definedTags": defined or {},
        }
        backup = replace(backup, doc=doc)
        backup.save(call.cloud.db)
        return backup

    backup = await created_once(call, make, lambda known: usable(call, kind.backup, known))
    return reply(call, backup, backup_json)


def back_up(cloud: Cloud, volume: Resource, asked: str | None, name: str, operation: str, **more: Any) -> Resource:
    """A backup of a volume as it is now; in the caller's transaction.

    Args:
        cloud: the cloud.
        volume: of either kind.
        asked: the type asked for.
        name: display name.
        operation: CreateVolumeBackup or its kin, for how long it takes.
        more: further fields of its doc.

    Raises:
        ServiceError: 409 the volume is not AVAILABLE, or a backup of it runs; 400 it only tells changed blocks.
    """
    now, store, doc = cloud.clock.timestamp(), layers(cloud), volume.doc
    must_be_available("volume", volume.id, must_exist(volume, now).state(now))
    may_back_up(volume.id, use_of(cloud, volume))
    must_be_whole(volume, "backed up")
    earlier = backups_of(cloud, volume)
    kind = backup_type(asked, earlier=bool(earlier), resized=bool(doc.get("resized")))
    tip = store.freeze(volume.id)
    changed = store.changed(store.held(earlier[-1].id)[0], tip) if kind == BackupType.INCREMENTAL else None
    unique = (store.owned(tip) if changed is None else changed).blocks * BLOCK
    seconds = transition_seconds(cloud, f"{operation}/{kind}", doc["sizeInGBs"])
    number = int(doc.get("backups", 0)) + 1
    backup = Resource(
        id=new_ocid(cloud, kind_of(volume.kind).backup),
        kind=kind_of(volume.kind).backup,
        compartment=volume.compartment,
        name=name,
        created=now,
        timeline=backing_up(now, seconds, group=False),
        doc={
            **{key: doc[key] for key in ("sizeInGBs", "vpusPerGB", "imageId", "freeformTags", "kmsKeyId")},
            "type": kind,
            "number": number,
            "unique": unique,
            **more,
        },
        parent=volume.id,
    )
    backup.save(cloud.db)
    store.hold(backup.id, tip)
    replace(volume, doc={**doc, "backups": number, "resized": False}).save(cloud.db)
    return backup


async def get(kind: Kind, call: Call) -> web.StreamResponse:
    """GetVolumeBackup, GetBootVolumeBackup."""
    return reply(call, permitted(call, kind.backup, call.params[f"{kind.key[:-2]}BackupId"]), backup_json)


async def list_backups(kind: Kind, call: Call) -> web.StreamResponse:
    """ListVolumeBackups, ListBootVolumeBackups; none is a copy of another, so `source...BackupId` finds nothing."""
    volume, query = call.query.get(kind.key), call.query
    copied = f"source{kind.noun}BackupId" in query
    return listed(call, kind.backup, backup_json, lambda backup: volume in (None, backup.parent) and not copied)


async def delete(kind: Kind, call: Call) -> web.StreamResponse:
    """DeleteVolumeBackup, DeleteBootVolumeBackup: volumes restored from it and later backups stay whole."""
    with call.cloud.db.transaction():
        backup = changeable(call, kind.backup, call.params[f"{kind.key[:-2]}BackupId"])
        end_backup(call.cloud, backup, call.operation)
    layers(call.cloud).empty_trash()
    return call.reply(status=204)


def end_backup(cloud: Cloud, backup: Resource, operation: str) -> None:
    """Begin to delete a backup; in the caller's transaction.

    Raises:
        ServiceError: 409 while it is made.
    """
    now = cloud.clock.timestamp()
    must_be_available("backup", backup.id, backup.state(now))
    backup.changed(timeline=terminating(now, transition_seconds(cloud, operation))).save(cloud.db)
    layers(cloud).drop(backup.id)
