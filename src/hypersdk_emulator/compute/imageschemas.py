"""Image capability schemas: the global one, those of custom images, and the launch options that an image shows."""

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from hypersdk_emulator.call import Call
from hypersdk_emulator.clock import iso
from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.compute import capabilities
from hypersdk_emulator.compute.access import PLATFORM_IMAGE_REFUSED, permitted_image
from hypersdk_emulator.compute.records import Image
from hypersdk_emulator.compute.state import ImageState
from hypersdk_emulator.database import Database
from hypersdk_emulator.errors import ServiceError, invalid_parameter, not_authorized_or_not_found
from hypersdk_emulator.fields import defined_tags, optional_text, query_flag, tags, text
from hypersdk_emulator.listing import arranged, page
from hypersdk_emulator.once import created_once
from hypersdk_emulator.resources import (
    Resource,
    check_if_match,
    children,
    find_resource,
    new_ocid,
    resources_in,
    resources_of,
    transition_seconds,
)
from hypersdk_emulator.timeline import Timeline

KIND = "computeimgcapschema"
GLOBAL_ID = "ocid1.computeglobalimgcapschema.oc1..global"
GLOBAL_CREATED = 1_590_969_600.0
"""June 2020, when OCI began with capability schemas."""
CREATING, ACTIVE, DELETED = "CREATING", "ACTIVE", "DELETED"


def schema_of_image(db: Database, image_id: str) -> Resource | None:
    """The schema that somebody gave to an image."""
    return next((each for each in children(db, KIND, image_id) if each.timeline.final != DELETED), None)


def capabilities_of(db: Database, image: Image) -> Mapping[str, Any]:
    """What the image's own schema says; empty without one."""
    schema = schema_of_image(db, image.id)
    return {} if schema is None else schema.doc["schemaData"]


def image_options(db: Database, image: Image) -> dict[str, Any]:
    """`launchOptions` of an image: the usual ones, those of its making, and above them its schema's defaults."""
    own = capabilities.options_of(capabilities_of(db, image))
    return {**capabilities.LAUNCH_OPTIONS, **image.doc["launchOptions"], **own}


def new_schema(cloud: Cloud, image: Image, data: Mapping[str, Any], seconds: float, **more: Any) -> Resource:
    """A schema of an image; the caller saves it.

    Args:
        cloud: for id and clock.
        image: a custom image without a schema.
        data: checked `schemaData`.
        seconds: how long CREATING lasts.
        more: `compartment`, `name`, `freeformTags`, `definedTags`, `version`, where the image's are not to be taken.
    """
    now = cloud.clock.timestamp()
    return Resource(
        id=new_ocid(cloud, KIND),
        kind=KIND,
        compartment=more.get("compartment") or image.compartment,
        name=more.get("name") or f"{image.name} capabilities",
        created=now,
        timeline=Timeline.through((CREATING,), ACTIVE, start=now, seconds=seconds),
        doc={
            "schemaData": dict(data),
            "version": more.get("version") or capabilities.VERSIONS[0],
            "freeformTags": more.get("freeformTags") or {},
            "definedTags": more.get("definedTags") or {},
        },
        parent=image.id,
    )


def drop_schema(cloud: Cloud, image_id: str) -> None:
    """Delete the schema of an image that is deleted itself."""
    if (schema := schema_of_image(cloud.db, image_id)) is not None:
        schema.changed(timeline=Timeline.resting(DELETED)).save(cloud.db)


# ---------------------------------------------------------------- the global schema


def _global_json() -> dict[str, Any]:
    """The SDK's models ComputeGlobalImageCapabilitySchema and -Summary."""
    return {
        "compartmentId": None,
        "currentVersionName": capabilities.VERSIONS[0],
        "definedTags": {},
        "displayName": capabilities.GLOBAL_NAME,
        "freeformTags": {},
        "id": GLOBAL_ID,
        "timeCreated": iso(GLOBAL_CREATED),
    }


