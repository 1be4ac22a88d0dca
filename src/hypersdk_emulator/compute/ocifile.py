"""`image_metadata.json` of an `.oci` file: what an export writes of an image, what an import takes over. Pure.

Fields: oracle-cne/ocne writes and reads them, and public build scripts write the same for imports.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hypersdk_emulator.compute.capabilities import GLOBAL, MODE_OPTIONS, read_options, read_schema
from hypersdk_emulator.compute.compatibility import Entry, read_entry
from hypersdk_emulator.errors import invalid_parameter
from hypersdk_emulator.fields import optional_object, text

NAME = "image_metadata.json"
DISK = "output.QCOW2"
MAX_BYTES = 1 << 20
VERSION = 2
_SAME_NAMES = ("firmware", "networkType", "bootVolumeType", "remoteDataVolumeType")

_DESCRIPTOR = ("descriptorType", "values", "defaultValue")


@dataclass(frozen=True)
class Facts:
    """What an `.oci` file says of its image besides the disk.

    Args:
        mode: `launchMode`.
        options: `launchOptions`, those that the file speaks of.
        capabilities: `schemaData` of a capability schema; empty = the image gets none.
        shapes: compatibility entries by shape; None = as for any image.
        system: name and version of the operating system.
        version: name of the global schema's version.
    """

    mode: str = "PARAVIRTUALIZED"
    options: Mapping[str, Any] = field(default_factory=dict)
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    shapes: Mapping[str, Entry] | None = None
    system: tuple[str, str] = ("Custom", "Custom")
    version: str | None = None


def write(facts: Facts, source_image: str | None) -> bytes:
    """The text of the file.

    Args:
        facts: with all launch options.
        source_image: OCID of the platform image below, if any.
    """
    stated = {
        name: {key: descriptor[key] for key in _DESCRIPTOR if key in descriptor}
        for name, descriptor in facts.capabilities.items()
    }
    return json.dumps(
        {
            "version": VERSION,
            "externalLaunchOptions": {
                **{name: facts.options[name] for name in _SAME_NAMES},
                "localDataVolumeType": "PARAVIRTUALIZED",
                "launchOptionsSource": facts.mode,
                "pvAttachmentVersion": 2,
                "pvEncryptionInTransitEnabled": facts.options["isPvEncryptionInTransitEnabled"],
                "consistentVolumeNamingEnabled": facts.options["isConsistentVolumeNamingEnabled"],
            },
            "imageCapabilityData": json.dumps({"capabilities": stated}) if stated else None,
            "imageCapsFormatVersion": facts.version if stated else None,
            "operatingSystem": facts.system[0],
            "operatingSystemVersion": facts.system[1],
            "additionalMetadata": {
                "sourcePublicImageId": source_image,
                "shapeCompatibilities": [
                    {"internalShapeName": shape, **entry} for shape, entry in (facts.shapes or {}).items()
                ],
            },
        },
        indent=1,
    ).encode()


def read(data: bytes) -> Facts:
    """The file of a foreign image; what it does not say is as for any import.

    Raises:
        ServiceError: it is no JSON object, or a field has a value that OCI does not know.
    """
    try:
        body = json.loads(data)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise invalid_parameter(f"{NAME} is no JSON object")
    options = optional_object(body, "externalLaunchOptions") or {}
    mode = options.get("launchOptionsSource")
    return Facts(
        mode=str(mode) if mode in MODE_OPTIONS else "PARAVIRTUALIZED",
        options=read_options(
            {
                **{name: options.get(name) for name in _SAME_NAMES},
                "isConsistentVolumeNamingEnabled": options.get("consistentVolumeNamingEnabled"),
            }
        ),
        capabilities=_capabilities(body.get("imageCapabilityData")),
        shapes=_shapes(optional_object(body, "additionalMetadata") or {}),
        system=(str(body.get("operatingSystem") or "Custom"), str(body.get("operatingSystemVersion") or "Custom")),
    )


def _capabilities(value: Any) -> dict[str, Any]:
    """A JSON text, or the object itself; capabilities that the global schema has not are passed over."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise invalid_parameter("imageCapabilityData is no JSON") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise invalid_parameter("imageCapabilityData must be an object")
    stated = optional_object(value, "capabilities") or {}
    return read_schema({name: each for name, each in stated.items() if name in GLOBAL})


def _shapes(more: Mapping[str, Any]) -> dict[str, Entry] | None:
    value = more.get("shapeCompatibilities") or None
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise invalid_parameter("shapeCompatibilities must be a list of objects")
    return {text(each, "internalShapeName"): read_entry(each) for each in value}
