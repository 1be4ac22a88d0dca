"""The compute half of the emulator where the client kit is blind: controls, faults, restarts, assumptions."""

import io
import json
import struct
import subprocess
import tarfile
import threading
import time

import pytest
from emulator import USER, changed, compartment_id, instance_id, private_key, public_pem, sign

WAIT_SECONDS = 20


def await_that(read, done):
    """Read until `done` says so; the value."""
    end = time.monotonic() + WAIT_SECONDS
    while not done(value := read()):
        assert time.monotonic() < end, f"still {value!r}"
        threading.Event().wait(0.02)
    return value


def path(emulator, what):
    return f"/20160918/{what}"


def instance_state(emulator, name="web-01"):
    return emulator.call("GET", path(emulator, f"instances/{instance_id(name)}")).json["lifecycleState"]


def image_state(emulator, image):
    return emulator.call("GET", path(emulator, f"images/{image}")).json["lifecycleState"]


def create_image(emulator, name="web-01", headers=None, **fields):
    body = {"compartmentId": emulator.seed.compartment, "instanceId": instance_id(name), **fields}
    return emulator.call("POST", path(emulator, "images"), body, headers)


def make_image(emulator, name="web-01"):
    reply = create_image(emulator, name)
    assert reply.status == 200, reply
    await_that(lambda: image_state(emulator, reply.json["id"]), lambda state: state == "AVAILABLE")
    return reply.json["id"]


def to_tuple(emulator, name="disk.qcow2", form="QCOW2"):
    return {
        "destinationType": "objectStorageTuple",
        "exportFormat": form,
        "namespaceName": emulator.namespace,
        "bucketName": "exports",
        "objectName": name,
    }


def export(emulator, image, body):
    return emulator.call("POST", path(emulator, f"images/{image}/actions/export"), body)


def work_request(emulator, reply):
    where = path(emulator, f"workRequests/{reply.headers['opc-work-request-id']}")
    return await_that(
        lambda: emulator.call("GET", where), lambda got: got.json.get("status") in ("SUCCEEDED", "FAILED")
    ).json


def images_named(emulator, name):
    query = f"images?compartmentId={emulator.seed.compartment}&displayName={name}"
    return emulator.call("GET", path(emulator, query)).json


def qemu_img(*arguments):
    return subprocess.run(["qemu-img", *map(str, arguments)], capture_output=True, text=True, check=False)


def assert_same_disk(emulator, tmp_path, data, form="qcow2", name="web-01"):
    file = tmp_path / "exported"
    file.write_bytes(data)
    compared = qemu_img("compare", "-f", form, "-F", "raw", file, emulator.seed.disk(name))
    assert compared.returncode == 0, compared.stdout + compared.stderr


# ---------------------------------------------------------------- controls


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"host": "cloud.example"}, 403),
        ({"host": "127.0.0.1.evil.example:80"}, 403),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": ""}, 401),
    ],
)
def test_controls_are_for_local_tools_with_the_token(emulator, headers, status):
    """A web page's Origin, a foreign Host and a missing or wrong token are refused, and nothing is done."""
    good = {"authorization": f"Bearer {emulator.token}", "content-type": "application/json"}
    fault = json.dumps({"operation": "GetObject", "effect": "reset"}).encode()
    assert emulator.send("POST", "/_emulator/faults", fault, {**good, **headers}).status == status
    assert emulator.faults() == []


def test_a_fault_that_is_none_is_refused_by_name(emulator):
    """400 names the unknown field, effect or operation."""
    headers = {"authorization": f"Bearer {emulator.token}"}
    for fault, named in (
        ({"operation": "GetObject", "effect": "bang"}, "bang"),
        ({"operation": "FlyAway", "effect": "reset"}, "FlyAway"),
        ({"operation": "GetObject", "effect": "reset", "speed": 1}, "speed"),
    ):
        reply = emulator.send("POST", "/_emulator/faults", json.dumps(fault).encode(), headers)
        assert reply.status == 400
        assert named in reply.json["message"]


