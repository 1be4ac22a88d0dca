"""Many lists at once: order, answers, and how it ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from hypersdk import errors
from hypersdk.fleet.planning.lists import Job, read_all
from hypersdk.waiting import StopFlag

opened: list[str] = []


@contextmanager
def connect(region: str, _stop: StopFlag) -> Iterator[Any]:
    opened.append(region)
    yield region


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("lists-")]


def test_answers_come_in_the_order_of_the_jobs() -> None:
    """Whatever thread reads a list, its answer stands at its place; each thread opens a region once."""
    opened.clear()
    jobs = [Job(f"r{n % 2}", lambda _cloud, n=n: n) for n in range(50)]
    heard: list[tuple[int, int]] = []
    found = read_all(jobs, connect, StopFlag(), progress=lambda done, of: heard.append((done, of)), threads=4)
    assert found == list(range(50))
    assert heard == sorted(heard)
    assert heard[-1] == (50, 50)
    assert len(opened) <= 8
    assert threads() == []


def test_no_jobs_need_no_thread() -> None:
    """Nothing to read is read at once."""
    assert read_all([], connect, StopFlag()) == []


def test_what_must_not_be_read_is_an_answer() -> None:
    """A refused or absent list does not end the others (design rule 9)."""
    refused = errors.PermissionDenied("no")

    def deny(_cloud: Any) -> int:
        raise refused

    assert read_all([Job("r", deny), Job("r", lambda _cloud: 1)], connect, StopFlag()) == [refused, 1]


@pytest.mark.parametrize("kind", [errors.ThrottledError, RuntimeError])
def test_any_other_failure_ends_all(kind: type[Exception]) -> None:
    """The first failure is raised, those that wait are stopped, and no thread is left."""
    waiting = threading.Event()

    @contextmanager
    def patient(_region: str, stop: StopFlag) -> Iterator[Any]:
        yield stop

    def wait(cloud: Any) -> int:
        waiting.set()
        cloud.wait(60)
        cloud.check()
        return 0

    def fail(_cloud: Any) -> int:
        waiting.wait(60)
        raise kind("too much")

    with pytest.raises(kind, match="too much"):
        read_all([Job("r", wait), Job("r", fail), *[Job("r", wait)] * 20], patient, StopFlag(), threads=3)
    assert threads() == []


def test_a_stop_ends_all_at_once() -> None:
    """The caller's flag reaches every thread, and the answer is that of an interruption."""
    stop = StopFlag()

    @contextmanager
    def patient(_region: str, quit_: StopFlag) -> Iterator[Any]:
        yield quit_

    def wait(cloud: Any) -> int:
        stop.set()
        cloud.wait(60)
        cloud.check()
        return 0

    with pytest.raises(errors.Interrupted):
        read_all([Job("r", wait)] * 5, patient, stop, threads=2)
    assert threads() == []
