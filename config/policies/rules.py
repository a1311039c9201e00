"""What `Policy` and `PolicyTest` documents compile to: immutable, checked, in base units.

Part of a `Revision`. The room `stoker.policies` decides with them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from fnmatch import fnmatchcase

from ..cel.functions import Pattern
from ..conditions import Condition
from ..documents import Document, Path
from ..json_types import Json, JsonObject
from .manifests import Expect, Given


class Effect(StrEnum):
    ALLOW = "allow"
    DENY = "deny"
    APPROVE = "approve"


class Mode(StrEnum):
    ENFORCE = "enforce"
    SHADOW = "shadow"
    CANARY = "canary"


@dataclass(frozen=True, slots=True)
class Rule:
    name: str
    effect: Effect
    when: Condition
    message: str = ""


@dataclass(frozen=True, slots=True)
class Canary:
    share: float = 1.0
    """From 0 to 1."""
    when: Condition | None = None


@dataclass(frozen=True, slots=True)
class ClaimRate:
    """At most so many claims in any `window` seconds."""

    claims: int
    window: float

    def __str__(self) -> str:
        unit = {1.0: "s", 60.0: "m", 3600.0: "h", 86400.0: "d"}[self.window]
        return f"{self.claims}/{unit}"


@dataclass(frozen=True, slots=True)
class Limits:
    max_ttl: float | None = None
    max_active_per_caller: int | None = None
    max_active_per_group: Mapping[str, int] = field(default_factory=dict[str, int])
    max_active_per_label: Mapping[str, int] = field(default_factory=dict[str, int])
    spend_per_day: float | None = None
    rate_per_caller: ClaimRate | None = None
    params: Mapping[str, tuple[Json, ...]] = field(default_factory=dict[str, tuple[Json, ...]])


@dataclass(frozen=True, slots=True)
class Shape:
    """What a policy makes of a request."""

    default_ttl: float | None = None
    default_labels: Mapping[str, str] = field(default_factory=dict[str, str])
    default_params: JsonObject = field(default_factory=dict[str, Json])
    max_ttl: float | None = None
    forced_labels: Mapping[str, str] = field(default_factory=dict[str, str])
    forced_params: JsonObject = field(default_factory=dict[str, Json])
    cost_centre: str = ""
    """Empty: that of the blueprint."""


@dataclass(frozen=True, slots=True)
class Reason:
    source: str
    pattern: Pattern = field(repr=False, compare=False)
    message: str = ""


@dataclass(frozen=True, slots=True)
class BreakGlass:
    when: Condition
    follow_up: float


@dataclass(frozen=True, slots=True)
class Approvals:
    approvers: Condition
    quorum: int
    deadline: float
    break_glass: BreakGlass | None = None
    webhooks: tuple[str, ...] = ()
    """Names of those by which votes may come."""


NO_LIMITS, NO_SHAPE = Limits(), Shape()


@dataclass(frozen=True, slots=True)
class PolicySpec:
    name: str
    pools: tuple[str, ...]
    """Globs."""
    mode: Mode
    rules: tuple[Rule, ...]
    when: Condition | None = None
    canary: Canary | None = None
    limits: Limits = NO_LIMITS
    shape: Shape = NO_SHAPE
    reason: Reason | None = None
    approvals: Approvals | None = None

    def covers(self, pool: str) -> bool:
        return any(fnmatchcase(pool, glob) for glob in self.pools)


@dataclass(frozen=True, slots=True)
class Case:
    """One case of a PolicyTest."""

    test: str
    name: str
    given: Given
    """Those of the document and of the case together."""
    now: datetime
    expect: Expect
    document: Document = field(repr=False, compare=False)
    at: Path
    """Of the case in its document."""
