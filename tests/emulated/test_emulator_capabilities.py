"""Shapes, shape compatibility and image capability schemas of the emulator, asked by Oracle's SDK."""

import io
import json
import tarfile

import pytest
from emulator import PLATFORM_IMAGE, compartment_id, instance_id
from oci.core import models as cm
from sdk import gaps, refused, until

DOMAIN = "Test:US-ASHBURN-AD-1"
FIRMWARE = "Compute.Firmware"
FLEX, ARM, FIXED = "VM.Standard.E4.Flex", "VM.Standard.A1.Flex", "VM.Standard2.1"


def version(sdk):
    (schema,) = sdk.compute.list_compute_global_image_capability_schemas().data
    return schema.current_version_name


def available(sdk, image_id):
    return until(lambda: sdk.compute.get_image(image_id).data, lambda i: i.lifecycle_state == "AVAILABLE")


def custom_image(sdk, **changes):
    values = {"compartment_id": sdk.compartment, "instance_id": instance_id("web-01"), **changes}
    return available(sdk, sdk.compute.create_image(cm.CreateImageDetails(**values)).data.id)


def export(sdk, image_id, form, name="disk"):
    """The bytes of an exported image."""
    target = cm.ExportImageViaObjectStorageTupleDetails(
        namespace_name=sdk.emulator.namespace, bucket_name="exports", object_name=name, export_format=form
    )
    sdk.succeeded(sdk.compute.export_image(image_id, target))
    available(sdk, image_id)
    return sdk.emulator.get("exports", name).body


def import_reply(sdk, name="disk", kind=None, **changes):
    source = cm.ImageSourceViaObjectStorageTupleDetails(
        namespace_name=sdk.emulator.namespace, bucket_name="exports", object_name=name, source_image_type=kind
    )
    values = {"compartment_id": sdk.compartment, "image_source_details": source, **changes}
    return sdk.compute.create_image(cm.CreateImageDetails(**values))


def imported(sdk, name="disk", kind=None, **changes):
    return available(sdk, import_reply(sdk, name, kind, **changes).data.id)


def firmware(values, default):
    """`schemaData` about the firmware alone."""
    return {
        FIRMWARE: cm.EnumStringImageCapabilitySchemaDescriptor(source="IMAGE", values=values, default_value=default)
    }


def schema_details(sdk, image, data, **changes):
    values = {
        "compartment_id": sdk.compartment,
        "image_id": image.id,
        "compute_global_image_capability_schema_version_name": version(sdk),
        "schema_data": data,
    }
    return cm.CreateComputeImageCapabilitySchemaDetails(**{**values, **changes})


def give_schema(sdk, image, data, **changes):
    made = sdk.compute.create_compute_image_capability_schema(schema_details(sdk, image, data, **changes)).data
    return until(
        lambda: sdk.compute.get_compute_image_capability_schema(made.id).data, lambda s: s.lifecycle_state == "ACTIVE"
    )


def launch_details(sdk, image, shape=FIXED, **changes):
    values = {
        "compartment_id": sdk.compartment,
        "availability_domain": DOMAIN,
        "shape": shape,
        "source_details": cm.InstanceSourceViaImageDetails(image_id=image.id),
        "subnet_id": "ocid1.subnet.oc1.iad.aaaasubnet",
    }
    return cm.LaunchInstanceDetails(**{**values, **changes})


def members(data):
    """Metadata of an `.oci` file, and the names in it."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        metadata = json.loads(tar.extractfile("image_metadata.json").read())
        return metadata, tar.getnames()


def packed(data, change):
    """The same `.oci` file with changed metadata, gzipped and in the other order, as build scripts make it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(data)) as old, tarfile.open(fileobj=out, mode="w:gz") as new:
        disk = old.extractfile("output.QCOW2").read()
        metadata = json.loads(old.extractfile("image_metadata.json").read())
        change(metadata)
        for name, content in (("oracle.qcow2", disk), ("image_metadata.json", json.dumps(metadata).encode())):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            new.addfile(member, io.BytesIO(content))
    return out.getvalue()


# ---------------------------------------------------------------- shapes


