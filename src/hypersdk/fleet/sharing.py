"""What the threads of a fleet share on purpose."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from hypersdk.bandwidth import Bucket
from hypersdk.governor import Governor, Governors


class Refusals:
    """What services asked to slow down (429, 503): each thread that sends to them heeds what one of them was told."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: dict[str, tuple[int, float | None]] = {}

    def tell(self, endpoint: str, retry_after: float | None) -> int:
        """An endpoint asked to slow down; the number of this refusal."""
        with self._lock:
            number = self._last.get(endpoint, (0, None))[0] + 1
            self._last[endpoint] = (number, retry_after)
        return number

    def last(self, endpoint: str) -> tuple[int, float | None]:
        """Number of an endpoint's last refusal, 0 = none; and the seconds for which it wants to be left alone."""
        return self._last.get(endpoint, (0, None))


@dataclass(frozen=True)
class Shared:
    """What all threads of a process keep to together.

    Args:
        bucket: one rate for whatever moves; None = no limit.
        refusals: who asked to slow down.
    """

    bucket: Bucket | None
    refusals: Refusals = field(default_factory=Refusals)

    def governors(self, most: int) -> HeedfulGovernors:
        """The governors of one thread."""
        return HeedfulGovernors(most, self.refusals)


class HeedfulGovernors(Governors):
    """The governors of one thread, which heed what other threads were refused.

    Args:
        most: requests that each of them may allow.
        refusals: shared by all threads.
    """

    def __init__(self, most: int, refusals: Refusals) -> None:
        super().__init__(most)
        self._refusals = refusals

    def make(self, endpoint: str) -> Governor:
        """The governor of an endpoint that had none."""
        return _Heedful(self.most, refusals=self._refusals, endpoint=endpoint)


@dataclass
class _Heedful(Governor):
    """One that slows down when an endpoint asked another thread to; a burst of refusals halves once, as always."""

    refusals: Refusals = field(default_factory=Refusals, kw_only=True)
    endpoint: str = field(default="", kw_only=True)
    _heard: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        """Begin: refusals of the past are past."""
        super().__post_init__()
        self._heard = self.refusals.last(self.endpoint)[0]

    def refused(self, now: float, retry_after: float | None = None) -> None:
        """The service asked this thread to slow down."""
        super().refused(now, retry_after)
        self._heard = self.refusals.tell(self.endpoint, retry_after)

    def moved(self, count: int, now: float, *, busy: bool) -> None:
        """Note bytes that moved."""
        self._heed(now)
        super().moved(count, now, busy=busy)

    def shut_for(self, now: float) -> float:
        """Seconds for which nothing should be asked of the service."""
        self._heed(now)
        return super().shut_for(now)

    def _heed(self, now: float) -> None:
        number, retry_after = self.refusals.last(self.endpoint)
        if number != self._heard:
            self._heard = number
            super().refused(now, retry_after)
