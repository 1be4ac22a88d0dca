"""Attaching volumes to instances: the rows, the facts of iSCSI, the device names. Instances themselves are Compute's.

Every function is called in the caller's transaction, after the caller looked at the instance and its own permissions.
"""

import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

from hypersdk_emulator.blockstorage.records import (
    BOOT_ATTACHMENT,
    DATA_ATTACHMENT,
    access,
    attachments_of,
    boot_attachment,
    data_attachments,
    must_be_whole,
    must_exist,
)
from hypersdk_emulator.blockstorage.state import (
    MAX_ATTACHMENTS,
    Access,
    AttachmentState,
    attaching,
    conflict,
    detaching,
    may_attach,
    must_be_available,
)
from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.errors import ServiceError, invalid_parameter
from hypersdk_emulator.resources import Resource, new_ocid, transition_seconds
from hypersdk_emulator.timeline import Timeline

TYPES = ("iscsi", "paravirtualized", "emulated", "service_determined")
ISCSI_PORT = 3260
FIRST_HOST = 2
"""The first target is 169.254.2.2, the next .3 and so on (documentation, 'Connecting to a Block Volume')."""
BOOT_DEVICE = "/dev/oracleoci/oraclevda"
LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Host:
    """What an attachment needs of an instance."""

    id: str
    name: str
    compartment: str
    domain: str


@dataclass(frozen=True)
class HowAttached:
    """What AttachVolume asks for."""

    type: str
    name: str | None = None
    device: str | None = None
    read_only: bool = False
    shareable: bool = False
    chap: bool = False
    at_launch: bool = False


def device_names() -> tuple[str, ...]:
    """The consistent device names for data volumes: /dev/oracleoci/oraclevdb to oraclevdag, 32 of them."""
    names = [*LETTERS, *(f"a{letter}" for letter in LETTERS)][1 : MAX_ATTACHMENTS + 1]
    return tuple(f"/dev/oracleoci/oraclevd{name}" for name in names)


def free_devices(attachments: Iterable[Resource]) -> tuple[str, ...]:
    """The device names that no attachment of an instance uses."""
    used = {attachment.doc.get("device") for attachment in attachments}
    return tuple(name for name in device_names() if name not in used)


def attach_data(cloud: Cloud, volume: Resource, host: Host, how: HowAttached) -> Resource:
    """Begin to attach a volume of either kind as data.

    Raises:
        ServiceError: 400 other domain, bad device; 404 deleted; 409 not AVAILABLE, attached otherwise, too many.
    """
    _check_place(cloud, volume, host)
    must_be_available("volume", volume.id, volume.state(cloud.clock.timestamp()))
    if how.type != "iscsi":
        must_be_whole(volume, "attached but by iSCSI")
    wanted = Access(host.id, how.read_only, how.shareable)
    may_attach(volume.id, wanted, [access(each) for each in attachments_of(cloud, volume.id)])
    present = data_attachments(cloud, host.id)
    if len(present) >= MAX_ATTACHMENTS:
        raise ServiceError(400, "LimitExceeded", f"The instance {host.id} has {MAX_ATTACHMENTS} volumes attached")
    attachment_id = new_ocid(cloud, DATA_ATTACHMENT)
    doc = {
        "availabilityDomain": host.domain,
        "volumeId": volume.id,
        "attachmentType": "paravirtualized" if how.type == "service_determined" else how.type,
        "device": _device(how.device, present),
        "isReadOnly": how.read_only,
        "isShareable": how.shareable,
        "isVolumeCreatedDuringLaunch": how.at_launch,
        **(_iscsi(cloud, how, present) if how.type == "iscsi" else {}),
    }
    name = how.name or f"{DATA_ATTACHMENT}{attachment_id[-12:]}"
    life = attaching(cloud.clock.timestamp(), transition_seconds(cloud, "AttachVolume"))
    return _save(cloud, Resource(attachment_id, DATA_ATTACHMENT, host.compartment, name, 0.0, life, doc, host.id))


