"""When a claim is announced, lapses and ends; and what becomes of its binding at a restart."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.pools.binding import Afterwards, Bind, Binding, Process, afterwards
from stoker.pools.expiry import Step, Terms, due, ends_at, lead, next_step

TTL = 60.0
EXPIRY = 1000.0


def test_a_claim_without_terms_ends_at_its_expiry() -> None:
    assert (EXPIRY, Step.END) == next_step(EXPIRY, TTL, None)
    assert Step.WAIT is due(EXPIRY, TTL, None, 999.9)
    assert Step.END is due(EXPIRY, TTL, None, EXPIRY)


def test_it_is_announced_then_lapses_then_ends() -> None:
    terms = Terms(notice=10.0, grace=5.0)
    assert (990.0, Step.ANNOUNCE) == next_step(EXPIRY, TTL, terms)
    terms.announced = EXPIRY
    assert (1000.0, Step.LAPSE) == next_step(EXPIRY, TTL, terms)
    terms.lapsed = True
    assert (1005.0, Step.END) == next_step(EXPIRY, TTL, terms)


def test_a_new_deadline_is_announced_anew() -> None:
    terms = Terms(notice=10.0, announced=EXPIRY)
    assert (EXPIRY, Step.END) == next_step(EXPIRY, TTL, terms)
    assert (EXPIRY + 20.0, Step.ANNOUNCE) == next_step(EXPIRY + 30.0, TTL, terms)


def test_a_claim_that_is_shorter_than_the_notice_is_announced_in_its_middle() -> None:
    assert 10.0 == lead(10.0, TTL)
    assert 5.0 == lead(60.0, 10.0)


@pytest.mark.parametrize(
    ("terms", "now", "step"),
    [
        (Terms(notice=10.0), 1000.0, Step.END),
        (Terms(notice=10.0, grace=5.0), 1001.0, Step.LAPSE),
        (Terms(notice=10.0, grace=5.0), 1005.0, Step.END),
        (Terms(grace=5.0), 1007.0, Step.END),
    ],
)
def test_what_was_missed_is_not_made_up_for(terms: Terms, now: float, step: Step) -> None:
    assert step is due(EXPIRY, TTL, terms, now)


widths = st.floats(min_value=0.1, max_value=1e6)
some_terms = st.builds(Terms, st.none() | widths, st.just(0.0) | widths)


@given(some_terms, widths, st.lists(widths, max_size=30))
def test_whatever_the_moments_each_step_is_done_once_and_the_end_comes_on_time(
    terms: Terms, ttl: float, moments: list[float]
) -> None:
    expiry, terms = ttl, replace(terms)
    end = ends_at(expiry, terms)
    done: list[Step] = []
    for now in sorted([*moments, end]):
        while (step := due(expiry, ttl, terms, now)) in {Step.ANNOUNCE, Step.LAPSE}:
            done.append(step)
            if step is Step.ANNOUNCE:
                assert now < expiry
                terms.announced = expiry
            else:
                assert expiry <= now < end
                terms.lapsed = True
        assert (step is Step.END) == (now >= end)
        when, _ = next_step(expiry, ttl, terms)
        assert step is Step.END or when > now, "a timer that rings for nothing would ring for ever"
    assert len(done) == len(set(done))


def test_a_binding_is_followed_after_a_restart_and_has_ended_after_a_reboot() -> None:
    process = Process(42, 4711, "this boot")
    for to in (Bind.PROCESS, Bind.CONNECTION):
        assert Afterwards.FOLLOW is afterwards(Binding(to, process), "this boot")
        assert Afterwards.GONE is afterwards(Binding(to, process), "another boot")
    assert Afterwards.TIME_ALONE is afterwards(Binding(Bind.CONNECTION, None), "this boot")
