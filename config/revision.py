"""One validated, immutable state of the config directory: what the rest of the daemon works with.

Everything here is already parsed, checked, compiled and in base units (seconds, per second,
bytes). `loading.load` makes it; nothing changes it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from .expressions import Expression
from .json_types import Json, JsonObject
from .parameters import Parameters
from .policies.rules import Case, PolicySpec
from .shares import A_QUARTER, Share
from .templates import Template
from .windows import Window


@dataclass(frozen=True, slots=True)
class PartPlan:
    """One part of a blueprint, compiled. Parts stand in creation order."""

    name: str
    driver: str
    provider: str
    """The Provider's name; the driver's own name when the part names none."""
    settings: Template
    """Renders to the driver's `with`; reads params, parts, self, resource, claim."""
    ready: Template | None
    """Renders to `{http|tcp|exec|log: …, within: seconds, every: seconds}`."""
    needs: frozenset[str]
    """The parts it reads or names in `dependsOn`, directly."""


@dataclass(frozen=True, slots=True)
class ResetPlan:
    """How a resource is brought back after a claim. Every part of `finish` is removed before."""

    parts: tuple[PartPlan, ...]
    """Those of `prepare` that are brought back, in creation order."""
    in_place: frozenset[str]
    """The names of those that their driver resets; the others are removed and made anew."""
    verify: Template
    """Renders to `{http|tcp|exec: …, within: seconds, every: seconds}`; reads parts, resource."""
    max_uses: int = 10
    within: float = 30.0
    """Seconds for everything."""


@dataclass(frozen=True, slots=True)
class OutputPlan:
    """One output of a claim."""

    name: str
    value: Template
    secret: bool
    early: bool
    """True when it reads nothing of the claim: it is rendered once, when the resource is ready."""


@dataclass(frozen=True, slots=True)
class Cost:
    per_hour: float = 0.0
    centre: str = ""


@dataclass(frozen=True)
class Blueprint:
    name: str
    digest: str
    """Hash of everything that decides how a resource is made; another digest means outdated."""
    parameters: Parameters
    prepare: tuple[PartPlan, ...]
    finish: tuple[PartPlan, ...]
    outputs: tuple[OutputPlan, ...]
    cost: Cost = field(default_factory=Cost)
    finish_within: float = 30.0
    """Seconds in which all finish parts must be made and verified."""
    reset: ResetPlan | None = None
    """None: a resource serves one claim."""

    @cached_property
    def reads_claim(self) -> bool:
        """Whether an expression looks at `claim`: its facts cost time, so they wait to be asked."""
        templates = [output.value for output in self.outputs]
        for part in self.finish:
            templates += [part.settings] if part.ready is None else [part.settings, part.ready]
        return any(ref[0] == "claim" for template in templates for ref in template.references)


@dataclass(frozen=True, slots=True)
class Size:
    min: int
    """How many to keep ready."""
    max: int
    """How many may exist in all, claimed ones and those being removed included."""


@dataclass(frozen=True, slots=True)
class Courtesy:
    """What claims are granted around their expiry, in seconds."""

    notice: float | None = None
    """How long before it the expiry is announced; None: it is not."""
    grace: float = 0.0
    """How long after it a claim keeps its resource."""


@dataclass(frozen=True, slots=True)
class Lifetime:
    """Seconds. `max_age` is None when resources may stay ready for ever."""

    ttl: float = 1800.0
    max_ttl: float = 14400.0
    max_age: float | None = None
    courtesy: Courtesy | None = None


@dataclass(frozen=True, slots=True)
class Backfill:
    rate: float = 5.0
    """Creations begun per second."""
    burst: int = 1
    """How many of them may begin at once: at most `burst` in any `burst / rate` seconds."""
    concurrency: int = 4


@dataclass(frozen=True, slots=True)
class Priority:
    """One rule of a pool's queue."""

    name: str
    when: Expression
    """Over `caller` and `claim`; true or false."""
    priority: int
    """Higher goes first."""


@dataclass(frozen=True, slots=True)
class Queue:
    max: int = 1000
    """How many claims may wait; one more is told 429."""
    wait: float = 60.0
    """How long a claim may wait that says nothing about it, in seconds."""
    priorities: tuple[Priority, ...] = ()
    """The first that matches decides; without a match the priority is 0."""


@dataclass(frozen=True, slots=True)
class RolloutSpec:
    """How a changed blueprint replaces what is ready. Shares are of `size.min`."""

    max_unavailable: Share = A_QUARTER
    """How many fewer than `size.min` may be ready because of it; a percentage is rounded down."""
    max_surge: Share = A_QUARTER
    """How many more than `size.min` may be ready or on the way; a percentage is rounded up."""
    floor: Share | None = None
    """How many it leaves ready in any case; a percentage is rounded up."""
    canary: int = 1
    """How many have to prove themselves before the rest is replaced."""
    settle: float = 30.0
    """Seconds for which these must stay healthy."""
    progress_deadline: float = 600.0
    """Seconds without progress after which it is paused."""
    windows: tuple[Window, ...] = ()
    """When it may happen; always, when there are none."""


@dataclass(frozen=True, slots=True)
class PoolSpec:
    name: str
    labels: Mapping[str, str]
    blueprint: Blueprint
    size: Size
    lifetime: Lifetime
    backfill: Backfill
    queue: Queue
    rollout: RolloutSpec = field(default_factory=RolloutSpec)
    paused_at: str = ""
    """Where it is declared `paused`, `web.yaml:12:3`; empty when it is not."""

    @staticmethod
    def undeclared(name: str) -> "PoolSpec":
        """What is left of a pool that is no longer declared: a name whose resources drain."""
        nothing = Blueprint("", "", Parameters.compile({}), (), (), ())
        return PoolSpec(name, {}, nothing, Size(0, 0), Lifetime(), Backfill(), Queue(0, 0.0))


@dataclass(frozen=True, slots=True)
class ProviderLimits:
    rate: float | None = None
    """Calls per second; None: no limit."""
    burst: int = 1
    concurrency: int = 16
    reserve: int = 4
    """Of the concurrency, what only claims may use."""


@dataclass(frozen=True, slots=True)
class ProviderSpec:
    name: str
    driver: str
    settings: JsonObject = field(default_factory=dict[str, Json])
    limits: ProviderLimits = field(default_factory=ProviderLimits)


@dataclass(frozen=True, slots=True)
class Revision:
    id: str
    """The first 12 hex digits of `commit`, or of `digest` where there is none."""
    digest: str
    """SHA-256 over the names and contents of the files."""
    source: str
    """Where it came from, for people: the directory's path, or the repository's address."""
    pools: Mapping[str, PoolSpec]
    providers: Mapping[str, ProviderSpec]
    """By name, with one default provider per driver under the driver's name."""
    files: Mapping[str, str]
    """Relative path to text, so that the ledger can keep it as the last known good."""
    policies: Mapping[str, PolicySpec] = field(default_factory=dict[str, PolicySpec])
    policy_tests: tuple[Case, ...] = ()
    commit: str = ""
    """The whole id of the Git commit that it was read from; empty for a plain directory."""
    accepts: frozenset[str] = frozenset()
    """What the annotations `stoker/accept-destroy` of its documents say, each as it was written."""
