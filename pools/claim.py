"""A claim, as the daemon holds it in memory and the ledger keeps it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TypeAlias

from ..config.json_types import Json, JsonObject
from .approvals import Approval, Outcome, Voter
from .binding import Binding
from .decided import Decided
from .expiry import Terms
from .ids import ClaimId, ResourceId
from .resource import nothing
from .wishes import Wish


class ClaimState(StrEnum):
    PENDING = "pending"
    FINISHING = "finishing"
    BOUND = "bound"
    ENDING = "ending"
    ENDED = "ended"
    REFUSED = "refused"
    FAILED = "failed"


CLAIM_MOVES: dict[ClaimState, frozenset[ClaimState]] = {
    ClaimState.PENDING: frozenset(
        {
            *(ClaimState.FINISHING, ClaimState.BOUND),
            *(ClaimState.ENDED, ClaimState.REFUSED, ClaimState.FAILED),
        }
    ),
    ClaimState.FINISHING: frozenset({ClaimState.BOUND, ClaimState.PENDING, ClaimState.FAILED}),
    ClaimState.BOUND: frozenset({ClaimState.ENDING}),
    ClaimState.ENDING: frozenset({ClaimState.ENDED}),
    ClaimState.ENDED: frozenset(),
    ClaimState.REFUSED: frozenset(),
    ClaimState.FAILED: frozenset(),
}
"""`pending -> bound`: nothing outside the ledger had to be made for it.
`finishing -> pending`: finishing went wrong on one resource and another is tried.
`pending -> ended`: it was released before it was bound."""

OVER = frozenset({ClaimState.ENDED, ClaimState.REFUSED, ClaimState.FAILED})
"""States that nothing follows."""


class EndedBecause(StrEnum):
    RELEASED = "released"
    EXPIRED = "expired"
    CLAIMANT_GONE = "claimant-gone"
    REVOKED = "revoked"
    FAILED = "failed"


Counted: TypeAlias = int | tuple[str, str]
"""Who a claim counts for: a uid, or the issuer and the subject of a token."""


@dataclass(frozen=True, slots=True)
class Token:
    """What a verified bearer token says; never the token itself.

    The ledger keeps issuer and subject. `claims` is for whoever decides about the request that brought
    the token, and is gone afterwards.
    """

    issuer: str
    subject: str
    claims: Mapping[str, Json] = field(default_factory=nothing, repr=False, compare=False)
    expires_at: float = field(default=0.0, compare=False)
    """Wall-clock seconds."""


@dataclass(frozen=True, slots=True)
class Claimant:
    """Who claims, as the kernel says it. A dead peer's `pid` is 0 and its names are empty."""

    uid: int
    gid: int
    pid: int
    user: str = ""
    exe: str = ""
    unit: str = ""
    groups: tuple[str, ...] = ()
    """The names of all its groups. One that has no name is in `gids` alone."""
    gids: tuple[int, ...] = ()
    """All its groups when it connected, the first one first."""
    unknown: tuple[str, ...] = ()
    """Which of `user`, `groups`, `exe` and `unit` could not be found out: a rule that reads one of these
    cannot be answered, neither by yes nor by no."""
    token: Token | None = None
    """What its bearer token adds, when it has one."""

    @property
    def identity(self) -> tuple[int, str, str]:
        """Who it is to claims and keys: two tokens of one user are two callers."""
        token = self.token
        return (self.uid, "", "") if token is None else (self.uid, token.issuer, token.subject)

    @property
    def counts_as(self) -> Counted:
        """Who it is to limits and to turns: behind one user, each subject of a token is a caller of its own.

        The same token under two users is one caller.
        """
        token = self.token
        return self.uid if token is None else (token.issuer, token.subject)

    @property
    def person(self) -> Voter:
        """Who it is to approvals."""
        uid, issuer, subject = self.identity
        return Voter(uid, issuer, subject, self.user)

    @property
    def kept(self) -> "Claimant":
        """As its claims remember it: of a token, whose it was, and not what else it says."""
        token = self.token
        if token is None or not token.claims:
            return self
        return replace(self, token=Token(token.issuer, token.subject))

    def __str__(self) -> str:
        """`ada (uid 1000)`, with the subject of its token."""
        token = "" if self.token is None else f", {self.token.subject} of {self.token.issuer}"
        return f"{self.user or 'a user'} (uid {self.uid}{token})"

    def told(self) -> dict[str, Json]:
        """As the audit says it."""
        said: dict[str, Json] = {"uid": self.uid, "pid": self.pid}
        if self.user:
            said["user"] = self.user
        if self.token is not None:
            said["issuer"], said["subject"] = self.token.issuer, self.token.subject
        return said


@dataclass(slots=True)
class Timing:
    """Seconds spent in each stage of serving a claim."""

    queued: float = 0.0
    policy: float = 0.0
    bind: float = 0.0
    finish: float = 0.0
    total: float = 0.0


def _no_resources() -> list[ResourceId]:
    return []


