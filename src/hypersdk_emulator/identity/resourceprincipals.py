"""Resource principals: versions 2.2 (token and key in the environment or in files) and 3.0 (nested).

Nested, as `oci.auth.signers.nested_resource_principals_signer` calls: the leaf signs a GET at its parent's service, and
takes the two tokens that it gets to the auth service for the parent's session token.
"""

import asyncio
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from hypersdk_emulator.call import Call
from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.errors import invalid_parameter, not_authorized_or_not_found
from hypersdk_emulator.fields import text
from hypersdk_emulator.identity import federation, signers, tokens, users
from hypersdk_emulator.signatures import SignatureRefused

TOKEN_PATH = "/20180711/resourcePrincipalToken"  # noqa: S105 - a path
_PARENT_HOSTS = ("127.0.0.1", "localhost")
"""Parents' services are told apart by host: the SDK (2.189.0) takes no path in their address, and no address twice."""
PARENT_HEADER = "opc-parent-rpt-url"
BLOB_SECONDS = 600.0
"""Life of the two tokens that a parent's service hands out; they are used at once."""
MAX_TOKEN_SECONDS = 24 * 3600
_ENV = "OCI_RESOURCE_PRINCIPAL_"


@dataclass(frozen=True)
class ResourcePrincipal:
    """A resource that signs, such as a function; `parent` is the id of the one it belongs to, or empty."""

    id: str
    type: str
    compartment: str
    parent: str = ""

    def principal_facts(self) -> dict[str, str]:
        """What policies and dynamic groups may ask about it."""
        return {
            "resource.id": self.id,
            "resource.type": self.type,
            "resource.compartment.id": self.compartment,
            "request.principal.id": self.id,
            "request.principal.type": self.type,
            "request.principal.compartment.id": self.compartment,
        }


def find(cloud: Cloud, resource_id: str) -> ResourcePrincipal | None:
    """The resource principal of an id."""
    row = cloud.db.one("SELECT * FROM resource_principals WHERE id = ?", resource_id)
    return None if row is None else ResourcePrincipal(**dict(row))


def session_token(cloud: Cloud, resource: ResourcePrincipal, key: rsa.RSAPublicKey, seconds: float) -> str:
    """A resource principal session token (RPST) with the claims that SDKs read."""
    claims = {
        "sub": resource.id,
        "ptype": "resource",
        "ttype": "res",
        "res_id": resource.id,
        "res_type": resource.type,
        "res_compartment": resource.compartment,
        "res_tenant": cloud.settings.tenancy_id,
        "facts": resource.principal_facts(),
    }
    return tokens.issue(cloud, claims, key, seconds)


# ---------------------------------------------------------------- operations


async def get_token(call: Call) -> web.StreamResponse:
    """GetResourcePrincipalToken: what a nested resource takes to the auth service to act as its parent."""
    child = find(call.cloud, call.principal.user_id)
    parent = None if child is None else find(call.cloud, child.parent)
    if child is None or parent is None or call.params.get("resourceId", parent.id) != parent.id:
        raise not_authorized_or_not_found()
    key = call.cloud.tokens.key
    pair = {
        name: tokens.issue(call.cloud, {"sub": parent.id, "ptype": kind, "child": child.id}, key, BLOB_SECONDS)
        for name, kind in (("resourcePrincipalToken", "rpt"), ("servicePrincipalSessionToken", "spst"))
    }
    headers = {PARENT_HEADER: _service_url(call.cloud, parent)} if parent.parent else {}
    return call.reply(pair, headers=headers)


async def create_session_token(call: Call) -> web.StreamResponse:
    """CreateResourcePrincipalSessionToken: the session token of a parent, for the child that signs."""
    body = await call.json()
    key = tokens.session_key(text(body, "sessionPublicKey", federation.MAX_PEM), "sessionPublicKey")
    resource_ids = {
        _blob(call, text(body, name, federation.MAX_PEM), kind)
        for name, kind in (("resourcePrincipalToken", "rpt"), ("servicePrincipalSessionToken", "spst"))
    }
    resource = find(call.cloud, resource_ids.pop())
    if resource_ids or resource is None:
        raise signers.refusal(call, "the two tokens are not of one resource")
    return call.reply({"token": session_token(call.cloud, resource, key, federation.token_seconds(call))})


