"""The network monitor: what it believes, whom it asks, and what it says of connections."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

import hypersdk
from hypersdk import errors, events
from hypersdk.network import NetworkMonitor
from hypersdk.network.kernel import Change, change_of
from hypersdk.network.prober import Prober
from hypersdk.network.watch import Watch
from hypersdk.waiting import StopFlag, Waiter

BEGAN = datetime(2026, 11, 25, 14, 2, tzinfo=UTC)


class World:
    """Clocks that only waiting moves, and endpoints that can be cut off."""

    def __init__(self) -> None:
        self.now = 100.0
        self.away: set[str] = set()
        self.asked: list[str] = []
        self.seen: list[events.Event] = []
        self.began = BEGAN
        self.on_sleep: Callable[[], object] = lambda: None
        self.waiter = Waiter(clock=lambda: self.now, sleep=self.sleep, report=self.seen.append)
        self.shared = NetworkMonitor(clock=lambda: self.now, now=self.time, start=lambda ask: ask())

    def time(self) -> datetime:
        return self.began + timedelta(seconds=self.now - 100.0)

    def sleep(self, seconds: float) -> bool:
        self.now += seconds
        self.on_sleep()
        return False

    def over(self, *names: str) -> NetworkMonitor:
        return self.shared.over(lambda: {name: lambda name=name: self.ask(name) for name in names})

    def ask(self, name: str) -> str | None:
        self.asked.append(name)
        return "no connection" if name in self.away else None

    @property
    def reasons(self) -> list[str]:
        return [event.reason for event in self.seen if isinstance(event, events.Waiting) and event.reason]


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.shared.close()


def test_a_failure_with_an_answering_endpoint_is_no_outage(world: World) -> None:
    """Down needs both: a call that failed and a probe that fails."""
    monitor = world.over("https://a")
    assert not monitor.failed()
    world.away.add("https://a")
    world.now += 1
    assert monitor.failed()
    assert monitor.down_since == BEGAN + timedelta(seconds=1)


def test_the_wait_names_the_endpoint_and_ends_when_it_answers(world: World) -> None:
    """People read since when and whom; probes go on every two seconds, and the outage is over with the first answer."""
    monitor = world.over("https://a", "https://b")
    world.away.add("https://b")
    assert monitor.failed()
    world.on_sleep = lambda: world.away.clear() if world.now >= 160 else None
    monitor.wait_until_up(world.waiter)
    assert world.reasons == ["network down since 14:02 (https://b: no connection)"]
    assert 160 <= world.now <= 162.5
    assert monitor.down_since is None
    assert 28 <= world.asked.count("https://b") <= 33


def test_a_long_outage_shows_its_date(world: World) -> None:
    """Since yesterday is not since 23:59."""
    world.began = BEGAN.replace(hour=23, minute=59)
    monitor = world.over("a")
    world.away.add("a")
    assert monitor.failed()
    world.on_sleep = lambda: world.away.clear() if world.now >= 200 else None
    monitor.wait_until_up(world.waiter)
    assert world.reasons == [
        "network down since 23:59 (a: no connection)",
        "network down since 2026-11-25 23:59 (a: no connection)",
    ]


def test_a_byte_ends_an_outage(world: World) -> None:
    """Bytes that come are worth more than a probe that fails."""
    monitor = world.over("a")
    world.away.add("a")
    assert monitor.failed()
    world.on_sleep = lambda: monitor.heard() if world.now >= 110 else None
    monitor.wait_until_up(world.waiter)
    assert 110 <= world.now <= 111


def test_after_an_outage_what_began_before_it_is_excused_and_silent_connections_are_dead(world: World) -> None:
    """A call that hung through an outage costs no attempt although the endpoint answers when it ends."""
    monitor = world.over("a")
    world.away.add("a")
    assert monitor.failed()
    world.now, world.away = 130.0, set()
    monitor.wait_until_up(world.waiter)
    assert monitor.broken_before == monitor.doubted_before == 130.0
    assert monitor.failed(began=120.0)
    assert not monitor.failed(began=131.0)


def test_an_event_only_makes_us_ask(world: World) -> None:
    """A change of the network is no outage while the endpoint answers; then only stopped bodies are doubted."""
    monitor = world.over("a")
    world.shared.changed(Change("link veth0 up"))
    assert world.asked == ["a"]
    monitor.tick()
    assert monitor.down_since is None
    assert (monitor.doubted_before, monitor.broken_before) == (100.0, float("-inf"))
    assert not monitor.failed(began=99.0)


def test_an_event_finds_an_outage_before_any_call_fails(world: World) -> None:
    """With the cable out the wait is shown at once."""
    monitor = world.over("a")
    world.away.add("a")
    world.shared.changed(Change("link eth0 down"))
    monitor.tick()
    assert monitor.down_since == BEGAN


def test_another_address_breaks_connections(world: World) -> None:
    """What stood before a change of our address is dead, though the endpoint answers."""
    monitor = world.over("a")
    world.shared.changed(Change("address 10.0.0.2 gone", breaking=True))
    monitor.tick()
    assert monitor.broken_before == 100.0
    assert monitor.failed(began=99.0)


def test_a_failure_that_a_suspension_caused_is_excused(world: World) -> None:
    """The first that is heard of a suspension may be a connection that is gone, while the endpoint answers."""
    monitor = world.over("a")
    world.shared.changed(Change("woken after 300 s", breaking=True))
    assert monitor.failed(began=99.0)
    assert not monitor.failed(began=101.0)


def test_silence_makes_us_ask_but_not_all_the_time(world: World) -> None:
    """Nobody tells of packets that are lost without a word: nothing that moves for seconds does."""
    monitor = world.over("a")
    for _ in range(100):
        monitor.doubt(world.now - 100.0)
        monitor.tick()
        world.now += 0.25
    assert 4 <= len(world.asked) <= 7
    world.away.add("a")
    world.now += 5
    monitor.doubt(5.0)
    monitor.tick()
    assert monitor.down_since is not None


def test_exports_that_share_a_monitor_share_probes_and_not_outages(world: World) -> None:
    """One endpoint is asked once for all who wait for it; who uses another one goes on."""
    first, second, other = world.over("a"), world.over("a"), world.over("b")
    world.away.add("a")
    world.shared.changed(Change("link eth0 down"))
    for each in (first, second, other):
        each.tick()
    assert world.asked.count("a") == 1
    assert first.down_since == second.down_since == world.shared.down_since == BEGAN
    assert other.down_since is None
    world.away.clear()
    world.now += 3
    first.wait_until_up(world.waiter)
    second.wait_until_up(world.waiter)
    assert world.asked.count("a") == 2
    assert world.shared.down_since is None


def test_off_means_off() -> None:
    """`network.monitor: false`: nothing is asked, nothing is down, whatever happens."""
    monitor = NetworkMonitor(None)
    monitor.changed()
    monitor.doubt(1000.0)
    monitor.tick()
    assert monitor.over(lambda: {"a": lambda: "away"}) is monitor
    assert not monitor.failed(began=0.0)


def test_a_probe_of_the_callers_own_decides(world: World) -> None:
    """Whoever knows better gives a question of his own, and everything goes by that."""
    answers = [False, True]
    monitor = NetworkMonitor(lambda: answers.pop(0), clock=lambda: world.now, start=lambda ask: ask())
    part = monitor.over(lambda: {"https://never.asked": lambda: "away"})
    assert part.failed()
    part.wait_until_up(world.waiter)
    assert not answers


def test_a_stop_ends_the_wait_for_an_answer_at_once() -> None:
    """Ctrl-C does not wait for a probe that hangs."""
    let_go, stop = threading.Event(), StopFlag()
    with NetworkMonitor(lambda: let_go.wait(30)) as monitor:
        threading.Timer(0.1, stop.set).start()
        began = time.monotonic()
        with pytest.raises(errors.Interrupted):
            monitor.failed(waiter=Waiter(stop=stop))
        assert time.monotonic() - began < 5
        let_go.set()


def test_a_probe_that_hangs_does_not_hold_up_the_next() -> None:
    """After an event the endpoint is asked anew, while an old question waits for its time-out; but not without end."""
    let_go, asked = threading.Event(), []

    def probe() -> str | None:
        asked.append(1)
        return "no answer" if len(asked) == 1 and not let_go.wait(30) else None

    now = [0.0]
    threads: list[threading.Thread] = []

    def start(work: Callable[[], None]) -> None:
        threads.append(threading.Thread(target=work))
        threads[-1].start()

    prober = Prober("a", probe, clock=lambda: now[0], now=lambda: BEGAN, start=start)
    hanging = prober.ask(0.0)
    now[0] = 1.0
    assert prober.ask(0.0) is hanging
    fresh = prober.ask(1.0)
    assert fresh.done.wait(5)
    assert fresh.why is None
    assert not hanging.done.is_set()
    let_go.set()
    for each in threads:
        each.join()


def test_a_probe_that_raises_is_no_answer() -> None:
    """A bug in a caller's probe leaves nobody waiting for ever without a reason."""

    def broken() -> bool:
        raise ValueError("oops")

    monitor = NetworkMonitor(broken, start=lambda ask: ask())
    assert monitor.failed()


