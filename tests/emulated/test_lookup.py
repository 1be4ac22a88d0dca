"""From a name to exactly one instance, over a socket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from emulator import Emulator, compartment_id, instance_id

from hypersdk import errors, events
from hypersdk.config import load_config
from hypersdk.exports.power import change_power
from hypersdk.network import NetworkMonitor
from hypersdk.providers.lookup import Complete, Partial, find_image, find_instance, list_instances
from hypersdk.providers.oci import OciProvider
from hypersdk.retry import Retrier, RetryPolicy
from hypersdk.vendors.oci.session import open_session
from hypersdk.waiting import Waiter
from hypersdk.wire.probe import probe

Start = Callable[..., Emulator]


class World:
    """A cloud as a session sees it, on a clock that only sleeping moves."""

    def __init__(self, emulator: Emulator, *, page: int = 1000, attempts: int = 5, monitored: bool = False) -> None:
        folder = str(emulator.seed.folder)
        flags = {"config_file": str(emulator.config_file), "endpoint": emulator.endpoint}
        self.emulator = emulator
        self.session = open_session(load_config(flags, environ={}, cwd=folder, home=folder).oci)
        self.now = 0.0
        self.reasons: list[str] = []
        self.notes: list[str] = []
        self.on_sleep: Callable[[], None] = lambda: None
        waiter = Waiter(clock=lambda: self.now, sleep=self.sleep, report=self.note)
        reach = (lambda: probe(self.session.connection, emulator.endpoint)) if monitored else None
        monitor = NetworkMonitor(reach, clock=lambda: self.now, start=lambda ask: ask())
        self.retrier = Retrier(RetryPolicy(max_attempts=attempts, jitter=False), waiter, monitor)
        self.provider = OciProvider(self.session, call=self.retrier.call, page=page)

    def sleep(self, seconds: float) -> bool:
        self.now += seconds
        self.on_sleep()
        return False

    def note(self, event: events.Event, /) -> None:
        if isinstance(event, events.Note):
            self.notes.append(event.text)
        elif isinstance(event, events.Waiting) and event.reason:
            self.reasons.append(event.reason)

    def find(self, wanted: str, compartment: str | None = None) -> Any:
        return find_instance(self.provider, self.retrier, wanted, compartment)


def put_last(*names: str, dead: str | None = None) -> Callable[[dict[str, Any]], None]:
    """Give the instances at the end of the seed these names, and the state TERMINATED to one place from the end."""

    def change(seed: dict[str, Any]) -> None:
        for number, name in enumerate(reversed(names), 1):
            seed["instances"][-number]["displayName"] = name
        if dead is not None:
            next(each for each in seed["instances"] if each["id"] == dead)["lifecycleState"] = "TERMINATED"

    return change


def elsewhere(seed: dict[str, Any]) -> None:
    """Move the last instance into the nested compartment."""
    seed["instances"][-1]["compartmentId"] = compartment_id("sub")


NESTED = {"main": None, "sub": "main", "other": None}


def test_a_name_on_the_last_page_is_found(start_emulator: Start) -> None:
    """Of 1001 instances the one on the last page is found by its name, and all are listed (C032)."""
    names = tuple(f"vm-{number:04d}" for number in range(1001))
    emulator = start_emulator(instances=names, disks=1, disk_size=1 << 20)
    world = World(emulator)
    listing = list_instances(world.provider)
    assert isinstance(listing, Complete)
    listed = [found.resource for found in listing.items]
    assert len({instance.id for instance in listed}) == 1001
    last = listed[-1]
    assert world.find(last.name).id == last.id


def test_two_of_one_name_on_different_pages_are_refused(start_emulator: Start) -> None:
    """The second bearer of a name is seen although it stands pages away, and none of the two is taken (C032)."""
    names = ("twin", *(f"vm-{number}" for number in range(5)), "last")
    emulator = start_emulator(instances=names, disks=1, disk_size=1 << 20, change=put_last("twin"))
    world = World(emulator, page=1)
    with pytest.raises(errors.UsageError) as caught:
        world.find("twin")
    assert caught.value.exit_code == 2
    assert instance_id("twin") in caught.value.message
    assert instance_id("last") in caught.value.message
    assert "in main" in caught.value.message


def test_two_of_one_name_in_different_compartments_are_refused(start_emulator: Start) -> None:
    """Names are looked up in every compartment, nested ones too; -c narrows, an OCID decides."""

    def change(seed: dict[str, Any]) -> None:
        put_last("twin")(seed)
        elsewhere(seed)

    emulator = start_emulator(instances=("twin", "web"), compartments=NESTED, disks=1, disk_size=1 << 20, change=change)
    world = World(emulator)
    with pytest.raises(errors.UsageError, match=r"in main, .*in main/sub"):
        world.find("twin")
    assert world.find("twin", compartment_id("sub")).id == instance_id("web")
    assert world.find(instance_id("web")).id == instance_id("web")
    with pytest.raises(errors.NotFoundError):
        world.find("twin", compartment_id("other"))


def test_a_terminated_twin_does_not_count(start_emulator: Start) -> None:
    """A dead instance of the same name is named in a note, not taken, and makes nothing ambiguous (C038)."""
    change = put_last("web", dead=instance_id("old"))
    emulator = start_emulator(instances=("web", "old"), disks=1, disk_size=1 << 20, change=change)
    world = World(emulator)
    assert world.find("web").id == instance_id("web")
    assert world.notes == ["not taken: 1 instance(s) of the name 'web': TERMINATED"]


def test_a_name_that_only_a_dead_instance_has_is_not_found(start_emulator: Start) -> None:
    """The error says that the name was there and what became of it."""
    emulator = start_emulator(instances={"web": "TERMINATED"}, disks=1, disk_size=1 << 20)
    with pytest.raises(errors.NotFoundError, match="TERMINATED") as caught:
        World(emulator).find("web")
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("wanted", ["web", "absent"])
def test_an_unreadable_compartment_makes_the_answer_partial(start_emulator: Start, wanted: str) -> None:
    """Neither "it is the only one" nor "there is none" is said when a compartment could not be read."""
    secret = compartment_id("other")
    denied = {"denied": ["ListInstances"], "deniedCompartments": [secret]}
    emulator = start_emulator(instances=("web",), compartments=NESTED, disks=1, disk_size=1 << 20, user=denied)
    world = World(emulator)
    with pytest.raises(errors.PermissionDenied) as caught:
        world.find(wanted)
    assert caught.value.exit_code == 4
    assert f"other ({secret})" in caught.value.message
    assert "OCID" in (caught.value.hint or "")
    listing = list_instances(world.provider)
    assert isinstance(listing, Partial)
    assert [found.resource.name for found in listing.items] == ["web"]
    assert [unread.compartment.id for unread in listing.unread] == [secret]
    assert world.find("web", compartment_id("main")).id == instance_id("web")


def test_compartments_on_later_pages_are_looked_into(start_emulator: Start) -> None:
    """Of 40 compartments on pages of 3 the one with the instance is found, and its path crosses pages (C032)."""
    parents = {"main": None, **{f"c{number:02d}": None for number in range(38)}, "sub": "main"}
    emulator = start_emulator(instances=("web",), compartments=parents, disks=1, disk_size=1 << 20, change=elsewhere)
    world = World(emulator, page=3)
    assert world.find("web").id == instance_id("web")
    (found,) = list_instances(world.provider).items
    assert found.compartment.path == "main/sub"


def test_compartments_that_cannot_be_listed_are_told(start_emulator: Start) -> None:
    """Without the right to list compartments the error asks for one by name."""
    emulator = start_emulator(disks=1, disk_size=1 << 20)
    emulator.fault("ListCompartments", "error", status=404, code="NotAuthorizedOrNotFound")
    with pytest.raises(errors.PermissionDenied, match="-c"):
        World(emulator).find("web-01")


def test_ids_of_other_things_are_usage_errors(emulator: Emulator) -> None:
    """An OCID of another kind, or a broken one, is refused before anything is asked."""
    world = World(emulator)
    for wrong in ("ocid1.image.oc1.iad.x", "ocid1.nonsense"):
        with pytest.raises(errors.UsageError):
            world.find(wrong)
    with pytest.raises(errors.UsageError):
        world.find("web-01", "my-compartment")
    assert emulator.log() == []


def test_images_are_found_by_name_too(emulator: Emulator) -> None:
    """A custom image is found by its exact name; a deleted twin and the platform's images do not count."""
    world = World(emulator)
    instance = world.find("web-01")
    made = world.provider.create_image(
        instance, compartment_id=instance.compartment_id, name="golden", tags={}, retry_token="t1"
    )
    assert find_image(world.provider, world.retrier, "golden").id == made.image.id
    with pytest.raises(errors.NotFoundError):
        find_image(world.provider, world.retrier, "Platform-Linux")
    world.provider.delete_image(made.image.id)
    with pytest.raises(errors.NotFoundError):
        find_image(world.provider, world.retrier, "golden")


