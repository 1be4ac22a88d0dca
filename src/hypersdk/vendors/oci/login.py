"""Credentials that end in mid-run: what a refusal means, who can do something, and when they have done it.

Rules of this file: a file that has changed is only a sign to look; what is in it decides (`oci session refresh` writes
its token in place, so it may be read half-written). Clocks that are too far apart are told, never waited for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from hypersdk import errors, events
from hypersdk.retry import Call, Retrier
from hypersdk.vendors.oci.credentials import SECURITY_TOKEN
from hypersdk.vendors.oci.session import OciSession

T = TypeVar("T")

_WEB = ("https://", "http://")
"""How the names of what is not OCI's begin: no credentials of ours are to blame for those."""

REMIND = 600.0
"""Seconds before the end of a session from which on we remind of it: time enough to read it and to type a line."""

Mark = tuple[tuple[int, int, int] | None, ...]


class Login:
    """The `retry.Login` of a session.

    Args:
        session: signed in.
        report: hears that a session is about to end.
    """

    def __init__(self, session: OciSession, report: events.Reporter = events.null_reporter) -> None:
        self._session = session
        self._report = report
        parts = urlsplit(session.object_storage_url)
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._seen = self._marks()
        self._found = 0
        self._looking = threading.Lock()

    @property
    def worked(self) -> bool:
        """Whether the service has accepted the session before."""
        return self._session.accepted

    def heard(self, endpoint: str) -> None:
        """Note a good answer of an origin; only Object Storage's own says anything about the session."""
        if endpoint == self._origin:
            self._session.accepted = True

    def explain(self, error: errors.HypersdkError) -> errors.HypersdkError:
        """A refusal that no renewal cures, as exactly as it can be told.

        Returns:
            `ClockSkewed` with both times, `CredentialsEnded` with what to do, or the error as it is: at the start of a
            command, and when it is not about our credentials.
        """
        session = self._session
        refused = isinstance(error, errors.NotAuthenticated) and not (error.resource or "").startswith(_WEB)
        if refused and (skew := session.skew) is not None:
            session.forget_signatures()
            return _told(errors.ClockSkewed, error, skew)
        if not session.accepted or not (refused or isinstance(error, errors.CredentialsEnded)):
            return error
        hint = f"{session.ask_for_login()}; the same command resumes"
        return _told(errors.CredentialsEnded, error, hint)

    def ask(self) -> str | None:
        """What somebody has to do; None = there is no file by which we would notice it."""
        return self._session.ask_for_login() if self._session.files else None

    @property
    def found(self) -> int:
        """How often other credentials were found so far."""
        return self._found

    def look(self) -> None:
        """See whether one of the files has changed since the last look, and holds something to sign with."""
        with self._looking:
            marks = self._marks()
            if marks == self._seen:
                return
            self._seen = marks
            with suppress(errors.AuthError):
                self._session.refresh()
                self._found += 1

    def remind(self) -> None:
        """Say once, in the last minutes of a session that nobody has refreshed, how it is refreshed. A tick hook."""
        session = self._session
        if session.kind != SECURITY_TOKEN or not session.ends_within(REMIND):
            return
        self.look()
        if session.ends_within(REMIND) and session.expires != session.standing.reminded:
            session.standing.reminded = session.expires
            self._report(
                events.Note(
                    f"the session ends at {session.expires:%Y-%m-%d %H:%M:%S} UTC: "
                    f"`oci session refresh --profile {session.settings.profile}` before that, and nothing has to wait"
                )
            )

    def _marks(self) -> Mark:
        return tuple(_mark(path) for path in self._session.files)


def signing_in(login: Login, retrier: Retrier) -> Call:
    """Signs in another thread of a program whose credentials worked before: if they have ended, that is waited for.

    Args:
        login: of the session that worked.
        retrier: repeats and waits.
    """
    retrier = replace(retrier, login=login)

    def call(what: str, function: Callable[[], T], /) -> T:
        def once() -> T:
            try:
                return function()
            except (errors.AuthError, errors.ConfigError) as error:
                if not login.worked:
                    raise
                raise _told(errors.CredentialsEnded, error, error.hint or "") from error

        return retrier.call(what, once)

    return call


def _mark(path: str) -> tuple[int, int, int] | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _told(kind: type[errors.HypersdkError], error: errors.HypersdkError, hint: str) -> errors.HypersdkError:
    told = kind(
        error.message,
        resource=error.resource,
        hint=hint,
        request_id=error.request_id,
        service_code=error.service_code,
        status=error.status,
    )
    told.__cause__ = error
    return told
