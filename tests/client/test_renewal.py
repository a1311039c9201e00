"""The schedule of renewals, without a clock."""

from datetime import UTC, datetime, timedelta

import pytest

from stoker.client import Conflict, Unavailable
from stoker.client.documents import ClaimInfo
from stoker.client.renewal import Renewal

WALL = datetime(2026, 1, 1, tzinfo=UTC)


def a_renewal(ttl: float, now: float = 100.0) -> Renewal:
    claim = ClaimInfo("c", "web", "bound", expires_at=WALL + timedelta(seconds=ttl))
    return Renewal.starting(claim, now=now, wall=WALL)


def test_a_claim_is_renewed_after_a_third_of_its_width() -> None:
    assert 130.0 == a_renewal(90).due


def test_a_very_short_claim_is_not_renewed_without_pause() -> None:
    assert a_renewal(0.01).due > 100.05


def test_sleep_is_short_enough_to_notice_that_the_host_was_suspended() -> None:
    assert 10.0 == a_renewal(7200).nap(100.0)


def test_a_failed_renewal_is_tried_again_sooner_than_the_next_would_be() -> None:
    renewal = a_renewal(90)
    assert renewal.failed(Unavailable("no"), 130.0) is None
    assert 130.0 < renewal.due < 131.0


def test_pauses_between_failures_grow_up_to_a_third_of_the_width() -> None:
    renewal = a_renewal(90)
    now = 130.0
    pauses: list[float] = []
    while renewal.failed(Unavailable("no"), now) is None:
        pauses.append(renewal.due - now)
        now = renewal.due
    assert sorted(pauses[:-1]) == pauses[:-1]
    assert max(pauses) <= 30.0
    assert 190.0 == now


def test_the_daemon_may_ask_for_a_longer_pause() -> None:
    renewal = a_renewal(90)
    renewal.failed(Unavailable("no", retry_after=5), 130.0)
    assert 135.0 == renewal.due


def test_no_failure_moves_the_next_attempt_beyond_the_expiry() -> None:
    renewal = a_renewal(9)
    renewal.failed(Unavailable("no", retry_after=500), 103.0)
    assert 109.0 == renewal.due


@pytest.mark.parametrize("now", [109.0, 200.0])
def test_a_claim_is_lost_at_its_expiry(now: float) -> None:
    error = Unavailable("no")
    assert error is a_renewal(9).failed(error, now)


def test_a_claim_that_is_over_is_lost_at_once() -> None:
    error = Conflict("over")
    assert error is a_renewal(90).failed(error, 101.0)
