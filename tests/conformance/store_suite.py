"""One suite for every store; a binding subclasses `StoreSuite` and gives the fixture `bound`.

A new backend is done when this suite is green (style.md). The suite moves bytes as `transfer` does: requests through
`wire`, local places by offset.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from hypersdk import errors
from hypersdk.model import ByteRange, Checksum, ObjectInfo, ObjectRef
from hypersdk.storage.protocol import LocalPart, LocalRange, Part, PutCondition, PutOptions, Store, Upload

if TYPE_CHECKING:
    from hypersdk.wire.loop import Wire

CRC32C_OF_CHECK = Checksum("crc32c", "e3069283")
"""Of b"123456789": the check value of CRC-32C in the catalogue of parametrised CRC algorithms."""


@dataclass(frozen=True)
class Bound:
    """A store to test and an empty place in it; `wire` is None for local stores."""

    store: Store
    place: ObjectRef
    wire: Wire | None = None

    def ref(self, name: str) -> ObjectRef:
        """An object of the place."""
        return replace(self.place, name=name)

    def put(self, name: str, body: bytes = b"x", options: PutOptions | None = None) -> ObjectInfo:
        """Write an object."""
        return self.store.put(self.ref(name), body, options or PutOptions())

    def put_whole(self, name: str, body: bytes, options: PutOptions | None = None) -> ObjectInfo:
        """Write an object by one request, moved as `transfer` moves it."""
        ref, options = self.ref(name), options or PutOptions()
        request = self.store.put_request(ref, len(body), options)
        if request is None:
            return self.store.put(ref, body, options)
        assert self.wire is not None
        return self.store.put_reply(ref, len(body), options, self.wire.call(request, body))

    def names(self, prefix: str = "", *, recursive: bool = True) -> list[str]:
        """What a listing shows, in its order."""
        return [info.ref.name for info in self.store.list(self.ref(prefix), recursive=recursive)]

    def read(self, info: ObjectInfo, wanted: ByteRange | None = None) -> bytes:
        """The bytes of a range, moved as `transfer` moves them."""
        request = self.store.range_request(info, wanted)
        if isinstance(request, LocalRange):
            file = os.open(request.path, os.O_RDONLY)
            try:
                return os.pread(file, request.range.length, request.range.start)
            finally:
                os.close(file)
        assert self.wire is not None
        return self.wire.call(request).body

    def send(self, upload: Upload, number: int, data: bytes, checksum: Checksum | None = None) -> Part:
        """Upload a part."""
        request = self.store.part_request(upload, number, len(data), checksum)
        if isinstance(request, LocalPart):
            file = os.open(request.path, os.O_WRONLY)
            try:
                os.pwrite(file, data, request.offset)
            finally:
                os.close(file)
            return Part(number, "", len(data))
        assert self.wire is not None
        return Part(number, self.wire.call(request, data).headers["etag"], len(data))

    def uploads(self, prefix: str = "") -> Iterator[Upload]:
        """Unfinished uploads."""
        return self.store.list_multipart_uploads(self.ref(prefix))


class StoreSuite:
    """What every store promises."""

    def test_a_written_object_is_there(self, bound: Bound) -> None:
        """put, head and exists agree on size, etag and address; size 0 is a size."""
        for name, body in (("dir/disk 1.qcow2", b"abc"), ("empty", b"")):
            written = bound.put(name, body)
            found = bound.store.head(bound.ref(name))
            assert (found.ref, found.size, found.etag) == (bound.ref(name), len(body), written.etag)
            assert found.etag
            assert bound.store.exists(bound.ref(name))
            assert bound.read(found) == body

    def test_an_object_is_written_by_one_request(self, bound: Bound) -> None:
        """put_request and put_reply write what put writes, under the same conditions, checksum stated or not."""
        options = PutOptions(PutCondition(if_absent=True), {"run": "r1"}, checksum=CRC32C_OF_CHECK)
        written = bound.put_whole("whole", b"123456789", options)
        found = bound.store.head(bound.ref("whole"))
        assert (written.ref, written.size, written.etag) == (found.ref, 9, found.etag)
        assert dict(found.metadata) == ({"run": "r1"} if bound.store.capabilities.metadata else {})
        assert bound.read(found) == b"123456789"
        with pytest.raises(errors.AlreadyExists):
            bound.put_whole("whole", b"x", PutOptions(PutCondition(if_absent=True)))
        replaced = bound.put_whole("whole", b"", PutOptions(PutCondition(if_match=found.etag)))
        assert bound.store.head(replaced.ref).size == 0
        with pytest.raises(errors.PreconditionFailed):
            bound.put_whole("whole", b"x", PutOptions(PutCondition(if_match=found.etag)))

    def test_an_absent_object_is_absent(self, bound: Bound) -> None:
        """Head says not found and names the object, exists is False, delete is content."""
        with pytest.raises(errors.NotFoundError, match="nothing-here"):
            bound.store.head(bound.ref("nothing-here"))
        assert not bound.store.exists(bound.ref("nothing-here"))
        bound.store.delete(bound.ref("nothing-here"))

    def test_ranges_are_exact(self, bound: Bound) -> None:
        """Any range, the last byte alone included, gives exactly its bytes."""
        body = bytes(range(251)) * 3
        info = bound.put("ranged", body)
        for start, stop in ((0, 1), (0, len(body)), (250, 252), (len(body) - 1, len(body))):
            assert bound.read(info, ByteRange(start, stop)) == body[start:stop]
        assert bound.read(info) == body

    def test_a_replaced_object_is_not_read(self, bound: Bound) -> None:
        """Ranges are pinned by the etag: bytes of two objects never mix."""
        old = bound.put("pinned", b"old!")
        bound.put("pinned", b"newer")
        with pytest.raises(errors.PreconditionFailed):
            bound.read(old, ByteRange(0, 4))

    def test_listing_is_whole_and_in_byte_order(self, bound: Bound) -> None:
        """Every page is read, whatever its size, in byte order of UTF-8; counts are exact (C031)."""
        given = ["a-b", "a/x", "a/y/z", "a0", "B", "b", "é", "z"]
        for name in given:
            bound.put(name)
        assert bound.names() == ["B", "a-b", "a/x", "a/y/z", "a0", "b", "z", "é"]
        assert bound.names("a/") == ["a/x", "a/y/z"]
        assert bound.names("a") == ["a-b", "a/x", "a/y/z", "a0"]
        assert bound.names("nothing") == []
        for count in range(9, 14):
            bound.put(f"more-{count}")
            assert len(bound.names()) == count

    def test_a_listing_tells_what_head_tells(self, bound: Bound) -> None:
        """Size and etag of a listed object are the ones of the object."""
        written = bound.put("told", b"12345")
        (found,) = bound.store.list(bound.ref("told"))
        assert (found.ref, found.size, found.etag, found.prefix) == (written.ref, 5, written.etag, False)
        assert found.modified is not None

    def test_listing_one_level_stops_at_slashes(self, bound: Bound) -> None:
        """Without recursion each "directory" is one entry, among the objects of its level."""
        for name in ("a-b", "a/1", "a/2", "a/3", "a/4", "a0", "b/c/d"):
            bound.put(name)
        assert bound.names(recursive=False) == ["a-b", "a/", "a0", "b/"]
        assert bound.names("b/", recursive=False) == ["b/c/"]
        entries = bound.store.list(bound.place, recursive=False)
        assert [entry.prefix for entry in entries] == [False, True, False, True]

    @pytest.mark.parametrize(
        "name", ["per%25cent+plus ?#&", "\x01\x7f control\ttab", "ünïcödé/日本", "-r", "..a/.b", "a@b"]
    )
    def test_names_are_not_urls(self, bound: Bound, name: str) -> None:
        """A legal name comes back byte for byte from put, head, list and range (C028)."""
        bound.put(name, b"named")
        assert bound.names() == [name]
        assert bound.read(bound.store.head(bound.ref(name)), ByteRange(1, 4)) == b"ame"
        bound.store.delete(bound.ref(name))
        assert bound.names() == []

    def test_a_write_that_demands_absence_replaces_nothing(self, bound: Bound) -> None:
        """if_absent over an existing object is AlreadyExists and leaves it untouched."""
        only_new = PutOptions(PutCondition(if_absent=True))
        bound.put("once", b"first", only_new)
        with pytest.raises(errors.AlreadyExists):
            bound.put("once", b"second", only_new)
        assert bound.read(bound.store.head(bound.ref("once"))) == b"first"

    def test_a_write_over_a_pinned_object_needs_its_etag(self, bound: Bound) -> None:
        """if_match lets exactly one etag be replaced."""
        first = bound.put("pinned", b"1")
        second = bound.put("pinned", b"22", PutOptions(PutCondition(if_match=first.etag)))
        with pytest.raises(errors.PreconditionFailed):
            bound.put("pinned", b"333", PutOptions(PutCondition(if_match=first.etag)))
        assert bound.store.head(bound.ref("pinned")).etag == second.etag

    def test_a_pinned_delete_spares_another_object(self, bound: Bound) -> None:
        """Delete with if_match removes only the object that was meant."""
        old = bound.put("pinned", b"1")
        new = bound.put("pinned", b"22")
        with pytest.raises(errors.PreconditionFailed):
            bound.store.delete(old.ref, if_match=old.etag)
        assert bound.store.exists(new.ref)
        bound.store.delete(new.ref, if_match=new.etag)
        assert not bound.store.exists(new.ref)

    def test_rename_moves_the_name_only(self, bound: Bound) -> None:
        """An object gets another name; a taken name and another etag are refused and change nothing."""
        staged = bound.put("staging/object", b"disk")
        bound.put("taken", b"other")
        with pytest.raises(errors.AlreadyExists):
            bound.store.rename(staged, "taken")
        with pytest.raises(errors.PreconditionFailed):
            bound.store.rename(replace(staged, etag="stale"), "final")
        final = bound.store.rename(staged, "final/object")
        assert bound.names() == ["final/object", "taken"]
        assert bound.store.head(final.ref).etag == final.etag
        assert bound.read(final) == b"disk"
        assert final.size == 4
        bound.store.rename(final, "taken", if_absent=False)
        assert bound.names() == ["taken"]
        with pytest.raises(errors.NotFoundError):
            bound.store.rename(final, "elsewhere")

    def test_parts_become_an_object(self, bound: Bound) -> None:
        """Parts may come in any order, be sent again and be left out; the object is those committed, by number."""
        upload = bound.store.create_multipart_upload(bound.ref("multi/part"))
        assert not bound.store.exists(upload.ref)
        third = bound.send(upload, 3, b"123456789", CRC32C_OF_CHECK)
        bound.send(upload, 1, b"wrong")
        first = bound.send(upload, 1, b"first")
        bound.send(upload, 7, b"left out")
        assert [(part.number, part.size) for part in bound.store.list_parts(upload)] == [(1, 5), (3, 9), (7, 8)]
        info = bound.store.commit(upload, [third, first])
        assert (info.ref, info.size) == (bound.ref("multi/part"), 14)
        assert bound.store.head(info.ref).etag == info.etag
        assert bound.read(info) == b"first123456789"
        assert list(bound.uploads()) == []
        assert bound.names() == ["multi/part"]

    def test_listed_parts_can_be_committed(self, bound: Bound) -> None:
        """A resumed upload commits what the store says it has, every page of it."""
        upload = bound.store.create_multipart_upload(bound.ref("resumed"))
        for number in range(1, 8):
            bound.send(upload, number, bytes([number]) * number)
        info = bound.store.commit(upload, list(bound.store.list_parts(upload)))
        assert bound.read(info) == b"".join(bytes([number]) * number for number in range(1, 8))

    def test_a_commit_of_missing_parts_is_refused(self, bound: Bound) -> None:
        """A part that never arrived cannot be committed, and no object appears."""
        upload = bound.store.create_multipart_upload(bound.ref("holes"))
        part = bound.send(upload, 1, b"here")
        with pytest.raises(errors.RequestRefused):
            bound.store.commit(upload, [part, Part(2, part.etag, 4)])
        assert not bound.store.exists(upload.ref)

    def test_a_commit_that_demands_absence_replaces_nothing(self, bound: Bound) -> None:
        """The name may be taken while parts travel: the commit says so and leaves the other object."""
        upload = bound.store.create_multipart_upload(bound.ref("race"), PutOptions(PutCondition(if_absent=True)))
        part = bound.send(upload, 1, b"mine")
        theirs = bound.put("race", b"theirs")
        with pytest.raises(errors.AlreadyExists):
            bound.store.commit(upload, [part], PutCondition(if_absent=True))
        assert bound.store.head(theirs.ref).etag == theirs.etag
        with pytest.raises(errors.AlreadyExists):
            bound.store.create_multipart_upload(theirs.ref, PutOptions(PutCondition(if_absent=True)))

    def test_unfinished_uploads_are_found_and_dropped(self, bound: Bound) -> None:
        """Uploads are listed by name's start, every page; abort drops one with its parts, twice is fine."""
        made = [bound.store.create_multipart_upload(bound.ref(name)) for name in ("a/1", "a/1", "a/2", "b", "c")]
        bound.send(made[0], 1, b"part")
        assert sorted(upload.ref.name for upload in bound.uploads()) == ["a/1", "a/1", "a/2", "b", "c"]
        assert {upload.upload_id for upload in bound.uploads("a/1")} == {made[0].upload_id, made[1].upload_id}
        for upload in (made[0], made[0], made[2]):
            bound.store.abort(upload)
        assert {upload.upload_id for upload in bound.uploads()} == {made[1].upload_id, *(u.upload_id for u in made[3:])}
        with pytest.raises(errors.NotFoundError):
            list(bound.store.list_parts(made[0]))
        assert bound.names() == []

    def test_user_metadata_is_kept_where_there_is_a_place(self, bound: Bound) -> None:
        """Metadata of put and of multipart comes back from head, keys without the service's prefix."""
        kept = {"hypersdk-run": "r1"} if bound.store.capabilities.metadata else {}
        bound.put("meta", b"x", PutOptions(metadata={"hypersdk-run": "r1"}))
        assert dict(bound.store.head(bound.ref("meta")).metadata) == kept
        upload = bound.store.create_multipart_upload(bound.ref("meta2"), PutOptions(metadata={"hypersdk-run": "r1"}))
        bound.store.commit(upload, [bound.send(upload, 1, b"x")])
        assert dict(bound.store.head(bound.ref("meta2")).metadata) == kept
