"""Recorded decisions under other policies: what comes out differently is told, and nothing else."""

from stoker.config.policies.rules import Limits, PolicySpec, Shape
from stoker.policies.facts import CallerFacts, Facts, UsageFacts
from stoker.policies.index import PolicyIndex, index_of
from stoker.policies.replaying import differences
from tests.policies.builders import a_policy, allow, deny, some_facts

FACTS = some_facts()


def index(*policies: PolicySpec) -> PolicyIndex:
    return index_of(policies, ["web"])


def told(before: PolicyIndex, after: PolicyIndex, *facts: Facts) -> list[tuple[int, str]]:
    return [(one.at, one.sentence) for one in differences(facts or [FACTS], before, after)]


def test_the_same_policies_and_another_rule_that_says_the_same_are_no_difference() -> None:
    assert [] == told(index(a_policy(allow())), index(a_policy(allow())))
    assert [] == told(index(a_policy(allow(name="a"))), index(a_policy(allow(name="b"))))


def test_another_verdict_is_told_with_its_message() -> None:
    before, after = index(a_policy(allow())), index(a_policy(allow(), deny(name="no")))
    assert [(1, "The rule no of the policy team denies it.")] == told(
        before,
        index(a_policy(allow(), deny('caller.user == "zoe"', name="no"))),
        FACTS,
        FACTS._replace(caller=FACTS.caller._replace(user="zoe")),
    )
    assert 2 == len(told(before, after, FACTS, FACTS))


def test_another_shape_is_told_in_full() -> None:
    shape = Shape(max_ttl=60.0, forced_labels={"team": "web"}, cost_centre="w-1")
    ((_, sentence),) = told(index(a_policy(allow())), index(a_policy(allow(), shape=shape)))
    assert "ttl was" in sentence
    assert "would be 60s" in sentence
    assert "labels.team was None and would be web" in sentence
    assert "costCentre was" in sentence


def test_limits_are_held_against_what_was_in_use_then() -> None:
    limited = index(a_policy(allow(), limits=Limits(max_active_per_caller=2)))
    busy = FACTS._replace(usage=UsageFacts(active=2))
    assert [1] == [at for at, _ in told(index(a_policy(allow())), limited, FACTS, busy)]


def test_without_policies_the_operators_of_then_may() -> None:
    operator = FACTS._replace(caller=CallerFacts(uid=1234, operator=True))
    other = FACTS._replace(caller=CallerFacts(uid=1234))
    assert [1] == [at for at, _ in told(index(a_policy(allow())), index(), operator, other)]
