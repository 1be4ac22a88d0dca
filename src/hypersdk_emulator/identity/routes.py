"""The rows of Identity in the route table."""

from typing import Any

from hypersdk_emulator.identity import users
from hypersdk_emulator.routing import Route


def _read(operation: str, pattern: str, handler: Any) -> Route:
    return Route(operation, "identity", "GET", f"/20160918/{pattern}", handler)


IDENTITY = (
    _read("ListRegions", "regions", users.list_regions),
    _read("ListRegionSubscriptions", "tenancies/{tenancy}/regionSubscriptions", users.list_region_subscriptions),
    _read("GetTenancy", "tenancies/{tenancy}", users.get_tenancy),
    _read("ListCompartments", "compartments", users.list_compartments),
    _read("GetCompartment", "compartments/{compartment}", users.get_compartment),
    _read("ListAvailabilityDomains", "availabilityDomains", users.list_availability_domains),
    _read("ListUsers", "users", users.list_users),
    _read("GetUser", "users/{user}", users.get_user),
)
