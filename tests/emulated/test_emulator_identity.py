"""Who may do what by the policies of a seed; the API of users, groups, policies, compartments and keys."""

import json
import urllib.parse

import oci
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from emulator import (
    NAMESPACE,
    PLATFORM_IMAGE,
    TENANCY,
    USER,
    changed,
    compartment_id,
    fingerprint,
    instance_id,
    private_key,
    public_pem,
    sign,
)
from s3_signer import S3

from hypersdk_emulator.identity.needs import NEEDS
from hypersdk_emulator.routes import ROUTES

ANNA = "ocid1.user.oc1..aaaaanna"
ADMINS = "Allow group Admins to manage all-resources in tenancy"
ANY = "/n/testns/b/exports"
THING = f"{ANY}/o/thing"
FUTURE = "2099-01-01T00:00:00Z"


def with_policies(*statements, compartment=None, groups=(), **sections):
    """A change of a seed: the seed's user is an administrator, Anna (who signs with the same key) is an exporter."""

    def change(value):
        key = {"fingerprint": fingerprint(private_key()), "publicKeyPem": public_pem(private_key())}
        value["users"].append({"id": ANNA, "name": "anna", "apiKeys": [key]})
        value["groups"] = [{"name": "Admins", "users": [USER]}, {"name": "Exporters", "users": ["anna"]}, *groups]
        value["policies"] = [{"name": "admins", "statements": [ADMINS]}]
        if statements:
            where = {"compartmentId": compartment} if compartment else {}
            value["policies"].append({"name": "exporters", "statements": list(statements), **where})
        value.update(sections)

    return change


@pytest.fixture
def cloud(start_emulator):
    """Starts an emulator in which Anna has what some statements give her group."""

    def start(*statements, compartment=None, arguments=(), compartments=("main", "other"), **sections):
        change = with_policies(*statements, compartment=compartment, **sections)
        return start_emulator(arguments=arguments, compartments=compartments, change=change)

    return start


def as_anna(emulator, method, path, body=None, *, user=ANNA, key=None):
    """One call signed by Anna; bytes are an unsigned body."""
    signer = key or private_key()
    data = body if isinstance(body, bytes) else None
    if method in ("POST", "PUT") and data is None:
        data = b"" if body is None else json.dumps(body).encode()
    signed = None if isinstance(body, bytes) else data
    key_id = f"{TENANCY}/{user}/{fingerprint(signer)}"
    return emulator.send(method, path, data, sign(signer, key_id, method, path, {"host": emulator.host}, body=signed))


def give(emulator, *statements):
    """Replace Anna's statements."""
    emulator.control("PUT", "seed", {"policies": [{"name": "exporters", "statements": list(statements)}]})


def to_exporters(*rights, where="compartment main"):
    return [f"Allow group Exporters to {right} in {where}" for right in rights]


# ---------------------------------------------------------------- Object Storage


PUT = ("PUT", THING, b"bytes")
GET, HEAD, DELETE = ("GET", THING), ("HEAD", THING), ("DELETE", THING)
LIST = ("GET", f"{ANY}/o")
UPLOAD = ("POST", f"{ANY}/u", {"object": "big"})


VERBS = [
    ((), LIST, 404),
    (("inspect objects",), LIST, 200),
    (("inspect objects",), HEAD, 200),
    (("read objects",), HEAD, 200),
    (("inspect buckets",), HEAD, 404),
    (("inspect objects",), GET, 404),
    (("read objects",), GET, 200),
    (("use objects",), PUT, 200),
    (("use objects",), ("PUT", f"{ANY}/o/new", b"bytes"), 404),
    (("manage objects",), ("PUT", f"{ANY}/o/new", b"bytes"), 200),
    (("use objects",), DELETE, 404),
    (("manage objects",), DELETE, 204),
    (("use objects",), UPLOAD, 404),
    (("manage objects",), UPLOAD, 200),
    (("manage objects",), ("GET", f"{ANY}/u"), 404),
    (("read buckets",), ("GET", f"{ANY}/u"), 200),
    (("inspect buckets",), ("GET", ANY), 404),
    (("inspect buckets",), ("HEAD", ANY), 200),
    (("read buckets",), ("GET", ANY), 200),
    (("manage object-family",), ("GET", ANY), 200),
    (("manage all-resources",), GET, 200),
    (("{OBJECT_READ}",), GET, 200),
    (("read buckets", "manage instance-family"), GET, 404),
]


