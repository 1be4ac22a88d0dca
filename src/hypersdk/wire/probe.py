"""Does the endpoint answer at all? For the network monitor: same proxy, same CA bundle, no credentials.

Rules of this file: any reply counts, whatever its status; a connection alone does not, because port forwarders and load
balancers accept first and reset when nobody stands behind them. One that stays open without a reply does count: then
the service is slow, and the network is not to blame. So does a proxy that refuses us, and whoever shows a certificate
that nobody vouches for: no waiting changes their minds, and the next call tells what is wrong. A captive portal counts,
too: what it sends is no reply of the service, as the next call finds (`replies.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from hypersdk.model import ConnectionSettings

PROBE_TIMEOUT = 5.0
"""Seconds; a probe stands between a failed call and the decision that the network is down."""

_GATEWAY_FAILURES = frozenset({502, 503, 504})
_REFUSALS = range(400, 500)

_WHY: Mapping[int, str] = {
    5: "the name of the proxy is not known",
    6: "its name is not known",
    7: "no connection",
    28: "no answer",
    35: "no answer in TLS",
    52: "it hangs up",
    56: "it hangs up",
    97: "the proxy does not connect us",
}
"""libcurl's error numbers in words; its own sentences name milliseconds, and change from probe to probe."""


def probe(connection: ConnectionSettings, url: str, *, timeout: float = PROBE_TIMEOUT) -> bool:
    """Whether somebody is there, see `ask`."""
    return ask(connection, url, timeout=timeout) is None


def ask(connection: ConnectionSettings, url: str, *, timeout: float = PROBE_TIMEOUT) -> str | None:
    """Ask the origin of `url` for anything, by the same way as every other call.

    Args:
        connection: proxy, CA bundle.
        url: any URL of the endpoint; only scheme, host and port are used.
        timeout: seconds for all of it.

    Returns:
        Why nobody answered, for people; None = somebody did.
    """
    import pycurl

    from hypersdk.wire.failures import UNTRUSTED
    from hypersdk.wire.handles import set_connection

    parts = urlsplit(url)
    handle = pycurl.Curl()
    try:
        set_connection(handle, connection, url)
        handle.setopt(pycurl.URL, f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/")
        handle.setopt(pycurl.TIMEOUT_MS, int(timeout * 1000))
        handle.setopt(pycurl.NOBODY, 1)
        handle.perform()
        status = handle.getinfo(pycurl.RESPONSE_CODE)
        # A proxy that cannot reach the endpoint says so in its own name.
        return f"the proxy answers {status}" if status in _GATEWAY_FAILURES and connection.proxy_of(url) else None
    except pycurl.error as error:
        code, text = error.args
        slow = code == pycurl.E_OPERATION_TIMEDOUT and handle.getinfo(pycurl.CONNECT_TIME) > 0
        answered = slow or code in UNTRUSTED or handle.getinfo(pycurl.HTTP_CONNECTCODE) in _REFUSALS
        return None if answered else _WHY.get(code, text or f"libcurl error {code}")
    finally:
        handle.close()


def name_of(connection: ConnectionSettings, url: str) -> str:
    """The origin of `url`, and the proxy on the way to it, for people."""
    parts = urlsplit(url)
    name = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    if (proxy := connection.proxy_of(url)) is None:
        return name
    return f"{name} through {proxy.reveal().rpartition('://')[2].rpartition('@')[2]}"
