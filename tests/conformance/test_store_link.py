"""Pre-authenticated requests keep the promises of every store as far as the service lets a link do things."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from emulator import Emulator, make_seed
from store_suite import CRC32C_OF_CHECK, Bound, StoreSuite

from hypersdk import errors
from hypersdk.model import ByteRange, ConnectionSettings, ObjectRef
from hypersdk.storage import url
from hypersdk.storage.backends.web import LinkStore
from hypersdk.storage.protocol import Part, PutCondition
from hypersdk.wire.loop import Wire

_numbers = itertools.count()


@dataclass(frozen=True)
class Cloud:
    """An emulator, and a wire without credentials."""

    emulator: Emulator
    wire: Wire

    def bucket(self) -> str:
        """A new, empty bucket."""
        emulator, name = self.emulator, f"bucket-{next(_numbers)}"
        details = {"name": name, "compartmentId": emulator.seed.compartment}
        assert emulator.call("POST", f"/n/{emulator.namespace}/b", details).status == 200
        return name

    def link(self, bucket: str, access: str, name: str | None = None, **fields: Any) -> url.Address:
        """A new link."""
        details = {"name": "link", "accessType": access, "timeExpires": later(hours=1), **fields}
        details |= {"objectName": name} if name else {}
        made = self.emulator.call("POST", f"/n/{self.emulator.namespace}/b/{bucket}/p", details).json
        return url.parse(made["fullPath"])

    def store(self, bucket: str, access: str, name: str | None = None, **fields: Any) -> tuple[LinkStore, ObjectRef]:
        """What a new link reaches."""
        address = self.link(bucket, access, name, **fields)
        return LinkStore(address, self.wire), address.ref


def later(**time: float) -> str:
    """A time from now, as the service takes it."""
    return (datetime.now(UTC) + timedelta(**time)).isoformat()


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    folder = tmp_path_factory.mktemp("links")
    emulator = Emulator(make_seed(folder / "seed", disks=1, disk_size=1 << 20), folder / "state").start()
    with Wire(ConnectionSettings(connect_timeout=5, read_timeout=5)) as wire:
        yield Cloud(emulator, wire)
    emulator.stop()


@pytest.fixture
def bound(cloud: Cloud) -> Bound:
    store, place = cloud.store(cloud.bucket(), "AnyObjectReadWrite", bucketListingAction="ListObjects")
    return Bound(store, place, cloud.wire)


class TestLinkStore(StoreSuite):
    """The suite; what no link can do is refused in one line, and nothing is asked."""

    def test_an_absent_object_is_absent(self, bound: Bound) -> None:
        """Head says not found and names the object, exists is False, and a delete is refused."""
        with pytest.raises(errors.NotFoundError, match="nothing-here"):
            bound.store.head(bound.ref("nothing-here"))
        assert not bound.store.exists(bound.ref("nothing-here"))
        assert not bound.store.capabilities.deletes
        with pytest.raises(errors.UsageError, match="cannot be deleted"):
            bound.store.delete(bound.ref("nothing-here"))

    @pytest.mark.parametrize(
        "name", ["per%25cent+plus ?#&", "\x01\x7f control\ttab", "ünïcödé/日本", "-r", "..a/.b", "a@b", ".", ".."]
    )
    def test_names_are_not_urls(self, bound: Bound, name: str) -> None:
        """A legal name comes back byte for byte from put, head, list and range (C028)."""
        bound.put(name, b"named")
        assert bound.names() == [name]
        assert bound.read(bound.store.head(bound.ref(name)), ByteRange(1, 4)) == b"ame"

    def test_a_pinned_delete_spares_another_object(self, bound: Bound) -> None:
        """Whatever the etag, nothing is deleted through a link."""
        old = bound.put("pinned", b"1")
        with pytest.raises(errors.UsageError, match="cannot be deleted"):
            bound.store.delete(old.ref, if_match=old.etag)
        assert bound.store.exists(old.ref)

    def test_rename_moves_the_name_only(self, bound: Bound) -> None:
        """No link renames an object: it is refused, and nothing changes."""
        staged = bound.put("staging/object", b"disk")
        assert not bound.store.capabilities.rename
        with pytest.raises(errors.UsageError, match="cannot be renamed"):
            bound.store.rename(staged, "final")
        assert bound.names() == ["staging/object"]

    def test_parts_become_an_object(self, bound: Bound) -> None:
        """Parts may come in any order and be sent again; the object is all of them, by number."""
        upload = bound.store.create_multipart_upload(bound.ref("multi/part"))
        assert not bound.store.exists(upload.ref)
        third = bound.send(upload, 3, b"123456789", CRC32C_OF_CHECK)
        bound.send(upload, 1, b"wrong")
        first = bound.send(upload, 1, b"first")
        info = bound.store.commit(upload, [third, first])
        assert (info.ref, info.size) == (bound.ref("multi/part"), 14)
        found = bound.store.head(info.ref)
        assert (found.etag, found.size, found.checksums) == (info.etag, info.size, info.checksums)
        assert bound.read(info) == b"first123456789"
        assert bound.names() == ["multi/part"]

    def test_listed_parts_can_be_committed(self, bound: Bound) -> None:
        """Nobody lists parts through a link."""
        upload = bound.store.create_multipart_upload(bound.ref("resumed"))
        assert not bound.store.capabilities.lists_parts
        with pytest.raises(errors.UsageError, match="parts"):
            list(bound.store.list_parts(upload))

    def test_a_commit_of_missing_parts_is_refused(self, bound: Bound) -> None:
        """A link commits what is there: only the service's checksum tells that a part never arrived."""
        upload = bound.store.create_multipart_upload(bound.ref("holes"))
        part = bound.send(upload, 1, b"123456789")
        info = bound.store.commit(upload, [part, Part(2, part.etag, 4)])
        assert info.checksums == (CRC32C_OF_CHECK,)

    def test_unfinished_uploads_are_found_and_dropped(self, bound: Bound) -> None:
        """Nobody lists uploads through a link; who has the id drops one, twice is fine."""
        upload = bound.store.create_multipart_upload(bound.ref("a/1"))
        bound.send(upload, 1, b"part")
        assert list(bound.uploads()) == []
        for _ in range(2):
            bound.store.abort(upload)
        with pytest.raises(errors.NotFoundError):
            bound.send(upload, 2, b"part")
        assert bound.names() == []

    def test_a_commit_that_demands_absence_replaces_nothing(self, bound: Bound) -> None:
        """The name may be taken while parts travel: the commit says so and leaves the other object."""
        upload = bound.store.create_multipart_upload(bound.ref("race"))
        part = bound.send(upload, 1, b"mine")
        theirs = bound.put("race", b"theirs")
        with pytest.raises(errors.AlreadyExists):
            bound.store.commit(upload, [part], PutCondition(if_absent=True))
        assert bound.store.head(theirs.ref).etag == theirs.etag


