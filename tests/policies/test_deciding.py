"""Facts in, a decision out: which rule decides, what is shaped, what is refused and what is counted."""

from dataclasses import replace
from typing import Any

import pytest

from stoker.config.conditions import STEPS_IN_ALL, Condition, compile_condition
from stoker.config.policies.facts import CLAIMS
from stoker.config.policies.rules import BreakGlass, ClaimRate, Limits, PolicySpec, Rule, Shape
from stoker.policies.canary import enforced_for
from stoker.policies.decision import Check, Limit, Mutation, Verdict
from stoker.policies.facts import Action, PoolFacts, RequestFacts, UsageFacts
from stoker.policies.limits import as_given
from tests.policies.builders import (
    a_caller,
    a_policy,
    a_rule,
    allow,
    approve,
    decided,
    deny,
    some_approvals,
    some_facts,
    told,
)

FAILS = "request.labels.none == 'x'"


@pytest.mark.parametrize(
    ("rules", "verdict", "rule"),
    [
        ([], "deny", ""),
        ([allow()], "allow", "allow"),
        ([allow("false")], "deny", ""),
        ([deny()], "deny", "deny"),
        ([deny("false")], "deny", ""),
        ([approve()], "approve", "approve"),
        ([allow(), deny()], "deny", "deny"),
        ([allow(), deny("false")], "allow", "allow"),
        ([allow(), approve()], "approve", "approve"),
        ([allow(), approve("false")], "allow", "allow"),
        ([allow("false"), approve()], "approve", "approve"),
        ([approve(), deny()], "deny", "deny"),
        ([allow(), approve(), deny()], "deny", "deny"),
        ([allow(), deny(FAILS)], "deny", "deny"),
        ([allow(), allow(FAILS, "odd")], "deny", "odd"),
        ([allow(), approve(FAILS)], "deny", "approve"),
        ([allow(FAILS), deny()], "deny", "deny"),
        ([allow(), allow(name="another")], "allow", "allow"),
    ],
)
def test_a_deny_beats_an_approve_beats_an_allow_and_none_is_no(
    rules: list[Rule], verdict: str, rule: str
) -> None:
    assert (verdict, "team" if rule else "", rule) == told(decided(a_policy(*rules)))


def test_rules_of_several_policies_count_together_and_the_first_by_name_is_told() -> None:
    assert ("deny", "b", "deny") == told(
        decided(a_policy(allow(), name="a"), a_policy(deny(), name="b"))
    )
    assert ("allow", "a", "allow") == told(
        decided(a_policy(allow(), name="b"), a_policy(allow(), name="a"))
    )
    assert ("deny", "a", "deny") == told(
        decided(a_policy(deny(), name="b"), a_policy(deny(), name="a"))
    )


def test_a_policy_has_nothing_to_do_with_other_pools() -> None:
    web = a_policy(allow(), pools=("web*", "db"))
    for pool, verdict in (("web", "allow"), ("web-2", "allow"), ("db", "allow"), ("db-2", "deny")):
        assert verdict == decided(web, facts=some_facts(pool=PoolFacts(pool))).verdict


def test_the_scope_of_a_policy_decides_whether_its_rules_count() -> None:
    assert "deny" == decided(a_policy(allow(), when='"dba" in caller.groups')).verdict
    assert "allow" == decided(a_policy(allow(), when='"web" in caller.groups')).verdict
    assert "allow" == decided(a_policy(allow()), a_policy(deny(), name="x", when="false")).verdict


def test_a_scope_that_fails_denies_where_its_rules_would_count() -> None:
    failing = a_policy(allow("true"), allow("false", "never"), when=FAILS)
    decision = decided(failing, a_policy(allow(), name="other"))
    assert ("deny", "team", "when") == told(decision)
    only_false = a_policy(deny("false"), when=FAILS)
    assert "allow" == decided(only_false, a_policy(allow(), name="other")).verdict
    limiting = a_policy(when=FAILS, limits=Limits(max_ttl=60.0))
    assert ("deny", "team", "when") == told(decided(limiting, a_policy(allow(), name="other")))


