"""How this room's own HTTP connections are made: our proxy, CA bundle and time-outs, nothing from the environment.

The SDK's HTTP library (a copy of `requests` that ships inside it) serves its clients and the few small requests that
get a token, so that both behave alike.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Any
from urllib.parse import urlsplit

from hypersdk.model import ConnectionSettings


def connect_as_asked(session: Any, connection: ConnectionSettings, url: str, *, direct: bool = False) -> None:
    """Give an HTTP session our proxy and CA bundle.

    With `trust_env` its HTTP library would let REQUESTS_CA_BUNDLE and *_proxy override what was asked for.

    Args:
        session: of the SDK's HTTP library.
        connection: what was asked for.
        url: what it will talk to.
        direct: never through a proxy.
    """
    import certifi

    for scheme in ("https://", "http://"):
        session.mount(scheme, _short_lived(type(session.get_adapter(scheme))))
    session.trust_env = False
    session.verify = connection.ca_bundle or certifi.where()
    # The service never redirects; a captive portal does, and must not be taken for the service.
    session.max_redirects = 0
    host = urlsplit(url).hostname or ""
    proxy = connection.proxy_of(url)
    if proxy is not None and not direct and not bypasses_proxy(host, connection.no_proxy):
        session.proxies = {"all": proxy.reveal()}


SILENT_SECONDS = 15
"""Seconds after which a peer that does not even acknowledge is gone; requests here are small, and quickly sent."""

_OPTIONS = (
    ("IPPROTO_TCP", "TCP_NODELAY", 1),
    ("SOL_SOCKET", "SO_KEEPALIVE", 1),
    ("IPPROTO_TCP", "TCP_KEEPIDLE", SILENT_SECONDS // 2),
    ("IPPROTO_TCP", "TCP_KEEPINTVL", SILENT_SECONDS // 5),
    ("IPPROTO_TCP", "TCP_KEEPCNT", 3),
    ("IPPROTO_TCP", "TCP_USER_TIMEOUT", SILENT_SECONDS * 1000),
)
"""What the kernel is told of a connection (tcp(7)); what a system does not know is left out."""


def _short_lived(adapter: Any) -> Any:
    """An adapter of the SDK's HTTP library whose connections notice when their peer is gone."""
    options = [
        (getattr(socket, level), getattr(socket, name), value)
        for level, name, value in _OPTIONS
        if hasattr(socket, name)
    ]

    class ShortLived(adapter):  # type: ignore[misc]  # the SDK ships no types
        def init_poolmanager(self, *args: Any, **more: Any) -> Any:
            return super().init_poolmanager(*args, socket_options=options, **more)

        def proxy_manager_for(self, proxy: Any, **more: Any) -> Any:
            return super().proxy_manager_for(proxy, socket_options=options, **more)

    return ShortLived()


def bypasses_proxy(host: str, no_proxy: str | None) -> bool:
    """Whether a host is reached directly, by curl's rules (`CURLOPT_NOPROXY`), which `wire` follows by itself.

    Args:
        host: host name or address without port.
        no_proxy: names, suffixes, addresses or networks, separated by commas or blanks; "*" = all.
    """
    entries = (no_proxy or "").replace(",", " ").split()
    return any(entry == "*" or _covers(entry.lower(), host.lower().rstrip(".")) for entry in entries)


def _covers(entry: str, host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = entry.strip(".")
        return bool(name) and (host == name or host.endswith("." + name))
    try:
        return address in ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return False
