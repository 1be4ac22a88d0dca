"""The rows of Compute in the route table; its work requests live under the same base path."""

from typing import Any

from hypersdk_emulator.compute import (
    attachments,
    compatibility,
    consoles,
    images,
    imageschemas,
    instancechanges,
    instances,
    launch,
    termination,
    workrequests,
)
from hypersdk_emulator.routing import Route

SHAPE_OF_IMAGE = "images/{imageId}/shapes/{shapeName}"
HISTORIES = "instanceConsoleHistories"
ATTACHMENTS, BOOT_ATTACHMENTS = "volumeAttachments", "bootVolumeAttachments"
GLOBAL_SCHEMAS = "computeGlobalImageCapabilitySchemas"
SCHEMA_VERSIONS = f"{GLOBAL_SCHEMAS}/{{schemaId}}/versions"
SCHEMAS = "computeImageCapabilitySchemas"


def _row(operation: str, method: str, pattern: str, handler: Any, differs: str = "") -> Route:
    return Route(operation, "compute", method, f"/20160918/{pattern}", handler, differs=differs)


def _work(operation: str, pattern: str, handler: Any) -> Route:
    return Route(operation, "workrequests", "GET", f"/20160918/workRequests{pattern}", handler)


COMPUTE = (
    _row("ListInstances", "GET", "instances", instances.list_instances),
    _row("GetInstance", "GET", "instances/{instanceId}", instances.get_instance),
    _row("LaunchInstance", "POST", "instances", launch.launch_instance, "user data is kept and shown, never run"),
    _row(
        "UpdateInstance",
        "PUT",
        "instances/{instanceId}",
        instancechanges.update_instance,
        "does not replace boot volumes",
    ),
    _row("TerminateInstance", "DELETE", "instances/{instanceId}", termination.terminate_instance),
    _row(
        "ChangeInstanceCompartment",
        "POST",
        "instances/{instanceId}/actions/changeCompartment",
        instancechanges.change_instance_compartment,
        "done at once",
    ),
    _row("CaptureConsoleHistory", "POST", HISTORIES, consoles.capture, "the text of a made-up boot; no guest runs"),
    _row("ListConsoleHistories", "GET", HISTORIES, consoles.list_histories),
    _row("GetConsoleHistory", "GET", f"{HISTORIES}/{{historyId}}", consoles.get),
    _row("GetConsoleHistoryContent", "GET", f"{HISTORIES}/{{historyId}}/data", consoles.content),
    _row("UpdateConsoleHistory", "PUT", f"{HISTORIES}/{{historyId}}", consoles.update),
    _row("DeleteConsoleHistory", "DELETE", f"{HISTORIES}/{{historyId}}", consoles.delete),
    _row("InstanceAction", "POST", "instances/{instanceId}", instances.instance_action),
    _row("ListBootVolumeAttachments", "GET", BOOT_ATTACHMENTS, attachments.list_boot),
    _row("GetBootVolumeAttachment", "GET", f"{BOOT_ATTACHMENTS}/{{bootVolumeAttachmentId}}", attachments.get_boot),
    _row("AttachBootVolume", "POST", BOOT_ATTACHMENTS, attachments.attach_boot),
    _row("DetachBootVolume", "DELETE", f"{BOOT_ATTACHMENTS}/{{bootVolumeAttachmentId}}", attachments.detach_boot),
    _row("ListVolumeAttachments", "GET", ATTACHMENTS, attachments.list_data),
    _row("GetVolumeAttachment", "GET", f"{ATTACHMENTS}/{{volumeAttachmentId}}", attachments.get_data),
    _row("AttachVolume", "POST", ATTACHMENTS, attachments.attach_data, "no NVMe, multipath or encryption in transit"),
    _row("UpdateVolumeAttachment", "PUT", f"{ATTACHMENTS}/{{volumeAttachmentId}}", attachments.update_data),
    _row("DetachVolume", "DELETE", f"{ATTACHMENTS}/{{volumeAttachmentId}}", attachments.detach_data),
    _row("ListInstanceDevices", "GET", "instances/{instanceId}/devices", attachments.list_devices),
    _row("ListImages", "GET", "images", images.list_images),
    _row("CreateImage", "POST", "images", images.create_image),
    _row("GetImage", "GET", "images/{imageId}", images.get_image),
    _row("UpdateImage", "PUT", "images/{imageId}", images.update_image),
    _row("DeleteImage", "DELETE", "images/{imageId}", images.delete_image),
    _row("ExportImage", "POST", "images/{imageId}/actions/export", images.export_image),
    _row(
        "ChangeImageCompartment", "POST", "images/{imageId}/actions/changeCompartment", images.change_image_compartment
    ),
    _row("ListShapes", "GET", "shapes", compatibility.list_shapes, differs="a small table, the same everywhere"),
    _row("ListImageShapeCompatibilityEntries", "GET", "images/{imageId}/shapes", compatibility.list_entries),
    _row("GetImageShapeCompatibilityEntry", "GET", SHAPE_OF_IMAGE, compatibility.get_entry),
    _row("AddImageShapeCompatibilityEntry", "PUT", SHAPE_OF_IMAGE, compatibility.add_entry),
    _row("RemoveImageShapeCompatibilityEntry", "DELETE", SHAPE_OF_IMAGE, compatibility.remove_entry),
    _row("ListComputeGlobalImageCapabilitySchemas", "GET", GLOBAL_SCHEMAS, imageschemas.list_global),
    _row("GetComputeGlobalImageCapabilitySchema", "GET", f"{GLOBAL_SCHEMAS}/{{schemaId}}", imageschemas.get_global),
    _row("ListComputeGlobalImageCapabilitySchemaVersions", "GET", SCHEMA_VERSIONS, imageschemas.list_versions),
    _row(
        "GetComputeGlobalImageCapabilitySchemaVersion",
        "GET",
        f"{SCHEMA_VERSIONS}/{{versionName}}",
        imageschemas.get_version,
    ),
    _row("CreateComputeImageCapabilitySchema", "POST", SCHEMAS, imageschemas.create),
    _row("ListComputeImageCapabilitySchemas", "GET", SCHEMAS, imageschemas.list_schemas),
    _row("GetComputeImageCapabilitySchema", "GET", f"{SCHEMAS}/{{schemaId}}", imageschemas.get),
    _row("UpdateComputeImageCapabilitySchema", "PUT", f"{SCHEMAS}/{{schemaId}}", imageschemas.update),
    _row("DeleteComputeImageCapabilitySchema", "DELETE", f"{SCHEMAS}/{{schemaId}}", imageschemas.delete),
    _row(
        "ChangeComputeImageCapabilitySchemaCompartment",
        "POST",
        f"{SCHEMAS}/{{schemaId}}/actions/changeCompartment",
        imageschemas.move,
    ),
    _work("ListWorkRequests", "", workrequests.list_work_requests),
    _work("GetWorkRequest", "/{workRequestId}", workrequests.get_work_request),
    _work("ListWorkRequestErrors", "/{workRequestId}/errors", workrequests.list_work_request_errors),
    _work("ListWorkRequestLogs", "/{workRequestId}/logs", workrequests.list_work_request_logs),
)
