"""Copies of many objects, small and large, between buckets and directories: all of them, each once, each proven."""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from trees import Copies, bodies, folder, items, kinds, plant, planted
from two_buckets import HERE, PART, THERE, TwoBuckets, two_buckets

from hypersdk import errors, events
from hypersdk.model import Checksum
from hypersdk.storage.backends.oci import OciStore
from hypersdk.storage.protocol import PutOptions
from hypersdk.transfer.checksums import as_checksum, crc32c
from hypersdk.transfer.copies import landing
from hypersdk.transfer.copies.copying import copy_items, finer
from hypersdk.transfer.copies.items import Item
from hypersdk.transfer.options import MIB, TransferOptions
from hypersdk.transfer.partial import journal_name, partial_name
from hypersdk.waiting import StopFlag

LARGE = {
    "large/a": random.Random(1).randbytes(3 * PART + 1),
    "large/b": random.Random(2).randbytes(PART + 1),
    "large/zeros": bytes(4 * PART),
}
FILES = bodies(20) | LARGE
WAYS = ["up", "down", "across", "aside"]
REMOTE = ["up", "down", "across"]
BODIES = {"PutObject", "UploadPart", "GetObject"}


@pytest.fixture
def stop() -> StopFlag:
    return StopFlag()


@pytest.fixture
def seen() -> list[events.Event]:
    return []


@pytest.fixture
def cloud(oci_emulator, tmp_path, stop, seen) -> Iterator[TwoBuckets]:
    with two_buckets(oci_emulator, tmp_path, stop=stop, report=seen.append) as cloud:
        yield cloud


@pytest.fixture
def copies(cloud, tmp_path) -> Copies:
    copies = Copies(cloud, tmp_path)
    plant(copies.source, FILES)
    copies.fill(FILES, opc_checksum_algorithm="CRC32C")
    return copies


def arrived(copies: Copies, way: str) -> dict[str, bytes]:
    return planted(copies.target) if way in {"down", "aside"} else copies.filled()


@pytest.mark.parametrize("way", WAYS)
def test_small_and_large_arrive(copies, way):
    """C015: whatever the mix of sizes, all arrive byte for byte, with the CRC32C of their bytes as proof."""
    outcomes = getattr(copies, way)()
    assert kinds(outcomes) == {"done": set(FILES)}
    assert arrived(copies, way) == FILES
    for name, outcome in outcomes.items():
        assert as_checksum(crc32c(FILES[name])) in outcome.checksums
        assert outcome.moved == len(FILES[name])
        assert outcome.target is not None
        assert outcome.target.ref == outcome.item.target
        assert outcome.target.size == len(FILES[name])
        assert bool(outcome.target.etag) or outcome.target.ref.scheme == "file"


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("way", WAYS)
def test_a_second_copy_moves_nothing(copies, oci_emulator, way, listed):
    """C031: the same copy again skips everything by size and checksum; with a listing of the target no body moves."""
    assert kinds(getattr(copies, way)()) == {"done": set(FILES)}
    before = len(oci_emulator.log())
    outcomes = getattr(copies, way)(listed=listed)
    assert kinds(outcomes) == {"skipped": set(FILES)}
    assert all("same" in outcome.because or "empty" in outcome.because for outcome in outcomes.values())
    asked = {entry["operation"] for entry in oci_emulator.log()[before:]}
    assert not asked & BODIES or not listed
    assert "UploadPart" not in asked
    assert sum(outcome.moved for outcome in outcomes.values()) == 0


@pytest.mark.parametrize("way", WAYS)
def test_other_bytes_of_equal_size_are_refused_or_replaced(copies, cloud, way):
    """C015: a zero-filled file or object of the right size is never taken for the source: refused, or replaced."""
    zeros = {name: bytes(len(body)) for name, body in FILES.items() if name in {"d1/f0004", "large/a"}}
    plant(copies.target, zeros)
    copies.fill(zeros, THERE)
    outcomes = getattr(copies, way)()
    assert kinds(outcomes) == {"done": set(FILES) - set(zeros), "refused": set(zeros)}
    assert all(outcomes[name].error.exit_code == 6 for name in zeros)
    assert {name: arrived(copies, way)[name] for name in zeros} == zeros
    assert kinds(getattr(copies, way)(overwrite=True)) == {"skipped": set(FILES) - set(zeros), "done": set(zeros)}
    assert arrived(copies, way) == FILES


def test_without_a_checksum_in_common_nobody_can_tell(copies, cloud):
    """C015: of an object put whole without CRC32C and its copy in parts no checksum is common: refused, not skipped."""
    cloud.put("large/a", LARGE["large/a"], HERE)
    assert copies.across()["large/a"].kind == "done"
    again = copies.across()["large/a"]
    assert (again.kind, again.moved) == ("refused", 0)
    assert "no checksum that both sides know" in again.because
    assert copies.across(overwrite=True)["large/a"].kind == "done"


