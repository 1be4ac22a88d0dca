"""What the threads of a fleet share: one rate, and who asked to slow down."""

import threading

from hypersdk.bandwidth import Bucket
from hypersdk.fleet.sharing import HeedfulGovernors, Refusals

HERE, THERE = "https://objectstorage.a.example", "https://objectstorage.b.example"


def two(most: int = 16) -> tuple[HeedfulGovernors, HeedfulGovernors]:
    """The governors of two threads."""
    refusals = Refusals()
    return HeedfulGovernors(most, refusals), HeedfulGovernors(most, refusals)


def test_one_refusal_slows_all_threads_down() -> None:
    """A 429 with a time to wait holds for every thread, and for that endpoint alone."""
    one, other = two()
    for governors in (one, other):
        for endpoint in (HERE, THERE):
            governors.of(endpoint).begin_at(8, 0.0)
    one.of(HERE).refused(100.0, retry_after=7.0)
    assert other.of(HERE).shut_for(100.0) == 7.0
    assert (one.of(HERE).level, other.of(HERE).level) == (4, 4)
    assert (other.of(THERE).shut_for(100.0), other.of(THERE).level) == (0.0, 8)


def test_a_burst_halves_once() -> None:
    """Refusals of many threads at the same time are one: each halves once, not once for each of them."""
    refusals = Refusals()
    threads = [HeedfulGovernors(16, refusals).of(HERE) for _ in range(4)]
    for governor in threads:
        governor.begin_at(16, 0.0)
    for governor in threads:
        governor.refused(100.0)
    for governor in threads:
        governor.moved(1, 100.1, busy=True)
        assert governor.level == 8


def test_refusals_of_the_past_are_past() -> None:
    """An export that begins after a refusal begins as it always does."""
    refusals = Refusals()
    HeedfulGovernors(16, refusals).of(HERE).refused(100.0, retry_after=60.0)
    late = HeedfulGovernors(16, refusals).of(HERE)
    assert (late.shut_for(100.0), late.level) == (0.0, 4)


def test_one_rate_for_all_threads() -> None:
    """Whatever the threads take, together they owe the time that the rate asks for."""
    now = 0.0
    bucket = Bucket(lambda: 1000, lambda: now)
    owed: list[float] = []

    def take() -> None:
        owed.extend(bucket.took(10) for _ in range(100))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(owed) == 4.0  # 4 threads x 100 x 10 bytes, a thousand a second
