"""The estimate of waits: what is known bounds it, and what was measured fills it in."""

import math
from dataclasses import replace
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.pools.forecast import MOST_PLAYED, Held, Outlook, Widths, arrivals

TWO = Widths((2.0, 2.0, 2.0))
"""Everything takes two seconds."""


def first(outlook: Outlook, count: int = 3) -> list[float]:
    return list(islice(arrivals(outlook), count))


def test_what_is_ready_comes_at_once() -> None:
    assert [0.0, 0.0, math.inf] == first(Outlook(waiting=3, ready=2))


def test_a_free_slot_is_used_at_once_for_those_who_wait() -> None:
    outlook = Outlook(waiting=2, room=5, creation=TWO, hold=Widths((100.0,)))

    assert [2.0, 2.0, 104.0] == [round(when, 1) for when in first(outlook)]


def test_what_is_being_made_is_nearer_by_what_has_been_done_of_it() -> None:
    assert 0.5 == first(Outlook(waiting=1, making=(1.5,), creation=TWO))[0]


def test_one_that_takes_longer_than_all_before_takes_half_as_long_again() -> None:
    assert 5.0 == first(Outlook(waiting=1, making=(10.0,), creation=TWO))[0]


def test_a_claim_whose_like_was_never_seen_to_end_holds_its_slot_until_it_expires() -> None:
    held = (Held(10.0, 50.0), Held(10.0, 20.0))

    outlook = Outlook(waiting=2, held=held, creation=TWO, removal=Widths((1.0,)))

    assert [23.0, 53.0] == first(outlook, 2)


def test_a_claim_is_expected_to_last_as_long_as_others_did_and_no_longer_than_its_expiry() -> None:
    usual = Outlook(waiting=1, held=(Held(10.0, 500.0),), creation=TWO, hold=Widths((5.0, 40.0)))

    assert 32.0 == first(usual)[0]
    assert 9.0 == first(replace(usual, held=(Held(10.0, 7.0),)))[0]


def test_of_several_that_began_together_one_is_expected_to_end_early() -> None:
    hold = Widths(tuple(float(second) for second in range(1, 101)))
    outlook = Outlook(waiting=9, held=(Held(0.0, 900.0),) * 9, creation=Widths((0.0,)), hold=hold)

    ends = first(outlook, 9)

    assert ends[0] < 15.0
    assert 40.0 < ends[4] < 60.0
    assert ends == sorted(ends)


def test_a_slot_serves_again_and_again() -> None:
    outlook = Outlook(waiting=9, held=(Held(0.0, 10.0),), creation=TWO, hold=Widths((10.0,)))

    assert [12.0, 24.0, 36.0] == first(outlook)


def test_slots_beyond_the_greatest_size_bring_nothing_when_they_are_freed() -> None:
    held = (Held(0.0, 10.0), Held(0.0, 20.0), Held(0.0, 90.0))

    assert [22.0, 92.0] == first(Outlook(waiting=2, held=held, room=-1, creation=TWO), 2)


def test_nothing_begins_before_the_breaker_lets_it() -> None:
    assert [32.0] == first(Outlook(waiting=1, room=1, rest=30.0, creation=TWO), 1)


def test_failures_make_creating_longer() -> None:
    assert [4.0] == first(Outlook(waiting=1, room=1, failing=0.5, creation=TWO), 1)
    assert [pytest.approx(20.0)] == first(Outlook(waiting=1, room=1, failing=1.0, creation=TWO), 1)


def test_what_is_made_to_fill_the_pool_keeps_to_its_pace() -> None:
    outlook = Outlook(waiting=1, room=4, target=3, rate=0.1, concurrency=9, creation=TWO)

    assert [2.0, 2.0, 12.0, 22.0] == first(outlook, 4)


def test_nothing_can_be_said_without_a_measured_creation_or_without_a_slot() -> None:
    assert [math.inf] == first(Outlook(waiting=1, room=1), 1)
    assert [math.inf] == first(Outlook(waiting=1, creation=TWO), 1)


def test_each_slot_looked_at_may_stand_for_several() -> None:
    held = (Held(0.0, 10.0), Held(0.0, 20.0))

    assert [12.0, 12.0, 22.0, 22.0] == first(
        Outlook(waiting=4, held=held, weight=2, creation=TWO, hold=Widths((1000.0,))), 4
    )


def test_a_far_place_is_estimated_from_the_pace() -> None:
    held = (Held(0.0, 10.0),)
    outlook = Outlook(waiting=9, held=held, creation=Widths((0.0,)), hold=Widths((10.0,)))

    far = next(islice(arrivals(outlook), MOST_PLAYED + 999, None))

    assert pytest.approx(10.0 * (MOST_PLAYED + 1000)) == far


widths = st.lists(st.floats(0.0, 1000.0), max_size=8).map(lambda all_: Widths(tuple(sorted(all_))))
elapsed = st.lists(st.floats(0.0, 2000.0), max_size=4).map(tuple)
outlooks = st.builds(
    Outlook,
    waiting=st.integers(0, 20),
    ready=st.integers(0, 3),
    making=elapsed,
    leaving=elapsed,
    held=st.lists(st.builds(Held, st.floats(0.0, 900.0), st.floats(0.0, 900.0)), max_size=4).map(
        tuple
    ),
    weight=st.integers(1, 3),
    room=st.integers(-3, 5),
    target=st.integers(0, 5),
    rate=st.floats(0.01, 100.0),
    concurrency=st.integers(1, 4),
    rest=st.floats(0.0, 300.0),
    failing=st.floats(0.0, 1.0),
    creation=widths,
    removal=widths,
    hold=widths,
)


@given(outlooks)
def test_whatever_the_pool_looks_like_estimates_only_grow_with_the_place(outlook: Outlook) -> None:
    found = first(outlook, 40)

    assert all(when >= 0.0 for when in found)
    assert all(before <= after for before, after in pairwise(found))
