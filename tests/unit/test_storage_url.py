"""Addresses: what users write becomes refs, reversibly, and what is ambiguous or impossible is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypersdk import errors
from hypersdk.model import ObjectRef, Secret
from hypersdk.storage import url

places = st.text("abcXYZ019-_", min_size=1, max_size=12)
characters = st.characters(codec="utf-8", exclude_characters="\0\r\n")
names = st.text(characters, max_size=60)
tokens = st.text("abcXYZ019-_", min_size=1, max_size=40).map(Secret)
oci_refs = st.builds(ObjectRef, st.just("oci"), places, places, names)
PAR = "https://objectstorage.us-ashburn-1.oraclecloud.com/p/s3cr3t/n/ns/b/bkt/o/dir%2Fa%20b"


@settings(deadline=None)
@given(oci_refs)
def test_oci_urls_are_reversible(ref: ObjectRef) -> None:
    """Whatever an object's name holds, its printed URL and the one of ocifs mean the same object again."""
    assert url.parse(str(ref)).ref == ref
    assert url.parse(f"oci://{ref.bucket}@{ref.namespace}/{ref.name}").ref == ref


@settings(deadline=None)
@given(
    oci_refs, st.none() | tokens, st.sampled_from(["https://objectstorage.x-y-1.oraclecloud.com", "http://127.0.0.1:8"])
)
def test_web_addresses_of_objects_are_reversible(ref: ObjectRef, token: Secret | None, origin: str) -> None:
    """OCI's own address of an object, pre-authenticated or not, is read back to the same object and token."""
    address = url.Address(ref, origin, token)
    if token is not None or "objectstorage" in origin:
        assert url.parse(address.url().reveal()) == address


@settings(deadline=None)
@given(
    st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1).filter(lambda path: "://" not in path)
)
def test_paths_mean_the_same_file(path: str) -> None:
    """A path splits into the directory as written and an entry in it, and prints as the same path."""
    ref = url.parse(path).ref
    assert ref.scheme == "file"
    assert "/" not in ref.name
    assert url.parse(str(ref)).ref == ref


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_names_and_local_paths_are_one_reversible_function(name: str) -> None:
    """A name that may be a local path comes back the same, and stays below its root; the rest is refused (C028)."""
    try:
        path = url.relative_path(name)
    except errors.UsageError:
        assert any(bad in name for bad in "\0\r\n") or any(part in {"", ".", ".."} for part in name.split("/"))
    else:
        assert url.object_name(path) == name
        assert not path.startswith("/")
        assert ".." not in path.split("/")


@pytest.mark.parametrize(
    "name", ["a/../b", "/etc/passwd", "a//b", "dir/", "", ".", "x\ny", "x\ry", "x\0y", "é" * 128, "bad\udcff"]
)
def test_impossible_local_names_are_refused(name: str) -> None:
    """Names that would leave the root, or that one of both sides cannot hold, never become a path (C024, C028)."""
    with pytest.raises(errors.UsageError):
        url.relative_path(name)


@pytest.mark.parametrize("text", ["oci://bucket", "oci://bucket/", "oci:///bucket/x", "oci://", "oci://ns//x"])
def test_half_an_address_names_both_forms(text: str) -> None:
    """One part could be a namespace or a bucket: we ask instead of guessing."""
    with pytest.raises(errors.UsageError, match="oci://namespace/bucket/name or oci://bucket@namespace/name"):
        url.parse(text)


def test_pre_authenticated_urls_hide_their_token() -> None:
    """A PAR gives its object and keeps its token secret, with the region's host and the dedicated one."""
    address = url.parse(PAR)
    assert address.ref == ObjectRef("oci", "ns", "bkt", "dir/a b")
    assert address.token == Secret("s3cr3t")
    assert "s3cr3t" not in f"{address} {address!r}"
    own = url.parse("https://ns.objectstorage.us-ashburn-1.oci.customer-oci.com/p/s3cr3t/n/ns/b/bkt/o/dir/a%20b")
    assert own.ref == address.ref


@pytest.mark.parametrize(
    "text",
    [
        "https://user:s3cr3t@host/x",
        "https://objectstorage.eu-1.oraclecloud.com/p/s3cr3t/other",
        "https://objectstorage.eu-1.oraclecloud.com/p/s3cr3t/n/ns/b/bkt/o/x?y=s3cr3t",
        "https://other.objectstorage.eu-1.oci.customer-oci.com/p/s3cr3t/n/ns/b/bkt/o/x",
        "https://host/p/s3cr3t/n/ns/b/bkt/o/%ff",
        "https://host/x#s3cr3t",
        "https://host/a b?s3cr3t",
        "https://host:port/?s3cr3t",
    ],
)
def test_refused_web_addresses_do_not_repeat_secrets(text: str) -> None:
    """A URL that we refuse is not quoted with what it may hide."""
    with pytest.raises(errors.UsageError) as refused:
        url.parse(text)
    assert "s3cr3t" not in f"{refused.value} {refused.value.resource} {refused.value.hint}"


def test_other_web_addresses_keep_their_query_secret() -> None:
    """A signed URL of any server keeps its path as it is and hides its query."""
    address = url.parse("https://host:8443/a%2Fb/c?sig=s3cr3t")
    assert address.ref == ObjectRef("https", "host:8443", "", "a%2Fb/c")
    assert "s3cr3t" not in f"{address} {address!r}"
    assert address.url().reveal() == "https://host:8443/a%2Fb/c?sig=s3cr3t"


@pytest.mark.parametrize("text", ["s3://bucket/x", "file://server/share", "file:///a?b", "", "a\0b", "oci://n/b/x\ny"])
def test_unknown_addresses_are_refused(text: str) -> None:
    """What no store of ours understands is a usage error, not a file of that name."""
    with pytest.raises(errors.UsageError):
        url.parse(text)


def test_file_urls_are_percent_encoded_paths() -> None:
    """file:// is decoded once; a plain path is literal."""
    assert url.parse("file:///data/a%20b%23").ref == ObjectRef("file", "", "/data", "a b#")
    assert url.parse("/data/a%20b").ref == ObjectRef("file", "", "/data", "a%20b")
    assert url.parse("disk.qcow2").ref == ObjectRef("file", "", "", "disk.qcow2")
    assert url.parse("/data/").ref == ObjectRef("file", "", "/data", "")


@pytest.mark.parametrize(
    ("text", "region"),
    [
        (PAR, "us-ashburn-1"),
        ("https://ns.objectstorage.eu-frankfurt-1.oci.customer-oci.com/n/ns/b/bkt/o/x", "eu-frankfurt-1"),
        ("https://OBJECTSTORAGE.UK-LONDON-1.oraclecloud.com/n/ns/b/bkt/o/x", "uk-london-1"),
        ("http://127.0.0.1:8/p/t/n/ns/b/bkt/o/x", None),
        ("oci://ns/bkt/x", None),
        ("/a/path", None),
    ],
)
def test_a_host_of_the_cloud_names_its_region(text: str, region: str | None) -> None:
    """Either kind of host says in which region its objects are; no other does."""
    assert url.parse(text).region == region
