"""Resources and their parts, as the daemon holds them in memory and the ledger keeps them."""

from dataclasses import dataclass, field
from enum import StrEnum

from ..config.json_types import JsonObject
from .ids import ClaimId, PartId, ResourceId
from .lifecycle import PartState, ResourceState
from .switches import Switch

_NOTHING: JsonObject = {}


def nothing() -> JsonObject:
    """One shared empty object: ten thousand resources mostly have empty handles and secrets."""
    return _NOTHING


class Half(StrEnum):
    """Which half of the blueprint a part belongs to."""

    PREPARE = "prepare"
    FINISH = "finish"


class Health(StrEnum):
    """What was last observed of a resource. Only `healthy` ones are claimable."""

    HEALTHY = "healthy"
    UNKNOWN = "unknown"
    """Not yet observed by this run of the daemon."""
    DRIFTED = "drifted"


@dataclass(slots=True)
class Part:
    """One thing a driver made or is about to make. `ordinal` is its place in creation order."""

    id: PartId
    name: str
    driver: str
    provider: str
    half: Half
    ordinal: int
    state: PartState = PartState.INTENDED
    handle: JsonObject = field(default_factory=nothing)
    outputs: JsonObject = field(default_factory=nothing)
    secrets: JsonObject = field(default_factory=nothing)
    ready: JsonObject = field(default_factory=nothing)
    """The rendered readiness check, to probe with later; empty when there is none."""


@dataclass(slots=True)
class Resource:
    """One member of a pool. `state` is assigned by `Inventory.move` alone.

    `version` grows with every write, and the ledger refuses an older one, so a late write can
    never undo a newer one. Times are steady seconds (see `clock`).
    """

    id: ResourceId
    pool: str
    blueprint: str
    digest: str
    revision: str
    created_at: float
    state: ResourceState = ResourceState.PLANNED
    version: int = 0
    changed_at: float = 0.0
    ready_at: float | None = None
    claim: ClaimId | None = None
    """Whose it is now, or was last, until it is ready again."""
    uses: int = 0
    """How many claims it was bound to, the present one included."""
    health: Health = Health.UNKNOWN
    reason: str = ""
    """Why it is in its present state, as a sentence."""
    parts: list[Part] = field(default_factory=list[Part])
    labels: JsonObject = field(default_factory=nothing)
    renewing: bool = False
    """What was prepared ahead is being removed and made anew by a reset, so there is nothing left
    to inspect. Kept in memory alone."""
    suspect: bool = False
    """A driver told of a change while the resource was made or finished: it has to be looked at
    once that is over. Kept in memory alone."""
    observed_at: float | None = None
    """When this run of the daemon last looked at it. Kept in memory alone, as what follows."""
    observed: str = ""
    """What was wrong then, or why it could not be told; empty when all was as it was made."""
    hold: Switch | None = None
    """An operator keeps it for inspection; in the ledger, it stands among the switches."""

    @property
    def claimable(self) -> bool:
        """The only test of "ready": everything that counts or hands out ready resources asks it."""
        return self.state is ResourceState.READY and self.health is Health.HEALTHY

    def part(self, name: str) -> Part | None:
        return next((part for part in self.parts if part.name == name), None)


def part_values(part: Part) -> JsonObject:
    """What expressions see as `parts.NAME`: outputs and secrets together."""
    return {**part.outputs, **part.secrets} if part.secrets else part.outputs