def test_throttling_is_waited_out_as_long_as_asked(emulator: Emulator) -> None:
    """A 429 with Retry-After delays the next try by exactly so long; one without by the policy."""
    world = World(emulator)
    headers = {"Retry-After": "17"}
    emulator.fault("ListInstances", "error", status=429, code="TooManyRequests", headers=headers)
    assert world.find("web-01").name == "web-01"
    assert world.now == 17
    emulator.fault("ListInstances", "error", status=429, code="TooManyRequests")
    world.find("web-01")
    assert world.now == 17 + 2


def test_an_instance_that_is_being_modified_is_waited_for(emulator: Emulator) -> None:
    """A 409 "being modified" costs no attempt: the state is waited for, then the action done."""
    world = World(emulator, attempts=1)
    message = "instance is currently being modified, try again later"
    emulator.fault("InstanceAction", "error", status=409, code="Conflict", message=message, times=3)
    started = change_power(world.provider, world.retrier, instance_id("web01"), "START")
    assert started.lifecycle_state == "RUNNING"
    assert any("being modified" in reason for reason in world.reasons)
    assert 5 * 3 <= world.now <= 60


def test_a_lost_reply_starts_an_instance_once(emulator: Emulator) -> None:
    """The reply to START gets lost; the repeated call finds that it took effect."""
    world = World(emulator)
    emulator.fault("InstanceAction", "lost-response")
    assert change_power(world.provider, world.retrier, instance_id("web01"), "START").lifecycle_state == "RUNNING"


def test_a_network_outage_spends_no_attempt(emulator: Emulator) -> None:
    """With one attempt in all, a cloud that is away for a minute is waited for, and the lookup succeeds."""
    world = World(emulator, attempts=1, monitored=True)
    emulator.stop()

    def back() -> None:
        if world.now >= 60 and emulator.process.poll() is not None:
            emulator.start()

    world.on_sleep = back
    assert world.find("web-01").name == "web-01"
    assert world.now >= 60
    assert any(reason.startswith("network down since") for reason in world.reasons)
