"""The emulator's S3 API over a socket, by a signer of our own; boto3 is a judge of its own (`make clients`)."""

import base64
import hashlib
import itertools
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import crc32c
import pytest
from emulator import NAMESPACE, Emulator, Reply, compartment_id, make_seed
from s3_signer import S3, parts_xml, refusal, texts, with_secret_key, xml

BUCKETS = itertools.count(1)
MIB = 1 << 20
Start = Callable[..., Emulator]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One emulator for all tests of this file; each has a bucket of its own."""
    folder: Path = tmp_path_factory.mktemp("s3")
    seed = make_seed(folder / "seed", compartments=("main", "landing"), change=with_secret_key)
    emulator = Emulator(seed, folder / "state", ("--idle-timeout", "60")).start()
    yield emulator
    left = emulator.unconsumed()
    emulator.stop()
    assert not left


@pytest.fixture
def s3(cloud: Emulator) -> S3:
    return S3(cloud)


@pytest.fixture
def bucket(s3: S3) -> str:
    name = f"bucket-{next(BUCKETS)}"
    assert s3.call("PUT", f"/{name}").status == 200
    return name


def md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data).digest()).decode()


def put(s3: S3, bucket: str, key: str, data: bytes = b"x", **headers: str) -> Reply:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    reply = s3.call("PUT", f"/{bucket}/{key}", data, sent)
    assert reply.status == 200, reply
    return reply


def etag(data: bytes) -> str:
    return f'"{hashlib.md5(data).hexdigest()}"'


# ---------------------------------------------------------------- who may


def test_wrong_secret_key_and_region(s3: S3, bucket: str) -> None:
    """A wrong secret, an unknown key and a foreign region are refused, each with S3's own code."""
    s3.secret = "wrong"
    assert refusal(s3.call("GET", f"/{bucket}")) == (403, "SignatureDoesNotMatch")
    s3.access = "nobody"
    assert refusal(s3.call("GET", f"/{bucket}")) == (403, "InvalidAccessKeyId")
    s3.region = "eu-west-1"
    assert refusal(s3.call("GET", f"/{bucket}")) == (400, "AuthorizationHeaderMalformed")


def test_home_region_by_its_classic_name(s3: S3, bucket: str) -> None:
    """An application that can only say us-east-1 gets the home region."""
    s3.region = "us-east-1"
    assert s3.call("HEAD", f"/{bucket}").status == 200


@pytest.mark.parametrize("skew", [-1000.0, 1000.0])
def test_skewed_clock(s3: S3, bucket: str, skew: float) -> None:
    """A request from more than 15 minutes ago, or ahead, is refused."""
    s3.skew = skew
    assert refusal(s3.call("GET", f"/{bucket}")) == (403, "RequestTimeTooSkewed")


def test_body_that_was_not_signed(s3: S3, bucket: str) -> None:
    """Another body than the signed one leaves nothing behind."""
    digest = hashlib.sha256(b"signed").hexdigest()
    assert refusal(s3.call("PUT", f"/{bucket}/o", b"sent", payload=digest)) == (400, "XAmzContentSHA256Mismatch")
    assert refusal(s3.call("GET", f"/{bucket}/o")) == (404, "NoSuchKey")
    assert s3.call("PUT", f"/{bucket}/o", b"sent", payload="UNSIGNED-PAYLOAD").status == 200


def test_header_added_on_the_way(s3: S3, bucket: str) -> None:
    """An x-amz header that the signature does not cover is refused."""
    added = {"x-amz-meta-a": "b"}
    assert refusal(s3.call("PUT", f"/{bucket}/o", b"x", unsigned=added)) == (403, "AccessDenied")


@pytest.mark.parametrize(
    ("payload", "headers"),
    [
        ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", {}),
        ("STREAMING-UNSIGNED-PAYLOAD-TRAILER", {"x-amz-trailer": "x-amz-checksum-crc32"}),
        ("UNSIGNED-PAYLOAD", {"content-encoding": "gzip, aws-chunked"}),
    ],
)
def test_chunked_bodies(s3: S3, bucket: str, payload: str, headers: dict[str, str]) -> None:
    """Aws-chunked bodies are refused as OCI refuses them."""
    reply = s3.call("PUT", f"/{bucket}/o", b"0;chunk-signature=0\r\n\r\n", headers, payload=payload)
    assert refusal(reply) == (501, "NotImplemented")
    assert b"AWS chunked encoding not supported" in reply.body


