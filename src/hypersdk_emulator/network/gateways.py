"""Gateways of a VCN, the services that a service gateway reaches, and the route tables that lead to them."""

from collections.abc import Iterable
from typing import Any

from aiohttp import web

from hypersdk_emulator.call import Call, one_of
from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.errors import ServiceError, invalid_parameter, missing_parameter, not_authorized_or_not_found
from hypersdk_emulator.fields import optional_flag, optional_text, text
from hypersdk_emulator.network import addresses, kinds
from hypersdk_emulator.network.kinds import Doc, Kind
from hypersdk_emulator.network.vcns import default_of
from hypersdk_emulator.resources import REGION_KEYS, Resource

DESTINATIONS = ("CIDR_BLOCK", "SERVICE_CIDR_BLOCK")
GATEWAYS = (kinds.SERVICE_GATEWAY, kinds.INTERNET_GATEWAY, kinds.NAT_GATEWAY)
MAX_RULES = 200
"""Rules of one route table (documentation, 'Service Limits', Networking)."""


def services(cloud: Cloud) -> list[dict[str, str]]:
    """The SDK's model Service: Object Storage of the region, and all services together."""
    key = REGION_KEYS.get(cloud.settings.region, cloud.settings.region)
    said = (
        (f"OCI {key.upper()} Object Storage", f"oci-{key}-objectstorage"),
        (f"All {key.upper()} Services In Oracle Services Network", f"all-{key}-services-in-oracle-services-network"),
    )
    return [
        {"id": f"ocid1.service.oc1.{key}.{cidr}", "name": name, "description": name, "cidrBlock": cidr}
        for name, cidr in said
    ]


async def list_services(call: Call) -> web.StreamResponse:
    """ListServices."""
    found, headers = call.page(sorted(services(call.cloud), key=lambda each: each["id"]))
    return call.reply(found, headers=headers)


async def get_service(call: Call) -> web.StreamResponse:
    """GetService."""
    for each in services(call.cloud):
        if each["id"] == call.params["serviceId"]:
            return call.reply(each)
    raise not_authorized_or_not_found()


def _read_services(call: Call, body: Doc) -> list[dict[str, str]]:
    """`services` of a service gateway.

    Raises:
        ServiceError: 400, 404 for a service that there is not.
    """
    value, known = body.get("services"), {each["id"]: each["name"] for each in services(call.cloud)}
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise missing_parameter("services") if value is None else invalid_parameter("services must be a list")
    wanted = [text(each, "serviceId") for each in value]
    if not set(wanted) <= set(known):
        raise not_authorized_or_not_found()
    return [{"serviceId": each, "serviceName": known[each]} for each in wanted]


def _read_service_gateway(call: Call, body: Doc) -> Doc:
    """One in each VCN."""
    _only_one(call, body, kinds.SERVICE_GATEWAY)
    return {"services": _read_services(call, body), "blockTraffic": False}


def _only_one(call: Call, body: Doc, word: str) -> None:
    if kinds.of_vcn(call.cloud, word, body["vcnId"]):
        raise ServiceError(400, "LimitExceeded", f"The VCN {body['vcnId']} has a {word} already")


def _change_service_gateway(call: Call, _gateway: Resource, body: Doc) -> Doc:
    found: dict[str, Any] = {}
    if body.get("services") is not None:
        found["services"] = _read_services(call, body)
    if (blocked := optional_flag(body, "blockTraffic")) is not None:
        found["blockTraffic"] = blocked
    return found


def _read_internet_gateway(call: Call, body: Doc) -> Doc:
    _only_one(call, body, kinds.INTERNET_GATEWAY)
    enabled = optional_flag(body, "isEnabled")
    if enabled is None:
        raise missing_parameter("isEnabled")
    return {"isEnabled": enabled}


def _change_internet_gateway(_call: Call, _gateway: Resource, body: Doc) -> Doc:
    enabled = optional_flag(body, "isEnabled")
    return {} if enabled is None else {"isEnabled": enabled}


def _read_nat_gateway(_call: Call, body: Doc) -> Doc:
    return {"blockTraffic": optional_flag(body, "blockTraffic") or False, "natIp": str(addresses.PUBLIC[-1][-2])}


def _change_nat_gateway(_call: Call, _gateway: Resource, body: Doc) -> Doc:
    blocked = optional_flag(body, "blockTraffic")
    return {} if blocked is None else {"blockTraffic": blocked}


