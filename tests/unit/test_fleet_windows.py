"""When exports may begin: windows against a clock that is read minute by minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hypersdk import errors
from hypersdk.fleet import windows
from hypersdk.fleet.windows import Window

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC", "America/Sao_Paulo")
MINUTE = timedelta(minutes=1)

zones = st.sampled_from(ZONES)
minutes = st.integers(0, 24 * 60 - 1)
some_days = st.frozensets(st.integers(0, 6), min_size=1)
some_windows = st.builds(Window, minutes, minutes, some_days, zones)
# The nights of 2026 on which clocks of these zones are set, and ordinary ones.
days_of_2026 = st.sampled_from(
    [
        *(
            datetime(2026, month, day, tzinfo=UTC)
            for month, day in ((3, 7), (3, 28), (4, 4), (10, 3), (10, 24), (10, 31), (6, 10))
        )
    ]
)
moments = st.builds(lambda day, minute: day + minute * MINUTE, days_of_2026, st.integers(0, 3 * 24 * 60))


def brute(given: list[Window], when: datetime, limit: int) -> datetime | None:
    """The next change, found by looking at every minute."""
    now = windows.any_open(given, when)
    at = when.replace(second=0, microsecond=0)
    for _ in range(limit):
        at += MINUTE
        if windows.any_open(given, at) != now:
            return at
    return None


@given(st.lists(some_windows, min_size=1, max_size=2), moments)
def test_the_next_change_is_the_first_of_all_minutes(some: list[Window], when: datetime) -> None:
    """No minute before the next change opens or closes anything, on nights when clocks are set too."""
    found = windows.next_change(some, when)
    limit = 36 * 60
    expected = brute(some, when, limit)
    if expected is not None:
        assert found == expected
    else:
        assert found is None or found > when + limit * MINUTE


@given(some_windows)
def test_a_window_is_read_back_from_its_text(window: Window) -> None:
    """What a window prints is what `parse` reads."""
    assert windows.parse(str(window)) == window


@given(some_windows, moments)
@example(Window(135, 165, zone="Europe/Berlin"), datetime(2026, 3, 28, 12, tzinfo=UTC))
def test_a_window_opens_within_days(window: Window, when: datetime) -> None:
    """Every window opens again within two weeks, and at its opening it is open."""
    at = windows.opens([window], when)
    assert at is not None
    assert when <= at <= when + timedelta(days=15)
    assert window.is_open(at)


def berlin(*clock: int, fold: int = 0) -> datetime:
    return datetime(2026, *clock, tzinfo=BERLIN, fold=fold).astimezone(UTC)


def test_a_window_over_midnight_belongs_to_the_day_on_which_it_opens() -> None:
    """On Saturday morning Friday's window is open, on Monday morning there was none on Sunday."""
    window = windows.parse("mon-fri 22:00-06:00 Europe/Berlin")
    assert window.is_open(berlin(11, 28, 5, 59))
    assert not window.is_open(berlin(11, 28, 6, 0))
    assert not window.is_open(berlin(11, 30, 5, 0))
    assert windows.opens([window], berlin(11, 28, 6, 0)) == berlin(11, 30, 22, 0)


def test_a_window_inside_the_gap_does_not_open_that_night() -> None:
    """02:15-02:45 is never shown on the night when the clock jumps from 02:00 to 03:00."""
    window = windows.parse("02:15-02:45 Europe/Berlin")
    assert windows.opens([window], berlin(3, 28, 12)) == berlin(3, 30, 2, 15)


def test_a_window_that_ends_in_the_gap_closes_when_the_clock_jumps() -> None:
    """22:00-02:30 closes at the jump, because the clock shows 03:00 then."""
    window = windows.parse("22:00-02:30 Europe/Berlin")
    assert windows.next_change([window], berlin(3, 29, 1)) == datetime(2026, 3, 29, 1, tzinfo=UTC)


def test_a_time_that_is_shown_twice_is_inside_twice() -> None:
    """02:15-02:45 opens twice on the night when the clock is set back, once for each showing."""
    window = windows.parse("02:15-02:45 Europe/Berlin")
    first = windows.opens([window], berlin(10, 24, 12))
    assert first == datetime(2026, 10, 25, 0, 15, tzinfo=UTC)
    closed = windows.next_change([window], first)
    assert closed == datetime(2026, 10, 25, 0, 45, tzinfo=UTC)
    assert windows.opens([window], closed) == datetime(2026, 10, 25, 1, 15, tzinfo=UTC)


def test_without_windows_an_export_may_always_begin() -> None:
    """No window means no limit, now and later."""
    now = datetime(2026, 11, 25, tzinfo=UTC)
    assert windows.any_open([], now)
    assert windows.next_change([], now) is None


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("22:00-06:00", Window(1320, 360)),
        ("0:00-24:00", Window(0, 0)),
        ("18:00-24:00", Window(1080, 1440)),
        ("sat,sun 00:00-12:00 UTC", Window(0, 720, frozenset({5, 6}), "UTC")),
        ("Fri - Mon 8:00 - 9:30", None),
        ("friday-monday 8:00 - 9:30", Window(480, 570, frozenset({4, 5, 6, 0}))),
    ],
)
def test_forms_of_a_window(text: str, read: Window | None) -> None:
    """Days, spans over midnight or over a week's end, and a zone are read; other spellings are refused."""
    if read is None:
        with pytest.raises(errors.UsageError):
            windows.parse(text)
    else:
        assert windows.parse(text) == read


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no times of day"),
        ("22-06", "no times of day"),
        ("25:00-06:00", "no clock shows"),
        ("22:00-06:61", "no clock shows"),
        ("22:00", "not a span"),
        ("mnt 22:00-06:00", "not a day: 'mnt'"),
        ("22:00-06:00 Europe/Berln", "did you mean 'Europe/Berlin'?"),
        ("22:00-06:00 ../../etc/passwd", "no time zone"),
        ("22:00-06:00 Europe/Berlin now", "more than a zone"),
    ],
)
def test_what_is_no_window_is_refused_with_the_form(text: str, says: str) -> None:
    """A refusal quotes the text, says what is wrong and shows the form."""
    with pytest.raises(errors.UsageError, match=r"not a window") as caught:
        windows.parse(text)
    assert says in str(caught.value)
    assert "HH:MM-HH:MM" in (caught.value.hint or "")
