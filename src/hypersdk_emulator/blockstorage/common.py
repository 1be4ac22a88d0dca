"""What the handlers of block storage share: finding, permissions, lists, replies, moving between compartments."""

from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from hypersdk_emulator.blockstorage.records import Wanted, must_exist
from hypersdk_emulator.blockstorage.state import GONE, MAX_VOLUME_GB, MAX_VPUS
from hypersdk_emulator.call import Call
from hypersdk_emulator.clock import iso
from hypersdk_emulator.errors import missing_parameter, not_authorized_or_not_found
from hypersdk_emulator.fields import defined_tags, optional_text, optional_whole, tags, text
from hypersdk_emulator.identity.domains import check_availability_domain
from hypersdk_emulator.listing import arranged, page
from hypersdk_emulator.resources import Resource, check_if_match, find_resource, resources_in

Json = Callable[[Call, Resource], dict[str, Any]]
MB_PER_GB = 1024
SECONDS_PER_HOUR = 3600


def permitted(call: Call, kind: str, resource_id: str) -> Resource:
    """The resource of an id, deleted or not, or OCI's 404."""
    found = find_resource(call.cloud.db, kind, resource_id)
    call.permit(found.compartment)
    if forgotten(call, found):
        raise not_authorized_or_not_found()
    return found


def forgotten(call: Call, resource: Resource) -> bool:
    """True for what was deleted so long ago that nobody sees it any more; as long as a terminated instance is seen."""
    deleted = resource.timeline.final in GONE
    seen = call.cloud.assumptions.terminated_hours * SECONDS_PER_HOUR
    return deleted and call.cloud.clock.timestamp() >= resource.timeline.settled + seen


def usable(call: Call, kind: str, resource_id: str) -> Resource:
    """The same, but 404 for what is deleted."""
    return must_exist(permitted(call, kind, resource_id), call.cloud.clock.timestamp())


def changeable(call: Call, kind: str, resource_id: str) -> Resource:
    """The same, and the caller's `if-match` fits."""
    found = usable(call, kind, resource_id)
    check_if_match(call.header("if-match"), found.etag(call.cloud.clock.timestamp()))
    return found


def reply(call: Call, resource: Resource, json: Json, **headers: str) -> web.StreamResponse:
    """The resource with its etag; further headers have underscores for hyphens."""
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    return call.reply(json(call, resource), headers={"etag": resource.etag(call.cloud.clock.timestamp()), **more})


def shared_json(call: Call, resource: Resource) -> dict[str, Any]:
    """The fields of every model."""
    return {
        "compartmentId": resource.compartment,
        "definedTags": resource.doc.get("definedTags", {}),
        "displayName": resource.name,
        "freeformTags": resource.doc.get("freeformTags", {}),
        "id": resource.id,
        "lifecycleState": resource.state(call.cloud.clock.timestamp()),
        "timeCreated": iso(resource.created),
    }


def listed(call: Call, kind: str, json: Json, keep: Callable[[Resource], bool] = lambda _: True) -> web.StreamResponse:
    """One page of a compartment's resources; filtered by domain, name and state too, where the query says so.

    Args:
        call: of the list operation.
        kind: of the resources.
        json: makes the model.
        keep: the operation's own filters.
    """
    compartment = call.required("compartmentId")
    call.permit(compartment)
    now, query = call.cloud.clock.timestamp(), call.query

    def wanted(resource: Resource) -> bool:
        domain = resource.doc.get("availabilityDomain")
        return (
            not forgotten(call, resource)
            and query.get("availabilityDomain", domain) == domain
            and query.get("displayName", resource.name) == resource.name
            and query.get("lifecycleState", resource.state(now)) == resource.state(now)
            and keep(resource)
        )

    found, headers = page(call, arranged(call, resources_in(call.cloud.db, kind, compartment)), wanted)
    return call.reply([json(call, each) for each in found], headers=headers)


def renamed(resource: Resource, body: Mapping[str, Any]) -> Resource:
    """The resource with the name and the tags that an update speaks of."""
    free, defined = tags(body), defined_tags(body)
    doc = {
        **resource.doc,
        **({} if free is None else {"freeformTags": free}),
        **({} if defined is None else {"definedTags": defined}),
    }
    return resource.changed(name=optional_text(body, "displayName") or resource.name, doc=doc)


async def update_plain(kind: str, key: str, json: Json, call: Call) -> web.StreamResponse:
    """An update that knows name and tags only."""
    body = await call.json()
    with call.cloud.db.transaction():
        resource = renamed(changeable(call, kind, call.params[key]), body)
        resource.save(call.cloud.db)
    return reply(call, resource, json)


async def change_compartment(kind: str, key: str, call: Call) -> web.StreamResponse:
    """Change...Compartment: at once, and without a body in the reply."""
    body = await call.json()
    compartment = text(body, "compartmentId")
    call.permit(compartment)
    with call.cloud.db.transaction():
        resource = changeable(call, kind, call.params[key]).changed(compartment=compartment)
        resource.save(call.cloud.db)
    return call.reply(headers={"etag": resource.etag(call.cloud.clock.timestamp())})


def read_wanted(call: Call, body: Mapping[str, Any], noun: str) -> Wanted:
    """What the call wants of a new volume or group.

    Raises:
        ServiceError: 400 names the field, 404 for a compartment that the caller may not use.
    """
    compartment, domain = text(body, "compartmentId"), text(body, "availabilityDomain")
    call.permit(compartment)
    check_availability_domain(call.cloud, domain)
    megabytes = optional_whole(body, "sizeInMBs", 1, MAX_VOLUME_GB * MB_PER_GB)
    size = optional_whole(body, "sizeInGBs", 1, 2 * MAX_VOLUME_GB)
    return Wanted(
        name=optional_text(body, "displayName") or default_name(call, noun),
        compartment=compartment,
        domain=domain,
        size_in_gbs=-(-megabytes // MB_PER_GB) if size is None and megabytes is not None else size,
        vpus_per_gb=optional_whole(body, "vpusPerGB", 0, 2 * MAX_VPUS),
        freeform_tags=tags(body),
        defined_tags=defined_tags(body),
        kms_key_id=optional_text(body, "kmsKeyId"),
    )


def default_name(call: Call, noun: str) -> str:
    """A name with the time, for those who give none."""
    return f"{noun.lower()}{iso(call.cloud.clock.timestamp())[:19].replace('-', '').replace(':', '')}"


def source_of(body: Mapping[str, Any], *, must: bool) -> Mapping[str, Any] | None:
    """`sourceDetails`.

    Raises:
        ServiceError: 400 if it is none, or missing where it must be there.
    """
    details = body.get("sourceDetails")
    if details is None:
        if must:
            raise missing_parameter("sourceDetails")
        return None
    if not isinstance(details, dict):
        raise missing_parameter("sourceDetails.type")
    return details
