"""A signed-in connection to Oracle Cloud: SDK clients for small calls, a `sign` callable for bodies.

Rules of this file: every client and every signature uses the same `ConnectionSettings` (proxy, CA bundle, endpoint,
time-outs) and the same credentials, whatever their kind; the environment is not looked at again behind them; the SDK's
own retries and circuit breaker are off; the SDK is imported when a session is opened, not before.
"""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypersdk import errors
from hypersdk.model import ConnectionSettings
from hypersdk.readers.http import read_date
from hypersdk.retry import Call, run_once
from hypersdk.vendors.oci import regions
from hypersdk.vendors.oci.connecting import connect_as_asked
from hypersdk.vendors.oci.credentials import (
    API_KEY,
    INSTANCE_PRINCIPAL,
    OKE_WORKLOAD_IDENTITY,
    RESOURCE_PRINCIPAL,
    SECURITY_TOKEN,
    OciSettings,
    demand,
)
from hypersdk.vendors.oci.kinds.grant import Credentials, Grant, Who
from hypersdk.vendors.oci.refusals import explain_skew
from hypersdk.vendors.oci.renewal import Renewal
from hypersdk.vendors.oci.signing import sign_request, signer_of_the_moment

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

SIGNING = (
    "auth",
    "tenancy_ocid",
    "user_ocid",
    "fingerprint",
    "private_key_path",
    "key_content",
    "pass_phrase",
    "security_token_file",
)
"""Settings that say what signs; they are read again when it is refused."""

CLOCK_WAS_SET = 1.0
"""Seconds by which time of day and monotonic time may drift apart before somebody has set the clock."""

