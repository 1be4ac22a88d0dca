"""Downloads to, and uploads from, file systems of every kind: whole, sparse, resumable, and nobody's file is harmed."""

from __future__ import annotations

import mmap
import random
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from filesystems import BTRFS, EXT4, KINDS, OVERLAY, XFS, Kind, mounted, run_as_root
from own_bucket import running_emulator
from transfers import BUCKET, Cloud, fork, journaled, leftovers, wait_until

import hypersdk
from hypersdk import errors
from hypersdk.model import ByteRange, ObjectInfo, ObjectRef
from hypersdk.transfer.checksums import crc32c
from hypersdk.transfer.journal import Identity
from hypersdk.transfer.partial import Partial

PART = 64 * 1024
BODY = random.Random(7).randbytes(10 * PART + 1)
SLACK = 192 * 1024
"""Room that a file system may take beside the data: indirect blocks, a whole extent for a tail."""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with running_emulator(tmp_path_factory) as emulator:
        yield Cloud(emulator, tmp_path_factory.mktemp("home"))


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param


@pytest.fixture
def place(kind: Kind, tmp_path: Path) -> Iterator[Path]:
    with mounted(kind, tmp_path) as at:
        yield at


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return request.node.name


def test_there_and_back(cloud: Cloud, place: Path, name: str) -> None:
    """An object is downloaded whole, under its name only, and the file is uploaded whole."""
    cloud.put(name, BODY)
    cloud.download(name, place / "disk")
    assert (place / "disk").read_bytes() == BODY
    assert leftovers(place) == []
    cloud.upload(place / "disk", f"{name}/back")
    assert cloud.body(f"{name}/back") == BODY


def test_taken_name(cloud: Cloud, place: Path, kind: Kind, name: str) -> None:
    """A file that is there is kept and costs no byte; `overwrite` replaces it, and only by the whole new one."""
    cloud.put(name, BODY)
    (place / "disk").write_bytes(b"old")
    if not kind.links:
        with pytest.raises(PermissionError):
            (place / "other").hardlink_to(place / "disk")
    with pytest.raises(errors.DestinationExists):
        cloud.download(name, place / "disk")
    assert (place / "disk").read_bytes() == b"old"
    assert cloud.fetched(name) == []
    cloud.download(name, place / "disk", overwrite=True)
    assert (place / "disk").read_bytes() == BODY
    assert leftovers(place) == []


def test_name_taken_meanwhile(cloud: Cloud, place: Path, name: str) -> None:
    """A file that appears while the download runs is never replaced: the name is asked for when it is given."""
    cloud.put(name, BODY)
    fault = cloud.emulator.fault("GetObject", "hold", objectName=name, skip=3)
    child = fork(lambda: cloud.download(name, place / "disk"), cloud.folder)
    wait_until(lambda: cloud.held(fault) or child.ended(), "never held")
    (place / "disk").write_bytes(b"of somebody else")
    cloud.emulator.control("POST", "release", {"id": fault["id"]})
    assert child.wait().code == errors.DestinationExists.exit_code
    assert (place / "disk").read_bytes() == b"of somebody else"


def test_killed_download_resumes(cloud: Cloud, place: Path, name: str) -> None:
    """After kill -9 nothing has the final name, and what is in the journal is not fetched again."""
    cloud.put(name, BODY)
    fault = cloud.emulator.fault("GetObject", "hold", objectName=name, skip=8, times=4)
    child = fork(lambda: cloud.download(name, place / "disk"), cloud.folder)
    wait_until(lambda: (cloud.held(fault) and len(journaled(place / "disk")) >= 6) or child.ended(), "never held")
    child.kill()
    cloud.emulator.control("DELETE", "faults")
    kept, mark = journaled(place / "disk"), cloud.mark()
    assert kept
    assert not (place / "disk").exists()
    cloud.download(name, place / "disk")
    assert (place / "disk").read_bytes() == BODY
    assert leftovers(place) == []
    again = cloud.fetched(name, mark)
    assert not [each for each in again for have in kept if each.start < have.stop and have.start < each.stop]


def test_small_objects(cloud: Cloud, place: Path, name: str) -> None:
    """C016: small objects land whole and nothing else does; what is there is skipped, or replaced whole."""
    bodies = {f"{number}/file": BODY[: number * 1000] for number in range(4)}
    for each, body in bodies.items():
        cloud.put(f"{name}/{each}", body)
    place = place / "tree"
    place.mkdir()
    source, target = cloud.address(f"{name}/"), f"{place}/"
    for kind in ("done", "skipped"):
        outcomes = list(hypersdk.copy_tree(source, target, cloud.config))
        assert [outcome.kind for outcome in outcomes] == [kind] * 4
        found = {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}
        assert found == bodies
    cloud.put(f"{name}/3/file", b"other")
    assert next(hypersdk.copy_tree(source, target, cloud.config, include=["3/*"])).kind == "refused"
    assert (place / "3" / "file").read_bytes() == bodies["3/file"]
    assert next(hypersdk.copy_tree(source, target, cloud.config, include=["3/*"], overwrite=True)).kind == "done"
    assert (place / "3" / "file").read_bytes() == b"other"
    assert leftovers(place / "3") == []


