"""How long exports may take: from what earlier ones took, else from documented figures. Pure.

Rules of this file: an estimate is a guess and is shown as one; it takes the time per provisioned byte, because that is
all that a bulk list tells; what is not known is not guessed: an instance without a size has no estimate of its own.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

from hypersdk.fleet import windows
from hypersdk.fleet.nouns import Item, Limits
from hypersdk.fleet.windows import Window

GIB = 1024**3

FEWEST_SAMPLES = 3
"""Fewer earlier steps than this say nothing."""

ONCE = ("await-image",)
PER_FORMAT = ("await-object",)
PER_LOCAL_FILE = ("download", "verify")

DEFAULTS: Mapping[str, float] = {
    # Seconds per provisioned GiB. A volume of 47,694 MB took 16 m 44 s to become an image and 19 m 1 s to be exported
    # (a recording of 2018, the only one that is public); OCI gives no figures of its own.
    "await-image": 1004 / 46.6,
    "await-object": 1141 / 46.6,
    # A guess: four tenths of a volume are used, and arrive with 100 MB/s.
    "download": 4.3,
    "verify": 0.5,
}


@dataclass(frozen=True, slots=True)
class Speeds:
    """Seconds per provisioned GiB by kind of step, and of how many earlier exports the slowest-known kind knows."""

    per_gib: Mapping[str, float]
    learned: int = 0


UNLEARNED = Speeds(DEFAULTS)
"""Nothing was exported yet."""


def learn(samples: Mapping[str, Sequence[tuple[int, float]]]) -> Speeds:
    """What earlier steps tell.

    Args:
        samples: kind of step -> provisioned bytes and seconds of earlier ones.
    """
    known = {kind: some for kind, some in samples.items() if len(some) >= FEWEST_SAMPLES}
    rates = {kind: median(seconds * GIB / size for size, seconds in some) for kind, some in known.items()}
    return Speeds({**DEFAULTS, **rates}, min((len(some) for some in known.values()), default=0))


def seconds(size: int | None, *, formats: int, local: bool, speeds: Speeds = UNLEARNED) -> float | None:
    """How long one export may take; None without a size.

    Args:
        size: bytes of its boot volume as provisioned.
        formats: how many disks are made of it.
        local: whether they are downloaded.
        speeds: what is known.
    """
    if size is None:
        return None
    each = (*PER_FORMAT, *(PER_LOCAL_FILE if local else ()))
    rate = sum(speeds.per_gib[kind] for kind in ONCE) + formats * sum(speeds.per_gib[kind] for kind in each)
    return rate * size / GIB


def in_all(
    items: Sequence[Item], limits: Limits, some: Sequence[Window], now: datetime, *, workers: int = 1
) -> float | None:
    """Seconds until the last of these exports may have ended; None = nothing is known, or a window never opens.

    Args:
        items: with their own estimates; those without one count as the others on average. Refused ones are left out.
        limits: how many at once.
        some: windows in which they may begin.
        now: when the fleet begins.
        workers: machines.
    """
    waiting = sorted((item for item in items if item.refused is None), key=lambda item: (item.priority, item.number))
    known = [item.seconds for item in waiting if item.seconds is not None]
    if not known:
        return None
    usual = sum(known) / len(known)
    at, running, counts = now, list[tuple[datetime, int, Item]](), Counter[str]()
    while waiting:
        opens = windows.opens(some, at)
        if opens is None:
            return None
        begun = _first(waiting, counts, len(running), limits, workers) if opens <= at else None
        if begun is not None:
            waiting.remove(begun)
            took = usual if begun.seconds is None else begun.seconds
            heapq.heappush(running, (at + timedelta(seconds=took), begun.number, begun))
            counts.update((begun.region, begun.bucket))
        elif opens > at and (not running or running[0][0] >= opens):
            at = opens
        else:
            at, _, ended = heapq.heappop(running)
            counts.subtract((ended.region, ended.bucket))
    return (max((end for end, _, _ in running), default=at) - now).total_seconds()


def _first(
    waiting: Sequence[Item], counts: Mapping[str, int], running: int, limits: Limits, workers: int
) -> Item | None:
    if any(limit and running >= limit for limit in (limits.parallel, limits.per_worker * workers)):
        return None

    def fits(item: Item) -> bool:
        places = ((limits.per_region, item.region), (limits.per_bucket, item.bucket))
        return not any(limit and counts[place] >= limit for limit, place in places)

    return next((item for item in waiting if fits(item)), None)
