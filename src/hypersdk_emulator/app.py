"""The server: every request passes here, is logged, routed, checked, perhaps hit by a fault, and answered."""

import base64
import hashlib
import json
import traceback
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from hypersdk_emulator import effects
from hypersdk_emulator.call import Call
from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.connections import Server
from hypersdk_emulator.errors import ServiceError, not_authenticated, not_authorized_or_not_found
from hypersdk_emulator.identity import users
from hypersdk_emulator.objectstorage import pars
from hypersdk_emulator.replies import LastReply, NoReply
from hypersdk_emulator.routes import ROUTES
from hypersdk_emulator.routing import Router
from hypersdk_emulator.signatures import BODY_HEADERS, Principal, SignatureRefused, Signed, verify

OPERATIONS = frozenset(route.operation for route in ROUTES if route.auth != "control")
_ANONYMOUS = Principal("anonymous")
_OBJECT_KEYS = ("objectName", "object", "sourceName", "sourceObjectName")
_ROUTER = Router(ROUTES)


def make_runner(cloud: Cloud) -> web.ServerRunner:
    """What serves one cloud to whoever connects. Call it in a running event loop."""

    async def serve(request: web.BaseRequest) -> web.StreamResponse:
        return _finished(request, await _serve(cloud, request))

    return web.ServerRunner(Server(serve, cloud.log, cloud.options.idle_timeout), shutdown_timeout=1.0)


def _finished(request: web.BaseRequest, response: web.StreamResponse) -> web.StreamResponse:
    """The response with the headers that every reply has."""
    for name, value in request["replies"].items():
        response.headers[name] = value
    if response.status == web.HTTPNoContent.status_code:
        response.headers.pop("content-type", None)
    return response


async def _serve(cloud: Cloud, request: web.BaseRequest) -> web.StreamResponse:
    path = request.raw_path.partition("?")[0]
    replies = request["replies"] = _reply_ids(cloud, request.headers)
    entry = cloud.log.begin(
        {
            "at": cloud.clock.wall(),
            "operation": None,
            "method": request.method,
            "path": request.raw_path,
            "status": None,
            "range": request.headers.get("range"),
            "bytes": None,
            "client": request.headers.get("user-agent"),
            "requestId": replies["opc-request-id"],
        }
    )
    request["entry"] = entry
    try:
        response = await _answer(cloud, request, path, replies, entry)
    except ServiceError as error:
        response = _error_reply(request, error)
    except ConnectionError:
        response = NoReply()
    except Exception:  # noqa: BLE001 - a fault of the emulator must reach the log and the client as a 500
        entry["error"] = traceback.format_exc()
        response = _error_reply(request, ServiceError(500, "InternalServerError", "The emulator failed; see its log"))
    entry["status"] = None if isinstance(response, NoReply) else response.status
    length = response.headers.get("content-length")
    entry["bytes"] = int(length) if length else getattr(response, "content_length", None)
    return response


async def _answer(
    cloud: Cloud, request: web.BaseRequest, path: str, replies: dict[str, str], entry: dict[str, Any]
) -> web.StreamResponse:
    if cloud.faults.in_outage(cloud.clock.wall()) and not path.startswith("/_emulator"):
        return NoReply()
    route, params = _ROUTER.find(request.method, path, request.headers)
    entry["operation"] = route.operation
    call = Call(request, cloud, route, params, _ANONYMOUS, replies["opc-request-id"], replies=replies)
    if route.auth == "control":
        return await route.handler(call)
    await _authenticate(call)
    fault = cloud.faults.take(route.operation, path=path, object_name=await _object_name(call))
    if fault is None:
        return await route.handler(call)
    entry["fault"] = fault.id
    call.fault = fault
    instead = await effects.before(call, fault)
    if instead is not None:
        return instead
    try:
        response = await route.handler(call)
    except ServiceError as error:
        response = _error_reply(request, error)
    return await effects.after(call, fault, response)


async def _object_name(call: Call) -> str:
    """The object that a call is about: in its path, or in the JSON of calls such as ExportImage and RenameObject."""
    if "object" in call.params or not call.route.body_signed or call.request.method != "POST":
        return call.params.get("object", "")
    try:
        body = json.loads(await call.raw() or b"{}")
    except ValueError:
        return ""
    names = (body.get(key) for key in _OBJECT_KEYS) if isinstance(body, dict) else ()
    return next((name for name in names if isinstance(name, str)), "")


async def _authenticate(call: Call) -> None:
    """Find out who calls and refuse what that caller may not do.

    Raises:
        ServiceError: 401 without a good signature, 404 for what is not allowed.
    """
    if call.route.auth == "par":
        call.principal = pars.authorize(call)
    elif call.route.auth == "public" and "authorization" not in call.headers:
        return
    else:
        call.principal = await _signer(call)
    if not call.principal.denied_compartments and not call.principal.may(call.operation, None):
        raise not_authorized_or_not_found()


async def _signer(call: Call) -> Principal:
    """Who signed.

    Raises:
        ServiceError: 401; the reason is in the log only.
    """
    try:
        return await _checked_signer(call)
    except SignatureRefused as refused:
        call.request["entry"]["refused"] = str(refused)
        raise not_authenticated(call.route.service) from None


async def _checked_signer(call: Call) -> Principal:
    request = call.request
    body_signed = call.route.body_signed and request.method in ("POST", "PUT", "PATCH")
    headers = {name.lower(): value for name, value in request.headers.items()}
    signed = Signed(request.method, request.raw_path, headers, body_signed)
    principal = verify(signed, call.cloud.clock.wall(), lambda key_id: users.find_key(call.cloud, key_id))
    if body_signed:
        assert headers.keys() >= BODY_HEADERS
        digest = base64.b64encode(hashlib.sha256(await call.raw()).digest()).decode()
        if digest != headers["x-content-sha256"]:
            raise SignatureRefused("x-content-sha256 does not fit the body")
    return principal


def _reply_ids(cloud: Cloud, headers: Mapping[str, str]) -> dict[str, str]:
    """The ids that every reply carries: the client's own first, as OCI's `client/stack/individual`."""
    parts = [headers.get("opc-request-id", "").partition("/")[0] or cloud.random.hex("request id").upper()]
    parts += [cloud.random.hex("request id").upper() for _ in range(2)]
    replies = {"opc-request-id": "/".join(parts)}
    if client := headers.get("opc-client-request-id"):
        replies["opc-client-request-id"] = client
    return replies


def _error_reply(request: web.BaseRequest, error: ServiceError) -> web.StreamResponse:
    request["replies"].update({name.lower(): value for name, value in error.headers.items()})
    kind = LastReply if request["replies"].get("connection") == "close" else web.Response
    if error.status == web.HTTPNotModified.status_code or request.method == "HEAD":
        return kind(status=error.status)
    body = json.dumps({"code": error.code, "message": error.message})
    return kind(status=error.status, text=body, content_type="application/json")
