"""Volumes on instances, by Oracle's own SDK: data and boot volumes, iSCSI, sharing; and kills in the middle."""

import ipaddress
import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import oci
import pytest
from blocks import AD_1, AD_2, SECONDS, Blocks, refused
from emulator import Emulator, instance_id, make_seed
from oci.core import models

MIB = 1 << 20
NAMES = {"web-01": "STOPPED", "web-02": "RUNNING", "web-03": "STOPPED", "web-04": "STOPPED", "dead": "TERMINATED"}


def second_domain(seed):
    """A change of the seed: web-04 is in the second availability domain."""
    seed["instances"][3]["availabilityDomain"] = AD_2


def boot_id(name):
    return f"ocid1.bootvolume.oc1.iad.aaaa{name.replace('-', '')}"


@pytest.fixture(scope="module")
def blocks(tmp_path_factory) -> Iterator[Blocks]:
    """One cloud for this file; every test makes its own volumes."""
    folder = tmp_path_factory.mktemp("cloud")
    seed = make_seed(folder / "seed", instances=NAMES, transition_seconds=SECONDS, change=second_domain)
    emulator = Emulator(seed, folder / "state").start()
    yield Blocks(emulator)
    emulator.stop()


def state(blocks, attachment):
    return blocks.compute.get_volume_attachment(attachment.id).data.lifecycle_state


# ---------------------------------------------------------------- data volumes


def test_an_attachment_lives_from_attaching_to_detached(blocks):
    """ATTACHING, ATTACHED, DETACHING, DETACHED; the volume cannot be deleted before; each call has a work request."""
    volume = blocks.volume()
    details = models.AttachParavirtualizedVolumeDetails(instance_id=instance_id("web-02"), volume_id=volume.id)
    made = blocks.compute.attach_volume(details)
    requests = oci.work_requests.WorkRequestClient(
        oci.config.from_file(str(blocks.emulator.config_file)), service_endpoint=blocks.emulator.endpoint
    )
    request = requests.get_work_request(made.headers["opc-work-request-id"]).data
    assert (request.operation_type, request.status) == ("AttachVolume", "ACCEPTED")
    attachment = made.data
    assert (attachment.lifecycle_state, attachment.attachment_type) == ("ATTACHING", "paravirtualized")
    status, code, message = refused(blocks.storage.delete_volume, volume.id)
    assert (status, code) == (409, "Conflict")
    assert message == f"Volume {volume.id} may not be deleted while attached to an Instance."
    assert refused(blocks.compute.detach_volume, attachment.id)[0] == 409
    blocks.wait()
    assert state(blocks, attachment) == "ATTACHED"
    assert requests.get_work_request(request.id).data.status == "SUCCEEDED"
    detached = blocks.compute.detach_volume(attachment.id)
    assert requests.get_work_request(detached.headers["opc-work-request-id"]).data.operation_type == "DetachVolume"
    assert state(blocks, attachment) == "DETACHING"
    assert refused(blocks.storage.delete_volume, volume.id)[0] == 409
    blocks.wait()
    assert state(blocks, attachment) == "DETACHED"
    assert refused(blocks.compute.detach_volume, attachment.id)[0] == 404
    blocks.storage.delete_volume(volume.id)


def test_iscsi_attachments_say_where_the_target_is(blocks):
    """Each volume of an instance has its own link-local address, port 3260 and IQN; CHAP names only if asked for."""
    plain = blocks.attach(blocks.volume(), iscsi=True)
    chap = blocks.attach(blocks.volume(), iscsi=True, use_chap=True)
    for attachment in (plain, chap):
        assert attachment.attachment_type == "iscsi"
        assert ipaddress.ip_address(attachment.ipv4) in ipaddress.ip_network("169.254.2.0/24")
        assert attachment.port == 3260
        assert attachment.iqn.startswith("iqn.2015-12.com.oracleiaas:")
        assert attachment.iscsi_login_state == "UNKNOWN"
    assert (plain.ipv4, plain.iqn) != (chap.ipv4, chap.iqn)
    assert (plain.chap_secret, bool(chap.chap_secret), bool(chap.chap_username)) == (None, True, True)
    details = models.UpdateVolumeAttachmentDetails(iscsi_login_state="LOGIN_SUCCEEDED")
    updated = blocks.compute.update_volume_attachment(plain.id, details).data
    assert updated.iscsi_login_state == "LOGIN_SUCCEEDED"
    for attachment in (plain, chap):
        blocks.detach(attachment)
    paravirtualized = blocks.attach(blocks.volume())
    assert refused(blocks.compute.update_volume_attachment, paravirtualized.id, details)[0] == 400
    blocks.detach(paravirtualized)


