"""The emulator's own calls under `/_emulator/`: seed, clock, faults, log, leftovers, session tokens.

They carry no signature but the token that the emulator printed at its start. A web page in the same machine's browser
must not reach them, so a request with an `Origin` header, or with a `Host` that is not loopback, is refused.
"""

import ipaddress
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from hypersdk_emulator import inspection
from hypersdk_emulator.blockstorage import data
from hypersdk_emulator.call import Call
from hypersdk_emulator.errors import ServiceError, invalid_parameter
from hypersdk_emulator.faultrules import FaultError
from hypersdk_emulator.fields import text
from hypersdk_emulator.identity import resourceprincipals, tokens, workload
from hypersdk_emulator.objectstorage import ageing
from hypersdk_emulator.routing import Handler, Route
from hypersdk_emulator.seeds import seeding
from hypersdk_emulator.seeds.node import SeedError
from hypersdk_emulator.seeds.seed import Reader

MAX_ADVANCE_SECONDS = 100 * 365 * 86400
MIN_TOKEN_SECONDS, MAX_TOKEN_SECONDS = 1, 3600
MAX_PEM = 16384


def _guarded(handler: Callable[[Call], Awaitable[web.StreamResponse]]) -> Handler:
    async def guarded(call: Call) -> web.StreamResponse:
        _guard(call)
        return await handler(call)

    return guarded


def _guard(call: Call) -> None:
    """Refuse what is not a local tool with the token.

    Raises:
        ServiceError: 403 for a web page or a foreign host, 401 without the token.
    """
    if call.header("origin") is not None:
        raise ServiceError(403, "NotAllowed", "Control calls are not for web pages: the request has an Origin header")
    if not _is_loopback(call.header("host") or ""):
        raise ServiceError(403, "NotAllowed", "Control calls are taken on a loopback host only")
    scheme, _, token = (call.header("authorization") or "").partition(" ")
    if scheme.lower() != "bearer" or not call.cloud.is_control_token(token):
        raise ServiceError(401, "NotAuthenticated", "Control calls need the token printed at the start: Bearer TOKEN")


def _is_loopback(host: str) -> bool:
    """True for `localhost` and loopback addresses, with or without a port."""
    name = host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


async def put_seed(call: Call) -> web.StreamResponse:
    """Add a seed to the cloud; the files that it names must lie below the seed root."""
    root = call.cloud.options.seed_root
    body = await call.json()
    if root is None and _names_files(body):
        raise invalid_parameter("the seed names files, but the emulator was started without --seed-root")
    try:
        seed = Reader(root or call.cloud.options.state, root).read(body)
        await seeding.apply(call.cloud, seed)
    except SeedError as error:
        raise invalid_parameter(str(error)) from error
    return call.reply({})


def _names_files(value: Any) -> bool:
    """True if any object inside has a key `file`."""
    if isinstance(value, dict):
        return "file" in value or any(_names_files(each) for each in value.values())
    return isinstance(value, list) and any(_names_files(each) for each in value)


async def reset_cloud(call: Call) -> web.StreamResponse:
    """Empty the cloud, for the next test; see `Cloud.reset`."""
    await call.cloud.reset()
    return call.reply({})


async def advance_clock(call: Call) -> web.StreamResponse:
    """Move the virtual clock forward by `advanceSeconds`."""
    body = await call.json()
    seconds = body.get("advanceSeconds")
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 <= seconds <= MAX_ADVANCE_SECONDS:
        raise invalid_parameter("advanceSeconds must be a number from 0")
    try:
        call.cloud.clock.advance(float(seconds))
    except ValueError as error:
        raise invalid_parameter(f"advanceSeconds: {error}") from None
    ageing.catch_up_all(call.cloud)
    return call.reply({"now": call.cloud.clock.now().isoformat()})


async def declare_fault(call: Call) -> web.StreamResponse:
    """Declare one fault; the reply shows it with its id."""
    try:
        fault = call.cloud.faults.declare(json.loads(await call.raw() or b"null"))
    except (FaultError, ValueError) as error:
        raise invalid_parameter(str(error)) from None
    return call.reply(fault.as_json())


async def list_faults(call: Call) -> web.StreamResponse:
    """All declared faults with what became of them."""
    return call.reply({"faults": call.cloud.faults.listing()})


async def drop_faults(call: Call) -> web.StreamResponse:
    """Drop all faults and let go on what they hold."""
    call.cloud.faults.clear()
    call.cloud.holds.release()
    return call.reply({})


async def release_holds(call: Call) -> web.StreamResponse:
    """Let the calls held by one fault (`id`) or by any (`all`) go on."""
    body = await call.json()
    if body.get("all") is True:
        return call.reply({"released": call.cloud.holds.release()})
    fault_id = text(body, "id")
    if call.cloud.faults.get(fault_id) is None:
        raise invalid_parameter(f"id: there is no fault {fault_id}")
    return call.reply({"released": call.cloud.holds.release(fault_id)})


async def read_log(call: Call) -> web.StreamResponse:
    """The requests so far in order, filtered by the query; see `inspection.requests`."""
    return call.reply({"requests": inspection.requests(call.cloud, call.query)})


async def list_leftovers(call: Call) -> web.StreamResponse:
    """What runs left behind; see `inspection.leftovers`."""
    return call.reply(inspection.leftovers(call.cloud))


async def issue_session_token(call: Call) -> web.StreamResponse:
    """A session token for a user and a public key, as `oci session authenticate` would get it."""
    body = await call.json()
    seconds = body.get("ttlSeconds", MAX_TOKEN_SECONDS)
    if not isinstance(seconds, int) or not MIN_TOKEN_SECONDS <= seconds <= MAX_TOKEN_SECONDS:
        raise invalid_parameter(f"ttlSeconds must be a whole number from {MIN_TOKEN_SECONDS} to {MAX_TOKEN_SECONDS}")
    pem = text(body, "publicKeyPem", MAX_PEM)
    return call.reply({"token": tokens.issue_session(call.cloud, text(body, "userId"), pem, seconds)})


def _row(operation: str, method: str, name: str, handler: Callable[[Call], Awaitable[web.StreamResponse]]) -> Route:
    return Route(operation, "control", method, f"/_emulator/{name}", _guarded(handler), auth="control")


CONTROL = (
    _row("PutSeed", "PUT", "seed", put_seed),
    _row("ResetCloud", "POST", "reset", reset_cloud),
    _row("AdvanceClock", "POST", "clock", advance_clock),
    _row("DeclareFault", "POST", "faults", declare_fault),
    _row("ListFaults", "GET", "faults", list_faults),
    _row("DropFaults", "DELETE", "faults", drop_faults),
    _row("ReleaseHolds", "POST", "release", release_holds),
    _row("ReadLog", "GET", "log", read_log),
    _row("ListLeftovers", "GET", "leftovers", list_leftovers),
    _row("WriteVolume", "PUT", "volumes/{volumeId}/data", data.write),
    _row("ReadVolume", "GET", "volumes/{volumeId}/data", data.read),
    _row("ListVolumeChanges", "GET", "volumes/{volumeId}/changes", data.changes),
    _row("IssueSessionToken", "POST", "session-token", issue_session_token),
    _row("IssueResourcePrincipal", "POST", "resource-principal", resourceprincipals.issue),
    _row("IssueServiceAccountToken", "POST", "service-account-token", workload.issue_account_token),
)
"""The rows of the control calls in the route table."""
