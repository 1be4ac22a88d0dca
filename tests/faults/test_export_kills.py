"""kill -9 at every request and at random times: the same command finishes, and nothing was done twice."""

import random
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from kills import ALL_AT_ONCE, STOPPED, Request, Stage, Start, Variant

SHARES = 4
"""The requests of an export are dealt out to so many tests, which can run side by side."""

POLLED = {"GetImage", "GetInstance", "GetWorkRequest", "HeadObject"}
"""Questions for a state: how often they are asked depends on the emulator's speed."""


@pytest.fixture(scope="module")
def start_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """The stage of a variant, started once."""
    stages: dict[Variant, Stage] = {}

    def start(variant: Variant, *, installed: bool = False, instances: int = 100) -> Stage:
        if variant not in stages:
            folder = tmp_path_factory.mktemp("stage")
            stages[variant] = Stage(variant, folder, instances, installed).start()
        return stages[variant]

    yield start
    for stage in stages.values():
        stage.emulator.stop()


def share_of(request: Request) -> int:
    """Which share a request belongs to; the same in every process, however often states were asked for."""
    return zlib.crc32(str(request).encode()) % SHARES


@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("variant", [STOPPED, ALL_AT_ONCE], ids=lambda variant: variant.name)
def test_killed_at_each_request_in_turn(start_stage: Start, variant: Variant, share: int) -> None:
    """Each request takes effect, its reply never arrives, the process is killed: the same command finishes."""
    stage = start_stage(variant)
    requests, _ = stage.requests()
    for request in requests:
        if share_of(request) == share:
            victim = stage.victim()
            if victim.kill_at(request, "hold"):
                victim.resume(str(request))
            else:
                assert request.operation in POLLED
