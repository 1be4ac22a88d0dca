"""Network security groups and their rules. No packet travels, so no rule is ever asked."""

from collections.abc import Iterable
from typing import Any

from aiohttp import web

from hypersdk_emulator.call import Call, one_of
from hypersdk_emulator.clock import iso
from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.errors import ServiceError, invalid_parameter, missing_parameter, not_authorized_or_not_found
from hypersdk_emulator.fields import optional_flag, optional_object, optional_text, optional_texts, text
from hypersdk_emulator.network import kinds, plain
from hypersdk_emulator.network.kinds import Doc, Kind
from hypersdk_emulator.network.vnics import VNIC
from hypersdk_emulator.resources import Resource, resources_of

MAX_RULES, MAX_AT_ONCE = 120, 25
"""Rules of one group, and of one call (documentation, 'Network Security Groups')."""
DIRECTIONS = ("EGRESS", "INGRESS")
PEERS = ("CIDR_BLOCK", "SERVICE_CIDR_BLOCK", "NETWORK_SECURITY_GROUP")
MAX_PROTOCOL = 255
RULE_ID_LENGTH = 6
HEX = "0123456789ABCDEF"


def _read_rule(rule: Doc) -> dict[str, Any]:
    """The SDK's model AddSecurityRuleDetails.

    Raises:
        ServiceError: 400 names the field.
    """
    direction, protocol = text(rule, "direction"), text(rule, "protocol")
    if direction not in DIRECTIONS:
        raise invalid_parameter(f"direction must be one of {', '.join(DIRECTIONS)}")
    if protocol != "all" and not (protocol.isascii() and protocol.isdigit() and int(protocol[:4]) <= MAX_PROTOCOL):
        raise invalid_parameter(f"protocol must be all or a number from 0 to {MAX_PROTOCOL}")
    peer = "destination" if direction == DIRECTIONS[0] else "source"
    return {
        "description": optional_text(rule, "description"),
        "direction": direction,
        "isStateless": optional_flag(rule, "isStateless") or False,
        "protocol": protocol,
        peer: text(rule, peer),
        f"{peer}Type": one_of(f"{peer}Type", rule.get(f"{peer}Type"), PEERS, PEERS[0]),
        **{name: optional_object(rule, name) for name in ("icmpOptions", "tcpOptions", "udpOptions")},
    }


def _rules(body: Doc) -> list[dict[str, Any]]:
    value = body.get("securityRules")
    if value is None:
        raise missing_parameter("securityRules")
    if not isinstance(value, list) or len(value) > MAX_AT_ONCE or not all(isinstance(each, dict) for each in value):
        raise invalid_parameter(f"securityRules must be a list of at most {MAX_AT_ONCE} objects")
    return [_read_rule(each) for each in value]


async def add_rules(call: Call) -> web.StreamResponse:
    """AddNetworkSecurityGroupSecurityRules: has no retry token in OCI, so a repeat adds again."""
    rules = _rules(await call.json())
    cloud = call.cloud
    with cloud.db.transaction():
        group = plain.changeable(GROUPS, call)
        if len(group.doc["rules"]) + len(rules) > MAX_RULES:
            raise ServiceError(400, "LimitExceeded", f"A group has at most {MAX_RULES} rules")
        made = iso(cloud.clock.timestamp())
        added = [{**rule, "id": _rule_id(cloud), "isValid": True, "timeCreated": made} for rule in rules]
        group.changed(doc={**group.doc, "rules": [*group.doc["rules"], *added]}).save(cloud.db)
    return call.reply({"securityRules": added})


def _rule_id(cloud: Cloud) -> str:
    return cloud.random.text("security rule", HEX, RULE_ID_LENGTH)


async def remove_rules(call: Call) -> web.StreamResponse:
    """RemoveNetworkSecurityGroupSecurityRules: 204; with an unknown id 404 and nothing is removed."""
    wanted = set(optional_texts(await call.json(), "securityRuleIds"))
    with call.cloud.db.transaction():
        group = plain.changeable(GROUPS, call)
        if not wanted <= {rule["id"] for rule in group.doc["rules"]}:
            raise not_authorized_or_not_found()
        left = [rule for rule in group.doc["rules"] if rule["id"] not in wanted]
        group.changed(doc={**group.doc, "rules": left}).save(call.cloud.db)
    return call.reply(status=204)


async def list_rules(call: Call) -> web.StreamResponse:
    """ListNetworkSecurityGroupSecurityRules; `direction` narrows."""
    rules = plain.found(GROUPS, call).doc["rules"]
    wanted = call.query.get("direction")
    rows = [rule for rule in sorted(rules, key=lambda rule: rule["id"]) if wanted in (None, rule["direction"])]
    found, headers = call.page(rows)
    return call.reply(found, headers=headers)


def members(cloud: Cloud, group: Resource) -> Iterable[Resource]:
    """The VNICs in a group."""
    return (each for each in kinds.living(cloud, resources_of(cloud.db, VNIC)) if group.id in each.doc["nsgIds"])


async def list_vnics(call: Call) -> web.StreamResponse:
    """ListNetworkSecurityGroupVnics."""
    group = plain.found(GROUPS, call)
    rows = [
        {"vnicId": each.id, "resourceId": each.doc["instanceId"], "timeAssociated": iso(each.created)}
        for each in sorted(members(call.cloud, group), key=lambda each: each.id)
    ]
    found, headers = call.page(rows, "vnicId")
    return call.reply(found, headers=headers)


GROUPS = Kind(
    word=kinds.GROUP,
    noun="NetworkSecurityGroup",
    path="networkSecurityGroups",
    key="networkSecurityGroupId",
    read=lambda _call, _body: {"rules": []},
    holders=members,
)
