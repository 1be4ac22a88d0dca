"""Volumes on instances, as the API shows and takes them: attaching and detaching data and boot volumes."""

from typing import Any

from aiohttp import web

from hypersdk_emulator.blockstorage import attachments
from hypersdk_emulator.blockstorage.attachments import Host, free_devices
from hypersdk_emulator.blockstorage.common import changeable, listed, permitted, reply, usable
from hypersdk_emulator.blockstorage.kinds import BOOT_VOLUME
from hypersdk_emulator.blockstorage.launchvolumes import read_how
from hypersdk_emulator.blockstorage.records import (
    BOOT_ATTACHMENT,
    DATA_ATTACHMENT,
    boot_attachment,
    data_attachments,
    find_volume,
)
from hypersdk_emulator.blockstorage.state import AttachmentState
from hypersdk_emulator.call import Call, one_of
from hypersdk_emulator.clock import iso
from hypersdk_emulator.compute.access import permitted_instance
from hypersdk_emulator.compute.records import Instance, find_instance, find_job
from hypersdk_emulator.compute.state import InstanceState, Work, stable_state
from hypersdk_emulator.compute.workrequests import accept, ended, job_headers, new_job
from hypersdk_emulator.errors import ServiceError, invalid_parameter
from hypersdk_emulator.fields import optional_text, text
from hypersdk_emulator.once import created_once
from hypersdk_emulator.resources import Resource

LOGIN_STATES = (
    "UNKNOWN",
    "LOGGING_IN",
    "LOGIN_SUCCEEDED",
    "LOGIN_FAILED",
    "LOGGING_OUT",
    "LOGOUT_SUCCEEDED",
    "LOGOUT_FAILED",
)
_ISCSI_FIELDS = ("chapSecret", "chapUsername", "ipv4", "iqn", "iscsiLoginState", "isMultipath", "port")


def boot_attachment_json(call: Call, attachment: Resource) -> dict[str, Any]:
    """The SDK's model BootVolumeAttachment."""
    return {
        "availabilityDomain": attachment.doc["availabilityDomain"],
        "bootVolumeId": attachment.doc["volumeId"],
        "compartmentId": attachment.compartment,
        "displayName": attachment.name,
        "encryptionInTransitType": "NONE",
        "id": attachment.id,
        "instanceId": attachment.parent,
        "isPvEncryptionInTransitEnabled": False,
        "lifecycleState": attachment.state(call.cloud.clock.timestamp()),
        "timeCreated": iso(attachment.created),
    }


def data_attachment_json(call: Call, attachment: Resource) -> dict[str, Any]:
    """The SDK's models ...VolumeAttachment; where the target of iSCSI is shows once it is there."""
    doc, state = attachment.doc, attachment.state(call.cloud.clock.timestamp())
    target = {name: doc[name] for name in _ISCSI_FIELDS if name in doc and state != AttachmentState.ATTACHING}
    return {
        "attachmentType": doc["attachmentType"],
        "availabilityDomain": doc["availabilityDomain"],
        "compartmentId": attachment.compartment,
        "device": doc["device"],
        "displayName": attachment.name,
        "id": attachment.id,
        "instanceId": attachment.parent,
        "isPvEncryptionInTransitEnabled": False,
        "isReadOnly": doc["isReadOnly"],
        "isShareable": doc["isShareable"],
        "isVolumeCreatedDuringLaunch": doc["isVolumeCreatedDuringLaunch"],
        "lifecycleState": state,
        "timeCreated": iso(attachment.created),
        "volumeId": doc["volumeId"],
        **target,
    }


# ---------------------------------------------------------------- boot volumes


async def list_boot(call: Call) -> web.StreamResponse:
    """ListBootVolumeAttachments: of a compartment's instances in one availability domain."""
    call.required("availabilityDomain")
    return listed(call, BOOT_ATTACHMENT, boot_attachment_json, _named_by(call, "bootVolumeId"))


async def get_boot(call: Call) -> web.StreamResponse:
    """GetBootVolumeAttachment."""
    return reply(call, permitted(call, BOOT_ATTACHMENT, call.params["bootVolumeAttachmentId"]), boot_attachment_json)


async def attach_boot(call: Call) -> web.StreamResponse:
    """AttachBootVolume: to a stopped instance that has none."""
    body = await call.json()
    name = optional_text(body, "displayName")

    def make() -> Resource:
        instance = _stopped(call, text(body, "instanceId"))
        volume = usable(call, BOOT_VOLUME.volume, text(body, "bootVolumeId"))
        return attachments.attach_boot(call.cloud, volume, _host(instance), name=name)

    attachment = await created_once(call, make, lambda known: usable(call, BOOT_ATTACHMENT, known))
    return reply(call, attachment, boot_attachment_json)


async def detach_boot(call: Call) -> web.StreamResponse:
    """DetachBootVolume: from a stopped instance, which cannot start until it has one again."""
    with call.cloud.db.transaction():
        attachment = changeable(call, BOOT_ATTACHMENT, call.params["bootVolumeAttachmentId"])
        _stopped(call, attachment.parent)
        attachments.begin_detach(call.cloud, attachment, call.operation)
    return call.reply(status=204)


def must_have_boot_volume(call: Call, instance: Instance) -> None:
    """Refuse to start an instance whose boot volume is detached.

    Raises:
        ServiceError: 409.
    """
    attachment = boot_attachment(call.cloud, instance.id)
    if attachment is None or attachment.state(call.cloud.clock.timestamp()) != AttachmentState.ATTACHED:
        raise ServiceError(409, "IncorrectState", f"The instance {instance.id} has no boot volume attached")


