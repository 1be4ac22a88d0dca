"""Multipart uploads: create, parts, lists, commit, abort. An upload stays until it is committed or aborted."""

import json
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aiohttp import web

from hypersdk_emulator.bodies import Received
from hypersdk_emulator.call import Call, next_page, one_of, whole
from hypersdk_emulator.checksums import ALGORITHMS, combined_crc32c, composite
from hypersdk_emulator.clock import http_date, iso
from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.database import Row
from hypersdk_emulator.errors import ServiceError, invalid_parameter
from hypersdk_emulator.objectstorage import storage
from hypersdk_emulator.objectstorage.common import (
    CONTENT_HEADERS,
    check_customer_key,
    check_if_match,
    check_name,
    check_write,
    checksum_headers,
    customer_key,
    described,
    expected,
    header_text,
    kms_key,
    metadata,
    receive,
    require_bucket,
)
from hypersdk_emulator.objectstorage.storage import Bucket, Content, StoredObject

MAX_PARTS = 10_000  # OCI documentation, limits of Object Storage
_CAMEL = {name: "".join(w.title() if n else w for n, w in enumerate(name.split("-"))) for name in CONTENT_HEADERS}


@dataclass(frozen=True)
class Upload:
    """An upload that is not yet an object; `algorithm` is its additional checksum or empty."""

    id: str
    bucket: str
    object: str
    created: float
    content: Content
    algorithm: str


# ---------------------------------------------------------------- without a call: for exports, too


def begin(cloud: Cloud, bucket: str, name: str, content: Content, algorithm: str = "") -> Upload:
    """Start an upload."""
    upload = Upload(cloud.random.uuid("upload"), bucket, name, cloud.clock.timestamp(), content, algorithm)
    doc = {"content": json.loads(content.described()), "tier": content.tier, "algorithm": algorithm}
    row = (upload.id, bucket, name, upload.created, json.dumps(doc))
    cloud.db.execute("INSERT INTO uploads VALUES (?, ?, ?, ?, ?)", *row)
    return upload


def put_part(cloud: Cloud, upload_id: str, number: int, received: Received) -> str:
    """Store a part, in place of an earlier one of this number; returns its etag."""
    digests, etag = received.digests, storage.new_etag(cloud)
    texts = {"MD5": digests.md5, "CRC32C": digests.crc32c, "SHA256": digests.sha256, "SHA384": digests.sha384}
    with storage.change(cloud) as trash:
        old = cloud.db.one("SELECT file FROM parts WHERE upload = ? AND number = ?", upload_id, number)
        if old:
            trash.append(old["file"])
        row = (upload_id, number, etag, received.size, json.dumps(texts), received.file, cloud.clock.timestamp())
        cloud.db.execute("INSERT OR REPLACE INTO parts VALUES (?, ?, ?, ?, ?, ?, ?)", *row)
    return etag


def parts_of(cloud: Cloud, upload_id: str) -> list[Row]:
    """The parts of an upload in the order of their numbers."""
    return cloud.db.all("SELECT * FROM parts WHERE upload = ? ORDER BY number", upload_id)


def commit(cloud: Cloud, bucket: Bucket, upload: Upload, parts: Sequence[Row], trash: list[str]) -> StoredObject:
    """Make an object of parts, given in order; the other parts go. Call it inside `storage.change`."""
    digests = [json.loads(part["digests"]) for part in parts]
    checksums: dict[str, str] = {}
    if upload.algorithm == "CRC32C":
        whole = combined_crc32c((each["CRC32C"], part["size"]) for each, part in zip(digests, parts, strict=True))
        checksums["opc-content-crc32c"] = whole
    elif upload.algorithm:
        low = upload.algorithm.lower()
        checksums[f"opc-multipart-{low}"] = composite(low, [each[upload.algorithm] for each in digests])
    body = storage.new_body(cloud, [(part["file"], part["size"]) for part in parts])
    content = replace(
        upload.content,
        body=body,
        size=sum(part["size"] for part in parts),
        md5=composite("md5", [each["MD5"] for each in digests]),
        multipart=True,
        checksums=checksums,
    )
    made = storage.store(cloud, bucket, upload.object, content, trash)
    drop(cloud, upload.id, trash, keep={part["number"] for part in parts})
    return made


