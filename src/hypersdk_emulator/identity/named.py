"""What groups, dynamic groups and policies share: rows with a name, a description, a version; etags, names, lists."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from hypersdk_emulator.call import Call, one_of
from hypersdk_emulator.clock import iso
from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.database import Row
from hypersdk_emulator.errors import ServiceError, invalid_parameter, not_authorized_or_not_found
from hypersdk_emulator.fields import text
from hypersdk_emulator.listing import ORDERS, page
from hypersdk_emulator.once import created_once
from hypersdk_emulator.resources import OCID_ALPHABET, OCID_LENGTH, check_if_match, etag

ACTIVE = "ACTIVE"
MAX_DESCRIPTION = 400
NAME = re.compile(r"[\w.@+-]{1,100}")
"""Letters, digits, hyphens, periods, underscores (API reference of Identity); `@` and `+` in users' names."""


@dataclass(frozen=True)
class Made:
    """The id of what a call made."""

    id: str


@dataclass(frozen=True)
class Kind:
    """One kind of named thing.

    Args:
        noun: for messages and error codes, such as `DynamicGroup`.
        table: where its rows are.
        show: the JSON of a row beside what all kinds have.
    """

    noun: str
    table: str
    show: Callable[[Cloud, Row], dict[str, Any]]

    def find(self, cloud: Cloud, identifier: str) -> Row:
        """The row of an OCID, or OCI's 404."""
        row = cloud.db.one(f"SELECT * FROM {self.table} WHERE id = ?", identifier)  # noqa: S608 - a constant
        if row is None:
            raise not_authorized_or_not_found()
        return row

    def json(self, cloud: Cloud, row: Row) -> dict[str, Any]:
        """What the API shows of a row."""
        return {
            "id": row["id"],
            "name": row["name"],
            "description": row["description"],
            "timeCreated": iso(row["created"]),
            "lifecycleState": ACTIVE,
            "freeformTags": {},
            "definedTags": {},
            **self.show(cloud, row),
        }

    def reply(self, call: Call, row: Row) -> web.StreamResponse:
        """A row with its etag."""
        return call.reply(self.json(call.cloud, row), headers={"etag": etag(row["id"], row["version"])})

    def changing(self, call: Call, identifier: str) -> Row:
        """The row that a call changes or deletes, its `if-match` checked."""
        row = self.find(call.cloud, identifier)
        check_if_match(call.header("if-match"), etag(row["id"], row["version"]))
        return row

    async def created(self, call: Call, insert: Callable[[str], None]) -> web.StreamResponse:
        """Make one, or answer with what the same retry token has made.

        Args:
            call: of the create operation.
            insert: writes the row of the OCID that it is given.
        """

        def make() -> Made:
            identifier = global_ocid(call.cloud, self.noun.lower())
            insert(identifier)
            return Made(identifier)

        def find(identifier: str) -> Made:
            return Made(str(self.find(call.cloud, identifier)["id"]))

        made = await created_once(call, make, find)
        return self.reply(call, self.find(call.cloud, made.id))

    def already_exists(self, name: str) -> ServiceError:
        """409 for a name that is taken."""
        text = f"{self.noun} with the name {name} already exists in the tenancy"
        return ServiceError(409, f"{self.noun}AlreadyExists", text)

    def page(self, call: Call, rows: Iterable[Row]) -> web.StreamResponse:
        """One page of rows; see `listed`."""
        found, headers = listed(call, rows)
        return call.reply([self.json(call.cloud, row) for row in found], headers=headers)


@dataclass(frozen=True)
class _Item:
    """A row in a list."""

    id: str
    name: str
    created: float
    row: Row


def listed(call: Call, rows: Iterable[Row]) -> tuple[list[Row], dict[str, str]]:
    """The page asked for of the rows that fit the query, and the header that leads to the next one.

    Args:
        call: with `name`, `lifecycleState`, `sortBy` (TIMECREATED falls, NAME rises; without it by OCID), `sortOrder`.
        rows: with `id`, `name` and `created`; all of them are ACTIVE.
    """
    by = one_of("sortBy", call.query.get("sortBy"), ("TIMECREATED", "NAME"), "ID")
    order = one_of("sortOrder", call.query.get("sortOrder"), ORDERS, "DESC" if by == "TIMECREATED" else "ASC")
    keys: dict[str, Callable[[_Item], Any]] = {
        "ID": lambda item: item.id,
        "TIMECREATED": lambda item: (item.created, item.id),
        "NAME": lambda item: (item.name, item.id),
    }
    items = [_Item(row["id"], row["name"], row["created"], row) for row in rows]
    items.sort(key=keys[by], reverse=order == "DESC")
    name, active = call.query.get("name"), call.query.get("lifecycleState", ACTIVE) == ACTIVE
    found, headers = page(call, items, lambda item: active and name in (None, item.name))
    return [item.row for item in found], headers


def global_ocid(cloud: Cloud, kind: str) -> str:
    """A fresh OCID of something that no region has."""
    return f"ocid1.{kind}.oc1..{cloud.random.text(f'ocid {kind}', OCID_ALPHABET, OCID_LENGTH)}"


def new_name(body: Mapping[str, Any]) -> str:
    """The name of something new.

    Raises:
        ServiceError: 400 for letters that a name may not have.
    """
    name = text(body, "name", 100)
    if NAME.fullmatch(name) is None:
        raise invalid_parameter(f"name: {name!r} has other characters than letters, digits, - . _ @ +")
    return name


def description(body: Mapping[str, Any], kept: str | None = None) -> str:
    """The description, which a new thing must have."""
    if kept is not None and body.get("description") is None:
        return kept
    return text(body, "description", MAX_DESCRIPTION)


def require_tenancy(call: Call, identifier: str) -> None:
    """Refuse another compartment than the tenancy: users and groups live there only."""
    if identifier != call.cloud.settings.tenancy_id:
        raise not_authorized_or_not_found()
