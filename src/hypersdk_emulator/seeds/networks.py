"""The seed's subnets. Where a seed lists some, they and those that calls make are the only ones."""

from dataclasses import dataclass

from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.errors import ServiceError
from hypersdk_emulator.network import addresses, kinds, vcns, vnics
from hypersdk_emulator.resources import find_resource
from hypersdk_emulator.seeds.node import Node, SeedError

SEEDED_VCN = "ocid1.vcn.oc1..seeded"
"""Where the seed's subnets are that name no VCN."""


@dataclass(frozen=True)
class Subnet:
    """A subnet; its VCN is made with it if nobody has made it."""

    id: str
    compartment_id: str
    display_name: str
    cidr_block: str
    availability_domain: str | None
    private: bool
    vcn_id: str


def read_subnet(node: Node) -> Subnet:
    """One entry of the seed's `subnets`."""
    subnet_id = node.ocid("id")
    return Subnet(
        id=subnet_id,
        compartment_id=node.ocid("compartmentId"),
        display_name=node.text("displayName", subnet_id),
        cidr_block=str(node.take("cidrBlock", _is_block, "a block such as 10.0.0.0/24", "10.0.0.0/24")),
        availability_domain=node.maybe("availabilityDomain"),
        private=node.flag("prohibitPublicIpOnVnic", default=False),
        vcn_id=node.maybe_ocid("vcnId") or SEEDED_VCN,
    )


def _is_block(value: object) -> bool:
    try:
        return isinstance(value, str) and addresses.Network(value).prefixlen <= addresses.MAX_PREFIX
    except ValueError:
        return False


def apply(cloud: Cloud, subnet: Subnet) -> None:
    """Add a subnet that is not there yet, and its VCN."""
    if cloud.db.one("SELECT 1 FROM resources WHERE id = ?", subnet.id):
        return
    if cloud.db.one("SELECT 1 FROM resources WHERE id = ?", subnet.vcn_id) is None:
        doc = {**vcns.NO_TAGS, "cidrBlocks": [vcns.ANY_PRIVATE], "dnsLabel": None}
        name = f"VCN of {subnet.display_name}"
        vcn = kinds.new(cloud, kinds.VCN, "", compartment=subnet.compartment_id, name=name, doc=doc, id=subnet.vcn_id)
        vcns.make_defaults(cloud, vcn)
    vcn = find_resource(cloud.db, kinds.VCN, subnet.vcn_id)
    doc = {
        **vcns.NO_TAGS,
        "availabilityDomain": subnet.availability_domain,
        "cidrBlock": subnet.cidr_block,
        "dhcpOptionsId": vcns.default_of(cloud, kinds.DHCP, vcn.id).id,
        "dnsLabel": None,
        "prohibitPublicIpOnVnic": subnet.private,
        "routeTableId": vcns.default_of(cloud, kinds.ROUTES, vcn.id).id,
        "securityListIds": [vcns.default_of(cloud, kinds.SECURITY_LIST, vcn.id).id],
        "seeded": True,
    }
    kinds.new(
        cloud,
        kinds.SUBNET,
        vcn.id,
        compartment=subnet.compartment_id,
        name=subnet.display_name,
        doc=doc,
        id=subnet.id,
    )


def instance_vnic(
    cloud: Cloud, subnet_id: str | None, *, instance_id: str, name: str, compartment: str, domain: str
) -> None:
    """The VNIC of a seeded instance: attached, with a private address.

    Raises:
        SeedError: the seed lists subnets, and not this one.
    """
    new = vnics.NewVnic(subnet_id or vnics.SEEDED_SUBNET, public=False)
    try:
        vnics.create_vnic(
            cloud, new, instance_id=instance_id, name=name, compartment=compartment, domain=domain, seconds=0.0
        )
    except ServiceError as error:
        raise SeedError(f"instances: {instance_id}: subnetId: {error.message}") from None
