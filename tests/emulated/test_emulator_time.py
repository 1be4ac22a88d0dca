"""`--pace`, `--random-seed` and the seed's clock, seen by a client."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from emulator import Emulator, instance_id

TIMES = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z|\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT")
PATH = f"/20160918/instances/{instance_id('web-01')}"
LONG = 1000.0


def state(emulator: Emulator) -> str:
    return str(emulator.call("GET", PATH).json["lifecycleState"])


def test_pace_0_makes_every_transition_at_once(start_emulator: Callable[..., Emulator]) -> None:
    """With --pace 0 a started instance runs and an image is there in the next call, whatever the seed says."""
    emulator = start_emulator(arguments=("--pace", "0"), transition_seconds=LONG)
    assert emulator.call("POST", f"{PATH}?action=START").json["lifecycleState"] == "RUNNING"
    body = {"compartmentId": emulator.seed.compartment, "instanceId": instance_id("web-01")}
    assert emulator.call("POST", "/20160918/images", body).json["lifecycleState"] == "AVAILABLE"


def test_pace_1_takes_the_time_of_the_size(start_emulator: Callable[..., Emulator]) -> None:
    """With --pace 1 an image of 50 GB takes 18 virtual minutes and a start one, whatever the seed says."""
    emulator = start_emulator(arguments=("--pace", "1"), transition_seconds=0.0)
    assert emulator.call("POST", f"{PATH}?action=START").json["lifecycleState"] == "STARTING"
    emulator.control("POST", "clock", {"advanceSeconds": 61})
    assert state(emulator) == "RUNNING"
    body = {"compartmentId": emulator.seed.compartment, "instanceId": instance_id("web-01")}
    image = emulator.call("POST", "/20160918/images", body).json["id"]
    emulator.control("POST", "clock", {"advanceSeconds": 17.5 * 60})
    assert emulator.call("GET", f"/20160918/images/{image}").json["lifecycleState"] == "PROVISIONING"
    emulator.control("POST", "clock", {"advanceSeconds": 60})
    assert emulator.call("GET", f"/20160918/images/{image}").json["lifecycleState"] == "AVAILABLE"
    assert state(emulator) == "RUNNING"


def test_the_seed_sets_the_clock_and_dates_stay_real(start_emulator: Callable[..., Emulator]) -> None:
    """What is made carries the seed's time, `Date` the real one, and seeding again leaves the clock alone."""
    emulator = start_emulator(change=lambda value: value.update(clock="2001-02-03T04:05:06Z"))
    reply = emulator.call("GET", f"/n/{emulator.namespace}/b/exports")
    assert reply.json["timeCreated"].startswith("2001-02-03T04:05:")
    assert abs((parsedate_to_datetime(reply.headers["date"]) - datetime.now(UTC)).total_seconds()) < 60
    emulator.control("POST", "clock", {"advanceSeconds": 3600})
    emulator.control("PUT", "seed", emulator.seed.value)
    emulator.put("exports", "o", b"x")
    stored = emulator.call("HEAD", emulator.object_path("exports", "o"))
    assert "Sat, 03 Feb 2001 05:05:" in stored.headers["last-modified"]
    refused = emulator.send(
        "PUT", "/_emulator/seed", b'{"clock": "2001-01-01T00:00:00Z"}', {"authorization": f"Bearer {emulator.token}"}
    )
    assert (refused.status, "never goes back" in refused.body.decode()) == (400, True)


