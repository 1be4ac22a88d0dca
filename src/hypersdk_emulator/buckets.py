"""Namespace and buckets."""

from aiohttp import web

from hypersdk_emulator.call import Call


async def get_namespace(call: Call) -> web.StreamResponse:
    """The namespace, a bare JSON string."""
    return call.reply(call.cloud.settings.namespace)
