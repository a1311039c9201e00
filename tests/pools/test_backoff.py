"""Waits between attempts grow, are bounded, and are never all alike."""

from hypothesis import given
from hypothesis import strategies as st

from stoker.pools.backoff import delay

chances = st.floats(0.0, 1.0, exclude_max=True)


@given(st.integers(0, 10_000), chances, st.floats(0.001, 10.0), st.floats(10.0, 1000.0))
def test_a_delay_lies_between_half_and_all_of_what_its_attempt_allows(
    attempt: int, chance: float, first: float, cap: float
) -> None:
    full = min(cap, first * 2.0 ** min(attempt, 32))

    assert full / 2 <= delay(attempt, chance, first=first, cap=cap) <= full


@given(st.integers(0, 100), chances)
def test_later_attempts_wait_longer_until_the_cap(attempt: int, chance: float) -> None:
    assert delay(attempt, chance) <= delay(attempt + 1, chance)


def test_the_first_attempts_wait_as_documented() -> None:
    assert [delay(n, 0.0) for n in range(4)] == [0.25, 0.5, 1.0, 2.0]


def test_chance_spreads_attempts_over_half_of_the_delay() -> None:
    assert (delay(3, 0.0), delay(3, 0.5)) == (2.0, 3.0)
