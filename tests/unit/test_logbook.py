"""The log file of a run, and how far a run says that it is."""

from __future__ import annotations

import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hypersdk import errors, events
from hypersdk.exports.options import ExportOptions
from hypersdk.exports.plan import ExportPlan, Surroundings, make_plan
from hypersdk.exports.telling.logbook import ADVANCED_EVERY, MOST_BYTES, Logbook, log_path, logs_of
from hypersdk.exports.telling.position import Position
from hypersdk.model import Instance

WHEN = datetime(2026, 11, 25, 14, 2, tzinfo=UTC)


def book(tmp_path: Path, clock: list[float] | None = None) -> Logbook:
    now = clock if clock is not None else [0.0]
    return Logbook(log_path(tmp_path / "logs", "abc"), lambda: WHEN, lambda: now[0])


def written(tmp_path: Path) -> list[str]:
    return log_path(tmp_path / "logs", "abc").read_text().splitlines()


def test_each_event_is_a_line_with_its_time(tmp_path: Path) -> None:
    """UTC with milliseconds; request ids are there; control characters of names from the cloud are escaped."""
    log = book(tmp_path)
    log(events.StepStarted("abc", "download", "fetch the disk"))
    log(events.Retried("get part 3", "throttled", "REQ1"))
    log(events.Note("the name is \x1b[2J"))
    log(events.Stalled("abc", "download", 60, None, "download has not moved for 60 s"))
    log.close()
    assert written(tmp_path) == [
        "2026-11-25T14:02:00.000Z download: begins: fetch the disk",
        "2026-11-25T14:02:00.000Z retried: get part 3: throttled (opc-request-id REQ1)",
        r"2026-11-25T14:02:00.000Z note: the name is \x1b[2J",
        "2026-11-25T14:02:00.000Z stalled: download has not moved for 60 s",
    ]


def test_movement_is_logged_now_and_then(tmp_path: Path) -> None:
    """A thousand steps forward within ten seconds are one line; bytes on the wire are none."""
    clock = [0.0]
    log = book(tmp_path, clock)
    for done in range(1000):
        log(events.StepAdvanced("abc", "download", done, 1000))
        log(events.Bytes(wire=1))
    clock[0] = ADVANCED_EVERY
    log(events.StepAdvanced("abc", "download", 1000, 1000))
    log.close()
    assert len(written(tmp_path)) == 2


def test_only_its_owner_reads_it(tmp_path: Path) -> None:
    """Directory 0700, file 0600, also where the directory is made for it."""
    book(tmp_path).close()
    path = log_path(tmp_path / "logs", "abc")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_it_is_bounded(tmp_path: Path) -> None:
    """However much is told, two files of a bounded size are all, and the newest line is in the first."""
    log = book(tmp_path)
    for number in range(3 * MOST_BYTES // 60_000):
        log.line(f"{number} " + "x" * 60_000)
    log.close()
    files = logs_of(tmp_path / "logs", "abc")
    assert sorted(tmp_path.joinpath("logs").iterdir()) == sorted(files)
    assert sum(path.stat().st_size for path in files) <= 2 * (MOST_BYTES + 70_000)
    last = [line for path in files if path.stat().st_size for line in path.read_text().splitlines()]
    assert any(line.split()[1] == str(3 * MOST_BYTES // 60_000 - 1) for line in last)


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    """A file where the directory should be: the events are taken, no error is raised."""
    (tmp_path / "logs").write_text("not a directory")
    log = book(tmp_path)
    log(events.Note("said"))
    log.failed(errors.ServiceError("no"))
    log.close()


def test_an_error_is_told_whole(tmp_path: Path) -> None:
    """Code, request id, hint and notes; a fault of the program comes with its traceback."""
    log = book(tmp_path)
    error = errors.ThrottledError("too fast", request_id="REQ2", hint="later")
    error.add_note("stays in the tenancy: image x")
    log.failed(error)
    try:
        1 // 0  # noqa: B018 - only its error matters
    except ZeroDivisionError as fault:
        log.failed(fault)
    log.close()
    text = "\n".join(written(tmp_path))
    assert "ended: throttled: too fast (opc-request-id REQ2) - later" in text
    assert "ended: stays in the tenancy: image x" in text
    assert "test_an_error_is_told_whole" in text


@pytest.fixture
def plan() -> ExportPlan:
    around = Surroundings("t", "r", "ns", "b", "/x", WHEN.date(), "host")
    instance = Instance("ocid1.instance.oc1.iad.i", "web", "c", "STOPPED", "r")
    return make_plan(instance, ExportOptions(), around, run_id="abc", generation=1)


def test_a_position_says_all_that_others_ask(plan: ExportPlan) -> None:
    """Step, how far, percent of all, bytes, waiting since when, the stall until it moves again."""
    position = Position(plan, "host, process 1", "/log", lambda: WHEN)
    position(events.StepStarted("abc", "download", "fetch the disk"))
    position(events.StepAdvanced("abc", "download", 50, 100))
    position(events.Bytes(wire=50, disk=40))
    position(events.Waiting("network down since 14:02"))
    position(events.Stalled("abc", "download", 60, None, "it stands"))
    told = position.told()
    assert (told["step"], told["done"], told["total"], told["unit"]) == ("download", 50, 100, "bytes")
    assert (told["wire"], told["disk"], told["stalled"]) == (50, 40, "it stands")
    assert (told["waiting"], told["waiting_since"]) == ("network down since 14:02", "2026-11-25T14:02:00.000+00:00")
    assert 0 < told["percent"] < 100
    position(events.StepAdvanced("abc", "download", 50, 100))
    assert position.told()["stalled"] == "it stands"
    position(events.StepAdvanced("abc", "download", 51, 100))
    position(events.Waiting(None))
    assert (position.told()["stalled"], position.told()["waiting"]) == (None, None)
