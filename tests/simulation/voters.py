"""Those who decide about claims in a story, and what they were answered: the truth that the daemon has to keep."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from stoker.pools.approvals import Approval, Outcome
from stoker.pools.ballots import Ballot
from stoker.pools.claim import Claim, Claimant
from stoker.pools.ids import ClaimId
from stoker.pools.requests import Code, Refusal
from tests.simulation.laws import NAMES, PEOPLE

if TYPE_CHECKING:
    from tests.simulation.story import Story

PATIENCE = (0.0002, 60.0, 60.0, 60.0)
"""Seconds after which a voter hangs up: some do while their vote is written, and nobody waits for a dead daemon."""
LATELY = 40
"""So many claims about which somebody has voted are voted on again, now and then."""
FORESEEN = frozenset(
    {
        *(Code.DENIED, Code.VOTE_CONTRADICTS, Code.VOTE_LATE),
        *(Code.CLAIM_OVER, Code.NO_SUCH_CLAIM),
    }
)


@dataclass
class Attempt:
    """A vote that was cast, whatever came of it. Times are steady seconds."""

    claim: ClaimId
    by: Claimant
    approves: bool
    at: float
    until: float = float("inf")
    """When it was answered or refused; never when the daemon died over it."""
    outcome: Outcome | None = None
    """What the approval was then, if it was answered."""

    @property
    def person(self) -> str:
        return NAMES[self.by.identity]

    @property
    def answered(self) -> bool:
        return self.outcome is not None


class Voters:
    def __init__(self, story: "Story", seed: int) -> None:
        self._story = story
        self._draw = Random(f"voters of {seed}")
        self.attempts: dict[ClaimId, list[Attempt]] = {}
        self.problems: list[str] = []
        self.start: Callable[..., object] = asyncio.ensure_future
        """Starts a task of the story."""
        self.done = 0
        """Votes that were answered."""
        self._requests: dict[ClaimId, str] = {}
        """By the claims that somebody has voted on."""
        self._lately: dict[ClaimId, None] = {}
        """The claims that somebody has voted on since the daemon started."""

    async def work(self) -> None:
        draw = self._draw
        while True:
            await asyncio.sleep(draw.expovariate(1 / 3))
            claim = self._choose()
            if claim is None:
                continue
            async with asyncio.TaskGroup() as group:
                for _ in range(draw.choice([1, 1, 1, 2, 3])):
                    group.create_task(self.vote(claim), name=f"a vote on {claim.id}")

    def _choose(self) -> Claim | None:
        """One about which somebody has to decide; now and then one about which somebody has voted."""
        if not self._story.up:
            return None
        approving = self._story.daemon.fleet.approving
        if self._draw.random() < 0.1:
            known = {claim.id: claim for claim in self._story.daemon.fleet.live_claims()}
            voted = [known[one] for one in list(self.attempts)[-LATELY:] if one in known]
            if voted:
                return self._draw.choice(voted)
        undecided = list(approving.undecided())
        return self._draw.choice(undecided) if undecided else None

    def voted_since(self) -> list[ClaimId]:
        """Those that somebody has voted on since this was asked last."""
        voted = list(self._lately)
        self._lately.clear()
        return voted

    def meddle(self, claim: Claim | None) -> None:
        """Somebody looks at the follow-up of a claim at the very moment at which its caller does something."""
        if claim is not None and claim.needs_follow_up and self._draw.random() < 0.5:
            self.start(self.vote(claim), name=f"a vote on {claim.id}")

    def lost_with_its_claim(self, claim: ClaimId) -> list[str]:
        """What is wrong when there is no such claim any more: it may go with a claimant who left without an
        answer, and one that was approved and not served in time with its refusal."""
        caller = self._story.callers[self._requests[claim]]
        rejected = any(one.outcome is Outcome.REJECTED for one in self.attempts[claim])
        denied = rejected and claim not in self._story.consent.without
        if caller.gave_up or (caller.refused and not denied):
            return []
        answered = [one for one in self.attempts[claim] if one.answered]
        return [f"{claim} is gone, and {one.by} was answered" for one in answered]

    async def vote(self, claim: Claim) -> None:
        draw = self._draw
        self._lately[claim.id] = None
        self._requests[claim.id] = claim.request_id
        before = self.attempts.setdefault(claim.id, [])
        if (
            before and draw.random() < 0.15
        ):  # the same person again, and perhaps not of the same mind
            by = draw.choice(PEOPLE[draw.choice(before).person])
        elif draw.random() < 0.15:
            by = draw.choice(PEOPLE[NAMES[claim.claimant.identity]])
        else:
            by = draw.choice(PEOPLE[draw.choice(list(PEOPLE))])
        cast = Attempt(claim.id, by, draw.random() < 0.85, self._story.now())
        before.append(cast)
        await self._cast(cast, claim.claimant)

    async def _cast(self, cast: Attempt, claimant: Claimant) -> None:
        story, life = self._story, self._story.life
        ballot = Ballot(cast.by, cast.approves, "so", f"v{self.done}")
        try:
            async with asyncio.timeout(self._draw.choice(PATIENCE)):
                claim = await story.daemon.fleet.approving.vote(cast.claim, ballot)
        except TimeoutError:
            return
        except Refusal as refusal:
            cast.until = story.now()
            if refusal.code not in FORESEEN:
                self.problems.append(f"a voter was told {refusal.code}: {refusal}")
            return
        if life != story.life or not story.up:
            return
        cast.until = story.now()
        assert claim.approval is not None
        cast.outcome = claim.approval.outcome
        self.done += 1
        if cast.person == NAMES[claimant.identity]:
            self.problems.append(f"{cast.by} has voted on their own claim {claim.id}")
        self.problems += [f"{claim.id} {what}" for what in lost(claim.approval, [cast])]
        self.problems += [
            f"{cast.by} has said both about {claim.id}"
            for one in self.attempts[cast.claim]
            if one.answered and one.person == cast.person and one.approves is not cast.approves
        ]
        owed = story.daemon.fleet.approving.follow_ups.claims
        if cast.outcome is not Outcome.WAITING and claim.id in owed:
            self.problems.append(f"{claim.id} was reviewed and is still to be followed up")


def lost(approval: Approval | None, attempts: list[Attempt]) -> list[str]:
    """Which of the answered votes are not there."""
    votes = set[tuple[tuple[int, str, str], bool]]()
    if approval is not None:
        votes = {(one.by.identity, one.approves) for one in approval.votes}
    return [
        f"has lost a vote of {one.by} that was answered"
        for one in attempts
        if one.answered and (one.by.identity, one.approves) not in votes
    ]
