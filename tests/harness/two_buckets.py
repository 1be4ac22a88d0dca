"""An emulated cloud with the buckets `here` and `there`, and all that a transfer between stores needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import oci

from hypersdk.config import Config, load_config
from hypersdk.model import ObjectRef
from hypersdk.storage.backends.oci import OciStore
from hypersdk.storage.protocol import Store
from hypersdk.transfer.copies.items import Means
from hypersdk.transfer.options import TransferOptions
from hypersdk.waiting import StopFlag, Waiter
from hypersdk.wiring import Wiring
from hypersdk_emulator.for_tests import OciEmulator

PART = 64 * 1024
PARALLEL = 3
HERE, THERE = "here", "there"
_CLIENTS: dict[tuple[str, str], Any] = {}


@dataclass
class TwoBuckets:
    """One cloud, one wiring."""

    emulator: OciEmulator
    wiring: Wiring
    sdk: Any

    @property
    def store(self) -> OciStore:
        """The product's store."""
        return self.wiring.oci_store

    @property
    def means(self) -> dict[str, Any]:
        """How bytes move."""
        options = TransferOptions(PART, PARALLEL)
        return {"wire": self.wiring.wire, "retrier": self.wiring.retrier, "options": options}

    def between(self, source: Store, target: Store, **fields: Any) -> Means:
        """How copies go from store to store."""
        return Means(source, target, **(self.means | fields))

    def ref(self, name: str, bucket: str = THERE) -> ObjectRef:
        """The address of an object."""
        return ObjectRef("oci", self.emulator.namespace, bucket, name)

    def link(self, bucket: str) -> str:
        """A pre-authenticated request for all objects of a bucket; a name is put after it."""
        expires = datetime.now(UTC) + timedelta(hours=1)
        details = {"name": "all", "accessType": "AnyObjectReadWrite", "timeExpires": expires.isoformat()}
        made = self.sdk.create_preauthenticated_request(self.emulator.namespace, bucket, details).data
        return f"{self.emulator.endpoint}{made.access_uri}"

    def put(self, name: str, body: bytes, bucket: str = HERE, **fields: Any) -> ObjectRef:
        """Store an object with Oracle's own client."""
        self.sdk.put_object(self.emulator.namespace, bucket, name, body, **fields)
        return self.ref(name, bucket)

    def body(self, name: str, bucket: str = THERE) -> bytes:
        """Read an object with Oracle's own client, as it is stored."""
        found = self.sdk.get_object(self.emulator.namespace, bucket, name).data.raw
        return b"".join(found.stream(1 << 20, decode_content=False))

    def names(self, bucket: str = THERE) -> list[str]:
        """Objects of a bucket."""
        return [each.name for each in self.sdk.list_objects(self.emulator.namespace, bucket).data.objects]

    def uploads(self, bucket: str = THERE) -> list[str]:
        """Objects with unfinished uploads in a bucket."""
        found = self.sdk.list_multipart_uploads(self.emulator.namespace, bucket).data
        return [each.object for each in found]

    def asked(self, operation: str) -> list[dict[str, Any]]:
        """Requests of an operation so far."""
        return self.emulator.log(operation=operation)


def settings(emulator: OciEmulator, folder: Path, **environ: str) -> Config:
    """Configuration with short waits and small parts."""
    flags: dict[str, Any] = {"config_file": str(emulator.config_file), "endpoint": emulator.endpoint}
    variables = {
        "HYPEREXPORT_TRANSFER_PART_SIZE": str(PART),
        "HYPEREXPORT_TRANSFER_PARALLEL": str(PARALLEL),
        "HYPEREXPORT_RETRY_INITIAL_DELAY": "0.005s",
        "HYPEREXPORT_RETRY_MAX_DELAY": "0.02s",
    }
    return load_config(flags, environ=variables | environ, cwd=str(folder), home=str(folder))


@contextmanager
def two_buckets(
    emulator: OciEmulator,
    folder: Path,
    *,
    stop: StopFlag | None = None,
    report: Callable[..., None] | None = None,
    **environ: str,
) -> Iterator[TwoBuckets]:
    """A cloud for one test."""
    for name in (HERE, THERE):
        emulator.bucket(name)
    waiter = Waiter(stop=stop or StopFlag())
    if report is not None:
        waiter.report = report
    with Wiring(settings(emulator, folder, **environ), waiter) as wiring:
        yield TwoBuckets(emulator, wiring, _client(emulator))


def _client(emulator: OciEmulator) -> Any:
    """Oracle's own client: one for all tests with this emulator, because to read a key takes a tenth of a second."""
    known = (emulator.endpoint, str(emulator.key_file))
    if known not in _CLIENTS:
        _CLIENTS[known] = emulator.client(oci.object_storage.ObjectStorageClient)
    return _CLIENTS[known]
