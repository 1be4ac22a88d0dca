"""The library of design section 2: the same export from a program."""

import itertools
from pathlib import Path

import pytest
from emulator import Emulator

import hypersdk
from hypersdk import errors, events
from hypersdk.exports.telling.percent import PercentReporter


@pytest.fixture
def config(emulator: Emulator, tmp_path: Path) -> hypersdk.Config:
    environ = {
        "HOME": str(tmp_path),
        "HYPEREXPORT_STATE": str(tmp_path / "runs.sqlite"),
        "HYPEREXPORT_RETRY_INITIAL_DELAY": "0.01s",
        "HYPEREXPORT_RETRY_MAX_DELAY": "0.05s",
        "HYPEREXPORT_TRANSFER_PART_SIZE": "64KiB",
        "HYPEREXPORT_TRANSFER_PARALLEL": "1",
    }
    flags = {"config_file": str(emulator.config_file), "endpoint": emulator.endpoint, "bucket": "exports"}
    return hypersdk.load_config(flags, environ)


def test_an_export_from_a_program(emulator: Emulator, config: hypersdk.Config, tmp_path: Path) -> None:
    """Plan and result name the same things; bytes and percent never go back and reach their ends."""
    options = hypersdk.ExportOptions(output_dir=str(tmp_path))
    plan = hypersdk.plan_export("web-01", options, config)
    moved: list[tuple[int, int | None]] = []
    percents: list[float] = []
    watchers = (hypersdk.callback_reporter(lambda *both: moved.append(both)), PercentReporter(plan, percents.append))

    def report(event: events.Event, /) -> None:
        for watcher in watchers:
            watcher(event)

    result = hypersdk.export_instance("web-01", options, config, reporter=report)
    assert (result.run_id, result.local_path) == (plan.run_id, str(tmp_path / "web-01.qcow2"))
    assert Path(result.manifest).is_file()
    assert (result.size, result.size) in moved
    assert percents[-1] == 100.0
    assert all(one < other for one, other in itertools.pairwise(percents))
    assert not any(emulator.control("GET", "leftovers").values())


def test_stop_ends_an_export_that_the_same_call_resumes(
    emulator: Emulator, config: hypersdk.Config, tmp_path: Path
) -> None:
    """A stop flag ends the export cleanly in the middle of its download; what stays is told; the rest is fetched."""
    options = hypersdk.ExportOptions(output_dir=str(tmp_path))
    stop = hypersdk.StopFlag()

    def stop_half_way(event: events.Event, /) -> None:
        if isinstance(event, events.StepAdvanced) and event.step == "download" and event.done > 300_000:
            stop.set()

    with pytest.raises(errors.Interrupted) as stopped:
        hypersdk.export_instance("web-01", options, config, reporter=stop_half_way, stop=stop)
    assert any("stays in the tenancy: object" in note for note in stopped.value.__notes__)
    fetched = sum(each["bytes"] or 0 for each in emulator.log() if each["operation"] == "GetObject")
    result = hypersdk.export_instance("web-01", options, config)
    everything = sum(each["bytes"] or 0 for each in emulator.log() if each["operation"] == "GetObject")
    assert 0 < fetched < result.size
    assert everything <= result.size + 64 * 1024
    made = [each for each in emulator.log() if each["operation"] in {"CreateImage", "ExportImage"}]
    assert len(made) == 2


def test_a_file_goes_up_and_comes_back(config: hypersdk.Config, tmp_path: Path) -> None:
    """Upload and download move exactly the bytes, tell how many, and never replace a file unasked."""
    source, target = tmp_path / "up", tmp_path / "down"
    source.write_bytes(bytes(range(256)) * 1024)
    moved: list[tuple[int, int]] = []
    sent = hypersdk.upload(
        str(source), "oci://testns/exports/dir/up", config, progress=lambda *both: moved.append(both)
    )
    assert sent.size == moved[-1][0] == moved[-1][1] == 256 * 1024
    proof = hypersdk.download("oci://testns/exports/dir/up", str(target), config)
    assert target.read_bytes() == source.read_bytes()
    assert sent.checksums[0] in proof.checksums
    target.write_bytes(b"mine")
    with pytest.raises(errors.DestinationExists):
        hypersdk.download("oci://testns/exports/dir/up", str(target), config)
    assert target.read_bytes() == b"mine"
    hypersdk.download("oci://testns/exports/dir/up", str(target), config, overwrite=True)
    assert target.read_bytes() == source.read_bytes()


def test_only_objects_go_up_and_down(config: hypersdk.Config, tmp_path: Path) -> None:
    """An address that names no object is refused before anything is sent."""
    with pytest.raises(errors.UsageError, match="not the address of an object"):
        hypersdk.upload(str(tmp_path / "absent"), "oci://testns/exports/", config)
