"""How many requests may be in flight: more while more bytes move, half when the service asks to slow down. Pure.

Additive increase, multiplicative decrease (Chiu and Jain, 1989), with a memory of what was gained: a level that moved
no more bytes than the one below it is left again, since connections that gain nothing cost memory and goodwill. So is a
level at which answers come ever later without more bytes: then requests wait in the service's queue. One governor for
each endpoint, for one that is slow or refuses says nothing of another.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

WINDOW_SECONDS = 1.0
"""One level is judged by the bytes of one window: long enough for a round trip and TLS at 16 MiB parts."""

GAIN = 1.05
"""A level is better than another if it moves 5 % more; less is noise."""

PATIENCE_WINDOWS = 15
"""Windows after which a level that was given up is tried again: links change."""

CALM_SECONDS = 10.0
"""Nothing grows for so long after the service asked to slow down."""

LATER_FACTOR, LATER_SECONDS = 3.0, 0.2
"""First bytes that take so many times as long as the best that was seen, and so much longer, come late."""

MEMORY = 1.01
"""The best time to the first byte is forgotten by 1 % a window: half of it in a minute. Routes change."""


@dataclass
class Governor:
    """The level of concurrency of one endpoint.

    Args:
        most: never more than this (the user's `--parallel`).
        start: where it begins.
    """

    most: int
    start: int = 4
    level: int = field(init=False)
    _since: float | None = None
    _bytes: int = 0
    _best: dict[int, float] = field(default_factory=dict)
    _calm_until: float = 0.0
    _shut_until: float = 0.0
    _settled: int = 0
    _waits: deque[float] = field(default_factory=lambda: deque(maxlen=64))
    _quickest: float | None = None

    def __post_init__(self) -> None:
        """Begin."""
        self.level = min(self.start, self.most)

    def moved(self, count: int, now: float, *, busy: bool) -> None:
        """Note bytes that moved.

        Args:
            count: bytes since the last call.
            now: monotonic seconds.
            busy: all allowed requests are in flight; else the level is not what limits, and nothing is learned.
        """
        if self._since is None or not busy:
            self._since, self._bytes = now, 0
            return
        self._bytes += count
        if (elapsed := now - self._since) < WINDOW_SECONDS:
            return
        self._judge(self._bytes / elapsed, now)
        self._since, self._bytes = now, 0

    def begin_at(self, level: int, now: float) -> None:
        """Allow at least so many at once: many small requests, of which each takes a round trip and moves little.

        What bytes per second teach about a few large ones does not hold for them. Right after a refusal it is ignored.
        """
        if now >= self._calm_until and level > self.level:
            self.level, self._since, self._settled = min(level, self.most), None, 0

    def answered(self, seconds: float) -> None:
        """Note how long the first byte of an answer took."""
        self._waits.append(seconds)

    def refused(self, now: float, retry_after: float | None = None) -> None:
        """The service asked to slow down (429, 503).

        Args:
            now: monotonic seconds.
            retry_after: seconds for which it wants to be left alone, if it said so.
        """
        self._shut_until = max(self._shut_until, now + (retry_after or 0.0))
        if now < self._calm_until - CALM_SECONDS / 2:
            return  # the same burst: many requests in flight are refused together, and halve once
        self.level = max(1, self.level // 2)
        self._calm_until = now + CALM_SECONDS
        self._since, self._settled = None, 0
        self._best = {level: rate for level, rate in self._best.items() if level <= self.level}

    def shut_for(self, now: float) -> float:
        """Seconds for which nothing should be asked of the service."""
        return max(0.0, self._shut_until - now)

    def _judge(self, rate: float, now: float) -> None:
        late = self._is_late()
        self._best[self.level] = rate
        if now < self._calm_until:
            return
        below = max((level for level in self._best if level < self.level), default=None)
        gains_nothing = below is not None and rate < self._best[below] * GAIN
        if gains_nothing and below is not None and (late or self._settled == 0):
            self.level, self._settled = below, PATIENCE_WINDOWS
            return
        if self._settled:
            self._settled -= 1
            return
        if not late:
            self.level = min(self.most, self.level + max(1, self.level // 2))

    def _is_late(self) -> bool:
        """Whether the first bytes of this window took far longer than they can."""
        if not self._waits:
            return False
        typical = sorted(self._waits)[len(self._waits) // 2]
        self._waits.clear()
        if self._quickest is None or typical < self._quickest:
            self._quickest = typical
        else:
            self._quickest *= MEMORY
        return typical > max(self._quickest * LATER_FACTOR, self._quickest + LATER_SECONDS)


class Governors:
    """The governors of all endpoints of a process.

    Args:
        most: requests that each of them may allow.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._by_endpoint: dict[str, Governor] = {}
        self._least = 0

    def of(self, endpoint: str) -> Governor:
        """The governor of an origin ("https://host:port")."""
        if endpoint not in self._by_endpoint:
            governor = self._by_endpoint[endpoint] = self.make(endpoint)
            governor.begin_at(self._least, 0.0)
        return self._by_endpoint[endpoint]

    def make(self, endpoint: str) -> Governor:  # noqa: ARG002 - for those who make others
        """The governor of an endpoint that had none."""
        return Governor(self.most)

    def begin_at(self, level: int, now: float) -> None:
        """Have every governor allow at least so many at once, also those that are yet to come; see `Governor`."""
        self._least = level
        for governor in self._by_endpoint.values():
            governor.begin_at(level, now)
