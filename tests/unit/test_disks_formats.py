"""The parsers on real images, damaged ones and hostile ones, all in memory: no file, no qemu program decides here."""

import io
import itertools
import re
import struct
import subprocess
import tarfile
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypersdk import errors
from hypersdk.disks.formats.reader import MAX_READ, Reader
from hypersdk.disks.verify import inspect

CLUSTER = 65536
DISK_SIZE = 8 << 20

KINDS = {
    "qcow2": ("qcow2", ["-O", "qcow2"]),
    "qcow2-v2": ("qcow2", ["-O", "qcow2", "-o", "compat=0.10"]),
    "qcow2-512": ("qcow2", ["-O", "qcow2", "-o", "cluster_size=512"]),
    "qcow2-zlib": ("qcow2", ["-O", "qcow2", "-c"]),
    "qcow2-zstd": ("qcow2", ["-O", "qcow2", "-c", "-o", "compression_type=zstd"]),
    "vmdk-stream": ("vmdk", ["-O", "vmdk", "-o", "subformat=streamOptimized"]),
    "vmdk-sparse": ("vmdk", ["-O", "vmdk", "-o", "subformat=monolithicSparse"]),
    "vhd-dynamic": ("vhd", ["-O", "vpc", "-o", "force_size=on"]),
    "vhd-fixed": ("vhd", ["-O", "vpc", "-o", "subformat=fixed,force_size=on"]),
    "vdi-dynamic": ("vdi", ["-O", "vdi"]),
    "vdi-fixed": ("vdi", ["-O", "vdi", "-o", "static=on"]),
}


def guest_bytes():
    """8 MiB with data at the start, in the middle and at the very end, some of it compressible, and holes."""
    disk = bytearray(DISK_SIZE)
    for start, length in ((0, 70_000), (1 << 20, 500_000), (DISK_SIZE - 70_000, 70_000)):
        half = length // 2
        disk[start : start + half] = zlib.compress(bytes(str(start), "ascii") * half)[:half].ljust(half, b"\x5a")
        disk[start + half : start + length] = b"hypersdk" * ((length - half) // 8 + 1)
    return bytes(disk[:DISK_SIZE])


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """The bytes of an image of some kind as qemu-img wrote it, each made once."""
    folder = tmp_path_factory.mktemp("images")
    (folder / "disk.raw").write_bytes(guest_bytes())
    made = {"raw": guest_bytes()}

    def make(kind):
        if kind == "oci":
            made[kind] = packed(METADATA, ("output.QCOW2", make("qcow2")))
        if kind not in made:
            target = folder / f"{kind}.img"
            subprocess.run(
                ["qemu-img", "convert", "-f", "raw", *KINDS[kind][1], str(folder / "disk.raw"), str(target)], check=True
            )
            made[kind] = target.read_bytes()
        return made[kind]

    return make


def look(data, disk_format):
    """Check bytes as a disk; every read is bounded."""

    def read_at(offset, length):
        assert 0 <= length <= MAX_READ
        return bytes(data[offset : offset + length])

    return inspect(Reader("web.img", len(data), read_at), disk_format)


def refused(data, disk_format, words):
    """The one-line message with which bytes are refused."""
    with pytest.raises(errors.VerificationError, match=words) as caught:
        look(data, disk_format)
    text = str(caught.value)
    assert text.startswith("web.img: ")
    assert "\n" not in text
    assert caught.value.exit_code == 7
    return text


def patched(data, *changes):
    """A copy with bytes replaced: (offset, struct format, value...) each."""
    out = bytearray(data)
    for offset, layout, *values in changes:
        struct.pack_into(layout, out, offset, *values)
    return bytes(out)


def u64(data, at):
    """A big-endian number, as QCOW2 writes them."""
    return struct.unpack_from(">Q", data, at)[0]


def read_back(structure, data):
    """The guest's bytes, put together from the extents of a parsed image."""
    out = bytearray(structure.virtual_size)
    for extent in structure.extents():
        piece = data[extent.offset : extent.offset + extent.length]
        piece = extent.inflate(piece) if extent.inflate else piece
        out[extent.guest_offset : extent.guest_offset + len(piece)] = piece
    return bytes(out[:DISK_SIZE])


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_image_is_accepted_with_the_guests_size(image, kind):
    """Every kind of image that qemu-img writes passes, and its virtual size is the disk's."""
    structure = look(image(kind), KINDS[kind][0])
    assert structure.virtual_size == DISK_SIZE
    assert structure.checked


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "qcow2-zstd"])
def test_the_extents_are_the_guests_bytes(image, kind):
    """What the parser calls allocated data is exactly what the guest wrote."""
    assert read_back(look(image(kind), KINDS[kind][0]), image(kind)) == guest_bytes()