@pytest.mark.parametrize("data", [0, 6], ids=lambda blocks: f"{blocks} of 64 blocks")
def test_zeros_take_no_room(cloud: Cloud, place: Path, kind: Kind, name: str, data: int) -> None:
    """Blocks of zeros are not written: the file takes as much room as it has data, where the file system can."""
    blocks = random.Random(data).sample(range(64), data)
    body = b"".join(random.Random(each).randbytes(PART) if each in blocks else bytes(PART) for each in range(64))
    cloud.put(name, body)
    cloud.download(name, place / "disk")
    assert (place / "disk").read_bytes() == body
    if kind.sparse:
        assert (place / "disk").stat().st_blocks * 512 <= data * PART + SLACK
    cloud.upload(place / "disk", f"{name}/back")
    assert cloud.body(f"{name}/back") == body


def test_room_is_reserved_when_asked(cloud: Cloud, place: Path, name: str) -> None:
    """With `preallocate` a file of zeros takes all its room before its first byte, and holds the object's bytes."""
    body = bytes(40 * PART) + BODY
    cloud.put(name, body)
    config = replace(cloud.config, transfer=replace(cloud.config.transfer, preallocate=True))
    hypersdk.download(cloud.address(name), str(place / "disk"), config)
    assert (place / "disk").read_bytes() == body
    assert (place / "disk").stat().st_blocks * 512 >= len(body) - SLACK
    assert leftovers(place) == []


def test_whole_blocks_go_past_the_page_cache(place: Path, kind: Kind) -> None:
    """Whole blocks are not left in the page cache where the file system allows; elsewhere they go through it."""
    body = BODY[: 4 * PART + 100]
    identity = Identity.of(ObjectInfo(ObjectRef("oci", "ns", "b", "disk"), len(body), "etag"))
    buffer = aligned(body)
    with Partial(str(place / "disk")) as partial:
        partial.resume(identity)
        partial.write(0, buffer, skip_zeros=True)
        partial.record(ByteRange(0, len(body)), crc32c(body))
        partial.seal()
        assert (pages_of(partial.path) < PART) is kind.direct
        assert Path(partial.path).read_bytes() == body


def aligned(body: bytes) -> memoryview:
    """A body in memory that starts at a page, as the engine's buffers do."""
    view = memoryview(mmap.mmap(-1, len(body)))
    view[:] = body
    return view


def pages_of(path: str) -> int:
    """Bytes of a file that the page cache holds."""
    done = subprocess.run(["fincore", "-bn", "-o", "RES", path], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.parametrize("kind", [EXT4, XFS, BTRFS], ids=lambda kind: kind.name)
def test_what_is_done_survives_a_power_cut(cloud: Cloud, tmp_path: Path, kind: Kind, name: str) -> None:
    """A copy of the disk, taken as soon as a download has returned, holds the file whole, large or small."""
    cloud.put(f"{name}/large", BODY)
    cloud.put(f"{name}/small", BODY[:1000])
    image, cut = tmp_path / "image", tmp_path / "cut"
    with mounted(kind, tmp_path) as at:
        cloud.download(f"{name}/large", at / "disk")
        run_as_root("cp", "--sparse=always", str(image), str(cut))
        run_as_root("umount", str(at))
        run_as_root("mount", "-o", "loop", str(cut), str(at))
        assert (at / "disk").read_bytes() == BODY
        run_as_root("umount", str(at))
        run_as_root("mount", "-o", "loop", str(image), str(at))
        (outcome,) = hypersdk.copy_tree(cloud.address(f"{name}/small"), f"{at}/", cloud.config)
        assert outcome.kind == "done"
        run_as_root("cp", "--sparse=always", str(image), str(cut))
        run_as_root("umount", str(at))
        run_as_root("mount", "-o", "loop", str(cut), str(at))
        assert Path(str(outcome.target.ref)).read_bytes() == BODY[:1000]
        run_as_root("rm", str(cut))


def test_name_in_a_lower_layer(cloud: Cloud, tmp_path: Path, name: str) -> None:
    """In an overlay a file of the lower layer counts as there, and can be replaced and uploaded."""
    cloud.put(name, BODY)
    with mounted(OVERLAY, tmp_path) as at:
        with pytest.raises(errors.DestinationExists):
            cloud.download(name, at / "below")
        cloud.upload(at / "below", f"{name}/back")
        cloud.download(name, at / "below", overwrite=True)
        assert (at / "below").read_bytes() == BODY
        assert leftovers(at) == []
    assert cloud.body(f"{name}/back") == b"of the lower layer\n"
    assert BUCKET in cloud.address(name)
