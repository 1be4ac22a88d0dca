"""`hyperexport fleet --dry-run`: from a file or a filter to a plan, over a real socket."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from emulator import Emulator, compartment_id, instance_id, make_seed
from hyperexport import Ended, Hyperexport
from kills import wait_until

import hypersdk.cli

SCHEMA = json.loads((Path(hypersdk.cli.__file__).parent / "schemas" / "fleet_plan.schema.json").read_text())
LISTS = ("ListCompartments", "ListInstances", "ListBootVolumeAttachments", "ListBootVolumes")
START = Callable[..., Emulator]


def furnish(seed: dict[str, Any]) -> None:
    """Two compartments with tags, a running and a dead instance, one that must not be imaged, one too big."""
    by_name = {one["displayName"]: one for one in seed["instances"]}
    for name, one in by_name.items():
        one["freeformTags"] = {"env": "prod" if name.startswith("web") else "test"}
    by_name["db-01"]["compartmentId"] = compartment_id("sub")
    by_name["web-02"]["shape"] = "BM.Standard3.64"
    by_name["market"]["createImageAllowed"] = False
    by_name["big"]["bootVolume"]["sizeInGBs"] = 500
    seed["images"].append(
        {
            "id": "ocid1.image.oc1.iad.closed",
            "compartmentId": None,
            "displayName": "closed",
            "createImageAllowed": False,
        }
    )
    by_name["market"]["imageId"] = "ocid1.image.oc1.iad.closed"


STATES = {
    "web-01": "STOPPED",
    "web-02": "RUNNING",
    "db-01": "STOPPED",
    "market": "STOPPED",
    "big": "STOPPED",
    "old": "TERMINATED",
}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One emulator for this file."""
    folder = tmp_path_factory.mktemp("fleet-plan")
    compartments = {"main": None, "sub": "main", "empty": None}
    seed = make_seed(
        folder / "seed", instances=STATES, compartments=compartments, disks=1, disk_size=4 << 20, change=furnish
    )
    emulator = Emulator(seed, folder / "state").start()
    yield emulator
    emulator.stop()


@pytest.fixture
def hyper(cloud: Emulator, tmp_path: Path) -> Hyperexport:
    """The command."""
    return Hyperexport(cloud, tmp_path)


def plan(hyper: Hyperexport, *arguments: str, code: int = 0) -> Any:
    """A plan as a program reads it; everything else went to stderr."""
    ended = hyper.run("fleet", *arguments, "--dry-run", "--json", "-bn", "exports")
    assert ended.code == code, ended.err
    jsonschema.validate(ended.json, SCHEMA)
    return ended.json["fleet_plan"]


def names(found: Any) -> list[str]:
    return [item["instance_name"] for item in found["items"]]


def refused(found: Any) -> dict[str, str]:
    return {item["instance_name"]: item["refused"] for item in found["items"] if item["refused"]}


def fails(hyper: Hyperexport, code: int, *arguments: str) -> Ended:
    """A command that ends with this code and no result."""
    ended = hyper.run("fleet", *arguments, "--dry-run", "--json", "-bn", "exports")
    assert (ended.code, ended.out) == (code, ""), ended.err
    return ended


def test_a_filter_selects_over_compartments(hyper: Hyperexport, cloud: Emulator) -> None:
    """Tags, shapes and sizes are answered from bulk lists; the dead are not selected; nothing is created."""
    before = len(cloud.remote.log())
    found = plan(hyper, "--filter", "tag:env=prod and not shape~BM. or compartment=main/sub", "-o", "/d/{compartment}/")
    assert names(found) == ["web-01", "db-01"]
    assert [item["destinations"] for item in found["items"]] == [["/d/main/web-01.qcow2"], ["/d/main/sub/db-01.qcow2"]]
    assert {item["size"] for item in found["items"]} == {50 << 30}
    assert found["counts"] == {"selected": 2, "to_export": 2, "refused": 0}
    assert found["seconds"] > 0
    calls = Counter(each["operation"] for each in cloud.remote.log()[before:])
    assert not {"GetInstance", "GetBootVolume", "CreateImage", "CreateMultipartUpload"} & set(calls)
    assert (calls["ListInstances"], calls["ListBootVolumes"], calls["GetImage"]) == (4, 2, 1)
    assert names(plan(hyper, "--filter", "size>400G", code=6)) == ["big"]
    assert "old" not in names(plan(hyper, "--filter", "name=*", code=3))