class Message(dict[str, object]):
    """A message of rtnetlink as pyroute2 reads it."""

    def get_attr(self, name: str) -> object:
        return self.get(name)


@pytest.mark.parametrize(
    ("message", "change"),
    [
        (Message(event="RTM_NEWLINK", IFLA_IFNAME="eth0", state="down"), Change("link eth0 down")),
        (Message(event="RTM_DELLINK", IFLA_IFNAME="veth1", state="down"), Change("link veth1 gone")),
        (Message(event="RTM_NEWADDR", IFA_ADDRESS="10.0.0.2"), Change("address 10.0.0.2")),
        (Message(event="RTM_DELADDR", IFA_LOCAL="10.0.0.2"), Change("address 10.0.0.2 gone", breaking=True)),
        (Message(event="RTM_DELADDR", IFA_ADDRESS="fe80::1"), Change("address fe80::1 gone")),
        (Message(event="RTM_NEWROUTE", dst_len=24, RTA_DST="10.0.0.0"), Change("route to 10.0.0.0")),
        (Message(event="RTM_NEWROUTE", dst_len=0), Change("route to everywhere", breaking=True)),
        (Message(event="RTM_NEWROUTE", dst_len=1, RTA_DST="128.0.0.0"), Change("route to everywhere", breaking=True)),
        (Message(event="RTM_DELROUTE", dst_len=0), Change("route to everywhere gone", breaking=True)),
    ],
)
def test_what_the_kernel_tells(message: Message, change: Change) -> None:
    """Links and single routes come and go all day; our address and the way to everywhere break what stood before."""
    assert change_of(message) == change


