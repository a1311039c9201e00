"""What holds for all policies, in any order, and for all facts."""

from dataclasses import replace
from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st

from stoker.config.conditions import Condition, Evaluation, ExpressionError, compile_condition
from stoker.config.policies.facts import CLAIMS
from stoker.config.policies.rules import Canary, Effect, Limits, Mode, PolicySpec, Rule, Shape
from stoker.policies.decide import decide
from stoker.policies.decision import Decision
from stoker.policies.facts import Action, Facts, PoolFacts, RequestFacts, scope_of
from stoker.policies.index import index_of
from stoker.policies.shaping import as_asked
from tests.policies.builders import a_caller, some_approvals, some_facts

WIDTH = {"deny": 0, "approve": 1, "allow": 2}
SURE = (
    "true",
    "false",
    '"web" in caller.groups',
    '"dba" in caller.groups && caller.uid == 1000',
    'caller.user == "ada" || caller.user == "bob"',
    'caller.unit in ["ci.service", "deploy.service"]',
    'pool.name == "db" && request.count < 2',
    'request.ttl > duration("1h")',
    "caller.uid > 1000 ? request.count == 1 : request.count == 2",
    '!("web" in caller.groups) && usage.active == 0',
    'request.action == "renew"',
)
UNSURE = (
    'request.labels.team == "web"',
    '"web" in caller.groups && pool.labels.tier == "prod"',
    "1 / usage.active > 0",
)


@cache
def condition(source: str) -> Condition:
    return compile_condition(source, CLAIMS)


def rules(sources: tuple[str, ...], *effects: Effect) -> st.SearchStrategy[Rule]:
    return st.builds(
        Rule,
        name=st.sampled_from([f"r{at}" for at in range(30)]),
        effect=st.sampled_from(effects or tuple(Effect)),
        when=st.sampled_from(sources).map(condition),
        message=st.just(""),
    )


SHAPES = st.sampled_from(
    [
        Shape(),
        Shape(max_ttl=1800.0),
        Shape(default_ttl=600.0, forced_labels={"team": "web"}),
        Shape(forced_labels={"team": "db"}),
    ]
)
LIMITS = st.sampled_from(
    [
        Limits(),
        Limits(max_ttl=3600.0),
        Limits(params={"role": ("reader",)}, max_active_per_caller=3),
    ]
)


def _unique(found: list[Rule]) -> tuple[Rule, ...]:
    return tuple({rule.name: rule for rule in found}.values())


def policies(
    sources: tuple[str, ...] = SURE + UNSURE, modes: tuple[Mode, ...] = (Mode.ENFORCE,)
) -> st.SearchStrategy[list[PolicySpec]]:
    one = st.builds(
        PolicySpec,
        name=st.sampled_from([f"p{at}" for at in range(9)]),
        pools=st.sampled_from([("*",), ("web",), ("db", "w*")]),
        mode=st.sampled_from(modes),
        rules=st.lists(rules(sources), max_size=5).map(_unique),
        when=st.none() | st.sampled_from(sources).map(condition),
        canary=st.builds(Canary, st.sampled_from([0.2, 0.7, 1.0])),
        limits=LIMITS,
        shape=SHAPES,
        reason=st.none(),
        approvals=st.just(some_approvals()),
    )
    unique = st.lists(one, max_size=5, unique_by=lambda it: it.name)
    return unique.map(lambda found: [it for it in found if it.mode in modes])


FACTS = st.builds(
    some_facts,
    caller=st.builds(
        a_caller,
        uid=st.sampled_from([0, 1000, 1001]),
        user=st.sampled_from(["ada", "bob", ""]),
        groups=st.sampled_from([(), ("web",), ("dba", "web")]),
        unit=st.sampled_from(["", "ci.service"]),
    ),
    request=st.builds(
        RequestFacts,
        action=st.sampled_from(Action),
        params=st.sampled_from([{}, {"role": "admin"}]),
        ttl=st.sampled_from([None, 60.0, 7200.0]),
        count=st.sampled_from([1, 2]),
        labels=st.sampled_from([{}, {"team": "web"}]),
    ),
    pool=st.sampled_from([PoolFacts("web", {"tier": "prod"}), PoolFacts("db")]),
)


def decision(given: list[PolicySpec], facts: Facts) -> Decision:
    return decide(index_of(given, ["web", "db"]).of(facts.pool.name), facts, daemon_uid=0)


