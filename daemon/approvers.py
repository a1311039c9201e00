"""Who may approve a claim, by the policies that ask for it. Pure.

The facts of the request are kept with the approval, as they were when it was asked for; the expression
that says who may is the one of now, so that who has left the team approves no more.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, cast

from ..config.conditions import Evaluation, ExpressionError
from ..config.json_types import Json, JsonObject
from ..config.policies.rules import Approvals
from ..config.units import parse_duration
from ..policies.decision import Decision, Verdict
from ..policies.facts import Action, CallerFacts, Facts, PoolFacts, RequestFacts, scope_of
from ..policies.shaping import as_asked
from ..pools.approvals import Need
from ..pools.judging import Asking
from .decision_records import facts_to_json


def asking_of(decision: Decision, facts: Facts, secrets: frozenset[str]) -> Asking | None:
    """Whom a decision asks, and for what: the request as it was shaped, without secret parameters."""
    broke_glass = decision.verdict is Verdict.ALLOW and decision.break_glass is not None
    if decision.verdict is not Verdict.APPROVE and not broke_glass:
        return None
    needs = tuple(
        Need(one.policy, one.rule, one.approvals.approvers.source, one.approvals.quorum)
        for one in sorted(decision.approvals, key=lambda it: it.policy)
    )
    within = min(one.approvals.deadline for one in decision.approvals)
    if broke_glass and decision.break_glass is not None:
        within = decision.break_glass
    shaped = replace(
        facts.request, ttl=decision.ttl, params=decision.params, labels=decision.labels
    )
    kept = facts_to_json(facts._replace(request=shaped), secrets)
    pool: dict[str, Json] = {
        **cast("dict[str, Json]", kept["pool"]),
        "blueprint": facts.pool.blueprint,
        "costPerHour": facts.pool.cost_per_hour,
        "costCentre": facts.pool.cost_centre,
        "defaults": {
            name: value for name, value in facts.pool.param_defaults.items() if name not in secrets
        },
    }
    caller: dict[str, Json] = {
        **cast("dict[str, Json]", kept["caller"]),
        "token": dict(facts.caller.token),
        "unknown": [*facts.caller.unknown],
    }
    return Asking(needs, within, broke_glass, {**kept, "pool": pool, "caller": caller})


def without_webhook(policies: Mapping[str, Approvals | None], webhook: str) -> tuple[str, ...]:
    """Those that take no vote by this webhook."""
    return tuple(
        name for name, one in policies.items() if one is not None and webhook not in one.webhooks
    )


def admitted(
    kept: JsonObject,
    policies: Mapping[str, Approvals | None],
    approver: CallerFacts,
    now: datetime,
) -> tuple[str, ...]:
    """Which of the policies admit this person. One that is gone, or fails, admits nobody."""
    if not kept:
        return ()  # it is decided
    facts = _facts(kept, now)
    scope = {**scope_of(facts, as_asked(facts)), "approver": approver.scope()}
    evaluation = Evaluation()
    return tuple(
        name
        for name, approvals in policies.items()
        if approvals is not None and _holds(evaluation, approvals, scope)
    )


def _holds(evaluation: Evaluation, approvals: Approvals, scope: Mapping[str, object]) -> bool:
    try:
        return evaluation.holds(approvals.approvers, scope)
    except ExpressionError:
        return False


def caller_of(kept: JsonObject) -> CallerFacts:
    """Who claimed, as it was known then."""
    found = cast("dict[str, Any]", kept["caller"])
    return CallerFacts(
        uid=found["uid"],
        gid=found["gid"],
        user=found.get("user", ""),
        groups=tuple(found.get("groups", ())),
        pid=found["pid"],
        exe=found.get("exe", ""),
        unit=found.get("unit", ""),
        host=found.get("host", ""),
        token=found.get("token", {}),
        operator=found.get("operator", False),
        unknown=tuple(found.get("unknown", ())),
    )


def _facts(kept: JsonObject, now: datetime) -> Facts:
    request = cast("dict[str, Any]", kept["request"])
    pool = cast("dict[str, Any]", kept["pool"])
    return Facts(
        caller_of(kept),
        RequestFacts(
            Action.CLAIM,
            params=request.get("params", {}),
            ttl=parse_duration(request["ttl"]),
            count=request.get("count", 1),
            reason=request.get("reason", ""),
            labels=request.get("labels", {}),
            bind=request.get("bind", ""),
            break_glass=request.get("breakGlass", False),
        ),
        PoolFacts(
            name=pool["name"],
            labels=pool.get("labels", {}),
            ready=pool["ready"],
            size=pool["size"],
            blueprint=pool["blueprint"],
            cost_per_hour=pool["costPerHour"],
            cost_centre=pool["costCentre"],
            param_defaults=pool["defaults"],
        ),
        now,
    )
