"""May this caller have this, now? Facts in, a decision out. Pure, and the same in any order.

A deny beats an approve beats an allow, and without any of them the answer is no. A condition that
ends in an error denies: the caller is never better off for it. The order of files and rules means
nothing; where several rules would do, the first by policy and name is told.

First the policies shape the request (`shaping`), then their rules judge what became of it, then
their limits hold. Policies that do not enforce are asked in a second round, whose outcome is told
as `Decision.shadow` and changes nothing.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ..config.conditions import Condition, Evaluation, ExpressionError
from ..config.policies.rules import Effect, Mode, PolicySpec
from . import access
from .canary import enforced_for
from .decision import (
    Check,
    Decision,
    Failed,
    Matched,
    NeededApproval,
    Shadow,
    Verdict,
)
from .facts import Action, Facts, Shaped, scope_of
from .index import Entry, PoolPolicies
from .limits import Refused, checks, exceeded, refusals
from .shaping import Shaping, as_asked, shape

Scope = Mapping[str, object]
Counted = Callable[[Check], float]
Outcome = bool | Failed
"""What a condition says, or how it failed."""


def decide(
    about: PoolPolicies,
    facts: Facts,
    *,
    daemon_uid: int = access.ROOT,
    counted: Counted | None = None,
) -> Decision:
    """`counted` says how much of a limit is taken; None leaves that to whoever writes the claim.

    `daemon_uid` may claim as long as no policy enforces.
    """
    asked = scope_of(facts, as_asked(facts), about.reads)
    entries = about.candidates(facts.caller)
    enforced, observed = _by_mode(about.policies, facts, asked)
    case = _Case(about, facts, entries, asked, daemon_uid, counted)
    judged = _judge(case, enforced)
    if not observed:
        return judged.decision
    everything = _judge(case, enforced | observed, before=judged)
    return _with_shadow(judged.decision, everything.decision, observed)


class _Case(NamedTuple):
    """What both rounds of a decision share."""

    about: PoolPolicies
    facts: Facts
    entries: list[Entry]
    asked: Scope
    daemon_uid: int
    counted: Counted | None


@dataclass(slots=True)
class _Round:
    """One round: the policies that are asked in it, and what they say."""

    names: frozenset[str]
    built_in: bool
    """Whether root and the daemon's user may claim: where nothing is enforced in this round."""
    evaluation: Evaluation = field(default_factory=Evaluation)
    scopes: dict[str, Outcome] = field(default_factory=dict[str, Outcome])
    """Policy to whether it is about this claim."""
    rules: dict[int, Outcome] = field(default_factory=dict[int, Outcome])
    """Position of a rule to what it said."""
    matched: list[Matched] = field(default_factory=list[Matched])
    failed: list[Failed] = field(default_factory=list[Failed])
    approving: dict[str, tuple[PolicySpec, str]] = field(
        default_factory=dict[str, tuple[PolicySpec, str]]
    )
    """Policies of which an approve rule is true, with the rule."""

    def applies(self, policy: PolicySpec, asked: Scope) -> Outcome:
        """Whether the policy is about this claim: its `when`."""
        if policy.when is None:
            return True
        known = self.scopes.get(policy.name)
        if known is None:
            known = _outcome(self.evaluation, policy.when, asked, policy.name, "when")
            self.scopes[policy.name] = known
        return known


class _Judged(NamedTuple):
    decision: Decision
    shaped: Shaped
    rules: dict[int, Outcome]


def _outcome(
    evaluation: Evaluation, condition: Condition, scope: Scope, policy: str, rule: str
) -> Outcome:
    try:
        return evaluation.holds(condition, scope)
    except ExpressionError as error:
        return Failed(policy, rule, str(error))


def _by_mode(
    policies: Iterable[PolicySpec], facts: Facts, asked: Scope
) -> tuple[frozenset[str], frozenset[str]]:
    """The names of those that enforce for this claim, and of those that only look on."""
    enforced: list[str] = []
    observed: list[str] = []
    for policy in policies:
        here = policy.mode is Mode.ENFORCE or (
            policy.mode is Mode.CANARY and _is_canary(policy, facts, asked)
        )
        (enforced if here else observed).append(policy.name)
    return frozenset(enforced), frozenset(observed)


