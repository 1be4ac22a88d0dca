"""The store of Object Storage keeps the promises of every store, over a socket, with pages of three entries."""

from __future__ import annotations

import itertools
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from emulator import Emulator, make_seed
from store_suite import CRC32C_OF_CHECK, Bound, StoreSuite

from hypersdk import errors
from hypersdk.config import load_config
from hypersdk.model import ByteRange, Checksum, ObjectInfo, ObjectRef
from hypersdk.storage import url
from hypersdk.storage.backends.oci import OciStore
from hypersdk.storage.protocol import PutCondition, PutOptions
from hypersdk.vendors.oci.errors import translate_reply
from hypersdk.vendors.oci.session import OciSession, open_session
from hypersdk.wire.loop import Wire
from hypersdk.wire.request import Request

_numbers = itertools.count()


@dataclass(frozen=True)
class Cloud:
    """An emulator and a session with it."""

    emulator: Emulator
    session: OciSession
    wire: Wire

    def bucket(self, **fields: object) -> ObjectRef:
        """A new, empty bucket."""
        emulator, name = self.emulator, f"bucket-{next(_numbers)}"
        details = {"name": name, "compartmentId": emulator.seed.compartment, **fields}
        assert emulator.call("POST", f"/n/{emulator.namespace}/b", details).status == 200
        return ObjectRef("oci", emulator.namespace, name, "")


def explain(request: Request, status: int, headers: dict[str, str], body: bytes) -> errors.HypersdkError:
    return translate_reply(status, headers, body, resource=request.resource, what=request.method)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    folder = tmp_path_factory.mktemp("cloud")
    emulator = Emulator(make_seed(folder / "seed", disks=1, disk_size=1 << 20), folder / "state").start()
    flags = {"config_file": str(emulator.config_file), "endpoint": emulator.endpoint}
    session = open_session(load_config(flags, environ={}, cwd=str(folder), home=str(folder)).oci)
    wire = Wire(session.connection, explain=explain)
    yield Cloud(emulator, session, wire)
    wire.close()
    emulator.stop()


@pytest.fixture
def store(cloud: Cloud) -> OciStore:
    return OciStore(cloud.session, cloud.wire, page=3)


@pytest.fixture
def bound(cloud: Cloud, store: OciStore) -> Bound:
    return Bound(store, cloud.bucket(), cloud.wire)


class TestOciStore(StoreSuite):
    pass


def test_an_absent_bucket_is_not_an_absent_object(store: OciStore, bound: Bound) -> None:
    """HEAD says only 404; we tell an absent object from a bucket that is absent or hidden."""
    nowhere = ObjectRef("oci", bound.place.namespace, "no-such-bucket", "x")
    for act in (store.head, store.exists, store.delete, lambda ref: list(store.list(ref)), store.bucket):
        with pytest.raises(errors.NotFoundError) as refused:
            act(nowhere)
        assert refused.value.service_code == "BucketNotFound"
    with pytest.raises(errors.NotFoundError, match="no such object") as absent:
        store.head(bound.ref("x"))
    assert absent.value.service_code == "ObjectNotFound"


def test_an_object_that_may_not_be_looked_at_is_not_absent(cloud: Cloud, store: OciStore, bound: Bound) -> None:
    """A HEAD that answers 404 for a listed object once says it just appeared, twice that policies hide it."""
    bound.put("there")
    cloud.emulator.fault("HeadObject", "error", status=404, code="NotAuthorizedOrNotFound", times=1)
    assert store.exists(bound.ref("there"))
    cloud.emulator.fault("HeadObject", "error", status=404, code="NotAuthorizedOrNotFound", times=2)
    with pytest.raises(errors.PermissionDenied):
        store.exists(bound.ref("there"))
    assert not cloud.emulator.unconsumed()


def test_checksums_are_those_of_the_whole_object(store: OciStore, bound: Bound) -> None:
    """CRC32C spans all parts; the composite MD5 of parts is not taken for an MD5 of the object."""
    upload = store.create_multipart_upload(bound.ref("parts"))
    parts = [bound.send(upload, number, data) for number, data in ((1, b"12345"), (2, b"6789"))]
    committed = store.commit(upload, parts)
    assert committed.checksums == (CRC32C_OF_CHECK,)
    assert store.head(upload.ref).checksums == (CRC32C_OF_CHECK,)
    (listed,) = store.list(upload.ref)
    assert listed.checksums == ()
    bound.put("single", b"123456789")
    (single,) = store.list(bound.ref("single"))
    assert single.checksums == (Checksum("md5", "25f9e794323b453885f5181f1b624d0b"),)


