"""Is what stands at the target the source's content: only ever by a checksum, never by size alone."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace

import pytest
from http_store import retrier
from hypothesis import given
from hypothesis import strategies as st

from hypersdk import errors, events
from hypersdk.model import Checksum, ObjectInfo, ObjectRef
from hypersdk.storage.backends.file import FileStore
from hypersdk.storage.oci_headers import PART_SIZE
from hypersdk.storage.url import local_ref
from hypersdk.transfer.checksums import as_checksum, crc32c
from hypersdk.transfer.copies import same
from hypersdk.transfer.copies.items import Item, Means
from hypersdk.transfer.copies.same import compare, compare_closely, expect_readable, settle
from hypersdk.waiting import StopFlag, Waiter

CLOUD = ObjectRef("oci", "ns", "b", "disk")
BODY = os.urandom(300_000)


class Told:
    """A store that knows one object."""

    def __init__(self, info: ObjectInfo) -> None:
        self.info = info
        self.asked = 0

    def head(self, ref: ObjectRef) -> ObjectInfo:
        self.asked += 1
        assert ref == self.info.ref
        return self.info


def checksum(algorithm: str, body: bytes = BODY) -> Checksum:
    if algorithm == "crc32c":
        return as_checksum(crc32c(body))
    return Checksum(algorithm, hashlib.new(algorithm, body).hexdigest())


def in_cloud(*checksums: Checksum, size: int = len(BODY), **fields) -> ObjectInfo:
    return ObjectInfo(CLOUD, size, "etag", checksums, **fields)


def on_disk(tmp_path, body: bytes = BODY, name: str = "disk") -> ObjectInfo:
    (tmp_path / name).write_bytes(body)
    return FileStore().head(local_ref(str(tmp_path / name)))


def closely(source: ObjectInfo, target: ObjectInfo, *, told: ObjectInfo | None = None, waiter=None) -> same.Verdict:
    cloud = Told(told or in_cloud())
    stores = [FileStore() if each.ref.scheme == "file" else cloud for each in (source, target)]
    return compare_closely(source, stores[0], target, stores[1], retrier(waiter=waiter))


sums = st.lists(
    st.builds(Checksum, st.sampled_from(["crc32c", "md5", "sha256", "sha384"]), st.sampled_from(["aa", "bb"])),
    unique_by=lambda each: each.algorithm,
).map(tuple)
infos = st.builds(lambda size, known: ObjectInfo(CLOUD, size, "", known), st.integers(0, 2), sums)


@given(infos, infos)
def test_same_only_by_proof(one, other):
    """C015: never the same without the same size and a common checksum, or both empty; the order does not matter."""
    verdict = compare(one, other)
    theirs = {each.algorithm: each.value for each in other.checksums}
    equal = {each.value == theirs[each.algorithm] for each in one.checksums if each.algorithm in theirs}
    if one.size != other.size:
        assert verdict.same is False
    elif one.size == 0:
        assert verdict.same is True
    else:
        assert verdict.same is (None if not equal else False not in equal)
        assert (verdict.proof in one.checksums) == (verdict.same is True)
    assert compare(other, one).same is verdict.same
    assert verdict.because


@pytest.mark.parametrize("algorithm", ["crc32c", "md5", "sha256", "sha384"])
def test_a_file_is_read_for_what_the_service_knows(tmp_path, algorithm):
    """The file's checksum is computed by the service's algorithm; equal bytes are the same, other bytes are not."""
    file = on_disk(tmp_path)
    assert closely(file, in_cloud(checksum(algorithm))).proof == checksum(algorithm)
    assert closely(in_cloud(checksum(algorithm)), file).same is True
    other = on_disk(tmp_path, bytes(len(BODY)), "zeros")
    assert closely(in_cloud(checksum(algorithm)), other).same is False


def test_the_cheapest_checksum_is_taken(tmp_path):
    """Of several checksums that the service knows, the file is read for the one that costs least."""
    known = [checksum(name) for name in ("md5", "sha384", "crc32c", "sha256")]
    assert closely(on_disk(tmp_path), in_cloud(*known)).proof == checksum("crc32c")


def test_a_listing_without_checksum_is_looked_at_again(tmp_path):
    """An object put in parts has no checksum in a listing, but its HEAD has one; one that is known costs no request."""
    told = Told(in_cloud(checksum("crc32c")))
    file = on_disk(tmp_path)
    assert compare_closely(file, FileStore(), in_cloud(), told, retrier()).same is True
    assert told.asked == 1
    assert compare_closely(file, FileStore(), in_cloud(checksum("md5")), told, retrier()).same is True
    assert compare_closely(file, FileStore(), in_cloud(size=1), told, retrier()).same is False
    assert told.asked == 1


def test_an_object_replaced_between_the_looks_is_no_proof(tmp_path):
    """A HEAD that shows another etag than the listing is of another object."""
    told = replace(in_cloud(checksum("crc32c")), etag="other")
    with pytest.raises(errors.ObjectChanged):
        closely(on_disk(tmp_path), in_cloud(), told=told)


def test_nobody_can_tell_without_a_checksum(tmp_path):
    """C015: equal size and no checksum at all is no proof, whatever the metadata of a user says."""
    claimed = in_cloud(metadata={"md5chksum": checksum("md5").value})
    verdict = closely(on_disk(tmp_path), claimed, told=claimed)
    assert verdict.same is None
    assert "no checksum" in verdict.because


@pytest.mark.parametrize("part_size", [65536, 100_000, 131072, 150_000])
def test_the_md5_of_parts_proves_where_their_size_is_noted(tmp_path, part_size):
    """Of an object that we uploaded in parts, the MD5 of its parts is computed from the file."""
    parts = [hashlib.md5(BODY[at : at + part_size]).digest() for at in range(0, len(BODY), part_size)]
    composite = f"{hashlib.md5(b''.join(parts)).hexdigest()}-{len(parts)}"
    told = in_cloud(metadata={PART_SIZE: str(part_size)}, multipart_md5=composite)
    assert closely(on_disk(tmp_path), in_cloud(), told=told).same is True
    assert closely(on_disk(tmp_path, b"x" + BODY[1:], "other"), in_cloud(), told=told).same is False
    wrong = replace(told, metadata={PART_SIZE: str(len(BODY))})
    assert closely(on_disk(tmp_path), in_cloud(), told=wrong).same is None


def test_two_objects_are_compared_by_a_checksum_of_both():
    """Two objects whose listings know no common checksum are both looked at."""
    one, other = in_cloud(checksum("md5")), replace(in_cloud(), ref=replace(CLOUD, name="copy"))
    stores = Told(in_cloud(checksum("crc32c"))), Told(replace(other, checksums=(checksum("crc32c"),)))
    verdict = compare_closely(one, stores[0], other, stores[1], retrier())
    assert verdict.proof == checksum("crc32c")
    assert [store.asked for store in stores] == [1, 1]


def test_two_files_are_compared_byte_for_byte(tmp_path):
    """Local copies need no checksum: their bytes are compared, the last one included."""
    one = on_disk(tmp_path)
    assert closely(one, on_disk(tmp_path, name="copy")).same is True
    assert closely(one, on_disk(tmp_path, BODY[:-1] + bytes([BODY[-1] ^ 1]), "other")).same is False


def test_long_reads_are_shown_and_can_be_stopped(tmp_path, monkeypatch):
    """Reading a large file only to compare it is told as what it is, and the stop flag ends it."""
    monkeypatch.setattr(same, "SHOWN_FROM", 1)
    seen: list[events.Event] = []
    file, known = on_disk(tmp_path), in_cloud(checksum("crc32c"))
    assert closely(file, known, waiter=Waiter(report=seen.append)).same is True
    waits = [each.reason for each in seen if isinstance(each, events.Waiting)]
    assert waits == [f"reading {tmp_path}/disk (293.0 KiB) to compare it", None]
    stop = StopFlag()
    stop.set()
    with pytest.raises(errors.Interrupted):
        closely(file, known, waiter=Waiter(stop=stop))


@pytest.mark.parametrize("state", ["Archived", "Restoring", "Restored", ""])
def test_archived_objects_are_refused(state):
    """C034: an object in the archive tier is refused by name with what to do; a restored one is not."""
    source = in_cloud(archival_state=state)
    if state in {"Restored", ""}:
        expect_readable(source)
        return
    with pytest.raises(errors.PreflightRefused, match="restore it first"):
        expect_readable(source)


def test_what_stands_there_decides(tmp_path):
    """The same bytes are skipped; others are refused by name, unless they may be replaced."""
    file, cloud = on_disk(tmp_path), in_cloud(checksum("md5"))
    means = Means(Told(cloud), FileStore(), None, retrier())  # type: ignore[arg-type] - no byte moves
    outcome = settle(Item(cloud, file.ref), file, means)
    assert outcome is not None
    assert (outcome.kind, outcome.target, outcome.checksums) == ("skipped", file, (checksum("md5"),))
    other = on_disk(tmp_path, bytes(len(BODY)))
    with pytest.raises(errors.DestinationExists, match="md5 differs") as refused:
        settle(Item(cloud, other.ref), other, means)
    assert refused.value.exit_code == 6
    assert settle(Item(cloud, other.ref), other, replace(means, overwrite=True)) is None
    means = Means(FileStore(), Told(cloud), None, retrier())  # type: ignore[arg-type] - no byte moves
    with pytest.raises(errors.AlreadyExists, match="1 B"):
        settle(Item(replace(file, size=1), CLOUD), cloud, means)
