"""What failing may cost a transfer: repeats are told, a part that fails waits for others, standing still ends it."""

from __future__ import annotations

import random
import threading
from collections import Counter
from pathlib import Path

import pytest
from http_store import HttpStore, info_of, new_wire, ranges_asked
from raw_server import OneObject, RawServer, send

from hypersdk import errors, events
from hypersdk.network import NetworkMonitor
from hypersdk.retry import Retrier, RetryPolicy
from hypersdk.transfer.engine import download
from hypersdk.transfer.options import TransferOptions
from hypersdk.waiting import Waiter

PART = 64 * 1024
BODY = random.Random(3).randbytes(12 * PART)


class World:
    """A clock that sleeping moves, and everything that was told."""

    def __init__(self) -> None:
        self.now = 0.0
        self.told: list[events.Event] = []

    def sleep(self, seconds: float) -> bool:
        self.now += seconds
        return False

    def fetch(self, server: RawServer, destination: Path, policy: RetryPolicy, *, parallel: int = 1) -> bytes:
        waiter = Waiter(clock=lambda: self.now, sleep=self.sleep, report=self.told.append)
        retrier = Retrier(policy, waiter, NetworkMonitor(None))
        options = TransferOptions(PART, parallel)
        with new_wire() as wire:
            store, info = HttpStore(server.url), info_of(BODY)
            sealed = download(store, info, str(destination), wire=wire, retrier=retrier, options=options)
        return Path(sealed.path).read_bytes()

    @property
    def retried(self) -> Counter[str]:
        return Counter(event.code for event in self.told if isinstance(event, events.Retried))


def test_every_repeat_of_a_part_is_told(tmp_path: Path) -> None:
    """Two failures and a refusal to hurry are three repeats, each with its code; what went well is none."""
    fail = lambda _, peer: send(peer, 500)  # noqa: E731 - a table entry
    slow = lambda _, peer: send(peer, 429)  # noqa: E731 - a table entry
    world = World()
    with RawServer(OneObject(BODY, faults=[None, fail, fail, None, slow])) as server:
        assert world.fetch(server, tmp_path / "disk", RetryPolicy(jitter=False)) == BODY
    assert world.retried == {"service": 2, "throttled": 1}


def test_a_part_that_fails_waits_for_the_others(tmp_path: Path) -> None:
    """One range fails ten times, twice what its tries allow, while the others arrive: the transfer does not give up."""
    bad, good, left, arrived = (0, PART), OneObject(BODY), [10], threading.Semaphore(0)

    def answer(asked, peer):
        if asked.range == bad and left[0]:
            left[0] -= 1
            assert arrived.acquire(timeout=10)
            return send(peer, 500)
        kept = good(asked, peer)
        arrived.release()
        return kept

    world = World()
    policy = RetryPolicy(initial_delay=0.0, max_delay=0.0)
    with RawServer(answer) as server:
        assert world.fetch(server, tmp_path / "disk", policy, parallel=2) == BODY
        assert ranges_asked(server).count(bad) == 11
    assert world.retried == {"service": 10}


def test_a_transfer_that_stands_still_gives_up_in_time(tmp_path: Path) -> None:
    """A service that asks to slow down for ever: after the standstill that is allowed it ends, and the parts stay."""
    good = OneObject(BODY)

    def answer(asked, peer):
        return good(asked, peer) if len(ranges_asked(server)) <= 4 else send(peer, 429)

    world = World()
    policy = RetryPolicy(jitter=False, max_standstill=600.0)
    with RawServer(answer) as server, pytest.raises(errors.ThrottledError) as ended:
        world.fetch(server, tmp_path / "disk", policy)
    assert 500 < world.now <= 600
    assert world.retried["throttled"] >= 20, "far more often than the tries that faults may take"
    assert any("gave up after" in note for note in ended.value.__notes__)
    with RawServer(good) as server:
        assert world.fetch(server, tmp_path / "disk", policy) == BODY
        assert len(ranges_asked(server)) == 12 - 4
