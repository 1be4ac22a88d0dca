"""LaunchInstance, TerminateInstance and UpdateInstance of the emulator, asked by Oracle's SDK."""

import base64
import hashlib
import json
import subprocess
import time

import oci
import pytest
from emulator import DISK_SIZE, PLATFORM_IMAGE, USER, compartment_id, instance_id
from oci.core import models as cm
from sdk import Sdk, gaps, refused, until

DOMAIN, OTHER = "Test:US-ASHBURN-AD-1", "Test:US-ASHBURN-AD-2"
SUBNET = "ocid1.subnet.oc1.iad.aaaasubnet"
FLEX = "VM.Standard.E4.Flex"


def custom_image(sdk, name="web-01"):
    """An image of a seeded instance, AVAILABLE."""
    details = cm.CreateImageDetails(compartment_id=sdk.compartment, instance_id=instance_id(name))
    image = sdk.compute.create_image(details).data
    return until(lambda: sdk.compute.get_image(image.id).data, lambda i: i.lifecycle_state == "AVAILABLE")


def details(sdk, image_id=PLATFORM_IMAGE, **changes):
    """LaunchInstanceDetails of a small instance."""
    values = {
        "compartment_id": sdk.compartment,
        "availability_domain": DOMAIN,
        "display_name": "helper",
        "shape": FLEX,
        "shape_config": cm.LaunchInstanceShapeConfigDetails(ocpus=2, memory_in_gbs=8),
        "source_details": cm.InstanceSourceViaImageDetails(image_id=image_id),
        "create_vnic_details": cm.CreateVnicDetails(subnet_id=SUBNET, assign_public_ip=False),
    }
    return cm.LaunchInstanceDetails(**{**values, **changes})


def launch(sdk, image_id=PLATFORM_IMAGE, **changes):
    """A launched instance, RUNNING."""
    made = sdk.compute.launch_instance(details(sdk, image_id, **changes)).data
    return until(lambda: sdk.compute.get_instance(made.id).data, lambda i: i.lifecycle_state == "RUNNING")


def state(sdk, instance):
    return sdk.compute.get_instance(instance.id).data.lifecycle_state


def terminate(sdk, instance, **how):
    sdk.compute.terminate_instance(instance.id, **how)
    until(lambda: state(sdk, instance), lambda s: s == "TERMINATED")


def boot_volume(sdk, instance):
    """The boot volume of an instance."""
    found = sdk.compute.list_boot_volume_attachments(DOMAIN, sdk.compartment, instance_id=instance.id).data
    assert [each.lifecycle_state for each in found] == ["ATTACHED"]
    return sdk.blocks.get_boot_volume(found[0].boot_volume_id).data


def exported_disk(sdk, image_id, tmp_path):
    """SHA-256 of the disk that an export of an image holds."""
    target = cm.ExportImageViaObjectStorageTupleDetails(
        namespace_name=sdk.emulator.namespace, bucket_name="exports", object_name="disk", export_format="QCOW2"
    )
    sdk.succeeded(sdk.compute.export_image(image_id, target))
    (tmp_path / "disk.qcow2").write_bytes(sdk.emulator.get("exports", "disk").body)
    convert = ["qemu-img", "convert", "-O", "raw", tmp_path / "disk.qcow2", tmp_path / "disk.raw"]
    subprocess.run(convert, check=True)
    return sha256(tmp_path / "disk.raw")


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


# ---------------------------------------------------------------- launches


def test_a_launch_names_its_work_request_whatever_images_do(make_cloud):
    """With no-work-request-id images name none; launch, update and termination do (documentation)."""
    sdk = make_cloud(assume={"no-work-request-id": True})
    reply = sdk.compute.launch_instance(details(sdk))
    rename = cm.UpdateInstanceDetails(display_name="renamed")
    replies = [reply, sdk.compute.update_instance(reply.data.id, rename), sdk.compute.terminate_instance(reply.data.id)]
    kinds = [sdk.succeeded(each).operation_type for each in replies]
    assert kinds == ["LaunchInstance", "UpdateInstance", "TerminateInstance"]


