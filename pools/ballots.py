"""What somebody says about a claim, and how the audit says it."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256

from ..config.json_types import Json, JsonObject
from ..config.units import format_duration
from .approval_texts import came_to_nothing, waiting, who_may
from .approvals import NO_UID, Outcome, Voter
from .claim import Claim, Claimant
from .moments import rfc3339
from .requests import Code, Refusal
from .store import NewEvent, StoreError, Transaction


@dataclass(frozen=True, slots=True)
class Ballot:
    """What somebody says about a claim."""

    by: Claimant
    approves: bool
    reason: str = ""
    request_id: str = ""
    carried_by: str = ""
    """The webhook by which it came. Then its sender says who `by` is, and not the kernel."""
    about: str = ""
    """What was looked at, as `digest_told` has it; empty: whatever the claim asks for."""

    @property
    def voter(self) -> Voter:
        return replace(self.by.person, carried_by=self.carried_by)

    def told(self) -> dict[str, Json]:
        """As the audit says it."""
        said: dict[str, Json] = {"by": self.by.told(), "vote": self.word}
        if self.carried_by:
            known = ("user", "issuer", "subject", *(("uid",) if self.by.uid != NO_UID else ()))
            said["by"] = {name: it for name, it in self.by.told().items() if name in known}
            said["carriedBy"] = self.carried_by
        return said

    @property
    def word(self) -> str:
        return "approve" if self.approves else "reject"


def digest_told(claim: Claim) -> str:
    """SHA-256 over what is told of a claim that waits, for those who decide; empty once that is over.

    It covers no secret, so that nobody finds one by trying values. What secrets there are is covered by
    the digest of the approval, which is told to nobody.
    """
    approval = claim.approval
    if approval is None or not approval.facts:
        return ""
    said: dict[str, object] = {
        "claim": claim.id,
        "by": list(claim.claimant.identity),
        "request": approval.facts.get("request"),
        "pool": approval.facts.get("pool"),
        "needs": [[one.policy, one.rule, one.approvers, one.quorum] for one in approval.needs],
    }
    return sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def tell_vote(transaction: Transaction, claim: Claim, ballot: Ballot) -> None:
    """A vote that is part of the claim's approval by now, and what came of it."""
    approval = claim.approval
    assert approval is not None
    said: dict[str, Json] = {**ballot.told(), "policies": [*approval.votes[-1].counts_for]}
    transaction.add_event(event("claim.voted", claim, ballot.reason, said, ballot.request_id))
    if approval.outcome is Outcome.GRANTED:
        kind, why = "claim.approved", ballot.reason
    elif approval.outcome is Outcome.REJECTED:
        kind, why = "claim.rejected", came_to_nothing(approval)
    else:
        return
    transaction.add_event(event(kind, claim, why, said, ballot.request_id))


def requested(claim: Claim, now: float, to_wall: Callable[[float], float]) -> NewEvent:
    """That a claim begins to wait for an approval: all that somebody needs who has to decide."""
    approval = claim.approval
    assert approval is not None
    data: dict[str, Json] = {
        **claim.claimant.told(),
        "policies": [need.policy for need in approval.needs],
        "approvers": who_may(approval),
        "needs": [
            {
                "policy": one.policy,
                "rule": one.rule,
                "approvers": one.approvers,
                "quorum": one.quorum,
            }
            for one in approval.needs
        ],
        "request": approval.facts.get("request"),
        "digest": digest_told(claim),
        "within": format_duration(round(approval.deadline - now, 3)),
        "deadline": rfc3339(to_wall(approval.deadline)),
    }
    return event("claim.approval-requested", claim, waiting(approval, now), data)


def event(
    kind: str, claim: Claim, reason: str, data: JsonObject | None = None, request: str = ""
) -> NewEvent:
    return NewEvent(
        kind,
        pool=claim.pool,
        claim=claim.id,
        request=request or claim.request_id,
        reason=reason,
        data={**claim.claimant.told()} if data is None else data,
    )


def unwritten(error: StoreError) -> Refusal:
    why = f"the vote cannot be written down: {error}; repeat it"
    return Refusal(Code.LEDGER_UNAVAILABLE, why, retry_after=2.0)
