"""How many requests may be in flight: more while more bytes move, half when the service asks to slow down. Pure.

Additive increase, multiplicative decrease (Chiu and Jain, 1989), with a memory of what was gained: a level that moved
no more bytes than the one below it is left again, since connections that gain nothing cost memory and goodwill.
"""

from __future__ import annotations

from dataclasses import dataclass, field

WINDOW_SECONDS = 1.0
"""One level is judged by the bytes of one window: long enough for a round trip and TLS at 16 MiB parts."""

GAIN = 1.05
"""A level is better than another if it moves 5 % more; less is noise."""

PATIENCE_WINDOWS = 15
"""Windows after which a level that was given up is tried again: links change."""

CALM_SECONDS = 10.0
"""Nothing grows for so long after the service asked to slow down."""


@dataclass
class Governor:
    """The level of concurrency of one endpoint.

    Args:
        most: never more than this (the user's `--parallel`).
        start: where it begins.
        adaptive: False = always `most`, except after a refusal.
    """

    most: int
    start: int = 4
    level: int = field(init=False)
    _since: float | None = None
    _bytes: int = 0
    _best: dict[int, float] = field(default_factory=dict)
    _calm_until: float = 0.0
    _settled: int = 0

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

    def refused(self, now: float) -> None:
        """The service asked to slow down (429, 503)."""
        if now < self._calm_until - CALM_SECONDS / 2:
            return  # the same burst: many requests in flight are refused together, and halve once
        self.level = max(1, self.level // 2)
        self._calm_until = now + CALM_SECONDS
        self._since, self._settled = None, 0
        self._best = {level: rate for level, rate in self._best.items() if level <= self.level}

    def _judge(self, rate: float, now: float) -> None:
        self._best[self.level] = rate
        if now < self._calm_until:
            return
        below = max((level for level in self._best if level < self.level), default=None)
        if below is not None and rate < self._best[below] * GAIN and self._settled == 0:
            self.level, self._settled = below, PATIENCE_WINDOWS
            return
        if self._settled:
            self._settled -= 1
            return
        self.level = min(self.most, self.level + max(1, self.level // 2))
