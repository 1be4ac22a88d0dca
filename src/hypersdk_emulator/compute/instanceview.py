"""The SDK's model Instance, made of a record."""

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from hypersdk_emulator.call import Call
from hypersdk_emulator.clock import iso
from hypersdk_emulator.compute.capabilities import LAUNCH_OPTIONS
from hypersdk_emulator.compute.records import Instance
from hypersdk_emulator.compute.shapes import config_json, seeded_config
from hypersdk_emulator.identity.domains import FAULT_DOMAINS

AGENT = {
    "areAllPluginsDisabled": False,
    "isManagementDisabled": False,
    "isMonitoringDisabled": False,
    "pluginsConfig": [],
}
AVAILABILITY = {"isLiveMigrationPreferred": None, "recoveryAction": "RESTORE_INSTANCE"}
INSTANCE_OPTIONS = {"areLegacyImdsEndpointsDisabled": False}
_MODES = {"VFIO": "NATIVE", "E1000": "EMULATED"}


def launch_options(instance: Instance) -> dict[str, Any]:
    """`launchOptions`, the usual ones where nothing else was said."""
    return {**LAUNCH_OPTIONS, **instance.doc["launchOptions"]}


def shape_config(instance: Instance) -> dict[str, Any] | None:
    """`shapeConfig`; a seeded instance of a flexible shape has one OCPU, one of an unknown shape shows none."""
    given: dict[str, Any] | None = instance.doc.get("shapeConfig")
    shape = instance.doc["shape"]
    return given if given is not None else config_json(shape, seeded_config(shape))


def instance_json(call: Call, instance: Instance) -> dict[str, Any]:
    """All fields of the model that mean something here."""
    doc, options = instance.doc, launch_options(instance)
    return {
        "agentConfig": doc.get("agentConfig", AGENT),
        "availabilityConfig": doc.get("availabilityConfig", AVAILABILITY),
        "availabilityDomain": doc["availabilityDomain"],
        "compartmentId": instance.compartment,
        "definedTags": doc.get("definedTags", {}),
        "displayName": instance.name,
        "extendedMetadata": doc.get("extendedMetadata", {}),
        "faultDomain": doc.get("faultDomain", FAULT_DOMAINS[0]),
        "freeformTags": doc["freeformTags"],
        "id": instance.id,
        "imageId": doc["imageId"],
        "instanceOptions": doc.get("instanceOptions", INSTANCE_OPTIONS),
        "ipxeScript": doc.get("ipxeScript"),
        "launchMode": _MODES.get(options["networkType"], "PARAVIRTUALIZED"),
        "launchOptions": options,
        "lifecycleState": instance.state(call.cloud.clock.timestamp()),
        "metadata": doc.get("metadata", {}),
        "preemptibleInstanceConfig": doc.get("preemptibleInstanceConfig"),
        "region": call.cloud.settings.region,
        "shape": doc["shape"],
        "shapeConfig": shape_config(instance),
        "sourceDetails": doc["sourceDetails"],
        "systemTags": {},
        "timeCreated": iso(instance.created),
        "timeMaintenanceRebootDue": None,
    }


def reply_instance(call: Call, instance: Instance, headers: Mapping[str, str] | None = None) -> web.StreamResponse:
    """The instance with its etag and further headers."""
    etag = instance.etag(call.cloud.clock.timestamp())
    return call.reply(instance_json(call, instance), headers={"etag": etag, **(headers or {})})
