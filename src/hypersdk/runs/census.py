"""How many runs stand where: one question to the store, cheap enough for every scrape of a monitor."""

from __future__ import annotations

import sqlalchemy as sa

from hypersdk.runs import schema
from hypersdk.runs.store import RunStore


def census(store: RunStore) -> dict[str, int]:
    """Number of runs by state; states that no run has are absent."""
    runs = schema.RUNS
    query = sa.select(runs.c.state, sa.func.count().label("number")).group_by(runs.c.state)
    return {row["state"]: row["number"] for row in store.rows(query)}
