"""Is the endpoint that we really use reachable?

Rules of this file: down = a call got no reply **and** the probe (same proxy, same CA) fails; any byte received = up;
while down nothing is tried and no attempt is spent. The probe is passed in, because `wire` lies above this floor.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from hypersdk.waiting import Waiter

PROBE_EVERY = 2.0
"""Seconds between two probes while down: recovery must be noticed fast, and a probe is one small request."""

HEARD_RECENTLY = 2.0
"""A byte this many seconds ago proves the network better than a probe could."""


def _local_now() -> datetime:
    return datetime.now(UTC).astimezone()


class NetworkMonitor:
    """Knows whether the endpoint can be reached and waits until it can.

    Args:
        probe: asks the endpoint in use for anything and says whether somebody answered; None = no monitor
            (`network.monitor: false`): the network always counts as up.
        clock: monotonic seconds.
        now: time of day for "down since".
    """

    def __init__(
        self,
        probe: Callable[[], bool] | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = _local_now,
    ) -> None:
        self._probe = probe
        self._clock = clock
        self._now = now
        self._heard_at: float | None = None
        self._down_since: datetime | None = None

    @property
    def down_since(self) -> datetime | None:
        """When the endpoint was found unreachable; None while it is up."""
        return self._down_since

    def heard(self) -> None:
        """Note that a byte arrived: the network is up."""
        self._heard_at = self._clock()
        self._down_since = None

    def failed(self) -> bool:
        """Note that a call got no (whole) reply.

        Returns:
            True if the network is down, so that the failure must not count as an attempt.
        """
        if self._probe is None:
            return False
        if self._heard_at is not None and self._clock() - self._heard_at < HEARD_RECENTLY:
            return False
        if self._probe():
            self.heard()
            return False
        if self._down_since is None:
            self._down_since = self._now()
        return True

    def probe_again(self) -> bool:
        """Ask once more while down; True when the endpoint answers again."""
        if self._probe is None or self._probe():
            self.heard()
            return True
        return False

    def wait_until_up(self, waiter: Waiter) -> None:
        """Wait, without limit and spending no attempt, until the endpoint answers.

        Raises:
            Stopped: somebody asked to stop.
        """
        if self._down_since is None:
            return
        waiter.wait_for(
            f"network down since {self._down_since:%H:%M}",
            lambda: True if self.probe_again() else None,
            every=PROBE_EVERY,
        )