def test_verbs_in_object_storage(cloud):
    """Each verb gives what Oracle's reference says and no more."""
    emulator, wrong = cloud(), []
    for rights, call, status in VERBS:
        give(emulator, *to_exporters(*rights, "inspect compartments"))
        emulator.put("exports", "thing", b"old")
        emulator.call("DELETE", f"{ANY}/o/new")
        found = as_anna(emulator, *call).status
        if found != status:
            wrong.append((rights, call, found))
    assert not wrong


def test_a_refusal_tells_nothing(cloud):
    """A bucket that one may not see is answered like one that is not there."""
    emulator = cloud()
    forbidden, absent = as_anna(emulator, *LIST), as_anna(emulator, "GET", "/n/testns/b/absent/o")
    assert (forbidden.status, forbidden.json["code"]) == (absent.status, absent.json["code"]) == (404, "BucketNotFound")
    assert forbidden.json["message"].replace("exports", "absent") == absent.json["message"]


def test_conditions_narrow_a_right(cloud):
    """`target.bucket.name`, `target.object.name`, `request.permission` and `request.operation` decide call by call."""
    emulator = cloud(
        "Allow group Exporters to manage objects in tenancy where all {target.bucket.name = 'exports', "
        "request.permission != 'OBJECT_DELETE', any {target.object.name = /mine*/, request.operation = 'ListObjects'}}"
    )
    assert as_anna(emulator, "PUT", f"{ANY}/o/mine-1", b"bytes").status == 200
    assert as_anna(emulator, "PUT", f"{ANY}/o/yours", b"bytes").status == 404
    assert as_anna(emulator, *LIST).status == 200
    assert as_anna(emulator, "DELETE", f"{ANY}/o/mine-1").status == 404


def test_rights_go_down_the_tree_and_nowhere_else(cloud):
    """A right in a compartment holds in those below; a policy attached there names its compartments from there."""
    tree = {"main": None, "web": "main", "other": None}
    emulator = cloud(
        "Allow group Exporters to read instances in compartment web",
        compartment=compartment_id("main"),
        compartments=tree,
    )

    def listed(compartment):
        return as_anna(emulator, "GET", f"/20160918/instances?compartmentId={compartment_id(compartment)}").status

    assert [listed(name) for name in tree] == [404, 200, 404]
    give(emulator, *to_exporters("read instances"))
    assert [listed(name) for name in tree] == [200, 200, 404]


def test_lists_show_accessible_compartments(cloud):
    """`accessLevel=ACCESSIBLE` lists the compartments with a right in them or below, without any right to list."""
    tree = {"main": None, "web": "main", "other": None}
    emulator = cloud(*to_exporters("read instances", where="compartment main:web"), compartments=tree)
    query = f"compartments?compartmentId={TENANCY}&compartmentIdInSubtree=true"
    reply = as_anna(emulator, "GET", f"/20160918/{query}&accessLevel=ACCESSIBLE")
    assert sorted(row["name"] for row in reply.json) == ["main", "web"]
    assert as_anna(emulator, "GET", f"/20160918/{query}").status == 404


def test_public_buckets_are_for_everybody(cloud):
    """A signer without any right reads what anonymous callers may read."""
    emulator = cloud()
    emulator.put("exports", "thing", b"bytes")
    assert as_anna(emulator, *GET).status == 404
    emulator.call("POST", ANY, {"publicAccessType": "ObjectRead"})
    assert as_anna(emulator, *GET).body == b"bytes"


