"""verify_disk on real files, with the real qemu-img and with stand-ins for it that hang, lie or are missing."""

import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from hypersdk import errors
from hypersdk.disks.qemu_img import QemuImg, Source, find_qemu_img
from hypersdk.disks.verify import verify_disk
from hypersdk.waiting import Waiter

MIB = 1 << 20
OPTIONS = {
    "qcow2": ["-O", "qcow2"],
    "vmdk": ["-O", "vmdk", "-o", "subformat=streamOptimized"],
    "vhd": ["-O", "vpc"],
    "vdi": ["-O", "vdi"],
    "raw": ["-O", "raw"],
}


def make_disk(folder, disk_format, *, name="web", data=b"guest data", size=8 * MIB):
    """A disk file of some format with a little data at its start and end."""
    raw = folder / f"{name}.source"
    with raw.open("wb") as file:
        file.write(data)
        file.seek(size - 512)
        file.write(data)
        file.truncate(size)
    path = folder / f"{name}.{disk_format}"
    subprocess.run(["qemu-img", "convert", "-f", "raw", *OPTIONS[disk_format], str(raw), str(path)], check=True)
    raw.unlink()
    return path


def pack_oci(disk):
    """An `.oci` file around a QCOW2 disk, beside it."""
    metadata = disk.with_name("image_metadata.json")
    metadata.write_text('{"version": 2}')
    with tarfile.open(disk.with_suffix(".oci"), "w") as tar:
        tar.add(metadata, "image_metadata.json")
        tar.add(disk, "output.QCOW2")
    return disk.with_suffix(".oci")


def stand_in(folder, body):
    """A program that is called like qemu-img."""
    path = folder / "qemu-img"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def alive(pid):
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("disk_format", OPTIONS)
def test_a_good_disk_is_proven(tmp_path, disk_format):
    """A sound disk of every format gives its facts and a sentence for structure, size, data and qemu-img."""
    path = make_disk(tmp_path, disk_format)
    disk, said = verify_disk(str(path), disk_format, expected_virtual_size=8 * MIB, waiter=Waiter())
    assert (disk.path, disk.format, disk.file_size) == (str(path), disk_format, path.stat().st_size)
    assert 8 * MIB <= disk.virtual_size < 9 * MIB
    text = "\n".join(said)
    assert "as expected" in text
    assert "data: present" in text
    assert ("qemu-img check: clean" in text) == (disk_format not in ("raw", "vhd"))


def test_a_good_oci_image_is_proven_with_the_disk_in_it(tmp_path):
    """An `.oci` file is proven by its metadata and its disk, which qemu-img checks where it lies in the archive."""
    path = pack_oci(make_disk(tmp_path, "qcow2", name="a,b"))
    disk, said = verify_disk(str(path), "oci", expected_virtual_size=8 * MIB, waiter=Waiter())
    assert (disk.format, disk.virtual_size) == ("oci", 8 * MIB)
    assert said[0] == "OCI image: a tar with image_metadata.json and one QCOW2 disk"
    assert said[-1] == "qemu-img check: clean"
    empty = pack_oci(make_disk(tmp_path, "qcow2", name="empty", data=bytes(512)))
    with pytest.raises(errors.VerificationError, match="nothing but zeros"):
        verify_disk(str(empty), "oci", waiter=Waiter())


def test_names_do_not_change_the_verdict(tmp_path, monkeypatch):
    """Colons, commas and a leading json: in a name reach qemu-img as a plain path, relative names too."""
    monkeypatch.chdir(tmp_path)
    for disk_format in ("qcow2", "vhd"):
        name = make_disk(tmp_path, disk_format, name="json:{a},b=c,,d e").name
        assert verify_disk(name, disk_format, waiter=Waiter())[0].format == disk_format


@pytest.mark.parametrize("disk_format", OPTIONS)
def test_an_empty_disk_of_a_full_instance_is_refused(tmp_path, disk_format):
    """A valid disk that holds only zeros fails when there was data, and passes when there was none."""
    path = str(make_disk(tmp_path, disk_format, data=bytes(512)))
    with pytest.raises(errors.VerificationError, match="nothing but zeros"):
        verify_disk(path, disk_format, waiter=Waiter())
    assert "data: only zeros, as in its source" in verify_disk(path, disk_format, had_data=False, waiter=Waiter())[1]


