"""Resource types of the policy language: which permissions each verb gives on each. Pure.

From Oracle's policy reference ("Details for the Core Services", "... for Object Storage", "... for IAM"), reduced to
what this cloud has. A verb includes those before it.
"""

VERBS = ("inspect", "read", "use", "manage")

# One line per resource type: what inspect, read, use and manage add; a bare word is completed by the type's prefix.
_TYPES: dict[str, tuple[str, str, str, str, str]] = {
    "instances": (
        "INSTANCE",
        "INSPECT",
        "READ",
        "UPDATE CREATE_IMAGE POWER_ACTIONS ATTACH_VOLUME DETACH_VOLUME",
        "CREATE DELETE ATTACH_SECONDARY_VNIC DETACH_SECONDARY_VNIC MOVE",
    ),
    "instance-images": ("INSTANCE_IMAGE", "INSPECT", "READ", "UPDATE", "CREATE DELETE MOVE"),
    "console-histories": ("CONSOLE_HISTORY", "INSPECT", "READ", "", "CREATE DELETE"),
    "instance-console-connection": ("INSTANCE_CONSOLE_CONNECTION", "INSPECT", "READ", "", "CREATE DELETE"),
    "app-catalog-listing": ("APP_CATALOG_LISTING", "INSPECT", "READ", "", "SUBSCRIBE"),
    "compute-image-capability-schema": (
        "COMPUTE_IMAGE_CAPABILITY_SCHEMA",
        "INSPECT",
        "READ",
        "UPDATE",
        "CREATE DELETE MOVE",
    ),
    "compute-global-image-capability-schema": ("COMPUTE_GLOBAL_IMAGE_CAPABILITY_SCHEMA", "INSPECT", "READ", "", ""),
    "work-requests": ("WORKREQUEST", "INSPECT", "", "", ""),
    "volumes": ("VOLUME", "INSPECT", "", "UPDATE WRITE", "CREATE DELETE MOVE"),
    "volume-attachments": ("VOLUME_ATTACHMENT", "INSPECT", "READ", "UPDATE", "CREATE DELETE"),
    "volume-backups": ("VOLUME_BACKUP", "INSPECT", "READ", "COPY UPDATE", "CREATE DELETE MOVE"),
    "boot-volume-backups": ("BOOT_VOLUME_BACKUP", "INSPECT", "READ", "COPY UPDATE", "CREATE DELETE MOVE"),
    "backup-policies": ("BACKUP_POLICIES", "INSPECT", "", "UPDATE", "CREATE DELETE"),
    "backup-policy-assignments": ("BACKUP_POLICY_ASSIGNMENT", "INSPECT", "", "", "CREATE DELETE"),
    "volume-groups": ("VOLUME_GROUP", "INSPECT", "", "", "UPDATE CREATE DELETE MOVE"),
    "volume-group-backups": ("VOLUME_GROUP_BACKUP", "INSPECT", "", "", "UPDATE CREATE DELETE MOVE"),
    "vcns": ("VCN", "READ", "", "", "ATTACH DETACH UPDATE CREATE DELETE MOVE"),
    "subnets": ("SUBNET", "READ", "", "ATTACH DETACH", "CREATE UPDATE DELETE MOVE"),
    "vnics": (
        "VNIC",
        "READ",
        "",
        "ATTACH DETACH CREATE DELETE UPDATE ASSIGN UNASSIGN ASSOCIATE_NETWORK_SECURITY_GROUP",
        "",
    ),
    "route-tables": ("ROUTE_TABLE", "READ", "", "", "ATTACH DETACH CREATE UPDATE DELETE MOVE"),
    "security-lists": ("SECURITY_LIST", "READ", "", "", "ATTACH DETACH CREATE UPDATE DELETE MOVE"),
    "dhcp-options": ("DHCP", "READ", "", "", "ATTACH DETACH CREATE UPDATE DELETE MOVE"),
    "internet-gateways": ("INTERNET_GATEWAY", "READ", "", "", "ATTACH DETACH CREATE UPDATE DELETE MOVE"),
    "nat-gateways": ("NAT_GATEWAY", "READ", "", "ATTACH DETACH", "CREATE UPDATE DELETE MOVE"),
    "service-gateways": (
        "SERVICE_GATEWAY",
        "READ",
        "",
        "ATTACH DETACH",
        "ADD_SERVICE DELETE_SERVICE CREATE UPDATE DELETE MOVE",
    ),
    "network-security-groups": (
        "NETWORK_SECURITY_GROUP",
        "INSPECT",
        "READ",
        "LIST_SECURITY_RULES LIST_MEMBERS UPDATE_MEMBERS",
        "CREATE DELETE UPDATE UPDATE_SECURITY_RULES MOVE",
    ),
    "vnic-attachments": ("VNIC_ATTACHMENT", "READ", "", "", ""),
    "private-ips": ("PRIVATE_IP", "READ", "", "UPDATE ASSIGN UNASSIGN CREATE DELETE", ""),
    "public-ips": ("PUBLIC_IP", "READ", "", "ASSIGN_PRIVATE_IP UNASSIGN_PRIVATE_IP", "UPDATE CREATE DELETE"),
    "objectstorage-namespaces": ("OBJECTSTORAGE_NAMESPACE", "", "READ", "", "UPDATE"),
    "buckets": (
        "BUCKET",
        "INSPECT",
        "READ",
        "UPDATE",
        "CREATE DELETE =PAR_MANAGE =RETENTION_RULE_MANAGE =RETENTION_RULE_LOCK",
    ),
    "objects": ("OBJECT", "INSPECT", "READ", "OVERWRITE", "CREATE DELETE VERSION_DELETE RESTORE UPDATE_TIER"),
    "resource-availability": ("RESOURCE_AVAILABILITY", "INSPECT", "", "", ""),
    "tenancies": ("TENANCY", "INSPECT", "", "UPDATE", ""),
    "compartments": ("COMPARTMENT", "INSPECT", "READ", "UPDATE", "CREATE DELETE RECOVER"),
    "users": (
        "USER",
        "INSPECT",
        "READ",
        "UPDATE",
        "CREATE DELETE UNBLOCK APIKEY_ADD APIKEY_REMOVE SECRETKEY_ADD SECRETKEY_UPDATE SECRETKEY_REMOVE",
    ),
    "groups": ("GROUP", "INSPECT", "", "UPDATE", "CREATE DELETE"),
    "dynamic-groups": ("DYNAMIC_GROUP", "INSPECT", "", "UPDATE", "CREATE DELETE"),
    "policies": ("POLICY", "READ", "", "", "UPDATE CREATE DELETE"),
}

