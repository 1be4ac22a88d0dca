"""The rows of the virtual network service, which shares Compute's base path."""

from typing import Any

from hypersdk_emulator.network import vnics
from hypersdk_emulator.routing import Route


def _row(operation: str, method: str, pattern: str, handler: Any, differs: str = "") -> Route:
    return Route(operation, "network", method, f"/20160918/{pattern}", handler, differs=differs)


NETWORK = (
    _row("ListVnicAttachments", "GET", "vnicAttachments", vnics.list_vnic_attachments, "primary VNICs only"),
    _row("GetVnicAttachment", "GET", "vnicAttachments/{vnicAttachmentId}", vnics.get_vnic_attachment),
    _row("GetVnic", "GET", "vnics/{vnicId}", vnics.get_vnic, "primary VNICs only; no packet travels"),
)
