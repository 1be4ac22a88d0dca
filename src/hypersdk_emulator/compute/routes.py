"""The rows of Compute in the route table; its work requests live under the same base path."""

from typing import Any

from hypersdk_emulator.compute import images, instances, workrequests
from hypersdk_emulator.routing import Route


def _row(operation: str, method: str, pattern: str, handler: Any) -> Route:
    return Route(operation, "compute", method, f"/20160918/{pattern}", handler)


def _work(operation: str, pattern: str, handler: Any) -> Route:
    return Route(operation, "workrequests", "GET", f"/20160918/workRequests{pattern}", handler)


COMPUTE = (
    _row("ListInstances", "GET", "instances", instances.list_instances),
    _row("GetInstance", "GET", "instances/{instanceId}", instances.get_instance),
    _row("UpdateInstance", "PUT", "instances/{instanceId}", instances.update_instance),
    _row("InstanceAction", "POST", "instances/{instanceId}", instances.instance_action),
    _row("ListBootVolumeAttachments", "GET", "bootVolumeAttachments", instances.list_boot_volume_attachments),
    _row("ListVolumeAttachments", "GET", "volumeAttachments", instances.list_volume_attachments),
    _row("GetBootVolume", "GET", "bootVolumes/{bootVolumeId}", instances.get_boot_volume),
    _row("GetVolume", "GET", "volumes/{volumeId}", instances.get_volume),
    _row("ListImages", "GET", "images", images.list_images),
    _row("CreateImage", "POST", "images", images.create_image),
    _row("GetImage", "GET", "images/{imageId}", images.get_image),
    _row("UpdateImage", "PUT", "images/{imageId}", images.update_image),
    _row("DeleteImage", "DELETE", "images/{imageId}", images.delete_image),
    _row("ExportImage", "POST", "images/{imageId}/actions/export", images.export_image),
    _work("ListWorkRequests", "", workrequests.list_work_requests),
    _work("GetWorkRequest", "/{workRequestId}", workrequests.get_work_request),
    _work("ListWorkRequestErrors", "/{workRequestId}/errors", workrequests.list_work_request_errors),
    _work("ListWorkRequestLogs", "/{workRequestId}/logs", workrequests.list_work_request_logs),
)