def test_more_items_than_a_page(oci_emulator, tmp_path):
    """C031: 1,001 objects over many pages of a listing go up and come down, none twice, none lost."""
    files = {f"{number:04}": str(number).encode() for number in range(1001)}
    with two_buckets(oci_emulator, tmp_path) as cloud:
        copies = Copies(cloud, tmp_path)
        plant(copies.source, files)
        options = TransferOptions(PART, 16)
        up = items(copies.files, folder(copies.source), cloud.ref("in/"))
        assert (
            sum(
                each.kind == "done"
                for each in copy_items(up, cloud.between(copies.files, cloud.store, options=options))
            )
            == 1001
        )
        paged = OciStore(cloud.wiring.session, cloud.wiring.wire, cloud.wiring.retrier.call, page=100)
        down = items(paged, cloud.ref("in/"), folder(copies.target))
        assert (
            sum(each.kind == "done" for each in copy_items(down, cloud.between(paged, copies.files, options=options)))
            == 1001
        )
        assert planted(copies.target) == files


def test_progress_grows_to_the_bytes_of_all(copies, seen):
    """Progress never goes back, ends at the bytes of all items, and counts what really moved on wire and disk."""
    copies.fill({"d0/zeros": bytes(PART)})
    told: list[tuple[int, int]] = []
    copies.down(advanced=lambda *now: told.append(now))
    whole = sum(len(body) for body in FILES.values()) + PART
    assert told == sorted(told)
    assert told[-1] == (whole, whole)
    moved = [each for each in seen if isinstance(each, events.Bytes)]
    assert sum(each.wire for each in moved) == whole
    assert sum(each.disk for each in moved) == whole - len(LARGE["large/zeros"]) - PART
    copies.down(advanced=lambda *now: told.append(now))
    assert told[-1] == (whole, whole)
    assert moved == [each for each in seen if isinstance(each, events.Bytes)]


def test_a_stop_ends_all_that_is_left(copies, stop):
    """Asked to stop: each item is told once, done or interrupted; the same call finishes the rest."""
    count = 0

    def wanted():
        nonlocal count
        for item in items(copies.cloud.store, copies.cloud.ref("", HERE), folder(copies.target)):
            count += 1
            if count == 10:
                stop.set()
            yield item

    found = kinds(copies.down(wanted=wanted()))
    assert found.get("done", set()) | found["interrupted"] == set(FILES)
    assert LARGE.keys() <= found["interrupted"]
    stop.clear()
    assert kinds(copies.down()).get("done") == found["interrupted"]
    assert planted(copies.target) == FILES


def test_one_item_alone(copies, cloud):
    """One object alone is done, skipped the next time, and failed if it is absent; nothing is raised."""
    (large, absent) = (cloud.store.head(cloud.ref("large/a", HERE)), cloud.ref("absent", HERE))
    target = replace(folder(copies.target), name="new/a")
    means = cloud.between(cloud.store, copies.files)
    (first,) = copy_items([Item(large, target)], means)
    (again,) = copy_items([Item(large, target)], means)
    assert (first.kind, first.moved, again.kind, again.moved) == ("done", large.size, "skipped", 0)
    missing = Item(replace(large, ref=absent), replace(target, name="other"))
    (failed,) = copy_items([missing], means)
    assert (failed.kind, type(failed.error)) == ("failed", errors.NotFoundError)
    assert not (copies.target / "other").exists()


@pytest.mark.parametrize(
    ("size", "part_size", "parallel", "cut"),
    [
        (17 * MIB, 16 * MIB, 16, 4 * MIB),
        (100 * MIB, 16 * MIB, 16, 7 * MIB),
        (1024 * MIB, 16 * MIB, 16, 16 * MIB),
        (17 * MIB, MIB, 16, MIB),
        (17 * MIB, 16 * MIB, 1, 16 * MIB),
        (-1, 16 * MIB, 16, 4 * MIB),
    ],
)
def test_an_object_of_few_parts_is_cut_finer(size, part_size, parallel, cut):
    """Objects between one part and one part per connection keep all connections busy; no part is made larger."""
    assert finer(TransferOptions(part_size, parallel), size) == TransferOptions(cut, parallel)


@pytest.mark.parametrize("way", ["up", "down"])
def test_finer_parts_move(copies, cloud, way):
    """An object of two parts goes in three, since there are connections for four, and arrives."""
    body = random.Random(9).randbytes(9 * MIB)
    plant(copies.source, {"few": body})
    cloud.put("few", body, HERE)
    before = len(cloud.asked("UploadPart" if way == "up" else "GetObject"))
    source, there = (copies.files, folder(copies.source)) if way == "up" else (cloud.store, cloud.ref("", HERE))
    target = cloud.ref("") if way == "up" else folder(copies.target)
    wanted = [each for each in items(source, there, target) if each.source.ref.name == "few"]
    options = TransferOptions(8 * MIB, 4)
    assert kinds(getattr(copies, way)(wanted=iter(wanted), options=options)) == {"done": {"few"}}
    assert arrived(copies, way)["few"] == body
    assert len(cloud.asked("UploadPart" if way == "up" else "GetObject")) - before == 3


