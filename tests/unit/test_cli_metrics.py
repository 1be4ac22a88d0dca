"""What is counted, how it is named, and where it is served."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import timeit
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click.testing
import pytest
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from hypersdk import errors, events
from hypersdk.cli import metrics
from hypersdk.exports.steps import KINDS
from hypersdk.fleet.nouns import OUTCOMES
from hypersdk.runs import records
from hypersdk.runs.census import census
from hypersdk.runs.store import RunStore

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = ROOT / "dashboards" / "hypersdk.json"
RUN = "0123456789ab"


class Counted:
    """Metrics on a clock that stands until it is moved."""

    def __init__(self, **given: Any) -> None:
        self.at = 100.0
        self.metrics = metrics.Metrics(clock=lambda: self.at, now=lambda: 1000.0 + self.at, **given)
        self.watch = self.metrics.reporter()

    def tell(self, *told: events.Event) -> None:
        for event in told:
            self.watch(event)

    def text(self) -> str:
        return generate_latest(self.metrics.registry).decode()

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)


@pytest.fixture
def counted() -> Counted:
    return Counted()


def every_event() -> Iterator[events.Event]:
    """One of each kind, and each label's values."""
    for step in KINDS:
        yield events.StepStarted(RUN, step, "title")
        yield events.StepFinished(RUN, step)
        yield events.Stalled(RUN, step, 600.0, None)
    for kind in events.WAITS:
        yield events.Waiting("because", kind)
        yield events.Waiting(None)
    yield events.Bytes(wire=1, disk=1, parts=1)
    yield events.Called("list instances of web-01", 0.2)
    yield events.Retried("list parts of oci://ns/b/secret-name", "throttled")
    yield events.Note("web-01 is running")
    yield events.StepAdvanced(RUN, "download", 1, 2)


def test_bytes_parts_retries_and_calls_are_counted(counted: Counted) -> None:
    """Counters grow by what events say; each retry is under the code of its error."""
    counted.tell(events.Bytes(wire=10, disk=4), events.Bytes(wire=5), events.Bytes(parts=2))
    counted.tell(events.Retried("a call", "throttled"), events.Retried("a call", "throttled"))
    counted.tell(events.Called("a call", 0.2))
    assert counted.value("hyperexport_transferred_bytes_total", direction="wire") == 15
    assert counted.value("hyperexport_transferred_bytes_total", direction="disk") == 4
    assert counted.value("hyperexport_parts_total") == 2
    assert counted.value("hyperexport_retries_total", code="throttled") == 2
    assert counted.value("hyperexport_call_duration_seconds_count") == 1
    assert counted.value("hyperexport_last_moved_timestamp_seconds") == 1100


def test_a_wait_is_seen_while_it_lasts_and_counted_when_it_ends(counted: Counted) -> None:
    """One wait that says something new goes on; what it was for decides where its seconds go."""
    counted.tell(events.Waiting("network down since 14:02", events.NETWORK))
    assert counted.value("hyperexport_waiting", kind="network") == 1
    counted.at += 30
    counted.tell(events.Waiting("log in", events.LOGIN))
    counted.at += 5
    counted.tell(events.Waiting(None), events.Waiting(None))
    assert counted.value("hyperexport_wait_seconds_total", kind="network") == 30
    assert counted.value("hyperexport_wait_seconds_total", kind="login") == 5
    assert (
        counted.value("hyperexport_waiting", kind="network") == counted.value("hyperexport_waiting", kind="login") == 0
    )


def test_a_step_is_timed_by_its_kind_and_how_it_ended(counted: Counted) -> None:
    """Formats in names make no new series; one that never said it was done has failed; a stored result took no time."""
    counted.tell(events.StepStarted(RUN, "download-vmdk", "fetch"))
    assert counted.value("hyperexport_steps_running", step="download") == 1
    counted.at += 12
    counted.tell(events.StepFinished(RUN, "download-vmdk"), events.StepStarted(RUN, "verify", "look"))
    counted.at += 3
    counted.watch.close()
    counted.tell(events.StepFinished(RUN, "publish", reused=True))
    assert counted.value("hyperexport_step_duration_seconds_sum", step="download", outcome="done") == 12
    assert counted.value("hyperexport_step_duration_seconds_sum", step="verify", outcome="failed") == 3
    assert counted.value("hyperexport_step_duration_seconds_count", step="publish", outcome="done") is None
    assert counted.value("hyperexport_steps_running", step="verify") == 0


