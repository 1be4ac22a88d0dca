"""LaunchInstance: a boot volume from an image, or one that is there, a VNIC, and an instance that goes to RUNNING."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from aiohttp import web

from hypersdk_emulator.blockstorage import boot
from hypersdk_emulator.blockstorage.attachments import Host
from hypersdk_emulator.blockstorage.launchvolumes import attach_launched
from hypersdk_emulator.blockstorage.records import Wanted
from hypersdk_emulator.call import Call
from hypersdk_emulator.clock import iso
from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.compute import state
from hypersdk_emulator.compute.access import permitted_image
from hypersdk_emulator.compute.capabilities import LAUNCH_OPTIONS, check_options
from hypersdk_emulator.compute.compatibility import check_compatible
from hypersdk_emulator.compute.imageschemas import capabilities_of, image_options
from hypersdk_emulator.compute.instanceview import reply_instance
from hypersdk_emulator.compute.launchdetails import ImageSource, Launch, VolumeSource, read_launch
from hypersdk_emulator.compute.limits import check_core_limit
from hypersdk_emulator.compute.records import Image, Instance, find_image, find_instance
from hypersdk_emulator.compute.shapes import config_json
from hypersdk_emulator.compute.state import ImageState
from hypersdk_emulator.compute.workrequests import instance_job_header, save_instance_job
from hypersdk_emulator.errors import ServiceError, invalid_parameter, not_authorized_or_not_found
from hypersdk_emulator.identity.domains import check_availability_domain
from hypersdk_emulator.network.vnics import create_vnic, release_vnics
from hypersdk_emulator.once import created_once
from hypersdk_emulator.resources import Resource, new_ocid, transition_seconds

MB_PER_GB = 1024
LAUNCHABLE = (ImageState.AVAILABLE, ImageState.EXPORTING)
"""A launch is allowed while the image is exported (documentation, 'Image Import/Export')."""
NO_CAPACITY = ("OutOfHostCapacity", "Out of host capacity.")
"""What a launch that was accepted fails with when the declared fault says that its work request fails."""


async def launch_instance(call: Call) -> web.StreamResponse:
    """LaunchInstance: the reply shows PROVISIONING; its work request ends with RUNNING."""
    launch = read_launch(await call.json())
    call.permit(launch.compartment)
    cloud = call.cloud
    instance = await created_once(call, lambda: _make(call, launch), lambda known: _alive(cloud, known))
    return reply_instance(call, instance, instance_job_header(call, instance))


def _alive(cloud: Cloud, instance_id: str) -> Instance:
    """What a retry token has made; a terminated instance is gone for that purpose."""
    instance = find_instance(cloud.db, instance_id)
    if instance.timeline.final == state.InstanceState.TERMINATED:
        raise not_authorized_or_not_found()
    return instance


def _make(call: Call, launch: Launch) -> Instance:
    """Check everything, then make everything; all in one transaction.

    Raises:
        ServiceError: 400 or 404 for what does not exist or fit, 409 for a volume or image in the wrong state.
    """
    cloud, now = call.cloud, call.cloud.clock.timestamp()
    check_availability_domain(cloud, launch.domain)
    check_core_limit(cloud, launch.domain, launch.shape, launch.config)
    image = _image(call, launch.source)
    if image is not None:
        check_compatible(image, launch.shape, launch.config)
        check_options(capabilities_of(cloud.db, image), launch.options)
    seconds = transition_seconds(cloud, call.operation)
    fails = call.fault is not None and call.fault.effect == "work-request-fails"
    instance = Instance(
        id=new_ocid(cloud, "instance"),
        compartment=launch.compartment,
        name=launch.name or f"instance{iso(now)[:19].replace(':', '').replace('-', '')}",
        created=now,
        timeline=state.launch(now=now, seconds=seconds, fails=fails),
        doc=_doc(cloud, launch, image),
    )
    volume = _boot_volume(call, launch, instance, image)
    instance = replace(instance, doc={**instance.doc, "sourceDetails": _source_json(launch.source, volume)})
    instance.save(cloud.db)
    _equip(call, launch, instance, volume, seconds)
    if fails:
        boot.let_go(cloud, instance.id, preserve_boot_volume=isinstance(launch.source, VolumeSource))
        release_vnics(cloud, instance.id, seconds)
    failure = NO_CAPACITY if fails else None
    save_instance_job(call, instance, "CREATED", now=now, due=now + seconds, failure=failure)
    return instance


def _image(call: Call, source: ImageSource | VolumeSource) -> Image | None:
    """The image that boots: the one named, or the one that the boot volume came from, if any.

    Raises:
        ServiceError: 404, 409 for an image that is not AVAILABLE.
    """
    cloud = call.cloud
    if isinstance(source, VolumeSource):
        volume = boot.find_boot_volume(cloud, source.volume_id)
        call.permit(volume.compartment)
        origin = volume.doc.get("imageId")
        return None if origin is None else find_image(cloud.db, origin)
    image = permitted_image(call, source.image_id)
    found = image.state(cloud.clock.timestamp())
    if found == ImageState.DELETED:
        raise not_authorized_or_not_found()
    if found not in LAUNCHABLE:
        raise ServiceError(409, "IncorrectState", f"The image {image.id} is {found}; a launch needs AVAILABLE")
    return image


def _boot_volume(call: Call, launch: Launch, instance: Instance, image: Image | None) -> Resource:
    """A new boot volume with the image's bytes, or the one that the call names."""
    cloud, source = call.cloud, launch.source
    if isinstance(source, VolumeSource):
        return boot.find_boot_volume(cloud, source.volume_id)
    assert image is not None
    new = Wanted(
        name=f"{instance.name} (Boot Volume)",
        compartment=instance.compartment,
        domain=launch.domain,
        image_id=image.id,
        size_in_gbs=source.size_in_gbs,
        vpus_per_gb=source.vpus_per_gb,
        freeform_tags={},
        kms_key_id=source.kms_key_id,
    )
    return boot.from_image(cloud, new, image.doc["disk"], -(-(image.doc["sizeInMBs"] or 0) // MB_PER_GB))


def _equip(call: Call, launch: Launch, instance: Instance, volume: Resource, seconds: float) -> None:
    """Attach the volumes and the VNIC."""
    cloud, host = call.cloud, Host(instance.id, instance.name, instance.compartment, launch.domain)
    at_once = isinstance(launch.source, ImageSource)
    boot.attach(cloud, volume, instance.id, instance.name, instance.compartment, domain=launch.domain, at_once=at_once)
    for wanted in launch.volumes:
        attach_launched(call, host, wanted)
    create_vnic(
        cloud,
        launch.vnic,
        instance_id=instance.id,
        name=instance.name,
        compartment=instance.compartment,
        domain=launch.domain,
        seconds=seconds,
    )


def _source_json(source: ImageSource | VolumeSource, volume: Resource) -> dict[str, Any]:
    """The SDK's models InstanceSourceViaImageDetails and InstanceSourceViaBootVolumeDetails."""
    if isinstance(source, VolumeSource):
        return {"sourceType": "bootVolume", "bootVolumeId": source.volume_id}
    return {
        "sourceType": "image",
        "imageId": source.image_id,
        "bootVolumeSizeInGBs": volume.doc["sizeInGBs"],
        "bootVolumeVpusPerGB": source.vpus_per_gb,
        "kmsKeyId": source.kms_key_id,
    }


def _doc(cloud: Cloud, launch: Launch, image: Image | None) -> Mapping[str, Any]:
    options = dict(LAUNCH_OPTIONS) if image is None else image_options(cloud.db, image)
    options |= launch.options
    if launch.pv_encryption and options["bootVolumeType"] != "PARAVIRTUALIZED":
        raise invalid_parameter("isPvEncryptionInTransitEnabled needs a paravirtualized boot volume")
    return {
        **launch.shown,
        "availabilityDomain": launch.domain,
        "createImageAllowed": image is None or image.doc["createImageAllowed"],
        "faultDomain": launch.fault_domain,
        "imageId": None if image is None else image.id,
        "launchOptions": {**options, "isPvEncryptionInTransitEnabled": launch.pv_encryption},
        "shape": launch.shape.name,
        "shapeConfig": config_json(launch.shape.name, launch.config),
    }