def test_a_launch_goes_from_provisioning_to_running_with_a_work_request(make_cloud):
    """PROVISIONING until its time has passed, then RUNNING; the work request LaunchInstance ends at the same moment."""
    sdk = make_cloud(transition_seconds=100)
    reply = sdk.compute.launch_instance(details(sdk))
    wanted = reply.headers["opc-work-request-id"]
    assert reply.data.lifecycle_state == state(sdk, reply.data) == "PROVISIONING"
    assert reply.headers["etag"]
    work = sdk.work.get_work_request(wanted).data
    assert (work.operation_type, work.status) == ("LaunchInstance", "ACCEPTED")
    assert [(r.entity_type, r.identifier) for r in work.resources] == [("instance", reply.data.id)]
    sdk.advance(101)
    assert state(sdk, reply.data) == "RUNNING"
    assert sdk.work.get_work_request(wanted).data.status == "SUCCEEDED"


def test_the_disk_of_a_launched_instance_is_its_images(sdk, tmp_path):
    """Image -> launch -> CreateImage -> export gives the bytes of the first image's disk."""
    instance = launch(sdk, custom_image(sdk).id)
    sdk.advance(1)
    again = cm.CreateImageDetails(compartment_id=sdk.compartment, instance_id=instance.id)
    image = sdk.compute.create_image(again).data
    until(lambda: sdk.compute.get_image(image.id).data.lifecycle_state, lambda s: s == "AVAILABLE")
    assert exported_disk(sdk, image.id, tmp_path) == sha256(sdk.emulator.seed.disk("web-01"))


def test_a_platform_image_with_a_file_boots_it(make_cloud, tmp_path):
    """A seed may give a platform image a disk; without one the boot volume is empty."""

    def with_file(seed):
        seed["images"][0]["file"] = seed["instances"][0]["bootVolume"]["file"]

    sdk = make_cloud(change=with_file)
    instance = launch(sdk)
    created = cm.CreateImageDetails(compartment_id=sdk.compartment, instance_id=instance.id)
    image = sdk.compute.create_image(created).data
    until(lambda: sdk.compute.get_image(image.id).data.lifecycle_state, lambda s: s == "AVAILABLE")
    assert exported_disk(sdk, image.id, tmp_path) == sha256(sdk.emulator.seed.disk("web-01"))


def test_all_that_a_launch_says_is_shown(sdk):
    """GetInstance shows shape, options, metadata, agent, tags, fault domain and source as they were given."""
    user_data = base64.b64encode(b"#cloud-config\n").decode()
    made = launch(
        sdk,
        fault_domain="FAULT-DOMAIN-3",
        freeform_tags={"hypersdk-run": "r1"},
        defined_tags={"ops": {"cost": "7"}},
        metadata={"user_data": user_data, "ssh_authorized_keys": "ssh-rsa AAAA"},
        extended_metadata={"nested": {"a": [1, 2]}},
        instance_options=cm.InstanceOptions(are_legacy_imds_endpoints_disabled=True),
        agent_config=cm.LaunchInstanceAgentConfigDetails(
            are_all_plugins_disabled=True, is_management_disabled=True, is_monitoring_disabled=True
        ),
        source_details=cm.InstanceSourceViaImageDetails(
            image_id=PLATFORM_IMAGE, boot_volume_size_in_gbs=60, boot_volume_vpus_per_gb=20
        ),
        is_pv_encryption_in_transit_enabled=True,
    )
    assert gaps(made) == []
    assert (made.shape, made.fault_domain, made.image_id, made.region) == (
        FLEX,
        "FAULT-DOMAIN-3",
        PLATFORM_IMAGE,
        "us-ashburn-1",
    )
    config = made.shape_config
    assert (config.ocpus, config.memory_in_gbs, config.vcpus, config.networking_bandwidth_in_gbps) == (2, 8, 4, 2)
    assert made.metadata == {"user_data": user_data, "ssh_authorized_keys": "ssh-rsa AAAA"}
    assert made.extended_metadata == {"nested": {"a": [1, 2]}}
    assert made.instance_options.are_legacy_imds_endpoints_disabled is True
    assert made.agent_config.are_all_plugins_disabled is True
    assert (made.freeform_tags, made.defined_tags) == ({"hypersdk-run": "r1"}, {"ops": {"cost": "7"}})
    assert made.launch_options.is_pv_encryption_in_transit_enabled is True
    assert (made.source_details.source_type, made.source_details.boot_volume_size_in_gbs) == ("image", 60)
    volume = boot_volume(sdk, made)
    assert (volume.size_in_gbs, volume.vpus_per_gb, volume.image_id) == (60, 20, PLATFORM_IMAGE)


