"""What retrying costs where nothing fails, over an empty call (targets: success 1 us, network 60 ns, back-off 150 ns).

Usage: python bench/retry.py [ROUNDS]; prints a table for bench/results. Each figure is the least of ROUNDS rounds of a
hundred thousand calls, less that of an empty call of the same shape: other work on the machine only adds.
"""

from __future__ import annotations

import itertools
import os
import platform
import random
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

from hypersdk import errors, events
from hypersdk.network import NetworkMonitor
from hypersdk.retry import Budget, Retrier, RetryPolicy
from hypersdk.waiting import Waiter

CALLS = 100_000


def least(function: Callable[[], object], rounds: int) -> float:
    """Seconds of one call, at best."""
    best = float("inf")
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in itertools.repeat(None, CALLS):
            function()
        best = min(best, time.perf_counter() - began)
    return best / CALLS


def nothing() -> None:
    """An empty call."""


def wasted(_attempt: int, _random: random.Random) -> None:
    """An empty call with two arguments."""


def main() -> None:
    """Measure and print."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    policy, source = RetryPolicy(), random.Random(1)
    quiet = Retrier(policy, Waiter(), NetworkMonitor(lambda: True))
    watched = Retrier(policy, Waiter(report=lambda _event: None), NetworkMonitor(lambda: True))
    monitor, error = quiet.monitor, errors.ServiceError("503")

    def spend() -> None:
        Budget(policy, policy.call).spend(error, 0.0, source)

    rows: list[tuple[str, Callable[[], object], Callable[[], object], str]] = [
        ("a call that succeeds", lambda: quiet.call("list", nothing), lambda: nothing(), "1000"),  # noqa: PLW0108 - the shape counts
        ("a call that succeeds, with a reporter", lambda: watched.call("list", nothing), lambda: nothing(), ""),  # noqa: PLW0108 - as above
        ("is the network down?", lambda: monitor.down_since, lambda: monitor, "60"),
        ("the next back-off", lambda: policy.delay(3, source), lambda: wasted(3, source), "150"),
        ("a failure: may it be repeated, and when", spend, nothing, ""),
    ]
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {os.cpu_count()} cores, least of {rounds} "
        f"rounds of {CALLS:,} calls less an empty call, `python bench/retry.py {rounds}`\n"
    )
    print("| What | ns | target |\n|---|---|---|")
    for name, function, empty, target in rows:
        took = least(function, rounds) - least(empty, rounds)
        print(f"| {name} | {took * 1e9:.0f} | {target and f'<= {target}'} |")
    assert events.null_reporter is quiet.waiter.report


if __name__ == "__main__":
    main()