def test_presigned(s3: S3, cloud: Emulator, bucket: str) -> None:
    """A presigned URL works for its method, its path and its time only, and not with a byte changed."""
    path = s3.presigned("PUT", f"/{bucket}/a b")
    assert cloud.send("PUT", path, b"data").status == 200
    assert refusal(cloud.send("GET", path)) == (403, "SignatureDoesNotMatch")
    good = s3.presigned("GET", f"/{bucket}/a b", query={"response-content-type": "text/x-own"})
    reply = cloud.send("GET", good)
    assert (reply.body, reply.headers["content-type"]) == (b"data", "text/x-own")
    changed = good[:-1] + ("0" if good[-1] != "0" else "1")
    assert refusal(cloud.send("GET", changed)) == (403, "SignatureDoesNotMatch")
    assert refusal(cloud.send("GET", good.replace("/a%20b", "/other"))) == (403, "SignatureDoesNotMatch")
    s3.skew = -120
    assert refusal(cloud.send("GET", s3.presigned("GET", f"/{bucket}/a b"))) == (403, "AccessDenied")


def test_advanced_clock_leaves_signatures(start_emulator: Start) -> None:
    """The virtual clock rules neither the skew nor the life of presigned URLs: clients live by the real one."""
    emulator = start_emulator(change=with_secret_key)
    s3 = S3(emulator)
    path = s3.presigned("PUT", "/exports/o")
    emulator.control("POST", "clock", {"advanceSeconds": 100_000})
    assert emulator.send("PUT", path, b"x").status == 200
    assert s3.call("GET", "/exports/o").body == b"x"


def test_compat_host(s3: S3, cloud: Emulator, bucket: str) -> None:
    """On a compat host everything is S3; the namespace in it must be ours, and nobody gets in without a signature."""
    s3.host = f"{NAMESPACE}.compat.objectstorage.us-ashburn-1.oraclecloud.com"
    assert s3.call("HEAD", f"/{bucket}").status == 200
    unsigned = {"host": s3.host}
    assert refusal(cloud.send("GET", "/", headers=unsigned)) == (403, "AccessDenied")
    assert refusal(cloud.send("GET", f"/{bucket}", headers=unsigned)) == (404, "NoSuchBucket")
    s3.host = "other.compat.objectstorage.us-ashburn-1.oraclecloud.com"
    assert refusal(s3.call("GET", f"/{bucket}")) == (403, "AccessDenied")


def test_public_bucket(s3: S3, cloud: Emulator, bucket: str) -> None:
    """What the native API made public, S3 gives to anybody, and takes from nobody."""
    put(s3, bucket, "o", b"open")
    native = cloud.call("POST", f"/n/{NAMESPACE}/b/{bucket}", {"publicAccessType": "ObjectRead"})
    assert native.status == 200
    host = {"host": f"{NAMESPACE}.compat.objectstorage.us-ashburn-1.oraclecloud.com"}
    assert cloud.send("GET", f"/{bucket}/o", headers=host).body == b"open"
    assert texts(xml(cloud.send("GET", f"/{bucket}?list-type=2", headers=host)), "Contents/Key") == ["o"]
    assert refusal(cloud.send("PUT", f"/{bucket}/o", b"x", host)) == (403, "AccessDenied")


def test_denied_user(start_emulator: Start) -> None:
    """What the user may not do natively, the user's secret key may not do either."""

    def change(seed: dict[str, Any]) -> None:
        with_secret_key(seed)
        seed["users"][0]["denied"] = ["PutObject"]

    s3 = S3(start_emulator(change=change))
    assert refusal(s3.call("PUT", "/exports/o", b"x")) == (404, "NoSuchBucket")
    assert s3.call("GET", "/exports").status == 200


# ---------------------------------------------------------------- buckets


def test_buckets_land_in_the_designated_compartment(s3: S3, cloud: Emulator) -> None:
    """Buckets made by S3 lie where the namespace says, and only those of that compartment are listed."""
    where = f"/n/{NAMESPACE}"
    root = cloud.call("GET", where).json["defaultS3CompartmentId"]
    assert root == cloud.seed.value["tenancyId"]
    landing = compartment_id("landing")
    told = cloud.call("PUT", where, {"defaultS3CompartmentId": landing})
    assert (told.status, told.json["defaultS3CompartmentId"]) == (200, landing)
    assert cloud.call("PUT", where, {"defaultS3CompartmentId": "ocid1.compartment.oc1..none"}).status == 404
    try:
        assert s3.call("PUT", "/landed").status == 200
        assert cloud.call("GET", f"/n/{NAMESPACE}/b/landed").json["compartmentId"] == landing
        assert texts(xml(s3.call("GET", "/")), "Buckets/Bucket/Name") == ["landed"]
        assert s3.call("HEAD", "/exports").status == 200
    finally:
        assert s3.call("DELETE", "/landed").status == 204
        assert cloud.call("PUT", where, {"defaultS3CompartmentId": root}).status == 200


