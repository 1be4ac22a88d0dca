"""Real outages: product and cloud in network namespaces, joined by a cable. One attempt is all that a command has.

Every outage is short here, and of the length that people know in `make soak`; `bench/outages.py` measures the same.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from netns import Command, NameServer, Provider, Site, is_root

MIB = 1 << 20
BODY = os.urandom(12 * MIB)
IN_FLIGHT = 4 * MIB
"""Four parts of 1 MiB."""

DOWN = r"waiting: network down since \d\d:\d\d \(http://[\w.]+:\d+: "


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    """One cloud for all tests of this file."""
    provider = Provider(tmp_path_factory.mktemp("provider")).start(transition_seconds=3.0)
    yield provider
    provider.close()


@pytest.fixture
def site(provider: Provider, tmp_path: Path) -> Iterator[Site]:
    """A place from which the cloud is used."""
    site = provider.site(tmp_path / "site")
    yield site
    site.close()


@dataclass(frozen=True)
class Outage:
    """Something that goes wrong with a cable, and how it is put right.

    Attributes:
        begin: makes it.
        end: puts it right.
        seconds: that it lasts.
        told: the kernel tells when it is over.
        shown: it lasts long enough to be shown.
    """

    begin: Callable[[Site], None]
    end: Callable[[Site], None]
    seconds: float
    told: bool = True
    shown: bool = True

    @property
    def limit(self) -> float:
        """Seconds after which the transfer moves again, at most: more than promised, on a machine that is busy."""
        return 5.0 if self.told else 60.0


def _nothing(_site: Site) -> None:
    pass


OUTAGES = {
    "cable pulled": Outage(lambda site: site.plug(into=False), lambda site: site.plug(into=True), seconds=3.0),
    "route removed": Outage(lambda site: site.route(there=False), lambda site: site.route(there=True), seconds=3.0),
    "address changed": Outage(Site.take_another_address, _nothing, seconds=0.0, shown=False),
    "packets lost": Outage(
        lambda site: site.lose("input iifname eth0", "output oifname eth0"),
        Site.lose_no_more,
        seconds=3.0,
        told=False,
    ),
    "packets lost one way": Outage(
        lambda site: site.lose("input iifname eth0"), Site.lose_no_more, seconds=6.0, told=False, shown=False
    ),
}

LONG = dict.fromkeys(OUTAGES, 60.0) | {"address changed": 0.0}


def fetched_twice(provider: Provider, name: str) -> int:
    """Bytes of an object that went out more often than once."""
    return sum(each["bytes"] or 0 for each in provider.asked(name, "GetObject") if each["status"] == 206) - len(BODY)


def sent_twice(provider: Provider, name: str) -> int:
    """Parts of an object that were begun more often than once, in bytes."""
    return MIB * len(provider.asked(name, "UploadPart")) - len(BODY)


def suffer(site: Site, outage: Outage, seconds: float, commands: Sequence[Command]) -> float:
    """Let an outage happen, for so long and until it is shown; returns the seconds from its end until it moves."""
    outage.begin(site)
    time.sleep(seconds)
    for command in commands if outage.shown else ():
        command.says(DOWN)
    carried = site.carried()
    outage.end(site)
    return site.seconds_until_it_moves(carried)


def transfers(site: Site, outage: Outage, name: str, seconds: float) -> float:
    """A download and an upload with an outage in their middle; checks all but the time to recover, which it returns."""
    source = site.provider.put(f"{name}/down", BODY)
    (site.folder / "disk").write_bytes(BODY)
    began = site.carried()
    commands = [
        site.start("cp", source, "back", output="download"),
        site.start("cp", "disk", site.provider.address(f"{name}/up"), output="upload"),
    ]
    site.seconds_until_it_moves(began + 10 * MIB, *commands)
    took = suffer(site, outage, seconds, commands)
    for command in commands:
        ended = command.wait()
        assert ended.code == 0, ended.err
    assert (site.folder / "back").read_bytes() == BODY
    assert site.provider.body(f"{name}/up") == BODY
    assert fetched_twice(site.provider, f"{name}/down") <= IN_FLIGHT
    assert sent_twice(site.provider, f"{name}/up") <= IN_FLIGHT
    return took


@pytest.mark.parametrize("what", OUTAGES)
def test_transfers_outlast_it(site: Site, what: str) -> None:
    """Transfers go on by themselves after an outage: same bytes, no attempt spent, at most what was in flight again."""
    outage = OUTAGES[what]
    assert transfers(site, outage, what, outage.seconds) < outage.limit


def stop_and_restart(site: Site, name: str, seconds: float) -> float:
    """A download whose process is stopped while its connections die; returns the seconds from waking until it moves."""
    source = site.provider.put(name, BODY)
    began = site.carried()
    running = site.start("cp", source, "back")
    site.seconds_until_it_moves(began + 5 * MIB, running)
    running.signal(signal.SIGSTOP)
    site.provider.restart(seconds)
    carried = site.carried()
    running.signal(signal.SIGCONT)
    took = site.seconds_until_it_moves(carried, running)
    ended = running.wait()
    assert ended.code == 0, ended.err
    assert (site.folder / "back").read_bytes() == BODY
    assert fetched_twice(site.provider, name) <= IN_FLIGHT
    return took


def test_a_process_that_was_stopped_goes_on(site: Site) -> None:
    """A suspended and woken process, all its connections dead, goes on at once and spends no attempt."""
    assert stop_and_restart(site, "stopped", 6.0) < 5.0


def test_an_export_outlasts_it_while_it_polls(site: Site) -> None:
    """An export that waits for its image goes through an outage without an attempt, and leaves one image's worth."""
    running = site.start("export", "web-01", "-o", ".", "-bn", "exports")
    running.says("await-image: ")
    site.plug(into=False)
    running.says(DOWN)
    site.plug(into=True)
    ended = running.wait()
    assert ended.code == 0, ended.err
    assert (site.folder / "web-01.qcow2").exists()
    left = [each for kind in site.provider.leftovers().values() for each in kind if ".hypersdk/" in str(each)]
    assert not left


