"""`Policy` and `PolicyTest` as pydantic models, exactly as people write them.

Nothing is compiled here and nothing refers to another document; `compiling` and `cases` do both.
"""

import re
from datetime import datetime
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    JsonValue,
    WithJsonSchema,
    model_validator,
)

from ..fields import Count, Duration, LabelKey, LabelValue, Manifest, Name, wrong
from ..manifests import Metadata
from ..units import UnitError, parse_rate

MAX_RULES = 1_000
MAX_CASES = 1_000
MAX_QUORUM = 10

_GLOB = re.compile(r"[a-z0-9*?-]{1,40}")
_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,3})?)%")

Condition = Annotated[str, Field(min_length=1)]
"""A CEL expression that gives true or false, without `${…}`."""
Effect = Literal["allow", "deny", "approve"]
Mode = Literal["enforce", "shadow", "canary"]


def _glob(text: str) -> str:
    if not _GLOB.fullmatch(text):
        raise wrong(f"{text[:80]!r} cannot match a pool", "use a-z, 0-9, '-', '*' and '?': web*")
    return text


def _share(value: object) -> object:
    found = _SHARE.fullmatch(value) if isinstance(value, str) else None
    if found is None or not 0 < float(found[1]) <= 100:
        shown = "nothing" if value is None else f"{value!r}"[:40]
        raise wrong(f"expected a share such as 10%, got {shown}", "write more than 0% up to 100%")
    return float(found[1]) / 100


def _parameter(name: str) -> str:
    if not name or len(name) > 128:
        raise wrong("a parameter's name has 1 to 128 characters", "write its name")
    return name


def _timestamp(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise wrong(f"{text[:40]!r} is no RFC 3339 time", "write one such as 2030-01-31T12:00:00Z")
    return text


def _rate(text: str) -> str:
    try:
        parse_rate(text)
    except UnitError as error:
        message, _, remedy = str(error).partition("; ")
        raise wrong(message, remedy) from error
    if not re.match(r"[1-9][0-9]*/", text):
        raise wrong(f"{text!r} is no whole number of claims", "write one such as 30/h")
    return text


Glob = Annotated[
    str,
    AfterValidator(_glob),
    WithJsonSchema({"type": "string", "pattern": r"^[a-z0-9*?-]{1,40}$", "examples": ["web*"]}),
]
"""Of pools: `*` is any text, `?` any character."""
Share = Annotated[
    float,
    BeforeValidator(_share),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]{1,3}(\.[0-9]{1,3})?%$"}),
]
"""From 0 to 1, from `10%`."""
ClaimRate = Annotated[
    str,
    AfterValidator(_rate),
    WithJsonSchema({"type": "string", "pattern": r"^[1-9][0-9]*/(s|m|h|d)$", "examples": ["30/h"]}),
]
ParameterName = Annotated[str, AfterValidator(_parameter)]
Labels = Annotated[dict[LabelKey, LabelValue], Field(max_length=64)]
Params = Annotated[dict[ParameterName, JsonValue], Field(max_length=100)]
Centre = Annotated[str, Field(min_length=1, max_length=63)]


class Rule(Manifest):
    name: Name
    """What decisions, explanations and metrics call it."""
    effect: Effect
    """What follows when it is true. A deny beats an approve beats an allow."""
    when: Condition = "true"
    """Reads caller, request, pool, usage and now; always true when left out."""
    message: Annotated[str, Field(max_length=500)] = ""
    """What the caller is told when this rule decides."""


class Canary(Manifest):
    share: Share = 1.0
    """Of the callers, always the same ones; all of them when left out."""
    when: Condition | None = None
    """Only claims for which this is true."""

    @model_validator(mode="after")
    def narrows(self) -> "Canary":
        if not self.model_fields_set:
            raise wrong("a canary needs a share or a when", "write share: 10%")
        return self


