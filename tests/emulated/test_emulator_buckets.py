"""Object Storage's further operations, by Oracle's SDK: keys, re-encryption, replication, versions, tiers, parts."""

import base64
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import oci
import pytest
from emulator import NAMESPACE, REGION, TENANCY, Emulator, make_seed
from oci.object_storage import ObjectStorageClient, models

BUCKET = "exports"
KEYS = [f"ocid1.key.oc1.iad.{name}" for name in "ab"]


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One emulator for all tests of this file; each has a bucket of its own."""
    folder: Path = tmp_path_factory.mktemp("buckets")
    running = Emulator(make_seed(folder / "seed"), folder / "state").start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def client(emulator: Emulator) -> ObjectStorageClient:
    config = oci.config.from_file(str(emulator.config_file))
    return ObjectStorageClient(config, service_endpoint=emulator.endpoint, retry_strategy=oci.retry.NoneRetryStrategy())


@pytest.fixture
def make(emulator: Emulator, client: ObjectStorageClient, request: pytest.FixtureRequest) -> Callable[..., str]:
    """Makes buckets: `make("name", versioning="Enabled")`."""

    def bucket(suffix: str = "", **settings: Any) -> str:
        name = f"{request.node.name[5:45].replace('[', '-').replace(']', '')}{suffix}"
        details = models.CreateBucketDetails(name=name, compartment_id=emulator.seed.compartment, **settings)
        client.create_bucket(NAMESPACE, details)
        return name

    return bucket


def refused(call: Callable[..., Any], *arguments: Any, **named: Any) -> tuple[int, str]:
    """Status and code of a call that must be refused."""
    with pytest.raises(oci.exceptions.ServiceError) as caught:
        call(*arguments, **named)
    return caught.value.status, caught.value.code


def own_key(letter: str) -> dict[str, str]:
    """The keyword arguments of a customer's key."""
    raw = letter.encode() * 32
    digest = base64.b64encode(hashlib.sha256(raw).digest()).decode()
    key = base64.b64encode(raw).decode()
    return {
        "opc_sse_customer_algorithm": "AES256",
        "opc_sse_customer_key": key,
        "opc_sse_customer_key_sha256": digest,
    }


def key_details(letter: str) -> models.SSECustomerKeyDetails:
    """The same as a model."""
    told = own_key(letter)
    key, digest = told["opc_sse_customer_key"], told["opc_sse_customer_key_sha256"]
    return models.SSECustomerKeyDetails(algorithm="AES256", key=key, key_sha256=digest)


def kms_of(client: ObjectStorageClient, bucket: str, name: str) -> str | None:
    found: str | None = client.head_object(NAMESPACE, bucket, name).headers.get("opc-sse-kms-key-id")
    return found


# ---------------------------------------------------------------- keys


def test_keys_of_key_management(client: ObjectStorageClient, make: Callable[..., str]) -> None:
    """An object has the key that its write named, else its bucket's, and beside a customer's key none."""
    bucket = make(kms_key_id=KEYS[0])
    assert client.get_bucket(NAMESPACE, bucket).data.kms_key_id == KEYS[0]
    client.put_object(NAMESPACE, bucket, "plain", b"x")
    client.put_object(NAMESPACE, bucket, "named", b"x", opc_sse_kms_key_id=KEYS[1])
    client.put_object(NAMESPACE, bucket, "own", b"x", **own_key("a"))
    assert [kms_of(client, bucket, name) for name in ("plain", "named")] == [KEYS[0], KEYS[1]]
    assert "opc-sse-kms-key-id" not in client.get_object(NAMESPACE, bucket, "own", **own_key("a")).headers
    both = {**own_key("a"), "opc_sse_kms_key_id": KEYS[0]}
    assert refused(client.put_object, NAMESPACE, bucket, "both", b"x", **both) == (400, "InvalidParameter")
    upload = client.create_multipart_upload(
        NAMESPACE, bucket, models.CreateMultipartUploadDetails(object="parts"), opc_sse_kms_key_id=KEYS[1]
    ).data.upload_id
    part = client.upload_part(NAMESPACE, bucket, "parts", upload, 1, b"x").headers["etag"]
    listed = [models.CommitMultipartUploadPartDetails(part_num=1, etag=part)]
    details = models.CommitMultipartUploadDetails(parts_to_commit=listed)
    client.commit_multipart_upload(NAMESPACE, bucket, "parts", upload, details)
    assert kms_of(client, bucket, "parts") == KEYS[1]


