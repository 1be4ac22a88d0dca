"""What Compute needs of boot volumes: plain functions, called in the caller's transaction; only `opened` is not.

A boot volume is a `resources.Resource` of kind `bootvolume`. The disk of an image is a frozen layer, noted in the
image's `doc["disk"]` as `{"layer": number}`; None is an image without bytes, such as a platform image of a seed.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypersdk_emulator.blockstorage import attachments, copies, flatten
from hypersdk_emulator.blockstorage.attachments import Host
from hypersdk_emulator.blockstorage.deletion import delete_volume, end_volume
from hypersdk_emulator.blockstorage.kinds import BOOT_VOLUME
from hypersdk_emulator.blockstorage.records import (
    Wanted,
    boot_attachment,
    data_attachments,
    find_volume,
    layers,
    save_new,
    use_of,
)
from hypersdk_emulator.blockstorage.state import (
    BYTES_PER_GB,
    DEFAULT_BOOT_GB,
    DEFAULT_VPUS,
    AttachmentState,
    VolumeState,
    checked_size,
    checked_vpus,
    may_delete_volume,
)
from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.resources import Resource, transition_seconds
from hypersdk_emulator.timeline import Timeline

NewBoot = Wanted
"""What a new boot volume is to be."""


def disk_of(cloud: Cloud, file: Path, disk_format: str, owner: str, *, ours: bool = False) -> dict[str, Any]:
    """A disk file as an image's `disk`.

    Args:
        cloud: the cloud.
        file: never changed again.
        disk_format: raw or qcow2.
        owner: OCID of the image that holds it.
        ours: remove the file when nobody needs it any more.
    """
    store = layers(cloud)
    layer = store.base(file, disk_format, ours=ours)
    store.hold(owner, layer)
    return {"layer": layer}


def from_image(cloud: Cloud, wanted: Wanted, disk: Mapping[str, Any] | None, image_size_in_gbs: int) -> Resource:
    """A boot volume with an image's bytes. It is AVAILABLE at once: the instance is what a launch waits for.

    Args:
        cloud: the cloud.
        wanted: what it is to be; its `image_id` is shown.
        disk: the image's.
        image_size_in_gbs: the least size, and the size if none is wanted; 0 = nobody knows.

    Raises:
        ServiceError: 400 for a size or performance that cannot be.
    """
    size = checked_size(wanted.size_in_gbs, image_size_in_gbs or DEFAULT_BOOT_GB)
    vpus = checked_vpus(wanted.vpus_per_gb, DEFAULT_VPUS, boot=True)
    doc = {"sizeInGBs": size, "vpusPerGB": vpus, "sourceDetails": None}
    volume = save_new(cloud, BOOT_VOLUME, wanted, Timeline.resting(VolumeState.AVAILABLE), doc)
    if disk is None:
        layers(cloud).start(volume.id, None, size * BYTES_PER_GB)
    else:
        copies.grown_disk(cloud, volume, disk["layer"], image_size_in_gbs)
    return volume


def from_volume(cloud: Cloud, wanted: Wanted, source: Resource) -> Resource:
    """A clone of a boot volume.

    Raises:
        ServiceError: 404 the source was deleted, 409 it is busy, 400 other domain or smaller.
    """
    return copies.clone(cloud, wanted, source)


def find_boot_volume(cloud: Cloud, volume_id: str) -> Resource:
    """The boot volume of an id, or OCI's 404."""
    return find_volume(cloud, volume_id, BOOT_VOLUME)


def attached_boot_volume(cloud: Cloud, instance_id: str) -> Resource | None:
    """The boot volume of an instance; an instance without one cannot start, and no image can be made of it."""
    attachment = boot_attachment(cloud, instance_id)
    return None if attachment is None else find_boot_volume(cloud, attachment.doc["volumeId"])


def attach(
    cloud: Cloud,
    volume: Resource,
    instance_id: str,
    instance_name: str,
    compartment: str,
    *,
    domain: str,
    at_once: bool = False,
) -> Resource:
    """Attach a boot volume to its instance; returns the attachment.

    Args:
        cloud: the cloud.
        volume: the boot volume.
        instance_id: the instance, which the attachment shares its OCID with.
        instance_name: for the name of the attachment.
        compartment: the instance's.
        domain: the instance's availability domain.
        at_once: no look at the volume's state, and no time passes: for a seed.

    Raises:
        ServiceError: 400 other domain; 404 deleted; 409 not AVAILABLE, attached, or the instance has another one.
    """
    host = Host(instance_id, instance_name, compartment, domain)
    return attachments.attach_boot(cloud, volume, host, at_once=at_once)


def let_go(cloud: Cloud, instance_id: str, *, preserve_boot_volume: bool, preserve_data_volumes: bool = True) -> None:
    """TerminateInstance: detach all volumes of an instance and delete those that go with it.

    Args:
        cloud: the cloud.
        instance_id: the instance.
        preserve_boot_volume: do not delete the boot volume.
        preserve_data_volumes: do not delete the data volumes that were made at its launch.

    Raises:
        ServiceError: 409 a volume to be deleted is in a group, or a backup of it runs.
    """
    now, seconds = cloud.clock.timestamp(), transition_seconds(cloud, "TerminateInstance")
    boot = boot_attachment(cloud, instance_id)
    doomed = [] if boot is None or preserve_boot_volume else [boot]
    data = data_attachments(cloud, instance_id)
    if not preserve_data_volumes:
        doomed += [each for each in data if each.doc["isVolumeCreatedDuringLaunch"]]
    for attachment in doomed:
        volume = find_volume(cloud, attachment.doc["volumeId"])
        may_delete_volume(
            volume.id, replace(use_of(cloud, volume), attached=False, hydrating=False), hydrating_too=True
        )
        end_volume(cloud, volume, "TerminateInstance")
    life = Timeline.through((AttachmentState.DETACHING,), AttachmentState.DETACHED, start=now, seconds=seconds)
    for attachment in [*data, *([] if boot is None else [boot])]:
        attachment.changed(timeline=life).save(cloud.db)


def delete(cloud: Cloud, volume: Resource) -> Resource:
    """DeleteBootVolume.

    Raises:
        ServiceError: 409 in use or in transition.
    """
    return delete_volume(cloud, volume, "DeleteBootVolume")


def freeze(cloud: Cloud, volume: Resource, owner: str) -> dict[str, Any]:
    """A volume's bytes of this instant as an image's `disk`, kept until the owner releases it.

    Args:
        cloud: the cloud.
        volume: of either kind.
        owner: OCID of the image.
    """
    store = layers(cloud)
    layer = store.freeze(volume.id)
    store.hold(owner, layer)
    return {"layer": layer}


def release(cloud: Cloud, owner: str) -> None:
    """The image `owner` no longer needs its disk; files go at the next `tidy`."""
    layers(cloud).drop(owner)


def tidy(cloud: Cloud) -> None:
    """Remove the files that nobody needs; call it after the transaction."""
    layers(cloud).empty_trash()


@asynccontextmanager
async def opened(cloud: Cloud, disk: Mapping[str, Any]) -> AsyncIterator[tuple[Path, str]]:
    """An image's disk as (file, qemu-img's format), to read while the block runs.

    Raises:
        DiskError: a QCOW2 below it is none.
    """
    async with flatten.opened(layers(cloud), disk["layer"]) as found:
        yield found
