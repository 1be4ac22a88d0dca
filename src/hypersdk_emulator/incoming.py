"""What a fault does to the body of an upload while it comes in."""

import asyncio
from collections.abc import AsyncIterator

from aiohttp import web

from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.errors import ServiceError
from hypersdk_emulator.faults import Fault
from hypersdk_emulator.spoiling import stalled

UPLOAD_EFFECTS = frozenset({"early-refusal", "cut-request", "stall-request", "drip-request", "flip-request"})
_ENDINGS = ("cut-request", "early-refusal")


async def spoiled(
    cloud: Cloud, request: web.BaseRequest, chunks: AsyncIterator[bytes], fault: Fault
) -> AsyncIterator[bytes]:
    """A request's body as a fault lets it through.

    Raises:
        ServiceError: the declared early refusal.
        ConnectionResetError: the connection is cut here, or the client left a body that stalls.
    """
    effect, at, stop = fault.effect, fault.number("at"), fault.number("afterBytes")
    done = 0
    async for chunk in chunks:
        piece = flipped(chunk, at - done) if effect == "flip-request" else chunk
        done += len(piece)
        if effect == "drip-request":
            await asyncio.sleep(len(piece) / fault.number("bytesPerSecond"))
        elif effect in _ENDINGS and done >= stop:
            end_early(fault)
        elif (
            effect == "stall-request" and done - len(piece) <= stop < done and not await stalled(cloud, request, fault)
        ):
            raise ConnectionResetError("the client left")
        yield piece
    if effect in _ENDINGS:
        end_early(fault)


def end_early(fault: Fault) -> None:
    """Refuse an upload, or cut its connection, before all of it has come.

    Raises:
        ServiceError: the declared early refusal; the connection ends with it.
        ConnectionResetError: the connection is cut.
    """
    if fault.effect == "cut-request":
        raise ConnectionResetError("cut by a declared fault")
    text = "The upload was refused before it was complete"
    raise ServiceError(
        fault.number("status", 400), fault.text("code", "InvalidParameter"), text, {"connection": "close"}
    )


def flipped(data: bytes, at: int) -> bytes:
    """The same with one bit wrong, if it has that byte."""
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] if 0 <= at < len(data) else data