def test_shapes_show_what_a_client_chooses_by(sdk):
    """ListShapes pages; flexible shapes show their ranges, all their processor and bandwidth."""
    first = sdk.compute.list_shapes(sdk.compartment, limit=3)
    assert len(first.data) == 3
    assert first.headers["opc-next-page"]
    shapes = {each.shape: each for each in sdk.compute.list_shapes(sdk.compartment, availability_domain=DOMAIN).data}
    assert [gaps(each) for each in shapes.values()] == [[]] * len(shapes)
    flex = shapes["VM.Optimized3.Flex"]
    assert (flex.is_flexible, flex.ocpu_options.max, flex.memory_options.default_per_ocpu_in_g_bs) == (True, 18, 14)
    assert flex.networking_bandwidth_options.default_per_ocpu_in_gbps == 4
    assert "Ampere" in shapes[ARM].processor_description
    assert (shapes[FIXED].ocpus, shapes[FIXED].memory_in_gbs, shapes[FIXED].ocpu_options) == (1, 15, None)
    assert [s.shape for s in sdk.compute.list_shapes(sdk.compartment, shape=FLEX).data] == [FLEX]
    refused(400, "InvalidParameter", sdk.compute.list_shapes, sdk.compartment, availability_domain="Nowhere")


def test_shapes_of_an_image_are_its_entries(sdk):
    """A platform image boots on x86 shapes, one named aarch64 on Arm; ListShapes and ListImages filter by that."""
    names = {each.shape for each in sdk.compute.list_shapes(sdk.compartment, image_id=PLATFORM_IMAGE).data}
    assert FLEX in names
    assert ARM not in names
    arm = {**sdk.emulator.seed.value["images"][0], "id": "ocid1.image.oc1.iad.aaaaarm", "displayName": "Linux-aarch64"}
    sdk.emulator.control("PUT", "seed", {"images": [arm]})
    found = [i.id for i in sdk.compute.list_images(sdk.compartment, shape=ARM).data]
    assert found == ["ocid1.image.oc1.iad.aaaaarm"]
    refused(403, "NotAllowed", sdk.compute.remove_image_shape_compatibility_entry, PLATFORM_IMAGE, FLEX)


def test_entries_can_be_added_constrained_and_removed(sdk):
    """An added Arm shape can be launched within its constraints; a removed one cannot be launched any more."""
    image = custom_image(sdk)
    config = cm.LaunchInstanceShapeConfigDetails(ocpus=3, memory_in_gbs=6)
    wanted = launch_details(sdk, image, ARM, shape_config=config)
    assert "is not valid for image" in refused(400, "InvalidParameter", sdk.compute.launch_instance, wanted)
    constraints = cm.AddImageShapeCompatibilityEntryDetails(
        ocpu_constraints=cm.ImageOcpuConstraints(min=1, max=2),
        memory_constraints=cm.ImageMemoryConstraints(min_in_gbs=1, max_in_gbs=8),
    )
    added = sdk.compute.add_image_shape_compatibility_entry(
        image.id, ARM, add_image_shape_compatibility_entry_details=constraints
    ).data
    assert gaps(added) == []
    got = sdk.compute.get_image_shape_compatibility_entry(image.id, ARM).data
    assert (got.ocpu_constraints.max, got.memory_constraints.max_in_gbs) == (2, 8)
    refused(400, "InvalidParameter", sdk.compute.launch_instance, wanted)
    sdk.compute.add_image_shape_compatibility_entry(image.id, ARM)
    assert sdk.compute.launch_instance(wanted).data.shape == ARM
    sdk.compute.remove_image_shape_compatibility_entry(image.id, ARM)
    refused(404, "NotAuthorizedOrNotFound", sdk.compute.get_image_shape_compatibility_entry, image.id, ARM)
    refused(404, "NotAuthorizedOrNotFound", sdk.compute.remove_image_shape_compatibility_entry, image.id, ARM)
    refused(400, "InvalidParameter", sdk.compute.launch_instance, wanted)
    refused(400, "InvalidParameter", sdk.compute.add_image_shape_compatibility_entry, image.id, "VM.Nothing")
    pages = sdk.compute.list_image_shape_compatibility_entries(image.id, limit=2)
    assert (len(pages.data), bool(pages.headers["opc-next-page"])) == (2, True)