def test_policies_rule_the_s3_api_too(cloud):
    """The same rights decide over the S3 API, a copy's source included; a secret key made by the API signs there."""
    emulator = cloud(*to_exporters("read objects"))
    emulator.put("exports", "thing", b"bytes")
    made = as_anna(emulator, "POST", f"/20160918/users/{ANNA}/customerSecretKeys", {"displayName": "s3"}).json
    s3 = S3(emulator, access=made["id"], secret=made["key"])
    assert s3.call("GET", "/exports/thing").body == b"bytes"
    assert s3.call("PUT", "/exports/thing", b"new").status == 404
    assert s3.call("GET", "/").status == 403
    give(emulator, *to_exporters("{OBJECT_CREATE, OBJECT_OVERWRITE}"))
    copied = {"x-amz-copy-source": "/exports/thing"}
    assert s3.call("PUT", "/exports/copy", headers=copied).status == 404
    assert s3.call("PUT", "/exports/copy", b"new").status == 200


# ---------------------------------------------------------------- pre-authenticated requests


def make_par(emulator, access="ObjectRead"):
    body = {"name": "p", "objectName": "thing", "accessType": access, "timeExpires": FUTURE}
    return as_anna(emulator, "POST", f"{ANY}/p/", body)


def test_a_par_needs_the_rights_that_it_gives(cloud):
    """PAR_MANAGE alone makes no PAR, and a right on the object alone neither."""
    emulator = cloud(*to_exporters("manage buckets"))
    emulator.put("exports", "thing", b"bytes")
    assert make_par(emulator).status == 404
    give(emulator, *to_exporters("read objects", "use buckets"))
    assert make_par(emulator).status == 404
    give(emulator, *to_exporters("read objects", "manage buckets"))
    assert make_par(emulator).status == 200
    assert make_par(emulator, "ObjectReadWrite").status == 404


def test_a_par_is_as_strong_as_its_maker_is_now(cloud):
    """The URL gives what its maker still may do: gone with the policy, back with it."""
    emulator = cloud(*to_exporters("read objects", "manage buckets"))
    emulator.put("exports", "thing", b"bytes")
    url = make_par(emulator).json["accessUri"]
    assert emulator.send("GET", url).body == b"bytes"
    give(emulator, *to_exporters("manage buckets"))
    assert emulator.send("GET", url).status == 404
    give(emulator, *to_exporters("read objects"))
    assert emulator.send("GET", url).status == 200


# ---------------------------------------------------------------- Compute


def test_create_image_needs_both_sides(cloud):
    """CreateImage wants the instance's compartment to give one right and the image's the other (section 7)."""
    emulator = cloud(*to_exporters("use instances"), *to_exporters("manage instance-images", where="compartment other"))
    body = {"instanceId": instance_id("web-01"), "displayName": "copy"}

    def made(where):
        return as_anna(emulator, "POST", "/20160918/images", {**body, "compartmentId": compartment_id(where)}).status

    assert made("main") == 404
    assert made("other") == 200
    give(emulator, *to_exporters("manage instance-images", where="tenancy"))
    assert made("other") == 404


def test_exporters_policy_of_the_reference_exports(cloud):
    """The five statements of the reference page carry an instance to an object; without the bucket's they do not."""
    rights = ("use instances", "manage instance-images", "read buckets")
    emulator = cloud(*to_exporters(*rights))
    body = {"compartmentId": compartment_id("main"), "instanceId": instance_id("web-01")}
    image = as_anna(emulator, "POST", "/20160918/images", body).json["id"]
    to = {
        "destinationType": "objectStorageTuple",
        "exportFormat": "QCOW2",
        "namespaceName": NAMESPACE,
        "bucketName": "exports",
        "objectName": "disk.qcow2",
    }
    path = f"/20160918/images/{image}/actions/export"
    refused = as_anna(emulator, "POST", path, to)
    assert (refused.status, refused.json["code"]) == (400, "InvalidParameter")
    give(emulator, *to_exporters(*rights, "manage objects"))
    exported = as_anna(emulator, "POST", path, to)
    assert exported.status == 200
    work = f"/20160918/workRequests/{exported.headers['opc-work-request-id']}"
    assert as_anna(emulator, "GET", work).status == 200