def test_an_unshared_volume_is_attached_once(blocks):
    """A second attachment is 409 in OCI's words, on the same instance and on another; free after the detachment."""
    volume = blocks.volume()
    attachment = blocks.attach(volume)
    for name in ("web-01", "web-02"):
        expected = (409, "Conflict", f"Volume {volume.id} currently attached")
        assert refused(blocks.attach, volume, name) == expected
        assert refused(blocks.attach, volume, name, is_shareable=True) == expected
    blocks.detach(attachment)
    blocks.detach(blocks.attach(volume, "web-02"))


@pytest.mark.parametrize("read_only", [False, True])
def test_sharers_must_be_alike(blocks, read_only):
    """A shareable volume goes to several instances; an attachment of the other kind, or unshared, is 409."""
    volume = blocks.volume()
    made = [blocks.attach(volume, name, is_shareable=True, is_read_only=read_only) for name in ("web-01", "web-02")]
    assert {(each.is_read_only, each.is_shareable) for each in made} == {(read_only, True)}
    for fields in ({"is_shareable": True, "is_read_only": not read_only}, {"is_read_only": read_only}):
        assert refused(blocks.attach, volume, "web-03", **fields)[:2] == (409, "Conflict")
    for attachment in made:
        blocks.detach(attachment)


def test_an_attachment_needs_a_settled_instance_in_the_same_domain(blocks):
    """400 for another availability domain, 409 for a terminated instance, 404 for what there is not."""
    volume = blocks.volume()
    assert refused(blocks.attach, volume, "web-04")[0] == 400
    assert refused(blocks.attach, volume, "dead")[0] == 409
    assert refused(blocks.attach, volume, "nobody")[0] == 404
    assert refused(blocks.attach, blocks.volume(ready=False))[:2] == (409, "IncorrectState")
    blocks.storage.delete_volume(volume.id)
    assert refused(blocks.attach, volume)[0] == 404


def test_32_volumes_fit_on_an_instance(blocks):
    """Each takes one of the 32 device names; the next is refused; a detached one makes room."""
    volumes = [blocks.volume(ready=False) for _ in range(33)]
    blocks.wait()
    list_devices = blocks.compute.list_instance_devices
    devices = [each.name for each in list_devices(instance_id("web-03"), is_available=True, limit=100).data]
    assert (len(devices), "/dev/oracleoci/oraclevdb" in devices) == (32, True)
    made = [blocks.attach(volume, "web-03", device=device) for volume, device in zip(volumes, devices, strict=False)]
    assert [each.device for each in made] == devices
    assert list_devices(instance_id("web-03"), is_available=True).data == []
    assert refused(blocks.attach, volumes[32], "web-03")[:2] == (400, "LimitExceeded")
    blocks.detach(made[5])
    assert [each.name for each in list_devices(instance_id("web-03"), is_available=True).data] == [devices[5]]
    assert refused(blocks.attach, volumes[32], "web-03", device=devices[4])[0] == 400
    blocks.attach(volumes[32], "web-03", device=devices[5])
    listed = oci.pagination.list_call_get_all_results(
        blocks.compute.list_volume_attachments, blocks.compartment, instance_id=instance_id("web-03"), limit=10
    ).data
    present = [each for each in listed if each.lifecycle_state == "ATTACHED"]
    assert {each.volume_id for each in present} == {each.id for n, each in enumerate(volumes) if n != 5}
    for each in present:
        blocks.compute.detach_volume(each.id)
    blocks.wait()


