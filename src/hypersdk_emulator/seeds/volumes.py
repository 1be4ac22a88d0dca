"""Puts the seed's disks into the cloud: the disks of images, boot volumes and data volumes with their attachments."""

from typing import Any

from hypersdk_emulator.blockstorage import boot, copies
from hypersdk_emulator.blockstorage.attachments import Host, HowAttached, attach_boot, attach_data
from hypersdk_emulator.blockstorage.kinds import BLOCK_VOLUME, BOOT_VOLUME, Kind
from hypersdk_emulator.blockstorage.records import Wanted, layers, save_new
from hypersdk_emulator.blockstorage.state import BYTES_PER_GB, DEFAULT_VPUS, AttachmentState, VolumeState
from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.compute.state import InstanceState
from hypersdk_emulator.resources import Resource
from hypersdk_emulator.seeds import seed as seeds
from hypersdk_emulator.seeds.node import SeedError
from hypersdk_emulator.timeline import Timeline


def image_disk(cloud: Cloud, image: seeds.Image) -> dict[str, Any] | None:
    """The bytes of an image; None for one without a file."""
    return None if image.disk is None else boot.disk_of(cloud, image.disk.file, image.disk.format, image.id)


def instance_volumes(cloud: Cloud, instance: seeds.Instance) -> None:
    """The volumes of an instance, attached unless it is terminated; in the transaction that makes it.

    Raises:
        SeedError: the cloud has a volume of such an id already.
    """
    host = Host(instance.id, instance.display_name, instance.compartment_id, instance.availability_domain)
    attached = instance.state != InstanceState.TERMINATED
    boot_id, name = instance.boot_volume.id, f"{host.name} (Boot Volume)"
    wanted = Wanted(name, host.compartment, host.domain, image_id=instance.image_id, id=boot_id)
    volume = _volume(cloud, BOOT_VOLUME, wanted, instance.boot_volume.size_in_gbs, instance.boot_volume.disk)
    if attached:
        attach_boot(cloud, volume, host, at_once=True)
    for each in instance.data_volumes:
        wanted = Wanted(each.display_name, host.compartment, host.domain, id=each.id)
        volume = _volume(cloud, BLOCK_VOLUME, wanted, each.size_in_gbs, each.disk)
        if attached:
            how = HowAttached(each.attachment_type, name=each.display_name)
            attachment = attach_data(cloud, volume, host, how)
            attachment.changed(timeline=Timeline.resting(AttachmentState.ATTACHED)).save(cloud.db)


def _volume(cloud: Cloud, kind: Kind, wanted: Wanted, size_in_gbs: int, disk: seeds.Disk | None) -> Resource:
    if cloud.db.one("SELECT 1 FROM resources WHERE id = ?", wanted.id):
        raise SeedError(f"instances: the cloud has a volume {wanted.id} already")
    doc = {"sizeInGBs": size_in_gbs, "vpusPerGB": DEFAULT_VPUS, "sourceDetails": None}
    volume = save_new(cloud, kind, wanted, Timeline.resting(VolumeState.AVAILABLE), doc)
    if disk is None:
        layers(cloud).start(volume.id, None, size_in_gbs * BYTES_PER_GB)
    else:
        copies.grown_disk(cloud, volume, layers(cloud).base(disk.file, disk.format), size_in_gbs)
    return volume
