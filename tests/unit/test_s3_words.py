"""The pure parts of the emulator's S3 API: signatures, XML, the dictionaries."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from s3_signer import canonical_query, encoded, signature_of

from hypersdk_emulator.errors import ServiceError
from hypersdk_emulator.s3 import sigv4, words, xmlbodies
from hypersdk_emulator.s3.routes import ROWS, find

# "Signature Calculations: Examples" in the Amazon S3 API reference.
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
EMPTY = hashlib.sha256(b"").hexdigest()
MOMENT = "20130524T000000Z"
HOST = {"host": "examplebucket.s3.amazonaws.com", "x-amz-date": MOMENT, "x-amz-content-sha256": EMPTY}
WELCOME = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"
EXAMPLES = {
    "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41": (
        "GET",
        "/test.txt",
        "",
        {**HOST, "range": "bytes=0-9"},
    ),
    "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd": (
        "PUT",
        "/test$file.text",
        "",
        {
            **HOST,
            "date": "Fri, 24 May 2013 00:00:00 GMT",
            "x-amz-storage-class": "REDUCED_REDUNDANCY",
            "x-amz-content-sha256": WELCOME,
        },
    ),
    "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543": ("GET", "/", "lifecycle", HOST),
    "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7": ("GET", "/", "max-keys=2&prefix=J", HOST),
}


def authorization(signature: str, names: list[str]) -> str:
    scope = "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request"
    return f"AWS4-HMAC-SHA256 Credential={scope},SignedHeaders={';'.join(names)},Signature={signature}"


@pytest.mark.parametrize("expected", EXAMPLES)
def test_signatures_of_amazons_examples(expected: str) -> None:
    """The four header signatures that Amazon's reference works out come out the same."""
    method, path, query, headers = EXAMPLES[expected]
    sent = {**headers, "authorization": authorization(expected, sorted(headers))}
    wire = sigv4.Wire(method, path, query, sent)
    claim = sigv4.claim(wire)
    sigv4.check_headers(claim, headers)
    canonical = sigv4.canonical_request(wire, claim.signed_headers, claim.payload)
    assert sigv4.signature(SECRET, claim, canonical) == expected == claim.signature


def test_signature_of_amazons_presigned_example() -> None:
    """The presigned URL that Amazon's reference works out has the signature that we compute."""
    expected = "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    query = (
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
        f"&X-Amz-Date={MOMENT}&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature={expected}"
    )
    wire = sigv4.Wire("GET", "/test.txt", query, {"host": HOST["host"]})
    claim = sigv4.claim(wire)
    canonical = sigv4.canonical_request(wire, claim.signed_headers, claim.payload)
    assert (sigv4.signature(SECRET, claim, canonical), claim.expires) == (expected, 86400)
    sigv4.check_time(claim, claim.when + 86399)
    with pytest.raises(ServiceError, match="expired"):
        sigv4.check_time(claim, claim.when + 86400)


@given(st.text(max_size=20), st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=8), max_size=4))
def test_two_signers_agree(name: str, query: dict[str, str]) -> None:
    """The tests' own signer and the emulator agree on any path and query, whatever is in them."""
    headers = {"host": "h:1", "x-amz-content-sha256": "UNSIGNED-PAYLOAD", "x-amz-date": MOMENT}
    path, asked = encoded(f"/b/{name}", "/-_.~"), canonical_query(query)
    names = sorted(headers)
    lines = ["PUT", path, asked, *(f"{n}:{headers[n]}" for n in names), "", ";".join(names), "UNSIGNED-PAYLOAD"]
    wire = sigv4.Wire("PUT", path, asked, {**headers, "authorization": authorization("00", names)})
    claim = sigv4.claim(wire)
    canonical = sigv4.canonical_request(wire, claim.signed_headers, claim.payload)
    assert canonical == "\n".join(lines)
    assert sigv4.signature(SECRET, claim, canonical) == signature_of(SECRET, "us-east-1", MOMENT, canonical)


@pytest.mark.parametrize(
    ("headers", "query", "code"),
    [
        ({}, "", "AccessDenied"),
        ({"authorization": "AWS key:signature"}, "", "InvalidRequest"),
        ({"authorization": "AWS4-HMAC-SHA256 Credential=a"}, "", "AuthorizationHeaderMalformed"),
        ({"authorization": authorization("0", ["host"])}, "", "AccessDenied"),
        ({"authorization": authorization("0", ["host"]), "x-amz-date": MOMENT}, "", "InvalidRequest"),
        (
            {
                "authorization": authorization("0", ["host"]),
                "x-amz-date": "20140524T000000Z",
                "x-amz-content-sha256": "-",
            },
            "",
            "AuthorizationHeaderMalformed",
        ),
        ({}, "X-Amz-Algorithm=AWS4-HMAC-SHA256", "AuthorizationQueryParametersError"),
        ({}, "X-Amz-Algorithm=other", "AuthorizationQueryParametersError"),
        ({}, "AWSAccessKeyId=a&Signature=b", "InvalidRequest"),
    ],
)
def test_unreadable_signatures(headers: dict[str, str], query: str, code: str) -> None:
    """A signature that is absent, of version 2, or not whole is refused with its own code."""
    with pytest.raises(ServiceError) as refused:
        sigv4.claim(sigv4.Wire("GET", "/", query, headers))
    assert refused.value.code == code


