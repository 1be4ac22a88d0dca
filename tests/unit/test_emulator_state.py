"""State machines of instances, images and work requests; the seed's checks; the assumptions."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypersdk_emulator.assumptions import AssumptionError, Assumptions
from hypersdk_emulator.compute.state import (
    ACTIONS,
    STABLE,
    InstanceState,
    Work,
    WorkStatus,
    act,
    begin_image,
    image_state,
    may_delete,
    may_export,
)
from hypersdk_emulator.errors import ServiceError
from hypersdk_emulator.seeds.node import SeedError
from hypersdk_emulator.seeds.seed import Reader
from hypersdk_emulator.timeline import Timeline

WHO = "ocid1.instance.oc1.iad.aaaa"
LOCK = 1200.0


def attempt(timeline, what, now, last_image):
    """The timeline after an action or image, or the refusal."""
    try:
        if what != "IMAGE":
            return act(WHO, timeline, what, now=now, seconds=1.0), None
        return begin_image(WHO, timeline, now=now, seconds=1.0, last_image=last_image, lock_seconds=LOCK), None
    except ServiceError as refusal:
        return None, refusal


@given(
    steps=st.lists(st.tuples(st.sampled_from([*ACTIONS, "IMAGE"]), st.floats(0, 3)), max_size=25),
    start=st.sampled_from(["RUNNING", "STOPPED"]),
)
def test_an_instance_only_moves_as_the_table_says(steps, start):
    """Whatever is asked when: a refusal is a 409 and changes nothing, what is accepted ends in its final state."""
    timeline, now, last_image = Timeline.resting(start), 1000.0, None
    for what, wait in steps:
        now += wait
        before = timeline.at(now)
        after, refusal = attempt(timeline, what, now, last_image)
        if refusal:
            assert refusal.status == 409
            assert refusal.code == ("IncorrectState" if before in STABLE and what != "IMAGE" else "Conflict")
            continue
        assert before in STABLE
        if what == "IMAGE":
            last_image = now
            assert (after.at(now), after.at(now + 1.0)) == (InstanceState.CREATING_IMAGE, before)
        else:
            legal, through, final = ACTIONS[what]
            assert before == legal
            assert after.at(now) == (through[0] if through else final)
            assert after.at(now + len(through)) == final
        timeline = Timeline.load(after.dump())
        assert timeline == after


def test_the_image_lock_lasts_exactly_its_minutes_in_oci_words():
    """One second before the 20 minutes are over a second image is 409 Conflict in OCI's text, then it is taken."""
    rest = Timeline.resting("RUNNING")
    with pytest.raises(ServiceError, match="Conflict with another image operation, try again later") as caught:
        begin_image(WHO, rest, now=1199.0, seconds=1, last_image=0.0, lock_seconds=LOCK)
    assert (caught.value.status, caught.value.code) == (409, "Conflict")
    assert begin_image(WHO, rest, now=1200.0, seconds=1, last_image=0.0, lock_seconds=LOCK).final == "RUNNING"


def test_unknown_action_and_action_in_transition_are_worded_as_oci_does():
    """An unknown action is 400; in transition it is 409 Conflict with 'try again later'."""
    with pytest.raises(ServiceError) as caught:
        act(WHO, Timeline.resting("RUNNING"), "JUMP", now=0, seconds=1)
    assert (caught.value.status, caught.value.code) == (400, "InvalidParameter")
    moving = act(WHO, Timeline.resting("RUNNING"), "STOP", now=0, seconds=1)
    with pytest.raises(ServiceError, match=f"instance {WHO} is currently being modified, try again later"):
        act(WHO, moving, "START", now=0.5, seconds=1)


def test_image_states_and_what_they_forbid():
    """EXPORTING shows only on a finished image, forbids delete and export; PROVISIONING may be deleted (recording)."""
    made = Timeline.through(("PROVISIONING",), "AVAILABLE", start=0, seconds=1)
    assert image_state(made, now=0.5, exporting=True, deleted=False) == "PROVISIONING"
    assert image_state(made, now=1.0, exporting=True, deleted=False) == "EXPORTING"
    assert image_state(made, now=1.0, exporting=True, deleted=True) == "DELETED"
    may_delete("i", "PROVISIONING")
    may_delete("i", "AVAILABLE")
    may_export("i", "AVAILABLE")
    for state, status in (("EXPORTING", 409), ("IMPORTING", 409), ("DELETED", 404)):
        with pytest.raises(ServiceError) as caught:
            may_delete("i", state)
        assert caught.value.status == status
    for state, status in (("EXPORTING", 409), ("PROVISIONING", 409), ("DELETED", 404)):
        with pytest.raises(ServiceError) as caught:
            may_export("i", state)
        assert caught.value.status == status


