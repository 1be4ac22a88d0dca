"""The pure rules of launches: shapes, launch details, capabilities, `.oci` metadata, addresses, ends of instances."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypersdk_emulator.compute import capabilities, ocifile
from hypersdk_emulator.compute.bootlog import MAX_BYTES, Guest, console_text
from hypersdk_emulator.compute.launchdetails import METADATA_BYTES, check_fixed_metadata, read_launch, read_metadata
from hypersdk_emulator.compute.shapes import SHAPES, config_json, configure, may_resize, shape_json
from hypersdk_emulator.compute.state import STABLE, InstanceState, is_forgotten, launch, terminate
from hypersdk_emulator.errors import ServiceError
from hypersdk_emulator.network import addresses
from hypersdk_emulator.timeline import Timeline

WHO = "ocid1.instance.oc1.iad.aaaa"
FLEXIBLE = sorted(name for name, shape in SHAPES.items() if shape.flexible)
BODY = {
    "compartmentId": "c",
    "availabilityDomain": "d",
    "shape": "VM.Standard2.1",
    "sourceDetails": {"sourceType": "image", "imageId": "i"},
    "subnetId": "ocid1.subnet.oc1.iad.a",
}


def refusal(call, *arguments, **named):
    """The refusal of a call."""
    with pytest.raises(ServiceError) as caught:
        call(*arguments, **named)
    return caught.value


def attempt(call, *arguments):
    """The answer of a call, or its refusal."""
    try:
        return call(*arguments), None
    except ServiceError as error:
        return None, error


# ---------------------------------------------------------------- shapes


@given(st.sampled_from(FLEXIBLE), st.integers(-2, 200), st.none() | st.integers(-2, 3000))
def test_a_flexible_shape_gives_what_its_ranges_allow(name, ocpus, memory):
    """Whatever is asked: a configuration inside of all ranges, or a 400."""
    shape = SHAPES[name]
    ranges = shape.flexible
    got, error = attempt(configure, shape, {"ocpus": ocpus, "memoryInGBs": memory})
    if error:
        assert error.status == 400
        fits = 1 <= ocpus <= ranges.max_ocpus
        assert not fits or not ocpus <= memory <= min(ranges.max_memory, 64 * ocpus)
        return
    assert 1 <= got.ocpus <= ranges.max_ocpus
    assert got.ocpus <= got.memory <= ranges.max_memory
    assert ranges.gbps_per_ocpu <= got.gbps <= ranges.max_gbps
    assert 2 <= got.vnics <= ranges.max_vnics
    assert config_json(name, got)["ocpus"] == ocpus


def test_vcpus_stand_for_ocpus():
    """Two vCPUs are an OCPU of x86, and one is an OCPU of Arm."""
    assert configure(SHAPES["VM.Standard.E4.Flex"], {"vcpus": 8}).ocpus == 4
    assert configure(SHAPES["VM.Standard.A1.Flex"], {"vcpus": 8}).ocpus == 8
    refusal(configure, SHAPES["VM.Standard.E4.Flex"], {"vcpus": 3})


@pytest.mark.parametrize("wanted", [{"ocpus": True}, {"ocpus": "2"}, {"ocpus": 1.5}, {"ocpus": float("nan")}, {}])
def test_ocpus_are_whole_numbers(wanted):
    """Texts, truth values, halves and no number at all are a 400."""
    assert refusal(configure, SHAPES["VM.Standard.E4.Flex"], wanted).status == 400


def test_a_burstable_baseline_is_for_shapes_that_have_it():
    """BASELINE_1_8 is E4's and not E5's; BASELINE_1_1 is everybody's."""
    assert configure(SHAPES["VM.Standard.E4.Flex"], {"ocpus": 1, "baselineOcpuUtilization": "BASELINE_1_8"}).baseline
    refusal(configure, SHAPES["VM.Standard.E5.Flex"], {"ocpus": 1, "baselineOcpuUtilization": "BASELINE_1_8"})
    assert configure(SHAPES["VM.Standard.E5.Flex"], {"ocpus": 1, "baselineOcpuUtilization": "BASELINE_1_1"}).baseline


def test_instances_stay_in_their_family():
    """Resizing keeps the architecture and leaves bare metal alone; the table says the same as the rule."""
    assert may_resize("VM.Standard.E4.Flex", SHAPES["VM.Standard3.Flex"])
    assert not may_resize("VM.Standard.E4.Flex", SHAPES["VM.Standard.A1.Flex"])
    assert not may_resize("VM.Standard.E4.Flex", SHAPES["BM.Standard.E4.128"])
    for name, shape in SHAPES.items():
        listed = shape_json(shape)["resizeCompatibleShapes"]
        assert listed == [other for other, new in SHAPES.items() if may_resize(name, new)]


