"""The retry policy and its runner."""

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypersdk import errors
from hypersdk.network import NetworkMonitor
from hypersdk.retry import Retrier, RetryPolicy
from hypersdk.waiting import Waiter


class World:
    """A clock that only sleeping moves, and a network that can be cut."""

    def __init__(self) -> None:
        self.now = 0.0
        self.back_at = 0.0
        self.probes = 0
        self.waiter = Waiter(clock=lambda: self.now, sleep=self.sleep)

    def sleep(self, seconds: float) -> bool:
        self.now += seconds
        return False

    def probe(self) -> bool:
        self.probes += 1
        return self.now >= self.back_at

    def retrier(self, refresh: Callable[[], bool] | None = None, *, monitored: bool = True) -> Retrier:
        monitor = NetworkMonitor(self.probe if monitored else None, clock=lambda: self.now, start=lambda ask: ask())
        return Retrier(RetryPolicy(jitter=False), self.waiter, monitor, refresh, Random(1))


class Failing:
    """A call that raises what it is told, one after the other, then succeeds."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return "done"


@given(attempt=st.integers(1, 10_000), seed=st.integers(), jitter=st.booleans())
def test_delay_stays_between_half_and_cap(attempt: int, seed: int, *, jitter: bool) -> None:
    """A delay is never above the cap and jitter takes away at most half of it."""
    policy = RetryPolicy(jitter=jitter)
    whole = RetryPolicy(jitter=False).delay(attempt, Random(seed))
    assert whole / 2 <= policy.delay(attempt, Random(seed)) <= whole <= policy.max_delay


def test_delays_double_from_two_seconds() -> None:
    """Defaults are those of design section 5: 2 s, doubled, at most 30 s."""
    policy = RetryPolicy(jitter=False)
    assert [policy.delay(n, Random()) for n in range(1, 7)] == [2, 4, 8, 16, 30, 30]


def test_passing_faults_are_repeated_until_they_pass() -> None:
    """Three passing faults cost three waits and then the call succeeds."""
    world, call = (
        World(),
        Failing(errors.ThrottledError("slow"), errors.ServiceError("503"), errors.BusyError("locked")),
    )
    assert world.retrier().call("list", call) == "done"
    assert (call.calls, world.now) == (4, 2 + 4 + 8)


def test_fifth_failure_is_raised() -> None:
    """After five tries the last error is what the caller gets."""
    world, call = World(), Failing(*[errors.ServiceError(f"fault {n}") for n in range(1, 9)])
    with pytest.raises(errors.ServiceError, match="fault 5"):
        world.retrier().call("list", call)
    assert call.calls == 5


@pytest.mark.parametrize(
    "error",
    [
        errors.RequestRefused("400"),
        errors.PermissionDenied("403"),
        errors.NotFoundError("404"),
        errors.PreconditionFailed("412"),
        errors.StateConflict("409"),
        errors.DiskFull("full"),
        errors.UsageError("bad OCID"),
        ValueError("a bug"),
    ],
)
def test_lasting_faults_are_raised_at_once(error: Exception) -> None:
    """What repeating cannot mend is not repeated."""
    world, call = World(), Failing(error)
    with pytest.raises(type(error)):
        world.retrier().call("get", call)
    assert (call.calls, world.now) == (1, 0)


def test_retry_after_is_honoured() -> None:
    """The service's own wish wins over a shorter delay of ours."""
    world, call = World(), Failing(errors.ThrottledError("slow", retry_after=45.0))
    world.retrier().call("list", call)
    assert world.now == 45


def test_outage_spends_no_attempt() -> None:
    """An hour without network, noticed on every try, is waited out and costs no attempt."""
    world = World()
    world.back_at = 3600.0

    def call() -> str:
        if world.now < world.back_at:
            raise errors.EndpointUnreachable("no route")
        return "done"

    assert world.retrier().call("list", call) == "done"
    assert 3600 <= world.now <= 3603


def test_without_monitor_an_outage_spends_attempts() -> None:
    """`network.monitor: false` counts unreachable endpoints like any passing fault."""
    world, call = World(), Failing(*[errors.EndpointUnreachable("no route")] * 9)
    with pytest.raises(errors.EndpointUnreachable):
        world.retrier(monitored=False).call("list", call)
    assert (call.calls, world.probes) == (5, 0)


@pytest.mark.parametrize(("fresh", "calls"), [(True, 2), (False, 1)])
def test_401_is_repeated_once_after_a_refresh(*, fresh: bool, calls: int) -> None:
    """A refused signature is tried again once, and only with a new token."""
    world, call = World(), Failing(errors.NotAuthenticated("401"), errors.NotAuthenticated("401 again"))
    with pytest.raises(errors.NotAuthenticated):
        world.retrier(refresh=lambda: fresh).call("get", call)
    assert call.calls == calls


def test_404_just_after_create_has_a_grace() -> None:
    """A resource of ours that is not visible yet is looked for again; a late 404 is believed."""
    world, call = World(), Failing(*[errors.NotFoundError("404")] * 3)
    assert world.retrier().call("get image", call, grace=10) == "done"
    with pytest.raises(errors.NotFoundError):
        world.retrier().call("get image", Failing(*[errors.NotFoundError("404")] * 30), grace=10)


def test_stop_ends_a_long_delay_at_once() -> None:
    """Ctrl-C during a back-off of 45 s is obeyed within a tick."""
    world = World()

    def sleep(seconds: float) -> bool:
        world.now += seconds
        world.waiter.stop.set()
        return True

    world.waiter.sleep = sleep
    with pytest.raises(errors.Interrupted):
        world.retrier().call("list", Failing(errors.ThrottledError("slow", retry_after=45.0)))
    assert world.now <= 1


@pytest.mark.parametrize("values", [{"max_attempts": 0}, {"initial_delay": -1}, {"multiplier": 0.5}])
def test_impossible_policies_are_refused(values: dict[str, float]) -> None:
    """A policy that makes no sense is a configuration error, not an endless loop."""
    with pytest.raises(errors.ConfigError):
        RetryPolicy(**values)  # type: ignore[arg-type]
