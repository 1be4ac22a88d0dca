"""A volume's layers against a plain model: bytes in memory, copied whole at every clone and backup."""

import asyncio
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from hypersdk_emulator.blockstorage import flatten
from hypersdk_emulator.blockstorage.extents import BLOCK, Extents, covering, resolve
from hypersdk_emulator.blockstorage.layers import LayerStore
from hypersdk_emulator.database import Database

BLOCKS = 16
LENGTH = BLOCKS * BLOCK
RANGES = st.tuples(st.integers(0, BLOCKS), st.integers(0, BLOCKS)).map(lambda pair: (min(pair), max(pair)))
SETS = st.lists(RANGES, max_size=6)


def as_set(ranges):
    return {block for start, stop in ranges for block in range(start, stop)}


@given(SETS, RANGES, st.sampled_from([1, 2, 4, 8]))
def test_extents_are_a_set_of_blocks(ranges, window, group):
    """Ranges that overlap or touch become one; parts, gaps, count and rounding agree with a set of numbers."""
    extents, blocks = Extents(ranges), as_set(ranges)
    assert as_set(extents) == blocks
    assert extents.blocks == len(blocks)
    assert all(right[0] > left[1] for left, right in zip(list(extents), list(extents)[1:], strict=False))
    assert as_set(extents.within(*window)) == blocks & set(range(*window))
    assert as_set(extents.gaps(*window)) == set(range(*window)) - blocks
    assert as_set(extents.rounded(group)) == {
        n for n in range(BLOCKS + group) if n // group in {b // group for b in blocks}
    }


@given(st.lists(SETS, max_size=4), RANGES)
def test_a_block_comes_from_the_newest_layer_that_owns_it(chain, window):
    """The pieces cover the range once, in order, and name the first owner of each block, or none."""
    pieces = resolve([Extents(ranges) for ranges in chain], *window)
    assert [n for start, stop, _ in pieces for n in range(start, stop)] == list(range(*window))
    for start, stop, place in pieces:
        for block in range(start, stop):
            owners = [n for n, ranges in enumerate(chain) if block in as_set(ranges)]
            assert place == (owners[0] if owners else None)


@given(st.integers(0, LENGTH), st.integers(1, LENGTH))
def test_covering_is_the_smallest_range_of_blocks(offset, length):
    """The first and the last byte lie in the first and the last block."""
    start, stop = covering(offset, length)
    assert start * BLOCK <= offset < (start + 1) * BLOCK
    assert (stop - 1) * BLOCK < offset + length <= stop * BLOCK


