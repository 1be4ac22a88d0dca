"""Compute's images, as the API shows and takes them: made of instances, imported, exported, deleted."""

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from hypersdk_emulator.blockstorage import boot
from hypersdk_emulator.call import Call
from hypersdk_emulator.clock import iso
from hypersdk_emulator.compute import exporter, imagemaking, importer, stuck
from hypersdk_emulator.compute.access import own_image, permitted_image
from hypersdk_emulator.compute.compatibility import entries_of
from hypersdk_emulator.compute.imagemaking import MB_PER_GB
from hypersdk_emulator.compute.imageschemas import drop_schema, image_options
from hypersdk_emulator.compute.limits import check_image_limit
from hypersdk_emulator.compute.places import export_place
from hypersdk_emulator.compute.records import (
    Image,
    Job,
    find_image,
    find_job,
    images_in,
)
from hypersdk_emulator.compute.state import (
    MAX_IMAGE_GB,
    ImageState,
    Work,
    may_change,
    may_delete,
    may_export,
    may_move,
)
from hypersdk_emulator.compute.workrequests import accept, job_headers, new_job
from hypersdk_emulator.database import invalidated_retry_token
from hypersdk_emulator.errors import invalid_parameter, missing_parameter
from hypersdk_emulator.fields import defined_tags, optional_text, tags, text
from hypersdk_emulator.listing import arranged, page
from hypersdk_emulator.once import created_once
from hypersdk_emulator.qemu import EXPORT_FORMATS
from hypersdk_emulator.resources import check_if_match, transition_seconds


def image_json(call: Call, image: Image) -> dict[str, Any]:
    """The SDK's model Image."""
    doc = image.doc
    return {
        "agentFeatures": {"isManagementSupported": True, "isMonitoringSupported": True},
        "baseImageId": doc["baseImageId"],
        "billableSizeInGBs": doc["billableSizeInGBs"],
        "compartmentId": image.compartment,
        "createImageAllowed": doc["createImageAllowed"],
        "definedTags": doc.get("definedTags", {}),
        "displayName": image.name,
        "freeformTags": doc["freeformTags"],
        "id": image.id,
        "launchMode": doc["launchMode"],
        "launchOptions": image_options(call.cloud.db, image),
        "lifecycleState": image.state(call.cloud.clock.timestamp()),
        "listingType": "NONE",
        "operatingSystem": doc["operatingSystem"],
        "operatingSystemVersion": doc["operatingSystemVersion"],
        "sizeInMBs": doc["sizeInMBs"],
        "timeCreated": iso(image.created),
    }


def _reply(call: Call, image: Image, headers: Mapping[str, str] | None = None) -> web.StreamResponse:
    etag = image.etag(call.cloud.clock.timestamp())
    return call.reply(image_json(call, image), headers={"etag": etag, **(headers or {})})


async def list_images(call: Call) -> web.StreamResponse:
    """ListImages: the compartment's images and all platform images; deleted ones only if asked for by that state."""
    compartment = call.required("compartmentId")
    call.permit(compartment)
    now, query = call.cloud.clock.timestamp(), call.query

    def keep(image: Image) -> bool:
        state, doc = image.state(now), image.doc
        wanted = query.get("lifecycleState")
        return (
            (state == wanted if wanted else state != ImageState.DELETED)
            and query.get("displayName", image.name) == image.name
            and query.get("operatingSystem", doc["operatingSystem"]) == doc["operatingSystem"]
            and query.get("operatingSystemVersion", doc["operatingSystemVersion"]) == doc["operatingSystemVersion"]
            and ("shape" not in query or query["shape"] in entries_of(image))
        )

    found, headers = page(call, arranged(call, images_in(call.cloud.db, compartment)), keep)
    return call.reply([image_json(call, image) for image in found], headers=headers)


async def get_image(call: Call) -> web.StreamResponse:
    """GetImage; a deleted image stays readable as DELETED."""
    return _reply(call, permitted_image(call, call.params["imageId"]))


async def update_image(call: Call) -> web.StreamResponse:
    """UpdateImage: name, tags, and what the operating system is called."""
    body = await call.json()
    name = optional_text(body, "displayName")
    changes: dict[str, Any] = {"freeformTags": tags(body), "definedTags": defined_tags(body)}
    changes |= {key: optional_text(body, key) for key in ("operatingSystem", "operatingSystemVersion")}
    cloud, now = call.cloud, call.cloud.clock.timestamp()
    with cloud.db.transaction():
        image = own_image(call)
        may_change(image.state(now))
        _check_name(call, body)
        check_if_match(call.header("if-match"), image.etag(now))
        doc = {**image.doc, **{key: value for key, value in changes.items() if value is not None}}
        image = image.changed(name=name or image.name, doc=doc)
        image.save(cloud.db)
    return _reply(call, image)