def attach_boot(
    cloud: Cloud, volume: Resource, host: Host, *, name: str | None = None, at_once: bool = False
) -> Resource:
    """Begin to attach a boot volume; OCI gives the attachment the instance's OCID.

    Args:
        cloud: the cloud.
        volume: the boot volume.
        host: its instance.
        name: display name of the attachment.
        at_once: it belongs to a launch or a seed: no look at the volume's state, and no time passes.

    Raises:
        ServiceError: 400 other domain; 404 deleted; 409 not AVAILABLE, attached, or the instance has another one.
    """
    _check_place(cloud, volume, host)
    must_be_whole(volume, "booted from")
    if not at_once:
        must_be_available("boot volume", volume.id, volume.state(cloud.clock.timestamp()))
    alone = Access(host.id, read_only=False, shareable=False)
    may_attach(volume.id, alone, [access(each) for each in attachments_of(cloud, volume.id)])
    if boot_attachment(cloud, host.id) is not None:
        raise conflict(f"The instance {host.id} has a boot volume attached")
    doc = {"availabilityDomain": host.domain, "volumeId": volume.id}
    life = Timeline.resting(AttachmentState.ATTACHED)
    if not at_once:
        life = attaching(cloud.clock.timestamp(), transition_seconds(cloud, "AttachBootVolume"))
    name = name or f"{host.name} (Boot Volume)"
    return _save(cloud, Resource(host.id, BOOT_ATTACHMENT, host.compartment, name, 0.0, life, doc, host.id))


def begin_detach(cloud: Cloud, attachment: Resource, operation: str) -> Resource:
    """Begin to detach.

    Raises:
        ServiceError: 409 unless it is ATTACHED.
    """
    now, seconds = cloud.clock.timestamp(), transition_seconds(cloud, operation)
    attachment = attachment.changed(timeline=detaching(attachment.id, attachment.timeline, now=now, seconds=seconds))
    attachment.save(cloud.db)
    return attachment


def _check_place(cloud: Cloud, volume: Resource, host: Host) -> None:
    must_exist(volume, cloud.clock.timestamp())
    where = volume.doc["availabilityDomain"]
    if where != host.domain:
        raise invalid_parameter(f"The volume {volume.id} is in {where} and the instance {host.id} in {host.domain}")


def _save(cloud: Cloud, attachment: Resource) -> Resource:
    attachment = replace(attachment, created=cloud.clock.timestamp())
    attachment.save(cloud.db)
    return attachment


def _device(asked: str | None, present: Collection[Resource]) -> str | None:
    """The device name asked for; None if none was: the guest then numbers by itself.

    Raises:
        ServiceError: 400 for a name that there is not or that is taken.
    """
    if asked is None:
        return None
    if asked not in free_devices(present):
        raise invalid_parameter(f"device: {asked} is no free device of this instance; see ListInstanceDevices")
    return asked


def _iscsi(cloud: Cloud, how: HowAttached, present: Collection[Resource]) -> dict[str, Any]:
    """Where the target is: one address for each volume of an instance, one name for each attachment."""
    used = {attachment.doc.get("ipv4") for attachment in present}
    numbers = range(FIRST_HOST, FIRST_HOST + MAX_ATTACHMENTS + 1)
    address = next(ip for n in numbers if (ip := f"169.254.2.{n}") not in used)
    iqn = f"iqn.2015-12.com.oracleiaas:{uuid.UUID(hex=cloud.random.hex('iqn'))}"
    secret = {"chapUsername": iqn, "chapSecret": cloud.random.hex("chap")} if how.chap else {}
    return {
        "ipv4": address,
        "port": ISCSI_PORT,
        "iqn": iqn,
        "iscsiLoginState": "UNKNOWN",
        "isMultipath": False,
        **secret,
    }
