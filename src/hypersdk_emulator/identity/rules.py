"""Policies as resources: statements attached to a compartment, checked before they are kept."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from hypersdk_emulator.call import Call
from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.database import Row
from hypersdk_emulator.errors import invalid_parameter, missing_parameter, not_authorized_or_not_found
from hypersdk_emulator.fields import text
from hypersdk_emulator.identity import access, users
from hypersdk_emulator.identity.named import Kind, description, new_name
from hypersdk_emulator.identity.statements import Statement, StatementError, parse

MAX_STATEMENTS = 50
"""Limit of one policy ("Service Limits", IAM without identity domains)."""


def _show(_: Cloud, row: Row) -> dict[str, Any]:
    return {"compartmentId": row["compartment"], "statements": json.loads(row["statements"]), "versionDate": None}


POLICY = Kind("Policy", "policies", _show)


def add_policy(cloud: Cloud, policy_id: str, name: str, compartment: str, *, about: str, texts: Sequence[str]) -> None:
    """Add or replace a policy.

    Raises:
        ServiceError: 400 for a bad statement, 409 if another policy of the compartment has the name.
    """
    check_statements(cloud, compartment, texts)
    row = cloud.db.one("SELECT id FROM policies WHERE compartment = ? AND name = ?", compartment, name)
    if row is not None and row["id"] != policy_id:
        raise POLICY.already_exists(name)
    cloud.db.execute(
        "INSERT OR REPLACE INTO policies VALUES (?, ?, ?, ?, 1, ?, ?)",
        policy_id,
        compartment,
        name,
        cloud.clock.timestamp(),
        about,
        json.dumps(list(texts)),
    )


def check_statements(cloud: Cloud, compartment: str, texts: Sequence[str]) -> None:
    """Refuse statements that are none, or that speak of groups or compartments that are not there.

    Raises:
        ServiceError: 400, names the statement, the place in it and what was expected.
    """
    tree = access.book_of(cloud).tree
    for number, each in enumerate(texts):
        try:
            statement = parse(each)
        except StatementError as error:
            raise invalid_parameter(f"statements[{number}]: {error}") from None
        if tree.resolve(statement.place, compartment) is None:
            said = "tenancy" if not (statement.place.path or statement.place.id) else "compartment"
            text = f"the {said} does not exist or is not below the compartment of the policy"
            raise invalid_parameter(f"statements[{number}]: {text}")
        for missing in _missing(cloud, statement):
            raise invalid_parameter(f"statements[{number}]: there is no {statement.subject.kind} {missing}")


def _missing(cloud: Cloud, statement: Statement) -> set[str]:
    """Names and ids of groups in a statement that nothing has."""
    table = {"group": "user_groups", "dynamic-group": "dynamic_groups"}.get(statement.subject.kind)
    if table is None:
        return set()
    rows = cloud.db.all(f"SELECT id, name FROM {table}")  # noqa: S608 - one of two constants
    known_names, known_ids = ({row[column].lower() for row in rows} for column in ("name", "id"))
    return {*(statement.subject.names - known_names), *(statement.subject.ids - known_ids)}


def _texts(body: Mapping[str, Any]) -> list[str]:
    value = body.get("statements")
    if value is None:
        raise missing_parameter("statements")
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise invalid_parameter("statements must be a list of texts")
    if not 1 <= len(value) <= MAX_STATEMENTS:
        raise invalid_parameter(f"statements: a policy has 1 to {MAX_STATEMENTS} of them, not {len(value)}")
    return value


# ---------------------------------------------------------------- operations


async def list_policies(call: Call) -> web.StreamResponse:
    """ListPolicies: those attached to one compartment."""
    compartment = call.required("compartmentId")
    if not users.is_compartment(call.cloud, compartment):
        raise not_authorized_or_not_found()
    return POLICY.page(call, call.cloud.db.all("SELECT * FROM policies WHERE compartment = ?", compartment))


async def get_policy(call: Call) -> web.StreamResponse:
    """GetPolicy."""
    return POLICY.reply(call, POLICY.find(call.cloud, call.params["policy"]))


async def create_policy(call: Call) -> web.StreamResponse:
    """CreatePolicy."""
    body, cloud = await call.json(), call.cloud
    compartment = text(body, "compartmentId")
    if not users.is_compartment(cloud, compartment):
        raise not_authorized_or_not_found()
    name, about, texts = new_name(body), description(body), _texts(body)
    return await POLICY.created(
        call, lambda identifier: add_policy(cloud, identifier, name, compartment, about=about, texts=texts)
    )


async def update_policy(call: Call) -> web.StreamResponse:
    """UpdatePolicy: its description and its statements."""
    body, row = await call.json(), POLICY.changing(call, call.params["policy"])
    about, texts = description(body, row["description"]), json.loads(row["statements"])
    if "statements" in body:
        texts = _texts(body)
        check_statements(call.cloud, row["compartment"], texts)
    statement = "UPDATE policies SET description = ?, statements = ?, version = version + 1 WHERE id = ?"
    call.cloud.db.execute(statement, about, json.dumps(texts), row["id"])
    return POLICY.reply(call, POLICY.find(call.cloud, row["id"]))


async def delete_policy(call: Call) -> web.StreamResponse:
    """DeletePolicy."""
    row = POLICY.changing(call, call.params["policy"])
    call.cloud.db.execute("DELETE FROM policies WHERE id = ?", row["id"])
    return call.reply(status=204)
