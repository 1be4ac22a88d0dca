"""Signing and regions without the SDK: the same as with it, and it is not loaded."""

from __future__ import annotations

import subprocess
import sys
from email.utils import formatdate
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from hypersdk import errors
from hypersdk.vendors.oci import regions
from hypersdk.vendors.oci.keys import PemPlace, open_private_key
from hypersdk.vendors.oci.signing import ApiKeySigner

TENANCY, USER, FINGERPRINT = "ocid1.tenancy.oc1..t", "ocid1.user.oc1..u", "20:3b:97:13:55:1c"


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def _request(method: str, headers: dict[str, str] | None = None) -> SimpleNamespace:
    path = "/n/ns/b/b/o/disk%2Fa%20b?versionId=1%2F2"
    return SimpleNamespace(
        method=method, url=f"https://objectstorage.x:444{path}", path_url=path, headers=dict(headers or {}), body=None
    )


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
def test_signature_is_that_of_the_sdk(key: rsa.RSAPrivateKey, method: str) -> None:
    """Date, target, host and key give the very signature that the SDK's signer makes of them."""
    signer = ApiKeySigner(key, TENANCY, USER, FINGERPRINT)
    date = {"date": formatdate(1_700_000_000, usegmt=True)}
    ours, theirs = _request(method, date), _request(method, date)
    signer.without_content_headers(ours)
    signer(theirs, enforce_content_headers=False)
    assert {name: ours.headers[name] for name in ("date", "host", "authorization")} == {
        name: theirs.headers[name] for name in ("date", "host", "authorization")
    }


def test_requests_of_the_sdk_are_signed_with_their_body(key: rsa.RSAPrivateKey) -> None:
    """A request with a body that the SDK makes gets the signature over its content, too."""
    request = _request("POST")
    request.body = '{"object": "x"}'
    ApiKeySigner(key, TENANCY, USER, FINGERPRINT)(request)
    assert "x-content-sha256" in request.headers["authorization"]


@pytest.mark.parametrize("body", [b"", b'{"object":"x"}'])
def test_signature_over_a_body_is_that_of_the_sdk(key: rsa.RSAPrivateKey, body: bytes) -> None:
    """A request with a JSON body of ours gets the very headers that the SDK's signer makes of it."""
    signer = ApiKeySigner(key, TENANCY, USER, FINGERPRINT)
    given = {"date": formatdate(1_700_000_000, usegmt=True), "content-type": "application/json"}
    ours, theirs = _request("POST", given), _request("POST", given | {"content-length": str(len(body))})
    ours.body = theirs.body = body
    signer.with_content(ours)
    signer(theirs)
    assert ours.headers == theirs.headers
    assert "x-content-sha256" in ours.headers["authorization"]


def test_every_region_of_the_sdk_has_the_sdks_address() -> None:
    """The table that is read without the SDK gives the host that the SDK gives, for every region that it knows."""
    from oci import regions as theirs

    assert len(theirs.REGIONS) > 40
    for region in theirs.REGIONS:
        assert regions.object_storage_url(region) == theirs.endpoint_for(
            "object_storage",
            region=region,
            service_endpoint_template=regions.OBJECT_STORAGE_TEMPLATE,
            endpoint_service_name="objectstorage",
        )
        assert regions.expand(region.upper()) == region
        assert regions.nearest(region) is None


def test_a_table_that_may_be_replaced_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a developer tool configuration the SDK is asked, because that may take regions away."""
    regions._table.cache_clear()
    monkeypatch.setenv("OCI_DEVELOPER_TOOL_CONFIGURATION_FILE_PATH", "/nowhere")
    try:
        assert regions._table() is None
    finally:
        regions._table.cache_clear()


def test_a_session_signs_without_the_sdk(key: rsa.RSAPrivateKey) -> None:
    """Opening a session with an API key, its region's address and a signature load no module of the SDK."""
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    program = f"""
import sys
from hypersdk.model import Secret
from hypersdk.vendors.oci.credentials import OciSettings
from hypersdk.vendors.oci.session import open_session
settings = OciSettings(tenancy_ocid={TENANCY!r}, user_ocid={USER!r}, key_content=Secret({pem!r}), region="us-phoenix-1")
session = open_session(settings)
assert session.object_storage_url == "https://objectstorage.us-phoenix-1.oraclecloud.com"
assert session.explain_unreachable() is None
assert "authorization" in session.sign("GET", session.object_storage_url + "/n/n/b/b/o/o", {{}})
print(sorted(name for name in sys.modules if name.partition(".")[0] == "oci"))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def _place() -> PemPlace:
    return PemPlace("oci.key_content", "the key", None, "", "")


def test_a_key_whose_numbers_do_not_fit_is_damaged(key: rsa.RSAPrivateKey) -> None:
    """A key that parses, but whose private half is not that of its public half, is refused where it is opened."""
    good = key.private_numbers()
    d, dmp1, rest = good.d ^ 4, good.dmp1 ^ 2, (good.dmq1, good.iqmp, good.public_numbers)
    broken = rsa.RSAPrivateNumbers(good.p, good.q, d, dmp1, *rest)
    pem = broken.private_key(unsafe_skip_rsa_key_validation=True).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(errors.AuthError, match="damaged: its numbers make no valid signature"):
        open_private_key(pem, PemPlace("oci.key_content", "the key", None, "", ""))
