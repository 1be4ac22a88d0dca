"""What the threads of a fleet share on purpose."""

from __future__ import annotations

import threading
from collections.abc import Callable

from hypersdk.bandwidth import Bucket


class SharedBucket(Bucket):
    """One rate for everything that a process moves, whichever thread moves it.

    Args:
        rate: the rate now, in bytes per second; None = no limit.
        clock: monotonic seconds.
        rest: waits up to so many seconds; for who keeps to the rate.
    """

    def __init__(
        self,
        rate: Callable[[], int | None],
        clock: Callable[[], float],
        rest: Callable[[float], object] = lambda _seconds: None,
    ) -> None:
        super().__init__(rate, clock, rest)
        self._lock = threading.Lock()

    def took(self, count: int) -> float:
        """Note bytes that moved; the seconds to wait before more may."""
        with self._lock:
            return super().took(count)