def test_a_retry_token_makes_one_instance(sdk):
    """The same token and body twice: one instance, one boot volume; other parameters are a 400; gone is a 409."""
    first = sdk.compute.launch_instance(details(sdk), opc_retry_token="token").data
    second = sdk.compute.launch_instance(details(sdk), opc_retry_token="token")
    assert second.data.id == first.id
    assert second.headers["opc-work-request-id"]
    names = [each.display_name for each in sdk.compute.list_instances(sdk.compartment).data]
    assert names.count("helper") == 1
    other = details(sdk, display_name="other")
    refused(400, "InvalidParameter", sdk.compute.launch_instance, other, opc_retry_token="token")
    terminate(sdk, first)
    refused(409, "InvalidatedRetryToken", sdk.compute.launch_instance, details(sdk), opc_retry_token="token")


def test_a_lost_reply_costs_nothing(sdk):
    """The launch took effect, its reply was lost: the same token finds the instance instead of a second one."""
    sdk.emulator.fault("LaunchInstance", "lost-response")
    with pytest.raises(oci.exceptions.RequestException):
        sdk.compute.launch_instance(details(sdk), opc_retry_token="t")
    found = sdk.compute.launch_instance(details(sdk), opc_retry_token="t").data
    assert [each.id for each in sdk.compute.list_instances(sdk.compartment, display_name="helper").data] == [found.id]
    assert len(sdk.blocks.list_boot_volumes(compartment_id=sdk.compartment, availability_domain=DOMAIN).data) == 2


def test_two_instances_of_one_image_do_not_share_a_volume(sdk):
    """Each launch has a boot volume of its own; the sizes that the image shows are its lower bound."""
    image = custom_image(sdk)
    one, two = launch(sdk, image.id), launch(sdk, image.id, display_name="second")
    assert boot_volume(sdk, one).id != boot_volume(sdk, two).id
    small = cm.InstanceSourceViaImageDetails(image_id=image.id, boot_volume_size_in_gbs=49)
    refused(400, "InvalidParameter", sdk.compute.launch_instance, details(sdk, source_details=small))


