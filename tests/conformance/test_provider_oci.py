"""Oracle Cloud keeps the promises of every provider, over a socket, with pages of two."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from emulator import Emulator, make_seed
from provider_suite import QUICK, Bound, ProviderSuite

from hypersdk import errors
from hypersdk.config import load_config
from hypersdk.exports.states import await_operation
from hypersdk.model import ObjectRef, Secret
from hypersdk.network import NetworkMonitor
from hypersdk.providers.oci import OciProvider
from hypersdk.retry import Retrier, RetryPolicy
from hypersdk.vendors.oci.session import OciSession, open_session
from hypersdk.waiting import Waiter

OTHERS = ("alpha", "beta", "gamma", "delta", "epsilon")
SPARE = tuple(f"spare-{number}" for number in range(24))


@dataclass(frozen=True)
class Cloud:
    """An emulator, a session with it, and instances that nobody has used yet."""

    emulator: Emulator
    session: OciSession
    spare: Iterator[str]

    def provider(self, **options: Any) -> OciProvider:
        return OciProvider(self.session, page=2, **options)


def retrier() -> Retrier:
    return Retrier(RetryPolicy(initial_delay=0.01), Waiter(), NetworkMonitor(None))


def connect(emulator: Emulator) -> OciSession:
    folder = str(emulator.seed.folder)
    flags = {"config_file": str(emulator.config_file), "endpoint": emulator.endpoint}
    return open_session(load_config(flags, environ={}, cwd=folder, home=folder).oci)


def with_data(seed: dict[str, Any]) -> None:
    for instance in seed["instances"]:
        volume = {"volumeId": f"ocid1.volume.oc1.iad.{instance['displayName']}", "displayName": "data"}
        instance["volumeAttachments"] = [{**volume, "sizeInGBs": 100}]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    folder = tmp_path_factory.mktemp("cloud")
    seed = make_seed(
        folder / "seed",
        instances=(*OTHERS, *SPARE),
        compartments={"main": None, "sub": "main"},
        disks=1,
        disk_size=1 << 20,
        change=with_data,
    )
    emulator = Emulator(seed, folder / "state").start()
    yield Cloud(emulator, connect(emulator), itertools.chain(SPARE))
    left = emulator.unconsumed()
    emulator.stop()
    assert left == []


@pytest.fixture
def bound(cloud: Cloud) -> Bound:
    emulator = cloud.emulator
    return Bound(
        provider=cloud.provider(),
        retrier=retrier(),
        compartment=emulator.seed.compartment,
        stopped=lambda: emulator.seed.instance(next(cloud.spare))["id"],
        others=OTHERS,
        bucket=ObjectRef("oci", emulator.namespace, "exports", ""),
        names=lambda: emulator.names("exports"),
    )


class TestOciProvider(ProviderSuite):
    """The suite against the emulator."""


def test_pages_are_fetched_when_they_are_needed(cloud: Cloud) -> None:
    """The first instance costs one request; the whole list goes through the caller's retrier page by page."""
    fetched: list[str] = []

    def call(what: str, function: Callable[[], Any]) -> Any:
        fetched.append(what)
        return function()

    listed = cloud.provider(call=call).instances(cloud.emulator.seed.compartment)
    next(listed)
    assert fetched == ["list instances"]
    list(listed)
    assert len(fetched) == (len(OTHERS) + len(SPARE) + 1) // 2


def test_a_failing_page_is_repeated_alone(cloud: Cloud) -> None:
    """A 503 in the middle of a list costs one more request and loses nothing (C032)."""
    provider = cloud.provider(call=retrier().call)
    cloud.emulator.fault("ListInstances", "error", status=503, code="ServiceUnavailable", skip=3)
    names = {instance.name for instance in provider.instances(cloud.emulator.seed.compartment)}
    assert names == {*OTHERS, *SPARE}


def test_a_web_page_is_no_empty_list(cloud: Cloud) -> None:
    """A captive portal that answers 200 with HTML is refused, not taken for instances without names."""
    cloud.emulator.fault("ListInstances", "html")
    with pytest.raises(errors.ReplyRefused):
        list(cloud.provider().instances(cloud.emulator.seed.compartment))


def test_a_failed_operation_tells_the_services_words(cloud: Cloud, bound: Bound) -> None:
    """A failed export ends with the work request's own sentences; the image alone would look fine."""
    image = bound.image("fails", "token-of-fails")
    cloud.emulator.fault("ExportImage", "work-request-fails")
    started = bound.provider.export_image(
        image.id, ObjectRef("oci", cloud.emulator.namespace, "exports", "fails"), export_format="VMDK", retry_token="f1"
    )
    assert started.operation_id is not None
    with pytest.raises(errors.OperationFailed, match="FAILED: InternalServerError: "):
        await_operation(bound.provider, bound.retrier, started.operation_id, pace=QUICK)


def test_a_failure_without_its_words_is_still_one(cloud: Cloud, bound: Bound) -> None:
    """When the errors of a failed work request cannot be read it has failed nevertheless."""
    cloud.emulator.fault("CreateImage", "work-request-fails")
    cloud.emulator.fault("ListWorkRequestErrors", "error", status=404, code="NotAuthorizedOrNotFound")
    started = bound.provider.create_image(
        bound.instance(), compartment_id=bound.compartment, name="mute", tags={}, retry_token="m1"
    )
    assert started.operation_id is not None
    assert bound.provider.operation(started.operation_id).failed


