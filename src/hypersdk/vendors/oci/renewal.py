"""Holds what signs now, and gets a new one before it ends or when the service refuses it. Waits for nothing.

Rules of this file: one thread renews, the others go on with what is still good; as long as it is good a failed renewal
costs nothing and is tried again later; once it has ended the failure is raised from where something had to be signed,
and is judged by whoever repeats that call. A refusal to give what was given before is `CredentialsEnded`.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from hypersdk import errors
from hypersdk.vendors.oci.kinds.grant import Credentials, Grant

AGAIN = 15.0
"""Seconds between two tries to renew what is still good: several fit into the last minute of a token."""

SHARE_OF_LIFE = 0.25
"""Of a very short life they are this part of it."""


@dataclass(frozen=True, slots=True)
class _Held:
    """A grant, when to renew it and when it ends, on our clock."""

    grant: Grant
    renew_at: float
    ends_at: float


class Renewal:
    """What signs, kept good. Safe to use from several threads.

    Args:
        credentials: where it comes from.
        took: told of each new grant before anybody signs with it; may refuse it with an error.
        clock: monotonic seconds.
    """

    def __init__(
        self, credentials: Credentials, took: Callable[[Grant], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._credentials = credentials
        self._took = took
        self._clock = clock
        self._renewing = threading.RLock()
        self._held: _Held | None = None
        self._last: Grant | None = None

    @property
    def last(self) -> Grant | None:
        """What signed last, good or not; None before the first."""
        return self._last

    def current(self) -> Grant:
        """What signs now.

        Raises:
            HypersdkError: there is nothing good any more, and no new one could be had.
        """
        held = self._held
        now = self._clock()
        if held is not None and now < held.renew_at:
            return held.grant
        good = held is not None and now < held.ends_at
        if not self._renewing.acquire(blocking=not good):
            assert held is not None
            return held.grant
        try:
            if self._held is not held and self._held is not None:
                return self._held.grant  # another thread was faster
            return self._renew(held if good else None)
        finally:
            self._renewing.release()

    def _renew(self, good: _Held | None) -> Grant:
        try:
            return self._take(self._obtain())
        except errors.HypersdkError:
            if good is None:
                raise
            later = self._clock() + self._patience(good.grant)
            self._held = _Held(good.grant, later, good.ends_at)
            return good.grant

    def _obtain(self) -> Grant:
        try:
            return self._credentials.obtain()
        except (errors.AuthError, errors.ConfigError) as error:
            if self._last is None:
                raise
            raise errors.CredentialsEnded(
                error.message, resource=error.resource, hint=error.hint, status=error.status
            ) from error

    def replace(self, credentials: Credentials) -> None:
        """Look at these from now on, when something new is needed."""
        self._credentials = credentials

    def _take(self, grant: Grant) -> Grant:
        now = self._clock()
        self._took(grant)
        life = math.inf if grant.life is None else grant.life
        after = math.inf if grant.renew_after is None else max(grant.renew_after, self._patience(grant))
        self._held = _Held(grant, now + after, now + life)
        self._last = grant
        return grant

    @staticmethod
    def _patience(grant: Grant) -> float:
        return AGAIN if grant.life is None else min(AGAIN, max(grant.life, 0.0) * SHARE_OF_LIFE)

    def refused(self) -> bool:
        """The service answers 401 to what signs now: look for another one.

        Returns:
            True if the next signature is another one: credentials that can be renewed at will are renewed then, others
            have been looked at now.

        Raises:
            HypersdkError: what is there now cannot be used.
        """
        with self._renewing:
            if self._credentials.renewable:
                self._held = None
                return True
            before = self._last.mark if self._last else ""
            return self._take(self._obtain()).mark != before