@pytest.mark.parametrize("cut", [1, 512, CLUSTER, 384 * 1024])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("qcow2-512", "qcow2-zstd")])
def test_a_cut_image_is_refused(image, kind, cut):
    """C045: an image that lost one byte, one sector, one cluster or 384 KiB is noticed, whatever its format."""
    data = image(kind)
    if kind == "vmdk-stream":
        data = data.rstrip(b"\0").ljust(-(-len(data.rstrip(b"\0")) // 512) * 512, b"\0")  # qemu pads with free sectors
    refused(data[: len(data) - cut], KINDS[kind][0], ".")


def test_bytes_after_the_end_are_refused(image):
    """A QCOW2 followed by a cluster that belongs to nothing is refused; zeros are tolerated."""
    assert look(image("qcow2") + bytes(2 * CLUSTER), "qcow2")
    refused(image("qcow2") + bytes(CLUSTER) + b"x" * CLUSTER, "qcow2", "belong to nothing")
    refused(image("vmdk-stream") + b"x" * 512, "vmdk", "belong to nothing")


# --- QCOW2


def l2_of(data):
    """Offset of the first L2 table."""
    return u64(data, u64(data, 40)) & 0x00FFFFFFFFFFFE00


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("l2", "overlaps the L2 table"),
        ("header", "overlaps the header"),
        ("twice", "overlaps the data cluster"),
        ("beyond", "ends beyond the file"),
        ("unaligned", "is not aligned"),
        ("reserved", "reserved bits"),
    ],
)
def test_every_overlap_in_l2_is_named_with_its_offset(image, case, words):
    """C060: an L2 entry at a table, the header, another's cluster, beyond the end or unaligned is refused by place."""
    data = image("qcow2")
    l2 = l2_of(data)
    place = {
        "l2": l2,
        "header": 0x200,
        "twice": u64(data, l2) & 0x00FFFFFFFFFFFE00,
        "beyond": 1 << 40,
        "unaligned": u64(data, l2) + 512 & 0x00FFFFFFFFFFFE00,
        "reserved": u64(data, l2 + 16 * 8) | 1 << 5,
    }[case]
    if case == "header":
        # Offset 0 means "unallocated"; any other place in the first cluster is both unaligned and in the header.
        words = "is not aligned"
    text = refused(patched(data, (l2 + 8, ">Q", place | 1 << 63)), "qcow2", words)
    assert "0x10000" in text, "the guest's offset is named"


def test_header_and_tables_cannot_be_handed_out_as_data(image):
    """C060: with the L1 table at the header, or a refcount block at the L1 table, the overlap is named."""
    data = image("qcow2")
    refused(patched(data, (40, ">Q", 0)), "qcow2", "L1 table at offset 0x0 overlaps the header")
    table = u64(data, 48)
    refused(patched(data, (table + 8, ">Q", u64(data, 40))), "qcow2", "overlaps the refcount block|overlaps the L1")


def test_many_faults_are_counted_not_listed(image):
    """A table full of rubbish gives one line that names a few places and counts the rest."""
    data = image("qcow2")
    text = refused(data[: l2_of(data)] + b"\xff" * CLUSTER + data[l2_of(data) + CLUSTER :], "qcow2", "and 81.. more")
    assert len(text) < 800


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ((4, ">I", 9), "version 9"),
        ((8, ">Q", 0x300), "backing file"),
        ((32, ">I", 1), "encrypted"),
        ((32, ">I", 2), "encrypted"),
        ((60, ">I", 1), "internal snapshots"),
        ((72, ">Q", 1), "dirty"),
        ((72, ">Q", 2), "corrupt"),
        ((72, ">Q", 4), "another file"),
        ((72, ">Q", 16), "extended L2"),
        ((72, ">Q", 1 << 40), "unknown incompatible"),
        ((36, ">I", 4 << 20), "L1 table has 4194304 entries"),
        ((36, ">I", 0), "L1 table has 0 entries"),
        ((104, ">I", 0x44415441), "compression type"),
        ((112, ">II", 0x44415441, 8), "another file"),
        ((112, ">II", 0x0537BE77, 8), "encrypted"),
        ((112, ">II", 0x12345678, 0xFFFFFFF0), "leaves the first cluster"),
    ],
)
def test_a_hostile_qcow2_header_is_refused(image, change, words):
    """Backing files, external data, encryption, snapshots and features that we do not know never pass."""
    refused(patched(image("qcow2"), change), "qcow2", words)


