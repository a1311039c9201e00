"""Why a claim waits: the code, the limit and the sentence for every state of a pool."""

import pytest

from stoker.config.revision import Size
from stoker.pools.breaker import Breaker
from stoker.pools.plan import Create, plan
from stoker.pools.reasons import WaitCode, Waited, WaitingFor, why_waiting
from tests.builders import a_pool, a_snapshot, members

NOW = 100.0
FAILING = Breaker(failures=4, last_error="no such program", until=NOW + 12)


def why(
    position: int = 1,
    *,
    seconds: float | None = None,
    ledger: str = "",
    pause: str = "",
    freeze: str = "",
    **facts: object,
) -> WaitingFor:
    snapshot = a_snapshot(waiting=position, **facts)  # type: ignore[arg-type]
    known = Waited(position, seconds, ledger, pause, freeze)
    return why_waiting(a_pool(min=0, max=3), snapshot, NOW, known)


def test_who_waits_in_a_paused_pool_is_told_so_whatever_is_ready() -> None:
    told = why(ready=3, pause="the pool web is paused by ada")
    assert (WaitCode.PAUSED, "pause") == (told.code, told.limit)
    assert told.detail == "the pool web is paused by ada"


def test_who_finds_nothing_ready_in_a_freeze_is_told_so_and_who_does_is_served() -> None:
    frozen = "nothing is made while the host is frozen by ada"
    assert WaitCode.HANDED_OVER is why(1, ready=1, freeze=frozen).code
    assert WaitCode.BEING_MADE is why(1, coming=1, freeze=frozen).code
    told = why(2, ready=1, freeze=frozen)
    assert (WaitCode.FROZEN, "freeze", frozen) == (told.code, told.limit, told.detail)


def test_what_is_held_is_told_among_what_takes_the_slots() -> None:
    assert "2 in use, 1 held for inspection" in why(bound=2, held=1).detail


def test_who_wants_more_than_are_ready_is_told_how_many_are() -> None:
    assert "1 in use, 2 ready" in why(3, bound=1, ready=2).detail


def test_a_full_pool_says_what_takes_its_slots() -> None:
    told = why(bound=1, leaving=1, drifted=members(1))
    assert (WaitCode.NO_CAPACITY, "size.max") == (told.code, told.limit)
    assert "1 in use, 1 being removed, 1 to be replaced" in told.detail
    assert "size.max (3)" in told.detail


def test_a_failing_blueprint_says_how_often_with_which_error_and_when_it_is_tried_again() -> None:
    told = why(breaker=FAILING)
    assert (WaitCode.BLUEPRINT_FAILING, "breaker") == (told.code, told.limit)
    assert "failed 4 times in a row and the next attempt is in 12s" in told.detail
    assert "no such program" in told.detail


def test_a_probe_of_a_failing_blueprint_is_waited_for_by_the_first_and_told_to_the_others() -> None:
    probing = Breaker(failures=4, last_error="no such program", until=NOW - 1)
    assert WaitCode.BEING_MADE is why(1, breaker=probing, coming=1).code
    told = why(2, breaker=probing, coming=1)
    assert WaitCode.BLUEPRINT_FAILING is told.code
    assert "one is being tried" in told.detail


def test_a_provider_that_asks_for_patience_is_named() -> None:
    told = why(breaker=Breaker().asked_to_wait("quota reached", NOW, 30.0))
    assert (WaitCode.PROVIDER_BUSY, "provider") == (told.code, told.limit)
    assert "30s more: quota reached" in told.detail


def test_who_gets_one_that_is_being_made_is_told_how_long_that_takes() -> None:
    told = why(2, coming=2, seconds=4.04)
    assert (WaitCode.BEING_MADE, "") == (told.code, told.limit)
    assert (
        "2 resources are being made, and it is number 2 in the line; making one takes about 4s"
        == told.detail
    )


def test_who_stands_behind_those_served_by_what_is_coming_is_told_the_limit() -> None:
    assert WaitCode.NO_CAPACITY is why(2, coming=1, bound=2).code


def test_a_ready_one_is_about_to_be_handed_over() -> None:
    assert WaitCode.HANDED_OVER is why(1, ready=1).code
    assert WaitCode.NO_CAPACITY is why(2, ready=1, bound=2).code


def test_a_ledger_that_refuses_comes_before_all_else() -> None:
    told = why(bound=3, ledger="the disk is full")
    assert (WaitCode.LEDGER_UNAVAILABLE, "ledger") == (told.code, told.limit)
    assert "the disk is full" in told.detail


@pytest.mark.parametrize("position", [1, 2, 3, 4])
@pytest.mark.parametrize("breaker", [Breaker(), FAILING, Breaker(1, "once")])
@pytest.mark.parametrize("bound", [0, 1, 2, 3])
def test_no_limit_is_named_exactly_when_planning_serves_the_claim(
    position: int, bound: int, breaker: Breaker
) -> None:
    spec = a_pool(min=0, max=3)
    snapshot = a_snapshot(bound=bound, waiting=position, breaker=breaker)
    created = sum(c.count for c in plan(spec, snapshot, NOW).commands if isinstance(c, Create))
    after = a_snapshot(bound=bound, coming=created, waiting=position, breaker=breaker)
    told = why_waiting(spec, after, NOW, Waited(position))
    assert (told.limit == "") == (position <= created)


def test_the_size_that_is_told_is_the_one_in_force() -> None:
    spec = a_pool(min=0, max=2)
    assert Size(0, 2) == spec.size
    told = why_waiting(spec, a_snapshot(bound=3, waiting=1), NOW, Waited(1))
    assert "all the 3 resources that its size.max (2) allows" in told.detail


def test_who_gets_one_that_is_being_reset_is_told_so() -> None:
    told = why(1, resetting=1, bound=2)
    assert (WaitCode.BEING_RESET, "") == (told.code, told.limit)
    assert "1 resource is being reset after a claim" == told.detail
    told = why(2, resetting=1, bound=2)
    assert WaitCode.NO_CAPACITY is told.code
    assert "2 in use, 1 being reset" in told.detail