def test_a_par_url_of_somebody_without_rights_takes_no_export(cloud):
    """ExportImage to a PAR is refused once its maker may not write there any more."""
    emulator = cloud(*to_exporters("manage objects", "manage buckets"))
    body = {"name": "p", "objectName": "d", "accessType": "ObjectWrite", "timeExpires": FUTURE}
    url = as_anna(emulator, "POST", f"{ANY}/p/", body).json["accessUri"]
    made = {"compartmentId": compartment_id("main"), "instanceId": instance_id("web-01")}
    image = emulator.call("POST", "/20160918/images", made).json["id"]
    to = {"destinationType": "objectStorageUri", "exportFormat": "QCOW2", "destinationUri": emulator.endpoint + url}
    give(emulator, *to_exporters("read objects"))
    refused = emulator.call("POST", f"/20160918/images/{image}/actions/export", to)
    assert (refused.status, "maker" in refused.json["message"]) == (400, True)


# ---------------------------------------------------------------- who


def storage(emulator, signer):
    options = {"service_endpoint": emulator.endpoint, "retry_strategy": oci.retry.NoneRetryStrategy()}
    return oci.object_storage.ObjectStorageClient({}, signer=signer, **options)


def test_instances_have_the_rights_of_their_dynamic_groups(cloud, monkeypatch):
    """An instance may do what statements give the dynamic groups whose rule it matches, and its PARs work."""
    rule = f"ALL {{instance.compartment.id = '{compartment_id('main')}', instance.id = '{instance_id('web-01')}'}}"
    emulator = cloud(
        "Allow dynamic-group Backups to manage objects in compartment main",
        "Allow dynamic-group Backups to manage buckets in compartment main",
        dynamicGroups=[{"name": "Backups", "matchingRule": rule}],
    )
    monkeypatch.setenv("OCI_METADATA_BASE_URL", emulator.metadata)
    signer = oci.auth.signers.InstancePrincipalsSecurityTokenSigner(federation_endpoint=f"{emulator.endpoint}/v1/x509")
    client = storage(emulator, signer)
    client.put_object(NAMESPACE, "exports", "thing", b"bytes")
    details = oci.object_storage.models.CreatePreauthenticatedRequestDetails(
        name="p", object_name="thing", access_type="ObjectRead", time_expires=FUTURE
    )
    url = client.create_preauthenticated_request(NAMESPACE, "exports", details).data.access_uri
    assert emulator.send("GET", url).body == b"bytes"
    emulator.control("PUT", "seed", {"dynamicGroups": [{"name": "Backups", "matchingRule": "instance.id = 'other'"}]})
    with pytest.raises(oci.exceptions.ServiceError) as refused:
        client.get_object(NAMESPACE, "exports", "thing")
    assert (refused.value.status, refused.value.code) == (404, "BucketNotFound")
    assert emulator.send("GET", url).status == 404


def test_resources_have_rights_by_condition(cloud):
    """`any-user` with conditions on `request.principal` is how functions and workloads get their rights."""
    function = {"resourceId": "ocid1.fnfunc.oc1.iad.aaaaf", "compartmentId": compartment_id("main")}
    emulator = cloud(
        "Allow any-user to read objects in compartment main where all {request.principal.type = 'fnfunc', "
        f"request.principal.compartment.id = '{compartment_id('main')}'}}"
    )
    emulator.put("exports", "thing", b"bytes")
    for kind, status in (("fnfunc", 200), ("notebook", 404)):
        values = emulator.control("POST", "resource-principal", {**function, "resourceType": kind})["environment"]
        signer = oci.auth.signers.EphemeralResourcePrincipalSigner(
            session_token=values["OCI_RESOURCE_PRINCIPAL_RPST"],
            private_key=values["OCI_RESOURCE_PRINCIPAL_PRIVATE_PEM"],
        )
        try:
            found = storage(emulator, signer).get_object(NAMESPACE, "exports", "thing").status
        except oci.exceptions.ServiceError as refused:
            found = refused.status
        assert found == status


