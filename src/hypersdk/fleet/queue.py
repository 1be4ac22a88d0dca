"""Which exports of a fleet may begin now. Pure.

Rules of this file: no limit is ever passed; nothing waits that could begin; a smaller priority goes first; among equals
the region in which fewest run goes first, then the one of which fewest have begun, so that a busy region or bucket
starves no other one and a region with one instance need not wait for one with hundreds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hypersdk.fleet.nouns import Limits


@dataclass(frozen=True, slots=True)
class Turn:
    """An export that waits for its turn, or has it.

    Attributes:
        number: of the item in the plan.
        run_id: its run.
        name: of the instance.
        region: where it lives.
        bucket: takes the exported object: "namespace/bucket".
        priority: a smaller number goes first.
    """

    number: int
    run_id: str
    name: str
    region: str
    bucket: str
    priority: int = 0


def may_begin(
    waiting: Iterable[Turn], running: Iterable[Turn], limits: Limits, begun: Mapping[str, int] | None = None
) -> list[Turn]:
    """The exports that may begin now, in their order.

    Args:
        waiting: those that wait.
        running: those that run.
        limits: how many at once.
        begun: how many have begun so far, by region.
    """
    left, chosen = list(waiting), _Counts(running, limits, begun or {})
    found: list[Turn] = []
    while candidates := [turn for turn in left if chosen.takes(turn)]:
        first = min(candidates, key=chosen.order)
        chosen.add(first)
        left.remove(first)
        found.append(first)
    return found


def why_not(waiting: Sequence[Turn], running: Sequence[Turn], limits: Limits) -> str | None:
    """Why nothing more begins, for people; None = nothing waits."""
    if not waiting:
        return None
    most = _most(limits)
    if most and len(running) >= most:
        return f"{len(running)} of {most} run"
    regions = Counter(turn.region for turn in running)
    buckets = Counter(turn.bucket for turn in running)
    full = [
        f"{regions[name]} of {limits.per_region} run in {name}"
        for name in dict.fromkeys(turn.region for turn in waiting)
        if limits.per_region and regions[name] >= limits.per_region
    ]
    full += [
        f"{buckets[name]} of {limits.per_bucket} run into {name}"
        for name in dict.fromkeys(turn.bucket for turn in waiting)
        if limits.per_bucket and buckets[name] >= limits.per_bucket
    ]
    return "; ".join(full) or None


def _most(limits: Limits) -> int:
    """How many may run here; 0 = any number."""
    return min((limit for limit in (limits.parallel, limits.per_worker) if limit), default=0)


class _Counts:
    """What runs, counted."""

    def __init__(self, running: Iterable[Turn], limits: Limits, begun: Mapping[str, int]) -> None:
        self._limits = limits
        self._total = 0
        self._regions: Counter[str] = Counter()
        self._buckets: Counter[str] = Counter()
        self._begun: Counter[str] = Counter()
        for turn in running:
            self.add(turn)
        self._begun = Counter(begun)

    def add(self, turn: Turn) -> None:
        self._total += 1
        self._regions[turn.region] += 1
        self._buckets[turn.bucket] += 1
        self._begun[turn.region] += 1

    def takes(self, turn: Turn) -> bool:
        """Whether one more may run."""
        counted = (
            (_most(self._limits), self._total),
            (self._limits.per_region, self._regions[turn.region]),
            (self._limits.per_bucket, self._buckets[turn.bucket]),
        )
        return all(count < limit for limit, count in counted if limit)

    def order(self, turn: Turn) -> tuple[int, ...]:
        """What goes first."""
        region = (self._regions[turn.region], self._begun[turn.region])
        return (turn.priority, *region, self._buckets[turn.bucket], turn.number)
