"""What the parts of a fleet exchange, as plain data. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypersdk.exports.options import ExportOptions
from hypersdk.model import Instance

DONE = "done"
SKIPPED = "skipped"
REFUSED = "refused"
FAILED = "failed"
INTERRUPTED = "interrupted"
CANCELLED = "cancelled"
OUTCOMES = (DONE, SKIPPED, REFUSED, FAILED, INTERRUPTED, CANCELLED)
"""How an instance of a fleet can end; each ends as exactly one (design rule 6)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How many exports may run at once; 0 = no limit of this kind.

    Args:
        parallel: of the whole fleet, over all workers.
        per_worker: on one machine.
        per_region: in one region.
        per_bucket: into one bucket.
    """

    parallel: int = 0
    per_worker: int = 4
    per_region: int = 0
    per_bucket: int = 0


@dataclass(frozen=True, slots=True)
class Item:
    """One instance of a fleet's plan.

    Attributes:
        number: its place in the plan, from 1.
        instance: as the cloud described it.
        region: where it lives.
        options: how it is exported; templates in names are not filled yet.
        destinations: where its disks go, filled in, for people.
        bucket: takes the exported object: "namespace/bucket".
        priority: a smaller number goes first; equal ones in the order of the plan.
        size: bytes of its boot volume as provisioned; None = not told.
        seconds: how long it may take; None = nothing is known.
        refused: why it cannot be exported; None = it can, as far as a plan can tell.
        note: what a person should know about it; "" = nothing.
        compartment: path of the one where it lives.
    """

    number: int
    instance: Instance
    region: str
    options: ExportOptions
    destinations: tuple[str, ...] = ()
    bucket: str = ""
    priority: int = 0
    size: int | None = None
    seconds: float | None = None
    refused: str | None = None
    note: str = ""
    compartment: str = ""


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """What a fleet will do.

    Attributes:
        subject: the file or filter that was given, for people.
        items: every selected instance, refused ones included.
        limits: how many at once.
        windows: when exports may begin, as text that `windows.parse` reads ("22:00-06:00 Europe/Berlin"); () = always.
        seconds: how long it may take in all; None = nothing is known.
        notes: what a person should know about all of it.
    """

    subject: str
    items: tuple[Item, ...]
    limits: Limits = field(default_factory=Limits)
    windows: tuple[str, ...] = ()
    seconds: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one instance of a fleet ended.

    Attributes:
        number: of the item in the plan.
        name: of the instance.
        run_id: its run; None = none was begun.
        kind: one of `OUTCOMES`.
        code: the error's stable code; None = it ended well.
        exit_code: what a command that did only this would have said.
        detail: one line for people: the result, or what failed and what to do.
    """

    number: int
    name: str
    run_id: str | None
    kind: str
    code: str | None = None
    exit_code: int = 0
    detail: str = ""
