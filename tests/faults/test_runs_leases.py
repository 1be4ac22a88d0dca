"""Leases in PostgreSQL under real trouble: suspended owners, servers that restart, links that are cut, passwords."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from drivers import LOST, Child, hold
from postgres import Postgres
from severable import Severable

from hypersdk import errors, events
from hypersdk.runs.postgres import SESSION
from hypersdk.runs.store import RunStore
from hypersdk.waiting import StopFlag, Waiter

SECONDS = 20.0
SHORT = 1.0
"""Lease of the tests that let one end, in seconds."""
LONG = 60.0
"""And one that does not end."""

Opener = Callable[..., RunStore]


def until(true: Callable[[], Any], otherwise: str) -> None:
    end = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < end, otherwise
        time.sleep(0.01)


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """A server of our own: it is stopped and started here."""
    with Postgres(durable=True) as server:
        yield server


@pytest.fixture
def url(server: Postgres) -> str:
    return server.database()


@pytest.fixture
def opened(url: str) -> Iterator[Opener]:
    stores: list[RunStore] = []

    def opened(place: str = url, **more: Any) -> RunStore:
        stores.append(RunStore(place, **{"host": f"host{len(stores)}", "version": "1", "lease_seconds": SHORT, **more}))
        return stores[-1]

    yield opened
    for store in stores:
        store.close()


@pytest.fixture
def children() -> Iterator[list[Child]]:
    started: list[Child] = []
    yield started
    for child in started:
        child.close()


def test_a_suspended_owner_that_was_replaced_leaves_at_once(opened: Opener, children: list[Child]) -> None:
    """SIGSTOP beyond the lease, somebody else takes over, SIGCONT: the first one writes nothing and leaves."""
    store = opened()
    run = store.begin("key", 1, "web", {})
    children.append(child := hold(opened, run.run_id))
    assert child.hear() == "drives"
    child.signal(signal.SIGSTOP)
    assert opened(lease_seconds=LONG).is_driven(run.run_id)
    until(lambda: not store.is_driven(run.run_id), "its lease has no end")
    with store.drive(run.run_id) as drive:
        assert store.holder(run.run_id).epoch == 2
        child.signal(signal.SIGCONT)
        assert child.wait() == LOST
        drive.start_step("ours")
    assert [step.name for step in store.steps(run.run_id)] == ["ours"]


def test_a_late_owner_that_nobody_replaced_goes_on(opened: Opener, children: list[Child]) -> None:
    """SIGSTOP beyond the lease and nobody came: it writes its next step and keeps the run."""
    store = opened()
    run = store.begin("key", 1, "web", {})
    children.append(child := hold(opened, run.run_id))
    assert child.hear() == "drives"
    child.signal(signal.SIGSTOP)
    until(lambda: not store.is_driven(run.run_id), "its lease has no end")
    child.signal(signal.SIGCONT)
    child.say("write")
    assert (child.hear(), child.wait()) == ("left", 0)
    assert [step.name for step in store.steps(run.run_id)] == ["late"]
    assert store.holder(run.run_id).epoch == 1


def test_an_owner_suspended_within_a_write_blocks_nobody(
    opened: Opener, children: list[Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its open transaction holds the lease's row: the server ends it, and the run is taken over."""
    monkeypatch.setitem(SESSION, "idle_in_transaction_session_timeout", "1s")
    store = opened()
    run = store.begin("key", 1, "web", {})

    def stop_within_a_write(me: Child) -> int:
        def stop(_connection: object) -> None:
            me.say("drives")
            os.kill(os.getpid(), signal.SIGSTOP)

        with opened().patient(Waiter(StopFlag())).drive(run.run_id) as drive:
            drive.write(stop)
        return 0

    children.append(child := Child(stop_within_a_write))
    assert child.hear() == "drives"
    until(lambda: not store.is_driven(run.run_id), "its lease has no end")
    with store.drive(run.run_id) as drive:
        drive.start_step("ours")
        child.signal(signal.SIGCONT)
        assert child.wait() == LOST
    assert [step.name for step in store.steps(run.run_id)] == ["ours"]


def test_a_lease_outlives_a_server_that_was_down(
    server: Postgres, opened: Opener, url: str, children: list[Child]
) -> None:
    """Nobody could be heard of while the server was down: its start takes no run away from anybody."""
    store = opened()
    run = store.begin("key", 1, "web", {})
    children.append(child := hold(opened, run.run_id))
    assert child.hear() == "drives"
    server.stop(crash=True)
    child.signal(signal.SIGSTOP)
    server.start()
    server.execute("update leases set heartbeat = '2001'", database=url.rpartition("/")[2])
    assert opened(lease_seconds=LONG).is_driven(run.run_id)
    assert not opened(lease_seconds=0.0).is_driven(run.run_id)
    child.signal(signal.SIGCONT)
    child.say("write")
    assert child.hear() == "left"


class Reasons(list[str]):
    """Collects why something waited."""

    def __call__(self, event: events.Event, /) -> None:
        if isinstance(event, events.Waiting) and event.reason:
            self.append(event.reason)


