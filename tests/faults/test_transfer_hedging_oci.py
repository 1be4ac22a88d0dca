"""Parts that stall or drip in the emulated Object Storage: that costs seconds, not the wire's time-out of a minute."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

import hypersdk
from hypersdk.transfer import parts
from hypersdk.transfer.hedging import Lookout, Rule
from hypersdk.transfer.options import MIB, TransferOptions

PART = MIB
SIZE = 8 * PART + 1
QUICK = Rule(stuck=0.5, silent=2.0, window=0.5, setup=0.1)
LIMIT = 20.0
"""Seconds that a transfer may take; a third of what one stalled connection costs without us."""


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> Iterator[None]:
    """Patience of less than a second; the time of the test is what is measured."""
    monkeypatch.setattr(parts, "Lookout", lambda: Lookout(QUICK))
    monkeypatch.setattr(parts, "TURN", 0.05)
    began = time.monotonic()
    yield
    assert time.monotonic() - began < LIMIT


@pytest.fixture
def config(oci_emulator, tmp_path) -> hypersdk.Config:
    """One try for each part: what is given up must spend none."""
    flags = {"config_file": str(oci_emulator.config_file), "endpoint": oci_emulator.endpoint, "max_attempts": 1}
    loaded = hypersdk.load_config(flags, {}, cwd=str(tmp_path), home=str(tmp_path))
    return replace(loaded, transfer=TransferOptions(part_size=PART, parallel=3))


@pytest.fixture
def there_and_back(oci_emulator, config, tmp_path) -> Callable[..., None]:
    """Uploads and downloads a file, with a fault declared for one of the two; the bytes must be the same."""
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(random.Random(12).randbytes(SIZE))
    address = f"oci://{oci_emulator.namespace}/{oci_emulator.bucket('disks')}/disk"

    def move(operation: str, fault: dict[str, Any]) -> None:
        oci_emulator.fault(operation, **fault)
        assert hypersdk.upload(str(source), address, config).size == SIZE
        hypersdk.download(address, str(back), config)
        assert back.read_bytes() == source.read_bytes()

    return move


@pytest.mark.parametrize(
    "fault",
    [
        {"effect": "stall", "afterBytes": 1000, "offset": 3 * PART},
        {"effect": "drip", "bytesPerSecond": 5000, "offset": 7 * PART},
    ],
    ids=["stall", "drip"],
)
def test_a_bad_range_holds_up_no_download(there_and_back, oci_emulator, fault):
    """A range that stalls, or drips at the end, is asked for again from where it stands, without spending a try."""
    there_and_back("GetObject", fault)
    moved = sum(entry["bytes"] or 0 for entry in oci_emulator.log(operation="GetObject"))
    assert SIZE <= moved <= SIZE + PART


@pytest.mark.parametrize(
    "fault",
    [
        {"effect": "stall-request", "afterBytes": 1000, "partNumber": 3},
        {"effect": "hold", "partNumber": 4},
        {"effect": "hold-before", "partNumber": 9},
    ],
    ids=["stalled", "not answered", "not begun"],
)
def test_a_bad_part_holds_up_no_upload(there_and_back, fault):
    """A part that is no longer read, or never answered, is sent again; the object has each part once."""
    there_and_back("UploadPart", fault)
