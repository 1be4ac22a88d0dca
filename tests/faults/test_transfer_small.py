"""Many small objects at once under faults: each ends as one outcome, right bytes or none, the others go on."""

from __future__ import annotations

import errno
import os
import random
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from trees import Copies, bodies, folder, items, kinds, plant, planted
from two_buckets import HERE, PARALLEL, THERE, TwoBuckets, two_buckets

from hypersdk import errors
from hypersdk.transfer.buffers import BUFFER
from hypersdk.transfer.copies import landing, small
from hypersdk.transfer.copies.copying import copy_items
from hypersdk.transfer.options import TransferOptions
from hypersdk.waiting import StopFlag

FILES = bodies(12)
VICTIM = "d1/f0004"


@pytest.fixture
def stop() -> StopFlag:
    return StopFlag()


@pytest.fixture
def cloud(oci_emulator, tmp_path, stop) -> Iterator[TwoBuckets]:
    with two_buckets(oci_emulator, tmp_path, stop=stop) as cloud:
        yield cloud


@pytest.fixture
def copies(cloud, tmp_path) -> Copies:
    return Copies(cloud, tmp_path)


PASSING = {
    "503": {"effect": "error", "status": 503, "code": "ServiceUnavailable"},
    "429": {"effect": "error", "status": 429, "code": "TooManyRequests"},
    "reset": {"effect": "reset"},
    "stale etag": {"effect": "stale-etag"},
    "html": {"effect": "html"},
}
PASSING_GET = PASSING | {
    "cut": {"effect": "cut-body", "afterBytes": 10},
    "short": {"effect": "short-body", "afterBytes": 10},
    "flipped": {"effect": "flip-byte", "at": 7},
    "gzip": {"effect": "gzip"},
    "length": {"effect": "wrong-length", "by": 3},
}
PASSING_PUT = {name: PASSING[name] for name in ("503", "429", "reset", "html")} | {
    "lost reply": {"effect": "lost-response"},
    "flipped": {"effect": "flip-request", "at": 7},
    "stored wrong": {"effect": "store-flipped", "at": 7},
    "cut": {"effect": "cut-request", "afterBytes": 10},
}


@pytest.mark.parametrize("fault", PASSING_GET.values(), ids=PASSING_GET)
def test_faults_of_one_download_are_outlasted(copies, oci_emulator, fault):
    """C013: a fault that passes is tried again, nothing wrong is ever named, the other items do not notice."""
    copies.fill(FILES)
    oci_emulator.fault("GetObject", objectName=VICTIM, **fault)
    assert kinds(copies.down()) == {"done": set(FILES)}
    assert planted(copies.target) == FILES


@pytest.mark.parametrize("fault", PASSING_PUT.values(), ids=PASSING_PUT)
def test_faults_of_one_upload_are_outlasted(copies, oci_emulator, fault):
    """A fault that passes is tried again; a reply that was lost is looked for; what was stored wrong is replaced."""
    plant(copies.source, FILES)
    oci_emulator.fault("PutObject", objectName=VICTIM, **fault)
    outcomes = copies.up()
    assert kinds(outcomes) == {"done": set(FILES)}
    assert outcomes[VICTIM].moved == len(FILES[VICTIM])
    assert copies.filled() == FILES


