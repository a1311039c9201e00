"""What somebody says about a claim, and how the audit says it."""

from dataclasses import dataclass

from ..config.json_types import Json, JsonObject
from ..config.units import format_duration
from .approval_texts import came_to_nothing, waiting, who_may
from .approvals import Outcome
from .claim import Claim, Claimant
from .requests import Code, Refusal
from .store import NewEvent, StoreError, Transaction


@dataclass(frozen=True, slots=True)
class Ballot:
    """What somebody says about a claim."""

    by: Claimant
    approves: bool
    reason: str = ""
    request_id: str = ""

    def told(self) -> dict[str, Json]:
        """As the audit says it."""
        word = "approve" if self.approves else "reject"
        return {"by": self.by.told(), "vote": word}


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


def requested(claim: Claim, now: float) -> NewEvent:
    """That a claim begins to wait for an approval."""
    approval = claim.approval
    assert approval is not None
    data: dict[str, Json] = {
        **claim.claimant.told(),
        "policies": [need.policy for need in approval.needs],
        "approvers": who_may(approval),
        "within": format_duration(round(approval.deadline - now, 3)),
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
