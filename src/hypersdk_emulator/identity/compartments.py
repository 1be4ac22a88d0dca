"""Compartments as resources; the tree below the tenancy."""

from typing import Any

from aiohttp import web

from hypersdk_emulator.call import Call
from hypersdk_emulator.clock import iso
from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.errors import ServiceError, invalid_parameter, not_authorized_or_not_found
from hypersdk_emulator.fields import text
from hypersdk_emulator.identity import access, users, whereabouts
from hypersdk_emulator.identity.named import Made, description, global_ocid, listed, new_name
from hypersdk_emulator.once import created_once
from hypersdk_emulator.resources import check_if_match, etag


def _find(cloud: Cloud, compartment: str) -> dict[str, Any]:
    """A compartment, the tenancy among them.

    Raises:
        ServiceError: 404.
    """
    settings = cloud.settings
    if compartment == settings.tenancy_id:
        return {"id": compartment, "parent": None, "name": settings.tenancy_name, "created": 0.0}
    row = cloud.db.one("SELECT * FROM compartments WHERE id = ?", compartment)
    if row is None:
        raise not_authorized_or_not_found()
    return dict(row)


def _json(cloud: Cloud, row: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "compartmentId": row["parent"],
        "name": row["name"],
        "description": (cloud.db.setting(f"about {row['id']}") or row["name"]),
        "timeCreated": iso(row["created"]),
        "lifecycleState": "ACTIVE",
        "isAccessible": True,
        "freeformTags": {},
        "definedTags": {},
    }


def _reply(call: Call, row: dict[str, Any]) -> web.StreamResponse:
    shown = _json(call.cloud, row)
    return call.reply(shown, headers={"etag": _etag(shown)})


def _etag(shown: dict[str, Any]) -> str:
    return etag(shown["id"], shown["name"], shown["description"])


def _changing(call: Call) -> dict[str, Any]:
    """The compartment that a call changes or deletes: not the tenancy; its `if-match` checked."""
    row = _find(call.cloud, call.params["compartment"])
    if row["parent"] is None:
        raise invalid_parameter("The root compartment cannot be changed")
    call.permit(row["id"])
    check_if_match(call.header("if-match"), _etag(_json(call.cloud, row)))
    return row


def _check_name(cloud: Cloud, parent: str, name: str, but: str = "") -> None:
    statement = "SELECT 1 FROM compartments WHERE parent = ? AND name = ? COLLATE NOCASE AND id != ?"
    if cloud.db.one(statement, parent, name, but):
        raise ServiceError(409, "CompartmentAlreadyExists", f"Compartment with the name {name} already exists")


async def get_compartment(call: Call) -> web.StreamResponse:
    """GetCompartment; the tenancy counts as one."""
    row = _find(call.cloud, call.params["compartment"])
    call.permit(row["id"])
    return _reply(call, row)


async def list_compartments(call: Call) -> web.StreamResponse:
    """ListCompartments: children of a compartment, or with `compartmentIdInSubtree` all below the tenancy."""
    cloud, parent = call.cloud, call.required("compartmentId")
    subtree = call.query.get("compartmentIdInSubtree", "false").lower() == "true"
    if not users.is_compartment(cloud, parent):
        raise not_authorized_or_not_found()
    if subtree and parent != cloud.settings.tenancy_id:
        raise invalid_parameter("compartmentIdInSubtree needs the tenancy's OCID as compartmentId")
    rows = cloud.db.all("SELECT * FROM compartments WHERE parent = ? OR ?", parent, subtree)
    if call.query.get("accessLevel") == "ACCESSIBLE":
        rows = [row for row in rows if access.accessible(call, row["id"])]
    found, headers = listed(call, rows)
    return call.reply([_json(cloud, dict(row)) for row in found], headers=headers)


async def create_compartment(call: Call) -> web.StreamResponse:
    """CreateCompartment."""
    body, cloud = await call.json(), call.cloud
    parent, name, about = text(body, "compartmentId"), new_name(body), description(body)
    if not users.is_compartment(cloud, parent):
        raise not_authorized_or_not_found()
    call.permit(parent)

    def make() -> Made:
        _check_name(cloud, parent, name)
        identifier = global_ocid(cloud, "compartment")
        users.add_compartment(cloud, identifier, name, parent)
        cloud.db.set_setting(f"about {identifier}", about)
        return Made(identifier)

    made = await created_once(call, make, lambda identifier: Made(_find(cloud, identifier)["id"]))
    return _reply(call, _find(cloud, made.id))


async def update_compartment(call: Call) -> web.StreamResponse:
    """UpdateCompartment: its name and its description."""
    body, row = await call.json(), _changing(call)
    name = row["name"] if body.get("name") is None else new_name(body)
    _check_name(call.cloud, row["parent"], name, row["id"])
    about = description(body, _json(call.cloud, row)["description"])
    with call.cloud.db.transaction():
        call.cloud.db.execute("UPDATE compartments SET name = ? WHERE id = ?", name, row["id"])
        call.cloud.db.set_setting(f"about {row['id']}", about)
    return _reply(call, _find(call.cloud, row["id"]))


async def delete_compartment(call: Call) -> web.StreamResponse:
    """DeleteCompartment: an empty one, at once."""
    row = _changing(call)
    if whereabouts.occupied(call.cloud, row["id"]):
        raise ServiceError(409, "Conflict", "The compartment is not empty")
    call.cloud.db.execute("DELETE FROM compartments WHERE id = ?", row["id"])
    return call.reply(status=202)
