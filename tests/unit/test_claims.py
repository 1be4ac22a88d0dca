"""How many jobs a worker may take."""

from __future__ import annotations

from hypersdk.fleet.claims import BEGINS_WITHIN, Claims, keep_to


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_slots_count_over_all_fleets() -> None:
    """What one fleet has taken is not there for another, until it has ended."""
    active: list[str] = []
    claims = Claims(2, "host-a", lambda: active, Clock())
    claims.took(["one", "two"])
    active += ["one", "two"]
    assert claims.free("fleet-g") == 0
    claims.ended("one")
    assert claims.free("fleet-g") == 1


def test_what_cannot_begin_gives_its_slot_back() -> None:
    """A job that was taken and never came to work counts for a while only."""
    clock = Clock()
    claims = Claims(1, "host-a", list, clock)
    claims.took(["broken"])
    assert claims.free("fleet-f") == 0
    clock.now = BEGINS_WITHIN + 1
    assert claims.free("fleet-f") == 1


def test_the_queue_of_another_host_is_closed() -> None:
    """Its own host's queue is open, and the engine's internal ones are no matter of ours."""
    claims = Claims(3, "host-a", list, Clock())
    assert [claims.free(name) for name in ("host-a", "host-b", "fleet-f")] == [3, 0, 3]
    claims.full = True
    assert [claims.free(name) for name in ("host-a", "fleet-f")] == [0, 0]
    assert claims.free("_dbos_internal_queue") > 0


class _Queue:
    def __init__(self, limit: int | None) -> None:
        self.name = "fleet-f"
        self._worker_concurrency = limit


def test_the_engine_asks_its_database_for_no_more() -> None:
    """Both ways of taking jobs are kept to the free slots, and a queue's own limit is as it was afterwards."""
    asked: list[int] = []

    class Database:
        def start_queued_workflows(
            self, queue: _Queue, _executor: str, _version: str, _part: str | None, running: int
        ) -> tuple[list[str], None]:
            assert queue._worker_concurrency is not None
            asked.append(queue._worker_concurrency - running)
            return [f"job{len(asked)}"], None

        def start_queued_partitioned_workflows(
            self, _queue: _Queue, _executor: str, _version: str, most: int
        ) -> list[str]:
            asked.append(most)
            return [f"job{len(asked)}"]

    def jobs() -> list[str]:
        return [f"job{number}" for number in range(1, len(asked) + 1)]

    keep_to(Claims(3, "host-a", jobs, Clock()), Database)
    for limit in (None, 10):
        queue = _Queue(limit)
        Database().start_queued_workflows(queue, "a#1", "exports-1", None, len(asked))
        assert queue._worker_concurrency == limit
    assert Database().start_queued_partitioned_workflows(_Queue(None), "a#1", "exports-1", 10) == ["job3"]
    assert asked == [3, 2, 1]
    assert Database().start_queued_workflows(_Queue(None), "a#1", "exports-1", None, 3) == ([], "worker_concurrency")
    assert Database().start_queued_partitioned_workflows(_Queue(None), "a#1", "exports-1", 10) == []
