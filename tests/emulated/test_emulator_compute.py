"""The compute half of the emulator where the client kit is blind: controls, faults, restarts, assumptions."""

import io
import json
import subprocess
import tarfile
import threading
import time
from pathlib import Path
from urllib.parse import quote

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


def uploads(emulator):
    return emulator.call("GET", f"/n/{emulator.namespace}/b/exports/u").json


def make_par(emulator, access, name):
    """The URL of a PAR that lives for a day of the virtual clock's present."""
    expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 86400))
    body = {"name": "test", "accessType": access, "objectName": name, "timeExpires": expires}
    reply = emulator.call("POST", f"/n/{emulator.namespace}/b/exports/p", body)
    assert reply.status == 200, reply
    return emulator.endpoint + reply.json["accessUri"]


def slow_export(seed):
    """A change of the seed: EXPORTING lasts 100 virtual seconds, all else is at once."""
    seed["timing"] = {"transitionSeconds": 0.1, "paceOf": {"ExportImage": 1000, "CreateImage": 0}}


def fill_disks(seed):
    """A change of the seed: the boot disk holds more data than fits into one part of the exporter."""
    with Path(seed["instances"][0]["bootVolume"]["file"]).open("r+b") as disk:
        disk.seek(20 << 20)
        disk.write(bytes(range(1, 256)) * 50_000)


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
    boot = {**more["instances"][0]["bootVolume"], "id": "ocid1.bootvolume.oc1.iad.aaaaweb02"}
    added = {"id": instance_id("web-02"), "displayName": "web-02", "bootVolume": boot}
    more["instances"].append({**more["instances"][0], **added})
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
    """work-request-fails on CreateImage: work request FAILED with an error, image DELETED and unlisted."""
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


# ---------------------------------------------------------------- exports


def test_an_export_cut_by_kill_9_is_finished_after_the_restart(start_emulator, tmp_path):
    """Killed while EXPORTING, the emulator goes on from its state: one good object, one success, one open upload."""
    emulator = start_emulator(change=slow_export)
    image = make_image(emulator)
    reply = export(emulator, image, to_tuple(emulator))
    emulator.control("POST", "clock", {"advanceSeconds": 92})
    await_that(lambda: uploads(emulator), lambda found: len(found) == 1)
    emulator.kill()
    emulator.start()
    assert image_state(emulator, image) == "EXPORTING"
    emulator.control("POST", "clock", {"advanceSeconds": 100})
    assert work_request(emulator, reply)["status"] == "SUCCEEDED"
    assert image_state(emulator, image) == "AVAILABLE"
    assert emulator.names("exports") == ["disk.qcow2"]
    assert len(uploads(emulator)) == 1
    assert_same_disk(emulator, tmp_path, emulator.get("exports", "disk.qcow2").body)


def test_states_of_making_an_image_outlive_a_kill(start_emulator):
    """CREATING_IMAGE and PROVISIONING end after a restart as without one; the seed's assumptions hold on, too."""
    emulator = start_emulator(instances={"web-01": "RUNNING"}, transition_seconds=100, assume={"lock-minutes": 0})
    image = create_image(emulator).json["id"]
    emulator.kill()
    emulator.start()
    assert (instance_state(emulator), image_state(emulator, image)) == ("CREATING_IMAGE", "PROVISIONING")
    emulator.control("POST", "clock", {"advanceSeconds": 101})
    assert (instance_state(emulator), image_state(emulator, image)) == ("RUNNING", "AVAILABLE")
    assert create_image(emulator).status == 200


@pytest.mark.parametrize("on", [True, False])
def test_a_status_object_stands_at_the_name_while_exporting(start_emulator, on):
    """Late in EXPORTING a tiny JSON object is there, then the disk and an open upload; assumptions turn both off."""
    emulator = start_emulator(assume={"status-object": on, "open-upload": on}, transition_seconds=100)
    image = create_image(emulator).json["id"]
    emulator.control("POST", "clock", {"advanceSeconds": 101})
    reply = export(emulator, image, to_tuple(emulator))
    assert emulator.names("exports") == []
    emulator.control("POST", "clock", {"advanceSeconds": 92})
    await_that(lambda: uploads(emulator), bool)
    assert emulator.names("exports") == (["disk.qcow2"] if on else [])
    if on:
        assert emulator.get("exports", "disk.qcow2").json == {"status": "EXPORTING"}
    emulator.control("POST", "clock", {"advanceSeconds": 30})
    assert work_request(emulator, reply)["status"] == "SUCCEEDED"
    assert len(emulator.get("exports", "disk.qcow2").body) > 1 << 16
    assert [each["object"] for each in uploads(emulator)] == (["disk.qcow2"] if on else [])


