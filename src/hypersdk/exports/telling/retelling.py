"""What another process tells of a run in its heartbeats becomes events again. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hypersdk import events


def retold(run_id: str, told: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[events.Event]:
    """The events between two heartbeats.

    Args:
        run_id: the run.
        told: what the newer one says (`position.py`).
        before: what the older one said; empty = there was none.
    """
    step = told.get("step")
    if step is not None and (step, told["step_since"]) != (before.get("step"), before.get("step_since")):
        yield events.StepStarted(run_id, step, told["title"])
    if step is not None and told["done"] is not None and told["done"] != before.get("done"):
        yield events.StepAdvanced(run_id, step, told["done"], told["total"], told["unit"])
    # A process that takes a run over counts its bytes from nought.
    same = told.get("began") == before.get("began")
    wire, disk = (told.get(key, 0) - (before.get(key, 0) if same else 0) for key in ("wire", "disk"))
    if wire > 0 or disk > 0:
        yield events.Bytes(max(0, wire), max(0, disk))
    if told.get("waiting") != before.get("waiting"):
        yield events.Waiting(told.get("waiting"))
    if told.get("stalled") and told["stalled"] != before.get("stalled"):
        yield events.Stalled(run_id, step or "", 0.0, None, told["stalled"])
