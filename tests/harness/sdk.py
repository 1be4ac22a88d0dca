"""Oracle's SDK clients for a test's emulator: one try per call, no circuit breaker, short waits for states."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import oci
import pytest
from emulator import Emulator

WAIT_SECONDS = 20


class Sdk:
    """All clients of the core services, on one emulator."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.compartment = emulator.seed.compartment
        config = oci.config.from_file(str(emulator.config_file))
        options = {
            "service_endpoint": emulator.endpoint,
            "retry_strategy": oci.retry.NoneRetryStrategy(),
            "circuit_breaker_strategy": oci.circuit_breaker.NoCircuitBreakerStrategy(),
        }
        self.compute = oci.core.ComputeClient(config, **options)
        self.blocks = oci.core.BlockstorageClient(config, **options)
        self.network = oci.core.VirtualNetworkClient(config, **options)
        self.work = oci.work_requests.WorkRequestClient(config, **options)
        self.objects = oci.object_storage.ObjectStorageClient(config, **options)

    def advance(self, seconds: float) -> None:
        """Move the virtual clock."""
        self.emulator.control("POST", "clock", {"advanceSeconds": seconds})

    def succeeded(self, reply: Any) -> Any:
        """The work request of a reply, once it has ended well."""
        wanted = reply.headers["opc-work-request-id"]
        found = until(lambda: self.work.get_work_request(wanted).data, lambda w: w.status in ("SUCCEEDED", "FAILED"))
        assert found.status == "SUCCEEDED", self.work.list_work_request_errors(wanted).data
        return found


def until(read: Callable[[], Any], done: Callable[[Any], bool]) -> Any:
    """Read until `done` says so; the value."""
    end = time.monotonic() + WAIT_SECONDS
    while not done(value := read()):
        assert time.monotonic() < end, f"still {value!r}"
        threading.Event().wait(0.02)
    return value


def refused(status: int, code: str, call: Callable[..., Any], *args: Any, **named: Any) -> str:
    """The call must be refused with this status and code; the message."""
    with pytest.raises(oci.exceptions.ServiceError) as caught:
        call(*args, **named)
    assert (caught.value.status, caught.value.code) == (status, code), caught.value.message
    return str(caught.value.message)


def gaps(model: Any, *, but: Iterable[str] = ()) -> list[str]:
    """Required fields of an SDK model that are missing, and enum values that the SDK does not know."""
    found = []
    for name in model.swagger_types:
        value = getattr(model, name)
        described = getattr(type(model), name).__doc__ or ""
        if "**[Required]**" in described and value is None and name not in but:
            found.append(f"{type(model).__name__}.{name} is missing")
        if isinstance(value, str) and value == "UNKNOWN_ENUM_VALUE":
            found.append(f"{type(model).__name__}.{name} is unknown to the SDK")
    return found
