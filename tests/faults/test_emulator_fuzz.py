"""Every route of the emulator under requests that nobody would send: no 500, no hang, always a proper error."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from emulator import Emulator, make_seed
from fuzzing import Fuzzer, Plan, plans
from hypothesis import HealthCheck, Phase, given, seed, settings
from s3_signer import with_secret_key

from hypersdk_emulator.compute.metadata import METADATA
from hypersdk_emulator.routes import ROUTES
from hypersdk_emulator.routing import Route

EVERY = (*ROUTES, *METADATA)
SERVICES = sorted({route.service for route in EVERY})
SOAK_SECONDS = 600  # of CPU time, emulator and test together


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzer]:
    """A fuzzer with an emulator whose transitions take no time."""
    folder = tmp_path_factory.mktemp("fuzz")
    prepared = make_seed(folder / "seed", instances=("web-01", "web-02"), disk_size=1 << 20, change=with_secret_key)
    running = Emulator(prepared, folder / "state", ("--pace", "0", "--body-timeout", "2")).start()
    fuzzer = Fuzzer(running)
    yield fuzzer
    fuzzer.close()
    assert running.process.poll() is None, "the emulator has died"
    assert running.call("GET", "/n").status == 200
    assert running.stop() == 0


def fuzz(fuzzer: Fuzzer, route: Route, examples: int, number: int) -> None:
    """Send planned requests for one row; the same ones for the same number."""

    @seed(number)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(plans(route))
    def run(plan: Plan) -> None:
        fuzzer.send(plan)

    run()


def report(failures: Iterable[tuple[tuple[str, str], str]]) -> str:
    """Readable."""
    return "\n".join(f"{operation}: {what}\n    {example}" for (operation, what), example in failures)


@pytest.mark.parametrize("service", SERVICES)
def test_no_request_breaks_the_emulator(fuzzer: Fuzzer, service: str) -> None:
    """Whatever a client sends, each row answers in time, with no 5xx, and errors have a code and a message."""
    for number, route in enumerate(route for route in EVERY if route.service == service):
        fuzz(fuzzer, route, 4, number)
    assert not fuzzer.failures, report(fuzzer.failures.items())


@pytest.mark.soak
def test_no_request_breaks_the_emulator_in_ten_cpu_minutes(fuzzer: Fuzzer) -> None:
    """The same for ten minutes of CPU time over all rows, told as a table."""
    number = 0
    while cpu_seconds(fuzzer) < SOAK_SECONDS:
        for route in EVERY:
            fuzz(fuzzer, route, 20, number := number + 1)
        fuzzer.populate()
    print(table(fuzzer))
    assert not fuzzer.failures, report(fuzzer.failures.items())


def cpu_seconds(fuzzer: Fuzzer) -> float:
    """CPU time of the emulator and of this process."""
    stat = Path(f"/proc/{fuzzer.emulator.process.pid}/stat").read_text().rpartition(")")[2].split()
    return time.process_time() + (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


def table(fuzzer: Fuzzer) -> str:
    """What was sent and how it was answered, by operation, in Markdown."""
    answered = [count for statuses in fuzzer.statuses.values() for count in statuses.values()]
    said = (
        f"{datetime.now(UTC):%Y-%m-%d}, {cpu_seconds(fuzzer):.0f} s of CPU time, {fuzzer.sent:,} requests over "
        f"{len(EVERY)} rows, {sum(answered):,} answers, slowest {fuzzer.slowest:.2f} s, {len(fuzzer.failures)} bad "
        "(`python -m pytest -s -m soak tests/faults/test_emulator_fuzz.py`)"
    )
    lines = [
        said,
        "",
        "| operation | requests | 2xx | 304 | 4xx | 5xx |",
        "|---|---|---|---|---|---|",
    ]
    for operation, statuses in sorted(fuzzer.statuses.items()):
        by_class = [sum(n for status, n in statuses.items() if status // 100 == each) for each in (2, 3, 4, 5)]
        lines.append(f"| {operation} | {sum(statuses.values())} | {' | '.join(map(str, by_class))} |")
    return "\n".join(lines)
