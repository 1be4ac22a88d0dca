"""Notices that this machine's network changed, or that it slept: one thread for a process, which only tells.

Rules of this file:
- The thread starts when the work that ticks has lasted `LONG`: what ends sooner pays nothing (netlink takes a tenth of
  a second to load), and a connection that dies in longer work is found dead before its own time-outs know.
- It is told of links, addresses and routes by the kernel; where there is no netlink, or it fails, it says nothing, and
  asking the endpoint every few seconds must do.
- While the work does not tick, because a call of a vendor's SDK does not return, the thread looks in its place.
- A suspension shows in two ways: the clock that counts sleep ran ahead of the one that does not (the machine slept), or
  neither the thread nor the work ticked for `GAP` (the process was stopped: SIGSTOP, a frozen virtual machine).
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from hypersdk.network.kernel import Change, KernelEvents

LONG = 1.0
"""Seconds of work after which the kernel is listened to."""

GAP = 5.0
"""Seconds without a tick after which the process counts as having been stopped."""

TICK = 1.0
"""Seconds between two ticks of the thread."""

STUCK, IDLE = 4.0, 120.0
"""Seconds without a tick of the work after which somebody else has to look, and after which there is no work: every
call of a vendor's SDK has ended by then."""


def boottime() -> float:
    """Seconds that also count while the machine sleeps; 0 where the system has no such clock."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return 0.0 if clock is None else time.clock_gettime(clock)


class Watch:
    """Watches this machine. Safe to use from several threads.

    Args:
        tell: told of each change, by whichever thread notices it.
        look: called every second while the work does not tick, with the seconds for which it has not.
        clock: monotonic seconds.
        sleeping_clock: the same, but counting sleep; 0 always = there is none.
    """

    def __init__(
        self,
        tell: Callable[[Change], None],
        look: Callable[[float], None],
        clock: Callable[[], float],
        sleeping_clock: Callable[[], float] = boottime,
    ) -> None:
        self._tell = tell
        self._look = look
        self._clock = clock
        self._sleeping_clock = sleeping_clock
        self._lock = threading.Lock()
        self._began: float | None = None
        self._ticked = 0.0
        self._worked = 0.0
        self._slept = 0.0
        self._thread: threading.Thread | None = None
        self._wake = (-1, -1)
        self._closed = False

    def tick(self) -> None:
        """Note that the work goes on; it calls this at least every few seconds."""
        self._worked = self._clock()
        self._note()

    def _note(self) -> None:
        """Note that the process runs, and see whether it did not."""
        now, boot = self._clock(), self._sleeping_clock()
        with self._lock:
            if self._began is None:
                self._began, self._ticked, self._slept = now, now, boot - now
            # Without the thread, one long call of the work looks like a process that was stopped.
            stood = now - self._ticked if self._thread is not None else 0.0
            slept = boot - now - self._slept if boot else 0.0
            self._ticked, self._slept = now, boot - now
            if self._thread is None and not self._closed and now - self._began >= LONG:
                self._start()
        if (seconds := max(stood, slept)) >= GAP:
            self._tell(Change(f"woken after {seconds:.0f} s", breaking=True))

    def close(self) -> None:
        """Watch no more; the thread ends."""
        with self._lock:
            self._closed = True
            thread, self._thread = self._thread, None
        if thread is not None:
            os.write(self._wake[1], b".")
            thread.join()
            for descriptor in self._wake:
                os.close(descriptor)

    def _start(self) -> None:
        self._wake = os.pipe()
        self._thread = threading.Thread(target=self._run, args=(self._wake[0],), name="network", daemon=True)
        self._thread.start()

    def _run(self, wake: int) -> None:
        # Whatever is wrong with it: it is a convenience, and asking every few seconds must do.
        with suppress(Exception):
            kernel = KernelEvents()
            try:
                self._tell(Change("who listens now may have missed something", breaking=True))
                while not self._closed:
                    change = kernel.wait(TICK, wake)
                    self._take_turn()
                    if change is not None:
                        self._tell(change)
            finally:
                kernel.close()
        while not self._closed:
            select.select([wake], [], [], TICK)
            self._take_turn()

    def _take_turn(self) -> None:
        self._note()
        if STUCK <= (silent := self._clock() - self._worked) < IDLE:
            self._look(silent)
