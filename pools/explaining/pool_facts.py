"""What the explanation of a pool is made from, at one moment."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ...config.revision import PoolSpec
from ..breaker import Breaker
from ..ids import ClaimId, ResourceId
from ..lifecycle import ResourceState
from ..part_times import Measured
from ..plan import Plan, Snapshot
from ..status import PoolStatus
from .filling import ProviderFacts
from .shape import Present

S = ResourceState
KINDS: tuple[tuple[str, frozenset[ResourceState]], ...] = (
    ("ready", frozenset({S.READY})),
    ("being made", frozenset({S.PLANNED, S.PREPARING})),
    ("being handed over", frozenset({S.CLAIMED, S.FINISHING})),
    ("bound", frozenset({S.BOUND})),
    ("being reset", frozenset({S.RESETTING})),
    ("held", frozenset({S.HELD})),
    ("being removed", frozenset({S.FAILED, S.RETIRING, S.ENDING})),
    ("quarantined", frozenset({S.QUARANTINED})),
)
"""What people call the states, in the order of a resource's life. Each state has one kind."""


@dataclass(frozen=True, slots=True)
class Stuck:
    """A removal that does not work yet. Times are steady seconds."""

    resource: ResourceId
    part: str
    failures: int
    why: str
    next_at: float


@dataclass(frozen=True, slots=True)
class PoolFacts:
    """One pool at one moment. Times are steady seconds."""

    spec: PoolSpec
    status: PoolStatus
    snapshot: Snapshot
    present: Present
    plan: Plan = field(default_factory=lambda: Plan(()))
    planned_at: float | None = None
    """When it last decided."""
    breaker: Breaker = field(default_factory=Breaker)
    providers: tuple[ProviderFacts, ...] = ()
    creation: Measured | None = None
    holders: Mapping[str, int] = field(default_factory=dict[str, int])
    """Who has how many bound, by name."""
    next_end: tuple[ClaimId, float] | None = None
    """The claim that ends next, unless it is renewed."""
    oldest: tuple[ResourceId, float] | None = None
    """The one that has been ready for longest, and since when."""
    waiting_since: float | None = None
    """When the claim came that has waited longest."""
    stuck: tuple[Stuck, ...] = ()
    ledger_error: str = ""

    @property
    def target(self) -> int:
        return 0 if self.snapshot.draining else self.spec.size.min

    @property
    def missing(self) -> int:
        """How many are to become ready for all that are wanted, and for all who wait."""
        return max(0, self.target + self.snapshot.waiting - self.status.ready)

    @property
    def free(self) -> int:
        return max(0, self.spec.size.max - self.snapshot.occupied)

    @property
    def rest(self) -> float:
        """Seconds in which nothing may begin."""
        now = self.present.now
        until = max([self.breaker.until, *(one.patient_until for one in self.providers)])
        return max(0.0, until - now)


def kinds(counts: Mapping[ResourceState, int]) -> dict[str, int]:
    """How many there are of each kind, without those that there are none of."""
    found = {name: sum(counts.get(state, 0) for state in states) for name, states in KINDS}
    return {name: count for name, count in found.items() if count}