class Volumes(RuleBasedStateMachine):
    """Volumes are written, cloned, backed up, restored, deleted, at random; a bytearray each says what is right."""

    volumes = Bundle("volumes")
    backups = Bundle("backups")

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="layers-"))
        self.db = Database(self.folder / "db")
        self.model = {}
        self.saved = {}
        self.writes = {}
        self.count = 0

    @property
    def store(self):
        """A fresh one each time: it must keep nothing in memory, as after a restart."""
        return LayerStore(self.db, self.folder / "volumes")

    def fresh(self, kind):
        self.count += 1
        return f"{kind}{self.count}"

    @initialize(target=volumes, data=st.binary(max_size=3 * BLOCK))
    def seeded(self, data):
        """A volume on a disk's own file."""
        file = self.folder / "seed"
        file.write_bytes(data)
        name = self.fresh("v")
        with self.db.transaction():
            self.store.start(name, self.store.base(file, "raw"), len(data))
        self.model[name] = bytearray(data.ljust(LENGTH, b"\0"))
        self.writes[name] = []
        return name

    @rule(target=volumes)
    def blank(self):
        name = self.fresh("v")
        self.store.start(name, None, LENGTH)
        self.model[name] = bytearray(LENGTH)
        self.writes[name] = []
        return name

    @rule(volume=volumes, offset=st.integers(0, LENGTH - 1), data=st.binary(min_size=1, max_size=2 * BLOCK))
    def write(self, volume, offset, data):
        data = data[: LENGTH - offset]
        self.store.write(volume, offset, data)
        self.model[volume][offset : offset + len(data)] = data
        self.writes[volume].append(covering(offset, len(data)))

    @rule(target=volumes, volume=volumes)
    def clone(self, volume):
        name = self.fresh("v")
        with self.db.transaction():
            tip = self.store.freeze(volume)
            self.store.start(name, tip, self.store.layer(tip).length)
        self.model[name] = bytearray(self.model[volume])
        self.writes[name] = []
        return name

    @rule(target=backups, volume=volumes)
    def backup(self, volume):
        name = self.fresh("b")
        with self.db.transaction():
            self.store.hold(name, self.store.freeze(volume))
        self.saved[name] = (volume, bytes(self.model[volume]), len(self.writes[volume]))
        return name

    @rule(target=volumes, backup=backups)
    def restore(self, backup):
        name = self.fresh("v")
        (tip,) = self.store.held(backup)
        self.store.start(name, tip, self.store.layer(tip).length)
        self.model[name] = bytearray(self.saved[backup][1])
        self.writes[name] = []
        return name

    @rule(first=backups, second=backups)
    def delta(self, first, second):
        """Between two backups of one volume lie exactly the blocks written between them."""
        (one,), (two,) = self.store.held(first), self.store.held(second)
        changed = self.store.changed(one, two)
        (volume, _, before), (other, _, after) = self.saved[first], self.saved[second]
        if volume == other and before <= after:
            assert changed is not None
            assert as_set(changed) == as_set(self.writes[volume][before:after])

    @rule(volume=consumes(volumes))
    def delete(self, volume):
        with self.db.transaction():
            self.store.drop(volume)
        self.store.empty_trash()
        del self.model[volume]

    @rule(backup=consumes(backups))
    def forget(self, backup):
        with self.db.transaction():
            self.store.drop(backup)
        self.store.empty_trash()
        del self.saved[backup]

    @rule(volume=volumes, block=st.integers(0, BLOCKS - 1))
    def cut_write(self, volume, block):
        """A kill after the bytes and before the extent: bytes that do not count are not seen."""
        top = self.store.top(volume)
        if block not in as_set(self.store.extents(top.id)):
            self.store.raw_file(top).touch()
            with self.store.raw_file(top).open("r+b") as file:
                os.pwrite(file.fileno(), b"cut" * 1000, block * BLOCK)

    @rule(volume=volumes)
    def start_again(self, volume):
        """A start sweeps: a read that was cut, a copy half made; nothing that counts."""
        (self.folder / "volumes" / "half.incoming").write_bytes(b"half")
        self.store.hold("reader/cut", self.store.top(volume).id)
        self.store.sweep()
        assert not (self.folder / "volumes" / "half.incoming").exists()

    @rule(backup=backups)
    def flat(self, backup):
        """A frozen disk as one file has the same bytes."""

        async def read():
            async with flatten.opened(self.store, self.store.held(backup)[0]) as (path, _):
                return path.read_bytes()

        assert asyncio.run(read()).ljust(LENGTH, b"\0") == self.saved[backup][1]

    @invariant()
    def bytes_are_right(self):
        for volume, data in self.model.items():
            assert self.store.read(self.store.top(volume).id, 0, LENGTH) == bytes(data)
        for backup, (_, data, _) in self.saved.items():
            assert self.store.read(self.store.held(backup)[0], 0, LENGTH) == data

    @invariant()
    def nothing_needless_is_kept(self):
        """Every layer is owned or stands below one, and every file belongs to a layer."""
        needless = (
            "SELECT id FROM layers WHERE id NOT IN (SELECT layer FROM layer_owners) "
            "AND id NOT IN (SELECT parent FROM layers WHERE parent)"
        )
        assert self.db.all(needless) == []
        known = {f"{row['id']}.raw" for row in self.db.all("SELECT id FROM layers")}
        assert {path.name for path in (self.folder / "volumes").glob("*")} <= known

    def teardown(self):
        self.db.close()
        shutil.rmtree(self.folder)


TestVolumes = Volumes.TestCase
TestVolumes.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@pytest.fixture
def store(tmp_path):
    db = Database(tmp_path / "db")
    yield LayerStore(db, tmp_path / "volumes")
    db.close()


def opened(store, layer, read=lambda path, form: (path, form)):
    async def run():
        async with flatten.opened(store, layer) as (path, form):
            return read(path, form)

    return asyncio.run(run())


def test_a_volume_of_32_tb_costs_what_was_written(store, tmp_path):
    """Two writes far apart in 32 TB: read back right, and the files hold a few blocks."""
    store.start("v", None, 32 << 40)
    store.write("v", (8 << 40) + 5, b"far")
    store.write("v", 0, b"near")
    top = store.top("v").id
    assert store.read(top, (8 << 40) + 4, 5) == b"\0far\0"
    assert store.read(top, 0, 4) == b"near"
    assert sum(file.stat().st_blocks * 512 for file in (tmp_path / "volumes").iterdir()) < 1 << 20


