"""The retry policy (pure), what failing may cost (pure), and the one runner.

Rules of this file: decided by type, never by message text; nobody else repeats a call, vendors' own retries are off;
a network that is down costs time and no attempt; Retry-After is honoured. The classification table is the
`retryable` attribute of the error tree (`errors.py`), shown in `docs/errors.md`. Three purposes, three budgets:

- a small call (`RetryPolicy.call`) gives up after some tries, or minutes;
- a transfer (`RetryPolicy.transfer`) does not give up while it moves: every byte of progress renews its budget;
- a question about a state that is waited for (`UNLIMITED`) never gives up by itself.

Being asked to slow down (429) is no fault and spends no try, only time. Credentials that have ended in mid-run are
waited for (`Login`), which spends neither.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from random import Random
from typing import Protocol, TypeVar

from hypersdk import errors, events
from hypersdk.network import NetworkMonitor
from hypersdk.waiting import Waiter

T = TypeVar("T")


class Call(Protocol):
    """Runs one request, such as a page of a lazy list: a `Retrier`'s `call`, or `run_once`."""

    def __call__(self, what: str, function: Callable[[], T], /) -> T:
        """Run `function`, one request, which people know as `what`."""


def run_once(_what: str, function: Callable[[], T]) -> T:
    """Run a request without repeating it."""
    return function()


def is_unanswered(error: errors.HypersdkError) -> bool:
    """Whether an outage may be why: no whole reply came, or the service never got the whole request (408)."""
    return isinstance(error, errors.NetworkError) or error.status == HTTPStatus.REQUEST_TIMEOUT


GRACE_EVERY = 1.0
"""Seconds between two looks for a resource that we have just created and that answers 404 (eventual consistency)."""

LOGIN_FIRST, LOGIN_EVERY = 2.0, 60.0
"""Seconds after which credentials that have ended are tried again though no file of theirs has changed, at first and in
the long run: the service may have erred, or somebody put things right there. One small request a minute annoys nobody.
"""

KNOWN_DELAYS = 64
"""Delays that are computed ahead; later ones are as long as the last."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What failing may cost before we give up; None = any amount.

    Attributes:
        attempts: tries in all that end with a fault.
        seconds: of failed tries and the pauses between them.
    """

    attempts: int | None = None
    seconds: float | None = None


UNLIMITED = Limits()


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently a call is repeated.

    Args:
        max_attempts: tries in all that end with a fault, the first included.
        initial_delay: seconds before the second try.
        max_delay: no delay is longer, except one that the service asks for by Retry-After.
        multiplier: growth from one delay to the next.
        jitter: draw each delay d from d/2 + U(0, d/2), so that many callers do not come back together.
        max_time: seconds for which a call may go on failing; 600 s in all is the OCI SDK's own limit.
        max_standstill: seconds for which a transfer may stand still, as restic has it (`--retry` 15 minutes).
    """

    max_attempts: int = 5
    initial_delay: float = 2.0
    max_delay: float = 30.0
    multiplier: float = 2.0
    jitter: bool = True
    max_time: float = 300.0
    max_standstill: float = 900.0
    _delays: tuple[float, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: a value makes no sense.
        """
        times = (self.initial_delay, self.max_delay, self.max_time, self.max_standstill)
        if self.max_attempts < 1 or min(times) < 0 or self.multiplier < 1:
            raise errors.ConfigError(
                f"retry: impossible values in {self} (attempts >= 1, delays and times >= 0, multiplier >= 1)"
            )
        grown = (self.initial_delay * self.multiplier**exponent for exponent in range(KNOWN_DELAYS))
        object.__setattr__(self, "_delays", tuple(min(delay, self.max_delay) for delay in grown))

    @property
    def call(self) -> Limits:
        """What a small call may cost."""
        return Limits(self.max_attempts, self.max_time)

    @property
    def transfer(self) -> Limits:
        """What a transfer may cost that stands still."""
        return Limits(self.max_attempts, self.max_standstill)

    def delay(self, attempt: int, random: Random) -> float:
        """Seconds to wait after failed try number `attempt` (from 1)."""
        delay = self._delays[attempt - 1] if attempt <= KNOWN_DELAYS else self._delays[-1]
        return delay * (0.5 + 0.5 * random.random()) if self.jitter else delay