def an_enforced() -> PolicySpec:
    """So that what holds without policies does not come and go with the one that is added."""
    return PolicySpec("z", ("*",), Mode.ENFORCE, ())


@settings(max_examples=150, deadline=None)
@given(policies(modes=tuple(Mode)), FACTS, st.randoms(use_true_random=False))
def test_the_order_of_policies_and_rules_never_matters(
    given: list[PolicySpec], facts: Facts, chance: object
) -> None:
    import random

    assert isinstance(chance, random.Random)
    mixed = [replace(it, rules=tuple(chance.sample(it.rules, len(it.rules)))) for it in given]
    chance.shuffle(mixed)
    assert decision(given, facts) == decision(mixed, facts)


@settings(max_examples=150, deadline=None)
@given(policies(), rules(SURE + UNSURE, Effect.DENY), FACTS)
def test_another_deny_never_widens(given: list[PolicySpec], rule: Rule, facts: Facts) -> None:
    given = [*given, an_enforced()]
    more = [*given, PolicySpec("y", ("*",), Mode.ENFORCE, (rule,))]
    before, after = decision(given, facts), decision(more, facts)
    assert WIDTH[after.verdict] <= WIDTH[before.verdict]


@settings(max_examples=150, deadline=None)
@given(policies(), rules(SURE, Effect.ALLOW), FACTS)
def test_another_allow_never_narrows(given: list[PolicySpec], rule: Rule, facts: Facts) -> None:
    given = [*given, an_enforced()]
    more = [*given, PolicySpec("y", ("*",), Mode.ENFORCE, (rule,))]
    before, after = decision(given, facts), decision(more, facts)
    assert WIDTH[after.verdict] >= WIDTH[before.verdict]


@settings(max_examples=150, deadline=None)
@given(policies(), policies(modes=(Mode.SHADOW,)), FACTS)
def test_a_shadow_never_changes_an_outcome(
    enforced: list[PolicySpec], shadows: list[PolicySpec], facts: Facts
) -> None:
    named = [replace(it, name=f"s-{it.name}") for it in shadows]
    before, after = decision(enforced, facts), decision([*enforced, *named], facts)
    assert before == after._replace(shadow=None)


@settings(max_examples=100, deadline=None)
@given(policies(modes=tuple(Mode)), FACTS)
def test_what_a_shadow_says_is_what_enforcing_it_brings(
    given: list[PolicySpec], facts: Facts
) -> None:
    before = decision(given, facts)
    enforced = [replace(it, mode=Mode.ENFORCE, canary=None) for it in given]
    after = decision(enforced, facts)
    if before.shadow is not None:
        assert (after.verdict, after.policy, after.rule, after.ttl, after.mutations) == (
            before.shadow.verdict, before.shadow.policy, before.shadow.rule,
            before.shadow.ttl, before.shadow.mutations,
        )  # fmt: skip
    elif any(it.mode is Mode.ENFORCE for it in given):
        assert before == after


def _holds(condition: Condition | None, scope: dict[str, object]) -> bool | None:
    """None: an error."""
    if condition is None:
        return True
    try:
        return Evaluation().holds(condition, scope)
    except ExpressionError:
        return None


def _by_the_book(given: list[PolicySpec], facts: Facts) -> str:
    """The verdict in the plainest words, without an index; rules alone."""
    scope = scope_of(facts, as_asked(facts))
    said: set[str] = set()
    for policy in given:
        if not policy.covers(facts.pool.name):
            continue
        about = _holds(policy.when, scope)
        for rule in policy.rules:
            found = _holds(rule.when, scope)
            if about is False or found is False:
                continue
            said.add("error" if about is None or found is None else rule.effect)
    for worst in ("deny", "error", "approve", "allow"):
        if worst in said:
            return "deny" if worst == "error" else worst
    return "deny"


@settings(max_examples=300, deadline=None)
@given(policies(), FACTS)
def test_the_index_leaves_out_nothing_that_counts(given: list[PolicySpec], facts: Facts) -> None:
    plain = [replace(it, limits=Limits(), shape=Shape()) for it in given] + [an_enforced()]
    from stoker.config.policies.rules import NO_LIMITS, NO_SHAPE

    plain = [replace(it, limits=NO_LIMITS, shape=NO_SHAPE) for it in plain]
    assert _by_the_book(plain, facts) == decision(plain, facts).verdict