def test_each_refusal_is_known_before_anything_runs(hyper: Hyperexport) -> None:
    """Running, not to be imaged, too big: each is refused with its reason, the others go, and the exit code is 3."""
    found = plan(hyper, "--filter", "name=*", code=3)
    reasons = refused(found)
    assert set(reasons) == {"web-02", "market", "big"}
    assert "--allow-shutdown" in reasons["web-02"]
    assert "allows no image" in reasons["market"]
    assert "above 400 GB" in reasons["big"]
    assert "web-02" not in refused(plan(hyper, "--filter", "name=*", "--allow-shutdown", code=3))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("f.yaml", "defaults: {allow_shutdown: true}\ninstances: [web-02, {name: db-01, format: vmdk, priority: -5}]"),
        ("f.csv", "name;format;allow_shutdown;priority\r\nweb-02;;yes;\r\ndb-01;vmdk;yes;-5\r\n"),
        ("f.txt", f"# the two\n{instance_id('web-02')}\ndb-01\n"),
    ],
)
def test_files_of_each_form_make_the_same_plan(hyper: Hyperexport, name: str, text: str) -> None:
    """YAML, CSV and lines name the same two; what a line asks for is what its export does."""
    (hyper.folder / name).write_text(text)
    extra = ("--allow-shutdown", "--format", "vmdk") if name == "f.txt" else ()
    found = plan(hyper, name, *extra)
    assert names(found) == ["web-02", "db-01"]
    assert found["items"][1]["formats"] == ["vmdk"]
    assert found["items"][1]["priority"] == (0 if name == "f.txt" else -5)
    assert found["subject"] == name


def test_lines_may_come_from_a_pipe(hyper: Hyperexport) -> None:
    """`-` is standard input; an empty one is exit 5, or a valid plan of nothing if that is fine (C086)."""
    assert "nothing" not in fails(hyper, 5, "-").err
    found = plan(hyper, "-", "--allow-empty")
    assert (found["items"], found["seconds"], found["size"]) == ([], None, 0)


def test_all_wrong_entries_of_a_file_are_told_together(hyper: Hyperexport) -> None:
    """Each missing name stands on a line of its own with its place, and what may have been meant; exit 5."""
    (hyper.folder / "f.txt").write_text("web-01\nweb-1\ndb-02\nocid1.instance.oc1.iad.gone\n")
    told = fails(hyper, 5, "f.txt").err
    assert "f.txt:2: no instance is named web-1; did you mean 'web-01'?" in told
    assert "f.txt:3: no instance is named db-02; did you mean 'db-01'?" in told
    assert "f.txt:4: " in told


def test_a_dead_instance_that_a_file_names_is_refused_alone(hyper: Hyperexport) -> None:
    """One that was terminated since the file was written does not stop the others (C038)."""
    (hyper.folder / "f.txt").write_text("old\nweb-01\n")
    assert "TERMINATED" in refused(plan(hyper, "f.txt", code=3))["old"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ((), 2, "a FILE, --filter or --retry is needed"),
        (("f.txt", "--filter", "name=a"), 2, "exclude each other"),
        (("absent.yaml",), 5, "absent.yaml: No such file"),
        (("--filter", "nmae=a"), 2, "filter, column 1: no field 'nmae'; did you mean 'name'?"),
        (("--filter", "name=a", "--window", "22:00-06:00 Europe/Berln"), 2, "did you mean 'Europe/Berlin'?"),
        (("--filter", "name=web-01", "-o", "{nmae}.qcow2"), 2, "unknown placeholder {nmae}"),
        (("--filter", "name=web-01", "--to", "https://example.com/"), 2, "an export cannot go to"),
        (("--filter", "name=a", "-c", "main/sbu"), 5, "did you mean 'main/sub'?"),
        (("--filter", "name=a", "-c", "main", "--all-compartments"), 2, "exclude each other"),
        (("--filter", "name=nobody"), 5, "no instance is selected by name=nobody"),
    ],
)
def test_wrong_use_is_one_clear_line(hyper: Hyperexport, arguments: tuple[str, ...], code: int, says: str) -> None:
    """Bad input is told with what was expected, before the cloud is asked for anything."""
    (hyper.folder / "f.txt").write_text("web-01\n")
    told = fails(hyper, code, *arguments).err
    assert says in told
    assert len(told.strip().splitlines()) == 1


