"""The client's durations agree with those of the config."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.client import durations
from stoker.config import units


@given(
    st.lists(
        st.tuples(st.integers(0, 999), st.sampled_from(["ms", "s", "m", "h", "d"])),
        min_size=1,
        max_size=4,
    )
)
def test_text_means_what_it_means_in_the_config(terms: list[tuple[int, str]]) -> None:
    text = "".join(f"{number}{unit}" for number, unit in terms)
    assert pytest.approx(units.parse_duration(text)) == durations.seconds(text)


@given(st.floats(0.001, 1e8))
def test_what_is_sent_for_a_number_is_what_the_daemon_reads(seconds: float) -> None:
    sent = durations.text(seconds)
    assert abs(units.parse_duration(sent) - seconds) <= 0.0005 + seconds * 1e-9


def test_a_timedelta_is_sent_in_seconds() -> None:
    assert "90s" == durations.text(timedelta(minutes=1.5))
    assert "1500ms" == durations.text(1.5)


@pytest.mark.parametrize("text", ["", "soon", "5", "-5s", "5 s", "5s!", "1e3s"])
def test_other_text_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        durations.seconds(text)


@pytest.mark.parametrize("number", [-1.0, float("nan"), float("inf")])
def test_a_number_that_is_no_duration_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        durations.text(number)
