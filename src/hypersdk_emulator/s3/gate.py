"""Where S3 requests come in: told from native ones, signatures checked, errors in XML."""

import hmac
import re

from aiohttp import web

from hypersdk_emulator.call import Call
from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.errors import ServiceError
from hypersdk_emulator.identity import secretkeys
from hypersdk_emulator.s3 import sigv4, told, xmlbodies
from hypersdk_emulator.s3.words import as_s3
from hypersdk_emulator.signatures import Principal

CLASSIC_REGION = "us-east-1"
"""What applications that know no other region say; OCI takes it for the home region (OCI documentation)."""
_HOST = re.compile(r"([^.:]+)\.compat\.")
_ANONYMOUS = Principal("anonymous")
_PUBLIC = frozenset({"S3GetObject", "S3HeadObject", "S3ListObjects", "S3ListObjectsV2"})


def concerns(request: web.BaseRequest) -> bool:
    """True for a request of the S3 API: by its signature, or by its host."""
    if request.headers.get("authorization", "").startswith(("AWS4-", "AWS ")):
        return True
    return "X-Amz-Algorithm" in request.query or _HOST.match(request.headers.get("host", "")) is not None


def authenticate(call: Call) -> Principal:
    """Who signed; nobody on a `compat` host may read what is public.

    Raises:
        ServiceError: 403 for a missing, wrong or stale signature, 400 for one that cannot be read.
    """
    try:
        principal = _signer(call)
    except ServiceError as refused:
        call.request["entry"]["refused"] = refused.message
        raise
    told.check_payload(call)
    return principal


def _signer(call: Call) -> Principal:
    wire = _wire(call.request)
    _check_namespace(call.cloud, wire.headers.get("host", ""))
    unsigned = "authorization" not in wire.headers and "X-Amz-Algorithm" not in call.request.query
    if unsigned and call.operation in _PUBLIC:
        return _ANONYMOUS
    claim = sigv4.claim(wire)
    home = call.cloud.settings.region
    if claim.region not in (home, CLASSIC_REGION):
        text = f"The authorization is malformed; the region '{claim.region}' is wrong; expecting '{home}'"
        raise ServiceError(400, "AuthorizationHeaderMalformed", text)
    sigv4.check_time(claim, call.cloud.clock.wall())
    sigv4.check_headers(claim, wire.headers)
    found = secretkeys.find(call.cloud, claim.access_key)
    if found is None:
        text = "The AWS Access Key Id you provided does not exist in our records."
        raise ServiceError(403, "InvalidAccessKeyId", text)
    secret, principal = found
    canonical = sigv4.canonical_request(wire, claim.signed_headers, claim.payload)
    if not hmac.compare_digest(sigv4.signature(secret, claim, canonical).encode(), claim.signature.encode()):
        text = "The request signature we calculated does not match the signature you provided. Check your key."
        raise ServiceError(403, "SignatureDoesNotMatch", text)
    return principal


def _wire(request: web.BaseRequest) -> sigv4.Wire:
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        low = name.lower()
        headers[low] = f"{headers[low]},{value}" if low in headers else value
    path, _, query = request.raw_path.partition("?")
    return sigv4.Wire(request.method, path, query, headers)


def _check_namespace(cloud: Cloud, host: str) -> None:
    named = _HOST.match(host)
    if named is not None and named[1] != cloud.settings.namespace.lower():
        raise ServiceError(403, "AccessDenied", f"The namespace '{named[1]}' is not yours")


def error_reply(request: web.BaseRequest, refused: ServiceError) -> web.StreamResponse:
    """A refusal as S3 clients read it."""
    error = as_s3(refused)
    replies = request["replies"]
    replies.update({name.lower(): value for name, value in error.headers.items() if name.lower() != "etag"})
    replies["x-amz-request-id"] = replies["opc-request-id"]
    content = (
        ("Code", error.code),
        ("Message", error.message),
        ("Resource", request.raw_path.partition("?")[0]),
        ("RequestId", replies["opc-request-id"]),
    )
    if error.status == web.HTTPNotModified.status_code or request.method == "HEAD":
        response = web.Response(status=error.status)
    else:
        body = xmlbodies.document("Error", content, "")
        response = web.Response(status=error.status, body=body, content_type="application/xml")
    if replies.get("connection") == "close":
        response.force_close()
    return response