def test_damaged_bytes_are_refused_by_the_service(store: OciStore, bound: Bound) -> None:
    """A part or an object whose bytes do not fit their checksum never becomes one."""
    upload = store.create_multipart_upload(bound.ref("parts"))
    with pytest.raises(errors.NetworkError, match="CRC32C"):
        bound.send(upload, 1, b"12345678X", CRC32C_OF_CHECK)
    assert list(store.list_parts(upload)) == []
    with pytest.raises(errors.NetworkError, match="CRC32C"):
        bound.put("damaged", b"12345678X", PutOptions(checksum=CRC32C_OF_CHECK))
    assert not store.exists(bound.ref("damaged"))


def test_an_interrupted_listing_goes_on_where_it_was(cloud: Cloud, bound: Bound) -> None:
    """Each page is one repeatable call: a page that failed is asked again, and nothing is lost or told twice (C031)."""
    calls: list[str] = []

    def twice(what, function):
        calls.append(what)
        try:
            return function()
        except errors.PassingError:
            return function()

    names = [f"o{number}" for number in range(8)]
    for name in names:
        bound.put(name)
    cloud.emulator.fault("ListObjects", "error", status=503, code="ServiceUnavailable", skip=1, times=1)
    patient = OciStore(cloud.session, cloud.wire, call=twice, page=3)
    assert [info.ref.name for info in patient.list(bound.place)] == names
    assert calls == ["list objects"] * 3
    cloud.emulator.fault("ListObjects", "error", status=503, code="ServiceUnavailable", times=1)
    with pytest.raises(errors.ServiceError):
        bound.names()


def test_bucket_facts(cloud: Cloud, store: OciStore) -> None:
    """What preflight asks: tier, versioning, compartment, retention."""
    plain = cloud.bucket()
    facts = store.bucket(plain)
    assert (facts.name, facts.namespace, facts.compartment_id) == (
        plain.bucket,
        plain.namespace,
        cloud.emulator.seed.compartment,
    )
    assert (facts.storage_tier, facts.versioning, facts.retention, facts.read_only) == (
        "Standard",
        "Disabled",
        False,
        False,
    )
    assert store.bucket(cloud.bucket(storageTier="Archive")).storage_tier == "Archive"
    assert store.bucket(cloud.bucket(versioning="Enabled")).versioning == "Enabled"
    path = f"/n/{plain.namespace}/b/{plain.bucket}/retentionRules"
    assert cloud.emulator.call("POST", path, {"displayName": "keep"}).status == 200
    assert store.bucket(plain).retention is True
    cloud.emulator.fault("ListRetentionRules", "error", status=404, code="NotAuthorizedOrNotFound", times=1)
    assert store.bucket(plain).retention is None


def test_a_link_writes_one_object_until_it_is_withdrawn(cloud: Cloud, store: OciStore, bound: Bound) -> None:
    """A pre-authenticated request is made, used without credentials, listed without its URL, and withdrawn."""
    ref, expires = bound.ref("by link"), datetime.now(UTC) + timedelta(hours=24)
    link = store.create_pre_authenticated(ref, name="hypersdk-r1-export", expires=expires)
    assert link.url is not None
    address = url.parse(link.url.reveal())
    assert (address.ref, address.url()) == (ref, link.url)
    assert address.token is not None
    assert address.token.reveal() not in repr(link)
    cloud.wire.call(Request("PUT", link.url, str(ref)), b"bytes")
    assert bound.read(store.head(ref)) == b"bytes"
    for number in range(4):
        store.create_pre_authenticated(bound.ref(f"other/{number}"), name="x", expires=expires, access="ObjectRead")
    (found,) = store.list_pre_authenticated(ref)
    assert (found.id, found.name, found.object_name, found.url) == (link.id, link.name, ref.name, None)
    assert found.access == "ObjectWrite"
    assert found.expires is not None
    assert abs(found.expires - expires) < timedelta(seconds=1)
    assert len(list(store.list_pre_authenticated(bound.place))) == 5
    for _ in range(2):
        store.delete_pre_authenticated(ref, link.id)
    with pytest.raises(errors.HypersdkError):
        cloud.wire.call(Request("PUT", link.url, str(ref)), b"again")


