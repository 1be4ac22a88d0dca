"""Free addresses, MACs and CIDR rules. Pure."""

import ipaddress
from collections.abc import Collection

from hypersdk_emulator.errors import ServiceError, invalid_parameter

RESERVED_AT_START = 2
"""OCI keeps the first two addresses and the last one of a subnet (documentation, 'VCNs and Subnets')."""
PUBLIC = tuple(ipaddress.IPv4Network(f"{net}.0/24") for net in ("203.0.113", "198.51.100", "192.0.2"))
"""Public addresses come from the nets that RFC 5737 keeps for documentation: nobody has them."""
MIN_PREFIX, MAX_PREFIX = 16, 30

Network = ipaddress.IPv4Network


def network(name: str, text: str) -> Network:
    """A CIDR block of a VCN or subnet: /16 to /30.

    Raises:
        ServiceError: 400 names the field.
    """
    try:
        found = ipaddress.IPv4Network(text)
    except ValueError as error:
        raise invalid_parameter(f"{name}: {error}") from None
    if not MIN_PREFIX <= found.prefixlen <= MAX_PREFIX:
        raise invalid_parameter(f"{name}: a block is /{MIN_PREFIX} to /{MAX_PREFIX}; this is {text}")
    return found


def free_private(block: Network, used: Collection[str]) -> str:
    """The first free address of a subnet.

    Raises:
        ServiceError: 409 if there is none.
    """
    for n in range(RESERVED_AT_START, block.num_addresses - 1):
        address = str(block[n])
        if address not in used:
            return address
    raise ServiceError(409, "LimitExceeded", f"There is no free address in {block}")


def wanted_private(block: Network, used: Collection[str], text: str) -> str:
    """The address that a call asks for.

    Raises:
        ServiceError: 400 outside of the subnet or reserved, 409 if in use.
    """
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError as error:
        raise invalid_parameter(f"privateIp: {error}") from None
    usable = address in block and RESERVED_AT_START <= int(address) - int(block[0]) < block.num_addresses - 1
    if not usable:
        raise invalid_parameter(f"privateIp {text} is no usable address of {block}")
    if text in used:
        raise ServiceError(409, "Conflict", f"privateIp {text} is in use")
    return text


def free_public(used: Collection[str]) -> str:
    """The first free public address.

    Raises:
        ServiceError: 409 if there is none.
    """
    for block in PUBLIC:
        for address in block.hosts():
            if str(address) not in used:
                return str(address)
    raise ServiceError(409, "LimitExceeded", "There is no free public address")
