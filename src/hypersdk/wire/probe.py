"""Does the endpoint answer at all? For the network monitor: same proxy, same CA bundle, no credentials.

Rules of this file: any reply counts, whatever its status; a connection alone does not, because port forwarders and load
balancers accept first and reset when nobody stands behind them. One that stays open without a reply does count: then
the service is slow, and the network is not to blame. So does a proxy that refuses us: no waiting changes its mind.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from hypersdk.model import ConnectionSettings

PROBE_TIMEOUT = 5.0
"""Seconds; a probe stands between a failed call and the decision that the network is down."""

_GATEWAY_FAILURES = frozenset({502, 503, 504})
_REFUSALS = range(400, 500)


def probe(connection: ConnectionSettings, url: str, *, timeout: float = PROBE_TIMEOUT) -> bool:
    """Ask the origin of `url` for anything, by the same way as every other call.

    Args:
        connection: proxy, CA bundle.
        url: any URL of the endpoint; only scheme, host and port are used.
        timeout: seconds for all of it.

    Returns:
        Whether somebody is there.
    """
    import pycurl

    from hypersdk.wire.handles import set_connection

    parts = urlsplit(url)
    handle = pycurl.Curl()
    try:
        set_connection(handle, connection, url)
        handle.setopt(pycurl.URL, f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/")
        handle.setopt(pycurl.TIMEOUT_MS, int(timeout * 1000))
        handle.setopt(pycurl.NOBODY, 1)
        handle.perform()
        # A proxy that cannot reach the endpoint says so in its own name.
        return connection.proxy_of(url) is None or handle.getinfo(pycurl.RESPONSE_CODE) not in _GATEWAY_FAILURES
    except pycurl.error as error:
        silent = error.args[0] == pycurl.E_OPERATION_TIMEDOUT and handle.getinfo(pycurl.PRETRANSFER_TIME) > 0
        return bool(silent) or handle.getinfo(pycurl.HTTP_CONNECTCODE) in _REFUSALS
    finally:
        handle.close()
