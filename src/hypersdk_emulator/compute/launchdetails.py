"""LaunchInstanceDetails and UpdateInstanceDetails as the SDK sends them: read with their types and bounds. Pure."""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hypersdk_emulator.compute.capabilities import read_options
from hypersdk_emulator.compute.shapes import Config, Shape, configure, find_shape
from hypersdk_emulator.errors import invalid_parameter, missing_parameter
from hypersdk_emulator.fields import (
    defined_tags,
    optional_flag,
    optional_object,
    optional_text,
    optional_whole,
    tags,
    text,
)
from hypersdk_emulator.identity.domains import FAULT_DOMAINS
from hypersdk_emulator.network.vnics import NewVnic, read_vnic

METADATA_BYTES = 32_000
"""Most that `metadata` and `extendedMetadata` may hold together (SDK: LaunchInstanceDetails.metadata)."""
FIXED_METADATA = ("user_data", "ssh_authorized_keys")
"""Keys that UpdateInstance cannot change (SDK: UpdateInstanceDetails.metadata)."""
MAX_BOOT_GB, MAX_VPUS = 32_768, 120
MAX_LAUNCH_VOLUMES = 32
RECOVERIES = ("RESTORE_INSTANCE", "STOP_INSTANCE")
_AGENT_FLAGS = ("isMonitoringDisabled", "isManagementDisabled", "areAllPluginsDisabled")


@dataclass(frozen=True)
class ImageSource:
    """`sourceDetails` that name an image; None = as the image has it."""

    image_id: str
    size_in_gbs: int | None = None
    vpus_per_gb: int | None = None
    kms_key_id: str | None = None


@dataclass(frozen=True)
class VolumeSource:
    """`sourceDetails` that name a boot volume."""

    volume_id: str


@dataclass(frozen=True)
class Launch:
    """A whole LaunchInstance."""

    compartment: str
    domain: str
    fault_domain: str
    name: str | None
    shape: Shape
    config: Config
    source: ImageSource | VolumeSource
    vnic: NewVnic
    options: Mapping[str, Any]
    pv_encryption: bool
    volumes: tuple[Mapping[str, Any], ...]
    shown: Mapping[str, Any]
    """Fields that GetInstance shows as they were given."""


def read_launch(body: Mapping[str, Any]) -> Launch:
    """The body of LaunchInstance.

    Raises:
        ServiceError: 400 names the field.
    """
    shape = find_shape(text(body, "shape"))
    options = read_options(body.get("launchOptions"))
    return Launch(
        compartment=text(body, "compartmentId"),
        domain=text(body, "availabilityDomain"),
        fault_domain=read_fault_domain(body) or FAULT_DOMAINS[0],
        name=optional_text(body, "displayName"),
        shape=shape,
        config=configure(shape, optional_object(body, "shapeConfig")),
        source=_source(body),
        vnic=read_vnic(body),
        options=options,
        pv_encryption=bool(
            optional_flag(body, "isPvEncryptionInTransitEnabled") or options.get("isPvEncryptionInTransitEnabled")
        ),
        volumes=_volumes(body),
        shown={
            **read_metadata(body),
            **read_settings(body),
            "definedTags": defined_tags(body) or {},
            "freeformTags": tags(body) or {},
            "ipxeScript": body.get("ipxeScript"),
            "preemptibleInstanceConfig": optional_object(body, "preemptibleInstanceConfig"),
        },
    )


def read_settings(body: Mapping[str, Any]) -> dict[str, Any]:
    """`instanceOptions`, `agentConfig`, `availabilityConfig`: those that the body speaks of.

    Raises:
        ServiceError: 400 names the field.
    """
    found: dict[str, Any] = {}
    if (options := optional_object(body, "instanceOptions")) is not None:
        disabled = optional_flag(options, "areLegacyImdsEndpointsDisabled") or False
        found["instanceOptions"] = {"areLegacyImdsEndpointsDisabled": disabled}
    if (agent := optional_object(body, "agentConfig")) is not None:
        flags = {name: optional_flag(agent, name) or False for name in _AGENT_FLAGS}
        found["agentConfig"] = {**flags, "pluginsConfig": _plugins(agent)}
    if (availability := optional_object(body, "availabilityConfig")) is not None:
        recovery = availability.get("recoveryAction")
        if recovery not in (None, *RECOVERIES):
            raise invalid_parameter(f"availabilityConfig.recoveryAction must be one of {', '.join(RECOVERIES)}")
        found["availabilityConfig"] = {
            "isLiveMigrationPreferred": optional_flag(availability, "isLiveMigrationPreferred"),
            "recoveryAction": recovery or RECOVERIES[0],
        }
    return found