# ---------------------------------------------------------------- details


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"sourceDetails": {"sourceType": "snapshot"}}, "sourceType"),
        ({"sourceDetails": {"sourceType": "bootVolume"}}, "bootVolumeId"),
        (
            {"sourceDetails": {"sourceType": "image", "imageId": "i", "bootVolumeSizeInGBs": "50"}},
            "bootVolumeSizeInGBs",
        ),
        ({"metadata": {"k": 1}}, "metadata"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {"user_data": "é"}}, "user_data"),
        ({"definedTags": {"a": 1}}, "definedTags"),
        ({"launchOptions": {"isPvEncryptionInTransitEnabled": "yes"}}, "isPvEncryptionInTransitEnabled"),
        ({"agentConfig": {"pluginsConfig": [1]}}, "pluginsConfig"),
        ({"availabilityConfig": {"recoveryAction": "PRAY"}}, "recoveryAction"),
        ({"launchVolumeAttachments": [{}]}, "launchVolumeAttachments"),
        ({"launchVolumeAttachments": [{"volumeId": "v", "launchCreateVolumeDetails": {}}]}, "launchVolumeAttachments"),
        ({"launchVolumeAttachments": [{"volumeId": "v"}] * 33}, "launchVolumeAttachments"),
        ({"createVnicDetails": {"nsgIds": list("abcdef")}}, "nsgIds"),
        ({"createVnicDetails": {"assignPublicIp": "true"}}, "assignPublicIp"),
    ],
)
def test_a_field_of_the_wrong_kind_is_named(changes, named):
    """Every refusal of a launch names its field."""
    error = refusal(read_launch, {**BODY, **changes})
    assert error.status == 400
    assert named in error.message


def test_older_fields_are_taken():
    """imageId, subnetId and hostnameLabel at the top, as the SDK's older examples send them."""
    body = {**BODY, "imageId": "i", "hostnameLabel": "h"}
    del body["sourceDetails"]
    got = read_launch(body)
    assert (got.source.image_id, got.vnic.subnet_id, got.vnic.hostname) == ("i", BODY["subnetId"], "h")


@given(st.dictionaries(st.text(), st.text(max_size=30_000), max_size=3), st.integers(0, 3))
def test_metadata_end_at_32000_bytes(plain, extra):
    """Taken if and only if both objects as JSON have at most 32,000 bytes."""
    plain.pop("user_data", None)
    extended = {"e": "é" * extra}
    size = len(json.dumps([plain, extended], ensure_ascii=False, separators=(",", ":")).encode())
    if size <= METADATA_BYTES:
        got = read_metadata({"metadata": plain, "extendedMetadata": extended})
        assert got == {"metadata": plain, "extendedMetadata": extended}
    else:
        assert str(size) in refusal(read_metadata, {"metadata": plain, "extendedMetadata": extended}).message


def test_user_data_is_base64():
    """Good base64 is taken as it is; the update of anything but user_data and keys is free."""
    encoded = base64.b64encode(bytes(range(256))).decode()
    assert read_metadata({"metadata": {"user_data": encoded}}) == {"metadata": {"user_data": encoded}}
    old = {"metadata": {"user_data": encoded, "a": "1"}}
    check_fixed_metadata(old, {"metadata": {"user_data": encoded, "b": "2"}})
    check_fixed_metadata(old, {})
    refusal(check_fixed_metadata, old, {"metadata": {"b": "2"}})
    refusal(check_fixed_metadata, {}, {"extendedMetadata": {"ssh_authorized_keys": "k"}})


# ---------------------------------------------------------------- ends


@given(st.sampled_from(sorted(InstanceState)), st.floats(0, 1e6), st.floats(0, 1e4))
def test_an_instance_ends_once(state, now, seconds):
    """From a stable state or CREATING_IMAGE: TERMINATING, then TERMINATED, forgotten only after its time."""
    timeline = Timeline.resting(state)
    if state == InstanceState.TERMINATED:
        assert refusal(terminate, WHO, timeline, now=now, seconds=seconds).status == 404
        assert not is_forgotten(timeline, now=1e12, seconds=0)
        return
    if state not in STABLE | {InstanceState.CREATING_IMAGE}:
        assert refusal(terminate, WHO, timeline, now=now, seconds=seconds).code == "Conflict"
        return
    ended = terminate(WHO, timeline, now=now, seconds=seconds)
    if seconds > 1:
        assert ended.at(now) == InstanceState.TERMINATING
    end = now + seconds
    assert ended.at(end) == InstanceState.TERMINATED
    assert not is_forgotten(ended, now=end, seconds=60)
    assert is_forgotten(ended, now=end + 61, seconds=60)


