"""Turns what the pools hold into what the API answers. Pure: the clock comes in as an argument."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache

from ..config.json_types import Json
from ..config.units import format_duration
from ..policies.access import Verdict
from ..pools.approvals import NO_UID, Approval, Vote
from ..pools.ballots import digest_told
from ..pools.claim import Claim, Claimant, ClaimState
from ..pools.reasons import WaitingFor
from ..pools.resource import Resource
from ..pools.status import HostStatus, PoolStatus, RolloutStatus
from ..pools.store import Event
from ..pools.switches import HOST, Switch, of_the_host
from ..pools.wishes import Wish
from .answers import (
    ApprovalJson,
    CallerJson,
    ClaimJson,
    DecisionJson,
    EventJson,
    HostJson,
    PartJson,
    ResourceJson,
    SwitchJson,
    VoteJson,
    WaitingForJson,
)
from .pool_answers import BreakerJson, PoolJson, RolloutJson

ToWall = Callable[[float], float]
"""Steady seconds to wall-clock seconds (`Clock.to_wall`)."""
Place = tuple[int, float | None]
"""Position in the queue from 1, and estimated seconds."""


_WITH_OUTPUTS = frozenset({ClaimState.BOUND, ClaimState.ENDING})
_UNDER_WAY = frozenset({ClaimState.BOUND, ClaimState.FINISHING})


def rfc3339(wall: float) -> str:
    """UTC with milliseconds, for example `2026-01-31T12:00:00.250Z`."""
    milliseconds = round(wall * 1000)
    return f"{_to_the_second(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"


@lru_cache(maxsize=4096)
def _to_the_second(seconds: int) -> str:
    """Kept, because all claims of a second share it and their expiries too."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


_duration = lru_cache(maxsize=1024)(format_duration)
"""Claims have few different widths."""


def _span(seconds: float) -> str:
    """A measured width, in milliseconds to the microsecond: `0.412ms`."""
    return f"{seconds * 1000:.3f}ms" if seconds else "0.000ms"


def _caller(claimant: Claimant) -> CallerJson:
    shown: CallerJson = {
        "uid": claimant.uid,
        "gid": claimant.gid,
        "pid": claimant.pid,
        "user": claimant.user,
        "exe": claimant.exe,
        "unit": claimant.unit,
        "groups": list(claimant.groups),
    }
    token = claimant.token
    if token is not None:
        shown["token"] = {"issuer": token.issuer, "subject": token.subject}
    return shown


def show_claim(
    claim: Claim,
    to_wall: ToWall,
    built_in: Verdict,
    *,
    secrets: bool,
    place: Place | None = None,
) -> ClaimJson:
    """`built_in`: what holds where no policy decided.

    `secrets`: whether the caller may see the secret outputs; they exist only while bound.
    """
    state, claimant, timing = claim.state, claim.claimant, claim.timing
    step = to_wall(claim.created_at) - claim.created_at
    shown: ClaimJson = {
        "id": claim.id,
        "pool": claim.pool,
        "state": state,
        "resources": [{"id": resource, "outputs": {}} for resource in claim.resources],
        "caller": _caller(claimant),
        "createdAt": rfc3339(claim.created_at + step),
        "ttl": _duration(claim.ttl),
        "bind": "time" if claim.binding is None else claim.binding.to.value,
        "warm": claim.warm,
        "revision": claim.revision,
        "timing": {
            "queued": _span(timing.queued),
            "policy": _span(timing.policy),
            "bind": _span(timing.bind),
            "finish": _span(timing.finish),
            "total": _span(timing.total),
        },
        "decision": _decision(claim, built_in),
        "reason": claim.reason,
        "labels": claim.labels,
    }
    if shown["resources"] and state in _WITH_OUTPUTS:
        with_secrets = secrets and state is ClaimState.BOUND
        if claim.wish is None:
            outputs = claim.all_outputs() if with_secrets else claim.outputs
            shown["resources"][0]["outputs"] = outputs
        else:
            for resource, handed in zip(claim.resources, shown["resources"], strict=True):
                handed["outputs"] = claim.outputs_of(resource, secrets=with_secrets)
    if claim.bound_at is not None:
        shown["boundAt"] = rfc3339(claim.bound_at + step)
    if claim.expires_at is not None:
        shown["expiresAt"] = rfc3339(claim.expires_at + step)
        if claim.terms is not None and claim.terms.grace:
            shown["graceUntil"] = rfc3339(claim.expires_at + claim.terms.grace + step)
    _add_what_it_needs(shown, claim, to_wall)
    if state not in _UNDER_WAY:
        _add_how_it_ended(shown, claim, to_wall)
    if place is not None:
        _add_place(shown, place)
    return shown


