"""The retry policy (pure) and its one runner.

Rules of this file: decided by type, never by message text; nobody else repeats a call, vendors' own retries are off;
a network that is down costs time and no attempt; Retry-After is honoured. The classification table is the
`retryable` attribute of the error tree (`errors.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
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


GRACE_EVERY = 1.0
"""Seconds between two looks for a resource that we have just created and that answers 404 (eventual consistency)."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently a call is repeated.

    Args:
        max_attempts: tries in all, the first included.
        initial_delay: seconds before the second try.
        max_delay: no delay is longer, except one that the service asks for by Retry-After.
        multiplier: growth from one delay to the next.
        jitter: draw each delay d from d/2 + U(0, d/2), so that many callers do not come back together.
    """

    max_attempts: int = 5
    initial_delay: float = 2.0
    max_delay: float = 30.0
    multiplier: float = 2.0
    jitter: bool = True

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: a value makes no sense.
        """
        if self.max_attempts < 1 or self.initial_delay < 0 or self.max_delay < 0 or self.multiplier < 1:
            raise errors.ConfigError(
                f"retry: impossible values in {self} (attempts >= 1, delays >= 0, multiplier >= 1)"
            )

    def delay(self, attempt: int, random: Random) -> float:
        """Seconds to wait after failed try number `attempt` (from 1)."""
        # The exponent is bounded so that a caller that counts for hours does not overflow a float.
        delay: float = min(self.initial_delay * self.multiplier ** min(attempt - 1, 64), self.max_delay)
        return delay / 2 + random.uniform(0, delay / 2) if self.jitter else delay

    def next_delay(self, error: Exception, attempt: int, random: Random) -> float | None:
        """Decide after a failed try.

        Args:
            error: what the try raised.
            attempt: number of tries spent so far, this one included.
            random: source of the jitter.

        Returns:
            Seconds to wait before the next try, or None: give up and raise.
        """
        if not (isinstance(error, errors.HypersdkError) and error.retryable) or attempt >= self.max_attempts:
            return None
        return max(self.delay(attempt, random), error.retry_after or 0.0)


@dataclass
class Retrier:
    """Runs calls under a policy; one per connection and run.

    Args:
        policy: how often.
        waiter: where all waiting happens.
        monitor: knows whether the network is down.
        refresh: gets a fresh token after a 401; says whether it did. None = credentials cannot be refreshed.
        random: source of the jitter.
    """

    policy: RetryPolicy
    waiter: Waiter
    monitor: NetworkMonitor
    refresh: Callable[[], bool] | None = None
    random: Random = field(default_factory=Random)

    def call(self, what: str, function: Callable[[], T], *, grace: float = 0.0) -> T:
        """Run `function` until it succeeds or the policy gives up.

        Args:
            what: the call for people, shown while waiting ("list instances").
            function: one try; raises errors of our tree.
            grace: seconds during which "not found" is believed to be a create that has not spread yet.

        Raises:
            HypersdkError: the last try's error.
            Stopped: somebody asked to stop.
        """
        attempt, refreshed = 0, False
        give_grace_until = self.waiter.clock() + grace
        while True:
            self.waiter.stop.check()
            began = self.waiter.clock()
            try:
                answer = function()
            except errors.NetworkError as error:
                if self.monitor.failed():
                    self.monitor.wait_until_up(self.waiter)
                    continue
                attempt += 1
                self._pause(what, error, attempt)
            except errors.NotAuthenticated:
                if refreshed or self.refresh is None or not self.refresh():
                    raise
                refreshed = True
            except errors.NotFoundError:
                if self.waiter.clock() >= give_grace_until:
                    raise
                self.waiter.pause(GRACE_EVERY, f"{what}: not visible yet")
            except errors.HypersdkError as error:
                attempt += 1
                self._pause(what, error, attempt)
            else:
                self.waiter.report(events.Called(what, self.waiter.clock() - began))
                return answer

    def _pause(self, what: str, error: errors.HypersdkError, attempt: int) -> None:
        delay = self.policy.next_delay(error, attempt, self.random)
        if delay is None:
            raise error
        self.waiter.pause(delay, f"{what}: {error.message} (try {attempt + 1} of {self.policy.max_attempts})")
