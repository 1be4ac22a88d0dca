"""Users and who signs by their keys; the tenancy and its regions."""

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa

from hypersdk_emulator.call import Call
from hypersdk_emulator.clock import iso
from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.database import Row
from hypersdk_emulator.errors import ServiceError, not_authorized_or_not_found
from hypersdk_emulator.fields import optional_text, text
from hypersdk_emulator.identity.named import Made, description, global_ocid, listed, new_name, require_tenancy
from hypersdk_emulator.once import created_once
from hypersdk_emulator.resources import check_if_match, etag
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


def described(principal: Principal) -> dict[str, Any]:
    """What to keep of a signer, so that `recalled` finds out later what it may do then."""
    return {"user": principal.user_id, **({"facts": dict(principal.facts)} if principal.facts else {})}


def recalled(cloud: Cloud, doc: Mapping[str, Any], kind: str) -> Principal | None:
    """The principal that `described` has put down, as it is now; None for a user who is gone."""
    if "facts" in doc:
        return Principal(kind, doc["user"], facts=doc["facts"])
    return principal_of(cloud, doc["user"], kind)


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
    require_tenancy(call, call.params["tenancy"])
    region = _region(call.cloud.settings.region)
    row = {"regionKey": region["key"], "regionName": region["name"], "status": "READY", "isHomeRegion": True}
    return call.reply([row])


async def get_tenancy(call: Call) -> web.StreamResponse:
    """The tenancy itself."""
    require_tenancy(call, call.params["tenancy"])
    settings = call.cloud.settings
    home = _region(settings.region)["key"]
    body = {"id": settings.tenancy_id, "name": settings.tenancy_name, "homeRegionKey": home, "description": ""}
    return call.reply({**body, "freeformTags": {}, "definedTags": {}})


def _user(cloud: Cloud, row: Row) -> dict[str, Any]:
    doc = json.loads(row["doc"])
    return {
        "id": row["id"],
        "compartmentId": cloud.settings.tenancy_id,
        "name": row["name"],
        "description": doc.get("description", row["name"]),
        "email": doc.get("email"),
        "timeCreated": iso(row["created"]),
        "lifecycleState": "ACTIVE",
        "isMfaActivated": False,
        "freeformTags": {},
        "definedTags": {},
    }


def _etag(row: Row) -> str:
    return etag(row["id"], row["name"], row["doc"])


def _reply(call: Call, row: Row) -> web.StreamResponse:
    return call.reply(_user(call.cloud, row), headers={"etag": _etag(row)})


def find_user(cloud: Cloud, user_id: str) -> Row:
    """The row of a user, or OCI's 404."""
    row = cloud.db.one("SELECT * FROM users WHERE id = ?", user_id)
    if row is None:
        raise not_authorized_or_not_found()
    return row


def _changing(call: Call) -> Row:
    row = find_user(call.cloud, call.params["user"])
    check_if_match(call.header("if-match"), _etag(row))
    return row


async def list_users(call: Call) -> web.StreamResponse:
    """ListUsers."""
    require_tenancy(call, call.required("compartmentId"))
    found, headers = listed(call, call.cloud.db.all("SELECT * FROM users"))
    return call.reply([_user(call.cloud, row) for row in found], headers=headers)


async def get_user(call: Call) -> web.StreamResponse:
    """GetUser."""
    return _reply(call, find_user(call.cloud, call.params["user"]))


async def create_user(call: Call) -> web.StreamResponse:
    """CreateUser."""
    body, cloud = await call.json(), call.cloud
    require_tenancy(call, text(body, "compartmentId"))
    name, doc = new_name(body), {"description": description(body), "email": optional_text(body, "email")}

    def make() -> Made:
        if cloud.db.one("SELECT 1 FROM users WHERE name = ? COLLATE NOCASE", name):
            raise ServiceError(409, "UserAlreadyExists", f"User with the name {name} already exists in the tenancy")
        identifier = global_ocid(cloud, "user")
        add_user(cloud, identifier, name, doc)
        return Made(identifier)

    made = await created_once(call, make, lambda identifier: Made(find_user(cloud, identifier)["id"]))
    return _reply(call, find_user(cloud, made.id))


async def update_user(call: Call) -> web.StreamResponse:
    """UpdateUser: description and mail address."""
    body, row = await call.json(), _changing(call)
    doc = json.loads(row["doc"])
    doc["description"] = description(body, doc.get("description", row["name"]))
    doc["email"] = optional_text(body, "email") or doc.get("email")
    call.cloud.db.execute("UPDATE users SET doc = ? WHERE id = ?", json.dumps(doc), row["id"])
    return _reply(call, find_user(call.cloud, row["id"]))


async def delete_user(call: Call) -> web.StreamResponse:
    """DeleteUser: keys and sessions sign nothing from now on."""
    row = _changing(call)
    if call.cloud.db.one("SELECT 1 FROM memberships WHERE user = ?", row["id"]):
        raise ServiceError(409, "Conflict", "The user is in groups; remove them from these first")
    with call.cloud.db.transaction():
        call.cloud.db.execute("DELETE FROM users WHERE id = ?", row["id"])
        call.cloud.db.execute("DELETE FROM api_keys WHERE user = ?", row["id"])
    return call.reply(status=204)
