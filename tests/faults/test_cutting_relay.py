"""A large object over a line that cuts connections, by a process that is killed three times: nothing comes twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cutting_relay import BUFFER, CuttingRelay
from http_store import HttpStore, info_of, new_wire, retrier
from raw_server import Asked, RawServer, send

from hypersdk import errors
from hypersdk.transfer.engine import download
from hypersdk.transfer.options import TransferOptions
from hypersdk.transfer.parts import ADVANCE

MIB, GIB = 1 << 20, 1 << 30
KILLS = 3
HEADERS = 1024
"""Most bytes of one reply's head."""


@dataclass
class MadeUp:
    """Serves an object that nobody stores: every sixteenth MiB holds data that tells its place, the rest is zeros."""

    size: int
    data: bytes = field(default_factory=lambda: os.urandom(MIB - 8))
    zeros: bytes = bytes(MIB)

    def unit(self, number: int) -> bytes:
        """A MiB of the object."""
        return number.to_bytes(8, "big") + self.data if number % 16 == 1 else self.zeros

    def __call__(self, asked: Asked, peer: Any) -> None:
        """Answer one request."""
        if asked.method == "HEAD":
            send(peer, 200, content_length=str(self.size), accept_ranges="bytes", etag='"1"')
            return
        assert asked.range is not None
        start, stop = asked.range
        place = f"bytes {start}-{stop - 1}/{self.size}"
        send(peer, 206, content_length=str(stop - start), content_range=place, etag='"1"')
        while start < stop:
            number, offset = divmod(start, MIB)
            piece = memoryview(self.unit(number))[offset : offset + stop - start]
            peer.sendall(piece)
            start += len(piece)

    def is_in(self, path: Path) -> bool:
        """Whether a file holds exactly this object."""
        with path.open("rb") as file:
            units = range(-(-self.size // MIB))
            return path.stat().st_size == self.size and all(
                file.read(MIB) == self.unit(number)[: self.size - number * MIB] for number in units
            )


def copy(relay: CuttingRelay, folder: Path, part: int, parallel: int) -> subprocess.Popen[bytes]:
    """Start the command."""
    return subprocess.Popen(
        [sys.executable, "-m", "hypersdk.cli", "cp", f"{relay.url}/disk.raw", "disk.raw", "-q"],
        cwd=folder,
        env={
            "HOME": str(folder),
            "PATH": os.environ["PATH"],
            "HYPEREXPORT_RETRY_INITIAL_DELAY": "0.02s",
            "HYPEREXPORT_RETRY_MAX_DELAY": "0.1s",
            "HYPEREXPORT_TRANSFER_PART_SIZE": str(part),
            "HYPEREXPORT_TRANSFER_PARALLEL": str(parallel),
        },
        stdout=subprocess.DEVNULL,
    )


def resumed(tmp_path: Path, size: int, *, part: int, parallel: int, mean: int, patience: float) -> CuttingRelay:
    """Copy through the relay, killed three times; the file is right, only parts in flight come twice."""
    source, end = MadeUp(size), time.monotonic() + patience
    with RawServer(source) as server, CuttingRelay(server.port, mean) as relay:
        for kill in range(1, KILLS + 1):
            process = copy(relay, tmp_path, part, parallel)
            while relay.carried < size * kill // (KILLS + 1):
                assert process.poll() is None, "it ended too early"
                assert time.monotonic() < end
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert not (tmp_path / "disk.raw").exists()
        process = copy(relay, tmp_path, part, parallel)
        assert process.wait(end - time.monotonic()) == 0
        requests = len(server.asked)
    assert source.is_in(tmp_path / "disk.raw")
    assert [entry.name for entry in tmp_path.iterdir()] == ["disk.raw"]
    twice = relay.carried - size
    print(f"{size >> 20} MiB, {relay.cuts} cuts, {requests} requests: {twice / MIB:.2f} MiB came twice")
    assert twice <= KILLS * parallel * part + relay.cuts * 2 * BUFFER + requests * HEADERS
    return relay


def test_killed_three_times_on_a_line_that_cuts(tmp_path: Path) -> None:
    """256 MiB, a cut each 4 MiB, three kills: the right file, and nothing comes twice but the parts in flight."""
    relay = resumed(tmp_path, 256 * MIB + 1, part=MIB, parallel=4, mean=4 * MIB, patience=60)
    assert relay.cuts > 20


@pytest.mark.parametrize(("brings", "error"), [(ADVANCE, None), (10, errors.NetworkError)])
def test_a_try_that_brings_bytes_spends_no_attempt(
    tmp_path: Path, brings: int, error: type[errors.HypersdkError] | None
) -> None:
    """A part that is cut more often than it has attempts arrives if each try brings it further, and only then."""
    body = random.Random(3).randbytes(10 * ADVANCE)

    def cut(asked: Asked, peer: Any) -> bool | None:
        assert asked.range is not None
        start, stop = asked.range
        place = f"bytes {start}-{stop - 1}/{len(body)}"
        send(peer, 206, body[start:stop][:brings], etag="1", content_range=place, content_length=str(stop - start))
        return stop - start <= brings

    with RawServer(cut) as server, new_wire() as wire:
        means = {"wire": wire, "retrier": retrier(attempts=3), "options": TransferOptions(part_size=len(body))}
        with pytest.raises(error) if error else nullcontext():
            download(HttpStore(server.url), info_of(body, etag="1"), str(tmp_path / "disk"), **means)
        assert len(server.asked) == (3 if error else 10)


@pytest.mark.soak
def test_five_gib_killed_three_times_on_a_line_that_cuts(tmp_path: Path) -> None:
    """5 GiB with the default part size and connections, a cut each 64 MiB: the same."""
    relay = resumed(tmp_path, 5 * GIB + 1, part=16 * MIB, parallel=16, mean=64 * MIB, patience=900)
    assert relay.cuts > 20
    assert (tmp_path / "disk.raw").stat().st_blocks * 512 < GIB


@pytest.mark.soak
def test_parts_that_are_cut_again_and_again_come_through(tmp_path: Path) -> None:
    """Parts larger than what a connection lives for arrive all the same: a try that brought bytes costs no attempt."""
    relay = resumed(tmp_path, GIB, part=64 * MIB, parallel=4, mean=4 * MIB, patience=300)
    assert relay.cuts > 100
