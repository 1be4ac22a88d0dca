"""The journal: whatever is torn, lost or doubled, it never promises a byte that is not there."""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypersdk.model import ByteRange, ObjectInfo, ObjectRef
from hypersdk.transfer.journal import Contents, Identity, Journal, current_boot_id, encode, parse

IDENTITY = Identity.of(ObjectInfo(ObjectRef("oci", "ns", "b", "prefix/disk ü\n", "v1"), 1000, "etag"))
HEAD = encode(
    {
        "format": 1,
        "object": {
            "service": "oci://ns",
            "bucket": "b",
            "name": "prefix/disk ü\n",
            "version": "v1",
            "etag": "etag",
            "size": 1000,
        },
        "boot": "boot-1",
        "file": [5, 6],
    }
)


@pytest.fixture
def journal(tmp_path):
    open_journal = Journal(os.open(tmp_path / "journal", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600))
    yield open_journal
    open_journal.close()


def test_what_was_written_is_read(journal):
    """Object, boot, file, ranges, drops and seal come back as they were written."""
    journal.begin(IDENTITY, "boot-1", (5, 6))
    journal.record(ByteRange(0, 10), 7)
    journal.record(ByteRange(500, 1000), 0xFFFFFFFF)
    expected = Contents(
        IDENTITY, "boot-1", (5, 6), {ByteRange(0, 10): 7, ByteRange(500, 1000): 0xFFFFFFFF}, sealed=False
    )
    assert journal.load() == expected
    journal.seal()
    assert journal.load() == replace(expected, sealed=True)
    journal.record(ByteRange(20, 30), 1)
    assert not journal.load().sealed
    journal.readmit([ByteRange(0, 10), ByteRange(20, 30)], "boot-2", (7, 8))
    assert journal.load() == Contents(IDENTITY, "boot-2", (7, 8), {ByteRange(500, 1000): 0xFFFFFFFF}, sealed=False)
    journal.distrust()
    assert not journal.load().trusted("", (7, 8))
    journal.begin(IDENTITY, "boot-3", (5, 6))
    assert journal.load() == Contents(IDENTITY, "boot-3", (5, 6), {}, sealed=False)


def test_torn_last_line_harms_nothing(journal, tmp_path):
    """A last line that was torn is forgotten, and what is written after it counts."""
    journal.begin(IDENTITY, "boot-1", (5, 6))
    journal.record(ByteRange(0, 10), 7)
    journal.record(ByteRange(10, 20), 8)
    path = tmp_path / "journal"
    path.write_bytes(path.read_bytes()[:-9])
    assert journal.load().ranges == {ByteRange(0, 10): 7}
    journal.record(ByteRange(10, 20), 9)
    assert journal.load().ranges == {ByteRange(0, 10): 7, ByteRange(10, 20): 9}


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 500, b"garbage\n", encode({"format": 2}), encode({"range": [0, 1]}), HEAD[:-3]]
)
def test_anything_else_is_no_journal(data):
    """What is no journal of ours counts for nothing."""
    assert parse(data) is None


def test_trust_needs_the_same_boot_or_a_seal():
    """Without a clean seal only the same boot and the same file are trusted."""
    known = Contents(IDENTITY, "boot-1", (5, 6), {}, sealed=False)
    assert known.trusted("boot-1", (5, 6))
    assert not known.trusted("boot-2", (5, 6))
    assert not known.trusted("boot-1", (5, 7))
    assert not replace(known, boot_id="").trusted("", (5, 6))
    assert replace(known, sealed=True).trusted("boot-2", (5, 6))
    assert not replace(known, sealed=True).trusted("boot-2", (5, 7))
    assert current_boot_id() == current_boot_id() != ""


RANGES = st.lists(st.tuples(st.integers(0, 900), st.integers(1, 100)), max_size=12)


@settings(deadline=None)
@given(ranges=RANGES, data=st.data())
def test_any_damage_only_forgets(ranges, data):
    """Whatever bytes of a journal are lost, zeroed or cut, the ranges that are read were all written, none overlap."""
    lines = [encode({"range": [start, start + more], "crc32c": f"{start:08x}"}) for start, more in ranges]
    whole = HEAD + b"".join(lines)
    cut = data.draw(st.integers(len(HEAD), len(whole)))
    hole = sorted(data.draw(st.tuples(st.integers(len(HEAD), len(whole)), st.integers(len(HEAD), len(whole)))))
    damaged = (whole[: hole[0]] + b"\0" * (hole[1] - hole[0]) + whole[hole[1] :])[:cut]
    contents = parse(damaged)
    assert contents is not None
    assert contents.identity == IDENTITY
    written = {(start, start + more): start for start, more in ranges}
    assert all(written[known.start, known.stop] == crc for known, crc in contents.ranges.items())
    assert not contents.sealed
    covered = [at for known in contents.ranges for at in range(known.start, known.stop)]
    assert len(covered) == len(set(covered))


@settings(deadline=None)
@given(whole=st.lists(st.integers(1, 50), max_size=20))
def test_disjoint_ranges_are_all_kept(whole):
    """Ranges that do not overlap are all kept, in whatever order they were written."""
    edges = [0]
    for more in whole:
        edges.append(min(edges[-1] + more, 1000))
    parts = [ByteRange(a, b) for a, b in pairwise(edges) if a < b]
    text = HEAD + b"".join(encode({"range": [each.start, each.stop], "crc32c": "1"}) for each in reversed(parts))
    assert set(parse(text).ranges) == set(parts)