def test_reencrypt_bucket(client: ObjectStorageClient, make: Callable[..., str], emulator: Emulator) -> None:
    """ReencryptBucket needs a key, gives it to every object but those with a customer's, and is a work request."""
    bucket = make()
    client.put_object(NAMESPACE, bucket, "o", b"x")
    client.put_object(NAMESPACE, bucket, "own", b"x", **own_key("a"))
    assert refused(client.reencrypt_bucket, NAMESPACE, bucket) == (400, "InvalidParameter")
    client.update_bucket(NAMESPACE, bucket, models.UpdateBucketDetails(kms_key_id=KEYS[0]))
    assert kms_of(client, bucket, "o") is None
    work = client.reencrypt_bucket(NAMESPACE, bucket).headers["opc-work-request-id"]
    request = client.get_work_request(work).data
    assert (request.operation_type, request.status) == ("REENCRYPT", "COMPLETED")
    assert request.compartment_id == emulator.seed.compartment
    assert [log.message for log in client.list_work_request_logs(work).data] == ["The bucket was re-encrypted."]
    assert client.list_work_request_errors(work).data == []
    assert refused(client.cancel_work_request, work) == (409, "NotCancelable")
    assert kms_of(client, bucket, "o") == KEYS[0]
    assert client.get_object(NAMESPACE, bucket, "own", **own_key("a")).data.content == b"x"


def test_reencrypt_object(client: ObjectStorageClient, make: Callable[..., str]) -> None:
    """ReencryptObject takes a key of either kind, needs the old customer's key, and leaves bytes and etag alone."""
    bucket = make()
    etag = client.put_object(NAMESPACE, bucket, "o", b"x").headers["etag"]

    def reencrypt(**details: Any) -> None:
        client.reencrypt_object(NAMESPACE, bucket, "o", models.ReencryptObjectDetails(**details))

    reencrypt(kms_key_id=KEYS[0])
    assert kms_of(client, bucket, "o") == KEYS[0]
    reencrypt(sse_customer_key=key_details("a"))
    assert refused(client.get_object, NAMESPACE, bucket, "o")[0] == 400
    got = client.get_object(NAMESPACE, bucket, "o", **own_key("a"))
    assert (got.data.content, got.headers["etag"]) == (b"x", etag)
    assert refused(reencrypt, kms_key_id=KEYS[0]) == (400, "SSECustomerKeyMismatch")
    assert refused(reencrypt, kms_key_id=KEYS[0], sse_customer_key=key_details("b")) == (400, "InvalidParameter")
    reencrypt(source_sse_customer_key=key_details("a"))
    assert client.get_object(NAMESPACE, bucket, "o").data.content == b"x"
    missing = models.ReencryptObjectDetails(kms_key_id=KEYS[0])
    assert refused(client.reencrypt_object, NAMESPACE, bucket, "none", missing) == (404, "ObjectNotFound")


