"""Addresses and CIDR rules. Pure."""

import ipaddress

from hypersdk_emulator.errors import invalid_parameter

RESERVED_AT_START = 2
"""OCI keeps the first two addresses and the last one of a subnet (documentation, 'VCNs and Subnets')."""
PUBLIC = tuple(ipaddress.IPv4Network(f"{net}.0/24") for net in ("203.0.113", "198.51.100", "192.0.2"))
"""Public addresses come from the nets that RFC 5737 keeps for documentation: nobody has them."""
PER_PUBLIC_BLOCK = 254
PUBLIC_COUNT = PER_PUBLIC_BLOCK * len(PUBLIC)
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


def usable(block: Network) -> range:
    """The places in a subnet that instances can have."""
    return range(RESERVED_AT_START, block.num_addresses - 1)


def place_of(block: Network, text: str) -> int:
    """The place of an address in a subnet.

    Raises:
        ServiceError: 400 for an address that is none, that lies outside or that OCI keeps.
    """
    try:
        place = int(ipaddress.IPv4Address(text)) - int(block[0])
    except ValueError as error:
        raise invalid_parameter(f"privateIp: {error}") from None
    if place not in usable(block):
        raise invalid_parameter(f"privateIp {text} is no usable address of {block}")
    return place


def public_address(number: int) -> str:
    """The public address of a number from 0."""
    block, place = divmod(number, PER_PUBLIC_BLOCK)
    return str(PUBLIC[block][1 + place])
