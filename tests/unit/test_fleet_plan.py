"""The plan of a fleet: destinations, collisions, refusals, notes. All facts are data."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypersdk import errors
from hypersdk.exports.plan import Surroundings
from hypersdk.exports.refusals import Refusal
from hypersdk.fleet.nouns import FleetPlan, Limits
from hypersdk.fleet.planning.asked import Asked
from hypersdk.fleet.planning.inventory import Found
from hypersdk.fleet.planning.plan import Candidate, Draft, Facts, Order, Room, draft, may_collide, settle
from hypersdk.model import Instance
from hypersdk.storage.naming import EXACT, LOOSE, Folding

GIB = 1024**3
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
TEMPLATE = "/backup/{compartment}/{name}-{date}.{format}"


def around(region: str) -> Surroundings:
    return Surroundings("ocid1.tenancy.oc1..t", region, "ns", "exports", "/work", date(2026, 11, 25), "host")


def vm(name: str, state: str = "STOPPED", *, region: str = "us-ashburn-1", number: int = 0) -> Instance:
    return Instance(
        f"ocid1.instance.oc1.iad.{name.encode().hex()}{number}", name, "ocid1.compartment.oc1..c", state, region
    )


def candidate(
    one: Instance, asked: Asked | None = None, *, compartment: str = "prod/web", size: int | None = 50 * GIB
) -> Candidate:
    return Candidate(Found(one, compartment, size), asked or Asked(output=TEMPLATE))


def planned(*candidates: Candidate, facts: Facts | None = None, limits: Limits | None = None) -> FleetPlan:
    order = Order("f.yaml", limits or Limits())
    return settle(draft(candidates, around), facts or Facts(), order, NOW)


def because(plan: FleetPlan) -> list[str]:
    return [item.refused or "" for item in plan.items]


def test_destinations_come_from_the_template() -> None:
    """Compartment and region are filled when the fleet is planned, name, date and format as for one export."""
    one = candidate(vm("web 01"), Asked(output=TEMPLATE, format=("qcow2", "vmdk")))
    two = candidate(vm("db"), Asked(to="oci://ns2/b-{region}/{compartment}/{name}/"))
    plan = planned(one, two)
    assert plan.items[0].destinations == (
        "/backup/prod/web/web 01-2026-11-25.qcow2",
        "/backup/prod/web/web 01-2026-11-25.vmdk",
    )
    assert plan.items[1].destinations == ("oci://ns2/b-us-ashburn-1/prod/web/db/db.qcow2",)
    assert (plan.items[0].bucket, plan.items[1].bucket) == ("ns/exports", "ns2/b-us-ashburn-1")
    assert because(plan) == ["", ""]


@pytest.mark.parametrize(
    ("output", "path"),
    [
        ("/backup/", "/backup/web.qcow2"),
        ("/backup", "/backup/web.qcow2"),
        ("sub/{compartment}/", "/work/sub/prod/web/web.qcow2"),
        ("{id}.qcow2", "/work/ocid1.instance.oc1.iad.7765620.qcow2"),
        (None, "/work/web.qcow2"),
        ("/b/{date}/{name}/", "/b/2026-11-25/web/web.qcow2"),
        ("/b/{region}/../{name}.{format}", "/b/web.qcow2"),
    ],
)
def test_a_template_names_a_directory_unless_its_last_part_is_a_name(output: str | None, path: str) -> None:
    """Without a placeholder or a disk's extension at its end, a destination of many disks is a directory."""
    assert planned(candidate(vm("web"), Asked(output=output))).items[0].destinations == (path,)


def test_the_root_compartment_is_called_root() -> None:
    """Its path in lists has parentheses, which nobody wants in the name of a directory."""
    plan = planned(candidate(vm("web"), compartment="(root)"))
    assert plan.items[0].destinations == ("/backup/root/web-2026-11-25.qcow2",)


@pytest.mark.parametrize("name", ["..", ".", ""])
def test_a_name_that_leads_out_of_its_directory_is_refused_alone(name: str) -> None:
    """An instance called ".." is refused with its reason; the others of the fleet go on."""
    asked = Asked(output="/backup/{name}/")
    plan = planned(candidate(vm(name), asked), candidate(vm("web"), asked))
    assert "names no file" in because(plan)[0]
    assert because(plan)[1] == ""


def test_a_slash_in_a_name_makes_no_directory() -> None:
    """What a name may hold but a file may not becomes an underscore, so that no name leads elsewhere."""
    assert planned(candidate(vm("../../etc/x"))).items[0].destinations == (
        "/backup/prod/web/.._.._etc_x-2026-11-25.qcow2",
    )


def test_a_template_that_is_wrong_for_all_is_an_error_of_the_user() -> None:
    """An unknown placeholder is told at once with the known ones, not once for each instance."""
    with pytest.raises(errors.UsageError, match=r"unknown placeholder \{nmae\}") as caught:
        planned(candidate(vm("web"), Asked(output="{nmae}.qcow2")), candidate(vm("db"), Asked(output="{nmae}.qcow2")))
    assert caught.value.exit_code == 2


