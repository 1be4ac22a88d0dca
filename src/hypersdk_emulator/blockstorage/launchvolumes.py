"""`launchVolumeAttachments` of LaunchInstance: volumes attached, or made and attached, with the instance."""

from collections.abc import Mapping
from typing import Any

from hypersdk_emulator.blockstorage import copies
from hypersdk_emulator.blockstorage.attachments import TYPES, Host, HowAttached, attach_data
from hypersdk_emulator.blockstorage.kinds import BLOCK_VOLUME
from hypersdk_emulator.blockstorage.records import Wanted, find_volume
from hypersdk_emulator.blockstorage.state import MAX_VOLUME_GB, MAX_VPUS, VolumeState
from hypersdk_emulator.call import Call, one_of
from hypersdk_emulator.errors import invalid_parameter
from hypersdk_emulator.fields import optional_flag, optional_object, optional_text, optional_whole, text
from hypersdk_emulator.resources import Resource
from hypersdk_emulator.timeline import Timeline


def attach_launched(call: Call, host: Host, details: Mapping[str, Any]) -> str | None:
    """Do one of them, in the caller's transaction.

    Args:
        call: of LaunchInstance.
        host: the instance to come.
        details: the SDK's model LaunchAttachVolumeDetails.

    Returns:
        The OCID of the volume made for it; None if it was there.

    Raises:
        ServiceError: 400, 404 or 409, as CreateVolume and AttachVolume give it.
    """
    cloud = call.cloud
    made = optional_object(details, "launchCreateVolumeDetails")
    if made is None:
        volume = find_volume(cloud, text(details, "volumeId"))
        call.permit(volume.compartment)
    else:
        volume = _made(call, host, made)
    attach_data(cloud, volume, host, read_how(details, at_launch=made is not None))
    return None if made is None else volume.id


def read_how(body: Mapping[str, Any], *, at_launch: bool = False) -> HowAttached:
    """The SDK's models AttachVolumeDetails and LaunchAttachVolumeDetails, but for what is attached to what.

    Raises:
        ServiceError: 400 names the field.
    """
    kind = one_of("type", text(body, "type"), TYPES, "")
    return HowAttached(
        type=kind,
        name=optional_text(body, "displayName"),
        device=optional_text(body, "device"),
        read_only=optional_flag(body, "isReadOnly") or False,
        shareable=optional_flag(body, "isShareable") or False,
        chap=optional_flag(body, "useChap") or False,
        at_launch=at_launch,
    )


def _made(call: Call, host: Host, body: Mapping[str, Any]) -> Resource:
    """A volume of the attributes that are given; AVAILABLE at once, since the launch goes on."""
    if text(body, "volumeCreationType") != "ATTRIBUTES":
        raise invalid_parameter("launchCreateVolumeDetails.volumeCreationType must be ATTRIBUTES")
    compartment = optional_text(body, "compartmentId") or host.compartment
    call.permit(compartment)
    wanted = Wanted(
        name=optional_text(body, "displayName") or f"{host.name} volume",
        compartment=compartment,
        domain=host.domain,
        size_in_gbs=optional_whole(body, "sizeInGBs", 1, MAX_VOLUME_GB),
        vpus_per_gb=optional_whole(body, "vpusPerGB", 0, MAX_VPUS),
        kms_key_id=optional_text(body, "kmsKeyId"),
    )
    volume = copies.blank(call.cloud, BLOCK_VOLUME, wanted).changed(timeline=Timeline.resting(VolumeState.AVAILABLE))
    volume.save(call.cloud.db)
    return volume
