"""Why a decision is as it is: every rule that has to do with the pool, its value, and what decided it.

Nothing is skipped here, so it is slower than a decision. Pure; for `stoker policy explain`, the
coverage of policy tests, and explanations of claims.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import zip_longest

from ..config.cel.explaining import Part, deciding_parts
from ..config.conditions import Condition, Evaluation, ExpressionError
from ..config.json_types import Json
from ..config.policies.rules import Effect, Mode, PolicySpec, Rule
from ..config.units import format_duration
from .access import ROOT
from .decide import Counted, decide
from .decision import Decision, Shadow
from .facts import Facts, Shaped, scope_of
from .index import PoolPolicies
from .shaping import as_asked


class Value(StrEnum):
    """What a rule says of a claim."""

    TRUE = "true"
    FALSE = "false"
    ERROR = "error"
    ELSEWHERE = "elsewhere"
    """Its policy's `when` is not true: it is not about this claim."""


@dataclass(frozen=True, slots=True)
class RuleTold:
    """One rule with what it says."""

    policy: str
    rule: str
    effect: Effect
    mode: Mode
    value: Value
    parts: tuple[Part, ...]
    """What decided."""


@dataclass(frozen=True, slots=True)
class Explanation:
    decision: Decision
    rules: tuple[RuleTold, ...]
    """In the order of policies and rules."""
    in_use: tuple[float, ...] = ()
    """How much of each of the decision's checks is taken; empty where nobody counts."""


def explain(
    about: PoolPolicies,
    facts: Facts,
    *,
    daemon_uid: int = ROOT,
    counted: Counted | None = None,
) -> Explanation:
    """The decision that `decide` makes, with all rules."""
    decision = decide(about, facts, daemon_uid=daemon_uid, counted=counted)
    asked = scope_of(facts, as_asked(facts))
    enforced = scope_of(facts, _shaped(decision))
    rules = [
        _told(policy, rule, asked, enforced)
        for policy in about.policies
        for rule in sorted(policy.rules, key=lambda it: it.name)
    ]
    in_use = () if counted is None else tuple(counted(check) for check in decision.checks)
    return Explanation(decision, tuple(rules), in_use)


def _shaped(decision: Decision) -> Shaped:
    return Shaped(decision.ttl, decision.params, decision.labels, decision.cost_centre)


def _told(
    policy: PolicySpec, rule: Rule, asked: Mapping[str, object], shaped: Mapping[str, object]
) -> RuleTold:
    value, condition, scope = _said(policy, rule, asked, shaped)
    parts = deciding_parts(condition.node, scope)
    return RuleTold(policy.name, rule.name, rule.effect, policy.mode, value, parts)


def _said(
    policy: PolicySpec, rule: Rule, asked: Mapping[str, object], shaped: Mapping[str, object]
) -> tuple[Value, Condition, Mapping[str, object]]:
    """What a rule says of a claim, the condition that made it so, and what that read."""
    if policy.when is not None:
        value = _value(policy.when, asked)
        if value is not Value.TRUE:
            said = Value.ELSEWHERE if value is Value.FALSE else Value.ERROR
            return said, policy.when, asked
    return _value(rule.when, shaped), rule.when, shaped


def values_of(
    about: PoolPolicies, facts: Facts, decision: Decision
) -> Iterator[tuple[str, str, Value]]:
    """Policy and rule with what it says, without the parts: for the coverage of many cases."""
    asked = scope_of(facts, as_asked(facts))
    shaped = scope_of(facts, _shaped(decision))
    for policy in about.policies:
        for rule in policy.rules:
            yield policy.name, rule.name, _said(policy, rule, asked, shaped)[0]


def _value(condition: Condition, scope: Mapping[str, object]) -> Value:
    try:
        return Value.TRUE if Evaluation().holds(condition, scope) else Value.FALSE
    except ExpressionError:
        return Value.ERROR


def sentences(explanation: Explanation) -> Iterator[str]:
    """What is said first: the verdict, what was changed, what is counted, what is only observed."""
    decision = explanation.decision
    yield decision.message
    for change in decision.mutations:
        before = "nothing" if change.before is None else str(change.before)
        yield f"{change.policy} changes {change.path} from {before} to {change.after}."
    for failed in decision.failed:
        yield f"{failed.policy}/{failed.rule} ends in an error: {failed.error}."
    for needed in decision.approvals:
        people = "person" if needed.approvals.quorum == 1 else "people"
        yield (
            f"{needed.policy}/{needed.rule} needs the approval of {needed.approvals.quorum}"
            f" {people} for whom this is true: {needed.approvals.approvers.source}"
        )
    for check, taken in zip_longest(decision.checks, explanation.in_use):
        yield (
            f"{check.policy}/{check.rule} is counted for {check.subject}: {check.most:g} is the most,"
            f"{'' if taken is None else f' {taken:g} is taken,'} and this claim adds {check.adds:g}."
        )
    if decision.shadow is not None:
        yield _otherwise(decision, decision.shadow)


def _otherwise(decision: Decision, shadow: Shadow) -> str:
    """What the answer would be if the policies that only look on were enforced."""
    if_enforced = f"If {', '.join(shadow.policies)} were enforced, the answer would"
    if not shadow.differs:
        return f"{if_enforced} be the same."
    if shadow.verdict is not decision.verdict:
        return f"{if_enforced} be {shadow.verdict}: {shadow.message}"
    new = [it for it in shadow.mutations if it not in decision.mutations]
    changed = " and ".join(f"{it.path} would become {it.after} (by {it.policy})" for it in new)
    return f"{if_enforced} still be {shadow.verdict}, but {changed or 'other people would approve it'}."


def as_json(explanation: Explanation) -> dict[str, Json]:
    """The same for programs."""
    decision = explanation.decision
    return {
        "verdict": decision.verdict.value,
        "policy": decision.policy,
        "rule": decision.rule,
        "message": decision.message,
        "ttl": format_duration(decision.ttl),
        "mutations": [
            {"path": it.path, "before": it.before, "after": it.after, "policy": it.policy}
            for it in decision.mutations
        ],
        "checks": [
            {
                "policy": it.policy,
                "rule": it.rule,
                "subject": it.subject,
                "most": it.most,
                "adds": it.adds,
                "taken": taken,
            }
            for it, taken in zip_longest(decision.checks, explanation.in_use)
        ],
        "errors": [
            {"policy": it.policy, "rule": it.rule, "error": it.error} for it in decision.failed
        ],
        "approvals": [
            {
                "policy": it.policy,
                "rule": it.rule,
                "quorum": it.approvals.quorum,
                "approvers": it.approvals.approvers.source,
            }
            for it in decision.approvals
        ],
        "shadow": _shadow_as_json(decision.shadow),
        "rules": [_rule_as_json(rule) for rule in explanation.rules],
    }


def _shadow_as_json(shadow: Shadow | None) -> Json:
    if shadow is None:
        return None
    return {
        "verdict": shadow.verdict.value,
        "policy": shadow.policy,
        "rule": shadow.rule,
        "differs": shadow.differs,
        "policies": list(shadow.policies),
    }


def _rule_as_json(rule: RuleTold) -> Json:
    return {
        "policy": rule.policy,
        "rule": rule.rule,
        "effect": rule.effect.value,
        "mode": rule.mode.value,
        "value": rule.value.value,
        "because": [
            {"part": part.text, "outcome": part.outcome, "read": dict(part.read)}
            for part in rule.parts
        ],
    }