def test_an_option_that_makes_no_sense_is_told_with_its_line() -> None:
    """What a line of the file asks for and cannot be is an error with the place."""
    one = replace(candidate(vm("web"), Asked(to="https://example.com/x")), where="f.yaml:7")
    with pytest.raises(errors.UsageError, match=r"f\.yaml:7: an export cannot go to"):
        planned(one)


def test_two_instances_of_one_name_collide() -> None:
    """None of them is exported, each names the reason and what to do; a third one is not touched (design rule 2)."""
    plan = planned(candidate(vm("web", number=1)), candidate(vm("web", number=2)), candidate(vm("db")))
    assert ["would become the same file" in why and "{id}" in why for why in because(plan)] == [True, True, False]


@pytest.mark.parametrize(
    ("names", "folding", "collide"),
    [
        (("Web", "web"), EXACT, False),
        (("Web", "web"), Folding(case=True), True),
        (("caf\u00e9", "cafe\u0301"), EXACT, False),
        (("caf\u00e9", "cafe\u0301"), Folding(form=True), True),
        (("stra\u00dfe", "STRASSE"), LOOSE, True),
    ],
)
def test_names_that_the_file_system_takes_for_the_same_collide(
    names: tuple[str, str], folding: Folding, collide: bool
) -> None:
    """Case and Unicode form count as the file system counts them; that they might is known before it is asked."""
    candidates = [candidate(vm(name)) for name in names]
    assert may_collide(draft(candidates, around))
    refused = because(planned(*candidates, facts=Facts(folding=folding)))
    assert [bool(why) for why in refused] == [collide, collide]


def test_a_file_cannot_stand_where_a_directory_must() -> None:
    """A disk called `a` and one in a directory `a` cannot both be; the file is refused, the other goes (C029)."""
    file, below = Asked(output="/backup/{name}"), Asked(output="/backup/a/{name}.{format}")
    plan = planned(candidate(vm("a"), file), candidate(vm("b"), below))
    assert "a file cannot stand where a directory must" in because(plan)[0]
    assert because(plan)[1] == ""


def test_a_manifest_collides_too() -> None:
    """A disk may not take the name of another disk's manifest."""
    one, two = Asked(output="/b/x.qcow2"), Asked(output="/b/{name}")
    assert all(because(planned(candidate(vm("web"), one), candidate(vm("x.qcow2.manifest.json"), two))))


def test_objects_collide_only_if_they_are_the_same() -> None:
    """In a bucket `Web` and `web` are two names, and two of one name are refused."""
    asked = Asked(to="oci://ns/b/disks/{name}.qcow2")
    assert because(planned(candidate(vm("Web"), asked), candidate(vm("web"), asked))) == ["", ""]
    plan = planned(candidate(vm("web", number=1), asked), candidate(vm("web", number=2), asked))
    assert all("same object as that of web" in why for why in because(plan))


def test_what_is_refused_anyway_collides_with_nothing() -> None:
    """A terminated namesake does not keep the living one from being exported (C038)."""
    plan = planned(candidate(vm("web", "TERMINATED", number=1)), candidate(vm("web", number=2)))
    assert "TERMINATED" in because(plan)[0]
    assert because(plan)[1] == ""


@pytest.mark.parametrize(
    ("one", "asked", "facts", "says"),
    [
        (vm("web", "TERMINATED"), Asked(), Facts(), "is TERMINATED"),
        (vm("web", "MOVING"), Asked(), Facts(), "wait until it is STOPPED"),
        (vm("web", "RUNNING"), Asked(), Facts(), "--allow-shutdown"),
        (replace(vm("web"), image_id="i"), Asked(), Facts(imageable={"i": False}), "OCI allows no image"),
        (vm("web"), Asked(), Facts(images_left={"us-ashburn-1": 0}), "quota is used up"),
        (vm("web"), Asked(), Facts(existing=frozenset({"/work/web.qcow2"})), "/work/web.qcow2 exists"),
        (
            vm("web"),
            Asked(),
            Facts(buckets={("us-ashburn-1", "ns/exports"): Refusal("no bucket", "x")}),
            "no bucket - x",
        ),
        (vm("n" * 250), Asked(), Facts(), "longer than 255 bytes"),
        (vm("\U0001f4be" * 64), Asked(output="{name}/x"), Facts(), "longer than 255 bytes"),
        (vm("web"), Asked(output="full/{name}/"), Facts(blocked={"/work/full/web": Refusal("no", "x")}), "no - x"),
    ],
)
def test_what_is_known_to_fail_is_refused_before_anything_runs(
    one: Instance, asked: Asked, facts: Facts, says: str
) -> None:
    """Each refusal says why and what to do; the instance stays in the plan, and counts for no time."""
    plan = planned(candidate(one, asked), candidate(vm("other", region="eu-frankfurt-1"), asked), facts=facts)
    assert says in because(plan)[0]
    assert plan.items[0].seconds is None
    assert because(plan)[1] == ""


def test_a_volume_above_the_limit_of_exports_is_refused() -> None:
    """OCI exports no image above 400 GB."""
    plan = planned(candidate(vm("web"), size=401 * GIB), candidate(vm("db"), size=400 * GIB))
    assert "OCI exports no image above 400 GB" in because(plan)[0]
    assert because(plan)[1] == ""


