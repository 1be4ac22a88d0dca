"""Identity: users and their keys, compartments, regions; the reads that name look-up and the OCI CLI need."""

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa

from hypersdk_emulator.call import Call
from hypersdk_emulator.clock import iso
from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.errors import ServiceError, invalid_parameter, not_authorized_or_not_found
from hypersdk_emulator.signatures import Principal, SignatureRefused, public_key

# Region keys of OCI's commercial realm as its SDK lists them (a few are enough for an emulator).
REGIONS = {
    "us-ashburn-1": "IAD",
    "us-phoenix-1": "PHX",
    "eu-frankfurt-1": "FRA",
    "uk-london-1": "LHR",
    "ap-tokyo-1": "NRT",
    "ap-sydney-1": "SYD",
}
_PUBLIC_KEYS: dict[str, rsa.RSAPublicKey] = {}  # parsing a PEM costs more than checking a signature


def add_user(cloud: Cloud, user_id: str, name: str, doc: Mapping[str, Any]) -> None:
    """Add or replace a user.

    Args:
        cloud: The cloud.
        user_id: OCID.
        name: Login name.
        doc: `federated` (bool), `denied` (operation names), `deniedCompartments` (OCIDs).
    """
    text = json.dumps(dict(doc))
    cloud.db.execute("INSERT OR REPLACE INTO users VALUES (?, ?, ?, ?)", user_id, name, cloud.clock.timestamp(), text)


def add_api_key(cloud: Cloud, user_id: str, fingerprint: str, pem: str) -> None:
    """Register a public key under `tenancy/user/fingerprint`.

    Raises:
        ValueError: The PEM is not an RSA public key.
    """
    public_key(pem)
    key_id = f"{cloud.settings.tenancy_id}/{user_id}/{fingerprint.lower()}"
    cloud.db.execute("INSERT OR REPLACE INTO api_keys VALUES (?, ?, ?)", key_id, user_id, pem)


def add_compartment(cloud: Cloud, compartment_id: str, name: str, parent: str | None = None) -> None:
    """Add or replace a compartment; without a parent it lies in the tenancy's root."""
    where = parent or cloud.settings.tenancy_id
    row = (compartment_id, where, name, cloud.clock.timestamp())
    cloud.db.execute("INSERT OR REPLACE INTO compartments VALUES (?, ?, ?, ?)", *row)


def is_compartment(cloud: Cloud, compartment_id: str) -> bool:
    """True for the tenancy and every compartment in it."""
    if compartment_id == cloud.settings.tenancy_id:
        return True
    return cloud.db.one("SELECT 1 FROM compartments WHERE id = ?", compartment_id) is not None


def principal_of(cloud: Cloud, user_id: str, kind: str) -> Principal | None:
    """The principal of a user, or None if there is no such user."""
    row = cloud.db.one("SELECT doc FROM users WHERE id = ?", user_id)
    if row is None:
        return None
    doc = json.loads(row["doc"])
    return Principal(
        kind,
        user_id,
        federated=bool(doc.get("federated")) or kind == "session_token",
        denied=frozenset(doc.get("denied", ())),
        denied_compartments=frozenset(doc.get("deniedCompartments", ())),
    )


def find_key(cloud: Cloud, key_id: str) -> tuple[rsa.RSAPublicKey, Principal]:
    """Public key and principal of an API key, `tenancy/user/fingerprint`.

    Raises:
        SignatureRefused: Unknown key or unknown user.
    """
    row = cloud.db.one("SELECT user, public_key FROM api_keys WHERE key_id = ?", key_id)
    principal = None if row is None else principal_of(cloud, row["user"], "api_key")
    if row is None or principal is None:
        raise SignatureRefused(f"unknown key {key_id}")
    pem = row["public_key"]
    if pem not in _PUBLIC_KEYS:
        _PUBLIC_KEYS[pem] = public_key(pem)
    return _PUBLIC_KEYS[pem], principal


# ---------------------------------------------------------------- operations


def _region(name: str) -> dict[str, str]:
    return {"key": REGIONS.get(name, name[:3].upper()), "name": name}


async def list_regions(call: Call) -> web.StreamResponse:
    """Every region, that of the seed included."""
    names = sorted({*REGIONS, call.cloud.settings.region})
    return call.reply([_region(name) for name in names])