def test_header_left_out_of_the_signature() -> None:
    """An x-amz header that is not signed is refused: somebody may have added it on the way."""
    sent = {**HOST, "authorization": authorization("0", sorted(HOST)), "x-amz-meta-a": "b"}
    with pytest.raises(ServiceError, match="x-amz-meta-a"):
        sigv4.check_headers(sigv4.claim(sigv4.Wire("GET", "/", "", sent)), sent)


# ---------------------------------------------------------------- XML

BOMB = b'<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]><Delete>&c;</Delete>'
OUTSIDE = b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><Delete/>'


@pytest.mark.parametrize(
    "data",
    [b"", b"no", BOMB, OUTSIDE, b"<Delete>&c;</Delete>", b"<a>" * 99 + b"</a>" * 99, b"<Other/>", b"\xff", b"<Delete>"],
)
def test_xml_that_is_refused(data: bytes) -> None:
    """Document types, entities, deep nesting, other roots and no XML at all are refused as MalformedXML."""
    with pytest.raises(ServiceError) as refused:
        xmlbodies.parse(data, "Delete")
    assert (refused.value.status, refused.value.code) == (400, "MalformedXML")


@given(st.text(st.characters(exclude_characters="\x00\ufffe\uffff", exclude_categories=("Cs", "Cc"))))
def test_xml_there_and_back(text: str) -> None:
    """What is written is read again as it was, markup and other alphabets included."""
    data = xmlbodies.document("Delete", (("Key", text), ("Quiet", True), ("Left", None)))
    root = xmlbodies.parse(data, "Delete")
    key = root.all("Key")[0].text
    assert (key, root.get("Quiet"), root.get("Left")) == (text, "true", None)


# ---------------------------------------------------------------- dictionaries


@given(st.binary(max_size=99), st.integers(1, 10_000))
def test_etags(data: bytes, parts: int) -> None:
    """An S3 etag is the quoted hex MD5; the suffix of a multipart object's stays."""
    digest = hashlib.md5(data, usedforsecurity=False)
    native = base64.b64encode(digest.digest()).decode()
    assert words.etag(native) == f'"{digest.hexdigest()}"'
    assert words.bare(words.etag(f"{native}-{parts}")) == f"{digest.hexdigest()}-{parts}"


def test_customer_keys() -> None:
    """A customer's key needs its own MD5, and goes on with its SHA-256."""
    key = bytes(range(32))
    told = {"algorithm": "AES256", "key": base64.b64encode(key).decode()}
    md5 = base64.b64encode(hashlib.md5(key, usedforsecurity=False).digest()).decode()
    headers = {words.SSE + name: value for name, value in {**told, "key-md5": md5}.items()}
    native = words.customer_key(headers, words.SSE)
    assert base64.b64decode(native["opc-sse-customer-key-sha256"]) == hashlib.sha256(key).digest()
    with pytest.raises(ServiceError, match="MD5"):
        words.customer_key({**headers, words.SSE + "key-md5": "AAAA"}, words.SSE)


def test_rows_are_found() -> None:
    """Method, path depth, subresource and headers choose the row; what OCI does not have is refused."""
    found = {
        ("GET", "/", ""): "S3ListBuckets",
        ("GET", "/b", ""): "S3ListObjects",
        ("GET", "/b/", "list-type=2"): "S3ListObjectsV2",
        ("GET", "/b", "uploads="): "S3ListMultipartUploads",
        ("GET", "/b/k/", ""): "S3GetObject",
        ("GET", "/b/k", "uploadId=u"): "S3ListParts",
        ("PUT", "/b//k", "partNumber=1&uploadId=u"): "S3UploadPart",
        ("POST", "/b/k", "uploads"): "S3CreateMultipartUpload",
        ("POST", "/b", "delete"): "S3DeleteObjects",
    }
    for (method, path, query), operation in found.items():
        assert find(method, path, dict(sigv4.pairs(query)), {})[0].operation == operation
    assert find("PUT", "/b/k", {}, {"x-amz-copy-source": "/a/b"})[0].operation == "S3CopyObject"
    assert find("GET", "/b//a%2Fb+c", {}, {})[1] == {"bucket": "b", "object": "/a/b+c"}
    for method, path, query in (("GET", "/b/k", "acl"), ("GET", "/b/k", "tagging"), ("PUT", "/b", "policy")):
        with pytest.raises(ServiceError) as refused:
            find(method, path, {query: ""}, {})
        assert refused.value.status == 501
    with pytest.raises(ServiceError) as refused:
        find("PATCH", "/b/k", {}, {})
    assert refused.value.status == 405
    with pytest.raises(ServiceError, match="InvalidBucketName"):
        find("GET", "//k", {}, {})
    assert len({row.route.operation for row in ROWS}) == len(ROWS)
