"""The least of a store: ranged reads of one object from a `RawServer`, and all that a transfer needs around it."""

from __future__ import annotations

from dataclasses import dataclass

from raw_server import RawServer

from hypersdk.model import ByteRange, Checksum, ConnectionSettings, ObjectInfo, ObjectRef, Secret
from hypersdk.network import NetworkMonitor
from hypersdk.retry import Retrier, RetryPolicy
from hypersdk.waiting import Waiter
from hypersdk.wire.loop import Wire
from hypersdk.wire.request import Expectation, Request

REF = ObjectRef("oci", "ns", "bucket", "prefix/disk.qcow2")


@dataclass
class HttpStore:
    """Hands out pinned range requests, as the OCI store does."""

    url: str

    def range_request(self, info: ObjectInfo, wanted: ByteRange) -> Request:
        """The request for a range."""
        return Request(
            "GET",
            Secret(f"{self.url}/p/very-secret-token/disk"),
            str(info.ref),
            headers={"range": wanted.header(), "if-match": info.etag},
            expect=Expectation(range=wanted, size=info.size, etag=info.etag),
        )


def info_of(body: bytes, *checksums: Checksum, etag: str = "etag-1") -> ObjectInfo:
    """What a store would say of an object."""
    return ObjectInfo(REF, len(body), etag, checksums)


def retrier(*, attempts: int = 5, probe=None, waiter: Waiter | None = None, refresh=None) -> Retrier:
    """A retrier that hardly waits."""
    policy = RetryPolicy(max_attempts=attempts, initial_delay=0.005, max_delay=0.01)
    waiter = waiter or Waiter()
    return Retrier(policy, waiter, NetworkMonitor(probe, clock=waiter.clock), refresh)


def ranges_asked(server: RawServer) -> list[tuple[int, int]]:
    """Ranges that were asked for, sorted."""
    return sorted(asked.range for asked in server.asked if asked.range)


def new_wire() -> Wire:
    """A wire with short timeouts."""
    return Wire(ConnectionSettings(connect_timeout=5, read_timeout=5))
