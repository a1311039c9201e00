"""The approval of one claim: who was asked, who said what, and what comes of it. Pure.

Theory of operation
-------------------

An `Approval` is bound to a request by a digest over all of it, and has one `Need` for each policy that asks
for one. `vote` takes what one person says; a `Vote` counts for the needs whose policies admitted that
person. What becomes of it follows from the votes as a set, whatever their order (`outcome_of`): a single
rejection by anyone who may approve rejects; it is granted once each need has as many approvals of
different persons as its quorum says.

Persons are told apart by user id and by the subject of their token. Two votes with the same user id, or the
same subject, are of one person, and so are votes that a third one joins in this way. The claimant is
none of the persons who count, be it under another user id with the same token.

Of whoever votes by a webhook its sender says who it is: a user of this host, the subject of a token, or both. Where
one is known by a user alone and the other by a subject alone, nobody can tell them apart: two such votes count
once, and such a voter decides about no claim of the other.

Whoever broke the glass has its resource already; then this is its follow-up, which one person who may
approve closes for each need, also when it is overdue.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from ..config.json_types import JsonObject
from .resource import nothing

NO_UID = -1
"""Of whoever is known by the subject of a token alone."""


@dataclass(frozen=True, slots=True)
class Voter:
    """A person, as far as this daemon can tell."""

    uid: int
    issuer: str = ""
    subject: str = ""
    """Of the bearer token; both are empty without one."""
    user: str = field(default="", compare=False)
    carried_by: str = field(default="", compare=False)
    """The webhook whose sender says that it is this person; empty for one who came to the socket."""

    @property
    def identity(self) -> tuple[int, str, str]:
        return self.uid, self.issuer, self.subject

    def is_same(self, other: "Voter") -> bool:
        by_token = bool(self.subject) and self.identity[1:] == other.identity[1:]
        return (self.uid == other.uid != NO_UID) or by_token

    def may_be(self, other: "Voter") -> bool:
        """It is the same, or nobody can tell."""
        if self.is_same(other):
            return True
        if not (self.carried_by or other.carried_by):
            return False
        by_subject = bool(self.subject and other.subject)
        by_user = self.has_own_uid and other.has_own_uid
        return not (by_subject or by_user)

    @property
    def has_own_uid(self) -> bool:
        """Not that of a program through which several people come, each with a token."""
        return self.uid != NO_UID and (bool(self.carried_by) or not self.subject)

    def __str__(self) -> str:
        """`ada (uid 1000)`, with the subject of its token and the webhook that carried its vote."""
        named = f"{self.subject} of {self.issuer}" if self.subject else ""
        by = f", by the webhook {self.carried_by}" if self.carried_by else ""
        if self.uid == NO_UID:
            return f"{named}{by}"
        return f"{self.user or 'a user'} (uid {self.uid}{named and ', '}{named}){by}"


class Outcome(StrEnum):
    WAITING = "waiting"
    GRANTED = "granted"
    REJECTED = "rejected"
    LAPSED = "lapsed"


@dataclass(frozen=True, slots=True)
class Need:
    """What one policy asks for."""

    policy: str
    rule: str
    approvers: str
    """The expression that says who may."""
    quorum: int = 1


@dataclass(frozen=True, slots=True)
class Vote:
    by: Voter
    approves: bool
    at: float
    """Steady seconds."""
    reason: str = ""
    counts_for: tuple[str, ...] = ()
    """The policies that admit this person."""


@dataclass(frozen=True, slots=True)
class Approval:
    digest: str
    """SHA-256 over everything that was asked for."""
    needs: tuple[Need, ...]
    """By policy."""
    asked_at: float
    """Steady seconds."""
    deadline: float
    """Steady seconds. Of a follow-up: when it is overdue."""
    votes: tuple[Vote, ...] = ()
    """In the order in which they came."""
    outcome: Outcome = Outcome.WAITING
    decided_at: float | None = None
    code: str = ""
    """Why it came to nothing although it was approved: the code of what policies said then."""
    detail: str = ""
    broke_glass: bool = False
    """The claim was served at once, and this is its follow-up."""
    facts: JsonObject = field(default_factory=nothing)
    """Of the request, for those who judge who may approve. Holds no secret."""

    @property
    def waits(self) -> bool:
        """The claim may not be served yet."""
        return self.outcome is Outcome.WAITING and not self.broke_glass

    @property
    def denied(self) -> bool:
        """The claim may never be served."""
        return self.outcome in {Outcome.REJECTED, Outcome.LAPSED} and not self.broke_glass

    @property
    def to_follow_up(self) -> bool:
        return self.outcome is Outcome.WAITING and self.broke_glass

    def approved_by(self, need: Need) -> int:
        """How many persons approved for it so far."""
        return _persons([one for one in self.votes if _counts(one, need)], self.votes)

    def quorum_of(self, need: Need) -> int:
        return 1 if self.broke_glass else need.quorum


class VoteError(Exception):
    """A vote that does not count."""


class NotByTheClaimant(VoteError):
    """Nobody approves, or rejects, what they have claimed themselves."""


class NotToldApart(VoteError):
    """Nobody can tell whether it is the claimant."""


class NotAdmitted(VoteError):
    """No policy that asks for this approval admits this person."""


class Contradicts(VoteError):
    """The same person has said the opposite."""


class TooLate(VoteError):
    """It is decided, or its deadline is past."""


def vote(approval: Approval, cast: Vote, *, claimant: Voter, now: float) -> Approval:
    """The approval with this vote; the very same one when it was cast before. Raises `VoteError`.

    Who is admitted by more policies than when the same was said before (a webhook is taken by one of them and not by
    the other, or the policies are others by now) is heard again, for these.
    """
    if cast.by.is_same(claimant):
        raise NotByTheClaimant
    if cast.by.may_be(claimant):
        raise NotToldApart
    for earlier in approval.votes:
        if earlier.by.is_same(cast.by) and earlier.approves is not cast.approves:
            raise Contradicts
    before = [one.counts_for for one in approval.votes if one.by.identity == cast.by.identity]
    asked = {need.policy for need in approval.needs}
    if before and asked.intersection(cast.counts_for) <= set().union(*before):
        return approval
    late = now >= approval.deadline and not approval.broke_glass
    if late or approval.outcome is not Outcome.WAITING:
        raise TooLate
    if not cast.counts_for:
        raise NotAdmitted
    after = replace(approval, votes=(*approval.votes, cast))
    outcome = outcome_of(after)
    if outcome is Outcome.WAITING:
        return after
    return replace(after, outcome=outcome, decided_at=now)


def outcome_of(approval: Approval) -> Outcome:
    """What follows from the votes, in whatever order they came."""
    asked = {need.policy for need in approval.needs}
    if any(not one.approves and asked.intersection(one.counts_for) for one in approval.votes):
        return Outcome.REJECTED
    if approval.needs and all(
        approval.approved_by(need) >= approval.quorum_of(need) for need in approval.needs
    ):
        return Outcome.GRANTED
    return Outcome.WAITING


def lapse(approval: Approval, now: float) -> Approval:
    """What remains of it at `now`: one that waits past its deadline has lapsed."""
    if not approval.waits or now < approval.deadline:
        return approval
    return replace(approval, outcome=Outcome.LAPSED, decided_at=now)


def overruled(approval: Approval, code: str, detail: str) -> Approval:
    """It was approved, and policies deny by now what was approved."""
    return replace(approval, outcome=Outcome.REJECTED, code=code, detail=detail)


def is_covered(approval: Approval, needs: Iterable[Need]) -> bool:
    """Whether what policies ask for by now is no more than what was asked for.

    By which of its rules a policy asks is no matter: of several pools each may have its own.
    """
    return {_asks(need) for need in needs} <= {_asks(need) for need in approval.needs}


def _asks(need: Need) -> tuple[str, str, int]:
    return need.policy, need.approvers, need.quorum


def _counts(cast: Vote, need: Need) -> bool:
    return cast.approves and need.policy in cast.counts_for


def _persons(some: Sequence[Vote], votes: Sequence[Vote]) -> int:
    """How many different persons cast `some` of the `votes`."""
    joined: list[list[Voter]] = []
    for voter in (one.by for one in votes):
        mine = [those for those in joined if any(voter.may_be(other) for other in those)]
        joined = [those for those in joined if those not in mine]
        joined.append([voter, *(other for those in mine for other in those)])
    casting = {one.by.identity for one in some}
    return sum(any(voter.identity in casting for voter in those) for those in joined)