# ---------------------------------------------------------------- schemas


def test_the_global_schema_and_its_versions(sdk):
    """One global schema, its versions with every capability; unknown ids are a 404."""
    (listed,) = sdk.compute.list_compute_global_image_capability_schemas().data
    schema = sdk.compute.get_compute_global_image_capability_schema(listed.id).data
    versions = sdk.compute.list_compute_global_image_capability_schema_versions(schema.id).data
    assert schema.current_version_name in {each.name for each in versions}
    got = sdk.compute.get_compute_global_image_capability_schema_version(schema.id, schema.current_version_name).data
    assert [gaps(each) for each in (listed, schema, *versions, got)] == [[]] * (3 + len(versions))
    assert got.schema_data[FIRMWARE].values == ["BIOS", "UEFI_64"]
    assert (got.schema_data[FIRMWARE].default_value, got.schema_data["Compute.SecureBoot"].default_value) == (
        "UEFI_64",
        False,
    )
    get = sdk.compute.get_compute_global_image_capability_schema_version
    refused(404, "NotAuthorizedOrNotFound", get, schema.id, "none")
    refused(404, "NotAuthorizedOrNotFound", sdk.compute.get_compute_global_image_capability_schema, "ocid1.x.oc1..a")


def test_a_schema_decides_the_firmware_of_image_launch_and_export(sdk):
    """An imported QCOW2 is BIOS; with a schema image, launch and `.oci` export are UEFI_64; without it BIOS again."""
    export(sdk, custom_image(sdk).id, "QCOW2")
    image = imported(sdk, kind="QCOW2")
    assert image.launch_options.firmware == "BIOS"
    assert sdk.compute.launch_instance(launch_details(sdk, image)).data.launch_options.firmware == "BIOS"
    schema = give_schema(sdk, image, firmware(["UEFI_64"], "UEFI_64"))
    assert available(sdk, image.id).launch_options.firmware == "UEFI_64"
    assert sdk.compute.launch_instance(launch_details(sdk, image)).data.launch_options.firmware == "UEFI_64"
    bios = launch_details(sdk, image, launch_options=cm.LaunchOptions(firmware="BIOS"))
    assert FIRMWARE in refused(400, "InvalidParameter", sdk.compute.launch_instance, bios)
    metadata, _ = members(export(sdk, image.id, "OCI", "disk.oci"))
    assert metadata["externalLaunchOptions"]["firmware"] == "UEFI_64"
    capabilities = json.loads(metadata["imageCapabilityData"])["capabilities"]
    assert capabilities[FIRMWARE] == {"descriptorType": "enumstring", "values": ["UEFI_64"], "defaultValue": "UEFI_64"}
    assert metadata["imageCapsFormatVersion"] == version(sdk)
    sdk.compute.delete_compute_image_capability_schema(schema.id)
    assert available(sdk, image.id).launch_options.firmware == "BIOS"
    assert sdk.compute.launch_instance(bios).data.launch_options.firmware == "BIOS"


def test_an_oci_file_carries_options_schema_and_shapes(sdk):
    """Export as OCI, import: the same firmware, schema and entries; the system's name becomes Custom."""
    image = custom_image(sdk)
    give_schema(sdk, image, firmware(["BIOS", "UEFI_64"], "BIOS"))
    sdk.compute.add_image_shape_compatibility_entry(image.id, ARM)
    export(sdk, image.id, "OCI")
    copy = imported(sdk)
    assert (copy.launch_options.firmware, copy.operating_system) == ("BIOS", "Custom")
    schema = sdk.compute.get_compute_image_capability_schema(copy.id).data
    assert schema.schema_data[FIRMWARE].values == ["BIOS", "UEFI_64"]
    shapes = {each.shape for each in sdk.compute.list_image_shape_compatibility_entries(copy.id).data}
    assert shapes == {each.shape for each in sdk.compute.list_image_shape_compatibility_entries(image.id).data}
    assert ARM in shapes


