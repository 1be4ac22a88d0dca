"""Images and their work requests against a model: made, exported, deleted, with failures, on a virtual clock."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from emulator import NAMESPACE, PLATFORM_IMAGE, compartment_id, instance_id
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule
from machines import LONG, QUICK, CloudMachine, run_machine

BASE = "/20160918/images"
COMPARTMENT = compartment_id("main")
SECONDS = 10.0
KEPT = 12 * 3600.0
QCOW2 = b"QFI\xfb"


@dataclass
class Work:
    """A work request of the model: planned until `due`, over since `finished`; percent as last seen."""

    due: float
    fails: bool
    finished: float | None = None
    percent: float = 0.0
    target: str = ""

    @property
    def outcome(self) -> str:
        return "FAILED" if self.fails else "SUCCEEDED"


@dataclass
class Image:
    """An image of the model."""

    name: str
    made: float
    fails: bool
    deleted: bool = False
    export: Work | None = None

    def state(self, now: float) -> str:
        if self.deleted or (self.fails and now >= self.made):
            return "DELETED"
        if now < self.made:
            return "PROVISIONING"
        return "EXPORTING" if self.export is not None and self.export.finished is None else "AVAILABLE"


class Images(CloudMachine):
    """Makes images of four instances, exports and deletes them; some of it fails as declared."""

    seed_fields = {  # noqa: RUF012 - never changed
        "instances": ["one", "two", "three", "four"],
        "transition_seconds": SECONDS,
        "disk_size": 1 << 20,
        "assume": {"lock-minutes": 0, "status-object": False, "open-upload": False},
    }

    def __init__(self) -> None:
        super().__init__()
        self.images: dict[str, Image] = {}
        self.busy: dict[str, float] = {}
        self.works: dict[str, Work] = {}

    @property
    def now(self) -> float:
        return self.cloud.now

    def in_state(self, *states: str) -> list[str]:
        return sorted(i for i, image in self.images.items() if image.state(self.now) in states)

    @rule(name=st.sampled_from(["one", "two", "three", "four"]), fails=st.booleans())
    def create(self, name: str, fails: bool) -> None:
        body = {"compartmentId": COMPARTMENT, "instanceId": instance_id(name), "displayName": f"of {name}"}
        if self.now < self.busy.get(name, 0.0):
            self.refused(409, "Conflict", "POST", BASE, body)
            return
        if fails:
            self.cloud.fault("CreateImage", "work-request-fails")
        reply = self.ok("POST", BASE, body)
        due = self.busy[name] = self.now + SECONDS
        self.images[reply.json["id"]] = Image(body["displayName"], due, fails)
        self.works[reply.headers["opc-work-request-id"]] = Work(due, fails, due)

    @precondition(lambda self: self.images)
    @rule(data=st.data(), effect=st.sampled_from(["", "work-request-fails", "export-without-object"]))
    def export(self, data: st.DataObject, effect: str) -> None:
        image_id = data.draw(st.sampled_from(sorted(self.images)))
        image, target = self.images[image_id], f"export-{len(self.works)}"
        path = f"{BASE}/{image_id}/actions/export"
        body = {
            "destinationType": "objectStorageTuple",
            "namespaceName": NAMESPACE,
            "bucketName": "exports",
            "objectName": target,
            "exportFormat": "QCOW2",
        }
        match image.state(self.now):
            case "AVAILABLE":
                if effect:
                    self.cloud.fault("ExportImage", effect)
                reply = self.ok("POST", path, body)
                assert reply.json["lifecycleState"] == "EXPORTING"
                fails = effect == "work-request-fails"
                image.export = Work(self.now + SECONDS, fails, target="" if effect else target)
                self.works[reply.headers["opc-work-request-id"]] = image.export
            case "DELETED":
                self.refused(404, "NotAuthorizedOrNotFound", "POST", path, body)
            case "EXPORTING":
                self.refused(409, "Conflict", "POST", path, body)
            case _:
                self.refused(409, "IncorrectState", "POST", path, body)

    @precondition(lambda self: self.images)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        image_id = data.draw(st.sampled_from(sorted(self.images)))
        path = f"{BASE}/{image_id}"
        match self.images[image_id].state(self.now):
            case "DELETED":
                self.refused(404, "NotAuthorizedOrNotFound", "DELETE", path)
            case "EXPORTING":
                self.refused(409, "IncorrectState", "DELETE", path)
            case _:
                assert self.ok("DELETE", path).status == 204
                self.images[image_id].deleted = True

    @precondition(lambda self: self.images)
    @rule(data=st.data(), name=st.sampled_from(["a", "b"]), stale=st.booleans())
    def rename(self, data: st.DataObject, name: str, stale: bool) -> None:
        image_id = data.draw(st.sampled_from(sorted(self.images)))
        path, body = f"{BASE}/{image_id}", {"displayName": name}
        if self.images[image_id].state(self.now) == "DELETED":
            self.refused(404, "NotAuthorizedOrNotFound", "PUT", path, body)
        elif stale:
            self.refused(412, "NoEtagMatch", "PUT", path, body, **{"if-match": "stale"})
        else:
            etag = self.ok("GET", path).headers["etag"]
            assert self.ok("PUT", path, body, **{"if-match": etag}).json["displayName"] == name
            self.images[image_id].name = name

    @rule(method=st.sampled_from(["PUT", "DELETE"]))
    def touch_the_platform(self, method: str) -> None:
        self.refused(403, "NotAllowed", method, f"{BASE}/{PLATFORM_IMAGE}", {"displayName": "x"})

    @rule(seconds=st.sampled_from([0.1, 1.0, SECONDS / 2, SECONDS, KEPT]))
    def wait(self, seconds: float) -> None:
        self.cloud.advance(seconds)
        for work in self.works.values():
            if work.finished is None and self.now >= work.due:
                work.finished = self.now

    @rule()
    def restart(self) -> None:
        self.cloud = self.cloud.restarted()

    @invariant()
    def each_shows_its_state(self) -> None:
        for image_id, image in self.images.items():
            shown = self.ok("GET", f"{BASE}/{image_id}").json
            assert (shown["lifecycleState"], shown["displayName"]) == (image.state(self.now), image.name)

    @invariant()
    def the_list_shows_what_lives(self) -> None:
        listed = self.pages(f"{BASE}?compartmentId={COMPARTMENT}", 2)
        seen = {each["id"]: each["lifecycleState"] for each in listed if each["compartmentId"] is not None}
        assert seen == {
            i: self.images[i].state(self.now) for i in self.in_state("PROVISIONING", "AVAILABLE", "EXPORTING")
        }

    @invariant()
    def work_requests_tell_the_truth(self) -> None:
        for work_id, work in self.works.items():
            path = f"/20160918/workRequests/{work_id}"
            if work.finished is not None and self.now >= work.finished + KEPT:
                self.refused(404, "NotAuthorizedOrNotFound", "GET", path)
                continue
            shown = self.ok("GET", path).json
            over = work.finished is not None and self.now >= work.finished
            assert (shown["status"] == work.outcome) if over else (shown["status"] in ("ACCEPTED", "IN_PROGRESS"))
            assert work.percent <= shown["percentComplete"] <= 100.0
            assert (shown["percentComplete"] == 100.0) == (over and not work.fails)
            assert (self.ok("GET", f"{path}/errors").json != []) == (over and work.fails)
            work.percent = shown["percentComplete"]

    @invariant()
    def objects_are_there_when_all_is_well(self) -> None:
        listed = {each["name"] for each in self.ok("GET", f"/n/{NAMESPACE}/b/exports/o").json["objects"]}
        good = {work.target for work in self.works.values() if work.target and work.finished and not work.fails}
        assert listed == good
        for name in listed:
            assert (self.cloud.object_bytes("exports", name) or b"").startswith(QCOW2)
        if not any(work.finished is None for work in self.works.values()):
            assert self.ok("GET", f"/n/{NAMESPACE}/b/exports/u").json == []


def test_images_behave_as_their_model(tmp_path: Path) -> None:
    """Whatever is made, exported, renamed, deleted or fails: states, work requests and objects are the model's."""
    run_machine(Images, tmp_path, settings(QUICK, max_examples=15))


@pytest.mark.soak
def test_images_behave_as_their_model_for_long(tmp_path: Path) -> None:
    """The same for many and longer stories, other ones each time."""
    run_machine(Images, tmp_path, settings(LONG, max_examples=500))
