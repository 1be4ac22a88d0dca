"""Console histories: the serial console of an instance, captured at a moment, read piece by piece."""

from typing import Any

from aiohttp import web

from hypersdk_emulator.call import Call
from hypersdk_emulator.clock import iso
from hypersdk_emulator.compute.access import permitted_instance
from hypersdk_emulator.compute.bootlog import MAX_BYTES, Guest, console_text
from hypersdk_emulator.compute.instanceview import launch_options, shape_config
from hypersdk_emulator.compute.records import Instance, find_image
from hypersdk_emulator.compute.shapes import SHAPES, X86
from hypersdk_emulator.compute.state import InstanceState
from hypersdk_emulator.database import Database
from hypersdk_emulator.errors import ServiceError, invalid_parameter
from hypersdk_emulator.fields import defined_tags, optional_text, tags, text
from hypersdk_emulator.listing import arranged, page
from hypersdk_emulator.once import created_once
from hypersdk_emulator.resources import (
    Resource,
    check_if_match,
    find_resource,
    new_ocid,
    resources_in,
    transition_seconds,
)
from hypersdk_emulator.timeline import Timeline

KIND = "consolehistory"
REQUESTED, GETTING, SUCCEEDED = "REQUESTED", "GETTING-HISTORY", "SUCCEEDED"
UNKNOWN_SYSTEM = "Linux"
"""Of a boot volume that came from no image."""
USUAL_LENGTH = 10_240
"""Bytes of GetConsoleHistoryContent without a `length` (default of the Terraform provider)."""


def _json(call: Call, history: Resource) -> dict[str, Any]:
    """The SDK's model ConsoleHistory."""
    return {
        "availabilityDomain": history.doc["availabilityDomain"],
        "compartmentId": history.compartment,
        "definedTags": history.doc["definedTags"],
        "displayName": history.name,
        "freeformTags": history.doc["freeformTags"],
        "id": history.id,
        "instanceId": history.parent,
        "lifecycleState": history.state(call.cloud.clock.timestamp()),
        "timeCreated": iso(history.created),
    }


def _reply(call: Call, history: Resource) -> web.StreamResponse:
    return call.reply(_json(call, history), headers={"etag": history.etag(call.cloud.clock.timestamp())})


def _found(call: Call) -> Resource:
    history = find_resource(call.cloud.db, KIND, call.params["historyId"])
    call.permit(history.compartment)
    return history


def guest_of(db: Database, instance: Instance) -> Guest:
    """What the console knows of an instance."""
    image_id, config = instance.doc["imageId"], shape_config(instance)
    system = UNKNOWN_SYSTEM
    if image_id is not None:
        doc = find_image(db, image_id).doc
        system = f"{doc['operatingSystem']} {doc['operatingSystemVersion']}"
    shape = SHAPES.get(instance.doc["shape"])
    return Guest(
        instance_id=instance.id,
        name=instance.name,
        firmware=launch_options(instance)["firmware"],
        system=system,
        architecture=X86 if shape is None else shape.architecture,
        ocpus=1 if config is None else config["ocpus"],
        memory_in_gbs=16 if config is None else config["memoryInGBs"],
        boots=instance.doc.get("boots", 1),
    )


async def capture(call: Call) -> web.StreamResponse:
    """CaptureConsoleHistory: of this instant; REQUESTED, GETTING-HISTORY, SUCCEEDED."""
    body = await call.json()
    cloud = call.cloud

    def make() -> Resource:
        now, seconds = cloud.clock.timestamp(), transition_seconds(cloud, call.operation)
        instance = permitted_instance(call, text(body, "instanceId"))
        if instance.state(now) in (InstanceState.TERMINATING, InstanceState.TERMINATED):
            raise ServiceError(409, "IncorrectState", f"The instance {instance.id} is {instance.state(now)}")
        history = Resource(
            id=new_ocid(cloud, KIND),
            kind=KIND,
            compartment=instance.compartment,
            name=optional_text(body, "displayName") or f"consolehistory{iso(now)[:19].replace(':', '')}",
            created=now,
            timeline=Timeline.through((REQUESTED, GETTING), SUCCEEDED, start=now, seconds=seconds / 2),
            doc={
                "availabilityDomain": instance.doc["availabilityDomain"],
                "content": console_text(guest_of(cloud.db, instance)).decode(),
                "definedTags": defined_tags(body) or {},
                "freeformTags": tags(body) or {},
            },
            parent=instance.id,
        )
        history.save(cloud.db)
        return history

    return _reply(call, await created_once(call, make, lambda known: find_resource(cloud.db, KIND, known)))


async def list_histories(call: Call) -> web.StreamResponse:
    """ListConsoleHistories: of a compartment."""
    compartment = call.required("compartmentId")
    call.permit(compartment)
    now, query = call.cloud.clock.timestamp(), call.query

    def keep(history: Resource) -> bool:
        domain = history.doc["availabilityDomain"]
        return (
            query.get("instanceId", history.parent) == history.parent
            and query.get("availabilityDomain", domain) == domain
            and query.get("lifecycleState", history.state(now)) == history.state(now)
        )

    found, headers = page(call, arranged(call, resources_in(call.cloud.db, KIND, compartment)), keep)
    return call.reply([_json(call, history) for history in found], headers=headers)


async def get(call: Call) -> web.StreamResponse:
    """GetConsoleHistory."""
    return _reply(call, _found(call))


async def content(call: Call) -> web.StreamResponse:
    """GetConsoleHistoryContent: `length` bytes from `offset`; `opc-bytes-remaining` says how many follow.

    Raises:
        ServiceError: 409 before the capture has succeeded.
    """
    history = _found(call)
    offset, length = _number(call, "offset", 0), _number(call, "length", USUAL_LENGTH)
    state = history.state(call.cloud.clock.timestamp())
    if state != SUCCEEDED:
        raise ServiceError(409, "IncorrectState", f"The console history {history.id} is {state}")
    data = history.doc["content"].encode()
    piece = data[offset : offset + length]
    left = max(0, len(data) - offset - len(piece))
    return web.Response(body=piece, content_type="text/plain", headers={"opc-bytes-remaining": str(left)})


def _number(call: Call, name: str, default: int) -> int:
    value = call.query.get(name)
    if value is None:
        return default
    if not value.isascii() or not value.isdigit() or int(value) > MAX_BYTES:
        raise invalid_parameter(f"{name} must be a number from 0 to {MAX_BYTES}")
    return int(value)


async def update(call: Call) -> web.StreamResponse:
    """UpdateConsoleHistory: name and tags."""
    body = await call.json()
    name = optional_text(body, "displayName")
    changes = {"freeformTags": tags(body), "definedTags": defined_tags(body)}
    with call.cloud.db.transaction():
        history = _found(call)
        check_if_match(call.header("if-match"), history.etag(call.cloud.clock.timestamp()))
        doc = {**history.doc, **{key: value for key, value in changes.items() if value is not None}}
        history = history.changed(name=name or history.name, doc=doc)
        history.save(call.cloud.db)
    return _reply(call, history)


async def delete(call: Call) -> web.StreamResponse:
    """DeleteConsoleHistory: 204; it is gone at once."""
    with call.cloud.db.transaction():
        history = _found(call)
        check_if_match(call.header("if-match"), history.etag(call.cloud.clock.timestamp()))
        history.remove(call.cloud.db)
    return call.reply(status=204)