def test_a_launch_that_finds_no_host_ends_terminated():
    """PROVISIONING first, as for any launch."""
    assert launch(now=0, seconds=5).at(5) == InstanceState.RUNNING
    failed = launch(now=0, seconds=5, fails=True)
    assert (failed.at(0), failed.at(5)) == (InstanceState.PROVISIONING, InstanceState.TERMINATED)


# ---------------------------------------------------------------- capabilities and `.oci` files


@st.composite
def schemas(draw):
    """Some capabilities with some of the global schema's values."""
    found = {}
    for name in draw(st.sets(st.sampled_from(sorted(capabilities.GLOBAL)))):
        known = capabilities.GLOBAL[name]
        descriptor = {"descriptorType": known["descriptorType"], "source": "IMAGE"}
        if "values" in known:
            descriptor["values"] = draw(st.lists(st.sampled_from(known["values"]), min_size=1, unique=True))
            descriptor["defaultValue"] = draw(st.sampled_from(descriptor["values"]))
        else:
            descriptor["defaultValue"] = draw(st.booleans())
        found[name] = descriptor
    return found


@given(schemas())
def test_a_schema_reads_back_as_it_was_and_fills_up_from_the_global_one(schema):
    """Reading a good schema changes nothing; merged with the global one it has every capability."""
    assert capabilities.read_schema(schema) == schema
    merged = capabilities.merged(schema)
    assert set(merged) == set(capabilities.GLOBAL)
    for name, option in capabilities.OPTION_OF.items():
        assert capabilities.options_of(merged)[option] == merged[name]["defaultValue"]
    capabilities.check_options(schema, capabilities.options_of(schema))


@given(schemas(), st.sampled_from(["BIOS", "UEFI_64"]), st.sampled_from(sorted(capabilities.MODE_OPTIONS)))
def test_an_oci_file_gives_back_what_was_written(schema, firmware, mode):
    """Mode, launch options, capabilities, shapes and system survive the file."""
    options = {**capabilities.LAUNCH_OPTIONS, **capabilities.MODE_OPTIONS[mode], "firmware": firmware}
    shapes = {"VM.Standard2.1": {"ocpuConstraints": {"min": 1, "max": 2}, "memoryConstraints": None}}
    facts = ocifile.Facts(mode, options, schema, shapes, ("Debian", "12"), "version")
    got = ocifile.read(ocifile.write(facts, None))
    own = {name: value for name, value in options.items() if name != "isPvEncryptionInTransitEnabled"}
    assert (got.mode, got.options, got.shapes, got.system) == (mode, own, shapes, ("Debian", "12"))
    assert got.capabilities == schema


@given(st.binary(max_size=200) | st.text().map(str.encode))
def test_no_metadata_break_an_import(data):
    """Any bytes are facts or a refusal, never another error."""
    got, error = attempt(ocifile.read, data)
    assert got is not None if error is None else error.status == 400


# ---------------------------------------------------------------- console and addresses


@given(st.sampled_from(["BIOS", "UEFI_64"]), st.text(max_size=20), st.integers(1, 300))
def test_a_console_is_its_facts(firmware, name, boots):
    """Same facts, same text, at most a megabyte; the firmware's own lines and no other's."""
    guest = Guest(WHO, name, firmware, "Oracle Linux 9", "x86_64", 1, 16, boots)
    text = console_text(guest)
    assert text == console_text(guest)
    assert len(text) <= MAX_BYTES
    assert (b"SeaBIOS" in text) == (firmware == "BIOS")
    assert (b"BdsDxe" in text) == (firmware == "UEFI_64")


@given(st.integers(16, 30))
def test_oci_keeps_three_addresses_of_a_subnet(prefix):
    """The first two and the last; every other one has its place, and nothing outside has one."""
    block = addresses.network("cidrBlock", f"10.0.0.0/{prefix}")
    span = addresses.usable(block)
    assert len(span) == block.num_addresses - 3
    for place in (span.start, span.stop - 1):
        assert addresses.place_of(block, str(block[place])) == place
    for reserved in (block[0], block[1], block[-1], "192.168.0.1", "9.255.255.255", "host"):
        refusal(addresses.place_of, block, str(reserved))


def test_public_addresses_are_nobodys():
    """Each number has an address of its own in the nets kept for documentation."""
    every = {addresses.public_address(number) for number in range(addresses.PUBLIC_COUNT)}
    assert len(every) == addresses.PUBLIC_COUNT
    assert all(each.startswith(("203.0.113.", "198.51.100.", "192.0.2.")) for each in every)


@pytest.mark.parametrize("text", ["10.0.0.0/31", "10.0.0.0/8", "10.0.0.1/24", "fd00::/64", "all"])
def test_a_block_is_between_16_and_30(text):
    """Other sizes, host bits, IPv6 and words are a 400 that names the field."""
    assert "cidrBlock" in refusal(addresses.network, "cidrBlock", text).message
