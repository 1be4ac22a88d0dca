"""What a declared fault does to a call, whatever the call is. Spoiled bodies are in `replies.py`."""

import asyncio

from aiohttp import web

from hypersdk_emulator.call import Call
from hypersdk_emulator.errors import ServiceError
from hypersdk_emulator.faults import Fault
from hypersdk_emulator.replies import BODY_EFFECTS, NoReply, SpoiledReply

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
        case "html":
            return web.Response(text=HTML, content_type="text/html")
        case "reset":
            return NoReply()
        case "outage":
            call.cloud.begin_outage(fault)
            return NoReply()
        case "delay":
            await asyncio.sleep(fault.seconds)
        case "hold-before":
            await call.cloud.holds.wait(fault)
    return None


async def after(call: Call, fault: Fault, response: web.StreamResponse) -> web.StreamResponse:
    """Apply what happens after the call took effect and before its reply is sent."""
    if fault.effect == "lost-response":
        return NoReply()
    if fault.effect == "hold":
        await call.cloud.holds.wait(fault)
    if fault.effect in BODY_EFFECTS and isinstance(response, web.Response):
        return SpoiledReply(call.cloud, response, fault)
    return response