class Limits(Manifest):
    """What claims are refused that go beyond. Counted over the pools that the policy is about."""

    max_ttl: Duration | None = None
    """The longest that a claim may ask for."""
    max_active_per_caller: Count | None = None
    """How many resources a user may hold at a time."""
    max_active_per_group: Annotated[dict[str, Count], Field(max_length=100)] = Field(
        default_factory=dict[str, int]
    )
    """Group to how many its members may hold together."""
    max_active_per_label: Annotated[dict[LabelKey, Count], Field(max_length=16)] = Field(
        default_factory=dict[str, int]
    )
    """Key of a claim's label to how many may be held with the same value; none counts as one."""
    spend_per_day: Annotated[float, Field(gt=0, le=1e12)] | None = None
    """Of one user, by the blueprint's cost and the whole ttl; a day begins at midnight, UTC."""
    rate_per_caller: ClaimRate | None = None
    """How many claims a user may make in any second, minute, hour or day, such as 30/h."""
    params: Annotated[dict[ParameterName, list[JsonValue]], Field(max_length=100)] = Field(
        default_factory=dict[str, list[JsonValue]]
    )
    """Parameter to the values that it may have; an empty list: it may not be passed."""


class Defaults(Manifest):
    """What a claim gets that does not say."""

    ttl: Duration | None = None
    labels: Labels = Field(default_factory=dict[str, str])
    params: Params = Field(default_factory=dict[str, JsonValue])


class Caps(Manifest):
    """What a claim gets at most; it is told that it got less."""

    ttl: Duration | None = None


class Forced(Manifest):
    """What a claim gets whatever it says."""

    labels: Labels = Field(default_factory=dict[str, str])
    params: Params = Field(default_factory=dict[str, JsonValue])
    cost_centre: Centre | None = None
    """Who pays, in place of the blueprint's cost.centre."""


class Reason(Manifest):
    """What the reason of a claim must look like."""

    pattern: Annotated[str, Field(min_length=1, max_length=1024)] = r"\S"
    """RE2, to be found in the reason; write ^ and $ for the whole. Any reason when left out."""
    message: Annotated[str, Field(max_length=500)] = ""
    """What a caller is told whose reason does not match."""


class BreakGlass(Manifest):
    """Who may do without an approval in an emergency. Each use is reported and followed up."""

    when: Condition
    """Who, and for what."""
    follow_up: Duration = 86400.0
    """In which time somebody must have looked at it."""


class Approvals(Manifest):
    """Who approves the claims for which a rule with the effect approve is true."""

    approvers: Condition
    """True for those who may; reads approver too. Never the claimant, whatever it says."""
    quorum: Annotated[int, Field(ge=1, le=MAX_QUORUM)] = 1
    """How many of them must."""
    deadline: Duration = 3600.0
    """In which time, before the claim is refused."""
    webhooks: Annotated[list[Name], Field(max_length=20)] = Field(default_factory=list[str])
    """Names of the webhooks by which votes may come too; only the socket when left out."""
    break_glass: BreakGlass | None = None


class PolicySpec(Manifest):
    pools: Annotated[list[Glob], Field(min_length=1, max_length=100)] = Field(
        default_factory=lambda: ["*"]
    )
    """Names of the pools that it is about; `*` stands for any text."""
    when: Condition | None = None
    """Which claims it is about; all of these pools when left out."""
    mode: Mode = "enforce"
    """`shadow` decides nothing and records what it would; `canary` enforces for some callers."""
    canary: Canary | None = None
    rules: Annotated[list[Rule], Field(max_length=MAX_RULES)] = Field(default_factory=list[Rule])
    limits: Limits = Field(default_factory=Limits)
    defaults: Defaults = Field(default_factory=Defaults)
    caps: Caps = Field(default_factory=Caps)
    forced: Forced = Field(default_factory=Forced)
    reason: Reason | None = None
    """Asks for a reason; none is needed when left out."""
    approvals: Approvals | None = None


