"""The route table: one row per operation. Docs' support table, fault names and the log derive from it."""

from typing import Any

from hypersdk_emulator import identity, limits
from hypersdk_emulator.compute_routes import COMPUTE
from hypersdk_emulator.control import CONTROL
from hypersdk_emulator.routing import Route
from hypersdk_emulator.storage_routes import STORAGE


def _identity(operation: str, pattern: str, handler: Any) -> Route:
    return Route(operation, "identity", "GET", f"/20160918/{pattern}", handler)


IDENTITY = (
    _identity("ListRegions", "regions", identity.list_regions),
    _identity("ListRegionSubscriptions", "tenancies/{tenancy}/regionSubscriptions", identity.list_region_subscriptions),
    _identity("GetTenancy", "tenancies/{tenancy}", identity.get_tenancy),
    _identity("ListCompartments", "compartments", identity.list_compartments),
    _identity("GetCompartment", "compartments/{compartment}", identity.get_compartment),
    _identity("ListAvailabilityDomains", "availabilityDomains", identity.list_availability_domains),
    _identity("ListUsers", "users", identity.list_users),
    _identity("GetUser", "users/{user}", identity.get_user),
)

LIMITS = (
    Route(
        "GetResourceAvailability",
        "limits",
        "GET",
        "/20190729/services/{serviceName}/limits/{limitName}/resourceAvailability",
        limits.get_resource_availability,
    ),
)

ROUTES = (*CONTROL, *COMPUTE, *IDENTITY, *LIMITS, *STORAGE)
