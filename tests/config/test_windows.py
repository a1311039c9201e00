"""When windows are open, over midnights, weeks and changes of the clocks."""

from datetime import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.config.windows import Opening, Window, opening, parse_clock, parse_days

BERLIN, UTC = ZoneInfo("Europe/Berlin"), ZoneInfo("UTC")
WEEKDAYS = frozenset(range(5))


def at(text: str, zone: ZoneInfo = BERLIN) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


def a_window(days: str = "mon-sun", opens: str = "22:00", closes: str = "06:00") -> Window:
    start, end, on = parse_clock(opens), parse_clock(closes), parse_days(days)
    assert start is not None
    assert end is not None
    assert on is not None
    return Window(on, start, end, BERLIN)


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        # Friday's window lasts into Saturday; the next one opens on Monday evening.
        ("2026-03-06 21:59", Opening(open=False, changes_at=at("2026-03-06 22:00"))),
        ("2026-03-06 22:00", Opening(open=True, changes_at=at("2026-03-07 06:00"))),
        ("2026-03-07 05:59", Opening(open=True, changes_at=at("2026-03-07 06:00"))),
        ("2026-03-07 06:00", Opening(open=False, changes_at=at("2026-03-09 22:00"))),
        ("2026-03-08 23:00", Opening(open=False, changes_at=at("2026-03-09 22:00"))),
    ],
)
def test_a_window_over_midnight_belongs_to_the_day_on_which_it_opens(
    moment: str, expected: Opening
) -> None:
    assert opening((a_window("mon-fri"),), at(moment)) == expected


def test_without_windows_it_is_always_open() -> None:
    assert opening((), 0.0) == Opening(open=True)


def test_any_of_several_is_enough() -> None:
    both = (a_window("sat", "10:00", "12:00"), a_window("sat", "11:00", "14:00"))

    assert opening(both, at("2026-03-07 11:30")) == Opening(
        open=True, changes_at=at("2026-03-07 14:00")
    )


def test_a_whole_day_ends_at_midnight() -> None:
    assert opening((a_window("sun", "00:00", "24:00"),), at("2026-03-08 12:00")).changes_at == at(
        "2026-03-09 00:00"
    )


def test_the_clocks_of_the_zone_decide_also_on_the_days_on_which_they_change() -> None:
    night = (a_window("sun", "01:00", "04:00"),)
    spring, autumn = opening(night, at("2026-03-29 01:30")), opening(night, at("2026-10-25 01:30"))

    assert spring.changes_at == at("2026-03-29 01:30") + 1.5 * 3600
    assert autumn.changes_at == at("2026-10-25 01:30") + 3.5 * 3600


def test_a_window_that_a_change_of_the_clocks_swallows_opens_a_week_later() -> None:
    swallowed = (a_window("sun", "02:10", "02:50"),)
    found = opening(swallowed, at("2026-03-28 12:00"))

    assert not found.open
    assert found.changes_at is not None
    assert found.changes_at >= at("2026-03-29 03:00")


@pytest.mark.parametrize("text", ["", "Mon", "mon-", "-fri", "mon-fri-sun", "monday"])
def test_what_is_no_day_is_no_day(text: str) -> None:
    assert parse_days(text) is None


@pytest.mark.parametrize(
    "text", ["", "6:00", "06:0", "0600", "24:01", "12:60", "-1:00", "１２:００"]
)
def test_what_is_no_time_of_the_day_is_none(text: str) -> None:
    assert parse_clock(text) is None


minutes = st.integers(0, 24 * 60 - 1)


@given(
    st.sets(st.integers(0, 6), min_size=1),
    minutes,
    st.integers(0, 24 * 60),
    st.integers(0, 400 * 24 * 60),
)
def test_every_window_opens_and_closes_again(
    days: set[int], opens: int, closes: int, start: int
) -> None:
    if opens == closes:
        closes = opens + 1
    window = (Window(frozenset(days), opens, closes, BERLIN),)
    moments, now = [at("2026-01-01 00:00") + start * 60], at("2026-01-01 00:00") + start * 60
    states = [opening(window, now).open]
    for _ in range(6):
        found = opening(window, moments[-1])
        assert found.changes_at is not None
        assert moments[-1] < found.changes_at <= moments[-1] + 15 * 86400
        moments.append(found.changes_at)
        states.append(opening(window, found.changes_at).open)

    # Two days in a row may touch; a closed one is always followed by an open one.
    assert all(after for before, after in pairwise(states) if not before)
