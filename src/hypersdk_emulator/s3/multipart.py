"""S3's multipart uploads. A part's S3 etag is its MD5; the native etag of the part is looked up where it is needed."""

import json
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from hypersdk_emulator.call import Call, encode_page, whole
from hypersdk_emulator.clock import iso
from hypersdk_emulator.errors import ServiceError
from hypersdk_emulator.objectstorage import multipart, storage
from hypersdk_emulator.objectstorage.common import window
from hypersdk_emulator.objectstorage.storage import StoredObject
from hypersdk_emulator.replies import Window
from hypersdk_emulator.s3 import told, words, xmlbodies
from hypersdk_emulator.s3.buckets import empty_reply, xml_reply
from hypersdk_emulator.s3.lists import Encoder, page_size
from hypersdk_emulator.s3.objects import conditions, source_of_copy, written
from hypersdk_emulator.s3.words import CLASSES, bare, etag

_CHUNK = 1 << 20
_CAMEL = {
    "content-type": "contentType",
    "content-language": "contentLanguage",
    "content-encoding": "contentEncoding",
    "content-disposition": "contentDisposition",
    "cache-control": "cacheControl",
}


def _upload_query(call: Call) -> dict[str, str | None]:
    return {"uploadId": call.query["uploadId"], "uploadPartNum": call.query.get("partNumber")}


async def create_upload(call: Call) -> web.StreamResponse:
    """CreateMultipartUpload."""
    headers = words.native_headers(call.request.headers)
    detail: dict[str, Any] = {key: headers[name] for name, key in _CAMEL.items() if name in headers}
    detail |= {"object": call.params["object"], "storageTier": headers.get("storage-tier")}
    detail["metadata"] = {name: value for name, value in headers.items() if name.startswith("opc-meta-")}
    kept = {name: value for name, value in headers.items() if name.startswith(("opc-sse", "opc-checksum"))}
    body, _ = await told.answer(told.native(call, "CreateMultipartUpload", headers=kept, detail=detail))
    names = (("Bucket", call.params["bucket"]), ("Key", call.params["object"]), ("UploadId", body["uploadId"]))
    return xml_reply(call, "InitiateMultipartUploadResult", names)


async def upload_part(call: Call) -> web.StreamResponse:
    """UploadPart."""
    headers = words.native_headers(call.request.headers)
    reply = await told.tell(told.native(call, "UploadPart", headers=headers, query=_upload_query(call)))
    return empty_reply(call, headers={"etag": etag(reply.headers["opc-content-md5"])})


async def upload_part_copy(call: Call) -> web.StreamResponse:
    """UploadPartCopy: a part made of a range of another object."""
    source, cloud = source_of_copy(call), call.cloud
    headers = words.native_headers(call.request.headers)
    target = told.native(call, "UploadPart", headers=headers, query=_upload_query(call))
    upload, number = multipart.part_target(target)
    received = await cloud.bodies.receive(_bytes(call, source), {upload.algorithm} - {""})
    try:
        multipart.part_target(target)  # it may have been committed or aborted meanwhile
        multipart.put_part(cloud, upload.id, number, received)
    except BaseException:
        cloud.bodies.discard([received.file])
        raise
    content = (("LastModified", iso(cloud.clock.timestamp())), ("ETag", etag(received.digests.md5)))
    return xml_reply(call, "CopyPartResult", content)


async def _bytes(call: Call, source: StoredObject) -> AsyncIterator[bytes]:
    """The bytes of a source that `x-amz-copy-source-range` names."""
    asked, size = call.request.headers.get("x-amz-copy-source-range"), source.content.size
    part = window(asked, size) if asked else Window(0, size, size)
    if part is None:
        raise ServiceError(400, "InvalidArgument", "The x-amz-copy-source-range value must be of the form bytes=a-b")
    pieces = storage.segments(call.cloud, source.content.body, part.first, part.end)
    files = [piece.file for piece in pieces]
    call.cloud.bodies.hold(files)
    try:
        for piece in pieces:
            with call.cloud.bodies.open(piece.file) as file:
                at = max(part.first, piece.start)
                file.seek(at - piece.start)
                left = min(part.end, piece.start + piece.size) - at
                while left and (chunk := file.read(min(_CHUNK, left))):
                    left -= len(chunk)
                    yield chunk
    finally:
        call.cloud.bodies.done(files)


