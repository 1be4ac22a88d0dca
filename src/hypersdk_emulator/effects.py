"""What a declared fault does to a call, whatever the call is: before it takes effect, and to its reply."""

import asyncio

from aiohttp import web

from hypersdk_emulator import lists
from hypersdk_emulator.call import Call
from hypersdk_emulator.errors import ServiceError
from hypersdk_emulator.faults import Fault
from hypersdk_emulator.objectstorage.objects import replace_object
from hypersdk_emulator.replies import NoReply
from hypersdk_emulator.spoiling import discard, spoil

HTML = "<html><head><title>Welcome</title></head><body>Please log in to the network.</body></html>"


async def before(call: Call, fault: Fault) -> web.StreamResponse | None:
    """Apply what happens before the call takes effect; a returned response stands for the whole call.

    Raises:
        ServiceError: The declared error.
    """
    match fault.effect:
        case "error":
            message = fault.text("message", "A fault was declared for this call")
            raise ServiceError(fault.number("status"), fault.text("code"), message, fault.headers)
        case "not-modified":
            raise ServiceError(304, "NotModified", "")
        case "html":
            call.request["replies"].clear()  # the page is not the service's
            status = fault.number("status", 200)
            return web.Response(status=status, text=HTML, content_type="text/html", headers=fault.headers)
        case "redirect":
            call.request["replies"].clear()
            where = fault.text("to").rstrip("/") + call.request.raw_path
            return web.Response(status=fault.number("status", 307), headers={"location": where})
        case "reset" if "afterBytes" not in fault.declared:
            return NoReply()
        case "outage":
            call.cloud.begin_outage(fault)
            return NoReply()
        case "delay":
            await asyncio.sleep(fault.seconds)
        case "hold-before":
            await call.cloud.holds.wait(fault)
        case "object-replaced":
            await replace_object(call)
    return None


async def after(call: Call, fault: Fault, response: web.StreamResponse) -> web.StreamResponse:
    """Apply what happens after the call took effect and before its reply is sent."""
    if fault.effect == "lost-response":
        discard(response)
        return NoReply()
    if fault.effect == "hold":
        await call.cloud.holds.wait(fault)
    if fault.effect in lists.LIST_EFFECTS:
        return lists.spoiled(call, fault, response)
    return spoil(call.cloud, response, fault)