@pytest.mark.parametrize("known", [{}, {"opc_checksum_algorithm": "CRC32C"}], ids=["md5", "crc32c"])
@pytest.mark.parametrize("way", ["down", "across"])
def test_bytes_that_stay_bad_fail_their_item_alone(copies, oci_emulator, way, known):
    """Bytes that differ from the service's checksum twice fail as such: no name for them, all others are done."""
    copies.fill(FILES, **known)
    oci_emulator.fault("GetObject", "flip-byte", objectName=VICTIM, at=7, times=2)
    outcomes = getattr(copies, way)()
    assert kinds(outcomes) == {"done": set(FILES) - {VICTIM}, "failed": {VICTIM}}
    assert isinstance(outcomes[VICTIM].error, errors.VerificationError)
    assert (planted(copies.target) if way == "down" else copies.filled()).keys() == set(FILES) - {VICTIM}


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_fault_that_stays_fails_its_item_alone(copies, oci_emulator, way):
    """After the last attempt one item has failed as a passing fault; the others are done."""
    copies.fill(FILES)
    plant(copies.source, FILES)
    operation = "PutObject" if way == "up" else "GetObject"
    oci_emulator.fault(operation, "error", objectName=VICTIM, status=500, code="InternalServerError", times=5)
    outcomes = getattr(copies, way)()
    assert kinds(outcomes) == {"done": set(FILES) - {VICTIM}, "failed": {VICTIM}}
    error = outcomes[VICTIM].error
    assert isinstance(error, errors.ServiceError)
    assert outcomes[VICTIM].because == error.message


@pytest.mark.parametrize("way", ["down", "across"])
def test_an_object_replaced_since_the_listing_is_fetched_as_it_is_now(copies, cloud, way):
    """412: an object that was replaced after it was listed is looked at and fetched once more, the new bytes whole."""
    copies.fill(FILES)
    here, there = cloud.ref("", HERE), folder(copies.target) if way == "down" else cloud.ref("")
    wanted = list(items(cloud.store, here, there))
    cloud.put(VICTIM, b"new", HERE)
    outcomes = getattr(copies, way)(wanted=iter(wanted))
    assert kinds(outcomes) == {"done": set(FILES)}
    assert (planted(copies.target) if way == "down" else copies.filled()) == FILES | {VICTIM: b"new"}
    assert outcomes[VICTIM].item.source.size == 3


def test_an_object_that_keeps_changing_is_given_up(copies, cloud, oci_emulator):
    """412 twice: the item fails as changed; nothing stands at its name."""
    copies.fill(FILES)
    oci_emulator.fault("GetObject", "object-replaced", objectName=VICTIM, times=2)
    outcomes = copies.down()
    assert isinstance(outcomes[VICTIM].error, errors.ObjectChanged)
    assert kinds(outcomes) == {"done": set(FILES) - {VICTIM}, "failed": {VICTIM}}
    assert VICTIM not in planted(copies.target)


def test_a_file_edited_since_the_listing_is_never_sent(copies, cloud):
    """A source file that is another one than was listed fails its item, and nothing is written for it."""
    plant(copies.source, FILES)
    wanted = list(items(copies.files, folder(copies.source), cloud.ref("")))
    (copies.source / VICTIM).write_bytes(b"edited")
    outcomes = copies.up(wanted=iter(wanted))
    assert isinstance(outcomes[VICTIM].error, errors.ObjectChanged)
    assert copies.filled().keys() == set(FILES) - {VICTIM}


def test_what_appeared_meanwhile_is_not_replaced(copies, cloud):
    """C016: an object or file that nobody knew of is kept, and refused by name; the same bytes there are skipped."""
    plant(copies.source, FILES)
    copies.fill(FILES)
    twin = "d2/f0005"
    for root in (THERE, copies.target):
        for name, body in ((VICTIM, b"other"), (twin, FILES[twin])):
            if root is THERE:
                cloud.put(name, body, THERE)
            else:
                plant(copies.target, {name: body})
    for outcomes, found in ((copies.up(), copies.filled()), (copies.down(), planted(copies.target))):
        assert kinds(outcomes) == {"done": set(FILES) - {VICTIM, twin}, "refused": {VICTIM}, "skipped": {twin}}
        error = outcomes[VICTIM].error
        assert error is not None
        assert error.exit_code == 6
        assert "--overwrite" in str(error)
        assert found == {} or found == FILES | {VICTIM: b"other"}