def _is_canary(policy: PolicySpec, facts: Facts, asked: Scope) -> bool:
    """A canary whose condition fails stays in the shadow: it must not harm."""
    canary = policy.canary
    if canary is None or not enforced_for(facts.caller, policy.name, canary.share):
        return False
    if canary.when is None:
        return True
    return _outcome(Evaluation(), canary.when, asked, policy.name, "canary.when") is True


def _judge(case: _Case, names: frozenset[str], before: _Judged | None = None) -> _Judged:
    """One round. `before` is the round before it, whose outcomes hold if the request is the same."""
    this = _Round(names, built_in=case.about.built_in and before is None)
    general = [
        policy
        for policy in case.about.general
        if policy.name in names and _counts(this, this.applies(policy, case.asked))
    ]
    shaping = shape(case.facts, general)
    this.failed += shaping.failed
    shaped = shaping.shaped
    if before is not None and before.shaped == shaped:
        this.rules = dict(before.rules)
    reads = case.about.reads
    scope = scope_of(case.facts, shaped, reads) if shaping.mutations else case.asked
    _ask_rules(case, this, scope)
    refused: list[Refused] = []
    needed: list[Check] = []
    for policy in general:
        for found in refusals(policy, case.facts, shaped, this.evaluation):
            if isinstance(found, Failed):
                this.failed.append(found)
            else:
                refused.append(found)
        needed += checks(policy, case.facts, shaped)
    if case.counted is not None:
        refused += _exceeded(needed, case.counted)
    return _Judged(_conclude(case, this, shaping, refused, needed, scope), shaped, this.rules)


def _counts(this: _Round, outcome: Outcome) -> bool:
    if isinstance(outcome, Failed):
        this.failed.append(outcome)
        return False
    return outcome


def _ask_rules(case: _Case, this: _Round, scope: Scope) -> None:
    for entry in case.entries:
        policy, rule = entry.policy, entry.rule
        if policy.name not in this.names:
            continue
        applies = this.applies(policy, case.asked)
        if applies is False:
            continue
        found = this.rules.get(entry.position)
        if found is None:
            found = _outcome(this.evaluation, rule.when, scope, policy.name, rule.name)
            this.rules[entry.position] = found
        if found is True and isinstance(applies, Failed):
            found = applies
        if isinstance(found, Failed):
            this.failed.append(found)
        elif found:
            this.matched.append(Matched(policy.name, rule.name, rule.effect, rule.message))
            if rule.effect is Effect.APPROVE:
                this.approving.setdefault(policy.name, (policy, rule.name))


def _exceeded(needed: Iterable[Check], counted: Counted) -> list[Refused]:
    found: list[Refused] = []
    for check in needed:
        why = exceeded(check, counted(check))
        if why:
            found.append(Refused(check.policy, check.rule, why))
    return found


def _conclude(
    case: _Case,
    this: _Round,
    shaping: Shaping,
    refused: list[Refused],
    needed: list[Check],
    scope: Scope,
) -> Decision:
    approvals = tuple(
        NeededApproval(name, rule, policy.approvals)
        for name, (policy, rule) in this.approving.items()
        if policy.approvals is not None
    )
    glass = _break_glass(case, this, approvals, scope)
    if this.built_in:
        this.matched += _built_in(case)
    verdict, policy, rule, message = _verdict(case, this, refused, broken=glass is not None)
    shaped = shaping.shaped
    return Decision(
        verdict=verdict,
        policy=policy,
        rule=rule,
        message=message,
        ttl=shaped.ttl,
        params=shaped.params,
        labels=shaped.labels,
        cost_centre=shaped.cost_centre,
        mutations=tuple(shaping.mutations),
        checks=tuple(needed),
        approvals=approvals,
        break_glass=glass,
        matched=tuple(this.matched),
        failed=tuple(dict.fromkeys(this.failed)),
    )


