"""Fleets in bad weather: whatever is killed, cut or suspended, every file is right and nothing is left over."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from pathlib import Path

import pytest
from chaos import Storm, Weather
from kills import table
from postgres import Postgres

SQUALL = Weather(instances=4, workers=2, slots=2, kills=8, drop_after=2_000_000, pause=1.2)
HURRICANE = Weather(
    instances=40,
    workers=3,
    slots=4,
    kills=200,
    drop_after=2_000_000,
    transition_seconds=18.0,
    pause=1.4,
    suspended=60.0,
    patience=1800.0,
)


@pytest.mark.timeout(180)
def test_squall(tmp_path: Path, postgres: Postgres) -> None:
    """Two workers and the cloud are killed again and again: each export is done once, and nothing is left over."""
    told = Storm(tmp_path, postgres.database(), SQUALL).rage()
    assert told.killed.total() >= SQUALL.kills / 2
    assert told.takeovers


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_hurricane(tmp_path: Path, postgres: Postgres) -> None:
    """Forty exports on three workers, two hundred kills, a fault in twenty calls, cut links, a suspended worker."""
    told = Storm(tmp_path, postgres.database(), HURRICANE).rage()
    assert told.killed.total() == HURRICANE.kills
    head = (
        "exports",
        "kills",
        "of them the cloud",
        "takeovers",
        "links cut",
        "calls",
        "made to fail",
        "steps",
        "woken worker",
        "seconds",
    )
    row = (
        HURRICANE.instances,
        told.killed.total(),
        told.killed["cloud"],
        told.takeovers,
        told.cuts,
        told.calls,
        told.failed,
        told.steps,
        f"exit {told.suspended}",
        f"{told.seconds:.0f}",
    )
    print(f"\n\n{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, Python {platform.python_version()}, {platform.machine()}")
    print(table([row], head))
