"""A resource's life as data: the transient states with the moment each ends, and the state that follows. Pure.

Reading a timeline at a given time tells the state, so no timer is needed and a restart changes nothing. Times are
seconds since the epoch on the virtual clock.
"""

import json
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Timeline:
    """Transient states with the time at which each ends, then the state that stays."""

    steps: tuple[tuple[str, float], ...]
    final: str

    @classmethod
    def resting(cls, state: str) -> Self:
        """A resource that is in this state and stays there."""
        return cls((), state)

    @classmethod
    def through(cls, states: tuple[str, ...], final: str, *, start: float, seconds: float) -> Self:
        """Pass through states, each lasting `seconds`, beginning at `start`."""
        return cls(tuple((state, start + seconds * (n + 1)) for n, state in enumerate(states)), final)

    @property
    def settled(self) -> float:
        """When the last transient state ends; minus infinity if there is none."""
        return max((until for _, until in self.steps), default=float("-inf"))

    def at(self, now: float) -> str:
        """The state at a time."""
        return next((state for state, until in self.steps if now < until), self.final)

    def dump(self) -> str:
        """As one JSON text for a database column."""
        return json.dumps([self.steps, self.final])

    @classmethod
    def load(cls, text: str) -> Self:
        """What `dump` wrote."""
        steps, final = json.loads(text)
        return cls(tuple((str(state), float(until)) for state, until in steps), str(final))