def test_bucket_refusals(s3: S3, bucket: str) -> None:
    """A second bucket of a name, a bad name, a full one to delete and a missing one are refused in S3's words."""
    assert refusal(s3.call("PUT", f"/{bucket}")) == (409, "BucketAlreadyExists")
    assert refusal(s3.call("PUT", "/a*b")) == (400, "InvalidBucketName")
    put(s3, bucket, "o")
    assert refusal(s3.call("DELETE", f"/{bucket}")) == (409, "BucketNotEmpty")
    assert refusal(s3.call("GET", "/none")) == (404, "NoSuchBucket")
    assert refusal(s3.call("GET", "/none/o")) == (404, "NoSuchBucket")
    constraint = b"<CreateBucketConfiguration><LocationConstraint>mars</LocationConstraint></CreateBucketConfiguration>"
    assert refusal(s3.call("PUT", "/fresh", constraint)) == (400, "InvalidLocationConstraint")


def test_location_tags_and_versioning(s3: S3, cloud: Emulator, bucket: str) -> None:
    """Location, tags and versioning are those of the native bucket."""
    assert xml(s3.call("GET", f"/{bucket}", query={"location": ""})).text == "us-ashburn-1"
    assert refusal(s3.call("GET", f"/{bucket}", query={"tagging": ""})) == (404, "NoSuchTagSet")
    tags = b"<Tagging><TagSet><Tag><Key>a</Key><Value>&lt;b&gt;</Value></Tag></TagSet></Tagging>"
    assert s3.call("PUT", f"/{bucket}", tags, query={"tagging": ""}).status == 204
    assert cloud.call("GET", f"/n/{NAMESPACE}/b/{bucket}").json["freeformTags"] == {"a": "<b>"}
    assert texts(xml(s3.call("GET", f"/{bucket}", query={"tagging": ""})), "TagSet/Tag/Value") == ["<b>"]
    assert s3.call("DELETE", f"/{bucket}", query={"tagging": ""}).status == 204
    assert texts(xml(s3.call("GET", f"/{bucket}", query={"versioning": ""})), "Status") == []
    body = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    assert s3.call("PUT", f"/{bucket}", body, query={"versioning": ""}).status == 200
    assert texts(xml(s3.call("GET", f"/{bucket}", query={"versioning": ""})), "Status") == ["Enabled"]
    assert cloud.call("GET", f"/n/{NAMESPACE}/b/{bucket}").json["versioning"] == "Enabled"


# ---------------------------------------------------------------- objects


@pytest.mark.parametrize("key", ["plain", "dir/a b+c", "/lead//double/", "é/漢", "per%25cent", "a&b<c>'\"", "~.-_"])
def test_names(s3: S3, cloud: Emulator, bucket: str, key: str) -> None:
    """Any name is the same object for both APIs, and is listed as it is."""
    put(s3, bucket, key, b"data")
    assert cloud.get(bucket, key).body == b"data"
    assert texts(xml(s3.call("GET", f"/{bucket}")), "Contents/Key") == [key]
    encoded = xml(s3.call("GET", f"/{bucket}", query={"encoding-type": "url"}))
    assert texts(encoded, "Contents/Key")[0].isascii()
    assert s3.call("DELETE", f"/{bucket}/{key}").status == 204
    assert cloud.get(bucket, key).status == 404


def test_description_of_an_object(s3: S3, cloud: Emulator, bucket: str) -> None:
    """Metadata, content headers, etag and checksums are those of the body, for both APIs."""
    data = b"described"
    sum32c = base64.b64encode(crc32c.crc32c(data).to_bytes(4, "big")).decode()
    headers = {"content-type": "text/x", "x-amz-meta-K": "v", "x-amz-checksum-crc32c": sum32c, "content-md5": md5(data)}
    reply = s3.call("PUT", f"/{bucket}/o", data, headers)
    assert (reply.status, reply.headers["etag"]) == (200, etag(data))
    head = s3.call("HEAD", f"/{bucket}/o", headers={"x-amz-checksum-mode": "ENABLED"})
    assert head.headers["x-amz-meta-k"] == "v"
    assert (head.headers["content-type"], head.headers["content-length"]) == ("text/x", str(len(data)))
    assert (head.headers["etag"], head.headers["x-amz-checksum-crc32c"]) == (etag(data), sum32c)
    assert "opc-content-crc32c" not in head.headers
    native = cloud.get(bucket, "o")
    assert (native.headers["opc-meta-k"], native.headers["opc-content-crc32c"]) == ("v", sum32c)


@pytest.mark.parametrize(
    ("header", "value", "code"),
    [
        ("content-md5", md5(b"other"), "BadDigest"),
        ("content-md5", "no", "InvalidDigest"),
        ("x-amz-checksum-crc32c", "AAAAAA==", "BadDigest"),
        ("x-amz-checksum-sha256", base64.b64encode(bytes(32)).decode(), "BadDigest"),
        ("x-amz-checksum-crc32", "AAAAAA==", "BadDigest"),
        ("x-amz-checksum-sha1", base64.b64encode(bytes(20)).decode(), "BadDigest"),
        ("x-amz-storage-class", "GOLD", "InvalidStorageClass"),
    ],
)
def test_put_that_is_refused(s3: S3, bucket: str, header: str, value: str, code: str) -> None:
    """A body that does not fit a checksum, and what S3 does not know, is refused and leaves nothing."""
    assert refusal(s3.call("PUT", f"/{bucket}/o", b"data", {header: value})) == (400, code)
    assert refusal(s3.call("GET", f"/{bucket}/o")) == (404, "NoSuchKey")