def _blob(call: Call, token: str, kind: str) -> str:
    """The resource that one of the two tokens stands for; it was made for the caller."""
    try:
        claims, _ = tokens.read(call.cloud, token)
    except SignatureRefused as refused:
        raise signers.refusal(call, str(refused)) from None
    if claims["ptype"] != kind or claims["child"] != call.principal.user_id:
        raise signers.refusal(call, f"not a token ({kind}) for {call.principal.user_id}")
    return str(claims["sub"])


# ---------------------------------------------------------------- control


async def issue(call: Call) -> web.StreamResponse:
    """The environment of a resource that signs; called again it renews key and token (files are written anew)."""
    body = await call.json()
    parents = body.get("parents", [])
    if not isinstance(parents, list) or not all(isinstance(each, dict) for each in parents):
        raise invalid_parameter("parents must be a list of objects, the nearest first")
    chain = [_resource(call.cloud, each) for each in (body, *parents)]
    seconds = body.get("ttlSeconds", federation.token_seconds(call))
    if not isinstance(seconds, int | float) or not 1 <= seconds <= MAX_TOKEN_SECONDS:
        raise invalid_parameter(f"ttlSeconds must be a number from 1 to {MAX_TOKEN_SECONDS}")
    if len({each.id for each in chain}) < len(chain):
        raise invalid_parameter("parents: a resource is its own parent")
    chain = [replace(each, parent=above.id) for each, above in pairwise(chain)] + chain[-1:]
    with call.cloud.db.transaction():
        for each in chain:
            row = (each.id, each.type, each.compartment, each.parent)
            call.cloud.db.execute("INSERT OR REPLACE INTO resource_principals VALUES (?, ?, ?, ?)", *row)
    key = await asyncio.to_thread(rsa.generate_private_key, 65537, 2048)
    token, pem = session_token(call.cloud, chain[0], key.public_key(), float(seconds)), _pem(key)
    if body.get("files", False):
        folder = (
            call.cloud.options.state / "resource-principals" / hashlib.sha256(chain[0].id.encode()).hexdigest()[:16]
        )
        token, pem = await asyncio.to_thread(_write, folder, token, pem)
    return call.reply({"environment": _environment(call, chain, token, pem)})


def _environment(call: Call, chain: list[ResourcePrincipal], token: str, pem: str) -> dict[str, str]:
    values = {"VERSION": "2.2", "RPST": token, "PRIVATE_PEM": pem, "REGION": call.cloud.settings.region}
    if len(chain) == 1:
        return {_ENV + name: value for name, value in values.items()}
    return {
        _ENV + "VERSION": "3.0",
        **{f"{_ENV}{name}_FOR_LEAF_RESOURCE": value for name, value in values.items()},
        _ENV + "RPT_URL_FOR_PARENT_RESOURCE": _service_url(call.cloud, chain[0]),
        _ENV + "RPST_ENDPOINT_FOR_PARENT_RESOURCE": f"{call.request.scheme}://{call.headers.get('host', '')}",
    }


def _resource(cloud: Cloud, body: Mapping[str, Any]) -> ResourcePrincipal:
    compartment = text(body, "compartmentId")
    if not users.is_compartment(cloud, compartment):
        raise invalid_parameter(f"compartmentId: there is no compartment {compartment}")
    return ResourcePrincipal(text(body, "resourceId"), text(body, "resourceType"), compartment)


def _service_url(cloud: Cloud, child: ResourcePrincipal) -> str:
    """Where a resource asks for the tokens of its parent."""
    depth, above = 0, find(cloud, child.parent)
    while above is not None:
        depth, above = depth + 1, find(cloud, above.parent)
    return f"http://{_PARENT_HOSTS[depth % len(_PARENT_HOSTS)]}:{cloud.metadata_port}"


def _pem(key: rsa.RSAPrivateKey) -> str:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


def _write(folder: Path, token: str, pem: str) -> tuple[str, str]:
    """Write token and key so that each is whole at any time; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    paths = folder / "rpst", folder / "private.pem"
    for path, content in zip(paths, (token, pem), strict=True):
        fresh = path.with_suffix(".new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(content)
        fresh.replace(path)
    return str(paths[0]), str(paths[1])