def test_an_oci_file_of_a_build_script(sdk):
    """Gzipped, other names and order, no capabilities, one Arm shape with constraints: as public scripts make them."""

    def as_talos(metadata):
        metadata["imageCapabilityData"] = metadata["imageCapsFormatVersion"] = None
        entry = {"internalShapeName": ARM, "ocpuConstraints": {"min": 1, "max": 80}, "memoryConstraints": None}
        metadata["additionalMetadata"] = {"shapeCompatibilities": [entry]}

    data = packed(export(sdk, custom_image(sdk).id, "OCI"), as_talos)
    sdk.emulator.put("exports", "talos.oci", data)
    image = imported(sdk, "talos.oci", display_name="talos")
    assert (image.launch_mode, image.launch_options.firmware) == ("NATIVE", "UEFI_64")
    (entry,) = sdk.compute.list_image_shape_compatibility_entries(image.id).data
    assert (entry.shape, entry.ocpu_constraints.max) == (ARM, 80)
    refused(404, "NotAuthorizedOrNotFound", sdk.compute.get_compute_image_capability_schema, image.id)


@pytest.mark.parametrize(
    "wrong",
    [
        {"externalLaunchOptions": {"firmware": "COREBOOT"}},
        {"imageCapabilityData": "{"},
        {"imageCapabilityData": {"capabilities": {FIRMWARE: {"descriptorType": "boolean"}}}},
        {"additionalMetadata": {"shapeCompatibilities": [7]}},
    ],
)
def test_an_oci_file_with_wrong_metadata_is_no_image(sdk, wrong):
    """Metadata that OCI does not know: the work request FAILS and the image ends DELETED."""
    data = packed(export(sdk, custom_image(sdk).id, "OCI"), lambda metadata: metadata.update(wrong))
    sdk.emulator.put("exports", "wrong.oci", data)
    reply = import_reply(sdk, "wrong.oci")
    wanted = reply.headers["opc-work-request-id"]
    until(lambda: sdk.work.get_work_request(wanted).data.status, lambda status: status == "FAILED")
    assert sdk.compute.get_image(reply.data.id).data.lifecycle_state == "DELETED"


def test_launch_modes_of_an_import(sdk):
    """NATIVE means VFIO and iSCSI, EMULATED E1000, PARAVIRTUALIZED virtio; firmware is BIOS in each."""
    export(sdk, custom_image(sdk).id, "QCOW2")
    for mode, network in (("NATIVE", "VFIO"), ("EMULATED", "E1000"), ("PARAVIRTUALIZED", "PARAVIRTUALIZED")):
        options = imported(sdk, kind="QCOW2", launch_mode=mode).launch_options
        assert (options.network_type, options.firmware) == (network, "BIOS")


def test_the_life_of_a_schema(make_cloud):
    """CREATING, ACTIVE; one per image; repeatable by token; found by image, merged, listed, updated, moved, deleted."""
    sdk = make_cloud(compartments=("main", "other"), transition_seconds=100)
    made = sdk.compute.create_image(
        cm.CreateImageDetails(compartment_id=sdk.compartment, instance_id=instance_id("web-01"))
    ).data
    sdk.advance(101)
    details = schema_details(sdk, made, firmware(["BIOS", "UEFI_64"], "BIOS"), display_name="mine")
    create = sdk.compute.create_compute_image_capability_schema
    reply = create(details, opc_retry_token="t")
    assert (reply.data.lifecycle_state, gaps(reply.data)) == ("CREATING", [])
    sdk.advance(101)
    assert create(details, opc_retry_token="t").data.id == reply.data.id
    refused(409, "Conflict", create, details)
    found = sdk.compute.get_compute_image_capability_schema(made.id, is_merge_enabled=True)
    assert (found.data.id, found.data.lifecycle_state) == (reply.data.id, "ACTIVE")
    assert {"Compute.SecureBoot", FIRMWARE} <= set(found.data.schema_data)
    assert found.data.schema_data[FIRMWARE].default_value == "BIOS"
    (listed,) = sdk.compute.list_compute_image_capability_schemas(image_id=made.id).data
    assert (listed.id, gaps(listed)) == (reply.data.id, [])
    update = sdk.compute.update_compute_image_capability_schema
    change = cm.UpdateComputeImageCapabilitySchemaDetails(schema_data=firmware(["UEFI_64"], "UEFI_64"))
    refused(412, "NoEtagMatch", update, reply.data.id, change, if_match="old")
    changed = update(reply.data.id, change, if_match=found.headers["etag"]).data
    assert (changed.display_name, changed.schema_data[FIRMWARE].default_value) == ("mine", "UEFI_64")
    there = cm.ChangeComputeImageCapabilitySchemaCompartmentDetails(compartment_id=compartment_id("other"))
    sdk.compute.change_compute_image_capability_schema_compartment(reply.data.id, there)
    in_other = sdk.compute.list_compute_image_capability_schemas(compartment_id=compartment_id("other")).data
    assert [each.id for each in in_other] == [reply.data.id]
    sdk.compute.delete_compute_image_capability_schema(reply.data.id)
    assert sdk.compute.list_compute_image_capability_schemas(image_id=made.id).data == []
    refused(409, "InvalidatedRetryToken", create, details, opc_retry_token="t")