def test_a_seed_by_http_names_its_mistake_and_stays_below_its_root(emulator):
    """A wrong seed is a 400 that begins with the place and changes nothing; so is a file outside of the seed root."""
    outside = changed(emulator.seed, instances=[{**emulator.seed.instance("web-01"), "id": instance_id("new")}])
    outside["instances"][0]["bootVolume"]["file"] = "/etc/hostname"
    wrong = changed(emulator.seed, instances=[{**emulator.seed.instance("web-01"), "shape": 7}])
    headers = {"authorization": f"Bearer {emulator.token}"}
    for seed, named in (
        (outside, "instances[0].bootVolume.file: /etc/hostname lies outside"),
        (wrong, "instances[0]."),
    ):
        reply = emulator.send("PUT", "/_emulator/seed", json.dumps(seed).encode(), headers)
        assert reply.status == 400
        assert reply.json["message"].startswith(named)
    assert emulator.call("GET", path(emulator, f"instances/{instance_id('new')}")).status == 404


def test_seeding_again_adds_and_does_not_reset(emulator):
    """A second seed brings its new instance and leaves the state of those that exist."""
    emulator.call("POST", path(emulator, f"instances/{instance_id('web-01')}?action=START"))
    more = changed(emulator.seed)
    more["instances"].append({**more["instances"][0], "id": instance_id("web-02"), "displayName": "web-02"})
    emulator.control("PUT", "seed", more)
    assert (instance_state(emulator), instance_state(emulator, "web-02")) == ("RUNNING", "STOPPED")


def test_what_is_denied_looks_absent(start_emulator):
    """A user without rights in a compartment gets 404 for its list, its instance and its image."""
    emulator = start_emulator(user={"deniedCompartments": [compartment_id("main")]})
    assert emulator.call("GET", path(emulator, f"instances?compartmentId={emulator.seed.compartment}")).status == 404
    assert emulator.call("GET", path(emulator, f"instances/{instance_id('web-01')}")).status == 404
    assert create_image(emulator).status == 404


# ---------------------------------------------------------------- faults and assumptions of making an image


def test_a_held_reply_took_effect(emulator):
    """While the reply of CreateImage is held the image exists; the release lets the reply come; holding is counted."""
    fault = emulator.fault("CreateImage", "hold")
    replies = []
    caller = threading.Thread(target=lambda: replies.append(create_image(emulator, displayName="held")))
    caller.start()
    await_that(emulator.faults, lambda faults: faults[0]["holding"] == 1)
    made = images_named(emulator, "held")
    assert len(made) == 1
    assert replies == []
    assert emulator.control("POST", "release", {"id": fault["id"]}) == {"released": 1}
    caller.join(WAIT_SECONDS)
    assert [reply.json["id"] for reply in replies] == [made[0]["id"]]
    assert (emulator.faults()[0]["consumed"], emulator.faults()[0]["holding"]) == (1, 0)


def test_hold_before_holds_the_effect_too(emulator):
    """With hold-before nothing is made until the release of all."""
    emulator.fault("CreateImage", "hold-before")
    caller = threading.Thread(target=create_image, args=(emulator,), kwargs={"displayName": "held"})
    caller.start()
    await_that(emulator.faults, lambda faults: faults[0]["holding"] == 1)
    assert images_named(emulator, "held") == []
    assert emulator.control("POST", "release", {"all": True}) == {"released": 1}
    caller.join(WAIT_SECONDS)
    assert len(images_named(emulator, "held")) == 1


def test_a_failed_image_ends_deleted(emulator):
    """work-request-fails on CreateImage: work request FAILED with an error, image DELETED and unlisted (C-U OCI)."""
    emulator.fault("CreateImage", "work-request-fails")
    reply = create_image(emulator, displayName="broken")
    assert work_request(emulator, reply)["status"] == "FAILED"
    assert image_state(emulator, reply.json["id"]) == "DELETED"
    assert images_named(emulator, "broken") == []


