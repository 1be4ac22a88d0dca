"""The rows of the virtual network service, which shares Compute's base path."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from hypersdk_emulator.network import gateways, groups, plain, vcns, vnics
from hypersdk_emulator.network.kinds import Kind
from hypersdk_emulator.routing import Route

_PLAIN = "a record with a life; no packet travels"
_GROUP = "networkSecurityGroups/{networkSecurityGroupId}"


def _row(operation: str, method: str, pattern: str, handler: Any, differs: str = "") -> Route:
    return Route(operation, "network", method, f"/20160918/{pattern}", handler, differs=differs)


def _read(kind: Kind, plural: str, differs: str = "") -> Iterator[Route]:
    yield _row(f"List{plural}", "GET", kind.path, partial(plain.list_all, kind), differs)
    yield _row(f"Get{kind.noun}", "GET", f"{kind.path}/{{{kind.key}}}", partial(plain.get, kind), differs)


def _whole(kind: Kind) -> Iterator[Route]:
    one = f"{kind.path}/{{{kind.key}}}"
    yield from _read(kind, f"{kind.noun}s")
    yield _row(f"Create{kind.noun}", "POST", kind.path, partial(plain.create, kind), _PLAIN)
    yield _row(f"Update{kind.noun}", "PUT", one, partial(plain.update, kind))
    yield _row(f"Delete{kind.noun}", "DELETE", one, partial(plain.delete, kind))


NETWORK = (
    _row("ListVnicAttachments", "GET", "vnicAttachments", vnics.list_vnic_attachments, "primary VNICs only"),
    _row("GetVnicAttachment", "GET", "vnicAttachments/{vnicAttachmentId}", vnics.get_vnic_attachment),
    _row("GetVnic", "GET", "vnics/{vnicId}", vnics.get_vnic, "primary VNICs only; no packet travels"),
    *_whole(vcns.VCNS),
    *_whole(vcns.SUBNETS),
    *_whole(gateways.ROUTE_TABLES),
    *_whole(gateways.SERVICE_GATEWAYS),
    *_whole(gateways.INTERNET_GATEWAYS),
    *_whole(gateways.NAT_GATEWAYS),
    *_whole(groups.GROUPS),
    *_read(vcns.SECURITY_LISTS, "SecurityLists", "the default one of each VCN"),
    *_read(vcns.DHCP_OPTIONS, "DhcpOptions", "the default ones of each VCN"),
    _row("AddNetworkSecurityGroupSecurityRules", "POST", f"{_GROUP}/actions/addSecurityRules", groups.add_rules),
    _row(
        "RemoveNetworkSecurityGroupSecurityRules", "POST", f"{_GROUP}/actions/removeSecurityRules", groups.remove_rules
    ),
    _row("ListNetworkSecurityGroupSecurityRules", "GET", f"{_GROUP}/securityRules", groups.list_rules),
    _row("ListNetworkSecurityGroupVnics", "GET", f"{_GROUP}/vnics", groups.list_vnics),
    _row("ListServices", "GET", "services", gateways.list_services),
    _row("GetService", "GET", "services/{serviceId}", gateways.get_service),
)