def test_threads_that_are_watched_together_add_up(counted: Counted) -> None:
    """Two runs at once are two waits, and neither ends the other's step."""
    other = counted.metrics.reporter()
    counted.tell(events.Waiting("busy"), events.StepStarted(RUN, "await-image", "wait"))
    other(events.Waiting("busy"))
    other(events.StepStarted("ba9876543210", "await-image", "wait"))
    assert counted.value("hyperexport_waiting", kind="cloud") == 2
    assert counted.value("hyperexport_steps_running", step="await-image") == 2


def test_labels_have_fixed_values_and_name_nobody(counted: Counted) -> None:
    """Whatever events say, no instance, object, message or run becomes a label; unknown words count as other."""
    counted.tell(*every_event())
    before = counted.text().count("\n")
    counted.tell(events.StepStarted(RUN, "web-01", "odd"), events.StepFinished(RUN, "web-01"))
    counted.tell(events.Waiting("odd", "web-01"), events.Waiting(None))
    counted.metrics.ended("web-01")
    text = counted.text()
    assert not re.search(r"web-01|secret-name|because|0123456789ab", text)
    for number in range(50):
        counted.tell(events.Called(f"call {number}", 1.0), events.Note(f"note {number}"))
        counted.tell(events.StepStarted(f"{number:012x}", f"step-{number}", "odd"), events.StepFinished(RUN, "odd"))
    assert counted.text().count("\n") - before < 25


def test_the_words_are_those_of_the_house() -> None:
    """Steps, outcomes and states that metrics know are those that exist."""
    assert set(KINDS) == metrics.STEPS
    assert tuple(OUTCOMES) == metrics.OUTCOMES
    words = {value for name, value in vars(records).items() if name.isupper() and isinstance(value, str)}
    assert words == set(metrics.STATES)


def test_names_follow_the_conventions(counted: Counted) -> None:
    """The exposition is valid OpenMetrics; units are base units, counters end in _total, each has a help text."""
    counted.tell(*every_event())
    families = list(text_string_to_metric_families(counted.text()))
    assert len(families) >= 11
    assert {"process_cpu_seconds", "process_resident_memory_bytes"} <= {family.name for family in families}
    for family in families:
        assert re.fullmatch(r"(hyperexport|process)_[a-z_]+", family.name)
        assert family.documentation.endswith(".")
        assert not re.search(r"_(ms|milliseconds|minutes|kb|mb|percent)(_|$)", family.name)
        if family.type == "counter":
            assert all(sample.name.endswith(("_total", "_created")) for sample in family.samples)


def test_runs_of_the_store_are_counted_at_each_scrape(tmp_path: Path) -> None:
    """Queue depth and running exports come from the store; one that cannot be reached costs only its own series."""
    with RunStore(tmp_path / "state" / "runs.sqlite", host="h", version="1") as store:
        store.begin("key", 1, "web-01", {})
        counted = Counted(runs=lambda: census(store))
        assert counted.value("hyperexport_runs", state="interrupted") == 1
        assert counted.value("hyperexport_runs", state="queued") == 0
        store.begin("other", 1, "web-02", {})
        assert counted.value("hyperexport_runs", state="interrupted") == 2

    def lost() -> dict[str, int]:
        raise errors.ConfigError("no store")

    assert Counted(runs=lost).value("hyperexport_parts_total") == 0


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (":9464", ("127.0.0.1", 9464)),
        ("9464", ("127.0.0.1", 9464)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("[::1]:0", ("::1", 0)),
        ("host.example:1", ("host.example", 1)),
    ],
)
def test_an_address_is_read(text: str, address: tuple[str, int]) -> None:
    """Without a host it is this machine only: a monitor elsewhere must be asked for."""
    assert metrics.parse_address(text) == address


@pytest.mark.parametrize("text", ["", ":", "x", ":99999", "::1:9464", "host:", ":-1", ":٣"])
def test_a_wrong_address_is_refused(text: str) -> None:
    """One line that says what is expected, exit 2."""
    with pytest.raises(errors.UsageError, match="not an address"):
        metrics.parse_address(text)