def test_a_volume_of_changed_blocks_is_no_disk(blocks):
    """It is attached by iSCSI only; writing, cloning, backing up, grouping and resizing are 400."""
    volume = blocks.volume()
    first, second = blocks.backup(volume), blocks.backup(volume)
    details = models.VolumeSourceFromVolumeBackupDeltaDetails(first_backup_id=first.id, second_backup_id=second.id)
    delta = blocks.volume(source_details=details)
    assert refused(blocks.attach, delta)[0] == 400
    assert blocks.send_data("PUT", delta, "offset=0", b"x").status == 400
    grown = models.UpdateVolumeDetails(size_in_gbs=60)
    for call, *more in ((blocks.clone, delta), (blocks.backup, delta), (blocks.group, [delta])):
        assert refused(call, *more)[0] == 400
    assert refused(blocks.storage.update_volume, delta.id, grown)[0] == 400
    blocks.detach(blocks.attach(delta, iscsi=True, is_read_only=True))


def test_a_boot_volume_is_attached_as_data_to_another_instance(blocks):
    """As for repair: its clone is read by iSCSI on another instance, and the boot attachment is untouched."""
    clone = blocks.clone(blocks.storage.get_boot_volume(boot_id("web-02")).data)
    attachment = blocks.attach(clone, "web-01", iscsi=True, is_read_only=True)
    assert attachment.volume_id == clone.id
    blocks.detach(attachment)


# ---------------------------------------------------------------- boot volumes


def test_the_seeds_boot_volumes_are_attached(blocks):
    """Listed by instance and by volume, with the instance's OCID as the attachment's."""
    for query in ({"instance_id": instance_id("web-02")}, {"boot_volume_id": boot_id("web-02")}):
        (found,) = blocks.compute.list_boot_volume_attachments(AD_1, blocks.compartment, **query).data
        assert (found.id, found.boot_volume_id) == (instance_id("web-02"), boot_id("web-02"))
        assert found.lifecycle_state == "ATTACHED"
    assert blocks.compute.get_boot_volume_attachment(found.id).data.instance_id == instance_id("web-02")
    listed = blocks.storage.list_boot_volumes(availability_domain=AD_2, compartment_id=blocks.compartment).data
    assert [each.id for each in listed] == [boot_id("web-04")]


def test_an_instance_without_a_boot_volume_neither_starts_nor_gives_an_image(blocks):
    """Detached only while STOPPED; then START and CreateImage are 409; attached again, or another, it starts."""
    which, compute = instance_id("web-01"), blocks.compute
    assert refused(compute.detach_boot_volume, instance_id("web-02"))[:2] == (409, "IncorrectState")
    clone = blocks.clone(blocks.storage.get_boot_volume(boot_id("web-01")).data)
    compute.detach_boot_volume(which)
    blocks.wait()
    assert compute.get_boot_volume_attachment(which).data.lifecycle_state == "DETACHED"
    assert refused(compute.instance_action, which, "START")[:2] == (409, "IncorrectState")
    image = models.CreateImageDetails(compartment_id=blocks.compartment, instance_id=which)
    assert refused(compute.create_image, image)[:2] == (409, "IncorrectState")
    details = models.AttachBootVolumeDetails(instance_id=which, boot_volume_id=clone.id)
    assert compute.attach_boot_volume(details).data.lifecycle_state == "ATTACHING"
    assert refused(compute.instance_action, which, "START")[0] == 409
    blocks.wait()
    other = models.AttachBootVolumeDetails(instance_id=which, boot_volume_id=boot_id("web-01"))
    assert refused(compute.attach_boot_volume, other)[:2] == (409, "Conflict")
    assert refused(blocks.storage.delete_boot_volume, clone.id)[:2] == (409, "Conflict")
    compute.instance_action(which, "START")
    blocks.wait()
    compute.instance_action(which, "STOP")
    blocks.wait()


# ---------------------------------------------------------------- assumptions and seeds