def _plugins(agent: Mapping[str, Any]) -> list[dict[str, str]]:
    value = agent.get("pluginsConfig")
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise invalid_parameter("agentConfig.pluginsConfig must be a list of objects")
    return [{"name": text(each, "name"), "desiredState": text(each, "desiredState")} for each in value]


def read_metadata(body: Mapping[str, Any]) -> dict[str, Any]:
    """`metadata` and `extendedMetadata`, those that the body speaks of.

    Raises:
        ServiceError: 400 for values that are no texts, user data that is no base64, or more than 32,000 bytes.
    """
    plain, extended = optional_object(body, "metadata"), optional_object(body, "extendedMetadata")
    if plain is not None and not all(isinstance(value, str) for value in plain.values()):
        raise invalid_parameter("metadata must be an object of texts; extendedMetadata may hold objects")
    try:
        base64.b64decode((plain or {}).get("user_data", "").encode(), validate=True)
    except (binascii.Error, ValueError):
        raise invalid_parameter("metadata.user_data must be base64") from None
    size = len(json.dumps([plain or {}, extended or {}], ensure_ascii=False, separators=(",", ":")).encode())
    if size > METADATA_BYTES:
        raise invalid_parameter(f"metadata and extendedMetadata hold {size} bytes; at most {METADATA_BYTES} are taken")
    return {
        **({} if plain is None else {"metadata": plain}),
        **({} if extended is None else {"extendedMetadata": extended}),
    }


def check_fixed_metadata(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Refuse an update that touches what only a launch can set.

    Raises:
        ServiceError: 400 names the key.
    """
    for part in ("metadata", "extendedMetadata"):
        before, after = old.get(part) or {}, new.get(part)
        for key in FIXED_METADATA:
            if after is not None and after.get(key) != before.get(key):
                raise invalid_parameter(
                    f"{part}.{key} cannot be changed after the launch; send the value that is there"
                )


def read_fault_domain(body: Mapping[str, Any]) -> str | None:
    """The fault domain that the body names.

    Raises:
        ServiceError: 400 if there is no such one.
    """
    value = optional_text(body, "faultDomain")
    if value is not None and value not in FAULT_DOMAINS:
        raise invalid_parameter(f"faultDomain must be one of {', '.join(FAULT_DOMAINS)}")
    return value


def _source(body: Mapping[str, Any]) -> ImageSource | VolumeSource:
    details = optional_object(body, "sourceDetails")
    if details is None:
        if (image := optional_text(body, "imageId")) is None:
            raise missing_parameter("sourceDetails")
        return ImageSource(image)
    match text(details, "sourceType"):
        case "image":
            return ImageSource(
                image_id=text(details, "imageId"),
                size_in_gbs=optional_whole(details, "bootVolumeSizeInGBs", 1, MAX_BOOT_GB),
                vpus_per_gb=optional_whole(details, "bootVolumeVpusPerGB", 0, MAX_VPUS),
                kms_key_id=optional_text(details, "kmsKeyId"),
            )
        case "bootVolume":
            return VolumeSource(text(details, "bootVolumeId"))
        case other:
            raise invalid_parameter(f"sourceDetails.sourceType must be image or bootVolume; it is {other!r}")


def _volumes(body: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    value = body.get("launchVolumeAttachments")
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > MAX_LAUNCH_VOLUMES or not all(isinstance(v, dict) for v in value):
        raise invalid_parameter(f"launchVolumeAttachments must be a list of at most {MAX_LAUNCH_VOLUMES} objects")
    for each in value:
        existing, made = optional_text(each, "volumeId"), optional_object(each, "launchCreateVolumeDetails")
        if (existing is None) == (made is None):
            raise invalid_parameter("launchVolumeAttachments: give volumeId or launchCreateVolumeDetails, one of them")
    return tuple(value)