def test_ranges(s3: S3, bucket: str) -> None:
    """Ranges work as natively, and one beyond the end is refused."""
    data = bytes(range(256))
    put(s3, bucket, "o", data)
    part = s3.call("GET", f"/{bucket}/o", headers={"range": "bytes=10-19"})
    assert (part.status, part.body, part.headers["content-range"]) == (206, data[10:20], "bytes 10-19/256")
    assert s3.call("GET", f"/{bucket}/o", headers={"range": "bytes=-6"}).body == data[-6:]
    assert refusal(s3.call("GET", f"/{bucket}/o", headers={"range": "bytes=256-"})) == (416, "InvalidRange")
    assert refusal(s3.call("GET", f"/{bucket}/o", query={"partNumber": "1"})) == (501, "NotImplemented")


def test_conditions(s3: S3, bucket: str) -> None:
    """If-Match and If-None-Match go by S3's etag, the dates by the last change."""
    good, path = put(s3, bucket, "o", b"data").headers["etag"], f"/{bucket}/o"
    assert s3.call("GET", path, headers={"if-match": good}).status == 200
    assert refusal(s3.call("GET", path, headers={"if-match": '"other"'})) == (412, "PreconditionFailed")
    assert s3.call("GET", path, headers={"if-none-match": good}).status == 304
    modified = s3.call("HEAD", path).headers["last-modified"]
    assert s3.call("GET", path, headers={"if-modified-since": modified}).status == 304
    past = "Thu, 01 Jan 2015 00:00:00 GMT"
    assert refusal(s3.call("GET", path, headers={"if-unmodified-since": past})) == (412, "PreconditionFailed")
    assert refusal(s3.call("PUT", path, b"new", {"if-none-match": "*"})) == (412, "PreconditionFailed")
    assert refusal(s3.call("PUT", path, b"new", {"if-match": '"other"'})) == (412, "PreconditionFailed")
    assert s3.call("PUT", path, b"new", {"if-match": good}).status == 200
    assert refusal(s3.call("DELETE", path, headers={"if-match": good})) == (412, "PreconditionFailed")


def test_copies(s3: S3, bucket: str) -> None:
    """A copy keeps or replaces the description, obeys conditions, and may not be of an object to itself unchanged."""
    put(s3, bucket, "a b", b"data", content_type="text/x", x_amz_meta_k="v")
    source = f"/{bucket}/a%20b"
    result = xml(s3.call("PUT", f"/{bucket}/kept", headers={"x-amz-copy-source": source}))
    assert texts(result, "ETag") == [etag(b"data")]
    kept = s3.call("GET", f"/{bucket}/kept")
    assert (kept.body, kept.headers["content-type"], kept.headers["x-amz-meta-k"]) == (b"data", "text/x", "v")
    replaced = {"x-amz-copy-source": source, "x-amz-metadata-directive": "REPLACE", "x-amz-meta-n": "w"}
    assert s3.call("PUT", f"/{bucket}/a b", headers=replaced).status == 200
    head = s3.call("HEAD", f"/{bucket}/a b")
    assert ("x-amz-meta-k" in head.headers, head.headers["x-amz-meta-n"]) == (False, "w")
    own = {"x-amz-copy-source": source}
    assert refusal(s3.call("PUT", f"/{bucket}/a b", headers=own)) == (400, "InvalidRequest")
    stale = {**own, "x-amz-copy-source-if-match": '"other"'}
    assert refusal(s3.call("PUT", f"/{bucket}/c", headers=stale)) == (412, "PreconditionFailed")
    none = {"x-amz-copy-source": f"/{bucket}/none"}
    assert refusal(s3.call("PUT", f"/{bucket}/c", headers=none)) == (404, "NoSuchKey")


def sse(key: bytes, prefix: str = "x-amz-server-side-encryption-customer-") -> dict[str, str]:
    return {
        prefix + "algorithm": "AES256",
        prefix + "key": base64.b64encode(key).decode(),
        prefix + "key-md5": md5(key),
    }