def test_copies_and_customer_keys(client: ObjectStorageClient, make: Callable[..., str]) -> None:
    """A copy of an object with a customer's key needs that key, and gets the key that the copy names, or none."""
    bucket = make()
    client.put_object(NAMESPACE, bucket, "o", b"x", **own_key("a"))

    def copy(new: str, **named: str) -> None:
        details = models.CopyObjectDetails(
            source_object_name="o",
            destination_region=REGION,
            destination_namespace=NAMESPACE,
            destination_bucket=bucket,
            destination_object_name=new,
        )
        client.copy_object(NAMESPACE, bucket, details, **named)

    source = {name.replace("opc_sse", "opc_source_sse"): value for name, value in own_key("a").items()}
    assert refused(copy, "c") == (400, "SSECustomerKeyMismatch")
    copy("plain", **source)
    copy("other", **source, **own_key("b"))
    assert client.get_object(NAMESPACE, bucket, "plain").data.content == b"x"
    assert client.get_object(NAMESPACE, bucket, "other", **own_key("b")).data.content == b"x"


# ---------------------------------------------------------------- replication


def policy(destination: str, region: str = REGION) -> models.CreateReplicationPolicyDetails:
    return models.CreateReplicationPolicyDetails(
        name="policy", destination_region_name=region, destination_bucket_name=destination
    )


def test_replication_policy(client: ObjectStorageClient, make: Callable[..., str]) -> None:
    """A policy is shown on both sides; its destination is read-only, and neither bucket can be deleted."""
    source, target = make("-s"), make("-t")
    client.put_object(NAMESPACE, target, "old", b"x")
    made = client.create_replication_policy(NAMESPACE, source, policy(target)).data
    assert (made.status, made.destination_bucket_name) == ("ACTIVE", target)
    assert client.get_replication_policy(NAMESPACE, source, made.id).data.name == "policy"
    assert [each.id for each in client.list_replication_policies(NAMESPACE, source).data] == [made.id]
    sources = client.list_replication_sources(NAMESPACE, target).data
    assert [each.source_bucket_name for each in sources] == [source]
    assert client.list_replication_sources(NAMESPACE, source).data == []
    shown = [client.get_bucket(NAMESPACE, name).data for name in (source, target)]
    assert [(each.replication_enabled, each.is_read_only) for each in shown] == [(True, False), (False, True)]
    for call, arguments in (
        (client.put_object, ("new", b"x")),
        (client.delete_object, ("old",)),
        (client.create_multipart_upload, (models.CreateMultipartUploadDetails(object="new"),)),
        (client.rename_object, (models.RenameObjectDetails(source_name="old", new_name="new"),)),
    ):
        assert refused(call, NAMESPACE, target, *arguments) == (403, "BucketIsReadonly")
    copy = models.CopyObjectDetails(
        source_object_name="o",
        destination_region=REGION,
        destination_namespace=NAMESPACE,
        destination_bucket=target,
        destination_object_name="o",
    )
    client.put_object(NAMESPACE, source, "o", b"x")
    assert refused(client.copy_object, NAMESPACE, source, copy) == (403, "BucketIsReadonly")
    assert client.get_object(NAMESPACE, target, "old").data.content == b"x"
    for name in (source, target):
        assert refused(client.delete_bucket, NAMESPACE, name) == (403, "BucketReplicationEnabled")


def test_replicas(client: ObjectStorageClient, make: Callable[..., str]) -> None:
    """What is written and deleted after a policy was made happens in the destination too, with the same etag."""
    source, target = make("-s", versioning="Enabled"), make("-t", storage_tier="Archive")
    client.put_object(NAMESPACE, source, "before", b"x")
    client.create_replication_policy(NAMESPACE, source, policy(target))
    etag = client.put_object(NAMESPACE, source, "o", b"data", opc_meta={"k": "v"}).headers["etag"]
    client.put_object(NAMESPACE, source, "gone", b"x")
    client.delete_object(NAMESPACE, source, "gone")
    client.rename_object(NAMESPACE, source, models.RenameObjectDetails(source_name="o", new_name="n"))
    copy = client.head_object(NAMESPACE, target, "n").headers
    assert (copy["content-md5"], copy["opc-meta-k"]) == (base64.b64encode(hashlib.md5(b"data").digest()).decode(), "v")
    assert copy["etag"] == client.head_object(NAMESPACE, source, "n").headers["etag"] != etag
    assert copy["storage-tier"] == "Archive"
    names = [[each.name for each in client.list_objects(NAMESPACE, name).data.objects] for name in (source, target)]
    assert names == [["before", "n"], ["n"]]
    client.make_bucket_writable(NAMESPACE, target)
    client.put_object(NAMESPACE, source, "after", b"x")
    assert [each.name for each in client.list_objects(NAMESPACE, target).data.objects] == ["n"]


