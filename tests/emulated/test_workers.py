"""`hyperexport worker`: exports go on when workers stop, die, are suspended, or come back, each with one image."""

from __future__ import annotations

import importlib
import json
import platform
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from emulator import MIB, Emulator
from hyperexport import Ended, Hyperexport, Running
from jobs import await_
from postgres import Postgres

from hypersdk.exports import landing
from hypersdk.fleet import dispatch, engine, worker
from hypersdk.runs import presence
from hypersdk.runs.database import Database
from hypersdk.runs.store import RunStore

PART = {"HYPEREXPORT_TRANSFER_PART_SIZE": "192KiB", "HYPEREXPORT_TRANSFER_PARALLEL": "2"}


class Site:
    """A cloud, a database and workers."""

    def __init__(self, emulator: Emulator, url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.emulator = emulator
        self.url = url
        self.out = folder / "out"
        self.out.mkdir()
        self.hyper = Hyperexport(emulator, folder)
        self.hyper.environ |= {**PART, "HYPEREXPORT_STATE": url}
        self.running: list[Running] = []
        self._monkeypatch = monkeypatch

    def worker(self, host: str = "host-a", *options: str) -> Running:
        """Start a worker on a machine of that name."""
        # It is a fork of this process.
        self._monkeypatch.setattr(platform, "node", lambda: host)
        started = self.hyper.start("worker", "--slots", "2", "-v", *options)
        self.running.append(started)
        return started

    def fleet(self, *options: str, names: str = "web-01") -> Running:
        """Start `hyperexport fleet` for these instances."""
        (self.hyper.folder / "list").write_text(names.replace(" ", "\n") + "\n")
        output = f"{self.out}/{{name}}.{{format}}"
        started = self.hyper.start("fleet", "list", "-o", output, "-bn", "exports", "--yes", "--json", *options)
        self.running.append(started)
        return started

    def hold_download(self) -> str:
        """Let the cloud hold a read of the disk; the id of that fault."""
        return str(self.emulator.fault("GetObject", "stall", skip=2, afterBytes=1000)["id"])

    def await_held(self, fault: str) -> None:
        """Wait until that read is held."""
        await_(lambda: any(f["holding"] for f in self.emulator.faults() if f["id"] == fault), "nothing is held")

    def let_go(self) -> None:
        """Let go of what is held."""
        self.emulator.control("DELETE", "faults")

    def images(self) -> list[dict[str, Any]]:
        """Images that exports made."""
        found = []
        for state in ("AVAILABLE", "DELETED"):
            query = f"compartmentId={self.emulator.seed.compartment}&lifecycleState={state}"
            found += self.emulator.call("GET", f"/20160918/images?{query}").json
        return [image for image in found if image["compartmentId"]]

    def done(self, fleet: Running) -> Ended:
        """Wait for the end of a fleet, which must have gone well, with one image for each file."""
        ended = fleet.wait()
        assert ended.code == 0, ended.err
        files = sorted(path.name for path in self.out.glob("*.qcow2"))
        for name in files:
            raw = self.emulator.seed.disk(name.removesuffix(".qcow2"))
            compare = ["qemu-img", "compare", "-q", "-f", "qcow2", "-F", "raw", str(self.out / name), str(raw)]
            assert subprocess.run(compare, check=False).returncode == 0, name
        assert len(self.images()) == len(files)
        assert not any(self.emulator.control("GET", "leftovers").values())
        return ended

    def query(self, text: str) -> list[Any]:
        """Ask the database."""
        with psycopg.connect(self.url) as connection:
            return [row[0] for row in connection.execute(text.encode()).fetchall()]

    def change(self, text: str) -> None:
        """Change the database behind everybody's back."""
        with psycopg.connect(self.url) as connection:
            assert connection.execute(text.encode()).rowcount == 1


@pytest.fixture(scope="module")
def prepared(postgres: Postgres) -> str:
    """Name of a database that has all tables."""
    url = postgres.database()
    engine.prepare(url)
    RunStore(url, host="none", version="0").close()
    return url.rpartition("/")[2]


@pytest.fixture
def site(
    start_emulator: Callable[..., Emulator],
    postgres: Postgres,
    prepared: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Site]:
    """One site; what still runs at the end is killed."""
    importlib.import_module("dbos")
    importlib.import_module("hypersdk.fleet.worker")
    monkeypatch.setattr(engine, "POLL_EVERY", 0.2)
    monkeypatch.setattr(worker, "SPEAK_EVERY", 0.5)
    monkeypatch.setattr(dispatch, "LOOK_EVERY", 0.2)
    emulator = start_emulator(instances=("web-01", "web-02"), disk_size=4 * MIB)
    name = f"site_{next(_numbers)}"
    postgres.execute(f"create database {name} template {prepared}")
    made = Site(emulator, postgres.url(name), tmp_path, monkeypatch)
    yield made
    for running in made.running:
        running.kill()


_numbers = count()


def test_a_worker_that_stops_hands_its_exports_back(site: Site) -> None:
    """SIGTERM ends a worker within seconds with 0; another one goes on, with the same image and the parts it had."""
    fault = site.hold_download()
    first, fleet = site.worker(), site.fleet()
    site.await_held(fault)
    first.signal(signal.SIGTERM)
    ended = first.wait()
    assert ended.code == 0, ended.err
    assert site.query("select state from runs") == ["interrupted"]
    assert site.query("select outcome from fleet_items") == [None], "an end was written that is none"
    assert not fleet.ended()
    site.let_go()
    site.worker()
    site.done(fleet)


def test_a_killed_worker_is_replaced_within_a_minute(site: Site) -> None:
    """Kill -9 in mid-download: a worker of the same machine goes on with what was fetched."""
    fault = site.hold_download()
    first, fleet = site.worker(), site.fleet()
    site.await_held(fault)
    first.kill()
    site.let_go()
    before = site.emulator.log()[-1]["id"]
    site.worker()
    site.done(fleet)
    again = [call for call in site.emulator.log(before) if call["operation"] in {"CreateImage", "ExportImage"}]
    assert not again, "image and object were there"
    assert site.query("select epoch from leases") == [2]


def test_a_dead_machine_is_waited_for_and_then_replaced(site: Site, tmp_path: Path) -> None:
    """Without its machine a half-fetched disk is begun anew once the grace is over; image and object are used again."""
    fault = site.hold_download()
    first, fleet = site.worker("host-a"), site.fleet()
    site.await_held(fault)
    first.kill()
    stash = tmp_path / "disk-of-a"
    shutil.move(site.out, stash)  # its disk is gone with it
    site.out.mkdir()
    site.let_go()
    second = site.worker("host-b", "--host-grace", "4s")
    queue = f"select queue_name from {engine.SCHEMA}.workflow_status where status in ('ENQUEUED', 'PENDING')"
    await_(lambda: site.query(queue) == ["host-host-a"], "nobody waits for the machine")
    site.done(fleet)
    assert "host-a did not come back" in second.err
    assert site.query("select distinct host from steps where name = 'download'") == ["host-b"]
    assert site.query("select distinct host from steps where name = 'create-image'") == ["host-a"]
    for left in stash.iterdir():
        left.rename(site.out / left.name)
    assert list(site.out.glob(".hx-*"))
    site.worker("host-a")
    await_(lambda: not list(site.out.glob(".hx-*")), "what lay half fetched on host-a is still there")
    assert sorted(path.name for path in site.out.iterdir()) == ["web-01.qcow2", "web-01.qcow2.manifest.json"]


def test_a_machine_that_comes_back_goes_on_where_it_was(site: Site, tmp_path: Path) -> None:
    """Within the grace other workers leave it alone; nothing that was fetched is fetched twice."""
    fault = site.hold_download()
    first, fleet = site.worker("host-a"), site.fleet()
    site.await_held(fault)
    first.kill()
    stash = tmp_path / "disk-of-a"
    shutil.move(site.out, stash)
    site.out.mkdir()
    site.let_go()
    site.worker("host-b")
    queue = f"select queue_name from {engine.SCHEMA}.workflow_status where status in ('ENQUEUED', 'PENDING')"
    await_(lambda: site.query(queue) == ["host-host-a"], "nobody waits for the machine")
    site.out.rmdir()
    shutil.move(stash, site.out)
    back = site.worker("host-a")
    # The files of host-a are seen by host-b from here on; whichever is first goes on with them.
    site.done(fleet)
    assert "did not come back" not in back.err
    assert site.query("select distinct host from steps where name = 'create-image'") == ["host-a"]


def test_files_that_another_machine_sees_are_gone_on_with(site: Site) -> None:
    """On shared storage nobody waits for the dead machine: its parts are used, and proven again."""
    fault = site.hold_download()
    first, fleet = site.worker("host-a"), site.fleet()
    site.await_held(fault)
    first.kill()
    site.let_go()
    second = site.worker("host-b")
    site.done(fleet)
    assert "which are here too" in second.err or site.query("select host from steps where name = 'verify'") == [
        "host-b"
    ]


def test_a_suspended_worker_is_replaced_and_leaves_when_it_wakes(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others take its export over; once awake it ends with 8, without clean-up, and the file is written by one only."""
    monkeypatch.setattr(presence, "SILENT", 2.0)
    monkeypatch.setitem(Database.__init__.__kwdefaults__, "lease_seconds", 2.0)
    monkeypatch.setattr(landing, "IN_USE_EVERY", 0.2)
    fault = site.hold_download()
    first, fleet = site.worker(), site.fleet()
    site.await_held(fault)
    first.signal(signal.SIGSTOP)
    site.let_go()
    second = site.worker()
    await_(lambda: site.query("select epoch from leases") == [2], "the export was not taken over")
    first.signal(signal.SIGCONT)
    assert first.wait().code == 8
    site.done(fleet)
    assert not second.ended()


def test_a_worker_without_its_database_ends_at_once(
    start_emulator: Callable[..., Emulator], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who cannot say that it lives must not go on; when database and worker are back, so is the export."""
    importlib.import_module("dbos")
    monkeypatch.setattr(worker, "SPEAK_EVERY", 0.5)
    emulator = start_emulator(disk_size=4 * MIB)
    with Postgres(durable=True) as postgres:
        site = Site(emulator, postgres.database(), tmp_path, monkeypatch)
        fault = site.hold_download()
        first, fleet = site.worker(), site.fleet("--detach")
        site.await_held(fault)
        assert fleet.wait().code == 0
        postgres.stop(crash=True)
        assert first.wait().code == 8
        postgres.start()
        site.let_go()
        again, fleet = site.worker(), site.fleet()
        try:
            site.done(fleet)
        finally:
            again.kill()


def test_a_detached_fleet_is_carried_out_by_who_comes_later(site: Site) -> None:
    """`--detach` leaves it in the queue; watching it says when no worker is alive."""
    left = site.fleet("--detach", names="web-01 web-02").wait()
    assert left.code == 0, left.err
    assert "left to the workers" in left.err
    watching = site.fleet(names="web-01 web-02")
    await_(lambda: "no worker is alive" in watching.err, "it does not say so")
    assert site.query("select count(*) from fleets") == [1], "the same fleet goes on"
    site.worker()
    report = site.done(watching).json["fleet"]
    assert report["counts"]["done"] == 2


def test_who_watches_may_go_away(site: Site) -> None:
    """Ctrl-C ends the watching, not the fleet."""
    fault = site.hold_download()
    site.worker()
    watching = site.fleet()
    site.await_held(fault)
    watching.signal(signal.SIGINT)
    ended = watching.wait()
    assert ended.code == 130
    assert "the workers go on" in ended.out + ended.err
    site.let_go()
    site.done(site.fleet())


def test_a_fleet_is_cancelled_from_anywhere(site: Site) -> None:
    """What waits never begins, what runs is cleaned up by the worker that has it; nothing is left."""
    fault = site.hold_download()
    site.worker()
    watching = site.fleet("--parallel", "1", names="web-01 web-02")
    site.await_held(fault)
    fleet_id = site.query("select fleet_id from fleets")[0]
    cancelled = site.hyper.run("runs", "cancel", fleet_id)
    assert cancelled.code == 0, cancelled.err
    states = "select state from runs where state = 'cancelled'"
    await_(lambda: len(site.query(states)) == 2, "it is not heard of while a read stands still")
    site.let_go()
    ended = watching.wait()
    assert [item["outcome"] for item in ended.json["fleet"]["items"]] == ["cancelled", "cancelled"]
    assert not any(site.emulator.control("GET", "leftovers").values())
    assert list(site.out.iterdir()) == []


def test_a_closed_window_keeps_no_slot(site: Site) -> None:
    """An export whose window is closed is queued for its opening, also if a worker meets it too early."""
    later = datetime.now(UTC) + timedelta(hours=2)
    window = f"{later:%H:%M}-{later + timedelta(hours=1):%H:%M} UTC"
    left = site.fleet("--detach", "--window", window).wait()
    assert left.code == 0, left.err
    rows = f"select status || ' ' || split_part(workflow_uuid, '.', 2) from {engine.SCHEMA}.workflow_status order by 1"
    assert site.query(rows) == ["DELAYED 1"]
    site.change(f"update {engine.SCHEMA}.workflow_status set status = 'ENQUEUED', delay_until_epoch_ms = null")
    site.worker()
    await_(lambda: site.query(rows) == ["DELAYED 2", "SUCCESS 1"], "it began, or was lost")
    assert site.images() == []
    assert site.hyper.run("runs", "cancel", site.query("select fleet_id from fleets")[0]).code == 0
    assert site.query("select outcome from fleet_items") == ["cancelled"]


def test_a_run_of_another_tenancy_is_left_to_others(site: Site) -> None:
    """A worker that is signed in elsewhere fails nothing; it comes back to it later."""
    assert site.fleet("--detach").wait().code == 0
    site.change("update runs set plan = jsonb_set(plan::jsonb, '{tenancy_id}', '\"ocid1.tenancy.oc1..other\"')::json")
    worker = site.worker()
    await_(lambda: "is left to others" in worker.err, "nothing is said")
    rows = f"select status from {engine.SCHEMA}.workflow_status order by 1"
    await_(lambda: site.query(rows) == ["DELAYED", "SUCCESS"], "it was taken, or lost")
    assert site.query("select outcome from fleet_items") == [None]


def test_a_fault_of_the_program_ends_one_export_only(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """An export that no worker can carry out has an outcome, and its worker goes on."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError("boom")

    monkeypatch.setattr(worker, "course_here", broken)
    started, fleet = site.worker(), site.fleet()
    ended = fleet.wait()
    assert ended.code == 1, ended.err
    assert [item["code"] for item in ended.json["fleet"]["items"]] == ["internal"]
    assert not started.ended()


def test_a_worker_needs_a_shared_store(site: Site) -> None:
    """A file cannot be shared: one line says what is missing, before anything is done."""
    (site.hyper.folder / "list").write_text("web-01\n")
    ended = site.hyper.run("worker", environ={"HYPEREXPORT_STATE": str(site.hyper.folder / "runs.sqlite")})
    assert ended.code == 2
    assert "HYPEREXPORT_STATE=postgresql://" in ended.err
    detached = site.hyper.start(
        "fleet", "list", "--detach", environ={"HYPEREXPORT_STATE": str(site.hyper.folder / "r")}
    )
    assert detached.wait().code == 2


def test_the_password_of_the_database_is_never_shown(site: Site, postgres: Postgres) -> None:
    """Neither a worker's output nor what it reports of an error has it."""
    place = site.url.replace("postgres@", "postgres:hidden-word@")
    site.hyper.environ["HYPEREXPORT_STATE"] = place
    first, fleet = site.worker(), site.fleet()
    site.done(fleet)
    first.signal(signal.SIGTERM)
    ended = first.wait()
    site.hyper.environ["HYPEREXPORT_STATE"] = place.replace(str(postgres.port), "1")
    failed = site.hyper.run("worker")
    assert failed.code in {2, 8}
    shown = json.dumps([ended.out, ended.err, failed.out, failed.err])
    assert "hidden-word" not in shown
