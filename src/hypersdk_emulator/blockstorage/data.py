"""Control calls that stand for the guest's reads and writes, since no guest runs here."""

from collections.abc import Mapping

from aiohttp import web

from hypersdk_emulator.blockstorage.extents import BLOCK
from hypersdk_emulator.blockstorage.flatten import make_readable
from hypersdk_emulator.blockstorage.records import DATA_ATTACHMENT, find_volume, layers, must_be_whole, must_exist
from hypersdk_emulator.blockstorage.state import BYTES_PER_GB, AttachmentState, conflict
from hypersdk_emulator.call import Call
from hypersdk_emulator.errors import ServiceError, invalid_parameter
from hypersdk_emulator.qemu import DiskError
from hypersdk_emulator.resources import Resource, find_resource

MAX_READ = 16 << 20
"""Bytes of one read; a write may have as many as any small body."""


async def write(call: Call) -> web.StreamResponse:
    """PUT data: the body's bytes at `offset`; with `attachmentId` as the instance that it belongs to."""
    offset, data = _number(call.query, "offset", 0), await call.raw()
    volume = _volume(call)
    _check_attachment(call, volume, writing=True)
    must_be_whole(volume, "written to")
    if offset + len(data) > volume.doc["sizeInGBs"] * BYTES_PER_GB:
        raise invalid_parameter(f"offset {offset}: {len(data)} bytes end behind the volume")
    await _ready(call, volume)
    layers(call.cloud).write(volume.id, offset, data)
    return call.reply({})


async def read(call: Call) -> web.StreamResponse:
    """GET data: `length` bytes from `offset`."""
    offset, length = _number(call.query, "offset", 0), _number(call.query, "length", BLOCK)
    volume = _volume(call)
    _check_attachment(call, volume, writing=False)
    size = volume.doc["sizeInGBs"] * BYTES_PER_GB
    if length > MAX_READ or offset + length > size:
        raise invalid_parameter(f"length must be at most {MAX_READ}, and the range end in the volume's {size} bytes")
    await _ready(call, volume)
    store = layers(call.cloud)
    body = store.read(store.top(volume.id).id, offset, length)
    return web.Response(body=body, content_type="application/octet-stream")


async def changes(call: Call) -> web.StreamResponse:
    """GET changes: of a volume made of two backups, what changed between them, in bytes, in whole changed blocks."""
    volume = _volume(call)
    if "delta" not in volume.doc:
        raise invalid_parameter(f"The volume {volume.id} is not made of two backups")
    first, second = volume.doc["delta"]
    changed = layers(call.cloud).changed(first, second)
    assert changed is not None, "the layers between two backups are held"
    size = volume.doc["sourceDetails"]["changeBlockSizeInBytes"]
    extents = [{"offset": a * BLOCK, "length": (b - a) * BLOCK} for a, b in changed.rounded(size // BLOCK)]
    return call.reply({"changeBlockSizeInBytes": size, "extents": extents})


async def _ready(call: Call, volume: Resource) -> None:
    """Wait until every layer of the volume can be read.

    Raises:
        ServiceError: 404 it was deleted meanwhile, 400 its seed's file is no such disk.
    """
    store = layers(call.cloud)
    top = store.top(volume.id).id
    if store.qcow2s(top):
        try:
            with store.reading(top):
                await make_readable(store, top)
        except DiskError as error:
            raise invalid_parameter(f"The disk below {volume.id} cannot be read: {error}") from None
    _volume(call)


def _volume(call: Call) -> Resource:
    return must_exist(find_volume(call.cloud, call.params["volumeId"]), call.cloud.clock.timestamp())


def _check_attachment(call: Call, volume: Resource, *, writing: bool) -> None:
    """Refuse what the attachment does not allow.

    Raises:
        ServiceError: 404 of another volume, 409 not ATTACHED, 403 read-only.
    """
    attachment_id = call.query.get("attachmentId")
    if attachment_id is None:
        return
    attachment = find_resource(call.cloud.db, DATA_ATTACHMENT, attachment_id)
    if attachment.doc["volumeId"] != volume.id:
        raise invalid_parameter(f"attachmentId: {attachment_id} is not of the volume {volume.id}")
    state = attachment.state(call.cloud.clock.timestamp())
    if state != AttachmentState.ATTACHED:
        raise conflict(f"The attachment {attachment_id} is {state}")
    if writing and attachment.doc["isReadOnly"]:
        raise ServiceError(403, "NotAllowed", f"The attachment {attachment_id} is read-only")


def _number(query: Mapping[str, str], name: str, default: int) -> int:
    value = query.get(name, str(default))
    if not value.isascii() or not value.isdigit():
        raise invalid_parameter(f"{name} must be a number of bytes from 0")
    return int(value)
