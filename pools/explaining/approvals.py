"""Which approval a claim waits for or had: who asks, who may give it, how many have, and until when."""

from collections.abc import Iterator

from ...config.json_types import Json
from ...config.units import format_duration
from ..approval_texts import came_to_nothing
from ..approvals import Approval, Need, Outcome, Vote
from ..claim import Claim
from .shape import Coming, Present
from .words import be, plural, quoted, sentence, span, within


def missing(approval: Approval) -> str:
    """`1 of 2 approvals`, or `1 of 2 approvals for the policy db and 0 of 1 for web`."""
    several = len(approval.needs) > 1
    counts = [
        f"{approval.approved_by(need)} of {plural(approval.quorum_of(need), 'approval')}"
        + (f" for the policy {need.policy}" if several else "")
        for need in approval.needs
    ]
    return " and ".join(counts)


def told(claim: Claim, present: Present) -> Iterator[str]:
    approval = claim.approval
    if approval is None:
        return
    if approval.broke_glass:
        yield from _broke_glass(claim, approval, present)
    elif approval.outcome is Outcome.WAITING:
        yield (
            "Somebody has to approve it, and not its claimant. Until then it holds nothing and "
            "stands in no line."
        )
    elif approval.outcome is Outcome.GRANTED:
        yield f"It was approved{_ago(approval.decided_at, present)}."
    else:
        yield sentence(f"it was not approved: {quoted(came_to_nothing(approval))}")
    yield from (_need(approval, need) for need in approval.needs)
    yield from (_vote(one, present) for one in approval.votes)
    if claim.needs_approval:
        yield (
            f"The approval lapses {within(approval.deadline - present.now)}, and the claim is refused "
            "if it is not complete by then. One rejection by anybody who may approve refuses it at once."
        )


def _broke_glass(claim: Claim, approval: Approval, present: Present) -> Iterator[str]:
    yield sentence(f"it broke the glass and did without an approval: {quoted(claim.reason)}")
    if approval.outcome is not Outcome.WAITING:
        yield f"Somebody looked at that{_ago(approval.decided_at, present)}: it is {approval.outcome}."
    elif claim.needs_follow_up:
        left = approval.deadline - present.now
        due = f"is due {within(left)}" if left > 0 else f"is overdue since {span(-left)}"
        yield f"The follow-up {due}: somebody who may approve has to approve or reject it."


def _ago(at: float | None, present: Present) -> str:
    return "" if at is None else f" {span(present.now - at)} ago"


def _need(approval: Approval, need: Need) -> str:
    so_far, quorum = approval.approved_by(need), approval.quorum_of(need)
    return (
        f"The policy {need.policy} asks for it, by its rule {need.rule}: {so_far} of "
        f"{plural(quorum, 'approval')} {be(so_far)} there, by those for whom this is true: "
        f"{quoted(need.approvers)}."
    )


def _vote(vote: Vote, present: Present) -> str:
    what = "approved" if vote.approves else "rejected"
    why = f", with the reason: {quoted(vote.reason)}" if vote.reason else ""
    aside = "," if vote.by.carried_by else ""
    return f"{vote.by}{aside} {what} it{_ago(vote.at, present)}{why}."


def waited(claim: Claim) -> float | None:
    """For how many seconds it waited to be approved, if it did."""
    approval = claim.approval
    if approval is None or approval.broke_glass or approval.decided_at is None:
        return None
    return max(0.0, approval.decided_at - approval.asked_at)


def coming(claim: Claim, present: Present) -> Iterator[Coming]:
    """For one that waits."""
    if claim.approval is not None and claim.needs_approval:
        what = "its approval lapses, unless it is complete"
        yield Coming.when(what, claim.approval.deadline, present)


def numbers(approval: Approval, present: Present) -> dict[str, Json]:
    """For programs."""
    return {
        "outcome": approval.outcome.value,
        "brokeGlass": approval.broke_glass,
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
        "votes": len(approval.votes),
        "within": format_duration(round(max(0.0, approval.deadline - present.now), 3)),
    }