def test_volumes_of_a_launch(sdk):
    """One that is there and one made for it are attached; the made one goes with the instance only if that is asked."""
    there = sdk.blocks.create_volume(
        cm.CreateVolumeDetails(compartment_id=sdk.compartment, availability_domain=DOMAIN, size_in_gbs=50)
    ).data
    until(lambda: sdk.blocks.get_volume(there.id).data.lifecycle_state, lambda s: s == "AVAILABLE")
    made = cm.LaunchCreateVolumeFromAttributes(size_in_gbs=70, display_name="made")
    instance = launch(
        sdk,
        launch_volume_attachments=[
            cm.LaunchAttachIScsiVolumeDetails(volume_id=there.id, is_read_only=True),
            cm.LaunchAttachParavirtualizedVolumeDetails(launch_create_volume_details=made),
        ],
    )
    found = sdk.compute.list_volume_attachments(sdk.compartment, instance_id=instance.id).data
    by_type = {each.attachment_type: each for each in found}
    assert by_type["iscsi"].volume_id == there.id
    assert by_type["iscsi"].is_read_only is True
    own = by_type["paravirtualized"].volume_id
    assert (sdk.blocks.get_volume(own).data.display_name, sdk.blocks.get_volume(own).data.size_in_gbs) == ("made", 70)
    terminate(sdk, instance, preserve_data_volumes_created_at_launch=False)
    assert sdk.blocks.get_volume(there.id).data.lifecycle_state == "AVAILABLE"
    assert sdk.blocks.get_volume(own).data.lifecycle_state == "TERMINATED"


def test_addresses_of_an_instance(sdk):
    """The VNIC is found by its attachment; its private address is the subnet's, a public one only if asked for."""
    private, public = (
        launch(sdk),
        launch(
            sdk, create_vnic_details=cm.CreateVnicDetails(subnet_id=SUBNET, assign_public_ip=True, hostname_label="h")
        ),
    )
    vnics = []
    for instance in (private, public):
        (attachment,) = sdk.compute.list_vnic_attachments(sdk.compartment, instance_id=instance.id).data
        assert sdk.compute.get_vnic_attachment(attachment.id).data.lifecycle_state == "ATTACHED"
        assert gaps(attachment) == []
        vnics.append(sdk.network.get_vnic(attachment.vnic_id).data)
    assert [gaps(vnic) for vnic in vnics] == [[], []]
    assert vnics[0].private_ip != vnics[1].private_ip
    assert vnics[0].public_ip is None
    assert vnics[1].public_ip
    assert (vnics[1].hostname_label, vnics[1].is_primary, vnics[1].subnet_id) == ("h", True, SUBNET)
    terminate(sdk, public)
    refused(404, "NotAuthorizedOrNotFound", sdk.network.get_vnic, vnics[1].id)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("changes", "status", "named"),
    [
        ({"shape": "VM.Nothing"}, 400, "VM.Nothing"),
        ({"availability_domain": "Elsewhere-AD-1"}, 400, "availabilityDomain"),
        ({"shape": "VM.Standard.A1.Flex"}, 400, "is not valid for image"),
        ({"shape": "VM.Standard2.1"}, 400, "shapeConfig"),
        ({"shape_config": None}, 400, "shapeConfig.ocpus"),
        ({"shape_config": cm.LaunchInstanceShapeConfigDetails(ocpus=1, memory_in_gbs=65)}, 400, "memoryInGBs"),
        ({"fault_domain": "FAULT-DOMAIN-4"}, 400, "faultDomain"),
        ({"create_vnic_details": None}, 400, "subnetId"),
        ({"create_vnic_details": cm.CreateVnicDetails(subnet_id="subnet")}, 404, "not found"),
        ({"source_details": None}, 400, "sourceDetails"),
        ({"metadata": {"user_data": "not base64!"}}, 400, "base64"),
        ({"metadata": {"k": "x" * 20_000}, "extended_metadata": {"e": "y" * 12_000}}, 400, "32000"),
        ({"launch_options": cm.LaunchOptions(firmware="COREBOOT")}, 400, "firmware"),
    ],
)
def test_what_cannot_be_launched_is_refused_by_name(sdk, changes, status, named):
    """A bad field is a 400 (an unknown subnet a 404) that names it, and nothing is made."""
    code = "InvalidParameter" if status == 400 else "NotAuthorizedOrNotFound"
    with pytest.raises(oci.exceptions.ServiceError) as caught:
        sdk.compute.launch_instance(details(sdk, **changes))
    assert caught.value.status == status
    assert caught.value.code in (code, "MissingParameter")
    assert named in caught.value.message
    assert [each.display_name for each in sdk.compute.list_instances(sdk.compartment).data] == ["web-01"]
    assert len(sdk.blocks.list_boot_volumes(compartment_id=sdk.compartment, availability_domain=DOMAIN).data) == 1


