"""Digests of an exported disk beyond those that are always taken, and reading it back from the device."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import blake3
import pytest
from emulator import Emulator, make_seed
from hyperexport import Hyperexport

import hypersdk
from hypersdk import errors, events
from hypersdk.exports.options import ExportOptions
from hypersdk.waiting import StopFlag

VMS = ("one", "two", "three", "four")


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One emulator for this file."""
    folder = tmp_path_factory.mktemp("digests")
    seed = make_seed(folder / "seed", instances=dict.fromkeys(VMS, "STOPPED"), assume={"lock-minutes": 0})
    emulator = Emulator(seed, folder / "state").start()
    yield emulator
    emulator.stop()


@pytest.fixture
def hyper(cloud: Emulator, tmp_path: Path) -> Hyperexport:
    """The command."""
    return Hyperexport(cloud, tmp_path)


@pytest.fixture
def config(cloud: Emulator, tmp_path: Path) -> hypersdk.Config:
    """The library's configuration."""
    flags = {"config_file": str(cloud.config_file), "endpoint": cloud.endpoint, "bucket": "exports"}
    environ = {"HYPEREXPORT_STATE": str(tmp_path / "runs.sqlite")}
    return hypersdk.load_config(flags, environ, cwd=str(tmp_path), home=str(tmp_path))


def digests_of(path: Path) -> dict[str, str]:
    body = path.read_bytes()
    return {name: hashlib.new(name, body).hexdigest() for name in ("sha256", "md5", "sha384")} | {
        "blake3": blake3.blake3(body).hexdigest()
    }


def test_asked_digests_are_in_result_and_manifest(hyper: Hyperexport) -> None:
    """`--checksum` may be repeated; every digest is that of the file's bytes, beside those that are always there."""
    ended = hyper.export(
        "one", "-o", "disk.qcow2", "--checksum", "md5", "--checksum", "blake3", "--verify", "reread", "--json"
    )
    assert ended.code == 0, ended.err
    disk, expected = hyper.folder / "disk.qcow2", digests_of(hyper.folder / "disk.qcow2")
    found = ended.json["export"]["disks"][0]
    manifest = json.loads(Path(f"{disk}.manifest.json").read_text())
    for checksums in (found["checksums"], manifest["disk"]["checksums"]):
        assert set(checksums) == {"crc32c", "sha256", "md5", "blake3"}
        assert {name: checksums[name] for name in ("sha256", "md5", "blake3")}.items() <= expected.items()
    assert any("read back from the device" in sentence for sentence in found["proof"])


def test_a_digest_asked_for_on_resuming_is_taken(config: hypersdk.Config, tmp_path: Path) -> None:
    """A run that was interrupted after its proof takes a digest that only the second command asks for."""
    stop = StopFlag()

    def stop_after_proof(event: events.Event, /) -> None:
        if isinstance(event, events.StepFinished) and event.step.startswith("verify"):
            stop.set()

    options = ExportOptions(output_dir=str(tmp_path), output_name="disk.qcow2")
    with pytest.raises(errors.Interrupted):
        hypersdk.export_instance("two", options, config, reporter=stop_after_proof, stop=stop)
    asked = replace(config, transfer=replace(config.transfer, digests=("blake3",)))
    result = hypersdk.export_instance("two", options, asked)
    expected = digests_of(tmp_path / "disk.qcow2")
    assert {each.algorithm: each.value for each in result.disks[0].checksums if each.algorithm != "crc32c"} == {
        name: expected[name] for name in ("sha256", "blake3")
    }
    notes = []
    again = replace(config, transfer=replace(config.transfer, digests=("sha384",)))
    finished = hypersdk.export_instance("two", options, again, reporter=notes.append)
    assert finished.already
    assert any("took no sha384" in event.text for event in notes if isinstance(event, events.Note))


def test_an_object_that_stays_has_its_crc32c(hyper: Hyperexport) -> None:
    """What is left in Object Storage alone is never read in order: a note says which proof there is."""
    ended = hyper.export(
        "three", "--to", f"oci://{hyper.emulator.namespace}/exports/kept/", "--checksum", "md5", "--json"
    )
    assert ended.code == 0, ended.err
    assert set(ended.json["export"]["disks"][0]["checksums"]) == {"crc32c"}
    assert "has its CRC32C in the manifest" in ended.err


def test_unknown_words_are_usage(hyper: Hyperexport) -> None:
    """A digest that nobody knows, or another kind of verification, ends before the first call."""
    for wrong in (("--checksum", "sha1"), ("--verify", "twice")):
        ended = hyper.export("four", *wrong)
        assert ended.code == 2
        assert "sha256" in ended.err or "reread" in ended.err