def test_the_sentence_is_the_rules_own_or_names_the_rule() -> None:
    said = a_rule("deny", message="not on Fridays")
    assert "not on Fridays" == decided(a_policy(said)).message
    assert "The rule deny of the policy team denies it." == decided(a_policy(deny())).message
    assert "The rule allow of the policy team allows it." == decided(a_policy(allow())).message
    asked = decided(a_policy(approve())).message
    assert "The rule approve of the policy team asks for an approval." == asked
    assert "No rule allows ada to claim from web." in decided(a_policy()).message
    nameless = some_facts(caller=a_caller(7, user=""))
    assert "No rule allows uid 7 to claim" in decided(a_policy(), facts=nameless).message


def test_who_may_not_is_told_whether_it_is_about_a_claim_or_a_renewal() -> None:
    for action, wish in ((Action.CLAIM, "claim from web"), (Action.RENEW, "renew a claim on web")):
        message = decided(a_policy(), facts=some_facts(request=RequestFacts(action))).message
        assert message.startswith(f"No rule allows ada to {wish}. Ask")
        assert "'stoker policy explain --live --pool web'" in message


def test_an_error_is_reported_as_one_and_quotes_no_fact() -> None:
    secret = some_facts(request=RequestFacts(params={"token": "s3cret"}))
    decision = decided(a_policy(allow(), deny("request.params.token > 3")), facts=secret)
    assert "ends in an error, which denies: '>' cannot take a string and an int" in decision.message
    assert [("team", "deny")] == [(it.policy, it.rule) for it in decision.failed]
    assert "s3cret" not in decision.message
    assert () == decided(a_policy(allow(), deny())).failed


def test_a_condition_that_takes_too_many_steps_is_an_error() -> None:
    many = some_facts(request=RequestFacts(params={"items": list(range(500))}))
    slow = allow("request.params.items.all(a, request.params.items.all(b, a + b >= 0))", "slow")
    decision = decided(a_policy(slow, allow()), facts=many)
    assert ("deny", "team", "slow") == told(decision)
    assert "took more than 2000 steps" in decision.message


