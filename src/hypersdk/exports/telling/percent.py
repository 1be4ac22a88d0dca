"""One number for a whole export: percent, never falling, 100 only at the end. Pure."""

from __future__ import annotations

from collections.abc import Callable

from hypersdk import events
from hypersdk.exports.plan import ExportPlan

_WEIGHTS = {"await-image": 30.0, "await-object": 30.0, "download": 30.0, "verify-object": 30.0, "verify": 5.0}
"""Shares of a typical export's time: OCI needs about as long for the image as for its export (17 and 19 minutes for
47 GB, reference oci-api.md section 3), and a download over a good line is no longer. All other steps are moments."""

_MOMENT = 1.0

_NEARLY = 0.999
"""A step that has moved all its bytes is done only when it says so."""


class PercentReporter:
    """Turns the events of one export into `callback(percent)`.

    Args:
        plan: the export's plan.
        callback: takes a percentage from 0 to 100; called only when it grew.
    """

    def __init__(self, plan: ExportPlan, callback: Callable[[float], None]) -> None:
        weights = {step.name: _WEIGHTS.get(step.kind, _MOMENT) for step in plan.steps}
        whole = sum(weights.values())
        self._share = {name: weight / whole for name, weight in weights.items()}
        self._done = dict.fromkeys(self._share, 0.0)
        self._callback = callback
        self._shown = -1.0

    def __call__(self, event: events.Event, /) -> None:
        """Take one event."""
        if isinstance(event, events.StepFinished):
            self._move(event.step, 1.0)
        elif isinstance(event, events.StepAdvanced) and event.total:
            self._move(event.step, min(event.done / event.total, _NEARLY))

    def _move(self, step: str, part: float) -> None:
        if step not in self._share:
            return
        self._done[step] = max(self._done[step], part)
        finished = all(done == 1.0 for done in self._done.values())
        percent = 100.0 if finished else 100 * sum(self._share[name] * done for name, done in self._done.items())
        # Sums of floats may reach 100 a step too early; only the end is the end.
        percent = percent if finished else min(percent, 99.9)
        if percent > self._shown:
            self._shown = percent
            self._callback(percent)
