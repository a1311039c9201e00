"""What policies limit: refused at once where the request alone tells, else counted by the ledger.

Pure. `refusals` says no by itself; `checks` are what a claim's transaction must count, so that two
claims cannot both take the last place; `exceeded` compares such a count.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..config.conditions import Evaluation, ExpressionError
from ..config.json_types import Json
from ..config.policies.rules import NO_LIMITS, PolicySpec
from ..config.units import format_duration
from .decision import Check, Failed, Limit
from .facts import Action, Facts, Shaped

_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Refused:
    """A limit that is not kept."""

    policy: str
    rule: str
    """`limits.maxTtl`, `limits.params.role`, `reason`."""
    message: str


def refusals(
    policy: PolicySpec, facts: Facts, shaped: Shaped, evaluation: Evaluation
) -> Iterator[Refused | Failed]:
    """What the request alone breaks."""
    if policy.limits is not NO_LIMITS:
        longest, asked = policy.limits.max_ttl, facts.request.ttl
        if longest is not None and asked is not None and shaped.ttl > longest:
            message = (
                f"A claim may last {format_duration(longest)}, and {format_duration(shaped.ttl)}"
                " were asked for. Ask for less, and renew it."
            )
            yield Refused(policy.name, "limits.maxTtl", message)
        yield from _parameters(policy, facts, shaped)
        if policy.limits.max_active_per_group and "groups" in facts.caller.unknown:
            yield Failed(policy.name, "limits.maxActivePerGroup", "the caller's groups are unknown")
    if policy.reason is not None and facts.request.action is Action.CLAIM:
        try:
            fits = evaluation.found(facts.request.reason, policy.reason.pattern)
        except ExpressionError as error:
            yield Failed(policy.name, "reason", str(error))
        else:
            if not fits:
                message = policy.reason.message or (
                    "The claim needs a reason that matches the pattern"
                    f" {policy.reason.source}. Give one with --reason."
                )
                yield Refused(policy.name, "reason", message)


def _parameters(policy: PolicySpec, facts: Facts, shaped: Shaped) -> Iterator[Refused]:
    for name, allowed in policy.limits.params.items():
        rule = f"limits.params.{name}"
        if not allowed:
            if name in shaped.params:
                message = f"The parameter {name} may not be passed. Leave it out."
                yield Refused(policy.name, rule, message)
        elif name in shaped.params or name in facts.pool.param_defaults:
            value = shaped.params.get(name, facts.pool.param_defaults.get(name))
            if not any(_same(value, one) for one in allowed):
                some = ", ".join(str(one) for one in allowed[:5])
                message = f"The parameter {name} may not have this value. Allowed are: {some}."
                yield Refused(policy.name, rule, message)


def _same(a: Json, b: Json) -> bool:
    """As JSON: true is not 1."""
    return isinstance(a, bool) is isinstance(b, bool) and a == b


def checks(policy: PolicySpec, facts: Facts, shaped: Shaped) -> Iterator[Check]:
    """What must be counted when the claim is written."""
    limits, request, caller = policy.limits, facts.request, facts.caller
    if limits is NO_LIMITS:
        return
    name, pools, user = policy.name, policy.pools, caller.counted
    if limits.spend_per_day is not None:
        longer = max(0.0, shaped.ttl - request.remaining)
        cost = facts.pool.cost_per_hour * longer / _HOUR * request.count
        yield Check(name, Limit.SPEND_PER_DAY, pools, user, limits.spend_per_day, cost)
    if request.action is Action.RENEW:
        return  # what it holds is counted already
    count = float(request.count)
    if limits.max_active_per_caller is not None:
        most = float(limits.max_active_per_caller)
        yield Check(name, Limit.ACTIVE_PER_CALLER, pools, user, most, count)
    for group, allowed in limits.max_active_per_group.items():
        if group in caller.groups:
            yield Check(name, Limit.ACTIVE_PER_GROUP, pools, group, float(allowed), count)
    for key, allowed in limits.max_active_per_label.items():
        label = f"{key}={shaped.labels.get(key, '')}"
        yield Check(name, Limit.ACTIVE_PER_LABEL, pools, label, float(allowed), count)
    rate = limits.rate_per_caller
    if rate is not None:
        yield Check(name, Limit.RATE_PER_CALLER, pools, user, float(rate.claims), 1.0, rate.window)


def exceeded(check: Check, counted: float) -> str:
    """Why the claim goes beyond the limit, given what was counted before it; empty when it does not."""
    if counted + check.adds <= check.most:
        return ""
    most, have = f"{check.most:g}", f"{counted:g}"
    held, remedy = _held(check, counted)
    match check.limit:
        case Limit.ACTIVE_PER_CALLER:
            return f"You hold {held}, and {most} is the most. {remedy}"
        case Limit.ACTIVE_PER_GROUP:
            return f"The group {check.subject} holds {held}, and {most} is the most. {remedy}"
        case Limit.ACTIVE_PER_LABEL:
            return f"Claims with the label {check.subject} hold {held}, and {most} is the most. {remedy}"
        case Limit.SPEND_PER_DAY:
            return (
                f"This claim costs {check.adds:g}, {have} are spent today, and {most} is the most"
                " for a day. Ask for a shorter ttl, or wait until midnight, UTC."
            )
        case Limit.RATE_PER_CALLER:
            window = format_duration(check.window)
            return f"You made {have} claims in the last {window}, and {most} is the most. Wait a while."


def _held(check: Check, counted: float) -> tuple[str, str]:
    """How many resources are held, with how many are asked for if several are; and what to do."""
    held = "1 resource" if counted == 1 else f"{counted:g} resources"
    own = check.limit is Limit.ACTIVE_PER_CALLER
    if check.adds == 1:
        return held, "Release one first." if own else "One must be released first."
    remedy = "Ask for fewer."
    if check.adds <= check.most:
        remedy = f"{'Release some' if own else 'Some must be released'} first, or ask for fewer."
    return f"{held}, this claim asks for {check.adds:g} more", remedy


def as_given(facts: Facts) -> Callable[[Check], float]:
    """Counts by the usage among the facts: for tests and explanations, which have no ledger."""
    usage = facts.usage

    def counted(check: Check) -> float:
        match check.limit:
            case Limit.ACTIVE_PER_CALLER:
                return float(usage.active)
            case Limit.ACTIVE_PER_GROUP:
                return float(usage.active_of_group.get(check.subject, 0))
            case Limit.ACTIVE_PER_LABEL:
                return float(usage.active_of_label.get(check.subject, 0))
            case Limit.SPEND_PER_DAY:
                return usage.spend_today
            case Limit.RATE_PER_CALLER:
                return float(usage.claims_last_hour)

    return counted
