"""Which requests are given up, on a virtual clock: the stuck and the slow, never those that move like the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypersdk.transfer.hedging import Flight, Lookout, Rule

RULE = Rule()
LOOK = 0.25
SIZE = 16 << 20


@dataclass
class Race:
    """Requests that move at rates of the test's choice; those given up begin again under a new token."""

    rates: list[Callable[[float], float]]
    resumes: bool = True
    tail: bool = False
    lookout: Lookout = field(default_factory=lambda: Lookout(RULE))
    paused: set[int] = field(default_factory=set)
    size: float = SIZE

    def __post_init__(self) -> None:
        self.now = 0.0
        self.moved = [0.0] * len(self.rates)
        self.stood = [0.0] * len(self.rates)
        self.tokens = list(range(len(self.rates)))
        self.given_up: list[list[float]] = [[] for _ in self.rates]
        self.again_at: Callable[[int], float] | None = None

    def run(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now + seconds
        while self.now < until:
            self.now += LOOK
            for lane, rate in enumerate(self.rates):
                before, self.moved[lane] = self.moved[lane], min(self.size, self.moved[lane] + rate(self.now) * LOOK)
                if before < self.size <= self.moved[lane]:
                    self.lookout.done(int(self.size - self.stood[lane]), self.now, self.now)
            flying = [lane for lane, moved in enumerate(self.moved) if moved < self.size]
            flights = [self.flight(lane) for lane in flying]
            for token in self.lookout.look(flights, self.now, tail=self.tail):
                lane = self.tokens.index(token)
                self.given_up[lane].append(self.now)
                self.tokens[lane] = max(self.tokens) + 1
                if not self.resumes:
                    self.moved[lane] = 0.0

    def flight(self, lane: int) -> Flight:
        left = int(self.size - self.moved[lane])
        again = left if self.resumes else int(self.size)
        moved = int(self.moved[lane])
        return Flight(self.tokens[lane], moved, left, again, len(self.given_up[lane]), lane in self.paused)


def steady(rate: float) -> Callable[[float], float]:
    return lambda _now: rate


def until(moment: float, rate: float) -> Callable[[float], float]:
    """Moves until a moment, then never again."""
    return lambda now: rate if now < moment else 0.0


def test_stuck_one_is_given_up_while_others_move():
    """No byte for five seconds while others move: it is asked for again, and each further time later."""
    race = Race([until(2.0, 1e5), *[steady(1e5)] * 3])
    race.run(60)
    waits = [later - earlier for earlier, later in zip([1.75, *race.given_up[0]], race.given_up[0], strict=False)]
    assert waits == pytest.approx([5, 10, 20], abs=2 * LOOK)
    assert race.given_up[1:] == [[], [], []]


def test_all_stuck_together_are_given_more_time():
    """When nobody moves the network may be away: twice the patience, and never endless."""
    race = Race([until(2.0, 1e5)] * 4)
    race.run(11.5)
    assert race.given_up == [[]] * 4
    race.run(200)
    assert [len(times) for times in race.given_up] == [RULE.most] * 4


def test_paused_one_is_left_alone():
    """Who waits for our own side is not stuck."""
    race = Race([until(2.0, 1e5), *[steady(1e5)] * 3], paused={0}, tail=True)
    race.run(100)
    assert race.given_up[0] == []


def test_answer_may_take_its_time():
    """A body that the service has whole is answered when it is ready: patience is six times as long."""
    lookout, found = Lookout(RULE), []
    for step in range(160):
        now = step * LOOK
        flights = [Flight(0, 100, 0, 100), *(Flight(each, step * 100, 1000, 1000) for each in (1, 2, 3))]
        found += [(token, now) for token in lookout.look(flights, now, tail=False)]
    assert [token for token, _ in found] == [0]
    assert found[0][1] >= RULE.stuck * RULE.silent


def test_what_must_move_again_is_weighed():
    """An upload that stands still late in a slow part is given the time that the part would take again."""
    race = Race([until(100.0, 1e5), *[steady(1e5)] * 3], resumes=False)
    race.run(100)
    lost = race.moved[0] / 1e5
    assert lost == pytest.approx(100, abs=1)
    race.run(50)
    assert race.given_up[0] == []
    race.run(60)
    assert len(race.given_up[0]) == 1


@pytest.mark.parametrize(("tail", "expected"), [(True, 1), (False, 0)])
def test_slow_one_is_given_up_only_at_the_tail(tail, expected):
    """A tenth of the others' rate: it is asked for again once nothing is left to begin, not before."""
    race = Race([steady(1e5), *[steady(1e6)] * 4], tail=tail)
    race.run(10)
    assert len(race.given_up[0]) == expected
    assert race.given_up[1:] == [[]] * 4


def test_last_one_is_compared_with_those_before():
    """The slow one that is left alone at the end has the rates of those that have ended to be compared with."""
    race = Race([steady(1e5), *[steady(8e6)] * 4], tail=True)
    race.run(2.5)
    assert [race.moved[lane] for lane in range(1, 5)] == [SIZE] * 4
    race.run(4)
    assert len(race.given_up[0]) == 1


def test_slow_one_that_is_nearly_done_ends_by_itself():
    """To ask again would take longer than what is left: nothing is gained, so it stays."""
    race = Race([steady(1e5), *[steady(1e6)] * 4], tail=True, size=7e5)
    race.run(10)
    assert race.given_up == [[]] * 5


def test_slow_upload_is_begun_again_only_if_that_is_quicker():
    """A part that must be sent whole again is given up where even that ends it in half the time."""
    race = Race([steady(1e5), *[steady(1e6)] * 4], tail=True, resumes=False)
    race.run(8)
    assert len(race.given_up[0]) == 1
    race = Race([steady(2.4e5), *[steady(1e6)] * 4], tail=True, resumes=False)
    race.moved, race.stood = [0.6 * SIZE] * 5, [0.6 * SIZE] * 5
    race.run(8)
    assert race.given_up[0] == []


def test_outage_is_forgotten():
    """After the network was away everybody begins with full patience."""
    race = Race([until(2.0, 1e5), *[steady(1e5)] * 3])
    race.run(6.5)
    race.lookout.forget()
    race.run(4.5)
    assert race.given_up[0] == []
    race.run(1)
    assert len(race.given_up[0]) == 1


def test_time_in_which_we_did_not_look_is_nobodys_silence():
    """After a disk, or a suspended machine, held up the loop for a minute, no connection is blamed for it."""
    race = Race([steady(1e5)] * 4)
    race.run(3)
    race.now += 60
    flights = [race.flight(lane) for lane in range(4)]
    assert race.lookout.look(flights, race.now, tail=False) == []
    race.run(10)
    assert race.given_up == [[]] * 4


rates = st.floats(1e4, 1e7)


@settings(deadline=None, max_examples=60)
@given(middle=rates, factors=st.lists(st.floats(0.6, 1.6), min_size=1, max_size=16), tail=st.booleans())
def test_nobody_is_given_up_among_equals(middle, factors, tail):
    """Requests whose rates differ by less than three times are all left alone, for ever, at the tail or not."""
    race = Race([steady(middle * factor) for factor in factors], tail=tail, size=1e12)
    race.run(40)
    assert not any(race.given_up)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.lists(
        st.tuples(rates, st.floats(0, 30), st.sampled_from(["steady", "stops", "drips"])), min_size=2, max_size=9
    ),
    tail=st.booleans(),
    resumes=st.booleans(),
)
def test_bounded_and_only_the_bad_ones(seed, tail, resumes):
    """Whatever happens, no part is given up more than so often, and one that keeps to its peers' best rate never."""
    kinds = {
        "steady": lambda rate, _: steady(rate),
        "stops": lambda rate, at: until(at, rate),
        "drips": lambda *_: steady(2.0),
    }
    best = max(rate for rate, _, _ in seed)
    race = Race(
        [steady(best), *(kinds[kind](rate, at) for rate, at, kind in seed)], tail=tail, resumes=resumes, size=1e12
    )
    race.run(150)
    assert max(len(times) for times in race.given_up) <= RULE.most
    assert race.given_up[0] == []


@settings(deadline=None, max_examples=60)
@given(at=st.floats(0.5, 40), peers=st.integers(1, 8), rate=rates)
def test_stuck_one_is_always_found_in_time(at, peers, rate):
    """Whenever it stops, a request that can resume is given up within its patience and two looks."""
    race = Race([until(at, rate), *[steady(rate)] * peers], size=1e12)
    race.run(at + RULE.stuck + 3 * LOOK)
    assert len(race.given_up[0]) == 1
