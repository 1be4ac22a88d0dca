"""Policies held against a call: where the things are that it touches, what it needs there, whether that is granted."""

import functools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hypersdk_emulator.call import Call
from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.errors import ServiceError, not_authorized_or_not_found
from hypersdk_emulator.identity import statements, users, whereabouts
from hypersdk_emulator.identity.needs import NEEDS, OWN, PAR_RIGHTS, VERSIONED
from hypersdk_emulator.identity.permissions import granted
from hypersdk_emulator.identity.policies import Book, Need, Rule, Tree, Who, holds
from hypersdk_emulator.signatures import Principal

_parse = functools.lru_cache(maxsize=4096)(statements.parse)
_parse_rule = functools.lru_cache(maxsize=1024)(statements.parse_rule)
_SERVICE_REFUSED = "Permissions granted to the object storage service are insufficient for the bucket {bucket}"
_UPDATE_REFUSED = "You do not have authorization to update one or more of the fields included in this request."


@dataclass(frozen=True)
class Rights:
    """What policies give one caller for one call, whose variables are `facts`."""

    book: Book
    who: Who
    facts: Mapping[str, str]

    def has(self, permissions: Iterable[str], compartment: str, **target: str) -> bool:
        """True if one of some permissions is granted; `target` names bucket and object."""
        facts = {**self.facts, **{f"target.{name}.name": value for name, value in target.items()}}
        return any(self.book.grants(self.who, permission, compartment, facts) for permission in permissions)

    def may(self, operation: str, compartment: str, target: Mapping[str, str]) -> bool:
        """True if all that an operation needs is granted in one compartment."""
        return all(self.has(need.permissions, compartment, **target) for need in NEEDS[operation])


async def authorize(call: Call) -> None:
    """Refuse a call that the cloud's policies do not allow; without groups and policies in the seed all is allowed.

    Raises:
        ServiceError: 404, which does not tell forbidden from absent; see the assumption `forbidden-403`.
    """
    cloud, principal = call.cloud, call.principal
    if not cloud.settings.policies_rule or principal.kind == "anonymous":
        return
    rights = Rights(book_of(cloud), who_is(cloud, principal), _facts(call))
    call.grants = rights.may
    if call.operation in OWN and call.params.get("user") == principal.user_id:
        return
    body = await _json(call)
    for permissions, compartment in _wanted(call, body):
        if not rights.has(permissions, compartment):
            call.request["entry"]["refused"] = f"no policy gives {' or '.join(permissions)} in {compartment}"
            raise _refusal(call, seen=rights.book.reaches(rights.who, compartment))
    for bucket in _served(call, body):
        if not service_may(cloud, bucket):
            raise ServiceError(400, "InsufficientServicePermissions", _SERVICE_REFUSED.format(bucket=bucket))


def _served(call: Call, body: Mapping[str, Any]) -> list[str]:
    """The buckets in which Object Storage itself must act for this call, if that is assumed to need a policy."""
    if not call.cloud.assumptions.service_policies:
        return []
    match call.operation:
        case "CopyObject":
            return [call.params["bucket"], str(body.get("destinationBucket"))]
        case "PutObjectLifecyclePolicy":
            return [call.params["bucket"]]
    return []


def creator_may(cloud: Cloud, doc: Mapping[str, Any], right: str, bucket: str) -> bool:
    """True if the maker of a pre-authenticated request has now what it gives.

    Args:
        cloud: The cloud.
        doc: The request's `doc`.
        right: A key of PAR_RIGHTS.
        bucket: Its bucket.
    """
    maker, where = users.recalled(cloud, doc, "par"), whereabouts.bucket(cloud, bucket)
    if maker is None or where is None:
        return False
    if not cloud.settings.policies_rule:
        return True
    rights = Rights(book_of(cloud), who_is(cloud, maker), _signer_facts(cloud, maker))
    return all(rights.has((permission,), where, bucket=bucket) for permission in PAR_RIGHTS[right])


def accessible(call: Call, compartment: str) -> bool:
    """True if the caller may do anything in a compartment or below it (`accessLevel=ACCESSIBLE`)."""
    if not call.principal.may("GetCompartment", compartment):
        return False
    if call.grants is None:
        return True
    return book_of(call.cloud).reaches(who_is(call.cloud, call.principal), compartment)


