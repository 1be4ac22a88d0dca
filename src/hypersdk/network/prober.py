"""Asks one endpoint whether it is there: many may want to know, one question goes out.

A question that hangs (a packet was lost, a name server is silent) does not hold up the next one: when the link comes
back, a new question is answered at once, the old one only after its time-out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

AT_ONCE = 3
"""Most questions to one endpoint that wait for their answers."""


def in_thread(work: Callable[[], None]) -> None:
    """Do something beside everything else; the one place that makes the threads which ask."""
    threading.Thread(target=work, name="probe", daemon=True).start()


@dataclass(slots=True)
class Question:
    """One question to an endpoint.

    Attributes:
        asked: monotonic second.
        done: set when the answer is there, or known not to come.
        why: why nobody answered; None = somebody did.
    """

    asked: float
    done: threading.Event = field(default_factory=threading.Event)
    why: str | None = None


class Prober:
    """Asks one endpoint. Safe to use from several threads.

    Args:
        name: of the endpoint, for people.
        probe: asks, and says why nobody answered; None = somebody did.
        clock: monotonic seconds.
        now: time of day.
        start: runs a question; at once where it is a call, which a virtual clock needs.
    """

    def __init__(
        self,
        name: str,
        probe: Callable[[], str | None],
        *,
        clock: Callable[[], float],
        now: Callable[[], datetime],
        start: Callable[[Callable[[], None]], object],
    ) -> None:
        self.name = name
        self.silent_since: datetime | None = None
        self._probe = probe
        self._clock = clock
        self._now = now
        self._start = start
        self._lock = threading.Lock()
        self._hanging = 0
        self._latest: Question | None = None

    def ask(self, not_before: float) -> Question:
        """A question that was asked at this second or later; a new one, if there is none.

        Args:
            not_before: monotonic second. With too many questions on their way it is an older one.
        """
        with self._lock:
            latest = self._latest
            if latest is not None and (latest.asked >= not_before or self._hanging >= AT_ONCE):
                return latest
            question = self._latest = Question(self._clock())
            self._hanging += 1
        self._start(lambda: self._answer(question))
        return question

    def _answer(self, question: Question) -> None:
        try:
            question.why = self._probe()
        except Exception as error:  # noqa: BLE001 - a probe of the caller's; who waits for it must not wait for ever
            question.why = f"it cannot be asked: {error}"
        with self._lock:
            self._hanging -= 1
            if question.why is None:
                self.silent_since = None
            elif question is self._latest:
                self.silent_since = self.silent_since or self._now()
        question.done.set()