@pytest.mark.parametrize(
    ("effect", "status", "names"),
    [("work-request-fails", "FAILED", []), ("export-without-object", "SUCCEEDED", [])],
)
def test_an_export_that_brings_nothing(emulator, effect, status, names):
    """The image is AVAILABLE as if all were well, no object and no upload stay; the work request says what it says."""
    image = make_image(emulator)
    emulator.fault("ExportImage", effect)
    reply = export(emulator, image, to_tuple(emulator))
    assert work_request(emulator, reply)["status"] == status
    assert image_state(emulator, image) == "AVAILABLE"
    assert (emulator.names("exports"), uploads(emulator)) == (names, [])


def test_an_export_of_nothing_but_zeros(emulator, tmp_path):
    """export-all-zero: a well-formed object of the right virtual size without any data in it."""
    image = make_image(emulator)
    emulator.fault("ExportImage", "export-all-zero")
    work_request(emulator, export(emulator, image, to_tuple(emulator)))
    (tmp_path / "zero.qcow2").write_bytes(emulator.get("exports", "disk.qcow2").body)
    mapped = json.loads(qemu_img("map", "--output=json", "-f", "qcow2", tmp_path / "zero.qcow2").stdout)
    assert sum(each["length"] for each in mapped) == emulator.seed.disk("web-01").stat().st_size
    assert not any(each["data"] for each in mapped)


def test_an_oci_file_is_a_tar_with_metadata_and_disk(emulator, tmp_path):
    """Format OCI: image_metadata.json and output.QCOW2 with the boot volume's bytes (oci-cli issue 869)."""
    image = make_image(emulator)
    work_request(emulator, export(emulator, image, to_tuple(emulator, "disk.oci", "OCI")))
    with tarfile.open(fileobj=io.BytesIO(emulator.get("exports", "disk.oci").body)) as tar:
        assert tar.getnames() == ["image_metadata.json", "output.QCOW2"]
        assert json.loads(tar.extractfile("image_metadata.json").read())["operatingSystem"] == "Oracle Linux"
        assert_same_disk(emulator, tmp_path, tar.extractfile("output.QCOW2").read())


def test_an_exported_object_looks_like_a_multipart_upload(start_emulator):
    """No MD5 but opc-multipart-md5 with the number of parts; the reply of ExportImage has the etag from before."""
    emulator = start_emulator(change=fill_disks)
    image = make_image(emulator)
    before = emulator.call("GET", path(emulator, f"images/{image}")).headers["etag"]
    reply = export(emulator, image, to_tuple(emulator))
    assert reply.headers["etag"] == before
    work_request(emulator, reply)
    assert emulator.call("GET", path(emulator, f"images/{image}")).headers["etag"] != before
    got = emulator.get("exports", "disk.qcow2")
    assert "content-md5" not in got.headers
    assert got.headers["opc-multipart-md5"].endswith("-2")


# ---------------------------------------------------------------- who may export where


def test_a_federated_user_needs_a_par(start_emulator):
    """Tuple and plain URL are OCI's 400 for a federated user; the URL of a write PAR is taken."""
    emulator = start_emulator(user={"federated": True})
    image = make_image(emulator)
    plain = {"destinationType": "objectStorageUri", "exportFormat": "QCOW2"}
    url = emulator.endpoint + emulator.object_path("exports", "o")
    for body in (to_tuple(emulator), {**plain, "destinationUri": url}):
        reply = export(emulator, image, body)
        assert (reply.status, reply.json["code"]) == (400, "InvalidParameter")
        assert reply.json["message"].startswith("Invalid bucketName: Specified namespace or bucket to export image")
    accepted = export(emulator, image, {**plain, "destinationUri": make_par(emulator, "ObjectWrite", "dir/o")})
    assert work_request(emulator, accepted)["status"] == "SUCCEEDED"
    assert emulator.names("exports") == ["dir/o"]


def test_a_session_token_signs_but_cannot_export_to_a_bucket(emulator):
    """A token of the control call signs requests until it expires; tuple exports are refused as for federated users."""
    issued = {"userId": USER, "publicKeyPem": public_pem(private_key()), "ttlSeconds": 600}
    key_id = "ST$" + emulator.control("POST", "session-token", issued)["token"]
    image = make_image(emulator)

    def call(method, where, body=None):
        data = None if body is None else json.dumps(body).encode()
        headers = sign(private_key(), key_id, method, where, {"host": emulator.host}, body=data)
        return emulator.send(method, where, data, headers)

    where = path(emulator, f"images/{image}")
    assert call("GET", where).status == 200
    assert call("POST", f"{where}/actions/export", to_tuple(emulator)).status == 400
    emulator.control("POST", "clock", {"advanceSeconds": 601})
    assert call("GET", where).status == 401


