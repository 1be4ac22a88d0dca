"""VNICs: the primary one of each instance, its addresses and its attachment."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from hypersdk_emulator.call import Call
from hypersdk_emulator.clock import iso
from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.errors import ServiceError, invalid_parameter, missing_parameter, not_authorized_or_not_found
from hypersdk_emulator.fields import (
    defined_tags,
    optional_flag,
    optional_object,
    optional_text,
    optional_texts,
    tags,
)
from hypersdk_emulator.listing import page
from hypersdk_emulator.network import addresses, leases
from hypersdk_emulator.resources import (
    Resource,
    children,
    find_resource,
    new_ocid,
    resources_in,
    resources_of,
)
from hypersdk_emulator.timeline import Timeline

VNIC, ATTACHMENT, SUBNET, GROUP = "vnic", "vnicattachment", "subnet", "networksecuritygroup"
MAX_GROUPS = 5
"""Network security groups of one VNIC (documentation, 'Network Security Groups')."""
PUBLIC = "public"
"""Scope of the leases of public addresses."""
UNKNOWN_SUBNET = "10.0.0.0/16"
"""Addresses of a subnet that only its OCID is known of."""
SEEDED_SUBNET = "ocid1.subnet.oc1..seeded"
"""Where the instances of a seed are that names no subnet for them."""
AVAILABLE, TERMINATED, DETACHED = "AVAILABLE", "TERMINATED", "DETACHED"
_OCID = re.compile(r"ocid1\.(?P<kind>[a-z0-9]+)\.[a-z0-9]+\.[a-z0-9-]*\.[a-z0-9._-]+")


@dataclass(frozen=True)
class NewVnic:
    """What a call wants of the primary VNIC."""

    subnet_id: str
    name: str | None = None
    public: bool | None = None
    private_ip: str | None = None
    hostname: str | None = None
    group_ids: tuple[str, ...] = ()
    skip_check: bool = False
    freeform_tags: Mapping[str, str] = field(default_factory=dict)
    defined_tags: Mapping[str, Any] = field(default_factory=dict)


def read_vnic(body: Mapping[str, Any]) -> NewVnic:
    """`createVnicDetails` of LaunchInstance, or its older `subnetId` and `hostnameLabel`.

    Raises:
        ServiceError: 400 names the field; a subnet must be given.
    """
    details = optional_object(body, "createVnicDetails") or {}
    subnet = optional_text(details, "subnetId") or optional_text(body, "subnetId")
    if subnet is None:
        raise missing_parameter("createVnicDetails.subnetId")
    groups = optional_texts(details, "nsgIds")
    if len(groups) > MAX_GROUPS:
        raise invalid_parameter(f"nsgIds: a VNIC is in at most {MAX_GROUPS} groups")
    return NewVnic(
        subnet_id=subnet,
        name=optional_text(details, "displayName"),
        public=optional_flag(details, "assignPublicIp"),
        private_ip=optional_text(details, "privateIp"),
        hostname=optional_text(details, "hostnameLabel") or optional_text(body, "hostnameLabel"),
        group_ids=tuple(groups),
        skip_check=optional_flag(details, "skipSourceDestCheck") or False,
        freeform_tags=tags(details) or {},
        defined_tags=defined_tags(details) or {},
    )


def check_known(cloud: Cloud, kind: str, resource_id: str) -> Resource | None:
    """The subnet or group of an id. One that nobody made is taken as it is, unless the seed lists subnets.

    Raises:
        ServiceError: 404 for a malformed OCID, for one that is terminated, and for an unknown one beside seeded ones.
    """
    shape = _OCID.fullmatch(resource_id)
    if shape is None or shape["kind"] != kind:
        raise not_authorized_or_not_found()
    if resource_id == SEEDED_SUBNET:
        return None
    if cloud.db.one("SELECT 1 FROM resources WHERE id = ?", resource_id) is None:
        if any(each.doc.get("seeded") for each in resources_of(cloud.db, SUBNET)):
            raise not_authorized_or_not_found()
        return None
    found = find_resource(cloud.db, kind, resource_id)
    if found.state(cloud.clock.timestamp()) != AVAILABLE:
        raise not_authorized_or_not_found()
    return found


def create_vnic(
    cloud: Cloud, new: NewVnic, *, instance_id: str, name: str, compartment: str, domain: str, seconds: float
) -> None:
    """Save the primary VNIC of an instance and its attachment; call it in the transaction that makes the instance.

    Args:
        cloud: the cloud.
        new: as `read_vnic` read it.
        instance_id: the instance's OCID.
        name: the instance's display name.
        compartment: where the VNIC lives.
        domain: the instance's availability domain.
        seconds: how long ATTACHING lasts.

    Raises:
        ServiceError: 404 for an unknown subnet or group, 400 for an address or domain that does not fit, 409 in use.
    """
    subnet = check_known(cloud, SUBNET, new.subnet_id)
    doc: Mapping[str, Any] = {} if subnet is None else subnet.doc
    if doc.get("availabilityDomain") not in (None, domain):
        raise invalid_parameter(f"The subnet {new.subnet_id} is not in the availability domain {domain}")
    for group_id in new.group_ids:
        group = check_known(cloud, GROUP, group_id)
        if group is not None and subnet is not None and group.parent != subnet.parent:
            raise invalid_parameter(f"nsgIds: {group_id} belongs to another VCN than the subnet")
    now = cloud.clock.timestamp()
    vnic = Resource(
        id=new_ocid(cloud, VNIC),
        kind=VNIC,
        compartment=compartment,
        name=new.name or name,
        created=now,
        timeline=Timeline.through(("PROVISIONING",), AVAILABLE, start=now, seconds=seconds),
        doc={
            "availabilityDomain": domain,
            "definedTags": new.defined_tags,
            "freeformTags": new.freeform_tags,
            "hostnameLabel": new.hostname,
            "instanceId": instance_id,
            "macAddress": _mac(cloud),
            "nsgIds": list(new.group_ids),
            "skipSourceDestCheck": new.skip_check,
            **_addresses(cloud, new, doc),
        },
        parent=new.subnet_id,
    )
    vnic.save(cloud.db)
    Resource(
        id=new_ocid(cloud, ATTACHMENT),
        kind=ATTACHMENT,
        compartment=compartment,
        name=vnic.name,
        created=now,
        timeline=Timeline.through(("ATTACHING",), "ATTACHED", start=now, seconds=seconds),
        doc={"availabilityDomain": domain, "subnetId": new.subnet_id, "vnicId": vnic.id},
        parent=instance_id,
    ).save(cloud.db)


def _mac(cloud: Cloud) -> str:
    digits = cloud.random.hex("mac", 3)
    return f"02:00:17:{digits[:2]}:{digits[2:4]}:{digits[4:]}".upper()


def _addresses(cloud: Cloud, new: NewVnic, subnet: Mapping[str, Any]) -> dict[str, Any]:
    """A private address, and a public one if asked for, or if nothing is said and the subnet is public.

    Raises:
        ServiceError: 400 for what the subnet does not allow or has not, 409 for an address in use, or if none is left.
    """
    private_only = bool(subnet.get("prohibitPublicIpOnVnic"))
    if new.public and private_only:
        raise invalid_parameter(f"assignPublicIp: the subnet {new.subnet_id} prohibits public addresses")
    block = addresses.Network(subnet.get("cidrBlock", UNKNOWN_SUBNET))
    place, number = _private_place(cloud, new, block), None
    if new.public or (new.public is None and not private_only):
        number = leases.take(cloud, PUBLIC, 0, addresses.PUBLIC_COUNT - 1)
        if number is None:
            raise ServiceError(400, "LimitExceeded", "There is no free public address")
    return {
        "privateIp": str(block[place]),
        "publicIp": None if number is None else addresses.public_address(number),
        "leases": [[new.subnet_id, place], *([] if number is None else [[PUBLIC, number]])],
    }


def _private_place(cloud: Cloud, new: NewVnic, block: addresses.Network) -> int:
    if new.private_ip is not None:
        place = addresses.place_of(block, new.private_ip)
        if not leases.take_one(cloud, new.subnet_id, place):
            raise ServiceError(409, "Conflict", f"privateIp {new.private_ip} is in use")
        return place
    span = addresses.usable(block)
    free = leases.take(cloud, new.subnet_id, span.start, span.stop - 1)
    if free is None:
        raise ServiceError(400, "LimitExceeded", f"There is no free address in {new.subnet_id}")
    return free


def live_vnics(cloud: Cloud, subnet_id: str) -> list[Resource]:
    """The VNICs in a subnet that are not gone."""
    now = cloud.clock.timestamp()
    return [each for each in children(cloud.db, VNIC, subnet_id) if each.state(now) != TERMINATED]


def release_vnics(cloud: Cloud, instance_id: str, seconds: float) -> None:
    """Detach and terminate the VNICs of an instance that is being terminated; in the caller's transaction."""
    now = cloud.clock.timestamp()
    for attachment in children(cloud.db, ATTACHMENT, instance_id):
        gone = Timeline.through(("DETACHING",), DETACHED, start=now, seconds=seconds)
        attachment.changed(timeline=gone).save(cloud.db)
        vnic = find_resource(cloud.db, VNIC, attachment.doc["vnicId"])
        end = Timeline.through(("TERMINATING",), TERMINATED, start=now, seconds=seconds)
        vnic.changed(timeline=end).save(cloud.db)
        for scope, number in vnic.doc["leases"]:
            leases.release(cloud, scope, number, now + seconds)