# ---------------------------------------------------------------- data volumes


async def list_data(call: Call) -> web.StreamResponse:
    """ListVolumeAttachments: the data volumes, which an image leaves out."""
    return listed(call, DATA_ATTACHMENT, data_attachment_json, _named_by(call, "volumeId"))


async def get_data(call: Call) -> web.StreamResponse:
    """GetVolumeAttachment."""
    return reply(call, permitted(call, DATA_ATTACHMENT, call.params["volumeAttachmentId"]), data_attachment_json)


async def attach_data(call: Call) -> web.StreamResponse:
    """AttachVolume: a block volume, or a boot volume as data, to a running or a stopped instance."""
    body = await call.json()
    how = read_how(body)

    def make() -> Resource:
        instance = permitted_instance(call, text(body, "instanceId"))
        _settled(call, instance)
        volume = find_volume(call.cloud, text(body, "volumeId"))
        call.permit(volume.compartment)
        return _with_job(call, instance, attachments.attach_data(call.cloud, volume, _host(instance), how))

    attachment = await created_once(call, make, lambda known: usable(call, DATA_ATTACHMENT, known))
    return reply(call, attachment, data_attachment_json, **_job_header(call, attachment))


async def update_data(call: Call) -> web.StreamResponse:
    """UpdateVolumeAttachment: what the guest says of its iSCSI login."""
    body = await call.json()
    wanted = body.get("iscsiLoginState")
    with call.cloud.db.transaction():
        attachment = changeable(call, DATA_ATTACHMENT, call.params["volumeAttachmentId"])
        if wanted is not None:
            if attachment.doc["attachmentType"] != "iscsi":
                raise invalid_parameter("iscsiLoginState: the attachment is not by iSCSI")
            state = one_of("iscsiLoginState", wanted, LOGIN_STATES, "")
            attachment = attachment.changed(doc={**attachment.doc, "iscsiLoginState": state})
            attachment.save(call.cloud.db)
    return reply(call, attachment, data_attachment_json)


async def detach_data(call: Call) -> web.StreamResponse:
    """DetachVolume."""
    with call.cloud.db.transaction():
        attachment = changeable(call, DATA_ATTACHMENT, call.params["volumeAttachmentId"])
        instance = find_instance(call.cloud.db, attachment.parent)
        attachment = attachments.begin_detach(call.cloud, attachment, call.operation)
        attachment = _with_job(call, instance, attachment)
    return call.reply(status=204, headers=_job_header(call, attachment))


async def list_devices(call: Call) -> web.StreamResponse:
    """ListInstanceDevices: the consistent names that a data volume may have."""
    instance = permitted_instance(call, call.params["instanceId"])
    free = free_devices(data_attachments(call.cloud, instance.id))
    available, name = call.query.get("isAvailable"), call.query.get("name")
    rows = [{"name": each, "isAvailable": each in free} for each in sorted(attachments.device_names())]
    rows = [row for row in rows if name in (None, row["name"]) and available in (None, str(row["isAvailable"]).lower())]
    found, headers = call.page(rows, "name")
    return call.reply(found, headers=headers)


# ---------------------------------------------------------------- both


def _named_by(call: Call, key: str) -> Any:
    """The filters of an attachment list: instance and volume."""
    instance, volume = call.query.get("instanceId"), call.query.get(key)

    def keep(attachment: Resource) -> bool:
        return instance in (None, attachment.parent) and volume in (None, attachment.doc["volumeId"])

    return keep


def _host(instance: Instance) -> Host:
    return Host(instance.id, instance.name, instance.compartment, instance.doc["availabilityDomain"])


def _settled(call: Call, instance: Instance) -> str:
    """The instance's state, RUNNING or STOPPED.

    Raises:
        ServiceError: 409.
    """
    found = stable_state(instance.id, instance.timeline, call.cloud.clock.timestamp())
    if found not in (InstanceState.RUNNING, InstanceState.STOPPED):
        raise ServiceError(409, "IncorrectState", f"The instance {instance.id} is {found}")
    return found


def _stopped(call: Call, instance_id: str) -> Instance:
    instance = permitted_instance(call, instance_id)
    found = _settled(call, instance)
    if found != InstanceState.STOPPED:
        raise ServiceError(409, "IncorrectState", f"The instance {instance.id} is {found}; it must be STOPPED")
    return instance


def _with_job(call: Call, instance: Instance, attachment: Resource) -> Resource:
    """The attachment with the work request of this call, saved."""
    now = call.cloud.clock.timestamp()
    due = max(now, attachment.timeline.settled)
    uri = f"/20160918/volumeAttachments/{attachment.id}"
    resource = {"entityType": "volumeattachment", "identifier": attachment.id, "entityUri": uri}
    action = "CREATED" if call.operation == "AttachVolume" else "DELETED"
    job = new_job(
        call.cloud,
        call.operation,
        instance,
        Work.lasting(now, due - now),
        {"resources": [{**resource, "actionType": action}]},
    )
    job = accept(call.cloud, ended(job, due))
    attachment = attachment.changed(doc={**attachment.doc, "job": job.id})
    attachment.save(call.cloud.db)
    return attachment


def _job_header(call: Call, attachment: Resource) -> dict[str, str]:
    job = find_job(call.cloud.db, attachment.doc.get("job", ""))
    return {} if job is None else job_headers(call.cloud, job)
