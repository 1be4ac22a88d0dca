"""Keys of users: API keys, and Customer Secret Keys of the S3-compatible API."""

import hashlib
import json
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives import serialization

from hypersdk_emulator.call import Call
from hypersdk_emulator.clock import iso
from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.database import Row
from hypersdk_emulator.errors import ServiceError, invalid_parameter, not_authorized_or_not_found
from hypersdk_emulator.fields import text
from hypersdk_emulator.identity import users
from hypersdk_emulator.signatures import public_key

MAX_API_KEYS, MAX_SECRET_KEYS = 3, 2
"""A user has at most so many ("Managing User Credentials")."""
MAX_PEM = 16384


def fingerprint(pem: str) -> str:
    """OCI's fingerprint of a public key: MD5 of its DER form.

    Raises:
        ValueError: It is no RSA public key.
    """
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    der = public_key(pem).public_bytes(serialization.Encoding.DER, form)
    digest = hashlib.md5(der, usedforsecurity=False).digest()
    return ":".join(f"{byte:02x}" for byte in digest)


def _user(call: Call) -> Row:
    return users.find_user(call.cloud, call.params["user"])


# ---------------------------------------------------------------- API keys


def _api_key(user: Row, row: Row) -> dict[str, Any]:
    return {
        "keyId": row["key_id"],
        "keyValue": row["public_key"],
        "fingerprint": row["key_id"].rpartition("/")[2],
        "userId": user["id"],
        "timeCreated": iso(user["created"]),
        "lifecycleState": "ACTIVE",
    }


def _api_keys(cloud: Cloud, user: str) -> list[Row]:
    return cloud.db.all("SELECT * FROM api_keys WHERE user = ? ORDER BY key_id", user)


async def list_api_keys(call: Call) -> web.StreamResponse:
    """ListApiKeys; the list has one page."""
    user = _user(call)
    return call.reply([_api_key(user, row) for row in _api_keys(call.cloud, user["id"])])


async def upload_api_key(call: Call) -> web.StreamResponse:
    """UploadApiKey: the public key in PEM."""
    user, pem = _user(call), text(await call.json(), "key", MAX_PEM)
    try:
        mark = fingerprint(pem)
    except ValueError as error:
        raise invalid_parameter(f"key: {error}") from None
    there = _api_keys(call.cloud, user["id"])
    if any(row["key_id"].endswith(mark) for row in there):
        raise ServiceError(409, "ApiKeyAlreadyExists", f"The user has a key with the fingerprint {mark}")
    if len(there) >= MAX_API_KEYS:
        raise ServiceError(400, "LimitExceeded", f"A user has at most {MAX_API_KEYS} API keys")
    users.add_api_key(call.cloud, user["id"], mark, pem)
    made = next(row for row in _api_keys(call.cloud, user["id"]) if row["key_id"].endswith(mark))
    return call.reply(_api_key(user, made))


async def delete_api_key(call: Call) -> web.StreamResponse:
    """DeleteApiKey; it signs nothing from now on."""
    user = _user(call)
    key_id = f"{call.cloud.settings.tenancy_id}/{user['id']}/{call.params['fingerprint'].lower()}"
    if not call.cloud.db.execute("DELETE FROM api_keys WHERE key_id = ?", key_id).rowcount:
        raise not_authorized_or_not_found()
    return call.reply(status=204)


# ---------------------------------------------------------------- Customer Secret Keys


def _secret_key(user: Row, key: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": key["accessKey"],
        "userId": user["id"],
        "displayName": key.get("displayName", key["accessKey"]),
        "timeCreated": iso(key.get("created", user["created"])),
        "timeExpires": None,
        "lifecycleState": "ACTIVE",
    }


def _secret_keys(user: Row) -> list[dict[str, Any]]:
    return list(json.loads(user["doc"]).get("secretKeys", []))


def _keep(cloud: Cloud, user: Row, keys: list[dict[str, Any]]) -> None:
    doc = {**json.loads(user["doc"]), "secretKeys": keys}
    cloud.db.execute("UPDATE users SET doc = ? WHERE id = ?", json.dumps(doc), user["id"])


async def list_secret_keys(call: Call) -> web.StreamResponse:
    """ListCustomerSecretKeys, without the secrets; the list has one page."""
    user = _user(call)
    return call.reply([_secret_key(user, key) for key in _secret_keys(user)])


async def create_secret_key(call: Call) -> web.StreamResponse:
    """CreateCustomerSecretKey; only this reply shows the secret."""
    user, name = _user(call), text(await call.json(), "displayName")
    keys = _secret_keys(user)
    if len(keys) >= MAX_SECRET_KEYS:
        raise ServiceError(400, "LimitExceeded", f"A user has at most {MAX_SECRET_KEYS} Customer Secret Keys")
    random = call.cloud.random
    key = {
        "accessKey": random.hex("access key", 20),
        "secretKey": random.urlsafe("secret key", 32),
        "displayName": name,
        "created": call.cloud.clock.timestamp(),
    }
    _keep(call.cloud, user, [*keys, key])
    return call.reply({**_secret_key(user, key), "key": key["secretKey"]})


async def delete_secret_key(call: Call) -> web.StreamResponse:
    """DeleteCustomerSecretKey."""
    user = _user(call)
    keys = _secret_keys(user)
    left = [key for key in keys if key["accessKey"] != call.params["key"]]
    if len(left) == len(keys):
        raise not_authorized_or_not_found()
    _keep(call.cloud, user, left)
    return call.reply(status=204)
