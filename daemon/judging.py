"""Brings the policies to the pools: the `Judge` that fills the facts, decides, and keeps count.

Asked in the event loop for each claim and each renewal, in the same step in which the pools register
what it lets pass. The index of a revision is made in a thread, before the revision is applied.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from time import perf_counter
from typing import Protocol, cast

from ..config.json_types import Json, JsonObject
from ..config.revision import Revision
from ..policies import access
from ..policies.decide import decide
from ..policies.decision import Check, Decision, Limit, Verdict
from ..policies.explaining import explain
from ..policies.facts import Action, CallerFacts, Facts, PoolFacts, RequestFacts, UsageFacts
from ..policies.index import PolicyIndex, PoolPolicies, index_of
from ..pools.approvals import Approval, Outcome, is_covered
from ..pools.claim import Claim, Claimant, Counted
from ..pools.clock import Clock
from ..pools.judging import Admits, Asked, Denial, Place, Renewal, Ruling
from ..pools.requests import ClaimRequest, Code
from ..pools.usage import DAY, HOUR, Usage
from .approvers import admitted, asking_of, caller_of, without_webhook
from .caller_facts import caller_facts
from .decision_records import decided_from, explanation_to_json, record_of

MOST_CALLERS = 256
"""Whose facts are kept."""
LOOK_AGAIN = 5.0
"""Seconds after which somebody else may have released something."""


class Listener(Protocol):
    """Told of every decision; see `metrics`."""

    def policy_asked(self, seconds: float) -> None: ...

    def policy_decided(self, outcome: str, policy: str, rule: str) -> None: ...

    def policy_shadowed(self, outcome: str, policy: str, rule: str) -> None: ...


class PolicyJudge:
    """See `stoker.pools.judging.Judge`."""

    def __init__(
        self,
        clock: Clock,
        listener: Listener,
        *,
        daemon_uid: int,
        host: str,
        timer: Callable[[], float] = perf_counter,
    ) -> None:
        """`host` is the name of this host; `timer` measures decisions, in seconds."""
        self._clock = clock
        self._listener = listener
        self.daemon_uid = daemon_uid
        self.host = host
        self._timer = timer
        self._prepared: tuple[str, PolicyIndex] | None = None
        self._callers: dict[int, tuple[Claimant, CallerFacts]] = {}
        """By identity, as one connection brings the same one again and again."""
        self.index = index_of((), ())
        self.revision = ""

    # The revision

    async def prepare(self, revision: Revision) -> None:
        """Files the rules, off the loop: a thousand of them take a while."""
        index = await asyncio.to_thread(index_of, revision.policies.values(), revision.pools)
        self._prepared = revision.digest, index

    def declare(self, revision: Revision) -> None:
        prepared, self._prepared = self._prepared, None
        if prepared is not None and prepared[0] == revision.digest:
            self.index = prepared[1]
        else:
            self.index = index_of(revision.policies.values(), revision.pools)
        self.revision = revision.id

    @property
    def enforces(self) -> bool:
        """Whether policies say who may claim, in place of what holds without any."""
        return not self.index.built_in

    @property
    def looks_on(self) -> bool:
        """Whether there is any policy, be it in the shadow."""
        return bool(self.index.policies)

    # Deciding

    def claim(self, request: ClaimRequest, place: Place, usage: Usage) -> Ruling:
        who = request.claimant
        if not self.looks_on and access.decide(who.uid, self.daemon_uid).allowed:
            return Ruling(request.ttl, request.params, request.labels)
        return self._rule(who, _asked(request), place, usage)

    def renew(self, renewal: Renewal, place: Place, usage: Usage) -> Ruling:
        claim, who = renewal.claim, renewal.by
        if not self.looks_on:
            return Ruling(renewal.ttl, claim.params, claim.labels)
        decided = claim.decision
        asked = RequestFacts(
            Action.RENEW,
            params=claim.params if decided is None else {**claim.params, **decided.params},
            ttl=renewal.ttl,
            count=claim.count,
            reason=claim.reason,
            labels=cast("Mapping[str, str]", claim.labels),
            bind="" if claim.binding is None else claim.binding.to.value,
            remaining=max(0.0, renewal.remaining),
        )
        ruling = self._rule(who, asked, place, usage, width=claim.ttl)
        if ruling.asking is not None and not _was_approved(claim, ruling):
            need = ruling.asking.needs[0]
            raise Denial(
                Code.DENIED,
                f"The rule {need.rule} of the policy {need.policy} asks for an approval, and a renewal"
                " gets none: claim anew, or renew within what was approved.",
                record=ruling.record,
                details={"policy": need.policy, "rule": need.rule},
            )
        return ruling

    def explain(self, request: ClaimRequest, place: Place, usage: Usage) -> dict[str, Json]:
        """What would be decided now, and why; nothing is counted, and nothing is told."""
        now = self._clock.now()
        wall = self._clock.to_wall(now)
        facts = self._facts(request.claimant, _asked(request), place, usage, (now, wall))
        told = explain(
            self.index.of(place.spec.name),
            facts,
            daemon_uid=self.daemon_uid,
            counted=_counting(usage, request.claimant.counts_as, now, wall),
        )
        return explanation_to_json(told, place.spec.blueprint.parameters.secret_names)

    def _rule(
        self,
        who: Claimant,
        asked: RequestFacts,
        place: Place,
        usage: Usage,
        *,
        width: float | None = None,
        caller: CallerFacts | None = None,
    ) -> Ruling:
        began = self._timer()
        spec = place.spec
        about = self.index.of(spec.name)
        now = self._clock.now()
        wall = self._clock.to_wall(now)
        facts = self._facts(who, asked, place, usage, (now, wall), width=width)
        if caller is not None:
            facts = facts._replace(caller=caller)
        counted = _counting(usage, who.counts_as, now, wall)
        decision = self._decide(about, facts, counted)
        seconds = self._timer() - began
        record = record_of(
            decision, facts, self.revision, seconds, spec.blueprint.parameters.secret_names
        )
        self._tell(decision, seconds)
        if decision.verdict is Verdict.DENY:
            raise _denial(decision, record, wall, who)
        return Ruling(
            decision.ttl,
            decision.params,
            cast("JsonObject", decision.labels),
            decided_from(decision, self.revision, spec.blueprint.parameters.secret_names),
            record,
            seconds,
            asking_of(decision, facts, spec.blueprint.parameters.secret_names),
        )

    def _facts(
        self,
        who: Claimant,
        asked: RequestFacts,
        place: Place,
        usage: Usage,
        at: tuple[float, float],
        *,
        width: float | None = None,
    ) -> Facts:
        """`at`: steady and wall-clock seconds. `width`: the ttl that a renewed claim has."""
        now, wall = at
        return Facts(
            self._caller(who),
            asked,
            _pool(place, width),
            datetime.fromtimestamp(wall, UTC),
            _usage(usage, who, place.spec.name, now, wall),
        )

    def again(self, claim: Claim, asked: Asked, place: Place, usage: Usage) -> Ruling:
        approval = claim.approval
        assert approval is not None
        if not self.looks_on:
            return Ruling(asked.ttl, asked.params, asked.labels)
        request = RequestFacts(
            Action.CLAIM,
            params=asked.params,
            ttl=asked.ttl,
            count=claim.count,
            reason=claim.reason,
            labels=cast("Mapping[str, str]", asked.labels),
            bind="" if claim.binding is None else claim.binding.to.value,
        )
        caller = caller_of(approval.facts)
        return self._rule(claim.claimant, request, place, usage, caller=caller)

    def admits(self, approval: Approval, by: Claimant, carried_by: str = "") -> Admits:
        policies = {one.name: one.approvals for one in self.index.policies if one.approvals}
        now = datetime.fromtimestamp(self._clock.to_wall(self._clock.now()), UTC)
        approvers = {need.policy: policies.get(need.policy) for need in approval.needs}
        not_by_webhook: tuple[str, ...] = ()
        if carried_by:
            not_by_webhook = without_webhook(approvers, carried_by)
            approvers = {name: one for name, one in approvers.items() if name not in not_by_webhook}
            approver = caller_facts(by, self.host)  # nobody is an operator by hearsay
        else:
            approver = self._caller(by)
        found = admitted(approval.facts, approvers, approver, now)
        if by.unknown and not found and not carried_by:
            missing = " and ".join(by.unknown)
            why = f"this host could not tell your {missing}; connect anew, or try again"
            raise Denial(Code.CALLER_UNKNOWN, why, retry_after=1.0)
        changed = tuple(
            need.policy
            for need in approval.needs
            if (now_asks := policies.get(need.policy)) is None
            or now_asks.approvers.source != need.approvers
        )
        return Admits(found, not_by_webhook, changed)

    def _decide(
        self, about: PoolPolicies, facts: Facts, counted: Callable[[Check], float]
    ) -> Decision:
        return decide(about, facts, daemon_uid=self.daemon_uid, counted=counted)

    def _caller(self, who: Claimant) -> CallerFacts:
        known = self._callers.get(id(who))
        if known is not None and known[0] is who:
            return known[1]
        operator = access.decide(who.uid, self.daemon_uid).allowed
        facts = caller_facts(who, self.host, operator=operator)
        if len(self._callers) >= MOST_CALLERS:
            self._callers.clear()
        self._callers[id(who)] = who, facts
        return facts

    def _tell(self, decision: Decision, seconds: float) -> None:
        self._listener.policy_asked(seconds)
        outcome = "error" if _by_an_error(decision) else decision.verdict.value
        self._listener.policy_decided(outcome, decision.policy, decision.rule)
        shadow = decision.shadow
        if shadow is not None and shadow.differs:
            self._listener.policy_shadowed(shadow.verdict.value, shadow.policy, shadow.rule)


def _asked(request: ClaimRequest) -> RequestFacts:
    wish, tie = request.wish, request.tie
    return RequestFacts(
        Action.CLAIM,
        params=request.params,
        ttl=request.ttl,
        count=1 if wish is None else wish.count,
        reason=request.reason,
        labels=cast("Mapping[str, str]", request.labels),
        bind="" if tie is None else tie.binding.to.value,
        break_glass=request.break_glass,
    )


def _was_approved(claim: Claim, ruling: Ruling) -> bool:
    """Whether others have approved as much, or it did without and nobody has objected since."""
    approval, decided, asking = claim.approval, claim.decision, ruling.asking
    if approval is None or decided is None or asking is None or ruling.ttl is None:
        return False
    good = approval.outcome is Outcome.GRANTED or approval.to_follow_up
    return good and is_covered(approval, asking.needs) and ruling.ttl <= decided.ttl


def _pool(place: Place, width: float | None) -> PoolFacts:
    spec = place.spec
    cost = spec.blueprint.cost
    return PoolFacts(
        spec.name,
        spec.labels,
        place.ready,
        place.size,
        spec.blueprint.name,
        cost.per_hour,
        cost.centre,
        spec.lifetime.ttl if width is None else width,
        spec.blueprint.parameters.defaults,
    )


def _usage(usage: Usage, who: Claimant, pool: str, now: float, wall: float) -> UsageFacts:
    caller = who.counts_as
    return UsageFacts(
        active=usage.active(caller),
        active_in_pool=usage.active_in(caller, pool),
        active_of_group=usage.active_of_groups(who.groups),
        claims_last_hour=usage.claims_within(caller, HOUR, ("*",), now),
        spend_today=usage.spent_on(caller, int(wall // DAY)),
    )


def _counting(usage: Usage, caller: Counted, now: float, wall: float) -> Callable[[Check], float]:
    def counted(check: Check) -> float:
        subject, pools = check.subject, check.pools
        match check.limit:
            case Limit.ACTIVE_PER_CALLER:
                return usage.active(caller, pools)
            case Limit.ACTIVE_PER_GROUP:
                return usage.active_of_group(subject, pools)
            case Limit.ACTIVE_PER_LABEL:
                return usage.active_of_label(subject, pools)
            case Limit.SPEND_PER_DAY:
                return usage.spent_on(caller, int(wall // DAY), pools)
            case Limit.RATE_PER_CALLER:
                return usage.claims_within(caller, check.window, pools, now)

    return counted


def _denial(decision: Decision, record: JsonObject, wall: float, who: Claimant) -> Denial:
    policy, rule = decision.policy, decision.rule
    details: JsonObject = {"policy": policy, "rule": rule}
    if who.unknown and _by_an_error(decision):
        missing = " and ".join(who.unknown)
        message = (
            f"Policies go by your {missing}, which this host could not tell. Connect anew, from a"
            f" process that still runs, or try again. ({decision.message})"
        )
        return Denial(Code.CALLER_UNKNOWN, message, record=record, details=details, retry_after=1.0)
    broken = next(
        (check for check in decision.checks if (check.policy, check.rule) == (policy, rule)), None
    )
    if broken is None or broken.adds > broken.most:  # which no waiting changes
        return Denial(Code.DENIED, decision.message, record=record, details=details)
    after = LOOK_AGAIN
    if broken.limit is Limit.SPEND_PER_DAY:
        after = DAY - wall % DAY
    elif broken.limit is Limit.RATE_PER_CALLER:
        after = max(1.0, broken.window / 60)
    return Denial(
        Code.LIMIT_REACHED, decision.message, record=record, details=details, retry_after=after
    )


def _by_an_error(decision: Decision) -> bool:
    return any(
        (failed.policy, failed.rule) == (decision.policy, decision.rule)
        for failed in decision.failed
    )
