"""Image capabilities: the global schema, what a schema of one image may say, and the launch options that follow. Pure.

The global schema is the one that the documentation shows ('Editing Image Capabilities for Custom Images'). A schema of
an image narrows the values and sets other defaults; firmware lives here and nowhere else.
"""

from collections.abc import Mapping
from typing import Any

from hypersdk_emulator.errors import invalid_parameter

GLOBAL_ID_WORD = "globalimagecapabilityschema"
GLOBAL_NAME = "OCI.ComputeGlobalImageCapabilitySchema"
VERSIONS = ("4d1a5e71-1ef2-4a3e-9b2a-6d30ad1f3a0e", "0e5dbc0e-4d1d-4b0b-a9d6-8d5a5e6a52c1")
"""Names of the global schema's versions, newest first; OCI's are UUIDs, too."""
MAX_CAPABILITIES = 64
STRINGS, INTEGERS, BOOLEAN = "enumstring", "enuminteger", "boolean"
SOURCES = ("GLOBAL", "IMAGE")
FIRMWARE = "Compute.Firmware"
_VOLUME_TYPES = ["ISCSI", "SCSI", "IDE", "PARAVIRTUALIZED", "NVME"]

Descriptor = Mapping[str, Any]
Schema = Mapping[str, Descriptor]


def _strings(values: list[str], default: str) -> Descriptor:
    return {"descriptorType": STRINGS, "source": "GLOBAL", "values": values, "defaultValue": default}


def _boolean(*, default: bool) -> Descriptor:
    return {"descriptorType": BOOLEAN, "source": "GLOBAL", "defaultValue": default}


GLOBAL: Schema = {
    "Compute.AMD_SecureEncryptedVirtualization": _boolean(default=False),
    FIRMWARE: _strings(["BIOS", "UEFI_64"], "UEFI_64"),
    "Compute.LaunchMode": _strings(["NATIVE", "EMULATED", "PARAVIRTUALIZED", "CUSTOM"], "PARAVIRTUALIZED"),
    "Compute.SecureBoot": _boolean(default=False),
    "Network.AttachmentType": _strings(["E1000", "VFIO", "PARAVIRTUALIZED", "VDPA"], "PARAVIRTUALIZED"),
    "Network.IPv6Only": _boolean(default=False),
    "Storage.BootVolumeType": _strings(_VOLUME_TYPES, "PARAVIRTUALIZED"),
    "Storage.ConsistentVolumeNaming": _boolean(default=True),
    "Storage.Iscsi.MultipathDeviceSupported": _boolean(default=False),
    "Storage.LocalDataVolumeType": _strings(_VOLUME_TYPES, "PARAVIRTUALIZED"),
    "Storage.ParaVirtualization.AttachmentVersion": {
        "descriptorType": INTEGERS,
        "source": "GLOBAL",
        "values": [1, 2],
        "defaultValue": 2,
    },
    "Storage.ParaVirtualization.EncryptionInTransit": _boolean(default=True),
    "Storage.RemoteDataVolumeType": _strings(_VOLUME_TYPES, "PARAVIRTUALIZED"),
}
OPTION_OF = {
    FIRMWARE: "firmware",
    "Network.AttachmentType": "networkType",
    "Storage.BootVolumeType": "bootVolumeType",
    "Storage.ConsistentVolumeNaming": "isConsistentVolumeNamingEnabled",
    "Storage.RemoteDataVolumeType": "remoteDataVolumeType",
}
"""Capability -> the field of `launchOptions` whose default it is."""
LAUNCH_OPTIONS: Mapping[str, Any] = {
    "bootVolumeType": "PARAVIRTUALIZED",
    "firmware": "UEFI_64",
    "isConsistentVolumeNamingEnabled": True,
    "isPvEncryptionInTransitEnabled": False,
    "networkType": "PARAVIRTUALIZED",
    "remoteDataVolumeType": "PARAVIRTUALIZED",
}
"""`launchOptions` where nothing says otherwise; what a paravirtualized Oracle Linux instance shows."""
MODE_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "NATIVE": {"bootVolumeType": "ISCSI", "networkType": "VFIO", "remoteDataVolumeType": "ISCSI"},
    "EMULATED": {"bootVolumeType": "SCSI", "networkType": "E1000", "remoteDataVolumeType": "SCSI"},
    "PARAVIRTUALIZED": {},
    "CUSTOM": {},
}
"""What a `launchMode` of an import means (SDK: models.Image.launch_mode)."""
_OPTION_VALUES = {
    "bootVolumeType": ("ISCSI", "SCSI", "IDE", "VFIO", "PARAVIRTUALIZED", "NVME"),
    "firmware": ("BIOS", "UEFI_64"),
    "networkType": ("E1000", "VFIO", "PARAVIRTUALIZED", "ACCELERATEDPV"),
    "remoteDataVolumeType": ("ISCSI", "SCSI", "IDE", "VFIO", "PARAVIRTUALIZED", "NVME"),
}
_FLAGS = ("isPvEncryptionInTransitEnabled", "isConsistentVolumeNamingEnabled")


