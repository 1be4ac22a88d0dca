"""Which request in flight is dead and does not know it? Pure: told bytes, times, and what the network monitor knows.

Rules of this file:
- Nobody tells a connection that its peer, its address or its way are gone; only its silence does. So whoever was silent
  when connections broke (`broken_before`) is dead. A body that stopped in the middle before any other change of the
  network (`doubted_before`) counts as dead, too; a service that has not begun to answer may just take its time.
- Nobody is taken for dead soon after its last byte, nor before all had `SETTLE` seconds to show life.
- Who waits for us (paused) is left alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hypersdk.transfer.hedging import Flight

SETTLE = 0.3

BROKEN, DOUBTED, ANSWER = 1.0, 2.0, 5.0
"""Seconds of silence after which is taken for dead: a body in its middle, one that is only doubted, and whoever waits
for an answer."""

LATE = 1.0
"""Seconds for which bytes are still seen to move that had come, or gone into a buffer, before connections broke."""


@dataclass(slots=True)
class _Beat:
    stood: int
    seen: int
    heard: float


class Pulse:
    """Watches the requests of one transfer."""

    def __init__(self) -> None:
        self._beats: dict[int, _Beat] = {}
        self._heard = 0.0
        self._told = (float("-inf"), 0.0)  # what the monitor said last, and when we heard of it

    def feel(self, flights: Iterable[Flight], now: float) -> float:
        """Look at all requests in flight.

        Args:
            flights: every one of them; what a part has still to move may be unknown (0).
            now: monotonic seconds.

        Returns:
            Seconds since any of them moved, or there was none.
        """
        beats = {each.token: self._beats.get(each.token) or _Beat(each.moved, each.moved, now) for each in flights}
        if not self._beats or not beats:
            self._heard = now
        self._beats = beats
        for each in flights:
            beat = beats[each.token]
            if each.moved != beat.seen or each.paused:
                beat.seen, beat.heard, self._heard = each.moved, now, now
        return now - self._heard

    def dead(self, flights: Iterable[Flight], now: float, *, broken_before: float, doubted_before: float) -> list[int]:
        """Tokens of the dead.

        Args:
            flights: as `feel` was told of them.
            now: monotonic seconds.
            broken_before: who has been silent since before is dead.
            doubted_before: so is a body that stopped before.
        """
        if doubted_before != self._told[0]:
            self._told = doubted_before, now
        if now - self._told[1] < SETTLE:
            return []
        found = []
        for each in flights:
            beat = self._beats[each.token]
            stopped = each.left > 0 and beat.seen > beat.stood
            silence = now - beat.heard
            broken = beat.heard < broken_before + LATE and silence >= (BROKEN if stopped else ANSWER)
            doubted = beat.heard < doubted_before + LATE and silence >= DOUBTED and stopped
            if broken or doubted:
                found.append(each.token)
        return found