async def change_image_compartment(call: Call) -> web.StreamResponse:
    """ChangeImageCompartment: at once."""
    compartment = text(await call.json(), "compartmentId")
    call.permit(compartment)
    cloud, now = call.cloud, call.cloud.clock.timestamp()

    def change() -> Image:
        image = own_image(call)
        may_move(image.id, image.state(now))
        check_if_match(call.header("if-match"), image.etag(now))
        moved = image.changed(compartment=compartment)
        moved.save(cloud.db)
        return moved

    image = await created_once(call, change, lambda known: find_image(cloud.db, known))
    return call.reply(headers={"etag": image.etag(now)})


async def delete_image(call: Call) -> web.StreamResponse:
    """DeleteImage: 204; the image is DELETED at once."""
    cloud, now = call.cloud, call.cloud.clock.timestamp()
    with cloud.db.transaction():
        image = own_image(call)
        may_delete(image.id, image.state(now))
        check_if_match(call.header("if-match"), image.etag(now))
        image.changed(deleted=True).save(cloud.db)
        drop_schema(cloud, image.id)
        boot.release(cloud, image.id)
    boot.tidy(cloud)
    return call.reply(status=204)


async def create_image(call: Call) -> web.StreamResponse:
    """CreateImage: of an instance, which goes through CREATING_IMAGE, or of an object in Object Storage (import)."""
    body = await call.json()
    compartment = text(body, "compartmentId")
    call.permit(compartment)
    digest, token = await call.digest(), call.header("opc-retry-token")
    cloud, now, scope = call.cloud, call.cloud.clock.timestamp(), f"CreateImage {call.principal.user_id}"
    with cloud.db.transaction():
        known = cloud.db.recall(scope, token, digest, now)
        if known is not None:
            return _created_before(call, known)
        _check_name(call, body)
        check_image_limit(cloud)
        if body.get("instanceId") is not None:
            image, job = imagemaking.of_instance(call, body, now)
        elif isinstance(body.get("imageSourceDetails"), dict):
            image, job = imagemaking.imported(call, body, body["imageSourceDetails"], now)
        else:
            raise missing_parameter("instanceId or imageSourceDetails")
        image.save(cloud.db)
        job = accept(cloud, job)
        cloud.db.remember(scope, token, digest, job.id, now)
    if job.work.finished is None:
        (importer if job.operation == "ImportImage" else stuck).start(cloud, job)
    return _reply(call, image, job_headers(cloud, job))


def _created_before(call: Call, job_id: str) -> web.StreamResponse:
    """The reply to a repeated CreateImage."""
    job = find_job(call.cloud.db, job_id)
    assert job is not None
    image = find_image(call.cloud.db, job.subject)
    if image.deleted:
        raise invalidated_retry_token()
    return _reply(call, image, job_headers(call.cloud, job))


def _check_name(call: Call, body: Mapping[str, Any]) -> None:
    name = optional_text(body, "displayName")
    if name is not None and any(image.compartment is None and image.name == name for image in _platform(call)):
        raise invalid_parameter(f"displayName: {name!r} is the name of a platform image")


def _platform(call: Call) -> list[Image]:
    return images_in(call.cloud.db, "")


async def export_image(call: Call) -> web.StreamResponse:
    """ExportImage: the image is EXPORTING in the reply already, whose etag is the one from before."""
    body = await call.json()
    digest, token = await call.digest(), call.header("opc-retry-token")
    cloud, now, scope = call.cloud, call.cloud.clock.timestamp(), f"ExportImage {call.principal.user_id}"
    with cloud.db.transaction():
        before = own_image(call)
        known = cloud.db.recall(scope, token, digest, now)
        job = None if known is None else find_job(cloud.db, known)
        if job is not None:
            return _reply(call, before, job_headers(cloud, job))
        check_if_match(call.header("if-match"), before.etag(now))
        may_export(before.id, before.state(now))
        job = accept(cloud, _export_job(call, body, before, now))
        before.changed().save(cloud.db)
        cloud.db.remember(scope, token, digest, job.id, now)
        image = find_image(cloud.db, before.id)
    exporter.start(cloud, job)
    old = {"etag": before.etag(now)} if cloud.assumptions.old_etag_in_export else {}
    return _reply(call, image, {**job_headers(cloud, job), **old})


def _export_job(call: Call, body: Mapping[str, Any], image: Image, now: float) -> Job:
    wanted = optional_text(body, "exportFormat") or "OCI"
    if wanted not in EXPORT_FORMATS:
        raise invalid_parameter(f"exportFormat must be one of {', '.join(EXPORT_FORMATS)}")
    place = export_place(call, body)
    if (image.doc["sizeInMBs"] or 0) > MAX_IMAGE_GB * MB_PER_GB:
        raise invalid_parameter(f"The image is larger than {MAX_IMAGE_GB} GB and cannot be exported")
    doc = {
        "resources": [imagemaking.resource(image.id, "RELATED")],
        "destination": place.as_doc(),
        "format": wanted,
        "effect": imagemaking.effect(call),
        "fault": call.fault.id if call.fault else None,
    }
    size = image.doc["sizeInMBs"]
    seconds = transition_seconds(call.cloud, call.operation, None if size is None else size / MB_PER_GB)
    work = Work.lasting(now, seconds)
    return new_job(call.cloud, "ExportImage", image, work, doc)