def test_written_zeros_are_no_data(tmp_path):
    """Allocated clusters that hold only zeros do not count as data."""
    raw, path = tmp_path / "zeros.raw", tmp_path / "zeros.qcow2"
    raw.write_bytes(bytes(MIB))
    subprocess.run(["qemu-img", "convert", "-S", "0", "-f", "raw", "-O", "qcow2", str(raw), str(path)], check=True)
    assert path.stat().st_size > MIB
    with pytest.raises(errors.VerificationError, match="nothing but zeros"):
        verify_disk(str(path), "qcow2", waiter=Waiter())


def test_another_virtual_size_is_refused(tmp_path):
    """A disk must have the provisioned size, or that rounded up to a whole MiB; both numbers are named otherwise."""
    path = str(make_disk(tmp_path, "qcow2"))
    verify_disk(path, "qcow2", expected_virtual_size=8 * MIB - 5000, waiter=Waiter())
    for wrong in (8 * MIB + 1, 7 * MIB, 8 * 1024 * MIB):
        with pytest.raises(errors.VerificationError, match=f"has {8 * MIB} bytes for the guest, expected {wrong}"):
            verify_disk(path, "qcow2", expected_virtual_size=wrong, waiter=Waiter())


def test_a_file_that_names_other_files_copies_nothing(tmp_path):
    """A backing file, an external data file and a text VMDK are refused by our own parser before qemu-img starts."""
    secret, good = tmp_path / "secret.raw", make_disk(tmp_path, "qcow2")
    secret.write_bytes(b"secret" * MIB)
    create = ["qemu-img", "create", "-q", "-f", "qcow2"]
    subprocess.run([*create, "-b", str(good), "-F", "qcow2", str(tmp_path / "a.qcow2")], check=True)
    subprocess.run([*create, "-o", f"data_file={tmp_path}/data", str(tmp_path / "b.qcow2"), "8M"], check=True)
    (tmp_path / "c.vmdk").write_text(f'# Disk DescriptorFile\ncreateType="monolithicFlat"\nRW 2 FLAT "{secret}" 0\n')
    for name, words in (("a.qcow2", "backing file"), ("b.qcow2", "another file"), ("c.vmdk", "text descriptor")):
        with pytest.raises(errors.VerificationError, match=words):
            verify_disk(str(tmp_path / name), name[2:], waiter=Waiter())


def test_leaks_that_only_qemu_img_sees_fail(tmp_path):
    """qemu-img check is one more signal: a refcount that nobody uses is named by its count."""
    path = make_disk(tmp_path, "qcow2")
    data = bytearray(path.read_bytes())
    block = int.from_bytes(data[int.from_bytes(data[48:56], "big") :][:8], "big")
    data[block + 40 : block + 42] = b"\0\1"
    path.write_bytes(data + bytes(16 * 65536))
    with pytest.raises(errors.VerificationError, match=r"qemu-img check failed \(1 leaks\)"):
        QemuImg(Waiter(), find_qemu_img()).check(Source(str(path), "qcow2"))


def test_a_missing_tool_is_named_with_its_package(tmp_path, monkeypatch):
    """Without qemu-img the error says which package brings it, before the file is read."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(errors.ToolMissing, match="qemu-utils") as caught:
        verify_disk("absent", "qcow2", waiter=Waiter())
    assert caught.value.exit_code == 6


@pytest.mark.parametrize("name", ["absent", "folder", "pipe"])
def test_what_is_no_regular_file_is_a_file_error(tmp_path, name):
    """An absent file, a folder and a pipe give one line, and the pipe does not block."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(errors.FileError, match="cannot read"):
        verify_disk(str(tmp_path / name), "qcow2", waiter=Waiter())