@pytest.mark.parametrize("switch", ["allow_shutdown", "overwrite"])
def test_what_was_allowed_is_not_refused(switch: str) -> None:
    """A running instance goes with allow_shutdown, a disk that is there with overwrite."""
    facts = Facts(existing=frozenset({"/work/web.qcow2"}))
    asked = Asked(allow_shutdown=True) if switch == "allow_shutdown" else Asked(overwrite=True)
    state = "RUNNING" if switch == "allow_shutdown" else "STOPPED"
    plan = planned(candidate(vm("web", state), asked), facts=Facts() if switch == "allow_shutdown" else facts)
    assert because(plan) == [""]


def key_of(one: Draft) -> str:
    assert one.plan is not None
    return one.plan.key


def test_what_earlier_commands_did_is_noted() -> None:
    """A finished export costs no time and room, an unfinished one goes where it began; neither is refused for that."""
    candidates = [candidate(vm("done"), Asked()), candidate(vm("begun", "CREATING_IMAGE"), Asked())]
    drafts = draft(candidates, around)
    yesterday = draft([replace(candidates[1], asked=Asked(output="/yesterday/"))], around)[0].plan
    assert yesterday is not None
    facts = Facts(
        existing=frozenset({"/work/done.qcow2"}),
        exported={key_of(drafts[0]): "2026-11-24 22:00"},
        begun={key_of(drafts[1]): replace(yesterday, run_id="0123456789ab")},
        rooms=[
            Room("/", 50 * GIB, frozenset(path for one in drafts for path in (*one.paths, "/yesterday/begun.qcow2")))
        ],
    )
    plan = settle(drafts, facts, Order("x"), NOW)
    assert plan.items[1].destinations == ("/yesterday/begun.qcow2",)
    assert plan.notes == ()
    assert because(plan) == ["", ""]
    assert [item.note for item in plan.items] == ["exported already at 2026-11-24 22:00", "run 0123456789ab goes on"]
    assert plan.items[0].seconds == 0


def test_what_is_exported_anew_counts_as_new() -> None:
    """With overwrite a finished export is made again, and takes its time."""
    drafts = draft([candidate(vm("done"), Asked(overwrite=True))], around)
    plan = settle(drafts, Facts(exported={key_of(drafts[0]): "2026-11-24 22:00"}), Order("x"), NOW)
    assert plan.items[0].note == ""
    assert plan.items[0].seconds


def test_free_room_is_told_with_how_many_fit() -> None:
    """In the order of priority, so many full disks fit; enough room is not mentioned."""
    near, far = Asked(priority=-1), Asked()
    candidates = [candidate(vm("big"), far, size=101 * GIB), candidate(vm("small"), near, size=20 * GIB)]
    paths = frozenset(path for one in draft(candidates, around) for path in one.paths)
    tight = planned(*candidates, facts=Facts(rooms=[Room("/work", 100 * GIB, paths)]))
    assert tight.notes[0].startswith("/work has 100.0 GiB free, full disks would take 121.0 GiB: 1 of 2 surely fit")
    assert planned(*candidates, facts=Facts(rooms=[Room("/work", 121 * GIB, paths)])).notes == ()


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        (Limits(per_worker=4), True),
        (Limits(per_region=2), False),
        (Limits(parallel=3), True),
        (Limits(per_worker=1), False),
    ],
)
def test_a_small_quota_of_images_is_told(limits: Limits, told: bool) -> None:
    """When more exports may run at once than the region takes images, the note names the limit that helps."""
    plan = planned(
        *(candidate(vm(f"vm-{n}")) for n in range(5)), facts=Facts(images_left={"us-ashburn-1": 2}), limits=limits
    )
    assert any("--per-region 2" in note for note in plan.notes) == told


def test_no_bucket_is_an_error_of_the_user() -> None:
    """Without any bucket nothing can be exported, and the error says where one may come from."""
    with pytest.raises(errors.UsageError, match="no bucket") as caught:
        draft([candidate(vm("web"))], lambda region: replace(around(region), bucket=""))
    assert "--bucket-name" in (caught.value.hint or "")


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@given(st.lists(names, max_size=6), st.sampled_from([TEMPLATE, "/backup/{name}", "/backup/{name}/", "/b/{id}/{name}"]))
def test_every_instance_is_in_the_plan_and_no_two_share_a_file(some: list[str], template: str) -> None:
    """Whatever they are called: each is one item, and the files of those that go are different below the directory."""
    candidates = [candidate(vm(name, number=n), Asked(output=template)) for n, name in enumerate(some)]
    try:
        plan = planned(*candidates)
    except errors.UsageError:
        assert not set(some) - {"", ".", ".."}
        return
    assert [item.number for item in plan.items] == list(range(1, len(some) + 1))
    places = [path for item in plan.items if item.refused is None for path in item.destinations]
    assert len(set(places)) == len(places)
    assert all(path.startswith(("/backup/", "/b/")) and "/../" not in path for path in places)
