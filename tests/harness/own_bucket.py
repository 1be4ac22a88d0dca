"""An emulator for one test module, and a bucket of its own for each test, over the product's store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from emulator import Emulator, make_seed

from hypersdk.config import load_config
from hypersdk.model import ObjectRef
from hypersdk.storage.backends.oci import OciStore
from hypersdk.vendors.oci.session import open_session
from hypersdk.wire.loop import Wire


@contextmanager
def running_emulator(factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """An emulator with hardly any instances."""
    folder = factory.mktemp("cloud")
    emulator = Emulator(make_seed(folder / "seed", disks=1, disk_size=1 << 20), folder / "state").start()
    try:
        yield emulator
    finally:
        emulator.stop()


@contextmanager
def own_bucket(emulator: Emulator, folder: Path) -> Iterator[tuple[OciStore, Wire, ObjectRef]]:
    """A store, its wire and an empty bucket named after a directory; no fault may be left over."""
    flags = {"config_file": str(emulator.config_file), "endpoint": emulator.endpoint}
    session = open_session(load_config(flags, environ={}, cwd=str(folder), home=str(folder)).oci)
    root = ObjectRef("oci", emulator.namespace, f"bucket-{folder.name}", "")
    details = {"name": root.bucket, "compartmentId": emulator.seed.compartment}
    assert emulator.call("POST", f"/n/{emulator.namespace}/b", details).status == 200
    with Wire(session.connection) as wire:
        yield OciStore(session, wire), wire, root
    assert emulator.unconsumed() == []
