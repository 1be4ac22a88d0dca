"""Power cuts and kills on a simulated disk: the right file or a clean restart, never another file under the name."""

from __future__ import annotations

import itertools
import os
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from http_store import new_wire, retrier
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from simulated_disk import SimulatedDisk

from hypersdk import errors, events
from hypersdk.model import ByteRange, ObjectInfo, ObjectRef, Proof
from hypersdk.storage import local, url
from hypersdk.storage.backends.file import FileStore
from hypersdk.transfer import journal, partial, publish
from hypersdk.transfer.checksums import agree, as_checksum, crc32c
from hypersdk.transfer.files import fetch_file
from hypersdk.transfer.journal import Identity
from hypersdk.transfer.options import MIN_PART_SIZE, TransferOptions
from hypersdk.transfer.partial import Partial
from hypersdk.transfer.ranges import gaps, split
from hypersdk.transfer.uploads import uploadjournal
from hypersdk.transfer.uploads.localsource import SourceFile
from hypersdk.transfer.uploads.uploadjournal import Intent, Known

ROOMS = (partial, journal, publish, local)
PART, PIECE = 1024, 512
OLD = b"the file that was there before"


@dataclass(frozen=True)
class Object:
    """An object in one version."""

    etag: str
    body: bytes

    @property
    def info(self) -> ObjectInfo:
        """As its store describes it."""
        return ObjectInfo(
            ObjectRef("oci", "ns", "b", "disk"), len(self.body), self.etag, (as_checksum(crc32c(self.body)),)
        )


