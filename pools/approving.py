"""Claims that wait for an approval, and those who vote on them.

A claim that waits holds no resource and no place in a line. Its errand stands at a gate (`wait`) until it is
decided or its deadline comes. A vote is durable before it is answered, and only then the errand goes on. With
the vote that completes an approval, the policies are asked again: who approved did so under the rules of
then, and a deny of now wins. After a restart each errand stands at its gate again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from weakref import WeakValueDictionary

from .admission import Admission
from .approval_texts import came_to_nothing, late, who_may
from .approvals import (
    Approval,
    Contradicts,
    NotAdmitted,
    NotByTheClaimant,
    NotToldApart,
    Outcome,
    TooLate,
    Vote,
    VoteError,
    is_covered,
    lapse,
    overruled,
    vote,
)
from .ballots import Ballot, digest_told, event, tell_vote, unwritten
from .claim import Claim, Claimant
from .errands import Errand, GivenUp, Left
from .follow_ups import FollowUps
from .ids import ClaimId
from .judging import Admits, Denial
from .moments import rfc3339
from .requests import Code, Refusal
from .services import Services
from .store import StoreError
from .usage import pools_of

log = logging.getLogger(__name__)

MOST_WAITING = 1000
"""Claims that may wait for an approval at once."""
MOST_OF_ONE = 50
"""Of one caller."""


@dataclass(frozen=True, slots=True)
class Undecided:
    """What somebody has to decide."""

    waiting: int = 0
    """Claims that wait for an approval."""
    oldest: float = 0.0
    """For how many seconds the oldest of them has waited."""
    follow_ups: int = 0
    """Claims that did without one, and that nobody has looked at yet."""
    overdue: int = 0
    """Those of the follow-ups whose time is over."""


class Approving:
    def __init__(
        self,
        services: Services,
        admission: Admission,
        find: Callable[[ClaimId], Awaitable[Claim]],
    ) -> None:
        self._services = services
        self._admission = admission
        self._find = find
        """Any claim, also one that is over. Raises `Refusal`."""
        self._standing: dict[ClaimId, Errand] = {}
        """Those at the gate."""
        self.follow_ups = FollowUps(services)
        self._locks: WeakValueDictionary[ClaimId, asyncio.Lock] = WeakValueDictionary()

    @property
    def waiting(self) -> Iterable[Claim]:
        return (errand.claim for errand in self._standing.values())

    # Questions

    def undecided(self) -> Iterable[Claim]:
        """Those about which somebody has to decide: that wait, and that did without."""
        yield from self.waiting
        yield from self.follow_ups.claims.values()

    def may_decide(self, claim: Claim, by: Claimant) -> bool:
        """Whether this person may approve it, and so see what it is about."""
        approval = claim.approval
        if approval is None or not (claim.needs_approval or claim.needs_follow_up):
            return False
        if by.person.is_same(claim.claimant.person):
            return False
        try:
            return bool(self._services.judge.admits(approval, by).policies)
        except Denial:
            return False

    def figures(self) -> Undecided:
        now = self._services.clock.now()
        waiting = [claim.created_at for claim in self.waiting]
        due = [one.approval.deadline for one in self.follow_ups.claims.values() if one.approval]
        return Undecided(
            waiting=len(waiting),
            oldest=max(0.0, now - min(waiting, default=now)),
            follow_ups=len(due),
            overdue=sum(deadline <= now for deadline in due),
        )

    # Waiting

    def may_ask(self, claim: Claim) -> None:
        """Raises `Refusal` when so many wait already that nobody would look at one more."""
        caller = claim.claimant.counts_as
        own = sum(one.claimant.counts_as == caller for one in self.waiting)
        if own < MOST_OF_ONE and len(self._standing) < MOST_WAITING:
            return
        who = f"{own} claims of yours" if own >= MOST_OF_ONE else f"{MOST_WAITING} claims"
        why = f"{who} wait for an approval already; wait until these are decided, or release some"
        raise Refusal(Code.LIMIT_REACHED, why, retry_after=60.0)

    async def wait(self, errand: Errand, write: Callable[[], Awaitable[None]] | None) -> None:
        """Returns once it is granted. Raises `Refusal`. `write` makes the waiting claim durable first."""
        claim = errand.claim
        self._standing[claim.id] = errand
        try:
            if write is not None:
                async with self._lock(claim.id):
                    await write()
            await self._stand(errand)
        finally:
            self._standing.pop(claim.id, None)

    async def _stand(self, errand: Errand) -> None:
        claim, clock = errand.claim, self._services.clock
        began = clock.now()
        while True:
            async with self._lock(claim.id):  # a vote that is being written goes first
                await self._look_at_the_clock(claim)
                assert claim.approval is not None
                if claim.approval.outcome is Outcome.GRANTED:
                    claim.timing.queued += clock.now() - began
                    return
                if not claim.approval.waits:
                    raise refusal_of(claim.approval)
                if errand.given_up is not None:
                    raise GivenUp(errand.because)
                if errand.deserted:
                    raise Left
                gate = errand.gate = asyncio.get_running_loop().create_future()
            timer = self._services.timers.at(claim.approval.deadline, partial(_open, gate))
            try:
                with suppress(Left):  # and `GivenUp`: what the errand says is looked at above
                    await gate
            finally:
                errand.gate = None
                timer.cancel()

    async def _look_at_the_clock(self, claim: Claim) -> None:
        before = claim.approval
        assert before is not None
        after = lapse(before, self._services.clock.now())
        if after is before:
            return
        claim.approval = after
        claim.version += 1
        transaction = self._services.store.transaction()
        transaction.put_claim(replace(claim, answered=True))
        transaction.add_event(event("claim.approval-lapsed", claim, came_to_nothing(after)))
        self._services.telemetry.approval_decided(claim.pool, Outcome.LAPSED)
        try:
            await self._services.commit(transaction, urgent=True)
        except StoreError as error:  # its end is written until it is taken
            log.warning("that the approval of %s lapsed is not written: %s", claim.id, error)

    # Voting

    async def vote(self, claim_id: ClaimId, ballot: Ballot) -> Claim:
        """The claim after the vote, which is durable. The same vote again changes nothing.

        Raises `Refusal`.
        """
        await self._find(claim_id)
        work = self._vote_in_turn(claim_id, ballot)
        return await self._services.tasks.see_through(work, f"a vote on {claim_id}", told=Refusal)

    async def _vote_in_turn(self, claim_id: ClaimId, ballot: Ballot) -> Claim:
        """Goes on when the voter hangs up: what is being written would be in the ledger and not here."""
        async with self._lock(claim_id):
            claim = self.follow_ups.claims.get(claim_id) or await self._find(claim_id)
            await self._vote(claim, ballot)
            return replace(claim)  # as it is with this vote, and not with one that is being written

    async def _vote(self, claim: Claim, ballot: Ballot) -> None:
        before, now = claim.approval, self._services.clock.now()
        if before is None:
            why = f"the claim {claim.id} needs nobody's approval"
            raise Refusal(Code.NO_APPROVAL, why)
        admits = self._services.judge.admits(before, ballot.by, ballot.carried_by)
        cast = Vote(ballot.voter, ballot.approves, now, ballot.reason, admits.policies)
        try:
            after = vote(before, cast, claimant=claim.claimant.person, now=now)
        except VoteError as error:
            if isinstance(error, NotAdmitted) and admits.not_by_webhook:
                raise _not_by_webhook(claim, ballot, admits) from None
            if isinstance(error, NotAdmitted) and admits.changed:
                raise _asked_by_another_version(claim, admits) from None
            raise self._refused(claim, before, error) from None
        digest = digest_told(claim)
        if ballot.about and digest and ballot.about != digest:
            why = (
                f"the vote is about something else than what {claim.id} asks for; look at it again"
            )
            raise Refusal(Code.VOTE_MISMATCH, why)
        if after is before:
            return
        if claim.needs_follow_up:
            await self.follow_ups.review(claim, before, after, ballot)
        elif claim.needs_approval:
            await self._decide(claim, after, ballot)
        else:
            raise Refusal(Code.CLAIM_OVER, f"the claim {claim.id} is over: it is {claim.state}")

    def _refused(self, claim: Claim, approval: Approval, error: VoteError) -> Refusal:
        match error:
            case NotByTheClaimant():
                why = f"nobody decides about a claim of their own, and {claim.id} is yours"
                return Refusal(Code.DENIED, why, details={"rule": "never-the-claimant"})
            case NotToldApart():
                why = (
                    f"nobody can tell whether this voter made {claim.id}: of its claimant only"
                    f" {'the subject of a token' if claim.claimant.token else 'the user'} is known;"
                    " say that of the voter too"
                )
                return Refusal(Code.DENIED, why, details={"rule": "never-the-claimant"})
            case NotAdmitted():
                need = approval.needs[0]
                why = f"you may not decide about {claim.id}: {who_may(approval)}"
                details = {"policy": need.policy, "rule": "approvals.approvers"}
                return Refusal(Code.DENIED, why, details=details)
            case Contradicts():
                why = f"you have said the opposite about {claim.id} before, and that stands"
                return Refusal(Code.VOTE_CONTRADICTS, why)
            case TooLate():
                at = approval.decided_at or approval.deadline
                told = late(approval, rfc3339(self._services.clock.to_wall(at)))
                return Refusal(Code.VOTE_LATE, f"{claim.id}: {told}")
            case _:
                raise error

    async def _decide(self, claim: Claim, after: Approval, ballot: Ballot) -> None:
        """Writes a vote about a claim that waits. Nothing else writes the claim meanwhile."""
        services = self._services
        deadline = claim.deadline
        if after.outcome is Outcome.GRANTED:
            after, deadline = self._grant(claim, after)
        granted = after.outcome is Outcome.GRANTED
        if after.outcome is not Outcome.WAITING:
            after = replace(after, facts={})
        claim.version += 1
        written = replace(claim, approval=after, deadline=deadline, answered=True)
        transaction = services.store.transaction()
        transaction.put_claim(written)
        tell_vote(transaction, written, ballot)
        try:
            await services.commit(transaction, urgent=True)
        except StoreError as error:
            if granted:
                services.usage.leave(claim)
            raise unwritten(error) from error
        claim.approval, claim.deadline = after, deadline
        if granted:
            services.usage.confirm(claim)
        if after.outcome is not Outcome.WAITING:
            services.telemetry.approval_decided(claim.pool, after.outcome)
            errand = self._standing.get(claim.id)
            if errand is not None and errand.gate is not None:
                _open(errand.gate)

    def _grant(self, claim: Claim, after: Approval) -> tuple[Approval, float]:
        """What becomes of an approval that is complete, and until when the claim may wait in line."""
        try:
            needs = self._admission.again(claim)
        except Refusal as refusal:
            return overruled(after, refusal.code, refusal.message), claim.deadline
        if not is_covered(after, needs):
            why = "the policies ask for other approvals by now; claim again"
            return overruled(after, Code.DENIED, why), claim.deadline
        self._services.usage.hold_ahead(claim, pools_of(claim))
        return after, self._services.clock.now() + self._admission.patience(claim)

    def turn(self, claim: Claim) -> AbstractAsyncContextManager[object]:
        """For whoever writes a claim beside those who look at its follow-up: one after the other."""
        return self._lock(claim.id) if claim.needs_follow_up else nullcontext()

    def _lock(self, claim: ClaimId) -> asyncio.Lock:
        lock = self._locks.get(claim)
        if lock is None:
            lock = self._locks[claim] = asyncio.Lock()
        return lock


def refusal_of(approval: Approval) -> Refusal:
    """For a claim whose approval came to nothing."""
    why = came_to_nothing(approval)
    if approval.code:
        return Refusal(Code(approval.code), why)
    lapsed = approval.outcome is Outcome.LAPSED
    return Refusal(Code.APPROVAL_LAPSED if lapsed else Code.APPROVAL_REJECTED, why)


def _not_by_webhook(claim: Claim, ballot: Ballot, admits: Admits) -> Refusal:
    policy = admits.not_by_webhook[0]
    why = (
        f"the policy {policy} takes no votes about {claim.id} by the webhook {ballot.carried_by}"
        " (approvals.webhooks); vote at the socket"
    )
    return Refusal(Code.DENIED, why, details={"policy": policy, "rule": "approvals.webhooks"})


def _asked_by_another_version(claim: Claim, admits: Admits) -> Refusal:
    policy = admits.changed[0]
    why = (
        f"you may not decide about {claim.id}: the policy {policy} has changed since that was asked for,"
        " or is gone; the claimant has to release it, and claim again"
    )
    return Refusal(Code.DENIED, why, details={"policy": policy, "rule": "approvals.approvers"})


def _open(gate: "asyncio.Future[None]") -> None:
    if not gate.done():
        gate.set_result(None)
