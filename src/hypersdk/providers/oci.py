"""Oracle Cloud as a provider, over the SDK's clients of an `OciSession`.

Rules of this file: one method = one request, except lists (one request per page, each through `call`) and where a
docstring says so; nothing is repeated or waited for; pages follow the header `opc-next-page` and never end at an empty
one; a model without its mandatory fields is refused, because the SDK makes models of anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from hypersdk import errors
from hypersdk.model import Image, Instance, ObjectRef, Ocid, Operation, Secret, Volume
from hypersdk.providers.protocol import Attached, Compartment, Started
from hypersdk.retry import Call, run_once
from hypersdk.vendors.oci.calls import sdk_call
from hypersdk.vendors.oci.regions import expand
from hypersdk.vendors.oci.session import OciSession

PAGE_SIZE = 1000
"""Items per page: the most that core services take for `limit` (API reference of ListInstances)."""

MIB = 1024**2
GIB = 1024**3

IMAGE_LIMIT = "custom-image-count"
"""Name of the limit of custom images per region of the service "compute" (tests of Oracle's Terraform provider)."""

ROOT_PATH = "(root)"
"""Path of the tenancy's root compartment; no compartment's name may hold parentheses, so it cannot be mistaken."""

OWN_PATH = "(own)"
"""Path of the compartment of the instance or resource that we sign in as, when no other can be listed."""

GONE_VOLUME_STATES = frozenset({"DETACHED", "DETACHING"})

_FIELDS = ("id", "lifecycle_state")


class OciProvider:
    """The instances and images of one tenancy in one region.

    Args:
        session: signed in.
        call: runs each page fetch of a list.
        page: items per page.
    """

    def __init__(self, session: OciSession, *, call: Call = run_once, page: int = PAGE_SIZE) -> None:
        self._session = session
        self._call = call
        self._limit = page

    @property
    def region(self) -> str:
        """Full name of the region."""
        return self._session.region

    @property
    def tenancy_id(self) -> str:
        """OCID of the account."""
        return self._session.tenancy_id

    @property
    def writes_by_link(self) -> bool:
        """True for tokens: OCI refuses export to a bucket by name for all but API keys (known issue of its docs)."""
        return self._session.kind != "api_key"

    def allow(self, what: str, place: str) -> str:
        """The sentence of a policy that lets this signer do something: verb and resource, in a compartment."""
        return self._session.who.allow(what, place)

    def namespace(self) -> str:
        """The tenancy's Object Storage namespace."""
        client = self._session.client("ObjectStorageClient")
        return str(sdk_call("get namespace", "the tenancy", client.get_namespace).data)

    def regions(self) -> Sequence[str]:
        """Full names of the regions that the tenancy is subscribed to and that are ready."""
        client, what = self._session.client("IdentityClient"), "list region subscriptions"
        found = sdk_call(what, "the tenancy", partial(client.list_region_subscriptions, self.tenancy_id)).data
        rows = [_whole(raw, what, "the tenancy", ("region_name", "status")) for raw in found]
        return sorted(raw.region_name for raw in rows if raw.status == "READY")

    def compartments(self) -> Iterator[Compartment]:
        """The root, then every compartment below it that the caller may see, however deep.

        An instance or resource that may not list them sees its own compartment only.
        """
        client = self._session.client("IdentityClient")
        listing = partial(
            client.list_compartments,
            self.tenancy_id,
            compartment_id_in_subtree=True,
            # ANY would add those that are merely passed through on the way to something visible.
            access_level="ACCESSIBLE",
            lifecycle_state="ACTIVE",
        )
        # A path needs the parents, and these may come on a later page.
        own = self._session.who.compartment_id
        try:
            found = {raw.id: raw for raw in self._pages("list compartments", "the tenancy", listing, ("id", "name"))}
        except (errors.NotFoundError, errors.PermissionDenied):
            if own is None:
                raise
            yield Compartment(own, OWN_PATH, OWN_PATH)
            return
        yield Compartment(self.tenancy_id, ROOT_PATH, ROOT_PATH)
        for raw in found.values():
            yield Compartment(raw.id, raw.name, _path(raw, found, self.tenancy_id))

    def instances(self, compartment_id: str, *, name: str | None = None) -> Iterator[Instance]:
        """Instances of one compartment, dead ones included; `name` = exact display name."""
        client = self._session.client("ComputeClient")
        listing = partial(client.list_instances, compartment_id, display_name=name)
        for raw in self._pages("list instances", compartment_id, listing):
            yield self._instance(raw, None)

    def instance(self, instance_id: str) -> Instance:
        """One instance."""
        raw, etag = self._get("get instance", instance_id, self._session.client("ComputeClient").get_instance)
        return self._instance(raw, etag)

    def instance_action(self, instance_id: str, action: str, *, retry_token: str | None = None) -> Instance:
        """START, STOP (power cut) or SOFTSTOP (asks the guest); the instance is in its next state already."""
        client = self._session.client("ComputeClient")
        extra = {"opc_retry_token": retry_token} if retry_token else {}
        what = f"{action} instance"
        response = sdk_call(what, instance_id, partial(client.instance_action, instance_id, action, **extra))
        return self._instance(_whole(response.data, what, instance_id), response.headers.get("etag"))

    def volumes(self, instance: Instance) -> Iterator[Volume]:
        """Boot volume, then attached block volumes; one more request for each volume."""
        compute, block = self._session.client("ComputeClient"), self._session.client("BlockstorageClient")
        place = (instance.availability_domain, instance.compartment_id)
        boots = partial(compute.list_boot_volume_attachments, *place, instance_id=instance.id)
        for attached in self._attached("list boot volumes", instance, boots):
            yield self._volume(attached.boot_volume_id, block.get_boot_volume, boot=True)
        others = partial(compute.list_volume_attachments, instance.compartment_id, instance_id=instance.id)
        for attached in self._attached("list attached volumes", instance, others):
            yield self._volume(attached.volume_id, block.get_volume, boot=False)

    def boot_attachments(self, compartment_id: str, domain: str) -> Iterator[Attached]:
        """Which boot volumes the instances of a compartment have, in one availability domain."""
        client = self._session.client("ComputeClient")
        listing = partial(client.list_boot_volume_attachments, domain, compartment_id)
        fields = ("instance_id", "boot_volume_id", "lifecycle_state")
        for raw in self._pages("list boot volume attachments", compartment_id, listing, fields):
            if raw.lifecycle_state not in GONE_VOLUME_STATES:
                yield Attached(raw.instance_id, raw.boot_volume_id)

    def boot_volumes(self, compartment_id: str, domain: str) -> Iterator[Volume]:
        """Boot volumes of a compartment, in one availability domain; dead ones included."""
        client = self._session.client("BlockstorageClient")
        listing = partial(client.list_boot_volumes, availability_domain=domain, compartment_id=compartment_id)
        for raw in self._pages("list boot volumes", compartment_id, listing):
            yield Volume(raw.id, raw.display_name or "", (raw.size_in_gbs or 0) * GIB, boot=True)

    def images(self, compartment_id: str, *, name: str | None = None) -> Iterator[Image]:
        """Custom images of one compartment; `name` = exact display name. Platform images are left out."""
        client = self._session.client("ComputeClient")
        listing = partial(client.list_images, compartment_id, display_name=name)
        for raw in self._pages("list images", compartment_id, listing):
            if raw.compartment_id is not None:
                yield _image(raw, None)

    def image_quota(self) -> int | None:
        """How many more custom images this region takes, by the Limits service; None = it gives no number.

        Not every limit has such numbers (404 then), and not everybody may read them.
        """
        client, what = self._session.client("LimitsClient"), "get resource availability"
        get = partial(client.get_resource_availability, "compute", IMAGE_LIMIT, self.tenancy_id)
        available = sdk_call(what, f"limit {IMAGE_LIMIT}", get).data.available
        return available if isinstance(available, int) else None

    def image(self, image_id: str) -> Image:
        """One image; a deleted one still answers, with state DELETED."""
        return _image(*self._get("get image", image_id, self._session.client("ComputeClient").get_image))

    def create_image(
        self, instance: Instance, *, compartment_id: str, name: str, tags: Mapping[str, str], retry_token: str
    ) -> Started:
        """Begin to make a custom image of an instance's boot volume. A running instance goes down meanwhile."""
        client = self._session.client("ComputeClient")
        details = {
            "compartmentId": compartment_id,
            "displayName": name,
            "instanceId": instance.id,
            "freeformTags": dict(tags),
        }
        make = partial(client.create_image, details, opc_retry_token=retry_token)
        return _started(sdk_call("create image", instance.id, make), "create image", instance.id)

    def export_image(
        self, image_id: str, destination: ObjectRef | Secret, *, export_format: str, retry_token: str
    ) -> Started:
        """Begin to export an image to an object, or to a pre-authenticated link; `export_format` is OCI's word.

        The etag of the image in the answer is dropped: OCI replies with the one from before the export began.
        """
        client = self._session.client("ComputeClient")
        details = {"exportFormat": export_format, **_destination(destination)}
        export = partial(client.export_image, image_id, details, opc_retry_token=retry_token)
        try:
            return _started(sdk_call("export image", image_id, export), "export image", image_id)
        except errors.HypersdkError as error:
            if not isinstance(destination, Secret):
                raise
            # The service may quote the link, and the SDK's exception keeps the request's body.
            raise _without(error, destination) from None

    def delete_image(self, image_id: str, *, if_match: str | None = None) -> None:
        """Delete an image; absent is fine. After a 404 one more request tells absent from not allowed.

        Raises:
            PermissionDenied: the image is there and we may see but not delete it.
            PreconditionFailed: its etag is not `if_match`.
            StateConflict: it is being exported.
        """
        client = self._session.client("ComputeClient")
        extra = {"if_match": if_match} if if_match else {}
        try:
            sdk_call("delete image", image_id, partial(client.delete_image, image_id, **extra))
        except errors.NotFoundError as refusal:
            if self._is_alive(image_id):
                raise errors.PermissionDenied(
                    f"delete image: {image_id}: not allowed, though it can be seen",
                    resource=image_id,
                    hint="allow group G to manage instance-images in compartment C",
                    request_id=refusal.request_id,
                    status=refusal.status,
                ) from refusal

    def operation(self, operation_id: str) -> Operation:
        """Progress of long-running work; after a failure one more request for its errors.

        Args:
            operation_id: one work request, or several with commas between, as OCI may answer to one call. Several count
                as one operation: failed as soon as one failed, done when all are.
        """
        parts = [self._work_request(one) for one in operation_id.split(",")]
        return parts[0] if len(parts) == 1 else _combined(operation_id, parts)

    def operations(self, compartment_id: str, resource_id: str) -> Iterator[Operation]:
        """Work requests that touched a resource, newest first, without their errors."""
        client = self._session.client("WorkRequestClient")
        listing = partial(client.list_work_requests, compartment_id, resource_id=resource_id)
        found = list(self._pages("list work requests", resource_id, listing, ("id", "status", "time_accepted")))
        for raw in sorted(found, key=lambda raw: raw.time_accepted, reverse=True):
            yield Operation(raw.id, raw.status, raw.percent_complete)

    def _get(self, what: str, resource_id: str, get: Callable[[str], Any]) -> tuple[Any, str | None]:
        """One resource and its etag; a 404 for an OCID of another region says so."""
        try:
            response = sdk_call(what, resource_id, partial(get, resource_id))
        except errors.NotFoundError as error:
            if other := self._other_region(resource_id):
                error.hint = f"it belongs to {other}, and {self.region} was asked: try --region {other}"
            raise
        return _whole(response.data, what, resource_id), response.headers.get("etag")

    def _other_region(self, resource_id: str) -> str | None:
        try:
            region = Ocid.parse(resource_id).region
        except errors.UsageError:
            return None
        # An OCID names its region by key ("iad") in old regions and by full name in new ones.
        return full if region and (full := expand(region)) != self.region else None

    def _work_request(self, work_request_id: str) -> Operation:
        client = self._session.client("WorkRequestClient")
        what = "get work request"
        response = sdk_call(what, work_request_id, partial(client.get_work_request, work_request_id))
        raw = _whole(response.data, what, work_request_id, ("id", "status"))
        told = self._work_request_errors(work_request_id) if raw.status == "FAILED" else ()
        return Operation(raw.id, raw.status, raw.percent_complete, told)

    def _work_request_errors(self, work_request_id: str) -> tuple[str, ...]:
        client = self._session.client("WorkRequestClient")
        listing = partial(client.list_work_request_errors, work_request_id)
        pages = self._pages("list work request errors", work_request_id, listing, ("message",))
        try:
            return tuple(f"{each.code}: {each.message}" for each in pages)
        except (errors.NotFoundError, errors.PermissionDenied):
            # That the work failed is known all the same, and must not be taken for a forgotten work request.
            return ()

    def _is_alive(self, image_id: str) -> bool:
        try:
            return self.image(image_id).lifecycle_state != "DELETED"
        except errors.NotFoundError:
            return False

    def _instance(self, raw: Any, etag: str | None) -> Instance:
        return Instance(
            id=raw.id,
            name=raw.display_name or "",
            compartment_id=raw.compartment_id,
            lifecycle_state=raw.lifecycle_state,
            region=self.region or raw.region or "",
            availability_domain=raw.availability_domain or "",
            shape=raw.shape or "",
            image_id=raw.image_id,
            time_created=raw.time_created,
            launch_options=_as_sent(raw.launch_options),
            # Values may be secrets (cloud-init's user_data), so only the names go any further.
            metadata_keys=tuple(sorted({**(raw.metadata or {}), **(raw.extended_metadata or {})})),
            tags=dict(raw.freeform_tags or {}),
            etag=etag,
            defined_tags={
                f"{space}.{key}": str(value)
                for space, tags in (raw.defined_tags or {}).items()
                for key, value in tags.items()
            },
        )

    def _attached(self, what: str, instance: Instance, listing: Callable[..., Any]) -> Iterator[Any]:
        for raw in self._pages(what, instance.id, listing, ("id", "lifecycle_state")):
            if raw.lifecycle_state not in GONE_VOLUME_STATES:
                yield raw

    def _volume(self, volume_id: str, get: Callable[[str], Any], *, boot: bool) -> Volume:
        what = "get boot volume" if boot else "get volume"

        def fetch() -> Any:
            return _whole(sdk_call(what, volume_id, partial(get, volume_id)).data, what, volume_id)

        raw = self._call(what, fetch)
        return Volume(raw.id, raw.display_name or "", (raw.size_in_gbs or 0) * GIB, boot)

    def _pages(
        self, what: str, resource: str, listing: Callable[..., Any], fields: tuple[str, ...] = _FIELDS
    ) -> Iterator[Any]:
        page: str | None = None
        while True:

            def fetch(page: str | None = page) -> tuple[list[Any], str | None]:
                response = sdk_call(what, resource, partial(listing, limit=self._limit, page=page))
                items = [_whole(item, what, resource, fields) for item in response.data]
                return items, response.headers.get("opc-next-page")

            items, following = self._call(what, fetch)
            yield from items
            if not following:
                return
            if following == page:
                raise errors.ReplyRefused(f"{what}: {resource}: the list leads to the same page again and again")
            page = following


def _whole(raw: Any, what: str, resource: str, fields: tuple[str, ...] = _FIELDS) -> Any:
    """The SDK's model, if it has its mandatory fields."""
    missing = [name for name in fields if getattr(raw, name, None) is None]
    if missing:
        raise errors.ReplyRefused(f"{what}: {resource}: the reply lacks {', '.join(missing)}", resource=resource)
    return raw


def _path(raw: Any, found: Mapping[str, Any], tenancy_id: str) -> str:
    names, parent = [raw.name], raw.compartment_id
    while parent in found and len(names) <= len(found):
        names.append(found[parent].name)
        parent = found[parent].compartment_id
    # A parent that we may not see leaves its mark, so that the path does not claim to begin at the root.
    return "/".join(reversed(names if parent == tenancy_id else [*names, "..."]))


def _as_sent(model: Any) -> dict[str, object]:
    """A model as the service wrote it: its own key names, without what is null."""
    if model is None:
        return {}
    values = {model.attribute_map[name]: getattr(model, name) for name in model.swagger_types}
    return {name: value for name, value in values.items() if value is not None}


def _image(raw: Any, etag: str | None) -> Image:
    return Image(
        id=raw.id,
        name=raw.display_name or "",
        compartment_id=raw.compartment_id,
        lifecycle_state=raw.lifecycle_state,
        size=None if raw.size_in_mbs is None else raw.size_in_mbs * MIB,
        operating_system=raw.operating_system or "",
        operating_system_version=raw.operating_system_version or "",
        base_image_id=raw.base_image_id,
        create_image_allowed=raw.create_image_allowed is not False,
        launch_options=_as_sent(raw.launch_options),
        tags=dict(raw.freeform_tags or {}),
        time_created=raw.time_created,
        etag=etag,
    )


def _destination(destination: ObjectRef | Secret) -> dict[str, str]:
    if isinstance(destination, Secret):
        return {"destinationType": "objectStorageUri", "destinationUri": destination.reveal()}
    return {
        "destinationType": "objectStorageTuple",
        "namespaceName": destination.namespace,
        "bucketName": destination.bucket,
        "objectName": destination.name,
    }


def _started(response: Any, what: str, resource: str) -> Started:
    listed = response.headers.get("opc-work-request-id") or ""
    ids = ",".join(part.strip() for part in listed.split(",") if part.strip())
    return Started(_image(_whole(response.data, what, resource), None), ids or None)


def _combined(operation_id: str, parts: list[Operation]) -> Operation:
    told = tuple(sentence for part in parts for sentence in part.errors)
    ended_badly = [part for part in parts if part.failed]
    unfinished = [part for part in parts if not part.succeeded]
    status = (ended_badly or unfinished or parts)[0].status
    percents = [100.0 if part.succeeded else part.percent for part in parts]
    known = [percent for percent in percents if percent is not None]
    return Operation(operation_id, status, min(known) if len(known) == len(percents) else None, told)


def _without(error: errors.HypersdkError, secret: Secret) -> errors.HypersdkError:
    """The error with the link, or its path alone, blotted out."""
    url = secret.reveal()
    for text in (url, urlsplit(url).path):
        error.message = error.message.replace(text, "***") if text else error.message
    error.args = (error.message,)
    return error
