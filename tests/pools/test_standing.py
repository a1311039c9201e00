"""A claim's standing: the first priority that matches decides, and one that fails matches nothing."""

import logging

import pytest

from stoker.config.expressions import compile_expression
from stoker.config.priorities import ENVIRONMENT
from stoker.config.revision import Priority
from stoker.pools.claim import Claim, Claimant
from stoker.pools.ids import ClaimId
from stoker.pools.standing import Standing, standing_of
from stoker.pools.telemetry import Silent
from stoker.pools.waiting import complaints


def a_rule(when: str, priority: int, name: str = "") -> Priority:
    return Priority(name or f"p{priority}", compile_expression(when, ENVIRONMENT), priority)


def a_claim(*, uid: int = 1000, unit: str = "", labels: dict[str, str] | None = None) -> Claim:
    claimant = Claimant(uid, 100, 1, "ada", "/usr/bin/curl", unit)
    return Claim(
        ClaimId("c-1"), "web", claimant, 0.0, 5400.0, 7200.0, 60.0,
        labels=dict(labels or {}), reason="nightly import",
    )  # fmt: skip


def standing(claim: Claim, *rules: Priority) -> tuple[Standing, list[tuple[str, str]]]:
    failures: list[tuple[str, str]] = []
    return standing_of(claim, rules, lambda name, why: failures.append((name, why))), failures


def test_without_priorities_all_are_equal_and_take_turns_by_user() -> None:
    assert (Standing(1000), []) == standing(a_claim())


def test_the_first_that_matches_decides() -> None:
    rules = (
        a_rule("caller.uid == 0", 100),
        a_rule("caller.unit == 'ci.service'", 10),
        a_rule("claim.reason.startsWith('nightly')", -5),
    )

    assert Standing(1000, 10, "p10") == standing(a_claim(unit="ci.service"), *rules)[0]
    assert Standing(1000, -5, "p-5") == standing(a_claim(), *rules)[0]
    assert Standing(0, 100, "p100") == standing(a_claim(uid=0), *rules)[0]


def test_everything_of_the_caller_and_the_claim_can_be_read() -> None:
    when = (
        "caller.uid == 1000 && caller.gid == 100 && caller.user == 'ada'"
        " && caller.exe.endsWith('curl') && caller.unit == '' && claim.labels.team == 'web'"
        " && duration(claim.ttl) == duration('90m') && claim.reason != ''"
    )

    assert 1 == standing(a_claim(labels={"team": "web"}), a_rule(when, 1))[0].priority


@pytest.mark.parametrize("when", ["claim.labels.team == 'web'", "claim.labels.urgent"])
def test_one_that_fails_matches_nothing_and_the_next_is_asked(when: str) -> None:
    found, failures = standing(
        a_claim(labels={"urgent": "yes"}), a_rule(when, 9, "broken"), a_rule("true", 3)
    )

    assert Standing(1000, 3, "p3") == found
    assert ["broken"] == [name for name, _ in failures]


def test_a_failure_is_logged_once_and_counted_each_time(caplog: pytest.LogCaptureFixture) -> None:
    class Counting(Silent):
        failed = 0

        def priority_failed(self, pool: str) -> None:
            assert "web" == pool
            self.failed += 1

    telemetry = Counting()
    failed = complaints("web", telemetry)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            standing_of(a_claim(), [a_rule("claim.labels.team == 'web'", 9, "broken")], failed)

    assert 3 == telemetry.failed
    (record,) = caplog.records
    assert "the priority broken of the pool web matches nothing" in record.message
