"""Which connections cannot have survived an outage, although nobody told them that they are dead.

Rules of this file: what the monitor says of connections that were silent since a certain moment is done here to single
requests (`Wire.call`) and to connections that wait for their next one; bodies of many parts: `transfer/parts.py`.
"""

from __future__ import annotations

import socket
import struct
import time
from typing import Any

import pycurl

from hypersdk import errors
from hypersdk.network import NetworkMonitor
from hypersdk.wire.exchange import Exchange

POOLED = 118
"""Seconds for which libcurl reuses a connection that nobody uses (CURLOPT_MAXAGE_CONN's default)."""

DEAD = 5.0
"""Seconds of silence after which a request is given up if connections broke meanwhile; others wait for longer."""

FRESH = 2.0
"""Seconds after connections broke in which none of the pool is used; libcurl counts their ages in whole seconds."""


class Silence:
    """Watches one request: is its silence that of a connection that is dead and does not know it?

    Args:
        monitor: knows when connections broke.
        began: monotonic second of the request.
    """

    def __init__(self, monitor: NetworkMonitor, began: float) -> None:
        self._monitor = monitor
        self._heard = began
        self._moved = 0

    def check(self, exchange: Exchange, now: float) -> None:
        """Look at it; a long silence makes the endpoint be asked, too.

        Raises:
            NetworkError: it is dead.
        """
        if exchange.moved != self._moved:
            self._moved, self._heard = exchange.moved, now
            return
        self._monitor.doubt(now - self._heard)
        broken = self._monitor.down_since is not None or self._heard < self._monitor.broken_before
        if broken and now - self._heard >= DEAD:
            request = exchange.request
            raise errors.NetworkError(
                f"{request.method} {request.resource}: its connection did not survive an outage of the network",
                resource=request.resource,
            )


def pass_over_dead(handle: Any, monitor: NetworkMonitor) -> None:
    """Have a request use no connection of the pool that was idle when connections broke."""
    since = time.monotonic() - monitor.broken_before
    if since < FRESH:
        handle.setopt(pycurl.FRESH_CONNECT, 1)
    elif since < POOLED:
        handle.setopt(pycurl.MAXAGE_CONN, int(since))


def take_back(handle: Any) -> None:
    """Have the connection of a request cut when it is closed, so that what still stands in its buffer is never sent.

    Else the kernel goes on sending after the close, and a part of an upload that was given up may arrive after the try
    that took its place, and replace it behind our back.
    """
    descriptor = handle.getinfo(pycurl.ACTIVESOCKET)
    if descriptor < 0:
        return
    connection = socket.socket(fileno=descriptor)
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    finally:
        connection.detach()