@pytest.mark.parametrize("nameless", [True, False])
def test_a_file_that_appears_at_the_last_moment_is_kept(copies, monkeypatch, nameless):
    """C016: a file that nobody saw before its name is given is not replaced: the item is refused, nothing is left."""
    if not nameless:
        monkeypatch.delattr(landing.os, "O_TMPFILE")
    copies.fill(FILES)
    prove = landing._prove

    def appears(file, path, *more):
        plant(copies.target, {VICTIM: b"mine"})
        return prove(file, path, *more)

    monkeypatch.setattr(landing, "_prove", appears)
    outcomes = copies.down()
    assert kinds(outcomes) == {"done": set(FILES) - {VICTIM}, "refused": {VICTIM}}
    assert planted(copies.target) == FILES | {VICTIM: b"mine"}


def test_nothing_is_done_before_it_is_durable(copies, cloud, monkeypatch):
    """A file is synced before it has a name, and its directory before the item is told as done."""
    copies.fill(FILES)
    happened: list[tuple[str, object]] = []
    fsync, link = os.fsync, os.link

    def synced(descriptor):
        fsync(descriptor)
        facts = os.fstat(descriptor)
        happened.append(("directory" if stat.S_ISDIR(facts.st_mode) else "file", facts.st_ino))

    def linked(source, name, **more):
        link(source, name, **more)
        happened.append(("link", os.stat(name, dir_fd=more["dst_dir_fd"]).st_ino))

    monkeypatch.setattr(landing.os, "fsync", synced)
    monkeypatch.setattr(landing.os, "link", linked)
    wanted = items(cloud.store, cloud.ref("", HERE), folder(copies.target))
    for outcome in copy_items(wanted, cloud.between(cloud.store, copies.files)):
        path = copies.target / outcome.item.target.name
        named = happened.index(("link", path.stat().st_ino))
        assert ("file", path.stat().st_ino) in happened[:named]
        assert ("directory", path.parent.stat().st_ino) in happened[named:]


@pytest.mark.parametrize("listed", [True, False])
def test_other_bytes_are_replaced_when_asked(copies, cloud, listed):
    """C015: an object of equal size but other bytes is replaced with --overwrite, exactly the one that was seen."""
    plant(copies.source, FILES)
    copies.fill({VICTIM: bytes(len(FILES[VICTIM]))}, THERE)
    assert kinds(copies.up(listed=listed, overwrite=True)) == {"done": set(FILES)}
    assert copies.filled() == FILES
    copies.fill(FILES)
    plant(copies.target, {VICTIM: bytes(len(FILES[VICTIM]))})
    assert kinds(copies.down(overwrite=True)) == {"done": set(FILES)}
    assert planted(copies.target) == FILES


def test_an_object_replaced_since_it_was_seen_is_looked_at_again(copies, cloud):
    """The etag of a listing is no leave to replace what came after it: that is compared first."""
    plant(copies.source, FILES)
    copies.fill({VICTIM: b"old"}, THERE)
    wanted = list(items(copies.files, folder(copies.source), cloud.ref(""), look=cloud.store))
    cloud.put(VICTIM, FILES[VICTIM], THERE)
    outcomes = copies.up(wanted=iter(wanted), overwrite=True)
    assert kinds(outcomes) == {"done": set(FILES) - {VICTIM}, "skipped": {VICTIM}}


def test_refused_credentials_end_all_at_once(copies, oci_emulator):
    """401: the items in flight and all others end with it, without a request for each."""
    files = bodies(60)
    plant(copies.source, files)
    oci_emulator.fault("PutObject", "error", status=401, code="NotAuthenticated", times="any")
    outcomes = copies.up()
    assert kinds(outcomes) == {"failed": set(files)}
    assert all(isinstance(outcome.error, errors.NotAuthenticated) for outcome in outcomes.values())
    assert len(copies.cloud.asked("PutObject")) < 10


