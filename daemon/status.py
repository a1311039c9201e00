"""What the daemon says of itself: frozen facts for `stoker status`, readiness and metrics.

The composition root makes them; the API shows them.
"""

from dataclasses import dataclass, field

from ..config.repositories.facts import RepositoryFacts
from ..pools.approving import Undecided
from ..pools.status import HostStatus
from ..pools.store import Head
from ..pools.switches import Switch
from .jwks import KeyFacts

NO_EVENTS = Head(0, "")
NOTHING_TO_DECIDE = Undecided()


@dataclass(frozen=True, slots=True)
class RevisionFacts:
    """The revision that is applied."""

    id: str
    source: str
    applied_at: float
    """Steady seconds."""
    commit: str = ""
    """The whole id of the Git commit; empty for a plain directory."""


@dataclass(frozen=True, slots=True)
class HeldFacts:
    """A revision that waits to be accepted."""

    id: str
    commit: str
    because: tuple[str, ...]
    since: float
    """Steady seconds."""


@dataclass(frozen=True, slots=True)
class NotifyFacts:
    """For the status. Times are wall-clock seconds."""

    receiver: str
    """Without its path, which may be a secret."""
    delivered: int
    """The number of the last event that was delivered, or passed over."""
    error: str = ""
    """Why the next one is not delivered yet."""
    failing_since: float | None = None


@dataclass(frozen=True, slots=True)
class StatusFacts:
    """Times are steady seconds, widths are seconds."""

    version: str
    pid: int
    uptime: float
    state_folder: str
    socket: str
    revision: RevisionFacts | None = None
    config_ok: bool = True
    config_problems: tuple[str, ...] = ()
    """Of the newest state of the config directory, when it could not be applied."""
    config_broken_since: float | None = None
    config_held: HeldFacts | None = None
    config_pin: Switch | None = None
    """While it is set, its revision serves, whatever the source says."""
    config_seen: RevisionFacts | None = None
    """While a revision is pinned: the newest one that the source held, if it is another."""
    waiting: RevisionFacts | None = None
    """The revision that waits for the end of a freeze; its `applied_at` is since when."""
    repository: RepositoryFacts | None = None
    """None when the configuration is a plain directory."""
    ledger_ok: bool = True
    ledger_error: str = ""
    ready: bool = False
    reasons: tuple[str, ...] = ()
    """Why it is not ready, as sentences."""
    pools: int = 0
    resources: int = 0
    claims: int = 0
    """Those that are not over."""
    now: float = 0.0
    """Steady seconds, when these facts were taken."""
    clock_step: float = 0.0
    """How far the wall clock was moved while the daemon ran."""
    head: Head = NO_EVENTS
    """The newest event of the audit."""
    issuers: tuple[KeyFacts, ...] = ()
    """Whose tokens are accepted."""
    host: HostStatus = field(default_factory=HostStatus)
    """What is set on all pools at once."""
    notify: NotifyFacts | None = None
    """None when nobody is told of events."""
    approvals: Undecided = NOTHING_TO_DECIDE
    """What somebody has to decide."""
    in_force: tuple[Switch, ...] = ()
    """What operators have set, the oldest first; the first hundred."""