# Aggregates give more than their types together: what `inspect`, `read`, `use` and `manage` add stands behind them.
_FAMILIES: dict[str, tuple[tuple[str, ...], tuple[str, str, str, str]]] = {
    "instance-family": (
        ("instances", "instance-images", "console-histories", "instance-console-connection", "app-catalog-listing"),
        (
            "VNIC_READ VNIC_ATTACHMENT_READ VOLUME_ATTACHMENT_INSPECT",
            "VOLUME_ATTACHMENT_READ",
            "VNIC_ATTACH VNIC_DETACH VOLUME_ATTACHMENT_UPDATE",
            "VOLUME_ATTACHMENT_CREATE VOLUME_ATTACHMENT_DELETE",
        ),
    ),
    "volume-family": (
        (
            "volumes",
            "volume-attachments",
            "volume-backups",
            "boot-volume-backups",
            "backup-policies",
            "backup-policy-assignments",
            "volume-groups",
            "volume-group-backups",
        ),
        ("", "", "", ""),
    ),
    "object-family": (("objectstorage-namespaces", "buckets", "objects"), ("", "", "", "")),
    "virtual-network-family": (
        (
            "vcns",
            "subnets",
            "route-tables",
            "security-lists",
            "dhcp-options",
            "internet-gateways",
            "nat-gateways",
            "service-gateways",
            "network-security-groups",
            "vnics",
            "vnic-attachments",
            "private-ips",
            "public-ips",
        ),
        ("", "", "", ""),
    ),
    "all-resources": (tuple(_TYPES), ("", "", "", "")),
}

FAMILIES = frozenset({*_TYPES, *_FAMILIES})
"""Every resource type and aggregate that a statement may name."""


def _of_type(name: str) -> tuple[frozenset[str], ...]:
    prefix, *levels = _TYPES[name]
    found: list[frozenset[str]] = []
    for level in levels:
        words = (word[1:] if word.startswith("=") else f"{prefix}_{word}" for word in level.split())
        found.append((found[-1] if found else frozenset()).union(words))
    return tuple(found)


def _of_family(name: str) -> tuple[frozenset[str], ...]:
    types, extras = _FAMILIES[name]
    given = frozenset[str]()
    found = []
    for level, extra in enumerate(extras):
        given = given.union(extra.split())
        found.append(given.union(*(_of_type(each)[level] for each in types)))
    return tuple(found)


_GIVEN = {name: _of_type(name) for name in _TYPES} | {name: _of_family(name) for name in _FAMILIES}
PERMISSIONS = _GIVEN["all-resources"][-1]
"""Every permission there is."""


def granted(verb: str, family: str) -> frozenset[str]:
    """The permissions that a verb gives on a resource type or aggregate.

    Args:
        verb: One of VERBS.
        family: One of FAMILIES.
    """
    return _GIVEN[family][VERBS.index(verb)]