@pytest.mark.parametrize(
    ("kind", "change"),
    [("qcow2", (20, ">I", bits)) for bits in (0, 8, 31, 63, 255, 2**32 - 1)]
    + [("qcow2", (100, ">I", length)) for length in (0, 71, 2**31)]
    + [("qcow2", (96, ">I", order)) for order in (7, 255, 2**32 - 1)]
    + [("qcow2", (56, ">I", clusters)) for clusters in (0, 2**32 - 1)]
    + [("qcow2", (24, ">Q", size)) for size in (0, 2**63, 2**64 - 1)]
    + [("qcow2", (40, ">Q", 2**64 - 1)), ("qcow2", (48, ">Q", 2**64 - 65536))]
    + [("vmdk-sparse", (20, "<Q", grain)) for grain in (0, 1, 3, 2**63)]
    + [("vmdk-sparse", (12, "<Q", capacity)) for capacity in (0, 2**63, 2**64 - 1)]
    + [("vmdk-sparse", (28, "<QQ", 1, 2**63)), ("vmdk-sparse", (44, "<I", 0)), ("vmdk-sparse", (56, "<Q", 2**60))]
    + [("vmdk-stream", (12, "<Q", 2**53)), ("vmdk-stream", (64, "<Q", 2**63))]
    + [("vdi-dynamic", (0x180, "<I", count)) for count in (0, 7, 2**32 - 1)]
    + [("vdi-dynamic", (0x178, "<I", size)) for size in (0, 1, 2**31)]
    + [("vdi-dynamic", (0x170, "<Q", 2**64 - 512)), ("vdi-dynamic", (0x184, "<I", 2**32 - 1))],
)
def test_header_fields_out_of_range_are_one_line(image, kind, change):
    """C068: impossible shifts, counts and sizes are refused in one line, at once and in bounded memory."""
    refused(patched(image(kind), change), KINDS[kind][0], ".")


def test_the_vhd_block_size_is_not_trusted(image):
    """C068: a dynamic VHD with block size 0 and a right checksum is refused in one line."""
    data = image("vhd-dynamic")
    for block in (0, 1, 3 << 20, 2**31):
        refused(with_vhd_header(data, (32, ">I", block)), "vhd", "block size")
    refused(with_vhd_header(data, (28, ">I", 1)), "vhd", "entries")
    refused(with_vhd_header(data, (16, ">Q", 2**63)), "vhd", "ends beyond")


def test_a_compressed_cluster_serves_one_guest_cluster_only(image):
    """A bomb that points many guest clusters at one compressed one is refused."""
    data = image("qcow2-zlib")
    l2 = l2_of(data)
    refused(patched(data, (l2 + 8, ">Q", u64(data, l2))), "qcow2", "used by more than one guest cluster")