def test_an_export_fails_when_its_par_is_deleted_meanwhile(start_emulator):
    """The PAR is asked again at the end: gone, expired or read-only means FAILED and no object."""
    emulator = start_emulator(transition_seconds=100)
    image = create_image(emulator).json["id"]
    emulator.control("POST", "clock", {"advanceSeconds": 101})
    url = make_par(emulator, "ObjectWrite", "o")
    reply = export(
        emulator, image, {"destinationType": "objectStorageUri", "exportFormat": "QCOW2", "destinationUri": url}
    )
    (par,) = emulator.control("GET", "leftovers")["preauthenticatedRequests"]
    where = f"/n/{emulator.namespace}/b/exports/p/{quote(par['id'], safe='')}"
    assert emulator.call("DELETE", where).status == 204
    emulator.control("POST", "clock", {"advanceSeconds": 101})
    assert work_request(emulator, reply)["status"] == "FAILED"
    assert emulator.names("exports") == []


# ---------------------------------------------------------------- imports and leftovers


@pytest.mark.parametrize("kind", ["backing", "data-file", "text-vmdk"])
def test_an_import_never_reads_files_of_this_machine(emulator, tmp_path, kind):
    """A disk that leans on another file ends DELETED and FAILED, whatever lies there."""
    secret, disk = tmp_path / "secret.raw", tmp_path / "disk"
    secret.write_bytes(b"secret" * 100_000)
    if kind == "backing":
        made = qemu_img("create", "-q", "-f", "qcow2", "-b", secret, "-F", "raw", disk)
    elif kind == "data-file":
        made = qemu_img("create", "-q", "-f", "qcow2", "-o", f"data_file={secret},data_file_raw=on", disk, "1M")
    else:
        made = qemu_img("create", "-q", "-f", "vmdk", "-o", "subformat=monolithicFlat", disk, "1M")
    assert made.returncode == 0, made.stderr
    emulator.put("exports", "in", disk.read_bytes())
    source = {
        "sourceType": "objectStorageTuple",
        "sourceImageType": "VMDK" if kind == "text-vmdk" else "QCOW2",
        "namespaceName": emulator.namespace,
        "bucketName": "exports",
        "objectName": "in",
    }
    body = {"compartmentId": emulator.seed.compartment, "imageSourceDetails": source}
    reply = emulator.call("POST", path(emulator, "images"), body)
    assert reply.json["lifecycleState"] == "IMPORTING"
    assert work_request(emulator, reply)["status"] == "FAILED"
    assert image_state(emulator, reply.json["id"]) == "DELETED"
    assert list((emulator.state / "volumes").iterdir()) == []


def test_an_oci_file_is_imported_and_its_disk_goes_with_the_image(emulator, tmp_path):
    """Export as OCI, import without a type, export again: the same disk; deleting the image deletes its file."""
    work_request(emulator, export(emulator, make_image(emulator), to_tuple(emulator, "disk.oci", "OCI")))
    source = {"sourceType": "objectStorageTuple", "namespaceName": emulator.namespace, "bucketName": "exports"}
    body = {"compartmentId": emulator.seed.compartment, "imageSourceDetails": {**source, "objectName": "disk.oci"}}
    reply = emulator.call("POST", path(emulator, "images"), body)
    assert work_request(emulator, reply)["status"] == "SUCCEEDED"
    image = reply.json["id"]
    work_request(emulator, export(emulator, image, to_tuple(emulator)))
    assert_same_disk(emulator, tmp_path, emulator.get("exports", "disk.qcow2").body)
    assert emulator.call("DELETE", path(emulator, f"images/{image}")).status == 204
    assert list((emulator.state / "volumes").iterdir()) == []


def test_leftovers_name_everything_that_costs(emulator):
    """Custom images, PARs, open uploads and objects below any .hypersdk/ are listed, seeded things and others not."""
    assert not any(emulator.control("GET", "leftovers").values())
    image = make_image(emulator)
    make_par(emulator, "ObjectWrite", "o")
    for name in (".hypersdk/part", "prefix/.hypersdk/part", "finished"):
        emulator.put("exports", name, b"x")
    emulator.call("POST", f"/n/{emulator.namespace}/b/exports/u", {"object": "big"})
    found = emulator.control("GET", "leftovers")
    assert [each["id"] for each in found["images"]] == [image]
    assert [each["object"] for each in found["preauthenticatedRequests"]] == ["o"]
    assert [each["object"] for each in found["multipartUploads"]] == ["big"]
    assert [each["name"] for each in found["objects"]] == [".hypersdk/part", "prefix/.hypersdk/part"]
    emulator.call("DELETE", path(emulator, f"images/{image}"))
    assert emulator.control("GET", "leftovers")["images"] == []
