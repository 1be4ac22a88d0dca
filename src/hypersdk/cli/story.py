"""How a run is told: one row of facts, who drives it, and its story from beginning to end. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from hypersdk.cli.output import moment
from hypersdk.exports import api
from hypersdk.exports.telling.chronicle import gist
from hypersdk.exports.telling.position import owner_words, told_by
from hypersdk.model import format_seconds
from hypersdk.runs.records import ACTIVE, INTERRUPTED, Happening, Holder, Run

_COUNTED = re.compile(r" \(\d+ times\)$")
LINES_OF_WAITS = 8
"""Reasons to wait that are summed up, the longest first."""


def state_of(run: Run, *, alive: bool) -> str:
    """A run's state, as it is now: one whose process died without a word is interrupted."""
    return INTERRUPTED if run.state == ACTIVE and not alive else run.state


def facts(run: Run, holder: Holder | None) -> dict[str, Any]:
    """A run as a row of a table or of JSON.

    Args:
        run: the run.
        holder: who drives it or drove it last, if anybody.
    """
    alive = holder is not None and holder.alive
    told = told_by(holder)
    return {
        "run_id": run.run_id,
        "instance_id": run.plan["instance_id"],
        "instance_name": run.subject,
        "state": state_of(run, alive=alive),
        "percent": None if told.get("percent") is None else int(told["percent"]),
        "detail": run.detail,
        "created": moment(run.created),
        "updated": moment(run.updated),
        "generation": run.generation,
        "destinations": list(api.destinations(run)),
        "fleet_id": run.fleet_id,
        "host": run.host,
        "tool_version": run.tool_version,
        "driver": _driver(holder, told) if holder is not None and holder.alive else None,
    }


def _driver(holder: Holder, told: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "owner": owner_words(holder.owner),
        "began": moment(told.get("began")),
        "heartbeat": moment(holder.heartbeat),
        "step": told.get("step"),
        "done": told.get("done"),
        "total": told.get("total"),
        "unit": told.get("unit"),
        "waiting": told.get("waiting"),
        "waiting_since": moment(told.get("waiting_since")),
        "stalled": told.get("stalled"),
    }


_ORDER = {"began": 0, "step": 1, "cut": 1, "ended": 3}


def ordered(history: Sequence[Happening]) -> list[Happening]:
    """A story in the order in which it is told: a step, then what happened in it, also where both began at once."""
    return sorted(history, key=lambda one: (one.at, _ORDER.get(one.kind, 2)))


def happening(one: Happening) -> dict[str, Any]:
    """One line of a story as JSON values."""
    seconds = None if one.seconds is None else round(one.seconds, 3)
    return {"at": moment(one.at), "kind": one.kind, "step": one.step, "text": one.text, "seconds": seconds}


def now_line(facts: Mapping[str, Any]) -> str | None:
    """What a run that is driven does at this moment, in words."""
    driver = facts["driver"]
    if driver is None:
        return None
    parts = [f"driven by {driver['owner']}"]
    if driver["began"]:
        parts[0] += f" since {_local(driver['began'])}"
    if driver["step"]:
        parts.append(f"now {driver['step']}")
    if facts["percent"] is not None:
        parts.append(f"{facts['percent']} % of all")
    if driver["waiting"]:
        parts.append(f"waiting since {_local(driver['waiting_since'])}: {driver['waiting']}")
    if driver["stalled"]:
        parts.append(driver["stalled"])
    return ", ".join(parts)


def timeline(history: Sequence[Happening]) -> Iterator[str]:
    """A story, line by line: when, how long, what. Times are local."""
    day = ""
    for one in history:
        when = datetime.fromisoformat(one.at).astimezone()
        if f"{when:%Y-%m-%d}" != day:
            day = f"{when:%Y-%m-%d}"
            yield day
        long = "" if one.seconds is None else format_seconds(one.seconds)
        yield f"  {when:%H:%M:%S}  {long:>10}  {_headed(one)}"


_HEADS = {"wait": "    waited: ", "held": "    waited: ", "retry": "    ", "stall": "    stalled: "}


def _headed(one: Happening) -> str:
    if one.kind in {"step", "cut"}:
        return f"{one.step}: {one.text}"
    if one.kind == "note":
        return f"{'    ' if one.step else ''}note: {one.text}"
    return f"{_HEADS.get(one.kind, '')}{one.text}"


def waits(history: Sequence[Happening]) -> list[tuple[str, float]]:
    """What a run waited for and how long in all, the longest first; figures in a reason do not make it another one."""
    found: dict[str, tuple[str, float]] = {}
    for one in history:
        if one.kind in {"wait", "held"} and one.seconds is not None:
            reason = _COUNTED.sub("", one.text)
            about = gist(reason)
            found[about] = (reason, found.get(about, ("", 0.0))[1] + one.seconds)
    return sorted(found.values(), key=lambda each: -each[1])


def waited_line(history: Sequence[Happening]) -> str | None:
    """What it waited for in all, in one line."""
    found = waits(history)
    if not found:
        return None
    said = "; ".join(f"{format_seconds(seconds)} {reason}" for reason, seconds in found[:LINES_OF_WAITS])
    more = f"; and {len(found) - LINES_OF_WAITS} more" if len(found) > LINES_OF_WAITS else ""
    return f"waited in all: {said}{more}"


def _local(time: str) -> str:
    when = datetime.fromisoformat(time).astimezone()
    today = datetime.now(UTC).astimezone().date()
    return f"{when:%H:%M:%S}" if when.date() == today else f"{when:%Y-%m-%d %H:%M}"