@pytest.mark.parametrize("way", ["delete", "writable"])
def test_end_of_replication(client: ObjectStorageClient, make: Callable[..., str], way: str) -> None:
    """Deleting the policy, or making the destination writable, ends it on both sides."""
    source, target = make("-s"), make("-t")
    made = client.create_replication_policy(NAMESPACE, source, policy(target)).data
    if way == "delete":
        client.delete_replication_policy(NAMESPACE, source, made.id)
    else:
        client.make_bucket_writable(NAMESPACE, target)
    client.put_object(NAMESPACE, target, "new", b"x")
    assert client.list_replication_policies(NAMESPACE, source).data == []
    assert client.list_replication_sources(NAMESPACE, target).data == []
    assert refused(client.get_replication_policy, NAMESPACE, source, made.id) == (404, "ReplicationPolicyNotFound")
    assert refused(client.make_bucket_writable, NAMESPACE, target) == (400, "InvalidParameter")


def test_replication_policies_that_are_refused(client: ObjectStorageClient, make: Callable[..., str]) -> None:
    """One policy per source and per destination, no chains, no other region, no bucket that is not there."""
    source, target, third = make("-s"), make("-t"), make("-u")
    create = client.create_replication_policy
    assert refused(create, NAMESPACE, source, policy(source)) == (400, "InvalidParameter")
    assert refused(create, NAMESPACE, source, policy("none")) == (404, "BucketNotFound")
    assert refused(create, NAMESPACE, source, policy(target, "mars-1")) == (400, "InvalidParameter")
    create(NAMESPACE, source, policy(target))
    for bucket, destination in ((source, third), (target, third), (third, source), (third, target)):
        assert refused(create, NAMESPACE, bucket, policy(destination)) == (409, "ReplicationPolicyConflict")


# ---------------------------------------------------------------- namespace, versions, tiers, parts


def test_namespace_metadata(client: ObjectStorageClient, emulator: Emulator) -> None:
    """The compartments for S3 and Swift are the tenancy's root until they are designated."""
    found = client.get_namespace_metadata(NAMESPACE).data
    assert (found.default_s3_compartment_id, found.default_swift_compartment_id) == (TENANCY, TENANCY)
    chosen = models.UpdateNamespaceMetadataDetails(default_swift_compartment_id=emulator.seed.compartment)
    told = client.update_namespace_metadata(NAMESPACE, chosen).data
    assert (told.default_s3_compartment_id, told.default_swift_compartment_id) == (TENANCY, emulator.seed.compartment)


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_versions_with_a_delimiter(client: ObjectStorageClient, make: Callable[..., str], limit: int) -> None:
    """A list of versions with a delimiter gives every version above it and each common prefix once."""
    bucket = make(versioning="Enabled")
    for name in ("a", "d/1", "a", "d/2", "d/1", "d0", "e/1"):
        client.put_object(NAMESPACE, bucket, name, b"x")
    names: list[str] = []
    prefixes: list[str] = []
    page: str | None = None
    while True:
        named = {"page": page} if page else {}
        reply = client.list_object_versions(NAMESPACE, bucket, delimiter="/", limit=limit, **named)
        names += [item.name for item in reply.data.items]
        prefixes += reply.data.prefixes
        page = reply.headers.get("opc-next-page")
        if page is None:
            break
    assert (names, prefixes) == (["a", "a", "d0"], ["d/", "e/"])


