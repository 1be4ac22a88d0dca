"""Does the endpoint answer at all? For the network monitor: same proxy, same CA bundle, no credentials."""

from __future__ import annotations

from urllib.parse import urlsplit

from hypersdk.model import ConnectionSettings

PROBE_TIMEOUT = 5.0
"""Seconds; a probe stands between a failed call and the decision that the network is down."""

_GATEWAY_FAILURES = frozenset({502, 503, 504})


def probe(connection: ConnectionSettings, url: str, *, timeout: float = PROBE_TIMEOUT) -> bool:
    """Connect to the origin of `url` as every other call does.

    Args:
        connection: proxy, CA bundle.
        url: any URL of the endpoint; only scheme, host and port are used.
        timeout: seconds for all of it.

    Returns:
        Whether a connection (with TLS, where the endpoint speaks TLS) could be made.
    """
    import pycurl

    from hypersdk.wire.handles import set_connection

    parts = urlsplit(url)
    handle = pycurl.Curl()
    try:
        set_connection(handle, connection)
        handle.setopt(pycurl.URL, f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/")
        handle.setopt(pycurl.TIMEOUT_MS, int(timeout * 1000))
        if parts.scheme == "http" and connection.proxy is not None:
            # Without a tunnel only a request tells whether the proxy reaches the endpoint.
            handle.setopt(pycurl.NOBODY, 1)
        else:
            handle.setopt(pycurl.CONNECT_ONLY, 1)
        handle.perform()
        return handle.getinfo(pycurl.RESPONSE_CODE) not in _GATEWAY_FAILURES
    except pycurl.error:
        return False
    finally:
        handle.close()