def test_a_name_server_that_is_gone_is_an_outage(site: Site) -> None:
    """Without names no new connection is made; it is waited for, and the reason says what is missing."""
    names = NameServer(site.provider.space, site.far)
    source = site.provider.put("names", BODY)
    began = site.carried()
    running = site.start("cp", source, "back", names=site.far, host="cloud.example")
    site.seconds_until_it_moves(began + 2 * MIB, running)
    site.lose("output udp dport 53")
    site.provider.restart()
    running.says(r"network down since \d\d:\d\d \(http://cloud.example:\d+: (its name is not known|no answer)\)")
    site.lose_no_more()
    ended = running.wait()
    names.close()
    assert ended.code == 0, ended.err
    assert (site.folder / "back").read_bytes() == BODY


def test_a_cloud_that_comes_back_is_found(site: Site) -> None:
    """A service that is away for seconds costs an upload no attempt, and what had arrived is not sent again."""
    (site.folder / "disk").write_bytes(BODY)
    began = site.carried()
    running = site.start("cp", "disk", site.provider.address("restarted"))
    site.seconds_until_it_moves(began + 5 * MIB, running)
    site.provider.restart(3.0)
    ended = running.wait()
    assert ended.code == 0, ended.err
    assert re.search(DOWN, ended.err)
    assert site.provider.body("restarted") == BODY


def test_ctrl_c_ends_the_wait_at_once(site: Site) -> None:
    """Nobody has to sit out an outage; the same command goes on later."""
    source = site.provider.put("stop", BODY)
    began = site.carried()
    running = site.start("cp", source, "back")
    site.seconds_until_it_moves(began + 5 * MIB, running)
    site.plug(into=False)
    running.says(DOWN)
    before = time.monotonic()
    running.signal(signal.SIGINT)
    assert running.wait().code == 130
    assert time.monotonic() - before < 3.0
    site.plug(into=True)
    assert site.start("cp", source, "back").wait().code == 0
    assert fetched_twice(site.provider, "stop") <= IN_FLIGHT


@pytest.mark.soak
@pytest.mark.timeout(400)
@pytest.mark.parametrize("what", OUTAGES)
def test_a_minute_of_it(site: Site, what: str) -> None:
    """A minute of each outage, in mid-download and mid-upload."""
    outage = OUTAGES[what]
    assert transfers(site, outage, f"long {what}", LONG[what]) < outage.limit


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_five_minutes_stopped(site: Site) -> None:
    """A process that is stopped for five minutes while its connections die."""
    assert stop_and_restart(site, "stopped for long", 300.0) < 5.0


if not is_root():
    for each in [name for name in globals() if name.startswith("test_")]:
        del globals()[each]

    def test_namespaces_as_root() -> None:
        """Namespaces take root: the tests of this file run by `sudo -n`."""
        line = ["sudo", "-n", sys.executable, "-B", "-m", "pytest", "-n0", "-q", "-m", "not soak", __file__]
        assert subprocess.run(line, check=False, cwd=Path(__file__).parents[2]).returncode == 0