def test_a_full_disk_ends_all_at_once(copies, cloud, monkeypatch):
    """No room: what landed stays, the rest fails as such without being fetched; nothing half stands anywhere."""
    files = bodies(200)
    copies.fill(files)
    real, left = os.pwrite, [20]

    def pwrite(*arguments):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*arguments)

    monkeypatch.setattr(landing.os, "pwrite", pwrite)
    outcomes = copies.down()
    found = kinds(outcomes)
    assert found.keys() == {"done", "failed"}
    assert planted(copies.target) == {name: files[name] for name in found["done"]}
    assert all(isinstance(outcomes[name].error, errors.DiskFull) for name in found["failed"])
    assert len(cloud.asked("GetObject")) < 100


def test_a_stop_leaves_whole_files_only(copies, cloud, stop):
    """Asked to stop: what is whole is done, the rest is told as interrupted, and the same call goes on with it."""
    files = bodies(120)
    copies.fill(files)

    def advanced(done, total):
        if done > 10_000:
            stop.set()

    found = kinds(copies.down(advanced=advanced))
    assert found.keys() == {"done", "interrupted"}
    assert planted(copies.target) == {name: files[name] for name in found["done"]}
    stop.clear()
    again = kinds(copies.down())
    assert again == {"skipped": found["done"], "done": found["interrupted"]}
    assert planted(copies.target) == files


@pytest.mark.parametrize("fault", [None, "cut-body", "flip-byte"])
@pytest.mark.parametrize("spare", [0, small.SPARE])
def test_objects_of_several_buffers(copies, oci_emulator, monkeypatch, fault, spare):
    """Whole objects are written while they come, in as many buffers as there are; a cut or bad one begins anew."""
    monkeypatch.setattr(small, "SPARE", spare)
    if not spare:  # and once on a file system that has no files without a name
        monkeypatch.delattr(landing.os, "O_TMPFILE")
    sizes = (BUFFER - 1, BUFFER, BUFFER + 1, 3 * BUFFER + 5)
    files = {f"{size}": random.Random(size).randbytes(size) for size in sizes}
    copies.fill(files)
    if fault:
        where = {"cut-body": "afterBytes", "flip-byte": "at"}[fault]
        oci_emulator.fault("GetObject", fault, objectName=str(sizes[-1]), **{where: 2 * BUFFER})
    assert kinds(copies.down(options=TransferOptions(4 * BUFFER, 3))) == {"done": set(files)}
    assert planted(copies.target) == files


@pytest.mark.parametrize("way", ["up", "across", "aside"])
def test_objects_of_several_buffers_on_other_ways(copies, way):
    """The same from files to a store, from store to store, and from file to file."""
    sizes = (BUFFER - 1, BUFFER, BUFFER + 1, 3 * BUFFER + 5)
    files = {f"{size}": random.Random(size).randbytes(size) for size in sizes}
    copies.fill(files)
    plant(copies.source, files)
    assert kinds(getattr(copies, way)(options=TransferOptions(4 * BUFFER, 3))) == {"done": set(files)}
    assert (planted(copies.target) if way == "aside" else copies.filled()) == files


def test_who_stops_listening_leaves_whole_files_only(copies, cloud):
    """A caller that takes no more outcomes abandons what is in flight; the wire is good for the next copy."""
    files = bodies(60)
    copies.fill(files)
    wanted = items(cloud.store, cloud.ref("", HERE), folder(copies.target))
    outcomes = copy_items(wanted, cloud.between(cloud.store, copies.files))
    assert next(outcomes).kind == "done"
    outcomes.close()
    found = planted(copies.target)
    assert found == {name: files[name] for name in found}
    assert kinds(copies.down()) == {"skipped": set(found), "done": set(files) - set(found)}


