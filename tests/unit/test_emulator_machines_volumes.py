"""Volumes, backups, groups and attachments against a model: states, refusals and bytes, while the clock moves."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from emulator import compartment_id, instance_id
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule
from machines import LONG, QUICK, CloudMachine, run_machine

from hypersdk_emulator.blockstorage.records import layers

API = "/20160918"
SECONDS, DAY = 10.0, 24 * 3600.0
DOMAIN = "Test:US-ASHBURN-AD-1"
WINDOW = 3 * 4096
INSTANCES = ("one", "two")


@dataclass
class Thing:
    """Something of the model: states to come with the time at which each ends, and the one that stays."""

    final: str = "AVAILABLE"
    passing: list[tuple[str, float]] = field(default_factory=list)

    def state(self, now: float) -> str:
        return next((state for state, until in self.passing if now < until), self.final)

    def passes(self, now: float, *states: str, final: str) -> None:
        self.passing = [(state, now + SECONDS * n) for n, state in enumerate(states, 1)]
        self.final = final

    def gone(self, now: float) -> bool:
        return self.state(now) in ("TERMINATING", "TERMINATED", "DETACHED")

    def forgotten(self, now: float) -> bool:
        return self.final in ("TERMINATED", "DETACHED") and now >= self.passing[-1][1] + DAY


@dataclass
class Volume(Thing):
    """A block volume of the model."""

    size: int = 50
    data: bytearray = field(default_factory=lambda: bytearray(WINDOW))
    source: str = ""
    hydrated: float = 0.0
    group: str = ""
    resized: bool = False


@dataclass
class Backup(Thing):
    """A backup of the model."""

    volume: str = ""
    kind: str = ""
    size: int = 50
    data: bytes = b""


@dataclass
class Attachment(Thing):
    """An attachment of the model."""

    volume: str = ""
    instance: str = ""
    shareable: bool = False
    read_only: bool = False


@dataclass
class Group(Thing):
    """A volume group of the model."""

    members: list[str] = field(default_factory=list)


class Volumes(CloudMachine):
    """Makes, writes, clones, backs up, restores, groups, attaches, resizes and deletes."""

    seed_fields = {"instances": dict.fromkeys(INSTANCES, "RUNNING"), "transition_seconds": SECONDS}  # noqa: RUF012
    compartment = compartment_id("main")

    def __init__(self) -> None:
        super().__init__()
        self.volumes: dict[str, Volume] = {}
        self.backups: dict[str, Backup] = {}
        self.groups: dict[str, Group] = {}
        self.attachments: dict[str, Attachment] = {}

    @property
    def now(self) -> float:
        return self.cloud.now

    def attached(self, volume: str) -> list[Attachment]:
        found = [each for each in self.attachments.values() if each.volume == volume]
        return [each for each in found if each.state(self.now) != "DETACHED"]

    def backing_up(self, volume: str) -> bool:
        found = [each for each in self.backups.values() if each.volume == volume]
        return any(each.state(self.now) in ("REQUEST_RECEIVED", "CREATING") for each in found)

    def cloning(self, volume: str) -> int:
        clones = [each for each in self.volumes.values() if each.source == volume]
        return sum(not each.gone(self.now) and self.now < each.hydrated for each in clones)

    def clone_problem(self, volume: str) -> tuple[int, str] | None:
        model, now = self.volumes[volume], self.now
        if model.gone(now):
            return 404, "NotAuthorizedOrNotFound"
        if model.state(now) != "AVAILABLE":
            return 409, "IncorrectState"
        most = 1 if self.attached(volume) else 10
        return (409, "Conflict") if self.backing_up(volume) or self.cloning(volume) >= most else None

    def answer(self, problem: tuple[int, str] | None, method: str, path: str, body: Any = None) -> Any:
        """The reply's JSON of a call that must work, None of one that must be refused in this way."""
        if problem is None:
            reply = self.ok(method, f"{API}/{path}", body)
            return reply.json if reply.body else {}
        self.refused(*problem, method, f"{API}/{path}", body)
        return None

    def make(self, problem: tuple[int, str] | None, source: Any, **fields: Any) -> dict[str, Any] | None:
        place = {"compartmentId": self.compartment, "availabilityDomain": DOMAIN}
        return self.answer(problem, "POST", "volumes", {**place, "sourceDetails": source, **fields})

    def volume(self, data: st.DataObject) -> tuple[str, Volume]:
        found = data.draw(st.sampled_from(sorted(self.volumes)))
        return found, self.volumes[found]

    # ------------------------------------------------------------ volumes

    @precondition(lambda self: len(self.volumes) < 8)
    @rule()
    def create(self) -> None:
        made = self.make(None, None, sizeInGBs=50)
        assert made is not None
        self.volumes[made["id"]] = Volume(passing=[("PROVISIONING", self.now + SECONDS)])

    @precondition(lambda self: 0 < len(self.volumes) < 12)
    @rule(data=st.data(), more=st.sampled_from([0, 0, 5]))
    def clone(self, data: st.DataObject, more: int) -> None:
        identifier, source = self.volume(data)
        size = source.size + more
        made = self.make(self.clone_problem(identifier), {"type": "volume", "id": identifier}, sizeInGBs=size)
        if made is not None:
            self.volumes[made["id"]] = self.copy(source.data, size, identifier)

    def copy(self, data: bytes, size: int, source: str) -> Volume:
        life = [("PROVISIONING", self.now + SECONDS)]
        return Volume(passing=life, data=bytearray(data), size=size, source=source, hydrated=self.now + 2 * SECONDS)

    @precondition(lambda self: self.volumes)
    @rule(data=st.data(), offset=st.integers(0, WINDOW - 1), text=st.binary(min_size=1, max_size=5000))
    def write(self, data: st.DataObject, offset: int, text: bytes) -> None:
        identifier, model = self.volume(data)
        text = text[: WINDOW - offset]
        reply = self.control("PUT", f"volumes/{identifier}/data?offset={offset}", text)
        assert reply.status == (404 if model.gone(self.now) else 200), reply
        if reply.status == 200:
            model.data[offset : offset + len(text)] = text

    def control(self, method: str, path: str, body: bytes | None = None) -> Any:
        headers = {"host": "127.0.0.1", "authorization": f"Bearer {self.cloud.cloud.token}"}
        return self.cloud.call(method, f"/_emulator/{path}", body, headers)

    @precondition(lambda self: self.volumes)
    @rule(data=st.data(), more=st.sampled_from([-1, 10, 10]))
    def resize(self, data: st.DataObject, more: int) -> None:
        identifier, model = self.volume(data)
        problem = None
        if model.gone(self.now):
            problem = (404, "NotAuthorizedOrNotFound")
        elif model.state(self.now) != "AVAILABLE":
            problem = (409, "IncorrectState")
        elif more < 0:
            problem = (400, "InvalidParameter")
        if self.answer(problem, "PUT", f"volumes/{identifier}", {"sizeInGBs": model.size + more}) is not None:
            model.size, model.resized = model.size + more, model.resized or more > 0
            model.passes(self.now, "PROVISIONING", final="AVAILABLE")

    @precondition(lambda self: self.volumes)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        identifier, model = self.volume(data)
        now, problem = self.now, None
        if model.gone(now):
            problem = (404, "NotAuthorizedOrNotFound")
        elif model.state(now) != "AVAILABLE":
            problem = (409, "IncorrectState")
        elif self.attached(identifier) or model.group or self.backing_up(identifier) or now < model.hydrated:
            problem = (409, "Conflict")
        if self.answer(problem, "DELETE", f"volumes/{identifier}") is not None:
            model.passes(now, "TERMINATING", final="TERMINATED")

    # ------------------------------------------------------------ backups

    @precondition(lambda self: self.volumes and len(self.backups) < 8)
    @rule(data=st.data(), asked=st.sampled_from(["FULL", "INCREMENTAL"]))
    def back_up(self, data: st.DataObject, asked: str) -> None:
        identifier, model = self.volume(data)
        now, problem = self.now, None
        if model.gone(now):
            problem = (404, "NotAuthorizedOrNotFound")
        elif model.state(now) != "AVAILABLE":
            problem = (409, "IncorrectState")
        elif self.backing_up(identifier):
            problem = (409, "Conflict")
        made = self.answer(problem, "POST", "volumeBackups", {"volumeId": identifier, "type": asked})
        if made is not None:
            earlier = [each for each in self.backups.values() if each.volume == identifier and not each.gone(now)]
            kind = asked if earlier and not model.resized else "FULL"
            life = [("REQUEST_RECEIVED", now + SECONDS / 10), ("CREATING", now + SECONDS)]
            assert made["type"] == kind
            backup = Backup(passing=life, volume=identifier, kind=kind, size=model.size, data=bytes(model.data))
            self.backups[made["id"]] = backup
            model.resized = False

    @precondition(lambda self: self.backups and len(self.volumes) < 12)
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        identifier = data.draw(st.sampled_from(sorted(self.backups)))
        model, problem = self.backups[identifier], None
        if model.gone(self.now):
            problem = (404, "NotAuthorizedOrNotFound")
        elif model.state(self.now) != "AVAILABLE":
            problem = (409, "IncorrectState")
        made = self.make(problem, {"type": "volumeBackup", "id": identifier})
        if made is not None:
            self.volumes[made["id"]] = self.copy(model.data, model.size, identifier)

    @precondition(lambda self: self.backups)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        identifier = data.draw(st.sampled_from(sorted(self.backups)))
        model, problem = self.backups[identifier], None
        if model.gone(self.now):
            problem = (404, "NotAuthorizedOrNotFound")
        elif model.state(self.now) != "AVAILABLE":
            problem = (409, "IncorrectState")
        if self.answer(problem, "DELETE", f"volumeBackups/{identifier}") is not None:
            model.passes(self.now, "TERMINATING", final="TERMINATED")

    # ------------------------------------------------------------ groups

    @precondition(lambda self: self.volumes and len(self.groups) < 4)
    @rule(data=st.data())
    def group(self, data: st.DataObject) -> None:
        members = data.draw(st.lists(st.sampled_from(sorted(self.volumes)), min_size=1, max_size=3, unique=True))
        now, problem = self.now, None
        for each in reversed(members):
            model = self.volumes[each]
            if model.gone(now):
                problem = (404, "NotAuthorizedOrNotFound")
            elif model.state(now) != "AVAILABLE":
                problem = (409, "IncorrectState")
            elif model.group:
                problem = (409, "Conflict")
        made = self.make_group(problem, {"type": "volumeIds", "volumeIds": members})
        if made is not None:
            for each in members:
                self.volumes[each].group = made["id"]
            self.groups[made["id"]] = Group(passing=[("PROVISIONING", now + SECONDS)], members=members)

    def make_group(self, problem: tuple[int, str] | None, source: Any) -> dict[str, Any] | None:
        place = {"compartmentId": self.compartment, "availabilityDomain": DOMAIN}
        return self.answer(problem, "POST", "volumeGroups", {**place, "sourceDetails": source})

    @precondition(lambda self: self.groups and len(self.volumes) < 9)
    @rule(data=st.data())
    def clone_group(self, data: st.DataObject) -> None:
        identifier = data.draw(st.sampled_from(sorted(self.groups)))
        model, now, problem = self.groups[identifier], self.now, None
        if model.gone(now):
            problem = (404, "NotAuthorizedOrNotFound")
        elif model.state(now) != "AVAILABLE":
            problem = (409, "IncorrectState")
        else:
            problem = next(filter(None, map(self.clone_problem, model.members)), None)
        made = self.make_group(problem, {"type": "volumeGroupId", "volumeGroupId": identifier})
        if made is not None:
            for source, clone in zip(model.members, made["volumeIds"], strict=True):
                origin = self.volumes[source]
                self.volumes[clone] = self.copy(origin.data, origin.size, source)
                self.volumes[clone].group = made["id"]
            life = [("PROVISIONING", now + SECONDS)]
            self.groups[made["id"]] = Group(passing=life, members=made["volumeIds"])

    @precondition(lambda self: self.groups)
    @rule(data=st.data())
    def ungroup(self, data: st.DataObject) -> None:
        identifier = data.draw(st.sampled_from(sorted(self.groups)))
        model, problem = self.groups[identifier], None
        if model.gone(self.now):
            problem = (404, "NotAuthorizedOrNotFound")
        elif model.state(self.now) != "AVAILABLE":
            problem = (409, "IncorrectState")
        if self.answer(problem, "DELETE", f"volumeGroups/{identifier}") is not None:
            model.passes(self.now, "TERMINATING", final="TERMINATED")
            for each in model.members:
                self.volumes[each].group = ""

    # ------------------------------------------------------------ attachments

    @precondition(lambda self: self.volumes)
    @rule(data=st.data(), instance=st.sampled_from(INSTANCES), shareable=st.booleans(), read_only=st.booleans())
    def attach(self, data: st.DataObject, instance: str, shareable: bool, read_only: bool) -> None:
        identifier, model = self.volume(data)
        others, problem = self.attached(identifier), None
        if model.gone(self.now):
            problem = (404, "NotAuthorizedOrNotFound")
        elif model.state(self.now) != "AVAILABLE":
            problem = (409, "IncorrectState")
        elif any(
            not shareable or not each.shareable or each.read_only != read_only or each.instance == instance
            for each in others
        ):
            problem = (409, "Conflict")
        body = {
            "type": "iscsi",
            "instanceId": instance_id(instance),
            "volumeId": identifier,
            "isShareable": shareable,
            "isReadOnly": read_only,
        }
        made = self.answer(problem, "POST", "volumeAttachments", body)
        if made is not None:
            life = [("ATTACHING", self.now + SECONDS)]
            self.attachments[made["id"]] = Attachment("ATTACHED", life, identifier, instance, shareable, read_only)

    @precondition(lambda self: self.attachments)
    @rule(data=st.data())
    def detach(self, data: st.DataObject) -> None:
        identifier = data.draw(st.sampled_from(sorted(self.attachments)))
        model, problem = self.attachments[identifier], None
        if model.gone(self.now):
            problem = (404, "NotAuthorizedOrNotFound")
        elif model.state(self.now) != "ATTACHED":
            problem = (409, "Conflict")
        if self.answer(problem, "DELETE", f"volumeAttachments/{identifier}") is not None:
            model.passes(self.now, "DETACHING", final="DETACHED")

    # ------------------------------------------------------------ time

    @rule(seconds=st.sampled_from([0.5, 1.0, SECONDS, DAY]))
    def wait(self, seconds: float) -> None:
        self.cloud.advance(seconds)

    @rule(times=st.integers(1, 3))
    def settle(self, times: int) -> None:
        """All that is under way ends: without this most stories would be of refusals."""
        for _ in range(times):
            self.cloud.advance(SECONDS)

    @precondition(lambda self: any(self.now < each.hydrated for each in self.volumes.values()))
    @rule()
    def hydrate(self) -> None:
        """The same once more, where a clone waits."""
        self.cloud.advance(2 * SECONDS)

    @rule()
    def restart(self) -> None:
        self.cloud = self.cloud.restarted()

    @invariant()
    def everything_shows_its_state(self) -> None:
        for path, things in (
            ("volumes", self.volumes),
            ("volumeBackups", self.backups),
            ("volumeGroups", self.groups),
            ("volumeAttachments", self.attachments),
        ):
            listed = self.pages(f"{API}/{path}?compartmentId={self.compartment}", 3)
            seen = {each["id"]: each["lifecycleState"] for each in listed}
            now = self.now
            assert seen == {key: each.state(now) for key, each in things.items() if not each.forgotten(now)}

    @invariant()
    def volumes_are_right(self) -> None:
        for identifier, model in self.volumes.items():
            if model.forgotten(self.now):
                continue
            shown = self.ok("GET", f"{API}/volumes/{identifier}").json
            assert (shown["sizeInGBs"], shown["volumeGroupId"]) == (model.size, model.group or None)
            assert shown["isHydrated"] == (self.now >= model.hydrated)
            if not model.gone(self.now):
                assert layers(self.cloud.cloud).top(identifier).length == model.size << 30
                assert self.control("GET", f"volumes/{identifier}/data?length={WINDOW}").body == bytes(model.data)


def test_volumes_behave_as_their_model(tmp_path: Path) -> None:
    """Whatever is made, written, copied, grouped, attached, deleted, when: states, refusals, bytes are the model's."""
    run_machine(Volumes, tmp_path, QUICK)


@pytest.mark.soak
def test_volumes_behave_as_their_model_for_long(tmp_path: Path) -> None:
    """The same for many more and longer stories."""
    run_machine(Volumes, tmp_path, LONG)