def test_customer_keys_of_objects(s3: S3, cloud: Emulator, bucket: str) -> None:
    """An object with a customer's key is read, by either API, with that key only, and copied with the source's key."""
    key, path = bytes(range(32)), f"/{bucket}/o"
    assert s3.call("PUT", path, b"secret", sse(key)).status == 200
    assert refusal(s3.call("GET", path)) == (400, "InvalidRequest")
    assert s3.call("GET", path, headers=sse(key)).body == b"secret"
    assert cloud.get(bucket, "o").status == 400
    bad = {**sse(key), "x-amz-server-side-encryption-customer-key-md5": md5(b"other")}
    assert refusal(s3.call("GET", path, headers=bad)) == (400, "InvalidArgument")
    copy = {"x-amz-copy-source": path}
    assert refusal(s3.call("PUT", f"/{bucket}/c", headers=copy)) == (400, "InvalidRequest")
    copy |= sse(key, "x-amz-copy-source-server-side-encryption-customer-")
    assert s3.call("PUT", f"/{bucket}/c", headers=copy).status == 200
    assert s3.call("GET", f"/{bucket}/c").body == b"secret"


def test_delete_is_silent_about_absence(s3: S3, bucket: str) -> None:
    """Deleting what is not there succeeds, in a bucket that is there."""
    assert s3.call("DELETE", f"/{bucket}/none").status == 204
    assert refusal(s3.call("DELETE", "/none/o")) == (404, "NoSuchBucket")


def delete_xml(*keys: str, quiet: bool = False) -> bytes:
    rows = "".join(f"<Object><Key>{key}</Key></Object>" for key in keys)
    return f"<Delete>{rows}<Quiet>{str(quiet).lower()}</Quiet></Delete>".encode()


def test_batch_delete(s3: S3, bucket: str) -> None:
    """DeleteObjects needs a checksum that OCI knows, deletes the named keys, and can be quiet about it."""
    for key in ("a", "b", "c"):
        put(s3, bucket, key)
    body, query = delete_xml("a", "none"), {"delete": ""}
    crc = {"x-amz-checksum-crc32": base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()}
    for headers in ({}, crc):
        reply = s3.call("POST", f"/{bucket}", body, headers, query=query)
        assert refusal(reply) == (400, "InvalidRequest")
        assert b"Content-MD5" in reply.body
    wrong = {"content-md5": md5(b"other")}
    assert refusal(s3.call("POST", f"/{bucket}", body, wrong, query=query)) == (400, "BadDigest")
    result = xml(s3.call("POST", f"/{bucket}", body, {"content-md5": md5(body)}, query=query))
    assert texts(result, "Deleted/Key") == ["a", "none"]
    quiet = delete_xml("b", quiet=True)
    sums = {"x-amz-checksum-sha256": base64.b64encode(hashlib.sha256(quiet).digest()).decode()}
    assert texts(xml(s3.call("POST", f"/{bucket}", quiet, sums, query=query)), "Deleted/Key") == []
    assert texts(xml(s3.call("GET", f"/{bucket}")), "Contents/Key") == ["c"]
    many = delete_xml(*(f"k{n}" for n in range(1001)))
    assert refusal(s3.call("POST", f"/{bucket}", many, {"content-md5": md5(many)}, query=query)) == (
        400,
        "MalformedXML",
    )
    bomb = b'<!DOCTYPE a [<!ENTITY b "b">]><Delete><Object><Key>&b;</Key></Object></Delete>'
    assert refusal(s3.call("POST", f"/{bucket}", bomb, {"content-md5": md5(bomb)}, query=query)) == (
        400,
        "MalformedXML",
    )


def test_retention_holds(s3: S3, cloud: Emulator, bucket: str) -> None:
    """A native retention rule stops overwrites, deletes, copies and commits by S3, each key of a batch by itself."""
    put(s3, bucket, "held", b"keep")
    rule = cloud.call("POST", f"/n/{NAMESPACE}/b/{bucket}/retentionRules", {"displayName": "hold"})
    assert rule.status == 200
    held, path = (409, "ObjectProtectedByRetentionRule"), f"/{bucket}/held"
    assert refusal(s3.call("PUT", path, b"new")) == held
    assert refusal(s3.call("DELETE", path)) == held
    assert s3.call("PUT", f"/{bucket}/other", b"new").status == 200
    copy = {"x-amz-copy-source": f"/{bucket}/other"}
    assert refusal(s3.call("PUT", path, headers=copy)) == held
    body = delete_xml("held", "none")
    result = xml(s3.call("POST", f"/{bucket}", body, {"content-md5": md5(body)}, query={"delete": ""}))
    assert (texts(result, "Error/Key"), texts(result, "Deleted/Key")) == (["held"], ["none"])
    assert s3.call("GET", path).body == b"keep"