def test_qemu_img_gets_a_fixed_locale_a_format_and_an_absolute_path(tmp_path, monkeypatch):
    """C069: the child runs with LC_ALL=C, never guesses a format, and sees an absolute path and limits."""
    monkeypatch.setenv("LC_ALL", "fr_FR.UTF-8")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a:b.qcow2").write_bytes(b"x")
    program = stand_in(
        tmp_path,
        f'echo "$LC_ALL" "$@" > {tmp_path}/seen; ulimit -v >> {tmp_path}/seen; echo "{{\\"check-errors\\": 0}}"',
    )
    assert QemuImg(Waiter(), program).check(Source("a:b.qcow2", "qcow2"))
    seen = (tmp_path / "seen").read_text().splitlines()
    assert seen[0] == (
        f"C check --output=json --image-opts driver=qcow2,file.driver=file,file.filename={tmp_path}/a:b.qcow2"
    )
    assert int(seen[1]) == 1024 * 1024, "KiB of address space"


def test_stopping_ends_the_child_at_once(tmp_path):
    """Ctrl-C while qemu-img works ends it, and no process is left behind."""
    program = stand_in(tmp_path, f"echo $$ > {tmp_path}/pid; exec sleep 600")
    waiter = Waiter()
    waiter.hooks.append(lambda: waiter.stop.set() if (tmp_path / "pid").exists() else None)
    with pytest.raises(errors.Interrupted):
        QemuImg(waiter, program).check(Source(str(tmp_path), "qcow2"))
    assert not alive(int((tmp_path / "pid").read_text() or 0))


def test_a_hanging_qemu_img_is_given_up(tmp_path):
    """After the wall-clock limit the child is killed and the file is called unverified."""
    program = stand_in(tmp_path, f"echo $$ > {tmp_path}/pid; exec sleep 600")
    clock = iter(range(0, 10**9, 400))
    waiter = Waiter(clock=lambda: next(clock) if (tmp_path / "pid").exists() else 0)
    with pytest.raises(errors.VerificationError, match="did not finish in 600 s"):
        QemuImg(waiter, program).check(Source(str(tmp_path), "qcow2"))
    assert not alive(int((tmp_path / "pid").read_text() or 0))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('echo "qemu-img: Could not open: Invalid argument" >&2; exit 1', "Could not open: Invalid argument"),
        ("kill -SEGV $$", "status -11"),
        ("head -c 40000000 /dev/zero; exit 0", "qemu-img"),
        ("echo not-json; exit 2", "status 2"),
    ],
)
def test_every_other_end_of_the_check_is_a_failure(tmp_path, body, words):
    """A crash, an unknown status or endless output of qemu-img is never taken for a clean disk."""
    (tmp_path / "x").write_bytes(b"x")
    qemu = QemuImg(Waiter(), stand_in(tmp_path, body))
    with pytest.raises(errors.VerificationError, match=words):
        assert qemu.check(Source(str(tmp_path / "x"), "qcow2")) is None


def test_a_second_opinion_on_the_size_must_agree(tmp_path, monkeypatch):
    """When qemu-img reads another size than our parser, the file is not believed."""
    path = make_disk(tmp_path, "qcow2")
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    stand_in(bin_folder, f"echo '{json.dumps({'check-errors': 0, 'virtual-size': 5})}'")
    monkeypatch.setenv("PATH", f"{bin_folder}:{os.environ['PATH']}")
    with pytest.raises(errors.VerificationError, match="qemu-img reads 5 bytes"):
        verify_disk(str(path), "qcow2", waiter=Waiter())


def test_two_formats_of_one_disk_have_the_same_content(tmp_path):
    """The guest's bytes can be compared over formats; another disk, and an unreadable file, are told apart."""
    qemu = QemuImg(Waiter(), find_qemu_img())
    one, same = make_disk(tmp_path, "qcow2"), make_disk(tmp_path, "vhd")
    other = make_disk(tmp_path, "raw", data=b"other data")
    (tmp_path / "junk.qcow2").write_bytes(b"junk")
    assert qemu.same_content(Source(str(one), "qcow2"), Source(str(same), "vhd"))
    assert not qemu.same_content(Source(str(one), "qcow2"), Source(str(other), "raw"))
    with pytest.raises(errors.VerificationError, match="cannot compare"):
        qemu.same_content(Source(str(one), "qcow2"), Source(str(tmp_path / "junk.qcow2"), "qcow2"))