@dataclass(slots=True)
class Budget:
    """What failing has cost so far. Outages and waits are not told to it, so they cost nothing.

    Args:
        policy: delays.
        limits: when to give up.
        attempts: tries that ended with a fault.
        failures: these, and those that the service asked to come later: how long the next pause is.
        seconds: of failed tries and pauses.
    """

    policy: RetryPolicy
    limits: Limits
    attempts: int = 0
    failures: int = 0
    seconds: float = 0.0

    def spend(self, error: Exception, took: float, random: Random) -> float | None:
        """Decide after a failed try.

        Args:
            error: what the try raised.
            took: seconds of the try.
            random: source of the jitter.

        Returns:
            Seconds to wait before the next try, or None: give up and raise.
        """
        if not (isinstance(error, errors.HypersdkError) and error.retryable):
            return None
        self.failures += 1
        self.attempts += not isinstance(error, errors.ThrottledError)
        self.seconds += took
        if self.limits.attempts is not None and self.attempts >= self.limits.attempts:
            return None
        delay = max(self.policy.delay(self.failures, random), error.retry_after or 0.0)
        if self.limits.seconds is not None and self.seconds + delay > self.limits.seconds:
            return None
        self.seconds += delay
        return delay

    def renew(self) -> None:
        """Note progress: all may be spent again, and the pauses begin anew."""
        self.failures = 0
        self.relent()

    def relent(self) -> None:
        """Note progress elsewhere in the same work: all may be spent again, at the pace that was reached."""
        self.attempts = 0
        self.seconds = 0.0

    @property
    def tries(self) -> str:
        """Which try comes next, for people."""
        most = self.limits.attempts
        return f"try {self.failures + 1}" + (f" of {most}" if most is not None and self.failures < most else "")


class Login(Protocol):
    """Knows the credentials that sign: what a refusal means, and whether other ones may be there."""

    @property
    def worked(self) -> bool:
        """Whether the service has accepted them before."""

    def heard(self, endpoint: str) -> None:
        """Note a good answer to a request that moved a body, from this origin ("https://host:port")."""

    def explain(self, error: errors.HypersdkError) -> errors.HypersdkError:
        """A refusal that no renewal cures, as exactly as can be: `ClockSkewed`, `CredentialsEnded`, or as it is."""

    def ask(self) -> str | None:
        """What somebody has to do, as a reason to wait; None = nobody can do anything that we would notice."""

    @property
    def found(self) -> int:
        """How often other credentials were found so far."""

    def look(self) -> None:
        """Look for other credentials. Several threads may, and all of them go on when one finds some."""


def _local_now() -> datetime:
    return datetime.now(UTC).astimezone()


@dataclass
class Retrier:
    """Runs calls under a policy; one per connection and run.

    Args:
        policy: how often.
        waiter: where all waiting happens.
        monitor: knows whether the network is down.
        refresh: gets a fresh token after a 401; says whether it did. None = credentials cannot be refreshed.
        random: source of the jitter.
        login: knows the credentials; None = those that end are an error at once.
        now: time of day, for "try again at".
    """

    policy: RetryPolicy
    waiter: Waiter
    monitor: NetworkMonitor
    refresh: Callable[[], bool] | None = None
    random: Random = field(default_factory=Random)
    login: Login | None = None
    now: Callable[[], datetime] = _local_now

    def call(self, what: str, function: Callable[[], T], *, grace: float = 0.0, limits: Limits | None = None) -> T:
        """Run `function` until it succeeds or its budget is spent.

        Args:
            what: the call for people, shown while waiting ("list instances").
            function: one try; raises errors of our tree.
            grace: seconds during which "not found" is believed to be a create that has not spread yet.
            limits: what failing may cost; None = what the policy allows a call.

        Raises:
            HypersdkError: the last try's error.
            Stopped: somebody asked to stop.
        """
        waiter = self.waiter
        waiter.stop.check()
        if self.monitor.down_since is not None:
            self.monitor.wait_until_up(waiter)
        began = waiter.clock()
        try:
            answer = function()
        except errors.HypersdkError as error:
            repeats = _Repeats(self, what, Budget(self.policy, limits or self.policy.call), began + grace)
            began, answer = repeats.run(function, error, began)
        if waiter.report is not events.null_reporter:
            waiter.report(events.Called(what, waiter.clock() - began))
        return answer

    def give_up(self, error: errors.HypersdkError, budget: Budget) -> errors.HypersdkError:
        """The error of a budget that is spent; where the service wants to be left alone for longer, with until when."""
        if error.retryable and error.retry_after:
            until = self.now() + timedelta(seconds=error.retry_after)
            error.hint = (
                f"the service asks to be left alone for {error.retry_after:.0f} s: try again after {until:%H:%M:%S}"
            )
        elif error.retryable and budget.failures > 1:
            error.add_note(f"gave up after {budget.failures} tries in {budget.seconds:.0f} s")
        return error

    def sign_anew(self, error: errors.HypersdkError) -> errors.HypersdkError | None:
        """After a refusal of what signed: look for other credentials.

        Returns:
            None = the next request is signed by others; else why not.
        """
        try:
            if self.refresh is not None and self.refresh():
                return None
        except (errors.AuthError, errors.ConfigError) as told:
            return error if self.login is not None and self.login.worked else told
        return error

    def explain(self, error: errors.HypersdkError) -> errors.HypersdkError:
        """A refusal that no renewal cures, as exactly as it can be told."""
        return error if self.login is None else self.login.explain(error)

    def is_waited_for(self, error: errors.HypersdkError) -> bool:
        """Whether somebody can cure this refusal while we wait: never at the start of a command."""
        ended = isinstance(error, errors.CredentialsEnded)
        return ended and self.login is not None and self.login.worked and self.login.ask() is not None

    def await_login(self, before: int) -> None:
        """Wait until other credentials are there, or it is time to try those that we have; spends nothing.

        Args:
            before: how often that was waited for in vain.

        Raises:
            Stopped: somebody asked to stop.
        """
        login = self.login
        assert login is not None
        longest = min(LOGIN_EVERY, LOGIN_FIRST * 2.0 ** min(before, KNOWN_DELAYS))
        known = login.found

        def others() -> bool | None:
            login.look()
            return login.found != known or None

        self.waiter.wait_for(login.ask() or "", others, longest=longest, kind=events.LOGIN)