@pytest.mark.parametrize("guess", [False, True])
def test_what_nobody_knows_of_clones_goes_both_ways(start_emulator, guess):
    """Deleting a clone before it is hydrated, and the tags that it inherits, are as assumed."""
    assume = {"delete-before-hydrated": guess, "clones-inherit-tags": guess}
    blocks = Blocks(start_emulator(transition_seconds=SECONDS, assume=assume))
    clone = blocks.clone(blocks.volume(freeform_tags={"a": "b"}), ready=False)
    assert clone.freeform_tags == ({"a": "b"} if guess else {})
    blocks.wait(1.5 * SECONDS)
    if guess:
        blocks.storage.delete_volume(clone.id)
    else:
        assert refused(blocks.storage.delete_volume, clone.id)[:2] == (409, "Conflict")


def test_a_second_seed_cannot_take_a_volume_that_is_there(blocks):
    """400 names the volume, and the instance of the second seed is not made."""
    seed = blocks.emulator.seed.instance("web-03")
    more = {**blocks.emulator.seed.value, "instances": [{**seed, "id": instance_id("web-99")}]}
    headers = {"authorization": f"Bearer {blocks.emulator.token}"}
    reply = blocks.emulator.send("PUT", "/_emulator/seed", json.dumps(more).encode(), headers)
    assert (reply.status, boot_id("web-03") in reply.json["message"]) == (400, True)
    assert refused(blocks.compute.get_instance, instance_id("web-99"))[0] == 404


def test_without_a_pace_everything_is_at_once(start_emulator):
    """With --pace 0 a volume, its clone, its backup and its attachment are ready in their replies."""
    blocks = Blocks(start_emulator(arguments=("--pace", "0"), transition_seconds=SECONDS))
    volume = blocks.volume(ready=False)
    clone, backup = blocks.clone(volume, ready=False), blocks.backup(volume, ready=False)
    assert [each.lifecycle_state for each in (volume, clone, backup)] == ["AVAILABLE"] * 3
    assert clone.is_hydrated
    details = models.AttachIScsiVolumeDetails(instance_id=instance_id("web-01"), volume_id=clone.id)
    attachment = blocks.compute.attach_volume(details).data
    assert (attachment.lifecycle_state, bool(attachment.iqn)) == ("ATTACHED", True)
    blocks.compute.detach_volume(attachment.id)
    blocks.storage.delete_volume(clone.id)
    assert blocks.again(clone).lifecycle_state == "TERMINATED"


# ---------------------------------------------------------------- kills


def busy_seed(seed):
    """A change of the seed: a data volume with bytes, as QCOW2."""
    raw = seed["instances"][0]["bootVolume"]["file"]
    data = f"{raw}.qcow2"
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", raw, data], check=True)
    seed["instances"][0]["volumeAttachments"] = [
        {
            "volumeId": "ocid1.volume.oc1.iad.aaaadata",
            "displayName": "data",
            "sizeInGBs": 60,
            "file": data,
            "format": "qcow2",
            "attachmentType": "iscsi",
        }
    ]


@pytest.fixture
def busy(start_emulator) -> Blocks:
    """A cloud of one test's own."""
    return Blocks(start_emulator(transition_seconds=SECONDS, change=busy_seed))


def kill_and_start(blocks):
    blocks.emulator.kill()
    blocks.emulator.start()
    blocks.connect()


def test_a_seeded_data_volume_has_its_files_bytes(busy):
    """The bytes of the QCOW2 are read through the volume, written over, and its file is left as it was."""
    seeded = busy.emulator.seed.instance("web-01")
    raw = seeded["bootVolume"]["file"]
    file = Path(seeded["volumeAttachments"][0]["file"])
    before, head = file.read_bytes(), Path(raw).read_bytes()[:MIB]
    volume = busy.storage.get_volume("ocid1.volume.oc1.iad.aaaadata").data
    assert busy.read(volume, 0, MIB) == head
    busy.write(volume, 10, b"over")
    assert busy.read(volume, 0, MIB) == head[:10] + b"over" + head[14:]
    assert file.read_bytes() == before


