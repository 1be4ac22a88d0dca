"""The rows of Identity in the route table."""

from typing import Any

from hypersdk_emulator.identity import (
    compartments,
    credentials,
    domains,
    federation,
    groups,
    resourceprincipals,
    rules,
    users,
    workload,
)
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


def _row(operation: str, method: str, pattern: str, handler: Any, differs: str = "") -> Route:
    return Route(operation, "identity", method, f"/20160918/{pattern}", handler, differs=differs)


_KEYS, _SECRETS = "users/{user}/apiKeys", "users/{user}/customerSecretKeys"

IDENTITY = (
    _read("ListRegions", "regions", users.list_regions),
    _read("ListRegionSubscriptions", "tenancies/{tenancy}/regionSubscriptions", users.list_region_subscriptions),
    _read("GetTenancy", "tenancies/{tenancy}", users.get_tenancy),
    _read("ListCompartments", "compartments", compartments.list_compartments),
    _read("GetCompartment", "compartments/{compartment}", compartments.get_compartment),
    _row("CreateCompartment", "POST", "compartments", compartments.create_compartment, "ACTIVE at once"),
    _row("UpdateCompartment", "PUT", "compartments/{compartment}", compartments.update_compartment),
    _row(
        "DeleteCompartment",
        "DELETE",
        "compartments/{compartment}",
        compartments.delete_compartment,
        "at once, without a work request; 409 if it is not empty",
    ),
    _read("ListAvailabilityDomains", "availabilityDomains", domains.list_availability_domains),
    _read("ListFaultDomains", "faultDomains", domains.list_fault_domains),
    _read("ListUsers", "users", users.list_users),
    _read("GetUser", "users/{user}", users.get_user),
    _row("CreateUser", "POST", "users", users.create_user),
    _row("UpdateUser", "PUT", "users/{user}", users.update_user),
    _row("DeleteUser", "DELETE", "users/{user}", users.delete_user),
    _row("ListApiKeys", "GET", _KEYS, credentials.list_api_keys, "timeCreated is the user's"),
    _row("UploadApiKey", "POST", _KEYS, credentials.upload_api_key),
    _row("DeleteApiKey", "DELETE", _KEYS + "/{fingerprint}", credentials.delete_api_key),
    _row("ListCustomerSecretKeys", "GET", _SECRETS, credentials.list_secret_keys),
    _row("CreateCustomerSecretKey", "POST", _SECRETS, credentials.create_secret_key),
    _row("DeleteCustomerSecretKey", "DELETE", _SECRETS + "/{key}", credentials.delete_secret_key),
    _row("ListGroups", "GET", "groups", groups.list_groups),
    _row("GetGroup", "GET", "groups/{group}", groups.get_group),
    _row("CreateGroup", "POST", "groups", groups.create_group),
    _row("UpdateGroup", "PUT", "groups/{group}", groups.update_group),
    _row("DeleteGroup", "DELETE", "groups/{group}", groups.delete_group),
    _row("ListUserGroupMemberships", "GET", "userGroupMemberships", groups.list_memberships),
    _row("GetUserGroupMembership", "GET", "userGroupMemberships/{membership}", groups.get_membership),
    _row("AddUserToGroup", "POST", "userGroupMemberships", groups.add_user_to_group),
    _row("RemoveUserFromGroup", "DELETE", "userGroupMemberships/{membership}", groups.remove_user_from_group),
    _row("ListDynamicGroups", "GET", "dynamicGroups", groups.list_dynamic_groups),
    _row("GetDynamicGroup", "GET", "dynamicGroups/{group}", groups.get_dynamic_group),
    _row("CreateDynamicGroup", "POST", "dynamicGroups", groups.create_dynamic_group, "no tags in rules"),
    _row("UpdateDynamicGroup", "PUT", "dynamicGroups/{group}", groups.update_dynamic_group, "no tags in rules"),
    _row("DeleteDynamicGroup", "DELETE", "dynamicGroups/{group}", groups.delete_dynamic_group),
    _row("ListPolicies", "GET", "policies", rules.list_policies),
    _row("GetPolicy", "GET", "policies/{policy}", rules.get_policy),
    _row("CreatePolicy", "POST", "policies", rules.create_policy, "no Define, Endorse and Admit, no tags and times"),
    _row("UpdatePolicy", "PUT", "policies/{policy}", rules.update_policy, "no Define, Endorse and Admit"),
    _row("DeletePolicy", "DELETE", "policies/{policy}", rules.delete_policy),
)
