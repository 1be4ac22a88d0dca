"""The handlers of all kinds of network resources: create, get, list, update, delete. Every one takes the kind first."""

from typing import Any

from aiohttp import web

from hypersdk_emulator.call import Call
from hypersdk_emulator.clock import iso
from hypersdk_emulator.errors import ServiceError, not_authorized_or_not_found
from hypersdk_emulator.fields import defined_tags, optional_text, tags, text
from hypersdk_emulator.listing import arranged, page
from hypersdk_emulator.network import kinds
from hypersdk_emulator.network.kinds import Kind
from hypersdk_emulator.once import created_once
from hypersdk_emulator.resources import Resource, check_if_match, resources_in, transition_seconds

REFERENCED = (
    "The {noun} {id} references the {kind} {other}. You must remove the reference to proceed with this operation."
)
"""OCI's words for a deletion that comes too early."""


def as_json(kind: Kind, call: Call, resource: Resource) -> dict[str, Any]:
    """The SDK's model of the kind."""
    belongs = {"vcnId": resource.parent} if kind.in_vcn else {}
    return {
        "compartmentId": resource.compartment,
        "definedTags": resource.doc["definedTags"],
        "displayName": resource.name,
        "freeformTags": resource.doc["freeformTags"],
        "id": resource.id,
        "lifecycleState": resource.state(call.cloud.clock.timestamp()),
        "timeCreated": iso(resource.created),
        **belongs,
        **kind.show(call.cloud, resource),
    }


def reply(kind: Kind, call: Call, resource: Resource) -> web.StreamResponse:
    """One resource with its etag."""
    etag = resource.etag(call.cloud.clock.timestamp())
    return call.reply(as_json(kind, call, resource), headers={"etag": etag})


def found(kind: Kind, call: Call) -> Resource:
    """The resource of the path, permitted to the caller."""
    resource = kinds.find(call.cloud, kind.word, call.params[kind.key])
    call.permit(resource.compartment)
    return resource


def changeable(kind: Kind, call: Call) -> Resource:
    """The resource of the path, for a write under `if-match`.

    Raises:
        ServiceError: 404, 412, 409 while it is made or deleted.
    """
    resource, now = found(kind, call), call.cloud.clock.timestamp()
    check_if_match(call.header("if-match"), resource.etag(now))
    if resource.state(now) != kinds.AVAILABLE:
        raise ServiceError(409, "IncorrectState", f"The {kind.noun} {resource.id} is {resource.state(now)}")
    return resource


async def create(kind: Kind, call: Call) -> web.StreamResponse:
    """PROVISIONING, then AVAILABLE."""
    body = await call.json()
    compartment, cloud = text(body, "compartmentId"), call.cloud
    call.permit(compartment)
    own = {"freeformTags": tags(body) or {}, "definedTags": defined_tags(body) or {}}
    name = optional_text(body, "displayName")
    vcn_id = text(body, "vcnId") if kind.in_vcn else ""

    def make() -> Resource:
        if kind.in_vcn:
            call.permit(kinds.usable(cloud, kinds.VCN, vcn_id).compartment)
        doc = {**own, **kind.read(call, body)}
        shown = name or f"{kind.noun.lower()}{iso(cloud.clock.timestamp())[:19].replace('-', '').replace(':', '')}"
        seconds = transition_seconds(cloud, call.operation)
        resource = kinds.new(cloud, kind.word, vcn_id, compartment=compartment, name=shown, doc=doc, seconds=seconds)
        kind.made(cloud, resource)
        return resource

    return reply(kind, call, await created_once(call, make, lambda known: kinds.find(cloud, kind.word, known)))


async def get(kind: Kind, call: Call) -> web.StreamResponse:
    """One of them; 404 once it is TERMINATED."""
    return reply(kind, call, found(kind, call))


async def list_all(kind: Kind, call: Call) -> web.StreamResponse:
    """Those of a compartment; filters by VCN, name and state."""
    compartment = call.required("compartmentId")
    call.permit(compartment)
    now, query = call.cloud.clock.timestamp(), call.query

    def keep(resource: Resource) -> bool:
        state = resource.state(now)
        return (
            state != kinds.TERMINATED
            and (not kind.in_vcn or query.get("vcnId", resource.parent) == resource.parent)
            and query.get("displayName", resource.name) == resource.name
            and query.get("lifecycleState", state) == state
        )

    some, headers = page(call, arranged(call, resources_in(call.cloud.db, kind.word, compartment)), keep)
    return call.reply([as_json(kind, call, resource) for resource in some], headers=headers)


async def update(kind: Kind, call: Call) -> web.StreamResponse:
    """Name, tags and what the kind lets change; at once."""
    body = await call.json()
    plain = kinds.named(body)
    with call.cloud.db.transaction():
        resource = changeable(kind, call)
        doc = {**resource.doc, **plain["doc"], **kind.change(call, resource, body)}
        resource = resource.changed(name=plain["name"] or resource.name, doc=doc)
        resource.save(call.cloud.db)
    return reply(kind, call, resource)


async def delete(kind: Kind, call: Call) -> web.StreamResponse:
    """204; TERMINATING, TERMINATED, and from then on a 404.

    Raises:
        ServiceError: 409 while something else needs it.
    """
    with call.cloud.db.transaction():
        resource = changeable(kind, call)
        for other in kind.holders(call.cloud, resource):
            message = REFERENCED.format(noun=kind.noun, id=resource.id, kind=other.kind, other=other.id)
            raise ServiceError(409, "Conflict", message)
        kinds.end(call.cloud, resource, call.operation)
        kind.ended(call.cloud, resource)
    return call.reply(status=204)


def only(call: Call, resource: Resource, word: str, field: str, value: str) -> str:
    """An id in a field, which must be a resource of a kind in the same VCN as another.

    Raises:
        ServiceError: 404 names the field.
    """
    try:
        return kinds.find_in_vcn(call.cloud, word, value, resource.parent or resource.id).id
    except ServiceError:
        raise not_authorized_or_not_found(f"{field}: Authorization failed or requested resource not found.") from None
