"""Whether a claim that is bound is one that the present policies would deny. Pure.

Policies are asked anew about each claim, with what is still known of it, as of the moment at which it was made. What it
counted then is not held against it. Where that is not enough to be sure, such as for a rule that reads what a token said
beside its subject, nobody can tell: this is an alarm, and one that cries wolf is soon ignored. Run by `misgrant_watch`.
"""

from datetime import datetime
from typing import NamedTuple, cast

from ..config.revision import PoolSpec
from ..policies import access
from ..policies.decide import decide
from ..policies.decision import Decision, Verdict
from ..policies.facts import Action, Facts, PoolFacts, RequestFacts
from ..policies.index import PoolPolicies
from ..pools.claim import Claim
from .caller_facts import caller_facts

_MANY = 1_000_000


class Misgrant(NamedTuple):
    policy: str
    """Empty where no rule allows it."""
    rule: str
    message: str
    certain: bool
    """False: policies deny it as far as it is known, and not all is known that they may read."""


class Place(NamedTuple):
    """Where the claim is judged."""

    spec: PoolSpec
    about: PoolPolicies
    daemon_uid: int
    host: str


def misgrant_of(claim: Claim, place: Place, made: datetime) -> Misgrant | None:
    """None for a claim that the policies would let be. `made`: when it was."""
    found: list[Decision] = []
    for ready in (0, _MANY):
        decision = _judge(claim, place, made, ready)
        if not _is_against(claim, decision):
            return None
        found.append(decision)
    decision = found[0]
    certain = _is_known(claim, place) and not any(_by_an_error(one) for one in found)
    return Misgrant(decision.policy, decision.rule, decision.message, certain)


def _judge(claim: Claim, place: Place, made: datetime, ready: int) -> Decision:
    """`ready`: how many resources there were, which nobody knows any more."""
    who, spec, decided = claim.claimant, place.spec, claim.decision
    operator = access.decide(who.uid, place.daemon_uid).allowed
    caller = caller_facts(who, place.host, operator=operator)
    if who.token is not None and not who.token.claims:
        caller = caller._replace(unknown=(*caller.unknown, "token"))
    request = RequestFacts(
        Action.CLAIM,
        params=claim.params if decided is None else {**claim.params, **decided.params},
        ttl=claim.ttl,
        count=claim.count,
        reason=claim.reason,
        labels=cast("dict[str, str]", claim.labels),
        bind="" if claim.binding is None else claim.binding.to.value,
        break_glass=claim.approval is not None and claim.approval.broke_glass,
    )
    cost = spec.blueprint.cost
    pool = PoolFacts(
        spec.name,
        spec.labels,
        ready,
        ready,
        spec.blueprint.name,
        cost.per_hour,
        cost.centre,
        spec.lifetime.ttl,
        spec.blueprint.parameters.defaults,
    )
    facts = Facts(caller, request, pool, made)
    return decide(place.about, facts, daemon_uid=place.daemon_uid, counted=lambda _: 0.0)


def _is_against(claim: Claim, decision: Decision) -> bool:
    if decision.verdict is Verdict.APPROVE:
        return claim.approval is None  # else others have approved, or look at it afterwards
    return decision.verdict is Verdict.DENY


def _is_known(claim: Claim, place: Place) -> bool:
    """Of a claim about which no policy was, its parameters are not kept."""
    return claim.decision is not None or not place.spec.blueprint.parameters.shapes()


def _by_an_error(decision: Decision) -> bool:
    return any(
        (one.policy, one.rule) == (decision.policy, decision.rule) for one in decision.failed
    )
