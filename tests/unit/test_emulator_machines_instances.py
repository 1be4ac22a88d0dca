"""Instances against a model: what each does now, until when, and what it does then."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from emulator import PLATFORM_IMAGE, compartment_id, instance_id
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule
from machines import LONG, QUICK, CloudMachine, run_machine

BASE = "/20160918/instances"
SECONDS = 10.0
LOCK, DAY = 1200.0, 24 * 3600.0
STOPS = ("STOP", "SOFTSTOP")
REBOOTS = ("RESET", "SOFTRESET", "DIAGNOSTICREBOOT", "REBOOTMIGRATE")
ACTIONS = ("START", *STOPS, *REBOOTS, "SENDDIAGNOSTICINTERRUPT")
STABLE = ("RUNNING", "STOPPED")
AFTER = {
    "START": ("STARTING",),
    **dict.fromkeys(STOPS, ("STOPPING",)),
    **dict.fromkeys(REBOOTS, ("STOPPING", "STARTING")),
}


@dataclass
class Instance:
    """An instance of the model: states to come with the time at which each ends, and the one that stays."""

    name: str
    final: str
    passing: list[tuple[str, float]] = field(default_factory=list)
    imaged: float | None = None
    terminated: float | None = None
    preserved: bool = True
    boot_volume: str = ""
    etag: str = ""
    seen: str = ""

    def state(self, now: float) -> str:
        return next((state for state, until in self.passing if now < until), self.final)

    def passes(self, now: float, states: tuple[str, ...], final: str) -> None:
        self.passing = [(state, now + SECONDS * n) for n, state in enumerate(states, 1)]
        self.final, self.etag = final, ""

    def forgotten(self, now: float) -> bool:
        return self.terminated is not None and now >= self.terminated + DAY


class Instances(CloudMachine):
    """Launches, acts, images, renames and terminates while the clock moves."""

    seed_fields = {"instances": {"one": "RUNNING", "two": "STOPPED"}, "transition_seconds": SECONDS}  # noqa: RUF012
    compartment = compartment_id("main")

    def __init__(self) -> None:
        super().__init__()
        states = {"one": "RUNNING", "two": "STOPPED"}
        self.instances = {instance_id(name): Instance(name, state) for name, state in states.items()}
        self.tokens = 0

    def pick(self, data: st.DataObject) -> tuple[str, Instance]:
        found = data.draw(st.sampled_from(sorted(self.instances)))
        return found, self.instances[found]

    @property
    def now(self) -> float:
        return self.cloud.now

    @precondition(lambda self: len(self.instances) < 6)
    @rule()
    def launch(self) -> None:
        self.tokens += 1
        body = {
            "compartmentId": self.compartment,
            "availabilityDomain": "Test:US-ASHBURN-AD-1",
            "displayName": f"launched-{self.tokens}",
            "shape": "VM.Standard.E4.Flex",
            "shapeConfig": {"ocpus": 1},
            "sourceDetails": {"sourceType": "image", "imageId": PLATFORM_IMAGE},
            "createVnicDetails": {"subnetId": self.subnet()},
        }
        headers = {"opc-retry-token": f"token-{self.tokens}"}
        made, again = (self.ok("POST", f"{BASE}/", body, **headers).json for _ in range(2))
        assert made["id"] == again["id"] not in self.instances
        self.instances[made["id"]] = Instance(body["displayName"], "RUNNING", [("PROVISIONING", self.now + SECONDS)])

    def subnet(self) -> str:
        found = self.ok("GET", f"/20160918/vnicAttachments?compartmentId={self.compartment}").json
        return str(found[0]["subnetId"])

    @rule(data=st.data(), action=st.sampled_from(ACTIONS), stale=st.booleans())
    def act(self, data: st.DataObject, action: str, stale: bool) -> None:
        identifier, instance = self.pick(data)
        path, now = f"{BASE}/{identifier}?action={action}", self.now
        state = instance.state(now)
        if instance.forgotten(now):
            self.refused(404, "NotAuthorizedOrNotFound", "POST", path)
        elif stale and state in STABLE:
            self.refused(412, "NoEtagMatch", "POST", path, **{"if-match": "stale"})
        elif state not in (*STABLE, "TERMINATED"):
            self.refused(409, "Conflict", "POST", path)
        elif state != ("STOPPED" if action == "START" else "RUNNING"):
            assert self.cloud.call("POST", path).status in (404, 409)
        else:
            states, final = AFTER.get(action, ()), "STOPPED" if action in STOPS else "RUNNING"
            instance.passes(now, states, final)
            assert self.ok("POST", path).json["lifecycleState"] == (*states, final)[0]

    @rule(data=st.data())
    def create_image(self, data: st.DataObject) -> None:
        identifier, instance = self.pick(data)
        body, now = {"compartmentId": self.compartment, "instanceId": identifier}, self.now
        state = instance.state(now)
        locked = instance.imaged is not None and now < instance.imaged + LOCK
        if instance.forgotten(now):
            self.refused(404, "NotAuthorizedOrNotFound", "POST", "/20160918/images", body)
        elif locked or state not in (*STABLE, "TERMINATED"):
            self.refused(409, "Conflict", "POST", "/20160918/images", body)
        elif state == "TERMINATED":
            assert self.cloud.call("POST", "/20160918/images", body).status in (404, 409)
        else:
            instance.passes(now, ("CREATING_IMAGE",), state)
            instance.imaged = now
            assert self.ok("POST", "/20160918/images", body).json["lifecycleState"] == "PROVISIONING"

    @rule(data=st.data(), name=st.sampled_from(["one", "two", "three"]))
    def rename(self, data: st.DataObject, name: str) -> None:
        identifier, instance = self.pick(data)
        path, body = f"{BASE}/{identifier}", {"displayName": name}
        if instance.forgotten(self.now):
            self.refused(404, "NotAuthorizedOrNotFound", "PUT", path, body)
        elif instance.state(self.now) in ("TERMINATING", "TERMINATED"):
            self.refused(409, "IncorrectState", "PUT", path, body)
        else:
            instance.name, instance.etag = name, ""
            assert self.ok("PUT", path, body).json["displayName"] == name

    @rule(data=st.data(), preserve=st.booleans())
    def terminate(self, data: st.DataObject, preserve: bool) -> None:
        identifier, instance = self.pick(data)
        path, now = f"{BASE}/{identifier}?preserveBootVolume={str(preserve).lower()}", self.now
        state = instance.state(now)
        if state == "TERMINATED":
            self.refused(404, "NotAuthorizedOrNotFound", "DELETE", path)
        elif state not in (*STABLE, "CREATING_IMAGE"):
            self.refused(409, "Conflict", "DELETE", path)
        else:
            volumes = f"/20160918/bootVolumeAttachments?compartmentId={self.compartment}&instanceId={identifier}"
            (attached,) = self.ok("GET", f"{volumes}&availabilityDomain=Test:US-ASHBURN-AD-1").json
            instance.boot_volume, instance.preserved = attached["bootVolumeId"], preserve
            instance.passes(now, ("TERMINATING",), "TERMINATED")
            instance.terminated = now + SECONDS
            assert self.ok("DELETE", path).status == 204

    @rule(seconds=st.sampled_from([0.5, 1.0, SECONDS, 2 * SECONDS, LOCK, DAY]))
    def wait(self, seconds: float) -> None:
        self.cloud.advance(seconds)

    @rule()
    def restart(self) -> None:
        self.cloud = self.cloud.restarted()

    @invariant()
    def each_shows_its_state(self) -> None:
        now = self.now
        for identifier, instance in self.instances.items():
            if instance.forgotten(now):
                self.refused(404, "NotAuthorizedOrNotFound", "GET", f"{BASE}/{identifier}")
                continue
            reply = self.ok("GET", f"{BASE}/{identifier}")
            state, etag = instance.state(now), reply.headers["etag"]
            assert (reply.json["lifecycleState"], reply.json["displayName"]) == (state, instance.name)
            if instance.etag:
                assert (etag == instance.etag) == (state == instance.seen), "the etag is that of the state"
            instance.etag, instance.seen = etag, state

    @invariant()
    def the_list_shows_them_all(self) -> None:
        listed = self.pages(f"{BASE}?compartmentId={self.compartment}", 2)
        seen = {each["id"]: each["lifecycleState"] for each in listed}
        assert seen == {i: one.state(self.now) for i, one in self.instances.items() if not one.forgotten(self.now)}

    @invariant()
    def boot_volumes_outlive_as_asked(self) -> None:
        for instance in self.instances.values():
            if instance.boot_volume and instance.state(self.now) == "TERMINATED":
                assert self.volume_state(instance.boot_volume) == ("AVAILABLE" if instance.preserved else "gone")

    def volume_state(self, volume: str) -> str:
        reply = self.cloud.call("GET", f"/20160918/bootVolumes/{volume}")
        found: Any = reply.json.get("lifecycleState")
        return "gone" if reply.status == 404 or found in ("TERMINATING", "TERMINATED") else str(found)


def test_instances_behave_as_their_model(tmp_path: Path) -> None:
    """Whatever is launched, acted on, imaged, renamed and terminated, when: states, etags and lists are the model's."""
    run_machine(Instances, tmp_path, QUICK)


@pytest.mark.soak
def test_instances_behave_as_their_model_for_long(tmp_path: Path) -> None:
    """The same for many and longer stories, other ones each time."""
    run_machine(Instances, tmp_path, LONG)
