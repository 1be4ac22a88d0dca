"""Many parts over one wire: what is in flight, what waits for its next try, what ends the transfer.

Rules of this file:
- One loop in the caller's thread; a part that waits for its next try holds up no other part, but keeps its place: so
  memory stays bounded, and a service that asks to slow down is not sent more.
- How many parts are in flight is for the servers' governors to say: they see the bytes of each turn, how long
  answers take, and every refusal to hurry.
- A request that is stuck, or much slower than its peers at the end, is dropped and asked for again on a new connection,
  from where the part stands (`hedging`); that spends no attempt and is bounded.
- What failing may cost is a budget per part under the run's policy, anew after each try that brought the part further
  than all before, and whenever another part arrived: a transfer does not give up while it moves, and a line that cuts
  its connections is slow, not broken. Where each part is a thing of its own the others say nothing about it.
- While the network is down nothing is submitted and nothing is spent, nor by what was in flight then, whenever it ends;
  it is served meanwhile, and its bytes prove the network up.
- A 401 refreshes the credentials once. If no request succeeded since the last refresh, and somebody can renew them,
  all wait for that, spending nothing; else it ends the transfer.
- Connections that did not survive an outage, and do not know it, are dropped (`pulse`), which spends nothing either.
- The stop flag and the hooks are looked at in every turn; whatever ends the loop, nothing stays in flight.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol, runtime_checkable

from hypersdk import errors, events
from hypersdk.governor import Governor
from hypersdk.retry import Budget, Retrier, is_unanswered
from hypersdk.transfer.hedging import Flight, Lookout
from hypersdk.transfer.pulse import Pulse
from hypersdk.wire.loop import Completion, Wire
from hypersdk.wire.request import Reply

ADVANCE = 64 * 1024
"""Bytes by which a try must be further than all before it, so that the attempts are counted anew."""

LOOK_EVERY = 0.05
"""Shortest time in seconds between two looks at who moves: with small objects there are thousands of turns a second."""

TURN = 0.25
"""Longest time in seconds between two looks at stop flag and hooks while bytes flow."""


class Part(Protocol):
    """One range or part on its way."""

    def begin(self, wire: Wire, token: int) -> bool:
        """Begin a try; it may go on where the one before it stopped.

        Returns:
            True = one request was submitted under this token; False = the part moved without the wire and is done.
        """

    def finish(self, reply: Reply) -> None:
        """The request was answered well: the whole part moved.

        Raises:
            ReplyRefused: its content shows that it did not; it is tried again.
        """

    @property
    def moved(self) -> int:
        """Bytes so far of what it may keep."""


@runtime_checkable
class Measured(Protocol):
    """A part of which is known what remains; only such a part is ever given up and asked for again."""

    @property
    def left(self) -> int:
        """Bytes still to move in the present try."""

    @property
    def again(self) -> int:
        """Bytes to move if it begins again."""


PartFailed = Callable[[Part, errors.HypersdkError], bool]
"""(the part, why) -> whether the other parts go on."""


@dataclass(slots=True)
class _Try:
    part: Part
    budget: Budget
    furthest: int = 0  # bytes of the try that brought most
    arrived: int = 0  # parts that had arrived at its last failure
    credentials: int = 0  # refreshes before it was signed
    outages: int = 0  # outages before it was submitted
    began: float = 0.0  # when it was signed and submitted
    stood: int = 0  # bytes that it had then
    given_up: int = 0  # requests that were dropped because they were stuck or slow


class PartLoop:
    """Runs parts to their end.

    Args:
        wire: moves the bytes; used by this loop alone while it runs.
        retrier: policy, waiter, network monitor and refresh of the run.
        what: the transfer for people, shown while waiting ("download oci://...").
        parallel: most requests in flight; the wire's governor may allow fewer.
        failed: told of a part that failed for good; True = the others go on. None = it ends the transfer.
    """

    def __init__(
        self, wire: Wire, retrier: Retrier, what: str, parallel: int, failed: PartFailed | None = None
    ) -> None:
        self._wire = wire
        self._failed = failed
        self._retrier = retrier
        self._what = what
        self._parallel = parallel
        self._flying: dict[int, _Try] = {}
        self._waiting: list[tuple[float, int, _Try]] = []  # heap by time of the next try
        self._numbers = itertools.count()
        self._credentials = 0
        self._outages = 0
        self._refreshed_in_vain = False
        self._signed_out = False
        self._logins = 0
        self._arrived = 0
        self._next_tick = 0.0
        self._next_look = 0.0
        self._seen: dict[str, int] = {}  # bytes by endpoint, as last told to its governor
        self._lookout = Lookout()
        self._pulse = Pulse()
        self._received = wire.received
        self._exhausted = False
        self._last_error = ""

    @property
    def busy(self) -> bool:
        """Whether any part is in flight or waits for its next try."""
        return bool(self._flying or self._waiting)

    @property
    def moving(self) -> int:
        """Bytes of parts that are in flight."""
        return sum(each.part.moved for each in self._flying.values())

    def run(self, parts: Iterator[Part | None], turn: Callable[[], None]) -> None:
        """Move all parts.

        Args:
            parts: made one by one, when a connection is free for them; None = none is ready, it is asked again in the
                next turn. It may wait itself while the loop is not busy.
            turn: called in every turn (progress).

        Raises:
            HypersdkError: a part failed for good; finished parts have been told so before.
            Stopped: somebody asked to stop.
        """
        with closing(self.turns(parts)) as turns:
            for _ in turns:
                turn()

    def turns(self, parts: Iterator[Part | None]) -> Generator[None, None, None]:
        """Move all parts, as `run` does, one turn at each step of the iterator; closing it abandons what is in flight.

        Args:
            parts: as for `run`.

        Raises:
            HypersdkError: a part failed for good; finished parts have been told so before.
            Stopped: somebody asked to stop.
        """
        try:
            while self._fill(parts):
                self._tick()
                if self._flying:
                    self._serve(self._wire.completed(self._patience()))
                elif self._waiting:
                    self._pause()
                self._govern()
                self._look()
                yield
                if self._retrier.monitor.down_since is not None:
                    self._wait_for_network()
                if self._signed_out:
                    self._wait_for_login()
        finally:
            for token in self._flying:
                self._wire.abandon(token)
            self._flying.clear()

    @property
    def _governors(self) -> list[Governor]:
        return [self._wire.governor.of(endpoint) for endpoint in self._seen]

    @property
    def _level(self) -> int:
        # One request, as long as nobody knows whom the parts speak to.
        return min([self._parallel, *(each.level for each in self._governors or [Governor(1)])])

    def _govern(self) -> None:
        now = self._retrier.waiter.clock()
        for endpoint, before in self._seen.items():
            self._seen[endpoint] = moved = self._wire.moved_at(endpoint)
            governor = self._wire.governor.of(endpoint)
            governor.moved(moved - before, now, busy=len(self._flying) >= governor.level)

    def _hear(self, completions: list[Completion]) -> None:
        """Bytes that came prove the network up; those that went may stand in a buffer of ours."""
        received = self._wire.received
        if received != self._received or any(each.reply is not None for each in completions):
            self._received = received
            self._retrier.monitor.heard()

    def _look(self) -> None:
        """Drop who is dead, stuck, or much slower than its peers; if nothing moves, have the endpoint asked."""
        monitor, now = self._retrier.monitor, self._retrier.waiter.clock()
        if now < self._next_look:
            return
        self._next_look = now + LOOK_EVERY
        measured, others = self._flights()
        silence = self._pulse.feel([*measured, *others], now)
        if not self._wire.limited:
            monitor.doubt(silence)
        dead = self._pulse.dead(
            [*measured, *others], now, broken_before=monitor.broken_before, doubted_before=monitor.doubted_before
        )
        for token in dead:
            self._drop(token)
        if not self._wire.limited:  # else who is slow is slow because we are
            self._hedge([each for each in measured if each.token not in dead], now)

    def _flights(self) -> tuple[list[Flight], list[Flight]]:
        """What is in flight: first that of which it is known what remains."""
        measured, others = [], []
        for token, this in self._flying.items():
            part, paused = this.part, self._wire.paused(token)
            if isinstance(part, Measured):
                measured.append(Flight(token, part.moved, part.left, part.again, this.given_up, paused))
            else:
                others.append(Flight(token, part.moved, 0, 0, paused=paused))
        return measured, others

    def _drop(self, token: int) -> _Try:
        """Give a request up; its part asks again at once, and spends nothing."""
        self._wire.abandon(token)
        this = self._flying.pop(token)
        self._again(this, 0.0)
        return this

    def _hedge(self, flights: list[Flight], now: float) -> None:
        tail = self._exhausted and not self._waiting
        for token in self._lookout.look(flights, now, tail=tail):
            self._drop(token).given_up += 1

    def _fill(self, parts: Iterator[Part | None]) -> bool:
        """Submit what may be submitted; False when nothing is left to do."""
        while len(self._flying) < self._level:
            this = self._due()
            if this is None and len(self._flying) + len(self._waiting) < self._level:
                this = self._next(parts)
                if this is None and not self._exhausted:
                    return True
            if this is None:
                break
            if shut := max((each.shut_for(self._retrier.waiter.clock()) for each in self._governors), default=0.0):
                self._again(this, shut)
                break
            if not self._begin(this):
                return True
        return bool(self._flying or self._waiting)

    def _next(self, parts: Iterator[Part | None]) -> _Try | None:
        """A new part; None = none is ready, or there are no more."""
        for part in parts:
            if part is None:
                return None
            policy = self._retrier.policy
            return _Try(part, Budget(policy, policy.transfer), arrived=self._arrived)
        self._exhausted = True
        return None

    def _begin(self, this: _Try) -> bool:
        """Submit a part; False = it moved at once without the wire, or could not begin: that makes a turn."""
        token, this.credentials, this.outages = next(self._numbers), self._credentials, self._outages
        this.began = self._retrier.waiter.clock()
        try:
            flies = this.part.begin(self._wire, token)
        except errors.HypersdkError as error:
            self._lost(this, error)  # nothing signs it now: that is repeated as the request itself would be
            return False
        if flies:
            self._flying[token] = this
            this.began, this.stood = self._retrier.waiter.clock(), this.part.moved
            for endpoint in self._wire.endpoints(token):
                self._seen.setdefault(endpoint, self._wire.moved_at(endpoint))
        return flies

    def _due(self) -> _Try | None:
        if self._waiting and self._waiting[0][0] <= self._retrier.waiter.clock():
            return heapq.heappop(self._waiting)[2]
        return None

    def _patience(self) -> float:
        if not self._waiting or len(self._flying) >= self._level:
            return TURN
        return max(0.0, min(TURN, self._waiting[0][0] - self._retrier.waiter.clock()))

    def _pause(self) -> None:
        seconds = self._waiting[0][0] - self._retrier.waiter.clock()
        if seconds > 0:
            self._retrier.waiter.pause(seconds, f"{self._what}: {self._last_error}", kind=events.RETRY)

    def _tick(self) -> None:
        waiter = self._retrier.waiter
        waiter.stop.check()
        if (now := waiter.clock()) >= self._next_tick:
            self._next_tick = now + TURN
            waiter.tick()

    def _serve(self, completions: list[Completion]) -> None:
        self._hear(completions)  # before any failure among them makes the endpoint be asked
        for completion in completions:
            assert isinstance(completion.token, int)
            this = self._flying.pop(completion.token)
            if completion.waited is not None:
                self._wire.governor.of(completion.endpoint).answered(completion.waited)
            if completion.reply is not None:
                self._refreshed_in_vain = False
                self._logins = 0
                if self._retrier.login is not None:
                    self._retrier.login.heard(completion.endpoint)
                now = self._retrier.waiter.clock()
                self._lookout.done(this.part.moved - this.stood, now - this.began, now)
                try:
                    this.part.finish(completion.reply)
                except errors.ReplyRefused as error:
                    self._lost(this, error)
                else:
                    self._arrived += 1
                    self._retrier.waiter.report(events.Bytes(parts=1))
            else:
                assert completion.error is not None
                self._lost(this, completion.error, completion.endpoint)

    def _lost(self, this: _Try, error: errors.HypersdkError, endpoint: str = "") -> None:
        if isinstance(error, errors.NotAuthenticated | errors.CredentialsEnded):
            told = self._refused(error, this.credentials)
            if told is None:
                self._again(this, 0.0)
                return
            error = told
        elif is_unanswered(error) and self._outage_took(this):
            self._again(this, 0.0)
            return
        if isinstance(error, errors.ThrottledError) or error.status == HTTPStatus.SERVICE_UNAVAILABLE:
            self._wire.governor.of(endpoint).refused(self._retrier.waiter.clock(), error.retry_after)
        delay = self._spend(this, error)
        if delay is None:
            error = self._retrier.give_up(error, this.budget)
            if self._failed is not None and self._failed(this.part, error):
                return
            raise error
        self._last_error = error.message
        self._retrier.waiter.report(events.Retried(self._what, error.code, error.request_id))
        self._again(this, delay)

    def _spend(self, this: _Try, error: errors.HypersdkError) -> float | None:
        """Seconds before the next try of a part; None = give it up."""
        if this.part.moved >= this.furthest + ADVANCE:
            this.furthest = this.part.moved
            this.budget.renew()
        elif self._failed is None and self._arrived > this.arrived:
            this.budget.relent()
        this.arrived = self._arrived
        took = self._retrier.waiter.clock() - this.began
        return this.budget.spend(error, took, self._retrier.random)

    def _outage_took(self, this: _Try) -> bool:
        monitor = self._retrier.monitor
        return this.outages < self._outages or monitor.failed(this.began, self._retrier.waiter)

    def _again(self, this: _Try, delay: float) -> None:
        heapq.heappush(self._waiting, (self._retrier.waiter.clock() + delay, next(self._numbers), this))

    def _refused(self, error: errors.HypersdkError, signed_with: int) -> errors.HypersdkError | None:
        """After a refusal of what signed: None = the part is tried again, by and by; else why it is not."""
        retrier, told = self._retrier, error
        if signed_with < self._credentials:
            return None  # signed before a change that another part's refusal has caused
        if not self._refreshed_in_vain:
            found = retrier.sign_anew(error)
            if found is None:
                self._credentials += 1
                self._refreshed_in_vain = True
                retrier.waiter.report(events.Retried(self._what, error.code, error.request_id))
                return None
            told = found
        told = retrier.explain(told)
        if retrier.is_waited_for(told):
            self._credentials += 1
            self._signed_out = True
            return None
        if isinstance(told, errors.ClockSkewed) and not (retrier.login is not None and retrier.login.worked):
            raise told
        return told

    def _wait_for_login(self) -> None:
        with self._serving():
            self._retrier.await_login(self._logins)
        self._logins += 1
        self._signed_out = self._refreshed_in_vain = False
        self._credentials += 1  # what comes back from before says nothing of those that sign now

    def _wait_for_network(self) -> None:
        self._outages += 1
        with self._serving():
            self._retrier.monitor.wait_until_up(self._retrier.waiter)

    @contextmanager
    def _serving(self) -> Iterator[None]:
        """While we wait, what is in flight is served; its bytes prove the network up."""
        serving = False

        def serve() -> None:
            nonlocal serving
            if not serving:  # who is told that a part failed may tick, too
                serving = True
                self._serve(self._wire.completed(0))
                serving = False

        self._lookout.forget()
        hooks = self._retrier.waiter.hooks
        hooks.append(serve)
        try:
            yield
        finally:
            hooks.remove(serve)