def test_versions(s3: S3, bucket: str) -> None:
    """With versioning each write has an id, a delete leaves a marker, and any version is read or deleted by its id."""
    body = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    assert s3.call("PUT", f"/{bucket}", body, query={"versioning": ""}).status == 200
    ids = [put(s3, bucket, "o", data).headers["x-amz-version-id"] for data in (b"1", b"2")]
    gone = s3.call("DELETE", f"/{bucket}/o")
    assert (gone.status, gone.headers["x-amz-delete-marker"]) == (204, "true")
    assert refusal(s3.call("GET", f"/{bucket}/o")) == (404, "NoSuchKey")
    assert s3.call("GET", f"/{bucket}/o", query={"versionId": ids[0]}).body == b"1"
    assert refusal(s3.call("GET", f"/{bucket}/o", query={"versionId": "none"})) == (404, "NoSuchVersion")
    versions: list[str] = []
    query = {"versions": "", "max-keys": "1"}
    while True:
        page = xml(s3.call("GET", f"/{bucket}", query=query))
        versions += texts(page, "DeleteMarker/VersionId") + texts(page, "Version/VersionId")
        if texts(page, "IsTruncated") == ["false"]:
            break
        markers = texts(page, "NextKeyMarker") + texts(page, "NextVersionIdMarker")
        query |= dict(zip(("key-marker", "version-id-marker"), markers, strict=True))
    assert versions == [gone.headers["x-amz-version-id"], ids[1], ids[0]]
    for version in versions:
        assert s3.call("DELETE", f"/{bucket}/o", query={"versionId": version}).status == 204
    assert s3.call("DELETE", f"/{bucket}").status == 204


def test_versions_below_common_prefixes(s3: S3, bucket: str) -> None:
    """A list of versions with a delimiter names each common prefix once, page by page."""
    for key in ("a", "d/1", "d/2", "d0", "e/1"):
        put(s3, bucket, key)
    names: list[str] = []
    query = {"versions": "", "max-keys": "1", "delimiter": "/"}
    while True:
        page = xml(s3.call("GET", f"/{bucket}", query=query))
        names += texts(page, "Version/Key") + texts(page, "CommonPrefixes/Prefix")
        if texts(page, "IsTruncated") == ["false"]:
            break
        query["key-marker"] = texts(page, "NextKeyMarker")[0]
        query["version-id-marker"] = "".join(texts(page, "NextVersionIdMarker"))
    assert names == ["a", "d/", "d0", "e/"]


def test_archive_and_restore(start_emulator: Start) -> None:
    """An archived object is not read until it is restored, for its days by the virtual clock."""
    emulator = start_emulator(change=with_secret_key)
    s3, path = S3(emulator), "/exports/o"
    put(s3, "exports", "o", b"cold", x_amz_storage_class="GLACIER")
    assert s3.call("HEAD", path).headers["x-amz-storage-class"] == "GLACIER"
    assert refusal(s3.call("GET", path)) == (403, "InvalidObjectState")
    body, query = b"<RestoreRequest><Days>2</Days></RestoreRequest>", {"restore": ""}
    assert s3.call("POST", path, body, query=query).status == 202
    assert s3.call("HEAD", path).headers["x-amz-restore"] == 'ongoing-request="true"'
    assert refusal(s3.call("POST", path, body, query=query)) == (409, "RestoreAlreadyInProgress")
    emulator.control("POST", "clock", {"advanceSeconds": 3601})
    assert s3.call("GET", path).body == b"cold"
    assert 'ongoing-request="false", expiry-date="' in s3.call("HEAD", path).headers["x-amz-restore"]
    emulator.control("POST", "clock", {"advanceSeconds": 2 * 86400})
    assert refusal(s3.call("GET", path)) == (403, "InvalidObjectState")


# ---------------------------------------------------------------- lists


def listed(s3: S3, bucket: str, version: int, size: int, **query: str) -> tuple[list[str], list[str]]:
    """All keys and common prefixes, page by page."""
    keys: list[str] = []
    prefixes: list[str] = []
    asked = {"max-keys": str(size), **query} | ({"list-type": "2"} if version == 2 else {})
    while True:
        page = xml(s3.call("GET", f"/{bucket}", query=asked))
        found, groups = texts(page, "Contents/Key"), texts(page, "CommonPrefixes/Prefix")
        assert len(found) + len(groups) <= size
        keys, prefixes = keys + found, prefixes + groups
        if texts(page, "IsTruncated") == ["false"]:
            return keys, prefixes
        if version == 2:
            asked["continuation-token"] = texts(page, "NextContinuationToken")[0]
        else:
            asked["marker"] = (texts(page, "NextMarker") or [found[-1]])[0]


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("size", [1, 2, 1000])
def test_lists(s3: S3, bucket: str, version: int, size: int) -> None:
    """Both list calls give every key and every common prefix once, in order, whatever the page size."""
    names = ["a", "d/1", "d/2", "d/e/3", "e", "f/", "f/1", "é"]
    for name in reversed(names):
        put(s3, bucket, name)
    assert listed(s3, bucket, version, size) == (names, [])
    assert listed(s3, bucket, version, size, delimiter="/") == (["a", "e", "é"], ["d/", "f/"])
    assert listed(s3, bucket, version, size, prefix="d/", delimiter="/") == (["d/1", "d/2"], ["d/e/"])
    after = {"start-after": "d/2"} if version == 2 else {"marker": "d/2"}
    assert listed(s3, bucket, version, size, **after) == (names[3:], [])


