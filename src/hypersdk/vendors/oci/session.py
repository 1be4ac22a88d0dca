"""A signed-in connection to Oracle Cloud: SDK clients for small calls, a `sign` callable for bodies.

Rules of this file: every client and every signature uses the same `ConnectionSettings` (proxy, CA bundle, endpoint,
time-outs); the environment is not looked at again behind them; the SDK's own retries and circuit breaker are off; the
SDK is imported when a session is opened, not before.
"""

from __future__ import annotations

import importlib
import ipaddress
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from hypersdk import errors
from hypersdk.model import ConnectionSettings
from hypersdk.vendors.oci import regions
from hypersdk.vendors.oci.credentials import API_KEY, SECURITY_TOKEN, OciSettings, places
from hypersdk.vendors.oci.keys import fingerprint, load_private_key
from hypersdk.vendors.oci.refusals import explain_not_authenticated
from hypersdk.vendors.oci.tokens import SessionToken, check_not_expired, read_session_token

CLIENTS: Mapping[str, str] = {
    "ComputeClient": "oci.core",
    "BlockstorageClient": "oci.core",
    "VirtualNetworkClient": "oci.core",
    "IdentityClient": "oci.identity",
    "WorkRequestClient": "oci.work_requests",
    "LimitsClient": "oci.limits",
    "ObjectStorageClient": "oci.object_storage",
}
"""SDK client class -> module that has it."""

SIGNATURE_LIFE = 60.0
"""Seconds for which the signature of one (method, URL) is used again. OCI tolerates 5 minutes; Range is not signed."""

SIGNATURES_KEPT = 512
"""Signatures remembered at once; a download signs one URL, so this is never the limit of one."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class OciSession:
    """One set of credentials in one region; made by `open_session`. Safe to use from several threads.

    Attributes:
        settings: what it was opened with.
        region: full region name ("us-ashburn-1"); empty only with an endpoint and no region.
        tenancy_id: OCID of the account.
        kind: "api_key" or "security_token".
        connection: proxy, CA bundle, endpoint and time-outs of everything that this session does.
        object_storage_url: base URL of Object Storage, without a trailing slash.
        key_fingerprint: fingerprint of the key that signs.
    """

    def __init__(
        self,
        settings: OciSettings,
        key: RSAPrivateKey,
        token: SessionToken | None,
        *,
        now: Callable[[], datetime] = _utc_now,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        assert settings.tenancy_ocid is not None
        assert settings.auth is not None
        self.settings = settings
        self.region = regions.expand(settings.region) if settings.region else ""
        self.tenancy_id: str = settings.tenancy_ocid
        self.kind: str = settings.auth
        self.connection: ConnectionSettings = settings.connection
        self.object_storage_url = settings.connection.endpoint or regions.object_storage_url(self.region)
        self._now = now
        self._clock = clock
        self._lock = threading.Lock()
        self._clients: dict[str, Any] = {}
        self._signatures: dict[tuple[str, str], tuple[float, dict[str, str]]] = {}
        self._last_date: tuple[str, datetime] | None = None
        self._use(key, token)

    def _use(self, key: RSAPrivateKey, token: SessionToken | None) -> None:
        self.key_fingerprint = fingerprint(key)
        self._token = token
        self._signer = _signer(self.settings, key, token)
        self._signatures.clear()

    def client(self, cls_name: str) -> Any:
        """The SDK's client of that class name; made once.

        Args:
            cls_name: a key of `CLIENTS`.
        """
        with self._lock:
            if cls_name not in self._clients:
                self._clients[cls_name] = self._new_client(cls_name)
            return self._clients[cls_name]

    def _new_client(self, cls_name: str) -> Any:
        from oci.circuit_breaker import NoCircuitBreakerStrategy
        from oci.retry import NoneRetryStrategy

        connection = self.connection
        # The SDK checks that an API key's facts are there, even though the signer is made already.
        config = {
            "tenancy": self.tenancy_id,
            "user": self.settings.user_ocid,
            "fingerprint": self.key_fingerprint,
            "key_file": self.settings.private_key_path or "given as text",
            "region": self.region,
            "additional_user_agent": "hypersdk",
        }
        client = getattr(importlib.import_module(CLIENTS[cls_name]), cls_name)(
            config,
            signer=self._signer,
            service_endpoint=connection.endpoint,
            timeout=(connection.connect_timeout, connection.read_timeout),
            retry_strategy=NoneRetryStrategy(),
            circuit_breaker_strategy=NoCircuitBreakerStrategy(),
        )
        base = client.base_client
        _connect_as_asked(base.session, connection, base.get_endpoint())
        base.session.hooks["response"].append(self._remember_date)
        return client

    def _remember_date(self, response: Any, *_args: Any, **_kwargs: Any) -> None:
        if date := response.headers.get("date"):
            self._last_date = (date, self._now())

    def sign(self, method: str, url: str, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Sign a request that moves a body: date, (request-target) and host only (GET, HEAD, PutObject, UploadPart).

        Args:
            method: "GET", "PUT", ...
            url: exactly as it goes on the wire; it is signed without re-encoding.
            headers: further headers; they are not signed.

        Returns:
            All headers to send, names in lower case. The part of reads is used again for a minute.
        """
        repeatable = method in {"GET", "HEAD"}
        signed = self._signature(method, url) if repeatable else self._new_signature(method, url)
        return {**{name.lower(): value for name, value in headers.items()}, **signed}

    def _signature(self, method: str, url: str) -> dict[str, str]:
        with self._lock:
            made, signed = self._signatures.get((method, url), (0.0, {}))
            if signed and self._clock() - made < SIGNATURE_LIFE:
                return signed
            signed = self._new_signature(method, url)
            if len(self._signatures) >= SIGNATURES_KEPT:
                self._signatures.clear()
            self._signatures[(method, url)] = (self._clock(), signed)
            return signed

    def _new_signature(self, method: str, url: str) -> dict[str, str]:
        parts = urlsplit(url)
        # The SDK's signer takes a request of its HTTP library; such a request re-encodes the URL, this one does not.
        request = SimpleNamespace(
            method=method,
            url=url,
            path_url=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
            headers={},
            body=None,
        )
        self._signer.without_content_headers(request)
        return {name: request.headers[name] for name in ("date", "host", "authorization")}

    def refresh(self) -> bool:
        """Read token and key anew, as `oci session refresh` may have replaced them.

        Returns:
            True if the token is another one now; always False for an API key.
        """
        if self._token is None:
            return False
        token = read_session_token(self.settings)
        if token.text == self._token.text:
            return False
        check_not_expired(token, self.settings, self._now())
        key = load_private_key(self.settings)
        with self._lock:
            self._use(key, token)
            for client in self._clients.values():
                client.base_client.signer = self._signer
        return True

    def explain_not_authenticated(self, reply_date: str | None = None) -> str:
        """Say in one line what most likely made the service answer 401, and what to do.

        Args:
            reply_date: the reply's `Date` header; None = that of the last reply to a client of this session.
        """
        date, now = (reply_date, self._now()) if reply_date else (self._last_date or (None, self._now()))
        expires = self._token.expires if self._token else None
        return explain_not_authenticated(
            self.settings, date, now, key_fingerprint=self.key_fingerprint, expires=expires
        )

    def explain_unreachable(self) -> str | None:
        """What may be wrong when no host answers: a region that nobody knows, with the nearest known one."""
        if self.connection.endpoint or not (near := regions.nearest(self.region)):
            return None
        return f"region {self.region!r} ({self.settings.where('region')}) is not known here; did you mean {near!r}?"