@given(
    seconds=st.floats(0, 100),
    late=st.floats(0, 50),
    outcome=st.sampled_from([WorkStatus.SUCCEEDED, WorkStatus.FAILED]),
    looks=st.lists(st.floats(0, 300), min_size=1),
)
def test_percent_never_falls_and_is_100_only_after_success(seconds, late, outcome, looks):
    """Progress rises, whether the end is known beforehand or not, and stays below 100 unless all is well."""
    open_ended = Work.lasting(0.0, seconds)
    work = open_ended.ended(seconds + late, outcome)
    seen = [(open_ended if now < seconds + late else work).percent(now) for now in sorted(looks)]
    assert seen == sorted(seen)
    for now in looks:
        if work.status(now) == WorkStatus.SUCCEEDED:
            assert work.percent(now) == 100.0
        else:
            assert work.percent(now) < 100.0
    assert work.status(1e6) == outcome


def test_a_work_request_is_kept_for_12_hours_after_its_end():
    """It expires 12 hours after it finished, and never while it runs."""
    work = Work.lasting(0.0, 10.0)
    assert not work.expired(1e9)
    done = work.ended(10.0, WorkStatus.SUCCEEDED)
    assert not done.expired(10.0 + 12 * 3600 - 1)
    assert done.expired(10.0 + 12 * 3600)


def seed_json(tmp_path):
    (tmp_path / "boot.raw").write_bytes(b"x" * 512)
    return {
        "region": "us-ashburn-1",
        "namespace": "ns1",
        "tenancyId": "ocid1.tenancy.oc1..aaaa",
        "compartments": [{"id": "ocid1.compartment.oc1..aaaa", "name": "c"}],
        "users": [{"id": "ocid1.user.oc1..aaaa", "apiKeys": [{"fingerprint": "aa", "publicKeyPem": "PEM"}]}],
        "buckets": [{"name": "b", "compartmentId": "ocid1.compartment.oc1..aaaa"}],
        "objects": [{"bucket": "b", "name": "o", "text": "hello"}],
        "images": [{"id": "ocid1.image.oc1.iad.aaaa", "compartmentId": None, "displayName": "Linux"}],
        "instances": [
            {
                "id": WHO,
                "displayName": "web-01",
                "compartmentId": "ocid1.compartment.oc1..aaaa",
                "availabilityDomain": "x:AD-1",
                "imageId": "ocid1.image.oc1.iad.aaaa",
                "bootVolume": {"id": "ocid1.bootvolume.oc1.iad.aaaa", "sizeInGBs": 50, "file": "boot.raw"},
                "volumeAttachments": [{"volumeId": "ocid1.volume.oc1.iad.aaaa", "displayName": "d", "sizeInGBs": 60}],
            }
        ],
        "timing": {"transitionSeconds": 0, "paceOf": {"ExportImage": 5}},
        "assume": {"status-object": False, "lock-minutes": 1},
    }


def test_a_whole_seed_is_read(tmp_path):
    """Files are found relative to the seed, defaults are filled in."""
    seed = Reader(tmp_path, None).read(seed_json(tmp_path))
    instance = seed.instances[0]
    assert instance.state == "RUNNING"
    assert instance.boot_volume.disk.file == tmp_path / "boot.raw"
    assert instance.boot_volume.disk.format == "raw"
    assert instance.data_volumes[0].size_in_gbs == 60
    assert seed.timing.pace_of == {"ExportImage": 5}
    assert Assumptions().assume_all(seed.assume).lock_minutes == 1