@pytest.mark.parametrize("name", ["small", "large"])
def test_an_archived_object_is_refused_by_name(copies, cloud, name):
    """C034: what is archived is refused with what to do, no request is made for it, the others are done."""
    chosen = "d1/f0004" if name == "small" else "large/a"
    wanted = [
        replace(item, source=replace(item.source, archival_state="Archived"))
        if item.source.ref.name == chosen
        else item
        for item in items(cloud.store, cloud.ref("", HERE), folder(copies.target))
    ]
    outcomes = copies.down(wanted=iter(wanted))
    assert kinds(outcomes) == {"done": set(FILES) - {chosen}, "refused": {chosen}}
    assert "restore it first" in outcomes[chosen].because


def test_what_stands_beside_an_object_travels_along(copies, cloud):
    """C022: metadata, content type and encoding of small and large objects are those of the source in the copy."""
    beside = {"content_type": "text/x-y", "content_encoding": "gzip", "opc_meta": {"owner": "me"}}
    for name in ("small", "large"):
        cloud.put(name, bytes(10 if name == "small" else 2 * PART), HERE, **beside)
    copies.across(put=PutOptions(metadata={"copied": "yes"}))
    for name in ("small", "large"):
        found = cloud.store.head(cloud.ref(name))
        assert {"owner": "me", "copied": "yes"}.items() <= dict(found.metadata).items()
        assert found.headers["content-type"] == "text/x-y"
        assert found.headers["content-encoding"] == "gzip"


def test_digests_that_are_asked_for(copies, cloud):
    """--checksum and --verify=reread hold for small files as for large ones."""
    options = TransferOptions(PART, 3, digests=("sha256",), reread=True)
    outcomes = copies.down(options=options)
    assert kinds(outcomes) == {"done": set(FILES)}
    for name, outcome in outcomes.items():
        assert Checksum("sha256", hashlib.sha256(FILES[name]).hexdigest()) in outcome.checksums


@pytest.mark.parametrize("umask", [0o002, 0o027, 0o077])
def test_modes_are_the_umask_s(copies, umask):
    """C018: files and directories are as wide as the umask allows, small ones as well as large ones."""
    before = os.umask(umask)
    try:
        copies.down()
    finally:
        os.umask(before)
    for path in copies.target.rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o777 if path.is_dir() else 0o666) & ~umask


def test_links_below_the_target_are_not_followed(copies, tmp_path):
    """Rule 2: a symbolic link in place of a directory or a file is refused for its items; nothing is written there."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (copies.target / "d1").symlink_to(outside)
    (copies.target / "large").symlink_to(outside)
    outcomes = copies.down()
    linked = {name for name in FILES if name.startswith(("d1/", "large/"))}
    assert kinds(outcomes) == {"done": set(FILES) - linked, "failed": linked}
    assert list(outside.iterdir()) == []


def test_a_file_in_place_of_a_directory_fails_its_items_alone(copies):
    """C029: where a file stands nothing comes below it: those items fail by name, the file stays, the rest is done."""
    plant(copies.target, {"d1": b"a file", "large": b"another"})
    outcomes = copies.down()
    below = {name for name in FILES if name.startswith(("d1/", "large/"))}
    assert kinds(outcomes) == {"done": set(FILES) - below, "failed": below}
    assert (copies.target / "d1").read_bytes() == b"a file"


def test_names_that_no_file_can_have_fail_alone(copies, cloud):
    """Rule 2: a name with `..` or an empty component never leaves its root, and fails by name."""
    for name in ("../out", "a//b", "c/."):
        cloud.put(name, b"x", HERE)
    found = kinds(copies.down())
    assert found == {"done": set(FILES), "failed": {"../out", "a//b", "c/."}}
    assert not (copies.target.parent / "out").exists()


@pytest.mark.parametrize("nameless", [True, False])
def test_zeros_are_not_written(copies, cloud, monkeypatch, nameless):
    """Blocks of zeros become holes in small files too, with and without files that have no name."""
    if not nameless:
        monkeypatch.delattr(landing.os, "O_TMPFILE")
    body = bytes(512 * 1024) + b"x" + bytes(512 * 1024)
    cloud.put("holes", body, HERE)
    copies.down(options=TransferOptions(4 * 1024 * 1024, 3))
    path = copies.target / "holes"
    assert path.read_bytes() == body
    assert path.stat().st_blocks * 512 <= 128 * 1024
    assert not [each for each in copies.target.iterdir() if each.name.startswith(".hx-")]
    assert Path(copies.target / "large" / "zeros").stat().st_blocks == 0


def test_leftovers_of_an_earlier_large_copy_go(copies, cloud):
    """A partial file and its journal, left when the object was large, go when the small one that it is now lands."""
    own = [copies.target / name("shrunk") for name in (partial_name, journal_name)]
    for path in own:
        path.write_bytes(b"left")
    cloud.put("shrunk", b"small", HERE)
    with own[0].open("rb") as busy:
        fcntl.flock(busy, fcntl.LOCK_EX)
        assert copies.down()["shrunk"].kind == "done"
        assert all(path.exists() for path in own)  # another process is at it
    (copies.target / "shrunk").unlink()
    assert copies.down()["shrunk"].kind == "done"
    assert not any(path.exists() for path in own)