def test_a_forgotten_operation_is_no_failure(cloud: Cloud, bound: Bound) -> None:
    """A work request that the service no longer knows leaves the question open."""
    instance = bound.instance()
    started = bound.provider.create_image(
        instance, compartment_id=bound.compartment, name="forgotten", tags={}, retry_token="g1"
    )
    assert started.operation_id is not None
    cloud.emulator.fault("GetWorkRequest", "work-request-gone")
    assert await_operation(bound.provider, bound.retrier, started.operation_id, pace=QUICK) is None


def test_an_image_that_cannot_be_made_is_an_error(cloud: Cloud, bound: Bound) -> None:
    """OCI deletes an image that failed: that is told with the service's words, not waited for."""
    cloud.emulator.fault("CreateImage", "work-request-fails")
    with pytest.raises(errors.OperationFailed, match="ended DELETED: InternalServerError"):
        bound.image("unmakeable", "token-of-unmakeable")


def test_a_link_never_shows(cloud: Cloud, bound: Bound) -> None:
    """A pre-authenticated link that the service quotes in its refusal is blotted out, and so are its causes."""
    image = bound.image("linked", "token-of-linked")
    url = f"{cloud.emulator.endpoint}/p/s3cr3t-token/n/{cloud.emulator.namespace}/b/exports/o/x"
    message = f"Invalid destinationUri {url}"
    cloud.emulator.fault("ExportImage", "error", status=400, code="InvalidParameter", message=message)
    with pytest.raises(errors.RequestRefused) as caught:
        bound.provider.export_image(image.id, Secret(url), export_format="QCOW2", retry_token="h1")
    assert "s3cr3t" not in f"{caught.value} {caught.value!r} {caught.value.__dict__}"
    assert caught.value.__cause__ is None
    assert "***" in caught.value.message


def test_not_allowed_to_delete_is_not_absent(cloud: Cloud, bound: Bound) -> None:
    """A 404 on a delete of an image that can be seen is told as a missing permission."""
    image = bound.image("kept", "token-of-kept")
    cloud.emulator.fault("DeleteImage", "error", status=404, code="NotAuthorizedOrNotFound")
    with pytest.raises(errors.PermissionDenied, match="manage instance-images"):
        bound.provider.delete_image(image.id)


@pytest.mark.parametrize(
    ("assumption", "parts"), [("no-work-request-id", 0), ("work-request-id-list", 2)], ids=["absent", "list"]
)
def test_work_request_ids_come_as_they_please(
    start_emulator: Callable[..., Emulator], assumption: str, parts: int
) -> None:
    """The header may be absent or hold several ids; several count as one operation, done when all are."""
    emulator = start_emulator(assume={assumption: True}, transition_seconds=0.5)
    provider = OciProvider(connect(emulator))
    instance = provider.instance(emulator.seed.instance("web-01")["id"])
    started = provider.create_image(
        instance, compartment_id=instance.compartment_id, name="x", tags={}, retry_token="k1"
    )
    assert len((started.operation_id or "").split(",")) == max(parts, 1)
    if started.operation_id is None:
        return
    # One of the two has ended already; the work has not.
    assert not provider.operation(started.operation_id).succeeded
    ended = await_operation(provider, retrier(), started.operation_id, pace=QUICK)
    assert ended is not None
    assert (ended.id, ended.succeeded) == (started.operation_id, True)


@pytest.mark.parametrize(("place", "said"), [("phx", "--region us-phoenix-1"), ("iad", "policies"), ("", "policies")])
def test_an_ocid_of_another_region_is_told(cloud: Cloud, place: str, said: str) -> None:
    """A 404 for an OCID that names another region than the one asked says which; else it stays with policies."""
    with pytest.raises(errors.NotFoundError) as caught:
        cloud.provider().instance(f"ocid1.instance.oc1.{place}.nobody")
    assert said in (caught.value.hint or "")


class OneInstance:
    """Stands for an SDK client that knows one instance whose metadata holds a secret."""

    def get_instance(self, _instance_id: str) -> Any:
        from oci.core.models import Instance
        from oci.response import Response

        raw = Instance(
            id="ocid1.instance.oc1.iad.x",
            lifecycle_state="RUNNING",
            compartment_id="c",
            metadata={"user_data": "cGFzc3dvcmQ=", "ssh_authorized_keys": "ssh-rsa AAA"},
            extended_metadata={"nested": {"password": "hunter2"}},
        )
        return Response(200, {"etag": "e", "opc-request-id": "r"}, raw, None)


def test_metadata_values_stay_in_the_cloud(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an instance's metadata only the key names are kept, because the values may be secrets."""
    monkeypatch.setattr(cloud.session, "client", lambda _name: OneInstance())
    instance = cloud.provider().instance("ocid1.instance.oc1.iad.x")
    assert instance.metadata_keys == ("nested", "ssh_authorized_keys", "user_data")
    assert "hunter2" not in json.dumps(repr(instance))
    assert (instance.name, instance.etag) == ("", "e")