def made(seed: int, size: int) -> Object:
    """An object with some blocks of zeros."""
    chance = random.Random(seed)
    blocks = [chance.choice([bytes(PIECE), *[chance.randbytes(PIECE)] * 3]) for _ in range(-(-size // PIECE))]
    return Object(f"etag-{seed}", b"".join(blocks)[:size])


@dataclass(frozen=True)
class Life:
    """One run of the command.

    Attributes:
        version: which object is asked for.
        budget: operations until it is killed.
        power: the power is cut then.
        failing_sync: syncs until one fails, if one does.
    """

    version: int
    budget: int
    power: bool
    failing_sync: int | None


@dataclass
class Machine:
    """A machine that downloads one object onto a disk that forgets, again and again until it succeeds."""

    disk: SimulatedDisk
    chance: random.Random
    overwrite: bool
    boot: int = 0
    finished: tuple[str, set[ByteRange]] = field(default_factory=lambda: ("", set()))
    """Of which object, and which parts, until a disk loses any."""

    @property
    def target(self) -> Path:
        """The final path."""
        return self.disk.root / "disk"

    def live(self, wanted: Object, life: Life | None) -> bool:
        """Run the command once, up to its death if that is planned; says whether it succeeded."""
        if life is not None:
            self.disk.budget, self.disk.failing_sync = life.budget, life.failing_sync
        with (
            self.disk.running(*ROOMS, chance=self.chance),
            pytest.MonkeyPatch.context() as patch,
        ):
            patch.setattr(partial, "current_boot_id", lambda: f"boot-{self.boot}")
            try:
                self._download(wanted)
            except errors.FileError:  # a sync that failed: exit 1
                return False
            return True
        return False

    def _download(self, wanted: Object) -> None:
        """What `fetch_file` does, its threads played by chance."""
        info = wanted.info
        with Partial(str(self.target)) as file:
            etag, finished = self.finished
            self.finished = ("", set())
            file.resume(Identity.of(info))
            if etag == wanted.etag:
                assert finished <= set(file.verified), "finished, and would be fetched again"
            self.finished = (wanted.etag, set(file.verified))
            self._fetch(file, wanted)
            sealed = file.seal()
            agree(sealed.checksums, info.checksums)
        publish.publish(sealed, Proof(sealed.size, sealed.checksums, ()), str(self.target), overwrite=self.overwrite)

    def _fetch(self, file: Partial, wanted: Object) -> None:
        missing = [part for gap in gaps(len(wanted.body), file.verified) for part in split(gap, PART)]
        self.chance.shuffle(missing)
        flying: list[tuple[ByteRange, list[ByteRange], bool]] = []
        while missing or flying:
            while missing and len(flying) < 3:
                part = missing.pop()
                flying.append((part, list(split(part, PIECE)), file.is_hole(part)))
            part, pieces, hole = self.chance.choice(flying)
            if pieces:
                piece = pieces.pop(self.chance.randrange(len(pieces)))
                file.write(piece.start, memoryview(wanted.body)[piece.start : piece.stop], skip_zeros=hole)
            else:
                flying = [each for each in flying if each[0] != part]
                file.record(part, crc32c(wanted.body[part.start : part.stop]))
                self.finished[1].add(part)

    def cut_power(self) -> None:
        """The power goes, and comes back."""
        self.disk.cut_power(self.chance)
        self.boot += 1
        self.finished = ("", set())


LIVES = st.lists(
    st.builds(
        Life,
        version=st.sampled_from([0, 0, 0, 0, 1]),
        budget=st.integers(3, 40),
        power=st.booleans(),
        failing_sync=st.sampled_from([None, None, None, None, None, 0, 1, 2]),
    ),
    min_size=1,
    max_size=5,
)
SIZES = st.sampled_from([0, 1, PART - 1, PART, PART + 1, 5 * PART - 1, 5 * PART, 5 * PART + 1])


CASES = {"lives": LIVES, "size": SIZES, "overwrite": st.booleans(), "seed": st.integers(0, 1 << 32)}


@settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.too_slow])
@given(**CASES)
def test_any_crash_gives_the_right_file_or_a_clean_restart(
    lives: list[Life], size: int, overwrite: bool, seed: int
) -> None:
    """Whatever a kill or power cut takes, in any interleaving of parts, the name is never another file's."""
    live_through(lives, size, overwrite, seed)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@settings(deadline=None, max_examples=5_000, suppress_health_check=[HealthCheck.too_slow])
@given(**CASES)
def test_soak_of_crashes(lives: list[Life], size: int, overwrite: bool, seed: int) -> None:
    """The same, five thousand times."""
    live_through(lives, size, overwrite, seed)


@pytest.mark.parametrize("seed", range(12))
def test_the_engine_on_a_disk_that_forgets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """The engine itself, its threads too: killed anywhere, with power cuts, it never names another file."""
    chance, boot = random.Random(seed), itertools.count()
    disk, target = SimulatedDisk(tmp_path), tmp_path / "disk" / "disk"
    body = chance.randbytes(5 * MIN_PART_SIZE + 1)
    (tmp_path / "source").write_bytes(body)
    ref = url.parse(f"{tmp_path}/source").ref
    monkeypatch.setattr(partial, "current_boot_id", lambda: f"boot-{boot}")

    def run(budget: int | None) -> bool:
        disk.budget = budget
        with disk.running(*ROOMS, chance=chance), new_wire() as wire:
            options = TransferOptions(MIN_PART_SIZE, parallel=3)
            fetch_file(FileStore(), ref, str(target), wire=wire, retrier=retrier(), options=options)
        return not disk.killed

    while not target.exists():
        done = run(chance.choice([chance.randrange(50), None]))
        if chance.random() < 0.7:
            disk.cut_power(chance)
            next(boot)
        assert target.exists() or not done
    assert target.read_bytes() == body


PUBLISHING = 6
"""The last operations of a download: sync, link, unlink, sync, unlink, sync."""


@pytest.mark.parametrize("budget", range(2, 14))
def test_two_objects_in_turn(tmp_path: Path, budget: int) -> None:
    """A file that waits for its name, another object begun in its place, a power cut: none is taken for the other."""
    machine = Machine(SimulatedDisk(tmp_path), random.Random(0), overwrite=False)
    assert machine.live(made(1, 5 * PART), None)
    first = Life(version=0, budget=machine.disk.steps - PUBLISHING, power=False, failing_sync=None)
    second = Life(version=1, budget=budget, power=True, failing_sync=None)
    for seed in range(4):
        live_through([first, second], 5 * PART, overwrite=False, seed=seed)
        live_through([first, second, replace(first, budget=budget)], 5 * PART, overwrite=False, seed=seed)


def test_a_journal_never_joins_two_objects(tmp_path: Path) -> None:
    """A power cut while a journal is begun anew leaves that of one object or none, never lines of both."""
    first, second = Identity.of(made(1, PART).info), Identity.of(made(2, PART).info)
    for seed, budget in itertools.product(range(16), range(6)):
        folder = tmp_path / f"{seed}-{budget}"
        folder.mkdir()
        disk, chance = SimulatedDisk(folder), random.Random(seed)
        with disk.running(journal, chance=chance):
            write_journal(disk, first)
        disk.budget = budget
        with disk.running(journal, chance=chance):
            write_journal(disk, second)
        disk.cut_power(chance)
        data = (disk.root / "journal").read_bytes() if (disk.root / "journal").exists() else b""
        contents = journal.parse(data)
        if contents is not None:
            crc = {first: 1, second: 2}[contents.identity]
            assert set(contents.ranges.values()) <= {crc}
            assert not contents.sealed or contents.ranges


def test_an_upload_is_never_forgotten(tmp_path: Path) -> None:
    """Whenever the power is cut, an upload that may exist is in its journal, and no part that was not recorded."""
    target = ObjectRef("oci", "ns", "b", "disk")
    intent = Intent(str(target), SourceFile("/disk", device=1, inode=2, size=5 * PART, mtime_ns=3), PART, "", 0.0)
    parts = {number: Known(f"etag-{number}", number, proven=True) for number in range(1, 6)}
    for seed, budget in itertools.product(range(8), range(16)):
        folder = tmp_path / f"{seed}-{budget}"
        folder.mkdir()
        disk, chance, sent = SimulatedDisk(folder), random.Random(seed), [""]
        disk.budget = budget
        with (
            disk.running(uploadjournal, journal, chance=chance),
            uploadjournal.claim(str(disk.root), "/disk", target, events.null_reporter) as notes,
        ):
            notes.load()
            notes.intend(intent)
            sent.append("create")
            notes.created("upload-1")
            sent.append("part")
            for number, known in parts.items():
                notes.record(number, known)
        disk.cut_power(chance)
        path = disk.root / uploadjournal.journal_name("/disk", str(target))
        contents = uploadjournal.parse(path.read_bytes()) if path.exists() else None
        if "create" in sent:
            assert contents is not None
            assert contents.intent == intent
        if "part" in sent:
            assert contents.upload_id == "upload-1"
        if contents is not None:
            assert contents.upload_id in {"", "upload-1"}
            assert contents.parts.items() <= parts.items()


def write_journal(disk: SimulatedDisk, identity: Identity) -> None:
    """A journal of one range; the CRC says of which object."""
    with journal_of(disk) as lines:
        lines.load()
        lines.begin(identity, "boot", (1, 1))
        lines.record(ByteRange(0, PART), int(identity.etag[-1]))
        lines.seal()


@contextmanager
def journal_of(disk: SimulatedDisk) -> Iterator[journal.Journal]:
    """The journal in the disk's directory."""
    directory = os.open(disk.root, os.O_RDONLY)
    file = disk.open("journal", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600, dir_fd=directory)
    try:
        yield journal.Journal(file)
    finally:
        os.close(file)
        os.close(directory)


def live_through(lives: list[Life], size: int, overwrite: bool, seed: int) -> None:
    """Run the command life after life, look at the name after each, and let the last one finish."""
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(SimulatedDisk(Path(folder)), random.Random(seed), overwrite)
        if overwrite:
            machine.disk.put("disk", OLD)
        objects = [made(1, size), made(2, size)]
        right = {OLD} if overwrite else set()
        for life in lives:
            right.add(objects[life.version].body)
            done = machine.live(objects[life.version], life)
            if life.failing_sync is not None:
                machine.finished = ("", set())
            if life.power:
                machine.cut_power()
            there = machine.target.read_bytes() if machine.target.exists() else None
            assert there in right or (there is None and not overwrite)
            if done:
                assert there == objects[life.version].body
            if there not in (None, OLD):
                return
        assert machine.live(objects[0], None)
        machine.cut_power()
        assert machine.target.read_bytes() == objects[0].body
