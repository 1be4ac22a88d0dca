"""Every wait: reasons, hooks, the stop flag."""

import pickle
import signal
import threading

import pytest

from hypersdk import errors, events
from hypersdk.waiting import StopFlag, Waiter


def virtual(seen: list[events.Event]) -> tuple[Waiter, list[float]]:
    now = [0.0]

    def sleep(seconds: float) -> bool:
        now[0] += seconds
        return False

    return Waiter(clock=lambda: now[0], sleep=sleep, report=seen.append), now


def test_a_wait_is_shown_and_its_end_too() -> None:
    """People see why nothing moves, and that it goes on."""
    seen: list[events.Event] = []
    waiter, now = virtual(seen)
    assert waiter.wait_for("image", lambda: "ready" if now[0] >= 12 else None, every=5) == "ready"
    assert seen == [events.Waiting("image"), events.Waiting(None)]
    assert now[0] == 15


def test_a_condition_that_holds_is_not_shown() -> None:
    """Nothing is reported when there is nothing to wait for."""
    seen: list[events.Event] = []
    waiter, _ = virtual(seen)
    assert waiter.wait_for("image", lambda: 1) == 1
    assert seen == []


def test_longest_ends_a_wait_without_a_value() -> None:
    """A limited wait gives None at its limit, not later."""
    waiter, now = virtual([])
    assert waiter.wait_for("never", lambda: None, every=5, longest=12) is None
    assert now[0] == 12


def test_hooks_run_every_second_of_a_long_wait() -> None:
    """A lease heartbeat survives a wait of a minute."""
    waiter, _ = virtual([])
    beats: list[int] = []
    waiter.hooks.append(lambda: beats.append(1))
    waiter.pause(60, "back-off")
    assert len(beats) >= 60


def test_a_real_wait_ends_at_once_when_another_thread_stops_it() -> None:
    """Stopping does not wait for the clock."""
    waiter = Waiter()
    threading.Timer(0.05, waiter.stop.set).start()
    with pytest.raises(errors.Interrupted):
        waiter.pause(60, "a minute")


@pytest.mark.parametrize(("cancelled", "kind"), [(False, errors.Interrupted), (True, errors.Cancelled)])
def test_the_two_endings_are_told_apart(*, cancelled: bool, kind: type[errors.Stopped]) -> None:
    """Interrupted work is kept, cancelled work is cleaned up: the flag knows which."""
    stop = StopFlag()
    stop.set(cancelled=cancelled)
    with pytest.raises(kind):
        stop.check()


def test_errors_survive_pickling() -> None:
    """Every fact of an error reaches another process or a store."""
    error = errors.ThrottledError("slow", resource="b", hint="wait", request_id="R1", retry_after=3.0, status=429)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is errors.ThrottledError
    assert copy.__dict__ == error.__dict__
    assert str(copy) == "slow (opc-request-id R1) - wait"


def test_every_error_is_in_the_drawn_tree() -> None:
    """The picture at the head of errors.py names every class."""
    names = [name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)]
    assert [name for name in names if name not in (errors.__doc__ or "")] == []
    codes = [getattr(errors, name).code for name in names]
    assert len(set(codes)) == len(codes)


def test_a_signal_may_come_at_any_moment_of_a_wait() -> None:
    """A handler that sets the flag never hangs, wherever it interrupts the wait."""
    flag = StopFlag()
    before = signal.signal(signal.SIGALRM, lambda *_: flag.set())
    try:
        for number in range(300):
            signal.setitimer(signal.ITIMER_REAL, 1e-6 * (1 + number % 40))
            while not flag.wait(0.02):  # a signal just before the sleep is heard after it
                pass
            flag.clear()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_one_flag_ends_the_waits_of_several_threads() -> None:
    """Two exports that share a flag both stop at once."""
    flag = StopFlag()
    waits = [threading.Thread(target=flag.wait, args=(60,)) for _ in range(3)]
    for each in waits:
        each.start()
    flag.set()
    for each in waits:
        each.join(5)
        assert not each.is_alive()
