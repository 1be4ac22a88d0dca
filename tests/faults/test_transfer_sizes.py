"""A large object that is mostly zeros, up and down: every byte right, no room taken by what is not there."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import pytest
from emulator import MIB, Emulator, make_seed
from transfers import BUCKET

from hypersdk.transfer.checksums import file_digests

GIB = 1 << 30
SIZE = 5 * GIB + 1
MOST_MEMORY = 160 * MIB
HYPEREXPORT = str(Path(sys.executable).with_name("hyperexport"))
PLACES = (0, GIB + 3, 3 * GIB + 7 * MIB, SIZE - MIB)
BLOCK = 64 * 1024


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_five_gib_of_which_four_mib_are_data(tmp_path: Path) -> None:
    """5 GiB and a byte go up and come back right, in bounded memory; the file takes as much room as it has data."""
    source, back = tmp_path / "disk.raw", tmp_path / "back.raw"
    with source.open("wb") as file:
        file.truncate(SIZE)
        for offset in PLACES:
            file.seek(offset)
            file.write(random.Random(offset).randbytes(MIB))
    emulator = Emulator(make_seed(tmp_path / "seed", disks=1, disk_size=MIB), tmp_path / "state").start()
    try:
        flags = ["cp", "--config-file", str(emulator.config_file), "--endpoint", emulator.endpoint]
        environ = {**os.environ, "HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "own")}
        address = f"oci://{emulator.namespace}/{BUCKET}/disk"
        for ends in ((str(source), address), (address, str(back))):
            pid = os.posix_spawn(HYPEREXPORT, [HYPEREXPORT, *flags, *ends], environ)
            _, status, used = os.wait4(pid, 0)
            assert os.waitstatus_to_exitcode(status) == 0
            assert used.ru_maxrss * 1024 <= MOST_MEMORY
    finally:
        emulator.stop()
    assert back.stat().st_size == SIZE
    assert back.stat().st_blocks * 512 <= len(PLACES) * (MIB + 2 * BLOCK)
    assert file_digests(str(back), ("crc32c",)) == file_digests(str(source), ("crc32c",))
