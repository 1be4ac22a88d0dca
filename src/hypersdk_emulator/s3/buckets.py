"""S3's bucket calls. Buckets are made, and listed, in the compartment that the namespace designates for S3."""

from typing import Any

from aiohttp import web

from hypersdk_emulator.call import Call
from hypersdk_emulator.errors import ServiceError
from hypersdk_emulator.objectstorage.buckets import s3_compartment
from hypersdk_emulator.s3 import told, xmlbodies
from hypersdk_emulator.s3.xmlbodies import Content

MAX_TAGS = 10  # free-form tags of one OCI resource


def xml_reply(call: Call, root: str, content: Content, *, status: int = 200) -> web.StreamResponse:
    """A reply with an XML body."""
    call.replies["x-amz-request-id"] = call.request_id
    return web.Response(status=status, body=xmlbodies.document(root, content), content_type="application/xml")


def empty_reply(call: Call, *, status: int = 200, headers: dict[str, str] | None = None) -> web.StreamResponse:
    """A reply without a body."""
    call.replies["x-amz-request-id"] = call.request_id
    return web.Response(status=status, headers=headers)


async def list_buckets(call: Call) -> web.StreamResponse:
    """ListBuckets: those in the compartment designated for S3."""
    query = {"compartmentId": s3_compartment(call.cloud), "limit": "1000"}
    buckets = await told.every(told.native(call, "ListBuckets", query=query))
    rows = [("Bucket", (("Name", each["name"]), ("CreationDate", each["timeCreated"]))) for each in buckets]
    owner = (("ID", call.cloud.settings.namespace), ("DisplayName", call.cloud.settings.namespace))
    return xml_reply(call, "ListAllMyBucketsResult", (("Owner", owner), ("Buckets", rows)))


async def create_bucket(call: Call) -> web.StreamResponse:
    """CreateBucket; a location constraint may only name this region."""
    data = await told.small_body(call)
    region = xmlbodies.parse(data, "CreateBucketConfiguration").get("LocationConstraint") if data.strip() else None
    if region not in (None, "", call.cloud.settings.region):
        raise ServiceError(400, "InvalidLocationConstraint", "The specified location-constraint is not valid")
    detail = {"name": call.params["bucket"], "compartmentId": s3_compartment(call.cloud)}
    await told.answer(told.native(call, "CreateBucket", detail=detail))
    return empty_reply(call, headers={"location": f"/{call.params['bucket']}"})


async def _bucket(call: Call) -> dict[str, Any]:
    body, _ = await told.answer(told.native(call, "GetBucket"))
    return dict(body)


async def head_bucket(call: Call) -> web.StreamResponse:
    """HeadBucket."""
    await told.tell(told.native(call, "HeadBucket"))
    return empty_reply(call, headers={"x-amz-bucket-region": call.cloud.settings.region})


async def delete_bucket(call: Call) -> web.StreamResponse:
    """DeleteBucket."""
    await told.tell(told.native(call, "DeleteBucket"))
    return empty_reply(call, status=204)


async def get_location(call: Call) -> web.StreamResponse:
    """GetBucketLocation."""
    await _bucket(call)
    return xml_reply(call, "LocationConstraint", call.cloud.settings.region)


async def get_versioning(call: Call) -> web.StreamResponse:
    """GetBucketVersioning: nothing for a bucket that never had it."""
    versioning = (await _bucket(call))["versioning"]
    content = () if versioning == "Disabled" else (("Status", versioning),)
    return xml_reply(call, "VersioningConfiguration", content)


async def put_versioning(call: Call) -> web.StreamResponse:
    """PutBucketVersioning."""
    status = xmlbodies.parse(await told.small_body(call), "VersioningConfiguration").get("Status")
    if status not in ("Enabled", "Suspended"):
        raise xmlbodies.malformed()
    await told.answer(told.native(call, "UpdateBucket", detail={"versioning": status}))
    return empty_reply(call)


async def get_tagging(call: Call) -> web.StreamResponse:
    """GetBucketTagging: the bucket's free-form tags."""
    tags = (await _bucket(call))["freeformTags"]
    if not tags:
        raise ServiceError(404, "NoSuchTagSet", "The TagSet does not exist")
    rows = [("Tag", (("Key", key), ("Value", value))) for key, value in sorted(tags.items())]
    return xml_reply(call, "Tagging", (("TagSet", rows),))


async def put_tagging(call: Call) -> web.StreamResponse:
    """PutBucketTagging: replaces the free-form tags."""
    root = xmlbodies.parse(await told.small_body(call), "Tagging")
    tags = [tag for tag_set in root.all("TagSet") for tag in tag_set.all("Tag")]
    values = {tag.get("Key") or "": tag.get("Value") or "" for tag in tags}
    if "" in values or len(values) != len(tags) or len(tags) > MAX_TAGS:
        raise ServiceError(400, "InvalidTag", f"A bucket has up to {MAX_TAGS} tags with different keys")
    await told.answer(told.native(call, "UpdateBucket", detail={"freeformTags": values}))
    return empty_reply(call, status=204)


async def delete_tagging(call: Call) -> web.StreamResponse:
    """DeleteBucketTagging."""
    await told.answer(told.native(call, "UpdateBucket", detail={"freeformTags": {}}))
    return empty_reply(call, status=204)