def story(emulator: Emulator) -> list[Any]:
    """A bit of everything; status, headers and body of each reply, and the log, with the times taken out."""
    steps: list[Any] = []

    def note(method: str, path: str, body: Any = None) -> Any:
        reply = emulator.call(method, path, body)
        headers = {name: TIMES.sub("TIME", value) for name, value in reply.headers.items()}
        text = reply.body.decode().replace(emulator.endpoint, "ENDPOINT")
        steps.append((method, reply.status, headers, TIMES.sub("TIME", text)))
        return reply

    bucket = f"/n/{emulator.namespace}/b"
    note("POST", bucket, {"name": "made", "compartmentId": emulator.seed.compartment})
    note("PUT", emulator.object_path("made", "o"), b"bytes")
    upload = note("POST", f"{bucket}/made/u", {"object": "m"}).json["uploadId"]
    part = note("PUT", f"{bucket}/made/u/m?uploadId={upload}&uploadPartNum=1", b"part").headers["etag"]
    commit = {"partsToCommit": [{"partNum": 1, "etag": part}]}
    note("POST", f"{bucket}/made/u/m?uploadId={upload}", commit)
    note("GET", f"{bucket}/made/u")
    par = {"name": "p", "accessType": "AnyObjectRead", "timeExpires": "2999-01-01T00:00:00Z"}
    note("POST", f"{bucket}/made/p", par)
    note("POST", f"{PATH}?action=START")
    made = {"compartmentId": emulator.seed.compartment, "instanceId": instance_id("web-01"), "displayName": "i"}
    image = note("POST", "/20160918/images", made)
    note("GET", f"/20160918/workRequests/{image.headers['opc-work-request-id']}")
    note("GET", f"/20160918/images/{image.json['id']}")
    note("GET", "/20160918/images/nothing")
    domain = {"compartmentId": emulator.seed.compartment, "availabilityDomain": "Test:US-ASHBURN-AD-1"}
    volume = note("POST", "/20160918/volumes", {**domain, "displayName": "v", "sizeInGBs": 50}).json["id"]
    note("POST", "/20160918/volumeBackups", {"volumeId": volume, "displayName": "b"})
    source = {"sourceType": "image", "imageId": image.json["id"]}
    launch = {**domain, "displayName": "l", "shape": "VM.Standard.E4.Flex", "shapeConfig": {"ocpus": 1}}
    vnics = note("GET", f"/20160918/vnicAttachments?compartmentId={emulator.seed.compartment}").json
    vnic = {"subnetId": vnics[0]["subnetId"]}
    launched = note("POST", "/20160918/instances/", {**launch, "sourceDetails": source, "createVnicDetails": vnic})
    attach = {"type": "iscsi", "instanceId": launched.json["id"], "volumeId": volume, "useChap": True}
    note("POST", "/20160918/volumeAttachments/", attach)
    note("GET", f"/20160918/vnicAttachments?compartmentId={emulator.seed.compartment}")
    user = {
        "compartmentId": emulator.seed.value["tenancyId"],
        "name": "u",
        "description": "u",
        "email": "u@example.org",
    }
    made = note("POST", "/20160918/users", user).json["id"]
    note("POST", f"/20160918/users/{made}/customerSecretKeys", {"displayName": "k"})
    log = [{name: value for name, value in entry.items() if name != "at"} for entry in emulator.log()]
    return [emulator.token, steps, log]


def test_a_random_seed_makes_two_runs_alike(start_emulator: Callable[..., Emulator]) -> None:
    """Same random seed and requests: same replies, ids, etags and log, times aside; another seed: another story."""
    first, same, other = (story(start_emulator(arguments=("--random-seed", seed, "--pace", "0"))) for seed in "778")
    assert first == same
    assert first[0] != other[0]
    assert all(step != differs for step, differs in zip(first[1], other[1], strict=True))


def test_a_second_run_on_a_state_makes_new_ids(start_emulator: Callable[..., Emulator]) -> None:
    """The same random seed on an existing state goes on with other draws: no id comes twice, the token stays."""
    emulator = start_emulator(arguments=("--random-seed", "7"))
    first = emulator.put("exports", "o", b"x").headers
    emulator.kill()
    token = emulator.token
    second = emulator.start().put("exports", "o", b"x").headers
    assert first["etag"] != second["etag"]
    assert first["opc-request-id"] != second["opc-request-id"]
    assert emulator.token == token
