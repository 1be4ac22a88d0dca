"""Everybody who watches a run while this process drives it: heartbeat, story, position, log, stalls.

Rules of this file: a tick writes at most once in `BEAT_EVERY` seconds; a store that cannot be written for a moment ends
no run that moves, a lost lease does, at once; what watchers know is in the store before the run's state says that
it has ended.
"""

from __future__ import annotations

import os
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from hypersdk import errors, events
from hypersdk.exports.context import Context
from hypersdk.exports.telling.chronicle import Chronicle
from hypersdk.exports.telling.logbook import Logbook, log_path
from hypersdk.exports.telling.position import Position, owner_words
from hypersdk.exports.telling.stalls import StallDetector
from hypersdk.model import format_seconds
from hypersdk.runs import history
from hypersdk.runs.records import ACTIVE, Run, Usual

BEAT_EVERY = 2.0
"""Seconds between two heartbeats; also how soon `runs cancel` is heard."""

LATER = 30.0
"""Seconds after which a story that could not be written is tried again: each try may take its time, in which no byte
moves. Heartbeats do not wait for the store."""

STORE_FAILS = (errors.ConfigError, errors.StoreUnreachable, errors.DiskFull)
"""What a run store says when it cannot be written."""

STOOD_STILL = 60.0
"""Seconds between two ticks that are told: waits and transfers tick every second."""


class Watch:
    """Watches one run from the moment that its lease is taken.

    Args:
        ctx: the run.
        run: as the store had it before.
        doing: what is done with it; None = it is begun, or resumed.
    """

    def __init__(self, ctx: Context, run: Run, doing: str | None = None) -> None:
        rooms = ctx.rooms
        self.listening = True
        self._ctx = ctx
        self._clock = rooms.waiter.clock
        self._chronicle = Chronicle(rooms.now, self._clock)
        self._log = None if rooms.logs is None else Logbook(log_path(rooms.logs, run.run_id), rooms.now, self._clock)
        owner = owner_words(f"{rooms.runs.host}:{os.getpid()}")
        path = str(self._log.path) if self._log is not None and self._log.usable else None
        self._position = Position(ctx.plan, owner, path, rooms.now)
        self._stalls = StallDetector(self._usual, self._clock())
        self._before = rooms.waiter.report
        self._due = self._ticked = self._clock()
        self._write_due = self._due
        self._failing = False
        self._tell_beginning(run, owner, doing)

    def __enter__(self) -> Self:
        self._ctx.rooms.waiter.report = self
        self._ctx.rooms.waiter.hooks.append(self._tick)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        waiter = self._ctx.rooms.waiter
        waiter.hooks.remove(self._tick)
        waiter.report = self._before
        if self._log is not None:
            if error is not None:
                self._log.failed(error)
            self._log.close()

    def __call__(self, event: events.Event, /) -> None:
        """Tell everybody of one event."""
        self._before(event)
        self._chronicle(event)
        self._position(event)
        if isinstance(event, events.StepStarted):
            self._due = self._clock()  # whoever asks what we do learns of a new step at once
        self._stalls.take(event, self._clock())
        if self._log is not None:
            self._log(event)

    def ended(self, state: str, error: BaseException | None = None) -> None:
        """Write down how the run ended, before its state says so.

        Args:
            state: what it will be.
            error: why, if it did not end well.

        Raises:
            LeaseLost: another process drives the run.
        """
        for line in () if error is None else getattr(error, "__notes__", ()):
            self._chronicle(events.Note(line))
        self._chronicle.end(state if error is None else f"{state}: {error}")
        self._position.facts.ending = ending(error)
        if error is not None and self._log is not None and self._log.usable:
            error.__notes__ = [f"log file: {self._log.path}", *getattr(error, "__notes__", ())]
        with suppress(*STORE_FAILS):  # the store says so itself when the state is written
            self._write()
        self._ctx.drive.beat(self._position.told())

    def _tell_beginning(self, run: Run, owner: str, doing: str | None) -> None:
        rooms, done = self._ctx.rooms, len(self._ctx.results)
        holder = rooms.runs.holder(run.run_id)
        told = holder.progress if holder is not None else None
        if run.state == ACTIVE and told is not None:
            where = f" in {told['step']}" if told.get("step") else ""
            where += f", waiting: {told['waiting']}" if told.get("waiting") else ""
            last = f"ended without a word, last heard of {told['at']}{where}"
            self._chronicle(events.Note(f"{told['owner']} {last}"))
        verb = doing or ("resumed" if done or told is not None else "begun")
        steps = f"; {done} of {len(self._ctx.plan.steps)} steps were done" if done else ""
        text = f"{verb} by `{rooms.command}` on {owner}, hypersdk {rooms.runs.version}{steps}"
        self._chronicle.begin(text)
        if self._log is not None:
            self._log.line(text)

    def _usual(self, step: str) -> Usual | None:
        with suppress(*STORE_FAILS):
            return history.usual(self._ctx.rooms.runs.now_or_never(), step)
        return None

    def _tick(self) -> None:
        now = self._clock()
        if now - self._ticked >= STOOD_STILL:
            still = format_seconds(now - self._ticked)
            self(
                events.Note(f"nothing was looked at for {still}: this process was suspended, or a call did not return")
            )
            self._stalls.forgive(now)
        self._ticked = now
        if (stall := self._stalls.look(now)) is not None:
            self(stall)
        if now >= self._due:
            self._due = now + BEAT_EVERY
            self._beat(now)

    def _beat(self, now: float) -> None:
        # Whoever follows learns that a step has ended before he learns of the next one.
        if now >= self._write_due:
            self._write_some(now)
        if self._ctx.drive.beat(self._position.told()) and self.listening:
            self._ctx.rooms.waiter.stop.set(cancelled=True)

    def _write_some(self, now: float) -> None:
        try:
            self._write(patient=False)
        except STORE_FAILS as error:
            self._write_due = now + LATER
            if not self._failing:
                self._failing = True
                self(events.Note(f"{error.message}: going on, and trying again"))
        else:
            self._failing = False

    def _write(self, *, patient: bool = True) -> None:
        ready = self._chronicle.take()
        try:
            history.write(self._ctx.drive, ready, patient=patient)
        except STORE_FAILS:
            self._chronicle.put_back(ready)
            raise


def ending(error: BaseException | None) -> dict[str, Any]:
    """How a run ended, as JSON values: what scripts decide by."""
    if error is None:
        return {"code": None, "exit_code": 0, "message": None, "request_id": None, "hint": None}
    if isinstance(error, errors.HypersdkError):
        facts = {"message": error.message, "request_id": error.request_id, "hint": error.hint}
        return {"code": error.code, "exit_code": error.exit_code, **facts}
    text = f"{type(error).__name__}: {error}"
    return {"code": "internal", "exit_code": 1, "message": text, "request_id": None, "hint": None}
