"""Groups of users, who is in them, and dynamic groups of instances and resources."""

from collections.abc import Iterable
from typing import Any

from aiohttp import web

from hypersdk_emulator.call import Call
from hypersdk_emulator.clock import iso
from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.database import Row
from hypersdk_emulator.errors import ServiceError, invalid_parameter, not_authorized_or_not_found
from hypersdk_emulator.fields import text
from hypersdk_emulator.identity import statements
from hypersdk_emulator.identity.named import Kind, description, global_ocid, new_name, require_tenancy

MAX_RULE = 4096


def _of_tenancy(cloud: Cloud, _: Row) -> dict[str, Any]:
    return {"compartmentId": cloud.settings.tenancy_id}


def _with_rule(cloud: Cloud, row: Row) -> dict[str, Any]:
    return {"compartmentId": cloud.settings.tenancy_id, "matchingRule": row["rule"]}


GROUP = Kind("Group", "user_groups", _of_tenancy)
DYNAMIC_GROUP = Kind("DynamicGroup", "dynamic_groups", _with_rule)


def add_group(cloud: Cloud, group_id: str, name: str, about: str, users: Iterable[str] = ()) -> None:
    """Add a group, or users to one that exists.

    Raises:
        ServiceError: 409, another group has the name.
    """
    row = cloud.db.one("SELECT id FROM user_groups WHERE name = ?", name)
    if row is not None and row["id"] != group_id:
        raise GROUP.already_exists(name)
    now = cloud.clock.timestamp()
    cloud.db.execute("INSERT OR IGNORE INTO user_groups VALUES (?, ?, ?, 1, ?)", group_id, name, now, about)
    for user in users:
        add_member(cloud, group_id, user)


def add_member(cloud: Cloud, group_id: str, user: str) -> Row:
    """The membership of a user in a group, made if there is none."""
    identifier = global_ocid(cloud, "groupmembership")
    now = cloud.clock.timestamp()
    cloud.db.execute("INSERT OR IGNORE INTO memberships VALUES (?, ?, ?, ?)", identifier, user, group_id, now)
    row = cloud.db.one("SELECT * FROM memberships WHERE user = ? AND group_id = ?", user, group_id)
    assert row is not None
    return row


def add_dynamic_group(cloud: Cloud, group_id: str, name: str, about: str, rule: str) -> None:
    """Add a dynamic group.

    Raises:
        ServiceError: 409, another one has the name; 400 for a rule that is none.
    """
    check_rule(rule)
    row = cloud.db.one("SELECT id FROM dynamic_groups WHERE name = ?", name)
    if row is not None and row["id"] != group_id:
        raise DYNAMIC_GROUP.already_exists(name)
    now = cloud.clock.timestamp()
    cloud.db.execute(
        "INSERT OR REPLACE INTO dynamic_groups VALUES (?, ?, ?, 1, ?, ?)", group_id, name, now, about, rule
    )


def check_rule(rule: str) -> None:
    """Refuse a matching rule that is none.

    Raises:
        ServiceError: 400, names the place in it and what was expected there.
    """
    try:
        statements.parse_rule(rule)
    except statements.StatementError as error:
        raise invalid_parameter(f"matchingRule: {error}") from None


# ---------------------------------------------------------------- groups


async def list_groups(call: Call) -> web.StreamResponse:
    """ListGroups."""
    require_tenancy(call, call.required("compartmentId"))
    return GROUP.page(call, call.cloud.db.all("SELECT * FROM user_groups"))


async def get_group(call: Call) -> web.StreamResponse:
    """GetGroup."""
    return GROUP.reply(call, GROUP.find(call.cloud, call.params["group"]))


async def create_group(call: Call) -> web.StreamResponse:
    """CreateGroup."""
    body = await call.json()
    require_tenancy(call, text(body, "compartmentId"))
    name, about = new_name(body), description(body)
    return await GROUP.created(call, lambda identifier: add_group(call.cloud, identifier, name, about))


async def update_group(call: Call) -> web.StreamResponse:
    """UpdateGroup: its description."""
    body, row = await call.json(), GROUP.changing(call, call.params["group"])
    about = description(body, row["description"])
    call.cloud.db.execute(
        "UPDATE user_groups SET description = ?, version = version + 1 WHERE id = ?", about, row["id"]
    )
    return GROUP.reply(call, GROUP.find(call.cloud, row["id"]))