class Policy(Manifest):
    """Who may claim what, for how long, and with whose approval."""

    api_version: Literal["stoker/v1"]
    kind: Literal["Policy"]
    metadata: Metadata
    spec: PolicySpec


class GivenCaller(Manifest):
    uid: Annotated[int, Field(ge=0, lt=2**32)] = 1000
    user: str = ""
    gid: Annotated[int, Field(ge=0, lt=2**32)] = 1000
    groups: Annotated[list[str], Field(max_length=10_000)] = Field(default_factory=list[str])
    pid: Annotated[int, Field(ge=0)] = 0
    exe: str = ""
    unit: str = ""
    host: str = ""
    operator: bool = False
    token: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])


class GivenRequest(Manifest):
    action: Literal["claim", "renew"] = "claim"
    params: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    ttl: Duration | None = None
    """None: the claim does not say."""
    count: Annotated[int, Field(ge=1, le=100_000)] = 1
    reason: str = ""
    labels: dict[str, str] = Field(default_factory=dict[str, str])
    bind: Literal["", "process", "connection"] = ""
    break_glass: bool = False


class GivenCost(Manifest):
    per_hour: Annotated[float, Field(ge=0, le=1e9)] = 0.0
    centre: str = ""


class GivenPool(Manifest):
    """What is left out comes from the Pool of that name."""

    name: Name | None = None
    labels: dict[str, str] = Field(default_factory=dict[str, str])
    ready: Annotated[int, Field(ge=0)] = 1
    size: Annotated[int, Field(ge=0)] = 1
    blueprint: str = ""
    cost: GivenCost = Field(default_factory=GivenCost)


class GivenUsage(Manifest):
    active: Annotated[int, Field(ge=0)] = 0
    active_in_pool: Annotated[int, Field(ge=0)] = 0
    active_of_group: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict[str, int])
    active_of_label: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict[str, int])
    """`key=value` to how many are held with it."""
    claims_last_hour: Annotated[int, Field(ge=0)] = 0
    spend_today: Annotated[float, Field(ge=0)] = 0.0


class Given(Manifest):
    """Facts. What is left out is empty, or what most claims have."""

    caller: GivenCaller = Field(default_factory=GivenCaller)
    request: GivenRequest = Field(default_factory=GivenRequest)
    pool: GivenPool = Field(default_factory=GivenPool)
    usage: GivenUsage = Field(default_factory=GivenUsage)
    now: Annotated[str, AfterValidator(_timestamp)] = "2030-01-02T12:00:00Z"
    """A Wednesday at noon when left out."""


class Expect(Manifest):
    verdict: Literal["allow", "deny", "approve"]
    policy: Name | None = None
    """Whose rule decides."""
    rule: str | None = None
    """The rule that decides, or the limit, such as limits.maxTtl."""
    ttl: Duration | None = None
    """What the claim gets."""
    mutations: dict[str, JsonValue] | None = None
    """All that is changed: path, such as labels.team, to what it is changed to."""
    shadow: Literal["allow", "deny", "approve"] | None = None
    """The verdict if the policies in shadow mode were enforced."""
    error: bool = False
    """Whether a rule ends in an error; a case in which one does fails otherwise."""


class Case(Manifest):
    name: Annotated[str, Field(min_length=1, max_length=120)]
    """A sentence that says what holds."""
    given: Given = Field(default_factory=Given)
    """Facts of this case, over those of the document."""
    expect: Expect


class PolicyTestSpec(Manifest):
    given: Given = Field(default_factory=Given)
    """Facts of all cases."""
    cases: Annotated[list[Case], Field(min_length=1, max_length=MAX_CASES)]


class PolicyTest(Manifest):
    """What the policies must decide for given facts. A revision that fails one is refused."""

    api_version: Literal["stoker/v1"]
    kind: Literal["PolicyTest"]
    metadata: Metadata
    spec: PolicyTestSpec
