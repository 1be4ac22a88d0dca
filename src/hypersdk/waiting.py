"""Every wait of the product: one monotonic clock, one stop flag, tick hooks, a reason that people see.

Rules of this file: a wait spends no attempt; a set stop flag ends it at once; hooks (lease heartbeats) run at least
every `TICK` seconds of any wait; nobody else sleeps (a house test looks).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TypeVar

from hypersdk import errors, events

TICK = 1.0
"""Longest time in seconds between two looks at hooks and conditions. A wait on the flag itself ends at once."""

T = TypeVar("T")

Reason = str | Callable[[], str]
"""Why we wait, for people; asked again while the wait lasts if it may change."""


class StopFlag:
    """Asks work to stop; set from a signal handler, another thread, or `runs cancel`.

    `cancelled` tells the two endings apart: interrupted work is kept for resume, cancelled work is cleaned up.
    """

    def __init__(self) -> None:
        self._set = False
        # Not an Event: its lock is not reentrant, so a signal that comes while `wait` holds it would hang for ever.
        self._wake: SimpleQueue[None] = SimpleQueue()
        self.cancelled = False

    def set(self, *, cancelled: bool = False) -> None:
        """Ask to stop."""
        self.cancelled = self.cancelled or cancelled
        self._set = True
        self._wake.put(None)

    def clear(self) -> None:
        """Take note of the request and go on, as the clean-up of a cancelled run does; it may be set again."""
        self.cancelled = self._set = False

    def is_set(self) -> bool:
        """Whether somebody asked."""
        return self._set

    def wait(self, seconds: float) -> bool:
        """Sleep up to `seconds`, or less; True at once when asked to stop."""
        if not self._set:
            with suppress(Empty):
                self._wake.get(timeout=max(0.0, seconds))
        if self._set:
            self._wake.put(None)  # for the next thread that waits on this flag
        return self._set

    def check(self) -> None:
        """Raise if somebody asked to stop.

        Raises:
            Interrupted: by signal or caller.
            Cancelled: the run was cancelled.
        """
        if self._set:
            if self.cancelled:
                raise errors.Cancelled("cancelled")
            raise errors.Interrupted("interrupted", hint="the same command resumes")


@dataclass
class Waiter:
    """Carries clock, stop flag, tick hooks and reporter to everything that may wait.

    Args:
        stop: the flag that ends every wait.
        clock: monotonic seconds.
        sleep: waits up to so many seconds and returns True if asked to stop; tests pass a virtual one.
        report: told why we wait, and when it is over.
        hooks: called on every tick (heartbeats); an exception from a hook ends the wait.
    """

    stop: StopFlag = field(default_factory=StopFlag)
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], bool] | None = None
    report: events.Reporter = events.null_reporter
    hooks: list[Callable[[], None]] = field(default_factory=list)

    def tick(self) -> None:
        """Run the hooks and look at the stop flag; long loops that do not wait call this."""
        for hook in self.hooks:
            hook()
        self.stop.check()

    def pause(self, seconds: float, reason: str, *, kind: str = events.CLOUD) -> None:
        """Wait `seconds`, showing `reason`; `kind` says what for (`events.WAITS`).

        Raises:
            Stopped: the flag was set.
        """
        self._until(lambda: None, self.clock() + seconds, seconds, reason, kind)

    def wait_for(
        self,
        reason: Reason,
        condition: Callable[[], T | None],
        *,
        every: float = TICK,
        longest: float | None = None,
        kind: str = events.CLOUD,
    ) -> T | None:
        """Wait until `condition` returns something other than None.

        Args:
            reason: shown as waiting-because.
            condition: asked every `every` seconds.
            every: seconds between two questions.
            longest: give up after so many seconds and return None; None = never.
            kind: what for, one of `events.WAITS`.

        Raises:
            Stopped: the flag was set.
        """
        deadline = None if longest is None else self.clock() + longest
        return self._until(condition, deadline, every, reason, kind)

    def _until(
        self, condition: Callable[[], T | None], deadline: float | None, every: float, reason: Reason, kind: str
    ) -> T | None:
        shown: str | None = None
        try:
            while True:
                self.tick()
                if (value := condition()) is not None:
                    return value
                now = self.clock()
                if deadline is not None and now >= deadline:
                    return None
                if (why := reason if isinstance(reason, str) else reason()) != shown:
                    self.report(events.Waiting(why, kind))
                    shown = why
                self._sleep_ticking(min(every, deadline - now) if deadline is not None else every)
        finally:
            if shown is not None:
                self.report(events.Waiting(None))

    def _sleep_ticking(self, seconds: float) -> None:
        sleep = self.sleep or self.stop.wait
        end = self.clock() + seconds
        while (left := end - self.clock()) > 0:
            sleep(min(left, TICK))
            self.tick()
