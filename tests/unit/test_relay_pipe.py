"""What lies between two requests of a relay, and what keeps the parts of a stream: no byte is lost or comes twice."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypersdk import errors
from hypersdk.transfer.buffers import BUFFER, BufferPool
from hypersdk.transfer.checksums import crc32c
from hypersdk.transfer.flows import held
from hypersdk.transfer.flows.pipe import ROOM, Pipe

STEPS = st.lists(st.tuples(st.booleans(), st.integers(min_value=1, max_value=200_000)), max_size=60)
BODY = bytes(range(256)) * 40_000


@given(steps=STEPS)
def test_pipe_passes_every_byte_in_order(steps):
    """Whatever comes and goes when, the bytes pass once, in order, and little more than the room is held."""
    woken: list[str] = []
    pipe = Pipe(lambda: woken.append("more"), lambda: woken.append("ready"))
    came, out, refused, starved = 0, bytearray(), False, False
    for takes, size in steps:
        woken.clear()
        if takes:
            data = BODY[came : came + size]
            if pipe.take(memoryview(data)):
                came += len(data)
                assert (woken == ["ready"]) == starved
                starved = False
            else:
                refused = True
                assert came - len(out) >= ROOM
        else:
            data = pipe.read(len(out), size)
            if data is None:
                starved = True
                assert came == len(out)
            else:
                assert 0 < len(data) <= size
                out += data
                if refused and came - len(out) <= ROOM // 2:
                    assert woken == ["more"]
                    refused = False
        assert came - len(out) < ROOM + 200_000
    while data := pipe.read(len(out), 300_000):
        out += data
    assert bytes(out) == BODY[:came]
    assert (pipe.sent, pipe.crc) == (came, crc32c(BODY[:came]))


@pytest.mark.parametrize("kind", ["memory", "file"])
@given(sizes=st.lists(st.integers(min_value=1, max_value=700_000), max_size=8), at=st.integers(0, 3_000_000))
@settings(deadline=None, max_examples=30)
def test_what_is_held_can_be_read_again(kind, sizes, at):
    """A part that was filled piece by piece gives the same bytes at any place, as often as asked."""
    pool = BufferPool(8)
    part = held.InMemory(pool) if kind == "memory" else held.InFile(memoryview(bytearray(BUFFER)))
    for size in sizes:
        room = part.room(size)
        assert room is not None
        assert 0 < len(room) <= size
        room[:] = BODY[part.length : part.length + len(room)]
        part.took(len(room))
    source, whole = part.source(), b""
    while len(whole) < source.length:
        whole += source.read(len(whole), 300_000)
    assert whole == BODY[: part.length]
    if at < part.length:
        again = source.read(at, 1000)
        assert again
        assert BODY[at : at + len(again)] == again
    part.free()
    taken = [pool.take(0) for _ in range(8)]
    assert all(taken), "every buffer came back"


def test_memory_that_is_used_up_is_said():
    """A part that finds no buffer says so, and goes on when one is given back."""
    pool = BufferPool(1)
    first, second = held.InMemory(pool), held.InMemory(pool)
    room = first.room(10)
    assert room is not None
    first.took(10)
    assert second.room(10) is None
    first.free()
    assert second.room(10) is not None


def test_file_without_room_is_a_full_disk(monkeypatch):
    """A part for which the disk has no room is a full disk, with the way out named."""

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    part = held.InFile(memoryview(bytearray(BUFFER)))
    monkeypatch.setattr(held.os, "pwrite", full)
    with pytest.raises(errors.DiskFull, match="TMPDIR"):
        part.took(10)
    part.free()


def test_files_lie_where_the_user_says(monkeypatch, tmp_path):
    """Nameless files lie on the disk and not in /tmp, unless the user names a directory."""
    monkeypatch.setattr(held.tempfile, "gettempdir", lambda: "/tmp")
    assert held.directory() in {"/var/tmp", "/tmp"}
    monkeypatch.setattr(held.tempfile, "gettempdir", lambda: str(tmp_path))
    assert held.directory() == str(tmp_path)
    part = held.InFile(memoryview(bytearray(BUFFER)))
    part.took(100)
    assert list(tmp_path.iterdir()) == []
    part.free()