def test_a_seeded_disk_that_nobody_wrote_to_is_its_own_file(store, tmp_path):
    """Frozen and opened without a write, a disk is not copied: the seed's own file and format come back."""
    raw = tmp_path / "seed.raw"
    raw.write_bytes(b"x" * 10_000)
    qcow2 = tmp_path / "seed.qcow2"
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", raw, qcow2], check=True)
    for name, file in (("raw", raw), ("qcow2", qcow2)):
        store.start(name, store.base(file, name), store.layer(store.base(file, name)).length)
        assert opened(store, store.freeze(name)) == (file, name)


def test_a_qcow2_below_a_volume_is_read_block_by_block(store, tmp_path):
    """A write onto a volume that stands on a QCOW2 changes its own block; the flat copy holds both."""
    data = os.urandom(5 * BLOCK)
    raw, qcow2 = tmp_path / "seed.raw", tmp_path / "seed.qcow2"
    raw.write_bytes(data)
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", raw, qcow2], check=True)
    layer = store.base(qcow2, "qcow2")
    assert store.layer(layer).length == len(data)
    store.start("v", layer, len(data))
    asyncio.run(flatten.make_readable(store, store.top("v").id))
    store.write("v", BLOCK + 7, b"changed")
    wanted = data[: BLOCK + 7] + b"changed" + data[BLOCK + 14 :]
    tip = store.freeze("v")
    assert store.read(tip, 0, len(data)) == wanted
    assert opened(store, tip, lambda path, form: (path.read_bytes(), form)) == (wanted, "raw")
    assert list(tmp_path.glob("volumes/*.incoming")) == []


def test_a_flat_copy_keeps_holes(store, tmp_path):
    """1 TB with two blocks written takes little of the file system, and has its whole length."""
    store.start("v", None, 1 << 40)
    store.write("v", 1 << 39, b"y" * BLOCK)
    blocks, size = opened(store, store.freeze("v"), lambda path, _: (path.stat().st_blocks, path.stat().st_size))
    assert size == 1 << 40
    assert blocks * 512 < 1 << 20


def test_a_disk_being_read_outlives_its_owners(store, tmp_path):
    """What is deleted while it is read stays until the read ends, and goes then."""
    store.start("v", None, BLOCK)
    store.write("v", 0, b"kept")
    tip = store.freeze("v")
    with store.reading(tip):
        store.drop("v")
        store.empty_trash()
        assert store.read(tip, 0, 4) == b"kept"
    assert list(tmp_path.glob("volumes/*")) == []


def test_a_disk_being_copied_flat_outlives_its_owners(store):
    """An export under way keeps what it reads: the image is deleted meanwhile, the file stays readable and whole."""
    store.start("v", None, BLOCK)
    store.write("v", 0, b"kept")
    tip = store.freeze("v")

    def read(path, _):
        store.drop("v")
        store.empty_trash()
        assert store.read(tip, 0, 4) == b"kept"
        return path.read_bytes()[:4]

    assert opened(store, tip, read) == b"kept"


def test_a_start_removes_what_a_kill_left_in_the_trash(store, tmp_path):
    """A kill between a deletion and the removal of its file: the next start removes it, a foreign one's disk too."""
    ours = tmp_path / "ours.raw"
    ours.write_bytes(b"z")
    store.hold("image", store.base(ours, "raw", ours=True))
    store.drop("image")
    assert ours.exists()
    store.sweep()
    assert not ours.exists()


def test_a_file_of_ours_goes_with_its_last_layer(store, tmp_path):
    """An imported disk is removed with the last thing that stands on it; a seed's never."""
    ours, theirs = tmp_path / "ours.raw", tmp_path / "theirs.raw"
    for file in (ours, theirs):
        file.write_bytes(b"z")
    store.hold("image", store.base(ours, "raw", ours=True))
    store.start("volume", store.base(ours, "raw"), 1)
    store.hold("other", store.base(theirs, "raw"))
    for owner, left in (("image", True), ("other", True), ("volume", False)):
        store.drop(owner)
        store.empty_trash()
        assert (ours.exists(), theirs.exists()) == (left, True)