def _add_what_it_needs(shown: ClaimJson, claim: Claim, to_wall: ToWall) -> None:
    if claim.approval is not None:
        shown["approval"] = show_approval(claim.approval, to_wall)
        if digest := digest_told(claim):
            shown["approval"]["digest"] = digest
    if claim.wish is not None:
        _add_wish(shown, claim, claim.wish)


def _decision(claim: Claim, built_in: Verdict) -> DecisionJson:
    decided = claim.decision
    if decided is None:
        return {"policy": built_in.policy, "rule": built_in.rule}
    shown: DecisionJson = {"policy": decided.policy, "rule": decided.rule}
    if decided.mutations:
        shown["mutations"] = list(decided.mutations)
    if decided.cost_centre:
        shown["costCentre"] = decided.cost_centre
    if decided.shadow is not None:
        shown["shadow"] = decided.shadow
    return shown


def show_approval(approval: Approval, to_wall: ToWall) -> ApprovalJson:
    shown: ApprovalJson = {
        "outcome": approval.outcome.value,
        "needs": [
            {
                "policy": need.policy,
                "rule": need.rule,
                "approvers": need.approvers,
                "quorum": approval.quorum_of(need),
                "approved": approval.approved_by(need),
            }
            for need in approval.needs
        ],
        "votes": [_vote(one, to_wall) for one in approval.votes],
        "deadline": rfc3339(to_wall(approval.deadline)),
        "brokeGlass": approval.broke_glass,
    }
    if approval.decided_at is not None:
        shown["decidedAt"] = rfc3339(to_wall(approval.decided_at))
    if approval.code:
        shown["detail"] = approval.detail
    return shown


def _vote(vote: Vote, to_wall: ToWall) -> VoteJson:
    shown: VoteJson = {
        "user": vote.by.user,
        "vote": "approve" if vote.approves else "reject",
        "policies": list(vote.counts_for),
        "reason": vote.reason,
        "at": rfc3339(to_wall(vote.at)),
    }
    if vote.by.uid != NO_UID:
        shown["uid"] = vote.by.uid
    if vote.by.carried_by:
        shown["carriedBy"] = vote.by.carried_by
    if vote.by.subject:
        shown["issuer"], shown["subject"] = vote.by.issuer, vote.by.subject
    return shown


def show_waiting(waiting: WaitingFor) -> WaitingForJson:
    shown: WaitingForJson = {"code": waiting.code.value, "detail": waiting.detail}
    if waiting.limit:
        shown["limit"] = waiting.limit
    return shown


def _add_place(shown: ClaimJson, place: Place) -> None:
    shown["position"] = place[0]
    if place[1] is not None:
        shown["eta"] = format_duration(round(place[1], 1))


def _add_wish(shown: ClaimJson, claim: Claim, wish: Wish) -> None:
    if wish.count > 1:
        shown["count"] = wish.count
    if wish.select:
        shown["select"] = wish.select
    if wish.pools or wish.select:
        chosen = shown["chosen"] = {"from": list(wish.pools or (claim.pool,))}
        if wish.because:
            chosen["because"] = wish.because


def _add_how_it_ended(shown: ClaimJson, claim: Claim, to_wall: ToWall) -> None:
    if claim.ended_at is not None:
        shown["endedAt"] = rfc3339(to_wall(claim.ended_at))
    if claim.ended_because is not None:
        shown["endedBecause"] = claim.ended_because.value
    if claim.code:
        shown["code"] = claim.code
    if claim.detail:
        shown["detail"] = claim.detail


