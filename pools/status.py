"""What a pool says of itself: frozen facts for `stoker pools`, metrics and explanations."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from .lifecycle import ResourceState
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

    @property
    def paused(self) -> bool:
        return self.switch is not None and self.switch.kind is SwitchKind.PAUSE
