"""How the plan of a fleet is printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hypersdk.cli.output import Output
from hypersdk.fleet.nouns import DONE, REFUSED, FleetPlan, Item
from hypersdk.model import format_size

COLUMNS = ("number", "instance", "region", "compartment", "size", "takes", "destination", "note")
SHOWN_IF_SEVERAL = frozenset({"region", "compartment"})
"""Columns that say nothing if all rows say the same."""


def print_plan(out: Output, plan: FleetPlan) -> None:
    """Print what a fleet would do: a row for each instance, then what all of it comes to."""
    if out.as_json:
        out.json({"fleet_plan": to_json(plan)})
    else:
        rows = [_row(item) for item in plan.items]
        out.table("items", rows, [name for name in COLUMNS if _is_shown(name, rows)])
    for note in plan.notes:
        out.note(f"note: {note}")
    out.note(in_one_line(plan))


def ends(plan: FleetPlan) -> list[tuple[str, int]]:
    """What a dry run says of each item, for `outcomes.code_of`."""
    return [(DONE, 0) if item.refused is None else (REFUSED, 6) for item in plan.items]


def in_one_line(plan: FleetPlan) -> str:
    """What a plan comes to."""
    going = [item for item in plan.items if item.refused is None]
    refused = len(plan.items) - len(going)
    parts = [f"{len(going)} to export"] if going else []
    parts += [f"{refused} refused"] if refused else []
    if not parts:
        return "nothing was selected"
    unknown = sum(item.size is None for item in going)
    size = format_size(sum(item.size or 0 for item in going)) + (f" and {unknown} of unknown size" if unknown else "")
    parts += [f"boot volumes of {size}"] if going else []
    parts += [f"about {duration(plan.seconds)} in all"] if plan.seconds is not None else []
    return ", ".join(parts)


def to_json(plan: FleetPlan) -> Mapping[str, Any]:
    """A plan as JSON values; its form is `schemas/fleet_plan.schema.json`."""
    going = [item for item in plan.items if item.refused is None]
    return {
        "subject": plan.subject,
        "limits": {
            "parallel": plan.limits.parallel,
            "per_worker": plan.limits.per_worker,
            "per_region": plan.limits.per_region,
            "per_bucket": plan.limits.per_bucket,
        },
        "windows": list(plan.windows),
        "seconds": None if plan.seconds is None else round(plan.seconds),
        "size": sum(item.size or 0 for item in going),
        "counts": {"selected": len(plan.items), "to_export": len(going), REFUSED: len(plan.items) - len(going)},
        "notes": list(plan.notes),
        "items": [_item_json(item) for item in plan.items],
    }


def duration(seconds: float) -> str:
    """An estimate for people: two units at most."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{round(seconds)} s"
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    units = [(days, "d"), (hours, "h"), (minutes, "min")]
    first = next(number for number, (count, _) in enumerate(units) if count)
    return " ".join(f"{count} {unit}" for count, unit in units[first : first + 2] if count)


def _is_shown(name: str, rows: Sequence[Mapping[str, Any]]) -> bool:
    return name not in SHOWN_IF_SEVERAL or len({row[name] for row in rows}) > 1


def _row(item: Item) -> dict[str, Any]:
    return {
        "number": item.number,
        "instance": item.instance.name,
        "region": item.region,
        "compartment": item.compartment,
        "size": None if item.size is None else format_size(item.size),
        "takes": None if item.seconds is None else duration(item.seconds),
        "destination": " ".join(item.destinations) or None,
        "note": item.note if item.refused is None else f"refused: {item.refused}",
    }


def _item_json(item: Item) -> dict[str, Any]:
    one = item.instance
    return {
        "number": item.number,
        "instance_id": one.id,
        "instance_name": one.name,
        "lifecycle_state": one.lifecycle_state,
        "region": item.region,
        "compartment": item.compartment,
        "compartment_id": one.compartment_id,
        "formats": list(item.options.formats),
        "destinations": list(item.destinations),
        "bucket": item.bucket,
        "priority": item.priority,
        "size": item.size,
        "seconds": None if item.seconds is None else round(item.seconds),
        "refused": item.refused,
        "note": item.note or None,
    }
