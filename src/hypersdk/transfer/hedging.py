"""Which request in flight is given up, to be asked for again on another connection? Pure: told bytes and times.

Rules of this file:
- Stuck: no byte for `stuck` seconds while others move; twice that when nobody moves (a connection that a middlebox has
  forgotten looks like a dead network, which the network monitor knows better). What would have to move again is added.
- Slow: only at the tail, when nothing is left to begin and a free connection costs nobody anything: its rate is below
  `slow` of its peers' median, and to ask again is expected to end it in less than half the time.
- Who waits for us (paused), or of whom it is not known what a new try costs, is left alone. No part is given up more
  than `most` times, each time after twice the patience: the connection's own time-out is what ends it then.

Idea: Dean and Barroso, "The Tail at Scale" (2013); here the first request is dropped, so that no byte is paid twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

BLINK = 1.0
"""Longest time in seconds between two looks that counts: in more we did not serve the wire ourselves (a slow disk)."""

REMEMBERED = 16
"""Rates of so many requests that have ended are compared with, too: the last one in flight has no other peers."""


@dataclass(frozen=True, slots=True)
class Rule:
    """When to give up.

    Attributes:
        stuck: seconds without a byte.
        silent: factor for one whose body is with the service, which is busy with it before it answers.
        window: seconds over which a rate is taken.
        slow: fraction of the peers' median rate.
        setup: seconds that a new connection and the service's first byte may take.
        peers: fewest rates that make a median.
        most: times that one part is given up.
    """

    stuck: float = 5.0
    silent: float = 6.0
    window: float = 5.0
    slow: float = 0.25
    setup: float = 1.0
    peers: int = 3
    most: int = 3


@dataclass(frozen=True, slots=True)
class Flight:
    """A request in flight as it stands now.

    Attributes:
        token: names it.
        moved: bytes so far; only its changes matter.
        left: bytes still to move.
        again: bytes to move if it is asked for again.
        given_up: how often its part was given up before.
        paused: it waits for us.
    """

    token: int
    moved: int
    left: int
    again: int
    given_up: int = 0
    paused: bool = False


@dataclass(slots=True)
class _Track:
    moved: int
    heard: float
    marks: deque[tuple[float, int]] = field(default_factory=deque)

    def note(self, flight: Flight, now: float, window: float) -> None:
        if flight.moved != self.moved or flight.paused:
            self.heard, self.moved = now, flight.moved
        self.marks.append((now, flight.moved))
        while len(self.marks) > 1 and self.marks[1][0] <= now - window:
            self.marks.popleft()

    def rate(self, window: float) -> float | None:
        """Bytes per second over the window; None = it is too young."""
        (since, before), (now, moved) = self.marks[0], self.marks[-1]
        return (moved - before) / (now - since) if now - since >= window else None


class Lookout:
    """Watches the requests of one transfer.

    Args:
        rule: when to give up.
    """

    def __init__(self, rule: Rule | None = None) -> None:
        self._rule = rule or Rule()
        self._tracks: dict[int, _Track] = {}
        self._ended: deque[float] = deque(maxlen=REMEMBERED)
        self._last_end = float("-inf")
        self._looked: float | None = None

    def forget(self) -> None:
        """Begin anew: the network was away, and nobody is to blame."""
        self._tracks.clear()

    def done(self, moved: int, seconds: float, now: float) -> None:
        """A request ended well: what it moved, and in which time, is an example to others."""
        self._last_end = now
        if moved > 0:
            self._ended.append(moved / max(seconds, 1e-3))

    def look(self, flights: Iterable[Flight], now: float, *, tail: bool) -> list[int]:
        """Look at all requests in flight.

        Args:
            flights: every one of them.
            now: monotonic seconds.
            tail: nothing is left to begin.

        Returns:
            Tokens of those to be given up and asked for again, under new tokens.
        """
        flights = list(flights)
        self._note(flights, now)
        given_up = [each.token for each in flights if self._is_stuck(each, now) or (tail and self._is_slow(each))]
        for token in given_up:
            del self._tracks[token]  # its rate is no example to others
        return given_up

    def _note(self, flights: list[Flight], now: float) -> None:
        if self._looked is not None and (gap := now - self._looked) > BLINK:
            for track in self._tracks.values():
                track.heard += gap - BLINK
        self._looked = now
        there = {each.token for each in flights}
        for token in [token for token in self._tracks if token not in there]:
            del self._tracks[token]
        for each in flights:
            if each.token not in self._tracks:
                self._tracks[each.token] = _Track(each.moved, now)
            self._tracks[each.token].note(each, now, self._rule.window)

    def _is_stuck(self, flight: Flight, now: float) -> bool:
        track = self._tracks[flight.token]
        if flight.paused or flight.given_up >= self._rule.most:
            return False
        patience = self._rule.stuck * float(2**flight.given_up) * (1.0 if flight.left else self._rule.silent)
        others = [each.heard for token, each in self._tracks.items() if token != flight.token]
        if max([self._last_end, *others]) < now - patience / 2:
            patience *= 2
        if lost := flight.again - flight.left:
            middle = self._median(flight.token)
            patience += lost / middle if middle else patience
        return now - track.heard >= patience

    def _is_slow(self, flight: Flight) -> bool:
        rule, rate = self._rule, self._tracks[flight.token].rate(self._rule.window)
        if flight.paused or flight.given_up >= rule.most or not flight.left or rate is None:
            return False
        middle = self._median(flight.token)
        if not middle or rate >= rule.slow * middle:
            return False
        return flight.left > 2 * rate * (flight.again / middle + rule.setup)

    def _median(self, token: int) -> float | None:
        """The rate of the others; None = there are too few."""
        others = [each.rate(self._rule.window) for key, each in self._tracks.items() if key != token]
        rates = [rate for rate in others if rate is not None] + list(self._ended)
        return sorted(rates)[len(rates) // 2] if len(rates) >= self._rule.peers else None