async def delete_group(call: Call) -> web.StreamResponse:
    """DeleteGroup: an empty one."""
    row = GROUP.changing(call, call.params["group"])
    if call.cloud.db.one("SELECT 1 FROM memberships WHERE group_id = ?", row["id"]):
        raise ServiceError(409, "Conflict", "The group has members; remove them first")
    call.cloud.db.execute("DELETE FROM user_groups WHERE id = ?", row["id"])
    return call.reply(status=204)


# ---------------------------------------------------------------- members


def _membership(call: Call, row: Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "compartmentId": call.cloud.settings.tenancy_id,
        "groupId": row["group_id"],
        "userId": row["user"],
        "timeCreated": iso(row["created"]),
        "lifecycleState": "ACTIVE",
    }


async def list_memberships(call: Call) -> web.StreamResponse:
    """ListUserGroupMemberships, of a user, of a group or of both."""
    require_tenancy(call, call.required("compartmentId"))
    rows = call.cloud.db.all("SELECT * FROM memberships ORDER BY id")
    for name, column in (("userId", "user"), ("groupId", "group_id")):
        if wanted := call.query.get(name):
            rows = [row for row in rows if row[column] == wanted]
    found, headers = call.page(rows)
    return call.reply([_membership(call, row) for row in found], headers=headers)


def _find_membership(call: Call) -> Row:
    row = call.cloud.db.one("SELECT * FROM memberships WHERE id = ?", call.params["membership"])
    if row is None:
        raise not_authorized_or_not_found()
    return row


async def get_membership(call: Call) -> web.StreamResponse:
    """GetUserGroupMembership."""
    return call.reply(_membership(call, _find_membership(call)))


async def add_user_to_group(call: Call) -> web.StreamResponse:
    """AddUserToGroup."""
    body = await call.json()
    group, user = GROUP.find(call.cloud, text(body, "groupId")), text(body, "userId")
    if call.cloud.db.one("SELECT 1 FROM users WHERE id = ?", user) is None:
        raise not_authorized_or_not_found()
    return call.reply(_membership(call, add_member(call.cloud, group["id"], user)))


async def remove_user_from_group(call: Call) -> web.StreamResponse:
    """RemoveUserFromGroup."""
    call.cloud.db.execute("DELETE FROM memberships WHERE id = ?", _find_membership(call)["id"])
    return call.reply(status=204)


# ---------------------------------------------------------------- dynamic groups


async def list_dynamic_groups(call: Call) -> web.StreamResponse:
    """ListDynamicGroups."""
    require_tenancy(call, call.required("compartmentId"))
    return DYNAMIC_GROUP.page(call, call.cloud.db.all("SELECT * FROM dynamic_groups"))


async def get_dynamic_group(call: Call) -> web.StreamResponse:
    """GetDynamicGroup."""
    return DYNAMIC_GROUP.reply(call, DYNAMIC_GROUP.find(call.cloud, call.params["group"]))


async def create_dynamic_group(call: Call) -> web.StreamResponse:
    """CreateDynamicGroup."""
    body, cloud = await call.json(), call.cloud
    require_tenancy(call, text(body, "compartmentId"))
    name, about, rule = new_name(body), description(body), text(body, "matchingRule", MAX_RULE)
    return await DYNAMIC_GROUP.created(call, lambda identifier: add_dynamic_group(cloud, identifier, name, about, rule))


async def update_dynamic_group(call: Call) -> web.StreamResponse:
    """UpdateDynamicGroup: its description and its rule."""
    body, row = await call.json(), DYNAMIC_GROUP.changing(call, call.params["group"])
    about, rule = description(body, row["description"]), row["rule"]
    if body.get("matchingRule") is not None:
        rule = text(body, "matchingRule", MAX_RULE)
        check_rule(rule)
    statement = "UPDATE dynamic_groups SET description = ?, rule = ?, version = version + 1 WHERE id = ?"
    call.cloud.db.execute(statement, about, rule, row["id"])
    return DYNAMIC_GROUP.reply(call, DYNAMIC_GROUP.find(call.cloud, row["id"]))


async def delete_dynamic_group(call: Call) -> web.StreamResponse:
    """DeleteDynamicGroup."""
    row = DYNAMIC_GROUP.changing(call, call.params["group"])
    call.cloud.db.execute("DELETE FROM dynamic_groups WHERE id = ?", row["id"])
    return call.reply(status=204)
