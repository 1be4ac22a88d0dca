"""Memory of relays and streams: bounded, whatever the size of the object and of its parts."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from null_store import MIB, REF, NullStore, crc_of_zeros, means, memory, null_server

from hypersdk.transfer.checksums import as_checksum, crc32c
from hypersdk.transfer.flows.relay import relay
from hypersdk.transfer.flows.streams import download_stream, upload_stream
from hypersdk.transfer.options import TransferOptions

LIMIT = 64 * MIB
HARNESS = str(Path(__file__).parents[1] / "harness")
_ZEROS = bytes(MIB)


class Zeros(io.RawIOBase):
    """So many zeros."""

    def __init__(self, size: int) -> None:
        self._left = size

    def readable(self) -> bool:
        return True

    def readinto(self, view) -> int:
        count = min(len(view), self._left)
        view[:count] = _ZEROS[:count]
        self._left -= count
        return count


def move(what: str, url: str, size: int, part: int, connections: int) -> int:
    """Move zeros; gives the most memory in bytes above that before the first byte."""
    store, tools = NullStore(url), means(connections)
    tools["wire"]._start()
    options = TransferOptions(part, connections)
    before, _ = memory()
    if what == "relay":
        made = relay(store, store.head(REF, size), store, REF, options=options, **tools)
        assert as_checksum(crc_of_zeros(size)) in made.checksums
    elif what == "up":
        assert upload_stream(Zeros(size), store, REF, options=options, **tools).size == size
    else:
        with open(os.devnull, "wb") as out:  # noqa: PTH123
            download_stream(store, store.head(REF, size), out, options=options, **tools)
    tools["wire"].close()
    return memory()[1] - before


def in_child(*arguments: str | int) -> int:
    """The same in a process of its own."""
    code = "import sys, test_stream_memory as t; print(t.move(*sys.argv[1:3], *map(int, sys.argv[3:])))"
    paths = os.pathsep.join([HARNESS, str(Path(__file__).parent)])
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, check=True, stdout=subprocess.PIPE)
    return int(done.stdout)


@pytest.mark.parametrize(
    ("what", "part"), [("relay", 16 * MIB), ("relay", 128 * MIB), ("up", 16 * MIB), ("down", 16 * MIB)]
)
def test_sixteen_connections_need_little(what, part):
    """With 16 connections no more than 64 MiB are needed above the start, in any direction."""
    with null_server() as url:
        assert in_child(what, url, 256 * MIB, part, 16) <= LIMIT


def test_checksum_of_zeros():
    """What the store of zeros vouches for is the CRC32C of its bytes."""
    for size in (0, 1, 7, 4096, MIB + 5):
        assert crc_of_zeros(size) == crc32c(bytes(size))


@pytest.mark.soak
@pytest.mark.parametrize(
    ("what", "part"), [("relay", 1024 * MIB), ("relay", 16 * MIB), ("up", 16 * MIB), ("down", 16 * MIB)]
)
def test_five_gibibytes(what, part):
    """C015: 5 GiB and a byte pass in the same memory as 256 MiB."""
    with null_server() as url:
        assert in_child(what, url, 5 * 1024 * MIB + 1, part, 16) <= LIMIT


@pytest.mark.soak
def test_stream_that_outgrows_memory():
    """A stream so long that its parts go through files needs no more memory than a short one."""
    with null_server() as url:
        assert in_child("up", url, 12 * 1024 * MIB, 4 * MIB, 16) <= LIMIT