def drop(cloud: Cloud, upload_id: str, trash: list[str], keep: set[int] | None = None) -> None:
    """Forget an upload; the files of its parts go, except those that an object uses now."""
    trash += [part["file"] for part in parts_of(cloud, upload_id) if not keep or part["number"] not in keep]
    cloud.db.execute("DELETE FROM parts WHERE upload = ?", upload_id)
    cloud.db.execute("DELETE FROM uploads WHERE id = ?", upload_id)


def find(cloud: Cloud, bucket: str, name: str, upload_id: str) -> Upload | None:
    """An upload by all that names it."""
    row = cloud.db.one("SELECT * FROM uploads WHERE id = ? AND bucket = ? AND object = ?", upload_id, bucket, name)
    if row is None:
        return None
    doc = json.loads(row["doc"])
    content = Content(None, 0, "", tier=doc["tier"], **doc["content"])
    return Upload(row["id"], bucket, name, row["created"], content, doc["algorithm"])


# ---------------------------------------------------------------- operations


def _require_upload(call: Call) -> Upload:
    bucket = require_bucket(call)
    upload_id = call.params.get("upload") or call.query.get("uploadId")
    if not upload_id:
        raise ServiceError(400, "MissingUploadId", "The query parameter uploadId is missing")
    upload = find(call.cloud, bucket.name, call.params["object"], upload_id)
    if upload is None:
        raise ServiceError(404, "UploadNotFound", "No such upload")
    return upload


def upload_json(call: Call, upload_id: str, bucket: str, name: str, created: float) -> dict[str, Any]:
    """The SDK's model MultipartUpload."""
    where = {"namespace": call.cloud.settings.namespace, "bucket": bucket, "object": name}
    return {**where, "uploadId": upload_id, "timeCreated": iso(created)}


async def create_upload(call: Call) -> web.StreamResponse:
    """CreateMultipartUpload: the description is in the body."""
    body = await call.json()
    name, bucket = check_name(body.get("object")), require_bucket(call)
    headers = {header: header_text(key, body[key]) for header, key in _CAMEL.items() if body.get(key)}
    headers.setdefault("content-type", "application/octet-stream")
    default = described(call, bucket).tier
    content = Content(
        body=None,
        size=0,
        md5="",
        headers=headers,
        meta=metadata(body.get("metadata") or {}),
        sse=customer_key(call),
        kms=kms_key(call, bucket),
        tier=one_of("storageTier", body.get("storageTier"), ("Standard", "InfrequentAccess", "Archive"), default),
    )
    upload = _begin(call, bucket, name, content)
    return call.reply(upload_json(call, upload.id, bucket.name, name, upload.created))


async def create_par_upload(call: Call) -> web.StreamResponse:
    """A PUT on a write PAR with `opc-multipart: true`: the reply's `accessUri` takes parts, commit and abort."""
    name, bucket = check_name(call.params["object"]), require_bucket(call)
    upload = _begin(call, bucket, name, described(call, bucket))
    where = f"/p/{call.params['token']}/n/{call.params['namespace']}/b/{bucket.name}/u/{urllib.parse.quote(name)}"
    body = upload_json(call, upload.id, bucket.name, name, upload.created)
    return call.reply({**body, "accessUri": f"{where}/id/{upload.id}/"})


def _begin(call: Call, bucket: Bucket, name: str, content: Content) -> Upload:
    found = storage.latest(call.cloud, bucket.name, name)
    check_write(call, found)
    storage.refuse_protected(call.cloud, bucket, found)
    algorithm = one_of("opc-checksum-algorithm", call.header("opc-checksum-algorithm"), ALGORITHMS, "")
    return begin(call.cloud, bucket.name, name, content, algorithm)


def part_target(call: Call) -> tuple[Upload, int]:
    """Upload and number of an UploadPart call.

    Raises:
        ServiceError: 404 for no upload, 400 for a bad number or another customer key.
    """
    upload = _require_upload(call)
    text = call.params.get("number") or call.required("uploadPartNum")
    number = int(text) if text.isascii() and text.isdigit() else 0
    if not 1 <= number <= MAX_PARTS:
        raise ServiceError(400, "InvalidUploadPartNumber", f"The part number must be from 1 to {MAX_PARTS}")
    check_customer_key(call, upload.content.sse)
    _check_part(call, upload, number)
    return upload, number


def _check_part(call: Call, upload: Upload, number: int) -> None:
    """If-Match and If-None-Match of a part: about an earlier part of its number, not about the object.

    A client that sends the object's etag with each part meets 412 (seen by thanos-io/objstore, pull request 267).
    """
    row = call.cloud.db.one("SELECT etag FROM parts WHERE upload = ? AND number = ?", upload.id, number)
    if call.header("if-none-match") == "*" and row is not None:
        raise ServiceError(412, "IfNoneMatchFailed", "The If-None-Match condition did not hold: the part exists")
    check_if_match(call.header("if-match"), None if row is None else row["etag"])