def _routes_to(cloud: Cloud, gateway: Resource) -> Iterable[Resource]:
    """The route tables that lead to a gateway."""
    for table in kinds.of_vcn(cloud, kinds.ROUTES, gateway.parent):
        if any(rule["networkEntityId"] == gateway.id for rule in table.doc["routeRules"]):
            yield table


# ---------------------------------------------------------------- route tables


def _read_rules(call: Call, vcn_id: str, body: Doc) -> list[dict[str, Any]]:
    """`routeRules`: each to a gateway of the VCN.

    Raises:
        ServiceError: 400 names the field, 404 for a gateway that there is not.
    """
    value = body.get("routeRules")
    if value is None:
        raise missing_parameter("routeRules")
    if not isinstance(value, list) or len(value) > MAX_RULES or not all(isinstance(each, dict) for each in value):
        raise invalid_parameter(f"routeRules must be a list of at most {MAX_RULES} objects")
    return [_rule(call, vcn_id, each) for each in value]


def _rule(call: Call, vcn_id: str, rule: Doc) -> dict[str, Any]:
    cloud, entity = call.cloud, text(rule, "networkEntityId")
    kind = entity.split(".")[1] if entity.count(".") > 1 else ""
    if kind not in GATEWAYS:
        raise invalid_parameter(f"networkEntityId: the emulator routes to {', '.join(GATEWAYS)}; this is {entity}")
    kinds.find_in_vcn(cloud, kind, entity, vcn_id)
    to = optional_text(rule, "destination") or text(rule, "cidrBlock")
    kind_of = one_of("destinationType", rule.get("destinationType"), DESTINATIONS, DESTINATIONS[0])
    if kind_of == "SERVICE_CIDR_BLOCK":
        if kind != kinds.SERVICE_GATEWAY or to not in {each["cidrBlock"] for each in services(cloud)}:
            raise invalid_parameter(f"destination {to} is no service that {entity} leads to")
    else:
        try:
            addresses.Network(to)
        except ValueError as error:
            raise invalid_parameter(f"destination: {error}") from None
    return {
        "cidrBlock": to if kind_of == DESTINATIONS[0] else None,
        "description": optional_text(rule, "description"),
        "destination": to,
        "destinationType": kind_of,
        "networkEntityId": entity,
        "routeType": "STATIC",
    }


def _read_routes(call: Call, body: Doc) -> Doc:
    return {"routeRules": _read_rules(call, body["vcnId"], body), "isDefault": False}


def _change_routes(call: Call, table: Resource, body: Doc) -> Doc:
    return {} if body.get("routeRules") is None else {"routeRules": _read_rules(call, table.parent, body)}


def _users(cloud: Cloud, table: Resource) -> Iterable[Resource]:
    """The subnets that use a route table; a default one stays with its VCN."""
    if default_of(cloud, kinds.ROUTES, table.parent).id == table.id:
        yield kinds.find(cloud, kinds.VCN, table.parent)
    for subnet in kinds.of_vcn(cloud, kinds.SUBNET, table.parent):
        if subnet.doc["routeTableId"] == table.id:
            yield subnet


ROUTE_TABLES = Kind(
    word=kinds.ROUTES,
    noun="RouteTable",
    path="routeTables",
    key="rtId",
    show=lambda _cloud, table: {"routeRules": table.doc["routeRules"]},
    read=_read_routes,
    change=_change_routes,
    holders=_users,
)
SERVICE_GATEWAYS = Kind(
    word=kinds.SERVICE_GATEWAY,
    noun="ServiceGateway",
    path="serviceGateways",
    key="serviceGatewayId",
    show=lambda _cloud, gateway: {key: gateway.doc[key] for key in ("services", "blockTraffic")},
    read=_read_service_gateway,
    change=_change_service_gateway,
    holders=_routes_to,
)
INTERNET_GATEWAYS = Kind(
    word=kinds.INTERNET_GATEWAY,
    noun="InternetGateway",
    path="internetGateways",
    key="igId",
    show=lambda _cloud, gateway: {"isEnabled": gateway.doc["isEnabled"]},
    read=_read_internet_gateway,
    change=_change_internet_gateway,
    holders=_routes_to,
)
NAT_GATEWAYS = Kind(
    word=kinds.NAT_GATEWAY,
    noun="NatGateway",
    path="natGateways",
    key="natGatewayId",
    show=lambda _cloud, gateway: {key: gateway.doc[key] for key in ("blockTraffic", "natIp")},
    read=_read_nat_gateway,
    change=_change_nat_gateway,
    holders=_routes_to,
)