def test_exactly_the_metadata_limit_is_taken(sdk):
    """32,000 bytes of metadata as JSON are taken, one more is not."""
    frame = len(json.dumps([{"k": ""}, {}], separators=(",", ":")))
    launch(sdk, metadata={"k": "x" * (32_000 - frame)})
    over = details(sdk, metadata={"k": "x" * (32_001 - frame)})
    refused(400, "InvalidParameter", sdk.compute.launch_instance, over)


def test_an_image_must_be_there_and_available(make_cloud):
    """An unknown or deleted image is a 404, one that is still being made a 409; while it is exported it may boot."""
    sdk = make_cloud(transition_seconds=100)
    refused(404, "NotAuthorizedOrNotFound", sdk.compute.launch_instance, details(sdk, "ocid1.image.oc1.iad.aaaanone"))
    made = sdk.compute.create_image(
        cm.CreateImageDetails(compartment_id=sdk.compartment, instance_id=instance_id("web-01"))
    ).data
    refused(409, "IncorrectState", sdk.compute.launch_instance, details(sdk, made.id))
    sdk.advance(101)
    target = cm.ExportImageViaObjectStorageTupleDetails(
        namespace_name=sdk.emulator.namespace, bucket_name="exports", object_name="disk", export_format="QCOW2"
    )
    assert sdk.compute.export_image(made.id, target).data.lifecycle_state == "EXPORTING"
    assert sdk.compute.launch_instance(details(sdk, made.id)).data.lifecycle_state == "PROVISIONING"
    sdk.advance(101)
    until(lambda: sdk.compute.get_image(made.id).data.lifecycle_state, lambda s: s == "AVAILABLE")
    sdk.compute.delete_image(made.id)
    refused(404, "NotAuthorizedOrNotFound", sdk.compute.launch_instance, details(sdk, made.id))


def test_cores_run_out_as_the_seed_says(make_cloud):
    """A core limit counts the instances of its shapes in one domain; one too many is LimitExceeded."""

    def limited(seed):
        seed["limits"] = {"standard-e4-core-count": 4}

    sdk = make_cloud(change=limited)
    launch(sdk)
    refused(400, "LimitExceeded", sdk.compute.launch_instance, details(sdk))
    one = cm.LaunchInstanceShapeConfigDetails(ocpus=1)
    last = launch(sdk, shape_config=one)
    refused(400, "LimitExceeded", sdk.compute.launch_instance, details(sdk, shape_config=one))
    terminate(sdk, last)
    launch(sdk, shape_config=one)


def test_no_host_has_room(sdk):
    """A declared 500 "Out of host capacity" makes nothing; one that comes later: TERMINATED, work request FAILED."""
    sdk.emulator.fault("LaunchInstance", "error", status=500, code="InternalError", message="Out of host capacity.")
    refused(500, "InternalError", sdk.compute.launch_instance, details(sdk))
    sdk.emulator.fault("LaunchInstance", "work-request-fails")
    reply = sdk.compute.launch_instance(details(sdk))
    wanted = reply.headers["opc-work-request-id"]
    until(lambda: sdk.work.get_work_request(wanted).data.status, lambda s: s == "FAILED")
    assert [each.message for each in sdk.work.list_work_request_errors(wanted).data] == ["Out of host capacity."]
    assert state(sdk, reply.data) == "TERMINATED"
    (attachment,) = sdk.compute.list_vnic_attachments(sdk.compartment, instance_id=reply.data.id).data
    assert attachment.lifecycle_state == "DETACHED"
    refused(404, "NotAuthorizedOrNotFound", sdk.network.get_vnic, attachment.vnic_id)
    volumes = sdk.blocks.list_boot_volumes(compartment_id=sdk.compartment, availability_domain=DOMAIN).data
    assert {each.lifecycle_state for each in volumes if each.display_name.startswith("helper")} <= {"TERMINATED"}