def test_compartments_and_regions_are_chosen(hyper: Hyperexport) -> None:
    """By path, by OCID, several; the regions that the tenancy is subscribed to."""
    assert names(plan(hyper, "--filter", "name=*", "-c", "main/sub")) == ["db-01"]
    assert names(plan(hyper, "--filter", "name~-01", "-c", "main/sub", "-c", compartment_id("main"))) == [
        "web-01",
        "db-01",
    ]
    assert names(plan(hyper, "--filter", "name=*-01", "--all-regions")) == ["web-01", "db-01"]
    assert names(plan(hyper, "--filter", "region=us-ashburn-1 and name=*-01", "--region", "IAD")) == ["web-01", "db-01"]


def test_destinations_that_are_taken_are_refused(hyper: Hyperexport) -> None:
    """A file that is there is not replaced unless asked, a namesake of another case is no collision on this disk."""
    (hyper.folder / "web-01.qcow2").write_text("mine")
    (hyper.folder / "Web-02.qcow2").write_text("mine")
    assert "exists" in refused(plan(hyper, "--filter", "name=web-01", code=6))["web-01"]
    inside = plan(hyper, "--filter", "name=web-01", "-o", "web-01.qcow2/sub/{name}/", code=6)
    assert "web-01.qcow2 is no directory" in refused(inside)["web-01"]
    assert refused(plan(hyper, "--filter", "name=web-0?", "--overwrite", "--allow-shutdown")) == {}
    assert refused(plan(hyper, "--filter", "name=web-02", "--allow-shutdown")) == {}


def test_a_bucket_that_is_not_there_refuses_all(hyper: Hyperexport) -> None:
    """One look at the bucket spares hundreds of failures; exit 6."""
    found = plan(hyper, "--filter", "name=*-01", "--to", "oci://testns/absent/x/", code=6)
    assert all("no bucket testns/absent" in why for why in refused(found).values())


def test_windows_limits_and_priorities_stand_in_the_plan(hyper: Hyperexport) -> None:
    """The command line beats the file; a window gets the zone of this machine, so that it means the same on others."""
    (hyper.folder / "f.yaml").write_text(
        "limits: {parallel: 2, per_bucket: 1}\nwindows: 20:00-21:00\nfilter: name=*-01\n"
    )
    arguments = (
        "f.yaml",
        "--parallel",
        "5",
        "--window",
        "fri 22:00-06:00",
        "--first",
        "name=db*",
        "--first",
        "name=web*",
    )
    ended = hyper.run("fleet", *arguments, "--dry-run", "--json", "-bn", "exports", environ={"TZ": "Europe/Berlin"})
    found = ended.json["fleet_plan"]
    assert found["limits"] == {"parallel": 5, "per_worker": 0, "per_region": 0, "per_bucket": 1}
    assert found["windows"] == ["fri 22:00-06:00 Europe/Berlin"]
    assert {item["instance_name"]: item["priority"] for item in found["items"]} == {"db-01": -2, "web-01": -1}


def test_people_see_a_table_and_what_it_comes_to(hyper: Hyperexport) -> None:
    """A row for each instance on stdout; totals, notes and the reminder on stderr."""
    ended = hyper.run("fleet", "--filter", "name=web-*", "--dry-run", "-bn", "exports")
    assert ended.code == 3
    assert [line.split()[:2] for line in ended.out.splitlines()] == [
        ["NUMBER", "INSTANCE"],
        ["1", "web-01"],
        ["2", "web-02"],
    ]
    assert "COMPARTMENT" not in ended.out
    several = hyper.run("fleet", "--filter", "name=*-01", "--dry-run", "-bn", "exports").out
    assert [line.split()[1:3] for line in several.splitlines()][1:] == [["web-01", "main"], ["db-01", "main/sub"]]
    assert "1 to export, 1 refused, boot volumes of 50.0 GiB" in ended.err
    assert ended.err.endswith("dry run: nothing was created\n")


