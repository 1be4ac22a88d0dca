"""The store of Object Storage keeps the promises of every store, over a socket, with pages of three entries."""

from __future__ import annotations

import itertools
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from emulator import Emulator, make_seed
from store_suite import CRC32C_OF_CHECK, Bound, StoreSuite

from hypersdk import errors
from hypersdk.config import load_config
from hypersdk.model import ByteRange, Checksum, ObjectInfo, ObjectRef, Secret
from hypersdk.storage import url
from hypersdk.storage.backends.oci import OciStore
from hypersdk.storage.protocol import PutCondition, PutOptions
from hypersdk.vendors.oci.errors import translate_reply
from hypersdk.vendors.oci.session import OciSession, open_session
from hypersdk.wire.loop import Wire
from hypersdk.wire.request import Request

_numbers = itertools.count()


@dataclass(frozen=True)
class Cloud:
    """An emulator and a session with it."""

    emulator: Emulator
    session: OciSession
    wire: Wire

    def bucket(self, **fields: object) -> ObjectRef:
        """A new, empty bucket."""
        emulator, name = self.emulator, f"bucket-{next(_numbers)}"
        details = {"name": name, "compartmentId": emulator.seed.compartment, **fields}
        assert emulator.call("POST", f"/n/{emulator.namespace}/b", details).status == 200
        return ObjectRef("oci", emulator.namespace, name, "")


def explain(request: Request, status: int, headers: dict[str, str], body: bytes) -> errors.HypersdkError:
    return translate_reply(status, headers, body, resource=request.resource, what=request.method)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    folder = tmp_path_factory.mktemp("cloud")
    emulator = Emulator(make_seed(folder / "seed", disks=1, disk_size=1 << 20), folder / "state").start()
    flags = {"config_file": str(emulator.config_file), "endpoint": emulator.endpoint}
    session = open_session(load_config(flags, environ={}, cwd=str(folder), home=str(folder)).oci)
    wire = Wire(session.connection, explain=explain)
    yield Cloud(emulator, session, wire)
    wire.close()
    emulator.stop()


@pytest.fixture
def store(cloud: Cloud) -> OciStore:
    return OciStore(cloud.session, cloud.wire, page=3)


@pytest.fixture
def bound(cloud: Cloud, store: OciStore) -> Bound:
    return Bound(store, cloud.bucket(), cloud.wire)


class TestOciStore(StoreSuite):
    pass