class Clocks:
    """Time that a test moves, and sleep that only one clock counts."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept = 0.0
        self.told: list[Change] = []

    def watch(self) -> Watch:
        return Watch(self.told.append, lambda _: None, lambda: self.now, lambda: 1.0 + self.now + self.slept)

    def woken(self) -> list[Change]:
        """What was told of suspensions; the thread tells that it began to listen, too."""
        return [change for change in self.told if change.what.startswith("woken")]


def test_a_machine_that_slept_is_noticed() -> None:
    """The clock that counts sleep ran ahead: connections broke, whatever the others say."""
    clocks = Clocks()
    watch = clocks.watch()
    for clocks.now in (0.0, 0.25, 0.5):
        watch.tick()
    clocks.slept = 300.0
    watch.tick()
    watch.tick()
    assert clocks.told == [Change("woken after 300 s", breaking=True)]


def test_a_process_that_stood_is_noticed_and_a_long_call_is_not() -> None:
    """Only when the watching thread stood still as well, the process did; before there is one, nobody can tell."""
    clocks = Clocks()
    watch = clocks.watch()
    watch.tick()
    clocks.now = 0.9
    watch.tick()
    clocks.now = 60.0
    watch.tick()  # a long call; the thread starts now
    assert clocks.woken() == []
    clocks.now = 400.0
    watch.tick()
    assert clocks.woken() == [Change("woken after 340 s", breaking=True)]
    watch.close()
    assert "network" not in [each.name for each in threading.enumerate()]


def test_the_monitor_is_public_and_can_be_closed_twice() -> None:
    """Programs make one, give it to all that they do, and close it."""
    with hypersdk.NetworkMonitor() as monitor:
        assert monitor.down_since is None
    monitor.close()
