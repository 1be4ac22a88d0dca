"""The instance metadata service (version 2): what software on an instance sees of its own instance.

Served on a port of its own; SDKs find it by `OCI_METADATA_BASE_URL`. `/opc/v2/...` is the first instance of the cloud,
`/INSTANCE-OCID/opc/v2/...` any other one. Rules: "Getting Instance Metadata" in Oracle's documentation.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from hypersdk_emulator.call import Call
from hypersdk_emulator.compute.records import Instance, find_instance
from hypersdk_emulator.compute.state import InstanceState
from hypersdk_emulator.errors import ServiceError
from hypersdk_emulator.identity import authority
from hypersdk_emulator.identity.domains import FAULT_DOMAINS
from hypersdk_emulator.resources import REGION_KEYS
from hypersdk_emulator.routing import Handler, Route

AUTHORIZATION = "bearer oracle"
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host")
_SHORT_REGIONS = {"us-ashburn-1": "iad", "us-phoenix-1": "phx"}
"""The oldest regions are named by their key in `/instance/region`; SDKs translate both."""


def _guarded(handler: Callable[[Call, Instance], Awaitable[web.StreamResponse]]) -> Handler:
    async def guarded(call: Call) -> web.StreamResponse:
        if (call.header("authorization") or "").lower() != AUTHORIZATION:
            raise ServiceError(401, "Unauthorized", "Version 2 needs the header `Authorization: Bearer Oracle`")
        if any(call.header(name) for name in _FORWARDED):
            raise ServiceError(401, "Unauthorized", "A forwarded request is not answered")
        return await handler(call, _instance(call))

    return guarded


def _instance(call: Call) -> Instance:
    """The instance of the path, or the first one.

    Raises:
        ServiceError: 404, there is none, or it is terminated.
    """
    instance_id = call.params.get("instance")
    if instance_id is None:
        row = call.cloud.db.one("SELECT id FROM instances ORDER BY created, id LIMIT 1")
        instance_id = "" if row is None else row["id"]
    instance = find_instance(call.cloud.db, instance_id)
    if instance.state(call.cloud.clock.timestamp()) == InstanceState.TERMINATED:
        raise _absent()
    return instance


def _absent() -> ServiceError:
    return ServiceError(404, "NotFound", "There is no such metadata")


async def read_instance(call: Call, instance: Instance) -> web.StreamResponse:
    """GetInstanceMetadata: the whole document, or the part that the path names; texts come bare."""
    value: Any = document(call, instance)
    for name in (call.params.get("path") or "").split("/"):
        if name and (not isinstance(value, dict) or name not in value):
            raise _absent()
        value = value[name] if name else value
    if isinstance(value, str):
        return web.Response(text=value)
    return web.Response(text=json.dumps(value, indent=2), content_type="application/json")


def document(call: Call, instance: Instance) -> dict[str, Any]:
    """What `/instance/` shows."""
    settings, doc = call.cloud.settings, instance.doc
    region = settings.region
    return {
        "availabilityDomain": doc["availabilityDomain"],
        "faultDomain": doc.get("faultDomain") or FAULT_DOMAINS[0],
        "compartmentId": instance.compartment,
        "displayName": instance.name,
        "hostname": instance.name,
        "id": instance.id,
        "image": doc["imageId"],
        "metadata": dict(doc.get("metadata", {})),
        "region": _SHORT_REGIONS.get(region, region),
        "canonicalRegionName": region,
        "ociAdName": f"{region}-ad-1",
        "regionInfo": {
            "realmKey": "oc1",
            "realmDomainComponent": "oraclecloud.com",
            "regionKey": REGION_KEYS.get(region, region).upper(),
            "regionIdentifier": region,
        },
        "shape": doc["shape"],
        "state": instance.state(call.cloud.clock.timestamp()).title(),
        "timeCreated": int(instance.created * 1000),
        "freeformTags": dict(doc.get("freeformTags", {})),
        "definedTags": {},
        "tenantId": settings.tenancy_id,
    }


async def read_identity(call: Call, instance: Instance) -> web.StreamResponse:
    """GetInstanceIdentity: the certificate of the instance, its key, the intermediate certificate."""
    identity = authority.identity_of(call.cloud, instance.id, instance.compartment)
    files = {"cert.pem": identity.certificate, "key.pem": identity.key, "intermediate.pem": identity.intermediate}
    if call.params["file"] not in files:
        raise _absent()
    return web.Response(text=files[call.params["file"]])


def _rows(operation: str, path: str, handler: Handler) -> tuple[Route, ...]:
    return tuple(
        Route(operation, "metadata", "GET", f"{base}/opc/v2/{path}", handler, auth="own")
        for base in ("", "/{instance}")
    )


METADATA = (
    *_rows("GetInstanceMetadata", "instance", _guarded(read_instance)),
    *_rows("GetInstanceMetadata", "instance/{path*}", _guarded(read_instance)),
    *_rows("GetInstanceIdentity", "identity/{file}", _guarded(read_identity)),
)
"""The rows of the metadata service, which listens on a port of its own."""