def test_a_link_to_one_object_reaches_no_other(cloud: Cloud) -> None:
    """Another name through the link of one object is refused like an absent one, and what the link allows is done."""
    bucket = cloud.bucket()
    store, ref = cloud.store(bucket, "ObjectReadWrite", "dir/disk é.qcow2")
    own = Bound(store, ref, cloud.wire)
    assert own.read(own.put(ref.name, b"disk")) == b"disk"
    with pytest.raises(errors.NotFoundError):
        own.put("another", b"x")
    with pytest.raises(errors.NotFoundError, match="get a new one"):
        list(store.list(ref))


@pytest.mark.parametrize(
    "act",
    [
        lambda own: own.store.head(own.place),
        lambda own: own.put(own.place.name),
        lambda own: own.store.create_multipart_upload(own.place),
        lambda own: own.read(own.store.head(own.place)),
    ],
    ids=["head", "put", "create", "read"],
)
def test_a_link_that_ended_says_what_to_do(cloud: Cloud, act: Callable[[Bound], object]) -> None:
    """A link that was withdrawn, as one that has expired, tells that it may have ended, and its token nowhere."""
    bucket = cloud.bucket()
    address = cloud.link(bucket, "ObjectReadWrite", "disk")
    assert address.token is not None
    own = Bound(LinkStore(address, cloud.wire), address.ref, cloud.wire)
    own.put("disk")
    path = f"/n/{cloud.emulator.namespace}/b/{bucket}/p"
    for each in cloud.emulator.call("GET", path).json:
        assert cloud.emulator.call("DELETE", f"{path}/{each['id']}").status == 204
    with pytest.raises(errors.NotFoundError, match="get a new one") as caught:
        act(own)
    assert address.token.reveal() not in f"{caught.value} {caught.value!r} {caught.value.__dict__}"


def test_a_page_that_fails_is_asked_again_alone(cloud: Cloud) -> None:
    """C031: each page of a list is one repeatable call."""
    address = cloud.link(cloud.bucket(), "AnyObjectReadWrite", bucketListingAction="ListObjects")
    calls: list[str] = []

    def twice(what: str, function: Callable[[], Any]) -> Any:
        calls.append(what)
        try:
            return function()
        except errors.PassingError:
            return function()

    store = LinkStore(address, cloud.wire, twice)
    Bound(store, address.ref, cloud.wire).put("one")
    cloud.emulator.fault("ListObjects", "error", status=503, code="ServiceUnavailable", times=1)
    assert [info.ref.name for info in store.list(address.ref)] == ["one"]
    assert calls == ["list objects"]