def _verdict(
    case: _Case, this: _Round, refused: list[Refused], *, broken: bool
) -> tuple[Verdict, str, str, str]:
    """The verdict, the policy and the rule that decide, and a sentence."""
    denies = _with_effect(this, Effect.DENY)
    approves = _with_effect(this, Effect.APPROVE)
    allows = _with_effect(this, Effect.ALLOW)
    if denies:
        return _by(denies[0], Verdict.DENY)
    if this.failed:
        wrong = min(this.failed, key=lambda it: (it.policy, it.rule))
        message = (
            f"The rule {wrong.rule} of the policy {wrong.policy} ends in an error, which denies:"
            f" {wrong.error}. Whoever maintains the policies must mend it."
        )
        return Verdict.DENY, wrong.policy, wrong.rule, message
    if not approves and not allows:
        return Verdict.DENY, "", "", _nobody_allows(case, this)
    if refused:
        first = min(refused, key=lambda it: (it.policy, it.rule))
        return Verdict.DENY, first.policy, first.rule, first.message
    if approves:
        return _by(approves[0], Verdict.ALLOW if broken else Verdict.APPROVE)
    return _by(allows[0], Verdict.ALLOW)


def _with_effect(this: _Round, effect: Effect) -> list[Matched]:
    return [matched for matched in this.matched if matched.effect is effect]


_DONE = {
    Verdict.ALLOW: "allows it",
    Verdict.APPROVE: "asks for an approval",
    Verdict.DENY: "denies it",
}


def _by(matched: Matched, verdict: Verdict) -> tuple[Verdict, str, str, str]:
    message = matched.message or (
        f"The rule {matched.rule} of the policy {matched.policy} {_DONE[verdict]}."
    )
    return verdict, matched.policy, matched.rule, message


def _nobody_allows(case: _Case, this: _Round) -> str:
    caller, pool = case.facts.caller, case.facts.pool.name
    if this.built_in:
        return access.decide(caller.uid, case.daemon_uid).reason
    who = caller.user or f"uid {caller.uid}"
    renews = case.facts.request.action is Action.RENEW
    wish = f"renew a claim on {pool}" if renews else f"claim from {pool}"
    return (
        f"No rule allows {who} to {wish}. Ask whoever maintains the policies; 'stoker"
        f" policy explain --live --pool {pool}' says what each rule sees."
    )


def _built_in(case: _Case) -> list[Matched]:
    """As long as nothing is enforced, what holds without policies."""
    found = access.decide(case.facts.caller.uid, case.daemon_uid)
    if not found.allowed:
        return []
    return [Matched(found.policy, found.rule, Effect.ALLOW, found.reason)]


def _break_glass(
    case: _Case, this: _Round, approvals: tuple[NeededApproval, ...], scope: Scope
) -> float | None:
    """Seconds until the follow-up, where every approval may be done without; else None."""
    request = case.facts.request
    if not approvals or not request.break_glass or not request.reason.strip():
        return None
    due: list[float] = []
    for needed in approvals:
        glass = needed.approvals.break_glass
        if glass is None:
            return None
        found = _outcome(this.evaluation, glass.when, scope, needed.policy, "breakGlass.when")
        if not _counts(this, found):
            return None
        due.append(glass.follow_up)
    return min(due)


def _with_shadow(decision: Decision, other: Decision, observed: frozenset[str]) -> Decision:
    differs = any(
        getattr(decision, name) != getattr(other, name)
        for name in (
            "verdict",
            "ttl",
            "params",
            "labels",
            "cost_centre",
            "approvals",
            "break_glass",
        )
    )
    shadow = Shadow(
        verdict=other.verdict,
        policy=other.policy,
        rule=other.rule,
        message=other.message,
        ttl=other.ttl,
        mutations=other.mutations,
        differs=differs,
        policies=tuple(sorted(observed)),
    )
    return decision._replace(shadow=shadow)
