"""Whose a leftover is and whether it may go, apart from any cloud."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypersdk.exports.gc import rules
from hypersdk.exports.gc.rules import Find, Owner, Wish
from hypersdk.exports.options import ExportOptions
from hypersdk.exports.plan import Surroundings, link_name, make_plan
from hypersdk.model import Instance, ObjectRef

RUN = "0123456789ab"
OTHER = "ba9876543210"
NOW = datetime(2026, 11, 25, tzinfo=UTC)
INSTANCE = Instance(
    id="ocid1.instance.oc1.iad.aaaa",
    name="web-01",
    compartment_id="ocid1.compartment.oc1..aaaa",
    lifecycle_state="STOPPED",
    region="us-ashburn-1",
)
PLAN = make_plan(
    INSTANCE,
    ExportOptions(formats=("qcow2", "vmdk"), object_name_prefix="week-47/"),
    Surroundings("ocid1.tenancy.oc1..aaaa", "us-ashburn-1", "ns", "exports", "/backup", date(2026, 11, 25), "host"),
    run_id=RUN,
    generation=1,
)
OWNER = Owner(RUN, image_ids=frozenset({"ocid1.image.oc1.iad.ours"}), **rules.owned_by(PLAN))


def image(name: str = PLAN.image_name, run_id: str | None = RUN, **facts: object) -> Find:
    values = {"resource_id": "ocid1.image.oc1.iad.aaaa", "created": NOW - timedelta(days=30), "state": "AVAILABLE"}
    return Find(rules.IMAGE, name, run_id, **{**values, **facts})


def staged(name: str, run_id: str | None = RUN, kind: str = rules.OBJECT, **facts: object) -> Find:
    ref = ObjectRef("oci", "ns", "exports", name)
    return Find(kind, str(ref), run_id, **{"ref": ref, "created": NOW - timedelta(days=30), **facts})


def standing(find: Find, owner: Owner | None = OWNER, **more: frozenset[str]) -> str:
    return rules.judged(find, owner, more.get("busy", frozenset()), more.get("kept", frozenset()))[0]


def test_the_names_of_a_plan_are_read_back() -> None:
    """Every object and link that a plan names leads to its run; so gc finds what no ledger holds."""
    for target in PLAN.targets:
        assert rules.run_of_object(target.staging.name) == RUN
    for step in PLAN.steps:
        if step.kind in {"preflight", "export-image"}:
            assert rules.run_of_link(link_name(PLAN, step), PLAN.targets[0].staging.name) == RUN
    assert rules.run_of_tags(PLAN.tags) == RUN


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".hypersdk/",
        f".hypersdk/{RUN}",
        f".hypersdk/{RUN}/",
        f".hypersdk/{RUN}/notes.txt",
        f".hypersdk/{RUN}/export-image",
        f".hypersdk/{RUN}/export-image.qcow2/x",
        f".hypersdk/{RUN}/export-image.qcow2.bak",
        f".hypersdk/{RUN}0/export-image.qcow2",
        f".hypersdk/{RUN.upper()}/export-image.qcow2",
        f"hypersdk/{RUN}/export-image.qcow2",
        f".hypersdk/{RUN}/sub/export-image.qcow2",
    ],
)
def test_names_that_only_look_like_ours_lead_to_no_run(name: str) -> None:
    """A user's own names below our prefix are not taken for an unknown run's."""
    assert rules.run_of_object(name) is None


def test_below_a_known_runs_prefix_every_name_counts() -> None:
    """A run of our store owns its prefix whole; elsewhere the same path is nobody's proof."""
    name = f"week-47/.hypersdk/{RUN}/odd.bin"
    assert rules.run_of_object(name, {RUN}) == RUN
    assert standing(staged(name)) == rules.REMOVABLE
    assert standing(staged(f"copy/.hypersdk/{RUN}/odd.bin")) == rules.UNCLEAR
    elsewhere = staged(name)
    assert elsewhere.ref is not None
    assert standing(replace(elsewhere, ref=replace(elsewhere.ref, bucket="other"))) == rules.UNCLEAR


@pytest.mark.parametrize(
    ("name", "object_name"),
    [
        ("hypersdk-share", f".hypersdk/{RUN}/export-image.qcow2"),
        (f"hypersdk-{RUN}-export-image", "holiday.jpg"),
        (f"hypersdk-{RUN}-export-image", f".hypersdk/{OTHER}/export-image.qcow2"),
        (f"my-hypersdk-{RUN}-export-image", f".hypersdk/{RUN}/export-image.qcow2"),
        (f"hypersdk-{RUN}-anything", f".hypersdk/{RUN}/export-image.qcow2"),
    ],
)
def test_links_of_users_lead_to_no_run(name: str, object_name: str) -> None:
    """Name and object of a link must both be the run's."""
    assert rules.run_of_link(name, object_name) is None