async def complete_upload(call: Call) -> web.StreamResponse:
    """CompleteMultipartUpload: parts in rising order, each with its etag."""
    root = xmlbodies.parse(await told.small_body(call), "CompleteMultipartUpload")
    wanted = [(whole(part.get("PartNumber") or ""), bare(part.get("ETag") or "")) for part in root.all("Part")]
    numbers = [number for number, _ in wanted if number is not None]
    if not wanted or len(numbers) < len(wanted):
        raise xmlbodies.malformed()
    if numbers != sorted(set(numbers)):
        raise ServiceError(400, "InvalidPartOrder", "The list of parts was not in ascending order.")
    there = {row["number"]: row for row in multipart.parts_of(call.cloud, call.query["uploadId"])}
    parts = []
    for number, (_, given) in zip(numbers, wanted, strict=True):
        row = there.get(number)
        fits = row is not None and bare(etag(json.loads(row["digests"])["MD5"])) == given
        parts.append({"partNum": number, "etag": row["etag"] if fits and row is not None else given})
    bucket, key = call.params["bucket"], call.params["object"]
    headers = conditions(call, storage.latest(call.cloud, bucket, key))
    commit = told.native(
        call, "CommitMultipartUpload", headers=headers, query=_upload_query(call), detail={"partsToCommit": parts}
    )
    reply = await told.tell(commit)
    made = storage.version(call.cloud, bucket, key, reply.headers["version-id"])
    assert made is not None
    spoken = written(call, made)
    location = f"{call.request.scheme}://{call.request.headers.get('host', '')}/{bucket}/{key}"
    content = (("Location", location), ("Bucket", bucket), ("Key", key), ("ETag", spoken.pop("etag")))
    answer = xml_reply(call, "CompleteMultipartUploadResult", content)
    answer.headers.update(spoken)
    return answer


async def abort_upload(call: Call) -> web.StreamResponse:
    """AbortMultipartUpload."""
    await told.tell(told.native(call, "AbortMultipartUpload", query=_upload_query(call)))
    return empty_reply(call, status=204)


async def list_parts(call: Call) -> web.StreamResponse:
    """ListParts."""
    limit, encode = page_size(call, "max-parts"), Encoder(call)
    marker = call.query.get("part-number-marker", "0")
    if whole(marker) is None:
        raise ServiceError(400, "InvalidArgument", "part-number-marker must be an integer")
    query = {**_upload_query(call), "limit": str(max(1, limit)), "page": encode_page(marker)}
    parts, headers = await told.answer(told.native(call, "ListMultipartUploadParts", query=query))
    parts = parts if limit else []
    more = bool(parts) and "opc-next-page" in headers
    upload = multipart.find(call.cloud, call.params["bucket"], call.params["object"], call.query["uploadId"])
    assert upload is not None
    content: list[tuple[str, xmlbodies.Content]] = [
        ("Bucket", call.params["bucket"]),
        ("Key", encode(call.params["object"])),
        ("UploadId", upload.id),
        ("StorageClass", CLASSES[upload.content.tier]),
        ("PartNumberMarker", marker),
        ("NextPartNumberMarker", parts[-1]["partNumber"] if more else None),
        ("MaxParts", limit),
        ("IsTruncated", more),
    ]
    modified = {row["number"]: row["created"] for row in multipart.parts_of(call.cloud, upload.id)}
    for part in parts:
        number = part["partNumber"]
        row = (("PartNumber", number), ("LastModified", iso(modified[number])), ("ETag", etag(part["md5"])))
        content.append(("Part", (*row, ("Size", part["size"]))))
    return xml_reply(call, "ListPartsResult", content)


async def list_uploads(call: Call) -> web.StreamResponse:
    """ListMultipartUploads, by name."""
    limit, encode = page_size(call, "max-uploads"), Encoder(call)
    key, last, prefix = (call.query.get(name, "") for name in ("key-marker", "upload-id-marker", "prefix"))
    # Without an upload id the list goes on after all uploads of the marker's name: no id sorts after this.
    page = encode_page(f"{key}\0{last or '~'}") if key else None
    uploads = await told.every(told.native(call, "ListMultipartUploads", query={"limit": "1000", "page": page}))
    fitting = [upload for upload in uploads if upload["object"].startswith(prefix)]
    shown, more = fitting[:limit], len(fitting) > limit > 0
    content: list[tuple[str, xmlbodies.Content]] = [
        ("Bucket", call.params["bucket"]),
        ("KeyMarker", encode(key)),
        ("UploadIdMarker", last),
        ("NextKeyMarker", encode(shown[-1]["object"]) if more else None),
        ("NextUploadIdMarker", shown[-1]["uploadId"] if more else None),
        ("Prefix", encode(prefix)),
        ("EncodingType", encode.kind),
        ("MaxUploads", limit),
        ("IsTruncated", more),
    ]
    for upload in shown:
        row = (("Key", encode(upload["object"])), ("UploadId", upload["uploadId"]))
        content.append(("Upload", (*row, ("Initiated", upload["timeCreated"]), ("StorageClass", "STANDARD"))))
    return xml_reply(call, "ListMultipartUploadsResult", content)
