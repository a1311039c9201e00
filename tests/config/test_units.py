import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.config.units import (
    MAX_SECONDS,
    UnitError,
    format_duration,
    format_rate,
    format_size,
    parse_duration,
    parse_rate,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90.0),
        ("30m", 1800.0),
        ("4h", 14400.0),
        ("7d", 604800.0),
        ("250ms", 0.25),
        ("1h30m", 5400.0),
        ("1d2h3m4s5ms", 93784.005),
        ("1.5s", 1.5),
        ("0", 0.0),
        ("0s", 0.0),
    ],
)
def test_a_duration_is_read_as_seconds(text: str, seconds: float) -> None:
    assert seconds == parse_duration(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "5 m",
        "-5m",
        "m",
        "1h30",
        "1e3s",
        "nans",
        "infs",
        ".5s",
        "5S",
        "5s\n",
        "٣s",
        "1" * 65,
    ],
)
def test_what_is_no_duration_is_refused_with_what_would_be_accepted(text: str) -> None:
    with pytest.raises(UnitError, match="write a number with ms, s, m, h or d"):
        parse_duration(text)


def test_a_duration_beyond_ten_years_is_a_mistake() -> None:
    assert MAX_SECONDS == parse_duration("3650d")
    with pytest.raises(UnitError, match="longer than ten years"):
        parse_duration("3650d1s")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.0008, "0.8ms"),
        (0.25, "250ms"),
        (1.25, "1.25s"),
        (1800, "30m"),
        (5400, "1h30m"),
        (86400, "1d"),
        (90061.5, "1d1h1m1.5s"),
        (59.9996, "1m"),
        (0.9999999, "1s"),
        (-90, "-1m30s"),
    ],
)
def test_a_duration_is_written_as_people_write_it(seconds: float, text: str) -> None:
    assert text == format_duration(seconds)


@given(st.integers(min_value=0, max_value=int(MAX_SECONDS * 1000)))
def test_durations_of_whole_milliseconds_survive_the_round_trip(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert math.isclose(seconds, parse_duration(format_duration(seconds)), abs_tol=1e-6)


@given(st.text(max_size=80))
def test_any_text_is_a_unit_or_a_unit_error(text: str) -> None:
    for parse in (parse_duration, parse_rate, parse_size):
        try:
            assert parse(text) >= 0
        except UnitError as error:
            assert len(str(error)) < 300  # noqa: PT017


@pytest.mark.parametrize(
    ("text", "rate"), [("5/s", 5.0), ("300/m", 5.0), ("10/h", 10 / 3600), ("0.5/s", 0.5)]
)
def test_a_rate_is_read_as_a_number_per_second(text: str, rate: float) -> None:
    assert rate == parse_rate(text)


@pytest.mark.parametrize("text", ["5", "5/", "/s", "-5/s", "5/w", "0/s", "10000000/s", "5 / s"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(UnitError, match="rate"):
        parse_rate(text)


@given(st.integers(1, 100_000), st.sampled_from("smhd"))
def test_rates_survive_the_round_trip(count: int, unit: str) -> None:
    rate = parse_rate(f"{count}/{unit}")
    assert math.isclose(rate, parse_rate(format_rate(rate)), rel_tol=1e-6)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512MiB", 512 * 2**20),
        ("1.5GiB", 3 * 2**29),
        ("10MB", 10**7),
        ("7", 7),
        ("4096B", 4096),
        ("1 KiB", 1024),
    ],
)
def test_a_size_is_read_as_bytes(text: str, size: int) -> None:
    assert size == parse_size(text)


@pytest.mark.parametrize(
    "text", ["", "MiB", "-1MiB", "1mib", "1.3B", "9999999TiB", "1  KiB", "1PiB"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UnitError, match=r"size|large|bytes"):
        parse_size(text)


@given(st.integers(0, 1023), st.sampled_from(["B", "KiB", "MiB", "GiB", "TiB"]))
def test_sizes_survive_the_round_trip(count: int, unit: str) -> None:
    size = parse_size(f"{count}{unit}")
    assert size == parse_size(format_size(size))
