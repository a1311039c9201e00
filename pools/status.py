"""What a pool says of itself: frozen facts for `stoker pools`, metrics and explanations."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from .lifecycle import ResourceState
from .rollout import Stage
from .switches import Switch


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
class HostStatus:
    """What is set on the host as a whole."""

    freeze: Switch | None = None
    """The one that has held for longest, of that by command and that by file."""
    drain: Switch | None = None


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
    """It empties itself: no longer declared, or drained by an operator, alone or with the host."""
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
    paused: bool = False
    """By an operator, or where it is declared."""
    paused_at: str = ""
    """Where it is declared to be paused; empty when it is not."""
    switch: Switch | None = None
    """The pause or drain that operators have set; that of the host before that of the pool."""
    refresh: Switch | None = None
    rollout: RolloutStatus | None = None
    frozen: bool = False
    """Nothing of it changes by itself, because the host is frozen; what is being drained goes on."""
    freeze: Switch | None = None
    """Of the host, when it is frozen."""