def test_writes_wait_for_a_server_that_is_down(server: Postgres, opened: Opener, url: str) -> None:
    """Beats go on without a word, a step waits and says for what and since when, and is written when it is back."""
    reasons = Reasons()
    store = opened().patient(Waiter(StopFlag(), report=reasons))
    run = store.begin("key", 1, "web", {})
    with store.drive(run.run_id) as drive:
        server.stop()
        assert not drive.beat({"percent": 1})
        restarted = []
        drive.store._waiter.hooks.append(lambda: restarted or not reasons or restarted.append(server.start()))
        drive.start_step("a")
        drive.check()
    assert [step.name for step in store.steps(run.run_id)] == ["a"]
    where = url.split("@")[1]
    assert f"the run store postgresql://postgres@{where} cannot be reached: " in reasons[0]
    assert "(since " in reasons[0]


def test_nothing_is_deleted_without_a_fresh_look(server: Postgres, opened: Opener) -> None:
    """While the store cannot be reached, the look before a delete does not succeed; a stop request ends its waiting."""
    stop = StopFlag()
    store = opened()
    run = store.begin("key", 1, "web", {})
    with store.drive(run.run_id) as drive:
        server.stop()
        with pytest.raises(errors.StoreUnreachable):
            drive.check()
        drive.store = store.patient(Waiter(stop, report=lambda _event: stop.set()))
        with pytest.raises(errors.Interrupted):
            drive.check()
        server.start()
        drive.store = store
        drive.check()


def test_a_run_that_was_taken_over_during_an_outage_is_noticed(server: Postgres, opened: Opener, url: str) -> None:
    """One machine loses its link, another takes its run over: the first one's waiting write ends as a lost lease."""
    with Severable(server.port) as relay:
        mine = opened(url.replace(f":{server.port}/", f":{relay.port}/"))
        theirs = opened()
        run = mine.begin("key", 1, "web", {})
        reasons = Reasons()
        with mine.patient(Waiter(StopFlag(), report=reasons)).drive(run.run_id) as drive:
            relay.sever()
            until(lambda: not theirs.is_driven(run.run_id), "its lease has no end")
            with theirs.drive(run.run_id) as other:
                drive.store._waiter.hooks.append(lambda: reasons and relay.join())
                with pytest.raises(errors.LeaseLost, match=f"driven by {theirs.host}:"):
                    drive.start_step("late")
                assert "cannot be reached" in reasons[0]
                until(lambda: is_lost(drive), "no beat tells it")
                other.start_step("ours")
        assert [step.name for step in theirs.steps(run.run_id)] == ["ours"]


def is_lost(drive: Any) -> bool:
    try:
        drive.beat()
    except errors.LeaseLost:
        return True
    return False


def test_who_was_cut_off_takes_nobody_over_at_once(server: Postgres, opened: Opener, url: str) -> None:
    """After an outage of its own a machine gives everybody the time of a lease, as it would have from the server."""
    with Severable(server.port) as relay:
        mine = opened(url.replace(f":{server.port}/", f":{relay.port}/"), lease_seconds=LONG)
        theirs = opened()
        run = theirs.begin("key", 1, "web", {})
        with theirs.drive(run.run_id):
            relay.sever()
            with pytest.raises(errors.StoreUnreachable):
                mine.is_driven(run.run_id)
            server.execute("update leases set heartbeat = '2001'", database=url.rpartition("/")[2])
            relay.join()
            until(lambda: reaches(mine, run.run_id), "not joined")
            assert mine.is_driven(run.run_id)


def reaches(store: RunStore, run_id: str) -> bool:
    try:
        store.run(run_id)
    except errors.StoreUnreachable:
        return False
    return True


def test_cut_connections_are_made_anew(server: Postgres, opened: Opener, url: str) -> None:
    """A server that ends all our sessions costs nothing: the next write has a new one; one cut within is done again."""
    store = opened().patient(Waiter(StopFlag()))
    run = store.begin("key", 1, "web", {})
    kill = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'hyperexport'"
    calls: list[int] = []

    def cut_the_first_time(connection: Any) -> None:
        calls.append(1)
        if len(calls) == 1:
            server.execute(kill)
            connection.exec_driver_sql("select 1")

    with store.drive(run.run_id) as drive:
        server.execute(kill)
        drive.start_step("a")
        drive.write(cut_the_first_time)
        drive.start_step("b")
    assert len(calls) == 2
    assert {step.name for step in store.steps(run.run_id)} == {"a", "b"}


def test_hooks_are_never_kept_waiting(server: Postgres, opened: Opener) -> None:
    """While the thread of the beats knows that the store is away, who asks without patience is refused at once."""
    store = opened().patient(Waiter(StopFlag()))
    run = store.begin("key", 1, "web", {})
    with store.drive(run.run_id) as drive:
        drive.write(lambda _connection: None, patient=False)
        server.stop()
        until(lambda: drive.store._backend._keeper.trouble, "no beat failed")
        with pytest.raises(errors.StoreUnreachable):
            drive.write(lambda _connection: None, patient=False)
        server.start()
        until(lambda: not drive.store._backend._keeper.trouble, "no beat arrived")
        drive.write(lambda _connection: None, patient=False)
