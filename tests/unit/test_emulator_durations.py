"""How long transitions last, the virtual clock's start, and randomness that can be had again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypersdk_emulator.__main__ import parser
from hypersdk_emulator.clock import Clock
from hypersdk_emulator.database import Database
from hypersdk_emulator.durations import OTHERWISE, SPANS, duration
from hypersdk_emulator.randomness import Randomness
from hypersdk_emulator.routes import ROUTES
from hypersdk_emulator.seeds.node import SeedError
from hypersdk_emulator.seeds.seed import Reader

MINUTE = 60.0
RECORDED_GBS = 47_694 / 1024


@pytest.mark.parametrize(
    ("operation", "minutes", "seconds"), [("CreateImage", 16, 44), ("ExportImage", 19, 1), ("ImportImage", 12, 36)]
)
def test_pace_1_takes_as_long_as_the_recordings(operation, minutes, seconds):
    """A boot volume of 47,694 MB takes what it took on OCI; at pace 0.01 a hundredth of it."""
    recorded = minutes * MINUTE + seconds
    assert duration(operation, RECORDED_GBS, timing={}, pace=1) == pytest.approx(recorded)
    assert duration(operation, RECORDED_GBS, timing={}, pace=0.01) == pytest.approx(recorded / 100)


def test_pace_1_keeps_to_what_the_documentation_says():
    """A power action takes 1 to 3 minutes, a soft stop at most 15, hydration at most 30, a backup of a TB hours."""

    def at_pace_1(operation, size=None):
        return duration(operation, size, timing={}, pace=1)

    for operation in ("InstanceAction/START", "InstanceAction/STOP", "LaunchInstance"):
        assert MINUTE <= at_pace_1(operation) <= 3 * MINUTE
    assert at_pace_1("InstanceAction/STOP") < at_pace_1("InstanceAction/SOFTSTOP") <= 15 * MINUTE
    assert at_pace_1("CreateVolume/HYDRATION", 32_768) == 30 * MINUTE
    assert at_pace_1("CreateVolume/CLONE", 32_768) <= MINUTE
    assert 2 * MINUTE < at_pace_1("CreateVolumeBackup", 50) < 3600 < at_pace_1("CreateVolumeBackup/FULL", 1024)
    assert at_pace_1("CreateVolumeBackup/INCREMENTAL", 1024) < at_pace_1("CreateVolumeBackup", 1024)
    assert at_pace_1("AttachVolume") == OTHERWISE.fixed


def test_every_rule_is_of_an_operation():
    """No rule is left over: each is for an operation that there is, or for an import, which is a CreateImage."""
    assert {name.partition("/")[0] for name in SPANS} - {route.operation for route in ROUTES} == {"ImportImage"}


@given(
    operation=st.sampled_from([*SPANS, "AttachVolume"]),
    sizes=st.tuples(st.floats(0, 32_768), st.floats(0, 32_768)),
    pace=st.floats(0, 10),
)
def test_durations_scale_with_pace_and_never_fall_with_size(operation, sizes, pace):
    """Pace multiplies, 0 means at once, and no larger thing is done sooner."""
    small, large = (duration(operation, size, timing={}, pace=pace) for size in sorted(sizes))
    assert 0 <= small <= large
    assert small == pytest.approx(pace * duration(operation, min(sizes), timing={}, pace=1))
    assert duration(operation, max(sizes), timing={}, pace=0) == 0


def test_without_pace_the_seed_rules():
    """The seed's seconds hold for every size and its factors for single operations, the more exact name first."""
    timing = {"transitionSeconds": 2, "paceOf": {"ExportImage": 5, "InstanceAction": 3, "InstanceAction/STOP": 0}}
    assert duration("CreateImage", 1, timing=timing) == duration("CreateImage", 400, timing=timing) == 2
    assert duration("ExportImage", 50, timing=timing) == 10
    assert duration("InstanceAction/START", timing=timing) == 6
    assert duration("InstanceAction/STOP", timing=timing) == 0
    assert duration("CreateImage", timing={}) == 0.4
    assert duration("InstanceAction/START", timing=timing, pace=1) == 3 * duration("InstanceAction", timing={}, pace=1)


def test_a_seed_may_start_the_clock_anywhere_only_in_an_empty_cloud():
    """It may begin in the past while nothing exists; the same start again changes nothing; it never goes back."""
    real = [1000.0]
    clock = Clock(Database(":memory:"), wall=lambda: real[0])
    clock.start_at(10.0, empty=True)
    real[0] += 5
    clock.start_at(10.0, empty=False)
    assert clock.timestamp() == 15.0
    with pytest.raises(ValueError, match=r"shows 1970-01-01T00:00:15.000Z already and never goes back"):
        clock.start_at(14.0, empty=False)
    clock.start_at(20.0, empty=False)
    assert (clock.timestamp(), clock.wall()) == (20.0, 1005.0)
    with pytest.raises(ValueError, match="the clock ends at 9000-01-01"):
        clock.advance(9000 * 366 * 86400.0)


@pytest.mark.parametrize(
    "value",
    [
        "2026-01-01",
        "2026-01-01T00:00:00",
        "yesterday",
        1767225600,
        "Z",
        "0001-13-01Z",
        "1960-01-01T00:00:00Z",
        "9999-01-01T00:00:00Z",
    ],
)
def test_a_clock_that_is_no_moment_in_utc_is_refused(tmp_path, value):
    """The seed's `clock` is a time with a Z; everything else is named."""
    assert Reader(tmp_path, None).read({"clock": "2026-01-01T00:00:00Z"}).clock == 1767225600.0
    with pytest.raises(SeedError, match=r"clock: .* is not a time such as 2026-01-01T00:00:00Z"):
        Reader(tmp_path, None).read({"clock": value})


def draws(source):
    return [source.hex("a"), source.uuid("a"), source.text("a", "xyz", 8), source.urlsafe("b", 9), source.uuid("c")]


def test_the_same_random_seed_draws_the_same():
    """Every kind of draw comes again with the seed, differs with another one, and differs each time without."""
    assert draws(Randomness("7")) == draws(Randomness("7"))
    assert not set(draws(Randomness("7"))) & set(draws(Randomness("8")))
    assert not set(draws(Randomness())) & set(draws(Randomness()))


def test_one_purpose_draws_nothing_from_another():
    """A draw more for one purpose leaves what others draw as it was."""
    one, other = Randomness("7"), Randomness("7")
    one.uuid("request id")
    assert one.uuid("etag") == other.uuid("etag")


@pytest.mark.parametrize("text", ["-1", "inf", "nan", "fast"])
def test_a_pace_that_is_no_number_from_0_is_refused(capsys, text):
    """A wrong --pace ends the start with status 2 and one line that names it."""
    with pytest.raises(SystemExit) as ended:
        parser().parse_args([f"--pace={text}"])
    assert ended.value.code == 2
    assert f"argument --pace: invalid pace value: '{text}'" in capsys.readouterr().err
