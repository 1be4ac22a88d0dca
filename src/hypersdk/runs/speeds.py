"""How long steps took for volumes of a size: what estimates learn from."""

from __future__ import annotations

import sqlalchemy as sa

from hypersdk.runs import schema
from hypersdk.runs.history import MOST_SAMPLES
from hypersdk.runs.store import RunStore


def samples(store: RunStore, kind: str) -> list[tuple[int, float]]:
    """Bytes of the boot volume as provisioned, and seconds, of the newest steps of a kind.

    As for `usual`, only steps count that one process did without a break.

    Args:
        store: where.
        kind: of the step; with several formats, the steps of all of them.
    """
    history, steps = schema.HISTORY, schema.STEPS
    is_kind = sa.or_(history.c.step == kind, history.c.step.startswith(f"{kind}-", autoescape=True))
    query = (
        sa.select(history.c.seconds, steps.c.result)
        .join(steps, sa.and_(steps.c.run_id == history.c.run_id, steps.c.name == "preflight"))
        .where(is_kind, history.c.kind == "step", history.c.seconds.is_not(None))
        .order_by(history.c.number.desc())
        .limit(MOST_SAMPLES)
    )
    volumes = [((row["result"] or {}).get("boot_volume"), row["seconds"]) for row in store.rows(query)]
    return [(int(volume["size"]), float(seconds)) for volume, seconds in volumes if volume and volume.get("size")]