def _attachment_json(call: Call, attachment: Resource) -> dict[str, Any]:
    """The SDK's model VnicAttachment."""
    return {
        "availabilityDomain": attachment.doc["availabilityDomain"],
        "compartmentId": attachment.compartment,
        "displayName": None,
        "id": attachment.id,
        "instanceId": attachment.parent,
        "lifecycleState": attachment.state(call.cloud.clock.timestamp()),
        "nicIndex": 0,
        "subnetId": attachment.doc["subnetId"],
        "timeCreated": iso(attachment.created),
        "vlanTag": 0,
        "vnicId": attachment.doc["vnicId"],
    }


def _vnic_json(call: Call, vnic: Resource) -> dict[str, Any]:
    """The SDK's model Vnic."""
    shown = ("availabilityDomain", "definedTags", "freeformTags", "hostnameLabel", "macAddress", "nsgIds", "privateIp")
    return {
        **{key: vnic.doc[key] for key in (*shown, "publicIp", "skipSourceDestCheck")},
        "compartmentId": vnic.compartment,
        "displayName": vnic.name,
        "id": vnic.id,
        "isPrimary": True,
        "lifecycleState": vnic.state(call.cloud.clock.timestamp()),
        "subnetId": vnic.parent,
        "timeCreated": iso(vnic.created),
    }