@pytest.mark.parametrize("rest", ["/objectversions", "/u", "/p", "/retentionRules", "/replicationPolicies"])
def test_bad_pages(emulator: Emulator, rest: str) -> None:
    """A page token that is none is refused in every list, never a fault of the emulator."""
    for token in ("!", "AAAA", base64.urlsafe_b64encode(b"a\0b").decode(), "%00"):
        status = emulator.call("GET", f"/n/{NAMESPACE}/b/{BUCKET}{rest}?page={token}").status
        assert status in (200, 400), (rest, token, status)


def test_tiers_of_versions(client: ObjectStorageClient, make: Callable[..., str]) -> None:
    """Tier and restoration are changed of the version that is named."""
    bucket = make(versioning="Enabled")
    old = client.put_object(NAMESPACE, bucket, "o", b"1").headers["version-id"]
    client.put_object(NAMESPACE, bucket, "o", b"2")
    details = models.UpdateObjectStorageTierDetails(object_name="o", storage_tier="Archive", version_id=old)
    client.update_object_storage_tier(NAMESPACE, bucket, details)
    assert refused(client.get_object, NAMESPACE, bucket, "o", version_id=old) == (409, "NotRestored")
    assert client.get_object(NAMESPACE, bucket, "o").data.content == b"2"
    restore = models.RestoreObjectsDetails(object_name="o", version_id=old)
    assert client.restore_objects(NAMESPACE, bucket, restore).status == 202
    assert refused(client.restore_objects, NAMESPACE, bucket, models.RestoreObjectsDetails(object_name="o"))[0] == 409


def test_conditions_of_parts(client: ObjectStorageClient, make: Callable[..., str]) -> None:
    """A part's conditions are about an earlier part of its number, as one who sent the object's etag found out."""
    bucket = make()
    etag = client.put_object(NAMESPACE, bucket, "o", b"x").headers["etag"]
    upload = client.create_multipart_upload(NAMESPACE, bucket, models.CreateMultipartUploadDetails(object="o"))

    def put(**conditions: str) -> Any:
        return client.upload_part(NAMESPACE, bucket, "o", upload.data.upload_id, 1, b"part", **conditions)

    assert refused(put, if_match=etag) == (412, "IfMatchFailed")
    part = put(if_none_match="*").headers["etag"]
    assert refused(put, if_none_match="*") == (412, "IfNoneMatchFailed")
    assert put(if_match=part).headers["etag"] != part


def test_response_overrides(client: ObjectStorageClient, make: Callable[..., str]) -> None:
    """The query's httpResponse... parameters replace the headers of the reply."""
    bucket = make()
    client.put_object(NAMESPACE, bucket, "o", b"x", content_type="text/own")
    names = ("content_type", "content_disposition", "cache_control", "content_language", "content_encoding")
    asked = {f"http_response_{name}": f"own-{name}" for name in names}
    headers = client.get_object(NAMESPACE, bucket, "o", **asked).headers
    assert {name: headers[name.replace("_", "-")] for name in names} == {name: f"own-{name}" for name in names}


def test_refusals_by_assumption(start_emulator: Callable[..., Emulator]) -> None:
    """Where nobody knows OCI's status, the other one can be had: retention and a second restoration."""
    emulator = start_emulator(assume={"retention-403": True, "restore-conflicts": True})
    where = f"/n/{NAMESPACE}/b/{BUCKET}"
    emulator.put(BUCKET, "o", b"x", {"storage-tier": "Archive"})
    restore = {"objectName": "o"}
    assert emulator.call("POST", f"{where}/actions/restoreObjects", restore).status == 202
    again = emulator.call("POST", f"{where}/actions/restoreObjects", restore)
    assert (again.status, again.json["code"]) == (409, "RestoreInProgress")
    assert emulator.call("POST", f"{where}/retentionRules", {"displayName": "hold"}).status == 200
    held = emulator.call("DELETE", emulator.object_path(BUCKET, "o"))
    assert (held.status, held.json["code"]) == (403, "ObjectProtectedByRetentionRule")