# ---------------------------------------------------------------- all of it


def every_call():
    """A call of each signed operation about compartment `main` and what is in it, as far as paths tell."""
    names = {"namespace": NAMESPACE, "bucket": "exports", "object": "thing", "instanceId": instance_id("web-01")}
    names |= {"compartment": compartment_id("main"), "tenancy": TENANCY, "user": USER, "imageId": PLATFORM_IMAGE}
    for route in ROUTES:
        if route.auth != "signed" or not NEEDS[route.operation] or route.operation == "GetNamespace":
            continue
        path = route.pattern
        for part in route.pattern.split("/"):
            if part.startswith("{"):
                name = part.strip("{}*")
                path = path.replace(
                    part, urllib.parse.quote(names.get(name, f"ocid1.{name.lower()}.oc1..none"), safe="")
                )
        if route.operation.startswith("List"):
            path += f"?compartmentId={TENANCY if route.service == 'identity' else compartment_id('main')}"
        yield route, path


def test_no_operation_is_open_to_a_stranger(cloud):
    """Somebody without a single right gets 4xx from every signed operation, and never a 500."""
    emulator = cloud()
    emulator.put("exports", "thing", b"bytes")
    body = {"compartmentId": compartment_id("main"), "name": "new", "displayName": "new", "description": "new"}
    open_to_all = {}
    for route, path in every_call():
        data = b"bytes" if not route.body_signed else body if route.method in ("POST", "PUT") else None
        reply = as_anna(emulator, route.method, path, data)
        if not 400 <= reply.status < 500 or reply.status == 401:
            open_to_all[route.operation] = reply.status
    of_everybody = {"GetImage": 200, "ListImageShapeCompatibilityEntries": 200}
    assert open_to_all == of_everybody, "only platform images are everybody's"


def test_without_the_sections_everything_is_allowed(emulator):
    """A seed without groups and policies allows all, also after somebody has made a policy."""
    policy = {
        "compartmentId": TENANCY,
        "name": "p",
        "description": "d",
        "statements": ["Allow any-user to inspect users in tenancy"],
    }
    assert emulator.call("POST", "/20160918/policies", policy).status == 200
    assert emulator.call("PUT", THING, b"bytes").status == 200
    emulator.control("PUT", "seed", {"groups": []})
    assert emulator.call("PUT", THING, b"bytes").status == 404


def test_rights_survive_a_restart(cloud):
    """Groups, policies and that they rule are kept in the state."""
    emulator = cloud(*to_exporters("manage objects"))
    emulator.stop()
    emulator.start()
    assert as_anna(emulator, *PUT).status == 200
    assert as_anna(emulator, "GET", ANY).status == 404


@pytest.mark.parametrize(("switch", "status", "code"), [("off", 404, "BucketNotFound"), ("on", 403, "NotAuthorized")])
def test_forbidden_but_visible(cloud, switch, status, code):
    """With `forbidden-403` one who has some right in the compartment hears 403; one who has none always 404."""
    emulator = cloud(*to_exporters("read objects"), arguments=("--assume", f"forbidden-403={switch}"))
    refused = as_anna(emulator, *PUT)
    assert (refused.status, refused.json["code"]) == (status, code)
    give(emulator, *to_exporters("read objects", where="compartment other"))
    assert as_anna(emulator, *PUT).status == 404