@dataclass(slots=True)
class Claim:
    """One caller's time-bounded right. Times are steady seconds; widths are seconds."""

    id: ClaimId
    pool: str
    claimant: Claimant
    created_at: float
    ttl: float
    max_ttl: float
    deadline: float
    """Until when it may wait to be bound."""
    state: ClaimState = ClaimState.PENDING
    version: int = 0
    params: JsonObject = field(default_factory=nothing)
    """Sealed in the ledger, and dropped once it is bound, unless policies are asked at renewals."""
    labels: JsonObject = field(default_factory=nothing)
    reason: str = ""
    request_id: str = ""
    key: bytes | None = None
    """SHA-256 of the claimant's identity and its Idempotency-Key."""
    body: bytes = b""
    """SHA-256 of the request's body: tells a retry from a reuse."""
    answered: bool = False
    """True once the claimant knows the id (a 202 was written): such a claim outlives a crash."""
    resources: list[ResourceId] = field(default_factory=_no_resources)
    bound_at: float | None = None
    expires_at: float | None = None
    outputs: JsonObject = field(default_factory=nothing)
    """By name; of a claim for several resources by resource, then by name. So are `secrets`."""
    secrets: JsonObject = field(default_factory=nothing)
    warm: bool = True
    revision: str = ""
    timing: Timing = field(default_factory=Timing)
    ended_at: float | None = None
    ended_because: EndedBecause | None = None
    code: str = ""
    """For refused and failed: the error code (docs/errors.md)."""
    detail: str = ""
    binding: Binding | None = None
    """What it hangs on beside time; None for time alone."""
    terms: Terms | None = None
    """What its pool grants around the expiry; None for nothing."""
    wish: Wish | None = None
    """What it asks for beside any one resource of the one pool; None for just that."""
    decision: Decided | None = None
    """What policies decided; None: none was about it."""
    approval: Approval | None = None
    """What it waits for before it may be served, or what somebody has to look at afterwards."""
    record: JsonObject = field(default_factory=nothing)
    """How they did, for the first event of the claim; not kept."""
    spent: float = 0.0
    """What it cost on `spent_day`, the last day on which it was charged."""
    spent_day: int = 0
    """Days since 1970, in UTC."""

    @property
    def needs_follow_up(self) -> bool:
        """It did without an approval, and nobody who may approve has looked at that yet."""
        approval = self.approval
        if approval is None or not approval.to_follow_up:
            return False
        return self.bound_at is not None or self.state not in OVER

    @property
    def needs_approval(self) -> bool:
        """It may not be served yet."""
        return self.approval is not None and self.approval.waits and self.state not in OVER

    @property
    def known(self) -> bool:
        """Its claimant was told of it, or somebody has voted on it: it outlives a crash."""
        return self.answered or (self.approval is not None and bool(self.approval.votes))

    @property
    def voted_down(self) -> bool:
        """Its end is kept for those who have voted."""
        return self.approval is not None and self.approval.denied and bool(self.approval.votes)

    @property
    def may_be_served(self) -> bool:
        """Nobody has to approve it, or they have, or it does without. Only such a claim counts as held."""
        approval = self.approval
        if approval is None or approval.broke_glass:
            return True
        return approval.outcome is Outcome.GRANTED

    @property
    def count(self) -> int:
        """How many resources it wants, and has once it is bound."""
        return 1 if self.wish is None else self.wish.count

    @property
    def only_resource(self) -> str:
        """The id of its resource, for events; empty when it has none yet, or several."""
        return self.resources[0] if len(self.resources) == 1 else ""

    def all_outputs(self) -> dict[str, Json]:
        """Of a claim for one resource."""
        return {**self.outputs, **self.secrets}

    def outputs_of(self, resource: ResourceId, *, secrets: bool) -> dict[str, Json]:
        """What one of its resources gave, with or without what is secret."""
        shown, hidden = self.outputs, self.secrets
        if self.count > 1:
            shown, hidden = _member(shown, resource), _member(hidden, resource)
        return {**shown, **hidden} if secrets else dict(shown)


def _member(outputs: JsonObject, resource: ResourceId) -> JsonObject:
    found = outputs.get(resource)
    return found if isinstance(found, dict) else nothing()


def advance(claim: Claim, to: ClaimState) -> None:
    """The only place that assigns a claim's state. Raises `ValueError` for a move not allowed."""
    if to not in CLAIM_MOVES[claim.state]:
        raise ValueError(f"the claim {claim.id} is {claim.state} and cannot become {to}")
    claim.state = to
    claim.version += 1


def trim(claim: Claim) -> None:
    """It is bound, and durable: what only its making needed is forgotten.

    Its parameters are kept where policies are asked at renewals.
    """
    claim.record = nothing()
    if claim.decision is None:
        claim.params = nothing()


def durable(claim: Claim) -> Claim:
    """A claim that is not bound yet, as a start has to find it."""
    return replace(claim, answered=True) if claim.known and not claim.answered else claim


def retry(claim: Claim) -> None:
    """Puts a claim back to where it was before a resource was tried for it.

    From `finishing`, and from `bound` when the ledger refused to take that: nobody was told.
    """
    if claim.state is ClaimState.BOUND:
        claim.state = ClaimState.FINISHING
    if claim.state is ClaimState.FINISHING:
        advance(claim, ClaimState.PENDING)
    claim.resources = []
    claim.outputs = claim.secrets = nothing()
    claim.bound_at = claim.expires_at = None
