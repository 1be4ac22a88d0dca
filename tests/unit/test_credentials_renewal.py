"""When what signs is renewed: a clock that only the test moves, credentials that do what they are told."""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypersdk import errors
from hypersdk.vendors.oci.kinds.grant import Grant, Who, renew_before_end
from hypersdk.vendors.oci.renewal import AGAIN, Renewal

WHO = Who("ocid1.tenancy.oc1..aaaa")


@dataclass
class Told:
    """Credentials that give a grant for each time asked, or the errors that they are told to raise first."""

    life: float | None = 1200.0
    renewable: bool = True
    kind: str = "told"
    mark: str | None = None
    failures: list[errors.HypersdkError] = field(default_factory=list)
    asked: int = 0
    hold: threading.Event | None = None
    entered: threading.Event = field(default_factory=threading.Event)

    def obtain(self) -> Grant:
        self.asked += 1
        self.entered.set()
        if self.hold is not None:
            assert self.hold.wait(10)
        if self.failures:
            raise self.failures.pop(0)
        mark = self.mark or str(self.asked)
        return Grant(f"signer {mark}", WHO, mark, life=self.life, renew_after=renew_before_end(self.life))

    def why_refused(self, *_: object) -> str:
        return ""


class World:
    def __init__(self, told: Told) -> None:
        self.now, self.told, self.taken = 0.0, told, []
        self.renewal = Renewal(told, self.taken.append, lambda: self.now)

    def signs(self) -> str:
        return self.renewal.current().signer


def test_a_token_is_renewed_a_minute_before_its_end() -> None:
    """The first signature fetches, the next ones reuse; the last minute fetches again, before the token has ended."""
    world = World(Told())
    assert [world.signs(), world.signs()] == ["signer 1", "signer 1"]
    world.now = 1139.0
    assert world.signs() == "signer 1"
    world.now = 1140.0
    assert world.signs() == "signer 2"
    assert [grant.mark for grant in world.taken] == ["1", "2"]


def test_what_never_ends_is_fetched_once() -> None:
    """An API key is opened once, however much time passes."""
    world = World(Told(life=None, renewable=False))
    for world.now in (0.0, 1e3, 1e9):
        assert world.signs() == "signer 1"


def test_a_failed_renewal_costs_nothing_while_the_token_is_good() -> None:
    """Whatever goes wrong in the last minute, what is good signs on, and it is tried again later, not at once."""
    world = World(Told())
    world.signs()
    world.told.failures = [errors.AuthError("no"), errors.NetworkError("away")]
    world.now = 1140.0
    assert [world.signs(), world.signs()] == ["signer 1", "signer 1"]
    assert world.told.asked == 2
    world.now += AGAIN
    assert world.signs() == "signer 1"
    world.now += AGAIN
    assert world.signs() == "signer 4"


def test_a_failure_after_the_end_is_raised_and_the_next_try_fetches() -> None:
    """Once nothing good is left each signature tries once, and its failure is that of the call that needed it."""
    world = World(Told())
    world.signs()
    world.now = 1200.0
    world.told.failures = [errors.ServiceError("503"), errors.NetworkError("away")]
    for kind in (errors.ServiceError, errors.NetworkError):
        with pytest.raises(kind):
            world.signs()
    assert world.signs() == "signer 4"


def test_a_401_renews_what_can_be_renewed_at_the_next_signature() -> None:
    """`refused` itself asks nobody: the renewal, and its failure, belong to the call that is repeated."""
    world = World(Told())
    world.signs()
    assert world.renewal.refused()
    assert world.told.asked == 1
    world.told.failures = [errors.NetworkError("away")]
    with pytest.raises(errors.NetworkError):
        world.signs()
    assert world.signs() == "signer 3"


def test_a_401_looks_at_a_file_that_somebody_else_renews() -> None:
    """The same token in the file: nothing new to sign with; another one: it signs from now on."""
    world = World(Told(renewable=False, mark="a"))
    world.signs()
    assert not world.renewal.refused()
    world.told.mark = "b"
    assert world.renewal.refused()
    assert world.signs() == "signer b"


def test_one_thread_renews_and_the_others_sign_on() -> None:
    """While a slow renewal runs in one thread, another one signs with what is still good and does not ask again."""
    world = World(Told())
    world.signs()
    world.now = 1150.0
    world.told.hold, world.told.entered = threading.Event(), threading.Event()
    slow = threading.Thread(target=world.signs)
    slow.start()
    assert world.told.entered.wait(10)
    assert world.signs() == "signer 1"
    world.told.hold.set()
    slow.join(10)
    assert (world.signs(), world.told.asked) == ("signer 2", 2)


def test_threads_that_need_a_new_token_wait_for_one() -> None:
    """Eight threads that find the token ended fetch one new token between them."""
    world = World(Told())
    world.signs()
    world.now = 1300.0
    got: list[str] = []
    threads = [threading.Thread(target=lambda: got.append(world.signs())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert (set(got), world.told.asked) == ({"signer 2"}, 2)


def test_a_grant_that_is_not_accepted_signs_nothing() -> None:
    """Credentials that have become somebody else's are refused before anybody signs with them."""

    def refuse(grant: Grant) -> None:
        raise errors.AuthError(grant.mark)

    renewal = Renewal(Told(), refuse)
    with pytest.raises(errors.AuthError):
        renewal.current()
    assert renewal.last is None


@given(life=st.floats(0.1, 1e6), steps=st.lists(st.floats(0.0, 2000.0), max_size=30))
def test_what_signs_is_always_good(life: float, steps: list[float]) -> None:
    """Property: whenever something signs it has not ended, and a token is not fetched more often than its life asks."""
    world = World(Told(life=life))
    fetched_at: dict[str, float] = {}
    for step in [0.0, *steps]:
        world.now += step
        mark = world.signs()
        fetched_at.setdefault(mark, world.now)
        assert world.now - fetched_at[mark] < life
    times = sorted(fetched_at.values())
    assert all(later - earlier >= min(life / 4, 15.0) * 0.999 for earlier, later in itertools.pairwise(times))