async def upload_part(call: Call) -> web.StreamResponse:
    """UploadPart."""
    upload, number = part_target(call)
    wanted = expected(call, upload.algorithm)
    received = await receive(call, wanted)
    try:
        _require_upload(call)  # it may have been committed or aborted while the body came
        etag = put_part(call.cloud, upload.id, number, received)
    except BaseException:
        call.cloud.bodies.discard([received.file])
        raise
    checksums = checksum_headers(received, wanted.algorithms)
    return call.reply(headers={"etag": etag, "opc-content-md5": received.digests.md5, **checksums})


async def commit_upload(call: Call) -> web.StreamResponse:
    """CommitMultipartUpload; through a PAR without a list, of all parts."""
    body = await call.json()
    with storage.change(call.cloud) as trash:
        bucket, upload = require_bucket(call), _require_upload(call)
        found = storage.latest(call.cloud, bucket.name, upload.object)
        check_write(call, found)
        storage.refuse_protected(call.cloud, bucket, found)
        parts = parts_of(call.cloud, upload.id)
        if call.principal.kind != "par":
            parts = _listed(parts, body)
        if not parts:
            raise ServiceError(400, "InvalidUploadPart", "No parts to commit")
        made = commit(call.cloud, bucket, upload, parts, trash)
    headers = {"etag": made.etag, "opc-multipart-md5": made.content.md5, "last-modified": http_date(made.modified)}
    return call.reply(headers={**headers, "version-id": made.version, **made.content.checksums})


def _listed(parts: Sequence[Row], body: Mapping[str, Any]) -> list[Row]:
    """The parts that a commit names, in the order of their numbers (rclone sends them unsorted)."""
    there = {part["number"]: part for part in parts}
    chosen: dict[int, Row] = {}
    wanted = body.get("partsToCommit")
    if not isinstance(wanted, list):
        raise invalid_parameter("partsToCommit must be a list")
    for each in wanted:
        if not isinstance(each, dict):
            raise invalid_parameter("partsToCommit must hold objects")
        part = there.get(each.get("partNum", 0))
        if part is None or part["etag"] != each.get("etag") or part["number"] in chosen:
            text = f"Part {each.get('partNum')} with etag '{each.get('etag')}' is not a part of this upload"
            raise ServiceError(400, "InvalidUploadPart", text)
        chosen[part["number"]] = part
    return [chosen[number] for number in sorted(chosen)]


async def abort_upload(call: Call) -> web.StreamResponse:
    """AbortMultipartUpload."""
    with storage.change(call.cloud) as trash:
        drop(call.cloud, _require_upload(call).id, trash)
    return call.reply(status=204)


async def list_parts(call: Call) -> web.StreamResponse:
    """ListMultipartUploadParts, by number."""
    upload, limit = _require_upload(call), call.limit(default=1000)
    after = whole(call.page_token() or "0")
    if after is None:
        raise ServiceError(400, "InvalidPage", "The page token is not one of this list")
    statement = "SELECT * FROM parts WHERE upload = ? AND number > ? ORDER BY number LIMIT ?"
    rows = call.cloud.db.all(statement, upload.id, after, limit + 1)
    found, headers = next_page(rows, limit, "number")
    return call.reply(
        [
            {
                "partNumber": row["number"],
                "etag": row["etag"],
                "md5": json.loads(row["digests"])["MD5"],
                "size": row["size"],
            }
            for row in found
        ],
        headers=headers,
    )


async def list_uploads(call: Call) -> web.StreamResponse:
    """ListMultipartUploads, by object name."""
    bucket, limit = require_bucket(call), call.limit()
    after, _, last = call.page_token().rpartition("\0")
    rows = call.cloud.db.all(
        "SELECT *, object || char(0) || id AS place FROM uploads WHERE bucket = ? "
        "AND (object > ? OR (object = ? AND id > ?)) ORDER BY object, id LIMIT ?",
        bucket.name,
        after,
        after,
        last,
        limit + 1,
    )
    found, headers = next_page(rows, limit, "place")
    body = [upload_json(call, row["id"], bucket.name, row["object"], row["created"]) for row in found]
    return call.reply(body, headers=headers)
