"""Which connections are dead and do not know it."""

from hypothesis import given
from hypothesis import strategies as st

from hypersdk.transfer.hedging import Flight
from hypersdk.transfer.pulse import ANSWER, BROKEN, DOUBTED, LATE, Pulse

NEVER = float("-inf")


def body(token: int, moved: int, *, left: int = 100, paused: bool = False) -> Flight:
    return Flight(token, moved, left, left, paused=paused)


def dead(
    pulse: Pulse, flights: list[Flight], now: float, *, broken: float = NEVER, doubted: float = NEVER
) -> list[int]:
    pulse.feel(flights, now)
    return pulse.dead(flights, now, broken_before=broken, doubted_before=max(broken, doubted))


def test_nobody_is_dead_while_nothing_happened() -> None:
    """Silence alone is no death: a service may be slow."""
    pulse = Pulse()
    for now in range(100):
        assert dead(pulse, [body(1, 5), body(2, 0)], float(now)) == []


def test_a_body_that_was_silent_when_connections_broke_is_dead() -> None:
    """The one that moves on is not; all had time to show."""
    pulse, killed = Pulse(), []
    for step in range(80):
        now = step / 4
        moving = [body(1, min(step, 20)), body(2, step)]
        killed += [(token, now) for token in dead(pulse, moving, now, broken=6.0 if now >= 6 else NEVER)]
    assert {token for token, _ in killed} == {1}
    assert 6.0 + 0.3 <= killed[0][1] <= 6.75


def test_who_waits_for_an_answer_gets_longer() -> None:
    """A request without a byte of its answer may be with a service that thinks; a mere change never kills it."""
    for left, limit in ((0, ANSWER), (100, ANSWER)):
        pulse, quiet = Pulse(), [body(1, 0, left=left)]
        dead(pulse, quiet, 0.0)
        dead(pulse, quiet, 1.0, broken=1.0)
        assert dead(pulse, quiet, limit - 0.1, broken=1.0) == []
        assert dead(pulse, quiet, limit + 0.1, broken=1.0) == [1]
        assert dead(Pulse(), quiet, 1000.0, doubted=1.0) == []


def test_a_stopped_body_is_dead_after_any_change() -> None:
    """A link that was away for a moment may have taken the connection's peer along."""
    pulse = Pulse()
    dead(pulse, [body(1, 0)], 0.0)
    dead(pulse, [body(1, 5)], 0.5)
    dead(pulse, [body(1, 5)], 1.0, doubted=1.0)
    assert dead(pulse, [body(1, 5)], 0.5 + DOUBTED - 0.1, doubted=1.0) == []
    assert dead(pulse, [body(1, 5)], 0.5 + DOUBTED, doubted=1.0) == [1]


def test_who_waits_for_us_is_left_alone() -> None:
    """A paused request is silent because we are slow."""
    pulse = Pulse()
    for now in range(60):
        flights = [body(1, 5 if now else 0, paused=True)]
        assert dead(pulse, flights, float(now), broken=3.0 if now > 3 else NEVER) == []


def test_silence_of_all_is_told() -> None:
    """So that somebody asks the endpoint; requests that begin anew do not break it, an empty wire does."""
    pulse = Pulse()
    assert pulse.feel([body(1, 0)], 0.0) == 0.0
    assert pulse.feel([body(1, 0)], 3.0) == 3.0
    assert pulse.feel([body(2, 0)], 5.0) == 5.0
    assert pulse.feel([], 6.0) == 0.0
    assert pulse.feel([body(3, 0)], 9.0) == 0.0


@given(last=st.floats(0, 50), broke=st.floats(0, 50), look=st.floats(0, 100))
def test_whoever_moved_after_the_break_lives(last: float, broke: float, look: float) -> None:
    """Nobody whose byte came well after connections broke, or just now, is taken for dead."""
    pulse = Pulse()
    dead(pulse, [body(1, 0)], 0.0)
    dead(pulse, [body(1, 1)], last)
    dead(pulse, [body(1, 1)], last, broken=broke)
    now = last + look
    if last >= broke + LATE or look < BROKEN:
        assert dead(pulse, [body(1, 1)], now, broken=broke) == []