def test_clones_and_backups_survive_a_kill(busy):
    """After kill -9 each keeps its own instant, states go on on the virtual clock, and new writes stay apart."""
    volume = busy.storage.get_volume("ocid1.volume.oc1.iad.aaaadata").data
    busy.write(volume, MIB, b"one")
    backup = busy.backup(volume)
    busy.write(volume, MIB, b"two")
    clone = busy.clone(volume, ready=False)
    busy.write(volume, MIB, b"end")
    kill_and_start(busy)
    assert busy.again(clone).lifecycle_state == "PROVISIONING"
    busy.wait()
    assert busy.again(clone).is_hydrated
    busy.write(clone, MIB + 3, b"!")
    restored = busy.restore(backup)
    kill_and_start(busy)
    assert [busy.read(each, MIB, 3) for each in (restored, clone, volume)] == [b"one", b"two", b"end"]
    assert [busy.read(each, MIB + 3, 1) == b"!" for each in (restored, clone, volume)] == [False, True, False]
    attachments = busy.compute.list_volume_attachments(busy.compartment, volume_id=volume.id).data
    assert [(each.lifecycle_state, each.attachment_type) for each in attachments] == [("ATTACHED", "iscsi")]


def test_a_killed_writer_loses_nothing_that_was_answered(busy):
    """Writes, clones and deletions are under way at kill -9: every answered write is there, no file is left."""
    volume = busy.volume()
    group = busy.group([volume])
    source = models.VolumeGroupSourceFromVolumeGroupDetails(volume_group_id=group.id)
    answered, folder = [], busy.emulator.state / "volumes"

    def write():
        for n in range(100_000):
            data = os.urandom(5000)
            try:
                busy.write(volume, n * 6000, data)
            except (OSError, ValueError, AssertionError):
                return
            answered.append(data)

    writer = threading.Thread(target=write)
    writer.start()
    kept = []
    for round_ in range(3):
        count = len(answered)
        clone = busy.group(source)
        kept.append((clone.volume_ids[0], count))
        for each in clone.volume_ids if round_ == 1 else ():
            busy.storage.delete_volume_group(clone.id)
            busy.wait()
            busy.storage.delete_volume(each)
    busy.emulator.stop(signal.SIGKILL)
    writer.join()
    busy.emulator.start()
    busy.connect()
    for n, data in enumerate(answered):
        assert busy.read(volume, n * 6000, 5000) == data
    for clone_id, count in (kept[0], kept[2]):
        clone = busy.storage.get_volume(clone_id).data
        for n in range(count):
            assert busy.read(clone, n * 6000, 5000) == answered[n]
    layers = {path.name for path in folder.iterdir()}
    assert all(name.endswith(".raw") for name in layers), layers
    assert len(layers) <= 8


def test_an_image_is_the_disk_of_its_instant(busy, tmp_path):
    """The exported disk has what the guest wrote before CreateImage and not what it wrote after, over a kill."""
    boot = busy.storage.get_boot_volume(boot_id("web-01")).data
    busy.write(boot, 70_000, b"before")
    with Path(busy.emulator.seed.instance("web-01")["bootVolume"]["file"]).open("rb") as disk:
        wanted = bytearray(disk.read())
    wanted[70_000:70_006] = b"before"
    image = busy.compute.create_image(
        models.CreateImageDetails(compartment_id=busy.compartment, instance_id=instance_id("web-01"))
    ).data
    busy.write(boot, 70_000, b"after!")
    kill_and_start(busy)
    busy.wait()
    details = models.ExportImageViaObjectStorageTupleDetails(
        export_format="QCOW2", bucket_name="exports", namespace_name=busy.emulator.namespace, object_name="disk"
    )
    request = busy.compute.export_image(image.id, details).headers["opc-work-request-id"]
    busy.wait()
    path = f"/20160918/workRequests/{request}"
    end = threading.Event()
    while json.loads(busy.emulator.call("GET", path).body)["status"] not in ("SUCCEEDED", "FAILED"):
        end.wait(0.02)
    exported = tmp_path / "disk.qcow2"
    exported.write_bytes(busy.emulator.get("exports", "disk").body)
    raw = tmp_path / "disk.raw"
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", exported, raw], check=True)
    assert raw.read_bytes() == wanted
    assert not list((busy.emulator.state / "volumes").glob("*.incoming"))
    busy.compute.delete_image(image.id)
    kill_and_start(busy)
    assert busy.read(boot, 70_000, 6) == b"after!"