@pytest.mark.parametrize(("switch", "status"), [("off", 202), ("on", 400)])
def test_copies_may_need_the_service(cloud, switch, status):
    """With `service-policies` Object Storage itself needs a statement before it copies for somebody."""
    emulator = cloud(*to_exporters("manage object-family"), arguments=("--assume", f"service-policies={switch}"))
    emulator.put("exports", "thing", b"bytes")
    body = {
        "sourceObjectName": "thing",
        "destinationRegion": "us-ashburn-1",
        "destinationNamespace": NAMESPACE,
        "destinationBucket": "exports",
        "destinationObjectName": "copy",
    }
    reply = as_anna(emulator, "POST", f"{ANY}/actions/copyObject", body)
    assert reply.status == status
    if status == 400:
        assert reply.json["code"] == "InsufficientServicePermissions"
        service = "Allow service objectstorage-us-ashburn-1 to manage object-family in compartment main"
        give(emulator, *to_exporters("manage object-family"), service)
        assert as_anna(emulator, "POST", f"{ANY}/actions/copyObject", body).status == 202


# ---------------------------------------------------------------- seeds


BAD_SECTIONS = (
    ("policies", {"statements": ["Allow group A to fly in tenancy"]}, "policies[0].statements[0]: column 18: expected"),
    ("policies", {"statements": ["Allow group A to read objects in tenancy"]}, "statements[0]: there is no group a"),
    ("policies", {"statements": ["Allow any-user to read objects in compartment x"]}, "compartment does not exist"),
    ("groups", {"name": "A", "users": ["nobody"]}, "groups[0].users[0]: there is no user nobody"),
    ("groups", {"users": []}, "groups[0].name: missing"),
    ("dynamicGroups", {"name": "D", "matchingRule": "all"}, "dynamicGroups[0].matchingRule: column 4: expected '{'"),
)


def test_bad_sections_are_refused(emulator):
    """A wrong section is a 400 that names the place in the seed and what was expected there; nothing of it is kept."""
    headers = {"authorization": f"Bearer {emulator.token}"}
    for section, content, message in BAD_SECTIONS:
        body = json.dumps(changed(emulator.seed, **{section: [content]})).encode()
        reply = emulator.send("PUT", "/_emulator/seed", body, headers)
        assert reply.status == 400
        assert message in reply.json["message"]
    assert emulator.call("PUT", THING, b"bytes").status == 200


# ---------------------------------------------------------------- Identity's API


@pytest.fixture
def identity(emulator):
    """The SDK's Identity client of the seed's user."""
    config = oci.config.from_file(str(emulator.config_file))
    return oci.identity.IdentityClient(config, service_endpoint=emulator.endpoint)


def models():
    return oci.identity.models


def code_of(call, *arguments, **options):
    with pytest.raises(oci.exceptions.ServiceError) as refused:
        call(*arguments, **options)
    return refused.value.status, refused.value.code


def test_users_and_their_keys(emulator, identity):
    """A user is made once per name; an uploaded API key signs until it is deleted; three at most."""
    details = models().CreateUserDetails(compartment_id=TENANCY, name="ben", description="Ben")
    ben = identity.create_user(details, opc_retry_token="t").data
    assert identity.create_user(details, opc_retry_token="t").data.id == ben.id
    assert code_of(identity.create_user, details) == (409, "UserAlreadyExists")
    keys = [rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(4)]
    for key in keys[:3]:
        made = identity.upload_api_key(ben.id, models().CreateApiKeyDetails(key=public_pem(key))).data
        assert made.fingerprint == fingerprint(key)
    last = models().CreateApiKeyDetails(key=public_pem(keys[3]))
    assert code_of(identity.upload_api_key, ben.id, last) == (400, "LimitExceeded")
    bad = models().CreateApiKeyDetails(key="no key")
    assert code_of(identity.upload_api_key, ben.id, bad) == (400, "InvalidParameter")
    assert as_anna(emulator, *LIST, user=ben.id, key=keys[0]).status == 200
    identity.delete_api_key(ben.id, fingerprint(keys[0]))
    assert as_anna(emulator, *LIST, user=ben.id, key=keys[0]).status == 401
    assert {key.fingerprint for key in identity.list_api_keys(ben.id).data} == {fingerprint(key) for key in keys[1:3]}
    names = [
        [user.name for user in identity.list_users(TENANCY, sort_by="NAME", sort_order=o).data] for o in ("ASC", "DESC")
    ]
    assert names == [["ben", USER], [USER, "ben"]]
    assert identity.list_users(TENANCY, lifecycle_state="DELETED").data == []
    assert identity.update_user(ben.id, models().UpdateUserDetails(description="B")).data.description == "B"
    identity.delete_user(ben.id)
    assert code_of(identity.get_user, ben.id) == (404, "NotAuthorizedOrNotFound")


