"""Real outages: product and cloud in network namespaces, joined by a cable. One attempt is all that a command has.

Every outage is short here, and of the length that people know in `make soak`; `bench/outages.py` measures the same.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from netns import Provider, Site, is_root

MIB = 1 << 20
BODY = os.urandom(14 * MIB)
IN_FLIGHT = 4 * MIB
"""Four parts of 1 MiB."""

DOWN = r"waiting: network down since \d\d:\d\d \(http://[\w.]+:\d+: "


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    """One cloud for all tests of this file."""
    provider = Provider(tmp_path_factory.mktemp("provider")).start(instances=("web-01", "web-02", "web-03"))
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
    seconds: float = 4.0
    told: bool = True
    shown: bool = True

    @property
    def limit(self) -> float:
        """Seconds after which the transfer moves again, at most: more than promised, on a machine that is busy."""
        return 5.0 if self.told else 60.0


def _nothing(_site: Site) -> None:
    pass


OUTAGES = {
    "cable pulled": Outage(lambda site: site.plug(into=False), lambda site: site.plug(into=True)),
    "route removed": Outage(lambda site: site.route(there=False), lambda site: site.route(there=True)),
    "address changed": Outage(Site.take_another_address, _nothing, seconds=0.0, shown=False),
    "packets lost": Outage(
        lambda site: site.lose("input iifname eth0", "output oifname eth0"),
        Site.lose_no_more,
        seconds=12.0,
        told=False,
    ),
    "packets lost one way": Outage(
        lambda site: site.lose("input iifname eth0"), Site.lose_no_more, seconds=12.0, told=False
    ),
}

LONG = dict.fromkeys(OUTAGES, 60.0) | {"address changed": 0.0}


def fetched_twice(provider: Provider, name: str) -> int:
    """Bytes of an object that went out more often than once."""
    return sum(each["bytes"] or 0 for each in provider.asked(name, "GetObject") if each["status"] == 206) - len(BODY)


def sent_twice(provider: Provider, name: str) -> int:
    """Parts of an object that were begun more often than once, in bytes."""
    return MIB * len(provider.asked(name, "UploadPart")) - len(BODY)


def suffer(site: Site, outage: Outage, seconds: float) -> float:
    """Let an outage happen; returns the seconds from its end until the cable carries more."""
    outage.begin(site)
    time.sleep(seconds)
    carried = site.carried()
    outage.end(site)
    return site.seconds_until_it_moves(carried)


def download(site: Site, outage: Outage, name: str, seconds: float) -> float:
    """A download with an outage in its middle; checks all but the time, which it returns."""
    source = site.provider.put(name, BODY)
    began = site.carried()
    running = site.start("cp", source, "back")
    site.seconds_until_it_moves(began + 5 * MIB)
    took = suffer(site, outage, seconds)
    ended = running.wait()
    assert ended.code == 0, ended.err
    assert (site.folder / "back").read_bytes() == BODY
    assert fetched_twice(site.provider, name) <= IN_FLIGHT
    assert bool(re.search(DOWN, ended.err)) >= outage.shown, ended.err
    return took


def upload(site: Site, outage: Outage, name: str, seconds: float) -> float:
    """The same for an upload."""
    (site.folder / "disk").write_bytes(BODY)
    began = site.carried()
    running = site.start("cp", "disk", site.provider.address(name))
    site.seconds_until_it_moves(began + 5 * MIB)
    took = suffer(site, outage, seconds)
    ended = running.wait()
    assert ended.code == 0, ended.err
    assert site.provider.body(name) == BODY
    assert sent_twice(site.provider, name) <= IN_FLIGHT
    assert bool(re.search(DOWN, ended.err)) >= outage.shown, ended.err
    return took


@pytest.mark.parametrize("what", OUTAGES)
def test_downloads_outlast_it(site: Site, what: str) -> None:
    """A download goes on by itself after an outage of any kind: same bytes, no attempt spent, in-flight parts again."""
    outage = OUTAGES[what]
    assert download(site, outage, f"down {what}", outage.seconds) < outage.limit


@pytest.mark.parametrize("what", OUTAGES)
def test_uploads_outlast_it(site: Site, what: str) -> None:
    """So does an upload; parts that had arrived are not sent again."""
    outage = OUTAGES[what]
    assert upload(site, outage, f"up {what}", outage.seconds) < outage.limit


if not is_root():
    for each in [name for name in globals() if name.startswith("test_")]:
        del globals()[each]

    def test_namespaces_as_root() -> None:
        """Namespaces take root: the tests of this file run by `sudo -n`."""
        line = ["sudo", "-n", sys.executable, "-B", "-m", "pytest", "-n0", "-q", "-m", "not soak", __file__]
        assert subprocess.run(line, check=False, cwd=Path(__file__).parents[2]).returncode == 0