def test_what_was_exported_is_known_the_next_time(start_emulator: START, tmp_path: Path) -> None:
    """Directories of the template are made, and the next plan knows the finished exports and learns from them."""
    emulator = start_emulator(instances=("a", "b", "c"), disks=1, disk_size=4 << 20, assume={"lock-minutes": 0})
    hyper = Hyperexport(emulator, tmp_path)
    line = ("--filter", "name=*", "-o", "deep/{compartment}/{name}/")
    before = plan(hyper, *line)
    assert not (tmp_path / "deep").exists()
    done = hyper.run("fleet", *line, "-bn", "exports", "--yes")
    assert done.code == 0, done.err
    assert sorted(path.name for path in (tmp_path / "deep/main").iterdir()) == ["a", "b", "c"]
    after = plan(hyper, *line)
    assert all("exported already at" in item["note"] for item in after["items"])
    assert after["seconds"] == 0
    anew = plan(hyper, "--filter", "name=*", "-o", "elsewhere/")
    assert anew["seconds"] < before["seconds"]
    assert emulator.remote.leftovers() == {} or not any(emulator.remote.leftovers().values())


def test_what_was_interrupted_goes_on_in_the_plan(start_emulator: START, tmp_path: Path) -> None:
    """An unfinished run of the same export is named instead of being refused for what it began; --new plans anew."""
    emulator = start_emulator(instances=("a",), disks=1, disk_size=4 << 20, assume={"lock-minutes": 0})
    hyper = Hyperexport(emulator, tmp_path)
    emulator.fault("ExportImage", "error", times="any", status=500, code="InternalServerError")
    interrupted = hyper.export("a")
    assert interrupted.code == 8, interrupted.err
    run_id = hyper.run("runs", "list", "--json").json["runs"][0]["run_id"]
    assert plan(hyper, "--filter", "name=a")["items"][0]["note"] == f"run {run_id} goes on"
    assert plan(hyper, "--filter", "name=a", "--new")["items"][0]["note"] is None
    assert plan(hyper, "--filter", "name=a", "-o", "elsewhere/")["items"][0]["note"] is None


def test_what_an_earlier_fleet_did_not_export_is_planned_anew(start_emulator: START, tmp_path: Path) -> None:
    """What was refused may be allowed now; destinations, sizes and reasons are those of today; the rest is settled."""
    emulator = start_emulator(instances={"a": "RUNNING", "b": "TERMINATED"}, disks=1, disk_size=4 << 20)
    hyper = Hyperexport(emulator, tmp_path)
    (tmp_path / "f.txt").write_text(f"a\n{instance_id('b')}\n")
    line = ("f.txt", "-o", "{compartment}/{name}.{format}", "--window", "22:00-23:00 UTC")
    first = hyper.run("fleet", *line, "-bn", "exports", "--json")
    assert first.code == 6, first.err
    retry = ("--retry", first.json["fleet"]["fleet_id"])
    assert set(refused(plan(hyper, *retry, code=6))) == {"a", "b"}
    allowed = plan(hyper, *retry, "--allow-shutdown", "--parallel", "7", code=3)
    assert set(refused(allowed)) == {"b"}
    assert allowed["items"][0]["destinations"] == [str(tmp_path / "main/a.qcow2")]
    assert (allowed["items"][0]["size"], allowed["limits"]["parallel"]) == (50 << 30, 7)
    assert allowed["windows"] == ["22:00-23:00 UTC"]
    emulator.fault("GetInstance", "error", status=404, code="NotAuthorizedOrNotFound", instanceId=instance_id("b"))
    assert "not" in refused(plan(hyper, *retry, "--allow-shutdown", code=3))["b"]
    assert "-o and --retry" in fails(hyper, 2, *retry, "-o", "x/").err.replace("--output", "-o")


def test_what_must_not_be_read_refuses_the_plan(start_emulator: START, tmp_path: Path) -> None:
    """A compartment whose instances or volumes are hidden is named; an OCID needs no list (design rule 9)."""
    hidden = compartment_id("other")
    user = {"denied": ["ListInstances"], "deniedCompartments": [hidden]}
    emulator = start_emulator(
        instances=("web-01",), compartments=("main", "other"), disks=1, disk_size=4 << 20, user=user
    )
    hyper = Hyperexport(emulator, tmp_path)
    told = fails(hyper, 4, "--filter", "name=*").err
    assert f"instances in other of us-ashburn-1 ({hidden})" in told
    (tmp_path / "names.txt").write_text("web-01\n")
    assert "cannot tell which instances the names in names.txt mean" in fails(hyper, 4, "names.txt").err
    (tmp_path / "ids.txt").write_text(instance_id("web-01"))
    assert names(plan(hyper, "ids.txt")) == ["web-01"]
    assert names(plan(hyper, "--filter", "name=*", "-c", "main")) == ["web-01"]
    emulator.fault("ListBootVolumes", "error", status=404, code="NotAuthorizedOrNotFound")
    assert "boot volumes of Test:US-ASHBURN-AD-1 in main" in fails(hyper, 4, "--filter", "name=*", "-c", "main").err