def test_a_denied_compartment_looks_absent(make_cloud):
    """Without rights in the compartment a launch is a 404."""
    sdk = make_cloud(user={"deniedCompartments": [compartment_id("main")]})
    refused(404, "NotAuthorizedOrNotFound", sdk.compute.launch_instance, details(sdk))
    assert USER in sdk.emulator.seed.key_id


# ---------------------------------------------------------------- from a boot volume, and back


def test_a_preserved_boot_volume_boots_again(sdk, tmp_path):
    """Terminate with preserveBootVolume, launch from that volume: same volume, same image and options, same bytes."""
    image = custom_image(sdk)
    first = launch(sdk, image.id)
    volume = boot_volume(sdk, first)
    terminate(sdk, first, preserve_boot_volume=True)
    assert sdk.blocks.get_boot_volume(volume.id).data.lifecycle_state == "AVAILABLE"
    source = cm.InstanceSourceViaBootVolumeDetails(boot_volume_id=volume.id)
    second = launch(sdk, source_details=source)
    assert (second.image_id, second.source_details.source_type) == (image.id, "bootVolume")
    assert boot_volume(sdk, second).id == volume.id
    again = sdk.compute.create_image(cm.CreateImageDetails(compartment_id=sdk.compartment, instance_id=second.id)).data
    until(lambda: sdk.compute.get_image(again.id).data.lifecycle_state, lambda s: s == "AVAILABLE")
    assert exported_disk(sdk, again.id, tmp_path) == sha256(sdk.emulator.seed.disk("web-01"))


def test_a_boot_volume_that_is_taken_or_elsewhere(make_cloud):
    """One that is attached is a 409, one in another domain a 400, one that nobody knows a 404."""

    def elsewhere(seed):
        seed["instances"][1]["availabilityDomain"] = OTHER

    sdk = make_cloud(change=elsewhere, instances=("web-01", "web-02"))

    def of(volume_id, **changes):
        return details(sdk, source_details=cm.InstanceSourceViaBootVolumeDetails(boot_volume_id=volume_id), **changes)

    taken = sdk.emulator.seed.instance("web-01")["bootVolume"]["id"]
    refused(409, "Conflict", sdk.compute.launch_instance, of(taken))
    sdk.compute.terminate_instance(instance_id("web-02"), preserve_boot_volume=True)
    far = sdk.emulator.seed.instance("web-02")["bootVolume"]["id"]
    refused(400, "InvalidParameter", sdk.compute.launch_instance, of(far))
    assert sdk.compute.launch_instance(of(far, availability_domain=OTHER)).data.id
    unknown = "ocid1.bootvolume.oc1.iad.aaaanone"
    refused(404, "NotAuthorizedOrNotFound", sdk.compute.launch_instance, of(unknown))