def test_a_schema_says_only_what_the_global_one_knows(sdk):
    """Unknown capabilities, values, versions and a default outside of the values are 400; platform images 403."""
    image = custom_image(sdk)
    boolean = cm.BooleanImageCapabilitySchemaDescriptor(source="IMAGE", default_value=True)
    create = sdk.compute.create_compute_image_capability_schema
    for data, named in (
        ({"Compute.Magic": boolean}, "Compute.Magic"),
        ({FIRMWARE: boolean}, "descriptorType"),
        (firmware(["OPEN"], "OPEN"), "values"),
        (firmware(["BIOS"], "UEFI_64"), "defaultValue"),
    ):
        assert named in refused(400, "InvalidParameter", create, schema_details(sdk, image, data))
    good = firmware(["BIOS"], "BIOS")
    wrong = {"compute_global_image_capability_schema_version_name": "1"}
    refused(400, "InvalidParameter", create, schema_details(sdk, image, good, **wrong))
    refused(403, "NotAllowed", create, schema_details(sdk, image, good, image_id=PLATFORM_IMAGE))
    sdk.compute.delete_image(image.id)
    refused(404, "NotAuthorizedOrNotFound", create, schema_details(sdk, image, good))


# ---------------------------------------------------------------- images themselves


def test_an_image_is_renamed_tagged_and_moved(make_cloud):
    """UpdateImage takes name, tags and the system's name; ChangeImageCompartment moves it; old etags are a 412."""
    sdk = make_cloud(compartments=("main", "other"))
    image = custom_image(sdk, defined_tags={"ops": {"cost": "7"}})
    assert (image.defined_tags, gaps(image)) == ({"ops": {"cost": "7"}}, [])
    change = cm.UpdateImageDetails(
        display_name="renamed", operating_system="Debian", operating_system_version="12", defined_tags={"a": {"b": "c"}}
    )
    got = sdk.compute.update_image(image.id, change).data
    assert (got.display_name, got.operating_system, got.operating_system_version) == ("renamed", "Debian", "12")
    assert got.defined_tags == {"a": {"b": "c"}}
    taken = cm.UpdateImageDetails(display_name="Platform-Linux")
    refused(400, "InvalidParameter", sdk.compute.update_image, image.id, taken)
    there = cm.ChangeImageCompartmentDetails(compartment_id=compartment_id("other"))
    move = sdk.compute.change_image_compartment
    refused(412, "NoEtagMatch", move, image.id, there, if_match="old")
    move(image.id, there)
    assert image.id in {each.id for each in sdk.compute.list_images(compartment_id("other")).data}
    assert image.id not in {each.id for each in sdk.compute.list_images(sdk.compartment).data}
    refused(403, "NotAllowed", move, PLATFORM_IMAGE, there)


def test_a_deleted_image_takes_its_schema_along(sdk):
    """After DeleteImage its schema is found no more; a new image may have one of its own."""
    image = custom_image(sdk)
    give_schema(sdk, image, firmware(["BIOS"], "BIOS"))
    sdk.compute.delete_image(image.id)
    refused(404, "NotAuthorizedOrNotFound", sdk.compute.get_compute_image_capability_schema, image.id)
    assert sdk.compute.list_compute_image_capability_schemas(compartment_id=sdk.compartment).data == []