def test_requests_are_pinned_and_say_what_must_come_back(store: OciStore, bound: Bound) -> None:
    """A range is asked of one etag at one encoded address, and its reply must be that range of that object."""
    info = ObjectInfo(bound.ref("a/b +%é"), 100, "etag-1")
    request = store.range_request(info, ByteRange(10, 20))
    path = urllib.parse.urlsplit(request.url.reveal()).path
    assert path == f"/n/{bound.place.namespace}/b/{bound.place.bucket}/o/a%2Fb%20%2B%25%C3%A9"
    assert request.headers == {"range": "bytes=10-19", "if-match": "etag-1"}
    assert (request.expect.range, request.expect.size, request.expect.etag) == (ByteRange(10, 20), 100, "etag-1")
    assert "range" not in store.range_request(info, None).headers


def test_a_versioned_bucket_gives_the_version_that_was_meant(cloud: Cloud, store: OciStore) -> None:
    """Head tells the version; with it in the ref, reads and deletes mean that version and no other."""
    bound = Bound(store, cloud.bucket(versioning="Enabled"), cloud.wire)
    old = bound.put("x", b"old")
    bound.put("x", b"newer")
    assert old.version
    pinned = ObjectRef("oci", old.ref.namespace, old.ref.bucket, "x", old.version)
    assert bound.read(store.head(pinned)) == b"old"
    store.delete(pinned)
    with pytest.raises(errors.NotFoundError):
        store.head(pinned)
    assert bound.read(store.head(bound.ref("x"))) == b"newer"


def test_writes_need_the_conditions_they_name(store: OciStore, bound: Bound) -> None:
    """An upload begun over a pinned object is committed only over it."""
    old = bound.put("x", b"old")
    upload = store.create_multipart_upload(bound.ref("x"), PutOptions(PutCondition(if_match=old.etag)))
    part = bound.send(upload, 1, b"mine")
    bound.put("x", b"theirs")
    with pytest.raises(errors.PreconditionFailed):
        store.commit(upload, [part], PutCondition(if_match=old.etag))


@pytest.mark.parametrize("name", [".", ".."])
def test_names_that_are_dots_reach_the_service(store: OciStore, bound: Bound, name: str) -> None:
    """An object called like a path's dot segment is written, read and deleted as itself."""
    info = bound.put(name, b"dots")
    assert bound.names() == [name]
    assert bound.read(info) == b"dots"
    assert store.head(info.ref).size == 4
    store.delete(info.ref)
    assert bound.names() == []


def test_a_bucket_is_not_an_object(store: OciStore, bound: Bound) -> None:
    """A verb that needs an object says so when the address names none, without asking the service."""
    for act in (store.head, store.delete, store.exists):
        with pytest.raises(errors.UsageError, match="names no object"):
            act(bound.place)


def test_buckets_of_a_compartment_are_listed_to_the_last_page(cloud: Cloud, store: OciStore) -> None:
    """Every bucket of a compartment by its name; another compartment has none of them."""
    names = {cloud.bucket().bucket for _ in range(7)}
    assert names <= set(store.buckets(cloud.emulator.namespace, cloud.emulator.seed.compartment))
    assert names.isdisjoint(store.buckets(cloud.emulator.namespace, "ocid1.tenancy.oc1..aaaatests"))


def test_every_version_is_listed_and_can_be_deleted(cloud: Cloud, store: OciStore) -> None:
    """Older versions and marks of deletion, which a list of objects hides, over several pages."""
    bucket = cloud.bucket(versioning="Enabled")
    for number in range(5):
        store.put(replace(bucket, name="dir/a"), bytes(number))
    store.put(replace(bucket, name="other"), b"x")
    store.delete(replace(bucket, name="dir/a"))
    assert [one.ref.name for one in store.list(bucket)] == ["other"]
    found = list(store.versions(replace(bucket, name="dir/")))
    assert sorted(one.size for one in found) == [0, 0, 1, 2, 3, 4]
    assert len({one.ref.version for one in found}) == 6
    for one in found:
        store.delete(one.ref, if_match=one.etag or None)
    assert [one.ref.name for one in store.versions(bucket)] == ["other"]