def service_may(cloud: Cloud, bucket: str) -> bool:
    """True if Object Storage may act in a bucket by itself (`Allow service objectstorage-REGION to manage ...`)."""
    where = whereabouts.bucket(cloud, bucket)
    if where is None:
        return True  # the handler tells that it is absent
    rights = Rights(book_of(cloud), Who(service=f"objectstorage-{cloud.settings.region}".lower()), {})
    return all(rights.has((each,), where, bucket=bucket) for each in granted("manage", "object-family"))


# ---------------------------------------------------------------- what there is


def book_of(cloud: Cloud) -> Book:
    """All policies of the cloud."""
    settings = cloud.settings
    rows = cloud.db.all("SELECT id, parent, name FROM compartments")
    parents: dict[str, str | None] = {settings.tenancy_id: None, **{row["id"]: row["parent"] for row in rows}}
    names = {settings.tenancy_id: settings.tenancy_name, **{row["id"]: row["name"] for row in rows}}
    policies = cloud.db.all("SELECT compartment, statements FROM policies")
    rules = tuple(Rule(row["compartment"], _parse(text)) for row in policies for text in json.loads(row["statements"]))
    return Book(Tree(settings.tenancy_id, parents, names), rules)


def who_is(cloud: Cloud, principal: Principal) -> Who:
    """The groups of a user, or the dynamic groups whose rules an instance or resource matches."""
    if principal.facts:
        rows = cloud.db.all("SELECT id, name, rule FROM dynamic_groups")
        found = [row for row in rows if holds(_parse_rule(row["rule"]), principal.facts)]
        names, ids = (frozenset(row[column].lower() for row in found) for column in ("name", "id"))
        return Who(dynamic_groups=names, dynamic_group_ids=ids)
    statement = "SELECT g.id, g.name FROM memberships m JOIN user_groups g ON g.id = m.group_id WHERE m.user = ?"
    found = cloud.db.all(statement, principal.user_id)
    names, ids = (frozenset(row[column].lower() for row in found) for column in ("name", "id"))
    return Who(groups=names, group_ids=ids)


def _signer_facts(cloud: Cloud, principal: Principal) -> dict[str, str]:
    facts = {"request.region": cloud.settings.region, **principal.facts}
    row = cloud.db.one("SELECT name FROM users WHERE id = ?", principal.user_id)
    if row is not None:
        facts |= {"request.user.id": principal.user_id, "request.user.name": row["name"]}
        facts |= {"request.principal.id": principal.user_id, "request.principal.type": "user"}
    return facts


def _facts(call: Call) -> dict[str, str]:
    """Values of the variables that conditions may ask about this call."""
    facts = _signer_facts(call.cloud, call.principal)
    facts["request.operation"] = call.operation.removeprefix("S3").replace("StorageWork", "Work")
    for name, variable in (("bucket", "target.bucket.name"), ("object", "target.object.name")):
        if name in call.params:
            facts[variable] = call.params[name]
    if "imageId" in call.params:
        facts["target.image.id"] = call.params["imageId"]
    return facts


# ---------------------------------------------------------------- what it needs


def _wanted(call: Call, body: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """What the call needs: permissions of which one is enough, and the compartment in which."""
    operation = call.operation
    if "versionId" in call.query:
        operation = VERSIONED.get(operation, operation)
    needs = NEEDS[operation]
    if operation == "CreatePreauthenticatedRequest":
        said = f"{body.get('accessType')} {body.get('bucketListingAction')}"
        needs += tuple(Need((p,), "bucket") for word, given in PAR_RIGHTS.items() if word in said for p in given)
    if operation == "ListCompartments" and call.query.get("accessLevel") == "ACCESSIBLE":
        return
    for need in needs:
        compartment = whereabouts.compartment(call, need.at, body)
        if compartment is not None:
            yield need.permissions, compartment


async def _json(call: Call) -> Mapping[str, Any]:
    """The JSON body, empty for calls that have none; one that cannot be read is the handler's business."""
    if call.route.auth != "signed" or not call.route.body_signed or call.request.method not in ("POST", "PUT", "PATCH"):
        return {}
    try:
        return await call.json()
    except ServiceError:
        return {}


def _refusal(call: Call, *, seen: bool) -> ServiceError:
    """The refusal as the service words it."""
    if seen and call.cloud.assumptions.forbidden_403:
        return ServiceError(403, "NotAuthorized", _UPDATE_REFUSED)
    if "bucket" in call.params:
        namespace = call.params.get("namespace", call.cloud.settings.namespace)
        text = f"Either the bucket named '{call.params['bucket']}' does not exist in the namespace '{namespace}'"
        return ServiceError(404, "BucketNotFound", f"{text} or you are not authorized to access it")
    return not_authorized_or_not_found()
