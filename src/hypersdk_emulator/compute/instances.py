"""Compute's instances and the volumes attached to them, as the API shows and takes them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from hypersdk_emulator.call import Call
from hypersdk_emulator.clock import iso
from hypersdk_emulator.compute.access import forgotten, permitted_instance
from hypersdk_emulator.compute.instanceview import instance_json, reply_instance
from hypersdk_emulator.compute.records import Instance, instances_in
from hypersdk_emulator.compute.state import act
from hypersdk_emulator.errors import not_authorized_or_not_found
from hypersdk_emulator.listing import arranged, page
from hypersdk_emulator.resources import check_if_match, transition_seconds

DENSE_VPUS_PER_GB = 10
MB_PER_GB = 1024


async def list_instances(call: Call) -> web.StreamResponse:
    """ListInstances: of one compartment; filters by name, state and availability domain."""
    compartment = call.required("compartmentId")
    call.permit(compartment)
    now, query = call.cloud.clock.timestamp(), call.query

    def keep(instance: Instance) -> bool:
        return (
            not forgotten(call, instance)
            and query.get("displayName", instance.name) == instance.name
            and query.get("availabilityDomain", instance.doc["availabilityDomain"])
            == instance.doc["availabilityDomain"]
            and query.get("lifecycleState", instance.state(now)) == instance.state(now)
        )

    found, headers = page(call, arranged(call, instances_in(call.cloud.db, compartment)), keep)
    return call.reply([instance_json(call, instance) for instance in found], headers=headers)


async def get_instance(call: Call) -> web.StreamResponse:
    """GetInstance."""
    return reply_instance(call, permitted_instance(call, call.params["instanceId"]))


async def instance_action(call: Call) -> web.StreamResponse:
    """InstanceAction: START, STOP and their kin by the state machine; the reply shows the next state already."""
    action = call.required("action")
    digest = await call.digest()
    cloud, now, token = call.cloud, call.cloud.clock.timestamp(), call.header("opc-retry-token")
    scope = f"InstanceAction {call.principal.user_id}"
    with cloud.db.transaction():
        instance = permitted_instance(call, call.params["instanceId"])
        if cloud.db.recall(scope, token, digest, now) is None:
            check_if_match(call.header("if-match"), instance.etag(now))
            seconds = transition_seconds(cloud, f"{call.operation}/{action}")
            timeline = act(instance.id, instance.timeline, action, now=now, seconds=seconds)
            instance = instance.changed(timeline=timeline)
            instance.save(cloud.db)
            cloud.db.remember(scope, token, digest, instance.id, now)
    return reply_instance(call, instance)


@dataclass(frozen=True)
class Attachment:
    """One volume on one instance, as a listable thing."""

    id: str
    name: str
    created: float
    instance: Instance
    volume_id: str
    size_in_gbs: int

    def as_json(self, kind: str) -> dict[str, Any]:
        """The fields that BootVolumeAttachment and VolumeAttachment share, and the volume's id under `kind`."""
        return {
            "availabilityDomain": self.instance.doc["availabilityDomain"],
            "compartmentId": self.instance.compartment,
            "displayName": self.name,
            "id": self.id,
            "instanceId": self.instance.id,
            "isPvEncryptionInTransitEnabled": False,
            "lifecycleState": "ATTACHED",
            "timeCreated": iso(self.created),
            kind: self.volume_id,
        }


def _boot_attachment(instance: Instance) -> Attachment:
    boot = instance.doc["bootVolume"]
    name = f"{instance.name} (Boot Volume)"
    return Attachment(instance.id, name, instance.created, instance, boot["id"], boot["sizeInGBs"])


def _data_attachments(instance: Instance) -> list[Attachment]:
    return [
        Attachment(
            volume["attachmentId"], volume["displayName"], instance.created, instance, volume["id"], volume["sizeInGBs"]
        )
        for volume in instance.doc["dataVolumes"]
    ]


def _attachments_page(
    call: Call, attachments: Iterable[Attachment], volume_key: str
) -> tuple[list[Attachment], dict[str, str]]:
    query = call.query

    def keep(attachment: Attachment) -> bool:
        domain = attachment.instance.doc["availabilityDomain"]
        return (
            query.get("instanceId", attachment.instance.id) == attachment.instance.id
            and query.get("availabilityDomain", domain) == domain
            and query.get(volume_key, attachment.volume_id) == attachment.volume_id
        )

    return page(call, sorted(attachments, key=lambda attachment: attachment.id), keep)


async def list_boot_volume_attachments(call: Call) -> web.StreamResponse:
    """ListBootVolumeAttachments: one per instance; OCI gives the attachment the instance's OCID."""
    compartment = call.required("compartmentId")
    call.required("availabilityDomain")
    call.permit(compartment)
    attachments = (_boot_attachment(instance) for instance in instances_in(call.cloud.db, compartment))
    found, headers = _attachments_page(call, attachments, "bootVolumeId")
    return call.reply([each.as_json("bootVolumeId") for each in found], headers=headers)


async def list_volume_attachments(call: Call) -> web.StreamResponse:
    """ListVolumeAttachments: the data volumes, which an image leaves out."""
    compartment = call.required("compartmentId")
    call.permit(compartment)
    instances = instances_in(call.cloud.db, compartment)
    attachments = (each for instance in instances for each in _data_attachments(instance))
    found, headers = _attachments_page(call, attachments, "volumeId")
    extra = {"attachmentType": "paravirtualized", "isReadOnly": False, "isShareable": False}
    return call.reply([{**each.as_json("volumeId"), **extra} for each in found], headers=headers)


def _volume_json(attachment: Attachment) -> dict[str, Any]:
    """The fields that BootVolume and Volume share."""
    size = attachment.size_in_gbs
    return {
        "availabilityDomain": attachment.instance.doc["availabilityDomain"],
        "compartmentId": attachment.instance.compartment,
        "definedTags": {},
        "displayName": attachment.name,
        "freeformTags": {},
        "id": attachment.volume_id,
        "isHydrated": True,
        "lifecycleState": "AVAILABLE",
        "sizeInGBs": size,
        "sizeInMBs": size * MB_PER_GB,
        "timeCreated": iso(attachment.created),
        "vpusPerGB": DENSE_VPUS_PER_GB,
    }


def _find_volume(call: Call, attachments: Iterable[Attachment], volume_id: str) -> Attachment:
    for attachment in attachments:
        if attachment.volume_id == volume_id:
            call.permit(attachment.instance.compartment)
            return attachment
    raise not_authorized_or_not_found()


def _all_instances(call: Call) -> list[Instance]:
    compartments = call.cloud.db.all("SELECT DISTINCT compartment FROM instances")
    return [instance for row in compartments for instance in instances_in(call.cloud.db, row["compartment"])]


async def get_boot_volume(call: Call) -> web.StreamResponse:
    """GetBootVolume."""
    attachments = (_boot_attachment(instance) for instance in _all_instances(call))
    found = _find_volume(call, attachments, call.params["bootVolumeId"])
    body = {**_volume_json(found), "imageId": found.instance.doc["imageId"]}
    return call.reply(body, headers={"etag": found.volume_id[-20:]})


async def get_volume(call: Call) -> web.StreamResponse:
    """GetVolume."""
    attachments = (each for instance in _all_instances(call) for each in _data_attachments(instance))
    found = _find_volume(call, attachments, call.params["volumeId"])
    return call.reply(_volume_json(found), headers={"etag": found.volume_id[-20:]})
