"""The demonstration disk, read back by this file's own small reader of boot record and FAT16."""

import hashlib
import struct

import pytest

from hypersdk_emulator.seeds import demo_disk

MIB = 1 << 20


@pytest.fixture
def disk(tmp_path):
    """The bytes of the disk of web-01."""
    demo_disk.build_demo_disk(tmp_path / "web-01.raw")
    return (tmp_path / "web-01.raw").read_bytes()


def partition(disk):
    """The bytes of the first partition."""
    active, kind, start, count = struct.unpack_from("<B3xB3xII", disk, 446)
    assert (active, kind) == (0x80, 0x0E)
    return disk[start * 512 : (start + count) * 512]


def read_fat16(volume):
    """Every file of a FAT16 volume's root directory by its 8.3 name."""
    size, per_cluster, reserved, fats, entries, _, _, fat_sectors = struct.unpack_from("<HBHBHHBH", volume, 11)
    root = (reserved + fats * fat_sectors) * size
    data = root + entries * 32
    length = fat_sectors * size
    tables = [volume[reserved * size + number * length :][:length] for number in range(fats)]
    assert tables[0] == tables[1]
    fat = struct.unpack(f"<{len(tables[0]) // 2}H", tables[0])
    clusters = (len(volume) - data) // (size * per_cluster)
    assert 4085 <= clusters < 65525, "the number of clusters is what makes a volume FAT16"
    assert clusters + 2 <= len(fat)
    found = {}
    for at in range(root, data, 32):
        name, kind, cluster, length = struct.unpack_from("<11sB14xHI", volume, at)
        if kind & 0x20:
            pieces = []
            while cluster < 0xFFF8:
                place = data + (cluster - 2) * per_cluster * size
                pieces.append(volume[place : place + per_cluster * size])
                cluster = fat[cluster]
            found[name.decode()] = b"".join(pieces)[:length]
            assert len(b"".join(pieces)) - length < per_cluster * size
    return found


def test_the_boot_record_is_a_program_that_greets_and_halts(disk):
    """The first sector has the boot mark, the program from cli to its endless halt, and the greeting where it looks."""
    assert disk[510:512] == b"\x55\xaa"
    assert disk[0] == 0xFA, "cli"
    message = struct.unpack_from("<H", disk, disk.index(b"\xbe") + 1)[0] - 0x7C00
    assert disk[message : disk.index(b"\0", message)] == demo_disk.greeting("web-01").encode() + b"\r\n"
    halt = disk.index(b"\xf4\xeb\xfd")
    jump = disk.index(b"\x84\xc0\x74") + 2
    assert jump + 2 + disk[jump + 1] == halt, "the end of the message leads to the halt"
    loop = halt - 2
    assert disk[loop] == 0xEB
    assert disk[loop + 2 + disk[loop + 1] - 256] == 0xAC, "each character leads back to lodsb"


@pytest.mark.parametrize("size", [demo_disk.MIN_SIZE, demo_disk.DEFAULT_SIZE, demo_disk.MAX_SIZE])
def test_the_partition_holds_real_files(tmp_path, size):
    """A FAT16 reader finds README.TXT and 6 MiB of data that are not what chance would give."""
    path = tmp_path / "disk.raw"
    demo_disk.build_demo_disk(path, name="db-01", size=size)
    assert path.stat().st_size == size
    files = read_fat16(partition(path.read_bytes()))
    assert b"db-01" in files["README  TXT"]
    assert files["DATA    BIN"] == hashlib.shake_256(b"hypersdk/db-01/data").digest(6 * MIB)


def test_the_disk_is_small_on_disk_and_ends_in_data(tmp_path, disk):
    """64 MiB take about 6 on disk, and the last sector is data, so that a lost tail is noticed."""
    assert len(disk) == 64 * MIB
    assert (tmp_path / "web-01.raw").stat().st_blocks * 512 < 8 * MIB
    assert disk[-512:] != bytes(512)


def test_the_same_name_gives_the_same_disk(tmp_path, disk):
    """Two builds are equal; another name gives other data everywhere."""
    demo_disk.build_demo_disk(tmp_path / "again.raw", name="web-01")
    demo_disk.build_demo_disk(tmp_path / "other.raw", name="web-02")
    assert (tmp_path / "again.raw").read_bytes() == disk
    other = (tmp_path / "other.raw").read_bytes()
    assert all(other[at : at + 512] != disk[at : at + 512] for at in (0, MIB, 5 * MIB, len(disk) - 512))


@pytest.mark.parametrize(("name", "size"), [("x", MIB), ("x", 64 * MIB + 1), ("x", 512 * MIB), ("x" * 400, 64 * MIB)])
def test_impossible_demonstration_disks_are_refused(tmp_path, name, size):
    """A size that FAT16 cannot have and a name longer than the boot record are refused by a sentence."""
    with pytest.raises(ValueError, match=r"demonstration disk|too long"):
        demo_disk.build_demo_disk(tmp_path / "disk.raw", name=name, size=size)
