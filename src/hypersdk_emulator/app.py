"""The server: every request passes here, is logged, routed, checked, perhaps hit by a fault, and answered."""

import json
import traceback
from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import web

from hypersdk_emulator import effects
from hypersdk_emulator.call import Call
from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.connections import Server
from hypersdk_emulator.errors import ServiceError, machine_refuses, not_authorized_or_not_found
from hypersdk_emulator.facts import facts_of
from hypersdk_emulator.identity import access, signers
from hypersdk_emulator.objectstorage import pars
from hypersdk_emulator.replies import NoReply
from hypersdk_emulator.routes import EVERYWHERE, ROUTES
from hypersdk_emulator.routing import Route, Router, operations_of
from hypersdk_emulator.s3 import gate
from hypersdk_emulator.s3.routes import find as find_s3
from hypersdk_emulator.signatures import Principal

OPERATIONS = operations_of(EVERYWHERE)
_ANONYMOUS = Principal("anonymous")


def make_runner(cloud: Cloud, routes: Iterable[Route] = ROUTES) -> web.ServerRunner:
    """What serves one cloud to whoever connects. Call it in a running event loop.

    Args:
        cloud: The cloud.
        routes: Which of its operations; the metadata service and the OKE stand-in have runners of their own.
    """
    router = Router(routes)

    async def serve(request: web.BaseRequest) -> web.StreamResponse:
        return _finished(request, await _serve(cloud, router, request))

    return web.ServerRunner(Server(serve, cloud.log, cloud.options.idle_timeout), shutdown_timeout=1.0)


def _finished(request: web.BaseRequest, response: web.StreamResponse) -> web.StreamResponse:
    """The response with the headers that every reply has."""
    for name, value in request["replies"].items():
        response.headers[name] = value
    if response.status == web.HTTPNoContent.status_code:
        response.headers.pop("content-type", None)
    if request.headers.get("expect") and not request.content.is_eof():
        response.force_close()  # a body that was not asked for may come or not: what follows could be either
    return response


async def _serve(cloud: Cloud, router: Router, request: web.BaseRequest) -> web.StreamResponse:
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
        response = await _answer(cloud, router, request, replies, entry)
    except ServiceError as error:
        response = _error_reply(request, error)
    except ConnectionError:
        response = NoReply()
    except Exception as error:  # noqa: BLE001 - a fault of the emulator must reach the log and the client as a 500
        refusal = machine_refuses(error)
        if refusal is None:
            entry["error"] = traceback.format_exc()
            refusal = ServiceError(500, "InternalServerError", "The emulator failed; see its log")
        response = _error_reply(request, refusal)
    entry["status"] = None if isinstance(response, NoReply) else response.status
    length = response.headers.get("content-length")
    entry["bytes"] = int(length) if length else getattr(response, "content_length", None)
    return response


async def _answer(
    cloud: Cloud, router: Router, request: web.BaseRequest, replies: dict[str, str], entry: dict[str, Any]
) -> web.StreamResponse:
    path = request.raw_path.partition("?")[0]
    if cloud.faults.in_outage(cloud.clock.wall()) and not path.startswith("/_emulator"):
        return NoReply()
    _check_texts(request)
    route, params = _find(router, request, path)
    entry["operation"] = route.operation
    call = Call(request, cloud, route, params, _ANONYMOUS, replies["opc-request-id"], replies=replies)
    if route.auth == "control":
        return await route.handler(call)
    await _authenticate(call)
    fault = cloud.faults.take(await facts_of(call)) if cloud.faults.waiting else None
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


def _check_texts(request: web.BaseRequest) -> None:
    """Refuse headers that are no UTF-8: they could be neither stored nor sent back.

    Raises:
        ServiceError: 400.
    """
    values = b"".join(value for _, value in request.raw_headers)
    if not values.isascii():
        try:
            values.decode()
        except UnicodeDecodeError:
            raise ServiceError(400, "InvalidHeader", "A header is not UTF-8") from None


def _find(router: Router, request: web.BaseRequest, path: str) -> tuple[Route, dict[str, str]]:
    if router.serves_s3 and not path.startswith("/_emulator") and gate.concerns(request):
        request["s3"] = True
        return find_s3(request.method, path, request.query, request.headers)
    return router.find(request.method, path, request.headers)


async def _authenticate(call: Call) -> None:
    """Find out who calls and refuse what that caller may not do.

    Raises:
        ServiceError: 401 without a good signature, 404 for what is not allowed.
    """
    if call.route.auth == "own":
        return
    if call.route.auth == "par":
        call.principal = pars.authorize(call)
    elif call.route.auth == "s3":
        call.principal = gate.authenticate(call)
    elif call.route.auth == "public" and "authorization" not in call.headers:
        return
    else:
        call.principal = await signers.signer(call)
    await _check_rights(call)


async def _check_rights(call: Call) -> None:
    """Refuse what the seed denies to the caller, or what no policy allows; what is public is for everybody.

    Raises:
        ServiceError: 404, for the most part.
    """
    if not call.principal.denied_compartments and not call.principal.may(call.operation, None):
        raise not_authorized_or_not_found()
    try:
        await access.authorize(call)
    except ServiceError:
        if call.route.auth != "public":
            raise
        call.principal = _ANONYMOUS


def _reply_ids(cloud: Cloud, headers: Mapping[str, str]) -> dict[str, str]:
    """The ids that every reply carries: the client's own first, as OCI's `client/stack/individual`."""
    parts = [headers.get("opc-request-id", "").partition("/")[0] or cloud.random.hex("request id").upper()]
    parts += [cloud.random.hex("request id").upper() for _ in range(2)]
    replies = {"opc-request-id": "/".join(parts)}
    if client := headers.get("opc-client-request-id"):
        replies["opc-client-request-id"] = client
    return replies


def _error_reply(request: web.BaseRequest, error: ServiceError) -> web.StreamResponse:
    if request.get("s3"):
        return gate.error_reply(request, error)
    request["replies"].update({name.lower(): value for name, value in error.headers.items()})
    if error.status == web.HTTPNotModified.status_code or request.method == "HEAD":
        response = web.Response(status=error.status)
    else:
        body = json.dumps({"code": error.code, "message": error.message})
        response = web.Response(status=error.status, text=body, content_type="application/json")
    if request["replies"].get("connection") == "close":
        response.force_close()
    return response
