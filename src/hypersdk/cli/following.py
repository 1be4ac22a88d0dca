"""Follows a run that another process drives, from the run store alone: what it tells becomes events again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypersdk import events
from hypersdk.exports.telling.position import told_by
from hypersdk.exports.telling.retelling import retold
from hypersdk.runs.history import history
from hypersdk.runs.records import ACTIVE, INTERRUPTED, UNFINISHED, Holder, Run
from hypersdk.runs.store import RunStore
from hypersdk.waiting import Waiter

LOOK_EVERY = 1.0
"""Seconds between two looks at the store; heartbeats come every 2 s."""

SETTLING = 3
"""Looks at an interrupted run that nobody drives before it is believed: it may be about to be taken."""

_TOLD = frozenset({"note", "retry"})
"""Kinds of happenings that are passed on as notes."""


class Follower:
    """Turns what the store says of a run into events.

    Args:
        runs: the store.
        run_id: the run.
        report: takes the events.
    """

    def __init__(self, runs: RunStore, run_id: str, report: events.Reporter) -> None:
        self._runs = runs
        self._run_id = run_id
        self._report = report
        self._told = {(one.at, one.kind, one.text) for one in history(runs, run_id)}
        self._progress: Mapping[str, Any] = {}
        self._unheld = 0

    def follow(self, waiter: Waiter) -> Run:
        """Wait for the end of the run; answers the run as it ended.

        Raises:
            Stopped: somebody asked this process to stop; the run goes on.
        """
        ended = waiter.wait_for(f"run {self._run_id}", self._look, every=LOOK_EVERY)
        assert ended is not None
        return ended

    def _look(self) -> Run | None:
        run, holder = self._runs.run(self._run_id), self._runs.holder(self._run_id)
        self._tell_history()
        driven = holder is not None and holder.alive
        if driven and holder is not None:
            self._tell_progress(holder)
        self._unheld = 0 if driven else self._unheld + 1
        if run.state not in UNFINISHED and not driven:
            return run
        told = told_by(holder)
        settled = self._unheld >= SETTLING or (told.get("ending") is not None and not driven)
        if run.state in {ACTIVE, INTERRUPTED} and settled:
            return run
        return None

    def _tell_progress(self, holder: Holder) -> None:
        told = told_by(holder)
        for event in retold(self._run_id, told, self._progress):
            self._report(event)
        self._progress = told

    def _tell_history(self) -> None:
        for one in history(self._runs, self._run_id):
            key = (one.at, one.kind, one.text)
            if key in self._told:
                continue
            self._told.add(key)
            if one.kind == "step":
                self._report(events.StepFinished(self._run_id, one.step or "", one.text))
            elif one.kind in _TOLD:
                self._report(events.Note(one.text))
