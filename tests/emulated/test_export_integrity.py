"""Bytes that went wrong on the way, and names that were given although nobody heard of it."""

import subprocess
from collections.abc import Callable
from pathlib import Path

from emulator import Emulator
from hyperexport import Hyperexport

SMALL_PARTS = {"HYPEREXPORT_TRANSFER_PART_SIZE": "256KiB"}


def same_disk(emulator: Emulator, disk: Path) -> bool:
    compare = ["qemu-img", "compare", "-q", "-f", "qcow2", "-F", "raw", str(disk), str(emulator.seed.disk("web-01"))]
    return subprocess.run(compare, check=False).returncode == 0


def test_a_byte_flipped_on_the_way_is_noticed_and_fetched_again(
    start_emulator: Callable[..., Emulator], tmp_path: Path
) -> None:
    """Where the service knows the object's CRC32C, one wrong bit costs a second download and never a wrong disk."""
    emulator = start_emulator(assume={"checksum-in-export": True})
    emulator.fault("GetObject", "flip-byte", at=1000, skip=2)
    ended = Hyperexport(emulator, tmp_path).run(
        "export", "web-01", "-o", "./", "--bucket-name", "exports", environ=SMALL_PARTS
    )
    assert ended.code == 0, ended.err
    assert "checksums differ" in ended.err
    assert "started again from the beginning" in ended.err
    assert same_disk(emulator, tmp_path / "web-01.qcow2")


def test_a_rename_whose_reply_was_lost_is_recognized_by_its_bytes(
    start_emulator: Callable[..., Emulator], tmp_path: Path
) -> None:
    """The final object is there although no reply said so: its bytes are read and believed, nothing is made twice."""
    emulator = start_emulator()
    emulator.fault("RenameObject", "lost-response")
    ended = Hyperexport(emulator, tmp_path).run("export", "web-01", "--to", "oci://testns/exports/final/")
    assert ended.code == 0, ended.err
    names = emulator.names("exports")
    assert sorted(names) == ["final/web-01.qcow2", "final/web-01.qcow2.manifest.json"]
