"""What CreateImage makes: an image of an instance's boot volume, or of a disk in Object Storage, and its job."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hypersdk_emulator.blockstorage import boot
from hypersdk_emulator.call import Call
from hypersdk_emulator.clock import iso
from hypersdk_emulator.compute.access import permitted_instance
from hypersdk_emulator.compute.capabilities import MODE_OPTIONS
from hypersdk_emulator.compute.compatibility import entries_of
from hypersdk_emulator.compute.places import import_place
from hypersdk_emulator.compute.records import Image, Instance, Job, find_image
from hypersdk_emulator.compute.state import ImageState, Work, begin_image
from hypersdk_emulator.compute.workrequests import ended, new_job
from hypersdk_emulator.errors import ServiceError, invalid_parameter
from hypersdk_emulator.fields import defined_tags, optional_text, tags, text
from hypersdk_emulator.qemu import IMPORT_FORMATS
from hypersdk_emulator.resources import Resource, new_ocid, transition_seconds
from hypersdk_emulator.timeline import Timeline

CUSTOM = "Custom"
"""Operating system of an import that names none (2018 recording)."""
SECONDS_PER_MINUTE = 60
MB_PER_GB = 1024


def resource(image_id: str, action: str) -> dict[str, str]:
    """An entry of a work request's `resources`."""
    entity = {"entityType": "image", "identifier": image_id, "entityUri": f"/20160918/images/{image_id}"}
    return {**entity, "actionType": action}


def effect(call: Call) -> str:
    """The declared fault that this call meets, for its work; empty if none."""
    return "" if call.fault is None else call.fault.effect


def _new_image(call: Call, body: Mapping[str, Any], timeline: Timeline, doc: Mapping[str, Any]) -> Image:
    now = call.cloud.clock.timestamp()
    common = {
        "createImageAllowed": True,
        "freeformTags": tags(body) or {},
        "definedTags": defined_tags(body) or {},
        "billableSizeInGBs": None,
        "baseImageId": None,
        "launchOptions": {},
        "sizeInMBs": None,
    }
    return Image(
        id=new_ocid(call.cloud, "image"),
        compartment=body["compartmentId"],
        name=optional_text(body, "displayName") or f"image{iso(now)[:19].replace(':', '')}",
        created=now,
        timeline=timeline,
        doc={**common, **doc},
    )


def of_instance(call: Call, body: Mapping[str, Any], now: float) -> tuple[Image, Job]:
    """Begin an image of an instance; the instance is saved here."""
    cloud = call.cloud
    instance = permitted_instance(call, text(body, "instanceId"))
    base = _base(call, instance)
    if not (instance.doc["createImageAllowed"] and (base is None or base.doc["createImageAllowed"])):
        raise ServiceError(409, "NotAllowed", f"createImageAllowed is false for the instance {instance.id}")
    volume = boot.attached_boot_volume(cloud, instance.id)
    seconds = transition_seconds(cloud, call.operation, None if volume is None else volume.doc["sizeInGBs"])
    lock = cloud.assumptions.lock_minutes * SECONDS_PER_MINUTE
    timeline = begin_image(
        instance.id, instance.timeline, now=now, seconds=seconds, last_image=instance.last_image, lock_seconds=lock
    )
    instance.changed(timeline=timeline, last_image=now).save(cloud.db)
    return _image_of(call, body, instance, base, Work.lasting(now, seconds))


def _base(call: Call, instance: Instance) -> Image | None:
    """The image that the instance was made of; None if its boot volume came from nowhere."""
    image_id = instance.doc["imageId"]
    return None if image_id is None else find_image(call.cloud.db, image_id)


def _boot_volume(call: Call, instance: Instance) -> Resource:
    """The boot volume that an image is made of.

    Raises:
        ServiceError: 409 if it is detached.
    """
    volume = boot.attached_boot_volume(call.cloud, instance.id)
    if volume is None:
        raise ServiceError(409, "IncorrectState", f"The instance {instance.id} has no boot volume attached")
    return volume


def _image_of(
    call: Call, body: Mapping[str, Any], instance: Instance, base: Image | None, work: Work
) -> tuple[Image, Job]:
    """The image of an instance and its job; a declared fault makes it end DELETED, or go on until it is cleared."""
    fails = effect(call) == "work-request-fails"
    final = ImageState.DELETED if fails else ImageState.AVAILABLE
    volume = _boot_volume(call, instance)
    doc = {
        "baseImageId": instance.doc["imageId"],
        "billableSizeInGBs": max(1, volume.doc["sizeInGBs"] // 4),
        "launchMode": "NATIVE",
        "launchOptions": instance.doc["launchOptions"],
        "operatingSystem": CUSTOM if base is None else base.doc["operatingSystem"],
        "operatingSystemVersion": CUSTOM if base is None else base.doc["operatingSystemVersion"],
        "shapes": None if base is None else entries_of(base),
        "sizeInMBs": volume.doc["sizeInGBs"] * MB_PER_GB,
    }
    stuck_at = call.fault.id if call.fault is not None and call.fault.effect == "work-request-stuck" else None
    timeline = Timeline(((ImageState.PROVISIONING, work.due),), final)
    if stuck_at:
        timeline = Timeline.resting(ImageState.PROVISIONING)
    image = _new_image(call, body, timeline, doc)
    image = replace(image, doc={**image.doc, "disk": boot.freeze(call.cloud, volume, image.id)})
    job = new_job(
        call.cloud, "CreateImage", image, work, {"resources": [resource(image.id, "CREATED")], "fault": stuck_at}
    )
    if stuck_at:
        return image, job
    failure = ("InternalServerError", "The image could not be made") if fails else None
    return image, ended(job, work.due, failure)


def imported(call: Call, body: Mapping[str, Any], details: Mapping[str, Any], now: float) -> tuple[Image, Job]:
    """Begin an import; its work checks and copies the disk."""
    kind = optional_text(details, "sourceImageType")
    if kind is not None and kind not in IMPORT_FORMATS:
        raise invalid_parameter(f"sourceImageType must be one of {', '.join(IMPORT_FORMATS)}")
    mode = optional_text(body, "launchMode") or "PARAVIRTUALIZED"
    if mode not in MODE_OPTIONS:
        raise invalid_parameter(f"launchMode must be one of {', '.join(MODE_OPTIONS)}")
    place = import_place(call, details)
    doc = {
        "launchMode": mode,
        "launchOptions": {**MODE_OPTIONS[mode], "firmware": "BIOS"},
        "operatingSystem": optional_text(details, "operatingSystem") or CUSTOM,
        "operatingSystemVersion": optional_text(details, "operatingSystemVersion") or CUSTOM,
    }
    image = _new_image(call, body, Timeline.resting(ImageState.IMPORTING), doc)
    work = Work.lasting(now, transition_seconds(call.cloud, "ImportImage"))
    wanted = {
        "resources": [resource(image.id, "CREATED")],
        "source": place.as_doc(),
        "format": kind,
        "effect": effect(call),
        "fault": call.fault.id if call.fault else None,
    }
    return image, new_job(call.cloud, "ImportImage", image, work, wanted)