SIGNATURES_KEPT = 512
"""Signatures remembered at once; a download signs one URL, so this is never the limit of one."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Standing:
    """What is known of some credentials in a region; shared by all sessions of them.

    Attributes:
        accepted: whether the service has accepted them.
        reminded: the end, as its claims name it, of the token that somebody was reminded to renew last.
    """

    accepted: bool = False
    reminded: datetime | None = None


class OciSession:
    """One set of credentials in one region; made by `open_session`. Safe to use from several threads.

    Attributes:
        settings: what it was opened with.
        region: full region name ("us-ashburn-1"); empty only with an endpoint and no region.
        tenancy_id: OCID of the account.
        kind: how it signs in, one of `credentials.AUTH_KINDS`.
        connection: proxy, CA bundle, endpoint and time-outs of everything that this session does.
        object_storage_url: base URL of Object Storage, without a trailing slash.
        broken_before: tells a monotonic second; connections that have been idle since before it are not used again.

    Args:
        settings: who, where, how.
        credentials: what signs.
        call: runs the request, or the few, by which a principal gets its first token.
        now: this machine's time of day.
        clock: monotonic seconds.
        again: reads the settings anew, after a refusal: another process may have changed them; None = they stay.
        standing: that of another session of the same credentials in the same region; None = of its own.

    Raises:
        ConfigError: nobody names the region.
        HypersdkError: the credentials give nothing that signs.
    """

    def __init__(
        self,
        settings: OciSettings,
        credentials: Credentials,
        *,
        call: Call = run_once,
        now: Callable[[], datetime] = _utc_now,
        clock: Callable[[], float] = time.monotonic,
        again: Callable[[], OciSettings] | None = None,
        standing: Standing | None = None,
    ) -> None:
        self.settings = settings
        self.kind = credentials.kind
        self.connection: ConnectionSettings = settings.connection
        self._credentials = credentials
        self._now = now
        self._clock = clock
        self._again = again
        self._standing = standing or Standing()
        self._set_ahead = self._ahead()
        self._lock = threading.Lock()
        self._clients: dict[str, Any] = {}
        self.broken_before: Callable[[], float] = lambda: 0.0
        self._broken = 0.0
        self._signatures: dict[tuple[str, str], tuple[float, Any, dict[str, str]]] = {}
        self._last_date: tuple[str, datetime] | None = None
        self.tenancy_id = ""
        self._renewal = Renewal(credentials, self._took, clock)
        asks = credentials.renewable or standing is not None
        first = call("sign in", self._renewal.current) if asks else self._renewal.current()
        self.region = regions.expand(settings.region) if settings.region else first.who.region or ""
        if not self.region and not settings.connection.endpoint:
            demand("region", settings)
        self.object_storage_url = settings.connection.endpoint or regions.object_storage_url(self.region)

    @property
    def accepted(self) -> bool:
        """Whether the service has accepted a signature of these credentials here."""
        return self._standing.accepted

    @accepted.setter
    def accepted(self, accepted: bool) -> None:
        self._standing.accepted = accepted

    @property
    def standing(self) -> Standing:
        """For a session of the same credentials in another thread."""
        return self._standing

    @property
    def who(self) -> Who:
        """Who signs."""
        return self._last.who

    @property
    def key_fingerprint(self) -> str | None:
        """Fingerprint of the key that signs; None for keys that live only as long as a token."""
        return self._last.fingerprint

    @property
    def expires(self) -> datetime | None:
        """When what signs now ends; it may be renewed before."""
        expires = self._last.expires
        return None if expires is None else datetime.fromtimestamp(expires, UTC)

    def ends_within(self, seconds: float) -> bool:
        """Whether what signs now ends that soon, unless it is renewed."""
        expires = self._last.expires
        return expires is not None and expires - self._now().timestamp() <= seconds

    @property
    def _last(self) -> Grant:
        grant = self._renewal.last
        assert grant is not None, "a session is open only once something signs"
        return grant

    def _took(self, grant: Grant) -> None:
        if self.tenancy_id not in {"", grant.who.tenancy_id}:
            raise errors.AuthError(
                f"the credentials are now those of tenancy {grant.who.tenancy_id}, no longer of {self.tenancy_id}",
                hint="begin anew",
            )
        self.tenancy_id = grant.who.tenancy_id

    def client(self, cls_name: str) -> Any:
        """The SDK's client of that class name; made once.

        Args:
            cls_name: a key of `CLIENTS`.
        """
        with self._lock:
            if (broken := self.broken_before()) != self._broken:
                self._broken = broken
                for client in self._clients.values():
                    client.base_client.session.close()  # what waits in its pool; it can be used again
            if cls_name not in self._clients:
                self._clients[cls_name] = self._new_client(cls_name)
            return self._clients[cls_name]

    def _new_client(self, cls_name: str) -> Any:
        from oci.circuit_breaker import NoCircuitBreakerStrategy
        from oci.retry import NoneRetryStrategy

        connection = self.connection
        client = getattr(importlib.import_module(CLIENTS[cls_name]), cls_name)(
            {"region": self.region, "additional_user_agent": "hypersdk"},
            signer=signer_of_the_moment(lambda: self._renewal.current().signer),
            service_endpoint=connection.endpoint,
            timeout=(connection.connect_timeout, connection.read_timeout),
            retry_strategy=NoneRetryStrategy(),
            circuit_breaker_strategy=NoCircuitBreakerStrategy(),
        )
        base = client.base_client
        connect_as_asked(base.session, connection, base.get_endpoint())
        base.session.hooks["response"].append(self._remember_date)
        return client

    def _remember_date(self, response: Any, *_args: Any, **_kwargs: Any) -> None:
        self.accepted = self.accepted or response.ok
        self.heard(response.headers)

    def heard(self, headers: Mapping[str, str]) -> None:
        """Remember when a reply was sent, by the service's clock; its headers' names are in lower case."""
        if date := headers.get("date"):
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
        signed = (
            self._signature(method, url) if repeatable else sign_request(self._renewal.current().signer, method, url)
        )
        return {**{name.lower(): value for name, value in headers.items()}, **signed}

    def sign_json(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Mapping[str, str]:
        """Sign a request whose JSON body is part of what is signed.

        Args:
            method: "POST", ...
            url: exactly as it goes on the wire; it is signed without re-encoding.
            headers: further headers; they are not signed.
            body: what is sent.

        Returns:
            All headers to send, names in lower case.
        """
        signed = sign_request(self._renewal.current().signer, method, url, body)
        return {**{name.lower(): value for name, value in headers.items()}, **signed}

    def _signature(self, method: str, url: str) -> dict[str, str]:
        signer = self._renewal.current().signer
        with self._lock:
            made, maker, signed = self._signatures.get((method, url), (0.0, None, {}))
            if maker is signer and self._clock() - made < SIGNATURE_LIFE:
                return signed
            signed = sign_request(signer, method, url)
            if len(self._signatures) >= SIGNATURES_KEPT:
                self._signatures.clear()
            self._signatures[(method, url)] = (self._clock(), signer, signed)
            return signed

    def refresh(self) -> bool:
        """The service answered 401: look for other credentials of the same kind.

        Returns:
            True if the next request is signed by others: a principal's token is renewed then (a failure of that is a
            failure of that request), settings, key and session's file have been read anew. Also if this machine's
            clock was set since: what is signed now has another date.

        Raises:
            AuthError: the session in the file has ended, or belongs to another tenancy.
        """
        was_set = abs(self._ahead() - self._set_ahead) > CLOCK_WAS_SET
        self._set_ahead = self._ahead()
        self.forget_signatures()
        self._read_settings_again()
        return self._renewal.refused() or was_set

    def forget_signatures(self) -> None:
        """Sign everything anew from now on."""
        with self._lock:
            self._signatures.clear()

    def _ahead(self) -> float:
        """By how much our time of day is ahead of the time that passes."""
        return self._now().timestamp() - self._clock()

    def _read_settings_again(self) -> None:
        """Look for credentials where the settings say now; settings that cannot be read say nothing."""
        if self._again is None:
            return
        with suppress(errors.ConfigError):
            fresh = self._again()
            signing = {name: getattr(fresh, name) for name in SIGNING}
            signing["auth"] = fresh.auth or API_KEY
            if all(getattr(self.settings, name) == value for name, value in signing.items()):
                return
            sources = {**self.settings.sources, **{name: fresh.where(name) for name in SIGNING}}
            settings = replace(self.settings, **signing, sources=sources)
            credentials = credentials_of(settings, self._now)
            self._renewal.replace(credentials)
            self._credentials, self.settings, self.kind = credentials, settings, credentials.kind

    @property
    def files(self) -> tuple[str, ...]:
        """Files by whose change we notice other credentials."""
        return self._credentials.files

    def ask_for_login(self) -> str:
        """What somebody has to do once the credentials have ended, in one line."""
        return self._credentials.ask(self._last, self._now() + self._behind())

    def _behind(self) -> timedelta:
        """By how much our time of day is at most behind the service's, by the last reply that we looked at."""
        if self._last_date is None or (theirs := read_date(self._last_date[0])) is None:
            return timedelta()
        return theirs - self._last_date[1] + timedelta(seconds=1)  # a Date has whole seconds

    @property
    def skew(self) -> str | None:
        """Both times in one line, if they were too far apart when the last reply came."""
        theirs = read_date(self._last_date[0]) if self._last_date else None
        return explain_skew(theirs, self._last_date[1]) if theirs and self._last_date else None

    def explain_not_authenticated(self, reply_date: str | None = None) -> str:
        """Say in one line what most likely made the service answer 401, and what to do.

        Args:
            reply_date: the reply's `Date` header; None = that of the last reply heard.
        """
        date, now = (reply_date, self._now()) if reply_date else (self._last_date or (None, self._now()))
        theirs = read_date(date)
        if theirs is not None and (skew := explain_skew(theirs, now)) is not None:
            return skew
        return self._credentials.why_refused(self._last, theirs or now)

    def explain_unreachable(self) -> str | None:
        """What may be wrong when no host answers: a region that nobody knows, with the nearest known one."""
        if self.connection.endpoint or not (near := regions.nearest(self.region)):
            return None
        return f"region {self.region!r} ({self.settings.where('region')}) is not known here; did you mean {near!r}?"


