"""Ends as callers write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.daemon.until import LONGEST, UntilError, parse_until

NOON = 1_769_860_800.0
"""2026-01-31T12:00:00Z."""


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("90m", 5400.0),
        ("250ms", 0.25),
        ("2026-01-31T12:00:10Z", 10.0),
        ("2026-01-31t12:00:10z", 10.0),
        ("2026-01-31T12:00:10.5Z", 10.5),
        ("2026-01-31T12:00:10.123456789Z", 10.123456),
        ("2026-01-31T14:00:10+02:00", 10.0),
        ("2026-01-31T10:30:10.25-01:30", 10.25),
    ],
)
def test_an_end_is_a_duration_or_a_moment_with_its_offset(text: str, left: float) -> None:
    assert parse_until(text).left(NOON) == pytest.approx(left)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "90",
        "-1h",
        "2026-01-31",
        "2026-01-31T12:00:00",
        "2026-01-31 12:00:00Z",
        "2026-02-30T12:00:00Z",
        "2026-01-31T24:00:01Z",
        "2026-01-31T12:00:00+99:00",
        "0001-01-01T00:00:00+23:59",
        "\u0662\u0660\u0662\u0666-01-31T12:00:00Z",
    ],
)
def test_what_is_no_end_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(UntilError, match=r"write a duration such as 90m|still to come|366 days"):
        parse_until(text).left(NOON)


def test_an_end_that_has_passed_or_lies_years_ahead_is_refused() -> None:
    for text in ("0s", "2026-01-31T11:59:59Z", "2026-01-31T12:00:00Z", "1970-01-01T00:00:00Z"):
        with pytest.raises(UntilError, match="still to come"):
            parse_until(text).left(NOON)
    for text in ("367d", "2028-01-01T00:00:00Z", "9999-12-31T23:59:59Z"):
        with pytest.raises(UntilError, match="within 366 days"):
            parse_until(text).left(NOON)


@given(st.text(max_size=40))
def test_any_text_is_an_end_or_refused(text: str) -> None:
    try:
        left = parse_until(text).left(NOON)
    except UntilError:
        return
    assert 0 < left <= LONGEST
