"""Proxies as the environment names them, by curl's habits (curl.se, "Environment variables"). Pure."""

from __future__ import annotations

from collections.abc import Mapping

LOOPBACK = "localhost,127.0.0.0/8,::1"
"""Never behind a proxy that only the environment names: no proxy can reach this machine's own loopback."""


def proxy_variable(environ: Mapping[str, str], scheme: str) -> str | None:
    """The variable that names the proxy for a scheme; None = none does.

    `HTTP_PROXY` in capitals is not read, as in curl: a CGI request's `Proxy:` header could set it.
    """
    names = {"http": ("http_proxy",), "https": ("https_proxy", "HTTPS_PROXY")}[scheme]
    return next((name for name in (*names, "all_proxy", "ALL_PROXY") if environ.get(name)), None)


def no_proxy(environ: Mapping[str, str], *, from_environment: bool) -> str | None:
    """Hosts to reach directly: `no_proxy`, and loopback when the proxy comes from the environment."""
    named = (environ.get("no_proxy") or environ.get("NO_PROXY") or "").strip()
    if named == "*":
        return named  # curl takes the star only when it stands alone
    parts = [named, LOOPBACK if from_environment else ""]
    return ",".join(part for part in parts if part) or None
