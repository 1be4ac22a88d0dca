"""S3 requests told to the native handlers, in process: same objects, same rules, same refusals."""

import hashlib
import json
import urllib.parse
import zlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import web
from multidict import CIMultiDict

from hypersdk_emulator.call import Call
from hypersdk_emulator.checksums import Hasher, text
from hypersdk_emulator.errors import ServiceError
from hypersdk_emulator.objectstorage.routes import STORAGE
from hypersdk_emulator.s3.sigv4 import UNSIGNED_PAYLOAD

_ROUTES = {route.operation: route for route in STORAGE if route.auth != "par"}
_HEX_SHA256 = 64


@dataclass
class Native(Call):
    """A native call made for an S3 request: the same body, other headers, query and path.

    Args:
        told: Its headers.
        asked: Its query.
        detail: Its JSON body; None for the S3 request's own body.
    """

    told: CIMultiDict[str] = field(default_factory=CIMultiDict)
    asked: Mapping[str, str] = field(default_factory=dict)
    detail: dict[str, Any] | None = None

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers told, case-insensitive."""
        return self.told

    @property
    def query(self) -> Mapping[str, str]:
        """The query told."""
        return self.asked

    async def json(self) -> dict[str, Any]:
        """The body told."""
        return dict(self.detail or {})

    def body(self) -> AsyncIterator[bytes]:
        """The S3 request's body, held against what its signature and its checksums say of it."""
        return checked_body(self, super().body())


def native(
    call: Call,
    operation: str,
    *,
    headers: Mapping[str, str] | None = None,
    query: Mapping[str, str | None] | None = None,
    detail: dict[str, Any] | None = None,
    **params: str,
) -> Native:
    """A native call of an operation, by the caller of an S3 request.

    Args:
        call: The S3 request.
        operation: The native operation.
        headers: Its headers.
        query: Its query; values that are None are left out.
        detail: Its JSON body.
        params: Path parameters besides the namespace and those of the request.
    """
    asked = {name: value for name, value in (query or {}).items() if value is not None}
    where = {"namespace": call.cloud.settings.namespace, **call.params, **params}
    return Native(
        call.request,
        call.cloud,
        _ROUTES[operation],
        where,
        call.principal,
        call.request_id,
        call.fault,
        call.replies,
        call.grants,
        told=CIMultiDict(headers or {}),
        asked=asked,
        detail=detail,
    )


async def tell(call: Native) -> web.StreamResponse:
    """The native reply."""
    return await call.route.handler(call)


async def answer(call: Native) -> tuple[Any, Mapping[str, str]]:
    """The JSON of the native reply, and its headers."""
    reply = await tell(call)
    body = reply.body if isinstance(reply, web.Response) else None
    return json.loads(body) if isinstance(body, bytes) and body else None, reply.headers


async def every(call: Native) -> list[Any]:
    """All items of a native list that is paged by header."""
    items: list[Any] = []
    while True:
        page, headers = await answer(call)
        items += page
        if "opc-next-page" not in headers:
            return items
        call = replace(call, asked={**call.asked, "page": headers["opc-next-page"]})


# ---------------------------------------------------------------- bodies


async def checked_body(call: Call, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """A body that is refused at its end if it is not the one that was signed or summed.

    Raises:
        ServiceError: 400.
    """
    headers = call.request.headers
    payload = headers.get("x-amz-content-sha256", UNSIGNED_PAYLOAD)
    sha256 = hashlib.sha256() if payload != UNSIGNED_PAYLOAD else None
    crc32, sha1 = headers.get("x-amz-checksum-crc32"), headers.get("x-amz-checksum-sha1")
    crc, digest = 0, hashlib.sha1(usedforsecurity=False)
    async for chunk in chunks:
        if sha256 is not None:
            sha256.update(chunk)
        if crc32 is not None:
            crc = zlib.crc32(chunk, crc)
        if sha1 is not None:
            digest.update(chunk)
        yield chunk
    if sha256 is not None and sha256.hexdigest() != payload:
        message = "The provided 'x-amz-content-sha256' header does not match what was computed."
        raise ServiceError(400, "XAmzContentSHA256Mismatch", message)
    bad_crc = crc32 is not None and crc32 != text(crc.to_bytes(4, "big"))
    if bad_crc or (sha1 is not None and sha1 != text(digest.digest())):
        raise ServiceError(400, "BadDigest", "The checksum you specified did not match the calculated checksum.")


def check_payload(call: Call) -> None:
    """Refuse bodies that this API does not take.

    Raises:
        ServiceError: 501 for aws-chunked bodies, 400 for a hash that is none, 411 for a PUT without a length.
    """
    headers = call.request.headers
    payload = headers.get("x-amz-content-sha256", UNSIGNED_PAYLOAD)
    encodings = [each.strip() for each in headers.get("content-encoding", "").split(",")]
    if payload.startswith("STREAMING-") or "aws-chunked" in encodings or "x-amz-trailer" in headers:
        # Text and status as others met them (activepieces issue 14110, peerdb issue 4301).
        raise ServiceError(501, "NotImplemented", "AWS chunked encoding not supported.")
    if payload != UNSIGNED_PAYLOAD and len(payload) != _HEX_SHA256:
        raise ServiceError(400, "InvalidArgument", "x-amz-content-sha256 must be UNSIGNED-PAYLOAD or a valid sha256")
    if "x-amz-checksum-crc64nvme" in headers:
        raise ServiceError(501, "NotImplemented", "The checksum algorithm CRC64NVME is not supported.")
    if call.request.method == "PUT" and "content-length" not in headers and "transfer-encoding" in headers:
        raise ServiceError(411, "MissingContentLength", "You must provide the Content-Length HTTP header.")


async def small_body(call: Call) -> bytes:
    """The whole body of an XML request, checked against everything that its headers say of it.

    Raises:
        ServiceError: 400 if it is another one.
    """
    whole = Native(
        call.request, call.cloud, call.route, call.params, call.principal, call.request_id, replies=call.replies
    )
    data = await whole.raw()
    stated = {
        "MD5": call.request.headers.get("content-md5"),
        "CRC32C": call.request.headers.get("x-amz-checksum-crc32c"),
        "SHA256": call.request.headers.get("x-amz-checksum-sha256"),
    }
    hasher = Hasher(("CRC32C", "SHA256"))
    hasher.update(data)
    digests = hasher.digests()
    have = {"MD5": digests.md5, "CRC32C": digests.crc32c, "SHA256": digests.sha256}
    for name, value in stated.items():
        if value is not None and value != have[name]:
            raise ServiceError(400, "BadDigest", f"The {name} you specified did not match the calculated checksum.")
    return data


def copy_source(call: Call) -> tuple[str, str, str | None]:
    """Bucket, key and version that `x-amz-copy-source` names.

    Raises:
        ServiceError: 400 if it names none.
    """
    path, _, query = call.request.headers["x-amz-copy-source"].partition("?")
    bucket, slash, key = urllib.parse.unquote(path).lstrip("/").partition("/")
    if not slash or not key:
        message = "Copy Source must mention the source bucket and key: sourcebucket/sourcekey"
        raise ServiceError(400, "InvalidArgument", message)
    version = dict(urllib.parse.parse_qsl(query)).get("versionId")
    return bucket, key, version