def test_an_image_is_ours_by_ledger_or_by_name_and_tag() -> None:
    """A tag alone, copied onto another image, proves nothing."""
    assert standing(image()) == rules.REMOVABLE
    assert standing(image("renamed by hand", resource_id="ocid1.image.oc1.iad.ours")) == rules.REMOVABLE
    assert standing(image("golden")) == rules.UNCLEAR


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, rules.REMOVABLE),
        ({"unfinished": True}, rules.RESUMABLE),
        ({"unfinished": True, "driven": True}, rules.RUNNING),
        ({"driven": True}, rules.RUNNING),
        ({"kept": True}, rules.KEPT),
    ],
)
def test_the_state_of_the_run_decides(facts: dict[str, bool], expected: str) -> None:
    """Only what an ended run was not asked to keep may go."""
    assert standing(image(), replace(OWNER, **facts)) == expected


def test_uploads_and_links_are_never_kept_on_purpose() -> None:
    """--keep-image keeps image and object; an open upload beside them only costs money."""
    owner = replace(OWNER, kept=True)
    name = PLAN.targets[0].staging.name
    assert standing(staged(name), owner) == rules.KEPT
    assert standing(staged(name, kind=rules.UPLOAD), owner) == rules.REMOVABLE
    assert standing(staged(name, kind=rules.LINK), owner) == rules.REMOVABLE


def test_an_image_in_use_protects_all_of_its_run() -> None:
    """While OCI exports an image, its object and uploads are being written, whoever the run belongs to."""
    busy = rules.busy_runs([image(state="EXPORTING"), image(run_id=OTHER)])
    assert busy == {RUN}
    name = PLAN.targets[0].staging.name
    assert standing(staged(name), busy=busy) == rules.BUSY
    assert standing(staged(name), None, busy=busy) == rules.BUSY


def test_the_age_of_a_foreign_run_is_that_of_its_youngest_trace() -> None:
    """An old image whose object was written an hour ago belongs to a run that may still be going on."""
    old = image(run_id=OTHER, standing=rules.FOREIGN)
    young = staged("x", OTHER, created=NOW - timedelta(hours=1), standing=rules.FOREIGN)
    assert rules.chosen([old], Wish(foreign=True), NOW) == [old]
    assert rules.chosen([old, young], Wish(foreign=True), NOW) == []


def test_the_order_is_the_one_in_which_an_export_can_write_nothing_more() -> None:
    """Links, uploads and objects of a run go before its image, local files last."""
    kinds = [rules.IMAGE, rules.JOURNAL, rules.OBJECT, rules.PARTIAL, rules.LINK, rules.UPLOAD]
    finds = [replace(image(), kind=kind, standing=rules.REMOVABLE) for kind in kinds]
    order = [one.kind for one in rules.chosen(finds, Wish(), NOW)]
    assert order == [rules.LINK, rules.UPLOAD, rules.OBJECT, rules.IMAGE, rules.PARTIAL, rules.JOURNAL]


FINDS = st.builds(
    lambda kind, run_id, days, stands: replace(
        image(run_id=run_id),
        kind=kind,
        created=None if days is None else NOW - timedelta(days=days),
        standing=stands,
    ),
    st.sampled_from(rules.KINDS),
    st.sampled_from([None, RUN, OTHER]),
    st.none() | st.floats(0, 60),
    st.sampled_from(rules.STANDINGS),
)
WISHES = st.builds(
    Wish,
    foreign=st.booleans(),
    uploads=st.booleans(),
    older_than=st.none() | st.timedeltas(timedelta(0), timedelta(40)),
)


@given(st.lists(FINDS, max_size=12), WISHES)
def test_nothing_goes_that_must_stay(finds: list[Find], wish: Wish) -> None:
    """Whatever is wished: never what runs, is busy, kept or unclear; foreign things only when asked for and old."""
    for one in rules.chosen(finds, wish, NOW):
        assert one.standing in {rules.REMOVABLE, rules.FOREIGN, rules.RESUMABLE}
        if one.standing == rules.RESUMABLE:
            assert wish.uploads
            assert (one.kind, one.run_id) == (rules.UPLOAD, None)
        if one.standing == rules.FOREIGN:
            assert wish.foreign
            assert one.created is not None
            assert NOW - one.created >= (rules.FOREIGN_AGE if wish.older_than is None else wish.older_than)
        if wish.older_than is not None:
            assert one.created is not None
            assert NOW - one.created >= wish.older_than


@given(st.lists(FINDS, max_size=12), WISHES)
def test_a_wider_wish_never_spares_what_a_narrower_one_takes(finds: list[Find], wish: Wish) -> None:
    """--foreign and --uploads only add."""
    narrow = rules.chosen(finds, replace(wish, foreign=False, uploads=False), NOW)
    wide = rules.chosen(finds, replace(wish, foreign=True, uploads=True), NOW)
    assert all(one in wide for one in narrow)