def test_secret_keys(identity):
    """A Customer Secret Key shows its secret once; two at most; a deleted one is gone from the list."""
    details = models().CreateCustomerSecretKeyDetails(display_name="s3")
    first, _ = (identity.create_customer_secret_key(details, USER).data for _ in range(2))
    assert first.key
    assert code_of(identity.create_customer_secret_key, details, USER) == (400, "LimitExceeded")
    identity.delete_customer_secret_key(USER, first.id)
    left = identity.list_customer_secret_keys(USER).data
    assert [(key.display_name, hasattr(key, "key")) for key in left] == [("s3", False)]


def test_groups_and_members(identity):
    """Groups are made, filled, emptied and deleted; a group with members is not deleted."""
    group = identity.create_group(models().CreateGroupDetails(compartment_id=TENANCY, name="g", description="d")).data
    joined = models().AddUserToGroupDetails(user_id=USER, group_id=group.id)
    member = identity.add_user_to_group(joined).data
    assert identity.add_user_to_group(joined).data.id == member.id
    listed = identity.list_user_group_memberships(TENANCY, group_id=group.id).data
    assert [each.user_id for each in listed] == [USER]
    assert code_of(identity.delete_group, group.id) == (409, "Conflict")
    identity.remove_user_from_group(member.id)
    assert code_of(identity.get_user_group_membership, member.id) == (404, "NotAuthorizedOrNotFound")
    identity.delete_group(group.id)
    assert identity.list_groups(TENANCY).data == []


def test_policies_as_resources(identity):
    """Policies are checked when written, changed under their etag, and listed by compartment, page by page."""
    texts = ["Allow any-user to read objects in tenancy"]
    for number in range(3):
        details = models().CreatePolicyDetails(
            compartment_id=TENANCY, name=f"p{number}", description="d", statements=texts
        )
        policy = identity.create_policy(details)
    assert code_of(identity.create_policy, details) == (409, "PolicyAlreadyExists")
    bad = models().UpdatePolicyDetails(statements=["Allow any-user to read nothing in tenancy"])
    assert code_of(identity.update_policy, policy.data.id, bad) == (400, "InvalidParameter")
    new = models().UpdatePolicyDetails(statements=["Allow any-user to read buckets in tenancy"])
    after = identity.update_policy(policy.data.id, new, if_match=policy.headers["etag"])
    assert after.data.statements == new.statements
    assert code_of(identity.update_policy, policy.data.id, new, if_match=policy.headers["etag"]) == (412, "NoEtagMatch")
    pages = list(
        oci.pagination.list_call_get_all_results_generator(identity.list_policies, "response", TENANCY, limit=2)
    )
    assert [len(page.data) for page in pages] == [2, 1]
    identity.delete_policy(policy.data.id)
    assert identity.list_policies(TENANCY, name="p2").data == []


