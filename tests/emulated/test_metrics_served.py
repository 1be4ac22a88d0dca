"""`--metrics` while commands work: a monitor sees bytes, steps, waits and runs, and the work does not notice."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from emulator import Emulator, make_seed
from hyperexport import Hyperexport, Running, end_stragglers
from prometheus_client.openmetrics.parser import text_string_to_metric_families

VMS = [f"vm-{n}" for n in range(8)]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One emulator for this file."""
    folder = tmp_path_factory.mktemp("cloud")
    seed = make_seed(folder / "seed", instances=VMS, disk_size=4 << 20, assume={"lock-minutes": 0})
    emulator = Emulator(seed, folder / "state").start()
    yield emulator
    emulator.stop()


@pytest.fixture
def hyper(cloud: Emulator, tmp_path: Path) -> Iterator[Hyperexport]:
    """The command."""
    yield Hyperexport(cloud, tmp_path)
    end_stragglers()


def held(cloud: Emulator, running: Running) -> None:
    while not any(fault["holding"] for fault in cloud.faults()):
        assert not running.ended(), running.wait().err


def scrape(running: Running) -> Callable[..., float | None]:
    """The values that a running command serves where it says that it does."""
    match = re.search(r"^metrics: (http://127\.0\.0\.1:\d+/metrics)$", running.err, re.MULTILINE)
    assert match, running.err
    request = urllib.request.Request(match[1], headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    with urllib.request.urlopen(request, timeout=10) as reply:
        families = list(text_string_to_metric_families(reply.read().decode()))
    samples = {(each.name, *sorted(each.labels.items())): each.value for family in families for each in family.samples}
    return lambda name, **labels: samples.get((name, *sorted(labels.items())))


def test_an_export_is_seen_while_it_runs(cloud: Emulator, hyper: Hyperexport) -> None:
    """In mid-download its step runs, earlier ones are timed, retries have their code, the run is active."""
    cloud.fault("GetImage", "error", status=503, code="ServiceUnavailable")
    cloud.fault("GetObject", "hold", skip=1)
    running = hyper.start(
        "export",
        "vm-0",
        "-o",
        "disk.qcow2",
        "-bn",
        "exports",
        "--metrics",
        ":0",
        "--part-size",
        "1M",
        "--parallel",
        "1",
    )
    held(cloud, running)
    value = scrape(running)
    assert value("hyperexport_steps_running", step="download") == 1
    assert value("hyperexport_step_duration_seconds_count", step="create-image", outcome="done") == 1
    assert value("hyperexport_retries_total", code="service") == 1
    assert value("hyperexport_runs", state="active") == 1
    assert (value("hyperexport_call_duration_seconds_count") or 0) > 5
    cloud.control("POST", "release", {"all": True})
    assert running.wait().code == 0


def test_a_copy_is_counted(cloud: Emulator, hyper: Hyperexport) -> None:
    """Bytes and parts of `cp` are there before it ends; it has no runs."""
    (hyper.folder / "disk.raw").write_bytes(bytes(range(256)) * 4096 * 4)
    cloud.fault("CommitMultipartUpload", "hold-before")
    target = "oci://testns/exports/disk.raw"
    running = hyper.start("cp", "disk.raw", target, "--part-size", "1M", "--metrics", "127.0.0.1:0")
    held(cloud, running)
    value = scrape(running)
    assert value("hyperexport_transferred_bytes_total", direction="wire") == 4 << 20
    assert value("hyperexport_parts_total") == 4
    assert value("hyperexport_runs", state="active") is None
    cloud.control("POST", "release", {"all": True})
    assert running.wait().code == 0


def test_a_fleet_is_counted_as_a_whole(cloud: Emulator, hyper: Hyperexport) -> None:
    """Done, running and queued exports of a fleet are told apart, without a series for each instance."""
    (hyper.folder / "fleet.txt").write_text("vm-1\nvm-2\nvm-3\n")
    cloud.fault("ExportImage", "hold", skip=1)
    running = hyper.start(
        "fleet", "fleet.txt", "-o", "out/", "-bn", "exports", "--parallel", "1", "--yes", "--metrics", ":0"
    )
    held(cloud, running)
    value = scrape(running)
    assert value("hyperexport_exports_total", outcome="done") == 1
    assert value("hyperexport_runs", state="active") == 1
    assert value("hyperexport_runs", state="queued") == 1
    cloud.control("POST", "release", {"all": True})
    ended = running.wait()
    assert ended.code == 0, ended.err


def test_an_address_in_use_ends_the_command_before_anything_is_made(
    cloud: Emulator, hyper: Hyperexport, tmp_path: Path
) -> None:
    """One line, exit 2; nothing was created."""
    taken = cloud.endpoint.removeprefix("http://")
    ended = hyper.run("export", "vm-7", "-o", "x.qcow2", "-bn", "exports", "--metrics", taken)
    assert ended.code == 2
    assert f"--metrics: nothing can be served at {taken}" in ended.err
    assert not any(cloud.control("GET", "leftovers").values())
