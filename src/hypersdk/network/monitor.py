"""Knows whether the endpoints in use can be reached, and waits until they can.

Rules of this file:
- Down is found out by asking (`prober`), never believed of an event; a byte that comes is worth more than any answer.
- Who works ticks: then what was asked is concluded, in the thread that works. Threads of this room only ask and tell.
- Connections that are dead and do not know it: once the endpoint answers after an outage, after this process stood
  still, or after its address or its way out changed, who has been silent since before (`broken_before`) is dropped by
  those who have it, and asks again without spending an attempt. After any other change the same holds for bodies that
  stopped in the middle (`doubted_before`); an answer that is still to come may just take its time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import EllipsisType
from typing import Self
from weakref import WeakSet

from hypersdk import events
from hypersdk.network.kernel import Change
from hypersdk.network.prober import Prober, Question, in_thread
from hypersdk.network.watch import Watch
from hypersdk.waiting import Waiter

PROBE_EVERY = 2.0
"""Seconds between two probes while down: recovery must be noticed fast, and a probe is one small request."""

LOOK_EVERY = 0.25
"""Seconds between two looks for an answer while everything waits for the network."""

QUIET = 4.0
"""Seconds without a byte, of all that is in flight, after which the endpoint is asked; then seconds between two."""

NEVER = float("-inf")

Endpoints = Callable[[], Mapping[str, Callable[[], str | None]]]
"""Name -> asks the endpoint and says why nobody answered; None = somebody did."""


def _local_now() -> datetime:
    return datetime.now(UTC).astimezone()


def _nobody() -> Mapping[str, Callable[[], str | None]]:
    return {}


class NetworkMonitor:
    """Knows whether the network is down. While it is, nothing is tried, no attempt is spent, and all go on afterwards.

    Give one monitor to everything that a program does at the same time (`monitor=` of `hypersdk.connect`,
    `hypersdk.export_instance`, ...): then one thread watches this machine, and each endpoint is asked once for all who
    wait for it. Safe to use from several threads; close it at the end, or use it as a context manager.

    Args:
        probe: a question of your own that says whether the network is up; left out, the endpoints in use are asked;
            None = no monitor: the network always counts as up (`network.monitor: false`).
        clock: monotonic seconds.
        now: time of day for "down since".
        start: runs a probe beside the work; a call that runs it at once suits a virtual clock.

    Attributes:
        down_since: when an endpoint in use was found unreachable; None while all can be reached.
        broken_before: monotonic second; a connection that has been silent since before it is dead.
        doubted_before: monotonic second; so is a body that stopped before it.

    Example:
        >>> import hypersdk
        >>> with hypersdk.NetworkMonitor() as monitor:
        ...     monitor.down_since is None
        True
    """

    def __init__(
        self,
        probe: Callable[[], bool] | EllipsisType | None = ...,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = _local_now,
        start: Callable[[Callable[[], None]], object] = in_thread,
    ) -> None:
        self.down_since: datetime | None = None
        self.broken_before = NEVER
        self.doubted_before = NEVER
        self._off = probe is None
        self._own = not isinstance(probe, EllipsisType)
        self._endpoints: Endpoints = _nobody
        if probe is not None and not isinstance(probe, EllipsisType):
            ask = probe
            self._endpoints = lambda: {"the network": lambda: None if ask() else "no answer"}
        self._clock = clock
        self._now = now
        self._lock = threading.RLock()
        self._heard_at = NEVER
        self._wanted: float | None = None  # an answer to a question of this second or later is wanted
        self._doubted = False  # silent bodies are dead if it comes
        self._broken = False  # all that is silent is
        self._silent = ""  # who does not answer, and why
        self._parent: NetworkMonitor | None = None
        self._machine = _Machine(clock, now, start)
        self._machine.join(self)

    def over(self, endpoints: Endpoints) -> NetworkMonitor:
        """The monitor of some endpoints: it shares who watches this machine, and who asks the same endpoint.

        Args:
            endpoints: those in use, by name. A monitor that is off, or has a probe of its own, goes by that.
        """
        if self._own:
            return self
        part = NetworkMonitor(clock=self._clock, now=self._now)
        part._endpoints, part._parent, part._machine = endpoints, self._parent or self, self._machine
        part._machine.join(part)
        return part

    def heard(self) -> None:
        """Note that a byte arrived: the network is up."""
        self._heard_at = self._clock()
        if self.down_since is not None:
            self._came_up(self._heard_at)

    def failed(self, began: float | None = None, waiter: Waiter | None = None) -> bool:
        """Note that a call got no (whole) reply; asks whether anybody answers.

        Args:
            began: monotonic second at which the call began.
            waiter: ticks while we wait for the answer, so that its stop flag ends it.

        Returns:
            True if the failure must not count as an attempt: the network is down, or was since the call began.

        Raises:
            Stopped: the waiter's flag was set.
        """
        if self._off:
            return False
        self.tick()
        if self._excuses(began):
            return True
        now = self._clock()  # what came before proves nothing: an outage begins after the last byte
        while self._ask(now) is None:
            if waiter is not None:
                waiter.tick()
        return self._excuses(began)

    def doubt(self, silence: float) -> None:
        """Note that nothing moves: if that lasts, the endpoint is asked beside the work, and `tick` concludes.

        Args:
            silence: seconds without a byte.
        """
        if silence < QUIET or self._off or self._wanted is not None:
            return
        if (now := self._clock()) - self._heard_at >= QUIET:
            self._wanted = now
            self._look(now)

    def changed(self, change: Change | None = None) -> None:
        """Note that the network of this machine changed, or that it slept; for those who know it from elsewhere.

        Args:
            change: what happened; None = something that breaks connections.
        """
        self._machine.tell(change or Change("the network changed", breaking=True))

    def note(self, change: Change) -> None:
        """Ask the endpoints in use, because of a change of which all monitors of this process are told."""
        if self._off:
            return
        with self._lock:
            self._wanted = now = self._clock()
            self._doubted, self._broken = True, self._broken or change.breaking
        self._look(now)

    def tick(self) -> None:
        """Look around; who works or waits calls this at least every second. A tick hook of `Waiter`."""
        if self._off:
            return
        self._machine.watch.tick()
        if (wanted := self._wanted) is not None and self.down_since is None and wanted <= self._clock():
            self._conclude(wanted)

    def look(self, silent: float) -> None:
        """Do what `tick` does, for work that has not ticked for so many seconds: it may hang in a call."""
        if self.down_since is not None:
            self._is_up()
        elif self._wanted is None:
            self.doubt(silent)
        else:
            self._conclude(self._wanted)

    def wait_until_up(self, waiter: Waiter) -> None:
        """Wait, without limit and spending no attempt, until the endpoints answer.

        Raises:
            Stopped: somebody asked to stop.
        """
        if self.down_since is not None:
            waiter.wait_for(self._reason, self._is_up, every=LOOK_EVERY, kind=events.NETWORK)

    def close(self) -> None:
        """Watch this machine no more. A monitor that was made by `over` leaves that to the one that it came from."""
        self._machine.leave(self)
        if self._parent is None:
            self._machine.watch.close()
        self._gather()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _excuses(self, began: float | None) -> bool:
        return self.down_since is not None or (began is not None and began < self.broken_before)

    def _look(self, not_before: float) -> list[tuple[Prober, Question]]:
        """The questions, asked at this second or later, of all endpoints in use."""
        probers = [self._machine.prober(name, probe) for name, probe in self._endpoints().items()]
        return [(prober, prober.ask(not_before)) for prober in probers]

    def _ask(self, not_before: float) -> bool | None:
        """Whether all endpoints answer to a question of this second or later; waits a little, None = not known yet."""
        asked = self._look(not_before)
        if pending := [question for _, question in asked if not question.done.is_set()]:
            pending[0].done.wait(LOOK_EVERY / 2)
        silent = [(prober, question) for prober, question in asked if question.done.is_set() and question.why]
        if silent:
            self._went_down(*silent[0])
            return False
        if all(question.done.is_set() for _, question in asked):
            self._came_up(min((question.asked for _, question in asked), default=not_before))
            return True
        return None

    def _conclude(self, wanted: float) -> None:
        asked = self._look(wanted)
        if all(question.done.is_set() for _, question in asked):
            up = self._ask(wanted)
            with self._lock:
                if self._wanted == wanted:
                    # Nobody answers and bytes come: which of the two goes on is asked once more.
                    self._wanted = None if up or self.down_since is not None else self._clock() + PROBE_EVERY

    def _is_up(self) -> bool | None:
        """Whether the network is up; None = no. Asks every now and then, and after a change at once."""
        if self.down_since is None:
            return True
        wanted = self._wanted
        up = self._ask(max(self._clock() - PROBE_EVERY, NEVER if wanted is None else wanted))
        with self._lock:
            if up is not None and self._wanted == wanted:
                self._wanted = None
        return up or None

    def _went_down(self, prober: Prober, question: Question) -> None:
        with self._lock:
            if self._heard_at > question.asked:
                return
            if self.down_since is None:
                self._silent = f"{prober.name}: {question.why}"
                self.down_since = prober.silent_since or self._now()
        self._gather()

    def _came_up(self, at: float) -> None:
        with self._lock:
            if self.down_since is not None or self._broken:
                self.broken_before = max(self.broken_before, at)
            if self.down_since is not None or self._doubted:
                self.doubted_before = max(self.doubted_before, at)
            self._doubted = self._broken = False
            self._heard_at = max(self._heard_at, at)
            self.down_since = None
        self._gather()

    def _gather(self) -> None:
        """Let who has the monitor from which this one came see the earliest outage."""
        if self._parent is not None:
            parts = [each.down_since for each in self._machine.joined() if each is not self._parent]
            self._parent.down_since = min((since for since in parts if since is not None), default=None)

    def _reason(self) -> str:
        since, now = self.down_since, self._now()
        if since is None:
            return "network: up again"
        form = "%H:%M" if since.date() == now.date() else "%Y-%m-%d %H:%M"
        return f"network down since {since:{form}} ({self._silent})"


class _Machine:
    """What the monitors of one process share: who watches this machine, and who asks which endpoint."""

    def __init__(
        self,
        clock: Callable[[], float],
        now: Callable[[], datetime],
        start: Callable[[Callable[[], None]], object],
    ) -> None:
        self.watch = Watch(self.tell, self._look, clock)
        self._clock = clock
        self._now = now
        self._start = start
        self._lock = threading.Lock()
        self._probers: dict[str, Prober] = {}
        self._monitors: WeakSet[NetworkMonitor] = WeakSet()

    def join(self, monitor: NetworkMonitor) -> None:
        """Tell a monitor of changes, too."""
        with self._lock:
            self._monitors.add(monitor)

    def leave(self, monitor: NetworkMonitor) -> None:
        """Tell it no more."""
        with self._lock:
            self._monitors.discard(monitor)

    def joined(self) -> list[NetworkMonitor]:
        """Who is told."""
        with self._lock:
            return list(self._monitors)

    def prober(self, name: str, probe: Callable[[], str | None]) -> Prober:
        """Who asks this endpoint."""
        with self._lock:
            if name not in self._probers:
                self._probers[name] = Prober(name, probe, clock=self._clock, now=self._now, start=self._start)
            return self._probers[name]

    def tell(self, change: Change) -> None:
        """Tell all of a change."""
        for monitor in self.joined():
            monitor.note(change)

    def _look(self, silent: float) -> None:
        for monitor in self.joined():
            monitor.look(silent)
