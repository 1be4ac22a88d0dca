"""VCNs with the tables that every one has, and their subnets."""

from collections.abc import Iterable, Mapping
from typing import Any

from hypersdk_emulator.call import Call
from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.errors import invalid_parameter, missing_parameter
from hypersdk_emulator.fields import optional_flag, optional_text, optional_texts
from hypersdk_emulator.identity.domains import check_availability_domain
from hypersdk_emulator.network import addresses, kinds, plain
from hypersdk_emulator.network.kinds import Doc, Kind
from hypersdk_emulator.network.vnics import live_vnics
from hypersdk_emulator.resources import Resource

_INSIDE = (
    kinds.SUBNET,
    kinds.GROUP,
    kinds.SERVICE_GATEWAY,
    kinds.INTERNET_GATEWAY,
    kinds.NAT_GATEWAY,
    kinds.ROUTES,
)
"""What must be gone before a VCN; of the route tables, all but the default one."""
DEFAULTS = (
    (kinds.ROUTES, "Default Route Table"),
    (kinds.SECURITY_LIST, "Default Security List"),
    (kinds.DHCP, "Default DHCP Options"),
)
EVERYWHERE = "0.0.0.0/0"
ANY_PRIVATE = "10.0.0.0/16"
"""Block of a VCN that only a seeded subnet is known of."""
EGRESS = [{"destination": EVERYWHERE, "destinationType": "CIDR_BLOCK", "isStateless": False, "protocol": "all"}]
INGRESS = [
    {
        "source": EVERYWHERE,
        "sourceType": "CIDR_BLOCK",
        "isStateless": False,
        "protocol": "6",
        "tcpOptions": {"destinationPortRange": {"min": 22, "max": 22}},
    }
]
"""Rules of a default security list (documentation, 'Security Lists'), but for ICMP."""
RESOLVER = [{"type": "DomainNameServer", "serverType": "VcnLocalPlusInternet", "customDnsServers": []}]
NO_TAGS: Mapping[str, Any] = {"freeformTags": {}, "definedTags": {}}


def _blocks(body: Doc, many: str) -> list[str]:
    """The CIDR blocks of a VCN or subnet: `cidrBlock`, or several."""
    blocks = optional_texts(body, many) or [each for each in [optional_text(body, "cidrBlock")] if each is not None]
    if not blocks:
        raise missing_parameter("cidrBlock")
    for block in blocks:
        addresses.network(many, block)
    return blocks


def _read_vcn(_call: Call, body: Doc) -> Doc:
    return {"cidrBlocks": _blocks(body, "cidrBlocks"), "dnsLabel": optional_text(body, "dnsLabel")}


def default_of(cloud: Cloud, word: str, vcn_id: str) -> Resource:
    """The table of a kind that came with a VCN."""
    return next(each for each in kinds.of_vcn(cloud, word, vcn_id) if each.doc["isDefault"])


def make_defaults(cloud: Cloud, vcn: Resource) -> None:
    """Route table, security list and DHCP options of a new VCN."""
    contents: Mapping[str, Doc] = {
        kinds.ROUTES: {"routeRules": []},
        kinds.SECURITY_LIST: {"egressSecurityRules": EGRESS, "ingressSecurityRules": INGRESS},
        kinds.DHCP: {"options": RESOLVER},
    }
    for word, name in DEFAULTS:
        doc = {**NO_TAGS, "isDefault": True, **contents[word]}
        kinds.new(cloud, word, vcn.id, compartment=vcn.compartment or "", name=f"{name} for {vcn.name}", doc=doc)


def _drop_defaults(cloud: Cloud, vcn: Resource) -> None:
    for word, _ in DEFAULTS:
        kinds.end(cloud, default_of(cloud, word, vcn.id), "DeleteVcn")


def _show_vcn(cloud: Cloud, vcn: Resource) -> Doc:
    ended = vcn.timeline.final == kinds.TERMINATED
    shown = ("defaultRouteTableId", "defaultSecurityListId", "defaultDhcpOptionsId")
    tables = dict.fromkeys(shown)
    if not ended:
        tables = {key: default_of(cloud, word, vcn.id).id for key, (word, _) in zip(shown, DEFAULTS, strict=True)}
    label = vcn.doc["dnsLabel"]
    return {
        **tables,
        "cidrBlock": vcn.doc["cidrBlocks"][0],
        "cidrBlocks": vcn.doc["cidrBlocks"],
        "dnsLabel": label,
        "vcnDomainName": None if label is None else f"{label}.oraclevcn.com",
    }