def may_have_happened(error: errors.HypersdkError) -> bool:
    """Whether a call that failed so may have taken effect all the same: its answer was lost, or told nothing."""
    certain = errors.EndpointUnreachable | errors.ThrottledError | errors.BusyError
    return isinstance(error, errors.PassingError) and not isinstance(error, certain)


class _Repeats:
    """One call that has failed once: everything that may come after that."""

    def __init__(self, retrier: Retrier, what: str, budget: Budget, grace_until: float) -> None:
        self._retrier = retrier
        self._what = what
        self._budget = budget
        self._grace_until = grace_until
        self._signed_anew = False
        self._logins = 0
        self._doubtful = False

    def run(self, function: Callable[[], T], error: errors.HypersdkError, began: float) -> tuple[float, T]:
        """Try again until it succeeds.

        Args:
            function: one try.
            error: how the first one failed.
            began: when it began.

        Returns:
            When the good try began, and its answer.
        """
        waiter = self._retrier.waiter
        while True:
            try:
                self._after(error, began)
            except errors.HypersdkError as final:
                final.doubtful = self._doubtful
                raise
            self._doubtful = self._doubtful or may_have_happened(error)
            waiter.stop.check()
            began = waiter.clock()
            try:
                return began, function()
            except errors.HypersdkError as again:
                error = again

    def _after(self, error: errors.HypersdkError, began: float) -> None:
        """Return when the next try may begin.

        Raises:
            HypersdkError: there shall be none.
        """
        retrier = self._retrier
        took = retrier.waiter.clock() - began
        if is_unanswered(error) and retrier.monitor.failed(began, retrier.waiter):
            retrier.monitor.wait_until_up(retrier.waiter)
        elif isinstance(error, errors.NotAuthenticated | errors.CredentialsEnded):
            self._refused(error, took)
        elif isinstance(error, errors.NotFoundError) and retrier.waiter.clock() < self._grace_until:
            retrier.waiter.pause(GRACE_EVERY, f"{self._what}: not visible yet")
        else:
            self._pause(error, took)

    def _refused(self, error: errors.HypersdkError, took: float) -> None:
        retrier, told = self._retrier, error
        if not self._signed_anew:
            self._signed_anew = True
            found = retrier.sign_anew(error)
            if found is None:
                retrier.waiter.report(events.Retried(self._what, error.code, error.request_id))
                return
            told = found
        told = retrier.explain(told)
        if retrier.is_waited_for(told):
            retrier.await_login(self._logins)
            self._logins += 1
            self._signed_anew = False
        elif isinstance(told, errors.ClockSkewed) and retrier.login is not None and retrier.login.worked:
            self._pause(told, took)  # a clock that has jumped is set right by NTP within seconds
        else:
            raise told

    def _pause(self, error: errors.HypersdkError, took: float) -> None:
        retrier, budget = self._retrier, self._budget
        delay = budget.spend(error, took, retrier.random)
        if delay is None:
            raise retrier.give_up(error, budget)
        retrier.waiter.report(events.Retried(self._what, error.code, error.request_id))
        retrier.waiter.pause(delay, f"{self._what}: {error.message} ({budget.tries})", kind=events.RETRY)