def open_session(settings: OciSettings, *, now: Callable[[], datetime] = _utc_now) -> OciSession:
    """Sign in with these settings; no request is made.

    Args:
        settings: who, where, how.
        now: this machine's clock.

    Raises:
        ConfigError: switched off, or something is missing; names it and the places where it may come from.
        AuthError: the key or token cannot be used.
    """
    if settings.enabled is False:
        raise errors.ConfigError(
            f"Oracle Cloud is switched off: {settings.where('enabled')} is false", hint="set oci.enabled to true"
        )
    if settings.auth is None:
        settings = replace(settings, auth=API_KEY)
    _require("tenancy_ocid", settings.tenancy_ocid, settings)
    if settings.auth != SECURITY_TOKEN:
        _require("user_ocid", settings.user_ocid, settings)
    if not settings.connection.endpoint:
        _require("region", settings.region, settings)
    token = read_session_token(settings) if settings.auth == SECURITY_TOKEN else None
    if token is not None:
        check_not_expired(token, settings, now())
    key = load_private_key(settings)
    if settings.auth == API_KEY:
        _check_fingerprint(settings, fingerprint(key))
    return OciSession(settings, key, token, now=now)


def _require(key: str, value: str | None, settings: OciSettings) -> None:
    if value:
        return
    found = ", ".join(f"[{name}]" for name in settings.profiles)
    raise errors.ConfigError(
        f"no {key}: nothing names it",
        hint=f"it may come from {places(key, settings)}" + (f"; profiles there: {found}" if found else ""),
    )


def _check_fingerprint(settings: OciSettings, computed: str) -> None:
    if settings.fingerprint is None or settings.fingerprint == computed:
        return
    source = "key_content" if settings.key_content is not None else "private_key_path"
    key = settings.private_key_path if settings.key_content is None else "the key"
    raise errors.AuthError(
        f"{settings.where('fingerprint')}: fingerprint {settings.fingerprint} is not that of {key} "
        f"({settings.where(source)}), which is {computed}",
        hint="correct the one that is wrong; without a fingerprint it is computed from the key",
    )


def _signer(settings: OciSettings, key: RSAPrivateKey, token: SessionToken | None) -> Any:
    if token is not None:
        from oci.auth.signers import SecurityTokenSigner

        return SecurityTokenSigner(token.text.reveal(), key)
    from cryptography.hazmat.primitives import serialization
    from oci.signer import Signer

    # The SDK's signer takes no opened key, only its text.
    opened = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Signer(settings.tenancy_ocid, settings.user_ocid, fingerprint(key), None, private_key_content=opened)


def _connect_as_asked(session: Any, connection: ConnectionSettings, endpoint: str) -> None:
    """Give the SDK's HTTP session our proxy and CA bundle, and nothing from the environment.

    With `trust_env` its HTTP library would let REQUESTS_CA_BUNDLE and *_proxy override what was asked for.
    """
    import certifi

    session.trust_env = False
    session.verify = connection.ca_bundle or certifi.where()
    # The service never redirects; a captive portal does, and must not be taken for the service.
    session.max_redirects = 0
    host = urlsplit(endpoint).hostname or ""
    if connection.proxy is not None and not bypasses_proxy(host, connection.no_proxy):
        session.proxies = {"all": connection.proxy.reveal()}


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
