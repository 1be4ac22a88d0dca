"""New volumes: empty, of a disk, of another volume, of a backup, of what lies between two backups.

All of it is instant, whatever the size: a new layer over a frozen one. Only the clock makes a copy take its time.
Every function is called in the caller's transaction, after the caller's permissions were checked.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hypersdk_emulator.blockstorage.kinds import Kind, kind_of
from hypersdk_emulator.blockstorage.records import (
    Wanted,
    backups_of,
    find_volume,
    layers,
    must_be_whole,
    must_exist,
    save_new,
    use_of,
)
from hypersdk_emulator.blockstorage.state import (
    BYTES_PER_GB,
    DEFAULT_VPUS,
    LOWER_COST,
    MIN_CHANGE_BLOCK,
    Saved,
    checked_size,
    checked_vpus,
    may_clone,
    may_delta,
    must_be_available,
    provisioning,
)
from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.errors import invalid_parameter
from hypersdk_emulator.resources import Resource, transition_seconds


def blank(cloud: Cloud, kind: Kind, wanted: Wanted) -> Resource:
    """An empty volume."""
    size = checked_size(wanted.size_in_gbs, None)
    doc = {
        "sizeInGBs": size,
        "vpusPerGB": checked_vpus(wanted.vpus_per_gb, DEFAULT_VPUS, boot=kind.boot),
        "sourceDetails": None,
    }
    now = cloud.clock.timestamp()
    seconds = transition_seconds(cloud, f"Create{kind.noun}", size)
    volume = save_new(cloud, kind, wanted, provisioning(now, seconds), doc)
    layers(cloud).start(volume.id, None, size * BYTES_PER_GB)
    return volume


def clone(cloud: Cloud, wanted: Wanted, source: Resource) -> Resource:
    """A copy of a volume as it is now.

    Raises:
        ServiceError: 404 the source was deleted, 409 it is busy, 400 other domain or smaller.
    """
    kind = kind_of(source.kind)
    now = cloud.clock.timestamp()
    must_be_available("volume", source.id, must_exist(source, now).state(now))
    must_be_whole(source, "cloned")
    may_clone(source.id, use_of(cloud, source))
    if wanted.domain != source.doc["availabilityDomain"]:
        where = source.doc["availabilityDomain"]
        raise invalid_parameter(f"availabilityDomain: the source volume is in {where}; a clone must be in the same one")
    tip = layers(cloud).freeze(source.id)
    details = {"type": kind.source, "id": source.id}
    if cloud.assumptions.clones_inherit_tags:
        wanted = _tagged(wanted, source)
    return _copy(cloud, wanted, _Origin(kind, tip, source.doc, details), "CLONE")


def restore(cloud: Cloud, wanted: Wanted, backup: Resource) -> Resource:
    """A volume with the bytes of a backup, full or incremental; in any domain.

    Raises:
        ServiceError: 404 the backup was deleted, 409 it is not AVAILABLE, 400 smaller.
    """
    kind, now = kind_of(backup.kind), cloud.clock.timestamp()
    must_be_available("backup", backup.id, must_exist(backup, now).state(now))
    (tip,) = layers(cloud).held(backup.id)
    details = {"type": f"{kind.source}Backup", "id": backup.id}
    return _copy(cloud, _tagged(wanted, backup), _Origin(kind, tip, backup.doc, details), "BACKUP")


def between(cloud: Cloud, wanted: Wanted, first: Resource, second: Resource, block_size: int | None) -> Resource:
    """A volume that tells which blocks changed from one backup to a later one of the same volume.

    Raises:
        ServiceError: the rules of `may_delta`; 404 a backup was deleted; 400 Lower Cost performance.
    """
    kind, now = kind_of(first.kind), cloud.clock.timestamp()
    for backup in (first, second):
        must_exist(backup, now)
    vpus = second.doc["vpusPerGB"] if wanted.vpus_per_gb is None else wanted.vpus_per_gb
    if vpus == LOWER_COST:
        raise invalid_parameter("A volume of changed blocks cannot have the Lower Cost performance level")
    size = block_size or MIN_CHANGE_BLOCK
    one, two = _saved(first, now), _saved(second, now)
    others = [_saved(each, now) for each in _siblings(cloud, first)]
    may_delta(one, two, [each for each in others if one.number < each.number < two.number], size)
    if wanted.size_in_gbs not in (None, two.size):
        raise invalid_parameter(f"sizeInGBs is {wanted.size_in_gbs}; the volume of changed blocks has {two.size}")
    store = layers(cloud)
    (below,), (tip,) = store.held(first.id), store.held(second.id)
    details: dict[str, Any] = {
        "type": f"{kind.source}BackupDelta",
        "firstBackupId": first.id,
        "secondBackupId": second.id,
        "changeBlockSizeInBytes": size,
    }
    # The first backup's layer lies below the second's, so the volume's own layer keeps both.
    return _copy(cloud, wanted, _Origin(kind, tip, second.doc, details), "BACKUP", delta=[below, tip])


def _tagged(wanted: Wanted, source: Resource) -> Wanted:
    """With the source's free-form tags below its own ('Overview of Block Volume Backups')."""
    return replace(wanted, freeform_tags={**source.doc["freeformTags"], **(wanted.freeform_tags or {})})


def _saved(backup: Resource, now: float) -> Saved:
    doc = backup.doc
    return Saved(backup.id, backup.parent, backup.state(now), doc["type"], doc["number"], doc["sizeInGBs"])


def _siblings(cloud: Cloud, backup: Resource) -> list[Resource]:
    return backups_of(cloud, find_volume(cloud, backup.parent, kind_of(backup.kind)))


@dataclass(frozen=True)
class _Origin:
    """What a copy is made from: the frozen layer, the doc of its volume or backup, and what the API shows of it."""

    kind: Kind
    tip: int
    doc: Mapping[str, Any]
    details: Mapping[str, Any]


def _copy(cloud: Cloud, wanted: Wanted, origin: _Origin, work: str, **more: Any) -> Resource:
    """A volume over a frozen layer; it is AVAILABLE soon and hydrated later."""
    kind, old = origin.kind, origin.doc
    size = checked_size(wanted.size_in_gbs, old["sizeInGBs"])
    now = cloud.clock.timestamp()
    life = provisioning(now, transition_seconds(cloud, f"Create{kind.noun}/{work}", size))
    hydration = transition_seconds(cloud, f"Create{kind.noun}/HYDRATION", size)
    doc = {
        "sizeInGBs": size,
        "vpusPerGB": checked_vpus(wanted.vpus_per_gb, old["vpusPerGB"], boot=kind.boot),
        "sourceDetails": origin.details,
        "imageId": wanted.image_id or old.get("imageId"),
        "hydrated": max(now, life.settled) + hydration,
        **more,
    }
    volume = save_new(cloud, kind, wanted, life, doc)
    grown_disk(cloud, volume, origin.tip, old["sizeInGBs"])
    return volume


def grown_disk(cloud: Cloud, volume: Resource, tip: int, old_size: int) -> None:
    """Start a volume's bytes over a frozen layer.

    A seeded disk may be much smaller than its volume, so that exports of it stay small; one that fills its volume
    fills the larger one too.
    """
    store = layers(cloud)
    length = store.layer(tip).length
    store.start(volume.id, tip, volume.doc["sizeInGBs"] * BYTES_PER_GB if length == old_size * BYTES_PER_GB else length)