def _inside(cloud: Cloud, vcn: Resource) -> Iterable[Resource]:
    for word in _INSIDE:
        yield from (each for each in kinds.of_vcn(cloud, word, vcn.id) if not each.doc.get("isDefault"))


# ---------------------------------------------------------------- subnets


def _read_subnet(call: Call, body: Doc) -> Doc:
    """A subnet's block lies in its VCN's and meets no other subnet's."""
    cloud = call.cloud
    vcn = kinds.find(cloud, kinds.VCN, body["vcnId"])
    block = addresses.network("cidrBlock", _blocks(body, "ipv4CidrBlocks")[0])
    if not any(block.subnet_of(addresses.Network(each)) for each in vcn.doc["cidrBlocks"]):
        raise invalid_parameter(f"cidrBlock {block} is outside of {', '.join(vcn.doc['cidrBlocks'])}")
    for other in kinds.of_vcn(cloud, kinds.SUBNET, vcn.id):
        if block.overlaps(addresses.Network(other.doc["cidrBlock"])):
            raise invalid_parameter(f"cidrBlock {block} overlaps with that of {other.id}")
    domain = optional_text(body, "availabilityDomain")
    if domain is not None:
        check_availability_domain(cloud, domain)
    tables = {
        "routeTableId": optional_text(body, "routeTableId") or default_of(cloud, kinds.ROUTES, vcn.id).id,
        "dhcpOptionsId": optional_text(body, "dhcpOptionsId") or default_of(cloud, kinds.DHCP, vcn.id).id,
    }
    lists = optional_texts(body, "securityListIds") or [default_of(cloud, kinds.SECURITY_LIST, vcn.id).id]
    prohibited = optional_flag(body, "prohibitPublicIpOnVnic") or optional_flag(body, "prohibitInternetIngress")
    return {
        **_tables(call, vcn, {**tables, "securityListIds": lists}),
        "availabilityDomain": domain,
        "cidrBlock": str(block),
        "dnsLabel": optional_text(body, "dnsLabel"),
        "prohibitPublicIpOnVnic": bool(prohibited),
    }


def _tables(call: Call, owner: Resource, body: Doc) -> Doc:
    """Route table, DHCP options and security lists that a body names; each must be of the VCN of the owner."""
    found: dict[str, Any] = {}
    for field, word in (("routeTableId", kinds.ROUTES), ("dhcpOptionsId", kinds.DHCP)):
        if (value := optional_text(body, field)) is not None:
            found[field] = plain.only(call, owner, word, field, value)
    if lists := optional_texts(body, "securityListIds"):
        found["securityListIds"] = [
            plain.only(call, owner, kinds.SECURITY_LIST, "securityListIds", each) for each in lists
        ]
    return found


def _show_subnet(_cloud: Cloud, subnet: Resource) -> Doc:
    block = addresses.Network(subnet.doc["cidrBlock"])
    shown = ("availabilityDomain", "cidrBlock", "dhcpOptionsId", "dnsLabel", "routeTableId", "securityListIds")
    prohibited = subnet.doc["prohibitPublicIpOnVnic"]
    return {
        **{key: subnet.doc[key] for key in shown},
        "ipv4CidrBlocks": [str(block)],
        "prohibitInternetIngress": prohibited,
        "prohibitPublicIpOnVnic": prohibited,
        "virtualRouterIp": str(block[1]),
        "virtualRouterMac": "00:00:17:00:00:01",
    }


VCNS = Kind(
    word=kinds.VCN,
    noun="Vcn",
    path="vcns",
    key="vcnId",
    show=_show_vcn,
    read=_read_vcn,
    holders=_inside,
    made=make_defaults,
    ended=_drop_defaults,
    in_vcn=False,
)
SUBNETS = Kind(
    word=kinds.SUBNET,
    noun="Subnet",
    path="subnets",
    key="subnetId",
    show=_show_subnet,
    read=_read_subnet,
    change=_tables,
    holders=lambda cloud, subnet: live_vnics(cloud, subnet.id),
)
SECURITY_LISTS = Kind(
    word=kinds.SECURITY_LIST,
    noun="SecurityList",
    path="securityLists",
    key="securityListId",
    show=lambda _cloud, found: {key: found.doc[key] for key in ("egressSecurityRules", "ingressSecurityRules")},
)
DHCP_OPTIONS = Kind(
    word=kinds.DHCP,
    noun="DhcpOptions",
    path="dhcps",
    key="dhcpId",
    show=lambda _cloud, found: {"options": found.doc["options"]},
)