def show_resource(resource: Resource, to_wall: ToWall, *, parts: bool) -> ResourceJson:
    shown: ResourceJson = {
        "id": resource.id,
        "pool": resource.pool,
        "state": resource.state.value,
        "claimable": resource.claimable,
        "health": resource.health.value,
        "blueprint": resource.blueprint,
        "digest": resource.digest,
        "revision": resource.revision,
        "createdAt": rfc3339(to_wall(resource.created_at)),
        "changedAt": rfc3339(to_wall(resource.changed_at or resource.created_at)),
        "uses": resource.uses,
        "reason": resource.reason,
        "labels": dict(resource.labels),
    }
    if resource.ready_at is not None:
        shown["readyAt"] = rfc3339(to_wall(resource.ready_at))
    if resource.claim is not None:
        shown["claim"] = resource.claim
    if resource.hold is not None:
        shown["hold"] = show_switch(resource.hold, to_wall)
    if parts:
        shown["parts"] = [
            PartJson(
                name=part.name,
                driver=part.driver,
                provider=part.provider,
                half=part.half.value,
                state=part.state.value,
                outputs=dict(part.outputs),
                handle=dict(part.handle),
            )
            for part in resource.parts
        ]
    return shown


def show_pool(pool: PoolStatus, to_wall: ToWall) -> PoolJson:
    breaker: BreakerJson = {"state": pool.breaker.state, "failures": pool.breaker.failures}
    if pool.breaker.last_error:
        breaker["lastError"] = pool.breaker.last_error
    if pool.breaker.until is not None:
        breaker["until"] = rfc3339(to_wall(pool.breaker.until))
    shown: PoolJson = {
        "name": pool.name,
        "blueprint": pool.blueprint,
        "digest": pool.digest,
        "revision": pool.revision,
        "labels": dict(pool.labels),
        "min": pool.min,
        "max": pool.max,
        "ready": pool.ready,
        "waiting": pool.waiting,
        "paused": pool.paused,
        "frozen": pool.frozen,
        "draining": pool.draining,
        "counts": {state.value: count for state, count in pool.counts.items() if count},
        "unverified": pool.unverified,
        "drifted": pool.drifted,
        "outdated": pool.outdated,
        "breaker": breaker,
        "decisions": list(pool.decisions),
    }
    if pool.paused_at:
        shown["pausedAt"] = pool.paused_at
    if pool.switch is not None and pool.paused:
        shown["pause"] = show_switch(pool.switch, to_wall)
    elif pool.switch is not None:
        shown["drain"] = show_switch(pool.switch, to_wall)
    if pool.refresh is not None:
        shown["refresh"] = show_switch(pool.refresh, to_wall)
    if pool.rollout is not None:
        shown["rollout"] = _rollout(pool.rollout, to_wall)
    return shown


def _rollout(rollout: RolloutStatus, to_wall: ToWall) -> RolloutJson:
    shown: RolloutJson = {
        "stage": rollout.stage.value,
        "digest": rollout.digest,
        "previous": rollout.previous,
        "startedAt": rfc3339(to_wall(rollout.started_at)),
        "since": rfc3339(to_wall(rollout.since)),
        "reason": rollout.reason,
    }
    if rollout.waits:
        shown["waits"] = rollout.waits
    if rollout.opens_at is not None:
        shown["opensAt"] = rfc3339(to_wall(rollout.opens_at))
    return shown


def show_host(host: HostStatus, to_wall: ToWall) -> HostJson:
    shown: HostJson = {"frozen": host.freeze is not None, "draining": host.drain is not None}
    if host.freeze is not None:
        shown["freeze"] = show_switch(host.freeze, to_wall)
        if host.freeze.subject != HOST:
            shown["freezeFile"] = host.freeze.subject
    if host.drain is not None:
        shown["drain"] = show_switch(host.drain, to_wall)
    return shown


def show_switch(switch: Switch, to_wall: ToWall) -> SwitchJson:
    shown: SwitchJson = {
        "by": {"uid": switch.by.uid, "user": switch.by.user},
        "reason": switch.reason,
        "since": rfc3339(to_wall(switch.since)),
    }
    if switch.until is not None:
        shown["until"] = rfc3339(to_wall(switch.until))
    if of_the_host(switch):
        shown["host"] = True
    return shown


def show_event(event: Event) -> EventJson:
    """Empty members are left out: most events concern a pool and one more thing."""
    shown: EventJson = {
        "seq": event.seq,
        "at": rfc3339(event.at),
        "kind": event.kind,
        "hash": event.hash,
    }
    if event.pool:
        shown["pool"] = event.pool
    if event.resource:
        shown["resource"] = event.resource
    if event.claim:
        shown["claim"] = event.claim
    if event.request:
        shown["requestId"] = event.request
    if event.reason:
        shown["reason"] = event.reason
    if event.data:
        data: dict[str, Json] = dict(event.data)
        shown["data"] = data
    return shown
