"""This machine's clock is wrong, or is set while we work: told with both times, never waited for, recovered from."""

from __future__ import annotations

import random
import time
from datetime import datetime, timedelta
from email.utils import formatdate
from pathlib import Path

import pytest
from emulator import Emulator

import hypersdk
from hypersdk import errors
from hypersdk.config import Config, load_config
from hypersdk.vendors.oci import session, signing

MIB = 1 << 20
BODY = random.Random(9).randbytes(8 * MIB)
HOUR = 3600.0


class Clock:
    """This machine's time of day, as the product sees it."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.signed_wrong = 0
        self.set_right_after = float("inf")

    def date(self, *, usegmt: bool) -> str:
        """The date of a signature."""
        if self.ahead:
            self.signed_wrong += 1
            if self.signed_wrong > self.set_right_after:
                self.ahead = 0.0
        return formatdate(time.time() + self.ahead, usegmt=usegmt)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The product's clock, to be set."""
    clock = Clock()

    class Datetime(datetime):
        @classmethod
        def now(cls, tz=None) -> datetime:
            return datetime.now(tz) + timedelta(seconds=clock.ahead)

    monkeypatch.setattr(session, "datetime", Datetime)
    monkeypatch.setattr(signing, "formatdate", clock.date)
    return clock


@pytest.fixture
def config(emulator: Emulator, tmp_path: Path) -> Config:
    """A user's configuration, with short pauses."""
    flags = {"endpoint": emulator.endpoint, "config_file": str(emulator.config_file)}
    quick = {"part_size": "1MiB", "parallel": 1, "initial_delay": "0.01s", "max_delay": "0.02s"}
    return load_config({**flags, **quick}, {}, cwd=tmp_path, home=tmp_path)


def test_a_wrong_clock_is_told_with_both_times_at_once(
    emulator: Emulator, config: Config, clock: Clock, tmp_path: Path
) -> None:
    """An hour ahead at the start: an error of its own kind with both times, and no request is repeated for long."""
    clock.ahead = HOUR
    with pytest.raises(errors.ClockSkewed) as ended:
        hypersdk.download(f"oci://{emulator.namespace}/exports/none", str(tmp_path / "none"), config)
    assert ended.value.code == "clock-skewed"
    assert ended.value.exit_code == 4
    hint = ended.value.hint or ""
    assert hint.startswith("clock skew: this machine says ")
    assert "Oracle says" in hint
    assert "60 minutes apart (5 are allowed)" in hint
    assert len([entry for entry in emulator.log() if entry["status"] == 401]) <= 2


@pytest.mark.parametrize("ahead", [HOUR, -HOUR])
def test_a_clock_that_jumps_and_is_set_right_costs_nothing(
    emulator: Emulator, config: Config, clock: Clock, tmp_path: Path, ahead: float
) -> None:
    """In mid-upload the clock is an hour off for three signatures: the object is whole, no part was stored twice."""
    (tmp_path / "source").write_bytes(BODY)
    clock.set_right_after = 3

    def jump(done: int, total: int) -> None:
        if done > total / 4 and not clock.signed_wrong:
            clock.ahead = ahead

    target = f"oci://{emulator.namespace}/exports/up"
    hypersdk.upload(str(tmp_path / "source"), target, config, progress=jump)
    assert clock.signed_wrong > 3
    assert emulator.get("exports", "up").body == BODY
    statuses = [entry["status"] for entry in emulator.log() if entry["operation"] == "UploadPart"]
    assert statuses.count(200) == 8
    assert statuses.count(401) == 3


def test_a_clock_that_stays_wrong_in_mid_run_ends_it_resumably(
    emulator: Emulator, config: Config, clock: Clock, tmp_path: Path
) -> None:
    """After the usual tries it is told with both times; parts stay, and with the right clock only the rest moves."""
    (tmp_path / "source").write_bytes(BODY)

    def jump(done: int, total: int) -> None:
        if done > total / 2 and not clock.signed_wrong:
            clock.ahead = -HOUR

    target = f"oci://{emulator.namespace}/exports/up"
    with pytest.raises(errors.ClockSkewed, match="60 minutes apart"):
        hypersdk.upload(str(tmp_path / "source"), target, config, progress=jump)
    first = [entry["status"] for entry in emulator.log() if entry["operation"] == "UploadPart"].count(200)
    assert first >= 4
    clock.ahead = 0.0
    hypersdk.upload(str(tmp_path / "source"), target, config)
    assert emulator.get("exports", "up").body == BODY
    statuses = [entry["status"] for entry in emulator.log() if entry["operation"] == "UploadPart"]
    assert statuses.count(200) == 8
