"""Prints runs: one with its story, many as rows."""

from __future__ import annotations

from typing import Any

from hypersdk.cli import story
from hypersdk.cli.output import Output, moment, printable
from hypersdk.exports.cleanup import leftovers
from hypersdk.exports.telling.position import told_by
from hypersdk.runs.history import history
from hypersdk.runs.records import Run
from hypersdk.runs.store import RunStore


def show_run(out: Output, runs: RunStore, run: Run) -> None:
    """Print a run and its story."""
    left = [str(one) for one in leftovers(runs, run.run_id)]
    steps = [
        {"name": step.name, "state": step.state, "started": moment(step.started), "finished": moment(step.finished)}
        for step in runs.steps(run.run_id)
    ]
    told = story.ordered(history(runs, run.run_id))
    holder = runs.holder(run.run_id)
    progress = told_by(holder)
    facts = story.facts(run, holder)
    if out.as_json:
        happened = [story.happening(one) for one in told]
        ended = {"ending": progress.get("ending"), "log": progress.get("log")}
        out.json({"run": {**facts, **ended, "steps": steps, "history": happened, "stays_in_tenancy": left}})
        return
    shown = {name: value for name, value in facts.items() if name not in {"driver", "percent"}}
    out.facts("run", {**shown, "log": progress.get("log"), "now": story.now_line(facts)})
    if told:
        for line in (*story.timeline(told), story.waited_line(told)):
            if line is not None:
                out.line(printable(line))
    else:
        out.table("steps", steps, ("name", "state", "started", "finished"))
    for line in left:
        out.line(printable(f"stays in the tenancy: {line}"))


def to_rows(runs: RunStore, found: list[Run]) -> list[dict[str, Any]]:
    """Runs as rows of a table or of JSON."""
    holders = runs.holders([run.run_id for run in found])
    return [story.facts(run, holders.get(run.run_id)) for run in found]
