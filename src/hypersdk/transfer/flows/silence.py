"""Waiting for somebody else's process is no attempt and no fault; people see what we wait for once it lasts."""

from __future__ import annotations

from hypersdk import events
from hypersdk.waiting import Waiter

SHOWN_AFTER = 1.0
"""Seconds of silence after which somebody is told that we wait."""


class Silence:
    """Tells that we wait for somebody who neither gives nor takes, once that lasts.

    Args:
        waiter: has the clock and the reporter.
        reason: for people.
    """

    def __init__(self, waiter: Waiter, reason: str) -> None:
        self._waiter = waiter
        self._reason = reason
        self._since: float | None = None
        self._shown = False

    def goes_on(self) -> None:
        """Nothing came or went."""
        now = self._waiter.clock()
        if self._since is None:
            self._since = now
        if not self._shown and now - self._since >= SHOWN_AFTER:
            self._shown = True
            self._waiter.report(events.Waiting(self._reason))

    def over(self) -> None:
        """Something did."""
        self._since = None
        if self._shown:
            self._shown = False
            self._waiter.report(events.Waiting(None))