def broken(place, value):
    """A change of the seed at a dotted place; None removes the key."""

    def change(seed):
        node, *path = seed, *place.split(".")
        for key in path[:-1]:
            node = node[int(key) if key.isdigit() else key]
        if value is None:
            del node[path[-1]]
        else:
            node[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("place", "value", "named"),
    [
        ("instances.0.shapes", "x", "instances[0].shapes: no such key"),
        ("instances.0.id", "web", "instances[0].id: 'web' is not an OCID"),
        ("instances.0.displayName", None, "instances[0].displayName: missing"),
        ("instances.0.lifecycleState", "SUSPENDED", "instances[0].lifecycleState: 'SUSPENDED' is not one of"),
        ("instances.0.bootVolume.file", "gone.raw", "instances[0].bootVolume.file: there is no file"),
        ("instances.0.bootVolume.sizeInGBs", "50", "instances[0].bootVolume.sizeInGBs: '50' is not"),
        ("instances.0.bootVolume.format", "vmdk", "instances[0].bootVolume.format: 'vmdk' is not one of raw, qcow2"),
        ("buckets.0.name", "a b", "buckets[0].name: 'a b'"),
        ("timing.transitionSeconds", -1, "timing.transitionSeconds: -1"),
        ("timing.paceOf", {"ExportImage": "x"}, "timing.paceOf.ExportImage"),
        ("limits", {"custom-image-count": "many"}, "limits.custom-image-count: 'many' is not a whole number from 0"),
        ("limits", {"custom-image-count": 1, "vcn-count": 1}, "limits.vcn-count: no such key"),
        ("assume", {"gravity": True}, "assume.gravity: no such assumption"),
        ("compartments", {}, "compartments: {} is not a list"),
        ("users.0.apiKeys.0.publicKeyPem", None, "users[0].apiKeys[0].publicKeyPem: missing"),
    ],
)
def test_a_mistake_in_the_seed_is_named_by_its_place(tmp_path, place, value, named):
    """The message begins with the place of the mistake and says what was expected."""
    seed = json.loads(json.dumps(seed_json(tmp_path)))
    broken(place, value)(seed)
    with pytest.raises(SeedError) as caught:
        Reader(tmp_path, None).read(seed)
    assert str(caught.value).startswith(named)


def test_two_resources_of_one_id_are_refused(tmp_path):
    """The second of two instances with the same OCID is named."""
    seed = seed_json(tmp_path)
    seed["instances"] *= 2
    with pytest.raises(SeedError, match=r"instances\[1\]: .* stands already at instances\[0\]"):
        Reader(tmp_path, None).read(seed)


def test_a_volume_belongs_to_one_instance(tmp_path):
    """The second of two instances with the same boot volume or data volume is named."""
    for key in ("bootVolume", "volumeAttachments"):
        seed = seed_json(tmp_path)
        other = json.loads(json.dumps(seed["instances"][0]))
        other["id"] = other["id"] + "other"
        other["bootVolume"]["id"] += "other"
        other["volumeAttachments"][0]["volumeId"] += "other"
        seed["instances"].append({**other, key: seed["instances"][0][key]})
        with pytest.raises(SeedError, match=r"instances\[1\]: the volume .* stands already at instances\[0\]"):
            Reader(tmp_path, None).read(seed)


def test_a_seed_from_afar_may_only_name_files_below_its_root(tmp_path):
    """A path with '..', an absolute path and a link that leads outside of the seed root are all refused."""
    seed = seed_json(tmp_path)
    root = tmp_path / "root"
    root.mkdir()
    (root / "link.raw").symlink_to(tmp_path / "boot.raw")
    for file in ("../boot.raw", str(tmp_path / "boot.raw"), "link.raw"):
        seed["instances"][0]["bootVolume"]["file"] = file
        with pytest.raises(SeedError, match="outside of the seed root"):
            Reader(root, root).read(seed)


def test_assumptions_are_set_by_name_and_value_only():
    """on/off and numbers are taken; a wrong name or value is refused with the name in the text."""
    assert not Assumptions().assume_text("status-object=off").status_object
    assert Assumptions().assume_text("lock-minutes=0.5").lock_minutes == 0.5
    for text in ("status-object", "status-object=maybe", "sun=on", "lock-minutes=nan", "lock-minutes=-1"):
        with pytest.raises(AssumptionError, match=text.split("=")[0]):
            Assumptions().assume_text(text)