async def list_vnic_attachments(call: Call) -> web.StreamResponse:
    """ListVnicAttachments: of a compartment, detached ones included."""
    compartment = call.required("compartmentId")
    call.permit(compartment)
    query = call.query

    def keep(attachment: Resource) -> bool:
        doc = attachment.doc
        return (
            query.get("instanceId", attachment.parent) == attachment.parent
            and query.get("vnicId", doc["vnicId"]) == doc["vnicId"]
            and query.get("availabilityDomain", doc["availabilityDomain"]) == doc["availabilityDomain"]
        )

    every = sorted(resources_in(call.cloud.db, ATTACHMENT, compartment), key=lambda each: (each.created, each.id))
    found, headers = page(call, every, keep)
    return call.reply([_attachment_json(call, each) for each in found], headers=headers)


async def get_vnic_attachment(call: Call) -> web.StreamResponse:
    """GetVnicAttachment."""
    attachment = find_resource(call.cloud.db, ATTACHMENT, call.params["vnicAttachmentId"])
    call.permit(attachment.compartment)
    etag = attachment.etag(call.cloud.clock.timestamp())
    return call.reply(_attachment_json(call, attachment), headers={"etag": etag})


async def get_vnic(call: Call) -> web.StreamResponse:
    """GetVnic: its addresses; 404 once its instance is terminated."""
    vnic = find_resource(call.cloud.db, VNIC, call.params["vnicId"])
    call.permit(vnic.compartment)
    now = call.cloud.clock.timestamp()
    if vnic.state(now) == TERMINATED:
        raise not_authorized_or_not_found()
    return call.reply(_vnic_json(call, vnic), headers={"etag": vnic.etag(now)})