def test_the_lock_has_ocis_words_and_the_assumed_length(start_emulator):
    """A second image is 409 Conflict with OCI's sentence until lock-minutes have passed on the virtual clock."""
    emulator = start_emulator(assume={"lock-minutes": 3})
    make_image(emulator)
    refused = create_image(emulator)
    assert (refused.status, refused.json["code"]) == (409, "Conflict")
    assert refused.json["message"] == "Conflict with another image operation, try again later"
    emulator.control("POST", "clock", {"advanceSeconds": 170})
    assert create_image(emulator).status == 409
    emulator.control("POST", "clock", {"advanceSeconds": 20})
    assert create_image(emulator).status == 200


@pytest.mark.parametrize(("assumption", "count"), [("no-work-request-id", 0), ("work-request-id-list", 2)])
def test_the_work_request_header_may_be_absent_or_a_list(start_emulator, assumption, count):
    """The assumption decides how many ids CreateImage's header holds; each of them can be read."""
    emulator = start_emulator(assume={assumption: True})
    header = create_image(emulator).headers.get("opc-work-request-id", "")
    ids = [each.strip() for each in header.split(",") if each]
    assert len(ids) == len(set(ids)) == count
    for each in ids:
        assert emulator.call("GET", path(emulator, f"workRequests/{each}")).status == 200


def test_a_gone_work_request_stays_gone(emulator):
    """After work-request-gone every read of that id is 404, as after 12 hours."""
    reply = create_image(emulator)
    where = path(emulator, f"workRequests/{reply.headers['opc-work-request-id']}")
    emulator.fault("GetWorkRequest", "work-request-gone")
    assert [emulator.call("GET", where).status for _ in range(2)] == [404, 404]
    assert emulator.call("GET", f"{where}/errors").status == 404


def test_volume_attachments_come_from_the_seed(start_emulator):
    """Data volumes are listed by instance and can be read; they are what an image leaves out."""

    def add(seed):
        volume = {"volumeId": "ocid1.volume.oc1.iad.aaaadata", "displayName": "data", "sizeInGBs": 70}
        seed["instances"][0]["volumeAttachments"] = [volume]

    emulator = start_emulator(change=add, instances=("web-01", "web-02"))
    listed = {}
    for name in ("web-01", "web-02"):
        query = f"volumeAttachments?compartmentId={emulator.seed.compartment}&instanceId={instance_id(name)}"
        listed[name] = emulator.call("GET", path(emulator, query)).json
    assert [each["volumeId"] for each in listed["web-01"]] == ["ocid1.volume.oc1.iad.aaaadata"]
    assert listed["web-02"] == []
    volume = emulator.call("GET", path(emulator, "volumes/ocid1.volume.oc1.iad.aaaadata")).json
    assert (volume["displayName"], volume["sizeInGBs"]) == ("data", 70)
    boot = emulator.seed.instance("web-01")["bootVolume"]
    assert emulator.call("GET", path(emulator, f"bootVolumes/{boot['id']}")).json["sizeInGBs"] == 50


def test_pages_hold_while_states_change(start_emulator):
    """Instances that leave the filter between two pages neither end the list nor repeat any."""
    names = [f"web-{n:02d}" for n in range(7)]
    emulator = start_emulator(instances=dict.fromkeys(names, "STOPPED"))
    base = f"instances?compartmentId={emulator.seed.compartment}&limit=3&sortBy=DISPLAYNAME&lifecycleState=STOPPED"
    first = emulator.call("GET", path(emulator, base))
    seen = [each["displayName"] for each in first.json]
    emulator.call("POST", path(emulator, f"instances/{instance_id('web-02')}?action=START"))
    page = first.headers.get("opc-next-page")
    while page:
        reply = emulator.call("GET", path(emulator, f"{base}&page={page}"))
        seen += [each["displayName"] for each in reply.json]
        page = reply.headers.get("opc-next-page")
    assert seen == names
