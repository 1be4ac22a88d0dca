"""What failing may cost: budgets by purpose, being asked to come later, and credentials that end in mid-run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypersdk import errors, events
from hypersdk.network import NetworkMonitor
from hypersdk.retry import LOGIN_EVERY, UNLIMITED, Budget, Limits, Retrier, RetryPolicy
from hypersdk.waiting import Waiter

FAULTS = (errors.ServiceError, errors.NetworkError, errors.BusyError, errors.ReplyRefused)
PASSING = st.sampled_from((*FAULTS, errors.ThrottledError))
SECONDS = st.floats(0, 400)
POLICIES = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 12),
    initial_delay=st.floats(0, 10),
    max_delay=st.floats(0, 60),
    multiplier=st.floats(1, 4),
    jitter=st.booleans(),
    max_time=SECONDS,
    max_standstill=SECONDS,
)


@dataclass
class FakeLogin:
    """Credentials that somebody renews at a time of the virtual clock."""

    world: World
    worked: bool = True
    asks: str | None = "log in"
    renewed_at: float = float("inf")
    skewed: bool = False
    looks: int = 0

    def heard(self, endpoint: str) -> None:
        raise AssertionError(endpoint)

    def explain(self, error: errors.HypersdkError) -> errors.HypersdkError:
        if self.skewed:
            return errors.ClockSkewed(error.message, hint="an hour apart")
        return errors.CredentialsEnded(error.message) if self.worked else error

    def ask(self) -> str | None:
        return self.asks

    @property
    def found(self) -> int:
        return int(self.world.now >= self.renewed_at)

    def look(self) -> None:
        self.looks += 1


@dataclass
class World:
    """A clock that only sleeping moves."""

    now: float = 0.0
    back_at: float = 0.0
    told: list[events.Event] = field(default_factory=list)

    def sleep(self, seconds: float) -> bool:
        self.now += seconds
        return False

    def retrier(self, policy: RetryPolicy | None = None, login: FakeLogin | None = None) -> Retrier:
        waiter = Waiter(clock=lambda: self.now, sleep=self.sleep, report=self.told.append)
        probe = (lambda: self.now >= self.back_at) if self.back_at else None
        monitor = NetworkMonitor(probe, clock=lambda: self.now, start=lambda ask: ask())
        wall = lambda: datetime(2026, 11, 25, 14, 0, 0, tzinfo=UTC)  # noqa: E731 - a constant
        policy = policy or RetryPolicy(jitter=False)
        return Retrier(policy, waiter, monitor, random=Random(1), login=login, now=wall)

    @property
    def retried(self) -> list[str]:
        return [event.code for event in self.told if isinstance(event, events.Retried)]

    @property
    def reasons(self) -> list[str]:
        return [event.reason for event in self.told if isinstance(event, events.Waiting) and event.reason]


def failing(*failures: errors.HypersdkError) -> Callable[[], str]:
    left = list(failures)

    def call() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return call


# ---------------------------------------------------------------- the budget itself


@given(policy=POLICIES, kinds=st.lists(st.tuples(PASSING, SECONDS), max_size=40), seed=st.integers())
def test_a_budget_is_never_overspent(
    policy: RetryPolicy, kinds: list[tuple[type[errors.HypersdkError], float]], seed: int
) -> None:
    """Property: whatever fails, there are no more faults than tries, and no pause that ends after the time is over."""
    budget, faults, spent = Budget(policy, policy.call), 0, 0.0
    for kind, took in kinds:
        delay = budget.spend(kind("no"), took, Random(seed))
        faults += kind is not errors.ThrottledError
        spent += took
        if delay is None:
            assert faults >= policy.max_attempts or spent + policy.max_delay >= policy.max_time
            return
        assert faults < policy.max_attempts
        spent += delay
        assert spent <= policy.max_time * (1 + 1e-9)


@given(policy=POLICIES, kinds=st.lists(PASSING, min_size=1, max_size=200), after=st.floats(0, 1e6))
def test_no_budget_never_gives_up(policy: RetryPolicy, kinds: list[type[errors.HypersdkError]], after: float) -> None:
    """Property: a wait for a state outlasts any passing fault, and honours every Retry-After."""
    budget = Budget(policy, UNLIMITED)
    for kind in kinds:
        delay = budget.spend(kind("no", retry_after=after), 60.0, Random(0))
        assert delay is not None
        assert delay >= after


@given(kind=st.sampled_from((errors.RequestRefused, errors.PermissionDenied, errors.DiskFull, errors.StateConflict)))
def test_what_lasts_is_never_repeated(kind: type[errors.HypersdkError]) -> None:
    """Property: no budget, not even an endless one, repeats what repeating cannot cure."""
    assert Budget(RetryPolicy(), UNLIMITED).spend(kind("no"), 0.0, Random(0)) is None


def test_progress_renews_a_budget() -> None:
    """After progress of its own all begins anew; after progress elsewhere the pace that was reached stays."""
    budget = Budget(RetryPolicy(jitter=False), Limits(3, 100.0))
    fault = errors.ServiceError("503")
    assert [budget.spend(fault, 0.0, Random(0)) for _ in range(3)] == [2.0, 4.0, None]
    budget.relent()
    assert budget.spend(fault, 0.0, Random(0)) == 16.0
    budget.renew()
    assert budget.spend(fault, 0.0, Random(0)) == 2.0


# ---------------------------------------------------------------- calls


def test_a_call_that_times_out_gives_up_in_minutes() -> None:
    """Tries that take a minute each are not all made: five minutes are enough for one small call."""
    world = World()

    def call() -> str:
        world.now += 90.0
        raise errors.NetworkError("no byte came for 90 s")

    with pytest.raises(errors.NetworkError):
        world.retrier().call("list", call)
    assert 200 < world.now <= 300 + 90


def test_being_asked_to_slow_down_spends_time_and_no_try() -> None:
    """Eleven 429 in a row are sat out; when the five minutes are over it gives up, saying after how many tries."""
    world = World()
    assert world.retrier().call("list", failing(*[errors.ThrottledError("429")] * 11)) == "done"
    assert world.retried == ["throttled"] * 11
    with pytest.raises(errors.ThrottledError) as ended:
        world.retrier().call("list", failing(*[errors.ThrottledError("429")] * 99))
    assert ended.value.__notes__ == ["gave up after 14 tries in 300 s"]


def test_a_retry_after_beyond_the_budget_gives_up_at_once_with_the_time() -> None:
    """An hour is not waited for: the error says from when on to try again."""
    world = World()
    with pytest.raises(errors.ThrottledError) as ended:
        world.retrier().call("list", failing(errors.ThrottledError("429", retry_after=3600.0)))
    assert world.now == 0
    assert ended.value.hint == "the service asks to be left alone for 3600 s: try again after 15:00:00"


def test_an_outage_spends_neither_tries_nor_time() -> None:
    """An hour without network between faults leaves the whole budget, and is not told as a repeat."""
    world = World(back_at=3600.0)
    policy = RetryPolicy(max_attempts=3, jitter=False, max_time=10.0)
    faults = [errors.ServiceError("503"), errors.EndpointUnreachable("no route"), errors.ServiceError("503")]
    assert world.retrier(policy).call("list", failing(*faults)) == "done"
    assert world.now >= 3600
    assert world.retried == ["service", "service"]


def test_a_wait_for_a_state_outlasts_every_fault() -> None:
    """Without limits a question about a state is asked again for hours, at the longest pause, and says why."""
    world = World()
    call = failing(*[errors.ServiceError("503")] * 200)
    assert world.retrier().call("get image", call, limits=UNLIMITED) == "done"
    assert world.now > 190 * 30
    assert world.reasons[-1] == "get image: 503 (try 201)"


@pytest.mark.parametrize(
    ("first", "doubtful"),
    [
        (errors.NetworkError("cut"), True),
        (errors.ServiceError("500"), True),
        (errors.ReplyRefused("a proxy's page"), True),
        (errors.ThrottledError("429"), False),
        (errors.EndpointUnreachable("no route"), False),
    ],
)
def test_a_refusal_after_a_lost_answer_proves_nothing(first: errors.HypersdkError, *, doubtful: bool) -> None:
    """A create whose answer was lost may have taken effect, whatever its repeat is told; a call never sent has not."""
    with pytest.raises(errors.PermissionDenied) as ended:
        World().retrier().call("create", failing(first, errors.PermissionDenied("403")))
    assert ended.value.doubtful is doubtful
    with pytest.raises(errors.PermissionDenied) as at_once:
        World().retrier().call("create", failing(errors.PermissionDenied("403")))
    assert not at_once.value.doubtful


# ---------------------------------------------------------------- credentials


def test_credentials_that_end_are_waited_for_and_spend_nothing() -> None:
    """A day until somebody logs in, with one try allowed: the call is made again and succeeds."""
    world = World()
    login = FakeLogin(world, renewed_at=86_400.0)

    def call() -> str:
        if world.now < login.renewed_at:
            raise errors.NotAuthenticated("401")
        return "done"

    assert world.retrier(RetryPolicy(max_attempts=1), login).call("list", call) == "done"
    assert 86_400 <= world.now <= 86_401
    assert set(world.reasons) == {"log in"}
    assert world.retried == []


def test_credentials_are_tried_again_though_no_file_changes() -> None:
    """Put right in the cloud alone: noticed within a minute, and not asked for more than once a minute for long."""
    world = World()
    tries: list[float] = []

    def call() -> str:
        tries.append(world.now)
        if world.now < 7200:
            raise errors.NotAuthenticated("401")
        return "done"

    assert world.retrier(login=FakeLogin(world)).call("list", call) == "done"
    assert world.now <= 7200 + LOGIN_EVERY
    assert len(tries) <= 7200 / LOGIN_EVERY + 8


@pytest.mark.parametrize("fields", [{"worked": False}, {"asks": None}])
def test_nobody_is_waited_for_in_vain(fields: dict[str, object]) -> None:
    """At the start of a command, and where nobody can log in, it is an error at once."""
    world = World()
    with pytest.raises(errors.AuthError):
        world.retrier(login=FakeLogin(world, **fields)).call("list", failing(*[errors.NotAuthenticated("401")] * 9))
    assert world.now == 0


def test_a_missing_permission_is_no_login() -> None:
    """403 has nothing to do with who signs: nobody is asked to log in."""
    world = World()
    login = FakeLogin(world)
    with pytest.raises(errors.PermissionDenied):
        world.retrier(login=login).call("list", failing(errors.PermissionDenied("403")))
    assert (world.now, login.looks) == (0, 0)


def test_a_clock_that_is_set_right_in_mid_run_recovers() -> None:
    """Skew in mid-run is a fault that passes: two refusals cost two pauses."""
    world = World()
    login = FakeLogin(world, skewed=True)
    assert world.retrier(login=login).call("list", failing(*[errors.NotAuthenticated("401")] * 2)) == "done"
    assert world.retried == ["clock-skewed"] * 2
    assert login.looks == 0


def test_a_clock_that_stays_wrong_is_told_and_not_waited_for() -> None:
    """Skew at the start is an error at once; in mid-run after the usual tries; never a pause for a login."""
    world = World()
    with pytest.raises(errors.ClockSkewed):
        world.retrier(login=FakeLogin(world, worked=False, skewed=True)).call(
            "list", failing(errors.NotAuthenticated("401"))
        )
    assert world.now == 0
    with pytest.raises(errors.ClockSkewed, match="an hour apart"):
        world.retrier(login=FakeLogin(world, skewed=True)).call("list", failing(*[errors.NotAuthenticated("401")] * 9))
    assert world.now == 2 + 4 + 8 + 16


@pytest.mark.parametrize("told", [errors.AuthError("the file has none"), errors.ConfigError("no such file")])
def test_credentials_that_cannot_be_read_now_are_waited_for_too(told: errors.HypersdkError) -> None:
    """A token file that is gone or half-written when the refusal comes: the run waits as for any other login."""
    world = World()
    login = FakeLogin(world, renewed_at=50.0)
    retrier = world.retrier(login=login)

    def refresh() -> bool:
        raise told

    retrier.refresh = refresh
    assert retrier.call("list", failing(errors.NotAuthenticated("401"))) == "done"
    login.worked = False
    with pytest.raises(type(told)):
        retrier.call("list", failing(errors.NotAuthenticated("401")))