def open_session(
    settings: OciSettings,
    *,
    call: Call = run_once,
    now: Callable[[], datetime] = _utc_now,
    again: Callable[[], OciSettings] | None = None,
    standing: Standing | None = None,
) -> OciSession:
    """Sign in with these settings. Only principals make requests for that.

    Args:
        settings: who, where, how.
        call: runs these requests.
        now: this machine's clock.
        again: reads the settings anew, after a refusal.
        standing: that of another session of the same credentials in the same region.

    Raises:
        ConfigError: switched off, or something is missing; names it and the places where it may come from.
        AuthError: the key or token cannot be used.
        PassingError: a principal's token could not be had now.
    """
    if settings.enabled is False:
        raise errors.ConfigError(
            f"Oracle Cloud is switched off: {settings.where('enabled')} is false", hint="set oci.enabled to true"
        )
    if settings.auth is None:
        settings = replace(settings, auth=API_KEY)
    return OciSession(settings, credentials_of(settings, now), call=call, now=now, again=again, standing=standing)


def credentials_of(settings: OciSettings, now: Callable[[], datetime] = _utc_now) -> Credentials:
    """The credentials of the kind that the settings name.

    Args:
        settings: who, where, how; `auth` is named.
        now: this machine's clock.

    Raises:
        ConfigError: the place that we run at gives no credentials of this kind.
    """
    # Imported here, because each kind brings what only it needs, and commands are to start fast.
    if settings.auth == SECURITY_TOKEN:
        from hypersdk.vendors.oci.kinds.session_token import SessionToken

        return SessionToken(settings, now)
    if settings.auth == INSTANCE_PRINCIPAL:
        from hypersdk.vendors.oci.kinds.instance_principal import InstancePrincipal

        return InstancePrincipal(settings, now)
    if settings.auth == RESOURCE_PRINCIPAL:
        from hypersdk.vendors.oci.kinds.resource_principal import resource_principal

        return resource_principal(settings, now)
    if settings.auth == OKE_WORKLOAD_IDENTITY:
        from hypersdk.vendors.oci.kinds.oke import OkeWorkloadIdentity

        return OkeWorkloadIdentity(settings, now)
    from hypersdk.vendors.oci.kinds.api_key import ApiKey

    return ApiKey(settings)