def test_empty_page(s3: S3, bucket: str) -> None:
    """Asked for no keys, a list has none and is not truncated; a bad number is refused."""
    put(s3, bucket, "a")
    page = xml(s3.call("GET", f"/{bucket}", query={"list-type": "2", "max-keys": "0"}))
    assert (texts(page, "KeyCount"), texts(page, "IsTruncated")) == (["0"], ["false"])
    for number in ("x", "-1", "9" * 5000):
        assert refusal(s3.call("GET", f"/{bucket}", query={"max-keys": number})) == (400, "InvalidArgument")


# ---------------------------------------------------------------- multipart


def begin(s3: S3, bucket: str, key: str, headers: dict[str, str] | None = None) -> str:
    reply = s3.call("POST", f"/{bucket}/{key}", headers=headers, query={"uploads": ""})
    return texts(xml(reply), "UploadId")[0]


def part(s3: S3, bucket: str, key: str, upload: str, *numbered: Any) -> str:
    """Upload a part, given as its number and its data; returns its etag."""
    number, data = numbered
    reply = s3.call("PUT", f"/{bucket}/{key}", data, query={"uploadId": upload, "partNumber": str(number)})
    assert reply.status == 200, reply
    return reply.headers["etag"]


def test_multipart(s3: S3, cloud: Emulator, bucket: str) -> None:
    """Parts in any order make the object; its etag is the MD5 of the parts' MD5s; nothing of the upload is left."""
    pieces = {1: b"a" * MIB, 3: b"b" * MIB, 7: b"c"}
    upload = begin(s3, bucket, "o", {"content-type": "text/x", "x-amz-meta-k": "v"})
    etags = {n: part(s3, bucket, "o", upload, n, pieces[n]) for n in (7, 1, 3)}
    assert etags[7] == etag(b"c")
    page = xml(s3.call("GET", f"/{bucket}/o", query={"uploadId": upload, "max-parts": "2"}))
    assert (texts(page, "Part/PartNumber"), texts(page, "NextPartNumberMarker")) == (["1", "3"], ["3"])
    rest = xml(s3.call("GET", f"/{bucket}/o", query={"uploadId": upload, "part-number-marker": "3"}))
    assert (texts(rest, "Part/PartNumber"), texts(rest, "Part/Size")) == (["7"], ["1"])
    body = parts_xml({n: etags[n] for n in (1, 3, 7)})
    done = xml(s3.call("POST", f"/{bucket}/o", body, query={"uploadId": upload}))
    joined = b"".join(hashlib.md5(pieces[n]).digest() for n in (1, 3, 7))
    assert texts(done, "ETag") == [f'"{hashlib.md5(joined).hexdigest()}-3"']
    got = s3.call("GET", f"/{bucket}/o")
    assert (got.body, got.headers["content-type"]) == (b"".join(pieces[n] for n in (1, 3, 7)), "text/x")
    assert (got.headers["x-amz-meta-k"], [got.headers["etag"]]) == ("v", texts(done, "ETag"))
    assert cloud.get(bucket, "o").headers["opc-multipart-md5"].endswith("-3")
    assert refusal(s3.call("GET", f"/{bucket}/o", query={"uploadId": upload})) == (404, "NoSuchUpload")


def test_commits_that_are_refused(s3: S3, bucket: str) -> None:
    """Parts out of order, with another etag, unknown, or none at all are refused, and the upload stays."""
    upload = begin(s3, bucket, "o")
    tags = {n: part(s3, bucket, "o", upload, n, b"data") for n in (1, 2)}
    query = {"uploadId": upload}
    for body, code in (
        (parts_xml({2: tags[2], 1: tags[1]}), "InvalidPartOrder"),
        (parts_xml({1: '"other"'}), "InvalidPart"),
        (parts_xml({3: tags[1]}), "InvalidPart"),
        (b"<CompleteMultipartUpload/>", "MalformedXML"),
        (parts_xml({1: tags[1]}).replace(b">1<", b">" + b"9" * 5000 + b"<"), "MalformedXML"),
        (b"no xml", "MalformedXML"),
    ):
        assert refusal(s3.call("POST", f"/{bucket}/o", body, query=query)) == (400, code)
    assert s3.call("POST", f"/{bucket}/o", parts_xml(tags), query=query).status == 200
    reply = s3.call("PUT", f"/{bucket}/o", b"x", query={"uploadId": upload, "partNumber": "1"})
    assert refusal(reply) == (404, "NoSuchUpload")
    reply = s3.call("PUT", f"/{bucket}/o", b"x", query={"uploadId": begin(s3, bucket, "o"), "partNumber": "10001"})
    assert refusal(reply) == (400, "InvalidArgument")


