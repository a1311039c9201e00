"""What a decision says. Immutable; made by `decide`, carried by claims, kept in the audit."""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from ..config.json_types import Json, JsonObject
from ..config.policies.rules import Approvals, Effect


class Verdict(StrEnum):
    ALLOW = "allow"
    APPROVE = "approve"
    """Once those have approved whom `approvals` names."""
    DENY = "deny"


class Mutation(NamedTuple):
    """One thing that a policy changed about a request."""

    path: str
    """`ttl`, `labels.team`, `params.role`, `costCentre`."""
    before: Json
    """None: the request did not say."""
    after: Json
    """Of a ttl: the duration as text."""
    policy: str


class Limit(StrEnum):
    """What is counted. The value is the name of the limit in the document."""

    ACTIVE_PER_CALLER = "maxActivePerCaller"
    ACTIVE_PER_GROUP = "maxActivePerGroup"
    ACTIVE_PER_LABEL = "maxActivePerLabel"
    SPEND_PER_DAY = "spendPerDay"
    RATE_PER_CALLER = "ratePerCaller"


class Check(NamedTuple):
    """A limit that must still hold when the claim is written: counted in the same transaction."""

    policy: str
    limit: Limit
    pools: tuple[str, ...]
    """Globs of the pools over which is counted."""
    subject: str
    """The caller (see `CallerFacts.counted`), the group, or the label as `key=value`."""
    most: float
    adds: float
    """What this claim adds."""
    window: float = 0.0
    """Seconds, for rates."""

    @property
    def rule(self) -> str:
        """What decisions call it: `limits.maxActivePerGroup.web`."""
        if self.limit is Limit.ACTIVE_PER_GROUP:
            return f"limits.{self.limit}.{self.subject}"
        if self.limit is Limit.ACTIVE_PER_LABEL:
            return f"limits.{self.limit}.{self.subject.partition('=')[0]}"
        return f"limits.{self.limit}"


class Matched(NamedTuple):
    """A rule that was true."""

    policy: str
    rule: str
    effect: Effect
    message: str = ""


class Failed(NamedTuple):
    """A condition that ended in an error, which counts as a deny. Quotes no fact."""

    policy: str
    rule: str
    """A rule's name, `when`, `reason`, or what two policies disagree about."""
    error: str


class NeededApproval(NamedTuple):
    """One policy's approvals; each must be complete."""

    policy: str
    rule: str
    approvals: Approvals


class Shadow(NamedTuple):
    """What the decision would be if the policies that do not enforce did. Without effect."""

    verdict: Verdict
    policy: str
    rule: str
    message: str
    ttl: float
    mutations: tuple[Mutation, ...]
    differs: bool
    """Whether anything about the claim would be different."""
    policies: tuple[str, ...]
    """Those that do not enforce."""


class Decision(NamedTuple):
    verdict: Verdict
    policy: str
    """Whose rule decides; empty when none does."""
    rule: str
    message: str
    """A sentence for the caller."""
    ttl: float
    """Seconds, after defaults and caps."""
    params: JsonObject
    """Without the blueprint's defaults."""
    labels: Mapping[str, str]
    cost_centre: str
    mutations: tuple[Mutation, ...] = ()
    checks: tuple[Check, ...] = ()
    approvals: tuple[NeededApproval, ...] = ()
    """What the verdict approve waits for; kept when break-glass did without it."""
    break_glass: float | None = None
    """Seconds until the follow-up is due of a claim that did without approval; None: it did not."""
    matched: tuple[Matched, ...] = ()
    failed: tuple[Failed, ...] = ()
    shadow: Shadow | None = None
    """None: every policy that the claim is about enforces."""
