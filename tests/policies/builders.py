"""Small builders of policies and facts, with defaults that a test may leave alone."""

from datetime import UTC, datetime
from typing import Any

from stoker.config.cel.functions import compiled_pattern
from stoker.config.conditions import compile_condition
from stoker.config.policies.facts import APPROVALS, CLAIMS
from stoker.config.policies.rules import (
    NO_LIMITS,
    NO_SHAPE,
    Approvals,
    BreakGlass,
    Canary,
    Effect,
    Limits,
    Mode,
    PolicySpec,
    Reason,
    Rule,
    Shape,
)
from stoker.policies.decide import decide
from stoker.policies.decision import Decision
from stoker.policies.facts import CallerFacts, Facts, PoolFacts, RequestFacts, UsageFacts
from stoker.policies.index import PoolPolicies, index_of

NOON = datetime(2030, 1, 2, 12, tzinfo=UTC)
"""A Wednesday."""


def a_rule(effect: str, when: str = "true", *, name: str = "", message: str = "") -> Rule:
    return Rule(name or effect, Effect(effect), compile_condition(when, CLAIMS), message)


def allow(when: str = "true", name: str = "allow") -> Rule:
    return a_rule("allow", when, name=name)


def deny(when: str = "true", name: str = "deny") -> Rule:
    return a_rule("deny", when, name=name)


def approve(when: str = "true", name: str = "approve") -> Rule:
    return a_rule("approve", when, name=name)


def some_approvals(*, quorum: int = 1, glass: str | None = None) -> Approvals:
    broken = None if glass is None else BreakGlass(compile_condition(glass, CLAIMS), 3600.0)
    return Approvals(compile_condition("approver.uid == 0", APPROVALS), quorum, 600.0, broken)


def a_policy(
    *rules: Rule,
    name: str = "team",
    pools: tuple[str, ...] = ("*",),
    mode: str = "enforce",
    when: str | None = None,
    share: float | None = None,
    canary: str | None = None,
    limits: Limits = NO_LIMITS,
    shape: Shape = NO_SHAPE,
    reason: str | None = None,
    approvals: Approvals | None = None,
) -> PolicySpec:
    shadowed = None
    if mode == "canary":
        asked = None if canary is None else compile_condition(canary, CLAIMS)
        shadowed = Canary(1.0 if share is None else share, asked)
    needs = any(rule.effect is Effect.APPROVE for rule in rules)
    return PolicySpec(
        name=name,
        pools=pools,
        mode=Mode(mode),
        rules=rules,
        when=None if when is None else compile_condition(when, CLAIMS),
        canary=shadowed,
        limits=limits,
        shape=shape,
        reason=None if reason is None else Reason(reason, compiled_pattern(reason)),
        approvals=approvals or (some_approvals() if needs else None),
    )


def about(*policies: PolicySpec, pool: str = "web") -> PoolPolicies:
    return index_of(policies, [pool]).of(pool)


def a_caller(uid: int = 1000, **changed: Any) -> CallerFacts:
    known: dict[str, Any] = {"user": "ada", "groups": ("web", "users"), "gid": 100, **changed}
    return CallerFacts(uid, **known)


def some_facts(
    *,
    caller: CallerFacts | None = None,
    request: RequestFacts | None = None,
    pool: PoolFacts | None = None,
    usage: UsageFacts | None = None,
    now: datetime = NOON,
) -> Facts:
    return Facts(
        caller or a_caller(),
        request or RequestFacts(),
        pool or PoolFacts("web", {"team": "web"}),
        now,
        usage or UsageFacts(),
    )


def decided(*policies: PolicySpec, facts: Facts | None = None, **more: Any) -> Decision:
    given = facts or some_facts()
    return decide(about(*policies, pool=given.pool.name), given, **more)


def told(decision: Decision) -> tuple[str, str, str]:
    return decision.verdict.value, decision.policy, decision.rule