def test_all_conditions_of_a_decision_share_their_steps() -> None:
    many = some_facts(request=RequestFacts(params={"items": list(range(300))}))
    rules = [
        deny(f"request.params.items.exists(a, a + {at} < 0)", f"r{at:03}")
        for at in range(STEPS_IN_ALL // 900 + 2)
    ]
    decision = decided(a_policy(allow(), *rules), facts=many)
    assert any("took more than 50000 steps" in it.error for it in decision.failed)
    assert "deny" == decision.verdict
    few = decided(a_policy(allow(), *rules[:20]), facts=many)
    assert "allow" == few.verdict


def test_what_is_asked_for_too_long_is_refused_and_a_default_is_shortened() -> None:
    policy = a_policy(allow(), limits=Limits(max_ttl=3600.0))
    asked = some_facts(request=RequestFacts(ttl=3601.0))
    assert ("deny", "team", "limits.maxTtl") == told(decided(policy, facts=asked))
    assert "A claim may last 1h" in decided(policy, facts=asked).message
    just = some_facts(request=RequestFacts(ttl=3600.0))
    assert ("allow", 3600.0) == (decided(policy, facts=just).verdict, 3600.0)
    silent = some_facts(pool=PoolFacts("web", ttl=7200.0))
    decision = decided(policy, facts=silent)
    assert ("allow", 3600.0) == (decision.verdict, decision.ttl)
    assert (Mutation("ttl", None, "1h", "team"),) == decision.mutations


def test_a_limit_refuses_only_what_something_allows() -> None:
    policy = a_policy(allow("false"), limits=Limits(max_ttl=60.0))
    decision = decided(policy, facts=some_facts(request=RequestFacts(ttl=90.0)))
    assert ("deny", "", "") == told(decision)
    pending = a_policy(approve(), limits=Limits(max_ttl=60.0))
    decision = decided(pending, facts=some_facts(request=RequestFacts(ttl=90.0)))
    assert ("deny", "team", "limits.maxTtl") == told(decision)


@pytest.mark.parametrize(
    ("params", "defaults", "rule"),
    [
        ({"role": "reader"}, {}, "allow"),
        ({"role": "admin"}, {}, "limits.params.role"),
        ({}, {}, "allow"),
        ({}, {"role": "admin"}, "limits.params.role"),
        ({"role": "reader"}, {"role": "admin"}, "allow"),
        ({"debug": False}, {}, "limits.params.debug"),
        ({}, {"debug": True}, "allow"),
        ({"level": True}, {}, "limits.params.level"),
        ({"level": 1}, {}, "allow"),
        ({"level": 1.0}, {}, "allow"),
    ],
)
def test_parameters_are_limited_to_their_values(
    params: dict[str, Any], defaults: dict[str, Any], rule: str
) -> None:
    limits = Limits(params={"role": ("reader", "writer"), "debug": (), "level": (1, 2)})
    facts = some_facts(
        request=RequestFacts(params=params), pool=PoolFacts("web", param_defaults=defaults)
    )
    assert rule == decided(a_policy(allow(), limits=limits), facts=facts).rule


def test_a_reason_must_match_for_a_claim_and_not_for_a_renewal() -> None:
    policy = a_policy(allow(), reason="^[A-Z]+-[0-9]+$")
    for reason, rule in (("OPS-17", "allow"), ("ops", "reason"), ("", "reason")):
        facts = some_facts(request=RequestFacts(reason=reason))
        assert rule == decided(policy, facts=facts).rule
    again = some_facts(request=RequestFacts(action=Action.RENEW))
    assert "allow" == decided(policy, facts=again).verdict
    assert "that matches the pattern ^[A-Z]+-[0-9]+$. Give one" in decided(policy).message
    assert policy.reason is not None
    own = replace(policy, reason=replace(policy.reason, message="name the ticket"))
    assert "name the ticket" == decided(own).message
    long = some_facts(request=RequestFacts(reason="x" * 100_000))
    assert ("deny", "team", "reason") == told(decided(policy, facts=long))


def test_defaults_caps_and_forced_values_shape_the_request_and_are_told() -> None:
    shape = Shape(
        default_ttl=7200.0,
        default_labels={"team": "web", "kept": "default"},
        default_params={"role": "reader"},
        max_ttl=3600.0,
        forced_labels={"owner": "web"},
        forced_params={"mode": "safe"},
        cost_centre="sandboxes",
    )
    request = RequestFacts(labels={"kept": "mine", "owner": "me"}, params={"mode": "fast"})
    decision = decided(a_policy(allow(), shape=shape), facts=some_facts(request=request))
    assert 3600.0 == decision.ttl
    assert {"role": "reader", "mode": "safe"} == decision.params
    assert {"team": "web", "kept": "mine", "owner": "web"} == decision.labels
    assert "sandboxes" == decision.cost_centre
    assert [
        ("ttl", None, "1h"),
        ("params.mode", "fast", "safe"),
        ("params.role", None, "reader"),
        ("labels.owner", "me", "web"),
        ("labels.team", None, "web"),
        ("costCentre", None, "sandboxes"),
    ] == [(it.path, it.before, it.after) for it in decision.mutations]


def test_what_is_as_it_should_be_already_is_no_mutation() -> None:
    shape = Shape(forced_labels={"owner": "web"}, max_ttl=3600.0, cost_centre="x")
    facts = some_facts(
        request=RequestFacts(labels={"owner": "web"}, ttl=60.0),
        pool=PoolFacts("web", cost_centre="x"),
    )
    assert () == decided(a_policy(allow(), shape=shape), facts=facts).mutations


def test_a_default_is_for_claims_that_do_not_say_and_changes_what_differs_from_the_pools() -> None:
    policy = a_policy(allow(), shape=Shape(default_ttl=1800.0))
    asked = decided(policy, facts=some_facts(request=RequestFacts(ttl=60.0)))
    assert (60.0, ()) == (asked.ttl, asked.mutations)
    renewal = RequestFacts(Action.RENEW)
    renewed = decided(policy, facts=some_facts(request=renewal, pool=PoolFacts("web", ttl=90.0)))
    assert (90.0, ()) == (renewed.ttl, renewed.mutations)
    alike = decided(policy, facts=some_facts(pool=PoolFacts("web", ttl=1800.0)))
    assert (1800.0, ()) == (alike.ttl, alike.mutations)
    capped = a_policy(name="zone", shape=Shape(max_ttl=1800.0))
    (change,) = decided(policy, capped, facts=some_facts(pool=PoolFacts("web", ttl=90.0))).mutations
    assert ("team", "30m") == (change.policy, change.after)


def test_a_policy_without_a_cost_centre_leaves_that_of_the_pool_and_of_others() -> None:
    pays = PoolFacts("web", cost_centre="pool")
    labels = a_policy(allow(), name="z", shape=Shape(forced_labels={"a": "b"}))
    assert "pool" == decided(labels, facts=some_facts(pool=pays)).cost_centre
    shape = Shape(cost_centre="x")
    both = (a_policy(name="a", shape=shape), a_policy(name="b", shape=shape), labels)
    decision = decided(*both, facts=some_facts(pool=pays))
    assert ("allow", "x") == (decision.verdict, decision.cost_centre)
    assert [("pool", "x", "a")] == [
        (it.before, it.after, it.policy) for it in decision.mutations if it.path == "costCentre"
    ]


def test_a_limit_on_groups_that_are_unknown_is_an_error_and_denies() -> None:
    policy = a_policy(allow(), limits=Limits(max_active_per_group={"web": 3}))
    unknown = some_facts(caller=a_caller(groups=(), unknown=("groups",)))
    decision = decided(policy, facts=unknown)
    assert ("deny", "team", "limits.maxActivePerGroup") == told(decision)
    assert ["the caller's groups are unknown"] == [it.error for it in decision.failed]
    assert "allow" == decided(policy, facts=some_facts(caller=a_caller(groups=()))).verdict
    assert "allow" == decided(a_policy(allow()), facts=unknown).verdict


@pytest.mark.parametrize(("ttl", "adds"), [(3600.0, 1.0), (600.0, 0.0)])
def test_a_renewal_costs_what_it_adds_and_counts_for_nothing_else(ttl: float, adds: float) -> None:
    limits = Limits(
        max_active_per_caller=5, spend_per_day=10.0, rate_per_caller=ClaimRate(30, 3600.0)
    )
    request = RequestFacts(Action.RENEW, ttl=ttl, remaining=1800.0)
    facts = some_facts(request=request, pool=PoolFacts("web", cost_per_hour=2.0))
    (check,) = decided(a_policy(allow(), limits=limits), facts=facts).checks
    assert (Limit.SPEND_PER_DAY, adds) == (check.limit, check.adds)


def test_rules_judge_the_request_as_it_was_shaped() -> None:
    shape = Shape(max_ttl=3600.0, forced_params={"role": "reader"}, forced_labels={"a": "b"})
    rules = (
        allow(),
        deny('request.ttl > duration("1h")', "long"),
        deny('request.params.role != "reader"', "role"),
        deny('!has(request.labels.a) || request.labels.a != "b"', "label"),
    )
    facts = some_facts(request=RequestFacts(ttl=9000.0, params={"role": "admin"}))
    assert "allow" == decided(a_policy(*rules, shape=shape), facts=facts).verdict


def test_the_shortest_ttl_of_several_policies_wins() -> None:
    policies = (
        a_policy(allow(), name="a", shape=Shape(default_ttl=500.0, max_ttl=900.0)),
        a_policy(name="b", shape=Shape(default_ttl=400.0, max_ttl=300.0)),
    )
    decision = decided(*policies)
    assert (300.0, ("b",)) == (decision.ttl, tuple(it.policy for it in decision.mutations))
    decision = decided(policies[0], a_policy(name="c", shape=Shape(default_ttl=600.0)))
    assert 500.0 == decision.ttl


def test_policies_that_want_different_values_deny_and_are_both_named() -> None:
    def wants(name: str, **shape: Any) -> PolicySpec:
        return a_policy(allow(), name=name, shape=Shape(**shape))

    for shape, where in (
        ("forced_labels", "forced.labels.x"),
        ("forced_params", "forced.params.x"),
        ("default_labels", "defaults.labels.x"),
        ("default_params", "defaults.params.x"),
    ):
        decision = decided(wants("a", **{shape: {"x": "1"}}), wants("b", **{shape: {"x": "2"}}))
        assert ("deny", "b", where) == told(decision)
        assert "the policies a and b want different values" in decision.message
        agreed = decided(wants("a", **{shape: {"x": "1"}}), wants("b", **{shape: {"x": "1"}}))
        assert "allow" == agreed.verdict
    decision = decided(wants("a", cost_centre="x"), wants("b", cost_centre="y"))
    assert ("deny", "b", "forced.costCentre") == told(decision)


def test_limits_on_what_is_in_use_are_checks_for_whoever_writes_the_claim() -> None:
    limits = Limits(
        max_active_per_caller=5,
        max_active_per_group={"web": 20, "dba": 3},
        max_active_per_label={"branch": 2},
        spend_per_day=10.0,
        rate_per_caller=ClaimRate(30, 3600.0),
    )
    policy = a_policy(allow(), pools=("web*",), limits=limits)
    facts = some_facts(
        request=RequestFacts(count=2, ttl=7200.0, labels={"branch": "main"}),
        pool=PoolFacts("web", cost_per_hour=0.5),
    )
    pools = ("web*",)
    assert (
        Check("team", Limit.SPEND_PER_DAY, pools, "1000", 10.0, 2.0),
        Check("team", Limit.ACTIVE_PER_CALLER, pools, "1000", 5.0, 2.0),
        Check("team", Limit.ACTIVE_PER_GROUP, pools, "web", 20.0, 2.0),
        Check("team", Limit.ACTIVE_PER_LABEL, pools, "branch=main", 2.0, 2.0),
        Check("team", Limit.RATE_PER_CALLER, pools, "1000", 30.0, 1.0, 3600.0),
    ) == decided(policy, facts=facts).checks
    again = some_facts(request=RequestFacts(action=Action.RENEW))
    assert [Limit.SPEND_PER_DAY] == [it.limit for it in decided(policy, facts=again).checks]


@pytest.mark.parametrize(
    ("limits", "usage", "rule"),
    [
        (Limits(max_active_per_caller=2), UsageFacts(active=1), "allow"),
        (Limits(max_active_per_caller=2), UsageFacts(active=2), "limits.maxActivePerCaller"),
        (
            Limits(max_active_per_group={"web": 3}),
            UsageFacts(active_of_group={"web": 3}),
            "limits.maxActivePerGroup.web",
        ),
        (
            Limits(max_active_per_group={"web": 3}),
            UsageFacts(active_of_group={"users": 3}),
            "allow",
        ),
        (
            Limits(max_active_per_label={"branch": 1}),
            UsageFacts(active_of_label={"branch=": 1}),
            "limits.maxActivePerLabel.branch",
        ),
        (Limits(spend_per_day=5.0), UsageFacts(spend_today=4.0), "allow"),
        (Limits(spend_per_day=5.0), UsageFacts(spend_today=4.6), "limits.spendPerDay"),
        (
            Limits(rate_per_caller=ClaimRate(9, 3600.0)),
            UsageFacts(claims_last_hour=9),
            "limits.ratePerCaller",
        ),
        (Limits(rate_per_caller=ClaimRate(9, 3600.0)), UsageFacts(claims_last_hour=8), "allow"),
    ],
)
def test_what_is_in_use_is_compared_with_the_limit(
    limits: Limits, usage: UsageFacts, rule: str
) -> None:
    facts = some_facts(usage=usage, pool=PoolFacts("web", cost_per_hour=1.0))
    decision = decided(a_policy(allow(), limits=limits), facts=facts, counted=as_given(facts))
    assert rule == decision.rule
    assert ("deny" if rule != "allow" else "allow") == decision.verdict


def test_an_approval_names_each_policy_that_asks_for_one() -> None:
    decision = decided(
        a_policy(approve(), name="b", approvals=some_approvals(quorum=2)),
        a_policy(approve(), allow(), name="a"),
        a_policy(approve("false"), allow(), name="c"),
    )
    assert ("approve", "a", "approve") == told(decision)
    assert [("a", 1), ("b", 2)] == [(it.policy, it.approvals.quorum) for it in decision.approvals]


@pytest.mark.parametrize(
    ("glass", "asked", "reason", "verdict"),
    [
        ('"web" in caller.groups', True, "fire", "allow"),
        ('"web" in caller.groups', False, "fire", "approve"),
        ('"web" in caller.groups', True, " ", "approve"),
        ("false", True, "fire", "approve"),
        (None, True, "fire", "approve"),
        (FAILS, True, "fire", "deny"),
    ],
)
def test_glass_is_broken_only_by_whom_the_policy_lets(
    glass: str | None, asked: bool, reason: str, verdict: str
) -> None:
    policy = a_policy(approve(), approvals=some_approvals(glass=glass))
    facts = some_facts(request=RequestFacts(break_glass=asked, reason=reason))
    decision = decided(policy, facts=facts)
    assert verdict == decision.verdict
    assert (3600.0 if verdict == "allow" else None) == decision.break_glass
    assert 1 == len(decision.approvals)


def test_glass_never_breaks_a_deny_and_every_asking_policy_must_let_it() -> None:
    facts = some_facts(request=RequestFacts(break_glass=True, reason="fire"))
    open_ = a_policy(approve(), name="a", approvals=some_approvals(glass="true"))
    assert ("deny", None) == (
        decided(open_, a_policy(deny(), name="d"), facts=facts).verdict,
        None,
    )
    closed = a_policy(approve(), name="b")
    assert "approve" == decided(open_, closed, facts=facts).verdict
    assert None is decided(a_policy(allow()), facts=facts).break_glass


def test_a_shadow_decides_nothing_and_is_told() -> None:
    decision = decided(a_policy(allow()), a_policy(deny(), name="next", mode="shadow"))
    assert ("allow", "team", "allow") == told(decision)
    shadow = decision.shadow
    assert shadow is not None
    assert ("deny", "next", "deny", True, ("next",)) == (
        shadow.verdict, shadow.policy, shadow.rule, shadow.differs, shadow.policies,
    )  # fmt: skip
    same = decided(a_policy(allow()), a_policy(allow(), name="next", mode="shadow")).shadow
    assert same is not None
    assert not same.differs
    assert None is decided(a_policy(allow())).shadow


def test_what_a_shadow_would_shape_is_told_and_judged_by_its_rules() -> None:
    next_ = a_policy(
        deny('request.ttl < duration("5m")', "short"),
        name="next", mode="shadow", shape=Shape(max_ttl=60.0),
    )  # fmt: skip
    decision = decided(a_policy(allow()), next_)
    assert ("allow", 1800.0, ()) == (decision.verdict, decision.ttl, decision.mutations)
    assert decision.shadow is not None
    assert ("deny", "short", 60.0) == (
        decision.shadow.verdict, decision.shadow.rule, decision.shadow.ttl,
    )  # fmt: skip


def test_what_a_shadow_shapes_is_judged_by_the_rules_that_are_enforced_too() -> None:
    short = a_policy(allow(), deny('request.ttl < duration("5m")', "short"))
    decision = decided(short, a_policy(name="x", mode="shadow", shape=Shape(max_ttl=60.0)))
    assert ("allow", "team", "allow") == told(decision)
    assert decision.shadow is not None
    assert ("deny", "team", "short") == (
        decision.shadow.verdict, decision.shadow.policy, decision.shadow.rule,
    )  # fmt: skip


def test_the_first_of_several_errors_and_of_several_limits_is_told() -> None:
    failing = [a_policy(allow(FAILS), name=name) for name in ("b", "a", "c")]
    assert ("deny", "a", "allow") == told(decided(*failing))
    both = a_policy(allow(), when=FAILS, name="z", limits=Limits(max_ttl=1.0))
    assert ("deny", "a", "allow") == told(decided(both, failing[1]))
    limits = Limits(max_ttl=60.0, params={"role": ("reader",)})
    facts = some_facts(request=RequestFacts(ttl=90.0, params={"role": "admin"}))
    several = [a_policy(allow(), name=name, limits=limits) for name in ("b", "a")]
    assert ("deny", "a", "limits.maxTtl") == told(decided(*several, facts=facts))


def test_the_soonest_follow_up_counts() -> None:
    soon = replace(some_approvals(glass="true"), break_glass=BreakGlass(_always(), 60.0))
    facts = some_facts(request=RequestFacts(break_glass=True, reason="fire"))
    policies = (
        a_policy(approve(), name="a", approvals=some_approvals(glass="true")),
        a_policy(approve(), name="b", approvals=soon),
    )
    assert 60.0 == decided(*policies, facts=facts).break_glass


def _always() -> Condition:
    return compile_condition("true", CLAIMS)


def test_a_canary_enforces_for_its_share_and_is_a_shadow_for_the_others() -> None:
    canary = a_policy(deny(), name="next", mode="canary", share=0.3)
    seen = {"deny": 0, "allow": 0}
    for uid in range(1000):
        facts = some_facts(caller=a_caller(uid))
        decision = decided(a_policy(allow()), canary, facts=facts)
        seen[decision.verdict] += 1
        assert (decision.verdict == "deny") is enforced_for(facts.caller, "next", 0.3)
        assert (decision.shadow is None) is (decision.verdict == "deny")
    assert 230 < seen["deny"] < 370


def test_the_callers_of_a_smaller_share_stay_in_a_larger_one() -> None:
    callers = [a_caller(uid) for uid in range(300)]
    small = {it.uid for it in callers if enforced_for(it, "next", 0.1)}
    large = {it.uid for it in callers if enforced_for(it, "next", 0.4)}
    other = {it.uid for it in callers if enforced_for(it, "other", 0.1)}
    assert small < large
    assert small != other
    assert all(enforced_for(it, "next", 1.0) for it in callers)


def test_a_canary_may_be_for_a_scope_and_one_that_fails_harms_nobody() -> None:
    for scope, verdict in (
        ('"web" in caller.groups', "deny"),
        ('"dba" in caller.groups', "allow"),
        (FAILS, "allow"),
    ):
        canary = a_policy(deny(), name="next", mode="canary", canary=scope)
        assert verdict == decided(a_policy(allow()), canary).verdict


def test_as_long_as_nothing_is_enforced_root_and_the_daemons_user_may_claim() -> None:
    for uid, verdict, rule in ((0, "allow", "root"), (7, "allow", "daemon-user"), (8, "deny", "")):
        facts = some_facts(caller=a_caller(uid))
        decision = decided(facts=facts, daemon_uid=7)
        assert (verdict, rule) == (decision.verdict, decision.rule)
        shadowed = decided(a_policy(deny(), mode="shadow"), facts=facts, daemon_uid=7)
        assert (verdict, rule) == (shadowed.verdict, shadowed.rule)
        assert shadowed.shadow is not None
        assert Verdict.DENY is shadowed.shadow.verdict
    refused = decided(facts=some_facts(caller=a_caller(8)), daemon_uid=7)
    assert "only root and the user that runs it (uid 7) may" in refused.message


def test_the_first_policy_that_is_enforced_ends_what_holds_without_any() -> None:
    root = some_facts(caller=a_caller(0))
    assert "deny" == decided(a_policy(allow("false")), facts=root, daemon_uid=7).verdict
    elsewhere = a_policy(allow(), pools=("db",))
    assert "deny" == decided(elsewhere, facts=root, daemon_uid=7).verdict
