"""Five GiB up, killed three times on the way: what is sent again, and how much memory it takes."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest
from emulator import Emulator, make_seed

GIB = 1 << 30
MIB = 1 << 20
SIZE = 5 * GIB + 1
PART = 16 * MIB
PARALLEL = 16
MOST_MEMORY = 160 * MIB
HYPEREXPORT = str(Path(sys.executable).with_name("hyperexport"))


def run(arguments: list[str], environ: dict[str, str], emulator: Emulator, parts: int | None) -> tuple[int, int]:
    """Run the command, killed once so many parts have arrived; says how it ended and its peak memory in bytes."""
    before = sent(emulator)
    pid = os.posix_spawn(HYPEREXPORT, [HYPEREXPORT, *arguments], environ)
    while parts is not None and sent(emulator) < before + parts:
        time.sleep(0.01)
    if parts is not None:
        os.kill(pid, signal.SIGKILL)
    _, status, used = os.wait4(pid, 0)
    return os.waitstatus_to_exitcode(status), used.ru_maxrss * 1024


def sent(emulator: Emulator) -> int:
    """Parts that have arrived."""
    return len(emulator.log(operation="UploadPart"))


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_five_gib_killed_three_times(tmp_path):
    """A sparse file of 5 GiB and a byte arrives whole; three kills cost at most the parts that were in flight."""
    source = tmp_path / "disk.raw"
    places = {offset: random.Random(offset).randbytes(MIB) for offset in (0, 3 * GIB + 7, SIZE - MIB)}
    with source.open("wb") as file:
        file.truncate(SIZE)
        for offset, data in places.items():
            file.seek(offset)
            file.write(data)
    emulator = Emulator(make_seed(tmp_path / "seed", disks=1, disk_size=MIB), tmp_path / "state").start()
    try:
        details = {"name": "big", "compartmentId": emulator.seed.compartment}
        assert emulator.call("POST", f"/n/{emulator.namespace}/b", details).status == 200
        flags = ["--config-file", str(emulator.config_file), "--endpoint", emulator.endpoint]
        arguments = ["cp", *flags, "--parallel", str(PARALLEL), str(source), f"oci://{emulator.namespace}/big/disk"]
        environ = {**os.environ, "HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "own")}
        ends = [run(arguments, environ, emulator, parts) for parts in (40, 100, 80, None)]
        assert [code for code, _ in ends] == [-signal.SIGKILL] * 3 + [0]
        assert max(memory for _, memory in ends) <= MOST_MEMORY
        assert sent(emulator) <= -(-SIZE // PART) + 3 * PARALLEL
        head = emulator.call("HEAD", emulator.object_path("big", "disk"))
        assert int(head.headers["content-length"]) == SIZE
        for offset, data in places.items():
            wanted = {"range": f"bytes={offset}-{offset + MIB - 1}"}
            assert emulator.get("big", "disk", wanted).body == data
    finally:
        emulator.stop()