async def list_region_subscriptions(call: Call) -> web.StreamResponse:
    """The one region that this tenancy is subscribed to."""
    _require_tenancy(call, call.params["tenancy"])
    region = _region(call.cloud.settings.region)
    row = {"regionKey": region["key"], "regionName": region["name"], "status": "READY", "isHomeRegion": True}
    return call.reply([row])


async def get_tenancy(call: Call) -> web.StreamResponse:
    """The tenancy itself."""
    _require_tenancy(call, call.params["tenancy"])
    settings = call.cloud.settings
    home = _region(settings.region)["key"]
    body = {"id": settings.tenancy_id, "name": settings.tenancy_name, "homeRegionKey": home, "description": ""}
    return call.reply({**body, "freeformTags": {}, "definedTags": {}})


def _require_tenancy(call: Call, tenancy: str) -> None:
    if tenancy != call.cloud.settings.tenancy_id:
        raise not_authorized_or_not_found()


def _compartment(row: Any) -> dict[str, Any]:
    return {
        "id": row["id"],
        "compartmentId": row["parent"],
        "name": row["name"],
        "description": row["name"],
        "timeCreated": iso(row["created"]),
        "lifecycleState": "ACTIVE",
        "isAccessible": True,
        "freeformTags": {},
        "definedTags": {},
    }


def _root(cloud: Cloud) -> dict[str, Any]:
    settings = cloud.settings
    return {"id": settings.tenancy_id, "parent": None, "name": settings.tenancy_name, "created": 0.0}


async def get_compartment(call: Call) -> web.StreamResponse:
    """One compartment; the tenancy counts as one."""
    wanted = call.params["compartment"]
    row: Any = call.cloud.db.one("SELECT * FROM compartments WHERE id = ?", wanted)
    if wanted == call.cloud.settings.tenancy_id:
        row = _root(call.cloud)
    if row is None:
        raise not_authorized_or_not_found()
    call.permit(wanted)
    return call.reply(_compartment(row), headers={"etag": f"compartment-{row['id'][-8:]}"})


async def list_compartments(call: Call) -> web.StreamResponse:
    """Children of a compartment, or with `compartmentIdInSubtree` everything below the tenancy."""
    cloud, parent = call.cloud, call.required("compartmentId")
    subtree = call.query.get("compartmentIdInSubtree", "false").lower() == "true"
    if not is_compartment(cloud, parent):
        raise not_authorized_or_not_found()
    if subtree and parent != cloud.settings.tenancy_id:
        raise invalid_parameter("compartmentIdInSubtree needs the tenancy's OCID as compartmentId")
    rows = cloud.db.all("SELECT * FROM compartments WHERE parent = ? OR ? ORDER BY id", parent, subtree)
    if name := call.query.get("name"):
        rows = [row for row in rows if row["name"] == name]
    if call.query.get("lifecycleState", "ACTIVE") != "ACTIVE":
        rows = []
    if call.query.get("accessLevel") == "ACCESSIBLE":
        rows = [row for row in rows if call.principal.may("GetCompartment", row["id"])]
    found, headers = call.page(rows)
    return call.reply([_compartment(row) for row in found], headers=headers)


def _user(cloud: Cloud, row: Any) -> dict[str, Any]:
    return {
        "id": row["id"],
        "compartmentId": cloud.settings.tenancy_id,
        "name": row["name"],
        "description": row["name"],
        "timeCreated": iso(row["created"]),
        "lifecycleState": "ACTIVE",
        "isMfaActivated": False,
        "freeformTags": {},
        "definedTags": {},
    }


async def list_users(call: Call) -> web.StreamResponse:
    """The tenancy's users."""
    _require_tenancy(call, call.required("compartmentId"))
    rows = call.cloud.db.all("SELECT * FROM users ORDER BY id")
    if name := call.query.get("name"):
        rows = [row for row in rows if row["name"] == name]
    found, headers = call.page(rows)
    return call.reply([_user(call.cloud, row) for row in found], headers=headers)


async def get_user(call: Call) -> web.StreamResponse:
    """One user."""
    row = call.cloud.db.one("SELECT * FROM users WHERE id = ?", call.params["user"])
    if row is None:
        raise ServiceError(404, "NotAuthorizedOrNotFound", "Authorization failed or requested resource not found.")
    return call.reply(_user(call.cloud, row), headers={"etag": f"user-{row['id'][-8:]}"})