def read_schema(value: Any) -> dict[str, dict[str, Any]]:
    """`schemaData` of a call, checked against the global schema; source IMAGE where it differs from that.

    Raises:
        ServiceError: 400 names the capability and what is wrong with it.
    """
    if not isinstance(value, dict) or len(value) > MAX_CAPABILITIES:
        raise invalid_parameter(f"schemaData must be an object of at most {MAX_CAPABILITIES} capabilities")
    return {name: _read(name, descriptor) for name, descriptor in value.items()}


def _read(name: str, value: Any) -> dict[str, Any]:
    known = GLOBAL.get(name)
    if known is None:
        raise invalid_parameter(f"schemaData: {name} is no capability of the global schema")
    if not isinstance(value, dict):
        raise invalid_parameter(f"schemaData: {name} must be an object")
    kind, source, default = value.get("descriptorType"), value.get("source", "IMAGE"), value.get("defaultValue")
    if kind != known["descriptorType"]:
        raise invalid_parameter(f"schemaData: {name}: descriptorType must be {known['descriptorType']}")
    if source not in SOURCES:
        raise invalid_parameter(f"schemaData: {name}: source must be one of {', '.join(SOURCES)}")
    found = {"descriptorType": kind, "source": source}
    if kind == BOOLEAN:
        if not isinstance(default, bool | None):
            raise invalid_parameter(f"schemaData: {name}: defaultValue must be true or false")
        return {**found, "defaultValue": known["defaultValue"] if default is None else default}
    values = value.get("values")
    if not isinstance(values, list) or not values or any(each not in known["values"] for each in values):
        raise invalid_parameter(f"schemaData: {name}: values must be some of {known['values']}")
    if default is not None and default not in values:
        raise invalid_parameter(f"schemaData: {name}: defaultValue {default!r} is none of its values")
    return {**found, "values": values, "defaultValue": values[0] if default is None else default}


def merged(schema: Schema) -> dict[str, Descriptor]:
    """The global schema with an image's own capabilities in place of those that it names."""
    return {**GLOBAL, **schema}


def options_of(schema: Schema) -> dict[str, Any]:
    """The launch options that a schema's defaults give."""
    return {option: schema[name]["defaultValue"] for name, option in OPTION_OF.items() if name in schema}


def schema_of(options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The global schema with given launch options as defaults, as a `.oci` file carries it."""
    found = {name: dict(descriptor) for name, descriptor in GLOBAL.items()}
    for name, option in OPTION_OF.items():
        if options.get(option) in found[name].get("values", (True, False)):
            found[name]["defaultValue"] = options[option]
    return found


def read_options(value: Any) -> dict[str, Any]:
    """`launchOptions` of a call: the fields that it gives.

    Raises:
        ServiceError: 400 names the field.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise invalid_parameter("launchOptions must be an object")
    for name, allowed in _OPTION_VALUES.items():
        if value.get(name) is not None and value[name] not in allowed:
            raise invalid_parameter(f"launchOptions.{name} must be one of {', '.join(allowed)}")
    for name in _FLAGS:
        if not isinstance(value.get(name), bool | None):
            raise invalid_parameter(f"launchOptions.{name} must be true or false")
    return {name: value[name] for name in (*_OPTION_VALUES, *_FLAGS) if value.get(name) is not None}


def check_options(schema: Schema, options: Mapping[str, Any]) -> None:
    """Refuse launch options that the image's schema does not allow.

    Raises:
        ServiceError: 400 names the option and the capability.
    """
    for name, option in OPTION_OF.items():
        values = schema.get(name, {}).get("values")
        if values is not None and option in options and options[option] not in values:
            raise invalid_parameter(
                f"launchOptions.{option}: the image's capability {name} allows {', '.join(map(str, values))} only"
            )