def _version_json(name: str) -> dict[str, Any]:
    """The SDK's model ComputeGlobalImageCapabilitySchemaVersionSummary."""
    return {
        "computeGlobalImageCapabilitySchemaId": GLOBAL_ID,
        "displayName": f"{capabilities.GLOBAL_NAME} {name}",
        "name": name,
        "timeCreated": iso(GLOBAL_CREATED),
    }


def _check_global(call: Call) -> None:
    if call.params["schemaId"] != GLOBAL_ID:
        raise not_authorized_or_not_found()


async def list_global(call: Call) -> web.StreamResponse:
    """ListComputeGlobalImageCapabilitySchemas: there is one."""
    rows = (
        [_global_json()] if call.query.get("displayName", capabilities.GLOBAL_NAME) == capabilities.GLOBAL_NAME else []
    )
    found, headers = call.page(rows)
    return call.reply(found, headers=headers)


async def get_global(call: Call) -> web.StreamResponse:
    """GetComputeGlobalImageCapabilitySchema."""
    _check_global(call)
    return call.reply(_global_json(), headers={"etag": capabilities.VERSIONS[0]})


async def list_versions(call: Call) -> web.StreamResponse:
    """ListComputeGlobalImageCapabilitySchemaVersions."""
    _check_global(call)
    rows = [_version_json(name) for name in sorted(capabilities.VERSIONS)]
    wanted = call.query.get("displayName")
    found, headers = call.page([row for row in rows if wanted in (None, row["displayName"])], "name")
    return call.reply(found, headers=headers)


async def get_version(call: Call) -> web.StreamResponse:
    """GetComputeGlobalImageCapabilitySchemaVersion: with all capabilities."""
    _check_global(call)
    name = call.params["versionName"]
    if name not in capabilities.VERSIONS:
        raise not_authorized_or_not_found()
    return call.reply({**_version_json(name), "schemaData": capabilities.GLOBAL}, headers={"etag": name})


# ---------------------------------------------------------------- schemas of images


