"""An approval as one column of its claim holds it. Pure."""

from typing import Any, cast

from ...config.json_types import Json, JsonObject
from ..approvals import Approval, Need, Outcome, Vote, Voter
from ..resource import nothing


def approval_to_json(approval: Approval) -> JsonObject:
    """What is no default."""
    found: dict[str, Json] = {
        "digest": approval.digest,
        "needs": [[one.policy, one.rule, one.approvers, one.quorum] for one in approval.needs],
        "askedAt": approval.asked_at,
        "deadline": approval.deadline,
        "outcome": approval.outcome.value,
    }
    if approval.votes:
        found["votes"] = [_vote_to_json(one) for one in approval.votes]
    if approval.decided_at is not None:
        found["decidedAt"] = approval.decided_at
    if approval.code:
        found["code"], found["detail"] = approval.code, approval.detail
    if approval.broke_glass:
        found["brokeGlass"] = True
    if approval.facts:
        found["facts"] = dict(approval.facts)
    return found


def _vote_to_json(vote: Vote) -> Json:
    who = vote.by
    return {
        "by": [who.uid, who.issuer, who.subject, who.user, who.carried_by],
        "approves": vote.approves,
        "at": vote.at,
        "reason": vote.reason,
        "countsFor": list(vote.counts_for),
    }


def approval_from_json(found: JsonObject) -> Approval:
    """The inverse. Raises KeyError, TypeError or ValueError for what is none."""
    row = cast("dict[str, Any]", found)
    return Approval(
        digest=row["digest"],
        needs=tuple(Need(*one) for one in row["needs"]),
        asked_at=row["askedAt"],
        deadline=row["deadline"],
        votes=tuple(
            Vote(
                Voter(*one["by"]),
                one["approves"],
                one["at"],
                one["reason"],
                tuple(one["countsFor"]),
            )
            for one in row.get("votes", ())
        ),
        outcome=Outcome(row["outcome"]),
        decided_at=row.get("decidedAt"),
        code=row.get("code", ""),
        detail=row.get("detail", ""),
        broke_glass=row.get("brokeGlass", False),
        facts=row.get("facts", nothing()),
    )