def test_termination_takes_the_boot_volume_and_is_seen_for_a_day(make_cloud):
    """TERMINATING, TERMINATED, listed as such for 24 hours, then 404; the boot volume goes, data volumes stay."""

    def with_data(seed):
        volume = {"volumeId": "ocid1.volume.oc1.iad.aaaadata", "displayName": "data", "sizeInGBs": 70}
        seed["instances"][0]["volumeAttachments"] = [volume]

    sdk = make_cloud(change=with_data, transition_seconds=100)
    boot = sdk.emulator.seed.instance("web-01")["bootVolume"]["id"]
    reply = sdk.compute.terminate_instance(instance_id("web-01"))
    assert sdk.work.get_work_request(reply.headers["opc-work-request-id"]).data.operation_type == "TerminateInstance"
    assert sdk.compute.get_instance(instance_id("web-01")).data.lifecycle_state == "TERMINATING"
    refused(409, "Conflict", sdk.compute.terminate_instance, instance_id("web-01"))
    sdk.advance(101)
    refused(404, "NotAuthorizedOrNotFound", sdk.compute.terminate_instance, instance_id("web-01"))
    assert [i.lifecycle_state for i in sdk.compute.list_instances(sdk.compartment).data] == ["TERMINATED"]
    assert sdk.blocks.get_boot_volume(boot).data.lifecycle_state == "TERMINATED"
    assert sdk.blocks.get_volume("ocid1.volume.oc1.iad.aaaadata").data.lifecycle_state == "AVAILABLE"
    states = {a.lifecycle_state for a in sdk.compute.list_volume_attachments(sdk.compartment).data}
    assert states <= {"DETACHED"}
    sdk.advance(24 * 3600)
    assert sdk.compute.list_instances(sdk.compartment).data == []
    refused(404, "NotAuthorizedOrNotFound", sdk.compute.get_instance, instance_id("web-01"))


def test_how_long_a_terminated_instance_is_seen_is_an_assumption(make_cloud):
    """With terminated-hours=1 it is gone after an hour."""
    sdk = make_cloud(assume={"terminated-hours": 1})
    sdk.compute.terminate_instance(instance_id("web-01"))
    sdk.advance(3500)
    assert sdk.compute.get_instance(instance_id("web-01")).data.lifecycle_state == "TERMINATED"
    sdk.advance(200)
    refused(404, "NotAuthorizedOrNotFound", sdk.compute.get_instance, instance_id("web-01"))


def test_terminate_checks_the_etag(sdk):
    """An old etag is a 412 and leaves the instance."""
    refused(412, "NoEtagMatch", sdk.compute.terminate_instance, instance_id("web-01"), if_match="old")
    etag = sdk.compute.get_instance(instance_id("web-01")).headers["etag"]
    sdk.compute.terminate_instance(instance_id("web-01"), if_match=etag)


def test_a_launch_outlives_a_kill(start_emulator):
    """Killed while PROVISIONING: after the restart the instance, its volume and its work request go on."""
    sdk = Sdk(start_emulator(transition_seconds=100))
    reply = sdk.compute.launch_instance(details(sdk), opc_retry_token="t")
    sdk.emulator.kill()
    sdk.emulator.start()
    sdk = Sdk(sdk.emulator)
    assert sdk.compute.launch_instance(details(sdk), opc_retry_token="t").data.id == reply.data.id
    assert state(sdk, reply.data) == "PROVISIONING"
    sdk.advance(101)
    assert state(sdk, reply.data) == "RUNNING"
    assert boot_volume(sdk, reply.data).lifecycle_state == "AVAILABLE"


# ---------------------------------------------------------------- changes


def test_a_stopped_instance_takes_another_shape(sdk):
    """Same family only; what the call leaves out stays within a shape; the image's entries are asked."""

    def update(**fields):
        return sdk.compute.update_instance(instance_id("web-01"), cm.UpdateInstanceDetails(**fields)).data

    got = update(shape_config=cm.UpdateInstanceShapeConfigDetails(ocpus=4))
    assert (got.shape_config.ocpus, got.shape_config.memory_in_gbs, got.lifecycle_state) == (4, 16, "STOPPED")
    config = cm.UpdateInstanceShapeConfigDetails(ocpus=3)
    got = update(shape="VM.Optimized3.Flex", shape_config=config)
    assert (got.shape, got.shape_config.memory_in_gbs, got.shape_config.networking_bandwidth_in_gbps) == (
        "VM.Optimized3.Flex",
        42,
        12,
    )
    assert update(shape="VM.Standard2.2").shape_config.ocpus == 2
    details_of = cm.UpdateInstanceDetails(shape="VM.Standard.A1.Flex", shape_config=config)
    refused(400, "InvalidParameter", sdk.compute.update_instance, instance_id("web-01"), details_of)