def _json(call: Call, schema: Resource, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The SDK's model ComputeImageCapabilitySchema; a summary is the same without two of its fields."""
    return {
        "compartmentId": schema.compartment,
        "computeGlobalImageCapabilitySchemaId": GLOBAL_ID,
        "computeGlobalImageCapabilitySchemaVersionName": schema.doc["version"],
        "definedTags": schema.doc["definedTags"],
        "displayName": schema.name,
        "freeformTags": schema.doc["freeformTags"],
        "id": schema.id,
        "imageId": schema.parent,
        "lifecycleState": schema.state(call.cloud.clock.timestamp()),
        "schemaData": schema.doc["schemaData"] if data is None else data,
        "timeCreated": iso(schema.created),
    }


def _reply(call: Call, schema: Resource, data: Mapping[str, Any] | None = None) -> web.StreamResponse:
    etag = schema.etag(call.cloud.clock.timestamp())
    return call.reply(_json(call, schema, data), headers={"etag": etag})


def _found(call: Call) -> Resource:
    """The schema of the path, which may name its image instead."""
    wanted = call.params["schemaId"]
    schema = schema_of_image(call.cloud.db, wanted) or find_resource(call.cloud.db, KIND, wanted)
    call.permit(schema.compartment)
    return schema


def _changeable(call: Call) -> Resource:
    schema = _found(call)
    if schema.timeline.final == DELETED:
        raise not_authorized_or_not_found()
    check_if_match(call.header("if-match"), schema.etag(call.cloud.clock.timestamp()))
    return schema


async def create(call: Call) -> web.StreamResponse:
    """CreateComputeImageCapabilitySchema: for a custom image that has none."""
    body = await call.json()
    compartment = text(body, "compartmentId")
    call.permit(compartment)
    version = text(body, "computeGlobalImageCapabilitySchemaVersionName")
    if version not in capabilities.VERSIONS:
        raise invalid_parameter(f"computeGlobalImageCapabilitySchemaVersionName: there is no version {version}")
    data = capabilities.read_schema(body.get("schemaData"))
    more = {
        "compartment": compartment,
        "name": optional_text(body, "displayName"),
        "version": version,
        "freeformTags": tags(body),
        "definedTags": defined_tags(body),
    }

    def make() -> Resource:
        image = _image_without_schema(call, text(body, "imageId"))
        schema = new_schema(call.cloud, image, data, transition_seconds(call.cloud, call.operation), **more)
        schema.save(call.cloud.db)
        return schema

    return _reply(call, await created_once(call, make, lambda known: _alive(call, known)))


def _alive(call: Call, schema_id: str) -> Resource:
    schema = find_resource(call.cloud.db, KIND, schema_id)
    if schema.timeline.final == DELETED:
        raise not_authorized_or_not_found()
    return schema


def _image_without_schema(call: Call, image_id: str) -> Image:
    image = permitted_image(call, image_id)
    if image.state(call.cloud.clock.timestamp()) == ImageState.DELETED:
        raise not_authorized_or_not_found()
    if image.compartment is None:
        raise ServiceError(403, "NotAllowed", PLATFORM_IMAGE_REFUSED)
    if schema_of_image(call.cloud.db, image.id) is not None:
        raise ServiceError(409, "Conflict", f"The image {image.id} has a capability schema already")
    return image


async def list_schemas(call: Call) -> web.StreamResponse:
    """ListComputeImageCapabilitySchemas: of a compartment, or of all that the caller may read; `imageId` narrows."""
    db, query, compartment = call.cloud.db, call.query, call.query.get("compartmentId")
    if compartment is not None:
        call.permit(compartment)
    schemas = resources_of(db, KIND) if compartment is None else resources_in(db, KIND, compartment)

    def keep(schema: Resource) -> bool:
        return (
            schema.timeline.final != DELETED
            and call.principal.may(call.operation, schema.compartment)
            and query.get("imageId", schema.parent) == schema.parent
            and query.get("displayName", schema.name) == schema.name
        )

    found, headers = page(call, arranged(call, schemas), keep)
    left_out = ("computeGlobalImageCapabilitySchemaId", "lifecycleState")
    rows = [{key: value for key, value in _json(call, each).items() if key not in left_out} for each in found]
    return call.reply(rows, headers=headers)


async def get(call: Call) -> web.StreamResponse:
    """GetComputeImageCapabilitySchema: by its own id or its image's; `isMergeEnabled` fills it up."""
    schema = _found(call)
    merge = query_flag(call.query, "isMergeEnabled", default=False)
    return _reply(call, schema, capabilities.merged(schema.doc["schemaData"]) if merge else None)


async def update(call: Call) -> web.StreamResponse:
    """UpdateComputeImageCapabilitySchema: name, tags, and the capabilities as a whole."""
    body = await call.json()
    changes = {"freeformTags": tags(body), "definedTags": defined_tags(body)}
    if body.get("schemaData") is not None:
        changes["schemaData"] = capabilities.read_schema(body["schemaData"])
    name = optional_text(body, "displayName")
    with call.cloud.db.transaction():
        schema = _changeable(call)
        doc = {**schema.doc, **{key: value for key, value in changes.items() if value is not None}}
        schema = schema.changed(name=name or schema.name, doc=doc)
        schema.save(call.cloud.db)
    return _reply(call, schema)


async def move(call: Call) -> web.StreamResponse:
    """ChangeComputeImageCapabilitySchemaCompartment: at once."""
    compartment = text(await call.json(), "compartmentId")
    call.permit(compartment)

    def change() -> Resource:
        schema = _changeable(call).changed(compartment=compartment)
        schema.save(call.cloud.db)
        return schema

    schema = await created_once(call, change, lambda known: _alive(call, known))
    return call.reply(headers={"etag": schema.etag(call.cloud.clock.timestamp())})


async def delete(call: Call) -> web.StreamResponse:
    """DeleteComputeImageCapabilitySchema: 204; the image shows the launch options of its making again."""
    with call.cloud.db.transaction():
        _changeable(call).changed(timeline=Timeline.resting(DELETED)).save(call.cloud.db)
    return call.reply(status=204)
