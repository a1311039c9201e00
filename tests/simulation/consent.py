"""Whether nobody is served without the consent that the policies of a story ask for, or beyond their limits."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from stoker.pools.approvals import Approval, Outcome
from stoker.pools.claim import OVER, Claim, ClaimState
from stoker.pools.ids import ClaimId
from stoker.pools.requests import ClaimRequest, Code
from stoker.pools.store import Event
from stoker.pools.usage import pools_of
from tests.rig import Run
from tests.simulation.laws import NAMES, WINDOW, Facts, Law, Laws, persons
from tests.simulation.voters import Attempt, lost

if TYPE_CHECKING:
    from tests.simulation.story import Story

LATE = 1.0
"""Seconds for which a claim may wait after its time: timers are exact, and nothing is suspended."""
HOLDING = frozenset({ClaimState.PENDING, ClaimState.FINISHING, ClaimState.BOUND})


class Reign(NamedTuple):
    """Since when which laws hold. Steady seconds."""

    since: float
    laws: Laws
    revision: str


class Counted(NamedTuple):
    """A claim that was served, as a rate counts it."""

    at: float
    """When it was let pass. Steady seconds."""
    created_at: float
    most: int
    """That a caller may make in a window, by the laws of then."""


@dataclass(frozen=True)
class Owed:
    """A claim that did without an approval, until somebody has looked at that."""

    claimant: tuple[int, str, str]
    asking: tuple[Law, ...]
    deadline: float


class Consent:
    """Of one story. `told` is called with each event, `look` says what is wrong."""

    def __init__(self, story: "Story") -> None:
        self._story = story
        self.reigns: list[Reign] = []
        self.asked: dict[str, ClaimRequest] = {}
        """What callers asked for, by request."""
        self.problems: list[str] = []
        self.told_of: Counter[str] = Counter()
        """What became of claims that needed an approval."""
        self._pending: dict[ClaimId, Described] = {}
        """What each claim asked for when it began to wait."""
        self.without: set[ClaimId] = set()
        """Of which the audit says that they did without an approval."""
        self._owed: dict[ClaimId, Owed] = {}
        self._held: Counter[int] = Counter()
        self._looked_at = 0.0
        self._counted: dict[int, list[Counted]] = {}
        self._known_to = 0
        """The life of the daemon in which the answered votes were looked for."""

    def reign(self, laws: Laws, revision: str) -> None:
        self.reigns.append(Reign(self._story.now(), laws, revision))

    def told(self, run: Run, event: Event) -> None:
        """Of an event that is durable, before anybody is answered."""
        claim = run.fleet.known(ClaimId(event.claim)) if event.kind in _ABOUT else None
        if claim is None:
            return
        try:
            self._hear(event, claim)
        except Exception as error:
            self.problems.append(f"{event.kind} of {claim.id} cannot be judged: {error!r}")

    def _hear(self, event: Event, claim: Claim) -> None:
        if event.kind == "claim.break-glass":
            self.without.add(claim.id)
        elif event.kind == "claim.bound":
            self.problems += self._bound(claim)
        elif event.kind in {"claim.rejected", "claim.approval-lapsed"}:
            self.told_of[event.kind] += 1
        if event.kind == "claim.approval-requested":
            self._pending[claim.id] = described(claim)

    def look(self) -> Iterator[str]:
        yield from self.problems
        yield from self._story.voters.problems
        now, fleet = self._story.now(), self._story.daemon.fleet
        held: Counter[int] = Counter()
        for claim in fleet.live_claims():
            if claim.state not in HOLDING:
                continue
            approval = claim.approval
            waits = approval is not None and not approval.broke_glass
            if waits and claim.state is ClaimState.PENDING:
                assert approval is not None
                if approval.outcome is not Outcome.GRANTED:
                    yield from self._check_waiting(claim, approval, now)
                    continue
            held[claim.claimant.uid] += claim.count
        yield from self._check_limits(held, now)
        follow_ups = fleet.approving.follow_ups.claims
        for claim_id, owed in list(self._owed.items()):
            if claim_id in follow_ups:
                approval = follow_ups[claim_id].approval
                if approval is None or approval.deadline != owed.deadline:
                    yield f"the follow-up of {claim_id} is not due when it was said"
            elif self._may_be_reviewed(claim_id, owed):
                del self._owed[claim_id]
            else:
                yield f"the follow-up of {claim_id} is forgotten"
        if self._known_to != self._story.life:
            self._known_to = self._story.life
            yield from self._check_votes(fleet.live_claims())

    # Being served

    def _bound(self, claim: Claim) -> Iterator[str]:
        asked, decided = self.asked.get(claim.request_id), claim.decision
        if asked is None or decided is None:
            if self._story.laws.laws:
                yield f"{claim.id} is bound, and no policy was asked"
            return
        then = [one for one in self._reigns(claim.created_at) if one.revision == decided.revision]
        if not then:
            yield f"{claim.id} was decided by {decided.revision}, which did not hold then"
            return
        yield from _changed(claim, asked)
        before = self._pending.get(claim.id)
        if before is not None and not before.is_it(claim):
            yield f"{claim.id} is not what was approved: {described(claim)}, and not {before}"
        laws, facts, approval = then[0].laws, _facts(claim, asked), claim.approval
        if laws.deny(facts):
            yield f"{claim.id} is bound although it was denied"
        asking = laws.asking(facts)
        if approval is not None and approval.broke_glass:
            yield from self._check_glass(claim, asked, laws, facts)
        elif asking and approval is None:
            yield f"{claim.id} is bound without asking those whom {asking[0].name} asks"
        elif approval is not None:
            yield from self._check_approval(claim, approval, asking, asked)
        yield from self._check_rate(claim, approval)

    def _check_law_of_then(self, claim: Claim, asked: ClaimRequest, at: float) -> Iterator[str]:
        """With the last vote policies asked for no more than they had asked for before."""

        def asks(laws: Laws, pool: str) -> set[tuple[str, str, int]]:
            facts = replace(_facts(claim, asked), pool=pool)
            return {(law.name, law.who.expression, law.quorum) for law in laws.asking(facts)}

        before = {
            ask
            for one in self._reigns(claim.created_at)
            for pool in _pools(asked)
            for ask in asks(one.laws, pool)
        }
        if not any(asks(one.laws, claim.pool) <= before for one in self._reigns(at)):
            yield f"{claim.id} was approved when policies asked for more"

    def _check_approval(
        self, claim: Claim, approval: Approval, asking: list[Law], asked: ClaimRequest
    ) -> Iterator[str]:
        self.told_of["approved"] += 1
        facts = _facts(claim, asked)
        attempts = self._story.voters.attempts.get(claim.id, [])
        claimant = NAMES[claim.claimant.identity]
        for law in asking:
            for_it = [
                one
                for one in attempts
                if one.approves
                and one.person != claimant
                and self._was_admitted(one, law.name, claim.claimant.uid)
            ]
            if len({one.person for one in for_it}) < law.quorum:
                yield (
                    f"{claim.id} is bound without the {law.quorum} votes that {law.name} asks for: "
                    f"{attempts}"
                )
        if claimant in persons(one.by.identity for one in approval.votes):
            yield f"{claim.id} is bound by a vote of its own claimant"
        if any(one.answered and not one.approves for one in attempts):
            yield f"{claim.id} is bound although it was rejected"
        at = approval.decided_at
        if approval.outcome is not Outcome.GRANTED or at is None:
            yield f"{claim.id} is bound and its approval is {approval.outcome}"
        elif at > approval.deadline:
            yield f"{claim.id} was approved after its deadline"
        elif all(one.laws.deny(facts) for one in self._reigns(at)):
            yield f"{claim.id} was approved when it was denied"
        else:
            yield from self._check_law_of_then(claim, asked, at)

    def _check_glass(
        self, claim: Claim, asked: ClaimRequest, laws: Laws, facts: Facts
    ) -> Iterator[str]:
        """Of several pools any may serve it, so whoever is asked for one of them looks at it afterwards.

        A rejection by any of these closes it, also where the pool that served it would not have asked them.
        """
        self.told_of["without an approval"] += 1
        approval, wish = claim.approval, claim.wish
        assert approval is not None
        pools = wish.pools if wish is not None and wish.pools else (claim.pool,)
        each = [replace(facts, pool=pool) for pool in pools]
        if not asked.break_glass or not asked.reason or not all(map(laws.break_glass, each)):
            yield f"{claim.id} broke the glass, and nobody lets it"
        if claim.id not in self.without:
            yield f"{claim.id} broke the glass, and the audit does not say so"
        asking = [law for law in laws.laws if any(map(law.asks_for, each))]
        if {need.policy for need in approval.needs} != {law.name for law in asking}:
            yield f"the follow-up of {claim.id} is for {approval.needs}"
        due = claim.created_at + min((law.follow_up for law in asking), default=0.0)
        if approval.deadline != due:
            yield f"the follow-up of {claim.id} is due at {approval.deadline}"
        self._owed[claim.id] = Owed(claim.claimant.identity, tuple(asking), approval.deadline)

    # Limits

    def _check_limits(self, held: Counter[int], now: float) -> Iterator[str]:
        """Nobody comes to hold more than a policy grants, whoever races whom and whenever the daemon dies.

        Who held more when the policy was made stricter may keep that.
        """
        most = max((one.laws.most for one in self._reigns(self._looked_at, now)), default=10**6)
        for uid, count in held.items():
            if count > most and count > self._held[uid]:
                yield f"the user {uid} holds {count}, and the policy grants {most}"
        self._held, self._looked_at = held, now

    def _check_rate(self, claim: Claim, approval: Approval | None) -> Iterator[str]:
        """A claim that waited for an approval was let pass with the last vote."""
        at = claim.created_at
        if approval is not None and approval.decided_at is not None and not approval.broke_glass:
            at = approval.decided_at
        most = max(one.laws.rate for one in self._reigns(at))
        earlier = self._counted.setdefault(claim.claimant.uid, [])
        earlier[:] = [one for one in earlier if one.at > claim.created_at - 10 * WINDOW]
        earlier.append(Counted(at, claim.created_at, most))
        for one in earlier:
            made = sum(
                other.at <= one.at and other.created_at > one.at - WINDOW for other in earlier
            )
            if one.at >= at and made > one.most:
                uid = claim.claimant.uid
                yield f"the user {uid} made {made} claims in a minute, and {one.most} is the most"

    # Waiting

    def _check_waiting(self, claim: Claim, approval: Approval, now: float) -> Iterator[str]:
        """It ends with its deadline, or as soon as it is decided, and holds nothing before."""
        until = approval.deadline if approval.decided_at is None else approval.decided_at
        late = now - max(until, self._story.up_since)
        if late > LATE:
            yield f"{claim.id} waits for an approval, {late:.1f}s too long"
        if claim.resources:
            yield f"{claim.id} waits for an approval and has {claim.resources}"

    # Votes

    def _check_votes(self, claims: Iterable[Claim]) -> Iterator[str]:
        """After a start: what was answered by earlier lives is there."""
        for claim in claims:
            for what in lost(claim.approval, self._story.voters.attempts.get(claim.id, [])):
                yield f"{claim.id} {what}"

    def ended(self, claim: Claim) -> Iterator[str]:
        """As the ledger tells of a claim on which somebody has voted."""
        attempts = self._story.voters.attempts.get(claim.id, [])
        for what in lost(claim.approval, attempts):
            yield f"{claim.id} {what}"
        said = {one.outcome for one in attempts if one.outcome not in {None, Outcome.WAITING}}
        if claim.approval is not None and not said <= {claim.approval.outcome}:
            yield f"{claim.id} was told {said} and is {claim.approval.outcome}"
        if claim.state in OVER and claim.approval is not None:
            yield from self._check_overruled(claim, claim.approval)

    def _check_overruled(self, claim: Claim, approval: Approval) -> Iterator[str]:
        """Approved, and refused all the same: only by what changed meanwhile, or by a limit."""
        asked = self.asked.get(claim.request_id)
        at = approval.decided_at
        if asked is None or at is None or approval.code != Code.DENIED:
            return
        if self._reigns(claim.created_at, at)[1:]:
            return
        yield f"{claim.id} was approved and refused, and nothing had changed: {approval.detail}"

    def _may_be_reviewed(self, claim: ClaimId, owed: Owed) -> bool:
        """Whether the votes that were cast, in whatever order they came, are enough to close it."""
        attempts = self._story.voters.attempts.get(claim, [])
        closed = {
            law.name: [
                one.approves
                for one in attempts
                if one.person != NAMES[owed.claimant]
                and self._was_admitted(one, law.name, owed.claimant[0])
            ]
            for law in owed.asking
        }
        return any(False in votes for votes in closed.values()) or all(closed.values())

    def _was_admitted(self, cast: Attempt, policy: str, claimant: int) -> bool:
        """By the laws of any moment at which it may have been counted."""
        return any(
            one.laws.admit(policy, cast.by.uid, claimant)
            for one in self._reigns(cast.at, cast.until)
        )

    def _reigns(self, since: float, until: float | None = None) -> list[Reign]:
        """Those of a time; two where one follows the other at that very moment."""
        until = since if until is None else until
        ends = [*(one.since for one in self.reigns[1:]), float("inf")]
        return [
            one
            for one, end in zip(self.reigns, ends, strict=True)
            if one.since <= until and end >= since
        ]


_ABOUT = frozenset(
    {
        *("claim.bound", "claim.break-glass", "claim.approval-requested"),
        *("claim.rejected", "claim.approval-lapsed"),
    }
)


@dataclass(frozen=True)
class Described:
    """All that may not change once others were asked about it."""

    request: tuple[object, ...]
    ttls: Mapping[str, float]
    """By the pools that may serve it: each has its own where the claim says none."""

    def is_it(self, claim: Claim) -> bool:
        """Whether it is served as others were asked."""
        return self.request == _request(claim) and self.ttls.get(claim.pool) == claim.ttl


def described(claim: Claim) -> Described:
    wish = claim.wish
    ttls = {claim.pool: claim.ttl}
    if wish is not None and wish.pools:
        ttls = {pool: decided.ttl for pool, decided in wish.decisions.items()}
    return Described(_request(claim), ttls)


def _request(claim: Claim) -> tuple[object, ...]:
    wish, tie = claim.wish, claim.binding
    return (
        claim.claimant.identity,
        claim.reason,
        dict(claim.labels),
        dict(claim.params),
        None if wish is None else (wish.count, wish.select, wish.pools),
        None if tie is None else tie.to,
    )


def _changed(claim: Claim, asked: ClaimRequest) -> Iterator[str]:
    """What the claim has otherwise than its caller asked for."""
    wish = asked.wish
    pools = _pools(asked)
    same = (
        claim.claimant.identity == asked.claimant.identity
        and (asked.ttl is None or claim.ttl == asked.ttl)
        and claim.reason == asked.reason
        and claim.labels == asked.labels
        and claim.count == (1 if wish is None else wish.count)
        and (wish is None or (claim.wish is not None and claim.wish.select == wish.select))
        and claim.pool in pools
        and set(pools_of(claim)) <= set(pools)
    )
    if not same:
        yield f"{claim.id} is not what was asked for: {claim} for {asked}"


def _pools(asked: ClaimRequest) -> tuple[str, ...]:
    """Those that may serve it."""
    return (asked.pool,) if asked.wish is None or not asked.wish.pools else asked.wish.pools


def _facts(claim: Claim, asked: ClaimRequest) -> Facts:
    wish = asked.wish
    count = 1 if wish is None else wish.count
    return Facts(asked.claimant.uid, claim.pool, count, "urgent" in asked.labels)