def test_a_running_instance_reboots_for_its_shape(make_cloud):
    """A new shape takes a RUNNING instance through STOPPING and STARTING, unless the caller avoids downtime."""
    sdk = make_cloud(instances={"web-01": "RUNNING"}, transition_seconds=100)
    shape = {"shape_config": cm.UpdateInstanceShapeConfigDetails(ocpus=2)}
    careful = cm.UpdateInstanceDetails(update_operation_constraint="AVOID_DOWNTIME", **shape)
    refused(409, "IncorrectState", sdk.compute.update_instance, instance_id("web-01"), careful)
    got = sdk.compute.update_instance(instance_id("web-01"), cm.UpdateInstanceDetails(**shape))
    assert (got.data.lifecycle_state, got.data.shape_config.ocpus) == ("STOPPING", 2)
    message = refused(
        409, "Conflict", sdk.compute.update_instance, instance_id("web-01"), cm.UpdateInstanceDetails(**shape)
    )
    assert message == f"instance {instance_id('web-01')} is currently being modified, try again later"
    sdk.advance(201)
    assert sdk.compute.get_instance(instance_id("web-01")).data.lifecycle_state == "RUNNING"


def test_launch_time_metadata_stays(sdk):
    """An update replaces the metadata but neither user_data nor ssh_authorized_keys; names and tags are free."""
    instance = launch(sdk, metadata={"user_data": "QUJD", "ssh_authorized_keys": "k", "own": "1"})

    def update(**fields):
        return sdk.compute.update_instance(instance.id, cm.UpdateInstanceDetails(**fields)).data

    kept = {"user_data": "QUJD", "ssh_authorized_keys": "k"}
    for wrong in ({}, {**kept, "user_data": "REVG"}, {"user_data": "QUJD"}):
        refused(400, "InvalidParameter", update, metadata=wrong)
    assert update(metadata={**kept, "own": "2"}).metadata == {**kept, "own": "2"}
    got = update(display_name="renamed", defined_tags={"a": {"b": "c"}}, freeform_tags={"f": "g"})
    assert (got.display_name, got.defined_tags, got.freeform_tags) == ("renamed", {"a": {"b": "c"}}, {"f": "g"})
    assert got.metadata["own"] == "2"


def test_an_instance_moves_to_another_compartment(make_cloud):
    """ChangeInstanceCompartment: listed in the new one only; its boot volume stays where it was."""
    sdk = make_cloud(compartments=("main", "other"))
    there = cm.ChangeInstanceCompartmentDetails(compartment_id=compartment_id("other"))
    reply = sdk.compute.change_instance_compartment(instance_id("web-01"), there)
    assert (reply.status, bool(reply.headers["opc-work-request-id"])) == (202, True)
    assert sdk.compute.list_instances(sdk.compartment).data == []
    assert [i.id for i in sdk.compute.list_instances(compartment_id("other")).data] == [instance_id("web-01")]
    volume = sdk.blocks.get_boot_volume(sdk.emulator.seed.instance("web-01")["bootVolume"]["id"]).data
    assert volume.compartment_id == sdk.compartment


def test_seeded_instances_have_an_address_and_a_shape(sdk):
    """What a seed makes looks as launched: shape figures, a source, a VNIC with a private address."""
    instance = sdk.compute.get_instance(instance_id("web-01")).data
    assert gaps(instance) == []
    assert (instance.shape_config.ocpus, instance.source_details.boot_volume_size_in_gbs) == (1, 50)
    (attachment,) = sdk.compute.list_vnic_attachments(sdk.compartment, instance_id=instance.id).data
    assert sdk.network.get_vnic(attachment.vnic_id).data.private_ip.startswith("10.0.")
    assert sdk.emulator.seed.disk("web-01").stat().st_size == DISK_SIZE
    assert instance.time_created.timestamp() <= time.time()