def test_compressed_data_must_inflate_to_a_cluster(image):
    """The last compressed cluster, where a cut would hide, is really inflated."""
    data = image("qcow2-zlib")
    shift = 62 - 8
    entries = [u64(data, l2_of(data) + 8 * number) for number in range(DISK_SIZE // CLUSTER)]
    last = max(entry & (1 << shift) - 1 for entry in entries if entry >> 62 & 1)
    refused(patched(data, (last, "16s", b"\xff" * 16)), "qcow2", "does not inflate")


def test_an_internal_snapshot_made_by_qemu_is_refused(tmp_path, image):
    """What qemu-img itself calls a snapshot is recognised."""
    path = tmp_path / "snap.qcow2"
    path.write_bytes(image("qcow2"))
    subprocess.run(["qemu-img", "snapshot", "-c", "one", str(path)], check=True)
    refused(path.read_bytes(), "qcow2", "1 internal snapshots")


@pytest.mark.parametrize(
    "change",
    [
        ["qemu-img", "bitmap", "--add", "IMAGE", "changes"],
        ["qemu-img", "resize", "-q", "IMAGE", "5G"],
        ["qemu-img", "resize", "-q", "--shrink", "IMAGE", "7M"],
        ["qemu-img", "amend", "-f", "qcow2", "-o", "lazy_refcounts=on", "IMAGE"],
        [
            "qemu-io",
            "-f",
            "qcow2",
            "-c",
            "write -P 5 3M 1M",
            "-c",
            "discard 1M 128k",
            "-c",
            "write -z 5M 256k",
            "IMAGE",
        ],
    ],
    ids=lambda change: " ".join(change[:2]),
)
def test_an_image_with_a_history_is_accepted(tmp_path, image, change):
    """Bitmaps, other sizes and rewritten or discarded clusters are no faults."""
    path = tmp_path / "disk.qcow2"
    path.write_bytes(image("qcow2"))
    subprocess.run([str(path) if word == "IMAGE" else word for word in change], check=True, stdout=subprocess.DEVNULL)
    assert look(path.read_bytes(), "qcow2").checked


# --- VMDK


def vmware_stream(disk):
    """A streamOptimized VMDK in the order of a VMware host: grains, tables behind them, directory and footer last."""
    grain, overhead = 128, 128
    capacity = len(disk) // 512
    text = (
        '# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType="streamOptimized"\n'
        f'\n# Extent description\nRDONLY {capacity} SPARSE "generated-stream.vmdk"\n\nddb.adapterType = "lsilogic"\n'
    )

    def header(directory):
        return struct.pack(
            "<4sIIQQQQIQQQB4sH",
            b"KDMV",
            3,
            0x30001,
            capacity,
            grain,
            1,
            20,
            512,
            0,
            directory,
            overhead,
            0,
            b"\n \r\n",
            1,
        ).ljust(512, b"\0")

    out = bytearray((header(2**64 - 1) + text.encode()).ljust(overhead * 512, b"\0"))
    sectors = lambda: len(out) // 512  # noqa: E731 - a name for the current position

    def put(data):
        out.extend(data.ljust(-(-len(data) // 512) * 512, b"\0"))

    directory = []
    for first in range(0, capacity, grain * 512):
        table = [0] * 512
        for number in range(512):
            start = (first + number * grain) * 512
            piece = disk[start : start + grain * 512]
            if piece.strip(b"\0"):
                table[number] = sectors()
                packed = zlib.compress(piece.ljust(grain * 512, b"\0"))
                put(struct.pack("<QI", start // 512, len(packed)) + packed)
        put(struct.pack("<QII", 4, 0, 1))
        directory.append(sectors())
        put(struct.pack("<512I", *table))
    put(struct.pack("<QII", 1, 0, 2))
    at = sectors()
    put(struct.pack(f"<{len(directory)}I", *directory))
    put(struct.pack("<QII", 1, 0, 3))
    put(header(at))
    put(bytes(512))
    return bytes(out)


def test_a_stream_with_its_directory_at_the_end_is_read():
    """The layout that VMware hosts send, which qemu-img never writes, passes and gives the guest's bytes."""
    data = vmware_stream(guest_bytes())
    structure = look(data, "vmdk")
    assert read_back(structure, data) == guest_bytes()


@pytest.mark.parametrize("cut", [1, 512, 1024, CLUSTER])
def test_a_cut_stream_of_a_host_is_refused(cut):
    """C045: without its footer such a stream is not believed."""
    data = vmware_stream(guest_bytes())
    refused(data[: len(data) - cut], "vmdk", "footer|whole number")


@pytest.mark.parametrize("host", [False, True])
def test_a_zeroed_grain_table_entry_is_found(image, host):
    """A grain that the stream has and the table lost is noticed; qemu-img check calls such a file clean."""
    data = vmware_stream(guest_bytes()) if host else image("vmdk-stream")
    directory = struct.unpack_from("<Q", data, (len(data) - 1024 if host else 0) + 56)[0]
    table = struct.unpack_from("<I", data, directory * 512)[0] * 512
    assert struct.unpack_from("<I", data, table)[0]
    refused(patched(data, (table, "<I", 0)), "vmdk", "disagree")


def test_a_sparse_vmdk_uses_each_grain_once(image):
    """C060: two entries on one grain, a grain in the tables, and differing copies of a table are named."""
    data = image("vmdk-sparse")
    table = struct.unpack_from("<I", data, struct.unpack_from("<Q", data, 56)[0] * 512)[0] * 512
    first = struct.unpack_from("<I", data, table)[0]
    refused(patched(data, (table + 8, "<I", first)), "vmdk", "overlaps the VMDK grain")
    refused(patched(data, (table + 8, "<I", 3)), "vmdk", "lies in the tables")
    refused(patched(data, (table, "<I", 0)), "vmdk", "redundant copy differ")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"parentCID=ffffffff", b"parentCID=12345678", "parent"),
        (b'"monolithicSparse"', b'"monolithicFlat"  ', "of type"),
        (b"SPARSE", b"FLAT  ", "contradicts"),
        (b"RW 16384", b"RW 16385", "contradicts"),
        (b"# The Disk Data Base", b'RW 1 FLAT "/etc/pwd"', "2 extents"),
    ],
)
def test_a_hostile_vmdk_descriptor_is_refused(image, old, new, words):
    """A parent, a second extent or a type that names other files never passes."""
    assert old in image("vmdk-sparse")
    refused(image("vmdk-sparse").replace(old, new, 1), "vmdk", words)


def test_a_transfer_in_text_mode_is_named(image):
    """A VMDK whose line ends were translated on the way says so."""
    refused(image("vmdk-sparse").replace(b"\n \r\n", b"\n \n\n", 1), "vmdk", "text mode")


# --- VHD, VDI, raw


def with_vhd_sum(part, at):
    """A VHD structure with the checksum that its bytes need."""
    part = patched(part, (at, ">I", 0))
    return patched(part, (at, ">I", ~sum(part) & 0xFFFFFFFF))


def with_vhd_header(data, *changes):
    """A dynamic VHD with a changed dynamic header and a right checksum."""
    header = with_vhd_sum(patched(data[512:1536], *changes), 36)
    return data[:512] + header + data[1536:]


def with_vhd_footer(data, *changes):
    """A dynamic VHD with both footers changed and right checksums."""
    footer = with_vhd_sum(patched(data[-512:], *changes), 64)
    return footer + data[512:-512] + footer


def test_a_vhd_is_what_both_footers_say(image):
    """Checksums, the copy at the start, the type and overlapping blocks are looked at."""
    data = image("vhd-dynamic")
    assert look(with_vhd_footer(data), "vhd")
    refused(patched(data, (len(data) - 512 + 48, ">Q", 1 << 30)), "vhd", "footer has a wrong checksum")
    refused(patched(data, (512 + 32, ">I", 1 << 20)), "vhd", "dynamic header has a wrong checksum")
    refused(patched(data, (80, ">I", 7)), "vhd", "copy at the start differ")
    refused(with_vhd_footer(data, (60, ">I", 4)), "vhd", "differencing")
    refused(with_vhd_footer(data, (60, ">I", 9)), "vhd", "type 9")
    refused(with_vhd_header(data, (40, "16s", b"p" * 16)), "vhd", "parent")
    table = struct.unpack_from(">Q", data, 512 + 16)[0]
    blocks = struct.unpack_from(">4I", data, table)
    refused(patched(data, (table + 4, ">I", blocks[0])), "vhd", "overlaps the block before")
    refused(patched(data, (table + 4, ">I", 1)), "vhd", "lies in the tables")
    refused(patched(data, (table + 4, ">I", 1 << 30)), "vhd", "ends beyond the data")


def test_a_vdi_is_exactly_as_long_as_its_header_says(image):
    """A VDI cut in half, which qemu-img check and convert take, is refused; so are parents and odd maps."""
    data = image("vdi-dynamic")
    refused(data[: len(data) // 1024 * 512], "vdi", "bytes long, its header needs")
    refused(data + bytes(1 << 20), "vdi", "bytes long")
    refused(patched(data, (0x4C, "<I", 4)), "vdi", "type 4")
    refused(patched(data, (0x1B8, "16s", b"p" * 16)), "vdi", "parent")
    first = struct.unpack_from("<I", data, 0x154)[0]
    refused(patched(data, (first + 7 * 4, "<I", 0)), "vdi", "overlaps the VDI block")
    refused(patched(data, (first + 7 * 4, "<I", 99)), "vdi", "ends beyond")
    refused(patched(data, (first + 7 * 4, "<I", 0xFFFFFFFF)), "vdi", "names 2 blocks, its header 3")


def test_sector_0_of_a_raw_disk_belongs_to_the_guest(image):
    """C064: a raw disk and a fixed VHD whose guest wrote a QCOW2 header stay what we asked for."""
    assert look(image("qcow2"), "raw").virtual_size == len(image("qcow2"))
    fixed = image("vhd-fixed")
    assert look(image("qcow2")[:512] + fixed[512:], "vhd").virtual_size == DISK_SIZE
    refused(guest_bytes()[:-1], "raw", "whole number of 512-byte sectors")


# --- every further rule by its own words


def l1_entry_with(data, bits):
    """A QCOW2 whose first L1 entry has further bits set."""
    return patched(data, (u64(data, 40), ">Q", u64(data, u64(data, 40)) | bits))


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("qcow2-512", [(24, ">Q", 256 << 30), (36, ">I", 8 << 20)], "larger than 32 MiB"),
        ("vmdk-sparse", [(8, "<I", 1 << 8 | 3)], "unknown flags"),
        ("vmdk-sparse", [(8, "<I", 1 << 16 | 3)], "contradict each other"),
        ("vmdk-stream", [(77, "<H", 2)], "compression 2"),
        ("vmdk-sparse", [(12, "<Q", 0)], "capacity 0"),
        ("vmdk-sparse", [(28, "<Q", 0)], "without an embedded descriptor"),
        ("vmdk-sparse", [(56, "<Q", 2**64 - 1)], "without a grain directory"),
        ("vmdk-stream", [(56, "<Q", 2**64 - 1)], "no footer"),
        ("vdi-dynamic", [(0x44, "<I", 2 << 16)], "version 0x20000"),
        ("vdi-dynamic", [(0x168, "<I", 4096)], "sector size 4096"),
        ("vdi-dynamic", [(0x170, "<Q", DISK_SIZE - 1)], "disk size 8388607"),
        ("vdi-dynamic", [(0x184, "<I", 9)], "9 allocated blocks of 8"),
        ("vdi-dynamic", [(0x154, "<I", 0x3F8)], "overlap"),
        ("oci", [(124, "12s", b"\xff" * 12)], "negative size"),
        ("oci", [(1024 + 124, "12s", b"77777777777\0")], "ends beyond"),
    ],
)
def test_a_broken_rule_is_named(image, kind, changes, words):
    """What is wrong with a header is said by its own sentence, not by a later accident."""
    data = patched(image(kind), *changes)
    refused(with_tar_sums(data) if kind == "oci" else data, KINDS.get(kind, [kind])[0], words)


def test_reserved_bits_of_l1_are_refused(image):
    """An L1 entry with bits that mean nothing is not followed."""
    refused(l1_entry_with(image("qcow2"), 1 << 60), "qcow2", "L1 entry 0 has reserved bits")
    refused(l1_entry_with(image("qcow2"), 1), "qcow2", "L1 entry 0 has reserved bits")


def test_the_tables_of_a_vmdk_are_looked_at(image, tmp_path):
    """Entries behind the disk's end, tables on one another or outside, and a differing directory are named."""
    data = image("vmdk-sparse")
    directory, redundant = (struct.unpack_from("<Q", data, at)[0] * 512 for at in (56, 48))
    table = struct.unpack_from("<I", data, directory)[0] * 512
    refused(patched(data, (table + 200 * 4, "<I", 128)), "vmdk", "grain 200 lies beyond the disk's end")
    refused(patched(data, (directory, "<I", 1 << 30)), "vmdk", "grain table at offset .* ends beyond")
    refused(patched(data, (redundant, "<I", 0)), "vmdk", "redundant copy differ at table 0")
    refused(data.replace(b"# The Disk Data Base\n", b'parentFileNameHint="x\n'), "vmdk", "parent")
    large = tmp_path / "large.vmdk"
    subprocess.run(["qemu-img", "create", "-q", "-f", "vmdk", str(large), "100M"], check=True)
    data = large.read_bytes()
    directory = struct.unpack_from("<Q", data, 56)[0] * 512
    refused(patched(data, (directory + 4, "4s", data[directory : directory + 4])), "vmdk", "overlaps another one")


def test_footer_and_markers_of_a_stream_are_looked_at(image):
    """A footer that contradicts the header, an unknown marker and a grain cut short are named."""
    data = vmware_stream(guest_bytes())
    footer = len(data) - 1024
    refused(patched(data, (footer + 12, "<Q", 1)), "vmdk", "header and footer")
    refused(patched(data, (footer + 56, "<Q", 2**64 - 1)), "vmdk", "does not name the grain directory")
    marker = data.index(struct.pack("<QII", 1, 0, 2))
    refused(patched(data, (marker + 12, "<I", 9)), "vmdk", "marker of type 9")
    refused(image("vmdk-stream").rstrip(b"\0")[:-60], "vmdk", "last VMDK grain ends beyond")


def test_a_vhd_says_what_is_wrong_with_it(image):
    """Lengths, cookies and sizes that cannot be have their own sentences."""
    fixed, dynamic = image("vhd-fixed"), image("vhd-dynamic")
    refused(b"conectix", "vhd", "no whole number of sectors")
    refused(dynamic[:-512], "vhd", "no VHD footer")
    refused(bytes(512) + fixed, "vhd", "must be 8389120 bytes long")
    refused(with_vhd_footer(dynamic, (48, ">Q", 0)), "vhd", "current size 0")
    refused(patched(dynamic, (512, "8s", b"cxsparsE")), "vhd", "no VHD dynamic header")


def with_tar_sums(data):
    """The first two headers of a tar with the checksums that their bytes need."""
    data = bytearray(data)
    for header in (0, 1024):
        found = sum(data[header : header + 512]) - sum(data[header + 148 : header + 156]) + 8 * 32
        data[header + 148 : header + 156] = b"%06o\0 " % found
    return data


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (b"99 size=1\n", "impossible length"),
        (b"x size=1\n", "impossible length"),
        (b"2 \n" * 4, "impossible length"),
        (b"11 size=-1\n", "impossible size"),
        (b"30 size=" + b"9" * 20 + b" \n", "impossible size"),
        (b" " * 2_000_000, "extended header of 2000000 bytes"),
    ],
)
def test_a_hostile_extended_tar_header_is_refused(record, words):
    """C066: records of impossible length or size, and floods of them, are refused in one line."""
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, len(record)
    data = packed(METADATA)[:1024] + info.tobuf() + record
    refused(data.ljust(-(-len(data) // 512) * 512 + 2048, b"\0"), "oci", words)


def test_a_tar_without_its_end_is_refused(image):
    """C045: an archive that lost exactly its end mark is noticed."""
    data = packed(METADATA, ("output.QCOW2", image("qcow2")))
    end = 512 + 512 + 512 + len(image("qcow2"))
    assert not data[end:].strip(b"\0")
    refused(data[:end], "oci", "tar header at offset .* ends beyond")
    refused(data[: end + 512], "oci", "no end mark")


# --- what arrived instead


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xef\xbb\xbf\n <!DOCTYPE html><html><body>Sign in</body></html>", "an HTML page"),
        (b"<?xml version='1.0'?><Error/>", "an XML document"),
        (b'{"code": "NotAuthenticated"}', "a JSON document"),
        (b"Service Unavailable\n", "a text"),
        (b"", "an empty file"),
        (b"\x1f\x8b\x08\0" + bytes(600), "a gzip archive"),
        (b"PK\x03\x04" + bytes(600), "a ZIP archive"),
        (bytes(257) + b"ustar\0" + bytes(600), "a tar archive"),
        (b'# Disk DescriptorFile\nRW 2 FLAT "/etc/passwd" 0\n', "a VMDK text descriptor"),
        (b"vhdxfile" + bytes(600), "a VHDX disk"),
        (b"QFI\xfb" + struct.pack(">I", 9) + bytes(600), "a QCOW2 disk|version 9"),
        (bytes(0x44) + b"\x7f\x10\xda\xbe" + bytes(600), "nothing that we know"),
        (bytes(512), "nothing that we know"),
    ],
)
@pytest.mark.parametrize("expected", ["qcow2", "vmdk", "vdi", "vhd"])
def test_what_arrived_instead_of_a_disk_is_named(content, words, expected):
    """C045, C062: an HTML page is called one, a known mark that does not parse is refused and never taken as raw."""
    refused(content, expected, words)


def test_marks_of_two_formats_are_refused(image):
    """A QCOW2 that ends like a VHD is suspicious whichever one we asked for."""
    data = image("qcow2")
    both = data[:-512] + image("vhd-fixed")[-512:]
    refused(both, "qcow2", "a QCOW2 disk and a VHD disk")


def test_an_unknown_format_is_a_usage_error():
    """Asking for a format that nobody knows names the known ones."""
    with pytest.raises(errors.UsageError, match=re.escape("qcow2, raw, vdi, vhd, vmdk")):
        look(b"x" * 512, "vhdx")


# --- OCI's own format


def packed(*members, form=tarfile.PAX_FORMAT):
    """A tar of (name, bytes) or of ready TarInfo objects."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for each in members:
            if isinstance(each, tarfile.TarInfo):
                tar.addfile(each)
                continue
            info = tarfile.TarInfo(each[0])
            info.size = len(each[1])
            tar.addfile(info, io.BytesIO(each[1]))
    return out.getvalue()


METADATA = ("image_metadata.json", b'{"version": 2}')


def special(kind):
    """A tar member that is no regular file."""
    info = tarfile.TarInfo("odd")
    info.type, info.linkname = kind, "/etc/passwd"
    return info


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_an_oci_image_gives_the_guests_bytes(image, form):
    """Every dialect of tar is read, with the disk's place in it and the guest's bytes; long names do not matter."""
    name = "output.QCOW2" if form == tarfile.USTAR_FORMAT else "x" * 150 + "\u00e4.QCOW2"
    data = packed(METADATA, (name, image("qcow2")), form=form)
    structure = look(data, "oci")
    assert read_back(structure, data) == guest_bytes()
    assert data[structure.inner.offset :][: structure.inner.size] == image("qcow2")


def test_a_size_in_an_extended_header_counts(image):
    """Members of 8 GiB and more carry their size in a pax record; it is believed, and must be inside the file."""
    data = packed(METADATA, ("output.QCOW2", image("qcow2")))
    info = tarfile.TarInfo("output.QCOW2")
    record = packed(METADATA)[:1024] + info.create_pax_header({**info.get_info(), "size": 9 << 30}, "utf-8")
    refused(record + image("qcow2") + bytes(1024), "oci", "ends beyond")
    sized = f"{len(image('qcow2'))}"
    record = packed(METADATA)[:1024] + info._create_pax_generic_header({"size": sized}, tarfile.XHDTYPE, "utf-8")
    assert look(record + info.tobuf() + image("qcow2") + bytes(1024), "oci").virtual_size == DISK_SIZE
    assert look(data, "oci").virtual_size == DISK_SIZE


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([METADATA], "0 QCOW2 disks"),
        (["disk"], "without image_metadata.json"),
        ([METADATA, METADATA, "disk"], "two image_metadata.json"),
        ([METADATA, "disk", "disk"], "2 QCOW2 disks"),
        ([("image_metadata.json", b"[]"), "disk"], "no JSON object"),
        ([("image_metadata.json", b"[" * 100_000), "disk"], "no JSON object"),
        ([("image_metadata.json", b" " * 2_000_000), "disk"], "of 2000000 bytes"),
        ([METADATA, "disk", ("../../etc/cron.d/x", b"x")], "outside the archive"),
        ([METADATA, "disk", ("/etc/cron.d/x", b"x")], "outside the archive"),
        ([METADATA, "disk", special(tarfile.SYMTYPE)], "no regular file"),
        ([METADATA, "disk", special(tarfile.LNKTYPE)], "no regular file"),
        ([METADATA, "disk", special(tarfile.FIFOTYPE)], "no regular file"),
        ([METADATA, "disk", special(tarfile.CHRTYPE)], "no regular file"),
        ([METADATA, "disk", *[("empty", b"")] * 100], "more than 64 members"),
    ],
)
def test_a_hostile_oci_image_is_refused(image, members, words):
    """C066: members that escape, links, devices, doubles and floods of members are refused in one line."""
    data = packed(*[("output.QCOW2", image("qcow2")) if each == "disk" else each for each in members])
    refused(data, "oci", words)


def test_a_damaged_oci_image_is_refused(image):
    """C045: a cut archive, a broken header, rubbish behind it and a damaged disk in it are noticed."""
    data = packed(METADATA, ("output.QCOW2", image("qcow2")))
    end = len(data.rstrip(b"\0"))
    for length in (len(data) - 1, end // 512 * 512, 2 * CLUSTER, 512, 1024):
        refused(data[:length], "oci", ".")
    refused(patched(data, (1024 + 150, "B", 0)), "oci", "no tar header")
    refused(data + b"x" * 512, "oci", "belong to nothing")
    start = data.index(b"QFI")
    refused(patched(data, (start + 8, ">Q", 0x300)), "oci", "output.QCOW2: QCOW2 that has a backing file")


# --- fuzz

HOT = {
    "qcow2": (0, 200),
    "qcow2-zlib": (0, 200),
    "vmdk-stream": (0, 1024),
    "vmdk-sparse": (0, 1024),
    "vhd-dynamic": (512, 1024),
    "vdi-dynamic": (0x40, 0x240),
    "oci": (0, 2048),
}
NUMBERS = st.integers(0, 2**64 - 1) | st.sampled_from(
    [0, 1, 2, 7, 63, 255, 2**15, 2**16, 2**31, 2**32 - 1, 2**48, 2**62, 2**63, 2**64 - 1]
)


@settings(max_examples=400, deadline=None)
@given(
    kind=st.sampled_from(sorted(HOT)),
    changes=st.lists(st.tuples(st.integers(0, 1023), NUMBERS, st.sampled_from("BHIQ")), max_size=4),
    cut=st.just(0) | st.integers(0, 4096),
    tables=st.booleans(),
    order=st.sampled_from("<>"),
)
def test_no_bytes_make_a_parser_fail_otherwise(image, *, kind, changes, cut, tables, order):
    """C068: whatever headers and tables hold, the answer is a structure or one VerificationError, in bounded memory."""
    data = bytearray(image(kind))
    first, span = HOT[kind]
    if tables and kind.startswith("qcow2"):
        first, span = u64(data, 40), CLUSTER
    for at, value, width in changes:
        size = struct.calcsize(width)
        struct.pack_into(order + width, data, first + at % (span - 8) // size * size, value % (1 << 8 * size))
    data = data[: len(data) - cut]
    if kind == "vhd-dynamic":
        data[512:1536] = with_vhd_sum(bytes(data[512:1536]), 36)
    if kind == "oci":
        data = with_tar_sums(data)
    try:
        structure = look(data, KINDS.get(kind, [kind])[0])
    except errors.VerificationError:
        return
    for extent in itertools.islice(structure.extents(), 200):
        assert extent.offset + extent.length <= len(data)
