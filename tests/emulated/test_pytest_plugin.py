"""The fixture `oci_emulator` as people who test their own code use it."""

import subprocess
import sys
import time
from email.utils import parsedate_to_datetime
from pathlib import Path

import oci
import pytest

HEAVY = ("oci", "aiohttp", "cryptography", "hypersdk_emulator.for_tests", "hypersdk", "sqlite3")


def test_a_client_works_and_meets_a_fault(oci_emulator) -> None:
    """The SDK's client reads what it wrote, and the declared 503 once; the log shows both."""
    client = oci_emulator.client(oci.object_storage.ObjectStorageClient)
    bucket = oci_emulator.bucket("backups")
    client.put_object(oci_emulator.namespace, bucket, "disk", b"data")
    oci_emulator.fault("GetObject", "error", status=503, code="ServiceUnavailable")
    with pytest.raises(oci.exceptions.ServiceError) as caught:
        client.get_object(oci_emulator.namespace, bucket, "disk")
    assert caught.value.status == 503
    assert client.get_object(oci_emulator.namespace, bucket, "disk").data.content == b"data"
    assert [entry["status"] for entry in oci_emulator.log(operation="GetObject")] == [503, 200]


@pytest.mark.parametrize("turn", [1, 2])
def test_each_test_begins_with_an_empty_cloud(oci_emulator, turn: int) -> None:
    """Nothing of an earlier test is there: no bucket, instance, image, request, advanced clock or fault."""
    client = oci_emulator.client(oci.object_storage.ObjectStorageClient)
    compute = oci_emulator.client(oci.core.ComputeClient)
    where = oci_emulator.compartment_id
    assert oci_emulator.log() == oci_emulator.faults() == []
    assert client.list_buckets(oci_emulator.namespace, where).data == []
    assert compute.list_instances(where).data == compute.list_images(where).data == []
    oci_emulator.bucket("full")
    client.put_object(oci_emulator.namespace, "full", "o", b"x")
    made = parsedate_to_datetime(client.head_object(oci_emulator.namespace, "full", "o").headers["last-modified"])
    assert abs(made.timestamp() - time.time()) < 60
    oci_emulator.advance(10 * 86400)
    oci_emulator.instance("web-01", "RUNNING")
    oci_emulator.fault("*", "html", optional=True, skip=1000)


def test_an_instance_is_imaged_and_exported(oci_emulator) -> None:
    """The cloud of the fixture does the whole way: instance, image, export, object; leftovers name the image."""
    client = oci_emulator.client(oci.object_storage.ObjectStorageClient)
    compute = oci_emulator.client(oci.core.ComputeClient)
    instance = oci_emulator.instance()
    bucket = oci_emulator.bucket()
    made = compute.create_image(
        oci.core.models.CreateImageDetails(compartment_id=oci_emulator.compartment_id, instance_id=instance)
    ).data
    oci.wait_until(compute, compute.get_image(made.id), "lifecycle_state", "AVAILABLE", max_interval_seconds=1)
    target = oci.core.models.ExportImageViaObjectStorageTupleDetails(
        namespace_name=oci_emulator.namespace, bucket_name=bucket, object_name="disk.qcow2", export_format="QCOW2"
    )
    compute.export_image(made.id, target)
    oci.wait_until(compute, compute.get_image(made.id), "lifecycle_state", "AVAILABLE", max_interval_seconds=1)
    assert client.get_object(oci_emulator.namespace, bucket, "disk.qcow2").data.content[:4] == b"QFI\xfb"
    assert [image["id"] for image in oci_emulator.leftovers()["images"]] == [made.id]


def test_the_configuration_file_signs_in(oci_emulator) -> None:
    """`config_file` is what oci.config.from_file reads, and equals `config`."""
    read = oci.config.from_file(str(oci_emulator.config_file))
    assert {name: read[name] for name in oci_emulator.config} == oci_emulator.config


def run(folder: Path, text: str, *options: str) -> subprocess.CompletedProcess[str]:
    """A test file of somebody else, run by pytest in a process of its own."""
    (folder / "test_theirs.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={folder}", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_a_fault_that_never_hits_fails_its_test(tmp_path: Path) -> None:
    """The failure names operation and effect; a fault that is optional is spared, and so are the tests around."""
    done = run(
        tmp_path,
        "def test_before(oci_emulator):\n    pass\n"
        "def test_forgotten(oci_emulator):\n    oci_emulator.fault('UploadPart', 'reset', times=2)\n"
        "def test_optional(oci_emulator):\n    oci_emulator.fault('UploadPart', 'reset', optional=True)\n",
    )
    assert done.returncode == 1, done.stdout
    assert "3 passed, 1 error" in done.stdout
    assert "never hit, or not as often as declared: UploadPart reset (hit 0 times)" in done.stdout
    assert "ERROR test_theirs.py::test_forgotten" in done.stdout


def test_an_emulator_that_died_is_started_again(tmp_path: Path) -> None:
    """A test that kills the process fails by name; the next one has a cloud again."""
    done = run(
        tmp_path,
        "def test_kill(oci_emulator, oci_emulator_process):\n    oci_emulator_process._process.kill()\n"
        "    oci_emulator_process._process.wait()\n"
        "def test_after(oci_emulator):\n    assert oci_emulator.bucket() == 'bucket'\n",
    )
    assert "the emulator ended during the test" in done.stdout
    assert "2 passed, 1 error" in done.stdout, done.stdout


def test_the_plugin_loads_nothing_before_it_is_used(tmp_path: Path) -> None:
    """A test session that does not use the fixture loads no SDK, no server, no database, and starts no process."""
    done = run(
        tmp_path,
        f"import sys\ndef test_light():\n    assert 'hypersdk_emulator.pytest_plugin' in sys.modules\n"
        f"    assert not [name for name in {HEAVY!r} if name in sys.modules]\n",
    )
    assert done.returncode == 0, done.stdout