def spread(seed: dict[str, Any]) -> None:
    places = [one["id"] for one in seed["compartments"]]
    for number, one in enumerate(seed["instances"]):
        one["compartmentId"] = places[number % len(places)]
        one["availabilityDomain"] = f"Test:US-ASHBURN-AD-{number % 3 + 1}"


@pytest.mark.parametrize("effect", ["429", "503", "pages"])
def test_a_busy_cloud_makes_no_plan_shorter(start_emulator: START, tmp_path: Path, effect: str) -> None:
    """With 30 % of list calls answered 429 or 503, or pages of three, every instance is in the plan (C032)."""
    every = [f"vm-{number:03d}" for number in range(120)]
    compartments = [f"team{number}" for number in range(8)]
    emulator = start_emulator(instances=every, compartments=compartments, disks=1, disk_size=1 << 20, change=spread)
    for number, operation in enumerate(LISTS):
        if effect == "pages":
            emulator.fault(operation, "small-pages", limit=3, times="any")
        else:
            error = {"status": int(effect), "code": {"429": "TooManyRequests", "503": "ServiceUnavailable"}[effect]}
            emulator.fault(operation, "error", times="any", probability=0.3, seed=number + 1, optional=True, **error)
    hyper = Hyperexport(emulator, tmp_path)
    # Five in a row would be refused: one plan in eight.
    hyper.environ["HYPEREXPORT_RETRY_MAX_ATTEMPTS"] = "15"
    found = plan(hyper, "--filter", "name=vm-*", "-o", "{compartment}/")
    assert sorted(names(found)) == every
    assert all(item["size"] == 50 << 30 for item in found["items"])


def test_an_outage_while_planning_is_waited_out(start_emulator: START, tmp_path: Path) -> None:
    """The plan is whole, people are told that the network is down, and no retry is spent."""
    every = [f"vm-{number:02d}" for number in range(24)]
    emulator = start_emulator(instances=every, compartments=list("abcdefgh"), disks=1, disk_size=1 << 20, change=spread)
    emulator.fault("ListInstances", "outage", seconds=1, skip=3)
    ended = Hyperexport(emulator, tmp_path).run("fleet", "--filter", "name=*", "--dry-run", "--json", "-bn", "exports")
    assert ended.code == 0, ended.err
    assert sorted(names(ended.json["fleet_plan"])) == every
    assert "waiting: network down" in ended.err


def test_ctrl_c_while_planning_ends_it_at_once(start_emulator: START, tmp_path: Path) -> None:
    """Threads that wait for a busy service are stopped; nothing is printed as a plan; exit 130."""
    emulator = start_emulator(compartments=list("abcdefgh"), disks=1, disk_size=1 << 20)
    busy = {"status": 429, "code": "TooManyRequests", "headers": {"retry-after": "60"}}
    emulator.fault("ListInstances", "error", times="any", **busy)
    running = Hyperexport(emulator, tmp_path).start(
        "fleet", "--filter", "name=*", "--dry-run", "--json", "-bn", "exports"
    )
    wait_until(lambda: any(each["operation"] == "ListInstances" for each in emulator.remote.log()), "it never began")
    running.signal(signal.SIGINT)
    began = time.monotonic()
    ended = running.wait()
    assert (ended.code, ended.out) == (130, ""), ended.err
    assert time.monotonic() - began < 20


def test_a_list_that_cannot_be_read_to_its_end_makes_no_plan(start_emulator: START, tmp_path: Path) -> None:
    """When the service fails for good, the command gives up as on a passing fault and prints no part of a plan."""
    every = [f"vm-{number}" for number in range(9)]
    emulator = start_emulator(instances=every, compartments=("a", "b", "c"), disks=1, disk_size=1 << 20, change=spread)
    place = compartment_id("b")
    emulator.fault("ListInstances", "error", times="any", status=500, code="InternalServerError", compartmentId=place)
    assert place in fails(Hyperexport(emulator, tmp_path), 8, "--filter", "name=*").err
