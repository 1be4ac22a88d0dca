"""What was asked for, as the options of one export; and the zone of this machine."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from hypersdk import errors
from hypersdk.exports.options import ExportOptions
from hypersdk.exports.plan import Surroundings, make_plan, run_key
from hypersdk.fleet.planning import asked
from hypersdk.fleet.planning.asked import Asked
from hypersdk.fleet.planning.localzone import zone_of_machine
from hypersdk.model import Instance

HERE = Surroundings("ocid1.tenancy.oc1..t", "us-ashburn-1", "ns", "bucket", "/data", date(2026, 1, 2), "host")
VM = Instance("ocid1.instance.oc1.iad.i", "web", "ocid1.compartment.oc1..c", "STOPPED", "us-ashburn-1")


def options(one: Asked) -> ExportOptions:
    return asked.options(one, compartment="prod/web", region="us-ashburn-1", directory="/work")


def test_all_that_can_be_asked_for_reaches_the_options() -> None:
    """Each key of a file has its effect; what nobody said is as in one export."""
    everything = Asked(
        output="/b/{region}/{name}.{format}",
        format=("vmdk", "vhd"),
        image_name="{compartment}-{name}",
        object_prefix="tmp/{region}/",
        tags={"a": "b"},
        allow_shutdown=True,
        keep_image=True,
        keep_on_failure=True,
        overwrite=True,
    )
    assert options(everything) == ExportOptions(
        output_dir="/b/us-ashburn-1",
        output_name="{name}.{format}",
        formats=("vmdk", "vhd"),
        image_name="prod/web-{name}",
        object_name_prefix="tmp/us-ashburn-1/",
        delete_after_export=False,
        tags={"a": "b"},
        allow_shutdown=True,
        keep_on_failure=True,
        overwrite=True,
        make_directories=True,
    )
    assert options(Asked(new=True)) == ExportOptions(output_dir="/work", new=True, make_directories=True)


@pytest.mark.parametrize(
    ("to", "place"),
    [
        ("oci://ns/b/", ("", None)),
        ("oci://ns/b/x/{region}", ("x/us-ashburn-1/", None)),
        ("oci://ns/b/x/{name}.qcow2", ("x/", "{name}.qcow2")),
        ("oci://b@ns/x/{name}.{format}", ("x/", "{name}.{format}")),
    ],
)
def test_a_url_is_a_prefix_unless_it_ends_like_a_disk(to: str, place: tuple[str, str | None]) -> None:
    """As in one export; with `to` alone there is no local file."""
    found = options(Asked(to=to))
    assert (found.namespace, found.bucket, found.object_name_prefix, found.object_name) == ("ns", "b", *place)
    assert not found.local
    assert options(Asked(to=to, output="/x/")).local


@pytest.mark.parametrize(
    "one",
    [
        Asked(output="https://example.com/"),
        Asked(to="/local/"),
        Asked(to="oci://ns/b/", object_prefix="x/"),
        Asked(output="/x.qcow2", format=("vmdk",)),
        Asked(overwrite=True, new=True),
    ],
)
def test_what_makes_no_sense_is_refused(one: Asked) -> None:
    """Wrong kinds of address, a name of another format, contradictions: an error of the user."""
    with pytest.raises(errors.UsageError):
        options(one)


@pytest.mark.parametrize("texts", [["novalue"], ["=x"]])
def test_what_is_no_tag_is_refused(texts: list[str]) -> None:
    """A tag has a key and an equals sign."""
    assert asked.read_tags(["a=b=c", "d="]) == {"a": "b=c", "d": ""}
    with pytest.raises(errors.UsageError, match="not a tag"):
        asked.read_tags(texts)


def test_a_day_in_a_directory_is_the_day_of_the_plan_and_no_part_of_the_key() -> None:
    """An export that midnight interrupts is the same one the day after, in the directory where it began."""
    chosen = options(Asked(output="/b/{date}/{name}/"))
    plan = make_plan(VM, chosen, HERE, run_id="r", generation=1)
    assert plan.destinations == ("/b/2026-01-02/web/web.qcow2",)
    assert run_key(VM.id, chosen, HERE) == run_key(VM.id, chosen, replace(HERE, today=date(2026, 1, 3)))


def test_a_name_never_leads_out_of_its_directory() -> None:
    """A directory that would be called `..` is refused where one export is planned, too."""
    with pytest.raises(errors.UsageError, match="names no file"):
        make_plan(replace(VM, name=".."), ExportOptions(output_dir="/b/{name}"), HERE, run_id="r", generation=1)


@pytest.mark.parametrize(
    ("told", "zone"),
    [("Europe/Berlin", "Europe/Berlin"), (":/usr/share/zoneinfo/Asia/Kolkata", "Asia/Kolkata"), ("CET-1CEST", None)],
)
def test_the_zone_of_a_machine_by_its_environment(told: str, zone: str | None) -> None:
    """TZ counts if it names a zone; a rule of its own has no name that others know."""
    assert zone_of_machine(told) == zone


def test_the_zone_of_a_machine_by_its_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without TZ the file that /etc/localtime leads to says it; a copy of such a file does not."""
    monkeypatch.delenv("TZ", raising=False)
    link = tmp_path / "localtime"
    link.symlink_to("/usr/share/zoneinfo/America/New_York")
    assert zone_of_machine(localtime=link) == "America/New_York"
    link.unlink()
    link.write_bytes(b"TZif2")
    assert zone_of_machine(localtime=link) is None
