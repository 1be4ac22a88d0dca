"""The rows of Identity in the route table."""

from typing import Any

from hypersdk_emulator.identity import domains, federation, resourceprincipals, users, workload
from hypersdk_emulator.routing import Route


def _read(operation: str, pattern: str, handler: Any) -> Route:
    return Route(operation, "identity", "GET", f"/20160918/{pattern}", handler)


def _auth(operation: str, pattern: str, handler: Any, *, method: str = "POST", auth: str = "signed") -> Route:
    return Route(operation, "auth", method, pattern, handler, auth)


AUTH = (
    _auth("GetSecurityTokenX509", "/v1/x509", federation.security_token, auth="own"),
    _auth("RefreshSecurityToken", "/v1/authentication/refresh", federation.refresh),
    _auth("GenerateUserSecurityToken", "/v1/token/upst/actions/GenerateUpst", federation.begin_session),
    _auth(
        "GetResourcePrincipalToken",
        resourceprincipals.TOKEN_PATH + "/{resourceId}",
        resourceprincipals.get_token,
        method="GET",
    ),
    _auth(
        "CreateResourcePrincipalSessionToken",
        "/v1/resourcePrincipalSessionToken",
        resourceprincipals.create_session_token,
    ),
)
"""The rows of the auth service, and of the services that hand out tokens of resources."""

PARENTS = (_auth("GetResourcePrincipalToken", "/", resourceprincipals.get_token, method="GET"),)
"""The row of the services of nested resources' parents, beside the metadata service."""

PROXYMUX = (
    _auth("CreateWorkloadSessionToken", "/resourcePrincipalSessionTokens", workload.create_session_token, auth="own"),
)
"""The rows of an OKE cluster's stand-in, which listens on an address of its own."""

IDENTITY = (
    _read("ListRegions", "regions", users.list_regions),
    _read("ListRegionSubscriptions", "tenancies/{tenancy}/regionSubscriptions", users.list_region_subscriptions),
    _read("GetTenancy", "tenancies/{tenancy}", users.get_tenancy),
    _read("ListCompartments", "compartments", users.list_compartments),
    _read("GetCompartment", "compartments/{compartment}", users.get_compartment),
    _read("ListAvailabilityDomains", "availabilityDomains", domains.list_availability_domains),
    _read("ListFaultDomains", "faultDomains", domains.list_fault_domains),
    _read("ListUsers", "users", users.list_users),
    _read("GetUser", "users/{user}", users.get_user),
)
