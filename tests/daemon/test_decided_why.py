"""Why policies let a claim be, from what was recorded: rule by rule, also under other policies by now."""

import string
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoker.config.json_types import JsonObject
from stoker.config.parameters import Parameters
from stoker.config.policies.rules import Shape
from stoker.daemon.decided_why import in_numbers, record_in, rules_told, sentences
from stoker.daemon.decision_records import facts_from_json, facts_to_json
from stoker.policies.facts import (
    Action,
    CallerFacts,
    Facts,
    PoolFacts,
    RequestFacts,
    UsageFacts,
)
from tests.daemon.harness import a_server
from tests.policies.builders import NOON, a_policy, allow, deny
from tests.rig import a_box_pool, boxes

texts = st.text(string.ascii_letters + string.digits + " -./", max_size=8)
counts = st.integers(0, 10**6)


@settings(max_examples=100, deadline=None)
@given(
    st.builds(
        CallerFacts,
        uid=counts, gid=counts, user=texts, groups=st.lists(texts, max_size=3).map(tuple),
        pid=counts, exe=texts, unit=texts, host=texts, operator=st.booleans(),
        unknown=st.sampled_from([(), ("exe",), ("groups", "user")]),
        token=st.sampled_from([{}, {"iss": "i", "sub": "s"}]),
    ),
    st.builds(
        RequestFacts,
        action=st.sampled_from(Action), params=st.dictionaries(texts, texts, max_size=2),
        ttl=st.none() | st.integers(1, 10**5).map(float), count=st.integers(1, 64),
        reason=texts, labels=st.dictionaries(texts, texts, max_size=2),
        bind=st.sampled_from(["", "process"]), break_glass=st.booleans(),
        remaining=st.integers(0, 1000).map(float),
    ),
    st.builds(
        UsageFacts,
        active=counts, active_in_pool=counts,
        active_of_group=st.dictionaries(texts, st.integers(1, 9), max_size=2),
        active_of_label=st.just({}), claims_last_hour=counts, spend_today=st.integers(0, 100).map(float),
    ),
)  # fmt: skip
def test_recorded_facts_are_read_back_as_they_were(
    caller: CallerFacts, request: RequestFacts, usage: UsageFacts
) -> None:
    spec = a_box_pool(min=1)
    pool = PoolFacts("web", spec.labels, 3, 4, spec.blueprint.name, ttl=spec.lifetime.ttl)
    facts = Facts(caller, request, pool, NOON, usage)
    assert facts == facts_from_json(facts_to_json(facts, frozenset()), spec)


async def test_a_claim_is_explained_rule_by_rule_with_what_decided(short_tmp: Path) -> None:
    blueprint = replace(
        boxes(),
        parameters=Parameters.compile(
            {"key": {"type": "string", "writeOnly": True, "default": "none"}}
        ),
    )
    policies = (
        a_policy(
            allow("caller.pid > 0", name="living"),
            deny('request.ttl > duration("1h")', name="long"),
            deny('request.params.key == "wrong"', name="wrong-key"),
            shape=Shape(max_ttl=600.0),
        ),
        a_policy(deny(name="nobody"), name="later", mode="shadow"),
    )
    async with a_server(
        short_tmp, a_box_pool(min=1, blueprint=blueprint), policies=policies
    ) as served:
        reply = await served.caller.claim(ttl="2h", params={"key": "very-secret"})
        assert 201 == reply.status, reply.body
        told = (await served.caller.get(f"/v1/explain/claims/{reply.json['id']}")).json

        said = "\n".join(told["why"])
        assert "It was let through by the rule living of the policy team" in said
        assert "The policy team made ttl 10m; it was 2h." in said
        assert "team/living (allow): true, as caller.pid > 0 is true." in said
        assert 'team/long (deny): false, as request.ttl > duration("1h") is false.' in said
        assert "team/wrong-key (deny): false." in said
        assert "later/nobody (deny, shadow): true" in said
        assert "If all policies were enforced, the answer would be deny by later/nobody." in said
        rules = {one["rule"]: one for one in told["facts"]["policy"]["rules"]}
        assert {"request.ttl": "10m"} == rules["team/long"]["because"][0]["read"]
        assert "very-secret" not in repr(told)

        run = served.run
        run.host.policies = (a_policy(allow(), name="other"),)
        again = replace(
            run.host.revision(a_box_pool(min=1, blueprint=blueprint)), id="next", digest="next"
        )
        await run.fleet.apply(again)
        told = (await served.caller.get(f"/v1/explain/claims/{reply.json['id']}")).json
        assert [{"rule": "team/living", "value": "true"}] == told["facts"]["policy"]["rules"]
        assert "team/living: true." in told["why"]


async def test_a_claim_that_no_policy_was_about_is_explained_as_before(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        reply = await served.caller.claim()
        told = (await served.caller.get(f"/v1/explain/claims/{reply.json['id']}")).json
        assert "policy" not in told["facts"]


def test_errors_are_told_with_their_reason() -> None:
    record: JsonObject = {
        "rule": "a",
        "policy": "p",
        "revision": "r",
        "errors": ["p/b: no such key"],
    }
    rules = rules_told(record, None, None)
    assert [{"rule": "p/b", "value": "error", "error": "no such key"}] == rules
    assert "p/b: error, as no such key." in list(sentences(record, rules))
    assert rules == in_numbers(record, rules)["rules"]
    assert record_in([]) is None


@pytest.mark.parametrize("count", [25])
def test_many_rules_are_told_in_part(count: int) -> None:
    record: JsonObject = {
        "rule": "a",
        "policy": "p",
        "revision": "r",
        "true": [f"p/r{n}" for n in range(count)],
    }
    said = list(sentences(record, rules_told(record, None, None)))
    assert "There are 5 more rules; -o json shows them all." in said


async def test_what_shadows_would_make_of_a_claim_is_told(short_tmp: Path) -> None:
    policies = (
        a_policy(allow("caller.pid > 0", name="living"), shape=Shape(forced_labels={"a": "b"})),
        a_policy(
            name="later", mode="shadow", shape=Shape(max_ttl=60.0, forced_labels={"team": "web"})
        ),
    )
    async with a_server(short_tmp, a_box_pool(min=1), policies=policies) as served:
        claimed = (await served.caller.claim(ttl="2m")).json["id"]
        said = (await served.caller.get(f"/v1/explain/claims/{claimed}")).json["why"]
        at = said.index("If all policies were enforced, the answer would be allow by team/living.")
        assert "It would then get a ttl of 1m, and not of 2m." == said[at + 1]
        assert "The policy later would make labels.team web." == said[at + 2]
