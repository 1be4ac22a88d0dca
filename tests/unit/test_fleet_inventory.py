"""The inventory over regions and compartments, and what the entries of a file mean, on a cloud of plain data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from hypersdk import errors
from hypersdk.fleet.planning.files import Wanted
from hypersdk.fleet.planning.inventory import Found, Inventory, Places, Reader, match
from hypersdk.fleet.planning.lists import Cloud
from hypersdk.model import Instance, Volume
from hypersdk.network import NetworkMonitor
from hypersdk.providers.protocol import Attached, Compartment
from hypersdk.retry import Retrier, RetryPolicy
from hypersdk.waiting import StopFlag, Waiter

GIB = 1024**3
ASHBURN, PHOENIX = "us-ashburn-1", "us-phoenix-1"
WEB, DB = (Compartment(f"ocid1.compartment.oc1..{name}", name, f"prod/{name}") for name in ("web", "db"))


def vm(
    name: str, state: str = "STOPPED", *, region: str = ASHBURN, place: Compartment = WEB, number: int = 0
) -> Instance:
    ocid = f"ocid1.instance.oc1.iad.{name}{number}"
    return Instance(ocid, name, place.id, state, region, f"{region}-AD-1")


def volume_id(one: Instance) -> str:
    return one.id.replace("instance", "bootvolume")


@dataclass
class FakeCloud:
    """A tenancy; counts what it is asked, and refuses what it is told to."""

    instances: list[Instance]
    denied: set[tuple[str, str, str]] = field(default_factory=set)
    volumes_in: dict[str, str] = field(default_factory=dict)
    compartments: list[Compartment] = field(default_factory=lambda: [WEB, DB])
    listable: bool = True
    calls: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def connect(self, region: str, stop: StopFlag) -> Iterator[Cloud]:
        yield self.cloud(region, stop)

    def cloud(self, region: str = ASHBURN, stop: StopFlag | None = None) -> Cloud:
        waiter = Waiter(stop=stop or StopFlag())
        provider: Any = _Provider(self, region)
        return Cloud(provider, Retrier(RetryPolicy(), waiter, NetworkMonitor(None)))

    def reader(self) -> Reader:
        return Reader(self.connect, StopFlag())

    def places(self, *regions: str, asked: tuple[str, ...] = ()) -> Places:
        return self.reader().places(regions or (ASHBURN,), asked, home=self.cloud())


class _Provider:
    def __init__(self, tenancy: FakeCloud, region: str) -> None:
        self._tenancy = tenancy
        self.region = region

    def _ask(self, what: str, place: str) -> None:
        self._tenancy.calls[what] += 1
        if (self.region, place, what) in self._tenancy.denied:
            raise errors.NotFoundError(f"{what}: {place}: not authorized or not found", resource=place)

    def _here(self, place: str) -> list[Instance]:
        return [one for one in self._tenancy.instances if (one.region, one.compartment_id) == (self.region, place)]

    def compartments(self) -> Iterator[Compartment]:
        if not self._tenancy.listable:
            raise errors.PermissionDenied("list compartments: no")
        yield from self._tenancy.compartments

    def instances(self, place: str) -> Iterator[Instance]:
        self._ask("instances", place)
        yield from self._here(place)

    def instance(self, instance_id: str) -> Instance:
        self._ask("instance", instance_id)
        found = [one for one in self._tenancy.instances if (one.region, one.id) == (self.region, instance_id)]
        if not found:
            raise errors.NotFoundError(f"get instance: {instance_id}: not found")
        return found[0]

    def boot_attachments(self, place: str, domain: str) -> Iterator[Attached]:
        self._ask("attachments", place)
        for one in self._here(place):
            if one.availability_domain == domain:
                yield Attached(one.id, volume_id(one))

    def boot_volumes(self, place: str, domain: str) -> Iterator[Volume]:
        self._ask("volumes", place)
        for one in self._tenancy.instances:
            lies = self._tenancy.volumes_in.get(one.id, one.compartment_id)
            if (one.region, lies, one.availability_domain) == (self.region, place, domain):
                yield Volume(volume_id(one), "", 50 * GIB, boot=True)

    def volumes(self, one: Instance) -> Iterator[Volume]:
        self._ask("volumes of one", one.id)
        if self._tenancy.volumes_in.get(one.id) != "nowhere":
            yield Volume(volume_id(one), "", 60 * GIB, boot=True)


def test_instances_of_all_regions_and_compartments_are_found_once() -> None:
    """One list for each compartment of each region; paths and sizes come with them, no call is made per instance."""
    some = [
        vm(f"{place.name}{n}", region=region, place=place)
        for region in (ASHBURN, PHOENIX)
        for place in (WEB, DB)
        for n in range(5)
    ]
    some = [replace(one, id=f"{one.id}{one.region}") for one in some]
    cloud = FakeCloud(some)
    reader = cloud.reader()
    listed = reader.instances(cloud.places(ASHBURN, PHOENIX, ASHBURN))
    sized = reader.sized(listed.found)
    assert {one.instance.id for one in sized.found} == {one.id for one in some}
    assert {one.compartment for one in sized.found} == {"prod/web", "prod/db"}
    assert {one.size for one in sized.found} == {50 * GIB}
    assert (listed.unread, sized.unread) == ((), ())
    assert cloud.calls == {"instances": 4, "attachments": 4, "volumes": 4}


def test_one_endpoint_for_several_regions_shows_nothing_twice() -> None:
    """An instance that two regions show is one instance."""
    cloud = FakeCloud([vm("a"), replace(vm("a"), region=PHOENIX)])
    assert len(cloud.reader().instances(cloud.places(ASHBURN, PHOENIX)).found) == 1


def test_an_unread_compartment_makes_the_inventory_partial() -> None:
    """What was not read is told with region and compartment, and nothing may be selected from the rest."""
    cloud = FakeCloud([vm("a"), vm("b", place=DB)], denied={(ASHBURN, DB.id, "instances")})
    found = cloud.reader().instances(cloud.places())
    assert [one.instance.name for one in found.found] == ["a"]
    with pytest.raises(errors.PermissionDenied, match=rf"instances in prod/db of {ASHBURN}") as caught:
        found.refuse_unread("cannot tell")
    assert "-c" in (caught.value.hint or "")


@pytest.mark.parametrize("what", ["attachments", "volumes"])
def test_unread_volumes_are_told(what: str) -> None:
    """Sizes that could not be read are not passed over."""
    cloud = FakeCloud([vm("a"), vm("b", place=DB)], denied={(ASHBURN, DB.id, what)})
    reader = cloud.reader()
    sized = reader.sized(reader.instances(cloud.places()).found)
    assert [one.size for one in sized.found] == [50 * GIB, None]
    assert "boot volumes of us-ashburn-1-AD-1 in prod/db" in str(sized.unread[0])


def test_a_volume_in_another_compartment_is_asked_for_alone() -> None:
    """Only the instance whose boot volume no list showed costs a call; one without a volume has a note."""
    some = [vm("a"), vm("b"), vm("c")]
    cloud = FakeCloud(some, volumes_in={some[1].id: "elsewhere", some[2].id: "nowhere"})
    reader = cloud.reader()
    sized = reader.sized(reader.instances(cloud.places()).found)
    assert [one.size for one in sized.found] == [50 * GIB, 60 * GIB, None]
    assert "it has none" in sized.found[2].note
    assert cloud.calls["volumes of one"] == 2


def test_the_dead_are_not_asked_for_their_size() -> None:
    """A terminated instance costs nothing and has no size."""
    cloud = FakeCloud([vm("a", "TERMINATED")])
    reader = cloud.reader()
    listed = reader.instances(cloud.places())
    assert reader.sized(listed.found).found[0].size is None
    assert listed.alive == ()
    assert cloud.calls == {"instances": 2}


@pytest.mark.parametrize("asked", ["prod/db", "/prod/db/", DB.id])
def test_a_compartment_is_chosen_by_path_or_ocid(asked: str) -> None:
    """Only its list is read."""
    cloud = FakeCloud([vm("a"), vm("b", place=DB)])
    found = cloud.reader().instances(cloud.places(asked=(asked,)))
    assert [(one.instance.name, one.compartment) for one in found.found] == [("b", "prod/db")]
    assert cloud.calls == {"instances": 1}


def test_a_path_that_is_not_there_is_told_with_the_nearest() -> None:
    """The error names the compartment that may have been meant."""
    with pytest.raises(errors.NotFoundError, match="did you mean 'prod/db'"):
        FakeCloud([]).places(asked=("prod/dd",))


def test_an_ocid_of_a_compartment_needs_no_right_to_list_them() -> None:
    """Without the right to list compartments an OCID works, shown as it is, and a path says what is missing."""
    cloud = FakeCloud([vm("a")], listable=False)
    found = cloud.reader().instances(cloud.places(asked=(WEB.id,)))
    assert [one.compartment for one in found.found] == [WEB.id]
    with pytest.raises(errors.PermissionDenied):
        cloud.places(asked=("prod/web",))
    with pytest.raises(errors.PermissionDenied):
        cloud.places()
    assert cloud.reader().places((ASHBURN,), (), home=cloud.cloud(), searched=False).compartments == ()


def found(one: Instance, place: Compartment = WEB) -> Found:
    return Found(one, place.path)


def named(name: str, line: int = 1, **more: str) -> Wanted:
    return Wanted(f"f:{line}", name=name, **more)


def test_entries_mean_instances_by_name_place_and_ocid() -> None:
    """A compartment or a region of an entry tells namesakes apart; an OCID is found in the lists or was asked for."""
    a, b = vm("web", number=1), vm("web", place=DB, number=2)
    c = vm("web", region=PHOENIX, number=3)
    other = found(vm("other"))
    inventory = Inventory((found(a), found(b, DB), found(c)))
    wanted = [
        named("web", compartment="prod/db"),
        named("web", compartment=WEB.id, region=ASHBURN),
        Wanted("f:3", id=c.id),
        Wanted("f:4", id=other.instance.id),
    ]
    assert [one.instance for one in match(wanted, inventory, {other.instance.id: other}, "f")] == [
        b,
        a,
        c,
        other.instance,
    ]


def test_the_living_one_of_a_name_is_meant() -> None:
    """A terminated namesake does not count; if there are only dead ones, the newest is refused by the plan (C038)."""
    dead, alive = vm("web", "TERMINATED", number=1), vm("web", number=2)
    assert match([named("web")], Inventory((found(dead), found(alive))), {}, "f")[0].instance is alive
    assert match([named("web")], Inventory((found(dead),)), {}, "f")[0].instance is dead


def test_all_missing_and_ambiguous_names_are_told_together() -> None:
    """One error with a line of its own for each entry: where it stands, what is wrong, what may have been meant."""
    twins = [found(vm("twin", number=1)), found(vm("twin", place=DB, number=2), DB)]
    inventory = Inventory((*twins, found(vm("web-01"))))
    gone = Wanted("f:4", id="ocid1.instance.oc1.iad.gone")
    why = errors.NotFoundError("get instance: gone")
    wanted = [named("web-1", 1), named("twin", 2), named("web-01", 3), gone, Wanted("f:5", id=vm("web-01").id)]
    with pytest.raises(errors.UsageError) as caught:
        match(wanted, inventory, {"ocid1.instance.oc1.iad.gone": why}, "f")
    assert caught.value.__notes__ == [
        f"f:2: 2 instances are named twin: {twins[0].instance.id} in prod/web, {twins[1].instance.id} in prod/db",
        f"f:5: {vm('web-01').id} is the instance of f:3, web-01",
        "f:1: no instance is named web-1; did you mean 'web-01'?",
        "f:4: get instance: gone",
    ]


def test_missing_ones_alone_are_not_found() -> None:
    """The exit code is that of what is not there."""
    with pytest.raises(errors.NotFoundError) as caught:
        match([named("a"), named("b", 2)], Inventory(()), {}, "f.csv")
    assert caught.value.exit_code == 5
    assert caught.value.message == "f.csv: 2 mistakes"


def test_a_name_needs_a_complete_inventory_and_an_ocid_does_not() -> None:
    """While a compartment is unread no name is unique or absent; an OCID is what it is (design rule 9)."""
    cloud = FakeCloud([vm("a")], denied={(ASHBURN, DB.id, "instances")})
    inventory = cloud.reader().instances(cloud.places())
    with pytest.raises(errors.PermissionDenied, match="cannot tell which instances the names in f mean"):
        match([named("a")], inventory, {}, "f")
    assert match([Wanted("f:1", id=vm("a").id)], inventory, {}, "f")[0].instance == vm("a")


def test_instances_by_ocid_come_from_their_region() -> None:
    """Each is one call, in its own region; one that is gone is an answer."""
    here, there = vm("a"), vm("b", region=PHOENIX)
    cloud = FakeCloud([here, there])
    answers = cloud.reader().by_id([(ASHBURN, here.id), (PHOENIX, there.id), (PHOENIX, here.id)], cloud.places())
    assert [one.instance for one in answers if isinstance(one, Found)] == [here, there]
    assert isinstance(answers[2], errors.NotFoundError)
