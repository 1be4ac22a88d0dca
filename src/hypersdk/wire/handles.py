"""What every libcurl handle of ours is told: TLS, proxy, timeouts, and no habits of its own.

Rules of this file: every setting comes from `ConnectionSettings` (design rule 13); libcurl reads no environment, no
.netrc, follows no redirect, decodes nothing, and speaks HTTP/1.1, where one connection carries one body at a time.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import certifi
import pycurl

from hypersdk import errors
from hypersdk.model import ConnectionSettings
from hypersdk.wire.exchange import Exchange, header_lines
from hypersdk.wire.failures import Failure, translate

RECEIVE_BUFFER = 512 * 1024
SEND_BUFFER = 512 * 1024

_SUPPRESS_CONNECT_HEADERS = 265
"""CURLOPT_SUPPRESS_CONNECT_HEADERS; pycurl has no name for it. Without it a proxy's reply mixes with the service's."""


def ca_bundle(connection: ConnectionSettings) -> str:
    """File or directory with the trusted authorities."""
    return connection.ca_bundle or certifi.where()


def set_connection(handle: Any, connection: ConnectionSettings, url: str) -> None:
    """Tell a handle how to reach what a URL names."""
    handle.setopt(pycurl.NOSIGNAL, 1)
    handle.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
    handle.setopt(pycurl.FOLLOWLOCATION, 0)
    handle.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
    handle.setopt(pycurl.TCP_KEEPALIVE, 1)
    handle.setopt(pycurl.CONNECTTIMEOUT_MS, max(1, int(connection.connect_timeout * 1000)))
    handle.setopt(pycurl.LOW_SPEED_LIMIT, 1)
    handle.setopt(pycurl.LOW_SPEED_TIME, max(1, math.ceil(connection.read_timeout)))
    handle.setopt(pycurl.USERAGENT, "hypersdk")
    bundle = ca_bundle(connection)
    is_directory = Path(bundle).is_dir()
    handle.setopt(pycurl.CAPATH if is_directory else pycurl.CAINFO, bundle)
    handle.setopt(pycurl.PROXY_CAPATH if is_directory else pycurl.PROXY_CAINFO, bundle)
    _set_proxy(handle, connection, url)


def set_exchange(handle: Any, exchange: Exchange, headers: dict[str, str]) -> None:
    """Tell a handle what to ask, and connect it with its exchange."""
    request = exchange.request
    handle.setopt(pycurl.URL, request.url.reveal())
    # Object names are no path segments: libcurl must not collapse "/o/%2E%2E" into the bucket's address.
    handle.setopt(pycurl.PATH_AS_IS, 1)
    handle.setopt(pycurl.HTTPHEADER, header_lines(headers))
    handle.setopt(pycurl.BUFFERSIZE, RECEIVE_BUFFER)
    handle.setopt(pycurl.HEADERFUNCTION, exchange.on_header)
    handle.setopt(pycurl.WRITEFUNCTION, exchange.on_body)
    if exchange.source is not None or request.method in {"PUT", "POST"}:
        handle.setopt(pycurl.UPLOAD, 1)
        handle.setopt(pycurl.UPLOAD_BUFFERSIZE, SEND_BUFFER)
        handle.setopt(pycurl.INFILESIZE_LARGE, exchange.source.length if exchange.source else 0)
        if exchange.source:
            handle.setopt(pycurl.READFUNCTION, exchange.on_read)
            handle.setopt(pycurl.SEEKFUNCTION, exchange.on_seek)
    if request.method == "HEAD":
        handle.setopt(pycurl.NOBODY, 1)
    else:
        handle.setopt(pycurl.CUSTOMREQUEST, request.method)


def failure_of(
    handle: Any, exchange: Exchange, connection: ConnectionSettings, code: int, text: str
) -> errors.HypersdkError:
    """The error of our tree for libcurl's error `code` on this handle."""
    return translate(
        exchange.request,
        Failure(
            code=code,
            text=text,
            connected=is_connected(handle),
            proxy_status=handle.getinfo(pycurl.HTTP_CONNECTCODE) if not handle.getinfo(pycurl.RESPONSE_CODE) else 0,
            read_timeout=connection.read_timeout,
            ca_bundle=ca_bundle(connection),
        ),
    )


def is_connected(handle: Any) -> bool:
    """Whether a connection stood, TLS included; time-outs of connecting set PRETRANSFER_TIME, too."""
    return bool(handle.getinfo(pycurl.CONNECT_TIME) > 0 or handle.getinfo(pycurl.NUM_CONNECTS) == 0)


def first_byte_after(handle: Any) -> float | None:
    """Seconds from the end of a request without a body to the first byte of the answer; None = none came."""
    answered: float = handle.getinfo(pycurl.STARTTRANSFER_TIME)
    return answered - handle.getinfo(pycurl.PRETRANSFER_TIME) if answered > 0 else None


def _set_proxy(handle: Any, connection: ConnectionSettings, url: str) -> None:
    handle.setopt(_SUPPRESS_CONNECT_HEADERS, 1)
    handle.setopt(pycurl.NOPROXY, connection.no_proxy or "")
    if (secret := connection.proxy_of(url)) is None:
        handle.setopt(pycurl.PROXY, "")  # empty = none, whatever the environment says
        return
    text = secret.reveal()
    proxy = urlsplit(text if "://" in text else f"http://{text}")
    # Credentials go in apart from the address, because libcurl quotes the address in its error messages.
    host = proxy.netloc.rpartition("@")[2]
    handle.setopt(pycurl.PROXY, f"{proxy.scheme}://{host}")
    if proxy.username is not None:
        handle.setopt(pycurl.PROXYUSERNAME, unquote(proxy.username))
        handle.setopt(pycurl.PROXYPASSWORD, unquote(proxy.password or ""))
        handle.setopt(pycurl.PROXYAUTH, pycurl.HTTPAUTH_BASIC)
