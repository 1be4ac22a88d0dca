"""The kinds of network resources, and what they share: life, names, references that forbid a deletion."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hypersdk_emulator.call import Call
from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.errors import ServiceError, not_authorized_or_not_found
from hypersdk_emulator.fields import defined_tags, optional_text, tags
from hypersdk_emulator.resources import Resource, children, find_resource, new_ocid, transition_seconds
from hypersdk_emulator.timeline import Timeline

VCN, SUBNET, ROUTES, GROUP = "vcn", "subnet", "routetable", "networksecuritygroup"
SERVICE_GATEWAY, INTERNET_GATEWAY, NAT_GATEWAY = "servicegateway", "internetgateway", "natgateway"
SECURITY_LIST, DHCP = "securitylist", "dhcpoptions"
PROVISIONING, AVAILABLE, TERMINATING, TERMINATED = "PROVISIONING", "AVAILABLE", "TERMINATING", "TERMINATED"

Doc = Mapping[str, Any]


def nothing(_cloud: Cloud, _resource: Resource) -> Iterable[Resource]:
    """No resource stands in the way of a deletion."""
    return ()


def no_fields(*_arguments: object) -> Doc:
    """No field of its own."""
    return {}


def no_effect(_cloud: Cloud, _resource: Resource) -> None:
    """Nothing follows."""


@dataclass(frozen=True)
class Kind:
    """One kind of resource.

    Args:
        word: the second word of its OCIDs.
        noun: its name in the names of operations, such as `RouteTable`.
        path: where its list is.
        key: name of the path parameter, as the SDK has it.
        show: its own fields in JSON.
        read: the `doc` of a new one, from the body of its creation; refuses what does not fit.
        change: the fields of `doc` that an update changes.
        holders: what must be gone before it can be deleted.
        made: what else is made with it, in the same transaction.
        ended: what else goes with it.
        in_vcn: it belongs to a VCN.
    """

    word: str
    noun: str
    path: str
    key: str
    show: Callable[[Cloud, Resource], Doc] = no_fields
    read: Callable[[Call, Doc], Doc] = no_fields
    change: Callable[[Call, Resource, Doc], Doc] = no_fields
    holders: Callable[[Cloud, Resource], Iterable[Resource]] = nothing
    made: Callable[[Cloud, Resource], None] = no_effect
    ended: Callable[[Cloud, Resource], None] = no_effect
    in_vcn: bool = True


def new(cloud: Cloud, word: str, vcn_id: str, *, compartment: str, name: str, doc: Doc, **more: Any) -> Resource:
    """A saved resource.

    Args:
        cloud: the cloud.
        word: the second word of its OCID.
        vcn_id: the VCN that it belongs to; empty for a VCN.
        compartment: where it lives.
        name: display name.
        doc: its own fields.
        more: `id` of a seeded one, `seconds` of PROVISIONING.
    """
    now = cloud.clock.timestamp()
    resource = Resource(
        id=more.get("id") or new_ocid(cloud, word),
        kind=word,
        compartment=compartment,
        name=name,
        created=now,
        timeline=Timeline.through((PROVISIONING,), AVAILABLE, start=now, seconds=more.get("seconds", 0.0)),
        doc=doc,
        parent=vcn_id,
    )
    resource.save(cloud.db)
    return resource


def living(cloud: Cloud, resources: Iterable[Resource]) -> list[Resource]:
    """Those that are not TERMINATED."""
    now = cloud.clock.timestamp()
    return [each for each in resources if each.state(now) != TERMINATED]


def of_vcn(cloud: Cloud, word: str, vcn_id: str) -> list[Resource]:
    """What a VCN has of a kind."""
    return living(cloud, children(cloud.db, word, vcn_id))


def find(cloud: Cloud, word: str, resource_id: str) -> Resource:
    """The resource of an id.

    Raises:
        ServiceError: 404, also once it is TERMINATED.
    """
    found = find_resource(cloud.db, word, resource_id)
    if found.state(cloud.clock.timestamp()) == TERMINATED:
        raise not_authorized_or_not_found()
    return found


def find_in_vcn(cloud: Cloud, word: str, resource_id: str, vcn_id: str) -> Resource:
    """The resource of an id in a VCN; one of another VCN is a 404, too."""
    found = find(cloud, word, resource_id)
    if found.parent != vcn_id:
        raise not_authorized_or_not_found()
    return found


def usable(cloud: Cloud, word: str, resource_id: str) -> Resource:
    """A resource that others can be put into.

    Raises:
        ServiceError: 404, 409 while it is made or deleted.
    """
    found = find(cloud, word, resource_id)
    state = found.state(cloud.clock.timestamp())
    if state != AVAILABLE:
        raise ServiceError(409, "IncorrectState", f"{resource_id} is {state}")
    return found


def end(cloud: Cloud, resource: Resource, operation: str) -> Resource:
    """Begin its deletion."""
    now, seconds = cloud.clock.timestamp(), transition_seconds(cloud, operation)
    ended = resource.changed(timeline=Timeline.through((TERMINATING,), TERMINATED, start=now, seconds=seconds))
    ended.save(cloud.db)
    return ended


def named(body: Doc) -> dict[str, Any]:
    """Name and tags of an update, those that it speaks of."""
    return {
        "name": optional_text(body, "displayName"),
        "doc": {
            key: value
            for key, value in (("freeformTags", tags(body)), ("definedTags", defined_tags(body)))
            if value is not None
        },
    }
