"""What is said of approvals, in sentences. Pure."""

from ..config.units import format_duration
from .approvals import Approval, Need, Outcome


def who_may(approval: Approval) -> str:
    """Who is asked, and how many of them have said yes."""
    return "; ".join(_who_may(approval, need) for need in approval.needs)


def _who_may(approval: Approval, need: Need) -> str:
    quorum = approval.quorum_of(need)
    so_far = "" if quorum == 1 else f", {quorum} of them ({approval.approved_by(need)} so far)"
    return f"the policy {need.policy} asks those for whom {need.approvers} is true{so_far}"


def waiting(approval: Approval, now: float) -> str:
    """What a pending claim waits for."""
    left = format_duration(max(1, round(approval.deadline - now)))
    return (
        f"somebody has to approve it, and not its claimant{_glass(approval)}: {who_may(approval)}; "
        f"it lapses in {left}"
    )


def _glass(approval: Approval) -> str:
    """To a claimant in an emergency, who waits nevertheless, why."""
    request = approval.facts.get("request")
    if not isinstance(request, dict) or not request.get("breakGlass"):
        return ""
    if not str(request.get("reason", "")).strip():
        return ", who gave no reason to break the glass (release it, and claim with one)"
    return ", who may not break the glass for it"


def came_to_nothing(approval: Approval) -> str:
    """Why a claim is refused whose approval was not granted."""
    if approval.outcome is Outcome.LAPSED:
        return f"nobody decided in time: {who_may(approval)}; claim again, and ask one of them"
    if approval.code:
        return approval.detail
    for one in approval.votes:
        if not one.approves:
            because = f": {one.reason}" if one.reason else ""
            return f"{one.by} rejected it{because}"
    return "it was rejected"


def late(approval: Approval, at: str) -> str:
    """Why a vote comes too late. `at`: when it was decided, or its deadline."""
    if approval.outcome in {Outcome.WAITING, Outcome.LAPSED}:
        return f"the approval lapsed at {at}; the claimant has to claim again"
    return f"the approval was {approval.outcome} at {at}, and stays so"
