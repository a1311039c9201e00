"""What a pool says of itself: frozen facts for `stoker pools`, metrics and explanations."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from .lifecycle import ResourceState
from .rollout import Stage
from .switches import Switch, SwitchKind


@dataclass(frozen=True, slots=True)
class BreakerStatus:
    state: str
    """closed | open | half-open"""
    failures: int = 0
    last_error: str = ""
    until: float | None = None
    """Steady seconds: when the next probe is allowed."""


@dataclass(frozen=True, slots=True)
class RolloutStatus:
    """Of a changed blueprint that does not serve alone yet. Times are steady seconds."""

    stage: Stage
    digest: str
    previous: str
    """The digest of the blueprint before."""
    started_at: float
    since: float
    """When the stage began."""
    reason: str = ""
    """Why it came to that stage."""
    waits: str = ""
    """What it waits for at present, if that is no fault of the blueprint."""
    opens_at: float | None = None
    """When a window lets it go on."""


@dataclass(frozen=True, slots=True)
class PoolStatus:
    name: str
    blueprint: str
    digest: str
    revision: str
    labels: Mapping[str, str]
    min: int
    max: int
    ready: int
    """Claimable now."""
    waiting: int
    """Claims in the queue."""
    draining: bool
    """It empties itself: no longer declared, or drained by an operator."""
    counts: Mapping[ResourceState, int]
    unverified: int
    """Ready by the ledger, not yet observed by this run."""
    drifted: int
    """Ready or bound, and found different from what was made."""
    outdated: int
    """Made from an earlier blueprint."""
    breaker: BreakerStatus = field(default_factory=lambda: BreakerStatus("closed"))
    decisions: tuple[str, ...] = ()
    """The reasons of the last plan's commands."""
    switch: Switch | None = None
    """The pause or drain that is in force."""
    refresh: Switch | None = None
    rollout: RolloutStatus | None = None

    @property
    def paused(self) -> bool:
        return self.switch is not None and self.switch.kind is SwitchKind.PAUSE