def test_create_only_commit(s3: S3, bucket: str) -> None:
    """A commit with If-None-Match does not replace what came meanwhile."""
    upload = begin(s3, bucket, "o")
    tags = {1: part(s3, bucket, "o", upload, 1, b"mine")}
    put(s3, bucket, "o", b"theirs")
    reply = s3.call("POST", f"/{bucket}/o", parts_xml(tags), {"if-none-match": "*"}, query={"uploadId": upload})
    assert refusal(reply) == (412, "PreconditionFailed")
    assert s3.call("GET", f"/{bucket}/o").body == b"theirs"


def test_part_copy(s3: S3, bucket: str) -> None:
    """A part may be a range of another object, itself made of parts."""
    upload = begin(s3, bucket, "source")
    tags = {n: part(s3, bucket, "source", upload, n, data) for n, data in ((1, b"abcd"), (2, b"efgh"))}
    assert s3.call("POST", f"/{bucket}/source", parts_xml(tags), query={"uploadId": upload}).status == 200
    upload = begin(s3, bucket, "copy")
    query = {"uploadId": upload, "partNumber": "1"}
    headers = {"x-amz-copy-source": f"{bucket}/source", "x-amz-copy-source-range": "bytes=2-5"}
    tag = texts(xml(s3.call("PUT", f"/{bucket}/copy", headers=headers, query=query)), "ETag")[0]
    assert tag == etag(b"cdef")
    beyond = {**headers, "x-amz-copy-source-range": "bytes=8-9"}
    assert refusal(s3.call("PUT", f"/{bucket}/copy", headers=beyond, query=query)) == (416, "InvalidRange")
    whole = {**query, "partNumber": "2"}
    reply = s3.call("PUT", f"/{bucket}/copy", headers={"x-amz-copy-source": f"{bucket}/source"}, query=whole)
    tags = {1: tag, 2: texts(xml(reply), "ETag")[0]}
    assert s3.call("POST", f"/{bucket}/copy", parts_xml(tags), query={"uploadId": upload}).status == 200
    assert s3.call("GET", f"/{bucket}/copy").body == b"cdefabcdefgh"


def test_list_of_uploads(s3: S3, cloud: Emulator, bucket: str) -> None:
    """Open uploads, those begun natively too, are listed by name and page by page, until they are aborted."""
    begun = [(key, begin(s3, bucket, key)) for key in ("b", "a", "a")]
    native = cloud.call("POST", f"/n/{NAMESPACE}/b/{bucket}/u", {"object": "c"}).json["uploadId"]
    found: list[tuple[str, str]] = []
    query = {"uploads": "", "max-uploads": "1"}
    while True:
        page = xml(s3.call("GET", f"/{bucket}", query=query))
        found += zip(texts(page, "Upload/Key"), texts(page, "Upload/UploadId"), strict=True)
        if texts(page, "IsTruncated") == ["false"]:
            break
        markers = texts(page, "NextKeyMarker") + texts(page, "NextUploadIdMarker")
        query |= dict(zip(("key-marker", "upload-id-marker"), markers, strict=True))
    assert found == sorted([*begun, ("c", native)])
    only = xml(s3.call("GET", f"/{bucket}", query={"uploads": "", "prefix": "a"}))
    assert texts(only, "Upload/Key") == ["a", "a"]
    for key, upload in found:
        assert s3.call("DELETE", f"/{bucket}/{key}", query={"uploadId": upload}).status == 204
    assert texts(xml(s3.call("GET", f"/{bucket}", query={"uploads": ""})), "Upload/Key") == []


# ---------------------------------------------------------------- faults and the log


def test_faults_and_log(s3: S3, cloud: Emulator, bucket: str) -> None:
    """S3 operations are faulted and logged under their own names; an error comes in XML with the request's id."""
    put(s3, bucket, "o", b"whole")
    cloud.fault("S3GetObject", "error", status=429, code="TooManyRequests", objectName="o")
    reply = s3.call("GET", f"/{bucket}/o")
    assert refusal(reply) == (429, "TooManyRequests")
    assert reply.headers["x-amz-request-id"].encode() in reply.body
    cloud.fault("S3GetObject", "flip-byte", at=0)
    assert s3.call("GET", f"/{bucket}/o").body == b"vhole"
    operations = [entry["operation"] for entry in cloud.log() if f"/{bucket}/o" in entry["path"]]
    assert operations == ["S3PutObject", "S3GetObject", "S3GetObject"]


def test_restart(start_emulator: Start) -> None:
    """What S3 wrote is there after a kill; the designated compartment, too."""
    emulator = start_emulator(change=with_secret_key)
    s3 = S3(emulator)
    where = compartment_id("main")
    assert emulator.call("PUT", f"/n/{NAMESPACE}", {"defaultS3CompartmentId": where}).status == 200
    put(s3, "exports", "o", b"kept")
    emulator.kill()
    emulator.start()
    assert s3.call("GET", "/exports/o").body == b"kept"
    assert json.loads(emulator.call("GET", f"/n/{NAMESPACE}").body)["defaultS3CompartmentId"] == where