def fetch(url: str, accept: str = "application/openmetrics-text; version=1.0.0") -> tuple[str, str]:
    request = urllib.request.Request(url, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=10) as reply:
        return reply.headers["content-type"], reply.read().decode()


def test_metrics_are_served_until_the_work_ends() -> None:
    """OpenMetrics where it is asked for, on loopback; the port is free again afterwards."""
    told: list[str] = []
    with metrics.serving("127.0.0.1:0", told.append) as served:
        assert served is not None
        served.reporter()(events.Bytes(wire=7))
        (line,) = told
        url = line.removeprefix("metrics: ")
        kind, text = fetch(url)
        assert kind.startswith("application/openmetrics-text")
        values = {each.name: each for each in text_string_to_metric_families(text)}
        assert values["hyperexport_transferred_bytes"].samples[0].value == 7
        taken = url.removeprefix("http://").removesuffix("/metrics")
        with pytest.raises(errors.UsageError, match="nothing can be served"), metrics.serving(taken, told.append):
            pass
    with pytest.raises(urllib.error.URLError):
        fetch(url)


def test_nobody_asked_costs_nothing() -> None:
    """Without --metrics the watching reporter is the very one that was given, and no library is loaded."""
    with metrics.serving(None, print) as served:
        assert served is None
        assert metrics.watched(events.null_reporter, served) is events.null_reporter
    program = "import sys, hypersdk.cli.metrics as m\nwith m.serving(None, print): pass\nprint(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert "prometheus_client" not in loaded.split()


def test_a_missing_library_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 6 and what to install."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(errors.ToolMissing, match=re.escape("pip install 'hypersdk[metrics]'")):
        metrics.Metrics()


def test_the_option_is_of_this_machine_by_default() -> None:
    """`--metrics` is shown with its form."""

    @click.command()
    @metrics.metrics_option
    def command(metrics: str | None) -> None:
        click.echo(metrics)

    assert click.testing.CliRunner().invoke(command, ["--metrics", ":9464"]).output == ":9464\n"


def test_counting_costs_little(counted: Counted) -> None:
    """An event of moved bytes, the most frequent one, costs a few microseconds, once per turn of a transfer."""
    event = events.Bytes(wire=1 << 20, disk=1 << 20)
    best = min(timeit.repeat(lambda: counted.watch(event), number=1000, repeat=5)) / 1000
    assert best < 50e-6


def expressions(value: Any) -> Iterator[str]:
    """Every query of a dashboard."""
    if isinstance(value, dict):
        if isinstance(value.get("expr"), str):
            yield value["expr"]
        for each in value.values():
            yield from expressions(each)
    elif isinstance(value, list):
        for each in value:
            yield from expressions(each)


def test_each_query_of_the_dashboard_asks_for_what_exists(tmp_path: Path) -> None:
    """Metrics and labels in Grafana's file are those that are served, and each family is shown somewhere."""
    with RunStore(tmp_path / "runs.sqlite", host="h", version="1") as store:
        counted = Counted(runs=lambda: census(store))
        counted.tell(*every_event())
        families = list(text_string_to_metric_families(counted.text()))
    samples: dict[str, set[str]] = {}
    for family in families:
        for sample in family.samples:
            samples.setdefault(sample.name, set()).update(sample.labels)
    queries = list(expressions(json.loads(DASHBOARD.read_text())))
    assert queries
    asked = set()
    for query in queries:
        names = set(re.findall(r"\b(?:hyperexport|process)_[a-z_]+", query))
        assert names, query
        assert names <= samples.keys(), query
        asked |= names
        known = set().union(*(samples[name] for name in names)) | {"job", "instance", "le"}
        labels = set(re.findall(r"(\w+)(?:=~|!=|=)\"", query))
        for group in re.findall(r"\b(?:by|without)\s*\(([^)]*)\)", query):
            labels |= {each.strip() for each in group.split(",") if each.strip()}
        assert labels <= known, query
    shown = {family.name for family in families if any(name.startswith(family.name) for name in asked)}
    assert {family.name for family in families if family.name.startswith("hyperexport_")} <= shown