def test_dynamic_groups_as_resources(identity):
    """Dynamic groups are made, changed and deleted; a rule that is none is refused with its place."""
    details = models().CreateDynamicGroupDetails(
        compartment_id=TENANCY, name="d", description="d", matching_rule="instance.id = 'x'"
    )
    group = identity.create_dynamic_group(details).data
    assert code_of(identity.create_dynamic_group, details) == (409, "DynamicGroupAlreadyExists")
    bad = models().UpdateDynamicGroupDetails(matching_rule="instance.name = 'x'")
    assert code_of(identity.update_dynamic_group, group.id, bad) == (400, "InvalidParameter")
    rule = models().UpdateDynamicGroupDetails(matching_rule="ANY {instance.id = 'x', instance.id = 'y'}")
    assert identity.update_dynamic_group(group.id, rule).data.matching_rule == rule.matching_rule
    identity.delete_dynamic_group(group.id)
    assert identity.list_dynamic_groups(TENANCY).data == []


def test_compartments_as_resources(identity):
    """Compartments are made below others, renamed, and deleted once they are empty."""
    main = compartment_id("main")
    details = models().CreateCompartmentDetails(compartment_id=main, name="below", description="d")
    made = identity.create_compartment(details, opc_retry_token="t").data
    assert identity.create_compartment(details, opc_retry_token="t").data.id == made.id
    assert code_of(identity.create_compartment, details) == (409, "CompartmentAlreadyExists")
    renamed = identity.update_compartment(made.id, models().UpdateCompartmentDetails(name="under"))
    assert (renamed.data.name, renamed.data.description) == ("under", "d")
    assert code_of(identity.delete_compartment, main) == (409, "Conflict")
    identity.delete_compartment(made.id, if_match=renamed.headers["etag"])
    assert code_of(identity.get_compartment, made.id) == (404, "NotAuthorizedOrNotFound")
    assert code_of(identity.delete_compartment, TENANCY) == (400, "InvalidParameter")


def test_everybody_manages_their_own_keys(cloud):
    """Without any right a user sees themself and their own keys, nobody else's."""
    emulator = cloud()
    for path in ("", "/apiKeys", "/customerSecretKeys"):
        assert as_anna(emulator, "GET", f"/20160918/users/{ANNA}{path}").status == 200
        assert as_anna(emulator, "GET", f"/20160918/users/{USER}{path}").status == 404


# ---------------------------------------------------------------- sessions


def test_sessions_are_begun_and_refreshed(emulator):
    """`oci session authenticate --no-browser` and `refresh` as calls: the token goes on, for a day at most."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    body = {"publicKey": public_pem(key), "sessionExpirationInMinutes": 5}
    token = emulator.call("POST", "/v1/token/upst/actions/GenerateUpst", body).json["token"]

    def call(method, path, content=None):
        data = None if content is None else json.dumps(content).encode()
        headers = sign(key, f"ST${token}", method, path, {"host": emulator.host}, body=data)
        return emulator.send(method, path, data, headers)

    assert call("GET", "/n/").status == 200
    emulator.control("POST", "clock", {"advanceSeconds": 200})
    refreshed = call("POST", "/v1/authentication/refresh", {"currentToken": token}).json["token"]
    emulator.control("POST", "clock", {"advanceSeconds": 200})
    assert call("GET", "/n/").status == 401
    token = refreshed
    assert call("GET", "/n/").status == 200
    for _ in range(86400 // 250):
        emulator.control("POST", "clock", {"advanceSeconds": 250})
        reply = call("POST", "/v1/authentication/refresh", {"currentToken": token})
        if reply.status == 401:
            break
        token = reply.json["token"]
    assert reply.status == 401


def test_a_session_refreshes_its_own_token_only(emulator):
    """An API key, and a token of somebody else's, refresh nothing."""
    keys = [rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2)]
    tokens = [
        emulator.control("POST", "session-token", {"userId": USER, "publicKeyPem": public_pem(key)})["token"]
        for key in keys
    ]
    assert emulator.call("POST", "/v1/authentication/refresh", {"currentToken": tokens[0]}).status == 401
    data = json.dumps({"currentToken": "x.y.z"}).encode()
    path = "/v1/authentication/refresh"
    headers = sign(keys[0], f"ST${tokens[0]}", "POST", path, {"host": emulator.host}, body=data)
    assert emulator.send("POST", path, data, headers).status == 401