CHILD = """
import sys
from pathlib import Path
from trees import folder, items
from two_buckets import settings
from types import SimpleNamespace
from hypersdk.model import ObjectRef
from hypersdk.storage.backends.file import FileStore
from hypersdk.transfer.buffers import BUFFER
from hypersdk.transfer.copies.copying import copy_items
from hypersdk.transfer.copies.items import Means
from hypersdk.waiting import Waiter
from hypersdk.wiring import Wiring

config_file, endpoint, namespace, target = sys.argv[1:]
emulator = SimpleNamespace(config_file=config_file, endpoint=endpoint)
with Wiring(settings(emulator, Path(target)), Waiter()) as wiring:
    store, here = wiring.oci_store, ObjectRef("oci", namespace, "here", "")
    means = Means(store, FileStore(), wiring.wire, wiring.retrier, wiring.config.transfer)
    for outcome in copy_items(items(store, here, folder(target)), means):
        print(outcome.kind, outcome.item.source.ref.name, flush=True)
"""


@pytest.mark.parametrize("nameless", [True, False])
def test_a_kill_leaves_whole_files_only(copies, cloud, oci_emulator, nameless, monkeypatch):
    """C015: kill -9 in the middle: under final names stand whole files only, what was told as done is among them."""
    files = bodies(60)
    copies.fill(files)
    oci_emulator.fault("GetObject", "hold", skip=30, times="any", optional=True)
    patch = "" if nameless else "import os; del os.O_TMPFILE\n"
    arguments = [str(oci_emulator.config_file), oci_emulator.endpoint, oci_emulator.namespace, str(copies.target)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.Popen(
        [sys.executable, "-c", patch + CHILD, *arguments], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert child.stdout is not None
    told = [child.stdout.readline().split() for _ in range(15)]
    child.send_signal(signal.SIGKILL)
    told += [line.split() for line in child.stdout if line.endswith("\n")]
    child.stdout.close()
    assert child.wait(30) == -signal.SIGKILL
    found = {name: body for name, body in planted(copies.target).items() if not Path(name).name.startswith(".hx-")}
    assert {name for _, name in told} <= found.keys()
    assert found == {name: files[name] for name in found}
    assert len(found) < len(files)
    oci_emulator.drop_faults()
    again = copies.down()
    assert kinds(again)["skipped"] == found.keys()
    assert {name: body for name, body in planted(copies.target).items() if ".hx-" not in name} == files


@pytest.mark.parametrize("way", ["down", "aside"])
def test_items_are_taken_only_as_they_can_move(copies, cloud, monkeypatch, way):
    """Memory: however many items there are, and be they empty, only so many are under way."""
    monkeypatch.setattr(small, "PATIENCE", 5.0)
    files = dict.fromkeys(bodies(200), b"")
    copies.fill(files) if way == "down" else plant(copies.source, files)
    under_way: set[str] = set()
    most = 0

    def wanted():
        nonlocal most
        here = (cloud.store, cloud.ref("", HERE)) if way == "down" else (copies.files, folder(copies.source))
        for item in items(*here, folder(copies.target)):
            under_way.add(item.source.ref.name)
            most = max(most, len(under_way))
            yield item

    source = cloud.store if way == "down" else copies.files
    for outcome in copy_items(wanted(), cloud.between(source, copies.files)):
        under_way.remove(outcome.item.source.ref.name)
    assert not under_way
    assert most <= small.BACKLOG + PARALLEL + 1


def test_a_listing_that_breaks_ends_after_what_it_gave(copies, cloud):
    """Rule 9: a listing that cannot be read to its end is raised, once all that it gave have been told."""
    copies.fill(FILES)

    def wanted():
        yield from items(cloud.store, cloud.ref("", HERE), folder(copies.target))
        raise errors.ServiceError("the listing broke")

    told = copy_items(wanted(), cloud.between(cloud.store, copies.files))
    assert [next(told).kind for _ in FILES] == ["done"] * len(FILES)
    with pytest.raises(errors.ServiceError, match="the listing broke"):
        next(told)
